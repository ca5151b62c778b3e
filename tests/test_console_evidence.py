"""Words of the console: evidence of signals in Polish, whatever the engine writes; and what the words of a page mean."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.console import glossary, navigation
from cxstream.console.evidence import read, shown
from cxstream.console.language import language
from cxstream.kernels import layout as k
from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.scoring import words
from cxstream.scoring.words import Own

PL, EN = language("pl"), language("en")
COUNTS = (
    k.S_CONTACTS, k.S_TOPIC_N, k.S_TRANSFERS, k.S_ABANDONED, k.S_UNRESOLVED, k.S_FAILED, k.S_LATE, k.S_COMPLAINTS, k.S_ANSWERS,
    k.S_NPS, k.S_QUIET, k.S_ACTIVE, k.S_BOUGHT,
)  # fmt: skip
FEATURES = sorted({*ScoringParams().coefficients, "lapse"})
ENGLISH = re.compile(
    r"\b(contact|waited|days?|ago|open|usually|about|of|unsubscribed|last|answer|touch)\w*\b"
)


@given(
    st.sampled_from(FEATURES),
    st.lists(st.integers(0, 12), min_size=len(COUNTS), max_size=len(COUNTS)),
    st.integers(0, 400), st.integers(1, 90), st.integers(0, 40), st.floats(0, 100), st.sampled_from((1.0, -1.0)),
    st.sampled_from(("", "delivery", "a, b's 'c' today", "x' in 2 days")),
    st.lists(st.builds(Own, st.sampled_from(("parcel_lost", "a.b-c")), st.integers(1, 9), st.booleans()), max_size=2),
)  # fmt: skip
@settings(max_examples=300, deadline=None, derandomize=True)
def test_all_that_the_engine_writes_is_read(
    feature: str, counts: list[int], waited: int, span: int, days: int, score: float, contribution: float, topic: str,
    own: list[Own],
) -> None:  # fmt: skip
    row = [0.0] * k.SIGNAL_WIDTH
    for column, number in zip(COUNTS, counts, strict=True):
        row[column] = float(number)
    row[k.S_TOPIC_N] = min(row[k.S_TOPIC_N], row[k.S_CONTACTS])
    row[k.S_WAITED], row[k.S_SPAN], row[k.S_CLOCK] = float(waited), float(span), 1000.0 * DAY_MS
    row[k.S_NPS_TIME] = row[k.S_COMPLAINT_TIME] = (1000.0 - days) * DAY_MS
    row[k.S_UNSUBSCRIBED] = row[k.S_BOUGHT_AGE] = float(days)
    for column in (k.S_EFFORT, k.S_EFFORT_SHORT, k.S_SAT, k.S_RHYTHM, k.S_USUAL):
        row[column] = score
    text = words.evidence(feature, row, topic, contribution, own)
    assert read(EN, text) == (text, True)
    said, is_known = read(PL, text)
    assert is_known, text
    if "'" not in text:
        assert re.findall(r"\d+", said) == re.findall(r"\d+", text)
        assert not ENGLISH.search(re.sub(r"parcel_lost|a\.b-c", "", said)), said
    assert "<span" not in shown(PL, text)


def test_words_that_hold_on_one_day_name_it() -> None:
    day = date(2026, 11, 26)
    for text, has_day in (
        ("complaint open since today", True),
        ("complaint open for 3 days", True),
        ("NPS answer 3, yesterday", True),
        ("unsubscribed 9 days ago", True),
        ("satisfaction 5 of 100, inferred", False),
    ):
        assert shown(EN, text, day) == (f"{text} (as of 26 Nov)" if has_day else text)
        assert shown(EN, text) == text
    assert shown(PL, "complaint open since today", day) == "reklamacja otwarta od dziś (stan na 26 lis)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "4 contacts about 'delivery' in 7 days, 10 min waited",
            "4 zgłoszenia na temat „delivery” w ciągu 7 dni, 10 min czekania",
        ),
        ("no touch for 1 day, usually one every 2.5 days", "brak kontaktu od 1 dnia, zwykle co 2,5 d"),
        ("1 contact, 5 about 'x', strange", None),
        (f"{'9' * 5000} transfers, strange", None),
    ],
)
def test_evidence_in_polish(text: str, said: str | None) -> None:
    if said is None:
        assert not read(PL, text)[1]
        assert '<span lang="en">' in shown(PL, text)
        assert "strange" in shown(PL, text)
    else:
        assert read(PL, text) == (said, True)


def test_text_of_others_never_becomes_markup() -> None:
    for words_ in (PL, EN):
        assert "<b>" not in shown(words_, "1 contact about '<b>x</b>' today, <b>y")


def test_each_page_says_what_its_words_mean() -> None:
    pages = set(navigation.found())
    assert set(glossary.PAGES) <= pages
    assert {name for names in navigation.ORDER.values() for name in names} - set(glossary.PAGES) == {"alerts"}
    assert {term for terms in glossary.PAGES.values() for term in terms} == set(glossary.TERMS)
    for page in glossary.PAGES:
        assert all(
            said[1] != other[1]
            for said, other in zip(glossary.of(PL, page), glossary.of(EN, page), strict=True)
        )

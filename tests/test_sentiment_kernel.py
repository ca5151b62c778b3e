"""The kernel of texts against the model in Python and vaderSentiment: equal to the last bit, or in doubt."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cxstream.kernels.sentiment import ABSTAINS, FOR_PYTHON, TO_CLEAN, TOLD
from cxstream.model.text import MODEL, TEXT_LANGUAGES
from cxstream.text import model as in_force
from cxstream.text.model import TextModel
from cxstream.text.weights import load
from test_sentiment import ALLEGRO, PIECES, ground_truth, needs_allegro, needs_tweets

WORDS = [
    *PIECES, "nie", "ma", "problemu", "polecam", "bez", "zarzutu", "żadnych", "dziękuję", "Łódź", "świetny", "ŹLE", "super",
    "don't", "ain't", "DON'T", "least", "uh-uh", "KIND", "not", "bad", "ass", "beating", "heart", "rarely", "good", "GOOD",
    ":D", ";)", ":-)", "(-:O", "<3", ":Þ", ":)))", "12", "100%", "it\u2019s", "\u2013", "…", "€5", "@shop", "#GreatService", "https://a.b/c",
    "www.a.pl", "WWW.A.PL", "\n", "> good", "\t", "\u00a0", "\x85", "\x1c", "\u200b", "Größe", "ΣΑΣ", "ß", "\u017f", "\u212a", "дуже", "é", "e\u0301",
    "\ufeff", "©", "™", "‼", "\0", "ª", "²", "½", "ŉ", "\u0131",
]  # fmt: skip
sentences = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)
texts = sentences | st.text("aąbcGOod nt'.!?:;()<3@#/wW\n>Þ", max_size=60) | st.text(max_size=40)
tags = st.sampled_from(
    [None, "", "en", "PL-pl", "en_GB", "de", "und", "UND-x", "pol", "e", "ęn", "-en", "\u212a"]
)


@pytest.fixture(scope="module")
def model() -> TextModel:
    return TextModel(MODEL, TEXT_LANGUAGES)


@pytest.fixture(scope="module")
def only() -> dict[str, TextModel]:
    return {name: TextModel(MODEL, [name]) for name in TEXT_LANGUAGES}


def told(model: TextModel, some: list[str], said: list[str | None] | None = None) -> list[int]:
    found: list[int] = model._quick.read(*in_force._joined(some, said), are_clean=False).told.tolist()
    return found


def same(a: float | None, b: float | None) -> bool:
    return a == b and (a is None or b is None or math.copysign(1, a) == math.copysign(1, b))


def check(model: TextModel, some: list[str], said: list[str | None]) -> None:
    """The kernel and Python give the same."""
    found = model.sentiments(some, said)
    expected = model.in_python(some, said)
    wrong = [row for row in zip(some, said, found, expected, strict=True) if not same(*row[2:])]
    assert not wrong, wrong[:3]


@settings(max_examples=400, deadline=None)
@given(some=st.lists(st.tuples(texts, tags), max_size=8))
@example(some=[("GREAT \u00a0", "en"), ("GREAT\u00a0bad", "en")])
@example(some=[("not good but bad", "en"), ("KIND of good", "en"), ("yeah right good", None)])
def test_the_kernel_gives_what_python_gives(some: list[tuple[str, str | None]], model: TextModel) -> None:
    check(model, [text for text, _ in some], [tag for _, tag in some])


@settings(max_examples=100, deadline=None)
@given(some=st.lists(st.tuples(texts, tags), max_size=8))
def test_with_one_language_the_other_has_no_sentiment(
    some: list[tuple[str, str | None]], only: dict[str, TextModel]
) -> None:
    for each in only.values():
        check(each, [text for text, _ in some], [tag for _, tag in some])


@needs_tweets
@pytest.mark.parametrize(
    "name", ["tweets", "amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets"]
)
def test_on_real_english_texts_it_gives_what_python_and_the_reference_give(
    name: str, model: TextModel
) -> None:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    reference = SentimentIntensityAnalyzer().polarity_scores
    some = [text for _, text in ground_truth(name)[::5]]
    check(model, some, [None] * len(some))
    found, english = model.sentiments(some, ["en"] * len(some)), told(model, some, ["en"] * len(some))
    assert english.count(FOR_PYTHON) < 0.01 * len(some)
    for text, score, how in zip(some, found, english, strict=True):
        if how == TOLD:
            assert score == reference(text)["compound"], text


@needs_allegro
def test_on_real_polish_texts_it_gives_what_python_gives(model: TextModel) -> None:
    some = [line.rpartition("\t")[0] for line in ALLEGRO.read_text("utf-8").splitlines()[1::3]]
    check(model, some, [None] * len(some))
    assert told(model, some).count(TOLD) > 0.8 * len(some)


def test_what_it_reads_itself(model: TextModel) -> None:
    said = {
        "I love it": TOLD,
        "Don\u2019t like it \u2013 \u201cbad\u201d and €5 too much…": TOLD,
        "NIE POLECAM :( :(": TOLD,
        "Dziękuję, świetna obsługa": TOLD,
        "Where is my parcel?": ABSTAINS,
        "Де моя посилка? Чекаю вже тиждень": ABSTAINS,
        "I love it @shop": TO_CLEAN,
        "Not good\n> We are happy to help": TO_CLEAN,
        "I love it 😍😍 👍🏻 ❤️": TOLD,
        "super obsługa 😍😍😍 :) :) :(": TOLD,
        "it is good 🅰": FOR_PYTHON,
        "good " + "😂" * 500: FOR_PYTHON,
        "😍😍": FOR_PYTHON,
        "e\u0301": FOR_PYTHON,
        "good " * 500: FOR_PYTHON,
        "": FOR_PYTHON,
        "???": FOR_PYTHON,
    }
    assert dict(zip(said, told(model, list(said)), strict=True)) == said
    check(model, list(said), [None] * len(said))


@pytest.mark.parametrize(
    "text",
    [
        "good at least good", "very least good", "least good", "the least good", "at the least bad",
        "gorgeous but advantageous", "gorgeous and bad but advantageous, bad", "good but", "but good", "BUT not good",
        "never so good", "never this good", "never ever so good", "so very not good", "without a doubt good", "without doubt good",
        "without good", "no good", "no good or bad", "no or bad", "no nor bad", "nothing here or bad", "kind of good", "kind good",
        "sort of good", "it was sort of good", "just barely enough good", "just enough for good", "yeah right good",
        "the bomb good stuff here", "a beating heart good", "to die for this good", "this is to die for", "kiss of death good",
        "it is a kiss of death", "bad ass bus stop", "what a bad ass", "GOOD", "GOOD bad", "VERY good", "very GOOD", "good!!!!!",
        "good??", "good???", "good????", "bad!?!?", "isn't good", "ain't so good", "weirdn't good", "(good)", "'good'", ":)", "x :D",
        "Has an unmistakable, easy joie de vivre.", "dobrze :-))", "źle :-(( :)) <3", "good\u00a0", "so\u00a0good",
        "ok", "Ok 12", "super", "good\U0001f602bad", "\U0001f602good \U0001f602", "not \U0001f60d", "NIE \U0001f60d\U0001f60d\U0001f621",
        "good " * 400, "x " * 1100 + "good", "ą" * 300 + " dobrze", "a" * 199 + "Łódź jest dobra",
    ],
)  # fmt: skip
def test_each_rule(text: str, model: TextModel) -> None:
    some = [text, text.upper(), text.title(), f"it was {text}", f"{text} and good"]
    for tag in ("en", "pl", None):
        check(model, some, [tag] * len(some))


def test_all_words_of_the_lexicon(model: TextModel) -> None:
    """Each in a sentence with a booster, so that a word that is not found shows."""
    english = load(MODEL).english
    for form in ("{}", "so {}", "NOT {}", "{} or not", "never this {}!"):
        some = [form.format(word) for word in (*english["lexicon"], *english["boosters"], *english["idioms"])]
        check(model, some, ["en"] * len(some))

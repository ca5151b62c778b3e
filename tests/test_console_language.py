"""The console's words in Polish are complete, and numbers and dates are written as readers know them.

`python tests/test_console_language.py --write` puts new texts into the catalogue, without a translation.
"""

from __future__ import annotations

import io
import re
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

from cxstream.console.language import language, negotiated

CONSOLE = Path(__file__).parent.parent / "src" / "cxstream" / "console"
CATALOGUE = CONSOLE / "locale" / "pl" / "console.po"
_METHODS = [("**.py", "python"), ("**.html", "jinja2.ext:babel_extract")]
_OPTIONS = {"**.html": {"trimmed": "true", "newstyle_gettext": "true", "trim_blocks": "true", "lstrip_blocks": "true",
                        "silent": "false"}}  # fmt: skip
_PLACEHOLDER = re.compile(r"%\(\w+\)s|\{n\}|</?b>")


def texts() -> Catalog:
    """What is marked in templates and code."""
    found = Catalog()
    keywords = {"N_": None, "_": None, "gettext": None, "ngettext": (1, 2)}
    for name, line, message, _, _ in extract_from_dir(CONSOLE, _METHODS, _OPTIONS, keywords):
        found.add(message, locations=[(name, line)])
    return found


def catalogue() -> Catalog:
    return read_po(io.BytesIO(CATALOGUE.read_bytes()) if CATALOGUE.exists() else io.BytesIO(b""), locale="pl")


def test_every_text_has_a_polish_translation_with_the_same_placeholders() -> None:
    have = catalogue()
    missing, strange = [], []
    for message in texts():
        if not message.id:
            continue
        ours = have.get(message.id)
        translated = ours.string if ours is not None else ""
        forms = translated if isinstance(translated, tuple) else (translated,)
        if not all(forms) or (ours is not None and ours.fuzzy):
            missing.append(message.id)
            continue
        wanted = message.id if isinstance(message.id, str) else message.id[1]
        strange += [
            form for form in forms if set(_PLACEHOLDER.findall(form)) != set(_PLACEHOLDER.findall(wanted))
        ]
    assert not missing, "python tests/test_console_language.py --write, then translate them"
    assert not strange


def test_the_catalogue_has_nothing_that_no_page_says() -> None:
    used = texts()
    assert [message.id for message in catalogue() if message.id and used.get(message.id) is None] == []


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "1 klient"),
        (2, "2 klientów"),
        (5, "5 klientów"),
        (22, "22 klientów"),
        (1769, "1\u00a0769 klientów"),
    ],
)
def test_polish_plurals(number: int, text: str) -> None:
    assert language("pl").ngettext("{n} customer", "{n} customers", number) == text.replace(
        "2 klientów", "2 klientów"
    )


def test_numbers_and_dates() -> None:
    en, pl = language("en"), language("pl")
    assert (en.number(1769), pl.number(1769), pl.number(0.91, 2)) == ("1,769", "1\u00a0769", "0,91")
    assert (en.number(-0.04, 1), en.number(-1.2, 1), en.number(1.2, 1, sign=True)) == (
        "0.0",
        "\u22121.2",
        "+1.2",
    )
    assert (en.number(None), en.percent(0.414), pl.percent(0.0414, 1)) == ("\u2013", "41%", "4,1%")
    assert (en.interval(1.5, 2.7), pl.interval(1.1, 8.1)) == ("[1.5,\u00a02.7]", "[1,1;\u00a08,1]")
    assert (en.day(date(2026, 11, 26)), pl.day(date(2026, 11, 26))) == ("26 Nov", "26 lis")
    assert (en.axis_day(date(2026, 11, 26)), pl.axis_day(date(2026, 11, 26))) == ("26 Nov", "26.11")
    assert pl.long_day(date(2026, 11, 26)) == "czwartek 26 listopada"
    assert en.moment(datetime(2026, 11, 26, 14, 5, tzinfo=UTC)) == "26 Nov\u00a014:05"
    assert (en.duration(timedelta(days=3, hours=20, minutes=5)), en.duration(59.6), en.duration(0)) == (
        "3\u00a0d\u00a020\u00a0h",
        "1\u00a0min",
        "0\u00a0s",
    )
    # A signal may be seconds younger than the last touchpoint of the read model.
    assert en.duration(timedelta(seconds=-505)) == "0\u00a0s"
    assert en.listing(["a", "b", "c"]) == "a, b and c"
    assert pl.listing(["a", "b", "c"]) == "a, b i c"
    assert [pl.listing(each) for each in ([], ["a"])] == ["", "a"]


@pytest.mark.parametrize(
    ("cookie", "accepted", "code"),
    [
        (None, "", "en"),
        ("pl", "en", "pl"),
        ("xx", "pl-PL,pl;q=0.9,en;q=0.8", "pl"),
        (None, "de, en;q=0.5, pl;q=0.9", "pl"),
        (None, "pl;q=x, en", "en"),
    ],
)
def test_the_reader_chooses_the_language_then_the_browser(
    cookie: str | None, accepted: str, code: str
) -> None:
    assert negotiated(cookie, accepted).code == code


def _write() -> None:
    have, found = catalogue(), Catalog(locale="pl", project="cxstream console", fuzzy=False)
    for message in texts():
        if message.id:
            before = have.get(message.id)
            found.add(message.id, before.string if before is not None else "")
    with CATALOGUE.open("wb") as file:
        write_po(file, found, width=120, sort_output=True, omit_header=True, no_location=True)


if __name__ == "__main__" and "--write" in sys.argv:
    _write()

"""Numbers, durations and ids as people and programs write them: read right or refused, never guessed."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.convert.durations import seconds
from cxstream.convert.mapping import Input
from cxstream.convert.nothing import NOTHING, doubt
from cxstream.convert.numbers import number_reader

SPACE, DOT, COMMA, APOSTROPHE = (
    {"decimal": ",", "thousands": " "},
    {"decimal": ",", "thousands": "."},
    {"thousands": ","},
    {"thousands": "'"},
)
SIGNS = {"decimal": ",", "currency_signs": ["€", "EUR", "zł", "$"]}


def read(text: str, **style: object) -> float | str:
    """The number, or what the message says beside the text."""
    try:
        return number_reader(Input(**style))(text)  # type: ignore[arg-type]
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(
    ("text", "style", "expected"),
    [
        ("1,234.50", COMMA, 1234.5),
        ("1,234,567", COMMA, 1234567),
        ("1234567", COMMA, 1234567),
        ("1.234,50", DOT, 1234.5),
        ("1.234", DOT, 1234),
        ("12,50", {"decimal": ","}, 12.5),
        *((f"1{blank}234,50", SPACE, 1234.5) for blank in " \u00a0\u202f\u2009"),
        ("1\u00a0234,50", {"decimal": ",", "thousands": "\u202f"}, 1234.5),
        *((f"1{mark}234.50", APOSTROPHE, 1234.5) for mark in "'\u2019"),
        ("12,34,567.5", {"thousands": ",", "grouping": "indian"}, 1234567.5),
        ("1,234", {"thousands": ",", "grouping": "indian"}, 1234),
        ("-12.50", {}, -12.5),
        ("12.50-", {}, -12.5),
        ("\u221212.50", {}, -12.5),
        ("+12.50", {}, 12.5),
        (".5", {}, 0.5),
        ("5.", {}, 5),
        ("1e5", {}, 100000),
        ("1.5E-2", {}, 0.015),
        ("€ 12,50", SIGNS, 12.5),
        ("12,50\u00a0zł", SIGNS, 12.5),
        ("-€12,50", SIGNS, -12.5),
        ("€-12,50", SIGNS, -12.5),
        ("12,50 EUR", SIGNS, 12.5),
        ("12,50- EUR", SIGNS, -12.5),
        ("$1,234.50", {**COMMA, "currency_signs": ["$"]}, 1234.5),
    ],
)
def test_a_number(text: str, style: dict[str, object], expected: float) -> None:
    assert read(text, **style) == expected


@pytest.mark.parametrize(
    ("text", "style", "said"),
    [
        ("12,50", COMMA, "groups of three digits"),
        ("1,5", COMMA, "groups of three digits"),
        ("1234,567", COMMA, "groups of three digits"),
        ("1,234,56", COMMA, "groups of three digits"),
        ("12,34,567", COMMA, "groups of three digits"),
        ("1,,234", COMMA, "groups of three digits"),
        (",234", COMMA, "groups of three digits"),
        ("0,125", COMMA, "groups of three digits"),
        ("-0,125", COMMA, "groups of three digits"),
        ("000,125", COMMA, "groups of three digits"),
        ("1.234", {"decimal": ","}, "decimal = ','"),
        ("1.234,50", {"decimal": ","}, "decimal = ','"),
        ("1,5", {}, "decimal = '.'"),
        ("1 234", {}, "decimal = '.'"),
        ("123,456", {"thousands": ",", "grouping": "indian"}, "thousands = ','"),
        ("€12,50", {"decimal": ","}, "input.currency_signs"),
        ("12,50 PLN", SIGNS, "input.currency_signs"),
        ("12.5%", {}, "percentage"),
        ("(12.50)", {}, "parentheses"),
        ("\u0661\u0662", {}, "other digits"),
        ("1\u00b2", {}, "other digits"),
        ("0:03:25", {}, 'type = "duration"'),
        ("PT3M", {}, 'type = "duration"'),
        ("-12-", {}, "not a number"),
        ("--12", {}, "not a number"),
        ("inf", {}, "not a number"),
        ("-Infinity", {}, "not a number"),
        ("nan", {}, "not a number"),
        ("1_000", {}, "not a number"),
        ("0x1F", {}, "not a number"),
        ("1e999", {}, "not a number"),
        ("", {}, "not a number"),
        ("-", {}, "not a number"),
        (".", {}, "not a number"),
    ],
)
def test_what_is_no_number_says_what_to_do(text: str, style: dict[str, object], said: str) -> None:
    assert said in str(read(text, **style))


@given(
    number=st.decimals(-(10**9), 10**9, places=2),
    thousands=st.sampled_from(["", ",", ".", " ", "'"]),
    decimal=st.sampled_from([".", ","]),
)
def test_what_is_written_is_read(number: object, thousands: str, decimal: str) -> None:
    if thousands == decimal:
        return
    text = f"{number:,}".translate({ord(","): thousands, ord("."): decimal})
    assert read(text, thousands=thousands, decimal=decimal) == float(f"{number}")


@given(text=st.text("0123456789.,-", min_size=1, max_size=9))
def test_a_number_is_read_in_one_way_only(text: str) -> None:
    """No text is one number with its separators taken as they are and another with them dropped."""
    found = read(text, thousands=",")
    if not isinstance(found, str):
        assert re.fullmatch(r"-?(\d{1,3}(,\d{3})+|\d*)(\.\d*)?-?", text)
        assert found == float(text.replace(",", "").strip("-")) * (-1 if "-" in text else 1)


@pytest.mark.parametrize("thousands", [".", "1", "e", "-"])
def test_a_separator_that_is_a_part_of_a_number_is_refused(thousands: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="thousands: "):
        msgspec.convert({"thousands": thousands}, Input)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("00:03:25", 205),
        ("3:25", 205),
        ("75:10", 4510),
        ("0:00", 0),
        ("1:02:03.5", 3723.5),
        ("1:02:03,5", 3723.5),
        ("27:00:00", 97200),
        ("1 02:03:04", 93784),
        ("1.02:03:04", 93784),
        ("1 day, 2:03:04", 93784),
        ("3m25s", 205),
        ("3 min 25 s", 205),
        ("1h 2m", 3720),
        ("2 Hours", 7200),
        ("PT3M25S", 205),
        ("PT0.5S", 0.5),
        ("P1DT2H", 93600),
        ("P1W", 604800),
        ("205", 205),
        ("205.5", 205.5),
        ("-0:05", -5),
    ],
)
def test_a_duration(text: str, expected: float) -> None:
    assert seconds(text, number_reader(Input())) == expected


@pytest.mark.parametrize(
    "text",
    [
        "3:75",
        "1:60:00",
        "3:5",
        "1:2:03",
        ":25",
        "3:",
        "P1M",
        "P1Y",
        "P",
        "PT",
        "P1DT",
        "3x",
        "m",
        "soon",
        "",
        "1:2:3:4",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        seconds(text, number_reader(Input()))


@given(st.integers(0, 10**7))
def test_a_clock_is_read_as_it_is_written(total: int) -> None:
    minutes, second = divmod(total, 60)
    hour, minute = divmod(minutes, 60)
    number = number_reader(Input())
    for text in (
        f"{minutes}:{second:02}", f"{hour}:{minute:02}:{second:02}", f"PT{hour}H{minute}M{second}S",
        f"{hour}h {minute}m {second}s", f"{hour // 24} {hour % 24:02}:{minute:02}:{second:02}", f"{total}",
    ):  # fmt: skip
        assert seconds(text, number) == total


@pytest.mark.parametrize(
    ("text", "why"),
    [
        *((text, "stands for no value") for text in sorted(NOTHING)),
        *(
            (text, "stands for no value")
            for text in ("nan", "NaN", "[object Object]", "test", "0", "000", "not set")
        ),
        ("00000000-0000-0000-0000-000000000000", "stands for no value"),
        ("12345.0", "was a number"),
        ("1.23E+12", "was rounded"),
        ("1,23E+12", "was rounded"),
        ("1e+16", "was rounded"),
        ("anna\u200b", "cannot be seen"),
        ("a\u00a0b", "cannot be seen"),
        ("\u200b", "stands for no value"),
        ('="00312"', "formula"),
        ("'00312", "formula or text of a spreadsheet"),
        ("{{ user.id }}", "template"),
        ("${userId}", "template"),
        ("{user_id}", "template"),
        ("%USER_ID%", "template"),
        ("<customer id>", "template"),
        ("{}", "template"),
    ],
)
def test_a_doubtful_id(text: str, why: str) -> None:
    assert why in doubt(text)[0]


@pytest.mark.parametrize(
    "text",
    [
        "anna",
        "12345",
        "012345",
        "12345.5",
        "5e3",
        "tester",
        "a@b.com",
        "null-17",
        "Łódź 5",
        "1.2.0",
        "0a",
        "",
        "{3F2504E0-4F89-11D3-9A0C-0305E82C3301}",
        "d'arc",
        "50%",
    ],
)
def test_an_id_that_nothing_speaks_against(text: str) -> None:
    assert doubt(text) == ("", False)


@pytest.mark.parametrize("value", [True, None, [], {}, float("nan"), float("inf"), 10**400])
def test_a_json_value_that_is_no_number(value: object) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        number_reader(Input())(value)


def test_json_numbers_are_what_they_are() -> None:
    read_ = number_reader(Input(decimal=",", thousands="."))
    assert [read_(value) for value in (1, 1.234, -(10**300))] == [1, 1.234, -1e300]


@pytest.mark.parametrize(
    ("text", "style", "expected"),
    [
        ("1,500 s", {"thousands": ","}, 1500),
        ("1.500 s", {"decimal": ",", "thousands": "."}, 1500),
        ("1,5 h", {"decimal": ","}, 5400),
        ("1.5 h", {}, 5400),
        ("PT1,5S", {}, 1.5),
        ("0:01,5", {}, 1.5),
    ],
)
def test_numbers_with_units_follow_the_separators_of_the_input(
    text: str, style: dict[str, str], expected: float
) -> None:
    assert seconds(text, number_reader(Input(**style))) == expected


@pytest.mark.parametrize(("text", "style"), [("1,5 h", {}), ("1,500 s", {}), ("1.5 h", {"decimal": ","})])
def test_a_number_with_a_unit_and_another_separator_is_a_problem(text: str, style: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        seconds(text, number_reader(Input(**style)))

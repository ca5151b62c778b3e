r"""Numbers as people and programs write them, by what the mapping says of the input; nothing is guessed.

    -1,234.50   1 234,50   1'234.50   12.50-   € 12,50   1e5

A separator counts only where it stands between groups of the right size: `12,50` under `thousands = ","` is not 1250.
Nor is `0,125` 125: nobody groups digits after a zero, and it is a fraction of another country.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.convert.mapping import Input

    ReadNumber: TypeAlias = Callable[[Any], float]

_PLAIN_LENGTH = 300
_BLANKS = " \u00a0\u2009\u202f"
_APOSTROPHES = "'\u2019"
_MINUS = str.maketrans("\u2212\u2013", "--")
_ADVICE = (
    (
        re.compile("[%\u2030]"),
        ": it is a percentage; export the number alone, and say by divide what it is a share of",
    ),
    (re.compile(r"^\(.*\)$"), ": parentheses are not read; export negative numbers with a minus"),
    (
        re.compile(r"^(?:[0-9]+(?::[0-9]+)+(?:[.,][0-9]+)?|P[0-9T].*)$"),
        ': type = "duration" reads a duration',
    ),
)
_GROUPED = {
    "thousands": r"[1-9][0-9]{{0,2}}(?:[{0}][0-9]{{3}})+",
    "indian": r"[1-9][0-9]?(?:[{0}][0-9]{{2}})*[{0}][0-9]{{3}}",
}


def number_reader(source: Input) -> ReadNumber:
    """A function from a value to the number that it is.

    Args:
        source: what separates decimals and groups, and which signs of currencies stand beside a number.

    Returns:
        A function that raises ValueError where the value is no number; the message says why.
    """
    pattern, decimal = _pattern(source), source.decimal
    grouping = _without(source.thousands)
    # Most numbers have digits and a point only; what is left takes several times as long.
    point = decimal if decimal == "." else ""

    def read(raw: Any) -> float:
        if raw.__class__ is not str:
            return _of_json(raw)
        if len(raw) < _PLAIN_LENGTH and raw.isascii() and raw.replace(point, "", 1).isdigit():
            return float(raw)
        found = pattern.fullmatch(raw.translate(_MINUS))
        if found is None:
            raise ValueError(f"{raw[:40]!r} is not a number{_advice(raw, source)}")
        signs = "".join(filter(None, found.group("first", "second", "third", "last")))
        number = float(found["digits"].translate(grouping).replace(decimal, "."))
        if len(signs) > 1 or not math.isfinite(number):
            raise ValueError(f"{raw[:40]!r} is not a number")
        return -number if signs == "-" else number

    return read


def _of_json(raw: Any) -> float:
    try:
        if raw.__class__ is not bool and isinstance(raw, int | float) and math.isfinite(raw):
            return float(raw)
    except OverflowError:
        pass  # an int can be larger than any float
    raise ValueError(f"{str(raw)[:40]!r} is not a number")


def whole(number: float) -> float:
    """The number as an int where it is one and the float is exact."""
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _separators(thousands: str) -> str:
    """The characters that group digits: a blank is also a narrow or a no-break one, an apostrophe also a curly one."""
    for alike in (_BLANKS, _APOSTROPHES):
        if thousands and thousands in alike:
            return alike
    return thousands


def _without(thousands: str) -> dict[int, None]:
    return dict.fromkeys(map(ord, _separators(thousands)))


def _pattern(source: Input) -> re.Pattern[str]:
    digits = "[0-9]+"
    if source.thousands:
        digits = f"(?:{_GROUPED[source.grouping].format(re.escape(_separators(source.thousands)))}|[0-9]+)"
    point = re.escape(source.decimal)
    number = rf"(?:{digits}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?"
    signs = "|".join(map(re.escape, sorted(source.currency_signs, key=len, reverse=True)))
    blank = f"[{_BLANKS}]*"
    before = f"(?:(?:{signs}){blank})?" if signs else ""
    after = f"(?:{blank}(?:{signs}))?" if signs else ""
    return re.compile(
        rf"(?P<first>[+-]?){blank if signs else ''}{before}(?P<second>[+-]?)(?P<digits>{number})(?P<third>-?){after}(?P<last>-?)"
    )


def _advice(raw: str, source: Input) -> str:
    """What to do about a text that is no number; "" where there is nothing to say."""
    text = raw.strip()
    for pattern, advice in _ADVICE:
        if pattern.search(text):
            return advice
    if not any(char.isdigit() for char in text):
        return ""
    if any(char.isdigit() and not char.isascii() for char in text):
        return ": it has other digits than 0 to 9"
    if any(unicodedata.category(char) == "Sc" or char.isalpha() for char in text):
        return "; if a currency stands beside it, name it in input.currency_signs"
    said = f" under decimal = {source.decimal!r} and thousands = {source.thousands!r}"
    return said + (", with groups of three digits" if source.grouping == "thousands" else "")

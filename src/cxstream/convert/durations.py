"""Durations as call centres write them, in seconds.

    3:25           minutes and seconds      1:02:03.5      hours, minutes, seconds
    1 02:03:04     days before a clock      1.02:03:04     the same, as .NET writes it
    3m25s, 1 h 2 min                        PT3M25S, P1DT2H, P1W   ISO 8601
    205            seconds

Months and years have no fixed length and are refused; so is what a clock cannot show, such as 3:75.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxstream.convert.numbers import ReadNumber

_N = r"[0-9]+(?:[.,][0-9]+)?"
_CLOCK = re.compile(
    r"(?:(?:(?P<d>[0-9]+)(?: days?,? ?| |\.))?(?P<h>[0-9]+):(?=[0-5][0-9]:))?(?P<m>[0-9]+):(?P<s>[0-5][0-9](?:[.,][0-9]+)?)",
    re.IGNORECASE,
)
_ISO = re.compile(
    rf"P(?=[0-9T])(?:(?P<w>{_N})W)?(?:(?P<d>{_N})D)?"
    rf"(?:T(?=[0-9])(?:(?P<h>{_N})H)?(?:(?P<m>{_N})M)?(?:(?P<s>{_N})S)?)?"
)
_WORDS = re.compile(
    rf"(?=[0-9])(?:(?P<d>{_N}) ?(?:d|days?) ?)?(?:(?P<h>{_N}) ?(?:h|hrs?|hours?) ?)?"
    rf"(?:(?P<m>{_N}) ?(?:m|mins?|minutes?) ?)?(?:(?P<s>{_N}) ?(?:s|secs?|seconds?))?",
    re.IGNORECASE,
)
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def seconds(raw: Any, number: ReadNumber) -> float:
    """A duration in seconds.

    Args:
        raw: the value.
        number: reads plain numbers, which are seconds.

    Raises:
        ValueError: it is no duration.
    """
    if isinstance(raw, str):
        text = raw.strip()
        sign = -1 if text.startswith(("-", "\u2212")) else 1
        for pattern, read in ((_CLOCK, _either), (_ISO, _either), (_WORDS, number)):
            found = pattern.fullmatch(text.lstrip("-\u2212") if sign < 0 else text)
            if found:
                parts = found.groupdict()
                return sign * sum(read(part) * _SECONDS[unit] for unit, part in parts.items() if part)
    try:
        return number(raw)
    except ValueError:
        raise ValueError(
            f"{str(raw)[:40]!r} is not a duration such as 3:25 (minutes and seconds), 1:02:03, PT3M25S or 205"
        ) from None


def _either(part: str) -> float:
    """A number of a clock or of ISO 8601, where a comma is a point and there are no groups."""
    return float(part.replace(",", "."))

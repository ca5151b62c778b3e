"""Times as the project writes them: RFC 3339 in UTC, with milliseconds and Z."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DAY_MS = 86_400_000

# Regular expressions, calendar included, for engines of all kinds.
_MONTH_AND_DAY = (
    "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8])"
)
_YEAR = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_FOURTHS = "(?:0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR = f"(?:[0-9]{{2}}{_FOURTHS}|{_FOURTHS}00)"
_HOUR_AND_MINUTE = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
DATE = f"(?:{_YEAR}-(?:{_MONTH_AND_DAY})|{_LEAP_YEAR}-02-29)"
# What follows a date, with an offset.
TIME_OF_DAY = rf"[Tt]{_HOUR_AND_MINUTE}:[0-5][0-9](?:\.[0-9]+)?(?:[Zz]|[+-]{_HOUR_AND_MINUTE})"


@functools.lru_cache(maxsize=4096)
def date(day: int) -> str:
    """A day (floor of time / day) as RFC 3339 has it."""
    return str(np.datetime64(day, "D"))


def rfc3339(ms: int) -> str:
    """Ms UTC as RFC 3339 with milliseconds and Z.

    >>> rfc3339(1_528_844_864_000)
    '2018-06-12T23:07:44.000Z'
    """
    day, rest = divmod(ms, _DAY_MS)
    minutes, rest = divmod(rest, 60_000)
    hour, minute = divmod(minutes, 60)
    second, milli = divmod(rest, 1000)
    return f"{date(day)}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"


def rfc3339_all(ms: NDArray[np.int64]) -> list[str]:
    """Many times at once: int64[n], ms UTC."""
    texts: list[str] = np.datetime_as_string(ms.astype("M8[ms]"), timezone="UTC").tolist()
    return texts

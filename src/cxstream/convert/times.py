"""Times as sources write them become milliseconds UTC.

A source often writes local times without an offset. The zone makes them instants, with two cases to decide
each year: an hour that occurs twice when clocks go back, and an hour that is left out when they go forward.
Both are decided the same way every time, and counted.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

TWICE = "local times that occur twice, as clocks go back"
NEVER = "local times that do not exist, as clocks go forward: moved ahead by the gap"

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the arithmetic below is on naive times, in UTC
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_EARLIEST_MS = (datetime(1, 1, 2) - _EPOCH) // _MS  # noqa: DTZ001
_LATEST_MS = (datetime(9999, 12, 31) - _EPOCH) // _MS  # noqa: DTZ001
_REMEMBERED = 100_000
_PER_SECOND = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}
_DIRECTIVES = {
    "%Y": r"(?P<year>\d{4})",
    "%m": r"(?P<month>1[0-2]|0?[1-9])",
    "%d": r"(?P<day>3[01]|[12]\d|0?[1-9])",
    "%H": r"(?P<hour>2[0-3]|[01]\d|\d)",
    "%M": r"(?P<minute>[0-5]\d|\d)",
    "%S": r"(?P<second>[0-5]\d|\d)",
}


def rfc3339(ms: int) -> str:
    """Milliseconds UTC as an RFC 3339 time.

    >>> rfc3339(1_528_844_864_000)
    '2018-06-12T23:07:44.000Z'
    """
    hour, rest = divmod(ms, 3_600_000)
    minute, rest = divmod(rest, 60_000)
    return f"{_hour(hour)}:{minute:02d}:{rest / 1000:06.3f}Z"


@lru_cache(_REMEMBERED)
def _hour(hour: int) -> str:
    return (_EPOCH + timedelta(hours=hour)).isoformat(timespec="hours")


def zone(name: str) -> ZoneInfo:
    """The time zone called `name` in the IANA database.

    Raises:
        InputError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise InputError(f"{name!r}: no such time zone; name one like Europe/Warsaw or UTC") from error


class LocalClock:
    """The clock on the wall of a time zone.

    Args:
        name: IANA name of the zone.
        notes: is told how often a local time is ambiguous or does not exist.
        ambiguous: which one of two equal readings of the clock is meant.
    """

    def __init__(
        self, name: str, notes: Counter[str], ambiguous: Literal["earlier", "later"] = "earlier"
    ) -> None:
        self._zone = zone(name)
        self._notes = notes
        self._later = ambiguous == "later"
        self._twice = f"{TWICE}: taken as the {ambiguous} one"
        self._steady: dict[int, int] = {}

    def ms(self, local: datetime) -> int:
        """Milliseconds UTC of a reading of this clock; fractions of a millisecond are cut off."""
        hour = local.toordinal() * 24 + local.hour
        offset = self._steady.get(hour)
        if offset is None:
            offset = self._offset(local, hour)
        return (local - _EPOCH) // _MS - offset

    def _offset(self, local: datetime, hour: int) -> int:
        """Milliseconds that this reading is ahead of UTC; remembered for hours in which nothing happens."""
        ends = [local.replace(minute=0, second=0, microsecond=0), local.replace(minute=59, second=59), local]
        offsets = [self._both(end) for end in ends]
        if len({offset for both in offsets for offset in both}) == 1:
            if len(self._steady) >= _REMEMBERED:
                self._steady.clear()
            return self._steady.setdefault(hour, offsets[0][0])
        first, second = offsets[2]
        if first > second:
            self._notes[self._twice] += 1
            return second if self._later else first
        if first < second:
            self._notes[NEVER] += 1
        return first

    def _both(self, local: datetime) -> tuple[int, int]:
        """What the first and the second reading of this time would be ahead of UTC, in ms."""
        aware = (local.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        first, second = ((time.utcoffset() or timedelta()) // _MS for time in aware)
        return first, second


def parser(form: str, clock: LocalClock | None) -> Callable[[Any], int]:
    """A function from a value to milliseconds UTC.

    Args:
        form: `iso` (ISO 8601, RFC 3339), `epoch_s`, `epoch_ms`, `epoch_us`, or a format of `strptime`.
        clock: the zone of values without an offset, if they may come without.

    Returns:
        A function that raises ValueError when a value is not such a time; the message says why.
    """
    if form in _PER_SECOND:
        return _epoch_parser(_PER_SECOND[form])
    read = datetime.fromisoformat if form == "iso" else local_parser(form)

    def parse(value: Any) -> int:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not text")  # noqa: TRY004 - the caller reports ValueErrors
        local = read(value)
        if local.tzinfo is not None:
            return (local - _EPOCH_UTC) // _MS
        if clock is None:
            raise ValueError(f"{value!r} has no offset from UTC; give the mapping a zone")
        return clock.ms(local)

    return parse


def _epoch_parser(per_second: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            raise ValueError(f"{value!r} is not a number") from None
        if not number.is_finite() or abs(number) > _LATEST_MS * 1000:
            raise ValueError(f"{value!r} is outside the years 1 to 9999")
        ms = math.floor(number * 1000 / per_second)
        if not _EARLIEST_MS <= ms <= _LATEST_MS:
            raise ValueError(f"{value!r} is outside the years 1 to 9999")
        return ms

    return parse


def local_parser(form: str) -> Callable[[str], datetime]:
    """`datetime.strptime` for one format; several times as fast where the format is of plain numbers.

    >>> local_parser("%Y%m%d %H:%M")("19990201 7:02")
    datetime.datetime(1999, 2, 1, 7, 2)
    """
    parts = re.split(r"(%.)", form)
    directives = parts[1::2]
    plain = {"%Y", "%m", "%d"} <= set(directives) <= set(_DIRECTIVES) and len(set(directives)) == len(
        directives
    )
    if not plain:
        return lambda text: datetime.strptime(text, form)  # noqa: DTZ007 - the zone is the caller's business
    pattern = re.compile("".join(_DIRECTIVES.get(part) or re.escape(part) for part in parts))
    names = tuple(pattern.groupindex)

    def parse(text: str) -> datetime:
        found = pattern.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} does not look like {form!r}")
        fields: dict[str, Any] = dict(zip(names, map(int, found.groups()), strict=True))
        return datetime(**fields)  # noqa: DTZ001 - the zone is the caller's business

    return parse

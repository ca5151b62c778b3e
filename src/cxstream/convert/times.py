"""Times as sources write them become milliseconds UTC.

A source often writes local times without an offset. The zone makes them instants, with two cases to decide
each year: an hour that occurs twice when clocks go back, and an hour that is left out when they go forward.
Both are decided the same way every time, and counted.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

from cxstream.convert.formats import Reading, offset_of, reader
from cxstream.convert.zones import ZoneNames, zone

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

TWICE = "local times that occur twice, as clocks go back"
NEVER = "local times that do not exist, as clocks go forward: moved ahead by the gap"

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the arithmetic below is on naive times, in UTC
_MS = timedelta(milliseconds=1)
_EARLIEST_MS = (datetime(1, 1, 2) - _EPOCH) // _MS  # noqa: DTZ001
_LATEST_MS = (datetime(9999, 12, 31) - _EPOCH) // _MS  # noqa: DTZ001
_REMEMBERED = 100_000
PER_SECOND = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000, "epoch_ns": 1_000_000_000}
NAMED = ("iso", *PER_SECOND, "excel", "excel_1904")
"""Formats that have a name; any other is in the directives of strptime."""

# 1900 was no leap year, but Excel has a 60th day of it, 29 February: later days count from a day earlier.
_EXCEL_FALSE_DAY = 60
_EXCEL_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001
_EXCEL_EARLY_EPOCH = datetime(1899, 12, 31)  # noqa: DTZ001
_EXCEL_1904_EPOCH = datetime(1904, 1, 1)  # noqa: DTZ001
_EXCEL_LAST = 2_958_466
_DAY_MS = 86_400_000
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:(?:T|\s+)(\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?))?"
    r"\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?\s*(?:\[[^\]]*\])?",
    re.IGNORECASE,
)
_NOT_AFTER_A_DATE = re.compile(r"\d{4}-\d\d-\d\d[-+\d]")
_COMPACT_DATE_DIGITS = 8
# No time is longer, and patterns with blanks take a time that grows with the square of the length.
_MOST_CHARACTERS = 256


class LocalClock:
    """The clock on the wall of a time zone.

    Args:
        name: IANA name of the zone.
        notes: is told how often a local time is ambiguous or does not exist.
        ambiguous: which one of two equal readings of the clock is meant.

    Attributes:
        zone: whose clock it is.
    """

    def __init__(
        self, name: str, notes: Counter[str], ambiguous: Literal["earlier", "later"] = "earlier"
    ) -> None:
        self.zone = zone(name)
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
        aware = (local.replace(tzinfo=self.zone, fold=fold) for fold in (0, 1))
        first, second = ((time.utcoffset() or timedelta()) // _MS for time in aware)
        return first, second


def parser(
    form: str,
    clock: LocalClock | None,
    names: ZoneNames | None = None,
    on_local: Callable[[datetime], None] | None = None,
) -> Callable[[Any], int]:
    """A function from a value to milliseconds UTC.

    Args:
        form: `iso` (ISO 8601, RFC 3339), `epoch_s`, `epoch_ms`, `epoch_us`, `epoch_ns`, `excel`, `excel_1904`, or a
            format in the directives of `strptime`.
        clock: the zone of values without an offset, if they may come without.
        names: what names of zones mean.
        on_local: is told each date and time as it is written, where it is one.

    Returns:
        A function that raises ValueError when a value is not such a time; the message says why.

    Raises:
        ValueError: there is no such format.
    """
    if form in PER_SECOND:
        return _epoch_parser(PER_SECOND[form])
    read = _reader(form)
    names = names or ZoneNames({}, clock.zone if clock else None)

    def parse(value: Any) -> int:
        local, ahead, name = read(value)
        if on_local is not None:
            on_local(local)
        if name is not None:
            ahead = names.ahead_ms(name, local)
        if ahead is not None:
            ms = (local - _EPOCH) // _MS - ahead
        elif clock is not None:
            ms = clock.ms(local)
        else:
            raise ValueError(f"{value!r} has no offset from UTC; give the mapping a zone")
        if not _EARLIEST_MS <= ms <= _LATEST_MS:
            raise ValueError(f"{value!r} is outside the years 1 to 9999")
        return ms

    return parse


def any_of(parsers: list[Callable[[Any], int]], forms: list[str]) -> Callable[[Any], int]:
    """A function that reads what one of several formats reads; the first that does counts."""
    if len(parsers) == 1:
        return parsers[0]

    def parse(value: Any) -> int:
        errors = []
        for one in parsers:
            try:
                return one(value)
            except (ValueError, OverflowError) as error:
                errors.append(str(error))
        raise ValueError(f"{value!r} does not look like any of {', '.join(map(repr, forms))} ({errors[0]})")

    return parse


def _reader(form: str) -> Callable[[Any], Reading]:
    if form == "excel":
        return _excel
    if form == "excel_1904":
        return _excel_1904
    read = _iso if form == "iso" else reader(form)

    def of_text(value: Any) -> Reading:
        if value.__class__ is int and form != "iso":
            value = str(value)
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not text")  # noqa: TRY004 - the caller reports ValueErrors
        if len(value) > _MOST_CHARACTERS:
            raise ValueError(f"{value[:40]!r}... has {len(value):,} characters, and is no time")
        return read(value)

    return of_text


def _iso(text: str) -> Reading:
    """ISO 8601 and RFC 3339, with what databases and languages make of them."""
    # The standard library would take the rest of such texts for a time of day.
    digits = text.isdigit() and len(text) != _COMPACT_DATE_DIGITS
    if not digits and _NOT_AFTER_A_DATE.match(text) is None:
        try:
            return _naive(datetime.fromisoformat(text))
        except ValueError:
            pass
    found = _ISO.fullmatch(text)
    try:
        if found is not None:
            return _lenient(*found.groups())
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no time: {error}") from error
    raise ValueError(f"{text!r} is not an ISO 8601 time, like 2025-03-01T14:30:00+01:00")


def _lenient(day: str, clock: str | None, offset: str | None) -> Reading:
    midnight = clock is not None and clock[:2] == "24" and not clock[2:].strip(":0.,")
    clock = "00:00" if midnight or clock is None else clock.replace(",", ".")
    local = datetime.fromisoformat(f"{day}T{clock}")
    if midnight:
        local += timedelta(days=1)
    return Reading(local, 0 if (offset or "").upper() in {"UTC", "GMT"} else offset_of(offset))


def _naive(time: datetime) -> Reading:
    ahead = time.utcoffset()
    return Reading(time.replace(tzinfo=None), None if ahead is None else ahead // _MS)


def _number(value: Any) -> Decimal:
    """The number that a cell or a JSON value is.

    Raises:
        ValueError: it is none, or has lost digits.
    """
    text = str(value).strip()
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    try:
        number = Decimal(text if "_" not in text else "")
    except InvalidOperation:
        raise ValueError(f"{value!r} is not a number") from None
    if not number.is_finite():
        raise ValueError(f"{value!r} is not a number")
    exponent = number.as_tuple().exponent
    if isinstance(value, str) and isinstance(exponent, int) and exponent > 0:
        raise ValueError(
            f"{value!r} is shortened, its last {exponent} digits are lost; export the column as plain numbers"
        )
    return number


def _excel(value: Any) -> Reading:
    """A serial date of Excel's 1900 system: whole days and their fraction."""
    number = _number(value)
    if number < 1:
        raise ValueError(f"{value!r} is a time of day without a date, or an empty date of Excel")
    if _EXCEL_FALSE_DAY <= number < _EXCEL_FALSE_DAY + 1:
        raise ValueError(f"{value!r} is 29 February 1900 in Excel, a day that never was")
    return _serial(number, _EXCEL_EPOCH if number > _EXCEL_FALSE_DAY else _EXCEL_EARLY_EPOCH, value)


def _excel_1904(value: Any) -> Reading:
    """A serial date of the 1904 system, of workbooks that began on old Macintoshes."""
    number = _number(value)
    if number < 0:
        raise ValueError(f"{value!r} is before 1904")
    return _serial(number, _EXCEL_1904_EPOCH, value)


def _serial(number: Decimal, epoch: datetime, value: Any) -> Reading:
    if number >= _EXCEL_LAST:
        raise ValueError(f"{value!r} is no date of Excel's")
    exact = number * _DAY_MS
    # Of 45839.4166667 the digits leave open which millisecond is meant: then it is the whole second.
    exponent = number.as_tuple().exponent
    doubt = Decimal(_DAY_MS // 2).scaleb(exponent) if isinstance(exponent, int) and exponent < 0 else 0
    second = round(exact / 1000) * 1000
    ms = second if abs(exact - second) <= doubt else round(exact)
    return Reading(epoch + timedelta(milliseconds=ms))


def _epoch_parser(per_second: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        number = _number(value)
        if abs(number) > _LATEST_MS * 1_000_000:
            raise ValueError(f"{value!r} is outside the years 1 to 9999")
        ms = math.floor(number * 1000 / per_second)
        if not _EARLIEST_MS <= ms <= _LATEST_MS:
            raise ValueError(f"{value!r} is outside the years 1 to 9999")
        return ms

    return parse


def local_parser(form: str) -> Callable[[str], datetime]:
    """A function from a text to the date and time that it says, for formats without offset and zone.

    >>> local_parser("%Y%m%d %H:%M")("19990201 7:02")
    datetime.datetime(1999, 2, 1, 7, 2)
    """
    read = reader(form)
    return lambda text: read(text).local

"""Formats of times in the directives of `strptime`, read the same on every computer.

The standard library's `strptime` takes names of time zones from the computer that it runs on, ignores `%p` beside
`%H`, and dates a format without a year in 1900. Here a format is checked when the mapping is read, and becomes
one regular expression.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?"
)
_WEEKDAY = "mon(?:day)?|tues?(?:day)?|wed(?:nesday)?|thu(?:rs(?:day)?)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?"
_DIRECTIVES = {
    "Y": r"(?P<year>\d{4})",
    "y": r"(?P<short_year>\d{2})",
    "m": r"(?P<month>1[0-2]|0?[1-9])",
    "b": rf"(?P<month_name>{_MONTH})",
    "d": r"(?P<day>3[01]|[12]\d|[0 ]?[1-9])",
    "j": r"(?P<day_of_year>36[0-6]|3[0-5]\d|[12]\d\d|0?[1-9]\d|0?0?[1-9])",
    "a": rf"(?:{_WEEKDAY})",
    "H": r"(?P<hour>2[0-4]|[01]\d|\d)",
    "I": r"(?P<half_hour>1[0-2]|0?[1-9])",
    "p": r"(?P<half>[ap])\.?\s?m\.?",
    "M": r"(?P<minute>[0-5]\d|\d)",
    "S": r"(?P<second>[0-5]\d|\d)",
    "f": r"(?P<fraction>\d{1,9})",
    "z": r"(?P<offset>[+-]\d\d(?::?\d\d)?|Z)",
    "Z": r"(?P<zone>[A-Za-z]+(?:/[A-Za-z_]+)*)",
    "%": "%",
}
# The first two as other programs write them; the last three as in the C locale.
_SHORT_FOR = {
    "B": "%b", "A": "%a", "e": "%d", "T": "%H:%M:%S", "R": "%H:%M", "F": "%Y-%m-%d", "D": "%m/%d/%y",
    "c": "%a %b %d %H:%M:%S %Y", "x": "%m/%d/%y", "X": "%H:%M:%S",
}  # fmt: skip
# Dates by week are left to the standard library, which knows nothing of zones there.
_WEEKS = frozenset("GVUWuw")
_LITERAL_Z = re.compile(r"(%[SfM](?:\.0+)?)Z$")
_QUICK = {"year", "month", "day", "hour", "minute", "second"}
_DATE = {"year", "month", "day"}
_CENTURY_ENDS = 68
_MIDNIGHT = 24


class Reading(NamedTuple):
    """What a text says.

    Attributes:
        local: date and time, without a zone.
        ahead_ms: milliseconds ahead of UTC, where the text has an offset.
        zone: name of a zone, where the text has one.
    """

    local: datetime
    ahead_ms: int | None = None
    zone: str | None = None


def expanded(form: str) -> str:
    """The format in the plain directives.

    Raises:
        ValueError: it has a directive that there is none of, or cannot give a time; says why.
    """
    form = re.sub(r"%%|%[-_]?([a-zA-Z])", lambda found: _SHORT_FOR.get(found[1], f"%{found[1] or '%'}"), form)
    # A Z that stands for itself still says UTC.
    form = _LITERAL_Z.sub(r"\1%z", form)
    letters = re.findall(r"%(.|$)", form, re.DOTALL)
    used = [letter for letter in letters if letter != "%"]
    if not used:
        raise ValueError(
            f"{form!r} has no directive; write one like '%d.%m.%Y %H:%M', or iso, epoch_s, epoch_ms, epoch_us,"
            " epoch_ns, excel, excel_1904"
        )
    for letter in used:
        if letter not in _DIRECTIVES and letter not in _WEEKS:
            raise ValueError(f"{form!r}: there is no directive %{letter}")
        if used.count(letter) > 1:
            raise ValueError(f"{form!r}: %{letter} is there twice (%m is the month, %M the minute)")
    _check(form, set(used))
    return form


def _check(form: str, used: set[str]) -> None:
    """Refuse what strptime reads in silence as something else."""
    if not used & {"Y", "y", "G"}:
        raise ValueError(f"{form!r} has no year")
    if used & _WEEKS:
        if "Z" in used:
            raise ValueError(f"{form!r}: %Z cannot stand beside directives of weeks")
        return
    if "d" in used and not used & {"m", "b"}:
        raise ValueError(f"{form!r} has a day and no month")
    if "I" in used and "p" not in used:
        raise ValueError(f"{form!r}: %I is an hour of 12 and needs %p (AM or PM); %H is an hour of 24")
    if "p" in used and "I" not in used:
        raise ValueError(f"{form!r}: %p (AM or PM) needs %I, the hour of 12, in place of %H")
    for pair in ({"Y", "y"}, {"m", "b"}, {"H", "I"}, {"z", "Z"}, {"j", "d"}):
        if pair <= used:
            raise ValueError(
                f"{form!r}: " + " and ".join(f"%{one}" for one in sorted(pair)) + " say the same"
            )


def reader(form: str) -> Callable[[str], Reading]:
    """A function that reads texts of one format; it raises ValueError for others.

    >>> reader("%Y%m%d %H:%M")("19990201 7:02").local
    datetime.datetime(1999, 2, 1, 7, 2)
    """
    plain = expanded(form)
    if set(re.findall(r"%(.)", plain)) & _WEEKS:
        return lambda text: _by_week(text, plain)
    parts = re.split(r"%(.)", plain)
    pattern = re.compile(
        "".join(_DIRECTIVES[part] if i % 2 else _literal(part) for i, part in enumerate(parts)), re.IGNORECASE
    )

    names = tuple(pattern.groupindex)
    # Several times as fast, and most formats are of plain numbers.
    quick = _DATE <= set(names) <= _QUICK

    def read(text: str) -> Reading:
        found = pattern.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} does not look like {form!r}")
        if quick:
            fields: dict[str, Any] = dict(zip(names, map(int, found.groups()), strict=True))
            if fields.get("hour") != _MIDNIGHT:
                return Reading(datetime(**fields))  # noqa: DTZ001 - the zone is the caller's business
        return _reading(found.groupdict(), text)

    return read


def _literal(text: str) -> str:
    return re.sub(r"(?:\\?\s)+", r"\\s+", re.escape(text))


def _by_week(text: str, form: str) -> Reading:
    found = datetime.strptime(text, form)  # noqa: DTZ007 - the zone is the caller's business
    ahead = found.utcoffset()
    return Reading(found.replace(tzinfo=None), None if ahead is None else ahead // timedelta(milliseconds=1))


def _reading(fields: dict[str, Any], text: str) -> Reading:
    get = fields.get
    hour, minute, second = int(get("hour") or 0), int(get("minute") or 0), int(get("second") or 0)
    if half_hour := get("half_hour"):
        hour = int(half_hour) % 12 + (12 if fields["half"] in "pP" else 0)
    midnight = hour == _MIDNIGHT
    if midnight and (minute or second or int(get("fraction") or 0)):
        raise ValueError(f"{text!r}: 24 o'clock is midnight, nothing later")
    local = datetime(  # noqa: DTZ001 - the zone is the caller's business
        _year(fields), _month(fields), int(get("day") or 1), 0 if midnight else hour, minute, second,
        int((get("fraction") or "0").ljust(6, "0")[:6]),
    )  # fmt: skip
    if midnight:
        local += timedelta(days=1)
    if day_of_year := get("day_of_year"):
        year = local.year
        local += timedelta(days=int(day_of_year) - 1)
        if local.year != year:
            raise ValueError(f"{text!r}: the year {year} has no day {day_of_year}")
    return Reading(local, offset_of(get("offset")), get("zone"))


def _year(fields: dict[str, Any]) -> int:
    if year := fields.get("year"):
        return int(year)
    short = int(fields["short_year"])
    return short + (2000 if short <= _CENTURY_ENDS else 1900)


def _month(fields: dict[str, Any]) -> int:
    if name := fields.get("month_name"):
        return _MONTHS.index(name[:3].lower()) + 1
    return int(fields.get("month") or 1)


def offset_of(text: str | None) -> int | None:
    """Milliseconds ahead of UTC of `Z`, `+02`, `+0200` or `+02:00`; None of None.

    Raises:
        ValueError: it is no offset of this world.
    """
    if text is None:
        return None
    if text in "zZ":
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23 or minutes > 59:  # noqa: PLR2004
        raise ValueError(f"{text!r} is no offset from UTC")
    return (hours * 60 + minutes) * 60_000 * (-1 if text[0] == "-" else 1)


def swapped(form: str) -> str | None:
    """The same format with day and month in each other's place; None where it does not have both in digits."""
    try:
        plain = expanded(form)
    except ValueError:
        return None
    if "%d" not in plain or "%m" not in plain:
        return None
    return re.sub("%[dm]", lambda found: "%m" if found[0] == "%d" else "%d", plain)

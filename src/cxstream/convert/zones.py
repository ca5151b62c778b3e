"""Names of time zones in data: EST, CET, UTC. Resolved by the table below, never by the computer's own zone."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

UNIVERSAL = frozenset(("UTC", "UT", "GMT", "Z"))
"""Offset 0, whatever else is said."""

FIXED_MINUTES = {
    "WET": 0, "WEST": 60, "CET": 60, "CEST": 120, "MEZ": 60, "MESZ": 120, "EET": 120, "EEST": 180,
    "MSK": 180, "SAST": 120, "PKT": 300, "WIB": 420, "HKT": 480, "SGT": 480, "JST": 540, "KST": 540,
    "AWST": 480, "ACST": 570, "ACDT": 630, "AEST": 600, "AEDT": 660, "NZST": 720, "NZDT": 780,
    "EST": -300, "EDT": -240, "MST": -420, "MDT": -360, "PST": -480, "PDT": -420,
    "AKST": -540, "AKDT": -480, "HST": -600,
}  # fmt: skip
"""Minutes ahead of UTC. EST to PDT as RFC 5322 has them; names that are in use for several zones (CST, IST, BST,
AST, ...) are not here."""

_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")
_MS = timedelta(milliseconds=1)


def zone(name: str) -> ZoneInfo:
    """The time zone called `name` in the IANA database.

    Raises:
        InputError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError) as error:
        raise InputError(f"{name!r}: no such time zone; name one like Europe/Warsaw or UTC") from error


def offset_ms(text: str) -> int:
    """Milliseconds ahead of UTC of an offset like -05:00.

    Raises:
        ValueError: it is none.
    """
    found = _OFFSET.fullmatch(text)
    if found is None or int(found[2]) > 15 or int(found[3]) > 59:  # noqa: PLR2004
        raise ValueError(f"{text!r} is not an offset from UTC, like -05:00")
    minutes = int(found[2]) * 60 + int(found[3])
    return minutes * 60_000 * (-1 if found[1] == "-" else 1)


class ZoneNames:
    """What the names of zones in a column mean.

    In this order: `own`; UTC and its like; the name as `zone` uses it at that local time; the table; the
    name as `zone` uses it at another time of that year.

    Args:
        own: offsets by name, as the mapping says.
        home: IANA zone of the mapping, which settles names that several zones share; None where it has none.
    """

    def __init__(self, own: Mapping[str, str], home: ZoneInfo | None) -> None:
        self._own = {name.upper(): offset_ms(offset) for name, offset in own.items()}
        self._home = home

    def ahead_ms(self, name: str, local: datetime) -> int:
        """Milliseconds that a local time with this name is ahead of UTC.

        Raises:
            ValueError: the name means several zones, or none.
        """
        upper = name.upper()
        if upper in self._own:
            return self._own[upper]
        if upper in UNIVERSAL:
            return 0
        if "/" in name:
            return _ahead(zone(name), local)
        found = self._at_home(upper, local)
        if found is None and upper in FIXED_MINUTES:
            return FIXED_MINUTES[upper] * 60_000
        if found is None:
            found = self._at_home(upper, local.replace(month=1, day=15), local.replace(month=7, day=15))
        if found is None:
            raise ValueError(
                f"{name!r} is the name of several time zones, or of none; say which one in the mapping:"
                f' zones = {{ {upper} = "-05:00" }}, or the zone of all times'
            )
        return found

    def _at_home(self, name: str, *locals_: datetime) -> int | None:
        if self._home is None:
            return None
        for local in locals_:
            for fold in (0, 1):
                aware = local.replace(tzinfo=self._home, fold=fold)
                if (aware.tzname() or "").upper() == name:
                    return (aware.utcoffset() or timedelta()) // _MS
        return None


def _ahead(home: ZoneInfo, local: datetime) -> int:
    return (local.replace(tzinfo=home).utcoffset() or timedelta()) // _MS

"""Contacts of all channels, added up from those of each channel: one query instead of three, over weeks instead of four."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxstream.console import weeks
from cxstream.warehouse.views.statistics import wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row
    from cxstream.console.scope import Scope

QUEUED = "queued"
"""The contacts of channels where somebody waits, which the view `service` has as those of its selection."""

MOST = 500
"""Groups that are shown."""

# Shares, and of which counts.
_SHARES = {
    "in_time": ("answered_in_time", "waited"),
    "abandonment": ("abandoned", QUEUED),
    "fcr": ("first_resolved", "first_contacts"),
}


@dataclass(frozen=True, slots=True)
class Able:
    """Channels where something can be known at all.

    Attributes:
        to_resolve: where some contact says whether it was resolved: only there it can be.
        to_wait: where some contact says how long it waited: nobody gives up an e-mail while waiting.
    """

    to_resolve: list[str]
    to_wait: list[str]


async def by_week(ask: Ask) -> list[Row]:
    """The view `service` of the weeks up to the end of the period, by channel."""
    return await ask.view("service", scope=weeks.scope_of(ask.scope), by=("channel",), grain="week")


async def by_channel(ask: Ask, scope: Scope) -> list[Row]:
    """The view `service` of a period, by channel."""
    return await ask.view("service", scope=scope, by=("channel",), limit=MOST)


def able_of(rows: Sequence[Row]) -> Able:
    """What the channels of these rows can tell."""
    return Able(
        sorted({row["channel"] for row in rows if row["channel"] and row["resolved_share"] is not None}),
        sorted({row["channel"] for row in rows if row["channel"] and row["waited"]}),
    )


def added(rows: Sequence[Row], able: Able, few: int) -> list[Row]:
    """All channels, or each week of them, with the resolution at first contact and the giving up of those that can have them.

    Args:
        rows: of `by_week` or `by_channel`.
        able: what channels can tell.
        few: fewer cases than this give no share.
    """
    found: dict[object, Row] = {}
    for row in rows:
        week = found.setdefault(row.get("period"), {"period": row.get("period")})
        counts = {name: row[name] for name in ("contacts", "waited", "answered_in_time", "repeat_contacts")}
        resolves, waits = row["channel"] in able.to_resolve, row["channel"] in able.to_wait
        counts |= {name: row[name] if resolves else 0 for name in ("first_contacts", "first_resolved")}
        counts |= {QUEUED: row["contacts"] if waits else 0, "abandoned": row["abandoned"] if waits else 0}
        for name, count in counts.items():
            week[name] = week.get(name, 0) + count
    return [week | _shares(week, few) for _, week in sorted(found.items(), key=lambda item: str(item[0]))]


def of_able(rows: Sequence[Row]) -> Row:
    """The columns of those channels that can have them, from the row of all channels; without one they are empty."""
    unknown = {"first_contacts": 0, "first_resolved": 0, "abandoned": 0, QUEUED: 0}
    row = rows[0] if rows else unknown | _shares({**unknown, "answered_in_time": 0, "waited": 0}, 1)
    shares = [f"{name}{end}" for name in ("abandonment", "fcr") for end in ("", "_low", "_high")]
    return {name: row[name] for name in (*unknown, *shares)}


def _shares(week: Row, few: int) -> Row:
    shares: Row = {}
    for name, (part, whole) in _SHARES.items():
        hits, n = week[part], week[whole]
        has = n > 0 and n >= few
        low, high = wilson(hits, n) if has else (None, None)
        shares |= {name: hits / n if has else None, f"{name}_low": low, f"{name}_high": high}
    return shares

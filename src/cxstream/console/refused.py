"""Rejected records that no period shows: those without a day, and those that came too late, of days before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row

_OUTSIDE = """
SELECT
    source, reason, coalesce(sum(records) FILTER (day IS NULL), 0)::BIGINT AS dayless,
    coalesce(sum(records) FILTER (day < $since::TIMESTAMP::DATE AND reason = 'too_late'), 0)::BIGINT AS too_late
FROM rejected GROUP BY source, reason HAVING dayless + too_late > 0
ORDER BY source IS NULL, source, dayless + too_late DESC, reason"""


async def outside(ask: Ask) -> list[Row]:
    """The rejected records of all sources that the period leaves out, by source and reason."""
    return await ask.reader.sql(_OUTSIDE, {"since": ask.scope.since})


def said(ask: Ask, rows: Sequence[Row]) -> str:
    """How many the period leaves out, in words; "" where there are none."""
    words = ask.language
    dayless, too_late = (sum(row[name] for row in rows) for name in ("dayless", "too_late"))
    parts = []
    if dayless:
        parts.append(
            words.ngettext(
                "{n} rejected record has no day that can be read.",
                "{n} rejected records have no day that can be read.",
                dayless,
            )
        )
    if too_late:
        parts.append(
            words.ngettext(
                "{n} came too late, of a day before the period.",
                "{n} came too late, of days before the period.",
                too_late,
            )
        )
    if parts:
        parts.append(words.gettext("No period counts them."))
    return " ".join(parts)

"""Rejected records that no period shows: without a day, too late and of a day before it, or come long after the data end."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from cxstream.console.desk import OF_ANOTHER_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row

_OUTSIDE = """
SELECT
    source, reason, coalesce(sum(records) FILTER (day IS NULL), 0)::BIGINT AS dayless,
    coalesce(sum(records) FILTER (day < $since::TIMESTAMP::DATE AND reason = 'too_late'), 0)::BIGINT AS too_late,
    coalesce(sum(records) FILTER (day > $ended::TIMESTAMP::DATE AND day >= $until::TIMESTAMP), 0)::BIGINT AS long_after
FROM rejected GROUP BY source, reason HAVING dayless + too_late + long_after > 0
ORDER BY source IS NULL, source, dayless + too_late + long_after DESC, reason"""


async def outside(ask: Ask) -> list[Row]:
    """The rejected records of all sources that the period leaves out, by source and reason."""
    ended = ask.last + OF_ANOTHER_TIME if ask.last else datetime.max  # noqa: DTZ901 - the read model has UTC without a zone
    return await ask.reader.sql(
        _OUTSIDE, {"since": ask.scope.since, "until": ask.scope.until, "ended": ended}
    )


def are_unknown(rows: Sequence[Row], rejected: int) -> bool:
    """Whether nobody knows how many records of the period were rejected.

    Records that come from Kafka are rejected on the day they arrive: where the data are simulated or replayed, that is long after
    their time.

    Args:
        rows: of `outside`.
        rejected: how many the period counts.
    """
    return not rejected and any(row["long_after"] for row in rows)


def said(ask: Ask, rows: Sequence[Row]) -> str:
    """How many the period leaves out, in words; "" where there are none."""
    words = ask.language
    dayless, too_late, long_after = (
        sum(row[name] for row in rows) for name in ("dayless", "too_late", "long_after")
    )
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
    if long_after:
        parts.append(
            words.ngettext(
                "{n} rejected record arrived over a week after the last touchpoint.",
                "{n} rejected records arrived over a week after the last touchpoint.",
                long_after,
            )
        )
    if parts:
        parts.append(words.gettext("No period counts them."))
    return " ".join(parts)

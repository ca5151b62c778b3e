"""Rejected records that no period shows: those without a day, and those that came too late, of days before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxstream.console.page import Ask

_OUTSIDE = """
SELECT
    coalesce(sum(records) FILTER (day IS NULL), 0)::BIGINT AS dayless,
    coalesce(sum(records) FILTER (day < $since::TIMESTAMP::DATE AND reason = 'too_late'), 0)::BIGINT AS too_late
FROM rejected"""


async def outside(ask: Ask) -> str:
    """How many rejected records of all sources the period leaves out, in words; "" where there are none."""
    (row,) = await ask.reader.sql(_OUTSIDE, {"since": ask.scope.since})
    words = ask.language
    said = []
    if row["dayless"]:
        said.append(
            words.ngettext(
                "{n} rejected record has no day that can be read.",
                "{n} rejected records have no day that can be read.",
                row["dayless"],
            )
        )
    if row["too_late"]:
        said.append(
            words.ngettext(
                "{n} came too late, of a day before the period.",
                "{n} came too late, of days before the period.",
                row["too_late"],
            )
        )
    if said:
        said.append(words.gettext("No period counts them."))
    return " ".join(said)

"""Deletes days that are older than the warehouse keeps.

The first day that is kept is remembered: late events of earlier days are not taken in, so that the content does not
depend on when they arrive. Score cards stay, as they do in cx.scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.warehouse import aggregates, erase, names
from cxstream.warehouse.query import value

if TYPE_CHECKING:
    from datetime import date

    from cxstream.warehouse.store import Store


def retain(store: Store, kept_from: date) -> int:
    """Delete the days before `kept_from`, in a transaction; returns how many touchpoints and signals.

    Days that are gone do not come back with an earlier `kept_from`.
    """
    first = kept_from.isoformat()
    if (store.get("kept_from") or "") >= first:
        return 0
    deleted = 0
    with store.transaction() as connection:
        for table, column in (
            ("touchpoints", "day"),
            ("risk_signals", "time"),
            ("friction_signals", "time"),
            ("place_signals", "time"),
            ("work", "time"),
        ):
            deleted += value(connection, f"DELETE FROM {table} WHERE {column} < ?::DATE", [first])
        for table in (*aggregates.TABLES, "rejected"):
            connection.execute(f"DELETE FROM {table} WHERE day < ?::DATE", [first])
        if deleted:
            names.drop_unused(store)
            erase.note_deleted(store)
        store.set("kept_from", first)
    return deleted

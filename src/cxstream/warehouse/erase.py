"""Erases customers: their rows in all tables, and what these rows added to the aggregates.

A receipt of cx.forgotten names the place of the request in cx.touchpoints, and the customer by a digest. A row goes if
it is before that place, or, in another partition, if its time is not later than the request. Receipts are remembered,
since rows can arrive after them. The bytes of deleted rows go with `Store.compact`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pyarrow as pa

from cxstream.warehouse import aggregates, names, work
from cxstream.warehouse.query import value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.warehouse.batch import Erasure
    from cxstream.warehouse.store import Store

_RECEIPTS = pa.schema(
    [("digest", pa.binary()), ("partition", pa.int32()), ("offset", pa.int64()), ("time", pa.string())]
)
TABLES = ("touchpoints", "score_cards", "risk_signals", "friction_signals")


def erase(store: Store, erasures: Sequence[Erasure]) -> int:
    """Remember erasures, and delete what they concern, in the open transaction; returns how many rows."""
    run = store.connection.execute
    receipts = pa.Table.from_pylist([each._asdict() for each in erasures], _RECEIPTS)
    store.connection.register("receipts", receipts)
    run(
        """CREATE OR REPLACE TEMP TABLE requests AS
        SELECT DISTINCT digest, partition, "offset", time::TIMESTAMP AS time FROM receipts
        EXCEPT SELECT digest, partition, "offset", time FROM erasures"""
    )
    store.connection.unregister("receipts")
    run("INSERT INTO erasures SELECT * FROM requests")
    run(
        """CREATE OR REPLACE TEMP TABLE leaving AS SELECT c.customer_id, e.partition, e."offset", e.time
        FROM requests e JOIN customers c ON c.digest = e.digest"""
    )
    deleted = 0
    for table in TABLES:
        concerned = f"""FROM {table} r WHERE customer_id IN (SELECT customer_id FROM leaving) AND EXISTS
            (SELECT 1 FROM leaving e WHERE e.customer_id = r.customer_id AND {names.CONCERNS})"""
        if table == "touchpoints":
            run(f"CREATE OR REPLACE TEMP TABLE gone AS SELECT * {concerned}")
            aggregates.add(store.connection, "gone", sign=-1)
            run("DROP TABLE gone")
        deleted += value(store.connection, f"DELETE {concerned}")
    deleted += work.erase(store.connection)
    deleted += names.drop_unused(store, "leaving")
    if deleted:
        note_deleted(store)
    return deleted


def note_deleted(store: Store) -> None:
    """Remember since when deleted rows may be in unused blocks of the file."""
    if store.get("deleted_at") is None:
        store.set("deleted_at", str(round(time.time())))

"""Customers and their numbers: who is new in some rows, and which rows an erasure has deleted before they came.

rows (customer, partition, offset, time, ...)
  -> names     customer, customer_id, digest, fresh: each customer of the rows
  -> erased    customer, partition, offset, time: erasures of these customers

These tables are temporary, and go when the transaction ends (`Store.transaction`).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from cxstream.scoring.state.erasures import digest
from cxstream.warehouse.query import value

if TYPE_CHECKING:
    import duckdb

    from cxstream.warehouse.store import Store

# Whether an erasure `e` concerns a row `r`.
CONCERNS = '((e.partition = r.partition AND r."offset" < e."offset") OR (e.partition <> r.partition AND r.time <= e.time))'
# The rows of a table that no erasure concerns; {rows} needs the columns customer, partition, "offset" and time.
KEPT = f"""
    SELECT n.customer_id, r.* EXCLUDE (customer) FROM {{rows}} r JOIN names n ON n.customer = r.customer
    WHERE NOT EXISTS (SELECT 1 FROM erased e WHERE e.customer = r.customer AND {CONCERNS})
"""
_DIGESTS = pa.schema([("customer", pa.string()), ("number", pa.int32()), ("digest", pa.binary())])


def resolve(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
    """Make the tables `names` and `erased` for some rows."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE found AS
        SELECT i.customer, c.customer_id, c.digest
        FROM (SELECT DISTINCT customer FROM {rows}) i LEFT JOIN customers c ON c.customer = i.customer"""
    )
    fresh = connection.sql("SELECT customer FROM found WHERE customer_id IS NULL").to_arrow_table()
    names = fresh.column("customer").to_pylist()
    first = value(connection, "SELECT coalesce(max(customer_id), 0) + 1 FROM customers")
    columns = [names, range(first, first + len(names)), [digest(name) for name in names]]
    connection.register("fresh", pa.table(columns, schema=_DIGESTS))
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE names AS
        SELECT customer, customer_id, digest, false AS fresh FROM found WHERE customer_id IS NOT NULL
        UNION ALL SELECT customer, number, digest, true FROM fresh"""
    )
    connection.unregister("fresh")
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE erased AS
        SELECT n.customer, e.partition, e."offset", e.time FROM names n JOIN erasures e ON e.digest = n.digest"""
    )


def introduce(connection: duckdb.DuckDBPyConnection, customers: pa.StringArray) -> int:
    """Make the table `names` for customers who are not in `customers`, each once.

    Returns:
        The number of the first; the others have those after it.
    """
    first: int = value(connection, "SELECT coalesce(max(customer_id), 0) + 1 FROM customers")
    digests = [digest(name) for name in customers.to_pylist()]
    columns = [customers, range(first, first + len(customers)), digests]
    connection.register("fresh", pa.table(columns, schema=_DIGESTS))
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE names AS SELECT customer, number AS customer_id, digest, true AS fresh FROM fresh"
    )
    connection.unregister("fresh")
    return first


def not_erased(connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> pa.Array | None:
    """Which rows no erasure concerns: bool[n]; None if none is concerned.

    Args:
        connection: after `introduce`.
        rows: of customers and of `names`, with the columns customer_id, partition, offset and time.
    """
    if not value(connection, "SELECT count(*) FROM erasures"):
        return None
    found = connection.execute(
        """SELECT c.customer_id, e.partition, e."offset", e.time FROM erasures e JOIN
        (SELECT customer_id, digest FROM customers UNION ALL SELECT customer_id, digest FROM names) c
        ON c.digest = e.digest"""
    ).fetchall()
    ids = rows.column("customer_id").to_numpy()
    there = np.isin([each[0] for each in found], ids).tolist()
    gone = np.zeros(rows.num_rows, bool)
    partitions, offsets = rows.column("partition"), rows.column("offset")
    for customer, partition, offset, moment in itertools.compress(found, there):
        here = pc.equal(partitions, partition)
        before = pc.less(offsets, offset)
        early = pc.less_equal(rows.column("time"), pa.scalar(moment, pa.timestamp("us")))
        gone |= (ids == customer) & pc.if_else(here, before, early).to_numpy()
    return pa.array(~gone) if gone.any() else None


def admit(store: Store, rows: str) -> None:
    """Add the new customers of `names` who are in a table, by their number."""
    store.connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE admitted AS SELECT customer_id, customer, digest FROM names
        WHERE fresh AND customer_id IN (SELECT customer_id FROM {rows})"""
    )
    store.connection.execute("INSERT INTO customers SELECT * FROM admitted")
    added = store.connection.sql("SELECT customer, customer_id FROM admitted").to_arrow_table()
    store.known.add(_column(added, "customer"), _column(added, "customer_id").to_numpy())


def drop_unused(store: Store, candidates: str = "customers") -> int:
    """Delete customers of whom nothing is left; returns how many.

    Args:
        store: in a transaction.
        candidates: a table with the numbers of those that may be concerned.
    """
    used = " UNION ALL ".join(
        f"SELECT customer_id FROM {table}"
        for table in ("touchpoints", "score_cards", "risk_signals", "friction_signals", "work")
    )
    store.connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE unused AS SELECT customer_id, customer FROM customers
        WHERE customer_id IN (SELECT customer_id FROM {candidates}) AND customer_id NOT IN ({used})"""
    )
    store.connection.execute("DELETE FROM customers WHERE customer_id IN (SELECT customer_id FROM unused)")
    deleted = store.connection.sql("SELECT customer FROM unused").to_arrow_table()
    store.known.remove(_column(deleted, "customer"))
    store.connection.execute("DROP TABLE unused")
    return int(deleted.num_rows)


def _column(table: pa.Table, name: str) -> pa.Array:
    """A column in one chunk; that of an empty table has none."""
    return table.combine_chunks().column(name).combine_chunks()

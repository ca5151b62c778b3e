"""Customers and their numbers: who is new in some rows, and which rows an erasure has deleted before they came.

rows (customer, partition, offset, time, ...)
  -> names     customer, customer_id, digest, fresh: each customer of the rows
  -> erased    customer, partition, offset, time: erasures of these customers
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from cxstream.scoring.state.erasures import digest
from cxstream.warehouse.query import value

if TYPE_CHECKING:
    import duckdb

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


def ids(connection: duckdb.DuckDBPyConnection, customers: pa.Array) -> pa.Array:
    """The number of each customer: int32[n], by `names`."""
    known = connection.sql("SELECT customer, customer_id FROM names").to_arrow_table().combine_chunks()
    at = pc.index_in(customers, known.column("customer"))
    return known.column("customer_id").combine_chunks().take(at)


def not_erased(connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> pa.Array | None:
    """Which rows no erasure of `erased` concerns: bool[n]; None if none is concerned.

    Args:
        connection: after `resolve`.
        rows: with the columns customer, partition, offset and time.
    """
    found = connection.execute('SELECT customer, partition, "offset", time FROM erased').fetchall()
    if not found:
        return None
    gone = np.zeros(rows.num_rows, bool)
    partitions, offsets = rows.column("partition"), rows.column("offset")
    for customer, partition, offset, moment in found:
        here = pc.equal(partitions, partition)
        before = pc.less(offsets, offset)
        early = pc.less_equal(rows.column("time"), pa.scalar(moment, pa.timestamp("us")))
        concerned = pc.and_(pc.equal(rows.column("customer"), customer), pc.if_else(here, before, early))
        gone |= concerned.to_numpy()
    return pa.array(~gone)


def admit(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
    """Add the new customers of `names` who are in a table, by their number."""
    connection.execute(
        f"""INSERT INTO customers SELECT customer_id, customer, digest FROM names
        WHERE fresh AND customer_id IN (SELECT customer_id FROM {rows})"""
    )


def drop_unused(connection: duckdb.DuckDBPyConnection, candidates: str = "customers") -> int:
    """Delete customers of whom nothing is left; returns how many.

    Args:
        connection: in a transaction.
        candidates: a table with the numbers of those that may be concerned.
    """
    used = " UNION ALL ".join(
        f"SELECT customer_id FROM {table}"
        for table in ("touchpoints", "score_cards", "risk_signals", "friction_signals", "work")
    )
    deleted: int = value(
        connection,
        f"""DELETE FROM customers WHERE customer_id IN (SELECT customer_id FROM {candidates})
        AND customer_id NOT IN ({used})""",
    )
    return deleted

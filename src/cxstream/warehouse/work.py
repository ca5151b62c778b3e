"""What people do in the console: taken in from cx.work, erased, and ended there.

An erasure concerns what was done up to an hour after the request: a page that was open then may still have sent it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from cxstream.model.work import work_key
from cxstream.warehouse import batch, names

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from cxstream.kafka.producer import Sender
    from cxstream.warehouse.store import Store

# Whether an erasure `e` concerns a row `r` of work: places in cx.work say nothing of those in cx.touchpoints.
CONCERNS = "r.time <= e.time + INTERVAL 1 HOUR"
_KEYS = pa.schema([("partition", pa.int32()), ("key", pa.binary())])


def take(store: Store, rows: Sequence[dict[str, object]], recent: str) -> None:
    """Take rows of `batch.WORK`; the last of each customer, partition and item counts.

    Args:
        store: in a transaction.
        rows: in the order of each partition.
        recent: condition of the rows that retention keeps.
    """
    connection = store.connection
    last = {(row["customer"], row["partition"], row["item"]): row for row in rows}
    connection.register("incoming", pa.Table.from_pylist(list(last.values()), batch.WORK))
    run = connection.execute
    run("CREATE OR REPLACE TEMP TABLE arriving AS SELECT * FROM incoming")
    connection.unregister("incoming")
    names.resolve(connection, "arriving")
    same = """w.customer_id = n.customer_id AND w.partition = a.partition AND w.item = a.item AND n.customer = a.customer"""
    run(f"DELETE FROM arriving a USING work w, names n WHERE {same} AND w.record > a.record")
    run(f"DELETE FROM work w USING arriving a, names n WHERE {same}")
    run("DELETE FROM arriving WHERE time IS NULL")
    erased = f"EXISTS (SELECT 1 FROM erased e WHERE e.customer = r.customer AND {CONCERNS})"
    found = run(f"SELECT customer, partition, item FROM arriving r WHERE {erased}").fetchall()
    _end(connection, found)
    run(f"DELETE FROM arriving r WHERE {erased} OR NOT ({recent})")
    names.admit(store, "(SELECT n.customer_id FROM arriving JOIN names n USING (customer))")
    run(
        "INSERT INTO work BY NAME SELECT n.customer_id, a.* EXCLUDE (customer) FROM arriving a JOIN names n USING (customer)"
    )
    names.drop_unused(store, "names")


def erase(connection: duckdb.DuckDBPyConnection) -> int:
    """Delete what the erasures of the table `leaving` concern, and note what has to end in cx.work; returns how many rows."""
    concerned = f"""customer_id IN (SELECT customer_id FROM leaving) AND EXISTS
        (SELECT 1 FROM leaving e WHERE e.customer_id = r.customer_id AND {CONCERNS})"""
    found = connection.execute(
        f"SELECT c.customer, r.partition, r.item FROM work r JOIN customers c USING (customer_id) WHERE {concerned}"
    ).fetchall()
    _end(connection, found)
    connection.execute(f"DELETE FROM work r WHERE {concerned}")
    return len(found)


def _end(connection: duckdb.DuckDBPyConnection, items: Sequence[tuple[str, int, str]]) -> None:
    if not items:
        return
    rows = [{"partition": partition, "key": work_key(customer, item)} for customer, partition, item in items]
    connection.register("incoming", pa.Table.from_pylist(rows, _KEYS))
    connection.execute("INSERT INTO work_endings SELECT * FROM incoming EXCEPT SELECT * FROM work_endings")
    connection.unregister("incoming")


def endings(store: Store) -> list[tuple[int, bytes]]:
    """Partition and key of what has to end in cx.work."""
    return store.connection.execute("SELECT partition, key FROM work_endings ORDER BY ALL").fetchall()


async def send_endings(store: Store, sender: Sender, waiting: Sequence[tuple[int, bytes]]) -> None:
    """Send a record without a value for each, and forget them once Kafka has confirmed all.

    Raises:
        BrokerError: Kafka did not confirm them.
    """
    for partition, key in waiting:
        await sender.send_to(partition, key, None)
    await sender.flush()
    with store.transaction() as connection:
        connection.executemany(
            "DELETE FROM work_endings WHERE partition = ? AND key = ?", [list(each) for each in waiting]
        )

"""What touchpoints add to the aggregates, by the warehouse's own SQL, in a DuckDB in memory.

The sums are integers, so that batches add up to the same numbers however the log is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from cxstream.model.scored import FLAGS
from cxstream.warehouse import aggregates, store

if TYPE_CHECKING:
    from cxstream.settings import Warehouse

TABLES = aggregates.TABLES
_NAIVE = pa.timestamp("us")
_EXPANDED = ", ".join(f"(flags & {bit}) <> 0 AS {name}" for name, bit in FLAGS.items())
_TOUCHPOINTS = f"(SELECT CAST(time AS DATE) AS day, * EXCLUDE (flags), {_EXPANDED} FROM touched)"


def columns(table: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of the key of an aggregate, and those that are sums."""
    return aggregates.columns(table)


class Counts:
    """Counts touchpoints.

    Args:
        settings: memory and threads of DuckDB.
    """

    def __init__(self, settings: Warehouse) -> None:
        self._connection = duckdb.connect(
            config={"memory_limit": f"{settings.memory_mib}MiB", "threads": settings.threads}
        )
        for _, statements in store.migrations():
            self._connection.execute(statements)

    def of(self, touchpoints: pa.Table, sign: int = 1) -> dict[str, list[tuple[Any, ...]]]:
        """Rows of each aggregate: a digest of the key, the columns of the key, the sums.

        Args:
            touchpoints: rows of cx.scored.
            sign: -1 to take them out.
        """
        i = touchpoints.schema.get_field_index("time")
        touchpoints = touchpoints.set_column(i, "time", touchpoints.column(i).cast(_NAIVE))
        self._connection.register("touched", touchpoints)
        aggregates.add(self._connection, _TOUCHPOINTS, sign)
        self._connection.unregister("touched")
        made = {}
        for table in TABLES:
            names = ", ".join(f"CAST({name} AS VARCHAR)" for name in columns(table)[0])
            made[table] = self._connection.execute(
                f"SELECT left(sha256(CAST(to_json([{names}]) AS VARCHAR)), 32), * FROM ({aggregates.summed(table)})"
            ).fetchall()
            self._connection.execute(f"DELETE FROM {table}")
        return made

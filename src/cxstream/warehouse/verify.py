"""Compares two warehouses, and the aggregates of one with its touchpoints: by digests, then row by row where these differ.

The digest of a table and day is the number of rows and the sum of the hashes of all of them, with the customers' names
in place of their numbers, which depend on the order of arrival. `record` of a card and the positions are not content.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb

from cxstream.warehouse import aggregates

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date
    from pathlib import Path

    from cxstream.settings import Warehouse as WarehouseSettings

_EXAMPLES = 5
_NAMED = "LEFT JOIN {db}.customers c USING (customer_id)"
# Content of each table; {db} is the warehouse. Each has a day.
CONTENT = {
    "touchpoints": f"SELECT c.customer, t.* EXCLUDE (customer_id) FROM {{db}}.touchpoints t {_NAMED}",
    "score_cards": "SELECT CAST(s.time AS DATE) AS day, c.customer, s.* EXCLUDE (customer_id, record) "
    f"FROM {{db}}.score_cards s {_NAMED}",
    "risk_signals": "SELECT CAST(s.time AS DATE) AS day, c.customer, s.* EXCLUDE (customer_id) "
    f"FROM {{db}}.risk_signals s {_NAMED}",
    "friction_signals": "SELECT CAST(s.time AS DATE) AS day, c.customer, s.* EXCLUDE (customer_id) "
    f"FROM {{db}}.friction_signals s {_NAMED}",
    "rejected": "SELECT day, source, reason, sum(records)::BIGINT AS records FROM {db}.rejected GROUP BY ALL",
    "changes": "SELECT CAST(time AS DATE) AS day, * FROM {db}.changes",
    "place_signals": "SELECT CAST(time AS DATE) AS day, * EXCLUDE (sent) FROM {db}.place_signals",
    "work": f"SELECT CAST(w.time AS DATE) AS day, c.customer, w.* EXCLUDE (customer_id, record) FROM {{db}}.work w {_NAMED}",
    "customers": "SELECT NULL::DATE AS day, customer, digest FROM {db}.customers",
    "erasures": "SELECT CAST(time AS DATE) AS day, * FROM {db}.erasures",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """A day of a table whose rows differ.

    Attributes:
        table: the table.
        day: None for a table without days.
        here: rows of the first warehouse.
        there: ... and of the second, or of what the aggregates are compared with.
        only_here: some of the rows that only the first one has.
        only_there: ... and that only the second one has.
    """

    table: str
    day: date | None
    here: int
    there: int
    only_here: list[dict[str, Any]] = field(default_factory=list)
    only_there: list[dict[str, Any]] = field(default_factory=list)


def digest(
    connection: duckdb.DuckDBPyConnection, content: str, ignore: Collection[str] = ()
) -> dict[date | None, tuple[int, int]]:
    """Number of rows, and the sum of their hashes, by day.

    Args:
        connection: any.
        content: a query with the column `day`.
        ignore: columns that do not count.
    """
    chosen = _without(connection, content, ignore)
    found = connection.execute(
        f"SELECT day, count(*), sum(hash(rows)::HUGEINT) FROM ({chosen}) rows GROUP BY day"
    ).fetchall()
    return {day: (count, total) for day, count, total in found}


def compare(
    here: Path,
    there: Path,
    settings: WarehouseSettings,
    *,
    ignore: Collection[str] = (),
    bounds: dict[str, str] | None = None,
) -> list[Difference]:
    """What differs between two files that nobody writes.

    Args:
        here: the first.
        there: the second.
        settings: memory and threads.
        ignore: columns that do not count.
        bounds: condition of the rows that are compared, by table.
    """
    found = []
    with _attached(settings, here=here, there=there) as connection:
        for table, content in CONTENT.items():
            where = f" WHERE {bounds[table]}" if bounds and table in bounds else ""
            ours, theirs = (
                f"SELECT * FROM ({content.format(db=db)}) rows{where}" for db in ("here", "there")
            )
            found += _differences(connection, table, ours, theirs, ignore)
    return found


def check_aggregates(path: Path, settings: WarehouseSettings) -> list[Difference]:
    """Where the aggregates of a file differ from those of its touchpoints."""
    found = []
    with _attached(settings, here=path) as connection:
        for table in aggregates.TABLES:
            connection.execute(f"CREATE TABLE {table} AS SELECT * FROM here.{table} LIMIT 0")
        for macro in connection.execute(
            "SELECT function_name, parameters, macro_definition FROM duckdb_functions() "
            "WHERE function_type = 'macro' AND database_name = 'here'"
        ).fetchall():
            connection.execute(f"CREATE MACRO {macro[0]}({', '.join(macro[1])}) AS {macro[2]}")
        aggregates.add(connection, "here.touchpoints")
        for table in aggregates.TABLES:
            ours, theirs = aggregates.summed(f"here.{table}"), aggregates.summed(table)
            found += _differences(connection, table, ours, theirs, ())
    return found


def _attached(settings: WarehouseSettings, **files: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        config={"memory_limit": f"{settings.memory_mib}MiB", "threads": settings.threads}
    )
    for name, path in files.items():
        quoted = str(path).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS {name} (READ_ONLY)")
    return connection


def _differences(
    connection: duckdb.DuckDBPyConnection, table: str, ours: str, theirs: str, ignore: Collection[str]
) -> list[Difference]:
    here, there = digest(connection, ours, ignore), digest(connection, theirs, ignore)
    ours, theirs = _without(connection, ours, ignore), _without(connection, theirs, ignore)
    nothing = (0, 0)
    days = [day for day in here.keys() | there.keys() if here.get(day, nothing) != there.get(day, nothing)]
    return [
        Difference(
            table,
            day,
            here.get(day, nothing)[0],
            there.get(day, nothing)[0],
            _only(connection, ours, theirs, day),
            _only(connection, theirs, ours, day),
        )
        for day in sorted(days, key=lambda day: (day is not None, day))
    ]


def _only(
    connection: duckdb.DuckDBPyConnection, these: str, those: str, day: date | None
) -> list[dict[str, Any]]:
    """Some rows of a day that one query has and the other has not."""
    on = "day IS NULL" if day is None else f"day = DATE '{day}'"
    result = connection.execute(
        f"SELECT * FROM ({these}) WHERE {on} EXCEPT ALL SELECT * FROM ({those}) WHERE {on} LIMIT {_EXAMPLES}"
    )
    columns = [each[0] for each in result.description or ()]
    return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]


def _without(connection: duckdb.DuckDBPyConnection, content: str, ignore: Collection[str]) -> str:
    there = {row[0] for row in connection.execute(f"DESCRIBE {content}").fetchall()}
    left_out = ", ".join(sorted(there & set(ignore)))
    return f"SELECT * EXCLUDE ({left_out}) FROM ({content})" if left_out else content

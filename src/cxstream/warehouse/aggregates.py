"""Aggregates that are kept at ingest: integers only, so that they add and subtract exactly.

Points and risks are sums of millionths, times are sums of milliseconds (of each at most 1e9 s). Waiting and handling times
are counted in buckets that grow by 2%, so that a quantile is at most 1% wrong (`log_bucket`); answers and stars are
counted by their value (of at most 300).

    daily, daily_values         by day and place: kind, source, channel, touchpoint, stage, topic, and the level after it
    daily_by, daily_values_by   by day and one other dimension, with kind and channel; rows without it are left out

Rows are differences. New touchpoints append rows, erased ones append rows with the opposite sign, and readers sum them.
`consolidate` adds up what has the same key where that is worth it, and `Store.compact` all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.warehouse.query import value

if TYPE_CHECKING:
    import duckdb

PLACE = ("kind", "source", "channel", "touchpoint", "stage", "topic", "level_after")
DIMENSIONS = ("product", "location", "agent", "segment", "campaign")
TABLES = ("daily", "daily_values", "daily_by", "daily_values_by")

_MICRO = "CAST(round({0}::DOUBLE * 1e6) AS BIGINT)"
_MS = "CAST(round(least({0}, 1e9) * 1e3) AS BIGINT)"
_FLAG = "CAST({0} AS INTEGER)"
# Each measure of a touchpoint, as an integer.
_SUMS = {
    "touchpoints": "1",
    "effort_micro": _MICRO.format("effort"),
    "mood_micro": _MICRO.format("mood"),
    "effort_after_micro": _MICRO.format("effort_after"),
    "satisfaction_after_micro": _MICRO.format("satisfaction_after"),
    "probability_after_micro": _MICRO.format("probability_after"),
    "repeat_contacts": _FLAG.format("repeat_contact"),
    "channel_switches": _FLAG.format("channel_switch"),
    "rage_clicks": _FLAG.format("rage_click"),
    "failed": _FLAG.format("failed"),
    "late": _FLAG.format("late"),
    "resolved": _FLAG.format("coalesce(resolved, false)"),
    "unresolved": _FLAG.format("coalesce(NOT resolved, false)"),
    "abandoned": _FLAG.format("coalesce(abandoned, false)"),
    "transferred": _FLAG.format("coalesce(transfers > 0, false)"),
    "waited": _FLAG.format("wait_s IS NOT NULL"),
    "wait_ms": _MS.format("coalesce(wait_s, 0)"),
    "handled": _FLAG.format("handle_s IS NOT NULL"),
    "handle_ms": _MS.format("coalesce(handle_s, 0)"),
}
MEASURES = tuple(_SUMS)
# Each measure that is counted by value: its bucket.
_VALUES = {
    "wait": ("wait_s", "log_bucket(wait_s)"),
    "handle": ("handle_s", "log_bucket(handle_s)"),
    "score": ("score", "CAST(round(least(score, 300)) AS SMALLINT)"),
    "rating": ("rating", "CAST(round(least(rating, 300) * 100) AS SMALLINT)"),
}


# Of how many keys one is looked at to tell whether adding up is worth it: if it leaves fewer rows than these by a fifth.
_SAMPLE, _ENOUGH, _WORTH = 16, 1000, 1.25
# Columns of `daily_by` that stand before the sums.
_BY = ("day", "dimension", "value", "kind", "channel")


def add(connection: duckdb.DuckDBPyConnection, rows: str, sign: int = 1) -> None:
    """Add touchpoints.

    Args:
        connection: in a transaction.
        rows: a table like `touchpoints`, or a query in parentheses.
        sign: -1 takes them out again.
    """
    for statement in _statements(rows, sign):
        connection.execute(statement)


def _statements(rows: str, sign: int) -> list[str]:
    place, dimensions, counted = ", ".join(PLACE), ", ".join(DIMENSIONS), ", ".join(MEASURES)
    sums = ", ".join(f"{sign} * sum({value})::BIGINT AS {name}" for name, value in _SUMS.items())
    again = ", ".join(f"sum({name})::BIGINT" for name in MEASURES)
    there = " OR ".join(f"{column} IS NOT NULL" for column, _ in _VALUES.values())
    values = ", ".join(column for column, _ in _VALUES.values())
    done = [
        f"INSERT INTO daily (day, {place}, {counted}) SELECT day, {place}, {sums} FROM {rows} GROUP BY ALL",
        # Few rows have values, and few combinations of dimensions occur: each dimension is counted from these.
        f"CREATE OR REPLACE TEMP TABLE valued AS SELECT day, {place}, {dimensions}, {values} FROM {rows} WHERE {there}",
        (
            f"CREATE OR REPLACE TEMP TABLE dimensioned AS SELECT day, kind, channel, {dimensions}, {sums} FROM {rows} "
            "GROUP BY ALL"
        ),
        *_values(f"daily_values (day, {place}", f"day, {place}", sign),
    ]
    for name in DIMENSIONS:
        keys = f"day, '{name}', {name}, kind, channel"
        done.append(
            f"INSERT INTO daily_by ({', '.join(_BY)}, {counted}) SELECT {keys}, {again} FROM dimensioned "
            f"WHERE {name} IS NOT NULL GROUP BY ALL"
        )
        done += _values(f"daily_values_by ({', '.join(_BY)}", keys, sign, f"AND {name} IS NOT NULL")
    return [*done, "DROP TABLE valued", "DROP TABLE dimensioned"]


def _values(target: str, keys: str, sign: int, where: str = "") -> list[str]:
    """Count values into a table: its name and the columns of the key, as INSERT has them."""
    parts = (
        f"SELECT {keys}, '{measure}' AS measure, {bucket} AS bucket, {sign} * count(*) FROM valued "
        f"WHERE {column} IS NOT NULL {where} GROUP BY ALL"
        for measure, (column, bucket) in _VALUES.items()
    )
    return [f"INSERT INTO {target}, measure, bucket, records) {' UNION ALL '.join(parts)}"]


def summed(table: str) -> str:
    """The rows of an aggregate, one a key, without those of which nothing is left."""
    keys, counts = columns(table)
    names = ", ".join(keys)
    sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in counts)
    return f"SELECT {names}, {sums} FROM {table} GROUP BY {names} HAVING sum({counts[0]}) <> 0"


def columns(table: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns of the key of an aggregate, and those that are sums."""
    by = ("dimension", "value", "kind", "channel")
    table = table.rpartition(".")[2]
    keys = ("day", *(by if table.endswith("_by") else PLACE))
    return (
        ((*keys, "measure", "bucket"), ("records",)) if table.startswith("daily_values") else (keys, MEASURES)
    )


def consolidate(connection: duckdb.DuckDBPyConnection) -> None:
    """Add up rows with the same key, in the open transaction, of the tables where that leaves out some of the rows."""
    for table in TABLES:
        if not _repeats(connection, table):
            continue
        connection.execute(f"CREATE OR REPLACE TEMP TABLE consolidated AS {summed(table)} ORDER BY day")
        connection.execute(f"DELETE FROM {table}")
        connection.execute(f"INSERT INTO {table} SELECT * FROM consolidated")
    connection.execute("DROP TABLE IF EXISTS consolidated")


def _repeats(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether enough keys have several rows; of a large table a part of the keys tells it.

    Days that are read one after the other leave few: to add them up costs as much as taking in, and reads no faster afterwards.
    """
    keys = ", ".join(columns(table)[0])
    total, distinct = connection.execute(
        f"SELECT sum(n), count(*) FROM (SELECT count(*) AS n FROM {table} WHERE hash({keys}) % {_SAMPLE} = 0 GROUP BY {keys})"
    ).fetchone() or (0, 0)
    return (total or 0) > _WORTH * distinct if distinct >= _ENOUGH else True


def rows(connection: duckdb.DuckDBPyConnection) -> int:
    """How many rows the aggregates have."""
    counts = " + ".join(f"(SELECT count(*) FROM {table})" for table in TABLES)
    count: int = value(connection, f"SELECT {counts}")
    return count

"""Which values the dimensions of a read model have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb


def known_values(connection: duckdb.DuckDBPyConnection, dimension: str, most: int = 21) -> list[str]:
    """Values that touchpoints have in a dimension, the most frequent first."""
    column = _column(dimension)
    sql = f'SELECT "{column}" FROM touchpoints WHERE "{column}" IS NOT NULL GROUP BY ALL ORDER BY count(*) DESC, 1 LIMIT {most:d}'
    return [row[0] for row in connection.execute(sql).fetchall()]


def unknown_values(
    connection: duckdb.DuckDBPyConnection, dimension: str, values: Iterable[str | None]
) -> list[str]:
    """Those of some values that no touchpoint has, and, for a source, no rejected record."""
    tables = ("touchpoints", "rejected") if dimension == "source" else ("touchpoints",)

    def occurs(value: str) -> bool:
        return any(
            connection.execute(
                f'SELECT 1 FROM {table} WHERE "{_column(dimension)}" = ? LIMIT 1', [value]
            ).fetchall()
            for table in tables
        )

    return [value for value in values if value is not None and not occurs(value)]


def _column(dimension: str) -> str:
    return "level_after" if dimension == "level" else dimension

"""Queries whose result is one number or text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb


def value(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[Any] = ()) -> Any:
    """The first value of the first row; None if there is no row. For a change, the number of rows."""
    # All rows are fetched: an unfinished result blocks the connection.
    found = connection.execute(sql, list(parameters)).fetchall()
    return found[0][0] if found else None

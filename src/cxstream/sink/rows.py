"""Rows on their way into a table: as PostgreSQL takes them, through COPY into a staging table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg

# PostgreSQL's text has no NUL.
_NUL, _SHOWN = "\x00", "�"
_ESCAPED = "\\u0000"


def text(value: str) -> str:
    """A text without NUL."""
    return value.replace(_NUL, _SHOWN) if _NUL in value else value


def document(value: str) -> str:
    """A JSON document without NUL in its strings."""
    return json.dumps(_clean(json.loads(value)), ensure_ascii=False) if _ESCAPED in value else value


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {text(name): _clean(each) for name, each in value.items()}
    return value


def stage(
    connection: psycopg.Connection[Any], table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> str:
    """Copy rows into the staging table of a table, in the open transaction; returns its name.

    Args:
        connection: in a transaction, after which the staging table is empty.
        table: where they are to go.
        columns: of `rows`, in their order.
        rows: values; texts without NUL.
    """
    staged = f"staged_{table}"
    connection.execute(
        f"CREATE TEMP TABLE IF NOT EXISTS {staged} (LIKE {table} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS".encode()
    )
    with connection.cursor().copy(f"COPY {staged} ({quoted(columns)}) FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row(row)
    return f"pg_temp.{staged}"


def quoted(columns: Iterable[str]) -> str:
    """Names of columns as a list in SQL."""
    return ", ".join(f'"{name}"' for name in columns)

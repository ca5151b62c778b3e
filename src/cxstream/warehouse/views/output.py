"""Rows of a view as CSV, JSON, Parquet or cells of a table."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime
from typing import IO, TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    import pyarrow as pa

_BATCH = 1000
_DAY, _SECOND = "%Y-%m-%d", "%Y-%m-%d %H:%M:%S"
# Characters of a text in a table.
_WIDEST_CELL = 100


def names(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    """The columns of a result."""
    return [column[0] for column in cursor.description or ()]


def write_json(cursor: duckdb.DuckDBPyConnection, out: IO[bytes]) -> None:
    """A list of objects, one a line; times are RFC 3339 in UTC."""
    columns = names(cursor)
    separator = b"[\n"
    while rows := cursor.fetchmany(_BATCH):
        for row in rows:
            cells = {name: _time(value) for name, value in zip(columns, row, strict=True)}
            out.write(separator + orjson.dumps(cells))
            separator = b",\n"
    out.write(b"[]\n" if separator == b"[\n" else b"\n]\n")


def write_csv(cursor: duckdb.DuckDBPyConnection, out: IO[bytes]) -> None:
    """A header and a line for each row; a missing value is empty."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names(cursor))
    while rows := cursor.fetchmany(_BATCH):
        writer.writerows([_plain(value) for value in row] for row in rows)
        out.write(text.getvalue().encode())
        text.seek(0)
        text.truncate()
    out.write(text.getvalue().encode())


def write_parquet(rows: pa.Table, out: IO[bytes]) -> None:
    """A Parquet file."""
    from pyarrow import parquet

    parquet.write_table(rows, out)


def column(values: Sequence[Any], *, days: bool = True) -> list[str]:
    """The values of a column as cells of a table.

    Args:
        values: of the column.
        days: whether times may be shown as days, where all of them are midnights.
    """
    times = [value for value in values if isinstance(value, datetime)]
    form = _DAY if days and all(time.time() == datetime.min.time() for time in times) else _SECOND
    return [
        f"{value:{form}}" if isinstance(value, datetime) else _shortened(shown(value)) for value in values
    ]


def shown(value: Any) -> str:
    """A value as a text: numbers with at most three decimals."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = f"{value:,.3f}".rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _shortened(text: str) -> str:
    """A text without its middle, where it is longer than a cell."""
    half = (_WIDEST_CELL - 3) // 2
    return text if len(text) <= _WIDEST_CELL else f"{text[:half]}...{text[-half:]}"


def is_number(value: Any) -> bool:
    """Whether a cell is set to the right."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _time(value: Any) -> Any:
    if isinstance(value, datetime):
        return f"{value.isoformat(timespec='milliseconds')}Z"
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, date) and not isinstance(value, datetime) else _time(value)

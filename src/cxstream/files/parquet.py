"""Parquet rows as the structured events they stand for, or as they are.

A null is an attribute or a field that is absent: a struct column has a place for every field in every row.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
from pyarrow import parquet as pq
from pyarrow import types

from cxstream.files.lines import Records, bounded
from cxstream.files.parquet_columns import (
    as_json,
    identifier,
    is_binary,
    is_json,
    is_text,
    is_uuid,
    stored,
    values,
)
from cxstream.files.parquet_pages import rows_at_a_time
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

REQUIRED = ("specversion", "id", "source", "type", "time")
OPTIONAL = ("subject", "data")
# Pages are read as they are needed; a row group can be as large as the file.
_BUFFER_BYTES = 1 << 20
_MAX_ROWS = 1 << 16
_MAY_BE = {
    "id": "a string, a whole number or a UUID",
    "subject": "a string, a whole number or a UUID",
    "time": "a string or a timestamp",
    "data": "a struct, a map, JSON or a string of JSON",
}


def read(path: Path, batch_bytes: int, max_record_bytes: int) -> Iterator[tuple[float, Records]]:
    """Read a Parquet file of events in batches of rows.

    Args:
        path: a file (Parquet is read from its end: a pipe will not do).
        batch_bytes: about how much is read at a time, in bytes.
        max_record_bytes: a longer event comes back as too long.

    Yields:
        The share of the file that is read (0..1), and the records.

    Raises:
        InputError: not Parquet, or not the columns of an event.
    """
    with _opened(path) as file:
        columns = _checked(file.schema_arrow, path)
        done = 0
        for batch in _batches(file, path, batch_bytes, columns, max_record_bytes):
            events = _events({name: batch.column(name) for name in columns})
            if events:
                first, done = done + 1, done + len(events)
                yield done / file.metadata.num_rows, bounded(events, range(first, done + 1), max_record_bytes)


def read_rows(
    path: Path, batch_bytes: int, wanted: Collection[str]
) -> Iterator[tuple[float, list[dict[str, Any]]]]:
    """Read a Parquet file of any columns in batches of rows.

    Args:
        path: a file.
        batch_bytes: about how much is read at a time, in bytes.
        wanted: the columns to read; those that are not there are left out.

    Yields:
        The share of the file that is read (0..1), and rows by column: plain values, nulls left out. A timestamp
        without a zone is text without an offset.

    Raises:
        InputError: not Parquet.
    """
    with _opened(path) as file:
        names = [name for name in _column_names(file.schema_arrow, path) if name in wanted]
        done = 0
        for batch in _batches(file, path, batch_bytes, names):
            done += batch.num_rows
            columns = [values(batch.column(name), utc=False) for name in names]
            rows = [
                {name: value for name, value in zip(names, row, strict=True) if value is not None}
                for row in (zip(*columns, strict=True) if columns else [()] * batch.num_rows)
            ]
            if rows:
                yield done / file.metadata.num_rows, rows


def names_of(path: Path) -> list[str]:
    """The columns of a Parquet file.

    Raises:
        InputError: not Parquet, or two columns of one name.
    """
    with _opened(path) as file:
        return _column_names(file.schema_arrow, path)


def _column_names(schema: Any, path: Path) -> list[str]:
    names: list[str] = schema.names
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: the column {name!r} is there twice; rename one of them")
    return names


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        # Impala's and old Spark's timestamps reach beyond the years that nanoseconds can count.
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, coerce_int96_timestamp_unit="ms") as file:
            yield file
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: a column of text holds bytes that are not UTF-8; write it again"
        ) from error
    except (pa.ArrowException, OSError, ValueError) as error:  # or nanoseconds within a struct
        raise InputError(f"{path}: not Parquet that can be read ({str(error).splitlines()[0]})") from error


def _batches(
    file: Any, path: Path, batch_bytes: int, columns: list[str], max_record_bytes: int = 0
) -> Iterator[Any]:
    total = file.metadata.num_rows
    size = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    # An event in JSON takes some times the bytes of its encoded columns.
    rows = max(1, min(_MAX_ROWS, batch_bytes // max(256, 2 * size // max(1, total))))
    rows = rows_at_a_time(file, path, columns, rows, max_record_bytes)
    yield from file.iter_batches(batch_size=rows, columns=columns)


def _checked(schema: Any, path: Path) -> list[str]:
    """The columns to read; refuses a file that does not have those of an event."""
    missing = [name for name in REQUIRED if name not in schema.names]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; {_instead(missing[0], schema.names)}")
    columns = [name for name in (*REQUIRED, *OPTIONAL) if name in schema.names]
    for name in columns:
        if schema.names.count(name) > 1:
            raise InputError(f"{path}: the column {name!r} is there twice; rename one of them")
        kind = schema.field(name).type
        if not _fits(name, kind):
            raise InputError(
                f"{path}: column {name!r} is {kind}; it must be {_MAY_BE.get(name, 'a string')}"
                "; `cxstream convert mapping` reads others"
            )
    return columns


def _instead(name: str, there: list[str]) -> str:
    otherwise = next((each for each in there if each.lower() == name), None)
    if otherwise is not None:
        return f"there is {otherwise!r}, but names are in small letters: rename the columns"
    return f"an event has {', '.join(REQUIRED + OPTIONAL)} (`cxstream convert mapping` turns other data into events)"


def _fits(name: str, kind: Any) -> bool:
    plain = stored(kind)
    if types.is_null(plain) or is_text(plain) or is_binary(plain):
        return True
    if name in {"id", "subject"}:
        whole = types.is_decimal(plain) and plain.scale <= 0
        return is_uuid(kind) or types.is_integer(plain) or types.is_floating(plain) or whole
    if name == "time":
        return bool(types.is_timestamp(plain))
    return name == "data" and bool(types.is_struct(plain) or types.is_map(plain))


def _events(columns: dict[str, Any]) -> list[bytes]:
    found: dict[str, list[Any]] = {}
    for name, column in columns.items():
        if name == "data":
            found[name] = _data(column)
        else:
            plain = values(column, utc=True)
            found[name] = list(map(identifier, plain)) if name in {"id", "subject"} else plain
    names = list(found)
    return [
        orjson.dumps(
            {name: value for name, value in zip(names, row, strict=True) if value is not None}, default=str
        )
        for row in zip(*found.values(), strict=True)
    ]


def _data(column: Any) -> list[Any]:
    """Objects; JSON as it stands, so that no number changes on the way."""
    kind = column.type
    if types.is_dictionary(kind):
        return _data(column.dictionary_decode())
    if is_json(kind):
        column = column.storage
    elif not (is_text(kind) or is_binary(kind)):
        return values(column, utc=True)
    return [as_json(text) for text in column.to_pylist()]

"""Parquet rows as the structured events they stand for. Needs pyarrow, of the extra `files`.

A null is an attribute or a field that is absent: a struct column has a place for every field in every row.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import parquet as pq
from pyarrow import types

from cxstream.files.lines import Records, bounded
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUIRED = ("specversion", "id", "source", "type", "time")
OPTIONAL = ("subject", "data")
# Pages are read as they are needed; a row group can be as large as the file.
_BUFFER_BYTES = 1 << 20
_MAX_ROWS = 1 << 16


def read(path: Path, batch_bytes: int, max_record_bytes: int) -> Iterator[tuple[float, Records]]:
    """Read a Parquet file in batches of rows.

    Args:
        path: a file (Parquet is read from its end: a pipe will not do).
        batch_bytes: about how much is read at a time, in bytes.
        max_record_bytes: a longer event comes back as too long.

    Yields:
        The share of the file that is read (0..1), and the records.

    Raises:
        InputError: not Parquet, or not the columns of an event.
    """
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
            yield from _rows(file, path, batch_bytes, max_record_bytes)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: a string column holds bytes that are not UTF-8; write it again") from error
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not Parquet that can be read ({str(error).splitlines()[0]})") from error


def _rows(file: Any, path: Path, batch_bytes: int, max_record_bytes: int) -> Iterator[tuple[float, Records]]:
    columns = _checked(file.schema_arrow, path)
    total = file.metadata.num_rows
    stored = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    # An event in JSON takes some times the bytes of its encoded columns.
    rows = max(1, min(_MAX_ROWS, batch_bytes // max(256, 2 * stored // max(1, total))))
    done = 0
    for batch in file.iter_batches(batch_size=rows, columns=columns):
        events = _events({name: batch.column(name) for name in columns})
        if events:
            first, done = done + 1, done + len(events)
            yield done / total, bounded(events, range(first, done + 1), max_record_bytes)


def _checked(schema: Any, path: Path) -> list[str]:
    """The columns to read; refuses a file that does not have those of an event."""
    missing = [name for name in REQUIRED if name not in schema.names]
    if missing:
        raise InputError(
            f"{path}: no column {missing[0]!r}; an event has {', '.join(REQUIRED + OPTIONAL)}"
            " (`cxstream convert` turns other data into events)"
        )
    columns = [name for name in (*REQUIRED, *OPTIONAL) if name in schema.names]
    for name in columns:
        kind = schema.field(name).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        may_be = {"time": "a string or a timestamp", "data": "a struct or a string of JSON"}.get(
            name, "a string"
        )
        fits = types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)
        fits = (
            fits
            or (name == "time" and types.is_timestamp(kind))
            or (name == "data" and types.is_struct(kind))
        )
        if not fits:
            raise InputError(f"{path}: column {name!r} is {kind}; it must be {may_be}")
    return columns


def _events(columns: dict[str, Any]) -> list[bytes]:
    values: dict[str, list[Any]] = {}
    for name, column in columns.items():
        plain = column.dictionary_decode() if types.is_dictionary(column.type) else column
        values[name] = _times(plain) if types.is_timestamp(plain.type) else plain.to_pylist()
    if "data" in columns:
        as_json = _present if types.is_struct(columns["data"].type) else _json
        values["data"] = [as_json(data) for data in values["data"]]
    names = list(values)
    return [
        orjson.dumps(
            {name: value for name, value in zip(names, row, strict=True) if value is not None}, default=_plain
        )
        for row in zip(*values.values(), strict=True)
    ]


def _times(column: Any) -> list[str | None]:
    """RFC 3339 in UTC with milliseconds; a timestamp without a zone is in UTC."""
    milliseconds = column.cast(pa.timestamp("ms", column.type.tz), safe=False)
    # Through integers: formatting a zoned timestamp needs a time zone database, which slim images lack.
    bare = milliseconds.cast(pa.int64()).cast(pa.timestamp("ms"))
    times: list[str | None] = pc.strftime(bare, format="%Y-%m-%dT%H:%M:%SZ").to_pylist()
    return times


def _present(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _present(item) for name, item in value.items() if item is not None}
    return value


def _json(text: str | None) -> Any:
    """The JSON value in `text` as it stands; text that is no JSON stays a string, for the decoder to reject."""
    if text is None:
        return None
    try:
        return orjson.Fragment(bytes(msgspec.json.decode(text, type=msgspec.Raw)))
    except msgspec.DecodeError:
        return text


def _plain(value: object) -> object:
    """What JSON has for a value of Parquet: decimals are numbers, the rest is text."""
    return float(value) if isinstance(value, Decimal) else str(value)

"""Rows of Arrow columns as the events they stand for: columns for a kernel where possible, and in JSON where not."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
from pyarrow import types

from cxstream.files.lines import Records, bounded
from cxstream.files.parquet_columns import is_binary, is_text, is_uuid, stored
from cxstream.files.row_cells import rows_of
from cxstream.files.row_events import RowEvents
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cxstream.scoring.codec.rows import Rows

Write: TypeAlias = Callable[[Sequence[int]], list[bytes]]
"""Makes the events of the rows at some places in JSON."""

_NOT_UTF8 = re.compile(r"^Invalid UTF8 sequence at string index (\d+)")
REQUIRED = ("specversion", "id", "source", "type", "time")
OPTIONAL = ("subject", "data")
_MAY_BE = {
    "id": "a string, a whole number or a UUID",
    "subject": "a string, a whole number or a UUID",
    "time": "a string or a timestamp",
    "data": "a struct, a map, JSON or a string of JSON",
}


def columns_of_events(schema: Any, path: Path) -> list[str]:
    """The columns to read.

    Args:
        schema: of all columns.
        path: the file.

    Raises:
        InputError: a column of an event is missing, is there twice or is of another type.
    """
    try:
        missing = [name for name in REQUIRED if name not in schema.names]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: the name of a column is not UTF-8; rename it") from error
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


def records(
    batch: Any, names: list[str], path: Path, first: int, rows: int, max_record_bytes: int
) -> Iterator[Records]:
    """The records of a batch of rows, by columns or one by one, some at a time.

    Args:
        batch: pyarrow's RecordBatch.
        names: the columns of an event.
        path: the file.
        first: the 1-based number of the first row.
        rows: how many come at a time.
        max_record_bytes: a longer event comes back as too long.

    Raises:
        InputError: a text is not UTF-8, or a value has no JSON; for rows that are read by columns, when their records are made.
    """
    for begin in range(0, batch.num_rows, rows):
        yield _some_records(batch.slice(begin, rows), names, path, first + begin, max_record_bytes)


def _some_records(batch: Any, names: list[str], path: Path, first: int, max_record_bytes: int) -> Records:
    columns, n = {name: batch.column(name) for name in names}, batch.num_rows
    events = RowEvents(columns, n)

    def rows(write: Write) -> Rows | list[bytes]:
        found = rows_of(columns, write)
        if found is not None:
            return found
        for name, column in columns.items():
            _validate(name, column, path, first)
        return events.all()

    return records_of(rows, events.at, n, path, first, max_record_bytes)


def records_of(
    make: Callable[[Write], Rows | list[bytes]],
    write: Write,
    n: int,
    path: Path,
    first: int,
    max_record_bytes: int,
) -> Records:
    """Records of rows.

    Args:
        make: makes the rows by what writes some of them.
        write: makes the events of the rows at some places in JSON.
        n: rows.
        path: the file.
        first: the 1-based number of the first row.
        max_record_bytes: a longer event comes back as too long.

    Raises:
        InputError: as of `records`.
    """
    numbers = range(first, first + n)
    where = f"{path}: rows {first} to {numbers[-1]}"

    def written(places: Sequence[int]) -> list[bytes]:
        # Also long after this function has returned.
        with _readable(where):
            return write(places)

    with _readable(where):
        return bounded(make(written), numbers, max_record_bytes)


@contextmanager
def _readable(where: str) -> Iterator[None]:
    """Name the place of what has no JSON: a time beyond the year 9999, a zone that is none, two fields of one name."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(
            f"{where}: a binary column, or the name of a field, has bytes that are not UTF-8; write it again"
        ) from error
    except (pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{where}: a value that JSON cannot have ({said}); write it as a text or a number, or leave its column out"
        ) from error


def _validate(name: str, column: Any, path: Path, first: int) -> None:
    """Check that offsets lie within buffers and texts are UTF-8: readers of Parquet and Arrow do not.

    Raises:
        InputError: they do not, or are none.
    """
    parts = [(name, column)]
    if types.is_struct(column.type):
        # Not the struct: a part of one is checked with all of its fields.
        parts = [
            (f"{name}.{field.name}", part) for field, part in zip(column.type, column.flatten(), strict=True)
        ]
    for where, part in parts:
        try:
            _check(part)
        except pa.ArrowInvalid as error:
            said = str(error).splitlines()[0]
            found = _NOT_UTF8.search(said)
            row = f"row {first + int(found[1])}" if found else f"rows {first} to {first + len(column) - 1}"
            said = "bytes that are not UTF-8" if found else said
            raise InputError(f"{path}: column {where!r}, {row}: {said}; write the file again") from error


def _check(part: Any) -> None:
    try:
        part.validate(full=True)
    except pa.ArrowInvalid as error:
        if not types.is_dictionary(part.type) or "UTF8" not in str(error):
            raise
        # Which row has such a text, if any has it.
        part.dictionary_decode().validate(full=True)

"""Parquet rows as the events they stand for, or as they are."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow import parquet as pq
from pyarrow import types

from cxstream.files.event_rows import columns_of_events, records, records_of
from cxstream.files.parquet_columns import values
from cxstream.files.parquet_leaves import Damaged
from cxstream.files.parquet_pages import Examined, examined
from cxstream.files.parquet_rows import Shape, batches, shape_of
from cxstream.files.parquet_spans import spans_of
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from cxstream.files.lines import Records

# Pages are read as they are needed; a row group can be as large as the file.
_BUFFER_BYTES = 1 << 20
# Each column of each batch costs some microseconds, so many rows are read together, and scored some at a time.
_MAX_ROWS, _ROW_BYTES = 1 << 14, 64
# Row groups of fewer rows are read together.
_LEAST_ROWS = 4096


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
        columns = columns_of_events(file.schema_arrow, path)
        found = examined(file, path, columns, 2 * _MAX_ROWS, max_record_bytes)
        coded, groups = _coded(file, found.coded)
        done, rows, total = 0, _rows(file, batch_bytes), file.metadata.num_rows
        shape = shape_of(file, columns) if len(groups) == file.metadata.num_row_groups else None
        if shape is not None:
            for some in _without_arrow(file, path, shape, found, rows, max_record_bytes):
                done += len(some.lines)
                yield done / total, some
    if done == total:
        return
    # Where each text is in a dictionary, Arrow need not make it again for each row.
    with _opened(path, coded) as file:
        known, done = done, 0
        for batch in chain.from_iterable(
            file.iter_batches(
                spans_of(file, found, group, _MAX_ROWS).alike(),
                row_groups=group,
                columns=columns,
                use_threads=False,
            )
            for group in groups
        ):
            first, done = max(done, known), done + batch.num_rows
            if done > first:
                rest = batch.slice(first - done + batch.num_rows)
                for some in records(rest, columns, path, first + 1, rows, max_record_bytes):
                    first += len(some.lines)
                    yield first / total, some


def _without_arrow(
    file: Any, path: Path, shape: Shape, found: Examined, rows: int, max_record_bytes: int
) -> Iterator[Records]:
    """The records up to the first that Arrow must read."""
    # They take half of what Arrow's take in memory.
    done, at_a_time = 0, 2 * rows
    with path.open("rb", buffering=0) as raw:
        for group in range(file.metadata.num_row_groups):
            try:
                for batch in batches(file, raw.fileno(), group, shape, found, at_a_time):
                    yield records_of(batch.rows, batch.written, batch.n, path, done + 1, max_record_bytes)
                    done += batch.n
            except (Damaged, pa.ArrowException):
                return


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
        at_a_time = _rows(file, batch_bytes)
        found = examined(file, path, names, at_a_time)
        at_a_time = spans_of(file, found, range(file.metadata.num_row_groups), at_a_time).alike()
        for batch in file.iter_batches(batch_size=at_a_time, columns=names):
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
def _opened(path: Path, coded: Collection[str] = ()) -> Iterator[Any]:
    try:
        # Impala's and old Spark's timestamps reach beyond the years that nanoseconds can count.
        with pq.ParquetFile(
            path, buffer_size=_BUFFER_BYTES, coerce_int96_timestamp_unit="ms", read_dictionary=list(coded)
        ) as file:
            yield file
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: a column of text holds bytes that are not UTF-8; write it again"
        ) from error
    except (pa.ArrowException, OSError, ValueError) as error:  # or nanoseconds within a struct
        raise InputError(f"{path}: not Parquet that can be read ({str(error).splitlines()[0]})") from error


def _rows(file: Any, batch_bytes: int) -> int:
    """How many rows have so many bytes."""
    metadata = file.metadata
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    width = max(_ROW_BYTES, 2 * size // max(1, metadata.num_rows))
    return max(1, min(_MAX_ROWS, batch_bytes // int(width)))


def _coded(file: Any, leaves: Collection[str]) -> tuple[list[str], list[list[int]]]:
    """The texts among some leaves that are to be read with their dictionaries, and row groups to be read together.

    Each row group has dictionaries of its own, and Arrow cannot join those of fields.
    """
    metadata = file.metadata
    groups = list(range(metadata.num_row_groups))
    if len(groups) > 1 and metadata.num_rows < _LEAST_ROWS * len(groups):
        return [], [groups]
    fields = {field.name: field for field in file.schema_arrow}
    for field in list(fields.values()):
        if types.is_struct(field.type):
            fields |= {f"{field.name}.{each.name}": each for each in field.type}
    texts = [name for name in leaves if name in fields and types.is_string(fields[name].type)]
    return texts, [[group] for group in groups]

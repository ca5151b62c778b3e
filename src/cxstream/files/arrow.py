"""Arrow files (Feather) and Arrow streams of events, a batch of rows at a time.

Files are read, not mapped: a file that shrinks while it is read is an error, and not the end of the process.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
from pyarrow import compute as pc

from cxstream.files.event_rows import columns_of_events, records
from cxstream.files.formats import ARROW_FILE
from cxstream.files.parquet_columns import is_binary, is_text
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cxstream.files.lines import Records
    from cxstream.files.streams import Source

_ROW_BYTES, _MAX_ROWS = 128, 1 << 16
# What the rows of a batch may take, with their texts taken out of dictionaries.
_PARTS_BYTES = 16 << 20
# What is asked for at a time.
_READ_BYTES = 1 << 20


def read(source: Source, path: Path, batch_bytes: int, max_record_bytes: int) -> Iterator[Records]:
    """Read an Arrow file or stream of events.

    Args:
        source: an open input at its start.
        path: its path; an Arrow file is read from its end, and must be no pipe.
        batch_bytes: about how much is taken at a time, in bytes; a batch of the file is held as a whole.
        max_record_bytes: a longer event comes back as too long.

    Raises:
        InputError: not Arrow, cut off, or not the columns of an event.
    """
    first = 1
    names: list[str] | None = None
    for schema, batch in _batches(source, path):
        names = columns_of_events(schema, path) if names is None else names
        if batch is not None and batch.num_rows:
            rows = _rows_at_a_time([batch.column(name) for name in names], batch_bytes)
            yield from records(batch, names, path, first, rows, max_record_bytes)
            first += batch.num_rows


def _rows_at_a_time(columns: list[Any], batch_bytes: int) -> int:
    """How many rows are read at a time; fewer of wide ones. A text that a dictionary has once may be meant in every row."""
    width: int = sum(column.get_total_buffer_size() for column in columns) // len(columns[0])
    parts = [part for column in columns for part in _parts(column)]
    width += sum(_longest(part.dictionary) for part in parts if pa.types.is_dictionary(part.type))
    return max(1, min(_MAX_ROWS, batch_bytes // _ROW_BYTES, _PARTS_BYTES // max(1, width)))


def _parts(column: Any) -> list[Any]:
    return column.flatten() if pa.types.is_struct(column.type) else [column]


def _longest(texts: Any) -> int:
    """The most bytes of one of some texts; 0 where they are none."""
    if not (is_text(texts.type) or is_binary(texts.type)):
        return 0
    try:
        return max(0, int(pc.max(pc.binary_length(texts)).as_py() or 0))
    except pa.ArrowNotImplementedError:  # of views
        return int(texts.get_total_buffer_size())


def _batches(source: Source, path: Path) -> Iterator[tuple[Any, Any]]:
    """The schema with each batch; once without one where there is none."""
    try:
        if source.head().startswith(ARROW_FILE[:4]):
            if not path.is_file():
                raise InputError(
                    f"{source.name}: an Arrow file cannot be read from a pipe; name a file, or write an Arrow stream"
                )
            with pa.OSFile(str(path)) as raw, pa.ipc.open_file(raw) as file:
                yield file.schema, None
                size = path.stat().st_size
                for i in range(file.num_record_batches):
                    batch = _sound(file.get_batch(i))
                    source.pass_to(size * (i + 1) // file.num_record_batches)
                    yield file.schema, batch
        else:
            with pa.ipc.open_stream(cast("Any", _Raw(source))) as stream:
                yield stream.schema, None
                for batch in stream:
                    yield stream.schema, _sound(batch)
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{source.name}: not an Arrow file or stream that can be read ({said}); write it again"
        ) from error


def _sound(batch: Any) -> Any:
    """A batch whose buffers are as long as its columns say; what is in them is checked where it is read."""
    batch.validate()
    return batch


class _Raw(io.RawIOBase):
    """A source as Arrow wants it: it asks for exactly so many bytes."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, left = [], size
        # A damaged size may be larger than memory.
        while left and (part := self._source.read(min(left, _READ_BYTES) if left > 0 else left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

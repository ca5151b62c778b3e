"""Arrow files (Feather) and Arrow streams of events, a batch of rows at a time.

Files are read, not mapped: a file that shrinks while it is read is an error, and not the end of the process.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import types

from cxstream.files.event_rows import columns_of_events, records
from cxstream.files.formats import ARROW_FILE
from cxstream.files.parquet_columns import is_binary, is_text
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cxstream.files.lines import Records
    from cxstream.files.streams import Source

_LARGE = pa.large_string(), pa.large_binary()
_TEXTS = pa.string(), pa.binary(), *_LARGE
_Place: TypeAlias = Callable[[int], int]

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
            begin = 0
            for n in _spans([batch.column(name) for name in names], batch_bytes):
                yield from records(batch.slice(begin, n), names, path, first + begin, n, max_record_bytes)
                begin += n
            first += batch.num_rows


def _spans(columns: list[Any], batch_bytes: int) -> Iterator[int]:
    """How many rows come at a time, some after the others; fewer of wide ones."""
    n, parts = len(columns[0]), [part for column in columns for part in _parts(column)]
    lengths = [_places(part) for part in parts]
    # A text that a dictionary has once may be meant in every row.
    width = sum(_longest(part.dictionary) for part in parts if types.is_dictionary(part.type))
    width += sum(
        part.get_total_buffer_size() for part, own in zip(parts, lengths, strict=True) if own is None
    ) // n  # fmt: skip
    places = [own for own in lengths if own is not None]

    def halved(first: int, rows: int) -> Iterator[int]:
        size = width * rows + sum(place(first + rows) - place(first) for place in places)
        if size <= _PARTS_BYTES or rows == 1:
            yield rows
        else:
            yield from halved(first, rows // 2)
            yield from halved(first + rows // 2, rows - rows // 2)

    rows = max(1, min(_MAX_ROWS, batch_bytes // _ROW_BYTES))
    for first in range(0, n, rows):
        yield from halved(first, min(rows, n - first))


def _places(part: Any) -> _Place | None:
    """Says how many bytes of the values of a column lie before a row; None where all rows have as many."""
    kind = part.type
    if not len(part):
        return None
    if types.is_map(kind):
        within = [_within(part.keys), _within(part.items)]
    elif types.is_list(kind) or types.is_large_list(kind):
        within = [_within(part.values)]
    elif kind in _TEXTS:
        within = [lambda place: place]
    else:
        return None
    wide = types.is_large_list(kind) or kind in _LARGE
    last = len(part)
    buffer = part.buffers()[1]
    if buffer is None:
        return None
    offsets = np.frombuffer(buffer, np.int64 if wide else np.int32, part.offset + last + 1)[part.offset :]
    # What is damaged is refused where it is read.
    return lambda i: sum(place(int(offsets[min(max(i, 0), last)])) for place in within)


def _within(values: Any) -> _Place:
    """As `_places`, of the values of lists."""
    width = values.get_total_buffer_size() // max(1, len(values))
    return _places(values) or (lambda place: width * place)


def _parts(column: Any) -> list[Any]:
    return column.flatten() if types.is_struct(column.type) else [column]


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

"""Arrow files (Feather) and Arrow streams of events, a batch of rows at a time.

Files are read, not mapped: a file that shrinks while it is read is an error, and not the end of the process.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from cxstream.files.event_rows import columns_of_events, records
from cxstream.files.formats import ARROW_FILE
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cxstream.files.lines import Records
    from cxstream.files.streams import Source

_ROW_BYTES, _MAX_ROWS = 64, 1 << 16


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
    rows = max(1, min(_MAX_ROWS, batch_bytes // _ROW_BYTES))
    names: list[str] | None = None
    for schema, batch in _batches(source, path):
        names = columns_of_events(schema, path) if names is None else names
        for begin in range(0, 0 if batch is None else batch.num_rows, rows):
            part = batch.slice(begin, rows)
            yield records(part, names, path, first, max_record_bytes)
            first += part.num_rows


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
                    batch = file.get_batch(i)
                    source.pass_to(size * (i + 1) // file.num_record_batches)
                    yield file.schema, batch
        else:
            with pa.ipc.open_stream(cast("Any", _Raw(source))) as stream:
                yield stream.schema, None
                for batch in stream:
                    yield stream.schema, batch
    except (pa.ArrowException, OSError, ValueError, EOFError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{source.name}: not an Arrow file or stream that can be read ({said}); write it again"
        ) from error


class _Raw(io.RawIOBase):
    """A source as Arrow wants it: it asks for exactly so many bytes."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        parts, left = [], size
        while left and (part := self._source.read(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

r"""Touchpoint files as batches of records, whatever their format.

    JSON, plain or packed  ->  blocks of bytes  ->  lines or values  \
                                                                      >  Chunk(lines, numbers, ...)
    Parquet, Arrow         ->  batches of rows                       /

Memory is bounded by `batch_bytes` and one record, however long the input, a line or a compressed run is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cxstream.files import streams
from cxstream.files.shapes import json_records
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cxstream.files.lines import Records
    from cxstream.scoring.codec.rejection import Reference

# Smaller batches cost more Python for each event; larger ones save next to nothing.
BATCH_BYTES = 4 * 1024 * 1024
MAX_RECORD_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class Chunk:
    """Some consecutive records of one input.

    Attributes:
        path: the input; `-` is standard input.
        lines: one record each, structured CloudEvents JSON without a newline; `b""`, which no event is and every
            decoder refuses, where the record is longer than `max_record_bytes`.
        numbers: int[len(lines)], the 1-based line of each record in its input; of Parquet and Arrow the row, of JSON that
            is not one record a line the position among the records.
        consumed_bytes: stored bytes read so far over all inputs; comparable to `total_bytes`.
        cut: what stands for each record that is too long, by its position in `lines`.
    """

    path: Path
    lines: Sequence[bytes]
    numbers: Sequence[int]
    consumed_bytes: int
    cut: dict[int, Reference] = field(default_factory=dict)

    def place(self, position: int) -> tuple[Path, int]:
        """The input that a record comes from, and its line (Parquet: row) there."""
        return self.path, self.numbers[position]


def read_batches(
    paths: Sequence[Path], batch_bytes: int = BATCH_BYTES, max_record_bytes: int = MAX_RECORD_BYTES
) -> Iterator[Chunk]:
    r"""Read inputs one after the other.

    JSON in UTF-8, UTF-16 or UTF-32: one record a line (empty lines are skipped, but counted), arrays, indented
    objects, RFC 7464 sequences; the same in gzip, zstd, bzip2, xz or as the only file in a ZIP archive; and Parquet,
    Arrow files and Arrow streams with the columns of an event (see `event_rows`).

    Args:
        paths: the inputs, in order; `-` is standard input.
        batch_bytes: about how much is read at a time, in bytes after decompression.
        max_record_bytes: a longer record is marked as too long instead of being kept, in bytes.

    Raises:
        InputError: an input is missing, broken or cut off, or is Parquet or Arrow of other columns; names it
            and says what to do.
    """
    before = 0
    for path in paths:
        with streams.opened(path) as source:
            if streams.is_parquet(source, path):
                if not path.is_file():
                    raise InputError(f"{source.name}: Parquet cannot be read from a pipe; name a file")
                size = path.stat().st_size
                for share, records in _parquet(path, batch_bytes, max_record_bytes):
                    yield _chunk(path, records, before + int(share * size))
                before += size
            elif streams.is_arrow(source, path):
                streams.require_arrow(source)
                for records in _arrow(source, path, batch_bytes, max_record_bytes):
                    yield _chunk(path, records, before + source.taken)
                before += source.taken
            else:
                stream = streams.blocks(source, path, batch_bytes)
                for records in json_records(
                    stream, source.name, batch_bytes, max_record_bytes, source.give_back
                ):
                    yield _chunk(path, records, before + source.taken)
                before += source.taken


def _parquet(path: Path, batch_bytes: int, max_record_bytes: int) -> Iterator[tuple[float, Records]]:
    from cxstream.files import parquet

    return parquet.read(path, batch_bytes, max_record_bytes)


def _arrow(source: streams.Source, path: Path, batch_bytes: int, max_record_bytes: int) -> Iterator[Records]:
    from cxstream.files import arrow

    return arrow.read(source, path, batch_bytes, max_record_bytes)


def _chunk(path: Path, records: Records, consumed: int) -> Chunk:
    return Chunk(path, records.lines, records.numbers, consumed, records.cut)


def total_bytes(paths: Sequence[Path]) -> int | None:
    """Stored bytes of all inputs together; None where one of them is a pipe or standard input.

    Raises:
        InputError: a file is missing; better said before hours of work than after.
    """
    total: int | None = 0
    for path in paths:
        if str(path) == streams.STDIN or path.is_fifo() or path.is_char_device():
            # Opening a pipe is taking its data.
            total = None
            continue
        with streams.opened(path):
            total = None if total is None else total + path.stat().st_size
    return total

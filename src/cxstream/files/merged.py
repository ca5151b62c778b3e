"""Touchpoint files merged by event time, whatever their order and however many they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxstream.files.readers import BATCH_BYTES, MAX_RECORD_BYTES, Chunk, read_batches
from cxstream.files.spill import MEMORY_BYTES, Sorter
from cxstream.kernels.text import BAD_TIME
from cxstream.scoring.codec.decode import read_times
from cxstream.scoring.codec.rejection import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cxstream.files.spill import Batch

# A mark is input << 41 | line << 1 | whether the record was too long.
_LINE_BITS = 40
_FIRST = BAD_TIME + 1


@dataclass(slots=True)
class MergedChunk(Chunk):
    """Consecutive records of all inputs together.

    Attributes:
        path: the input of the last one.
        paths: the input of each.
        consumed_bytes: records given so far, in bytes; comparable to the total that `merged_batches` reports.
    """

    paths: Sequence[Path] = field(default_factory=list)

    def place(self, position: int) -> tuple[Path, int]:
        """The input that a record comes from, and its line (Parquet: row) there."""
        return self.paths[position], self.numbers[position]


def merged_batches(
    paths: Sequence[Path],
    batch_bytes: int = BATCH_BYTES,
    max_record_bytes: int = MAX_RECORD_BYTES,
    *,
    memory_bytes: int = MEMORY_BYTES,
    on_read: Callable[[Chunk], None] = lambda _: None,
    on_sorted: Callable[[int], None] = lambda _: None,
) -> Iterator[MergedChunk]:
    """Read inputs as `read_batches` does, and give their records in the order of their event times.

    Records of one time keep the order of the inputs. One whose time cannot be read follows the record before it in
    its input: it changes no score, and stays near what it stood beside.

    Args:
        paths: the inputs; `-` is standard input.
        batch_bytes: about how much comes back at a time, in bytes.
        max_record_bytes: a longer record is marked as too long, in bytes.
        memory_bytes: about how much is held in memory; the rest goes to a temporary file.
        on_read: called when a chunk of an input is taken.
        on_sorted: called when all is read, with the bytes of all records.

    Raises:
        InputError: as of `read_batches`.
        OutputError: the temporary file cannot be written.
    """
    with Sorter(memory_bytes) as sorter:
        inputs: list[Path] = []
        total, last = 0, _FIRST
        for chunk in read_batches(paths, batch_bytes, max_record_bytes):
            if not inputs or inputs[-1] != chunk.path:
                inputs.append(chunk.path)
                last = _FIRST
            keys = _keys(chunk.lines, last)
            last = int(keys[-1])
            values = (
                [_stored(chunk.cut.get(i), line) for i, line in enumerate(chunk.lines)]
                if chunk.cut
                else chunk.lines
            )
            sorter.add(keys, _marks(chunk, len(inputs) - 1), values)
            total += sum(map(len, values))
            on_read(chunk)
        on_sorted(total)
        done = 0
        for batch in sorter.merged():
            for part in _parts(batch, batch_bytes):
                done += sum(map(len, part.values))
                yield _chunk(part, inputs, done)


def _stored(cut: Reference | None, line: bytes) -> bytes:
    return line if cut is None else f"{cut.size} {cut.sha256}".encode()


def _restored(stored: bytes) -> Reference:
    size, sha256 = stored.decode().split()
    return Reference(int(size), sha256)


def _keys(lines: Sequence[bytes], last: int) -> NDArray[np.int64]:
    """Event times; where one cannot be read, that of the record before."""
    times = np.concatenate([np.array([last], np.int64), read_times(lines)])
    positions = np.arange(len(times))
    positions[times == BAD_TIME] = 0
    filled: NDArray[np.int64] = times[np.maximum.accumulate(positions)][1:]
    return filled


def _marks(chunk: Chunk, number: int) -> NDArray[np.int64]:
    marks = (number << _LINE_BITS + 1) + (np.asarray(chunk.numbers, np.int64) << 1)
    marks[list(chunk.cut)] |= 1
    return marks


def _parts(batch: Batch, batch_bytes: int) -> Iterator[Batch]:
    """The same in parts of at most about `batch_bytes`."""
    sizes = np.cumsum([len(value) for value in batch.values])
    cuts = np.flatnonzero(np.diff(sizes // batch_bytes)) + 1
    for first, last in zip([0, *cuts.tolist()], [*cuts.tolist(), len(sizes)], strict=True):
        yield type(batch)(batch.keys[first:last], batch.marks[first:last], batch.values[first:last])


def _chunk(batch: Batch, inputs: list[Path], done: int) -> MergedChunk:
    too_long = np.flatnonzero(batch.marks & 1).tolist()
    cut = {i: _restored(batch.values[i]) for i in too_long}
    for i in too_long:
        batch.values[i] = b""
    numbers = ((batch.marks >> 1) & ((1 << _LINE_BITS) - 1)).tolist()
    paths = [inputs[i] for i in (batch.marks >> (_LINE_BITS + 1)).tolist()]
    return MergedChunk(paths[-1], batch.values, numbers, done, cut, paths)

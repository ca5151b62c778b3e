"""Records sorted by a number in bounded memory: sorted runs in a temporary file, merged a block at a time.

    add -> (memory is full) -> a sorted run on disk          file:  | run 0 | run 1 | run 2 | ...
    merged <- a block of each run in memory                  run:   | block | block | ...
                                                             block: | keys | marks | ends | values |

The sort is stable: records of equal keys keep the order in which they were added. What fits into memory never goes
to disk. The file has no name from the moment it is made (or is unlinked at once), so that nothing is left behind
whatever ends the process; only its owner may read it. One file is open at a time, two while runs are merged
into longer ones because there are too many for the memory.
"""

from __future__ import annotations

import os
import struct
import tempfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Literal, Self

import numpy as np

from cxstream.model.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

MEMORY_BYTES = 64 << 20
_BLOCK_BYTES = 128 << 10
_HEADER = struct.Struct("<qq")
# What a record costs in memory beside its bytes: the object, its places in lists and arrays.
_OVERHEAD_BYTES = 80
_MOST_RUNS = 256


@dataclass(slots=True)
class Batch:
    """Some consecutive records of the sorted order.

    Attributes:
        keys: int64[n], ascending.
        marks: int64[n], as they were added.
        values: n records.
    """

    keys: NDArray[np.int64]
    marks: NDArray[np.int64]
    values: list[bytes]


@dataclass(slots=True)
class _Run:
    """A sorted run on disk.

    Attributes:
        start: offset of its first block.
        end: offset after its last block.
        largest: bytes of its largest block in memory.
    """

    start: int
    end: int
    largest: int


class _Spill:
    """A temporary file of runs."""

    def __init__(self) -> None:
        try:
            # O_EXCL and mode 0600, without a name.
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix="cxstream-sort-")  # noqa: SIM115
        except OSError as error:
            raise _failed(error) from error
        self._size = 0

    def close(self) -> None:
        try:
            self._file.close()
        except OSError:
            # What could not be flushed is not wanted any more.
            return

    def write(self, batches: Iterator[Batch]) -> _Run:
        """Append a run."""
        run = _Run(self._size, self._size, 0)
        try:
            for batch in batches:
                size = self._write(batch)
                self._size += size
                run.largest = max(run.largest, size + _OVERHEAD_BYTES * len(batch.values))
            self._file.flush()
        except OSError as error:
            raise _failed(error) from error
        run.end = self._size
        return run

    def _write(self, batch: Batch) -> int:
        ends = np.cumsum([len(value) for value in batch.values], dtype=np.int64)
        parts = [
            _HEADER.pack(len(ends), int(ends[-1])),
            batch.keys.tobytes(),
            batch.marks.tobytes(),
            ends.tobytes(),
            *batch.values,
        ]
        self._file.writelines(parts)
        return _HEADER.size + 24 * len(ends) + int(ends[-1])

    def read(self, run: _Run) -> Iterator[Batch]:
        """The blocks of a run."""
        at = run.start
        while at < run.end:
            n, size = _HEADER.unpack(self._take(at, _HEADER.size))
            at += _HEADER.size
            numbers = np.frombuffer(self._take(at, 24 * n), np.int64).reshape(3, n)
            at += 24 * n
            data = self._take(at, size)
            at += size
            ends = numbers[2].tolist()
            values = [data[i:j] for i, j in zip([0, *ends[:-1]], ends, strict=True)]
            yield Batch(numbers[0], numbers[1], values)

    def _take(self, at: int, size: int) -> bytes:
        taken = []
        while size:
            try:
                part = os.pread(self._file.fileno(), size, at)
            except OSError as error:
                raise _failed(error) from error
            if not part:
                raise OutputError(f"{tempfile.gettempdir()}: a temporary file of the sort was cut off")
            taken.append(part)
            at += len(part)
            size -= len(part)
        return b"".join(taken)


class Sorter:
    """Sorts records by a key; a context manager, which gives the disk back when it ends.

    Args:
        memory_bytes: about how much is held in memory.
    """

    def __init__(self, memory_bytes: int = MEMORY_BYTES) -> None:
        self._memory = memory_bytes
        self._held_bytes = 0
        self._keys: list[NDArray[np.int64]] = []
        self._marks: list[NDArray[np.int64]] = []
        self._values: list[bytes] = []
        self._spill: _Spill | None = None
        self._runs: list[_Run] = []
        self.records = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spill is not None:
            self._spill.close()

    def add(self, keys: NDArray[np.int64], marks: NDArray[np.int64], values: Sequence[bytes]) -> None:
        """Take records.

        Args:
            keys: int64[n], what to sort by.
            marks: int64[n], what to give back with each record.
            values: n records.

        Raises:
            OutputError: the disk of the temporary files is full, or the like.
        """
        self._keys.append(keys)
        self._marks.append(marks)
        self._values.extend(values)
        self._held_bytes += sum(map(len, values)) + _OVERHEAD_BYTES * len(values)
        self.records += len(values)
        if self._held_bytes >= self._memory:
            if self._spill is None:
                self._spill = _Spill()
            self._runs.append(self._spill.write(self._sorted()))

    def merged(self) -> Iterator[Batch]:
        """All records in order; may be asked once.

        Raises:
            OutputError: the disk of the temporary files is full, or the like.
        """
        if self._spill is None:
            yield from self._sorted()
            return
        if self._values:
            self._runs.append(self._spill.write(self._sorted()))
        while len(groups := self._groups()) > 1:
            self._merge_into_fewer(groups)
        yield from _merge([self._spill.read(run) for run in self._runs])

    def _groups(self) -> list[list[_Run]]:
        """Neighbouring runs that can be merged within the memory."""
        groups: list[list[_Run]] = []
        taken = 0
        for run in self._runs:
            fits = groups and len(groups[-1]) < _MOST_RUNS and taken + run.largest <= self._memory
            # Merging must make progress, even where single records are as large as the memory.
            if fits or (groups and len(groups[-1]) == 1):
                groups[-1].append(run)
                taken += run.largest
            else:
                groups.append([run])
                taken = run.largest
        return groups

    def _merge_into_fewer(self, groups: list[list[_Run]]) -> None:
        assert self._spill is not None  # noqa: S101 - there are runs
        fewer = _Spill()
        try:
            self._runs = [
                fewer.write(_cut(_merge([self._spill.read(run) for run in group]))) for group in groups
            ]
        except BaseException:
            fewer.close()
            raise
        self._spill.close()
        self._spill = fewer

    def _sorted(self) -> Iterator[Batch]:
        """What is held, in order; nothing is held afterwards."""
        empty: NDArray[np.int64] = np.empty(0, np.int64)
        keys, marks = np.concatenate([empty, *self._keys]), np.concatenate([empty, *self._marks])
        values = self._values
        self._keys, self._marks, self._values, self._held_bytes = [], [], [], 0
        order = np.argsort(keys, kind="stable")
        if len(order):
            yield from _cut(iter([Batch(keys[order], marks[order], [values[i] for i in order.tolist()])]))


def _cut(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same in batches of about a block."""
    for batch in batches:
        ends = np.cumsum([len(value) + 24 for value in batch.values], dtype=np.int64)
        first = 0
        while first < len(ends):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + _BLOCK_BYTES, "right")))
            yield Batch(batch.keys[first:last], batch.marks[first:last], batch.values[first:last])
            first = last


def _merge(runs: list[Iterator[Batch]]) -> Iterator[Batch]:
    """Merge sorted runs, of which the earlier ones win at equal keys.

    In each step, what is certain to come before everything unread is taken from all blocks at once. The block that
    ends first, at key b, bounds it: the earlier runs give all up to b, later ones only what is below b,
    for the run of that block may go on with b.
    """
    heads = [(order, block, 0) for order, run in enumerate(runs) if (block := next(run, None)) is not None]
    while heads:
        bound, bounding = min((int(block.keys[-1]), order) for order, block, _ in heads)
        taken: list[Batch] = []
        left: list[tuple[int, Batch, int]] = []
        for order, block, at in heads:
            side: Literal["left", "right"] = "right" if order <= bounding else "left"
            n = int(np.searchsorted(block.keys, bound, side))
            if n > at:
                taken.append(Batch(block.keys[at:n], block.marks[at:n], block.values[at:n]))
            if n < len(block.keys):
                left.append((order, block, n))
            elif (following := next(runs[order], None)) is not None:
                left.append((order, following, 0))
        heads = left
        yield _together(taken)


def _together(parts: list[Batch]) -> Batch:
    keys = np.concatenate([part.keys for part in parts])
    marks = np.concatenate([part.marks for part in parts])
    values = [value for part in parts for value in part.values]
    order = np.argsort(keys, kind="stable")
    return Batch(keys[order], marks[order], [values[i] for i in order.tolist()])


def _failed(error: OSError) -> OutputError:
    return OutputError(
        f"{tempfile.gettempdir()}: cannot write the temporary files of the sort ({error.strerror or error});"
        " it needs about as much room as the uncompressed input: set TMPDIR to a folder that has it"
    )

"""Memory that a process of a replay shares with the others: what it has read of pieces of the input."""

from __future__ import annotations

import mmap
import pickle
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.events import SPANS
from cxstream.kernels.layout import EVENT
from cxstream.scoring.slices import Frame, Slice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SLOTS = 4
"""Places in turn: who writes is a place ahead of who reads, and neither waits for the other at once. Fewer stay in the cache."""
_ALIGNED = 64
_HEAD_BYTES = 8


class Shared(NamedTuple):
    """A piece of the input that was read, as the other processes need it.

    Attributes:
        frame: of all of its records, without the lines themselves.
        slices: the records of each process; None for the process that has read it.
        begins: int64[n], where each record begins in the file.
        ends: int64[n], where it ends.
        numbers: 1-based lines of the records; None where each line is one.
        lines: how many lines it has.
    """

    frame: Frame
    slices: Sequence[Slice | None]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]
    numbers: list[int] | None
    lines: int


class Ring:
    """Places for what one process has read, used in turn.

    Make it before the fork. A reader of a place must have been told that it is written, and the writer that nobody needs it
    any more.

    Args:
        slot_bytes: of each place; what does not fit is not shared.
    """

    def __init__(self, slot_bytes: int) -> None:
        self._bytes = slot_bytes
        self._memory = mmap.mmap(-1, SLOTS * slot_bytes)

    def write(self, number: int, shared: Shared | None) -> bool:
        """Share a piece, the `number`-th of this process; None for one that each process must read itself.

        Returns:
            Whether it is shared.
        """
        at = number % SLOTS * self._bytes
        self._memory[at : at + _HEAD_BYTES] = b"\0" * _HEAD_BYTES
        if shared is None:
            return False
        frame = shared.frame
        arrays: list[NDArray[np.generic]] = [
            frame.valid, frame.times, frame.kinds, frame.codes, shared.begins, shared.ends,
        ]  # fmt: skip
        slices: list[tuple[int, int, dict[int, float], list[int]] | None] = []
        for mine in shared.slices:
            if mine is None:
                slices.append(None)
                continue
            text = np.frombuffer(mine.text, np.uint8)
            arrays += [mine.positions, mine.columns, text, mine.spans, mine.members]
            slices.append((len(mine.positions), len(text), mine.sentiments, mine.made))
        sizes = len(frame.codes), len(frame.valid)
        head = sizes, frame.rejected, frame.version, slices, shared.numbers, shared.lines
        said = pickle.dumps(head, pickle.HIGHEST_PROTOCOL)
        places, end = _places(len(said), [each.nbytes for each in arrays])
        if end > self._bytes:
            return False
        for place, array in zip(places, arrays, strict=True):
            np.frombuffer(self._memory, np.uint8, array.nbytes, at + place)[:] = array.reshape(-1).view(
                np.uint8
            )
        self._memory[at + _HEAD_BYTES : at + _HEAD_BYTES + len(said)] = said
        self._memory[at : at + _HEAD_BYTES] = len(said).to_bytes(_HEAD_BYTES, "little")
        return True

    def read(self, number: int, process: int) -> Shared | None:
        """The `number`-th piece that was shared, with the records of one process; None for one that it must read itself.

        The arrays lie in the place. The lines are left open.
        """
        at = number % SLOTS * self._bytes
        size = int.from_bytes(self._memory[at : at + _HEAD_BYTES], "little")
        if not size:
            return None
        (n, g), rejected, version, slices, numbers, lines = pickle.loads(  # noqa: S301  # of this program
            self._memory[at + _HEAD_BYTES : at + _HEAD_BYTES + size]
        )
        shapes: list[tuple[np.dtype[np.generic], int]] = [
            (_I64, g), (_I64, g), (_U8, g), (np.dtype(np.int32), n), (_I64, n), (_I64, n)
        ]  # fmt: skip
        begin = 0
        for i, one in enumerate(slices):
            if one is None:
                continue
            if i == process:
                begin = len(shapes)
            m, text, _, _ = one
            shapes += [(_I64, m), (EVENT, m + 1), (_U8, text), (_I64, (m + 1) * SPANS), (_U64, m + 1)]
        places, _ = _places(size, [kind.itemsize * count for kind, count in shapes])
        found = [
            np.frombuffer(self._memory, kind, count, at + place)
            for place, (kind, count) in zip(places, shapes, strict=True)
        ]
        valid, times, kinds, codes, begins, ends = found[:6]
        positions, columns, words, where, members = found[begin : begin + 5]
        _, _, sentiments, made = slices[process]
        mine = Slice(positions, columns, words.tobytes(), where.reshape(-1, SPANS), members, sentiments, made)
        frame = Frame((), valid, times, kinds, codes, rejected, version)
        return Shared(frame, [mine], begins, ends, numbers, lines)


class Texts:
    """Places for texts that one process sends, used in turn; see `Ring`.

    Args:
        slot_bytes: of each place; what does not fit is sent in another way.
    """

    def __init__(self, slot_bytes: int) -> None:
        self._bytes = slot_bytes
        self._memory = mmap.mmap(-1, SLOTS * slot_bytes)

    def write(self, number: int, text: bytes) -> bool:
        """Put the `number`-th text into its place; whether it fits."""
        if len(text) > self._bytes:
            return False
        at = number % SLOTS * self._bytes
        self._memory[at : at + len(text)] = text
        return True

    def read(self, number: int, size: int) -> memoryview:
        """The `number`-th text, where it lies."""
        at = number % SLOTS * self._bytes
        return memoryview(self._memory)[at : at + size]


_I64, _U64, _U8 = np.dtype(np.int64), np.dtype(np.uint64), np.dtype(np.uint8)


def _places(head: int, sizes: list[int]) -> tuple[list[int], int]:
    """Where arrays of these sizes begin in a slot, behind its head, and where the last one ends."""
    places, at = [], _HEAD_BYTES + head
    for size in sizes:
        at += -at % _ALIGNED
        places.append(at)
        at += size
    return places, at

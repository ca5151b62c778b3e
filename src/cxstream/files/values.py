"""Records out of JSON that is no line each: arrays, values written over several lines, and RFC 7464 sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cxstream.files.lines import Records, reference_to
from cxstream.kernels.values import BETWEEN, IN_ARRAY, MODE, STATE_SIZE, STRAY, WORD, find_values
from cxstream.model.errors import InputError
from cxstream.scoring.codec.rejection import Passing, Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MOST_VALUES = 1 << 14


def split_values(blocks: Iterable[bytes], name: str, max_record_bytes: int) -> Iterator[Records]:
    """Split a sequence of JSON values; an array in it stands for its items.

    What is held at a time is a block and one value. The number of a record counts the values.

    Args:
        blocks: the stream, in UTF-8.
        name: what messages call the input.
        max_record_bytes: a longer value comes back as too long, and is not held while it passes.

    Raises:
        InputError: the text ends within a value or an array, or a bracket closes nothing.
    """
    cutter = _Cutter(name, max_record_bytes)
    for block in blocks:
        yield from cutter.feed(block)
    yield from cutter.finish()


class _Cutter:
    """The value that is not complete yet, and how many there were."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.count = 0
        self._state = np.zeros(STATE_SIZE, np.int64)
        self._starts = np.empty(_MOST_VALUES, np.int64)
        self._ends = np.empty(_MOST_VALUES, np.int64)
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        self._passing: Passing | None = None

    def feed(self, block: bytes) -> Iterator[Records]:
        data = np.frombuffer(block, np.uint8)
        at = 0
        while at < len(data):
            found, at, begun = find_values(data, at, self._state, self._starts, self._ends)
            bounds = zip(self._starts[:found].tolist(), self._ends[:found].tolist(), strict=True)
            yield from self._records(
                [block[start:end] if start >= 0 else self._whole(block[:end]) for start, end in bounds]
            )
            if self._state[STRAY]:
                raise InputError(
                    f"{self.name}: not JSON: a bracket after {self.count} values closes nothing; write it again"
                )
            if self._state[MODE] != BETWEEN and at == len(data):
                self._hold(block[max(begun, 0) :])

    def finish(self) -> Iterator[Records]:
        if self._state[IN_ARRAY] or self._state[MODE] not in {BETWEEN, WORD}:
            raise InputError(
                f"{self.name}: JSON ends early, within value {self.count + 1} or the array around it; "
                "the file is cut off, copy it again"
            )
        if self._state[MODE] == WORD:
            yield from self._records([self._whole(b"")])

    def _hold(self, part: bytes) -> None:
        self._begun_bytes += len(part)
        self._begun.append(part)
        if self._begun_bytes > self.limit:
            # Longer than the limit stays longer, whatever comes.
            self._passing = self._passing or Passing()
            for piece in self._begun:
                self._passing.add(piece)
            self._begun.clear()

    def _whole(self, end: bytes) -> bytes | Reference:
        if self._passing is not None:
            passing, self._passing, self._begun_bytes = self._passing, None, 0
            passing.add(end)
            return passing.reference()
        whole = b"".join([*self._begun, end])
        self._begun.clear()
        self._begun_bytes = 0
        return whole

    def _records(self, values: Sequence[bytes | Reference]) -> Iterator[Records]:
        if not values:
            return
        first, self.count = self.count + 1, self.count + len(values)
        cut: dict[int, Reference] = {}
        lines = []
        for i, value in enumerate(values):
            if isinstance(value, Reference) or len(value) > self.limit:
                cut[i] = value if isinstance(value, Reference) else reference_to(value)
                lines.append(b"")
            else:
                lines.append(_in_one_line(value) if b"\n" in value or b"\r" in value else value)
        yield Records(lines, range(first, self.count + 1), cut)


def _in_one_line(value: bytes) -> bytes:
    """The same value without blanks between its parts; as it is where it is no JSON."""
    try:
        return msgspec.json.format(value, indent=-1)
    except (msgspec.DecodeError, RecursionError):
        return value

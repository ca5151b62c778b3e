"""Records out of a stream of bytes: one line each, split at C speed, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.lines import lines_of
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.codec.rejection import Passing, Reference
from cxstream.scoring.codec.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r"
# Bytes of a line that make room for it at first.
_LINE_BYTES = 64
MOST_LINES = 1 << 16
"""Records that come at a time. Of valid ones 4 MiB have fewer; each broken one is an object with a message, however short it is."""


@dataclass(slots=True)
class Records:
    """Some consecutive records.

    Attributes:
        lines: one record each, without its newline; `b""`, which no event is, where the record is too long.
        numbers: int[len(lines)], the 1-based line number of each record.
        cut: what stands for each record that is too long, by its position in `lines`.
    """

    lines: Sequence[bytes]
    numbers: Sequence[int]
    cut: dict[int, Reference] = field(default_factory=dict)


def split(
    blocks: Iterable[bytes],
    batch_bytes: int,
    max_record_bytes: int,
    give_back: Callable[[int], bool] | None = None,
) -> Iterator[Records]:
    r"""Split a stream at `\n` or `\r\n`.

    Lines without anything but white space are no records, but they are counted. A byte order mark before a line is skipped: files that
    have one each may have been put together. What is held at a time is at most a batch, a block and one record, whatever the stream holds;
    and at most MOST_LINES records come back at a time.

    Args:
        blocks: the stream.
        batch_bytes: about how many bytes come back at a time.
        max_record_bytes: a longer line comes back as too long, and is not held while it passes.
        give_back: makes the next block begin so many bytes before the end of the last one, and says whether it could; None
            where that is not possible. Then the lines of a block are used where they lie, without a copy: as fast as a memory map, and a file that
            shrinks meanwhile ends early instead of ending the process.
    """
    cutter = _Cutter(batch_bytes, max_record_bytes, give_back)
    for block in blocks:
        yield from cutter.feed(block)
    yield from cutter.finish()


class _Cutter:
    """The line that is not complete yet, and the complete ones that wait to make up a batch."""

    __slots__ = (
        "_batch",
        "_give_back",
        "_is_blank",
        "_ready",
        "_ready_bytes",
        "_return",
        "_skipped",
        "_tail",
        "_tail_bytes",
        "batch_bytes",
        "limit",
        "next",
    )

    def __init__(self, batch_bytes: int, limit: int, give_back: Callable[[int], bool] | None = None) -> None:
        self._give_back = give_back
        self.batch_bytes = batch_bytes
        self.limit = limit
        self.next = 1
        self._ready: list[bytes | memoryview] = []
        self._ready_bytes = 0
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._skipped: Passing | None = None
        self._is_blank = True  # the line that is skipped, so far
        self._return = b""  # a carriage return that may belong to the end of the line that is skipped

    def feed(self, block: bytes) -> Iterator[Records]:
        if self._skipped is not None:
            end = block.find(b"\n")
            self._skip(block if end < 0 else block[:end])
            if end < 0:
                return
            yield from self._too_long()
            block = block[end + 1 :]
        if end := self._end_of_whole(block):
            yield from self._whole(block, end)
            return
        end = block.rfind(b"\n") + 1
        if end:
            self._ready += [*self._tail, memoryview(block)[:end]]
            self._ready_bytes += self._tail_bytes + end
            self._tail.clear()
            self._tail_bytes = 0
            block = block[end:]
            # So that the next block may be used where it lies.
            if self._give_back is not None and self._give_back(len(block)):
                block = b""
        if block:
            self._tail.append(block)
            self._tail_bytes += len(block)
        if self._tail_bytes > self.limit + 1:  # the last byte may be the \r of a line that just fits
            yield from self._flush()
            self._skipped = Passing()
            self._skip(b"".join(self._tail).removeprefix(_BOM))
            self._tail.clear()
            self._tail_bytes = 0
        elif self._ready_bytes >= self.batch_bytes:
            yield from self._flush()

    def _whole(self, block: bytes, end: int) -> Iterator[Records]:
        """Use lines where they lie, unless there is something to take out first."""
        lines = self._cut(block, end, whole=True)
        if lines is not None:
            yield from lines
            return
        self._ready.append(memoryview(block)[:end])
        self._ready_bytes += end
        if self._ready_bytes >= self.batch_bytes:
            yield from self._flush()

    def _end_of_whole(self, block: bytes) -> int:
        """The end of the lines of a block that may be used where they lie, and 0 where none can; the rest is given back."""
        if self._give_back is None or self._ready or self._tail:
            return 0
        end = block.rfind(b"\n", 0, max(len(block) - len(AFTER), 0)) + 1
        return end if end and self._give_back(len(block) - end) else 0

    def finish(self) -> Iterator[Records]:
        if self._skipped is not None:
            yield from self._too_long()
        self._ready += self._tail
        yield from self._flush()

    def _skip(self, part: bytes) -> None:
        assert self._skipped is not None  # noqa: S101 - a line is being skipped
        if part:
            self._is_blank = self._is_blank and not part.strip(_BLANKS)
            self._skipped.add(self._return)
            self._return = part[-1:] if part.endswith(b"\r") else b""
            self._skipped.add(part.removesuffix(b"\r"))

    def _too_long(self) -> Iterator[Records]:
        assert self._skipped is not None  # noqa: S101 - a line was skipped
        if not self._is_blank:
            yield Records([b""], [self.next], {0: self._skipped.reference()})
        self._skipped, self._return, self._is_blank = None, b"", True
        self.next += 1

    def _flush(self) -> Iterator[Records]:
        if not self._ready:
            return
        data = b"".join([*self._ready, AFTER])
        self._ready.clear()
        self._ready_bytes = 0
        # To look for one byte is ten times as fast as to look for three.
        if _BOM[:1] in data and _BOM in data:
            data = data.removeprefix(_BOM).replace(b"\n" + _BOM, b"\n")
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
            if data[-len(AFTER) - 1 : -len(AFTER)] == b"\r":
                data = data[: -len(AFTER) - 1] + AFTER
        yield from self._cut(data, len(data) - len(AFTER)) or []

    def _cut(self, data: bytes, size: int, *, whole: bool = False) -> list[Records] | None:
        """Cut the first bytes of a text into lines; arguments as those of `cut`, and None where it returns None."""
        found = cut(data, 0, size, self.limit, first=self.next, whole=whole)
        if found is None:
            return None
        records, lines = found
        self.next += lines
        return list(_some_at_a_time(records))


def cut(
    data: bytes, begin: int, size: int, limit: int, *, first: int = 1, whole: bool = False
) -> tuple[Records, int] | None:
    """Cut some bytes of a text into lines; at least as many as AFTER has follow.

    Args:
        data: the text.
        begin: the first of the bytes.
        size: how many they are.
        limit: a longer line comes back as too long.
        first: number of the first line.
        whole: carriage returns and byte order marks have not been looked for.

    Returns:
        The records, and how many lines there are; None where something has been found that is to be taken out first.
    """
    text = np.frombuffer(data, np.uint8)[begin:]
    room = size // _LINE_BYTES + 1
    while True:
        # Memory that is not written costs nothing.
        begins, ends, places = np.empty((3, room), np.int64)
        lines, filled, longest, odd = lines_of(text, size, begins, ends, places)
        if whole and odd:
            return None
        if filled <= room:
            break
        room = filled
    numbers: Sequence[int] = range(first, first + lines)
    if filled < lines:
        numbers = (places[:filled] + first).tolist()
    begins, ends = begins[:filled], ends[:filled]
    if begin:
        begins, ends = begins + begin, ends + begin
    return bounded(Packed(data, begins, ends, longest), numbers, limit), lines


def _some_at_a_time(records: Records) -> Iterator[Records]:
    lines, numbers, cut = records.lines, records.numbers, records.cut
    for begin in range(0, len(lines), MOST_LINES):
        end = begin + MOST_LINES
        some = {i - begin: each for i, each in cut.items() if begin <= i < end}
        yield Records(lines[begin:end], numbers[begin:end], some)


def bounded(lines: Sequence[bytes], numbers: Sequence[int], limit: int) -> Records:
    """Take the records out that are longer than `limit` bytes."""
    if isinstance(lines, Rows | Packed) and lines.longest <= limit:
        return Records(lines, numbers)
    long = (
        np.flatnonzero(lines.lengths > limit).tolist()
        if isinstance(lines, Packed)
        else [i for i, line in enumerate(lines) if len(line) > limit]
    )
    if not long:
        return Records(lines, numbers)
    lines = list(lines)
    cut = {i: reference_to(lines[i]) for i in long}
    for i in long:
        lines[i] = b""
    return Records(lines, numbers, cut)


def reference_to(record: bytes) -> Reference:
    """What stands for a record that is too long."""
    passing = Passing()
    passing.add(record)
    return passing.reference()

"""Files of JSON lines in pieces that several processes read independently of each other."""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, Self

from cxstream.files import streams
from cxstream.files.lines import MOST_LINES, Records, cut, split
from cxstream.files.shapes import is_lines
from cxstream.model.errors import InputError
from cxstream.scoring.codec.packed import AFTER

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

# Read with a piece, in front of its last line's end; more is read where that line is longer.
_MORE_BYTES = 16 << 10


class Piece(NamedTuple):
    """The lines of a file that begin within some of its bytes.

    Attributes:
        path: the file.
        number: of the open file.
        begin: the first byte.
        end: the one after the last.
        size: bytes of the file.
        before: bytes of the files before it.
    """

    path: Path
    number: int
    begin: int
    end: int
    size: int
    before: int


class Read(NamedTuple):
    """The records of a piece.

    Attributes:
        records: their lines are counted from the beginning of the piece.
        lines: how many lines it has.
        at: where the text in which the records lie begins in the file; None where it is another than in the file.
    """

    records: Records
    lines: int
    at: int | None


class Pieces:
    """The pieces of files, in order. A context manager: the files are open within.

    Args:
        paths: files of JSON lines, see `are_lines`.
        piece_bytes: about how large a piece is.
        max_record_bytes: a longer record comes back as too long.
    """

    def __init__(self, paths: Sequence[Path], piece_bytes: int, max_record_bytes: int) -> None:
        self._paths, self._piece_bytes, self._limit = paths, piece_bytes, max_record_bytes
        self._numbers: list[int] = []
        self._all: list[Piece] = []

    def __enter__(self) -> Self:
        try:
            self._open()
        except OSError:
            self.__exit__()
            raise
        return self

    def _open(self) -> None:
        before = 0
        for path in self._paths:
            number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._numbers.append(number)
            size = os.fstat(number).st_size
            for begin in range(0, size, self._piece_bytes):
                end = min(begin + self._piece_bytes, size)
                self._all.append(Piece(path, number, begin, end, size, before))
            before += size

    def __exit__(self, *_: object) -> None:
        for number in self._numbers:
            os.close(number)
        self._numbers.clear()

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, i: int) -> Piece:
        return self._all[i]

    def groups(self, most: int) -> Iterator[range]:
        """All pieces, at most so many of one file at a time."""
        for _, some in groupby(range(len(self)), key=lambda i: self[i].number):
            places = list(some)
            for at in range(0, len(places), most):
                yield range(places[at], places[min(at + most, len(places)) - 1] + 1)

    def read(self, i: int) -> Read | None:
        """The records of a piece; None where a line is too long to be kept, there are too many, or the file is shorter than it was."""
        found = self._bytes(self._all[i])
        if found is None:
            return None
        data, at, begin, end = found
        if begin == end:
            return Read(Records([], []), 0, None)
        if len(data) - end < len(AFTER):
            data += AFTER
        whole = cut(data, begin, end - begin, self._limit, whole=True)
        if whole is not None:
            return Read(*whole, at) if len(whole[0].lines) <= MOST_LINES else None
        text = data[begin:end]
        some = list(split([text], len(text) + 1, self._limit))
        if len(some) > 1:
            return None
        return Read(some[0] if some else Records([], []), text.count(b"\n") + (text[-1:] != b"\n"), None)

    def some(self, i: int, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> Sequence[bytes]:
        """The records of a piece that lie at these places of its file, each read when it is asked for."""
        return _Lines(self._all[i].number, begins, ends)

    def _bytes(self, piece: Piece) -> tuple[bytes, int, int, int] | None:
        """Bytes of a file and where they begin in it, and the first and last of those that the lines of a piece have."""
        start = max(piece.begin - 1, 0)
        data = os.pread(piece.number, piece.end - start + _MORE_BYTES, start)
        if len(data) < piece.end - start:
            return None
        # One mark at a file's start is passed over as that of the file, and one more as that of its first record.
        begin = data.find(b"\n") + 1 if piece.begin else len(BOM_UTF8) * data.startswith(BOM_UTF8)
        if piece.begin and not 0 < begin <= piece.end - start:
            # All of it belongs to a line that began before.
            return data, start, 0, 0
        while (end := data.find(b"\n", piece.end - 1 - start) + 1) == 0:
            if start + len(data) >= piece.size:
                return data, start, begin, piece.size - start
            more = os.pread(piece.number, max(len(data), _MORE_BYTES), start + len(data))
            if not more or start + len(data) - piece.end > self._limit:
                return None
            data += more
        return data, start, begin, end


class _Lines(Sequence[bytes]):
    """Lines of a file."""

    def __init__(self, number: int, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self._number, self._begins, self._ends = number, begins, ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, i: int) -> bytes:  # type: ignore[override]  # nobody asks for several
        begin, end = int(self._begins[i]), int(self._ends[i])
        return os.pread(self._number, end - begin, begin)


def are_lines(paths: Sequence[Path], batch_bytes: int) -> bool:
    """Whether all inputs are files of JSON lines in UTF-8, not packed; as one process that reads so many bytes at a time tells."""
    return all(
        str(path) != streams.STDIN and path.is_file() and _is_lines(path, batch_bytes) for path in paths
    )


def _is_lines(path: Path, batch_bytes: int) -> bool:
    try:
        with streams.opened(path) as source:
            if streams.is_parquet(source, path) or streams.is_arrow(source, path):
                return False
            blocks = streams.blocks(source, path, batch_bytes)
            return is_lines(blocks, source.name) and source.plain
    except InputError:
        return False  # the error is raised where the file is read

"""Bytes out of a file or standard input, plain or compressed, a bounded block at a time.

The format is told by the first bytes, not by the name: a compressed file under a wrong name is read all the
same. What its name calls compressed and its bytes do not, and what is no data at all, is refused in one line instead
of being rejected line by line.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO

from cxstream.files.formats import ARROW_FILE, ARROW_STREAM, PARQUET, PEEKED_BYTES, SUFFIXES, foreign, packed
from cxstream.files.unpack import unpacked
from cxstream.files.zips import member_blocks
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STDIN = "-"

_ARROW = frozenset((ARROW_FILE[:4], ARROW_STREAM))
_ARROW_SUFFIXES = frozenset((".arrow", ".arrows", ".feather"))

# gzip within zip, or compressed twice by a proxy; deeper is no accident.
_MOST_LAYERS = 3


class Source:
    """An open input that counts the bytes taken from it.

    Attributes:
        name: how messages call it.
        taken: bytes read so far, as they are stored (compressed where they are).
        plain: what is read is what is stored, and can be read again.
        ended: the end was read, so nobody asks for more.
    """

    __slots__ = ("_file", "ended", "name", "plain", "taken")

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self.taken = 0
        self.plain = False
        self.ended = False

    def head(self) -> bytes:
        """The first bytes, without taking them."""
        peek = getattr(self._file, "peek", None)
        return bytes(peek(4)[:4]) if peek else b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; fewer when a pipe has no more at the moment, none at the end."""
        read1 = getattr(self._file, "read1", self._file.read)
        block: bytes = read1(size)
        self.ended = not block
        self.taken += len(block)
        return block

    def give_back(self, size: int) -> bool:
        """Read the last bytes again, if that is possible: if they are what is stored, in a file, and the end was not read.

        Returns:
            Whether they come again.
        """
        again = self.plain and not self.ended
        if again:
            self._file.seek(-size, 1)
            self.taken -= size
        return again

    def pass_to(self, taken: int) -> None:
        """Count bytes that somebody else has read, up to an offset."""
        self.taken = max(self.taken, taken)

    def members(self, size: int) -> Iterator[bytes]:
        """The file within this ZIP archive, at most `size` bytes at a time."""
        yield from member_blocks(self._file, self.name, size, self._on_taken)
        self._file.seek(0, 2)
        self._on_taken()

    def _on_taken(self) -> None:
        self.taken = max(self.taken, self._file.tell())


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """Open `path`, or standard input for `-`.

    Raises:
        InputError: the file is missing, a folder, or may not be read.
    """
    if str(path) == STDIN:
        yield Source(sys.stdin.buffer, "standard input")
        return
    try:
        file = path.open("rb")
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder; name the files in it") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}; check the path") from error
    with file:
        yield Source(file, str(path))


def is_parquet(source: Source, path: Path) -> bool:
    """Whether the input is Parquet, by its first bytes, else by its name."""
    return source.head() == PARQUET or path.suffix.lower() == ".parquet"


def is_arrow(source: Source, path: Path) -> bool:
    """Whether the input is an Arrow file or an Arrow stream, by its first bytes, else by its name."""
    return source.head() in _ARROW or path.suffix.lower() in _ARROW_SUFFIXES


def require_arrow(source: Source) -> None:
    """Refuse what only its name calls Arrow.

    Raises:
        InputError: it is something else; says what, if that is known.
    """
    head = source.head()
    if head not in _ARROW:
        what = "is not Arrow, though its name says so" if head else "empty, which no Arrow file is"
        refused = foreign(head) or f"{what}; copy it again, or give it its right name"
        raise InputError(f"{source.name}: {refused}")


def blocks(source: Source, path: Path, size: int, *, xml: bool = False) -> Iterator[bytes]:
    """The decompressed bytes of `source`, in blocks of about `size`.

    Args:
        source: an open input at its start.
        path: its path; what its suffix promises must hold.
        size: most bytes of a block that is not compressed.
        xml: whether XML is read.

    Raises:
        InputError: the compressed data is broken or ends early, the data is of a format that is not read;
            says what it is and what to do.
    """
    promised = SUFFIXES.get(path.suffix.lower())
    if packed(source.head()) == "zip":
        stream, layers = source.members(size), 1
    else:
        stream, layers = iter(lambda: source.read(size), b""), 0
    while True:
        head, stream = peeked(stream)
        kind = packed(head)
        if kind is None:
            break
        if kind == "zip" or layers == _MOST_LAYERS:
            raise InputError(f"{source.name}: holds {kind} within compressed data; unpack it first")
        stream, layers = unpacked(stream, kind, source.name, size), layers + 1
    if promised is not None and not layers:
        what = (
            f"is not {promised}, though its name says so" if head else f"empty, which no {promised} file is"
        )
        raise InputError(f"{source.name}: {what}; copy it again, or give it its right name")
    refused = foreign(head, xml=xml)
    if refused is not None:
        raise InputError(f"{source.name}: {refused}")
    source.plain = not layers and str(path) != STDIN and path.is_file()
    yield from stream


def peeked(stream: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes of a stream, and the same stream; waits for no more than a line of it."""
    first = b""
    for block in stream:
        first += block
        if len(first) >= PEEKED_BYTES or b"\n" in first:
            break
    return first[:PEEKED_BYTES], chain(iter([first] if first else []), stream)

"""Bytes out of a file or standard input, plain or compressed, a bounded block at a time.

The format is told by the first bytes, not by the name: a compressed file under a wrong name is read all the
same, and a file named `.gz` that is none is refused instead of being rejected line by line.
"""

from __future__ import annotations

import gzip
import sys
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STDIN = "-"

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_PARQUET = b"PAR1"
# A zstd block of 4 bytes can stand for 128 KiB: small slices bound what one step can grow to.
_ZSTD_SLICE = 1024
_READ_BYTES = 1 << 20


class Source:
    """An open input that counts the bytes taken from it.

    Attributes:
        name: how messages call it.
        taken: bytes read so far, as they are stored (compressed where they are).
    """

    __slots__ = ("_file", "name", "taken")

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self.name = name
        self.taken = 0

    def head(self) -> bytes:
        """The first bytes, without taking them."""
        peek = getattr(self._file, "peek", None)
        return bytes(peek(4)[:4]) if peek else b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; fewer when a pipe has no more at the moment, none at the end."""
        read1 = getattr(self._file, "read1", self._file.read)
        block: bytes = read1(size)
        self.taken += len(block)
        return block

    def seek(self, *_: int) -> int:
        """Refuse: a stream is read once, from front to end."""
        raise OSError(f"{self.name}: cannot go back")


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
    return source.head() == _PARQUET or path.suffix == ".parquet"


def blocks(source: Source, path: Path, size: int) -> Iterator[bytes]:
    """The decompressed bytes of `source`, in blocks of about `size`.

    Args:
        source: an open input at its start.
        path: its path; the suffix decides where the first bytes do not.
        size: most bytes of a plain or gzip block.

    Raises:
        InputError: the compressed data is broken or ends early, or zstandard is not installed.
    """
    head = source.head()
    if head[:2] == _GZIP or path.suffix == ".gz":
        return _gzip(source, size)
    if head == _ZSTD or path.suffix in {".zst", ".zstd"}:
        return _zstd(source)
    return iter(lambda: source.read(size), b"")


def _gzip(source: Source, size: int) -> Iterator[bytes]:
    if not source.head():
        raise InputError(f"{source.name}: empty, which no gzip file is; copy it again")
    try:
        with gzip.GzipFile(fileobj=source, mode="rb") as file:
            while block := file.read(min(size, _READ_BYTES)):
                yield block
    except EOFError:
        raise InputError(f"{source.name}: gzip data ends early; the file is cut off, copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{source.name}: not gzip data that can be read ({error})") from error


def _zstd(source: Source) -> Iterator[bytes]:
    try:
        import zstandard
    except ImportError:
        raise InputError(
            f"{source.name}: zstd needs the extra `files`; install it with: pip install 'cxstream[files]'"
        ) from None
    context = zstandard.ZstdDecompressor()
    frame = context.decompressobj()
    begun = False
    try:
        while data := source.read(_ZSTD_SLICE):
            while data:
                if frame.eof:
                    frame = context.decompressobj()
                begun = True
                if block := frame.decompress(data):
                    yield block
                data = frame.unused_data if frame.eof else b""
    except zstandard.ZstdError as error:
        raise InputError(f"{source.name}: not zstd data that can be read ({error})") from error
    if not (begun and frame.eof):
        raise InputError(f"{source.name}: zstd data ends early; the file is cut off, copy it again")

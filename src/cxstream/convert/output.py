"""The file that the events go to: there when it is complete, not there when it is not."""

from __future__ import annotations

import gzip
import io
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUFFER_BYTES = 1 << 20
# Three quarters of the time of the default, for files a few percent larger.
_GZIP_LEVEL = 5


@contextmanager
def created(path: Path, *, even_if_broken: bool = False) -> Iterator[IO[bytes]]:
    """Open `path` for writing, compressed where it ends in .gz or .zst; it appears when the block ends well.

    The same bytes written give the same file: a gzip header tells neither name nor time.

    Args:
        path: to write.
        even_if_broken: let it appear also when the block raises, with what was written until then.

    Raises:
        InputError: the folder is missing or may not be written, or zstandard is not installed.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        file = part.open("wb")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder"
        ) from error
    complete = False
    try:
        with file, _compressed(file, path) as out:
            yield out
        complete = True
    finally:
        if complete or even_if_broken:
            part.replace(path)
        part.unlink(missing_ok=True)


@contextmanager
def _compressed(file: IO[bytes], path: Path) -> Iterator[IO[bytes]]:
    if path.suffix == ".gz":
        with (
            gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0) as packed,
            io.BufferedWriter(packed, _BUFFER_BYTES) as out,
        ):
            yield out
    elif path.suffix in {".zst", ".zstd"}:
        with _zstd(file, path) as out:
            yield out
    else:
        with io.BufferedWriter(file, _BUFFER_BYTES) as out:
            yield out


def _zstd(file: IO[bytes], path: Path) -> io.BufferedWriter[Any]:
    try:
        import zstandard
    except ImportError:
        raise InputError(
            f"{path}: zstd needs the extra `files`; install it with: pip install 'cxstream[files]'"
        ) from None
    writer: Any = zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    return io.BufferedWriter(writer, _BUFFER_BYTES)

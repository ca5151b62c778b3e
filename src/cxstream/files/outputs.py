"""Files that are written: complete or not at all, and never in the place of something that is no file.

    a path            becomes
    -                 standard output, as any path does that is the same thing (/dev/stdout, a file of `> name`)
    a file, nothing   a new file under a name of its own, which takes the place when it is complete
    a link            stays a link: what it leads to is written
    a device, a pipe  stays what it is and gets the bytes as they come

What exists keeps its mode. Disks and sockets are refused.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import zstandard

from cxstream.files.private import draft, put
from cxstream.model.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

STDOUT = "-"

_BUFFER_BYTES = 1 << 20
# Three quarters of the time of the default, for files a few percent larger.
_GZIP_LEVEL = 5
_STDOUT_NAME = "standard output"
_STDIN_NUMBER, _STDOUT_NUMBER = 0, 1


@contextmanager
def created(path: Path, *, even_if_broken: bool = False, private: bool = True) -> Iterator[IO[bytes]]:
    """Open `path` for writing, compressed where it ends in .gz or .zst; a file appears when the block ends well.

    The same bytes written give the same file: a gzip header tells neither name nor time.

    Args:
        path: to write; `-` is standard output.
        even_if_broken: let a file appear also when the block raises, with what was written until then.
        private: whether a file that is new is for its owner alone; else the umask decides.

    Raises:
        OutputError: it cannot be written, now or when the disk is full; no part of a file is left then.
    """
    if is_stdout(path):
        raw = _Raw(_stdout(), _STDOUT_NAME, may_block=True)
        with _packed(raw, Path()) as out, raw.watched():
            yield out
        return
    try:
        target = path.resolve()
        mode = target.stat().st_mode if target.exists() else stat.S_IFREG
    except (OSError, RuntimeError) as error:
        raise _failed(path, getattr(error, "strerror", None) or "its links lead in a circle") from error
    if stat.S_ISREG(mode):
        with _file(path, target, even_if_broken=even_if_broken, private=private) as out:
            yield out
    else:
        with _special(path, mode) as out:
            yield out


def is_stdout(path: Path) -> bool:
    """Whether a path is standard output, by whatever name."""
    if str(path) == STDOUT:
        return True
    try:
        return os.path.samestat(path.stat(), os.fstat(_STDOUT_NUMBER)) and _stdout_is_real()
    except OSError:
        return False


def key_of(path: Path) -> tuple[int, int] | None:
    """What an input has in common with itself under other names; None where there is nothing, or a device."""
    found = _status(path, _STDIN_NUMBER)
    if found is None or (stat.S_ISCHR(found.st_mode) and str(path) != STDOUT):
        return None
    return found.st_dev, found.st_ino


def same(first: Path, second: Path, *, both_written: bool = False) -> bool:
    """Whether two paths, of which `-` is standard input or output, lead to one file or pipe.

    Links of both kinds are followed. A device such as /dev/null or a terminal is never in its own way.

    Args:
        first: standard input where it is `-`.
        second: standard output where it is `-`.
        both_written: the first one is standard output, too, where it is `-`.
    """
    if both_written and is_stdout(first) and is_stdout(second):
        return str(first) == STDOUT or str(second) == STDOUT
    found = _status(first, _STDOUT_NUMBER if both_written else _STDIN_NUMBER), _status(second, _STDOUT_NUMBER)
    if found[0] is None or found[1] is None:
        return found == (None, None) and _resolved(first) == _resolved(second)
    return os.path.samestat(found[0], found[1]) and not stat.S_ISCHR(found[0].st_mode)


def _status(path: Path, number: int) -> os.stat_result | None:
    try:
        return os.fstat(number) if str(path) == STDOUT else path.stat()
    except OSError:
        return None


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path.absolute()


def _stdout() -> IO[bytes]:
    return sys.stdout.buffer


def _stdout_is_real() -> bool:
    """Whether what Python calls standard output is the process's; a test may have put another in its place."""
    try:
        return sys.stdout.fileno() == _STDOUT_NUMBER
    except (OSError, AttributeError, ValueError):
        return False


@contextmanager
def _file(path: Path, target: Path, *, even_if_broken: bool, private: bool) -> Iterator[IO[bytes]]:
    if not target.parent.is_dir():
        raise _failed(path, f"there is no folder {target.parent}", "create it first")
    if target.exists() and not os.access(target, os.W_OK):
        raise _failed(path, "it may not be written", "change its mode or name another file")
    try:
        file, place = draft(target, private=private, buffering=0)
    except OSError as error:
        raise _failed(path, error.strerror or str(error)) from error
    raw = _Raw(file, str(path))
    try:
        try:
            with file, _packed(raw, path) as out:
                yield out
        except BaseException:
            if even_if_broken and not raw.failed:
                _give_its_name(place, target, path)
            raise
        _give_its_name(place, target, path)
    finally:
        place.unlink(missing_ok=True)


def _give_its_name(place: Path, target: Path, path: Path) -> None:
    try:
        put(place, target)
    except OSError as error:
        raise _failed(path, error.strerror or str(error)) from error


@contextmanager
def _special(path: Path, mode: int) -> Iterator[IO[bytes]]:
    """Write to a device or a pipe: it is opened, never created, cut off or replaced."""
    if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
        what = "a folder" if stat.S_ISDIR(mode) else "a disk" if stat.S_ISBLK(mode) else "a socket"
        raise _failed(path, f"it is {what}", "name a file")
    try:
        number = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise _failed(path, error.strerror or str(error)) from error
    with os.fdopen(number, "wb", 0) as file:
        raw = _Raw(file, str(path), may_block=True)
        with _packed(raw, path) as out, raw.watched():
            yield out


class _Raw(io.RawIOBase):
    """Where the bytes go. After the first failure it takes and drops them, so that closing fails no second time.

    Attributes:
        failed: whether something could not be written.

    Args:
        file: what is written.
        name: as it is called in errors.
        may_block: whether somebody has to read what is written, and may not: after an interrupt nothing is written.
    """

    def __init__(self, file: IO[bytes], name: str, *, may_block: bool = False) -> None:
        self._file = file
        self._name = name
        self._may_block = may_block
        self.failed = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        left = memoryview(data)
        size = left.nbytes
        with self._telling():
            while left and not self.failed:
                left = left[self._file.write(left) :]
        return size

    def flush(self) -> None:
        if not (self.failed or self.closed or self._file.closed):
            with self._telling():
                self._file.flush()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """An interrupt while the block runs is one of the writing: what waits in a buffer is not written."""
        try:
            yield
        except KeyboardInterrupt:
            self.failed = self.failed or self._may_block
            raise

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            with self.watched():
                yield
        except OSError as error:
            self.failed = True
            if isinstance(error, BrokenPipeError) and self._name == _STDOUT_NAME:
                raise  # the command line ends in silence, as after `| head`
            raise _failed(Path(self._name), error.strerror or str(error), "not all was written") from error


def _failed(path: Path, why: str, advice: str = "check the path and the rights of the folder") -> OutputError:
    return OutputError(f"{path}: cannot be written: {why}; {advice}")


@contextmanager
def _packed(raw: _Raw, path: Path) -> Iterator[IO[bytes]]:
    """A writer that compresses by the ending of a name; everything has reached `raw` when the block ends."""
    with io.BufferedWriter(raw, _BUFFER_BYTES) as plain:
        suffix = path.suffix.lower()
        if suffix == ".gz":
            with (
                gzip.GzipFile("", "wb", _GZIP_LEVEL, plain, mtime=0) as packed,
                io.BufferedWriter(packed, _BUFFER_BYTES) as out,
            ):
                yield out
        elif suffix in {".zst", ".zstd"}:
            with _zstd(plain) as out:
                yield out
        else:
            yield plain


def _zstd(file: IO[bytes]) -> io.BufferedWriter[Any]:
    writer: Any = zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    return io.BufferedWriter(writer, _BUFFER_BYTES)

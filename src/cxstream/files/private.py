"""Files and folders that hold customers' data: for their owner alone, whatever the umask says.

A file is written under a name of its own beside its place and gets its name when it is complete, and on the disk. The name is random
and the file must not exist: nobody can have put a link there that leads elsewhere.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FILE, FOLDER = 0o600, 0o700
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Of a file's name: with what is added it stays below the 255 bytes that a file system allows.
_NAME_CHARACTERS = 50
_PERMISSIONS = 0o777


def create(path: Path) -> IO[bytes]:
    """Open a new file for its owner alone (0600).

    Raises:
        FileExistsError: something is there, be it a link that leads nowhere.
        OSError: the folder is missing or cannot be written to.
    """
    number = os.open(path, _NEW_FILE, FILE)
    try:
        os.fchmod(number, FILE)
        return os.fdopen(number, "wb")
    except BaseException:
        os.close(number)
        path.unlink(missing_ok=True)
        raise


def draft(path: Path, *, private: bool = True, buffering: int = -1) -> tuple[IO[bytes], Path]:
    """Open a new file beside `path`, which is to take its place by `put` when it is complete.

    Args:
        path: where the file is to be. If there is one, the new one gets its mode.
        private: whether a file that is new is for its owner alone (0600); else the umask decides.
        buffering: as for `open`.

    Returns:
        The file, and its path.

    Raises:
        OSError: the folder is missing or cannot be written to.
    """
    place = path.with_name(f".{path.name[:_NAME_CHARACTERS]}.{secrets.token_hex(8)}.partial")
    number = os.open(place, _NEW_FILE, FILE if private else 0o666)
    try:
        mode = _mode(path)
        if mode is not None or private:
            os.fchmod(number, FILE if mode is None else mode)
        return os.fdopen(number, "wb", buffering), place
    except BaseException:
        os.close(number)
        place.unlink(missing_ok=True)
        raise


def put(place: Path, path: Path) -> None:
    """Give a complete, closed file its name, in the place of what has it.

    Its bytes are on the disk before: a computer that loses power right after has the old file or the new one.

    Raises:
        OSError: the disk is full or broken, or the folder cannot be written to.
    """
    to_disk(place)
    place.replace(path)
    names_to_disk(path.parent)


def names_to_disk(folder: Path) -> None:
    """Wait until the names of the files in a folder are on the disk, where its file system has that."""
    # Those of some networks have not.
    with suppress(OSError):
        to_disk(folder)


def to_disk(path: Path) -> None:
    """Wait until the bytes of a file are on the disk.

    Raises:
        OSError: the disk is full or broken.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        # It has the mode of a file that its owner may write, and not read.
        number = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _mode(path: Path) -> int | None:
    """The permissions of a regular file; None where there is none."""
    try:
        found = path.stat().st_mode
    except OSError:
        return None
    return found & _PERMISSIONS if stat.S_ISREG(found) else None


def make_folder(path: Path, *, tighten: bool = False) -> None:
    """Make a folder for its owner alone, and those above it as usual.

    Args:
        path: the folder. One that exists stays as it is.
        tighten: take the rights of others away from one that exists, too.

    Raises:
        OSError: it cannot be made, or belongs to somebody else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(FOLDER)
    except FileExistsError:
        if not path.is_dir():
            raise
        if tighten and path.stat().st_mode & 0o077:
            path.chmod(FOLDER)

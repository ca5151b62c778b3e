"""The Unix socket on which a worker answers everything to programs of its own user, and to nobody else.

It lies in a folder that only this user can enter, `$XDG_RUNTIME_DIR/cxstream` or `cxstream-UID` in the temporary
folder, and is named after the port of the web server. Who asks checks the folder just as who serves: in a temporary
folder, which everybody can write to, a stranger may have made one of that name first.
"""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from cxstream.files.private import FILE, make_folder

_CONNECT_SECONDS = 5.0


def place(port: int) -> Path:
    """Where the socket of the worker with this web port is."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    # Who has become another user may still have the variable of the one before.
    if runtime.is_absolute() and runtime.is_dir() and runtime.stat().st_uid == os.geteuid():
        folder = runtime / "cxstream"
    else:
        folder = Path(tempfile.gettempdir()) / f"cxstream-{os.geteuid()}"
    return folder / f"worker-{port}.sock"


def serve(path: Path, *, own_folder: bool) -> socket.socket:
    """A listening socket that only this user can connect to.

    Args:
        path: where.
        own_folder: the folder is `place`'s: it is made, and must be this user's alone.

    Raises:
        OSError: the folder is not ours, the path is too long, or somebody listens there.
    """
    if own_folder:
        make_folder(path.parent)
        _require_own(path.parent)
    if path.is_socket():
        if _answers(path):
            raise OSError(f"{path}: another worker listens there")
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        # Nobody can connect before `listen`.
        path.chmod(FILE)
        listening.listen()
    except BaseException:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def remove(path: Path, *, own_folder: bool) -> None:
    """Remove a socket that nobody serves any more, and the folder of `place` once it is empty."""
    path.unlink(missing_ok=True)
    if own_folder:
        # Another worker's socket may be in it.
        with suppress(OSError):
            path.parent.rmdir()


def connect(path: Path, seconds: float, *, own_folder: bool) -> socket.socket:
    """Connect to a worker's socket.

    Raises:
        OSError: there is none, nobody listens, or it is not this user's.
    """
    if own_folder:
        _require_own(path.parent)
    if path.lstat().st_uid not in {0, os.geteuid()}:
        raise PermissionError(f"{path}: not ours")
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def _require_own(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(
            f"{folder}: must be a folder of this user alone (0700): remove it, or set XDG_RUNTIME_DIR"
        )


def _answers(path: Path) -> bool:
    try:
        connect(path, _CONNECT_SECONDS, own_folder=False).close()
    except OSError:
        return False
    return True

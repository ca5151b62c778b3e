"""A small disk that can be filled: a tmpfs in a mount namespace of its own.

The namespace belongs to a process that ends with the harness, and the disk ends with the namespace: nothing is
left mounted, however the harness ends. A broker on this disk runs inside the namespace.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

from cxstream.local.process import Guarded
from faults.errors import NotHereError

_SECONDS = 20.0
_BLOCK = 64 * 1024


class SmallDisk:
    """A disk of some MiB.

    Args:
        folder: an empty folder, where those inside the namespace see the disk.
        mebibytes: its size.

    Raises:
        NotHereError: nothing can be mounted here.
    """

    def __init__(self, folder: Path, mebibytes: int) -> None:
        self._folder = folder
        self._user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        missing = [program for program in ("unshare", "nsenter", "mount") if not shutil.which(program)]
        if missing:
            raise NotHereError(f"{', '.join(missing)} is not on the PATH (util-linux)")
        mount = f'mount -t tmpfs -o size={mebibytes}m tmpfs "$0" && echo pid $$ && exec sleep infinity'
        command = ["unshare", *self._user, "--mount", "sh", "-c", mount, folder]
        self._holder = Guarded(command, folder.with_suffix(".log"), cwd=folder.parent)
        self._pid = self._mounted()

    def _mounted(self) -> int:
        log = self._holder.log
        deadline = time.monotonic() + _SECONDS
        while self._holder.status is None and time.monotonic() < deadline:
            for line in log.read_text().splitlines():
                if line.startswith("pid "):
                    return int(line.split()[1])
            time.sleep(0.05)
        said = self._holder.tail()
        self._holder.stop()
        raise NotHereError(
            f"no tmpfs can be mounted here, not even in a namespace of its own: {said.strip()}"
        )

    @property
    def inside(self) -> list[str]:
        """What to put before a command to run it where the disk is."""
        user = ["--user", "--preserve-credentials"] if self._user else []
        return ["nsenter", f"--target={self._pid}", *user, "--mount"]

    @property
    def outside(self) -> Path:
        """The disk as seen from here."""
        return Path(f"/proc/{self._pid}/root") / self._folder.relative_to("/")

    def fill(self) -> int:
        """Write until nothing more fits; how many bytes that took."""
        written = 0
        with self._ballast.open("ab", buffering=0) as ballast:
            while True:
                try:
                    written += ballast.write(b"\0" * _BLOCK)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    return written

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        self._holder.stop()

    @property
    def _ballast(self) -> Path:
        return self.outside / "ballast"

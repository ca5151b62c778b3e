"""The wall clock of a process, to be moved while it runs: the hand on clock.c."""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

from faults.errors import NotHereError

_SOURCE = Path(__file__).with_name("clock.c")
_SECONDS = struct.Struct("=q")


class Clock:
    """A wall clock.

    Args:
        folder: for its file, and for the library, which is compiled there once.
        name: of its file.

    Raises:
        NotHereError: nothing here compiles C.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._library = _library(folder)
        self._path = folder / name
        self._path.write_bytes(_SECONDS.pack(0))

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to see this clock."""
        return {"LD_PRELOAD": str(self._library), "FAULTS_CLOCK": str(self._path)}

    def set(self, seconds: int) -> None:
        """How far it is ahead of this computer's, from now on; negative: behind."""
        with self._path.open("r+b") as file, mmap.mmap(file.fileno(), _SECONDS.size) as shared:
            shared[:] = _SECONDS.pack(seconds)


def _library(folder: Path) -> Path:
    path = folder / "clock.so"
    if path.exists():
        return path
    command = ["cc", "-shared", "-fPIC", "-O2", "-Wall", "-o", str(path), str(_SOURCE), "-ldl"]
    require_compiler()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHereError(f"{' '.join(command)} says: {done.stderr.strip()[-500:]}")
    return path


def require_compiler() -> None:
    """Refuse where nothing compiles C.

    Raises:
        NotHereError: says what to install.
    """
    if not shutil.which("cc"):
        raise NotHereError(
            "moving a worker's clock needs a C compiler on the PATH as 'cc': apt-get install gcc libc6-dev"
        )

"""A child process that writes to a log file and ends with its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from cxstream.local import guard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Beyond the grace that the command gets to end by itself, for the guard to notice and to go.
_GUARD_SECONDS = 5.0


class Guarded:
    """One running command under its guard.

    Args:
        command: program and arguments.
        log: file that takes standard output and standard error; what it held is replaced.
        cwd: working folder of the command.
        grace: seconds between SIGTERM and SIGKILL when it is asked to end.
        scratch: a folder that is removed when the command has ended on request or with its parent.
        hold: file descriptors that stay open as long as the command runs (locks).
        variables: environment variables that it has besides ours.
        private: what it writes is for its owner alone.

    Raises:
        OSError: the log file cannot be written or the guard cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        cwd: Path,
        grace: float = 20.0,
        scratch: Path | None = None,
        hold: Sequence[int] = (),
        variables: Mapping[str, str] | None = None,
        private: bool = False,
    ) -> None:
        self.log = log
        self._grace = grace
        arguments = [str(grace), str(scratch or ""), *map(str, command)]
        with log.open("wb") as output:
            self._guard = subprocess.Popen(  # noqa: S603 - a command of ours, no shell
                [sys.executable, "-I", "-S", guard.__file__, *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                cwd=cwd,
                env={**os.environ, **(variables or {})},
                pass_fds=hold,
                # Ctrl-C in the terminal reaches the parent alone, which then stops the command cleanly.
                start_new_session=True,
                umask=0o077 if private else -1,
            )

    @property
    def pid(self) -> int:
        """Process id of the guard, which is also the process group of the command."""
        return self._guard.pid

    @property
    def status(self) -> int | None:
        """Exit status, None while the command runs."""
        return self._guard.poll()

    def stop(self) -> None:
        """End the command: SIGTERM, and SIGKILL for what is left after the grace. Safe to call twice."""
        if self._guard.stdin:
            self._guard.stdin.close()
        try:
            self._guard.wait(self._grace + _GUARD_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the command as a power failure would."""
        if self._guard.poll() is None:
            self._guard.send_signal(signal.SIGUSR1)
            with suppress(subprocess.TimeoutExpired):
                self._guard.wait(_GUARD_SECONDS)
        # A guard that is stuck, or was killed before it could collect the command.
        with suppress(ProcessLookupError):
            os.killpg(self._guard.pid, signal.SIGKILL)
        self._guard.wait()
        if self._guard.stdin:
            self._guard.stdin.close()

    def tail(self, lines: int = 12) -> str:
        """The last lines of the log, indented, for an error message."""
        return tail(self.log, lines)


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file, indented; a note where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64 * 1024))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return f"  (no log at {log})"
    return "\n".join("  " + line for line in text.splitlines()[-lines:]) or "  (the log is empty)"

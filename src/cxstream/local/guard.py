"""Runs one command for as long as the process that started it lives.

The starter holds the other end of this process's standard input and never writes to it. When it closes
the pipe, or dies by whatever means, the read below ends and the command is told to end too. A pipe
works on every POSIX system, whichever thread of the starter opened it, and even after a SIGKILL.

Standard library only: it runs by its path, in an interpreter without site packages, to start in no time.

    python -I -S guard.py GRACE_SECONDS SCRATCH COMMAND...

SIGTERM is passed on; SIGUSR1 kills the command, and this process still collects it.
SCRATCH is a folder to remove once the command has ended on request, or an empty string.
The exit status is the command's (128 + the signal that ended it).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading


def _end_with_starter(child: subprocess.Popen[bytes], grace: float, asked: threading.Event) -> None:
    os.read(0, 1)
    asked.set()
    child.terminate()
    try:
        child.wait(grace)
    except subprocess.TimeoutExpired:
        child.kill()


def main(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    grace, scratch, command = float(arguments[0]), arguments[1], arguments[2:]
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - the starter's own command
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGUSR1, lambda *_: child.kill())
    asked = threading.Event()
    threading.Thread(target=_end_with_starter, args=(child, grace, asked), daemon=True).start()
    status = child.wait()
    if scratch and asked.is_set():
        shutil.rmtree(scratch, ignore_errors=True)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

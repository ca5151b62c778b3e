"""The `cxstream` program; `python -m cxstream` is the same. It imports as little as it can before it handles Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys

# As `cli.interrupts` has them, which takes time to import.
_INTERRUPTED, _TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


def main() -> None:
    """Run the command line, and exit without a traceback whenever Ctrl-C comes."""
    before = signal.getsignal(signal.SIGINT)
    # A shell lets what runs in the background ignore Ctrl-C.
    waits = before is signal.default_int_handler
    try:
        if waits:
            # Until the modules are there, there is nothing to clean up.
            signal.signal(signal.SIGINT, _interrupted)
        from cxstream.cli import main as run

        if waits:
            signal.signal(signal.SIGINT, before)
        run()
    except KeyboardInterrupt:
        _end(_INTERRUPTED)
    except SystemExit as ended:
        if waits:
            # Nor is there while Python ends.
            signal.signal(signal.SIGINT, _interrupted)
        if ended.code in {_INTERRUPTED, _TERMINATED}:
            _end(int(ended.code))
        raise


def _interrupted(*_: object) -> None:
    os._exit(_INTERRUPTED)


def _end(status: int) -> None:
    """End at once: a further Ctrl-C would break into what Python does at its end."""
    try:
        # What standard output has got it was told to write. A pipe that nobody reads would never take the rest.
        sys.stderr.flush()
    except (OSError, ValueError):
        # Nobody reads it any more.
        pass
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()

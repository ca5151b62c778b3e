"""What a process that a test has started says first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, AnyStr

import pytest

if TYPE_CHECKING:
    from subprocess import Popen

# A busy computer has taken more than a minute to start Kafka.
_SECONDS = 240.0


def next_line(process: Popen[AnyStr], *, seconds: float = _SECONDS) -> AnyStr:
    """The next line of its output; a process that says nothing is killed, and the test fails.

    Args:
        process: with a pipe for its output.
        seconds: how long it may take.
    """
    assert process.stdout is not None
    late = threading.Timer(seconds, process.kill)
    late.start()
    try:
        line = process.stdout.readline()
    finally:
        late.cancel()
    if not line:
        pytest.fail(
            f"{process.args!r} ended with {process.wait(seconds)}, or was killed after {seconds} s, without a line"
        )
    return line

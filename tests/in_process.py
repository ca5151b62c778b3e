"""Commands as a user runs them, in the process of the test: a process of its own costs a second of CPU time.

What a test says of pipes, signals, descriptors or the environment needs a process of its own.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest

from cxstream.cli import main


def cxstream(
    *words: object, cwd: Path | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run a cxstream command to its end.

    Args:
        words: of the command line.
        cwd: working folder.
        stdin: standard input.
    """
    arguments = [str(word) for word in words]
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        contextlib.chdir(cwd or Path.cwd()),
        patch("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8")),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main(arguments)
    status = ended.value.code
    assert isinstance(status, int)
    return subprocess.CompletedProcess(arguments, status, out.buffer.getvalue(), err.buffer.getvalue())  # type: ignore[attr-defined]

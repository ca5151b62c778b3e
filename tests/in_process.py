"""Commands as a user runs them, in the process of the test: a process of its own costs a second of CPU time.

What a test says of pipes, signals, descriptors or the environment needs a process of its own.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
import structlog

from cxstream.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOGGERS = {
    None: logging.WARNING,
    "aiokafka": logging.NOTSET,
    "faust": logging.NOTSET,
    "mode": logging.NOTSET,
}


def cxstream(
    *words: object, cwd: Path | None = None, stdin: bytes = b"", environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a cxstream command to its end.

    A command that runs an event loop cannot run inside another one: await it in a thread (`asyncio.to_thread`).

    Args:
        words: of the command line.
        cwd: working folder.
        stdin: standard input.
        environ: environment variables to add.
    """
    arguments = [str(word) for word in words]
    # What others have left.
    gc.collect(1)
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        contextlib.chdir(cwd or Path.cwd()),
        patch.dict("os.environ", environ or {}),
        patch("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8")),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _logs_of_a_new_process(),
    ):
        status = _status(arguments)
        # What nobody has waited for, or closed, complains when it goes: while the command can be blamed for it.
        gc.collect(1)
    return subprocess.CompletedProcess(arguments, status, out.buffer.getvalue(), err.buffer.getvalue())  # type: ignore[attr-defined]


def cxstream_text(
    *words: object, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a cxstream command to its end; what it says is text."""
    done = cxstream(*words, environ=environ)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def completed(*words: object) -> None:
    """Run a cxstream command to its successful end; an event loop that runs here waits for it."""
    # A command runs an event loop, and there is one at most in a thread.
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(cxstream_text, *words).result()
    assert done.returncode == 0, f"{done.args}: {done.stdout}\n{done.stderr}"


def _status(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    status = ended.value.code
    assert isinstance(status, int)
    return status


@contextlib.contextmanager
def _logs_of_a_new_process() -> Iterator[None]:
    """Logs go where a process sends them that has set up nothing yet: what is a warning goes to standard error.

    pytest's own handlers would take the records, and a test could not see that a command logs what it should not.
    """
    loggers = [(logging.getLogger(name), level) for name, level in _LOGGERS.items()]
    before = [(logger, logger.level, logger.handlers[:]) for logger, _ in loggers]
    configuration = structlog.get_config()
    for logger, level in loggers:
        logger.setLevel(level)
        logger.handlers[:] = []
    structlog.reset_defaults()
    try:
        yield
    finally:
        structlog.configure(**configuration)
        for logger, level, handlers in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers

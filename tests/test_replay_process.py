"""`cxstream replay` as a process: interrupted while it sorts, on a full disk, on a terminal."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

GOOD = {
    "specversion": "1.0", "id": "1", "source": "/test", "type": "cx.touchpoint.error.v1", "subject": "anna",
    "time": "2025-03-01T10:00:00Z", "data": {"channel": "web"},
}  # fmt: skip
REPLAY = [sys.executable, "-m", "cxstream", "replay"]
# Short, and with what each costs in memory still more than a sort holds there.
MANY = b"x\n" * 1_500_000


def spilled(process: subprocess.Popen[str], folder: Path) -> bool:
    """Whether a process has a temporary file there."""
    try:
        opened = [str(fd.readlink()) for fd in Path(f"/proc/{process.pid}/fd").iterdir()]
    except FileNotFoundError:
        return False
    return any(name.startswith(str(folder)) for name in opened)


def test_interrupted_while_it_sorts_it_leaves_nothing(tmp_path: Path) -> None:
    pipe, out, temporary = tmp_path / "pipe", tmp_path / "out", tmp_path / "tmp"
    os.mkfifo(pipe)
    temporary.mkdir()
    process = subprocess.Popen(
        [*REPLAY, pipe, "--sort", "--out", out, "--batch-bytes", "1000000"],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            with pipe.open("wb") as feed:
                feed.write(MANY)
                feed.flush()
                deadline = time.monotonic() + 120
                while not spilled(process, temporary):
                    assert time.monotonic() < deadline
                    assert process.poll() is None
                    time.sleep(0.02)
                assert list(temporary.iterdir()) == [], "the file has no name"
                process.send_signal(signal.SIGINT)
                stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == f"cxstream: interrupted; no results were written to {out}"
    assert not out.exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("more", [["--sort"], []], ids=["sorted", "as given"])
def test_a_full_disk_is_one_line(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "in").write_bytes(MANY if more else MANY[:100_000])  # what is not sorted is written at once
    done = subprocess.run(
        [*REPLAY, tmp_path / "in", "--out", tmp_path / "out", "--force", *more],
        # Stands for a full disk: the first file that grows beyond it cannot be written.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
        # So that the limit hits the results, not the cache of machine code. What is sorted hits it before that.
        env={**os.environ, "NUMBA_DISABLE_JIT": "0" if more else "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("cxstream: ")
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert ("TMPDIR" in done.stderr) == bool(more)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_under_standard_output_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "in").write_text(json.dumps(GOOD))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*REPLAY, tmp_path / "in", "--out", tmp_path / "out"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "cxstream: cannot write: No space left on device"
    assert "Traceback" not in done.stderr


def test_the_last_line_is_red_on_a_terminal(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(json.dumps(GOOD).encode() + b"\nbroken\n")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*REPLAY, tmp_path / "in", "--out", tmp_path / "out"], stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode == 0
    last = shown.decode().strip().splitlines()[-1]
    assert last.startswith("\x1b[31m")
    assert "1 of 2 records (50.0%) rejected: 1 malformed" in last

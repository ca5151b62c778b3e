"""Files that are written: complete or not at all, and never in the place of a device, a pipe or a link."""

from __future__ import annotations

import contextlib
import gzip
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self

import pytest

from cxstream.cli.account import SHOWN
from cxstream.files.outputs import created, same
from cxstream.model.errors import OutputError
from in_process import cxstream

CASE = Path(__file__).parent / "cases" / "out-not-a-file"
PROGRAM = [sys.executable, "-m", "cxstream"]
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def run(*words: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run a command: in this process, unless it is to have a standard output of its own."""
    if not options.keys() - {"cwd"}:
        return cxstream(*words, **options)
    return subprocess.run([*PROGRAM, *map(str, words)], check=False, timeout=120, **options)


def convert(out: object, *words: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return run(
        "convert", "mapping", CASE / "in.csv", "--mapping", CASE / "m.toml", "--out", out, *words, **options
    )


def write(path: Path, data: bytes = b"data\n", **options: bool) -> None:
    with created(path, **options) as file:
        file.write(data)


def received(pipe: Path) -> tuple[list[bytes], threading.Thread]:
    """What somebody reads out of a named pipe, once they have."""
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    return found, reader


def test_a_named_pipe_stays_one_and_gets_the_data(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.gz"
    os.mkfifo(pipe)
    found, reader = received(pipe)
    write(pipe)
    reader.join(60)
    assert gzip.decompress(found[0]) == b"data\n"
    assert pipe.is_fifo()
    assert [each.name for each in tmp_path.iterdir()] == ["pipe.gz"]


def test_a_device_stays_one(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        device.write_bytes(b"")
    except OSError:
        pytest.skip("only root may make a device, and only where devices work")
    done = convert(device, "--errors", device)
    assert done.returncode == 0, done.stderr
    assert device.is_char_device()
    assert [each.name for each in tmp_path.iterdir()] == ["null"]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one_and_its_target_is_written(there: bool, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    target = tmp_path / "deep" / "target.ndjson"
    if there:
        target.write_text("old")
        target.chmod(0o640)
    link = tmp_path / "link.ndjson"
    link.symlink_to(Path("deep") / target.name)
    (tmp_path / "second").symlink_to(link)
    done = convert(tmp_path / "second")
    assert done.returncode == 0, done.stderr
    assert target.read_bytes().count(b"\n") == 2
    assert link.readlink() == Path("deep") / target.name
    assert stat.S_IMODE(target.stat().st_mode) == (0o640 if there else 0o600)
    assert [each.name for each in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
@pytest.mark.parametrize("to_file", [True, False])
def test_standard_output(name: str, to_file: bool, tmp_path: Path) -> None:
    if to_file:
        with (tmp_path / "t.ndjson").open("wb") as file:
            done = convert(name, stdout=file, stderr=subprocess.PIPE, cwd=tmp_path)
        written = (tmp_path / "t.ndjson").read_bytes()
    else:
        done = convert(name, cwd=tmp_path, capture_output=True)
        written = done.stdout
    assert done.returncode == 0, done.stderr
    assert [b'"subject":"anna"' in line for line in written.splitlines()] == [True, False]
    assert b"2 events written to" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["t.ndjson"] * to_file


def test_a_file_on_standard_output_is_no_input(tmp_path: Path) -> None:
    rows = tmp_path / "in.csv"
    rows.write_bytes((CASE / "in.csv").read_bytes())
    with rows.open("ab") as file:
        done = run(
            "convert", "mapping", rows, "--mapping", CASE / "m.toml", "--out", "-",
            stdout=file, stderr=subprocess.PIPE,
        )  # fmt: skip
    assert done.returncode == 2
    assert b"is an input" in done.stderr
    assert rows.read_bytes() == (CASE / "in.csv").read_bytes()


def test_a_reader_that_goes_is_no_defect(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = convert("-", stdout=closed, stderr=subprocess.PIPE, cwd=tmp_path)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"BrokenPipe" not in done.stderr


@needs_full
@pytest.mark.parametrize("name", ["t.ndjson", "t.ndjson.gz", "t.ndjson.zst"])
@pytest.mark.parametrize("size", [10, 5_000_000])
def test_a_full_disk_is_told_in_one_line(name: str, size: int, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to(FULL)
    with pytest.raises(OutputError, match=f"{name}: cannot be written: No space left on device"):
        write(tmp_path / name, os.urandom(size))
    done = convert(tmp_path / name)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(b"cxstream: ")
    assert b"Traceback" not in done.stderr


@needs_full
@pytest.mark.parametrize("words", [
    ["simulate", "--customers", "5", "--days", "1", "--quiet", "--out"],
    ["simulate", "--customers", "5", "--days", "1", "--quiet", "--out", "a.ndjson", "--truth"],
])  # fmt: skip
def test_simulate_tells_a_full_disk_in_one_line(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "full.ndjson").symlink_to(FULL)
    done = run(*words, "full.ndjson", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(b"cxstream: full.ndjson: cannot be written: No space left")


@pytest.mark.parametrize("even_if_broken", [True, False])
def test_nothing_is_left_of_what_cannot_be_written(
    even_if_broken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    class Full:
        closed = False
        write = full

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def flush(self) -> None:
            pass

    def draft(path: Path, **_: object) -> tuple[Full, Path]:
        place = path.with_name("part")
        place.write_text("a part")
        return Full(), place

    monkeypatch.setattr("cxstream.files.outputs.draft", draft)
    (tmp_path / "t").write_text("old")
    with pytest.raises(OutputError, match="No space left"):
        write(tmp_path / "t", b"x" * 3_000_000, even_if_broken=even_if_broken)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("t", "old")]


def test_what_is_broken_appears_only_where_that_is_wanted(tmp_path: Path) -> None:
    for wanted in (True, False):
        path = tmp_path / f"{wanted}"
        with contextlib.suppress(KeyboardInterrupt), created(path, even_if_broken=wanted) as file:
            file.write(b"so far")
            raise KeyboardInterrupt
        assert path.exists() == wanted


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/t", "there is no folder .*none; create it first"),
        ("file/t", "there is no folder .*file; create it first|Not a directory"),
        ("circle", "circle|Symbolic link loop|Too many levels"),
        ("folder", "it is a folder"),
        ("socket", "it is a socket"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_says_why(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    before = Path.cwd()
    os.chdir(tmp_path)  # the name of a socket has a bound
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            with pytest.raises(OutputError, match=message):
                write(Path(name))
    finally:
        os.chdir(before)
    assert {each.name for each in tmp_path.iterdir()} == {"file", "folder", "circle", "socket"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_file_that_may_not_be_written_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_text("keep")
    path.chmod(0o444)
    with pytest.raises(OutputError, match="it may not be written"):
        write(path)
    assert path.read_text() == "keep"


def test_names_of_one_thing(tmp_path: Path) -> None:
    file, soft, hard, other, new = (tmp_path / name for name in ("file", "soft", "hard", "other", "new"))
    file.touch()
    other.touch()
    soft.symlink_to(file)
    hard.hardlink_to(file)
    (tmp_path / "to-new").symlink_to("new")
    for first in (file, soft, hard):
        for second in (file, soft, hard):
            assert same(first, second)
        assert not same(first, other)
        assert not same(first, new)
    assert same(new, tmp_path / "to-new")
    assert not same(Path("/dev/null"), Path("/dev/null"))


def test_schemas_go_through_links_and_say_what_is_in_the_way(tmp_path: Path) -> None:
    out = tmp_path / "schemas"
    out.mkdir()
    (tmp_path / "real.json").write_text("old")
    (out / "asyncapi.json").symlink_to(tmp_path / "real.json")
    assert run("schemas", "--out", out).returncode == 0
    assert (out / "asyncapi.json").is_symlink()
    assert (tmp_path / "real.json").read_text().startswith("{")
    (tmp_path / "file").touch()
    done = run("schemas", "--out", tmp_path / "file" / "deep")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


def test_problems_are_shown_up_to_a_number_and_written_whole(tmp_path: Path) -> None:
    rows = tmp_path / "in.csv"
    rows.write_text("customer,at\n" + "anna,soon\n" * 3000 + "anna,2025-01-05T10:00:00Z\n")
    words = ["convert", "mapping", rows, "--mapping", CASE / "m.toml", "--out", tmp_path / "out"]
    done = run(*words)
    assert done.returncode == 3
    assert done.stderr.count(b"unreadable_time: ") == SHOWN
    assert f"... and {3000 - SHOWN:,} more; --errors FILE".encode() in done.stderr
    assert done.stderr.count(b"\n") < 60
    done = run(*words, "--errors", tmp_path / "bad", "--allow-errors")
    assert done.returncode == 0
    assert (tmp_path / "bad").read_bytes().count(b"\n") == 3000
    assert b"unreadable_time: " not in done.stderr

"""`replay` that is interrupted or finds the disk full: all results appear, or none, and no word of Python's."""

from __future__ import annotations

import array
import errno
import fcntl
import io
import os
import resource
import signal
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from cxstream.cli import main
from cxstream.cli.insights import _write_signals
from cxstream.files import private
from cxstream.model.errors import OutputError, WarehouseError
from cxstream.settings import Warehouse
from cxstream.warehouse.export import export
from cxstream.warehouse.files import FileWarehouse
from cxstream.warehouse.ingest import Ingest
from cxstream.warehouse.store import Store, reading
from test_warehouse import batch, built
from warehouse_rows import row

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = Warehouse(memory_mib=512, threads=1)
STORY = Path(__file__).parents[1] / "examples" / "story.ndjson"
# Less than DuckDB writes of anything.
PAGE = 4096


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Stands for a full disk: no file grows beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names(folder: Path) -> list[str]:
    return sorted(str(each.relative_to(folder)) for each in folder.rglob("*"))


# --- a full disk


@pytest.mark.parametrize("size", [PAGE, 300_000, 1_000_000], ids=["opened", "migrated", "filled"])
def test_a_full_disk_is_an_error_of_the_warehouse_and_leaves_nothing(tmp_path: Path, size: int) -> None:
    rows = batch([row(i, f"c{i}") for i in range(6000)])
    with (
        pytest.raises(WarehouseError, match="is there space on the disk"),
        full_disk(size),
        FileWarehouse(tmp_path / "w", SMALL) as warehouse,
    ):
        Ingest(warehouse._store).apply(rows)
    assert names(tmp_path) == []


def test_a_warehouse_of_which_not_all_is_in_the_file_does_not_appear(tmp_path: Path) -> None:
    with FileWarehouse(tmp_path / "w", SMALL) as warehouse:
        Ingest(warehouse._store).apply(batch([row(1, "anna")]))
        with full_disk(PAGE), pytest.raises(WarehouseError, match="is there space on the disk"):
            warehouse.complete()
    assert names(tmp_path) == []


def test_a_warehouse_is_not_replaced_by_one_of_which_not_all_is_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = built(tmp_path / "w", batch([row(1, "anna")]))
    close = Store.close

    def full(self: Store) -> None:
        with full_disk(PAGE):
            close(self)

    with Store(path, SMALL) as store, monkeypatch.context() as patched:
        patched.setattr(Store, "close", full)
        with pytest.raises(WarehouseError, match="is there space on the disk"):
            store.compact()
    with reading(path, SMALL) as connection:
        assert connection.execute("SELECT customer FROM customers").fetchall() == [("anna",)]
    assert names(tmp_path) == ["w"]


class Full(io.FileIO):
    """A file whose last bytes do not fit onto the disk."""

    def close(self) -> None:
        if not self.closed:
            super().close()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_no_result_appears_if_the_last_one_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def draft(path: Path, **_: Any) -> tuple[IO[bytes], Path]:
        file, place = private.draft(path)
        if path.name == "rejected.ndjson":
            file.close()
            return Full(place, "wb"), place
        return file, place

    monkeypatch.setattr("cxstream.replay.results.draft", draft)
    words = ["replay", STORY, "--out", tmp_path / "made" / "out", "--warehouse", tmp_path / "w"]
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in [*words, "--scored", tmp_path / "s.parquet", "-q"]])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert told.count("\n") == 1
    assert names(tmp_path) == []


def test_a_full_disk_leaves_no_part_of_an_export(tmp_path: Path) -> None:
    path = built(tmp_path / "w", batch([row(1, "anna")]))
    out = tmp_path / "out"
    with reading(path, SMALL) as connection, full_disk(0), pytest.raises(WarehouseError) as failed:
        export(connection, out)
    assert str(failed.value).startswith(f"{out}/touchpoints/day=")
    assert [each for each in out.rglob("*") if each.is_file()] == []


def test_insights_that_do_not_fit_leave_the_file_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.ndjson"
    path.write_text("before")
    record = Mock(value=b"x" * PAGE)
    monkeypatch.setattr("cxstream.warehouse.place_events.signals", lambda *_: [record, record])
    with full_disk(PAGE), pytest.raises(OutputError, match="File too large"):
        _write_signals(None, [], Mock(), {"limit": None, "out": path})
    assert path.read_text() == "before"
    assert names(tmp_path) == ["out.ndjson"]


def test_a_folder_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit):
        main(["replay", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "-q"])
    assert names(tmp_path) == ["out"]


# --- Ctrl-C

INTERRUPT = """
import atexit, os, signal, sys


def interrupt(*_):
    os.kill(os.getpid(), signal.SIGINT)


"""
# At the first chunk, and while everything is cleaned up.
AGAIN = """
from cxstream.replay.progress import Bar
from cxstream.replay.results import Results
from cxstream.warehouse.store import Store

Bar.show = interrupt
for each, name in ((Results, "_drop"), (Store, "close")):
    def twice(self, real=getattr(each, name)):
        interrupt()
        real(self)
        interrupt()

    setattr(each, name, twice)
atexit.register(interrupt)
"""
# When the first of the files has its name.
LATE = """
from cxstream.warehouse.files import FileWarehouse

def late(self, real=FileWarehouse.complete):
    real(self)
    interrupt()

FileWarehouse.complete = late
"""
# An interrupt that DuckDB makes another error of.
OTHER = """
from cxstream.warehouse.ingest import Ingest

def other(*_):
    try:
        interrupt()
    except KeyboardInterrupt:
        raise RuntimeError("Query interrupted") from None

Ingest.apply = other
"""
# An interrupt that a library drops, and one more.
NEXT = """
from cxstream.replay.progress import Bar

def twice(*_):
    try:
        interrupt()
    except KeyboardInterrupt:
        pass
    interrupt()
    os._exit(99)

Bar.show = twice
"""
# An interrupt that a library drops.
DROPPED = """
from cxstream.replay.results import Results

def dropped(self, real=Results.write_out):
    try:
        interrupt()
    except KeyboardInterrupt:
        real(self)

Results.write_out = dropped
"""


# While a file is written, and when it is removed.
WRITTEN = """
from pathlib import Path

from cxstream.files import outputs

def write(self, data):
    os.kill(os.getpid(), signal.{name})
    return len(data)

def unlink(self, real=Path.unlink, **options):
    interrupt()
    real(self, **options)

outputs._Raw.write = write
Path.unlink = unlink
"""

# When the file is to get its name.
NAMED = """
from pathlib import Path

def replace(self, target, real=Path.replace):
    interrupt()
    return real(self, target)

Path.replace = replace
"""

# While an error is handled.
HANDLED = """
from cxstream.convert import run

def compare(*_):
    try:
        raise ValueError
    except ValueError:
        interrupt()

run._compare = compare
"""


def program(marks: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    text = f"{INTERRUPT}{marks}\nfrom cxstream.__main__ import main\nsys.argv[1:] = {words}\nmain()\n"
    return subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False, timeout=300
    )


def replayed(folder: Path, marks: str) -> subprocess.CompletedProcess[str]:
    words = ["replay", str(STORY), "--out", str(folder / "out"), "--warehouse", str(folder / "w"), "-q"]
    return program(marks, words)


@pytest.mark.parametrize(
    "marks", [AGAIN, OTHER, NEXT, DROPPED], ids=["again", "other error", "next", "dropped"]
)
def test_interrupted_it_leaves_nothing(tmp_path: Path, marks: str) -> None:
    done = replayed(tmp_path, marks)
    told = f"cxstream: interrupted; no results were written to {tmp_path / 'out'}\n"
    assert (done.returncode, done.stdout, done.stderr) == (130, "", told)
    assert names(tmp_path) == []


def test_an_interrupt_between_two_results_comes_too_late(tmp_path: Path) -> None:
    done = replayed(tmp_path, LATE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    results = ["out", *(f"out/{name}.ndjson" for name in ("rejected", "scores", "signals"))]
    assert names(tmp_path) == [*results, "w"]


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_convert_that_is_interrupted_twice_leaves_nothing(tmp_path: Path, name: str, status: int) -> None:
    shop = STORY.parent / "cdnow"
    words = ["convert", "mapping", str(shop / "purchases.csv"), "--mapping", str(shop / "mapping.toml")]
    done = program(WRITTEN.replace("{name}", name), [*words, "--out", str(tmp_path / "out")])
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert names(tmp_path) == []


def test_convert_that_is_interrupted_while_it_handles_an_error_leaves_nothing(tmp_path: Path) -> None:
    shop = STORY.parent / "cdnow"
    words = ["convert", "mapping", str(shop / "purchases.csv"), "--mapping", str(shop / "mapping.toml")]
    done = program(HANDLED, [*words, "--out", str(tmp_path / "out")])
    assert done.returncode == 130
    assert names(tmp_path) == []


# Events so short that a part of them waits in a buffer whenever the pipe is full.
VISITS = """
[input]
format = "csv"

[[event]]
kind = "page_view"
source = "site"
subject = { column = "who" }
time = { column = "day", format = "%Y%m%d", zone = "UTC" }
data = { channel = "web" }
"""
SIMULATE = ["simulate", "--customers", "20", "--days", "30", "--quiet", "--out"]
TRAIN = ["train", "purchases", str(STORY.parent / "cdnow" / "customers.csv"), "--out"]
VIEW = ["view", "touchpoints", "--format", "csv", "--warehouse", "{warehouse}", "--out"]
SCHEMAS = ["schemas", "--out"]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("warehouse") / "w", batch([row(1, "anna")]))


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("words", [SIMULATE, TRAIN, VIEW], ids=["simulate", "train", "view"])
def test_what_is_interrupted_twice_leaves_no_file(
    words: list[str], name: str, status: int, tmp_path: Path, warehouse: Path
) -> None:
    words = [each.format(warehouse=warehouse) for each in words]
    done = program(WRITTEN.replace("{name}", name), [*words, str(tmp_path / "out.ndjson")])
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert names(tmp_path) == []


def test_what_is_interrupted_before_a_file_has_its_name_leaves_none(tmp_path: Path) -> None:
    done = program(NAMED, [*SIMULATE, str(tmp_path / "out.ndjson")])
    told = f"interrupted: {tmp_path / 'out.ndjson'} is not written\n"
    assert (done.returncode, done.stderr) == (130, told)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_pipe_that_nobody_reads_keeps_no_command_that_is_interrupted(name: str, tmp_path: Path) -> None:
    visits, mapping = tmp_path / "visits.csv", tmp_path / "mapping.toml"
    visits.write_text("who,day\n" + "".join(f"c{n},20260101\n" for n in range(20_000)))
    mapping.write_text(VISITS)
    ours, theirs = os.pipe()
    room = fcntl.fcntl(theirs, fcntl.F_GETPIPE_SZ)
    number = getattr(signal, name)
    words = ["convert", "mapping", str(visits), "--mapping", str(mapping), "--out", "-"]
    command = [sys.executable, "-m", "cxstream", *words]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, text=True) as process:
        try:
            os.close(theirs)
            deadline = time.monotonic() + 300
            while waiting(ours) < room:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
            os.close(ours)
    assert process.returncode == 128 + number
    assert "stopped; the events in - are not complete\n" in said


def waiting(pipe: int) -> int:
    """Bytes that wait in a pipe."""
    found = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, found)
    return found[0]


# While asyncio waits for Kafka.
WAITING = """
import asyncio

from cxstream.cli import produce

async def wait(*_):
    os.kill(os.getpid(), signal.{name})
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise

produce._produce = wait
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_what_asyncio_runs_is_cancelled(name: str, status: int) -> None:
    done = program(WAITING.replace("{name}", name), ["produce", str(STORY)])
    told = "interrupted: 0 records sent, the rest is not\n"
    assert (done.returncode, done.stdout, done.stderr) == (status, "cancelled\n", told)


@pytest.mark.parametrize("module", ["click", "rich"], ids=["of all commands", "of one command"])
def test_ctrl_c_during_imports_ends_without_a_traceback(tmp_path: Path, module: str) -> None:
    (tmp_path / f"{module}.py").write_text(f"{INTERRUPT}interrupt()\n")
    done = subprocess.run(
        [sys.executable, "-m", "cxstream", "replay", STORY, "--out", tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")
    assert not (tmp_path / "out").exists()


def test_ctrl_c_while_a_command_ends_leaves_no_traceback() -> None:
    """Python has handed over to what it does at its end by then."""
    program = """
import atexit, os, signal, sys
atexit.register(os.kill, os.getpid(), signal.SIGINT)
sys.argv = ["cxstream", "no-command"]
from cxstream.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.endswith("No such command 'no-command'.\n")

"""`replay --jobs`: several processes, each with its own customers, give byte for byte what one gives."""

from __future__ import annotations

import contextlib
import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from codecs import BOM_UTF8
from itertools import pairwise
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.files.lines import MOST_LINES
from cxstream.files.pieces import Pieces, are_lines
from cxstream.files.readers import BATCH_BYTES, read_batches
from cxstream.kernels.layout import ACCEPTED, DUPLICATE, ERASED, TICKED
from cxstream.replay import run, team
from cxstream.replay.results import Results
from cxstream.replay.run import replay
from cxstream.replay.team import TeamError
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.engine import Engine
from cxstream.scoring.outcomes import together
from cxstream.scoring.router import Router
from cxstream.scoring.shares import NotSharedError, Share, owners_of
from first_line import next_line
from strategies import PARAMS, random_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.files.readers import Chunk
    from cxstream.replay.summary import Tally
    from cxstream.scoring.engine import Outcome
    from cxstream.scoring.outcomes import Part

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="several processes score on Linux alone"
)
COUNTS = ("accepted", "duplicates", "ticks", "rules", "erased", "erasures", "held_back")
ODD = (b"no json", b'{"a":"\xff"}', b'{"subject":"c1"}', b"{}")


def lines_of(seed: int, n: int, *, rules: bool = False, calm: bool = False) -> list[bytes]:
    """A history in JSON, in which now and then a record is broken; a calm one has nothing that stops several processes."""
    dice, lines = random.Random(seed), []
    seen: dict[tuple[str, str], str] = {}
    for event, _ in random_history(seed, n, rules=rules):
        known = seen.setdefault((event["source"], event["id"]), event["time"])
        if calm and (known != event["time"] or event["type"] == "cx.forget.v1"):
            continue
        if dice.random() < 0.04:
            lines.append(dice.choice(ODD))
        lines.append(json.dumps(event, ensure_ascii=bool(dice.randrange(2))).encode())
    return lines


def batches(lines: list[bytes], size: int) -> Iterator[Packed]:
    for begin in range(0, len(lines), size):
        yield Packed.of(lines[begin : begin + size], b"\n")


def is_due(outcome: Outcome, clocks: dict[int, int]) -> bool:
    """Whether a record that does not count is later than all before it in its partition; `clocks` go on."""
    found = False
    assert outcome.fates is not None
    fates = outcome.fates
    for time_, status, p in zip(
        fates.times.tolist(), fates.status.tolist(), fates.partitions.tolist(), strict=True
    ):
        later = p not in clocks or time_ > clocks[p]
        found |= later and status in (DUPLICATE, ERASED)
        if later and status in (ACCEPTED, TICKED):
            clocks[p] = time_
    return found


@given(
    seed=st.integers(0, 2**32),
    size=st.integers(1, 300),
    jobs=st.integers(2, 4),
    partitions=st.integers(1, 8),
    params=st.sampled_from(sorted(PARAMS)),
    how=st.sampled_from(["calm", "any", "rules"]),
)
@settings(deadline=None, max_examples=60)
def test_shares_put_together_are_the_whole(
    seed: int, size: int, jobs: int, partitions: int, params: str, how: str
) -> None:
    lines = lines_of(seed, 300, rules=how == "rules", calm=how == "calm")

    def make() -> Router:
        return Router(PARAMS[params], {"effort": "call"}, partitions=partitions)

    whole, clocks = make(), {}
    shares = [Share(make(), number, jobs) for number in range(jobs)]
    limit, grace = None, 0
    if seed % 3 == 0:
        limit, grace = 1_720_000_000_000, 60_000
    for turn, some in enumerate(batches(lines, size)):
        expected = whole.process(some, limit, grace=grace)
        reading = shares[turn % jobs].read(some)
        parts: list[Part] = []
        due = is_due(expected, clocks)
        try:
            for share in shares:
                frame, slices = reading.frame, reading.slices
                if slices is None or not share.knows(frame):
                    part, fates = share.score_all(share.read(some), limit, grace)
                else:
                    part, fates = share.score(frame, slices[share.number], limit, grace)
                parts.append(part)
        except NotSharedError:
            assert due
            return
        found = together(parts, fates, len(some))
        assert found.rejected == expected.rejected
        assert sorted(found.rows, key=by_index) == sorted(expected.rows, key=by_index)
        assert [getattr(found, name) for name in COUNTS] == [getattr(expected, name) for name in COUNTS]
        assert sorted(found.unconverted) == sorted(expected.unconverted)
        assert found.fates is not None
        assert expected.fates is not None
        for name in ("positions", "times", "status", "partitions"):
            assert np.array_equal(getattr(found.fates, name), getattr(expected.fates, name)), name
    last = 1_720_000_000_000
    assert together([share.advance(last) for share in shares]).rows == whole.advance(last).rows
    cards = sorted(card for share in shares for card in share.router.cards())
    assert cards == list(whole.cards())


def by_index(row: Any) -> tuple[int, str]:
    return row.index, row.topic


@pytest.mark.parametrize("jobs", range(2, 65))
def test_each_process_has_customers(jobs: int) -> None:
    counts = np.bincount(owners_of(jobs), minlength=jobs)
    assert len(counts) == jobs
    # The first one has fewer, or none, for it puts together what all have found.
    assert counts[0] <= counts[1:].min()
    assert counts[1:].max() - counts[1:].min() <= 1


# --- files in pieces


@given(
    lines=st.lists(
        st.sampled_from([b"", b"a", b"\xef\xbb\xbfq", b"\r", b"xyz" * 9, b"z" * 99, b"z" * 250]), max_size=40
    ),
    ends=st.lists(st.sampled_from([b"\n", b"\n", b"\r\n"]), min_size=40, max_size=40),
    size=st.integers(1, 300),
    last=st.sampled_from([b"", b"end", b"end\r"]),
)
@settings(deadline=None, max_examples=100)
def test_pieces_have_the_records_of_the_file(
    lines: list[bytes], ends: list[bytes], size: int, last: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces"
    path.write_bytes(b"{}\n" + b"".join(map(b"".join, zip(lines, ends, strict=False))) + last)
    assert are_lines([path], 1024)
    expected = [
        (line, int(number), chunk.cut.get(i))
        for chunk in read_batches([path], 1024, 200)
        for i, (line, number) in enumerate(zip(chunk.lines, chunk.numbers, strict=True))
    ]
    found, before = [], 0
    with Pieces([path], size, 200) as pieces:
        for i in range(len(pieces)):
            read = pieces.read(i)
            assert read is not None
            records = read.records
            if read.at is not None and not records.cut:
                again = pieces.some(i, records.lines.begins + read.at, records.lines.ends + read.at)  # type: ignore[attr-defined]
                assert list(again) == list(records.lines)
            found += [
                (line, int(number) + before, records.cut.get(k))
                for k, (line, number) in enumerate(zip(records.lines, records.numbers, strict=True))
            ]
            before += read.lines
    assert found == expected


def test_only_plain_files_of_lines_are_shared(tmp_path: Path) -> None:
    plain, array, packed = tmp_path / "plain", tmp_path / "array", tmp_path / "packed.gz"
    plain.write_bytes(b"{}\n{}\n")
    array.write_bytes(b"[\n{},\n{}]\n")
    packed.write_bytes(b"{}\n")
    assert are_lines([plain], 100)
    assert not are_lines([plain, array], 100)
    assert not are_lines([packed], 100)
    assert not are_lines([tmp_path / "missing"], 100)


def test_standard_input_is_not_a_file_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "-").write_bytes(b"{}\n")
    monkeypatch.chdir(tmp_path)
    assert not are_lines([Path("-")], 100)


# --- processes


def results(paths: list[Path], out: Path, router: Router, **options: Any) -> tuple[dict[str, bytes], Tally]:
    with Results(out, replace=True) as files:
        tally = replay(router, paths, files, **options)
    return {path.name: path.read_bytes() for path in out.iterdir()}, tally


@linux
@pytest.mark.parametrize(
    ("partitions", "jobs", "batch_bytes", "how"),
    [
        (1, 2, 2048, "calm"),
        (1, 3, 30_000, "calm"),
        (4, 2, 4096, "any"),
        (3, 3, 1024, "rules"),
        (8, 2, 9000, "calm"),
    ],
)
def test_processes_change_nothing(
    partitions: int, jobs: int, batch_bytes: int, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    monkeypatch.setattr(team.Team, "__enter__", counted(team.Team.__enter__, started))
    paths = [tmp_path / "one", tmp_path / "two"]
    for seed, path in enumerate(paths, 10):
        lines = lines_of(seed, 1200, rules=how == "rules", calm=how == "calm")
        # Lines that are too long for a place in the ring, or to be kept; empty ones; a kind of line end of its own.
        lines[50:50] = [b'{"x":"' + b"x" * 70_000 + b'"}', b"", b"x" * 200_000, b"", b"{}\r"]
        path.write_bytes(b"\n".join(lines) + b"\n" * seed)

    def make() -> Router:
        params = PARAMS["unforgiving"]
        return Router(params, {}, partitions=partitions)

    options = {"batch_bytes": batch_bytes, "until": 1_720_000_000_000}
    one, ours = results(paths, tmp_path / "a", make(), **options)
    several, theirs = results(paths, tmp_path / "b", make(), jobs=jobs, processes=True, **options)
    assert started == [jobs]
    assert several == one
    assert len(one["signals.ndjson"]) > 1000
    ours.seconds = theirs.seconds = 0.0
    assert str(ours.table()) != ""
    assert [(name, getattr(ours, name)) for name in ours.__slots__ if name != "order"] == [
        (name, getattr(theirs, name)) for name in theirs.__slots__ if name != "order"
    ]
    assert ours.order.jumps() == theirs.order.jumps()
    assert not multiprocessing.active_children()


def counted(enter: Callable[..., Any], started: list[int]) -> Callable[..., Any]:
    def other(self: Any) -> Any:
        started.append(self._count)
        return enter(self)

    return other


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.write_bytes(b"\n".join(lines_of(3, 1500, calm=True)) + b"\n")
    return path


@linux
def test_a_record_that_does_not_count_is_scored_by_one_process(log: Path, tmp_path: Path) -> None:
    lines = log.read_bytes().splitlines()
    some = next(
        json.loads(line) for line in lines if line.startswith(b'{"specversion"') and b"touchpoint" in line
    )
    # An id that comes again with a later time does not move the clock for the customers behind it.
    twice = [
        some | {"id": "twice", "subject": "twin", "time": f"2090-01-01T0{hour}:00:00Z"} for hour in (0, 5)
    ]
    behind = [some | {"id": f"b{n}", "subject": f"s{n}", "time": "2090-01-01T01:00:00Z"} for n in range(20)]
    log.write_bytes(b"\n".join([*lines, *(json.dumps(each).encode() for each in (*twice, *behind))]))
    one, _ = results([log], tmp_path / "a", Router(PARAMS["default"], {}), batch_bytes=4096)
    several, tally = results(
        [log], tmp_path / "b", Router(PARAMS["default"], {}), batch_bytes=4096, jobs=2, processes=True
    )
    assert several == one
    assert tally.duplicates
    assert b"2090-01-01T01:00:00" in one["scores.ndjson"]
    assert b"2090-01-01T05:00:00" not in one["scores.ndjson"]
    assert not multiprocessing.active_children()


@linux
def test_a_record_that_cannot_be_applied_is_passed_over_as_by_one(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(apply: Callable[..., Any]) -> Callable[..., Any]:
        def fails(self: Engine, decoded: Any, *given: Any) -> Any:
            if any(getattr(decoded.events[i], "id", "") == "bad" for i in range(len(decoded.events))):
                raise ZeroDivisionError
            return apply(self, decoded, *given)

        return fails

    monkeypatch.setattr(Engine, "apply", failing(Engine.apply))
    monkeypatch.setattr(Engine, "apply_share", failing(Engine.apply_share))
    lines = log.read_bytes().splitlines()
    bad = next(
        json.loads(line) for line in lines if line.startswith(b'{"specversion"') and b"touchpoint" in line
    )
    lines[700] = json.dumps(bad | {"id": "bad"}).encode()
    log.write_bytes(b"\n".join(lines))
    several, tally = results(
        [log], tmp_path / "b", Router(PARAMS["default"], {}), batch_bytes=4096, jobs=2, processes=True
    )
    assert tally.rejected["failed"] == 1
    assert b'"failed"' in several["rejected.ndjson"]


@linux
def test_two_marks_at_the_beginning_of_a_file_are_passed_over_as_by_one(log: Path, tmp_path: Path) -> None:
    log.write_bytes(BOM_UTF8 * 2 + log.read_bytes())
    one, several = (
        results(
            [log],
            tmp_path / f"{jobs}",
            Router(PARAMS["default"], {}),
            batch_bytes=4096,
            jobs=jobs,
            processes=True,
        )[0]
        for jobs in (1, 2)
    )
    assert several == one


@linux
@pytest.mark.parametrize("jobs", [2, 3])
@pytest.mark.parametrize("what", ["killed", "shorter", "no memory"])
def test_a_process_that_ends_before_it_has_shared_anything(
    what: str, jobs: int, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others wait for what it reads."""
    first, read = os.getpid(), Pieces.read

    def ends(self: Pieces, i: int) -> Any:
        if os.getpid() == first or i != jobs - 1:
            return read(self, i)
        if what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "no memory":
            raise MemoryError
        return None

    def found(jobs: int) -> dict[str, bytes]:
        router = Router(PARAMS["default"], {})
        return results([log], tmp_path / f"{jobs}", router, batch_bytes=4096, jobs=jobs, processes=True)[0]

    one = found(1)
    monkeypatch.setattr(Pieces, "read", ends)
    if what == "killed":
        with pytest.raises(TeamError, match="signal 9"):
            found(jobs)
    else:
        assert found(jobs) == one
    assert not multiprocessing.active_children()


@linux
@pytest.mark.parametrize("what", ["killed", "interrupted"])
def test_nothing_is_left_of_a_run_that_ends_early(what: str, log: Path, tmp_path: Path) -> None:
    def on_chunk(_: Chunk) -> None:
        if what == "interrupted":
            raise KeyboardInterrupt
        # What it has shared before comes after it has ended.
        for child in multiprocessing.active_children():
            child.kill()
            child.join()

    opened = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # one more for the folder, each time
    error = TeamError if what == "killed" else KeyboardInterrupt
    with pytest.raises(error, match="signal 9" if what == "killed" else None):
        results(
            [log], tmp_path / "out", Router(PARAMS["default"], {}), batch_bytes=2048, jobs=2, processes=True,
            on_chunk=on_chunk,
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
    assert not multiprocessing.active_children()
    assert len(os.listdir("/proc/self/fd")) == opened  # noqa: PTH208


@linux
def test_an_interrupt_ends_all_processes_with_one_line(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    # Enough for minutes with so small pieces.
    log.write_bytes((b"\n".join(lines_of(3, 1500, calm=True)) + b"\n") * 150)
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cxstream",
            "replay",
            log,
            "--out",
            out,
            "--jobs",
            "3",
            "--batch-bytes",
            "1024",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            deadline = time.monotonic() + 120
            while len(members_of(process.pid)) < 3:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGINT)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, stdout) == (130, "")
    assert stderr.splitlines()[-1] == f"cxstream: interrupted; no results were written to {out}"
    assert not out.exists()
    assert members_of(process.pid) == []


# The first process stops after its first chunk, and says so.
STOPS = """
import sys
from pathlib import Path

from cxstream.replay.results import Results
from cxstream.replay.run import replay
from cxstream.scoring.router import Router
from strategies import PARAMS

log, out, batch_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])


def stop(chunk):
    print("scored", flush=True)
    sys.stdin.read()


with Results(out) as files:
    router = Router(PARAMS["unforgiving"], {})
    replay(router, [log], files, jobs=3, processes=True, batch_bytes=batch_bytes, on_chunk=stop)
"""


@linux
@pytest.mark.parametrize("batch_bytes", [1024, 400_000])
def test_the_other_processes_end_with_the_first(batch_bytes: int, tmp_path: Path) -> None:
    """They wait for what it reads; or, with large pieces, for it to take what they send."""
    log = tmp_path / "log"
    log.write_bytes((b"\n".join(lines_of(3, 1500, calm=True)) + b"\n") * 20)
    process = subprocess.Popen(
        [sys.executable, "-c", STOPS, log, tmp_path / "out", str(batch_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        start_new_session=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert next_line(process) == b"scored\n"
            assert len(members_of(process.pid)) == 3
            process.kill()
            # Its output ends when nobody has it open any more.
            process.communicate(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@linux
@pytest.mark.parametrize("what", ["memory", "memory for cards", "pipes", "processes"])
def test_without_memory_or_processes_one_process_scores(
    what: str, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        refused.append(what)
        raise OSError(errno.ENOMEM, "there is none left")

    def found(jobs: int) -> dict[str, bytes]:
        router = Router(PARAMS["default"], {})
        return results([log], tmp_path / f"{jobs}", router, batch_bytes=4096, jobs=jobs, processes=True)[0]

    refused: list[str] = []
    one, opened = found(1), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    begun: list[object] = []

    def second(do: Callable[..., Any]) -> Callable[..., Any]:
        def does(*given: Any) -> Any:
            if begun:  # the first one has been made
                refuses()
            begun.append(what)
            return do(*given)

        return does

    where, name = {
        "memory": (team, "Ring"),
        "memory for cards": (team, "Texts"),
        "pipes": (os, "pipe"),
        "processes": (ForkProcess, "start"),
    }[what]
    monkeypatch.setattr(where, name, second(getattr(where, name)))
    assert found(3) == one
    assert refused
    assert not multiprocessing.active_children()
    assert len(os.listdir("/proc/self/fd")) == opened  # noqa: PTH208


@linux
def test_more_files_than_may_be_open_are_scored_by_one_process(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(path: Any, *given: Any, **named: Any) -> int:
        if path == log:
            asked.append(path)
            if len(asked) > 2:
                raise OSError(errno.EMFILE, "Too many open files")
        return do(path, *given, **named)

    def found(jobs: int) -> dict[str, bytes]:
        router = Router(PARAMS["default"], {})
        return results([log] * 3, tmp_path / f"{jobs}", router, batch_bytes=4096, jobs=jobs, processes=True)[
            0
        ]

    asked: list[Path] = []
    one, opened, do = found(1), len(os.listdir("/proc/self/fd")), os.open  # noqa: PTH208
    monkeypatch.setattr(os, "open", few)
    assert found(2) == one
    assert len(asked) == 3
    assert len(os.listdir("/proc/self/fd")) == opened  # noqa: PTH208


@linux
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_more_lines_than_come_at_a_time_are_scored_by_one_process(
    end: bytes, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again: list[str] = []

    def noted(router: Router, failed: Any) -> Router:
        again.append(str(failed))
        return began(router, failed)

    began = run._again
    monkeypatch.setattr(run, "_again", noted)
    log.write_bytes(log.read_bytes().replace(b"\n", end) + (b"x" + end) * (MOST_LINES + 1) + end * (1 << 19))
    one, several = (
        results(
            [log],
            tmp_path / f"{jobs}",
            Router(PARAMS["default"], {}),
            batch_bytes=1 << 19,
            jobs=jobs,
            processes=True,
        )[0]
        for jobs in (1, 2)
    )
    assert several == one
    assert ["too many" in each for each in again] == [True]


@linux
def test_pieces_are_not_so_large_that_valid_lines_are_too_many(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pieces(paths: list[Path], size: int, limit: int) -> Pieces:
        sizes.append(size)
        return Pieces(paths, size, limit)

    sizes: list[int] = []
    monkeypatch.setattr(team, "Pieces", pieces)
    for batch_bytes in (4096, 64 << 10, 16 << 20):
        log.write_bytes(log.read_bytes() + b"\n" * max(batch_bytes - log.stat().st_size + 1, 0))
        router = Router(PARAMS["default"], {})
        results([log], tmp_path / "out", router, batch_bytes=batch_bytes, jobs=2, processes=True)
    assert sizes == [4096, 64 << 10, BATCH_BYTES]


def members_of(group: int) -> list[int]:
    """The processes of a group."""
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            try:
                if os.getpgid(int(name)) == group:
                    found.append(int(name))
            except ProcessLookupError:
                continue
    return found


def test_pairs_of_rows_are_in_order(tmp_path: Path, log: Path) -> None:
    """Signals of several processes that one record has caused are counted in their order."""
    several, _ = results(
        [log], tmp_path / "b", Router(PARAMS["unforgiving"], {}), batch_bytes=4096, jobs=3, processes=True
    )
    names = [json.loads(line)["id"].split("-") for line in several["signals.ndjson"].splitlines()]
    places = [(int(offset), int(n)) for *_, offset, n in names]
    assert all(a < b for a, b in pairwise(places))
    assert any(n > 1 for _, n in places)

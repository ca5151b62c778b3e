"""`cxstream convert` as a program: files, streams and exit statuses."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner, Result

from cxstream.cli.convert import command
from cxstream.model.errors import InputError, OutputError
from validity import validate

ROOT = Path(__file__).parent.parent
CDNOW = ROOT / "examples" / "cdnow"
MAPPING = """
[[event]]
kind = "click"
source = "t"
subject = { column = "who" }
time = { column = "at" }
data = { channel = "web" }
"""
ROWS = "who,at\na,2026-01-02T00:00:00Z\nb,2026-01-01T00:00:00Z\nc,soon\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.toml").write_text(MAPPING, "utf-8")
    (tmp_path / "in.csv").write_text(ROWS, "utf-8")
    return tmp_path


def run(line: str) -> Result:
    return CliRunner().invoke(command, shlex.split(line))


def subjects(data: bytes) -> str:
    return "".join(json.loads(line)["subject"] for line in data.splitlines())


def test_what_it_says(here: Path) -> None:
    found = run("mapping in.csv --mapping m.toml --out out.ndjson")
    assert found.exit_code == 3
    assert found.stdout == (
        "2 events written to out.ndjson; 1 not converted; exit status 3: not all was converted"
        " (--allow-errors makes it 0)\n"
    )
    assert "in.csv:4: at: unreadable_time:" in found.stderr
    for row in (
        "rows read +│ in.csv +│ 3",
        "events written +│ click +│ 2",
        "not converted +│ unreadable_time +│ 1",
    ):
        assert re.search(row, found.stderr)
    assert subjects((here / "out.ndjson").read_bytes()) == "ab"


def test_problems_go_to_a_file(here: Path) -> None:
    found = run("mapping in.csv --mapping m.toml --out out.ndjson --errors bad.ndjson")
    assert "see bad.ndjson" in found.stdout
    assert "soon" not in found.stderr
    assert [json.loads(line) for line in (here / "bad.ndjson").read_text("utf-8").splitlines()] == [
        {
            "file": "in.csv",
            "line": 4,
            "field": "at",
            "reason": "unreadable_time",
            "message": "'soon' is not an ISO 8601 time, like 2025-03-01T14:30:00+01:00",
        }
    ]


def test_sorted_and_compressed(here: Path) -> None:
    assert run("mapping in.csv --mapping m.toml --sort --allow-errors --out out.ndjson.gz").exit_code == 0
    assert run("mapping in.csv --mapping m.toml --sort --allow-errors --out out.ndjson.zst").exit_code == 0
    first = (here / "out.ndjson.gz").read_bytes()
    assert subjects(gzip.decompress(first)) == "ba"
    assert first[3:8] == bytes(5)  # no name and no time in the header
    with (here / "out.ndjson.zst").open("rb") as packed:
        assert zstandard.ZstdDecompressor().stream_reader(packed).read() == gzip.decompress(first)
    assert run("mapping in.csv --mapping m.toml --sort --allow-errors --out again.ndjson.gz").exit_code == 0
    assert (here / "again.ndjson.gz").read_bytes() == first


def test_what_is_written_is_as_it_is_named(here: Path) -> None:
    assert run("mapping in.csv --mapping m.toml --allow-errors --out OUT.NDJSON.GZ").exit_code == 0
    assert subjects(gzip.decompress((here / "OUT.NDJSON.GZ").read_bytes())) == "ab"
    for name in ("out.parquet", "out.ndjson.bz2", "out.zip", "out.csv"):
        found = run(f"mapping in.csv --mapping m.toml --allow-errors --out {name}")
        assert found.exit_code == 2
        assert "what is written is NDJSON, plain, .gz or .zst" in found.stderr
        assert not (here / name).exists()


def test_several_inputs_follow_each_other(here: Path) -> None:
    (here / "more.csv").write_text("at,who\n2025-01-01T00:00:00Z,d\n", "utf-8")
    assert run("mapping in.csv more.csv --mapping m.toml --out out.ndjson --allow-errors").exit_code == 0
    assert subjects((here / "out.ndjson").read_bytes()) == "abd"


def test_nothing_converted_is_a_failure_that_leaves_no_file(here: Path) -> None:
    (here / "in.csv").write_text("who,at\nc,soon\n", "utf-8")
    (here / "out.ndjson").write_text("from before", "utf-8")
    found = run("mapping in.csv --mapping m.toml --out out.ndjson --errors bad.ndjson")
    assert isinstance(found.exception, InputError)
    assert "nothing could be converted" in str(found.exception)
    assert (here / "out.ndjson").read_text("utf-8") == "from before"
    assert (here / "bad.ndjson").read_text("utf-8").count("\n") == 1
    assert sorted(path.name for path in here.iterdir()) == ["bad.ndjson", "in.csv", "m.toml", "out.ndjson"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mapping in.csv --mapping m.toml --out in.csv", "in.csv is an input"),
        ("mapping in.csv --mapping m.toml --out o --errors in.csv", "in.csv is an input"),
        ("mapping in.csv --mapping m.toml --out o --errors ./o", "are the same file"),
        ("mapping in.csv --mapping m.toml --out m.toml", "m.toml is the mapping"),
        ("mapping in.csv --mapping m.toml --out o --errors m.toml", "m.toml is the mapping"),
        ("segment in.csv --mapping m.toml --out m.toml", "m.toml is the mapping"),
        ("mapping in.csv --mapping m.toml --out soft.csv", "soft.csv is an input"),
        ("mapping in.csv --mapping m.toml --out hard.csv", "hard.csv is an input"),
        ("mapping in.csv --mapping m.toml --out hard.toml", "hard.toml is the mapping"),
        ("mapping in.csv --mapping m.toml --out o --errors dangling", "are the same file"),
        ("mapping in.csv --mapping m.toml --out - --errors -", "are the same file"),
        ("mapping in.csv soft.csv --mapping m.toml --out o", "in.csv and soft.csv are the same file"),
        ("mapping - - --mapping m.toml --out o", "are the same file"),
        ("mapping none.csv --mapping m.toml --out o", "none.csv"),
        ("mapping in.csv --out o", "--mapping"),
    ],
)
def test_what_cannot_be_meant_is_refused(here: Path, line: str, message: str) -> None:
    (here / "soft.csv").symlink_to("in.csv")
    (here / "hard.csv").hardlink_to(here / "in.csv")
    (here / "hard.toml").hardlink_to(here / "m.toml")
    (here / "dangling").symlink_to("o")
    found = run(line)
    assert found.exit_code == 2
    assert message in found.stderr
    assert (here / "in.csv").read_text("utf-8") == ROWS


def test_a_folder_that_is_not_there_is_named(here: Path) -> None:
    found = run("mapping in.csv --mapping m.toml --out none/out.ndjson")
    assert isinstance(found.exception, OutputError)
    assert "none/out.ndjson: cannot be written: there is no folder" in str(found.exception)
    assert here.is_dir()


@pytest.mark.parametrize("kind", ["", *command.commands])
def test_help_shows_an_example(kind: str) -> None:
    found = run(f"{kind} --help")
    assert found.exit_code == 0
    assert re.search(rf"Example:\n +cxstream convert {kind or 'mapping'} ", found.stdout)


def _commands(text: str) -> list[str]:
    return re.findall(r"^cxstream convert (.+)$", text, re.MULTILINE)


EXAMPLES = sorted(
    {line for path in (ROOT / "examples").rglob("README.md") for line in _commands(path.read_text("utf-8"))}
)


@pytest.mark.parametrize("line", EXAMPLES)
def test_the_examples_run(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    before, _, name = line.rpartition(" ")
    out = tmp_path / name
    found = run(f"{before} {out}")
    assert found.exit_code == 0
    assert "; 0 not converted" in found.stdout
    lines = out.read_bytes().splitlines()
    assert lines
    assert all(validate(raw) is None for raw in lines)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 2


def test_the_sample_is_that_of_its_readme() -> None:
    rows = (CDNOW / "purchases.csv").read_text("utf-8").splitlines()
    customers = [int(row.split(",")[0]) for row in rows[1:]]
    assert sorted(set(customers)) == list(range(1, 301))
    assert "MIT" in (CDNOW / "LICENSE.txt").read_text("utf-8")
    original = ROOT.parent / "shared" / "data" / "cdnow" / "cdnow_transactions.csv"
    if original.is_file():
        kept = [line.split(",", 1)[1] for line in original.read_text("utf-8").splitlines()[1:]]
        assert rows[1:] == kept[: len(rows) - 1]


def test_ctrl_c_leaves_nothing(here: Path) -> None:
    # A pipe as input lets the test decide when the program is in the middle.
    os.mkfifo(here / "pipe.ndjson")
    command_line = "convert segment pipe.ndjson --out out.ndjson"
    child = subprocess.Popen(
        [sys.executable, "-m", "cxstream", *shlex.split(command_line)], stderr=subprocess.PIPE, cwd=here
    )
    with (here / "pipe.ndjson").open("wb") as pipe:
        pipe.write(b'{"type":"page","messageId":"1","userId":"a","timestamp":"2026-01-01T00:00:00Z"}\n')
        pipe.flush()
        deadline = time.monotonic() + 120
        while not list(here.glob(".out.ndjson.*")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # Python drops an interrupt that comes while a library's callback runs, as while modules load here.
        stderr = b""
        while not stderr:
            assert time.monotonic() < deadline
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                # A second interrupt while Python ends would end it in another way.
                _, stderr = child.communicate(timeout=120)
    assert child.returncode == 130
    assert b"Traceback" not in stderr
    assert not list(here.glob("*out.*"))


def test_fractions_of_a_day_and_times_of_1970_are_told(here: Path) -> None:
    (here / "m.toml").write_text(
        MAPPING.replace("click", "contact")
        .replace('"at" }', '"at", format = "epoch_ms" }')
        .replace('{ channel = "web" }', '{ channel = "call", wait_s = { column = "w", type = "duration" } }'),
        "utf-8",
    )
    rows = "who,at,w\na,1751364000000,0.0023726\nb,1751364060,3:25\nc,-1,5\nd,1751364000000,-5\n"
    (here / "in.csv").write_text(rows, "utf-8")
    found = run("mapping in.csv --mapping m.toml --out out.ndjson")
    said = " ".join(re.sub("[│\n]", " ", found.stderr).split())
    assert "durations below one second:" in said
    assert "2 of 4 times fall into January 1970, such as '1751364060'" in said
    assert "in.csv:5: data.wait_s: invalid: must be at least 0.0" in said


RULES = '[scoring.kinds.parcel_lost]\neffort = 4\nrequires = ["order_id"]\n'
PARCELS = MAPPING.replace('kind = "click"', 'kind = "parcel_lost"')


@pytest.mark.parametrize("how", ["--rules", "settings"])
def test_kinds_of_one_s_own_come_from_the_rules(how: str, here: Path) -> None:
    (here / "own.toml").write_text(PARCELS.replace('"web"', '"web", order_id = { column = "who" }'), "utf-8")
    (here / "rules.toml").write_text(RULES, "utf-8")
    with pytest.raises(InputError) as refused:
        CliRunner().invoke(
            command, shlex.split("mapping in.csv --mapping own.toml --out o.ndjson"), catch_exceptions=False
        )
    assert str(refused.value).startswith("own.toml: event 1: kind: 'parcel_lost' is no kind")
    assert "[scoring.kinds.parcel_lost]: name their file with --rules" in str(refused.value)
    more = "--rules rules.toml" if how == "--rules" else ""
    found = CliRunner().invoke(
        command,
        shlex.split(f"mapping in.csv --mapping own.toml {more} --out o.ndjson --allow-errors"),
        obj=None if more else "rules.toml",
    )
    assert found.exit_code == 0, found.output
    events = [json.loads(line) for line in (here / "o.ndjson").read_text("utf-8").splitlines()]
    assert [(event["type"], event["data"]["order_id"]) for event in events] == [
        ("cx.touchpoint.parcel_lost.v1", "a"),
        ("cx.touchpoint.parcel_lost.v1", "b"),
    ]


def test_what_the_rules_require_of_a_kind_is_checked(here: Path) -> None:
    (here / "own.toml").write_text(PARCELS, "utf-8")
    (here / "rules.toml").write_text(RULES, "utf-8")
    found = run("mapping in.csv --mapping own.toml --rules rules.toml --out o.ndjson")
    assert found.exit_code == 1
    assert "in.csv:2: data.order_id:" in found.stderr
    assert run("mapping in.csv --mapping own.toml --rules rules.toml --out rules.toml").exit_code == 2


def test_own_kinds_of_segment_and_xes(here: Path) -> None:
    (here / "rules.toml").write_text("[scoring.kinds.parcel_lost]\neffort = 4\n", "utf-8")
    (here / "own.toml").write_text(
        '[[event]]\nkind = "parcel_lost"\nwhen = { event = "Parcel Lost" }\n', "utf-8"
    )
    record = {"type": "track", "event": "Parcel Lost", "userId": "u", "messageId": "m"}
    (here / "in.ndjson").write_text(json.dumps({**record, "timestamp": "2026-01-01T00:00:00Z"}), "utf-8")
    assert run("segment in.ndjson --mapping own.toml --rules rules.toml --out a.ndjson").exit_code == 0
    assert b"cx.touchpoint.parcel_lost.v1" in (here / "a.ndjson").read_bytes()
    event = '<event><string key="concept:name" value="x"/><date key="time:timestamp" value="2026-01-01T00:00:00Z"/></event>'
    (here / "log.xes").write_text(
        f'<log><trace><string key="concept:name" value="a"/>{event}</trace></log>', "utf-8"
    )
    assert run("xes log.xes --kind parcel_lost --rules rules.toml --out b.ndjson").exit_code == 0
    assert b"cx.touchpoint.parcel_lost.v1" in (here / "b.ndjson").read_bytes()
    assert run("xes log.xes --kind parcel_lost --out c.ndjson").exit_code == 1

"""`cxstream replay`, from files to files."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pyarrow as pa
import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pyarrow import parquet as pq

from cxstream.cli.replay import command
from cxstream.model.enumerations import LEVELS
from cxstream.model.errors import InputError
from cxstream.model.kinds import Kind
from cxstream.model.parameters import ScoringParams
from cxstream.replay.ahead import read_ahead
from cxstream.replay.results import NAMES, OutputError, Results
from cxstream.replay.run import replay
from cxstream.scoring.codec.routing import partition_of
from cxstream.scoring.router import Router
from cxstream.settings import Settings
from cxstream.wire import schema
from default_1 import FILE

START = datetime(2025, 3, 1, 8, tzinfo=UTC)
HARD = (Kind.complaint_opened, Kind.contact, Kind.app_crash, Kind.error, Kind.unsubscribed, Kind.survey_nps)


def event(i, subject, kind, minutes, **data):
    return {
        "specversion": "1.0",
        "id": str(i),
        "source": "/test",
        "type": kind.type,
        "subject": subject,
        "time": (START + timedelta(minutes=minutes)).isoformat(),
        "data": {**kind.spec.example, **data},
    }


def history(n, customers=40, seed=1):
    """A few weeks in which some customers have a very hard time."""
    dice = random.Random(seed)
    events = []
    for i in range(n):
        who = dice.randrange(customers)
        kind = dice.choice(HARD) if who % 3 == 0 else dice.choice(list(Kind))
        more = {"case_id": f"c-{i}"} if kind is Kind.complaint_opened else {}
        events.append(event(i, f"kunde-{who}-ż", kind, 20 * i + dice.randrange(-600, 20), **more))
    return events


def ndjson(events) -> bytes:
    return b"".join(json.dumps(e).encode() + b"\n" for e in events)


EVENTS = history(1500)
LINES = ndjson(EVENTS)
BROKEN = b"no json\n\n" + b'{"a":"\xff"}\n' + ndjson([event("x", "ann", Kind.purchase, 0, amount=-1)])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("in") / "touchpoints.ndjson"
    path.write_bytes(LINES)
    return path


def run(*args, **options):
    return CliRunner().invoke(command, [str(a) for a in args], catch_exceptions=False, **options)


def outputs(folder):
    assert sorted(p.name for p in folder.iterdir()) == sorted(NAMES)
    return {name: (folder / name).read_bytes() for name in NAMES}


def rows(folder, name):
    return [json.loads(line) for line in (folder / name).read_bytes().splitlines()]


@pytest.fixture(scope="module")
def result(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "result"
    assert run(source, "--out", out).exit_code == 0
    return out


def test_there_is_something_to_compare(result):
    changes = {row["data"].get("change", "friction") for row in rows(result, "signals.ndjson")}
    assert changes >= {"raised", "eased", "friction"}


def test_every_output_matches_its_schema(result):
    documents = {
        "cx.signal.churn_risk.v1": "signals/churn_risk.v1.json",
        "cx.signal.friction.v1": "signals/friction.v1.json",
        "cx.score.v1": "score.v1.json",
    }
    validators = {
        kind: Draft202012Validator(
            schema.documents()[name], format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        for kind, name in documents.items()
    }
    written = rows(result, "signals.ndjson") + rows(result, "scores.ndjson")
    assert {row["type"] for row in written} == set(documents)
    for row in written:
        validators[row["type"]].validate(row)


def test_score_cards_are_one_a_customer_sorted_by_subject(result):
    subjects = [row["subject"] for row in rows(result, "scores.ndjson")]
    assert subjects == sorted({e["subject"] for e in EVENTS})


@pytest.mark.parametrize("batch_bytes", [1024, 5000, 100_000])
def test_batches_change_nothing(source, result, tmp_path, batch_bytes):
    assert run(source, "--out", tmp_path, "--batch-bytes", batch_bytes).exit_code == 0
    assert outputs(tmp_path) == outputs(result)


@pytest.mark.parametrize("name", ["x.ndjson.gz", "x.zst", "x.parquet"])
def test_formats_change_nothing(result, tmp_path, name):
    path = tmp_path / name
    if name.endswith(".parquet"):
        plain = [{**e, "data": json.dumps(e["data"])} for e in EVENTS]
        pq.write_table(pa.Table.from_pylist(plain), path)
    else:
        path.write_bytes(gzip.compress(LINES) if name.endswith(".gz") else zstandard.compress(LINES))
    assert run(path, "--out", tmp_path / "out").exit_code == 0
    assert outputs(tmp_path / "out") == outputs(result)


def test_threads_change_nothing(tmp_path):
    own = event("own", "kunde-1-ż", Kind.click, 20 * 900) | {"type": "cx.touchpoint.parcel_lost.v1"}
    new = {
        "specversion": "1.0",
        "id": "r",
        "source": "/test",
        "type": "cx.rules.v1",
        "time": (START + timedelta(minutes=20 * 800)).isoformat(),
        "data": {"scoring": {"name": "more", "kinds": {"parcel_lost": {"effort": 2.0}}}, "actions": {}},
    }
    path = tmp_path / "in"
    path.write_bytes(ndjson([*EVENTS[:800], own, new, *EVENTS[800:], own]) + BROKEN)
    options = ["--batch-bytes", 4096, "--partitions", 3]
    assert run(path, "--out", tmp_path / "one", *options).exit_code == 0
    assert run(path, "--out", tmp_path / "four", *options, "--jobs", 4).exit_code == 0
    assert outputs(tmp_path / "four") == outputs(tmp_path / "one")
    rejected = rows(tmp_path / "one", "rejected.ndjson")
    # Before the rules nobody knows the kind.
    assert [row["line"] for row in rejected][:1] == [801]
    assert all("parcel_lost" not in row.get("raw", "") for row in rejected[1:])


@given(
    n=st.integers(0, 30),
    threads=st.integers(1, 4),
    bad=st.none() | st.integers(0, 30),
    taking=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_what_is_read_ahead_keeps_its_order(n, threads, bad, taking):
    def items():
        for i in range(n):
            if taking and i == bad:
                raise ValueError(i)
            yield i

    def read(i):
        if not taking and i == bad:
            raise ValueError(i)
        return -i

    found = []
    fails = bad is not None and bad < n
    with pytest.raises(ValueError, match=f"^{bad}$") if fails else nullcontext():
        found += read_ahead(items(), read, threads)
    expected = range(min(n, n if bad is None else bad))
    assert found == [(i, -i) for i in expected]
    one_by_one = read_ahead(items(), read, threads)
    assert [next(one_by_one) for _ in expected] == [(i, -i) for i in expected]
    one_by_one.close()


def test_nobody_waits_for_a_thread_that_waits_for_its_input():
    waits, come, found = Event(), Event(), []

    def items():
        yield 1
        waits.set()
        come.wait(20)
        found.append("waited for")

    ahead = read_ahead(items(), lambda i: i, 1)
    assert next(ahead) == (1, 1)
    waits.wait()
    ahead.close()
    assert found == []
    come.set()


def test_several_inputs_are_scored_one_after_the_other(result, tmp_path):
    (tmp_path / "a").write_bytes(ndjson(EVENTS[:700]))
    (tmp_path / "b").write_bytes(ndjson(EVENTS[700:]))
    assert run(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out").exit_code == 0
    for name in ("signals.ndjson", "scores.ndjson"):
        assert (tmp_path / "out" / name).read_bytes() == (result / name).read_bytes()


def test_standard_input(result, tmp_path):
    assert run("-", "--out", tmp_path / "out", input=LINES).exit_code == 0
    assert outputs(tmp_path / "out") == outputs(result)


# --- partitions


def test_partitions_are_kafkas_and_each_is_scored_by_itself(tmp_path):
    (tmp_path / "in").write_bytes(LINES)
    assert run(tmp_path / "in", "--out", tmp_path / "all", "--partitions", 4).exit_code == 0
    signals, cards = rows(tmp_path / "all", "signals.ndjson"), rows(tmp_path / "all", "scores.ndjson")
    assert [card["subject"] for card in cards] == sorted({e["subject"] for e in EVENTS})
    homes = partition_of([e["subject"] for e in EVENTS], 4)
    assert set(homes) == {0, 1, 2, 3}
    for p in range(4):
        mine = [e for e, home in zip(EVENTS, homes, strict=True) if home == p]
        (tmp_path / f"in-{p}").write_bytes(ndjson(mine))
        assert run(tmp_path / f"in-{p}", "--out", tmp_path / f"only-{p}").exit_code == 0
        alone = (tmp_path / f"only-{p}" / "signals.ndjson").read_text()
        alone = alone.replace("cx.touchpoints-0-", f"cx.touchpoints-{p}-").replace(
            '"partition":0', f'"partition":{p}'
        )
        assert [s for s in signals if s["data"]["cause"]["partition"] == p] == [
            json.loads(x) for x in alone.splitlines()
        ]


def test_signals_of_all_partitions_are_in_the_order_of_their_causes(tmp_path):
    (tmp_path / "in").write_bytes(LINES)
    assert (
        run(tmp_path / "in", "--out", tmp_path / "out", "--partitions", 3, "--batch-bytes", 2048).exit_code
        == 0
    )
    homes = partition_of([e["subject"] for e in EVENTS], 3).tolist()
    place = {}
    for position, home in enumerate(homes):
        place[home, sum(1 for other in place if other[0] == home)] = position
    causes = [s["data"]["cause"] for s in rows(tmp_path / "out", "signals.ndjson")]
    positions = [place[c["partition"], c["offset"]] for c in causes]
    assert positions == sorted(positions)


# --- rejects


def test_rejected_lines_say_reason_field_line_and_record(tmp_path):
    (tmp_path / "in").write_bytes(BROKEN + LINES)
    shown = run(tmp_path / "in", "--out", tmp_path / "out")
    first, second, third = (
        {k: v for k, v in row.items() if k != "message"}
        for row in rows(tmp_path / "out", "rejected.ndjson")[:3]
    )
    assert first == {"reason": "malformed", "field": "", "line": 1, "raw": "no json"}
    assert second["line"] == 3
    assert second["raw"] == '{"a":"\ufffd"}'
    assert base64.b64decode(second["raw_base64"]) == b'{"a":"\xff"}'
    assert (third["reason"], third["field"], third["line"]) == ("invalid", "data.amount", 4)
    assert json.loads(third["raw"])["id"] == "x"
    assert "malformed" in shown.stderr


def test_several_inputs_are_named_in_rejects(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(BROKEN)
    run(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    found = [(Path(row["file"]).name, row["line"]) for row in rows(tmp_path / "out", "rejected.ndjson")]
    assert found == [("a", 1), ("a", 3), ("a", 4), ("b", 1), ("b", 3), ("b", 4)]


@pytest.mark.parametrize("partitions", [1, 3])
def test_rejects_lose_nothing_and_count_in_ordinals(tmp_path, result, partitions):
    lines = LINES.splitlines(keepends=True)
    mixed = b"".join(line + (b"broken\n" if i % 5 == 0 else b"") for i, line in enumerate(lines))
    (tmp_path / "in").write_bytes(mixed)
    assert (
        run(
            tmp_path / "in", "--out", tmp_path / "out", "--partitions", partitions, "--batch-bytes", 4096
        ).exit_code
        == 0
    )
    assert len(rows(tmp_path / "out", "rejected.ndjson")) >= 300
    if partitions == 1:
        mine, clean = rows(tmp_path / "out", "signals.ndjson"), rows(result, "signals.ndjson")
        assert [s["data"]["cause"]["offset"] for s in mine] == [
            o + (o + 4) // 5 for o in (s["data"]["cause"]["offset"] for s in clean)
        ]


def test_a_line_that_is_too_long_is_rejected_without_being_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CXSTREAM_SCORING__MAX_RECORD_BYTES", "2048")
    long = json.dumps(event(1, "ann", Kind.search, 0, text="x" * 5000)).encode()
    (tmp_path / "in").write_bytes(LINES + long + b"\n" + long)
    run(tmp_path / "in", "--out", tmp_path / "out")
    found = [row for row in rows(tmp_path / "out", "rejected.ndjson") if row["reason"] == "too_large"]
    assert [row["line"] for row in found] == [len(EVENTS) + 1, len(EVENTS) + 2]
    assert found[0] == {
        "reason": "too_large",
        "field": "",
        "message": "larger than scoring.max_record_bytes",
        "line": len(EVENTS) + 1,
        "size": len(long),
        "sha256": hashlib.sha256(long).hexdigest(),
    }


# --- until


def test_until_rejects_the_future_and_lets_time_pass(tmp_path):
    quiet = [event(i, "ann", Kind.complaint_opened, i, case_id=str(i)) for i in range(6)]
    late = event("later", "ann", Kind.page_view, 3 * 24 * 60)
    (tmp_path / "in").write_bytes(ndjson([*quiet, late]))
    args = (tmp_path / "in", "--rules", FILE, "--out", tmp_path / "out", "--force", "--until")
    assert run(*args, (START + timedelta(days=1)).isoformat()).exit_code == 0
    assert [(r["reason"], r["line"]) for r in rows(tmp_path / "out", "rejected.ndjson")] == [
        ("from_the_future", 7)
    ]
    assert {s["data"].get("change") for s in rows(tmp_path / "out", "signals.ndjson")} == {None, "raised"}
    assert run(*args, (START + timedelta(days=364)).isoformat()).exit_code == 0
    last = rows(tmp_path / "out", "signals.ndjson")[-1]
    # After the last record: the ordinal that a tick would have.
    assert (last["data"]["change"], last["data"]["cause"]["offset"]) == ("eased", 7)
    assert run(*args, (START + timedelta(days=500)).isoformat()).exit_code == 0
    assert rows(tmp_path / "out", "scores.ndjson") == []
    assert rows(tmp_path / "out", "signals.ndjson")[-1]["data"]["change"] == "cleared"


@pytest.mark.parametrize("until", ["yesterday", "2025-03-01", "2025-03-01T00:00:00", ""])
def test_until_that_is_no_time(source, tmp_path, until):
    shown = run(source, "--out", tmp_path / "out", "--until", until)
    assert shown.exit_code == 2
    assert "RFC 3339" in shown.stderr
    assert not (tmp_path / "out").exists()


# --- the folder


def test_results_are_not_overwritten_unasked(source, tmp_path):
    (tmp_path / "scores.ndjson").write_text("precious")
    with pytest.raises(OutputError, match=r"has scores\.ndjson already.*--force"):
        run(source, "--out", tmp_path)
    assert (tmp_path / "scores.ndjson").read_text() == "precious"
    assert run(source, "--out", tmp_path, "--force").exit_code == 0
    assert len(outputs(tmp_path)["scores.ndjson"]) > 1000


def test_a_broken_input_leaves_what_was_there(tmp_path):
    (tmp_path / "in.gz").write_bytes(gzip.compress(LINES)[:-20])
    out = tmp_path / "out"
    with pytest.raises(InputError, match="cut off"):
        run(tmp_path / "in.gz", "--out", out)
    assert not out.exists()
    out.mkdir()
    (out / "scores.ndjson").write_text("precious")
    with pytest.raises(InputError, match="cut off"):
        run(tmp_path / "in.gz", "--out", out, "--force")
    assert [(p.name, p.read_text()) for p in out.iterdir()] == [("scores.ndjson", "precious")]


def test_a_full_disk(source, tmp_path, monkeypatch):
    def full(path, **options):
        place = path.with_name(f"{path.name}.partial")
        place.symlink_to("/dev/full")
        return place.open("wb", **options), place

    monkeypatch.setattr("cxstream.replay.results.draft", full)
    with pytest.raises(OutputError, match="No space left"):
        run(source, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(source, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write results"):
        run(source, "--out", tmp_path / "file" / "out")


def test_a_missing_input_is_found_before_anything_is_scored(source, tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        run(source, tmp_path / "nowhere", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- what is shown


def test_summary_on_standard_error_and_one_line_on_standard_output(tmp_path):
    (tmp_path / "in").write_bytes(BROKEN + LINES + LINES[: LINES.index(b"\n") + 1])
    shown = run(tmp_path / "in", "--out", tmp_path / "out")
    cards, signals = rows(tmp_path / "out", "scores.ndjson"), rows(tmp_path / "out", "signals.ndjson")
    rejected = len(rows(tmp_path / "out", "rejected.ndjson"))
    assert shown.stdout == (
        f"{tmp_path / 'out'}: {len(signals):,} signals, {len(cards):,} score cards, {rejected:,} rejected of 1,504 records\n"
    )
    table = [line.split() for line in shown.stderr.splitlines()]
    counts = {
        (words[-2], int(words[-1].replace(",", "")))
        for words in table
        if words[-1].replace(",", "").isdigit()
    }
    raised = [s["data"] for s in signals if s["data"].get("change") == "raised"]
    leading = [data["reasons"][0]["feature"] for data in raised]
    assert counts >= {
        ("read", 1504),
        ("malformed", 1),
        ("invalid", 2),
        ("raised", len(raised)),
        ("friction", sum("change" not in s["data"] for s in signals)),
        *((level, sum(c["data"]["level"] == level for c in cards)) for level in LEVELS),
        *Counter(leading).items(),
    }
    read, accepted, duplicates = (
        next(int(w[-1].replace(",", "")) for w in table if w[-2] == name)
        for name in ("read", "accepted", "duplicates")
    )
    assert read == accepted + duplicates + rejected


def test_quiet_says_nothing(source, tmp_path):
    shown = run(source, "--out", tmp_path, "--quiet")
    assert (shown.exit_code, shown.output) == (0, "")


# --- the process


@contextmanager
def started(*args):
    process = subprocess.Popen(
        [sys.executable, "-m", "cxstream", "replay", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_leaves_nothing_and_says_so(tmp_path, number, status):
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(pipe)
    options = ("--out", out, "--batch-bytes", 65_536, "--warehouse", tmp_path / "cx.duckdb")
    with started(pipe, *options) as process, pipe.open("wb") as feed:
        feed.write(LINES + b"broken\n" * 50_000)
        feed.flush()
        deadline = time.monotonic() + 120
        while not any(half.stat().st_size for half in out.glob(".rejected.ndjson.*.partial")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == status
    assert stdout == ""
    assert stderr.splitlines()[-1] == f"cxstream: interrupted; no results were written to {out}"
    assert not out.exists()
    assert {each.name for each in tmp_path.iterdir()} == {"pipe"}


def test_errors_are_one_line_and_status_1(tmp_path):
    with started(tmp_path / "nowhere", "--out", tmp_path / "out") as process:
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stdout == ""
    assert stderr.startswith(f"cxstream: {tmp_path / 'nowhere'}: ")
    assert stderr.count("\n") == 1


def test_memory_does_not_grow_with_the_input(tmp_path):
    # What is remembered of their ids would grow with the rounds.
    settings = Settings(scoring=ScoringParams(dedupe="recent"))

    def peak(rounds):
        # Each round has new ids on the same days: the state stays as large as it is.
        path = tmp_path / f"{rounds}.ndjson"
        with path.open("wb") as file:
            for i in range(rounds):
                file.write(b"broken\n" * 100)
                file.write(ndjson({**e, "id": f"{i}-{e['id']}"} for e in history(1000, seed=2)))
        tracemalloc.start()
        with Results(tmp_path / "out", replace=True) as results:
            router = Router(settings.scoring, settings.actions, partitions=2)
            tally = replay(router, [path], results, batch_bytes=65_536)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tally.records == rounds * 1100
        return size

    peak(2)  # what is made once, is made
    assert peak(50) < peak(10) + 500_000


# --- rules


def test_rules_of_a_file_hold_from_the_first_record(source, result, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text('[scoring]\nname = "strict-1"\nintercept = -2.0\n')
    assert run(source, "--out", tmp_path / "strict", "--rules", rules).exit_code == 0
    strict = rows(tmp_path / "strict", "scores.ndjson")
    assert {card["data"]["model"].partition("@")[0] for card in strict} == {"strict-1"}
    for before, after in zip(rows(result, "scores.ndjson"), strict, strict=True):
        assert before["subject"] == after["subject"]
        assert before["data"]["probability"] < after["data"]["probability"]
    settings = tmp_path / "cxstream.toml"
    settings.write_text(rules.read_text())
    whole = CliRunner().invoke(
        command, [str(source), "--out", str(tmp_path / "whole")], obj=str(settings), catch_exceptions=False
    )
    assert whole.exit_code == 0
    assert outputs(tmp_path / "whole") == outputs(tmp_path / "strict")


def test_rules_that_are_not_valid_stop_a_replay(source, tmp_path):
    rules = tmp_path / "rules.toml"
    rules.write_text("[scoring]\nwindow_days = 0\n")
    with pytest.raises(InputError, match=r"rules\.toml:2: scoring\.window_days"):
        run(source, "--out", tmp_path / "out", "--rules", rules)
    assert not (tmp_path / "out").exists()

"""Files whose times are wrong or not in order: the limit, jumps of the clock, sorting, and what the last line says."""

from __future__ import annotations

import hashlib
import json
import random
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from cxstream.cli.replay import command
from cxstream.files import merged
from cxstream.files.merged import merged_batches
from default_1 import FILE

CASES = Path(__file__).parent / "cases"
START = datetime(2025, 3, 1, 8, tzinfo=UTC)


def event(i: object, days: float, subject: str = "anna", kind: str = "complaint_opened") -> dict[str, object]:
    return {
        "specversion": "1.0",
        "id": str(i),
        "source": "/test",
        "type": f"cx.touchpoint.{kind}.v1",
        "subject": subject,
        "time": (START + timedelta(days=days)).isoformat(),
        "data": {"channel": "web", "case_id": str(i)},
    }


def ndjson(events: list[dict[str, object]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args], catch_exceptions=False)


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


# --- from the future


def test_one_event_of_2036_leaves_the_others_alone(tmp_path: Path) -> None:
    shown = run(CASES / "future-clock/in.ndjson", "--rules", FILE, "--out", tmp_path)
    assert shown.exit_code == 0
    [rejected] = rows(tmp_path / "rejected.ndjson")
    assert (rejected["reason"], rejected["line"]) == ("from_the_future", 2)
    [card] = rows(tmp_path / "scores.ndjson")
    assert (card["subject"], card["data"]["level"]) == ("anna", "critical")  # type: ignore[index]
    last = shown.stderr.splitlines()[-1]
    assert "1 of 5 records (20.0%) rejected: 1 from_the_future" in last
    assert "--until" in last
    assert "\x1b" not in shown.stderr, "no colours where there is no terminal"


def test_the_limit_is_the_start_of_the_command_and_the_summary_names_it(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    near = [event(1, 0), event(2, (now - START).total_seconds() / 86400 + 4 / 1440)]
    far = event(3, (now - START).total_seconds() / 86400 + 60 / 1440)
    (tmp_path / "in").write_bytes(ndjson([*near, far]))
    shown = run(tmp_path / "in", "--out", tmp_path / "out")
    assert [row["line"] for row in rows(tmp_path / "out/rejected.ndjson")] == [3]
    [limit] = re.findall(r"limit +(2\S+)", shown.stderr)
    assert timedelta(minutes=4) < datetime.fromisoformat(limit) - now < timedelta(minutes=30)


def test_the_allowance_is_the_setting_and_until_overrides_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = event(1, (datetime.now(UTC) - START).total_seconds() / 86400 + 1)
    (tmp_path / "in").write_bytes(ndjson([ahead]))
    assert run(tmp_path / "in", "--out", tmp_path / "a").exit_code == 1
    until = (START + timedelta(days=36500)).isoformat()
    shown = run(tmp_path / "in", "--out", tmp_path / "b", "--until", until)
    assert shown.exit_code == 0
    assert "limit" in shown.stderr
    assert "2125-02-05" in shown.stderr
    monkeypatch.setenv("CXSTREAM_SCORING__FUTURE_MINUTES", "3000")
    assert run(tmp_path / "in", "--out", tmp_path / "c").exit_code == 0


# --- jumps


def test_a_jump_of_the_clock_is_reported_with_its_line(tmp_path: Path) -> None:
    shown = run(CASES / "future-clock/in.ndjson", "--out", tmp_path, "--until", "2040-01-01T00:00:00Z")
    assert shown.exit_code == 0
    assert (
        "in.ndjson:2 moved the clock by 11 years, from 2025-03-01T10:00:00.000Z to 2036-01-01T00:00:00.000Z:"
        " 3 later records are too late because of it\n"
    ) in shown.stderr
    assert "3 of 5 records (60.0%) rejected: 3 too_late" in shown.stderr.splitlines()[-1]


def test_newest_first_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(ndjson([event(i, 200 - 2 * i) for i in range(100)]))
    shown = run(tmp_path / "in", "--out", tmp_path / "out")
    assert f"{tmp_path / 'in'}:1 set the clock at 2025-09-17T08:00:00.000Z: 55 later records" in shown.stderr
    assert "newest first: 99 are older than one before, by up to 198 days" in shown.stderr
    assert "--sort" in shown.stderr.splitlines()[-1]
    assert run(tmp_path / "in", "--out", tmp_path / "sorted", "--sort").stderr.count("--sort") == 0
    assert rows(tmp_path / "sorted/rejected.ndjson") == []


def test_a_few_late_events_are_not_disorder(tmp_path: Path) -> None:
    late = [event("late", 12), event("too late", -400)]
    (tmp_path / "in").write_bytes(ndjson([*(event(i, i / 10) for i in range(200)), *late]))
    shown = run(tmp_path / "in", "--out", tmp_path / "out")
    assert "1 rejected of 202 records" in shown.stdout
    assert "the clock" not in shown.stderr
    assert "--sort" not in shown.stderr


def test_small_disorder_is_counted_and_nothing_is_advised(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(ndjson([event(i, i + (0.5 if i % 2 else 0.0) * 3) for i in range(50)]))
    shown = run(tmp_path / "in", "--out", tmp_path / "out")
    assert re.search(r"out of order +24\n", shown.stderr)
    assert "--sort" not in shown.stderr


# --- sorting


def test_two_systems_are_merged_by_time(tmp_path: Path) -> None:
    inputs = [CASES / "two-systems/orders.ndjson", CASES / "two-systems/tickets.ndjson"]
    shown = run(*inputs, "--out", tmp_path / "as-given")
    assert f"{inputs[0]}:2 moved the clock by 334 days" in shown.stderr
    assert "2 of 3 records (66.7%) rejected: 2 too_late" in shown.stderr.splitlines()[-1]
    assert "--sort" in shown.stderr.splitlines()[-1]
    shown = run(*inputs, "--out", tmp_path / "out", "--sort")
    assert "0 rejected of 5 records" in shown.stdout
    assert rows(tmp_path / "out/rejected.ndjson") == []
    everything = sorted(
        (line for path in inputs for line in path.read_bytes().splitlines(keepends=True)),
        key=lambda line: json.loads(line)["time"],
    )
    (tmp_path / "by-hand").write_bytes(b"".join(everything))
    run(tmp_path / "by-hand", "--out", tmp_path / "expected")
    for name in ("signals.ndjson", "scores.ndjson"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()


def test_sorted_rejects_keep_their_file_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXSTREAM_SCORING__MAX_RECORD_BYTES", "2000")
    monkeypatch.setattr(merged, "MEMORY_BYTES", 500)
    a = [json.dumps(event(i, 50 - i)).encode() for i in range(30)]
    b = [json.dumps(event(100 + i, i)).encode() for i in range(30)]
    a[7], b[9], b[0] = b"broken", b"[" + b"x" * 5000, b"also broken"
    (tmp_path / "a").write_bytes(b"\n".join(a))
    (tmp_path / "b").write_bytes(b"\n\n" + b"\n".join(b))
    run(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out", "--sort")
    found = {
        (Path(str(row["file"])).name, row["line"]): row.get("raw") or (row["size"], row["sha256"])
        for row in rows(tmp_path / "out/rejected.ndjson")
    }
    assert found == {
        ("a", 8): "broken",
        ("b", 3): "also broken",
        ("b", 12): (5001, hashlib.sha256(b[9]).hexdigest()),
    }


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 9) | st.none(), max_size=12), min_size=1, max_size=4),
    st.sampled_from([1, 300, 1 << 20]),
    st.sampled_from([1, 100, 1 << 19]),
)
def test_merged_records_are_the_stable_sort_of_all_inputs(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int | None]], memory: int, batch: int
) -> None:
    folder = tmp_path_factory.mktemp("in")
    paths = [folder / f"{n}.ndjson" for n in range(len(files))]
    expected, i = [], 0
    for path, days in zip(paths, files, strict=True):
        lines, last = [], -1
        for number, day in enumerate(days, 1):
            i += 1
            line = f"no time {i}".encode() if day is None else json.dumps(event(i, day)).encode()
            last = last if day is None else day
            lines.append(line)
            expected.append((last, line, path, number))
        path.write_bytes(b"\n".join(lines))
    expected.sort(key=lambda item: item[0])
    found = [
        (line, *chunk.place(i))
        for chunk in merged_batches(paths, batch, memory_bytes=memory)
        for i, line in enumerate(chunk.lines)
    ]
    assert found == [(line, path, number) for _, line, path, number in expected]


def test_an_input_that_is_in_order_gives_the_same_sorted_or_not(tmp_path: Path) -> None:
    dice = random.Random(1)
    events = [event(i, i / 20, f"c{dice.randrange(9)}", "error") for i in range(2000)]
    (tmp_path / "in").write_bytes(ndjson(events))
    for name, more in {"plain": (), "sorted": ("--sort", "--batch-bytes", "4096")}.items():
        run(tmp_path / "in", "--out", tmp_path / name, "--partitions", "3", *more)
    for name in ("signals.ndjson", "scores.ndjson", "rejected.ndjson"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "sorted" / name).read_bytes()


# --- how it ends


@pytest.mark.parametrize("name", ["subject", "data"])
def test_a_field_that_all_records_lack_is_named(tmp_path: Path, name: str) -> None:
    """Parquet without a column of touchpoints may be one of ticks, so the file is not refused for its columns."""
    events = [{**event(i, i), "data": json.dumps(event(i, i)["data"])} for i in range(8)]
    table = pa.table({key: [each[key] for each in events] for key in events[0] if key != name})
    pq.write_table(table, tmp_path / "x.parquet")
    shown = run(tmp_path / "x.parquet", "--out", tmp_path / "out")
    assert f"8 invalid ({name}: Object missing required field `{name}`" in shown.stderr.splitlines()[-1]


def test_the_field_that_is_wrong_most_often_is_named(tmp_path: Path) -> None:
    wrong = [{**event(i, i), "subject": 7} for i in range(3)] + [{**event(4, 4), "time": "noon"}]
    (tmp_path / "x").write_bytes(ndjson([*wrong, event(5, 5)]))
    shown = run(tmp_path / "x", "--out", tmp_path / "out")
    assert "4 invalid (3 of them: subject: Expected" in shown.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b'{"specversion":"1.0","id"', "1 malformed (no JSON, or cut off); see "),
        (b'{"id":"%s"}' % (b"x" * (2 << 20)), "1 too_large (larger than scoring.max_record_bytes; raise it"),
        (b"{}", "1 invalid (type: Object missing required field `type`)"),
    ],
    ids=["cut off", "too large", "no event"],
)
def test_convert_is_advised_only_where_no_record_can_be_used(
    tmp_path: Path, record: bytes, said: str
) -> None:
    (tmp_path / "x").write_bytes(ndjson([event(1, 0)]) + record)
    shown = run(tmp_path / "x", "--out", tmp_path / "out")
    last = shown.stderr.splitlines()[-1]
    assert said in last
    assert "cxstream convert" not in last


def test_an_input_of_no_use_ends_with_1_and_names_convert(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("customer,at\nanna,2025-01-01\n")
    shown = run(tmp_path / "x.csv", "--out", tmp_path / "out")
    assert shown.exit_code == 1
    last = shown.stderr.splitlines()[-1]
    assert f"{tmp_path / 'x.csv'}: none of 2 records could be used: 2 malformed" in last
    assert "cxstream convert" in last
    assert len(rows(tmp_path / "out/rejected.ndjson")) == 2, "why, record by record"
    (tmp_path / "good").write_bytes(ndjson([event(1, 0)]))
    assert run(tmp_path / "good", tmp_path / "x.csv", "--out", tmp_path / "both").exit_code == 1
    assert run(tmp_path / "good", tmp_path / "x.csv", "--out", tmp_path / "sorted", "--sort").exit_code == 1


def test_a_partly_usable_input_ends_with_0_and_a_warning(tmp_path: Path) -> None:
    events = ndjson([event(i, i / 24) for i in range(198)])
    (tmp_path / "few").write_bytes(events + b"broken\n")
    assert "rejected:" not in run(tmp_path / "few", "--out", tmp_path / "a").stderr
    (tmp_path / "many").write_bytes(events + b"broken\n" * 3)
    shown = run(tmp_path / "many", "--out", tmp_path / "b", "--quiet")
    assert shown.exit_code == 0
    assert "3 of 201 records (1.5%) rejected: 3 malformed" in shown.stderr
    assert "rejected.ndjson" in shown.stderr


def test_duplicates_are_of_use_and_an_empty_input_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(ndjson([event(1, 0)]))
    (tmp_path / "empty").write_bytes(b"\n")
    shown = run(tmp_path / "in", tmp_path / "in", tmp_path / "empty", "--out", tmp_path / "out")
    assert (shown.exit_code, shown.stderr.count("cxstream: ")) == (0, 0)

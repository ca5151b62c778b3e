"""`cxstream view` as a program: a file of the read model, every format, the customers behind a cell, clear errors."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from pyarrow import parquet

from cxstream.cli import group
from cxstream.model.errors import InputError, OutputError, WarehouseError
from cxstream.settings import Settings
from cxstream.warehouse.store import Store
from view_rows import fill, made_up, touchpoint

if TYPE_CHECKING:
    from click.testing import Result

ROWS = made_up(4, 400, 12)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views") / "cx.duckdb"
    with Store(path, Settings().warehouse) as store:
        fill(store.connection, ROWS)
    return path


def view(warehouse: Path, line: str) -> Result:
    words = ["view", *shlex.split(line), "--warehouse", str(warehouse)]
    return CliRunner().invoke(group, words, catch_exceptions=True)


def test_formats_say_the_same(warehouse: Path, tmp_path: Path) -> None:
    line = "voice --by channel,level --grain week --few 1 --where level!=none"
    as_json = view(warehouse, f"{line} --format json")
    rows = json.loads(as_json.stdout)
    assert list(rows[0])[:4] == ["period", "channel", "level", "nps"]
    assert rows[0]["period"] == "2026-03-02T00:00:00.000Z"
    assert {row["level"] for row in rows} == {"elevated", "high", "critical"}
    found = list(csv.DictReader(io.StringIO(view(warehouse, f"{line} --format csv").stdout)))
    assert [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in rows
    ] == found
    assert view(warehouse, f"{line} --format parquet --out {tmp_path / 'v.parquet'}").exit_code == 0
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column("nps_answers").to_pylist() == [row["nps_answers"] for row in rows]
    assert table.column_names == list(rows[0])
    piped = CliRunner().invoke(
        group, ["view", *shlex.split(line), "--warehouse", str(warehouse), "--format", "parquet"]
    )
    assert parquet.read_table(io.BytesIO(piped.stdout_bytes)).num_rows == len(rows)
    shown = view(warehouse, f"{line} --limit 3").stdout.splitlines()
    assert len(shown) == 4
    assert shown[0].split()[:4] == ["period", "channel", "level", "nps"]
    assert shown[1].split()[:3] == ["2026-03-02", rows[0]["channel"], rows[0]["level"]]


def test_customers_behind_a_cell(warehouse: Path) -> None:
    row = json.loads(view(warehouse, "voice --by topic --format json --cell topic=invoice").stdout)[0]
    found = view(warehouse, "voice --by topic --customers --of detractors --cell topic=invoice --format json")
    customers = json.loads(found.stdout)
    assert sum(one["rows"] for one in customers) == row["detractors"] > 0
    expected = {
        f"c-{one['customer_id']}"
        for one in ROWS
        if one["topic"] == "invoice" and one["kind"] == "survey_nps" and one["score"] <= 6
    }
    assert {one["customer"] for one in customers} == expected
    without = json.loads(view(warehouse, "voice --by topic --customers --cell topic= --format json").stdout)
    assert {one["customer"] for one in without} == {
        f"c-{one['customer_id']}" for one in ROWS
        if one["topic"] is None and (one["kind"].startswith("survey") or one["kind"] == "review")
    }  # fmt: skip


def test_windows_are_days_times_or_ago(warehouse: Path) -> None:
    def count(options: str) -> int:
        rows = json.loads(view(warehouse, f"touchpoints --format json {options}").stdout)
        return rows[0]["touchpoints"] if rows else 0

    on = [
        row
        for row in ROWS
        if row["time"].isoformat() >= "2026-03-05" and row["time"].isoformat() < "2026-03-07"
    ]
    assert count("--since 2026-03-05 --until 2026-03-07") == len(on)
    assert count("--since 2026-03-05T01:00:00+01:00 --until 2026-03-07T00:00:00Z") == len(on)
    assert count("--until 1d") in {0, len(ROWS)}
    refused = view(warehouse, "touchpoints --since yesterday")
    assert refused.exit_code == 2
    assert "neither RFC 3339" in refused.stderr


def test_list(warehouse: Path) -> None:
    lines = CliRunner().invoke(group, ["view", "--list"]).stdout.splitlines()
    assert {line.split()[0] for line in lines} >= {"touchpoints", "voice", "journeys", "paths"}
    header = CliRunner().invoke(group, ["view", "voice", "--list"]).stdout
    assert "| `nps_se` | points |" in header
    assert CliRunner().invoke(group, ["view"]).exit_code == 2


def test_no_rows_say_what_there_is(warehouse: Path) -> None:
    found = view(warehouse, "touchpoints --where channel=phone,call2")
    assert found.exit_code == 0
    assert found.stdout == ""
    assert "channel=phone,call2: touchpoints have" in found.stderr
    assert "chat" in found.stderr
    assert view(warehouse, "touchpoints --by channel --where channel=phone --format json").stdout == "[]\n"


def test_long_tables_are_cut(warehouse: Path) -> None:
    found = view(warehouse, "touchpoints --by kind,topic,level")
    assert len(found.stdout.splitlines()) == 51
    assert "more than 50 rows" in found.stderr
    assert len(view(warehouse, "touchpoints --by kind,topic,level --limit 60").stdout.splitlines()) == 61


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        ("touchpoint", InputError, "there is no view 'touchpoint'; there are"),
        ("voice --by chanel", InputError, "cannot be grouped by 'chanel'; --by takes channel"),
        ("voice --where mood=1", InputError, "cannot be filtered by 'mood'"),
        ("voice --where channel", InputError, "is not DIMENSION=VALUE"),
        ("voice --set per=week", InputError, "has no option 'per'"),
        ("journeys --set per=week", InputError, "none of customer, session, case"),
        ("voice --customers --of nps", InputError, "does not list the customers behind 'nps'"),
    ],
)
def test_errors_say_what_there_is(warehouse: Path, line: str, error: type[Exception], message: str) -> None:
    found = view(warehouse, line)
    assert isinstance(found.exception, error)
    assert message in str(found.exception)


def test_a_measure_needs_customers(warehouse: Path) -> None:
    found = view(warehouse, "voice --of detractors")
    assert found.exit_code == 2
    assert "--of goes with --customers" in found.stderr


def test_files_that_cannot_be_read(tmp_path: Path, warehouse: Path) -> None:
    missing = view(tmp_path / "none.duckdb", "voice")
    assert isinstance(missing.exception, WarehouseError)
    assert "no such warehouse: build one with 'cxstream replay" in str(missing.exception)
    (tmp_path / "text.duckdb").write_text("no database")
    assert isinstance(view(tmp_path / "text.duckdb", "voice").exception, WarehouseError)


def test_a_value_cannot_move_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "cx.duckdb"
    rows = made_up(5, 3, 1)
    rows[0]["topic"] = "\x1b[2Jgone [bold]"
    with Store(path, Settings().warehouse) as store:
        fill(store.connection, rows)
    shown = view(path, "touchpoints --by topic").stdout
    assert "\x1b" not in shown
    assert "[bold]" in shown


# --- README


def test_views_in_the_readme_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    root = Path(__file__).parent.parent
    (tmp_path / "examples").symlink_to(root / "examples")
    text = (root / "README.md").read_text()
    blocks = re.findall(
        r"```sh\ncxstream (view [^\n]*|replay [^\n]* --warehouse [^\n]*)\n```\n(?:\n```text\n(.*?)\n```)?",
        text,
        re.DOTALL,
    )
    assert [line.split()[0] for line, _ in blocks] == ["replay", "view", "view", "view"]
    for line, shown in blocks:
        found = CliRunner().invoke(group, shlex.split(line))
        assert found.exit_code == 0, found.output
        if shown:
            assert [row.rstrip() for row in found.stdout.splitlines()] == shown.splitlines()


def test_a_file_has_all_rows(warehouse: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.csv"
    assert view(warehouse, f"touchpoints --by product,agent,kind --grain hour --out {out}").exit_code == 0
    piped = view(warehouse, "touchpoints --by product,agent,kind --grain hour --format csv").stdout
    assert out.read_text() == piped
    assert len(piped.splitlines()) > 100


def test_the_read_model_is_not_overwritten(warehouse: Path) -> None:
    before = warehouse.read_bytes()
    done = view(warehouse, f"voice --format csv --out {warehouse}")
    assert isinstance(done.exception, OutputError)
    assert "is the read model; name another file" in str(done.exception)
    assert warehouse.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("touchpoints --since 99999999999d", "is"),
        ("touchpoints --since 0001-01-01 --grain week", "is not between the years 1971 and 8999"),
        ("service --until 9999-12-31", "is not between the years 1971 and 8999"),
        ("touchpoints --limit 99999999999999999999999", "is not in the range"),
        ("touchpoints --grain week --customers --cell period=abc", "period=abc: is no time"),
        ("risk --set within=99999999999", "is more than 1,000,000,000"),
    ],
)
def test_what_is_out_of_range_is_refused_in_words(warehouse: Path, line: str, said: str) -> None:
    done = view(warehouse, line)
    assert done.exit_code != 0
    assert done.exception is None or isinstance(done.exception, SystemExit | InputError)
    assert said in f"{done.stderr}{done.exception}"


def test_a_window_as_long_as_the_calendar_has_no_period_before(warehouse: Path) -> None:
    assert view(warehouse, "touchpoints --since 1971-06-01 --until 8000-01-01").exit_code == 0


def test_a_rare_value_is_not_said_to_be_missing(tmp_path: Path) -> None:
    rows = [touchpoint(offset=i, id=str(i), product=f"p-{i % 30}") for i in range(300)]
    rows.append(touchpoint(offset=300, id="rare", product="rare", channel="call"))
    rows.append(touchpoint(offset=301, id="odd", product="\x1b[31mred", channel="chat"))
    path = tmp_path / "cx.duckdb"
    with Store(path, Settings().warehouse) as store:
        fill(store.connection, rows)
    done = view(path, "touchpoints --where product=rare --where channel=web")
    assert "no rows" in done.stderr
    assert "product=rare" not in done.stderr
    done = view(path, "touchpoints --where product=none --where channel=web")
    assert "product=none: touchpoints have p-0, " in done.stderr
    assert "and others" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_share_of_nothing_has_a_bound_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cx.duckdb"
    with Store(path, Settings().warehouse) as store:
        fill(store.connection, [touchpoint(offset=i, kind="contact", channel="call") for i in range(50)])
    [row] = json.loads(view(path, "service --format json").stdout)
    assert (row["abandonment"], row["abandonment_low"]) == (0, 0)

"""`cxstream view` as a program: a file of the read model, every format, the customers behind a cell, clear errors."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from pyarrow import parquet

from cxstream.cli import group
from cxstream.model.errors import InputError, OutputError, WarehouseError
from cxstream.settings import Settings
from cxstream.warehouse.store import Store
from view_rows import START, fill, made_up, touchpoint

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
        ("voice --by team", InputError, "name them and their agents in the setting insights.teams"),
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


def test_teams_are_those_of_the_settings(
    warehouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "teams.toml"
    config.write_text("[insights.teams]\nfirst = ['a-1']\nrest = ['a-*']\n")
    monkeypatch.setenv("CXSTREAM_CONFIG", str(config))
    contacts = [row for row in ROWS if row["kind"] == "contact"]
    mine = {"first": {"a-1"}, "rest": {"a-2", "a-3"}, None: {None}}
    found = {
        row["team"]: row for row in json.loads(view(warehouse, "service --by team --format json").stdout)
    }
    for team, agents in mine.items():
        assert found[team]["contacts"] == sum(row["agent"] in agents for row in contacts)
    names = view(warehouse, "service --where team=rest --customers --of contacts --format json")
    behind = {row["customer"] for row in json.loads(names.stdout)}
    assert behind == {f"c-{row['customer_id']}" for row in contacts if row["agent"] in mine["rest"]}
    nobody = view(warehouse, "service --where team=third")
    assert "team=third: the setting insights.teams has first, rest" in nobody.stderr


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


def test_damaged_files_and_files_of_others_are_named(tmp_path: Path, warehouse: Path) -> None:
    good = warehouse.read_bytes()
    whole = sqlite3.connect(tmp_path / "sqlite.db")
    whole.execute("CREATE TABLE touchpoints (id)")
    whole.close()
    damaged, header = bytearray(good), bytearray(good)
    for place in range(20_000, len(good), 4096):
        damaged[place] ^= 255
    header[5000] ^= 255
    header[9000] ^= 255
    files = {
        "damaged": (damaged, "damaged or cut off: restore a copy, or build it again"),
        "header": (header, "damaged or cut off"),
        "half": (good[: len(good) // 2], "damaged or cut off"),
        "short": (good[:3000], "damaged or cut off"),
        "empty": (b"", "is an empty file, not a warehouse"),
        "zeros": (bytes(9000), "is an empty file"),
        "text": (b"a,b\n1,2\n", "is a file of something else"),
        "sqlite": ((tmp_path / "sqlite.db").read_bytes(), "is a SQLite database, not a warehouse"),
    }
    for name, (content, said) in files.items():
        path = tmp_path / f"{name}.duckdb"
        path.write_bytes(content)
        done = view(path, "journeys")
        assert isinstance(done.exception, WarehouseError), (name, done.exception)
        assert said in str(done.exception), name
        assert "\n" not in str(done.exception)
    folder = view(tmp_path, "voice")
    assert folder.exit_code == 2


def test_a_funnel_without_steps_takes_those_that_occur(tmp_path: Path) -> None:
    stages = [("consideration", 0), ("purchase", 1), ("service", 2), ("consideration", 3)]
    rows = [
        touchpoint(offset=i, stage=stage, time=START + timedelta(hours=i), customer_id=i // 3 + 1)
        for stage, i in stages
    ]
    path = tmp_path / "cx.duckdb"
    with Store(path, Settings().warehouse) as store:
        fill(store.connection, rows)
    done = view(path, "funnel --format json")
    assert [(row["step"], row["journeys"]) for row in json.loads(done.stdout)] == [
        ("consideration", 2), ("purchase", 1),
    ]  # fmt: skip
    assert done.stderr == (
        "no touchpoint has the stage awareness, loyalty: the steps are consideration > purchase\n"
    )
    listed = view(path, "funnel --customers --cell step=purchase --format json")
    assert [row["customer"] for row in json.loads(listed.stdout)] == ["c-1"]
    typo = view(path, "funnel --set 'steps=consideration > purchas'")
    assert "no touchpoint has the stage purchas: there are consideration, purchase, service" in typo.stderr
    channels = view(path, "funnel --set place=channel")
    assert "no touchpoint has the channel awareness, " in channels.stderr
    assert "there are web; name the steps with --set 'steps=A > B'" in channels.stderr


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("a>b>a", "names 'a' twice"),
        ("a>>b", "a step is empty"),
        ("", "a step is empty"),
        (">".join("abcdefghi"), "at most 8 steps, not 9"),
    ],
)
def test_steps_that_make_no_funnel_are_refused(warehouse: Path, steps: str, said: str) -> None:
    done = view(warehouse, f"funnel --set 'steps={steps}'")
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)


def test_blanks_belong_to_values(tmp_path: Path) -> None:
    names = [" checkout", "checkout ", "checkout"]
    rows = [touchpoint(offset=i, touchpoint=name, customer_id=i + 1) for i, name in enumerate(names)]
    path = tmp_path / "cx.duckdb"
    with Store(path, Settings().warehouse) as store:
        fill(store.connection, rows)
    for i, name in enumerate(names):
        found = view(
            path, f"touchpoints --by touchpoint --customers --cell 'touchpoint={name}' --format json"
        )
        assert [row["customer"] for row in json.loads(found.stdout)] == [f"c-{i + 1}"]
        through = view(path, f"empathy --set 'through={name}' --format json")
        assert {row["customers"] for row in json.loads(through.stdout)} == {1}


def test_hours_are_shown_with_their_time(tmp_path: Path) -> None:
    rows = [touchpoint(offset=i, time=START + timedelta(hours=i)) for i in range(2)]
    path = tmp_path / "cx.duckdb"
    with Store(path, Settings().warehouse) as store:
        fill(store.connection, rows)

    def periods(line: str) -> list[str]:
        return [row.split("  ")[0] for row in view(path, line).stdout.splitlines()[1:]]

    assert periods("touchpoints --grain hour") == ["2026-03-02 00:00:00", "2026-03-02 01:00:00"]
    assert periods("touchpoints --grain hour --limit 1") == ["2026-03-02 00:00:00"]
    assert periods("touchpoints --grain day") == ["2026-03-02"]
    # One of the times is a midnight.
    shown = view(path, "quality --columns first_time,last_time").stdout.splitlines()[1]
    assert (
        shown.split("  ") == ["2026-03-02 00:00:00", "2026-03-02 01:00:00"] or "2026-03-02 01:00:00" in shown
    )


def test_long_texts_lose_their_middle_in_a_table_alone(tmp_path: Path) -> None:
    rows = [touchpoint(offset=i, touchpoint=f"place {i}", time=START + timedelta(hours=i)) for i in range(30)]
    path = tmp_path / "cx.duckdb"
    with Store(path, Settings().warehouse) as store:
        fill(store.connection, rows)
    whole = " > ".join(f"place {i}" for i in range(30))
    shown = view(path, "paths --columns journeys").stdout
    assert max(map(len, shown.splitlines())) < 120
    assert "place 0 > place 1 > " in shown
    assert " > place 29" in shown
    assert json.loads(view(path, "paths --format json").stdout)[0]["path"] == whole


def test_days_that_there_are_not(warehouse: Path) -> None:
    for text in ("2026-02-30", "2026-13-01", "2026-02-29T10:00:00Z"):
        done = view(warehouse, f"voice --since {text}")
        assert done.exit_code == 2
        assert f"there is no day {text[:10]}" in done.stderr


def test_columns_are_not_of_customers(warehouse: Path) -> None:
    done = view(warehouse, "voice --columns nps --customers")
    assert done.exit_code == 2
    assert "--columns chooses measures of the view" in done.stderr


@pytest.mark.parametrize("name", ["service", "quality", "voice", "campaigns"])
@pytest.mark.parametrize("sign", ["=", "!="])
def test_a_value_that_nothing_has_is_named_beside_a_row_of_zeros(
    warehouse: Path, name: str, sign: str
) -> None:
    done = view(warehouse, f"{name} --where source{sign}shp --format json")
    assert "source=shp: touchpoints have " in done.stderr
    assert view(warehouse, f"{name} --where source{sign}shop --format json").stderr == ""


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

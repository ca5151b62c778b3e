"""Warehouses from files, and Parquet from warehouses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest

from cxstream.cli import main
from cxstream.replay.results import NAMES, OTHERS
from cxstream.settings import Warehouse
from cxstream.warehouse.files import FileWarehouse
from cxstream.warehouse.store import Store, reading
from cxstream.warehouse.verify import check_aggregates
from first_line import next_line
from test_warehouse import HOLD, batch, built
from warehouse_rows import DAY_MS, START, card, friction, receipt, row, signal
from workers import touchpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL = Warehouse(memory_mib=512, threads=1)
STORY = Path(__file__).parents[1] / "examples" / "story.ndjson"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    return int(ended.value.code or 0)


def select(path: Path, query: str) -> list[tuple[Any, ...]]:
    with reading(path, SMALL) as connection:
        return connection.execute(query).fetchall()


def lines(*values: bytes) -> bytes:
    return b"\n".join(values) + b"\n"


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse of events of three customers, of which one is erased, and the other results."""
    folder = tmp_path_factory.mktemp("replayed")
    events = [touchpoint(f"c{i % 3}", i, touchpoint="checkout") for i in range(60)]
    asked = json.loads(touchpoint("c1", 59)) | {"type": "cx.forget.v1", "id": "f"}
    asked.pop("data")
    # Rejected: of a known source and day, and of neither.
    bad = json.loads(touchpoint("c2", 3, channel="telex"))
    (folder / "in.ndjson").write_bytes(
        lines(*events, json.dumps(bad).encode(), b"{", json.dumps(asked).encode(), touchpoint("c1", 70))
    )
    status = run(
        "replay",
        folder / "in.ndjson",
        "--out",
        folder / "out",
        "--partitions",
        2,
        "--warehouse",
        folder / "w",
        "-q",
    )
    assert status == 0
    return folder


def test_a_warehouse_has_what_the_other_files_of_a_replay_have(replayed: Path) -> None:
    warehouse = replayed / "w"
    cards = [json.loads(line) for line in (replayed / "out" / "scores.ndjson").read_text().splitlines()]
    assert select(warehouse, "SELECT customer, effort, spent FROM cards ORDER BY 1") == [
        (each["subject"], each["data"]["effort"], each["data"]["spent"]) for each in cards
    ]
    signals = [json.loads(line) for line in (replayed / "out" / "signals.ndjson").read_text().splitlines()]
    known = {
        each["id"]
        for each in signals
        if each["subject"] != "c1" and each["type"] == "cx.signal.churn_risk.v1"
    }
    assert {name for (name,) in select(warehouse, "SELECT id FROM signals")} == known
    rejected = select(
        warehouse, "SELECT day::VARCHAR, source, reason, sum(records) FROM rejected GROUP BY ALL ORDER BY 1"
    )
    assert rejected == [("2025-03-01", "/test", "invalid", 1), (None, None, "malformed", 1)]
    assert check_aggregates(warehouse, SMALL) == []
    assert warehouse.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in replayed.iterdir() if path.name.startswith("w")) == ["w"]


def test_an_erased_customer_is_not_in_the_file_from_before_the_request(replayed: Path) -> None:
    assert select(
        replayed / "w",
        "SELECT count(*) FROM touchpoints JOIN customers USING (customer_id) WHERE customer = 'c1'",
    ) == [(1,)]


def test_a_warehouse_that_is_there_is_replaced_only_with_force(replayed: Path, tmp_path: Path) -> None:
    there = tmp_path / "w"
    there.write_bytes(b"precious")
    arguments = ["replay", STORY, "--out", tmp_path / "out", "--warehouse", there, "-q"]
    assert run(*arguments) == 1
    assert there.read_bytes() == b"precious"
    assert not (tmp_path / "out").exists()
    assert run("replay", there, "--out", tmp_path / "out", "--warehouse", there, "--force", "-q") == 1
    assert run(*arguments, "--force") == 0
    assert select(there, "SELECT count(*) FROM touchpoints") == [(8,)]
    assert run("warehouse", "verify", "--warehouse", there, "--against", there) == 0
    assert run("warehouse", "verify", "--warehouse", there, "--against", replayed / "w") == 1


@pytest.mark.parametrize("call", ["mkdir", "replace", "chmod"])
def test_a_folder_that_may_not_be_written_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], call: str
) -> None:
    path = built(tmp_path / "w", batch([row(1, "anna")]))

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    commands: list[tuple[object, ...]] = [("warehouse", "compact", "--warehouse", path)]
    if call != "chmod":
        commands.append(("replay", STORY, "--out", tmp_path / "out", "--warehouse", tmp_path / "new", "-q"))
        (tmp_path / "out").mkdir()
    for command in commands:
        with monkeypatch.context() as patched:
            patched.setattr(Path, call, _only_for(tmp_path, getattr(Path, call), refused))
            assert run(*command) == 1
        told = capsys.readouterr().err
        assert "cannot be written: Permission denied" in told
        assert told.count("\n") == 1
    assert select(path, "SELECT customer FROM customers") == [("anna",)]
    assert not list(tmp_path.rglob("*.partial"))
    assert not list(tmp_path.rglob("*.spill"))


def _only_for(folder: Path, real: Any, refused: Any) -> Any:
    def called(self: Path, *arguments: Any, **options: Any) -> Any:
        act = refused if self.parent == folder and self.name != "out" else real
        return act(self, *arguments, **options)

    return called


def test_a_file_in_the_place_of_the_spill_folder_is_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = built(tmp_path / "w", batch([row(1, "anna")]))
    (tmp_path / ".w.spill").touch()
    assert run("warehouse", "compact", "--warehouse", path) == 1
    told = capsys.readouterr().err
    assert ".w.spill: cannot be written: File exists" in told
    assert told.count("\n") == 1


@pytest.mark.parametrize("begins", ["before", "meanwhile"])
def test_a_warehouse_that_another_process_writes_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], begins: str
) -> None:
    path = built(tmp_path / "w", batch([row(1, "anna")]))
    if begins == "meanwhile":
        monkeypatch.setattr(FileWarehouse, "__init__", _unchecked)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert next_line(holder) == "open\n"
        before = path.stat().st_ino
        out = tmp_path / "out"
        assert run("replay", STORY, "--out", out, "--warehouse", path, "--force", "-q") == 1
        assert f"{path}: process {holder.pid} has it open" in capsys.readouterr().err
        assert path.stat().st_ino == before
        assert begins == "meanwhile" or not out.exists()
        holder.communicate(timeout=60)
    assert select(path, "SELECT customer FROM customers") == [("anna",)]
    assert not list(tmp_path.rglob("*.partial"))


def test_what_a_killed_replay_has_left_goes_with_the_next_one(tmp_path: Path) -> None:
    left, held = (tmp_path / f".w.{letter * 16}.partial" for letter in "ab")
    built(left, batch([row(1, "anna")]))
    built(held, batch([row(1, "anna")]))
    (tmp_path / f"{left.name}.wal").touch()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(held)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert next_line(holder) == "open\n"
        assert run("replay", STORY, "--out", tmp_path / "out", "--warehouse", tmp_path / "w", "-q") == 0
        assert not left.exists()
        assert not (tmp_path / f"{left.name}.wal").exists()
        # Another process writes it.
        assert held.exists()
        holder.communicate(timeout=60)


def _unchecked(self: Any, path: Path, settings: Warehouse, insights: object, *, replace: bool) -> None:
    self._path, self._settings, self._insights = path, settings, None
    assert replace


def test_a_damaged_warehouse_and_what_a_killed_process_left_are_replaced(tmp_path: Path) -> None:
    path = built(tmp_path / "w", batch([row(1, "anna")]))
    path.write_bytes(path.read_bytes()[:100] + b"damage" * 1000)
    (tmp_path / "w.wal").write_bytes(b"damage")
    assert run("replay", STORY, "--out", tmp_path / "out", "--warehouse", path, "--force", "-q") == 0
    assert select(path, "SELECT count(*) FROM touchpoints") == [(8,)]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out", "w"]


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            ["--warehouse", "out/signals.ndjson"],
            "is signals.ndjson of --out; name another file for --warehouse",
        ),
        (["--warehouse", "there/../out/forgotten.ndjson"], "is forgotten.ndjson of --out"),
        (["--scored", "out.arrow", "--out", "out.arrow"], "is the folder of --out"),
        (["--warehouse", "no/w"], "no/w: there is no folder no; create it first"),
        (["--scored", "no/s.arrow"], "no/s.arrow: there is no folder no; create it first"),
        (["--warehouse", "link"], "is scores.ndjson of --out"),
        (["--scored", "a.parquet", "--warehouse", "there/../a.parquet"], "for --scored and for --warehouse"),
        (
            ["--scored", "link.parquet", "--warehouse", "w"],
            "is rejected.ndjson of --out; name another file for --scored",
        ),
    ],
)
def test_outputs_that_will_not_do_are_refused_before_anything_is_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    exists: bool,
    more: list[str],
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    Path("link").symlink_to("out/scores.ndjson")
    Path("link.parquet").symlink_to("out/rejected.ndjson")
    if exists:
        Path("out").mkdir()
        for name in (*NAMES, *OTHERS):
            (Path("out") / name).write_text("precious")
        Path("a.parquet").write_text("precious")
    before = {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")}
    assert run("replay", STORY, "--out", "out", *more, "--force", "-q") == 1
    assert says in capsys.readouterr().err
    assert {path: path.is_file() and path.read_bytes() for path in Path().rglob("*")} == before


def test_a_warehouse_may_be_in_the_folder_of_the_results_and_above(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    options = ("--scored", folder / "s.arrow", "--warehouse", folder / "out" / "w")
    assert run("replay", STORY, "--out", folder / "out", *options, "-q") == 0
    assert (folder / "s.arrow").exists()
    assert select(folder / "out" / "w", "SELECT count(*) FROM touchpoints") == [(8,)]


# --- Export


def parquet(folder: Path, table: str) -> str:
    return str(folder / table / "*" / f"{table}.parquet")


def days(folder: Path, table: str) -> Sequence[str]:
    return sorted(path.name for path in (folder / table).iterdir())


def test_duckdb_and_polars_read_what_is_exported_by_day(tmp_path: Path) -> None:
    rows = [row(i, f"c{i % 3}", time=START + i * DAY_MS // 4, hashtags=["x"], agent="A") for i in range(10)]
    path = built(
        tmp_path / "w",
        batch(rows, cards=[card("c1", 0, 1)], signals=[signal("c1", 0, 2), friction("c2", 0, 3)]),
    )
    out = tmp_path / "out"
    assert run("warehouse", "export", "--warehouse", path, "--out", out) == 0
    assert days(out, "touchpoints") == ["day=2026-01-01", "day=2026-01-02", "day=2026-01-03"]
    order = 'SELECT customer, "offset", hashtags, effort FROM {} ORDER BY "offset"'
    want = [(each["customer"], each["offset"], ["x"], 0.5) for each in rows]
    with duckdb.connect() as connection:
        source = f"read_parquet('{parquet(out, 'touchpoints')}', hive_partitioning = true)"
        assert connection.execute(order.format(source)).fetchall() == want
        assert connection.execute(f"SELECT DISTINCT day::DATE::VARCHAR FROM {source} ORDER BY 1").fetchall()[
            -1
        ] == ("2026-01-03",)
    frame = pl.read_parquet(parquet(out, "touchpoints"), hive_partitioning=True).sort("offset")
    assert frame.select("customer", "offset", "hashtags", "effort").rows() == want
    assert pl.read_parquet(parquet(out, "daily"))["touchpoints"].sum() == len(rows)
    assert pl.read_parquet(parquet(out, "signals"))["customer"].to_list() == ["c1"]
    assert pl.read_parquet(out / "cards" / "cards.parquet")["customer"].to_list() == ["c1"]
    files = [each for each in out.rglob("*") if each.is_file()]
    assert {each.stat().st_mode & 0o777 for each in files} == {0o600}


def test_exporting_again_changes_no_file_and_deletes_what_is_gone(tmp_path: Path) -> None:
    rows = [row(0, "anna"), row(1, "bert", time=START + DAY_MS), row(2, "anna", time=START + DAY_MS)]
    path, out = built(tmp_path / "w", batch(rows)), tmp_path / "out"
    export = ("warehouse", "export", "--warehouse", path, "--out", out)
    assert run(*export) == 0
    before = {each: each.read_bytes() for each in out.rglob("*.parquet")}
    (out / "touchpoints" / "mine.txt").write_text("stays")
    assert run(*export) == 0
    assert {each: each.read_bytes() for each in out.rglob("*.parquet")} == before
    built(path, batch(receipts=[receipt("anna", 0, 9)]))
    assert run(*export) == 0
    assert days(out, "touchpoints") == ["day=2026-01-02", "mine.txt"]
    assert pl.read_parquet(parquet(out, "touchpoints"))["customer"].to_list() == ["bert"]


def test_compacting_keeps_the_content(tmp_path: Path) -> None:
    path = built(tmp_path / "w", batch([row(i, f"c{i}") for i in range(100)]))
    with Store(path, SMALL) as store:
        store.publish()
    assert run("warehouse", "compact", "--warehouse", path) == 0
    assert select(path, "SELECT count(*) FROM touchpoints") == [(100,)]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["w", "w.copy"]

"""`cxstream insights`: from the touchpoints of a warehouse to places that left their range."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from cxstream.cli import group, options
from cxstream.model.errors import OutputError, WarehouseError
from cxstream.settings import Settings
from cxstream.warehouse.store import Store
from view_rows import START, fill, touchpoint

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

DAYS = 9
OUTAGE = START + timedelta(days=DAYS, hours=14)


def visit(number: int, minutes: float, *, failed: bool = False, **more: object) -> dict:
    return touchpoint(
        offset=number, id=str(number), customer_id=number % 900 + 1, time=START + timedelta(minutes=minutes),
        touchpoint="checkout", failed=failed, effort=2.0 if failed else 0.0, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine days with a visit each three minutes, then an outage of an hour, with a late visit in it."""
    calm = [
        visit(i, 3 * i, failed=i % 50 == 0, agent="b-1" if i % 2 else "s-1") for i in range(DAYS * 480 + 280)
    ]
    begin = DAYS * 1440 + 14 * 60
    outage = [visit(10_000 + i, begin + i, failed=True, agent="b-1") for i in range(60)]
    late = [visit(20_000, begin + 1, failed=True, agent="b-1", behind_ms=3_600_000)]
    after = [visit(30_000 + i, begin + 60 + i) for i in range(400)]
    path = tmp_path_factory.mktemp("insights") / "cx.duckdb"
    with Store(path, Settings().warehouse) as store:
        fill(store.connection, [*calm, *outage, *late, *after])
    return path


def insights(warehouse: Path, *words: str, config: Path | None = None) -> Result:
    before = [] if config is None else ["--config", str(config)]
    line = [*before, "insights", "--warehouse", str(warehouse), *words]
    return CliRunner().invoke(group, line, catch_exceptions=False)


def test_an_outage_is_found_within_minutes_and_its_end_too(warehouse: Path) -> None:
    rows = json.loads(
        insights(warehouse, "--measure", "failure", "--dimension", "touchpoint", "--format", "json").stdout
    )
    assert [(row["change"], row["channel"], row["name"]) for row in rows] == [
        ("raised", "web", "checkout"), ("cleared", "web", "checkout"),
    ]  # fmt: skip
    raised, cleared = rows
    begin = f"{OUTAGE.isoformat()}.000Z"
    assert raised["since"] <= begin < raised["time"] <= begin.replace("T14:00", "T14:10")
    assert raised["bad"] == raised["customers"] == int(raised["time"][14:16])
    assert 0.02 < raised["usual"] < 0.04 < raised["share"]
    assert cleared["time"] > begin.replace("T14", "T15")
    assert cleared["customers"] is None


def test_formats_and_filters_say_the_same(warehouse: Path, tmp_path: Path) -> None:
    everything = json.loads(insights(warehouse, "--format", "json").stdout)
    found = list(csv.DictReader(io.StringIO(insights(warehouse, "--format", "csv").stdout)))
    assert [row["time"] for row in found] == [row["time"] for row in everything]
    assert {row["measure"] for row in everything} >= {"failure"}
    raised = json.loads(insights(warehouse, "--raised", "--format", "json").stdout)
    assert raised == [row for row in everything if row["change"] == "raised"]
    shown = insights(warehouse, "--limit", "1").stdout
    assert "checkout" in shown or "web" in shown
    out = tmp_path / "found.parquet"
    assert insights(warehouse, "--format", "parquet", "--out", str(out)).exit_code == 0
    assert out.stat().st_size > 0


def test_teams_and_bounds_come_from_the_settings(warehouse: Path, tmp_path: Path) -> None:
    config = tmp_path / "cx.toml"
    config.write_text('[insights]\nhard_points = 2.0\n[insights.teams]\nbilling = ["b-*"]\n')
    line = ("--dimension", "team", "--raised", "--format", "json")
    rows = json.loads(insights(warehouse, *line, config=config).stdout)
    assert {(row["name"], row["measure"]) for row in rows} == {("billing", "failure"), ("billing", "effort")}
    config.write_text("[insights]\nmost_places = 1\n")
    rows = json.loads(insights(warehouse, "--format", "json", config=config).stdout)
    assert {row["dimension"] for row in rows} == {"channel"}


def test_the_warehouse_is_not_overwritten(warehouse: Path) -> None:
    with pytest.raises(OutputError, match="is the read model"):
        insights(warehouse, "--format", "csv", "--out", str(warehouse))


def test_without_duckdb_the_extra_is_named(warehouse: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise WarehouseError("the extra")

    monkeypatch.setattr(options, "require_duckdb", missing)
    with pytest.raises(WarehouseError, match="the extra"):
        insights(warehouse)


def test_nothing_is_found_in_an_empty_warehouse(tmp_path: Path) -> None:
    path = tmp_path / "cx.duckdb"
    Store(path, Settings().warehouse).close()
    done = insights(path)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no place left its range" in done.stderr

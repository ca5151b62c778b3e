"""The plan of an installation: what docs/operations.md says, sums that can be followed, and never less for more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cxstream.cli import group
from cxstream.plan import measured
from cxstream.plan.estimate import (
    DAY_SECONDS,
    GIB,
    SCORED_DAYS,
    Load,
    Plan,
    Prices,
    kafka_bytes,
    plan,
    state_bytes,
)
from cxstream.settings import Settings
from cxstream.topology import SCORED
from test_docs import table

ROOT = Path(__file__).parents[1]
OPERATIONS = ROOT / "docs" / "operations.md"
PRICES = Prices(25, 3.5, 0.1)

LOADS = st.builds(
    Load,
    rate=st.floats(0.01, 1e6),
    customers=st.integers(1, 10**9),
    retention_days=st.floats(0.1, 3660),
    peak=st.floats(1, 100),
    active_days=st.floats(0, 91),
    replicas=st.integers(1, 5),
    compression=st.floats(1, 20),
    warehouse_days=st.floats(0, 3660),
    broker_disk_gib=st.floats(1, 1e6),
)


def whole(found: Plan) -> tuple[float, float, float, float]:
    """Cores, memory and disk of all processes, and partitions."""
    parts = found.parts
    return (
        sum(part.processes * part.cores for part in parts),
        sum(part.processes * part.memory_gib for part in parts),
        sum(part.processes * part.disk_gib for part in parts),
        found.partitions,
    )


@pytest.mark.parametrize(
    "row",
    table(OPERATIONS, "customers", "events/s, peak", "workers", "memory limit of a worker", "partitions"),
    ids=lambda row: row[0],
)
def test_the_table_of_sizes_is_what_the_command_says(row: list[str]) -> None:
    customers, peak = (int(cell.replace(",", "")) for cell in row[:2])
    found = plan(Load(peak / 3, customers, 90))
    worker = found.parts[0]
    memory = f"{worker.memory_gib:g} GiB"
    assert [f"{worker.processes}", memory, f"{found.partitions}"] == row[2:]


def test_a_small_load_can_be_followed_by_hand() -> None:
    load = Load(1000, 1_000_000, 90)
    found = {part.name: part for part in plan(load).parts}
    # 6,000 events/s at twice the peak: one worker, and one more; either must hold everything.
    assert (found["worker"].processes, found["worker"].cores) == (2, 1)
    expected = 300e6 + 800e6 + 12 * 16 * 2**20
    assert found["worker"].memory_gib == pytest.approx(1.5 * expected / GIB, abs=0.5)
    log = 1000 * DAY_SECONDS * (90 * 270 + SCORED_DAYS * 26)
    assert kafka_bytes(load) == log + 2 * 800e6 + 900e6
    # 6,438 GiB in all, three copies: one on each of three brokers.
    assert (found["Kafka broker"].processes, found["Kafka broker"].disk_gib) == (3, 2146)
    assert found["warehouse"].disk_gib == 2060
    assert found["warehouse"].memory_gib == pytest.approx(1.5 * (2.5e9 + 60e6) / GIB, abs=0.5)
    many = {part.name: part for part in plan(replace(load, customers=50_000_000)).parts}
    assert many["warehouse"].memory_gib == pytest.approx(1.5 * (2.5e9 + 3e9) / GIB, abs=0.5)


@given(LOADS)
def test_disk_holds_what_is_kept_and_money_is_the_sum(load: Load) -> None:
    found = plan(load)
    brokers = found.parts[1]
    assert brokers.processes >= load.replicas
    assert brokers.processes * brokers.disk_gib * GIB >= kafka_bytes(load) * load.replicas
    workers = found.parts[0]
    assert (workers.processes - 1) * measured.WORKER_RATE.planned >= load.rate * load.peak
    assert (workers.processes - 1) * workers.memory_gib * GIB >= state_bytes(load)
    assert found.partitions >= 2 * workers.processes
    cores, memory, disk, _ = whole(found)
    assert found.money(PRICES) == pytest.approx(25 * cores + 3.5 * memory + 0.1 * disk)


@given(
    LOADS, st.sampled_from(["rate", "customers", "retention_days", "peak", "active_days", "warehouse_days"])
)
def test_more_of_anything_never_needs_less(load: Load, name: str) -> None:
    more = replace(load, **{name: getattr(load, name) * 2})
    cores, _, _, partitions = whole(plan(load))
    more_cores, _, _, more_partitions = whole(plan(more))
    assert more_cores >= cores
    assert more_partitions >= partitions
    assert kafka_bytes(more) >= kafka_bytes(load)


def test_figures_are_those_of_the_settings_and_name_programs_that_exist() -> None:
    worker = Settings().worker
    assert measured.FETCH_BYTES.planned == worker.fetch_bytes * worker.queue_batches
    assert SCORED.config["retention.ms"] == str(SCORED_DAYS * DAY_SECONDS * 1000)
    for figure in measured.FIGURES:
        for word in figure.source.split():
            if word.startswith(("benchmarks/", "docs/")):
                assert (ROOT / word.rstrip(".,")).exists(), figure.source


def test_the_command_shows_the_plan_and_where_its_figures_are_from() -> None:
    arguments = ["plan", "--rate", "3000", "--customers", "1000000", "--retention", "30", "--currency", "USD"]
    shown = CliRunner().invoke(group, [*arguments, "--sources"])
    assert shown.exit_code == 0, shown.output
    load = Load(3000, 1_000_000, 30)
    assert f"{plan(load).money(PRICES):,.0f} USD a month; {plan(load).partitions} partitions" in shown.output
    assert all(figure.source in shown.output for figure in measured.FIGURES)
    as_json = json.loads(CliRunner().invoke(group, [*arguments, "--format", "json"]).output)
    assert as_json["money"] == pytest.approx(plan(load).money(PRICES))
    assert [part["name"] for part in as_json["parts"]] == ["worker", "Kafka broker", "warehouse"]
    without = CliRunner().invoke(group, [*arguments, "--warehouse-days", "0", "--format", "json"])
    assert [part["name"] for part in json.loads(without.output)["parts"]] == ["worker", "Kafka broker"]


@pytest.mark.parametrize(
    "wrong", [("--rate", "nan"), ("--peak", "nan"), ("--price-core", "nan"), ("--broker-disk", "1e-320")]
)
def test_a_number_without_a_plan_is_refused(wrong: tuple[str, str]) -> None:
    shown = CliRunner().invoke(group, ["plan", "--rate", "1", "--customers", "5", *wrong])
    assert shown.exit_code == 2
    assert wrong[0] in shown.output

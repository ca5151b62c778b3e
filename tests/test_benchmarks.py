"""Benchmarks of latency and scale: what they count, on small numbers."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latency
import population
import recovery
import scale
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.codec.routing import partition_of_keys
from cxstream.scoring.engine import Engine, Records
from cxstream.settings import Settings
from kept import Kept

if TYPE_CHECKING:
    from pathlib import Path


@given(st.integers(1, 400), st.integers(1, 50), st.integers(1, 30), st.integers(1, 97))
def test_offsets_lead_back_to_the_events_in_the_order_of_sending(
    count: int, every: int, customers: int, cut: int
) -> None:
    found = latency.numbers(count, every, customers)
    logs: list[list[int]] = [[] for _ in range(latency.PARTITIONS)]
    for begin in range(0, count, cut):  # as ticks send them
        end = min(begin + cut, count)
        keys = latency.customers_of(begin, end, every, customers)
        for n, partition in enumerate(partition_of_keys(keys, latency.PARTITIONS).tolist()):
            logs[partition].append(begin + n)
    assert [each.tolist() for each in found] == logs


def test_a_latency_is_from_the_intended_time_to_the_first_signal_and_infinite_without_one() -> None:
    at = [np.arange(0, 50), np.arange(0), np.arange(0), np.arange(0)]
    causes = np.array([40, 42, 45])
    found = [(0, 0, 100.5), (0, 40, 121.0), (0, 40, 120.25), (0, 45, 124.0)]
    seconds = latency.latencies(found, at, start=100.0, rate=2.0, causes=causes)
    # Event 0 was before those that count; 40 was meant for 120, 42 brought no signal, 45 was meant for 122.5.
    assert seconds.tolist() == [0.25, math.inf, 1.5]
    assert latency.told(np.array([0.003, 0.001, 0.002])) == [2.0, 3.0, 3.0, 3.0]


def test_a_floor_is_measured_in_turn_and_stands_beside_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[bool] = []

    def measure(rate: float, flush: float, _: object, *, relay: bool) -> latency.Measured:
        assert (rate, flush) == (1e4, 0.05)
        turns.append(relay)
        return latency.Measured(np.array([0.08 if relay else 0.12] * 2 + [math.inf]), np.array([0.007]))

    monkeypatch.setattr(latency, "measure", measure)
    names = ("seconds", "warm", "every", "customers", "linger", "cards")
    found, floor = latency.run(
        Kept(None, runs=2), 1e4, 0.05, SimpleNamespace(floor=True, **dict.fromkeys(names, 1))
    )
    assert turns == [False, True, False, True]
    assert found is not None
    assert floor is not None
    found["99.0"], floor["99.0"] = 120.0, 80.0
    cells = [
        "10,000",
        "50 ms",
        "3",
        "120 ms",
        "120 ms",
        "inf ms",
        "inf ms",
        "1",
        "7 ms",
        "80 ms",
        "80 ms",
        "1.50",
    ]
    assert latency.row(1e4, 0.05, found, floor) == f"| {' | '.join(cells)} |"
    assert latency.row(1e4, 0.05, found, None) == f"| {' | '.join(cells[:-3])} |"


def test_only_the_events_that_are_to_cause_a_signal_do() -> None:
    engine = Engine(ScoringParams(), {})
    keys = latency.customers_of(0, 60, every=10, customers=7)
    values = [latency.event(i, key, b"2026-01-01T12:00:00.000Z") for i, key in enumerate(keys)]
    times = np.full(60, 1_767_268_800_000)
    outcome = engine.process(Records(values, list(range(60)), times.tolist(), keys=keys))
    assert not outcome.rejected
    caused = [json.loads(each.value)["data"]["cause"]["offset"] for each in outcome.rows]
    assert caused == [0, 10, 20, 30, 40, 50]


@given(
    st.floats(-3, 3), st.floats(0.1, 100), st.lists(st.floats(1, 1e6), min_size=2, max_size=6, unique=True)
)
def test_the_slope_is_the_power(power: float, factor: float, xs: list[float]) -> None:
    xs = [round(x, 3) for x in xs]
    if len(set(xs)) < 2 or max(xs) / min(xs) < 1.01:
        return
    assert scale.slope(xs, [factor * x**power for x in xs]) == pytest.approx(power, abs=1e-6)


def test_slopes_are_said_in_words() -> None:
    assert [scale.words(each)[:6] for each in (0.05, 1.0, -0.5, math.nan)] == [
        "stays ",
        "grows ",
        "falls ",
        "cannot",
    ]
    assert math.isnan(scale.slope([1.0], [2.0]))


@pytest.mark.parametrize("point", [scale.Point(180, 0.1), scale.Point(40, 3, partitions=2, hot=0.05)])
def test_a_point_measures_every_figure_of_the_state(point: scale.Point) -> None:
    found = scale.measured(point)
    assert set(found) == set(scale.MEASURES)
    assert all(math.isfinite(each) for each in found.values())
    assert found["events/s"] > 0


def test_a_partition_runs_until_it_is_closed() -> None:
    began, closed = "partition running", "partition closed"
    log = [(began, 0), (began, 1), (closed, 0), (closed, 1), (began, 1)]
    events = [{"event": event, "partition": partition} for event, partition in log]
    assert recovery.running(events) == {1}
    assert recovery.running(events[:2]) == {0, 1}


def test_what_was_measured_is_kept_and_only_the_rest_is_wanted(tmp_path: Path) -> None:
    file, point = tmp_path / "a" / "kept.json", {"customers": 3}
    for figure in (1.0, 5.0, 2.0):
        assert Kept(file, runs=3).wants(point)
        assert not Kept(file, runs=3, seconds=-1).wants(point)
        Kept(file).add(point, {"s": figure})
    again = Kept(file, runs=3)
    assert not again.wants(point)
    assert again.medians(point) == {"s": 2.0}
    assert (again.wants({"customers": 4}), again.medians({"customers": 4})) == (True, None)


def test_curves_become_a_plot_with_a_line_for_each_measure(tmp_path: Path) -> None:
    rows = [dict.fromkeys(scale.MEASURES, 10.0**n) for n in range(3)]
    scale.plot({name: ([1.0, 2.0, 4.0], rows) for name in ("customers", "days")}, tmp_path / "scale.svg")
    drawn = (tmp_path / "scale.svg").read_text()
    assert all(text in drawn for text in (*scale.MEASURES, scale.VARIABLES["days"]))
    latency.plot([(1000.0, flush, [1.0, 2.0, 3.0, 4.0]) for flush in (0.05, 0.5)], tmp_path / "latency.svg")
    assert "1,000/s, p99" in (tmp_path / "latency.svg").read_text()


def test_a_partition_gets_the_customers_that_hash_to_it() -> None:
    shares = recovery.homes(500, 4)
    assert sorted(number for share in shares for number in share) == list(range(500))
    for partition, share in enumerate(shares):
        names = [population.name(number).encode() for number in share]
        assert set(partition_of_keys(names, 4).tolist()) == {partition}
        engine = recovery.filled(Settings(), partition, 4, share, panes=1)
        assert engine.customers == len(share)
        assert not engine.partition.strangers([population.name(number) for number in share])

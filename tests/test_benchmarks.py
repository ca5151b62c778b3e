"""Benchmarks of latency and scale: what they count, on small numbers."""

from __future__ import annotations

import json
import math

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
    causes = np.array([0, 40, 42, 45])
    found = [(0, 0, 100.5), (0, 40, 121.0), (0, 40, 120.25), (0, 45, 124.0)]
    seconds = latency.latencies(found, at, start=100.0, rate=2.0, causes=causes)
    # Event 0 is in the warm-up; 40 was meant for 120, 42 brought no signal, 45 was meant for 122.5.
    assert seconds.tolist() == [0.25, math.inf, 1.5]
    assert latency.told(np.array([0.003, 0.001, 0.002])) == [2.0, 3.0, 3.0, 3.0]


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


def test_a_partition_gets_the_customers_that_hash_to_it() -> None:
    shares = recovery.homes(500, 4)
    assert sorted(number for share in shares for number in share) == list(range(500))
    for partition, share in enumerate(shares):
        names = [population.name(number).encode() for number in share]
        assert set(partition_of_keys(names, 4).tolist()) == {partition}
        engine = recovery.filled(Settings(), partition, 4, share, panes=1)
        assert engine.customers == len(share)
        assert not engine.partition.strangers([population.name(number) for number in share])

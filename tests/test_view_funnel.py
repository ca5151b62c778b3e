"""The view `funnel` against a search through every journey."""

from __future__ import annotations

import statistics
from collections import defaultdict
from datetime import timedelta
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.warehouse.views.selection import Filter
from view_rows import START, database, in_order, made_up, touchpoint
from view_rows import answer as view_answer

if TYPE_CHECKING:
    import duckdb

    from view_rows import Row

ROWS = made_up(8, 1600, 60)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return database(ROWS)


answer = partial(view_answer, name="funnel")


def reached(journey: list[Row], steps: list[str], place: str, order: str, within: timedelta) -> float | None:
    """Seconds that a journey takes through the steps when it first gets there; None where it never does."""
    choices = [[row for row in journey if row[place] == step] for step in steps]
    best: tuple[Any, float] | None = None
    for chosen in product(*choices):
        if order == "strict" and list(chosen) != sorted(chosen, key=in_order):
            continue
        first, last = min(chosen, key=in_order), max(chosen, key=in_order)
        took = last["time"] - first["time"]
        found = in_order(last), took.total_seconds()
        if took <= within and (best is None or found < best):
            best = found
    return best and best[1]


@pytest.mark.parametrize(
    ("order", "per", "within", "who"),
    [
        ("strict", "customer", "4", "left"),
        ("any", "customer", "2.5", "stayed"),
        ("strict", "session", "9", "all"),
    ],
)
def test_funnel(connection: duckdb.DuckDBPyConnection, order: str, per: str, within: str, who: str) -> None:
    steps = ["app", "call", "web"]
    gone = {row["customer_id"] for row in ROWS if row["kind"] == "churned"}
    journeys: dict[Any, list[Row]] = defaultdict(list)
    for row in sorted(ROWS, key=in_order):
        thread = "" if per == "customer" else row["session"]
        if who != "all" and (row["customer_id"] in gone) != (who == "left"):
            continue
        if row["source"] == "shop" and thread is not None and row["channel"] in steps:
            journeys[row["customer_id"], thread].append(row)
    found = answer(
        connection,
        by=("segment",),
        where=(Filter("source", ("shop",)),),
        options={
            "steps": "app > call>web",
            "place": "channel",
            "order": order,
            "per": per,
            "within": within,
            "who": who,
        },
    )
    expected = []
    for segment in ("gold", None):
        group = [journey for journey in journeys.values() if journey[0]["segment"] == segment]
        counts: list[int] = []
        for number in (1, 2, 3):
            times = [
                (journey, took)
                for journey in group
                if (took := reached(journey, steps[:number], "channel", order, timedelta(days=float(within)))) is not None
            ]  # fmt: skip
            assert times
            counts.append(len(times))
            expected.append(
                {
                    "segment": segment,
                    "number": number,
                    "step": steps[number - 1],
                    "journeys": len(times),
                    "customers": len({journey[0]["customer_id"] for journey, _ in times}),
                    "conversion": pytest.approx(counts[-1] / counts[0]),
                    "from_previous": pytest.approx(counts[-1] / counts[-2]) if number > 1 else None,
                    "drop_off": counts[-2] - counts[-1] if number > 1 else None,
                    "median_s": statistics.median(took for _, took in times),
                }
            )
    assert sorted(found, key=lambda row: (row["segment"] is None, row["number"])) == expected


def test_the_latest_start_counts() -> None:
    days = [0, 5, 6]
    rows = [
        touchpoint(offset=i, time=START + timedelta(days=day), stage=stage)
        for i, (day, stage) in enumerate(zip(days, ("a", "a", "b"), strict=True))
    ]
    options = {"steps": "a>b", "within": "2"}
    assert [row["journeys"] for row in answer(database(rows), options=options)] == [1, 1]
    assert [row["median_s"] for row in answer(database(rows), options=options)] == [0, 86_400]
    assert [row["journeys"] for row in answer(database(rows), options={**options, "within": "0.5"})] == [1]
    backwards = {"steps": "b>a", "within": "2"}
    assert [row["journeys"] for row in answer(database(rows), options=backwards)] == [1]
    assert [row["journeys"] for row in answer(database(rows), options={**backwards, "order": "any"})] == [
        1,
        1,
    ]

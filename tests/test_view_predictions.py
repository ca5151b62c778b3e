"""The view `predictions` against loops over the rows, and its measures against those of `cxstream train churn`."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections import defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.insights.drift import psi, spread
from cxstream.model.errors import InputError
from cxstream.settings import Settings
from cxstream.training import measures
from cxstream.warehouse import predictions as predictions_module
from cxstream.warehouse.cursors import Cursors
from cxstream.warehouse.follow import _predict
from cxstream.warehouse.metrics import FollowMetrics
from cxstream.warehouse.predictions import PredictionWatch, read_card
from cxstream.warehouse.views.selection import Filter
from cxstream.warehouse.views.statistics import wilson
from view_rows import DAYS, START, answer, database, fill, made_up, touchpoint

if TYPE_CHECKING:
    from pathlib import Path

    from view_rows import Row

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001


def history(seed: int) -> tuple[list[Row], list[Row]]:
    """Touchpoints of which a tenth come late, in the order of a log whose clock goes on; and signals with arms."""
    chance = random.Random(seed)
    rows = sorted(made_up(seed, 3000, 260), key=lambda row: row["time"])
    clocks: dict[int, datetime] = {}
    for offset, row in enumerate(rows):
        row["partition"] = row["customer_id"] % 3
        row["offset"] = offset
        if chance.random() < 0.1:
            row["time"] = max(START, row["time"] - timedelta(hours=chance.randrange(200)))
            row["day"] = row["time"].date()
        clock = clocks[row["partition"]] = max(clocks.get(row["partition"], row["time"]), row["time"])
        row["behind_ms"] = (clock - row["time"]) // timedelta(milliseconds=1)
        # Many are equal.
        row["probability_after"] = float(np.float32(chance.randrange(20) / 20))
        is_new = row["time"] > START + timedelta(days=6) and chance.random() < 0.9
        row["model"] = "new" if is_new or clock > START + timedelta(days=20) else "old"
        if row["kind"] == "action_taken":
            row["arm"] = chance.choice(("holdout", "holdout", "treated", None))
    signals = [
        {
            "partition": 0, "offset": n, "n": 0, "id": f"s-{n}", "time": START + timedelta(hours=chance.randrange(DAYS * 24)),
            "customer_id": chance.randrange(260) + 1, "change": "raised", "level": "high", "previous": "none",
            **dict.fromkeys(("probability", "effort", "effort_halfwidth", "satisfaction", "satisfaction_halfwidth"), 0.5),
            "reasons": "[]", "model": "new", "experiment": "calls", "arm": chance.choice(("holdout", "treated")),
        }
        for n in range(40)
    ]  # fmt: skip
    return rows, signals


ROWS, SIGNALS = history(11)


def made(row: Row) -> datetime:
    time: datetime = row["time"] + timedelta(milliseconds=row["behind_ms"])
    return time


def place(row: Row) -> tuple[datetime, int, int]:
    return made(row), row["partition"], row["offset"]


def predictions(rows: list[Row], signals: list[Row], within: float, every: float) -> list[Row]:
    """Every prediction with what came of it."""
    horizon, step = timedelta(days=within), timedelta(days=every)
    mine: dict[int, list[Row]] = defaultdict(list)
    ends: dict[int, datetime] = {}
    for row in rows:
        mine[row["customer_id"]].append(row)
        ends[row["partition"]] = max(ends.get(row["partition"], made(row)), made(row))
    found = []
    for customer, own in mine.items():
        seen = set()
        for row in sorted(own, key=place):
            week = (made(row) - EPOCH) // step
            if week in seen:
                continue
            seen.add(week)
            before = [
                one["kind"]
                for one in sorted(own, key=lambda one: one["offset"])
                if one["partition"] == row["partition"]
                and one["offset"] <= row["offset"]
                and one["kind"] in {"churned", "won_back", "purchase"}
            ]
            left = [one for one in own if one["kind"] == "churned"]
            if before[-1:] == ["churned"] or any(
                one["time"] <= made(row) and place(one) > place(row) for one in left
            ):
                continue
            over = made(row) + horizon
            acts = [
                one["arm"] == "holdout"
                for one in own
                if one["kind"] == "action_taken" and made(row) < one["time"] <= over
            ]
            acts += [
                True
                for one in signals
                if one["customer_id"] == customer
                and one["arm"] == "holdout"
                and made(row) < one["time"] <= over
            ]
            found.append(
                {
                    **row,
                    "time": made(row),
                    "behind_ms": 0,
                    "left": any(made(row) < one["time"] <= over for one in left),
                    "treatment": ("held_out" if all(acts) else "treated") if acts else "none",
                    "past": over <= ends[row["partition"]],
                }
            )
    return found


def weights(some: list[Row], who: str) -> tuple[list[Row], np.ndarray]:
    """Those that count, and their weights."""
    over = [one for one in some if one["past"]]
    if who != "untreated":
        kept = [one for one in over if who in {"everybody", one["treatment"]}]
        return kept, np.ones(len(kept))
    held = sum(one["treatment"] == "held_out" for one in over)
    treated = sum(one["treatment"] == "treated" for one in over)
    kept = [one for one in over if one["treatment"] != "treated"]
    heavy = 1 + treated / held if held >= 30 else 1.0
    return kept, np.array([heavy if one["treatment"] == "held_out" else 1.0 for one in kept])


def tenths(some: list[Row]) -> dict[int, int]:
    """The tenth of each prediction by its offset, the first ones one larger."""
    ordered = sorted(some, key=lambda one: (one["probability_after"], place(one)))
    size, more = divmod(len(ordered), 10)
    found: list[int] = []
    for number in range(10):
        found += [number + 1] * (size + (number < more))
    return {one["offset"]: number for one, number in zip(ordered, found, strict=True)}


def of_model(some: list[Row], who: str, few: int) -> Row:
    """What the rows of a model share."""
    kept, w = weights(some, who)
    y = np.array([one["left"] for one in kept], bool)
    p = np.array([one["probability_after"] for one in kept])
    enough = [len({one["customer_id"] for one in kept if one["left"] is left}) for left in (True, False)]
    names = ("auc", "brier", "log_loss", "calibration_error")
    if not kept or min(enough) < few or not min(enough):
        return dict.fromkeys(names)
    at = tenths(some)
    number = np.array([at[one["offset"]] for one in kept])
    away = sum(abs((w * (p - y))[number == each].sum()) for each in range(1, 11))
    return {
        "auc": measures.auc(y, p, w),
        "brier": measures.brier(y, p, w),
        "log_loss": measures.log_loss(y, p, w),
        "calibration_error": away / w.sum(),
    }


def of_band(some: list[Row], everybody: list[Row], who: str, few: int) -> Row:
    """A row; `everybody` has all predictions of the model."""
    counted, all_weights = weights(everybody, who)
    weight = {one["offset"]: float(each) for one, each in zip(counted, all_weights, strict=True)}
    kept = [one for one in some if one["offset"] in weight]
    w = np.array([weight[one["offset"]] for one in kept])
    people = len({one["customer_id"] for one in kept})
    expected = np.average([one["probability_after"] for one in kept], weights=w) if kept else None
    share = float(np.average([one["left"] for one in kept], weights=w)) if len(kept) >= few and kept else None
    low, high = wilson(share * people, people) if share is not None else (None, None)  # type: ignore[arg-type]
    over = [one["treatment"] for one in some if one["past"]]
    return {
        "predictions": len(some),
        "customers": len({one["customer_id"] for one in some}),
        "waiting": sum(not one["past"] for one in some),
        "treated": over.count("treated"),
        "held_out": over.count("held_out"),
        "followed": len(kept),
        "low": min((one["probability_after"] for one in kept), default=None),
        "high": max((one["probability_after"] for one in kept), default=None),
        "expected": expected,
        "churned": sum(one["left"] for one in kept),
        "churned_share": share,
        "churned_low": low,
        "churned_high": high,
        "ratio": share / expected if share is not None and expected else None,
    }


def check(found: list[Row], wanted: list[Row], by: tuple[str, ...], options: Row, few: int) -> None:
    who, band = options.get("who", "untreated"), options.get("band", "tenth")
    groups: dict[Any, list[Row]] = defaultdict(list)
    for one in wanted:
        groups[(*(one[name] for name in by), one["model"])].append(one)
    rows: dict[Any, Row] = {}
    for key, some in groups.items():
        at = tenths(some)
        parts: dict[str, list[Row]] = defaultdict(list)
        for one in some:
            name = {"tenth": str(at[one["offset"]]), "level": one["level_after"], "all": "all"}[band]
            parts[name].append(one)
        for name, part in parts.items():
            rows[(*key, name)] = {**of_band(part, some, who, few), **of_model(some, who, few)}
    assert len(found) == len(rows)
    for row in found:
        expected = rows[(*(row[name] for name in by), row["model"], row["band"])]
        for name, value in expected.items():
            assert row[name] == (
                pytest.approx(value, rel=1e-9, abs=1e-11) if isinstance(value, float) else value
            ), name
        said = ["churned_share"] if 0 < expected["followed"] < few else []
        said += ["auc, brier, log_loss, calibration_error"] if expected["auc"] is None else []
        assert row["too_few"] == (", ".join(said) or None)


@pytest.mark.parametrize(
    ("options", "few"),
    [
        ({}, 30),
        ({"within": "4.5", "every": "2"}, 1),
        ({"within": "3", "every": "0.5", "band": "level"}, 30),
        ({"within": "6", "who": "everybody", "band": "all"}, 5),
        ({"within": "6", "who": "treated", "band": "all"}, 5),
        ({"within": "6", "every": "0", "who": "held_out"}, 5),
    ],
)
def test_predictions_by_segment(options: Row, few: int) -> None:
    connection = database(ROWS, SIGNALS)
    wanted = predictions(
        ROWS,
        SIGNALS,
        float(options.get("within", 30)),
        # Each touchpoint has a moment of its own.
        float(options.get("every", 7)) or 1 / 86_400_000,
    )
    check(answer(connection, "predictions", options=options, few=few), wanted, (), options, few)
    found = answer(connection, "predictions", by=("segment",), options=options, few=few)
    check(found, wanted, ("segment",), options, few)


def test_the_first_touchpoint_is_chosen_before_the_filters() -> None:
    since, until = START + timedelta(days=4), START + timedelta(days=15)
    options = {"within": "4", "every": "3", "band": "all"}
    found = answer(
        database(ROWS, SIGNALS),
        "predictions",
        options=options,
        few=1,
        since=since,
        until=until,
        where=(Filter("channel", ("web", "app")),),
    )
    wanted = [
        one
        for one in predictions(ROWS, SIGNALS, 4, 3)
        if since <= one["time"] < until and one["channel"] in {"web", "app"}
    ]
    assert 100 < len(wanted) < 1000
    check(found, wanted, (), options, 1)


def test_holdouts_stand_for_those_treated() -> None:
    """Of 40 who were treated nobody left; of 40 who were held out, half: nobody else is at risk."""
    rows: list[Row] = []
    for customer in range(1, 121):
        risk = 0.5 if customer <= 80 else 0.1
        rows.append(touchpoint(customer_id=customer, offset=len(rows), probability_after=risk))
        if customer <= 80:
            arm = "treated" if customer <= 40 else "holdout"
            more = {"kind": "action_taken", "arm": arm, "time": START + timedelta(days=1)}
            rows.append(touchpoint(customer_id=customer, offset=len(rows), **more))
        if 40 < customer <= 60:
            more = {"kind": "churned", "time": START + timedelta(days=2)}
            rows.append(touchpoint(customer_id=customer, offset=len(rows), **more))
    rows.append(touchpoint(customer_id=200, offset=len(rows), time=START + timedelta(days=60)))
    connection = database(rows)
    found = {
        who: next(
            row
            for row in answer(connection, "predictions", options={"band": "all", "who": who}, few=10)
            if row["followed"]
        )
        for who in ("untreated", "everybody", "treated", "held_out")
    }
    assert {who: row["churned_share"] for who, row in found.items()} == {
        "untreated": pytest.approx(40 / 120), "everybody": pytest.approx(20 / 120), "treated": 0.0, "held_out": 0.5
    }  # fmt: skip
    assert found["untreated"]["expected"] == pytest.approx((80 * 0.5 + 40 * 0.1) / 120)
    assert (found["untreated"]["treated"], found["untreated"]["held_out"]) == (40, 40)
    # Nobody left of those treated, so that nothing ranks them.
    assert found["treated"]["auc"] is None
    assert found["untreated"]["auc"] == pytest.approx((40 * 40 / 2 + 40 * 40) / (40 * 80))


def test_not_enough_outcomes_yet() -> None:
    rows = [touchpoint(customer_id=n + 1, offset=n, time=START + timedelta(days=n)) for n in range(40)]
    (row,) = answer(database(rows), "predictions", options={"band": "all"}, few=30)
    assert (row["predictions"], row["waiting"], row["followed"]) == (40, 30, 10)
    assert (row["churned_share"], row["auc"]) == (None, None)
    assert row["too_few"] == "churned_share, auc, brier, log_loss, calibration_error"
    assert answer(database([]), "predictions") == []


# --- metrics of it


CARD = {"training": {"probability": {"edges": [0.2, 0.5], "shares": [0.5, 0.3, 0.2]},
                     "features": {"effort": {"edges": [0.25], "shares": [0.9, 0.1]}}}}  # fmt: skip


class Stand:
    """What a follower has: a connection and settings; and time that the test moves."""

    def __init__(self, rows: list[Row], **warehouse: Any) -> None:
        self.connection = database(rows, SIGNALS)
        self.now = 0.0
        self.metrics = FollowMetrics([])
        settings = Settings(scoring={"churn_horizon_days": 5}, warehouse={"prediction_days": 12, **warehouse})  # type: ignore[arg-type]
        self.watch = PredictionWatch(self, settings, self.metrics, lambda: self.now)  # type: ignore[arg-type]

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def series(self) -> dict[tuple[str, str], float]:
        return {
            (each.name, str(each.labels)): each.value
            for family in self.metrics.registry.collect()
            for each in family.samples
            if each.name.startswith("cxstream_prediction") and not each.name.endswith("_seconds")
        }


def window(few: int = 30) -> dict[str, tuple[list[Row], list[Row]]]:
    """The predictions of the last 12 days: of the rules of the last touchpoint, and of all."""
    end = max(made(row) for row in ROWS)
    some = [one for one in predictions(ROWS, SIGNALS, 5, 7) if one["time"] >= end - timedelta(days=12)]
    last = max(ROWS, key=place)["model"]
    mine = [one for one in some if one["model"] == last]
    return {"in_force": (mine, some), "all": (some, some)}


def test_the_metrics_are_what_a_loop_over_the_rows_finds() -> None:
    stand = Stand(ROWS)
    assert stand.value("cxstream_prediction_checked_timestamp_seconds") == 0
    stand.watch.step()
    for rules, (some, _) in window().items():
        whole, figures = of_band(some, some, "untreated", 30), of_model(some, "untreated", 30)
        for state in ("followed", "waiting", "treated", "held_out"):
            assert stand.value("cxstream_predictions", rules=rules, state=state) == whole[state] > 0
        for name, figure in figures.items():
            found = stand.value(f"cxstream_prediction_{name}", rules=rules)
            assert found == pytest.approx(np.nan if figure is None else figure, nan_ok=True)
        for name, column in [
            ("expected", "expected"),
            ("observed", "churned_share"),
            ("observed_low", "churned_low"),
            ("observed_high", "churned_high"),
        ]:
            found = stand.value(f"cxstream_prediction_{name}", rules=rules, band="all")
            assert found == pytest.approx(whole[column])
    assert stand.value("cxstream_prediction_observed", rules="in_force", band="10") is not None
    assert stand.value("cxstream_prediction_observed", rules="all", band="10") is None
    checked = stand.value("cxstream_prediction_checked_timestamp_seconds")
    assert checked is not None
    assert checked > 0


def test_a_late_departure_counts_as_if_it_had_come_in_time() -> None:
    """The same touchpoints, one of which is taken in after the figures were computed: when they are due, and not before."""
    some, _ = window()["in_force"]
    gone = next(one for one in some if one["past"] and not one["left"] and one["treatment"] == "none")
    late = touchpoint(
        customer_id=gone["customer_id"], partition=gone["partition"], offset=99_999, kind="churned",
        time=gone["time"] + timedelta(hours=7), behind_ms=30 * 86_400_000,
    )  # fmt: skip
    ends = max(made(row) for row in ROWS if row["partition"] == gone["partition"])
    late["behind_ms"] = (ends - late["time"]) // timedelta(milliseconds=1)
    stand, whole = Stand(ROWS, prediction_minutes=10), Stand([*ROWS, late])
    whole.watch.step()
    stand.watch.step()
    before = stand.series()
    fill(stand.connection, [late])
    stand.now = 599.0
    stand.watch.step()
    assert stand.series() == before
    stand.now = 3600.0
    stand.watch.step()
    assert stand.series() == pytest.approx(whole.series(), nan_ok=True)
    assert stand.series() != pytest.approx(before, nan_ok=True)


def test_without_touchpoints_and_with_other_rules_there_is_no_figure() -> None:
    stand = Stand([])
    stand.watch.step()
    assert stand.series() == {}
    rows = [touchpoint(customer_id=n + 1, offset=n, time=START + timedelta(hours=n)) for n in range(300)]
    stand = Stand(rows)
    stand.watch.step()
    assert stand.value("cxstream_predictions", rules="in_force", state="followed") > 100  # type: ignore[operator]
    auc = stand.value("cxstream_prediction_auc", rules="in_force")
    assert auc is not None
    assert np.isnan(auc)
    fill(stand.connection, [touchpoint(offset=300, time=START + timedelta(hours=300), model="next")])
    stand.now = 1e6
    stand.watch.step()
    assert stand.value("cxstream_predictions", rules="in_force", state="followed") == 0
    assert stand.value("cxstream_prediction_observed", rules="in_force", band="10") is None


def test_too_little_memory_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    stand, quality = Stand([], prediction_minutes=10), predictions_module.quality

    def fails(*_: Any) -> None:
        raise duckdb.OutOfMemoryException("could not allocate")

    for now, does, errors in ((0.0, fails, 1), (599.0, fails, 1), (601.0, fails, 2), (1300.0, quality, 2)):
        stand.now = now
        monkeypatch.setattr(predictions_module, "quality", does)
        stand.watch.step()
        assert stand.value("cxstream_warehouse_errors_total", reason="predictions") == errors
        checked = stand.value("cxstream_prediction_checked_timestamp_seconds")
        assert checked is not None
        assert (checked > 0) == (does is quality)


def test_drift_is_of_todays_customers(tmp_path: Path) -> None:
    """Cards of 100 customers: 20 have left, 20 have been silent for long, 60 count."""
    path = tmp_path / "churn.json"
    path.write_text(json.dumps(CARD))
    rows = [touchpoint(customer_id=n + 1, offset=n) for n in range(100)]
    rows += [touchpoint(customer_id=n + 1, offset=100 + n, kind="churned") for n in range(20)]
    stand = Stand(rows, model_card=path)
    cards = [
        {"customer_id": n + 1, "latest": True, "touches_90": int(n < 80), "probability": p, "effort": effort}
        for n in range(100)
        for p, effort in [(0.9 if n < 20 or n >= 80 else (0.1, 0.3, 0.6)[n % 3], 0.2 if n < 50 else 0.8)]
    ]
    for card in cards:
        stand.connection.execute(
            """INSERT INTO score_cards BY NAME SELECT ? customer_id, 0 partition, ? "offset", 0 record, true latest,
            TIMESTAMP '2026-03-02' time, 50.0 effort, 1.0 effort_halfwidth, 50.0 satisfaction, 1.0 satisfaction_halfwidth,
            ? probability, 'none' level, 'none' announced, 0.0 acute, TIMESTAMP '2026-03-02' last_touch, 0 touches_1,
            0 touches_7, 0 touches_30, ? touches_90, 0 purchases, 0.0 spent, 'm' model, ? features""",
            [card["customer_id"], card["customer_id"], card["probability"], card["touches_90"],
             json.dumps({"effort": card["effort"]})],
        )  # fmt: skip
    stand.watch.step()

    def psi(before: list[float], now: list[float]) -> float:
        return sum((b - a) * math.log(b / a) for a, b in zip(before, now, strict=True))

    thirds = [1 / 3] * 3
    assert stand.value("cxstream_prediction_drift", of="probability") == pytest.approx(
        psi([0.5, 0.3, 0.2], thirds)
    )
    assert stand.value("cxstream_prediction_drift", of="effort") == pytest.approx(psi([0.9, 0.1], [0.5, 0.5]))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{", "truncated"),
        ('{"training": {"probability": 3}}', "training.probability"),
        ('{"training": null}', "not enough data"),
        ("{}", "train churn"),
    ],
)
def test_a_card_that_cannot_be_read_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "card.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=rf"warehouse\.model_card: .*card\.json: .*{said}"):
        read_card(path)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.lists(st.floats(0, 1), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_drift_against_its_definition(before: list[float], now: list[float]) -> None:
    found = spread(np.array(before))
    bounds = [-math.inf, *found.edges, math.inf]

    def shares(values: list[float]) -> list[float]:
        return [sum(a < each <= b for each in values) / len(values) for a, b in pairwise(bounds)]

    assert found.shares == pytest.approx(shares(before))
    pairs = [(max(a, 1e-4), max(b, 1e-4)) for a, b in zip(shares(before), shares(now), strict=True)]
    assert psi(found, np.array(now)) == pytest.approx(sum((b - a) * math.log(b / a) for a, b in pairs))
    assert psi(found, np.array(before)) == 0


def test_a_comparison_leaves_no_transaction_open(tmp_path: Path) -> None:
    """With one open, the write-ahead log grows for ever, and an erasure cannot rewrite the file."""
    path = tmp_path / "w.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS a")
        cursors = Cursors()
        for _ in range(2):
            with cursors.of(connection):
                cursors.cursor().execute("BEGIN").execute("SELECT a FROM t").fetchall()
            connection.execute("UPDATE t SET a = a + 1")
            connection.execute("CHECKPOINT")
        with cursors.of(connection):
            assert cursors.execute("SELECT a FROM t").fetchall() == [(3,)]


def test_a_follower_that_stops_does_not_wait_for_predictions() -> None:
    stand = Stand(ROWS)
    stand.watch.interrupt()
    stand.watch.step()
    assert stand.value("cxstream_prediction_checked_timestamp_seconds") == 0


async def test_predictions_under_way_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    stand, stop = Stand(ROWS), asyncio.Event()
    loop = asyncio.get_running_loop()

    def for_ever(connection: duckdb.DuckDBPyConnection, *_: object) -> None:
        loop.call_soon_threadsafe(stop.set)
        while True:
            connection.cursor().execute(
                "SELECT sum(a.range * b.range) FROM range(100_000) a, range(100_000) b"
            )

    monkeypatch.setattr(predictions_module, "quality", for_ever)
    async with asyncio.timeout(60):
        await _predict(stand.watch, stop)
    assert stand.value("cxstream_prediction_checked_timestamp_seconds") == 0

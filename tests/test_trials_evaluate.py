"""Experiments from a warehouse: who was in which arm, what followed, and what the command says of it."""

from __future__ import annotations

import json
import random
import re
import statistics
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from cxstream.cli import group
from cxstream.settings import Warehouse
from cxstream.trials import gather
from cxstream.trials.evaluate import Wanted, evaluate, plan
from cxstream.trials.report import as_html, as_json, metric_rows
from cxstream.warehouse.store import Store
from trial_rows import shop
from view_rows import DAYS, START, answer, database, made_up, made_up_signals, touchpoint

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, Any]
ARMS = ("treated", "holdout", None)


def with_arms(seed: int, customers: int = 30) -> tuple[list[Row], list[Row]]:
    """Touchpoints and signals, some of them with an arm."""
    chance = random.Random(seed)
    rows = made_up(seed, 50 * customers, customers)
    for each in rows:
        if each["kind"] == "action_taken":
            each |= {"action": chance.choice(("call", "mail", None)), "arm": chance.choice(ARMS)}
    signals = made_up_signals(seed, rows, 2 * customers)
    for each in signals:
        arm = chance.choice(ARMS)
        each |= {"experiment": arm and chance.choice(("one", "two")), "arm": arm}
    # One thing at a time, so that the order is plain.
    times = chance.sample(range(DAYS * 24 * 3600), len(rows) + len(signals))
    for each, second in zip([*rows, *signals], times, strict=True):
        each["time"] = START + timedelta(seconds=second)
    return rows, signals


def slowly(rows: list[Row], signals: list[Row], days: int) -> dict[tuple[str, str], list[Row]]:
    """The same as `subjects`, customer by customer; with those who wait."""
    span, last = timedelta(days=days), max(each["time"] for each in rows)
    told: dict[tuple[str, str, int], list[Row]] = {}
    for each in signals:
        if each["arm"] and each["change"] in {"raised", "worsened"}:
            told.setdefault(("experiment", each["experiment"], each["customer_id"]), []).append(
                {**each, "risk": each["probability"]}
            )
    for each in rows:
        if each["kind"] == "action_taken" and each.get("arm") and each.get("action"):
            told.setdefault(("action", each["action"], each["customer_id"]), []).append(
                {**each, "risk": float(np.float32(each["probability_after"]))}
            )
    found: dict[tuple[str, str], list[Row]] = {}
    for (what, name, customer), entries in told.items():
        first = min(entries, key=lambda each: each["time"])
        start = first["time"]
        own = sorted((r for r in rows if r["customer_id"] == customer), key=lambda r: r["time"])
        until = [r for r in own if r["time"] <= start + span]
        scored = [r for r in until if r["kind"] != "action_taken"]
        after = [r for r in until if r["time"] > start]
        before = [r for r in own if r["time"] <= start]
        answers = [r["score"] for r in after if r["kind"] == "survey_nps"]
        if not until:
            continue

        def spent(some: list[Row]) -> float:
            signs = {"purchase": 1, "return": -1}
            return sum(signs.get(r["kind"], 0) * (r.get("amount_base") or 0) for r in some)

        found.setdefault((what, name), []).append(
            {
                "start": start, "customer": customer, "past": start + span <= last, "treated": first["arm"] == "treated",
                "risk": first["risk"], "crossed": len({each["arm"] for each in entries}) > 1,
                "effort": scored[-1]["effort_after"] if scored else np.nan,
                "satisfaction": scored[-1]["satisfaction_after"] if scored else np.nan,
                "nps": np.nan if not answers else 100 if answers[-1] >= 9 else -100 if answers[-1] <= 6 else 0,
                "churn": any(r["kind"] == "churned" for r in after),
                "spend": spent(after),
                "effort_before": before[-1]["effort_after"] if before else np.nan,
                "spend_before": spent([r for r in before if r["time"] > start - span]),
                "acted_on": any(
                    r["kind"] == "action_taken" and r.get("arm") != "holdout" and r["time"] >= start for r in until
                ),
            }
        )  # fmt: skip
    return found


@pytest.mark.parametrize("seed", range(4))
def test_customers_and_what_followed_are_what_a_loop_finds(seed: int) -> None:
    rows, signals = with_arms(seed)
    days = (3, 7)[seed % 2]
    with database(rows, signals) as connection:
        found = gather.subjects(connection, days)
    expected = slowly(rows, signals, days)
    assert [(each.what, each.name) for each in found] == sorted(
        expected, key=lambda key: (key[0] != "experiment", key[1])
    )
    for each in found:
        people = sorted(expected[each.what, each.name], key=lambda one: (one["start"], one["customer"]))
        past = [one for one in people if one["past"]]
        assert each.waiting == len(people) - len(past)
        assert each.crossed == sum(one["crossed"] for one in past)
        assert each.treated.tolist() == [one["treated"] for one in past]
        assert each.acted_on.tolist() == [one["acted_on"] for one in past]
        np.testing.assert_array_equal(each.risk, [one["risk"] for one in past])
        for name in gather.OUTCOMES:
            np.testing.assert_array_equal(each.outcomes[name], [float(one[name]) for one in past], name)
        for name in ("effort", "spend"):
            np.testing.assert_array_equal(each.before[name], [one[f"{name}_before"] for one in past], name)


# --- a shop with an experiment whose effect is known


def test_a_planted_effect_is_found_and_paid() -> None:
    with database(*shop()) as connection:
        [found] = gather.subjects(connection, 10)
    wanted = Wanted(days=10, cost=2.0, value=100.0)
    result = evaluate(found, wanted, 0.3)
    churn, effort, spend = (
        next(m for m in result.metrics if m.name == name) for name in ("churn", "effort", "spend")
    )
    assert churn.estimate.low < -0.15 < churn.estimate.high < 0
    assert effort.estimate.low < -15 < effort.estimate.high < -10
    # Most of the spread of spend is between customers, which CUPED takes out.
    assert spend.variance_kept < 0.6
    assert spend.estimate.error < spend.plain.error
    assert result.ratio_p is not None
    assert result.ratio_p > 0.001
    assert result.warnings == []
    assert result.left_out == [
        "nps is not compared: 0 treated and 0 held out have one, and each arm needs 30"
    ]
    money = result.money
    assert money is not None
    assert money.saving is not None
    assert money.roi is not None
    assert money.gain[0] == pytest.approx(-churn.estimate.difference * result.treated * 100)
    assert money.saving[0] == pytest.approx(money.gain[0] - 2 * result.treated)
    assert money.roi[1] < money.roi[0] < money.roi[2]
    assert result.looks[-1].customers == result.treated + result.holdout
    assert len(result.deciles) == 10
    page = as_html([result], wanted)
    assert "<svg" in page
    assert "src=" not in page
    assert "http" not in page
    assert json.loads(as_json([result], wanted))["results"][0]["name"] == "retention"
    assert len(metric_rows(result)) == 1 + len(result.metrics)


def test_no_effect_is_not_found() -> None:
    with database(*shop(effect=0.0)) as connection:
        [found] = gather.subjects(connection, 10)
    result = evaluate(found, Wanted(days=10), 0.3)
    assert all(m.anytime[0] < 0 < m.anytime[1] for m in result.metrics if m.name in {"churn", "effort"})


def test_a_broken_ratio_too_few_and_no_holdout_are_said() -> None:
    with database(*shop(broken=True)) as connection:
        [found] = gather.subjects(connection, 10)
        [waiting] = gather.subjects(connection, 61)
    assert "the ratio is broken" in evaluate(found, Wanted(), 0.3).warnings[0]
    assert "no holdout" in evaluate(waiting, Wanted(days=61), 0.3).warnings[0]
    assert evaluate(waiting, Wanted(days=61), 0.3).metrics == []
    with database(*shop(customers=60)) as connection:
        [few] = gather.subjects(connection, 10)
    assert "not enough data" in evaluate(few, Wanted(days=10), 0.3).warnings[0]


def test_a_plan_says_how_many_customers_an_effect_takes() -> None:
    with database(*shop()) as connection:
        found = gather.at_risk(connection, 10)
    assert found is not None
    plans = {each.name: each for each in plan(found, 0.3, Wanted(days=10))}
    churn = plans["churn"]
    assert churn.needed is not None
    assert churn.needed[0] == pytest.approx(25 * churn.needed[2])
    # The effect that so many customers can show needs so many customers.
    n = churn.needed[0] * (0.1 * churn.mean / churn.detectable) ** 2
    assert n == pytest.approx(len(found.treated))


# --- the view


def by_hand(people: list[Row], name: str) -> dict[str, float] | None:
    """Means, difference by least squares on what was known before, and Welch's t; None where an arm is too small."""
    known_before = {"effort": "effort_before", "churn": "risk", "spend": "spend_before"}
    there = [one for one in people if one["past"] and not np.isnan(one[name])]
    treated = np.array([one["treated"] for one in there], dtype=bool)
    if min(treated.sum(), (~treated).sum()) < 30:
        return None
    y = np.array([float(one[name]) for one in there])
    x = np.array([float(one[known_before[name]]) for one in there])
    x = np.where(np.isnan(x), np.nanmean(x), x)
    better = y if x.std() == 0 else y - np.polyfit(x, y, 1)[0] * (x - x.mean())
    a, b = better[treated], better[~treated]
    test = stats.ttest_ind(a, b, equal_var=False)
    ends = test.confidence_interval(0.95)
    return {
        "treated": len(a), "holdout": len(b), "mean_treated": y[treated].mean(), "mean_holdout": y[~treated].mean(),
        "difference": a.mean() - b.mean(), "low": ends.low, "high": ends.high, "p": test.pvalue,
    }  # fmt: skip


@pytest.mark.parametrize("which", ["shop", "made up"])
def test_the_view_agrees_with_evaluate_and_with_least_squares(which: str) -> None:
    rows, signals = shop() if which == "shop" else with_arms(5, customers=300)
    days = 10 if which == "shop" else 3
    with database(rows, signals) as connection:
        found = gather.subjects(connection, days)
        options = {"days": str(days), "shares": "retention=0.3, one=.5,broken=2"}
        table = answer(connection, "experiments", options=options)
        step = timedelta(days=1) if which == "shop" else timedelta(days=2)
        window = {"since": START + step, "until": START + 4 * step}
        later = gather.subjects(connection, days, *window.values())
        parts = answer(connection, "experiments", options=options, **window)
    compared = 0
    people = slowly(rows, signals, days)
    for some, seen in ((found, table), (later, parts)):
        shown = {(row["what"], row["name"], row["outcome"]): row for row in seen}
        assert len(shown) == len(some) * len(gather.OUTCOMES)
        for each in some:
            share = {"retention": 0.3, "one": 0.5}.get(each.name)
            result = evaluate(each, Wanted(days=days), share)
            for outcome in gather.OUTCOMES:
                row = shown[each.what, each.name, outcome]
                assert (row["entered_treated"], row["entered_holdout"]) == (result.treated, result.holdout)
                assert (row["waiting"], row["crossed"]) == (result.waiting, each.crossed)
                assert row["acted_on_holdout"] == result.acted_on_holdout
                assert row["share"] == share
                assert row["ratio_p"] == (None if share is None else pytest.approx(result.ratio_p))
                metric = next((m for m in result.metrics if m.name == outcome), None)
                if metric is None:
                    assert row["difference"] is None
                    assert row["too_few"] == "difference"
                    continue
                estimate = metric.estimate
                expected = {
                    "treated": metric.treated, "holdout": metric.holdout,
                    "mean_treated": metric.mean_treated, "mean_holdout": metric.mean_holdout,
                    "difference": estimate.difference, "low": estimate.low, "high": estimate.high, "p": estimate.p,
                    "always_low": metric.anytime[0], "always_high": metric.anytime[1], "detectable": metric.detectable,
                }  # fmt: skip
                # Floats of the cards are rounded to millionths.
                assert {name: row[name] for name in expected} == pytest.approx(expected, rel=1e-5, abs=1e-7)
                if some is found and outcome in {"effort", "churn", "spend"}:
                    hand = by_hand(people[each.what, each.name], outcome)
                    assert {name: row[name] for name in hand or {}} == pytest.approx(hand, rel=1e-5, abs=1e-7)
                compared += 1
    assert compared > (7 if which == "shop" else 12)


# --- the command


def saved(path: Path, rows: list[Row], signals: list[Row], changes: list[Row] | None = None) -> Path:
    with (
        Store(path, Warehouse(memory_mib=512, threads=1)) as store,
        database(rows, signals, changes=changes or []) as made,
    ):
        for table in ("customers", "touchpoints", "risk_signals", "changes"):
            arrow = made.sql(f"SELECT * FROM {table}").to_arrow_table()
            store.connection.register("made", arrow)
            store.connection.execute(f"INSERT INTO {table} SELECT * FROM made")
            store.connection.unregister("made")
    return path


def run(*args: object) -> Any:
    return CliRunner().invoke(group, ["evaluate", *map(str, args)])


def test_the_command_reads_a_warehouse_and_writes_reports(tmp_path: Path) -> None:
    path = saved(tmp_path / "w", *shop())
    rules = tmp_path / "rules.toml"
    rules.write_text("[scoring.experiments.retention]\nholdout = 0.3\n")
    page, data = tmp_path / "r.html", tmp_path / "r.json"
    result = run(
        path, "--rules", rules, "--days", 10, "--cost", 2, "--value", 100, "--report", page, "--report", data
    )
    assert result.exit_code == 0, result.output
    assert "Experiment retention" in result.output
    assert "ROI" in result.output
    assert page.read_text().startswith("<!doctype html>")
    assert "nps is not compared: 0 treated" in page.read_text()
    assert "nps is not compared: 0 treated" in result.output
    assert json.loads(data.read_bytes())["results"][0]["share"] == 0.3
    again = run(path, "--report", page)
    assert "is there already" in f"{again.output} {again.exception}"
    planned = run(path, "--plan", "--days", 10)
    assert "customers at risk show, 0.2 of them held out" in planned.output


def test_a_change_of_a_channel_is_compared_with_another(tmp_path: Path) -> None:
    chance, at = random.Random(5), START + timedelta(days=20)
    rows = [
        touchpoint(
            customer_id=i % 50 + 1, offset=i, time=START + timedelta(hours=i / 4), channel=("web", "store")[i % 2],
            effort=5 + chance.random() - (2 if i % 2 == 0 and i / 96 >= 20 else 0),
        )
        for i in range(40 * 96)
    ]  # fmt: skip
    change = {"id": "r", "source": "/web", "name": "release", "time": at, "channel": "web"}
    path = saved(tmp_path / "w", rows, [], [change])
    page, data = tmp_path / "r.html", tmp_path / "r.json"
    asked = "--change", "release", "--control", "store", "--days", 15
    result = run(path, *asked, "--report", page, "--report", data)
    assert result.exit_code == 0, result.output
    assert "Difference in differences: -2" in result.output
    assert "Nothing says that they did not run in parallel" in result.output
    assert "; slope between " in result.output
    assert re.search(
        r"A pretended change halfway through the time before: \S+ \(.*no difference where", result.output
    )
    said = json.loads(data.read_bytes())
    assert (said["daily"]["days"][0], said["daily"]["days"][-1]) == (-15, 14)
    assert 0 not in said["daily"]["days"]
    assert len(said["daily"]["changed"]) == len(said["daily"]["control"]) == 29
    assert said["change"]["placebo"]["low"] < 0 < said["change"]["placebo"]["high"]
    assert 'aria-label="Mean of effort by day, web and store"' in page.read_text()
    for measure in ("spend", "churn"):
        assert "Difference in differences: +0 (" in run(path, *asked, "--measure", measure).output
    assert (
        "there is no change 'other'; there are release"
        in run(path, "--change", "other", "--control", "store").output
    )
    assert (
        "is not limited to a channel other than web"
        in run(path, "--change", "release", "--control", "web").output
    )
    assert "go together" in run(path, "--change", "release").output
    assert "no experiment and no action with an arm" in run(path).output


def test_spend_by_day_is_what_a_loop_finds() -> None:
    chance, at = random.Random(6), START + timedelta(days=8)
    rows = [
        touchpoint(
            customer_id=chance.randrange(9) + 1, offset=i, time=START + timedelta(hours=i), channel=chance.choice(("web", "store", "app")),
            kind=chance.choice(("purchase", "return", "page_view")), amount_base=chance.choice((None, chance.randrange(99) / 4)),
        )
        for i in range(16 * 24)
    ]  # fmt: skip
    with database(rows, []) as connection:
        found = gather.daily(connection, "spend", at, ("web", "store"), 7)
    sums: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        if at - timedelta(days=7) <= row["time"] < at + timedelta(days=7) and row["time"].date() != at.date():
            sums[(row["time"].date() - at.date()).days, row["channel"]].append(row)
    sign = {"purchase": 1, "return": -1, "page_view": 0}
    means = {
        key: sum(sign[row["kind"]] * (row["amount_base"] or 0) for row in each) / len({row["customer_id"] for row in each})
        for key, each in sums.items()
    }  # fmt: skip
    days = [day for day in range(-7, 8) if {(day, "web"), (day, "store")} <= means.keys()]
    assert len(days) > 5
    assert found.days == days
    assert found.changed == pytest.approx([means[day, "web"] for day in days])
    assert found.control == pytest.approx([means[day, "store"] for day in days])


def test_churn_by_day_is_what_a_loop_finds() -> None:
    chance, at = random.Random(8), START + timedelta(days=20, hours=9)
    kinds = ("page_view",) * 20 + ("churned", "won_back")
    rows = [
        touchpoint(
            customer_id=chance.randrange(60) + 1, offset=i, time=START + timedelta(hours=i), kind=chance.choice(kinds),
            channel=chance.choice(("web", "store", "app")),
        )
        for i in range(34 * 24)
    ]  # fmt: skip
    with database(rows, []) as connection:
        found = gather.daily(connection, "churn", at, ("web", "store"), 10)
    within = timedelta(days=gather.LEFT_WITHIN_DAYS)
    last, firsts = max(row["time"] for row in rows).date(), {}
    for row in rows:
        if row["kind"] not in {"churned", "won_back"}:
            firsts.setdefault((row["time"].date(), row["channel"], row["customer_id"]), row["time"])
    gone = [(row["customer_id"], row["time"]) for row in rows if row["kind"] == "churned"]
    left: dict[tuple[int, str], list[bool]] = defaultdict(list)
    for (day, channel, customer), first in firsts.items():
        is_whole = day + within < at.date() or (day > at.date() and day + within < last)
        number = (day - at.date()).days
        if is_whole and -10 - 7 <= number <= 10:
            left[number, channel].append(
                any(who == customer and first < time <= first + within for who, time in gone)
            )
    days = [day for day in range(-17, 11) if {(day, "web"), (day, "store")} <= left.keys()]
    assert days[0] == -17
    assert -8 in days
    assert not {-7, 0, 6} & set(days)
    assert found.days == days
    assert found.changed == pytest.approx([statistics.fmean(left[day, "web"]) for day in days])
    assert found.control == pytest.approx([statistics.fmean(left[day, "store"]) for day in days])
    assert 0 < sum(found.changed) < len(days)

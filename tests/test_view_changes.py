"""The views `changes` and `training` against loops over the rows."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxstream.warehouse.views import definition
from cxstream.warehouse.views.selection import Filter
from cxstream.warehouse.views.statistics import student_t
from test_view_outcomes import newcombe, same
from view_rows import DAYS, START, answer, database, made_up, made_up_changes

if TYPE_CHECKING:
    import duckdb

    from view_rows import Row

PROPERTY = settings(max_examples=16, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
Z = 1.959963984540054
WEEK = timedelta(days=7)
ROWS = made_up(3, 2000, 40)
CHANGES = made_up_changes(3, 6)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return database(ROWS, changes=CHANGES)


# --- changes

SHARES = {"failed", "repeat_contact", "channel_switch", "rage_click", "abandoned", "resolved", "csat"}


def measured(row: Row, measure: str) -> float | None:
    kind = row["kind"]
    if measure in {"abandoned", "resolved"}:
        said = bool(row["abandoned"]) if measure == "abandoned" else row["resolved"]
        return None if kind != "contact" or said is None else float(said)
    if measure == "nps":
        return 100.0 * ((row["score"] >= 9) - (row["score"] <= 6)) if kind == "survey_nps" else None
    if measure == "csat":
        return float(row["score"] >= 4) if kind == "survey_csat" else None
    if measure == "ces":
        return row["score"] if kind == "survey_ces" else None
    if measure == "stars":
        return row["rating"] if kind == "review" else None
    name = {"wait": "wait_s", "handle": "handle_s"}.get(measure, measure)
    return None if row[name] is None else float(row[name])


def interval(before: list[float], after: list[float], measure: str) -> tuple[float | None, float | None]:
    change = statistics.fmean(after) - statistics.fmean(before)
    n_1, n_2 = len(before), len(after)
    if measure in SHARES:
        return newcombe(round(sum(after)), n_2, round(sum(before)), n_1)
    if min(n_1, n_2) < 2:
        return None, None
    if measure == "nps":
        margin = Z * math.sqrt(statistics.pvariance(before) / n_1 + statistics.pvariance(after) / n_2)
        return max(-200.0, change - margin), min(200.0, change + margin)
    a, b = statistics.variance(before) / n_1, statistics.variance(after) / n_2
    if a + b == 0:
        return change, change
    freedom = (a + b) ** 2 / (a * a / (n_1 - 1) + b * b / (n_2 - 1))
    margin = student_t(math.floor(freedom)) * math.sqrt(a + b)
    return change - margin, change + margin


@PROPERTY
@given(
    measure=st.sampled_from(definition.view("changes").options["measure"].choices),
    days=st.sampled_from(("3", "28", "6.5")), skip=st.sampled_from(("0", "2")),
    place=st.sampled_from(("same", "everywhere")), by=st.sampled_from((None, "channel")),
    where=st.sampled_from(((), (Filter("topic", ("invoice", None)),))), few=st.sampled_from((0, 10)),
    until=st.sampled_from((None, START + timedelta(days=DAYS / 2))),
)  # fmt: skip
def test_changes(
    connection: duckdb.DuckDBPyConnection, measure: str, days: str, skip: str, place: str, by: str | None,
    where: tuple[Filter, ...], few: int, until: Any,
) -> None:  # fmt: skip
    length, gap = timedelta(days=float(days)), timedelta(days=float(skip))
    end = max(row["time"] for row in ROWS)
    found = {
        (row["change_id"], row[by] if by else None): row
        for row in answer(
            connection, "changes", options={"measure": measure, "days": days, "skip": skip, "place": place},
            by=(by,) if by else (), where=where, few=few, until=until,
        )
    }  # fmt: skip
    count = 0
    for change in CHANGES:
        if until is not None and change["time"] >= until:
            continue
        sides: dict[Any, list[tuple[bool, int, float]]] = defaultdict(list, {None: []})
        for row in ROWS:
            at = row["time"] - change["time"]
            value = measured(row, measure)
            fits = all(
                change[name] in {None, row[name]} for name in ("channel", "touchpoint", "product", "location")
            )
            if value is None or not (-length <= at < timedelta(0) or gap <= at < gap + length):
                continue
            if (fits or place == "everywhere") and (not where or row["topic"] in {"invoice", None}):
                sides[row[by] if by else None].append((at >= timedelta(0), row["customer_id"], value))
        for group, values in sides.items():
            before, after = (
                [value for is_after, _, value in values if is_after is side] for side in (False, True)
            )
            known = [len(side) > 0 and len(side) >= few for side in (before, after)]
            low, high = interval(before, after, measure) if all(known) else (None, None)
            said = [name for name, side in (("before", before), ("after", after)) if 0 < len(side) < few]
            expected = {
                **({by: group} if by else {}),
                "change": change["name"], "change_source": change["source"], "change_id": change["id"],
                "changed_at": change["time"],
                **{f"at_{name}": change[name] for name in ("channel", "touchpoint", "product", "location")},
                "customers": len({customer for _, customer, _ in values}),
                "before_count": len(before), "after_count": len(after),
                "before": statistics.fmean(before) if known[0] else None,
                "after": statistics.fmean(after) if known[1] else None,
                "difference": statistics.fmean(after) - statistics.fmean(before) if all(known) else None,
                "difference_low": low, "difference_high": high,
                "after_days": max(timedelta(0), min(change["time"] + gap + length, end) - change["time"] - gap) / timedelta(days=1),
                "too_few": ", ".join(said) or None,
            }  # fmt: skip
            same(found[change["id"], group], expected)
            count += 1
    assert len(found) == count


# --- training


@cache
def training(seed: int) -> duckdb.DuckDBPyConnection:
    return database(made_for_training(seed))


@cache
def made_for_training(seed: int) -> list[Row]:
    """Contacts of a few customers, so that some are repeated within a week."""
    made = [dict(row) for row in made_up(seed, 600, 30)]
    for number, row in enumerate(made):
        if number % 2:
            row["kind"] = "contact"
            row["handle_s"] = (None, float(number % 600), 120.0)[number % 3]
            row["satisfaction_after"] = float(number % 97)
            row["agent"] = (*(f"a-{i}" for i in range(4)), None)[number % 5]
    return made


@PROPERTY
@given(
    seed=st.integers(0, 2), prior=st.sampled_from(("20", "0", "3.5")), peers=st.sampled_from(("3", "5")),
    few=st.sampled_from((0, 12)), by=st.sampled_from((None, "channel")),
    since=st.sampled_from((None, START + timedelta(days=4))),
)  # fmt: skip
def test_training(seed: int, prior: str, peers: str, few: int, by: str | None, since: Any) -> None:  # noqa: C901, PLR0912, PLR0915 - one oracle
    made = made_for_training(seed)
    end = max(row["time"] for row in made)
    contacts = [row for row in made if row["kind"] == "contact" and row["topic"] is not None]
    about: dict[Any, list[Row]] = defaultdict(list)
    for row in contacts:
        about[row["customer_id"], row["topic"]].append(row)
    events = []
    for row in contacts:
        gaps = [
            other["time"] - row["time"]
            for other in about[row["customer_id"], row["topic"]]
            if other is not row
        ]
        is_past = row["time"] + WEEK <= end
        is_first = is_past and not any(-WEEK < gap < timedelta(0) for gap in gaps)
        is_followed = any(timedelta(0) < gap <= WEEK for gap in gaps)
        if row["agent"] is not None and (since is None or row["time"] >= since):
            events.append((row, is_past, is_first, is_followed))
    groups: dict[Any, list[Any]] = defaultdict(list)
    for event in events:
        groups[by and event[0][by], event[0]["topic"]].append(event)
    k = float(prior)
    expected = {}
    for (group, topic), members in groups.items():
        agents = {event[0]["agent"] for event in members}
        compared = len(agents) >= int(peers)
        for agent in agents:
            mine = [event for event in members if event[0]["agent"] == agent]
            line: Row = {
                "who": agent, "about": topic, "contacts": len(mine), "agents": len(agents),
                "customers": len({event[0]["customer_id"] for event in mine}),
            }  # fmt: skip
            needs, few_said = [], []
            for name, chosen, hit, counts, worse in (
                ("fcr", 2, False, ("first_contacts", "first_resolved"), -1),
                ("repeated", 1, True, ("past_contacts", "repeated_contacts"), 1),
            ):
                some, all_ = ([e[3] is hit for e in part if e[chosen]] for part in (mine, members))
                hits = sum(some)
                line |= {counts[0]: len(some), counts[1]: hits}
                mean = sum(all_) / len(all_) if all_ else None
                shown = compared and some and len(some) >= few
                value = (hits + k * mean) / (len(some) + k) if shown and mean is not None else None
                margin = (
                    Z * math.sqrt(max(0.0, value * (1 - value)) / (len(some) + k + 1))
                    if value is not None
                    else None
                )
                line |= put(name, value, margin, mean if compared else None, 1)
                if some and not shown:
                    few_said.append(name)
                if (
                    value is not None
                    and margin is not None
                    and mean is not None
                    and worse * (value - mean) > margin
                ):
                    needs.append(name)
            for name, column, mean_name, worse in (
                ("handle_s", "handle_s", "handle", 1),
                ("satisfaction", "satisfaction_after", "satisfaction", -1),
            ):
                some, all_ = (
                    [e[0][column] for e in part if e[0][column] is not None] for part in (mine, members)
                )
                mean = statistics.fmean(all_) if all_ else None
                shown = compared and some and len(some) >= few
                value = (sum(some) + k * mean) / (len(some) + k) if shown and mean is not None else None
                spread = statistics.stdev(all_) if len(all_) > 1 else None
                margin = (
                    Z * spread / math.sqrt(len(some) + k)
                    if value is not None and spread is not None
                    else None
                )
                found = put(
                    mean_name,
                    value,
                    margin,
                    mean if compared else None,
                    math.inf if name == "handle_s" else 100,
                )
                if name == "handle_s":
                    found["handle_s"] = found.pop("handle")
                    line["handled"] = len(some)
                line |= found
                if some and not shown:
                    few_said.append(name)
                if (
                    value is not None
                    and margin is not None
                    and mean is not None
                    and worse * (value - mean) > margin
                ):
                    needs.append(name)
            line |= {"needs": ", ".join(needs) or None, "too_few": ", ".join(few_said) or None}
            expected[group, topic, agent] = line
    answered = answer(
        training(seed), "training", options={"prior": prior, "peers": peers}, few=few,
        by=(by,) if by else (), since=since,
    )  # fmt: skip
    assert len(answered) == len(expected) > 0
    for row in answered:
        group = row.pop(by) if by else None
        same(row, expected[group, row["about"], row["who"]])


def put(name: str, value: float | None, margin: float | None, mean: float | None, most: float) -> Row:
    low = None if value is None or margin is None else max(0.0, value - margin)
    high = None if value is None or margin is None else min(most, value + margin)
    return {name: value, f"{name}_low": low, f"{name}_high": high, f"{name}_mean": mean}

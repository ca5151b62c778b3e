"""The views `outcomes` and `moments` against loops over the rows."""

from __future__ import annotations

import math
from collections import defaultdict
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxstream.warehouse.views.statistics import wilson
from view_rows import DAYS, START, answer, database, in_order, made_up

if TYPE_CHECKING:
    import duckdb

    from view_rows import Row

PROPERTY = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
Z = 1.959963984540054
ENDS = ("churn", "purchase", "complaint", "silence")


@cache
def rows(seed: int) -> list[Row]:
    """Touchpoints of which some have no place, and few are the same everywhere."""
    made = made_up(seed, 900, 120)
    for number, row in enumerate(made):
        row["touchpoint"] = (f"t-{number % 7}", row["touchpoint"], None)[number % 3]
    return made


@cache
def connection(seed: int) -> duckdb.DuckDBPyConnection:
    return database(rows(seed))


class Journey(NamedTuple):
    customer: int
    group: Any
    end: str
    steps: list[tuple[Row, Any]]
    last: int | None


def journeys(made: list[Row], options: dict[str, str], by: str | None) -> list[Journey]:
    thread = {"customer": None, "session": "session", "case": "case_id"}[options["per"]]
    within = float(options["within"])
    found: dict[Any, list[list[Row]]] = defaultdict(list)
    for row in sorted(made, key=in_order):
        if thread is not None and row[thread] is None:
            continue
        parts = found[row["customer_id"], thread and row[thread]]
        gap = timedelta(days=within)
        if not parts or (within > 0 and row["time"] - parts[-1][-1]["time"] > gap):
            parts.append([])
        parts[-1].append(row)
    return [whole(part, options["place"], by) for parts in found.values() for part in parts]


def whole(part: list[Row], place: str, by: str | None) -> Journey:
    last = {row["kind"]: number for number, row in enumerate(part)}
    bought, parted = last.get("purchase"), last.get("churned")
    if parted is not None and (bought is None or parted > bought):
        end, at = "churn", parted
    elif bought is not None:
        end, at = "purchase", bought
    elif "complaint_opened" in last:
        end, at = "complaint", last["complaint_opened"]
    else:
        end, at = "silence", None
    steps = [(row, row[place]) for row in part]
    return Journey(part[0]["customer_id"], by and part[0][by], end, steps, at)


def newcombe(hits_1: int, n_1: int, hits_2: int, n_2: int) -> tuple[float, float]:
    (low_1, high_1), (low_2, high_2) = wilson(hits_1, n_1), wilson(hits_2, n_2)
    p_1, p_2 = hits_1 / n_1, hits_2 / n_2
    return p_1 - p_2 - math.hypot(p_1 - low_1, high_2 - p_2), p_1 - p_2 + math.hypot(
        high_1 - p_1, p_2 - low_2
    )


def test_newcombe_agrees_with_the_paper() -> None:
    # Newcombe (1998), table II, method 10: 56/70 and 48/80, and 9/10 and 3/10.
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert newcombe(9, 10, 3, 10) == pytest.approx((0.1705, 0.8090), abs=5e-5)


def p_of(hits_1: int, n_1: int, hits_2: int, n_2: int) -> float:
    """The chi-square test as a normal test of two shares, two-sided."""
    pooled = (hits_1 + hits_2) / (n_1 + n_2)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_1 + 1 / n_2))
    return math.erfc(abs(hits_1 / n_1 - hits_2 / n_2) / error / math.sqrt(2)) if error else 1.0


def adjusted(values: dict[Any, float]) -> dict[Any, float]:
    """Benjamini and Hochberg, from the largest down."""
    found, least = {}, 1.0
    ranked = sorted(values.items(), key=lambda item: item[1])
    for rank, (key, p) in reversed(list(enumerate(ranked, 1))):
        least = min(least, p * len(ranked) / rank)
        found[key] = least
    return found


def same(found: Row, expected: Row) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        near = pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
        assert found[name] == near, name


OPTIONS = {
    "per": st.sampled_from(("customer", "session", "case")),
    "within": st.sampled_from(("0", "1.5", "4")),
    "place": st.sampled_from(("touchpoint", "channel", "kind")),
}


def elements(journey: Journey, kind: str) -> set[str]:
    steps = [
        step
        for row, step in journey.steps[: journey.last]
        if step is not None and row["kind"] not in {"purchase", "churned", "complaint_opened"}
    ]
    if kind == "path":
        return {" > ".join(steps)} if steps else set()
    return set(steps) if kind == "step" else {f"{a} > {b}" for a, b in pairwise(steps)}


@PROPERTY
@given(
    options=st.fixed_dictionaries(
        {**OPTIONS, "first": st.sampled_from(ENDS), "second": st.sampled_from(ENDS), "element": st.sampled_from(("step", "edge", "path"))}
    ),
    seed=st.integers(0, 2), by=st.sampled_from((None, "channel")), few=st.sampled_from((0, 20)),
    since=st.sampled_from((None, START + timedelta(days=DAYS / 3))),
)  # fmt: skip
def test_outcomes(options: dict[str, str], seed: int, by: str | None, few: int, since: Any) -> None:  # noqa: C901 - one oracle
    made = [row for row in rows(seed) if since is None or row["time"] >= since]
    groups: dict[Any, list[Journey]] = defaultdict(list)
    for journey in journeys(made, options, by):
        if journey.end in {options["first"], options["second"]}:
            groups[journey.group].append(journey)
    expected: dict[Any, Row] = {}
    for group, members in groups.items():
        ends = [journey.end == options["first"] for journey in members]
        n_1, n_2 = sum(ends), len(ends) - sum(ends)
        with_it: dict[str, list[Journey]] = defaultdict(list)
        for journey in members:
            for element in elements(journey, options["element"]):
                with_it[element].append(journey)
        tested = {}
        for element, some in with_it.items():
            hits_1 = sum(journey.end == options["first"] for journey in some)
            row = expected[group, element] = {
                "element": element, "journeys": len(some), "customers": len({journey.customer for journey in some}),
                "first_with": hits_1, "first_of": n_1, "second_with": len(some) - hits_1, "second_of": n_2,
                **dict.fromkeys(("p_value", "p_adjusted", "difference", "difference_low", "difference_high")),
                **{f"{side}_{name}": None for side in ("first", "second") for name in ("share", "low", "high")},
                "too_few": "first_share, second_share, difference" if min(n_1, n_2) < few else None,
            }  # fmt: skip
            if min(n_1, n_2) < few:
                continue
            for side, hits, n in (("first", hits_1, n_1), ("second", len(some) - hits_1, n_2)):
                if n:
                    low, high = wilson(hits, n)
                    row |= {f"{side}_share": hits / n, f"{side}_low": low, f"{side}_high": high}
            if n_1 and n_2:
                of = hits_1, n_1, len(some) - hits_1, n_2
                row["difference"] = hits_1 / n_1 - (len(some) - hits_1) / n_2
                row["difference_low"], row["difference_high"] = newcombe(*of)
                row["p_value"] = tested[element] = p_of(*of)
        for element, p in adjusted(tested).items():
            expected[group, element]["p_adjusted"] = p
    found = answer(
        connection(seed), "outcomes", options=options, by=(by,) if by else (), few=few, since=since
    )
    assert len(found) == len(expected)
    for row in found:
        group = row.pop(by) if by else None
        same(row, expected[group, row["element"]])


@PROPERTY
@given(
    options=st.fixed_dictionaries({**OPTIONS, "outcome": st.sampled_from(ENDS[:3])}),
    seed=st.integers(0, 2), by=st.sampled_from((None, "segment")), few=st.sampled_from((0, 20)),
)  # fmt: skip
def test_moments(options: dict[str, str], seed: int, by: str | None, few: int) -> None:  # noqa: C901 - one oracle
    own = {"churn": "churned", "purchase": "purchase", "complaint": "complaint_opened"}[options["outcome"]]
    groups: dict[Any, list[Journey]] = defaultdict(list)
    for journey in journeys(rows(seed), options, by):
        groups[journey.group].append(journey)
    expected: dict[Any, Row] = {}
    for group, members in groups.items():
        tested: dict[Any, float] = {}
        taken = []
        for journey in members:
            is_hit = journey.end == options["outcome"]
            before = journey.steps[: journey.last] if is_hit else journey.steps
            taken.append((journey, is_hit, {step for row, step in before if step and row["kind"] != own}))
        for step in {step for *_, steps in taken for step in steps}:
            some = [(journey, is_hit) for journey, is_hit, steps in taken if step in steps]
            others = [is_hit for *_, is_hit, steps in taken if step not in steps]
            a, n_1, b, n_2 = sum(hit for _, hit in some), len(some), sum(others), len(others)
            row = expected[group, step] = {
                "step": step, "journeys": n_1, "customers": len({journey.customer for journey, _ in some}),
                "hits": a, "others": n_2, "other_hits": b,
                **dict.fromkeys(("risk", "risk_low", "risk_high", "other_risk", "other_low", "other_high", "difference",
                                 "difference_low", "difference_high", "ratio", "ratio_low", "ratio_high", "p_value", "p_adjusted")),
                "too_few": "risk, other_risk, difference, ratio" if min(n_1, n_2) < few else None,
            }  # fmt: skip
            if min(n_1, n_2) < few:
                continue
            row["risk"], (row["risk_low"], row["risk_high"]) = a / n_1, wilson(a, n_1)
            if not n_2:
                continue
            row["other_risk"], (row["other_low"], row["other_high"]) = b / n_2, wilson(b, n_2)
            row["difference"] = a / n_1 - b / n_2
            row["difference_low"], row["difference_high"] = newcombe(a, n_1, b, n_2)
            row["p_value"] = tested[step] = p_of(a, n_1, b, n_2)
            if b:
                row["ratio"] = (a / n_1) / (b / n_2)
            if a and b:
                error = Z * math.sqrt(1 / a - 1 / n_1 + 1 / b - 1 / n_2)
                row["ratio_low"], row["ratio_high"] = (
                    row["ratio"] * math.exp(-error),
                    row["ratio"] * math.exp(error),
                )
        for step, p in adjusted(tested).items():
            expected[group, step]["p_adjusted"] = p
    found = answer(connection(seed), "moments", options=options, by=(by,) if by else (), few=few)
    assert len(found) == len(expected)
    for row in found:
        group = row.pop(by) if by else None
        same(row, expected[group, row["step"]])

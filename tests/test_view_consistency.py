"""The view `consistency` against published figures and against loops over the rows."""

from __future__ import annotations

import statistics
from collections import defaultdict
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.model.kinds import Kind
from cxstream.warehouse.views.statistics import chi_square_tail, f_tail
from view_rows import START, answer, database, in_order, made_up, touchpoint

if TYPE_CHECKING:
    import duckdb

    from view_rows import Row

ROWS = made_up(13, 1500, 12)
for number, made in enumerate(ROWS):
    if number % 3 == 0:
        made |= {"kind": "contact", "resolved": (True, False, None)[number // 3 % 3]}
WEEK = timedelta(days=7)
COMPANY = {kind.label for kind in Kind if kind.spec.company}


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return database(ROWS)


# --- against published figures


# Weights of plants under three treatments (Dobson 1983, in R as PlantGrowth).
PLANTS = {
    "web": [4.17, 5.58, 5.18, 6.11, 4.50, 4.61, 5.17, 4.53, 5.33, 5.14],
    "call": [4.81, 4.17, 4.41, 3.59, 5.87, 3.83, 6.03, 4.89, 4.32, 4.69],
    "chat": [6.31, 5.12, 5.54, 5.50, 5.37, 5.29, 4.92, 6.15, 5.80, 5.26],
}
# Hours of sleep that two drugs added (Student 1908, in R as sleep).
SLEEP = {
    "web": [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0],
    "call": [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4],
}


def of_values(values: dict[str, list[float]], column: str) -> Row:
    rows = [
        touchpoint(offset=i, channel=channel, topic="t", **{column: value})
        for i, (channel, value) in enumerate((name, one) for name, many in values.items() for one in many)
    ]
    (found,) = answer(database(rows), "consistency")
    return found


@pytest.mark.parametrize(("column", "name"), [("satisfaction_after", "satisfaction"), ("effort", "effort")])
def test_welch_of_three_channels_is_as_published(column: str, name: str) -> None:
    # R: oneway.test(weight ~ group, PlantGrowth): F = 5.181, num df = 2, denom df = 17.128, p-value = 0.01739;
    # sums of squares of aov: 3.76634 between the groups, 10.49209 within.
    found = of_values(PLANTS, column)
    assert found[f"{name}_f"] == pytest.approx(5.181, abs=5e-4)
    assert found[f"{name}_p"] == pytest.approx(0.01739, abs=5e-6)
    assert found[f"{name}_eta2"] == pytest.approx(3.76634 / (3.76634 + 10.49209), abs=1e-5)
    assert found[f"{name}_spread"] == pytest.approx(5.526 - 4.661, abs=1e-6)
    ends = ("chat", "call") if name == "satisfaction" else ("call", "chat")
    assert (found[f"{name}_best"], found[f"{name}_worst"]) == ends


def test_welch_of_two_channels_is_the_t_test() -> None:
    # R: t.test(extra ~ group, sleep): t = -1.8608, df = 17.776, p-value = 0.07939.
    found = of_values(SLEEP, "effort")
    assert found["effort_f"] == pytest.approx(1.8608**2, abs=5e-4)
    assert found["effort_p"] == pytest.approx(0.07939, abs=5e-6)


def test_chi_square_and_cramers_v_are_as_published() -> None:
    # R: chisq.test of Agresti's party by gender (2007, table 2.5): X-squared = 30.07, df = 2, p-value = 2.954e-07.
    table = {"web": (762, 484), "call": (327, 239), "chat": (468, 477)}
    rows = [
        touchpoint(offset=i, kind="contact", channel=channel, topic="t", resolved=resolved, customer_id=i + 1)
        for i, (channel, resolved) in enumerate(
            (channel, k < yes) for channel, (yes, no) in table.items() for k in range(yes + no)
        )
    ]
    (found,) = answer(database(rows), "consistency")
    assert found["resolved_chi2"] == pytest.approx(30.07, abs=5e-3)
    assert found["resolved_p"] == pytest.approx(2.954e-07, abs=5e-11)
    assert found["resolved_v"] == pytest.approx((30.0701 / 2757) ** 0.5, abs=1e-5)
    assert (found["answered"], found["resolved"]) == (2757, 1557)
    assert (found["resolved_best"], found["resolved_worst"]) == ("web", "chat")
    assert found["resolved_spread"] == pytest.approx(762 / 1246 - 468 / 945)


def test_tails_of_distributions() -> None:
    # Critical values of the usual tables.
    for value, between, within in [(161.4476, 1, 1), (4.9646, 1, 10), (3.0984, 3, 20), (2.3479, 10, 20)]:
        assert f_tail(value, between, within) == pytest.approx(0.05, abs=1e-5)
    for value, freedom in [(3.8415, 1), (11.0705, 5), (43.7730, 30), (124.3421, 100)]:
        assert chi_square_tail(value, freedom) == pytest.approx(0.05, abs=1e-5)
    # With 2 degrees of freedom it is exponential.
    assert chi_square_tail(60.0, 2) == pytest.approx(9.357622968840175e-14, rel=1e-12)
    assert (f_tail(0.0, 2, 9), f_tail(float("inf"), 2, 9), f_tail(1e300, 2, 9)) == (1, 0, pytest.approx(0))
    assert (chi_square_tail(0.0, 3), chi_square_tail(1e9, 3)) == (1, 0)
    assert (f_tail(1.0, 0, 5), f_tail(1.0, 5, 0), chi_square_tail(1.0, 0)) == (None, None, None)


# --- against loops


def welch(groups: list[list[float]]) -> tuple[float, float] | None:
    """F and its probability, in the form of Welch (1951)."""
    variances = [statistics.variance(group) for group in groups]
    if not all(variances):
        return None
    k = len(groups)
    weights = [len(group) / variance for group, variance in zip(groups, variances, strict=True)]
    total = sum(weights)
    means = [statistics.fmean(group) for group in groups]
    centre = sum(w * mean for w, mean in zip(weights, means, strict=True)) / total
    between = sum(w * (mean - centre) ** 2 for w, mean in zip(weights, means, strict=True)) / (k - 1)
    spare = sum((1 - w / total) ** 2 / (len(group) - 1) for w, group in zip(weights, groups, strict=True))
    f = between / (1 + 2 * (k - 2) * spare / (k * k - 1))
    p = f_tail(f, k - 1, (k * k - 1) / (3 * spare))
    assert p is not None
    return f, p


def compared(channels: dict[str, list[float]], name: str, lowest_is_best: bool) -> Row:
    """The figures of one measure; values by channel, of channels that are compared."""
    columns = dict.fromkeys(f"{name}_{part}" for part in ("spread", "best", "worst", "f", "p", "eta2"))
    if len(channels) < 2:
        return columns
    means = {channel: statistics.fmean(values) for channel, values in channels.items()}
    high = min(means, key=lambda channel: (-means[channel], channel))
    low = max(means, key=lambda channel: (-means[channel], channel))
    if lowest_is_best:
        low = min(means, key=lambda channel: (means[channel], channel))
        high = max(means, key=lambda channel: (means[channel], channel))
    everything = [value for values in channels.values() for value in values]
    middle = statistics.fmean(everything)
    total = sum((value - middle) ** 2 for value in everything)
    between = sum(len(channels[channel]) * (means[channel] - middle) ** 2 for channel in channels)
    f, p = welch(list(channels.values())) or (None, None)
    found = (
        max(means.values()) - min(means.values()), low if lowest_is_best else high, high if lowest_is_best else low, f, p,
        between / total if total else None,
    )  # fmt: skip
    return dict(zip(columns, found, strict=True))


def resolution(rows: list[Row], few: int) -> Row:
    said: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        if row["kind"] == "contact" and row["resolved"] is not None:
            said[row["channel"]].append(row["resolved"])
    everything = [one for many in said.values() for one in many]
    names = ("spread", "best", "worst", "chi2", "p", "v")
    found: Row = {
        "answered": len(everything),
        "resolved": sum(everything),
        "resolved_share": sum(everything) / len(everything) if everything else None,
        **dict.fromkeys(f"resolved_{name}" for name in names),
    }
    usable = {channel: many for channel, many in said.items() if len(many) >= max(few, 1)}
    if len(usable) < 2:
        return found
    shares = {channel: sum(many) / len(many) for channel, many in usable.items()}
    n, hits = sum(map(len, usable.values())), sum(map(sum, usable.values()))
    chi2 = None
    if 0 < hits < n:
        cells = [
            (count, len(many) * part / n)
            for many in usable.values()
            for count, part in ((sum(many), hits), (len(many) - sum(many), n - hits))
        ]
        chi2 = sum((count - expected) ** 2 / expected for count, expected in cells)
    values = (
        max(shares.values()) - min(shares.values()),
        min(shares, key=lambda channel: (-shares[channel], channel)),
        max(shares, key=lambda channel: (-shares[channel], channel)),
        chi2,
        None if chi2 is None else chi_square_tail(chi2, len(usable) - 1),
        None if chi2 is None else (chi2 / n) ** 0.5,
    )
    return found | {f"resolved_{name}": value for name, value in zip(names, values, strict=True)}


def repetitions(of: str) -> dict[int, bool]:
    """By offset, the contacts that repeat one: whether that was in another channel."""
    threads: dict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in sorted(ROWS, key=in_order):
        if row["kind"] == "contact" and row[of] is not None:
            threads[row["customer_id"], row[of]].append(row)
    return {
        row["offset"]: before["channel"] != row["channel"]
        for thread in threads.values()
        for before, row in pairwise(thread)
        if row["time"] - before["time"] <= WEEK
    }


def expected(rows: list[Row], few: int, repeated: dict[int, bool]) -> Row:
    channels: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        channels[row["channel"]].append(row)
    usable = {channel: many for channel, many in sorted(channels.items()) if len(many) >= max(few, 2)}
    repeats = [row for row in rows if row["offset"] in repeated]
    moved = [row for row in repeats if repeated[row["offset"]]]
    said = resolution(rows, few)
    answering = sum(
        sum(row["kind"] == "contact" and row["resolved"] is not None for row in many) >= max(few, 1)
        for many in channels.values()
    )
    missing = ["channels"] * (len(usable) < 2) + ["resolved"] * (said["answered"] > 0 and answering < 2)
    return {
        "touchpoints": len(rows),
        "customers": len({row["customer_id"] for row in rows}),
        "channels": len(usable),
        "satisfaction": statistics.fmean(row["satisfaction_after"] for row in rows),
        **compared(
            {name: [row["satisfaction_after"] for row in many] for name, many in usable.items()}, "satisfaction", False
        ),
        "effort": statistics.fmean(row["effort"] for row in rows),
        **compared({name: [row["effort"] for row in many] for name, many in usable.items()}, "effort", True),
        **said,
        "repeats": len(repeats),
        "repeats_elsewhere": len(moved),
        "elsewhere_share": len(moved) / len(repeats) if repeats else None,
        "customers_elsewhere": len({row["customer_id"] for row in moved}),
        "too_few": ", ".join(missing) or None,
    }  # fmt: skip


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    of=st.sampled_from(["topic", "product", "stage", "touchpoint"]),
    by=st.sampled_from([(), ("segment",), ("channel", "level"), ("agent", "location")]),
    since=st.integers(0, 20),
    few=st.sampled_from([0, 3, 10, 60]),
)
def test_consistency(
    connection: duckdb.DuckDBPyConnection, of: str, by: tuple[str, ...], since: int, few: int
) -> None:
    begin = START + timedelta(days=since)
    columns = tuple("level_after" if name == "level" else name for name in by)
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in ROWS:
        if row["time"] >= begin and row[of] is not None and row["kind"] not in COMPANY:
            groups[(*(row[name] for name in columns), row[of])].append(row)
    found = answer(connection, "consistency", by=by, since=begin, few=few, options={"of": of})
    assert len(found) == len(groups)
    repeated = repetitions(of)
    for row in found:
        key = (*(row[name] for name in by), row["item"])
        wanted = {name: row[name] for name in (*by, "item")} | expected(groups[key], few, repeated)
        assert set(row) == set(wanted)
        for name, value in wanted.items():
            # A difference of nothing is not quite nothing.
            close = pytest.approx(value, rel=1e-7, abs=1e-9) if isinstance(value, float) else value
            assert row[name] == close, (name, key)


def test_a_repetition_counts_wherever_the_first_contact_was() -> None:
    rows = [
        touchpoint(offset=0, kind="contact", channel="chat", topic="invoice"),
        touchpoint(offset=1, kind="contact", channel="call", topic="invoice", time=START + WEEK),
        touchpoint(offset=2, kind="contact", channel="call", topic="invoice", time=START + 2 * WEEK + timedelta(seconds=1)),
        touchpoint(offset=3, kind="contact", channel="chat", topic="invoice", time=START + 2 * WEEK, customer_id=2),
    ]  # fmt: skip
    (found,) = answer(database(rows), "consistency", since=START + timedelta(days=1))
    assert (found["repeats"], found["repeats_elsewhere"], found["customers_elsewhere"]) == (1, 1, 1)

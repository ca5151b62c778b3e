"""The views `touchpoints` and `voice` against loops over the rows, and NPS against R."""

from __future__ import annotations

import csv
import math
import statistics
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.warehouse.views.statistics import student_t, wilson
from view_rows import DAYS, START, answer, database, made_up, touchpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from view_rows import Row

NPS = Path(__file__).parent.parent.parent / "shared" / "data" / "nps"
ROWS = made_up(2, 3000, 60)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return database(ROWS)


def grouped(rows: list[Row], key: Callable[[Row], Any]) -> dict[Any, list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def close(found: Row, expected: Row) -> None:
    for name, value in expected.items():
        assert found[name] == (
            pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
        ), name


# --- touchpoints


def places(rows: list[Row], total_effort: float) -> Row:
    effort = sum(row["effort"] for row in rows)
    return {
        "touchpoints": len(rows),
        "customers": len({row["customer_id"] for row in rows}),
        "effort": effort,
        "mood": float(sum(row["mood"] for row in rows)),
        "effort_per_visit": effort / len(rows),
        "mood_per_visit": sum(row["mood"] for row in rows) / len(rows),
        "effort_share": effort / total_effort,
        "effort_after": statistics.fmean(row["effort_after"] for row in rows),
        "satisfaction_after": statistics.fmean(row["satisfaction_after"] for row in rows),
        "failed_steps": sum(row["failed"] for row in rows),
        "rage_clicks": sum(row["rage_click"] or row["kind"] == "rage_click" for row in rows),
        "repeat_contacts": sum(row["repeat_contact"] for row in rows),
        "channel_switches": sum(row["channel_switch"] for row in rows),
    }


def test_touchpoints_by_place(connection: duckdb.DuckDBPyConnection) -> None:
    found = answer(connection, "touchpoints", by=("touchpoint", "level"))
    groups = grouped(ROWS, lambda row: (row["touchpoint"], row["level_after"]))
    total = sum(row["effort"] for row in ROWS)
    assert len(found) == len(groups) == 16
    for row in found:
        close(row, places(groups[row["touchpoint"], row["level"]], total))
        assert row["touchpoints_before"] is None
    assert [row["effort"] for row in found] == sorted((row["effort"] for row in found), reverse=True)
    assert math.fsum(row["effort_share"] for row in found) == pytest.approx(1)


def test_touchpoints_against_the_window_before(connection: duckdb.DuckDBPyConnection) -> None:
    since, until = START + timedelta(days=8), START + timedelta(days=13)
    found = answer(connection, "touchpoints", by=("channel",), since=since, until=until)
    now = grouped([row for row in ROWS if since <= row["time"] < until], lambda row: row["channel"])
    earlier = since - timedelta(days=5)
    past = grouped([row for row in ROWS if earlier <= row["time"] < since], lambda row: row["channel"])
    total = sum(row["effort"] for rows in now.values() for row in rows)
    assert {row["channel"] for row in found} == set(now)
    for row in found:
        before = past[row["channel"]]
        per_visit = sum(one["effort"] for one in before) / len(before)
        expected = places(now[row["channel"]], total)
        change = expected["effort_per_visit"] - per_visit
        close(row, {**expected, "touchpoints_before": len(before), "effort_per_visit_before": per_visit,
                    "effort_change": change, "too_few": None})  # fmt: skip
    few = answer(connection, "touchpoints", by=("channel",), since=since, until=until, few=10_000)
    assert {(row["effort_change"], row["too_few"]) for row in few} == {(None, "effort_change")}


@pytest.mark.parametrize("since", [None, START + timedelta(days=8, hours=5)])
def test_touchpoints_against_the_week_before(
    connection: duckdb.DuckDBPyConnection, since: datetime | None
) -> None:
    def week(time: datetime) -> datetime:
        return datetime.combine(time.date() - timedelta(days=time.weekday()), datetime.min.time())

    found = answer(connection, "touchpoints", grain="week", since=since)
    inside = grouped(
        [row for row in ROWS if since is None or row["time"] >= since], lambda row: week(row["time"])
    )
    everything = grouped(ROWS, lambda row: week(row["time"]))
    assert [row["period"] for row in found] == sorted(inside)
    for row in found:
        rows = inside[row["period"]]
        earlier = row["period"] - timedelta(days=7)
        before = inside.get(earlier) or (everything.get(earlier, []) if since else [])
        expected = places(rows, sum(one["effort"] for one in rows))
        close(row, {**expected, "touchpoints_before": len(before) or None})


# --- voice


def spread(values: list[float]) -> tuple[float | None, float | None, float | None]:
    """Mean and interval by Student's t, written apart."""
    if not values:
        return None, None, None
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, None, None
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    margin = student_t(len(values) - 1) * deviation / math.sqrt(len(values))
    return mean, mean - margin, mean + margin


def share(hits: int, count: int) -> tuple[float | None, float | None, float | None]:
    return (hits / count, *wilson(hits, count)) if count else (None, None, None)


def voices(rows: list[Row]) -> Row:
    nps = [row["score"] for row in rows if row["kind"] == "survey_nps"]
    csat = [row["score"] for row in rows if row["kind"] == "survey_csat"]
    ces = [row["score"] for row in rows if row["kind"] == "survey_ces"]
    stars = [row["rating"] for row in rows if row["kind"] == "review"]
    three_way = [(score > 8) - (score < 7) for score in nps]
    said: Row = {
        "nps_answers": len(nps),
        "csat_answers": len(csat),
        "ces_answers": len(ces),
        "reviews": len(stars),
    }
    if nps:
        mean = statistics.fmean(three_way)
        error = 100 * math.sqrt(sum((value - mean) ** 2 for value in three_way) / len(nps) / len(nps))
        said |= {"nps": 100 * mean, "nps_se": error, "nps_low": max(-100.0, 100 * mean - 1.959963984540054 * error),
                 "nps_high": min(100.0, 100 * mean + 1.959963984540054 * error)}  # fmt: skip
    said |= {
        "promoters": three_way.count(1),
        "passives": three_way.count(0),
        "detractors": three_way.count(-1),
    }
    said |= dict(
        zip(("csat", "csat_low", "csat_high"), share(sum(one > 3 for one in csat), len(csat)), strict=True)
    )
    said |= dict(zip(("ces_top", "ces_top_low", "ces_top_high"), share(ces.count(7), len(ces)), strict=True))
    for name, values, most in (("ces", ces, 7.0), ("stars", stars, 5.0)):
        mean_, low, high = spread(values)
        said |= {name: mean_, f"{name}_low": None if low is None else max(1.0, low),
                 f"{name}_high": None if high is None else min(most, high)}  # fmt: skip
    return said


def test_voice_by_channel_and_week(connection: duckdb.DuckDBPyConnection) -> None:
    found = answer(connection, "voice", by=("channel",), grain="day", few=0)
    answers = [row for row in ROWS if row["kind"].startswith("survey") or row["kind"] == "review"]
    groups = grouped(answers, lambda row: (row["time"].date(), row["channel"]))
    assert len(found) == len(groups) > DAYS
    for row in found:
        rows = groups[row["period"].date(), row["channel"]]
        close(row, {**voices(rows), "customers": len({one["customer_id"] for one in rows}), "too_few": None})


def test_few_answers_give_no_figure() -> None:
    rows = [touchpoint(offset=i, kind="survey_nps", score=9.0) for i in range(9)]
    rows += [touchpoint(offset=20 + i, kind="survey_ces", score=4.0) for i in range(10)]
    rows.append(touchpoint(offset=40, kind="review", rating=2.5))
    (found,) = answer(database(rows), "voice")
    for name in ("nps", "nps_low", "nps_high", "nps_se", "stars", "stars_low", "stars_high", "csat"):
        assert found[name] is None
    assert (found["nps_answers"], found["promoters"], found["too_few"]) == (9, 9, "nps, stars")
    assert (found["ces"], found["ces_low"], found["ces_high"]) == (4, 4, 4)
    (shown,) = answer(database(rows), "voice", few=9)
    assert (shown["nps"], shown["nps_se"], shown["too_few"]) == (100, 0, "stars")


@pytest.mark.skipif(not NPS.is_dir(), reason="the NPS responses may not be shipped and are not here")
def test_nps_is_that_of_r() -> None:
    with (NPS / "cran_NPS_testdata.csv").open() as file:
        answers = list(csv.DictReader(file))
    rows = [
        touchpoint(customer_id=i, offset=i, kind="survey_nps", score=float(one["REC"]), product=one["BU"], location=one["Region"])
        for i, one in enumerate(answers)
    ]  # fmt: skip
    connection = database(rows)
    expected: dict[str, tuple[int, float, float]] = {}
    for line in (NPS / "reference_R_NPS.txt").read_text().splitlines():
        words = line.split()
        if len(words) == 4 and words[1].isdigit():
            expected[words[0]] = int(words[1]), float(words[2]), float(words[3])
    (total,) = answer(connection, "voice")
    assert (total["nps_answers"], total["nps"], total["nps_se"]) == (
        1000, pytest.approx(10, abs=1e-9), pytest.approx(2.8530685235, abs=1e-9),
    )  # fmt: skip
    found = [
        *answer(connection, "voice", by=("product",)),
        *({**row, "product": row["location"]} for row in answer(connection, "voice", by=("location",))),
    ]
    assert len(found) == 8
    for row in found:
        count, nps, error = expected[row["product"]]
        assert row["nps_answers"] == count
        assert row["nps"] == pytest.approx(100 * nps, abs=1e-9)
        assert row["nps_se"] == pytest.approx(100 * error, abs=1e-9)


# --- statistics


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706204736432095), (2, 4.302652729911275), (3, 3.182446305284263), (5, 2.570581835636305),
     (10, 2.228138851964939), (30, 2.042272456301238), (120, 1.979930405082422), (1000, 1.962339080826409)],
)  # fmt: skip
def test_students_t_is_that_of_the_tables(freedom: int, quantile: float) -> None:
    assert student_t(freedom) == pytest.approx(quantile, rel=1e-9)


def test_students_t_comes_down_to_the_normal_quantile() -> None:
    found = [student_t(freedom) for freedom in (1, 4, 50, 999, 10_000, 1_000_000, 50_000_000)]
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(1.959963984540054, rel=1e-7)


def test_wilson_is_that_of_the_books() -> None:
    # Newcombe (1998), table I, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)

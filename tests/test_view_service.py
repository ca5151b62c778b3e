"""The view `service` against loops over the rows, and against figures that pandas computed of a real call centre."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cxstream.convert import anonymous_bank
from cxstream.convert.report import Report
from cxstream.warehouse.views.selection import Filter
from cxstream.warehouse.views.statistics import wilson
from view_rows import START, database, in_order, made_up, touchpoint
from view_rows import answer as view_answer

if TYPE_CHECKING:
    import duckdb

    from view_rows import Row

BANK = Path(__file__).parent.parent.parent / "shared" / "data" / "callcentre_anonymous_bank"
WEEK = timedelta(days=7)
# Few customers and topics, so that contacts are repeated and complaints reopened.
ROWS = [
    row | ({"kind": "contact", "channel": "call"} if i % 3 == 0 and row["kind"] != "complaint_opened" else {})
    for i, row in enumerate(made_up(6, 1200, 40))
]


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return database(ROWS)


answer = partial(view_answer, name="service")


def quantile(values: list[float], share: float) -> float | None:
    """By linear interpolation between the neighbours."""
    if not values:
        return None
    values = sorted(values)
    place = share * (len(values) - 1)
    below = math.floor(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (values[above] - values[below]) * (place - below)


def first_contacts(rows: list[Row]) -> dict[int, bool]:
    """Offsets of contacts that were the first about their topic, and whether nothing followed in a week."""
    end = max(row["time"] for row in rows)
    found = {}
    contacts = [row for row in rows if row["kind"] == "contact" and row["topic"] is not None]
    for row in contacts:
        others = [
            other
            for other in contacts
            if other is not row
            and (other["customer_id"], other["topic"]) == (row["customer_id"], row["topic"])
        ]
        before = [one for one in others if in_order(one) < in_order(row) and one["time"] > row["time"] - WEEK]
        after = [one for one in others if in_order(one) > in_order(row) and one["time"] <= row["time"] + WEEK]
        if not before and row["time"] + WEEK <= end:
            found[row["offset"]] = not after
    return found


def complaint(row: Row) -> tuple[bool, float | None]:
    """Whether a case had been resolved when it was opened, and the seconds until it was next resolved."""
    case = [
        other
        for other in ROWS
        if other["kind"] == "complaint_resolved"
        and (other["customer_id"], other["case_id"]) == (row["customer_id"], row["case_id"])
    ]
    after = [
        (other["time"] - row["time"]).total_seconds() for other in case if in_order(other) > in_order(row)
    ]
    return any(in_order(other) < in_order(row) for other in case), min(after, default=None)


def share(hits: int, count: int, few: int, name: str) -> Row:
    values = (hits / count, *wilson(hits, count)) if count >= max(few, 1) else (None, None, None)
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def expected(rows: list[Row], sla: float, few: int, firsts: dict[int, bool]) -> Row:
    contacts = [row for row in rows if row["kind"] == "contact"]
    waits = [row["wait_s"] for row in contacts if row["wait_s"] is not None]
    handles = [row["handle_s"] for row in contacts if row["handle_s"] is not None]
    said = [row["resolved"] for row in contacts if row["resolved"] is not None]
    quick = [
        row for row in contacts if row["wait_s"] is not None and row["wait_s"] <= sla and not row["abandoned"]
    ]
    gone = sum(bool(row["abandoned"]) for row in contacts)
    first = [firsts[row["offset"]] for row in contacts if row["offset"] in firsts]
    opened = [complaint(row) for row in rows if row["kind"] == "complaint_opened"]
    solved = [seconds for _, seconds in opened if seconds is not None]
    return {
        "contacts": len(contacts),
        "customers": len(
            {row["customer_id"] for row in rows if row["kind"] in {"contact", "complaint_opened"}}
        ),
        "wait_mean_s": statistics.fmean(waits) if waits else None,
        "wait_median_s": quantile(waits, 0.5),
        "wait_p90_s": quantile(waits, 0.9),
        "wait_p95_s": quantile(waits, 0.95),
        "waited": len(waits),
        **share(len(quick), len(waits), few, "in_time"),
        "answered_in_time": len(quick),
        **share(gone, len(contacts), few, "abandonment"),
        "abandoned": gone,
        "handle_mean_s": statistics.fmean(handles) if handles else None,
        "handle_median_s": quantile(handles, 0.5),
        "handle_p90_s": quantile(handles, 0.9),
        "handle_p95_s": quantile(handles, 0.95),
        "transfers_per_contact": sum(row["transfers"] or 0 for row in contacts) / len(contacts)
        if contacts
        else None,
        "transferred": sum(bool(row["transfers"]) for row in contacts),
        "resolved_share": sum(said) / len(said) if said else None,
        **share(sum(first), len(first), few, "fcr"),
        "first_contacts": len(first),
        "first_resolved": sum(first),
        "repeat_contacts": sum(row["repeat_contact"] for row in contacts),
        "complaints_opened": len(opened),
        "complaints_reopened": sum(again for again, _ in opened),
        "complaints_open": sum(seconds is None for _, seconds in opened),
        "resolve_median_s": quantile(solved, 0.5),
        "resolve_p90_s": quantile(solved, 0.9),
    }


@pytest.mark.parametrize(("window", "few"), [((None, None), 0), ((START + WEEK, START + 2 * WEEK), 10)])
def test_service_by_agent(
    connection: duckdb.DuckDBPyConnection, window: tuple[datetime | None, datetime | None], few: int
) -> None:
    since, until = window
    rows = [
        row
        for row in ROWS
        if row["channel"] != "web"
        and (since is None or row["time"] >= since)
        and (until is None or row["time"] < until)
    ]
    firsts = first_contacts(ROWS)
    groups: dict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["agent"]].append(row)
    found = answer(
        connection,
        by=("agent",),
        where=(Filter("channel", ("web",), negated=True),),
        since=since,
        until=until,
        few=few,
        options={"sla": "120", "prior": "5"},
    )
    assert len(found) == len(groups) == 4
    total = expected(rows, 120, 0, firsts)
    assert total["complaints_reopened"] > 0 or since
    assert 0 < total["first_resolved"] < total["first_contacts"]
    for row in found:
        wanted = expected(groups[row["agent"]], 120, few, firsts)
        mean = total["first_resolved"] / total["first_contacts"]
        shrunk = (wanted["first_resolved"] + 5 * mean) / (wanted["first_contacts"] + 5)
        for name, value in {**wanted, "fcr_shrunk": shrunk}.items():
            assert row[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), name
        assert (row["fcr"] is None) == ("fcr" in (row["too_few"] or ""))


def test_a_contact_exactly_a_week_later_is_a_repetition() -> None:
    def rows(gap: timedelta) -> list[Row]:
        times = [START, START + gap, START + timedelta(days=30)]
        kinds = ["contact", "contact", "page_view"]
        return [
            touchpoint(offset=i, time=time, kind=kind, channel="call", topic="invoice")
            for i, (time, kind) in enumerate(zip(times, kinds, strict=True))
        ]

    (at_a_week,) = answer(database(rows(WEEK)), few=0)
    assert (at_a_week["first_contacts"], at_a_week["first_resolved"]) == (2, 1)
    (sooner,) = answer(database(rows(WEEK - timedelta(seconds=1))), few=0)
    assert (sooner["first_contacts"], sooner["first_resolved"]) == (1, 0)
    (later,) = answer(database(rows(WEEK + timedelta(seconds=1))), few=0)
    assert (later["first_contacts"], later["first_resolved"]) == (2, 2)


@pytest.mark.skipif(not BANK.is_dir(), reason="the bank's call log may not be shipped and is not here")
def test_service_of_a_real_call_centre() -> None:
    reference = json.loads((BANK / "reference_pandas.json").read_text())
    ids: dict[str, int] = {}
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001 - the read model has UTC without a zone
    log = BANK / "data_anonymous_bank_february.txt"
    rows = [
        touchpoint(
            customer_id=ids.setdefault(draft.subject, len(ids) + 1),
            offset=offset,
            time=epoch + timedelta(milliseconds=draft.time_ms),
            kind=draft.kind,
            **draft.data,
        )
        for offset, draft in enumerate(anonymous_bank.drafts([log], Report(), unidentified="per-call"))
    ]
    connection = database(rows)
    (found,) = answer(connection, options={"waits": "queued"})
    assert found["contacts"] == reference["agent"] + reference["hang"]
    assert found["abandonment"] == pytest.approx(reference["abandon_rate"], rel=1e-12)
    assert found["handle_mean_s"] == pytest.approx(reference["mean_service_s_agent"], rel=1e-9)
    assert found["wait_median_s"] == reference["p50_wait_queued"]
    assert found["wait_p90_s"] == reference["p90_wait_queued"]
    assert found["waited"] == reference["queued"]
    assert found["wait_mean_s"] == pytest.approx(reference["mean_wait_queued_s"], rel=1e-9)
    # Repetitions among identified callers, by a loop over each caller's calls about a topic.
    threads: dict[tuple[int, str], list[datetime]] = defaultdict(list)
    for row in rows:
        threads[row["customer_id"], row["topic"]].append(row["time"])
    end = max(row["time"] for row in rows)
    first = resolved = 0
    for times in threads.values():
        times.sort()
        for i, time in enumerate(times):
            if (i == 0 or times[i - 1] <= time - WEEK) and time + WEEK <= end:
                first += 1
                resolved += i + 1 == len(times) or times[i + 1] > time + WEEK
    assert (found["first_contacts"], found["first_resolved"]) == (first, resolved)
    assert 0 < resolved < first

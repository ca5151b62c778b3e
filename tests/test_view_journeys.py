"""The views `journeys` and `paths` against loops over the rows, and against pm4py."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.convert import xes
from cxstream.convert.report import Report
from cxstream.warehouse.views.selection import Filter
from view_rows import START, answer, database, in_order, made_up, touchpoint

if TYPE_CHECKING:
    import duckdb

    from view_rows import Row

LOGS = Path(__file__).parent.parent.parent / "shared" / "data" / "journey_logs"
ROWS = made_up(3, 1500, 40)


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return database(ROWS)


def journeys(rows: list[Row], per: str, place: str, within: float) -> list[list[Row]]:
    """Each journey as its touchpoints in order."""
    threads: dict[Any, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=in_order):
        name = {"customer": "", "session": row["session"], "case": row["case_id"]}[per]
        if name is not None and row[place] is not None:
            threads[row["customer_id"], name].append(row)
    found = []
    for thread in threads.values():
        parts = [[thread[0]]]
        for before, row in pairwise(thread):
            if within and row["time"] - before["time"] > timedelta(days=within):
                parts.append([])
            parts[-1].append(row)
        found += parts
    return found


def mean(values: list[float]) -> float | None:
    return pytest.approx(statistics.fmean(values)) if values else None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("per", "place", "within"), [("customer", "touchpoint", "0"), ("session", "stage", "1.5"), ("case", "kind", "4")]
)  # fmt: skip
def test_edges(connection: duckdb.DuckDBPyConnection, per: str, place: str, within: str) -> None:
    chosen = [row for row in ROWS if row["channel"] in {"web", "app"}]
    edges: dict[Any, list[tuple[Row | None, Row | None]]] = defaultdict(list)
    takers: dict[Any, set[int]] = defaultdict(set)
    for number, journey in enumerate(journeys(chosen, per, place, float(within))):
        for before, row in pairwise([None, *journey, None]):
            edge = before and before[place], row and row[place]
            edges[edge].append((before, row))
            takers[edge].add(number)
    found = answer(
        connection,
        "journeys",
        where=(Filter("channel", ("web", "app")),),
        options={"per": per, "place": place, "within": within},
    )
    assert len(found) == len(edges)
    assert [row["count"] for row in found] == sorted((row["count"] for row in found), reverse=True)
    for row in found:
        pairs = edges[row["from_touchpoint"], row["to_touchpoint"]]
        both = [(before, after) for before, after in pairs if before and after]
        gaps = [(after["time"] - before["time"]).total_seconds() for before, after in both]
        assert row == {
            "from_touchpoint": row["from_touchpoint"],
            "to_touchpoint": row["to_touchpoint"],
            "count": len(pairs),
            "customers": len({(before or after or {})["customer_id"] for before, after in pairs}),
            "journeys": len(takers[row["from_touchpoint"], row["to_touchpoint"]]),
            "median_s": statistics.median(gaps) if gaps else None,
            "mean_s": mean(gaps),
            "effort": mean([after["effort"] for _, after in pairs if after]),
            "mood": mean([after["mood"] for _, after in pairs if after]),
            "effort_change": mean([after["effort_after"] - before["effort_after"] for before, after in both]),
            "satisfaction_change": mean(
                [after["satisfaction_after"] - before["satisfaction_after"] for before, after in both]
            ),
            "loop": row["from_touchpoint"] == row["to_touchpoint"],
        }


def with_ends(rows: list[Row], per: str, place: str, within: float) -> list[tuple[list[Row], str]]:
    """Each journey as its steps in order, and how it ends; `churned` is no step, and ends the journey before it."""
    steps = journeys([row for row in rows if row["kind"] != "churned"], per, place, within)
    name = {"customer": "customer_id", "session": "session", "case": "case_id"}[per]
    found = []
    for journey in steps:
        first = journey[0]
        same = [
            other
            for other in steps
            if (other[0]["customer_id"], other[0][name]) == (first["customer_id"], first[name])
        ]
        later = [in_order(other[0]) for other in same if in_order(other[0]) > in_order(first)]
        partings = [
            row for row in rows
            if row["kind"] == "churned" and row[place] is not None
            and (row["customer_id"], row[name]) == (first["customer_id"], first[name])
            and in_order(row) > in_order(first) and (not later or in_order(row) < min(later))
        ]  # fmt: skip
        found.append((journey, ending(sorted(journey + partings, key=in_order))))
    return found


@pytest.mark.parametrize(
    ("per", "within", "who"),
    [
        ("customer", "1", "all"),
        ("session", "0", "left"),
        ("case", "2.5", "stayed"),
        ("customer", "0", "stayed"),
    ],
)
def test_paths(connection: duckdb.DuckDBPyConnection, per: str, within: str, who: str) -> None:
    gone = {row["customer_id"] for row in ROWS if row["kind"] == "churned"}
    rows = [row for row in ROWS if who == "all" or (row["customer_id"] in gone) == (who == "left")]
    paths: dict[str, list[list[Row]]] = defaultdict(list)
    ended: dict[str, Counter[str]] = defaultdict(Counter)
    everything = with_ends(rows, per, "touchpoint", float(within))
    for journey, end in everything:
        path = " > ".join(row["touchpoint"] for row in journey)
        paths[path].append(journey)
        ended[path][end] += 1
    assert everything
    found = answer(connection, "paths", options={"per": per, "within": within, "who": who})
    assert {row["path"] for row in found} == set(paths)
    for row in found:
        same = paths[row["path"]]
        lengths = [(journey[-1]["time"] - journey[0]["time"]).total_seconds() for journey in same]
        ends = ended[row["path"]]
        names = [one["touchpoint"] for one in same[0]]
        assert row == {
            "path": row["path"],
            "journeys": len(same),
            "customers": len({journey[0]["customer_id"] for journey in same}),
            "share": pytest.approx(len(same) / len(everything)),
            "steps": len(names),
            "loops": sum(a == b for a, b in pairwise(names)),
            "median_s": statistics.median(lengths),
            "mean_s": mean(lengths),
            "effort": mean([sum(one["effort"] for one in journey) for journey in same]),
            **{f"end_{end}": ends[end] for end in ("purchase", "complaint", "churn", "silence")},
        }


def ending(journey: list[Row]) -> str:
    last = None
    for row in journey:
        if row["kind"] in {"purchase", "churned"}:
            last = row["kind"]
    if last is not None:
        return "churn" if last == "churned" else "purchase"
    return "complaint" if any(row["kind"] == "complaint_opened" for row in journey) else "silence"


def test_touchpoints_of_one_time_are_in_the_order_of_the_log() -> None:
    rows = [touchpoint(offset=i, touchpoint=name, time=START) for i, name in enumerate("cab")]
    (found,) = answer(database(rows), "paths")
    assert found["path"] == "c > a > b"


@pytest.mark.skipif(not LOGS.is_dir(), reason="the event logs may not be shipped and are not here")
@pytest.mark.parametrize(
    ("name", "suffix", "lifecycle"), [("running-example", "", ()), ("bpic2012", ".gz", ("complete",))]
)
def test_journeys_are_those_of_pm4py(name: str, suffix: str, lifecycle: tuple[str, ...]) -> None:
    expected = json.loads((LOGS / f"reference_pm4py_{name}.json").read_text())
    ids: dict[str, int] = {}
    report = Report()
    drafts = sorted(
        xes.drafts([LOGS / f"{name}.xes{suffix}"], report, lifecycle=lifecycle),
        key=lambda draft: draft.time_ms,
    )
    assert not report.problems
    epoch = datetime(1970, 1, 1)  # noqa: DTZ001 - the read model has UTC without a zone
    connection = database(
        touchpoint(
            customer_id=ids.setdefault(draft.subject, len(ids) + 1),
            offset=offset,
            time=epoch + timedelta(milliseconds=draft.time_ms),
            touchpoint=draft.data["touchpoint"],
        )
        for offset, draft in enumerate(drafts)
    )
    edges = answer(connection, "journeys")
    inner = {
        (row["from_touchpoint"], row["to_touchpoint"]): row
        for row in edges
        if row["from_touchpoint"] and row["to_touchpoint"]
    }
    assert len(ids) == expected["cases"]
    assert {pair: row["count"] for pair, row in inner.items()} == {(a, b): n for a, b, n in expected["dfg"]}
    assert {row["to_touchpoint"]: row["count"] for row in edges if not row["from_touchpoint"]} == expected[
        "start"
    ]
    assert {row["from_touchpoint"]: row["count"] for row in edges if not row["to_touchpoint"]} == expected[
        "end"
    ]
    between = {f"{a}->{b}": row["mean_s"] for (a, b), row in inner.items()}
    assert between == pytest.approx(expected["mean_seconds_between"], rel=1e-9)
    paths = answer(connection, "paths")
    assert len(paths) == expected["variants"]
    assert sum(row["journeys"] for row in paths) == expected["cases"]
    counts = {row["path"]: row["journeys"] for row in paths}
    for path, count in expected["top_variants"]:
        assert counts[" > ".join(path)] == count

"""What is counted of the visits of places: in arrays, and one touchpoint at a time."""

from __future__ import annotations

from collections import defaultdict
from fnmatch import fnmatchcase

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.insights.detector import Change, Watch
from cxstream.insights.places import MINUTE_MS, Place, Places, Rules

TYPES = {
    "time": pa.timestamp("ms", tz="UTC"),
    "customer_id": pa.int64(),
    "kind": pa.dictionary(pa.int32(), pa.string()),
    "channel": pa.dictionary(pa.int32(), pa.string()),
    "touchpoint": pa.dictionary(pa.int32(), pa.string()),
    "topic": pa.dictionary(pa.int32(), pa.string()),
    "agent": pa.dictionary(pa.int32(), pa.string()),
    "wait_s": pa.float64(),
    "score": pa.float64(),
    "resolved": pa.bool_(),
    "abandoned": pa.bool_(),
    "effort": pa.float32(),
    "rage_click": pa.bool_(),
    "failed": pa.bool_(),
    "behind_ms": pa.int64(),
}
SCHEMA = pa.schema(list(TYPES.items()))
RULES = Rules(hard_points=3.0, long_wait_s=60.0, teams={"north": ["n-*"], "all": ["*"]})
HARD = 3_000_000


def table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist([{name: row.get(name) for name in TYPES} for row in rows], schema=SCHEMA)


class Counting(Places):
    """Keeps what its detector is given, and has no verdict."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self.counted: dict[tuple, tuple[int, int]] = {}

    def _test(self, counts):
        totals = defaultdict(lambda: [0, 0])
        for minute, series, bad, _ in zip(*(each.tolist() for each in counts), strict=True):
            place, measure = divmod(series, 4)
            totals[minute, self._places[place], measure][bad] += 1
        for key, (visits, bad) in totals.items():
            assert key not in self.counted, "a minute is counted once"
            self.counted[key] = visits, bad
        return []


def places_of(row: dict) -> list[Place]:
    places = [Place("channel", row["channel"], "")]
    if row.get("touchpoint"):
        places.append(Place("touchpoint", row["channel"], row["touchpoint"]))
    if row.get("topic"):
        places.append(Place("topic", "", row["topic"]))
    if row.get("agent"):
        places += [
            Place("team", "", team)
            for team, patterns in RULES.teams.items()
            if any(fnmatchcase(row["agent"], pattern) for pattern in patterns)
        ]
    return places


def has_failed(row: dict) -> bool:
    return row["failed"] or row["rage_click"] or row.get("abandoned") is True or row.get("resolved") is False


def slow(rows: list[dict]) -> tuple[dict, int]:
    """Visits and bad ones by minute, place and measure; and the late touchpoints."""
    kept = []
    for row in rows:
        minute, clock = row["time"] // MINUTE_MS, (row["time"] + row["behind_ms"]) // MINUTE_MS
        if minute >= clock - RULES.grace:
            kept.append((minute, row))
    late = len(rows) - len(kept)
    counted = defaultdict(lambda: [0, 0])
    visits: dict[tuple, list] = {}
    for minute, row in sorted(kept, key=lambda each: each[0]):
        for place in places_of(row):
            visit = visits.get((minute // 30, place, row["customer_id"]))
            if visit is None:
                visit = visits[minute // 30, place, row["customer_id"]] = [False, 0, False]
                counted[minute, place, 0][0] += 1
                counted[minute, place, 1][0] += 1
            if has_failed(row) and not visit[0]:
                visit[0] = True
                counted[minute, place, 0][1] += 1
            visit[1] += round(row["effort"] * 1e6)
            if visit[1] >= HARD and not visit[2]:
                visit[2] = True
                counted[minute, place, 1][1] += 1
            if row.get("wait_s") is not None:
                counted[minute, place, 2][0] += 1
                counted[minute, place, 2][1] += row["wait_s"] > RULES.long_wait_s
            if row["kind"] == "survey_nps":
                counted[minute, place, 3][0] += 1
                counted[minute, place, 3][1] += row["score"] <= 6
    return {key: tuple(value) for key, value in counted.items()}, late


ROW = st.fixed_dictionaries(
    {
        "time": st.integers(0, 70 * MINUTE_MS),
        "behind_ms": st.sampled_from([0, 0, 1, MINUTE_MS, 2 * MINUTE_MS, 3 * MINUTE_MS, 20 * MINUTE_MS]),
        "customer_id": st.integers(0, 3),
        "kind": st.sampled_from(["page_view", "survey_nps"]),
        "channel": st.sampled_from(["web", "call"]),
        "touchpoint": st.sampled_from([None, "", "checkout", "desk"]),
        "topic": st.sampled_from([None, "invoice"]),
        "agent": st.sampled_from([None, "n-1", "s-1"]),
        "wait_s": st.sampled_from([None, 0.0, 60.0, 61.0]),
        "score": st.integers(0, 10).map(float),
        "resolved": st.sampled_from([None, True, False]),
        "abandoned": st.sampled_from([None, True, False]),
        "effort": st.sampled_from([0.0, 1.0, 1.5, 3.0]),
        "rage_click": st.sampled_from([False, False, True]),
        "failed": st.sampled_from([False, False, True]),
    }
)


@given(
    st.lists(ROW, max_size=40), st.lists(st.integers(0, 70), max_size=4), st.randoms(use_true_random=False)
)
@settings(max_examples=80, deadline=None)
def test_what_is_counted_does_not_depend_on_order_or_batches(rows, closing, chance):
    places, waiting = Counting(RULES), list(rows)
    chance.shuffle(waiting)
    for until in [*sorted(closing), 99]:
        # What is not late comes before its minute is closed.
        now = [row["time"] // MINUTE_MS <= until or chance.random() < 0.3 for row in waiting]
        due = [row for row, comes in zip(waiting, now, strict=True) if comes]
        waiting = [row for row, comes in zip(waiting, now, strict=True) if not comes]
        cut = chance.randint(0, len(due))
        places.add(table(due[:cut]))
        places.add(table(due[cut:]))
        places.close(until)
    assert (places.counted, places.late) == slow(rows)


def visit(minute: int, customer: int, *, failed: bool = False, **more) -> dict:
    return {
        "time": minute * MINUTE_MS, "customer_id": customer, "kind": "page_view", "failed": failed,
        "channel": "web", "touchpoint": "checkout", "effort": 0.0, "rage_click": False, "behind_ms": 0, **more,
    }  # fmt: skip


def test_an_outage_names_the_place_its_beginning_and_the_customers_it_hit():
    places = Places(Rules(watch=Watch(least_days=7)))
    day = 24 * 60
    rows = [visit(minute, minute, failed=minute % 150 == 0) for minute in range(0, 10 * day, 3)]
    begin = 10 * day
    # Each customer tries twice.
    for k in range(20):
        rows += [visit(begin + k, -k, failed=True), visit(begin + k, -k, failed=True)]
    places.add(table(rows))
    found = places.close(begin + 60)
    raised = {each.place.dimension: each for each in found if each.measure == "failure"}
    insight = raised["touchpoint"]
    assert insight.place == Place("touchpoint", "web", "checkout")
    assert insight.alarm.change is Change.raised
    assert begin - 10 <= insight.alarm.since <= begin
    assert insight.alarm.minute < begin + 10
    assert insight.customers == insight.alarm.bad == insight.alarm.minute - begin + 1


def test_places_beyond_the_most_are_counted_as_unwatched():
    places = Places(Rules(most_places=2))
    places.add(table([visit(0, 1), visit(1, 2, touchpoint="desk"), visit(2, 3, touchpoint="cart")]))
    assert places.close(2) == []
    assert places.unwatched == 2


def test_a_touchpoint_of_a_closed_minute_is_refused():
    places = Places(RULES)
    places.close(5)
    with pytest.raises(ValueError, match="minute 5, but 5 is closed"):
        places.add(table([visit(6, 1), visit(5, 1)]))


def test_numbers_are_the_same_for_large_and_small_batches():
    rng = np.random.default_rng(5)
    minutes = np.sort(rng.integers(0, 900, 3000)).tolist()
    rows = [visit(m, int(rng.integers(0, 40)), failed=bool(rng.random() < 0.1)) for m in minutes]
    whole, parts = Counting(RULES), Counting(RULES)
    whole.add(table(rows))
    whole.close(1000)
    for i in range(0, len(rows), 50):
        parts.add(table(rows[i : i + 50]))
        parts.close(minutes[min(i + 50, 2999)] - 1)
    parts.close(1000)
    assert whole.counted == parts.counted == slow(rows)[0]

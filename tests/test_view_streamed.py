"""The views that kernels answer, against their own SQL, which other tests hold against loops over the rows."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxstream.console.queries import own
from cxstream.kernels.blocks import CROWDED, ROW, SORTED, TIED, count_blocks, place_rows, sort_blocks
from cxstream.model.kinds import Kind
from cxstream.warehouse.views import definition, query
from cxstream.warehouse.views.selection import Filter, Selection
from cxstream.warehouse.views.streamed import empathy, groups, plan, slices
from cxstream.warehouse.views.streamed.room import Room
from view_rows import DAYS, START, answers, database, made_up, touchpoint

if TYPE_CHECKING:
    import duckdb

    from view_rows import Row

PROPERTY = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
VIEWS = ("journeys", "paths", "funnel", "moments", "outcomes", "quality", "empathy")


@cache
def connection(hours: int) -> duckdb.DuckDBPyConnection:
    """Touchpoints of which many are of one time, and not in the order of the log."""
    rows = made_up(11, 900, 40)
    for row in rows:
        row["time"] -= timedelta(hours=row["time"].hour % hours, minutes=row["time"].minute)
        row["day"] = row["time"].date()
        # Some come long after, or before, the time that they say.
        late = (None, 0, 1, 700, 3_000_000, -4000, row["offset"])[row["offset"] % 7]
        row["arrived"] = None if late is None else row["time"] + timedelta(milliseconds=late)
        # Many add nothing.
        row["effort"] *= row["offset"] % 3 > 0
        row["mood"] *= row["offset"] % 4 > 0
    return database(sorted(rows, key=lambda row: (row["day"], row["kind"], -row["offset"])))


def both(
    hours: int, view: str, selection: Selection, limit: int | None = None
) -> tuple[list[Row], list[Row]]:
    """The rows as kernels give them, and as SQL does."""
    found = query.result(definition.view(view), selection, limit)
    assert found.streamed is not None
    return answers(connection(hours), found), answers(connection(hours), found._replace(streamed=None))


def assert_same(found: list[Row], expected: list[Row]) -> None:
    # Only sums of seconds depend on the order.
    assert found == [
        {name: pytest.approx(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in expected
    ]


days = st.none() | st.integers(0, DAYS * 24).map(lambda hours: START + timedelta(hours=hours))
filters = st.lists(
    st.sampled_from(
        [
            Filter("channel", ("web", "app")),
            Filter("topic", (None,)),
            Filter("kind", ("page_view",), negated=True),
            Filter("segment", ("nobody",)),
            Filter("source", ("crm",)),
        ]
    ),
    max_size=2,
)


@given(
    st.sampled_from(VIEWS), days, days, filters, st.sampled_from(("0", "0.5", "3", "1000000000")),
    st.sampled_from(("touchpoint", "stage", "channel", "kind")), st.sampled_from(("strict", "any")),
    st.none() | st.integers(1, 60), st.sampled_from((1, 20, 10_000)), st.sampled_from((1, 24)),
    st.fixed_dictionaries({
        "moments": st.fixed_dictionaries({"outcome": st.sampled_from(("churn", "purchase", "complaint"))}),
        "outcomes": st.fixed_dictionaries({
            name: st.sampled_from(("churn", "purchase", "complaint", "silence")) for name in ("first", "second")}),
    }),
    st.sampled_from(("all", "left", "stayed")), st.sampled_from((1, 4096)),
)  # fmt: skip
@PROPERTY
def test_kernels_find_what_sql_finds(
    view: str, one: Any, other: Any, where: list[Filter], within: str, place: str, order: str, limit: int | None,
    rows: int, hours: int, ending: dict[str, dict[str, str]], who: str, block: int,
) -> None:  # fmt: skip
    if view == "quality":
        where = [one for one in where if one.dimension == "source"]
    since, until = sorted((one, other)) if one and other and one != other else (one, None)
    options = {"within": within, "place": place} if view not in {"quality", "empathy"} else {}
    if view == "empathy":
        options = {"most": {"0": "1", "0.5": "3"}.get(within, within)}
    if view in {"moments", "outcomes"}:
        options |= ending[view]
    by = ("source",) if view == "quality" and order == "any" else ()
    if view in {"funnel", "paths"}:
        options["who"] = who
    if view == "funnel":
        options |= {
            "order": order,
            "steps": "web > call > app" if place == "channel" else "awareness>purchase>nothing",
        }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "ROWS", rows)
        patch.setattr(slices, "_BLOCK", block)
        selection = Selection(since=since, until=until, where=tuple(where), by=by, options=options)
        assert_same(*both(hours, view, selection, limit))


@pytest.mark.parametrize("view", VIEWS)
def test_sql_does_what_takes_kernels_too_much_memory(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "_MOST_ROWS", 899)
    found = query.result(definition.view(view), Selection())
    assert found.streamed is not None
    assert not found.streamed.install(connection(1).cursor())
    assert_same(*both(1, view, Selection()))


@pytest.mark.parametrize(
    "selection",
    [Selection(by=("channel",)), Selection(grain="day"), Selection(options={"per": "session"})],
)
def test_what_kernels_do_not_do(selection: Selection) -> None:
    assert all(query.result(definition.view(view), selection).streamed is None for view in VIEWS[:-2])
    for view in VIEWS[-2:]:
        assert query.result(definition.view(view), Selection(grain="day")).streamed is None
    through = Selection(options={"through": "o'clock"})
    assert query.result(definition.view("empathy"), through).streamed is None


@given(
    st.sampled_from(("places", "people")), days, days, filters,
    st.lists(st.sampled_from(("channel", "touchpoint", "kind")), max_size=2, unique=True),
    st.sampled_from((None, "day", "week")), st.none() | st.integers(1, 60), st.sampled_from((1, 20, 10_000)), st.sampled_from((1, 24)),
    st.sampled_from(((), ("effort", "effort_margin"), ("effort", "mood"))),
)  # fmt: skip
@PROPERTY
def test_kernels_group_as_sql_groups(
    view: str, one: Any, other: Any, where: list[Filter], by: list[str], grain: Any, limit: int | None, rows: int, hours: int,
    columns: tuple[str, ...],
) -> None:  # fmt: skip
    since, until = sorted((one, other)) if one and other and one != other else (one, None)
    chosen = columns if view == "places" else ()
    selection = Selection(
        since=since, until=until, where=tuple(where), by=tuple(by), grain=grain, columns=chosen
    )
    found = query.result(own(view), selection, limit)
    assert found.streamed is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "ROWS", rows)
        assert_same(
            answers(connection(hours), found), answers(connection(hours), found._replace(streamed=None))
        )


def test_sql_groups_what_would_be_very_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_MOST_GROUPS", 7)
    found = query.result(own("places"), Selection(by=("channel",)))
    assert found.streamed is not None
    assert not found.streamed.install(connection(1).cursor())
    assert query.result(own("people"), Selection(by=("segment",))).streamed is None


@pytest.mark.parametrize(("name", "value"), [("_MOST_ITEMS", 20), ("_KEY", "hash(channel)")])
def test_sql_counts_very_many_items(name: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(empathy, name, value)
    found = query.result(definition.view("empathy"), Selection())
    assert found.streamed is not None
    assert not found.streamed.install(connection(1).cursor())


def test_more_touchpoints_than_codes_have_room_for() -> None:
    """Where touchpoints are addresses of pages, there is no end of them."""
    some = database(
        [touchpoint(customer_id=n, touchpoint=place, effort=1.0) for n, place in ((1, "/p/"), (2, "z"))]
    )
    some.execute(
        "INSERT INTO daily SELECT daily.* REPLACE (touchpoint || n AS touchpoint) FROM daily, range(40_000) t(n)"
    )
    found = query.result(definition.view("empathy"), Selection())
    assert found.streamed is not None
    assert not found.streamed.install(some.cursor())


def test_kinds_with_words_are_those_of_the_view() -> None:
    rows = definition.view("empathy").rows
    described = rows[rows.index("CASE kind") : rows.index("FROM {selected}")]
    named = {kind.name.lower().rstrip("_") for kind in Kind} & set(re.findall(r"'(\w+)'", described))
    assert named == set(empathy.TEXT_KINDS)


def test_rows_of_one_time_by_partition_and_offset() -> None:
    offsets = np.arange(200)[::-1].copy()
    rows, partitions = np.zeros(200, ROW), (offsets % 2).astype(np.int32)
    order, few, room = np.empty(200, np.int32), np.array([0, 20]), np.empty(200, np.int32)
    none = partitions[:0], offsets[:0]
    assert sort_blocks(few, rows, *none, room, order) == TIED
    assert sort_blocks(few, rows, partitions, offsets, room, order) == SORTED
    assert order[:20].tolist() == sorted(range(20), key=lambda row: (partitions[row], offsets[row]))
    # So many moves are left to another way to sort.
    assert sort_blocks(np.array([0, 200]), rows, partitions, offsets, room, order) == CROWDED
    divided = slices.Divided(
        np.array([0, 200, 200]), rows, np.empty((200, 0), np.float32), partitions, offsets
    )
    with ThreadPoolExecutor(1) as pool:
        found = slices._sorted(pool, divided, slices.Blocks(1, 1), 1, 0, slices.Kept())
    assert offsets[found.order].tolist() == [*range(0, 200, 2), *range(1, 200, 2)]
    rows["customer"] = np.arange(200)
    assert sort_blocks(few, rows, *none, room, order) == SORTED


@pytest.mark.parametrize(("highest", "parts"), [(0, 1), (7, 2), (7, 3), (1_000_003, 2), (10_000_000, 4)])
def test_customers_by_blocks(highest: int, parts: int) -> None:
    blocks = slices.Blocks.of(highest, parts)
    customers = np.unique(np.linspace(0, highest, 1000).astype(np.int32))
    next_places, places = np.zeros(1 << blocks.bits, np.int64), np.empty(len(customers), np.int32)
    count_blocks(customers, blocks.bits, next_places)
    next_places = np.cumsum(next_places) - next_places
    rows, times = np.empty(len(customers), ROW), customers.astype(np.int64)
    steps, kinds = np.ones(len(customers), np.int16), np.ones(0, np.int8)
    place_rows(customers, times, steps, kinds, blocks.bits, blocks.stride, next_places, places, rows)
    numbers = rows["customer"]
    assert rows["time"][places].tolist() == times.tolist()
    assert numbers.max() < blocks.room
    assert blocks.customers(numbers)[places].tolist() == customers.tolist()
    assert np.all(np.diff(numbers // blocks.stride) >= 0)
    assert len(blocks.ends(parts)) == parts + 1
    assert blocks.ends(parts)[-1] == 1 << blocks.bits >= parts


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_of_one_commit(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The follower of a console commits while pages are read; kernels have room for what was counted before."""
    base = database(made_up(12, 200, 5))
    found = query.result(definition.view(view), Selection())
    expected = answers(base, found)
    count = slices.count

    def then_more(cursor: duckdb.DuckDBPyConnection, asked: slices.Asked) -> int:
        rows = count(cursor, asked)
        base.cursor().execute(
            'INSERT INTO touchpoints SELECT * REPLACE ("offset" + 1000 AS "offset") FROM touchpoints'
        )
        return rows

    monkeypatch.setattr(plan, "count", then_more)
    assert answers(base, found) == expected
    assert count(base, slices.Asked("", {}, None, None)) == 400


def test_who_comes_while_a_view_is_prepared_is_not_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    base = database(made_up(12, 200, 5))
    count = query._groups

    def then_one_more(cursor: duckdb.DuckDBPyConnection, found: query.Query) -> int:
        base.cursor().execute(
            "INSERT INTO touchpoints SELECT * REPLACE (99 AS customer_id) FROM touchpoints WHERE customer_id = 1"
        )
        return count(cursor, found)

    monkeypatch.setattr(query, "_groups", then_one_more)
    before = base.sql("SELECT count(DISTINCT customer_id) FROM touchpoints").fetchall()[0][0]
    [row] = answers(base, query.result(definition.view("value"), Selection()))
    assert row["customers"] == before


def test_views_wait_for_memory() -> None:
    room, begun = Room(10), threading.Event()

    def work() -> None:
        with room.of(6):
            begun.set()

    with room.of(5), room.of(5):
        waiting = threading.Thread(target=work)
        waiting.start()
        assert not begun.is_set()
    waiting.join(60)
    assert begun.is_set()
    # One that needs more than there is has to do with all of it.
    with room.of(11):
        pass

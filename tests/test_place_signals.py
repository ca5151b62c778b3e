"""Signals about places in a warehouse: exact wherever a process stops, kept until they are sent, about complete minutes."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from cxstream.settings import Settings
from cxstream.warehouse.insights import insights, rules_of
from cxstream.warehouse.place_events import signals
from cxstream.warehouse.place_signals import PlaceWatch, mark_sent, open_alarms, unsent
from cxstream.warehouse.store import Store
from cxstream.wire.schema import documents
from view_rows import START, fill, touchpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAYS = 8
SETTINGS = Settings().insights
OUTAGE = DAYS * 1440 + 14 * 60
END = OUTAGE + 60 + 400


def visit(number: int, minutes: int, *, failed: bool = False, **more: object) -> dict[str, Any]:
    return touchpoint(
        offset=number, id=str(number), customer_id=number % 900 + 1, time=START + timedelta(minutes=minutes),
        touchpoint="checkout", failed=failed, effort=2.0 if failed else 0.0, partition=number % 2, **more,
    )  # fmt: skip


ROWS = [
    *[visit(i, 3 * i, failed=i % 50 == 0, agent="b-1" if i % 2 else "s-1") for i in range(DAYS * 480 + 280)],
    *[visit(10_000 + i, OUTAGE + i, failed=True, agent="b-1") for i in range(60)],
    *[visit(30_000 + i, OUTAGE + 60 + i) for i in range(400)],
]


def at(minutes: float) -> int:
    """Event time of a minute of the test, ms UTC."""
    return round((START.replace(tzinfo=UTC) + timedelta(minutes=minutes)).timestamp() * 1000)


def set_clocks(store: Store, *minutes: float) -> None:
    store.connection.execute("DELETE FROM clocks")
    for partition, minute in enumerate(minutes):
        store.connection.execute("INSERT INTO clocks VALUES (?, ?)", [partition, at(minute)])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, list[bytes]]]:
    """A warehouse, and the signals that follow from all of it."""
    with Store(tmp_path_factory.mktemp("signals") / "cx.duckdb", Settings().warehouse) as store:
        fill(store.connection, ROWS)
        set_clocks(store, END, END)
        rules = rules_of(SETTINGS)
        found = signals(store.connection, list(insights(store.connection, rules)), rules)
        yield store, [each.value for each in found]


@pytest.fixture
def store(whole: tuple[Store, list[bytes]]) -> Store:
    """The warehouse without signals."""
    store, _ = whole
    for table in ("place_signals", "watch"):
        store.connection.execute(f"DELETE FROM {table}")
    set_clocks(store, END, END)
    return store


def test_signals_say_what_the_schema_has_and_name_place_customers_and_reasons(whole: Any) -> None:
    _, found = whole
    schema = documents()["signals/touchpoint.v1.json"]
    events = [json.loads(value) for value in found]
    for event in events:
        jsonschema.validate(event, schema)
    assert len({event["id"] for event in events}) == len(events)
    first = next(event for event in events if event["subject"] == "touchpoint/web/checkout")
    data = first["data"]
    assert (data["change"], data["measure"], data["bad"]) == ("raised", "failure", data["customers"])
    assert first["time"] <= f"{(START + timedelta(minutes=OUTAGE + 10)).isoformat()}.000Z"
    [reason] = data["reasons"]
    assert reason["touchpoints"] == data["bad"]
    assert reason["evidence"] == f"{data['bad']} {reason['kind']} that failed, of {data['bad']} customers"
    cleared = [event["data"] for event in events if event["data"]["change"] == "cleared"]
    assert cleared
    assert {(each["customers"], *each["reasons"]) for each in cleared} == {(None,)}


@pytest.mark.parametrize("stops", [[], [OUTAGE + 4], [7, OUTAGE - 700, OUTAGE + 3, OUTAGE + 5, OUTAGE + 70]])
def test_wherever_a_process_stops_the_signals_are_the_same(
    whole: Any, store: Store, stops: list[int]
) -> None:
    for stop in [*stops, END]:
        set_clocks(store, stop, stop + 1)
        # Another process.
        PlaceWatch(store, SETTINGS).advance()
    assert [each.value for each in unsent(store)] == whole[1]


def test_a_process_that_goes_on_says_the_same_as_one_that_stops(whole: Any, store: Store) -> None:
    watch = PlaceWatch(store, SETTINGS)
    for stop in (*range(OUTAGE - 5, OUTAGE + 70, 5), END):
        set_clocks(store, stop, stop)
        watch.advance()
        assert watch.closed == at(stop) // 60_000 - 1 - rules_of(SETTINGS).grace
    assert [each.value for each in unsent(store)] == whole[1]
    assert watch.advance() == []


def test_what_is_kept_and_not_sent_is_sent_once(whole: Any, store: Store) -> None:
    PlaceWatch(store, SETTINGS).advance()
    first, *rest = unsent(store)
    mark_sent(store, [first])
    assert unsent(store) == rest
    mark_sent(store, rest)
    assert unsent(store) == []
    PlaceWatch(store, SETTINGS).advance()
    assert unsent(store) == []


def test_open_alarms_are_counted_by_place_and_measure(whole: Any, store: Store) -> None:
    set_clocks(store, OUTAGE + 30, OUTAGE + 30)
    PlaceWatch(store, SETTINGS).advance()
    assert open_alarms(store)["touchpoint", "failure"] == 1
    set_clocks(store, END, END)
    PlaceWatch(store, SETTINGS).advance()
    assert open_alarms(store) == {}


def test_a_partition_is_waited_for_until_its_clock_has_stood_still(store: Store) -> None:
    seconds = 0.0
    watch = PlaceWatch(store, SETTINGS, lambda: seconds)
    set_clocks(store, OUTAGE + 30, OUTAGE - 60)
    assert watch.advance() == []
    behind = watch.closed
    seconds += SETTINGS.patience_minutes * 60 - 1
    # One goes on, the other does not.
    set_clocks(store, OUTAGE + 31, OUTAGE - 60)
    assert watch.advance() == []
    assert watch.closed == behind
    seconds += 2
    assert watch.advance() != []
    assert watch.closed > behind
    # It is back, and far behind: what is counted stays counted.
    set_clocks(store, OUTAGE + 40, OUTAGE - 50)
    assert watch.advance() == []
    # All stand still: nothing is left out.
    seconds += 10_000
    set_clocks(store, END, END)
    watch.advance()
    seconds += 10_000
    watch.advance()
    assert watch.closed == at(END) // 60_000 - 1 - rules_of(SETTINGS).grace


def test_settings_choose_what_is_told(whole: Any, store: Store) -> None:
    chosen = SETTINGS.model_copy(update={"measures": ["failure"], "dimensions": ["channel"]})
    PlaceWatch(store, chosen).advance()
    told = [each.value for each in unsent(store)]
    assert told == [
        value
        for value in whole[1]
        if (data := json.loads(value)["data"])["measure"] == "failure" and data["dimension"] == "channel"
    ]
    assert told
    store.connection.execute("DELETE FROM watch")
    off = PlaceWatch(store, SETTINGS.model_copy(update={"measures": []}))
    assert off.advance() == []
    assert off.closed < 0


def test_nothing_is_found_without_touchpoints(tmp_path: Path) -> None:
    with Store(tmp_path / "empty.duckdb", Settings().warehouse) as store:
        watch = PlaceWatch(store, SETTINGS)
        assert watch.advance() == watch.finish() == []
        set_clocks(store, 5)
        assert watch.advance() == watch.finish() == []


def test_signals_and_what_was_learned_survive_a_compaction(whole: Any, store: Store) -> None:
    watch = PlaceWatch(store, SETTINGS)
    set_clocks(store, OUTAGE + 4, OUTAGE + 4)
    watch.advance()
    store.compact()
    set_clocks(store, END, END)
    watch.advance()
    assert [each.value for each in unsent(store)] == whole[1]

"""How a state lies in memory: pages of ids and places that few customers need are each held once or free."""

from __future__ import annotations

import errno
import json
import mmap
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels.layout import (
    ANSWERS_FREE,
    ANSWERS_TOP,
    ID_PAGE_FREE,
    ID_PAGE_TOP,
    IDS,
    NONE,
    PAGE_IDS,
    SELDOM_FREE,
    SELDOM_TOP,
)
from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.model.rfc3339 import rfc3339
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.state import memory

T0 = 20_000 * DAY_MS
FORGET_DAYS = 30
FORGET_MS = FORGET_DAYS * DAY_MS
PARAMS = ScoringParams(window_days=10, forget_days=FORGET_DAYS)


class Log:
    """An engine, and what it must know of each customer."""

    def __init__(self) -> None:
        self.engine, self.n, self.time = Engine(PARAMS, {}), 0, T0
        self.events: dict[str, int] = {}
        self.topics: dict[str, int] = {}
        self.latest: dict[str, int] = {}
        self.rows: dict[bytes, bytes | None] = {}

    def say(self, customer: str, kind: str, **data: Any) -> None:
        self.n += 1
        self.time += 1
        event: dict[str, Any] = {
            "specversion": "1.0", "id": f"e{self.n}", "source": "/test", "time": rfc3339(self.time),
            "type": f"cx.{kind}.v1" if kind in {"tick", "forget"} else f"cx.touchpoint.{kind}.v1",
        }  # fmt: skip
        if kind != "tick":
            event["subject"] = customer
        if kind not in {"tick", "forget"}:
            event["data"] = {"channel": "call", **data}
            self.events[customer] = self.events.get(customer, 0) + 1
            self.topics[customer] = self.topics.get(customer, 0) + ("topic" in data)
            self.latest[customer] = self.time
        if kind == "forget":
            self.leave(customer)
        self.engine.process(Records([json.dumps(event).encode()], [self.n]))

    def pass_days(self, days: int) -> None:
        self.time += days * DAY_MS
        self.say("", "tick")
        midnight = self.time // DAY_MS * DAY_MS
        for customer in [each for each, last in self.latest.items() if midnight - last >= FORGET_MS]:
            self.leave(customer)

    def leave(self, customer: str) -> None:
        for known in (self.events, self.topics, self.latest):
            known.pop(customer, None)

    def restart(self) -> None:
        for key, row in self.engine.snapshot():
            self.rows[key] = row
        rows = {key: row for key, row in self.rows.items() if row is not None}
        self.engine = Engine.restore(PARAMS, {}, rows)

    def check(self) -> None:
        """Nothing is held twice or lost, and everybody has what their events need."""
        partition = self.engine.partition
        state, at, live = partition.state, partition.state.at, partition.live()
        assert set(partition.slots) == set(self.events)
        held: list[int] = []
        for slot in live.tolist():
            count = int(state.rows["ids_n"][slot])
            assert count == min(self.events[partition.slots.name(slot)], IDS)
            pages = -(-count // PAGE_IDS)
            held += state.id_pages[slot, :pages].tolist()
            assert not state.id_pages[slot, pages:].any()
        free, page = [], int(at[ID_PAGE_FREE])
        while page != NONE:
            free.append(page)
            page = int(state.ids[page, 0]) - 1
        assert sorted(held + free) == list(range(at[ID_PAGE_TOP]))
        assert not state.ids[free, 1:].any()

        held = []
        for slot in live.tolist():
            pane = int(state.rows["head"][slot])
            while pane != NONE:
                held += [int(state.panes["answers"][pane])] if state.panes["answers"][pane] else []
                pane = int(state.panes["next"][pane])
        free, place = [], int(at[ANSWERS_FREE])
        while place != NONE:
            free.append(place)
            place = int(state.answers["effort_sum"][place])
        assert sorted(held + free) == list(range(1, at[ANSWERS_TOP]))
        assert (state.answers[held]["effort_weight"] + state.answers[held]["sat_n"] > 0).all()
        assert not state.answers[[0, *free]]["sat_sum"].any()
        assert not state.answers[0]["effort_sum"]

        places = state.seldom[state.seldom != 0].tolist()
        for slot in live.tolist():
            if self.topics[partition.slots.name(slot)]:
                assert state.seldom[slot] in places
        free, place = [], int(at[SELDOM_FREE])
        while place != NONE:
            free.append(place)
            place = int(state.contact_topics[place, 0])
        assert sorted(places + free) == list(range(1, at[SELDOM_TOP]))
        assert not state.contact_topics[free, 1:].any()
        for array in (state.contact_times, state.erased, state.told.view(np.uint8).reshape(-1, 16)):
            assert not array[[0, *free]].any()


_CUSTOMER = st.sampled_from(["ann", "bob", "cy"])
_STEP = st.one_of(
    st.tuples(st.just("visits"), _CUSTOMER, st.integers(1, 2 * IDS)),
    st.tuples(st.just("contact"), _CUSTOMER, st.integers(1, 6)),
    st.tuples(st.just("complaints"), _CUSTOMER, st.integers(1, 9)),
    st.tuples(st.sampled_from(["survey_ces", "survey_nps"]), _CUSTOMER, st.just(1)),
    st.tuples(st.just("forget"), _CUSTOMER, st.just(1)),
    st.tuples(st.just("days"), st.just(""), st.sampled_from([1, 3, FORGET_DAYS + 1])),
    st.tuples(st.just("restart"), st.just(""), st.just(1)),
)


@settings(max_examples=20, deadline=None)
@given(steps=st.lists(_STEP, max_size=12))
def test_pages_and_places_are_held_once_or_free(steps: list[tuple[str, str, int]]) -> None:
    log = Log()
    for what, customer, count in steps:
        if what == "days":
            log.pass_days(count)
        elif what == "restart":
            log.restart()
        for n in range(count if customer else 0):
            if what == "visits":
                log.say(customer, "error")
            elif what == "contact":
                log.say(customer, "contact", topic=f"topic {n}")
            elif what == "complaints":
                log.say(customer, "complaint_opened", case_id=f"case {n}")
            elif what == "forget":
                log.say(customer, "forget")
            else:
                log.say(customer, what, score=5)
        log.check()


def test_a_customer_with_few_events_takes_little() -> None:
    log = Log()
    for _ in range(PAGE_IDS):
        log.say("ann", "page_view")
    assert log.engine.partition.state.at[ID_PAGE_TOP] == 1
    assert log.engine.partition.state.at[SELDOM_TOP] == 1
    log.say("ann", "contact", topic="invoice")
    assert log.engine.partition.state.at[ID_PAGE_TOP] == 2
    assert log.engine.partition.state.at[SELDOM_TOP] == 2


@pytest.mark.parametrize("rows", [10, 100_000, 1_000_000])
def test_grown_arrays_keep_what_is_used_and_are_zero_behind(rows: int) -> None:
    pair = np.dtype([("day", "i4"), ("n", "i4")])
    small = memory.zeros(rows, pair)
    small["n"] = 7
    large = memory.grown(small, 2 * rows, rows // 2)
    assert large.dtype == pair
    assert large.flags.writeable
    assert large.flags.c_contiguous
    assert (large["n"][: rows // 2] == 7).all()
    assert not large[rows // 2 :].tobytes().strip(b"\0")
    assert memory.zeros((rows, 3), np.uint16).shape == (rows, 3)
    if small.nbytes >= memory._LARGE:
        # It lies where it did, until there are no addresses left.
        assert np.shares_memory(small, large)
        small = large
        large = memory.grown(small, 8 * rows)
        assert (large["n"][: rows // 2] == 7).all()
        assert not large[rows // 2 :].tobytes().strip(b"\0")
    assert not np.shares_memory(small, large)
    # malloc keeps what small arrays held.
    assert small["n"].any() == (small.nbytes >= memory._OWN)


def test_an_array_grows_where_addresses_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = mmap.mmap

    def few(number: int, size: int, **more: int) -> mmap.mmap:
        if size > memory._LARGE + mmap.PAGESIZE:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")
        return mapped(number, size, **more)

    monkeypatch.setattr(memory.mmap, "mmap", few)
    one = memory.zeros(memory._LARGE, np.uint8)
    one[:] = 7
    monkeypatch.undo()
    two = memory.grown(one, memory._LARGE + 1)
    assert not np.shares_memory(one, two)
    assert (two[:-1] == 7).all()
    assert two[-1] == 0


@pytest.mark.parametrize("knows", [True, False])
def test_a_system_without_large_pages_has_arrays_of_any_size(
    knows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    class Refusing(mmap.mmap):
        def madvise(self, option: int, *_: int) -> None:
            asked.append(option)
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(memory.mmap, "mmap", Refusing)
    if knows:
        monkeypatch.setattr(memory.mmap, "MADV_HUGEPAGE", 14, raising=False)
    else:
        monkeypatch.delattr(memory.mmap, "MADV_HUGEPAGE", raising=False)
    array = memory.zeros(memory._LARGE, np.uint8)
    assert asked == ([14] if knows else [])
    assert len(array) == memory._LARGE
    assert not array.any()

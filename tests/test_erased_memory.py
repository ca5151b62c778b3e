"""After an erasure nothing of the customer is left in memory: whatever a page, a snapshot or a dump would show."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels.layout import (
    ANSWERS_TOP,
    COMPLAINT_TOP,
    ID_PAGE_TOP,
    IDS,
    NONE,
    PAGE_IDS,
    PANE_TOP,
    SELDOM_TOP,
)
from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.model.rfc3339 import rfc3339
from cxstream.model.text import MODEL, TEXT_LANGUAGES
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.view import describe
from cxstream.text.model import TextModel

T0 = 20_000 * DAY_MS
WHOM, TOPIC, EARLIER_TOPIC = "somebody-4711", "divorce lawyer 4711", "earlier secret 4711"


def event(customer: str, kind: str, n: int, time: int, **data: Any) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"{customer}-{kind}-{n}",
            "source": "/test",
            "type": f"cx.touchpoint.{kind}.v1",
            "subject": customer,
            "time": rfc3339(time),
            "data": {"channel": "call", **data},
        }
    ).encode()


def forget(customer: str, time: int) -> bytes:
    request = {
        "specversion": "1.0",
        "id": f"forget-{customer}-{time}",
        "source": "/test",
        "type": "cx.forget.v1",
        "subject": customer,
        "time": rfc3339(time),
    }
    return json.dumps(request).encode()


def life(customer: str, topic: str = TOPIC) -> list[bytes]:
    """Some of everything that is remembered: panes, contacts, complaints, clicks, ids."""
    made = [event(customer, "complaint_opened", n, T0 + n, case_id=f"case-{customer}-{n}") for n in range(10)]
    for n in range(12):
        time = T0 + n * DAY_MS + n
        made.append(event(customer, "contact", n, time, topic=f"{topic} {n}", wait_s=900, resolved=False))
        made.append(event(customer, "click", n, time + 1, channel="web", x=4711.5, y=815.25))
        made.append(event(customer, "survey_nps", n, time + 2, score=0))
    return made


class Log:
    """An engine, and the offsets of what it has seen."""

    def __init__(self) -> None:
        self.engine = Engine(ScoringParams(), {})

    def apply(self, *records: bytes) -> Any:
        start = self.engine.next_offset
        return self.engine.process(Records(list(records), list(range(start, start + len(records)))))


def dump(engine: Engine) -> bytes:
    """Everything that is in memory of the state, names included; not the tombstones that are to be written yet."""
    partition = engine.partition
    arrays = [
        array.tobytes()
        for array in (*partition.state, partition._out, partition._scratch, *partition.slots._names)
    ]
    texts = [*partition.topics.texts, *partition.topics.of]
    return b"\0".join([*arrays, *(text.encode() for text in texts)])


def traces(engine: Engine, of: bytes) -> list[str]:
    """The arrays that have these bytes."""
    return [
        name
        for name in engine.partition.state._fields
        if of in getattr(engine.partition.state, name).tobytes()
    ]


def kept_ids(engine: Engine, customer: str) -> list[int]:
    """The ids in the customer's ring."""
    state, slot = engine.partition.state, engine.partition.slots.get(customer)
    pages = -(-int(state.rows["ids_n"][slot]) // PAGE_IDS)
    return [each for each in state.ids[state.id_pages[slot, :pages]].ravel().tolist() if each]


def test_the_traces_are_there_before_and_gone_after() -> None:
    log = Log()
    log.apply(*life(WHOM))
    clicked = np.float64(4711.5).tobytes()
    assert WHOM.encode() in dump(log.engine)
    assert TOPIC.encode() in dump(log.engine)
    assert traces(log.engine, clicked) == ["rows"]
    ids = kept_ids(log.engine, WHOM)
    assert len(ids) == IDS
    log.apply(forget(WHOM, T0 + 20 * DAY_MS))
    log.engine.snapshot()
    log.engine.take_cards()
    left = dump(log.engine)
    assert b"4711" not in left
    assert clicked not in left
    assert not [each for each in ids if traces(log.engine, np.uint64(each).tobytes())]
    assert describe(log.engine, WHOM) is None


def test_freed_places_are_blank() -> None:
    log = Log()
    log.apply(*life(WHOM))
    log.apply(forget(WHOM, T0 + 20 * DAY_MS))
    state, at = log.engine.partition.state, log.engine.partition.state.at
    for name, top in (("panes", PANE_TOP), ("complaints", COMPLAINT_TOP)):
        used = getattr(state, name)[: at[top]]
        assert len(used) > 8
        for field in set(used.dtype.names) - {"next"}:
            assert not used[field].any(), (name, field)
    assert not state.rows[0].tobytes().strip(b"\0")
    assert at[ANSWERS_TOP] == 13
    # Of a free place this is the number of the next one.
    assert abs(state.answers["effort_sum"]).max() <= at[ANSWERS_TOP]
    for field in ("effort_weight", "sat_sum", "sat_n"):
        assert not state.answers[field].any(), field
    assert at[ID_PAGE_TOP] == IDS // PAGE_IDS
    # The first of a free page and of a free place of topics is the number of the next one.
    assert not state.ids[:, 1:].any()
    assert max(state.ids[:, 0].tolist()) <= at[ID_PAGE_TOP]
    assert at[SELDOM_TOP] == 2
    assert state.contact_topics[1].tolist() == [NONE, 0, 0, 0]
    for name in ("id_pages", "seldom", "contact_times", "erased"):
        assert not getattr(state, name).any(), name
    assert not state.told.tobytes().strip(b"\0")
    assert not log.engine.partition._out.any()


def test_arrays_that_have_grown_leave_nothing_behind() -> None:
    log = Log()
    log.apply(*life(WHOM))
    ids = kept_ids(log.engine, WHOM)
    partition = log.engine.partition
    before = partition.state._asdict() | partition.slots._names._asdict()
    log.apply(*(event(f"other {n}", "click", n, T0 + 15 * DAY_MS) for n in range(1500)))
    grown = partition.state._asdict() | partition.slots._names._asdict()
    moved = {name for name, array in before.items() if array is not grown[name]}
    assert moved >= {"rows", "ids", "id_pages", "contact_times", "panes", "begins", "text"}
    log.apply(forget(WHOM, T0 + 20 * DAY_MS))
    text = partition.slots._names.text
    partition.slots._rebuild(0)
    assert text is not partition.slots._names.text
    gone = [WHOM.encode(), np.float64(4711.5).tobytes(), *(np.uint64(each).tobytes() for each in ids)]
    assert len(gone) == IDS + 2
    freed = {name: before[name].tobytes() for name in moved} | {"text before": text.tobytes()}
    assert not [name for name, old in freed.items() if any(trace in old for trace in gone)]
    assert not text.any()


@pytest.mark.parametrize(
    "text",
    [
        "Kowalczyk was rude, I am sad",
        "Kowalczyk was rude \U0001f621 and I am sad",
        "kowalczyk nie",
        "Pan Kowalczyk był niemiły, nie polecam, bardzo długo to trwało",
        "Kowalczyk wrote to anna@example.org",
        "Kowalczyk \u0e01",
    ],
)
@pytest.mark.parametrize("language", [None, "en", "pl"])
def test_a_text_is_not_kept(text: str, language: str | None) -> None:
    model = text_model()
    model.sentiments([text], [language])
    model.in_python([text], [language])
    for array in arrays((model._quick._tables, model._polish._word)):
        assert b"kowal" not in array.tobytes().lower()
    for array in (*model._quick._scratch, model._polish._word):
        assert not array.any()


@lru_cache(1)
def text_model() -> TextModel:
    return TextModel(MODEL, TEXT_LANGUAGES)


def arrays(held: Any) -> list[np.ndarray]:
    """All arrays in tuples of tuples."""
    return [held] if isinstance(held, np.ndarray) else [each for some in held for each in arrays(some)]


def test_a_topic_that_another_customer_has_too_stays() -> None:
    log = Log()
    log.apply(*life(WHOM), event("else", "contact", 1, T0 + 15 * DAY_MS, topic=f"{TOPIC} 3"))
    log.apply(forget(WHOM, T0 + 20 * DAY_MS))
    assert list(log.engine.partition.topics.of) == [f"{TOPIC} 3"]
    assert [each.topic for each in describe(log.engine, "else").contacts] == [f"{TOPIC} 3"]  # type: ignore[union-attr]


def test_what_comes_late_of_an_erased_customer_leaves_nothing() -> None:
    log = Log()
    log.apply(forget(WHOM, T0 + 20 * DAY_MS))
    log.apply(event("else", "contact", 1, T0 + 20 * DAY_MS + 1, topic="invoice"))
    outcome = log.apply(event(WHOM, "contact", 99, T0 + 5, topic=EARLIER_TOPIC))
    assert outcome.erased == 1
    log.engine.snapshot()
    log.engine.take_cards()
    assert b"4711" not in dump(log.engine)


def test_who_comes_back_within_the_batch_brings_nothing_from_before() -> None:
    log = Log()
    log.apply(*life(WHOM))
    ids = kept_ids(log.engine, WHOM)
    assert len(ids) == IDS
    after = T0 + 20 * DAY_MS
    log.apply(
        forget(WHOM, after),
        event(WHOM, "contact", 100, after + 1, topic="new"),
        event(WHOM, "visit", 1, after + 2),
    )
    assert TOPIC.encode() not in dump(log.engine)
    assert not [each for each in ids if traces(log.engine, np.uint64(each).tobytes())]
    view = describe(log.engine, WHOM)
    assert view is not None
    assert [each.topic for each in view.contacts] == ["new"]


@settings(max_examples=25, deadline=None)
@given(
    order=st.permutations(list(range(30))),
    cuts=st.lists(st.integers(1, 29), max_size=4),
    others=st.integers(0, 3),
)
def test_no_order_of_events_leaves_a_trace_in_memory_or_in_what_is_saved(
    order: list[int], cuts: list[int], others: int
) -> None:
    theirs = life(WHOM)[:30]
    crowd = [each for n in range(others) for each in life(f"other {n}", topic="invoice")]
    log = Log()
    mixed = [theirs[i] for i in order]
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), 30], strict=True):
        if begin < end:
            log.apply(*mixed[begin:end])
    log.apply(*crowd)
    log.apply(forget(WHOM, T0 + 40 * DAY_MS))
    rows = dict(log.engine.snapshot())
    log.engine.take_cards()
    assert b"4711" not in dump(log.engine)
    written = b"".join(row for row in rows.values() if row is not None)
    assert b"4711" not in written
    restored = Engine.restore(ScoringParams(), {}, {key: row for key, row in rows.items() if row is not None})
    assert b"4711" not in dump(restored)
    assert all(describe(restored, f"other {n}") for n in range(others))


@pytest.mark.parametrize("kind", ["rows", "cards"])
def test_what_is_written_of_an_erased_customer_is_a_tombstone(kind: str) -> None:
    log = Log()
    log.apply(*life(WHOM))
    log.engine.snapshot()
    log.engine.take_cards()
    log.apply(forget(WHOM, T0 + 20 * DAY_MS))
    written = log.engine.snapshot() if kind == "rows" else log.engine.take_cards()
    of_them = [value for key, value in written if WHOM.encode() in key]
    assert of_them == [None]
    assert msgspec.json.encode(str(written)).count(b"4711") == 1

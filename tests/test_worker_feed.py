"""Fetches that wait are taken together while they are small, and stay the log."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxstream.kafka.records import PackedRecords, Record
from cxstream.scoring.codec.packed import Packed
from cxstream.worker import feed
from cxstream.worker.feed import Fetch, Waiting

CHUNK = 20


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "CHUNK", CHUNK)


def fetch_of(first: int, n: int, follows: int | None, form: str) -> Fetch:
    """A fetch of n records from an offset on."""
    offsets = np.arange(first, first + n)
    values = [b"value %d" % offset for offset in offsets]
    if form == "list":
        records = [Record(int(o), 7, 1, b"key", v) for o, v in zip(offsets, values, strict=True)]
        return Fetch(3, records, follows, first + n, cost=n)
    kind = int(form == "appended")
    text = Packed.of([b"key", *values])
    keys = Packed(text.text, np.repeat(text.begins[:1], n), np.repeat(text.ends[:1], n))
    packed = PackedRecords(offsets, np.full(n, 7), kind, keys, text[1:])
    return Fetch(3, packed, follows, first + n, cost=n)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from((1, 2, 3, CHUNK // 2, CHUNK, CHUNK + 1)),
            st.sampled_from(("appended", "appended", "appended", "created", "list")),
            st.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_fetches_that_wait_are_taken_together_and_none_is_lost(fetches: list[tuple[int, str, bool]]) -> None:
    waiting, alone = Waiting(), []
    at, last = 0, None
    for n, form, gap in fetches:
        at += 5 if gap else 0
        # Offsets that are missing between two fetches are no records where the second follows the first.
        alone.append(fetch_of(at, n, last, form))
        waiting.put(alone[-1], now=float(len(alone)))
        at += n
        last = at - 1
    assert (waiting.since, waiting.first) == (1.0, alone[0].first)
    assert waiting.cost == waiting.records == sum(n for n, _, _ in fetches)
    taken = [waiting.take() for _ in range(len(waiting))]
    assert (bool(waiting), waiting.cost, waiting.records) == (False, 0, 0)
    assert [(r.offset, r.value) for f in taken for r in f.records] == [
        (r.offset, r.value) for f in alone for r in f.records
    ]
    assert [f.follows for f in taken] == [None, *(f.last for f in taken[:-1])]
    assert taken[-1].end == alone[-1].end
    assert sum(f.cost for f in taken) == sum(f.cost for f in alone)
    largest = max(len(f.records) for f in alone)
    assert all(len(f.records) <= max(CHUNK, largest) for f in taken)
    assert not any(
        form_of(a) == form_of(b) != "list" and len(a.records) + len(b.records) <= CHUNK
        for a, b in pairwise(taken)
    )


def form_of(fetch: Fetch) -> str:
    """What kind of records a fetch has."""
    records = fetch.records
    return f"packed {records.timestamp_type}" if isinstance(records, PackedRecords) else "list"


def test_a_fetch_that_does_not_follow_is_taken_alone() -> None:
    waiting = Waiting()
    # The consumer goes back before the last one.
    for at, n, follows in ((0, 2, None), (9, 2, None), (11, 1, 5), (10, 4, 11)):
        waiting.put(fetch_of(at, n, follows, "appended"), now=0.0)
    assert [len(waiting.take().records) for _ in range(len(waiting))] == [2, 2, 1, 4]

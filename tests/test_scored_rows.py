"""Accepted touchpoints on their way into records of cx.scored: rows in order, once, in records that Kafka takes."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from aiokafka.errors import MessageSizeTooLargeError
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.files.scored import decode, encoded, offsets_of, record_batch
from cxstream.files.scored_columns import ScoredColumns
from cxstream.model.fields import MAX_HASHTAG, MAX_HASHTAGS, MAX_STRING, MAX_SUBJECT
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.failing import BatchError
from cxstream.settings import ACTIONS
from cxstream.topology import REJECTED, SCORED, topology
from cxstream.worker.ownership import scored_rows
from cxstream.worker.ownership.outbox import Outbox
from cxstream.worker.ownership.suspects import RowsRefusedError, Suspects
from strategies import random_history

APPENDED = 1_800_000_000_000
VALUES = [json.dumps(event).encode() for event, _ in random_history(3, 400)]


def outbox_of(cuts: list[int], limit: int = scored_rows.RECORD_BYTES) -> Outbox:
    """What a worker collects that applies the history in pieces."""
    engine, outbox = Engine(ScoringParams(), ACTIONS), Outbox(topology(), None, limit)
    engine.scored = True
    for begin, end in zip([0, *cuts], [*cuts, len(VALUES)], strict=True):
        records = [
            SimpleNamespace(offset=i, timestamp=APPENDED + i, headers=(), key=b"", value=VALUES[i])
            for i in range(begin, end)
        ]
        outbox.add(engine.process(Records(VALUES[begin:end], range(begin, end))), records, 0)
    outbox.close()
    outbox.encode()
    return outbox


def rows_of(outbox: Outbox) -> list[dict[str, Any]]:
    return [row for _, value in outbox.rows[SCORED.contract] for row in decode(value or b"").to_pylist()]


@pytest.fixture(scope="module")
def whole() -> list[dict[str, Any]]:
    rows = rows_of(outbox_of([]))
    assert len(rows) > 100
    assert all(row["arrived"].timestamp() * 1000 == APPENDED + row["offset"] for row in rows)
    return rows


@settings(max_examples=15, deadline=None)
@given(
    cuts=st.lists(st.integers(1, len(VALUES) - 1), unique=True, max_size=6).map(sorted),
    most=st.sampled_from((1, 7, 100, 20_000)),
)
def test_neither_batches_nor_records_change_the_rows(
    whole: list[dict[str, Any]], cuts: list[int], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scored_rows, "ROWS", most)
        outbox = outbox_of(cuts)
    assert rows_of(outbox) == whole
    counts = [len(decode(value or b"")) for _, value in outbox.rows[SCORED.contract]]
    headers = [dict(each) for each in outbox.headers(SCORED.contract)]
    assert [int(each["rows"] or b"") for each in headers] == counts
    assert {each["content-type"] for each in headers} == {b"application/vnd.apache.arrow.stream"}
    # Small records are compressed together by Kafka's client, large ones each by itself, and not again.
    assert outbox.repeats(SCORED.contract)
    assert outbox.scored.rows == len(whole)
    assert outbox.scored.held_bytes == sum(len(value or b"") for _, value in outbox.rows[SCORED.contract])
    assert {key for key, _ in outbox.rows[SCORED.contract]} == {None}


def test_another_thread_makes_the_same_columns_while_batches_come(whole: list[dict[str, Any]]) -> None:
    engine, outbox = Engine(ScoringParams(), ACTIONS), Outbox(topology())
    engine.scored = True
    with ThreadPoolExecutor(2) as threads:
        for i, value in enumerate(VALUES):
            record = SimpleNamespace(offset=i, timestamp=APPENDED + i, headers=(), key=b"", value=value)
            outbox.add(engine.process(Records([value], [i])), [record], 0)
            threads.submit(outbox.scored.catch_up)
    assert outbox.scored.rows_put_off == 0
    outbox.close()
    outbox.encode()
    assert rows_of(outbox) == whole


def test_rows_that_cannot_be_encoded_name_their_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, outbox = Engine(ScoringParams(), ACTIONS), Outbox(topology())
    engine.scored = True
    for begin, end in ((0, 100), (100, 200)):
        records = [
            SimpleNamespace(offset=i, timestamp=0, headers=(), key=b"", value=VALUES[i])
            for i in range(begin, end)
        ]
        outbox.add(engine.process(Records(VALUES[begin:end], range(begin, end))), records, 0)
        outbox.close()
    add = ScoredColumns.add

    def fail(columns: ScoredColumns, scored: Any, arrived: Any) -> None:
        if scored.offsets[-1] >= 100:
            raise ValueError("no column takes it")
        add(columns, scored, arrived)

    monkeypatch.setattr(ScoredColumns, "add", fail)
    outbox.scored.catch_up()
    with pytest.raises(BatchError) as raised:
        outbox.encode()
    assert (raised.value.first, raised.value.last) == (100, 199)
    assert Suspects(0).learn(raised.value)


def test_records_that_are_compressed_are_not_compressed_again() -> None:
    engine, outbox = Engine(ScoringParams(), ACTIONS), Outbox(topology())
    engine.scored = True
    values = [json.dumps(event).encode() for event, _ in random_history(5, 15_000)]
    records = [
        SimpleNamespace(offset=i, timestamp=0, headers=(), key=b"", value=v) for i, v in enumerate(values)
    ]
    outbox.add(engine.process(Records(values, range(len(values)))), records, 0)
    outbox.close()
    outbox.encode()
    [(_, value)] = outbox.rows[SCORED.contract]
    assert len(decode(value or b"")) >= 8000
    assert b"customer" in (value or b""), "a schema is not compressed"
    assert not outbox.repeats(SCORED.contract)
    assert outbox.repeats(REJECTED.contract)


def test_an_outbox_counts_the_memory_of_its_rows() -> None:
    engine, outbox = Engine(ScoringParams(), ACTIONS), Outbox(topology())
    engine.scored = True
    records = [
        SimpleNamespace(offset=i, timestamp=0, headers=(), key=b"", value=v) for i, v in enumerate(VALUES)
    ]
    before = outbox.held_bytes
    outcome = engine.process(Records(VALUES, range(len(VALUES))))
    outbox.add(outcome, records, 0)
    assert outcome.scored is not None
    assert outbox.held_bytes - before > 150 * len(outcome.scored)


def test_where_only_time_passes_a_record_without_rows_says_how_far_it_is() -> None:
    outbox = Outbox(topology())
    outbox.close(APPENDED)
    outbox.encode()
    [(key, value)], [headers] = outbox.rows[SCORED.contract], outbox.headers(SCORED.contract)
    assert (key, len(decode(value or b""))) == (None, 0)
    assert dict(headers)["clock"] == str(APPENDED).encode()
    assert outbox.scored.held_bytes == len(value or b"") < 10_000
    # Nothing to say, or touchpoints that say it.
    outbox = Outbox(topology())
    outbox.close(None)
    outbox.encode()
    assert not outbox.rows
    engine, outbox = Engine(ScoringParams(), ACTIONS), Outbox(topology())
    engine.scored = True
    records = [
        SimpleNamespace(offset=i, timestamp=0, headers=(), key=b"", value=v) for i, v in enumerate(VALUES)
    ]
    outbox.add(engine.process(Records(VALUES, range(len(VALUES)))), records, 0)
    outbox.close(APPENDED)
    outbox.encode()
    assert all("clock" not in dict(headers) for headers in outbox.headers(SCORED.contract))


def test_a_record_is_no_larger_than_asked_for() -> None:
    engine = Engine(ScoringParams(), ACTIONS)
    engine.scored = True
    scored = engine.process(Records(VALUES, range(len(VALUES)))).scored
    assert scored is not None
    batch = record_batch(scored)
    for limit in (1, 30_000, 10**9):
        parts = list(encoded(batch, limit))
        assert all(len(value) <= limit or rows == 1 for value, rows in parts)
        assert [rows for _, rows in parts] == [len(decode(value)) for value, _ in parts]
        tables = [decode(value) for value, _ in parts]
        assert [row for each in tables for row in each.to_pylist()] == batch.to_pylist()


def test_the_largest_row_is_one_that_a_topic_takes() -> None:
    """Rows of the longest strings, all different, of four bytes a character."""

    def long(n: int, size: int = MAX_STRING) -> str:
        return "".join(map(chr, np.random.default_rng(n).integers(0x10000, 0x10FFFF, size)))

    texts = ("touchpoint", "session", "campaign", "topic", "case_id", "agent", "product", "location", "order_id",
             "reason", "action", "action_id", "segment")  # fmt: skip
    data = {name: long(i) for i, name in enumerate(texts)}
    data |= {"channel": "call", "hashtags": [long(100 + i, MAX_HASHTAG) for i in range(MAX_HASHTAGS)]}
    event = {"specversion": "1.0", "id": long(50), "source": long(51), "type": "cx.touchpoint.contact.v1"}
    event |= {"subject": long(52, MAX_SUBJECT), "time": "2025-01-01T00:00:00Z", "data": data}
    engine = Engine(ScoringParams(), ACTIONS)
    engine.scored = True
    outcome = engine.process(Records([json.dumps(event).encode()], [0]))
    assert outcome.scored is not None
    assert outcome.rejected == []
    [(value, _)] = encoded(record_batch(outcome.scored), 1)
    assert len(value) < 64 * 1024


def test_a_topic_that_takes_less_gets_smaller_records() -> None:
    suspects = Suspects(0)
    refused = RowsRefusedError(SCORED.contract, [None], 300_000, MessageSizeTooLargeError())
    assert suspects.learn(refused)
    assert suspects.limits == {SCORED.contract: 150_000}
    assert not suspects.found
    small = RowsRefusedError(SCORED.contract, [None], 20_000, MessageSizeTooLargeError())
    assert not suspects.learn(small)


def test_rows_of_some_customers_are_found_in_a_record() -> None:
    outbox = outbox_of([])
    [(_, value)] = outbox.rows[SCORED.contract]
    table = decode(value or b"").select(["customer", "offset"]).to_pylist()
    who = table[0]["customer"]
    expected = [(row["customer"], row["offset"]) for row in table if row["customer"] == who]
    assert offsets_of(value or b"", [who, "nobody"]) == expected
    with pytest.raises(pa.ArrowInvalid):
        offsets_of(b"no stream", [who])

"""Batches as `BatchWriter` writes them are, byte for byte, those of aiokafka."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from cxstream.kafka import batch_writer
from cxstream.kafka.batch_writer import BatchWriter
from cxstream.kafka.inflate import ZSTD
from cxstream.scoring.codec.rejection import wire_bytes
from cxstream.worker.ownership.outbox import _filled

MANY = 1 << 20
PRODUCER, SEQUENCE = (1 << 40, 7), 99

content = st.none() | st.binary(max_size=70) | st.integers(60, 20_000).map(lambda size: b"x" * size)
headers = st.lists(st.tuples(st.text(max_size=70), st.none() | st.binary(max_size=70)), max_size=3)
rows = st.lists(st.tuples(content, content, headers), min_size=1, max_size=150)


def of_aiokafka(records: list[Any], limit: int, codec: int = 0) -> tuple[bytes, int]:
    """A batch with as many of the records as fit, and how many these are."""
    # It leaves the last byte of a batch free.
    builder = DefaultRecordBatchBuilder(2, codec, 1, -1, -1, 0, limit + 1)
    taken = 0
    for key, value, more, timestamp in records:
        if builder.append(taken, timestamp, key, value, more) is None:
            break
        taken += 1
    builder.set_producer_state(*PRODUCER, SEQUENCE)
    return bytes(builder.build()), taken


@given(rows, st.integers(0, 60_000), st.integers(1, 200))
def test_a_batch_is_the_same_as_that_of_aiokafka(found: list[Any], limit: int, at_once: int) -> None:
    batch_writer._ROWS, before = at_once, batch_writer._ROWS
    try:
        batch = BatchWriter(limit)
        taken = batch.extend([row[:2] for row in found], [row[2] for row in found], 1_700_000_000_000)
    finally:
        batch_writer._ROWS = before
    right, count = of_aiokafka([(*row, 1_700_000_000_000) for row in found], limit)
    assert (taken, batch.record_count()) == (count, count)
    assert batch.sealed(PRODUCER, SEQUENCE) == right


@given(st.lists(st.integers(0, 1 << 41), min_size=1, max_size=9))
def test_records_of_several_times_are_the_same_as_those_of_aiokafka(times: list[int]) -> None:
    batch = BatchWriter(MANY)
    for timestamp in times:
        assert batch.extend([(b"k", None)], [[("a", b"1")]], timestamp) == 1
    right, _ = of_aiokafka([(b"k", None, [("a", b"1")], timestamp) for timestamp in times], MANY)
    assert batch.sealed(PRODUCER, SEQUENCE) == right


@pytest.mark.parametrize("repeated", [True, False])
def test_a_batch_is_compressed_where_that_makes_it_smaller(repeated: bool) -> None:
    value = b"again and again " * 100 if repeated else b"x"
    batch = BatchWriter(MANY, compress=True)
    batch.extend([(b"k", value)], [], 1)
    data = batch.sealed(PRODUCER, SEQUENCE)
    found = DefaultRecordBatch(data)
    assert found.compression_type == (ZSTD if repeated else 0)
    assert found.validate_crc()
    assert [each.value for each in found] == [value]


def test_a_batch_may_be_as_large_as_its_limit() -> None:
    rows = [(b"k", b"x" * 50), (b"k", b"y" * 50)]
    whole = BatchWriter(MANY)
    whole.extend(rows, [], 1)
    size = len(whole.sealed(PRODUCER, SEQUENCE))
    assert [BatchWriter(limit).extend(rows, [], 1) for limit in (size - 1, size)] == [1, 2]


def test_the_first_record_of_a_batch_fits_always_and_none_after_it_is_closed() -> None:
    batch = BatchWriter(100)
    assert batch.extend([(b"k", b"x" * 1000)] * 2, [], 1) == 1
    assert batch.extend([(b"k", b"v")], [], 1) == 0
    small = BatchWriter(MANY)
    small.close()
    assert small.extend([(b"k", b"v")], [], 1) == 0
    assert small.record_count() == 0


def test_some_rows_have_headers() -> None:
    batch = BatchWriter(MANY)
    assert batch.extend([(b"k", b"v")] * 5000, [[("a", None)]], 1) == 5000
    found = list(DefaultRecordBatch(batch.sealed(PRODUCER, SEQUENCE)))
    assert [each.headers for each in found] == [[("a", None)], *([[]] * 4999)]
    assert [each.offset for each in found] == list(range(5000))


@given(st.lists(st.integers(0, 300), min_size=1, max_size=50), st.integers(1, 2000))
def test_a_transaction_keeps_to_a_limit_of_rows(sizes: list[int], limit: int) -> None:
    rows = [(b"k", b"x" * size) for size in sizes]
    first, batches = 0, []
    while first < len(rows):
        batch, stop = _filled(BatchWriter(MANY), rows, first, [], limit, 1)
        batches.append(range(first, stop))
        assert batch.record_count() == stop - first
        first = stop
    for some, following in zip(batches, [*batches[1:], range(0)], strict=True):
        size = sum(wire_bytes(*rows[i], []) for i in some)
        assert size <= limit or len(some) == 1
        assert not following or size + wire_bytes(*rows[following.start], []) > limit

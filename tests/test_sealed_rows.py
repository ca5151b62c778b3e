"""Rows of a snapshot on their way into batches: the same bytes as from objects."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kafka.batch_writer import BatchWriter
from cxstream.kernels.packed_records import put_records
from cxstream.scoring.engine import compile_kernels
from cxstream.scoring.state import sealed_rows
from cxstream.scoring.state.seal import Seal
from cxstream.scoring.state.sealed_rows import Records, Sealed, SealedRows, columns_of
from saved import closed

Rows = list[tuple[bytes, bytes | None]]
PRODUCER, TIME = (2**40 + 3, 300), 1_700_000_000_000


def sealed(seal: Seal, *parts: Rows) -> SealedRows:
    return SealedRows([Sealed(some, seal.trailers(some)) for some in map(columns_of, parts)])


def batch_of(records: Records, sequence: int) -> bytes:
    batch = BatchWriter(0)
    batch.fill(*records, TIME)
    return batch.sealed(PRODUCER, sequence)


def as_objects(rows: Rows, sequence: int) -> bytes:
    """The batch that aiokafka makes of rows."""
    builder = DefaultRecordBatchBuilder(2, 0, True, *PRODUCER, sequence, 1 << 30)
    for number, (key, value) in enumerate(rows):
        builder.append(number, TIME, key, value, [])
    return bytes(builder.build())


@pytest.mark.parametrize("secret", [b"", b"of the worker"])
@given(
    parts=st.lists(
        st.lists(
            st.tuples(st.binary(min_size=1, max_size=90), st.none() | st.binary(max_size=300)), max_size=9
        ),
        max_size=4,
    ),
    repeated=st.integers(1, 40),
    limit=st.integers(1, 9000),
)
@settings(deadline=None, max_examples=60)
def test_batches_of_rows_are_those_of_their_objects(
    secret: bytes, parts: list[Rows], repeated: int, limit: int
) -> None:
    parts = [part * repeated for part in parts]
    rows = sealed(Seal(2**62 + 5, secret), *parts)
    expected = [
        (key, None if value is None else closed(key, value, 2**62 + 5, secret))
        for part in parts
        for key, value in part
    ]
    assert list(rows) == expected
    assert [rows[i] for i in (0, -1)] == [expected[0], expected[-1]] if expected else not rows
    first = 0
    while first < len(rows):
        records = rows.records(first, limit)
        some = expected[first : first + records.rows]
        assert batch_of(records, first) == as_objects(some, first)
        more = len(as_objects(expected[first : first + records.rows + 1], first)) - 61
        assert len(records.data) <= limit or records.rows == 1
        first += records.rows
        assert more > limit or first == len(rows)


def test_a_row_beyond_the_limit_is_alone_in_its_batch() -> None:
    rows = sealed(Seal(0), [(b"a", b"1" * 100_000), (b"b", None), (b"c", b"2" * 100_000)], [(b"d", b"")])
    counts, first = [], 0
    while first < len(rows):
        records = rows.records(first, 1000)
        batch = DefaultRecordBatch(batch_of(records, first))
        assert batch.validate_crc()
        assert [(each.key, each.value) for each in batch] == list(rows)[first : first + records.rows]
        counts.append(records.rows)
        first += records.rows
    assert counts == [1, 1, 1, 1]
    with pytest.raises(IndexError):
        rows[4]


def test_all_that_writes_rows_is_compiled_before_there_are_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Machine code for read-only bytes is other code: it was compiled in the event loop, at the first snapshot."""
    writable = set()

    def put(*given: Any) -> int:
        writable.add(given[3].flags.writeable)
        return put_records(*given)

    monkeypatch.setattr(sealed_rows, "put_records", put)
    compile_kernels()
    assert writable == {True, False}

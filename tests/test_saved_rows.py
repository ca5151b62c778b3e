"""Rows of a snapshot by columns, against a dictionary, and their checksums against zlib."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import saved
from cxstream.kafka.records import PackedRecords, Record
from cxstream.model.errors import SnapshotError
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.state.saved_rows import SavedRows
from cxstream.scoring.state.seal import Seal
from cxstream.worker.ownership.restore import _take

KEYS = [b"", b"c", b"canna", b"cbob", b"\0marker", b"\0claim:1", "cżółć".encode(), b"i\0\0\0\0\0\1\0", b"i\0"]
Step = list[tuple[bytes, bytes | None]]
STEPS = st.lists(
    st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=90)), max_size=20), max_size=12
)


def put(rows: SavedRows, step: Step) -> None:
    keys, values = Packed.of([key for key, _ in step]), Packed.of([value for _, value in step])
    rows.put(keys, values, np.array([value is None for _, value in step], np.bool_))


def latest(steps: list[Step]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for key, value in (each for step in steps for each in step):
        if value is None:
            found.pop(key, None)
        else:
            found[key] = value
    return found


@given(STEPS)
@settings(deadline=None, max_examples=150)
def test_the_latest_value_of_each_key_is_kept(steps: list[Step]) -> None:
    rows, known = SavedRows(), latest(steps)
    for step in steps:
        put(rows, step)
    assert (rows.whole(), len(rows), set(rows)) == (known, len(known), set(known))
    assert [rows.get(key) for key in KEYS] == [known.get(key) for key in KEYS]
    columns = rows.columns()
    for prefixes in ((b"c",), (b"i", b"\0")):
        some = columns.of(*prefixes)
        own = {key: value for key, value in known.items() if key[:1] in prefixes}
        assert dict(some.items()) == own
        assert list(some.packed_keys()) == list(some.keys)
        data, ends = some.payloads(3)
        cut = np.split(data, ends)[:-1] if len(ends) else []
        assert [each.tobytes() for each in cut] == [
            own[key][: max(len(own[key]) - 3, 0)] for key in some.keys
        ]
    again = SavedRows.of(known)
    assert again.whole() == known
    assert SavedRows.of(again) is again


def test_replaced_values_leave_no_memory_behind() -> None:
    rows = SavedRows()
    for turn in range(300):
        put(rows, [(b"c%d" % i, bytes([turn % 256]) * (300 + (turn + i) % 9)) for i in range(100)])
    assert rows._held.text.nbytes < 200_000
    assert rows.whole() == {b"c%d" % i: bytes([299 % 256]) * (300 + (299 + i) % 9) for i in range(100)}


@pytest.mark.parametrize("packed", [False, True])
def test_records_become_rows_without_claims(packed: bool) -> None:
    pairs: Step = [(b"canna", b"1"), (b"\0claim:7", b"x"), (b"\0marker", b"m"), (b"canna", b"22")]
    rows = SavedRows()
    if packed:
        n = np.arange(len(pairs))
        keys, values = Packed.of([key for key, _ in pairs]), Packed.of([value for _, value in pairs])
        _take(rows, PackedRecords(n, n, 0, keys, values))
        assert rows.whole() == {b"canna": b"22", b"\0marker": b"m"}
        return
    _take(
        rows, [Record(n, 0, 0, *pair) for n, pair in enumerate([*pairs, (b"cbob", b"3"), (b"canna", None)])]
    )
    _take(rows, [Record(9, 0, 0, None, None), Record(10, 0, 0, None, b"5")])
    _take(rows, [])
    assert rows.whole() == {b"cbob": b"3", b"\0marker": b"m"}


@pytest.mark.parametrize("secret", [b"", b"of the worker"])
@given(
    rows=st.dictionaries(
        st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=200), min_size=1, max_size=9
    ),
    where=st.integers(0, 10**6),
    bit=st.integers(0, 7),
)
@settings(deadline=None, max_examples=60)
def test_each_damaged_bit_and_each_row_of_another_state_is_found(
    secret: bytes, rows: dict[bytes, bytes], where: int, bit: int
) -> None:
    seal, sealed = Seal(2**62 + 5, secret), saved.sealed(rows, 2**62 + 5, secret)
    seal.check(SavedRows.of(sealed).columns())
    key = list(sealed)[where % len(sealed)]
    row = sealed[key]
    at = where % len(row)
    damaged = sealed | {key: row[:at] + bytes([row[at] ^ 1 << bit]) + row[at + 1 :]}
    for wrong in (damaged, sealed | {key: row[: where % seal.size]}):
        with pytest.raises(SnapshotError, match="damaged"):
            seal.check(SavedRows.of(wrong).columns())
        seal.check(SavedRows.of(wrong).columns(), but=key)
    other = saved.sealed({key: rows[key]}, 2**62 + 6, secret)
    with pytest.raises(SnapshotError, match="with another state"):
        seal.check(SavedRows.of(sealed | other).columns())

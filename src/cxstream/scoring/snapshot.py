"""Snapshots: a partition's changed rows as bytes, and a marker that says what they belong to.

The marker is a JSON object under MARKER_KEY; no customer's key begins with a NUL byte followed by `marker`,
for a row's key is the customer behind one byte. The log stays the truth: a snapshot that does not fit is refused.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cxstream.kernels.layout import (
    CHANGED,
    CLEAN,
    CLOCK,
    CONTACTS,
    HELD,
    SEQ,
    STARTED,
    SWEPT_OFFSET,
)
from cxstream.kernels.pack import PANE_BYTES, ROW_BYTES, VERSION, pack, packed_sizes, unpack
from cxstream.model.errors import SnapshotError
from cxstream.model.params import DAY_MS, ScoringParams
from cxstream.scoring import memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from cxstream.scoring.partition import Partition

MARKER_KEY = b"\0marker"
_ROW_PREFIX, _ERASURE_PREFIX = b"c", b"e"
# Where in a packed row the number of its complaints stands.
_COMPLAINTS_AT = 1 + ROW_BYTES + 2
# Rows unpacked in one go: enough to make the calls cheap, few enough for their copy not to matter.
_PART = 50_000


class Marker(msgspec.Struct, frozen=True):
    """What the rows belong to.

    Attributes:
        layout: version of the packed rows.
        params: digest of the parameters that made them.
        offset: the offset after the last record in them.
        clock: event time reached, ms UTC; null before the first record.
        customers: how many rows there must be.
        seq: next number of first appearance.
        swept_offset: offset of the record that caused the last sweep.
        held: raises that have waited.
        cards_clean: every score card had been taken.
        erasures: how many rows there must be of who was erased.
        partitions: how many the topic had; null where customers of other partitions were not told apart.
        memory: how many rows there must be of remembered ids.
    """

    layout: int
    params: str
    offset: int
    clock: int | None
    customers: int
    seq: int
    swept_offset: int
    held: int
    cards_clean: bool
    erasures: int = 0
    partitions: int | None = None
    memory: int = 0


def digest(params: ScoringParams, key_id: str = "") -> str:
    """Digest of the parameters, and of the key of the pseudonyms: a state under other names is another state."""
    canonical = msgspec.json.encode(params.model_dump(mode="json"), order="deterministic")
    return hashlib.blake2b(canonical + key_id.encode(), digest_size=16).hexdigest()


def _bytes_of(array: NDArray[np.void], size: int) -> NDArray[np.uint8]:
    return array.view(np.uint8).reshape(len(array), size)


def _packed(partition: Partition, slots: NDArray[np.int32]) -> Iterable[tuple[bytes, bytes]]:
    st = partition.state
    texts = [text.encode() for text in partition.topics.texts]
    topic_ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    ends = np.empty(len(slots), np.int64)
    packed_sizes(st, slots, topic_ends, ends)
    out = np.empty(int(ends[-1]) if len(ends) else 0, np.uint8)
    topics = np.frombuffer(b"".join(texts), np.uint8)
    pack(st, _bytes_of(st.rows, ROW_BYTES), _bytes_of(st.panes, PANE_BYTES), slots, topics, topic_ends, out)
    data, begin = out.tobytes(), 0
    names = partition.slots.names
    for slot, end in zip(slots.tolist(), ends.tolist(), strict=True):
        yield _ROW_PREFIX + names[slot].encode(), data[begin:end]
        begin = end


def customers_of(keys: Iterable[bytes]) -> dict[str, None]:
    """Whose the rows with these keys are."""
    return {key[1:].decode(errors="replace"): None for key in keys if key.startswith(_ROW_PREFIX)}


def erasures_of(rows: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Digests of who was erased, and the packed times."""
    return {key[1:]: row for key, row in rows.items() if key.startswith(_ERASURE_PREFIX)}


def save(
    partition: Partition, offset: int, params: str, *, cards_clean: bool
) -> list[tuple[bytes, bytes | None]]:
    """Pack what has changed since the last call, tombstones first, the marker last."""
    st = partition.state
    gone = [subject for subject in partition.gone if subject not in partition.slots.of]
    partition.gone.clear()
    rows: list[tuple[bytes, bytes | None]] = [(_ROW_PREFIX + subject.encode(), None) for subject in gone]
    ended, remembered = memory.take_changed(partition)
    rows += [(key, None) for key in ended]
    rows += remembered
    changed = np.flatnonzero(st.row_dirty[: partition.slots.top] == CHANGED).astype(np.int32)
    rows += _packed(partition, changed)
    st.row_dirty[changed] = CLEAN
    erasures = partition.erasures
    if partition.clock is not None:
        expired = erasures.expire(partition.clock, partition.constants.window)
        rows += [(_ERASURE_PREFIX + key, None) for key in expired]
    rows += [(_ERASURE_PREFIX + key, time) for key, time in erasures.take_changed()]
    marker = Marker(
        layout=VERSION,
        params=params,
        offset=offset,
        clock=partition.clock,
        customers=partition.customers,
        seq=int(st.at[SEQ]),
        swept_offset=int(st.at[SWEPT_OFFSET]),
        held=int(st.at[HELD]),
        cards_clean=cards_clean,
        erasures=len(erasures.times),
        partitions=partition.count,
        memory=memory.rows_in_memory(partition),
    )
    rows.append((MARKER_KEY, msgspec.json.encode(marker)))
    return rows


def read_marker(raw: bytes) -> Marker:
    """A marker's value as it stands in the topic.

    Raises:
        SnapshotError: it cannot be read.
    """
    try:
        return msgspec.json.decode(raw, type=Marker)
    except msgspec.MsgspecError as error:
        raise SnapshotError(
            f"the snapshot's marker cannot be read ({error}): rebuild the partition"
        ) from error


def _marker(rows: Mapping[bytes, bytes], params: str) -> Marker:
    raw = rows.get(MARKER_KEY)
    if raw is None:
        raise SnapshotError("the snapshot has no marker: rebuild the partition from its log")
    marker = read_marker(raw)
    if marker.layout != VERSION:
        raise SnapshotError(
            f"the snapshot has layout {marker.layout}, this is {VERSION}: rebuild the partition"
        )
    if marker.params != params:
        raise SnapshotError(
            "the snapshot was made under other scoring parameters or another key: rebuild the partition"
        )
    expected = marker.customers + marker.erasures
    found = len(rows) - 1 - sum(map(memory.is_row, rows))
    if expected != found:
        raise SnapshotError(f"the snapshot has {found} of {expected} rows: rebuild the partition")
    return marker


def load(
    partition: Partition,
    rows: Mapping[bytes, bytes],
    params: ScoringParams,
    digested: str,
    *,
    pseudonymous: bool = False,
) -> Marker:
    """Fill an empty partition.

    Args:
        partition: without customers.
        rows: the latest value of every key, tombstones left out, the marker included.
        params: must be those that the rows were made under.
        digested: their digest.
        pseudonymous: the names of customers do not tell their partition.

    Returns:
        What the rows belong to. Customers of other partitions are not loaded, and counted as gone.

    Raises:
        SnapshotError: the rows cannot be trusted.
    """
    marker = _marker(rows, digested)
    partition.erasures.load(erasures_of(rows))
    st = partition.state
    if marker.clock is None:
        return marker
    today = marker.clock // DAY_MS
    saved = {key: row for key, row in rows.items() if key.startswith(_ROW_PREFIX)}
    try:
        if marker.partitions != partition.count and not pseudonymous:
            _leave_out_strangers(partition, saved)
        partition.slots.fill([key[1:].decode() for key in saved])
    except UnicodeDecodeError as error:
        raise SnapshotError(
            f"a key of the snapshot is no customer ({error}): rebuild the partition"
        ) from error
    _unpack_all(partition, list(saved.values()), today - params.window_days + 1)
    st = partition.state
    live = partition.live()
    order = live[np.argsort(st.rows["seq"][live], kind="stable")]
    live[:] = order
    # A sweep evaluates everybody without changing what is saved of most.
    swept = order[st.rows["eval_clock"][order] < today * DAY_MS]
    st.rows["eval_clock"][swept] = today * DAY_MS
    st.rows["eval_offset"][swept] = marker.swept_offset
    st.row_dirty[order] = CLEAN
    st.card_dirty[order] = 0 if marker.cards_clean else 1
    st.at[STARTED], st.at[CLOCK], st.at[SEQ] = 1, marker.clock, marker.seq
    st.at[SWEPT_OFFSET], st.at[HELD] = marker.swept_offset, marker.held
    memory.load(
        partition,
        {key: row for key, row in rows.items() if memory.is_row(key)},
        today,
        marker.memory,
        all_customers=len(saved) == marker.customers,
    )
    _recall_erased(partition)
    return marker


def _leave_out_strangers(partition: Partition, saved: dict[bytes, bytes]) -> None:
    """Take the rows of customers of other partitions out, and count these as gone."""
    for subject in partition.strangers([key[1:].decode() for key in saved]):
        del saved[_ROW_PREFIX + subject.encode()]
        partition.gone[subject] = None


def _recall_erased(partition: Partition) -> None:
    """Find the requests of those who came back after they had been erased."""
    erased, live = partition.state.rows["erased"], partition.live()
    slots = live[erased[live] != 0].tolist()
    erased[slots] = 0
    partition.remember_erased(slots)


def _unpack_all(partition: Partition, rows: Sequence[bytes], oldest: int) -> None:
    """Fill the slots 0, 1, 2, ... from their rows, a part at a time."""
    complaints = sum(row[_COMPLAINTS_AT] for row in rows if len(row) > _COMPLAINTS_AT)
    partition.reserve(len(rows), sum(map(len, rows)) // PANE_BYTES, complaints)
    partition.make_vacant(slice(0, len(rows)))
    for begin in range(0, len(rows), _PART):
        _unpack_part(partition, rows[begin : begin + _PART], begin, oldest)


def _unpack_part(partition: Partition, rows: Sequence[bytes], first: int, oldest: int) -> None:
    st = partition.state
    data = b"".join(rows)
    ends = np.cumsum(np.fromiter(map(len, rows), np.int64, len(rows)))
    slots = np.arange(first, first + len(rows), dtype=np.int32)
    found = np.empty((len(rows), CONTACTS, 2), np.int64)
    row_bytes, pane_bytes = _bytes_of(st.rows, ROW_BYTES), _bytes_of(st.panes, PANE_BYTES)
    if unpack(st, row_bytes, pane_bytes, slots, np.frombuffer(data, np.uint8), ends, oldest, found) < len(
        rows
    ):
        raise SnapshotError("a row of the snapshot is torn: rebuild the partition from its log")
    held = st.rows["contacts_n"][slots]
    which, places = np.nonzero(np.arange(CONTACTS) < held[:, None])
    if not len(which):
        return
    texts = [data[begin:end] for begin, end in found[which, places].tolist()]
    known = {text: partition.topics.number(text.decode()) for text in dict.fromkeys(texts)}
    numbers = np.fromiter(map(known.__getitem__, texts), np.int32, len(texts))
    partition.reserve(0, 0, 0)
    st = partition.state
    st.contact_topics[slots[which], places] = numbers
    np.add.at(st.topic_refs, numbers, 1)

"""The snapshot rows of remembered ids: which rows to write and to delete, and how they are loaded.

A row's key is a prefix for the list (ids kept for the window, ids of visits), the customer's number of first
appearance, six bytes, and the block of the list, one byte, or the lane, four. A number is never used twice, so a
customer who comes back after expiry or erasure has other keys, and no key identifies the customer.

Most rows to delete are known from what was saved. Rows that another worker saved in between, and whose tombstones
were not written, can be recognised: all of their ids have expired, or no customer has their number. They do not count
in the marker, and the next snapshot deletes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.layout import CHUNK_IDS, LANE_LEVELS, MEMORY_ROWS, NONE
from cxstream.kernels.remembered_ids import (
    BLOCK_CHUNKS,
    BLOCKS,
    FIRST_LEVEL,
    LANE_IDS,
    LONG,
    MIX,
    mark_unsaved,
)
from cxstream.kernels.remembered_ids_pack import (
    CHUNK_BYTES,
    EXPIRED_ROW,
    HEADER_BYTES,
    LANES,
    MEMORY_VERSION,
    memory_sizes,
    pack_memory,
    unpack_memory,
)
from cxstream.kernels.wide import WIDE
from cxstream.model.errors import SnapshotError
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.state.by_customer import number_at, seqs_of
from cxstream.scoring.state.sealed_rows import columns, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from cxstream.kernels.layout import State
    from cxstream.scoring.state.partition import PartitionState
    from cxstream.scoring.state.saved_rows import RowColumns
    from cxstream.scoring.state.side import Loading

PREFIXES = (b"i", b"v")
_SEQ_BYTES, _LANE_BYTES = 6, 4
# Lanes are doubled at 40 ids each, and stay when ids expire. So there may be many lanes without a row, but only if
# a customer had very many events. The limit keeps a few damaged keys from reserving memory for nothing.
_LANES_AT_LEAST, _LANES_A_ROW = 1 << 23, 64
_UNREADABLE = "a key of remembered ids cannot be read: rebuild the partition from its log"
_BLOCK_KEY, _LANE_KEY = 1 + _SEQ_BYTES + 1, 1 + _SEQ_BYTES + _LANE_BYTES
# What decides the saved form: of a row, of its key, of a list, and what an id is.
FORM: tuple[object, ...] = (
    (MEMORY_VERSION, HEADER_BYTES, CHUNK_BYTES, CHUNK_IDS),
    (_SEQ_BYTES, _LANE_BYTES, LANES),
    (BLOCK_CHUNKS, BLOCKS, LONG, LANE_IDS, FIRST_LEVEL, LANE_LEVELS),
    int(MIX),
)


def _key(seq: int, which: int, code: int) -> bytes:
    place = bytes((code,)) if code < LANES else (code - LANES).to_bytes(_LANE_BYTES, "big")
    return PREFIXES[which] + seq.to_bytes(_SEQ_BYTES, "big") + place


def _keys(parts: NDArray[np.int64]) -> Packed:
    """The keys of number of first appearance, list, and block or lane, int64[n, 3]; as `_key` has them."""
    if (parts[:, 2] >= LANES).any():
        return Packed.of([_key(*each) for each in parts.tolist()])
    text = np.empty((len(parts), _BLOCK_KEY), np.uint8)
    text[:, 0] = np.frombuffer(b"".join(PREFIXES), np.uint8)[parts[:, 1]]
    text[:, 1 : 1 + _SEQ_BYTES] = seqs_of(parts[:, 0])
    text[:, -1] = parts[:, 2]
    return keys_of(text)


def _ended(packed: Iterable[int]) -> Iterable[bytes]:
    """Keys of the rows of lists that no longer exist, as the kernels note them."""
    for each in packed:
        seq, which, level = each >> 20, each >> 19 & 1, each >> 14 & 31
        if level:
            codes: Iterable[int] = range(LANES + (1 << level), LANES + (2 << level))
        else:
            base, count = each >> 7 & 127, each & 127
            codes = ((base + i) % BLOCKS for i in range(count))
        for code in codes:
            yield _key(seq, which, code)


def vacate(st: State, slots: NDArray[np.int32] | slice) -> None:
    """Empty the lists of new slots."""
    st.memory[slots] = (NONE, 0, 0, 0, 0)
    st.memory_due[slots] = 0
    st.memory_dirty[slots] = 0


def rows_in_memory(partition: PartitionState) -> int:
    """How many rows of remembered ids there are once the changes are saved."""
    return int(partition.state.at[MEMORY_ROWS])


def changed(partition: PartitionState) -> NDArray[np.int64]:
    """Slots whose remembered ids are not all saved."""
    return np.flatnonzero(partition.state.memory_dirty[: partition.slots.top])


def take_changed(partition: PartitionState) -> tuple[list[bytes], RowColumns]:
    """Keys of rows to delete, and rows to write; they count as saved from now on."""
    st, slots = partition.state, changed(partition)
    totals = np.zeros(3, np.int64)
    memory_sizes(st, slots, totals)
    n_rows, n_dead, size = totals.tolist()
    keys, dead = np.empty((n_rows, 3), np.int64), np.empty((n_dead, 3), np.int64)
    ends, out = np.empty(n_rows, np.int64), np.empty(size + WIDE, np.uint8)
    pack_memory(st, slots, keys, ends, dead, out, totals)
    n_rows, n_dead, _ = totals.tolist()
    rows = columns(_keys(keys[:n_rows]), out, ends[:n_rows])
    gone = partition.dead_keys
    for ended in partition.dead:
        gone |= dict.fromkeys(_ended(ended.tolist()))
    gone |= dict.fromkeys(_key(*key) for key in dead[:n_dead].tolist())
    partition.dead, partition.dead_keys = [], {}
    if gone:
        for key in rows.keys:
            gone.pop(key, None)
    return list(gone), rows


def mark(partition: PartitionState, slots: NDArray[np.int64]) -> None:
    """Mark all ids of these slots as not saved."""
    mark_unsaved(partition.state, slots)


def load(partition: PartitionState, rows: RowColumns, loading: Loading) -> None:
    """Load the remembered ids of customers who have been loaded.

    Args:
        partition: the customers, in order of first appearance.
        rows: the saved rows of ids.
        loading: what is known of the snapshot.

    Raises:
        SnapshotError: rows are incomplete or missing.
    """
    expected = loading.expected
    parsed = _parsed(rows.keys)
    live = partition.live()
    seqs = partition.state.rows["seq"][live]
    places = np.searchsorted(seqs, parsed[:, 0])
    known = np.append(seqs, -1)[places] == parsed[:, 0]
    partition.dead_keys |= dict.fromkeys(rows.keys.taken(np.flatnonzero(~known)))
    slots = np.append(live, 0).astype(np.int64)[places]
    order = np.flatnonzero(known)
    order = order[_order(partition, parsed[order], slots[order])]
    _unpack(partition, rows.taken(order), loading, parsed[order], slots[order])
    found = rows_in_memory(partition)
    if not loading.all_customers:
        # Rows without a customer are assumed to be of customers that were not loaded.
        found = min(found + int(np.count_nonzero(~known)), expected)
    if found != expected:
        raise SnapshotError(
            f"the snapshot has {found} of {expected} rows of remembered ids: rebuild the partition"
        )


def _parsed(keys: Packed) -> NDArray[np.int64]:
    """Number of first appearance, list, and block or lane of each key; int64[n, 3].

    Raises:
        SnapshotError: a key cannot be read.
    """
    sizes = keys.lengths
    of_block = sizes == _BLOCK_KEY
    if not (of_block | (sizes == _LANE_KEY)).all():
        raise SnapshotError(_UNREADABLE)
    text, begins = keys.data, keys.begins
    parsed = np.empty((len(keys), 3), np.int64)
    parsed[:, 0] = number_at(text, begins + 1, _SEQ_BYTES)
    parsed[:, 1] = text[begins] == PREFIXES[1][0]
    after = begins + 1 + _SEQ_BYTES
    parsed[of_block, 2] = text[after[of_block]]
    parsed[~of_block, 2] = LANES + number_at(text, after[~of_block], _LANE_BYTES)
    if (parsed[of_block, 2] >= BLOCKS).any():
        raise SnapshotError(_UNREADABLE)
    return parsed


def _order(partition: PartitionState, keys: NDArray[np.int64], slots: NDArray[np.int64]) -> NDArray[np.int64]:
    """An order in which the rows of a list stand together, blocks from the newest to the oldest."""
    rows = partition.state.rows
    numbers = np.where(keys[:, 1] == 0, rows["kept_next"][slots], rows["visits_next"][slots]).astype(np.int64)
    newest = (numbers - 1 & 255) // BLOCK_CHUNKS
    back = np.where(keys[:, 2] < LANES, newest - keys[:, 2] & BLOCKS - 1, keys[:, 2])
    return np.lexsort((back, keys[:, 1], slots))


def _room_for_lanes(keys: NDArray[np.int64]) -> int:
    """How much room the lanes of the rows with these keys need.

    Raises:
        SnapshotError: an impossible lane, or more lanes than a state with this many rows can have.
    """
    of_lanes = keys[keys[:, 2] >= LANES]
    if not len(of_lanes):
        return 0
    # A lane is 2**level and its number: the level is where its highest bit stands.
    levels = np.frexp((of_lanes[:, 2] - LANES).astype(np.float64))[1] - 1
    lists, which = np.unique(of_lanes[:, :2], axis=0, return_inverse=True)
    widest = np.zeros(len(lists), np.int64)
    np.maximum.at(widest, which.reshape(-1), levels)
    room = int(np.sum(1 + (np.int64(1) << np.minimum(widest, LANE_LEVELS))))
    if (
        levels.min() < FIRST_LEVEL
        or levels.max() >= LANE_LEVELS
        or room > _LANES_AT_LEAST + _LANES_A_ROW * len(keys)
    ):
        raise SnapshotError(
            "the snapshot has more lanes of remembered ids than are possible: rebuild the partition"
        )
    return room


def _unpack(
    partition: PartitionState,
    rows: RowColumns,
    loading: Loading,
    keys: NDArray[np.int64],
    slots: NDArray[np.int64],
) -> None:
    data, ends = rows.payloads(loading.trailer)
    sizes = np.diff(ends, prepend=0)
    room = _room_for_lanes(keys)
    partition.reserve(0, 0, 0, int(np.sum(sizes // CHUNK_BYTES + 1)), room)
    fates = np.zeros(len(rows), np.uint8)
    read = unpack_memory(partition.state, partition.constants, slots, keys, data, ends, loading.today, fates)
    if read < len(rows):
        raise SnapshotError("a row of remembered ids is incomplete: rebuild the partition from its log")
    partition.dead_keys |= dict.fromkeys(rows.keys.taken(np.flatnonzero(fates == EXPIRED_ROW)))

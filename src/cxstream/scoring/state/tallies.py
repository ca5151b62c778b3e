"""The snapshot rows of tallies: one for each customer who met a kind of the company's own that costs effort or annoys.

A row's key is a prefix and the customer's number of first appearance, as for purchases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.layout import NO_TALLY, SAVED_TALLIES, TALLIED, UNSAVED_TALLIES
from cxstream.kernels.tallies_pack import TALLY_BYTES, pack_tallies, tally_sizes, unpack_tallies
from cxstream.model.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cxstream.kernels.layout import State
    from cxstream.scoring.state.partition import PartitionState
    from cxstream.scoring.state.side import Loading

PREFIX = b"k"
SEQ_BYTES = 6


def _key(seq: int) -> bytes:
    return PREFIX + seq.to_bytes(SEQ_BYTES, "big")


def _view(st: State) -> NDArray[np.uint8]:
    """Entries as bytes."""
    return st.tallies.view(np.uint8).reshape(len(st.tallies), TALLY_BYTES)


def vacate(st: State, slots: list[int] | slice) -> None:
    """Empty the places of new slots."""
    if len(st.tallied):
        st.tallied[slots] = NO_TALLY
        st.tallies_dirty[slots] = 0


def count(partition: PartitionState) -> int:
    """How many customers have entries."""
    return int(partition.state.at[TALLIED])


def changed(partition: PartitionState) -> NDArray[np.int64]:
    """Slots whose entries are not saved."""
    return np.flatnonzero(partition.state.tallies_dirty[: partition.slots.top] & UNSAVED_TALLIES)


def take_changed(partition: PartitionState) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Keys of rows to delete, and rows to write; they count as saved from now on."""
    st, slots = partition.state, changed(partition)
    gone, partition.tallies_ended = [_key(seq) for seq in partition.tallies_ended], []
    if not len(slots):
        return gone, []
    ends = np.empty(len(slots), np.int64)
    tally_sizes(st, slots, ends)
    out = np.empty(int(ends[-1]), np.uint8)
    pack_tallies(st, _view(st), slots, out)
    data, begin, rows = out.tobytes(), 0, []
    for seq, end in zip(st.rows["seq"][slots].tolist(), ends.tolist(), strict=True):
        rows.append((_key(seq), data[begin:end]))
        begin = end
    return gone, rows


def mark(partition: PartitionState, slots: NDArray[np.int64]) -> None:
    """Mark the entries of these slots as not saved."""
    st = partition.state
    if len(st.tallied):
        some = slots[st.tallied[slots] != NO_TALLY]
        st.tallies_dirty[some] |= UNSAVED_TALLIES | SAVED_TALLIES


def load(partition: PartitionState, rows: Mapping[bytes, bytes], loading: Loading) -> None:
    """Load the entries of customers who have been loaded.

    Args:
        partition: the customers, in order of first appearance.
        rows: saved rows by key.
        loading: what is known of the snapshot.

    Raises:
        SnapshotError: rows are damaged or missing.
    """
    keys = list(rows)
    if any(len(key) != 1 + SEQ_BYTES for key in keys):
        raise SnapshotError(
            "a key of tallies of own kinds cannot be read: rebuild the partition from its log"
        )
    seqs = np.fromiter((int.from_bytes(key[1:], "big") for key in keys), np.int64, len(keys))
    live = partition.live()
    theirs = partition.state.rows["seq"][live]
    places = np.searchsorted(theirs, seqs)
    known = np.append(theirs, -1)[places] == seqs
    # Another worker saved them in between: the next snapshot deletes them.
    partition.dead_keys |= dict.fromkeys(keys[i] for i in np.flatnonzero(~known))
    slots = np.append(live, 0).astype(np.int64)[places][known]
    own = [rows[keys[i]] for i in np.flatnonzero(known)]
    payloads = [row[: len(row) - loading.trailer] for row in own]
    sizes = np.fromiter(map(len, payloads), np.int64, len(payloads))
    if len(slots):
        partition.reserve(0, 0, 0, 0, 0, tallies=len(slots) + int(np.sum(sizes)) // TALLY_BYTES)
        st, data = partition.state, np.frombuffer(b"".join(payloads), np.uint8)
        read = unpack_tallies(st, _view(st), slots, data, np.cumsum(sizes), loading.today, loading.first)
        if read < len(slots):
            raise SnapshotError(
                "a row of tallies of own kinds is incomplete or impossible: rebuild the partition from its log"
            )
    found = len(slots)
    if not loading.all_customers:
        found = min(found + int(np.count_nonzero(~known)), loading.expected)
    if found != loading.expected:
        raise SnapshotError(
            f"the snapshot has {found} of {loading.expected} rows of tallies of own kinds: rebuild the partition"
        )

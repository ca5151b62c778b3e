"""The snapshot rows of tallies: one for each customer who met a kind of the company's own that costs effort or annoys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.layout import NO_TALLY, SAVED_TALLIES, TALLIED, UNSAVED_TALLIES
from cxstream.kernels.tallies_pack import TALLY_BYTES, pack_tallies, tally_sizes, unpack_tallies
from cxstream.scoring.state.by_customer import check, key, keyed, saved
from cxstream.scoring.state.sealed_rows import packed_into

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.layout import State
    from cxstream.scoring.state.partition import PartitionState
    from cxstream.scoring.state.saved_rows import RowColumns
    from cxstream.scoring.state.side import Loading

PREFIX = b"k"
WHAT = "tallies of own kinds"


def _view(st: State) -> NDArray[np.uint8]:
    """Entries as bytes."""
    return st.tallies.view(np.uint8).reshape(len(st.tallies), TALLY_BYTES)


def vacate(st: State, slots: NDArray[np.int32] | slice) -> None:
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


def take_changed(partition: PartitionState) -> tuple[list[bytes], RowColumns]:
    """Keys of rows to delete, and rows to write; they count as saved from now on."""
    st, slots = partition.state, changed(partition)
    gone, partition.tallies_ended = [key(PREFIX, seq) for seq in partition.tallies_ended], []
    ends = np.empty(len(slots), np.int64)
    tally_sizes(st, slots, ends)
    out = packed_into(ends)
    pack_tallies(st, _view(st), slots, out)
    return gone, keyed(PREFIX, st, slots, out, ends)


def mark(partition: PartitionState, slots: NDArray[np.int64]) -> None:
    """Mark the entries of these slots as not saved."""
    st = partition.state
    if len(st.tallied):
        some = slots[st.tallied[slots] != NO_TALLY]
        st.tallies_dirty[some] |= UNSAVED_TALLIES | SAVED_TALLIES


def load(partition: PartitionState, rows: RowColumns, loading: Loading) -> None:
    """Load the entries of customers who have been loaded.

    Args:
        partition: the customers, in order of first appearance.
        rows: the saved rows of entries.
        loading: what is known of the snapshot.

    Raises:
        SnapshotError: rows are damaged or missing.
    """
    found = saved(partition, rows, loading, WHAT)
    read = 0
    if len(found.slots):
        partition.reserve(0, 0, 0, 0, 0, tallies=len(found.slots) + len(found.data) // TALLY_BYTES)
        st = partition.state
        ends, first = found.ends, loading.first
        read = int(unpack_tallies(st, _view(st), found.slots, found.data, ends, loading.today, first))
    check(found, read, loading, WHAT)

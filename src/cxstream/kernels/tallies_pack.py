"""Tallies to bytes and back, for snapshots.

A row is TALLY of each entry, in the order of the list. Little-endian; indices into the arena are packed as zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import (
    NO_TALLY,
    SAVED_TALLIES,
    TALLIED,
    TALLY,
    State,
)
from cxstream.kernels.tallies import cut_tallies, new_tally

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Int = int | np.integer[Any]

TALLY_BYTES = TALLY.itemsize
NEXT_FIELD = TALLY.fields["next"][1]  # type: ignore[index]
INDEX_BYTES = 4
# No list of events is as long, and float64 holds it.
MOST_COUNTED = 2**53


@entry
def tally_sizes(st: State, slots: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
    """Fill ends[n] with the end of each packed row."""
    total = 0
    for n in range(len(slots)):
        index = st.tallied[slots[n]]
        while index != NO_TALLY:
            total += TALLY_BYTES
            index = st.tallies[index].next
        ends[n] = total


@entry
def pack_tallies(
    st: State, tallies: NDArray[np.uint8], slots: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    """Pack the entries of customers one after the other into `out`, and mark them as saved.

    Args:
        st: the partition.
        tallies: uint8[arena, 24], view of st.tallies.
        slots: int64[n], customers with entries.
        out: uint8[sum of tally_sizes].
    """
    at = 0
    for n in range(len(slots)):
        index = st.tallied[slots[n]]
        while index != NO_TALLY:
            for i in range(TALLY_BYTES):
                out[at + i] = tallies[index, i]
            for i in range(INDEX_BYTES):
                out[at + NEXT_FIELD + i] = 0
            at += TALLY_BYTES
            index = st.tallies[index].next
        st.tallies_dirty[slots[n]] = SAVED_TALLIES


@kernel
def _is_wrong(st: State, head: Int, today: Int) -> bool:
    """Whether the entries are not in order, or of a day after today, or count nothing."""
    before = NO_TALLY
    index = head
    while index != NO_TALLY:
        each = st.tallies[index]
        if each.day > today or each.n < 1 or each.n > MOST_COUNTED:
            return True
        if before != NO_TALLY:
            newer = st.tallies[before]
            if newer.day < each.day or (newer.day == each.day and newer.kind >= each.kind):
                return True
        before = index
        index = each.next
    return False


@entry
def unpack_tallies(
    st: State, tallies: NDArray[np.uint8], slots: NDArray[np.int64], data: NDArray[np.uint8],
    ends: NDArray[np.int64], today: Int, oldest: Int,
) -> Int:  # fmt: skip
    """Read rows into customers without entries; the arena has room.

    Args:
        st: the partition.
        tallies: uint8[arena, 24], view of st.tallies.
        slots: int64[n], the customer of each.
        data: uint8[...], the rows, one after the other.
        ends: int64[n], the end of each.
        today: day of the partition's clock.
        oldest: days before this one are left out.

    Returns:
        n, or the index of the first row that is empty, incomplete or has an impossible value.
    """
    begin = 0
    for n in range(len(slots)):
        size, slot = ends[n] - begin, slots[n]
        if size <= 0 or size % TALLY_BYTES != 0 or st.tallied[slot] != NO_TALLY:
            return n
        last = NO_TALLY
        for at in range(begin, ends[n], TALLY_BYTES):
            fresh = new_tally(st)
            for i in range(TALLY_BYTES):
                tallies[fresh, i] = data[at + i]
            st.tallies[fresh].next = NO_TALLY
            if last == NO_TALLY:
                st.tallied[slot] = fresh
            else:
                st.tallies[last].next = fresh
            last = fresh
        st.at[TALLIED] += 1
        st.tallies_dirty[slot] = SAVED_TALLIES
        if _is_wrong(st, st.tallied[slot], today):
            return n
        cut_tallies(st, slot, oldest)
        begin = ends[n]
    return len(slots)

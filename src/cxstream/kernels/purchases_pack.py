"""Purchases to bytes and back, for snapshots.

A row is BUYER, and DEAL of each day of the window, newest first. Little-endian; indices into arenas are packed as zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.kernels.evaluate import DAY
from cxstream.kernels.invariants import MIN_TIME
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import (
    BUYER,
    DEAL,
    NEVER,
    NO_DAY,
    NONE,
    SAVED_PURCHASES,
    State,
)
from cxstream.kernels.purchases import MAX_MONEY, cut_purchases, new_buyer, new_deal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Int = int | np.integer[Any]

BUYER_BYTES, DEAL_BYTES = BUYER.itemsize, DEAL.itemsize
HEAD_FIELD = BUYER.fields["head"][1]  # type: ignore[index]
NEXT_FIELD = DEAL.fields["next"][1]  # type: ignore[index]
INDEX_BYTES = 4
MIN_DAY = MIN_TIME // DAY


@entry
def purchase_sizes(st: State, slots: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
    """Fill ends[n] with the end of each packed row."""
    total = 0
    for n in range(len(slots)):
        buyer = st.buyers[st.purchases[slots[n]]]
        total += BUYER_BYTES
        index = buyer.head
        while index != NONE:
            total += DEAL_BYTES
            index = st.deals[index].next
        ends[n] = total


@kernel
def _put(source: NDArray[np.uint8], out: NDArray[np.uint8], at: Int, index_field: Int) -> Int:
    """Copy a struct without its index; returns its end."""
    for i in range(len(source)):
        out[at + i] = source[i]
    for i in range(INDEX_BYTES):
        out[at + index_field + i] = 0
    return at + len(source)


@entry
def pack_purchases(
    st: State, buyers: NDArray[np.uint8], deals: NDArray[np.uint8], slots: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:  # fmt: skip
    """Pack the purchases of customers one after the other into `out`, and mark them as saved.

    Args:
        st: the partition.
        buyers: uint8[arena, 32], view of st.buyers.
        deals: uint8[arena, 24], view of st.deals.
        slots: int64[n], customers with purchases.
        out: uint8[sum of purchase_sizes].
    """
    at = 0
    for n in range(len(slots)):
        slot = slots[n]
        buyer = st.purchases[slot]
        at = _put(buyers[buyer], out, at, HEAD_FIELD)
        index = st.buyers[buyer].head
        while index != NONE:
            at = _put(deals[index], out, at, NEXT_FIELD)
            index = st.deals[index].next
        st.purchases_dirty[slot] = SAVED_PURCHASES


@kernel
def _is_money(value: float) -> bool:
    return value >= 0.0 and value <= MAX_MONEY  # two comparisons, as Numba compiles them best


@kernel
def _is_wrong(st: State, buyer: Any, clock: Int) -> bool:
    """Whether the purchases break an invariant: the kernels add to them and show them."""
    if not _is_money(buyer.spent) or buyer.days < 0:
        return True
    if buyer.history != NEVER and (buyer.history < MIN_TIME or buyer.history > clock):
        return True
    if buyer.days == 0 and (buyer.first != NO_DAY or buyer.last != NO_DAY):
        return True
    if buyer.days > 0 and (buyer.first < MIN_DAY or buyer.last > clock // DAY):
        return True
    if buyer.days > 0 and buyer.days > buyer.last - buyer.first + 1:
        return True
    newest = clock // DAY
    index = buyer.head
    while index != NONE:
        deal = st.deals[index]
        if deal.day > newest or not _is_money(abs(deal.net)) or deal.bought < 0 or deal.bought > 1:
            return True
        if deal.bought and (deal.day < buyer.first or deal.day > buyer.last):
            return True
        newest = deal.day - 1
        index = deal.next
    return False


@entry
def unpack_purchases(
    st: State, buyers: NDArray[np.uint8], deals: NDArray[np.uint8], slots: NDArray[np.int64], data: NDArray[np.uint8],
    ends: NDArray[np.int64], clock: Int, oldest: Int,
) -> Int:  # fmt: skip
    """Read rows into customers without purchases; the arenas have room.

    Args:
        st: the partition.
        buyers: uint8[arena, 32], view of st.buyers.
        deals: uint8[arena, 24], view of st.deals.
        slots: int64[n], the customer of each.
        data: uint8[...], the rows, one after the other.
        ends: int64[n], the end of each.
        clock: the partition's, ms UTC.
        oldest: days before this one are left out.

    Returns:
        n, or the index of the first row that is incomplete or has an impossible value.
    """
    begin = 0
    for n in range(len(slots)):
        rest = ends[n] - begin - BUYER_BYTES
        if rest < 0 or rest % DEAL_BYTES != 0 or st.purchases[slots[n]] != NONE:
            return n
        index = new_buyer(st)
        for i in range(BUYER_BYTES):
            buyers[index, i] = data[begin + i]
        buyer = st.buyers[index]
        buyer.head = NONE
        st.purchases[slots[n]] = index
        st.purchases_dirty[slots[n]] = SAVED_PURCHASES
        last = NONE
        at = begin + BUYER_BYTES
        while at < ends[n]:
            fresh = new_deal(st, 0)
            for i in range(DEAL_BYTES):
                deals[fresh, i] = data[at + i]
            st.deals[fresh].next = NONE
            if last == NONE:
                buyer.head = fresh
            else:
                st.deals[last].next = fresh
            last = fresh
            at += DEAL_BYTES
        if _is_wrong(st, buyer, clock):
            return n
        cut_purchases(st, slots[n], oldest)
        begin = ends[n]
    return len(slots)

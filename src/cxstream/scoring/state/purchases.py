"""The snapshot rows of purchases: one for each customer who has any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.layout import BUYERS, NO_DAY, NONE, SAVED_PURCHASES, UNSAVED_PURCHASES
from cxstream.kernels.purchases_pack import (
    BUYER_BYTES,
    DEAL_BYTES,
    pack_purchases,
    purchase_sizes,
    unpack_purchases,
)
from cxstream.model.kinds import Kind
from cxstream.scoring.state.by_customer import check, key, keyed, saved
from cxstream.scoring.state.sealed_rows import packed_into

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.layout import Constants, State
    from cxstream.scoring.state.partition import PartitionState
    from cxstream.scoring.state.saved_rows import RowColumns
    from cxstream.scoring.state.side import Loading

# Which kinds say something of purchases.
OF_MONEY = np.zeros(256, np.bool_)
OF_MONEY[[Kind.purchase, Kind.return_, Kind.purchase_history]] = True
CURRENCY_LETTERS = 3

PREFIX = b"p"
WHAT = "purchases"


def _views(st: State) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Buyers and deals as bytes."""
    return (
        st.buyers.view(np.uint8).reshape(len(st.buyers), BUYER_BYTES),
        st.deals.view(np.uint8).reshape(len(st.deals), DEAL_BYTES),
    )


def vacate(st: State, slots: NDArray[np.int32] | slice) -> None:
    """Empty the places of new slots."""
    st.purchases[slots] = NONE
    st.purchases_dirty[slots] = 0


def count(partition: PartitionState) -> int:
    """How many customers have purchases."""
    return int(partition.state.at[BUYERS])


def changed(partition: PartitionState) -> NDArray[np.int64]:
    """Slots whose purchases are not saved."""
    return np.flatnonzero(partition.state.purchases_dirty[: partition.slots.top] & UNSAVED_PURCHASES)


def facts(
    partition: PartitionState, slots: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """What score cards say: days with a purchase, the last of them or NO_DAY, and what was spent, of each slot."""
    st = partition.state
    places = st.purchases[slots]
    who = np.flatnonzero(places != NONE)
    buyers = places[who]
    days, last, spent = np.zeros(len(slots), np.int64), np.full(len(slots), NO_DAY), np.zeros(len(slots))
    days[who], last[who] = st.buyers["days"][buyers], st.buyers["last"][buyers]
    spent[who] = st.buyers["spent"][buyers]
    return days, last, spent


def unconverted(columns: NDArray[np.void], accepted: NDArray[np.int64], constants: Constants) -> list[str]:
    """The currency of each accepted amount for which there is no rate.

    Args:
        columns: EVENT[n].
        accepted: int64[m], places of those that were accepted and whose kind is OF_MONEY; others do not matter.
        constants: with the rates.
    """
    money = accepted[OF_MONEY[columns["kind"][accepted]]]
    if not len(money):
        return []
    codes = columns["case"][money]
    known = set(constants.currencies.tolist())
    return [code.to_bytes(CURRENCY_LETTERS, "big").decode() for code in codes.tolist() if code not in known]


def take_changed(partition: PartitionState) -> tuple[list[bytes], RowColumns]:
    """Keys of rows to delete, and rows to write; they count as saved from now on."""
    st, slots = partition.state, changed(partition)
    gone, partition.ended = [key(PREFIX, seq) for seq in partition.ended], []
    ends = np.empty(len(slots), np.int64)
    purchase_sizes(st, slots, ends)
    out = packed_into(ends)
    pack_purchases(st, *_views(st), slots, out)
    return gone, keyed(PREFIX, st, slots, out, ends)


def mark(partition: PartitionState, slots: NDArray[np.int64]) -> None:
    """Mark the purchases of these slots as not saved."""
    st = partition.state
    bought = slots[st.purchases[slots] != NONE]
    st.purchases_dirty[bought] |= UNSAVED_PURCHASES | SAVED_PURCHASES


def load(partition: PartitionState, rows: RowColumns, loading: Loading) -> None:
    """Load the purchases of customers who have been loaded.

    Args:
        partition: the customers, in order of first appearance.
        rows: the saved rows of purchases.
        loading: what is known of the snapshot.

    Raises:
        SnapshotError: rows are damaged or missing.
    """
    found = saved(partition, rows, loading, WHAT)
    partition.reserve(0, 0, 0, 0, 0, purchases=len(found.slots) + len(found.data) // DEAL_BYTES)
    st = partition.state
    oldest = loading.today - partition.constants.window + 1
    read = unpack_purchases(st, *_views(st), found.slots, found.data, found.ends, loading.clock, oldest)
    check(found, int(read), loading, WHAT)

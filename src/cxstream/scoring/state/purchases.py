"""The snapshot rows of purchases: one for each customer who has any.

A row's key is a prefix and the customer's number of first appearance, as for remembered ids: a number is never used
twice, so no key identifies the customer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.layout import ACCEPTED, BUYERS, NO_DAY, NONE, SAVED_PURCHASES, UNSAVED_PURCHASES
from cxstream.kernels.purchases_pack import (
    BUYER_BYTES,
    DEAL_BYTES,
    pack_purchases,
    purchase_sizes,
    unpack_purchases,
)
from cxstream.model.errors import SnapshotError
from cxstream.model.kinds import Kind
from cxstream.model.rfc3339 import date

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cxstream.kernels.layout import Constants, State
    from cxstream.scoring.state.partition import PartitionState
    from cxstream.scoring.state.side import Loading

# Which kinds say something of purchases.
OF_MONEY = np.zeros(256, np.bool_)
OF_MONEY[[Kind.purchase, Kind.return_, Kind.purchase_history]] = True
CURRENCY_LETTERS = 3

PREFIX = b"p"
SEQ_BYTES = 6


def _key(seq: int) -> bytes:
    return PREFIX + seq.to_bytes(SEQ_BYTES, "big")


def _views(st: State) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Buyers and deals as bytes."""
    return (
        st.buyers.view(np.uint8).reshape(len(st.buyers), BUYER_BYTES),
        st.deals.view(np.uint8).reshape(len(st.deals), DEAL_BYTES),
    )


def vacate(st: State, slots: list[int] | slice) -> None:
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
) -> tuple[list[int], list[str | None], list[float]]:
    """What score cards say: days with a purchase, the last of them, and what was spent, of each slot."""
    st = partition.state
    places = st.purchases[slots]
    who = np.flatnonzero(places != NONE)
    buyers = places[who]
    days, spent = np.zeros(len(slots), np.int64), np.zeros(len(slots))
    days[who], spent[who] = st.buyers["days"][buyers], st.buyers["spent"][buyers]
    last: list[str | None] = [None] * len(slots)
    for i, day in zip(who.tolist(), st.buyers["last"][buyers].tolist(), strict=True):
        if day != NO_DAY:
            last[i] = date(day)
    return days.tolist(), last, spent.tolist()


def unconverted(columns: NDArray[np.void], status: NDArray[np.uint8], constants: Constants) -> list[str]:
    """The currency of each accepted amount for which there is no rate.

    Args:
        columns: EVENT[n].
        status: uint8[n].
        constants: with the rates.
    """
    money = np.flatnonzero(OF_MONEY[columns["kind"]])
    if not len(money):
        return []
    codes = columns["case"][money[status[money] == ACCEPTED]]
    return [
        code.to_bytes(CURRENCY_LETTERS, "big").decode()
        for code in codes[~np.isin(codes, constants.currencies)].tolist()
    ]


def take_changed(partition: PartitionState) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """Keys of rows to delete, and rows to write; they count as saved from now on."""
    st, slots = partition.state, changed(partition)
    gone, partition.ended = [_key(seq) for seq in partition.ended], []
    if not len(slots):
        return gone, []
    ends = np.empty(len(slots), np.int64)
    purchase_sizes(st, slots, ends)
    out = np.empty(int(ends[-1]), np.uint8)
    pack_purchases(st, *_views(st), slots, out)
    data, begin, rows = out.tobytes(), 0, []
    for seq, end in zip(st.rows["seq"][slots].tolist(), ends.tolist(), strict=True):
        rows.append((_key(seq), data[begin:end]))
        begin = end
    return gone, rows


def mark(partition: PartitionState, slots: NDArray[np.int64]) -> None:
    """Mark the purchases of these slots as not saved."""
    st = partition.state
    bought = slots[st.purchases[slots] != NONE]
    st.purchases_dirty[bought] |= UNSAVED_PURCHASES | SAVED_PURCHASES


def load(partition: PartitionState, rows: Mapping[bytes, bytes], loading: Loading) -> None:
    """Load the purchases of customers who have been loaded.

    Args:
        partition: the customers, in order of first appearance.
        rows: the saved rows of purchases.
        loading: what is known of the snapshot.

    Raises:
        SnapshotError: rows are damaged or missing.
    """
    keys = list(rows)
    if any(len(key) != 1 + SEQ_BYTES for key in keys):
        raise SnapshotError("a key of purchases cannot be read: rebuild the partition from its log")
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
    partition.reserve(0, 0, 0, 0, 0, purchases=len(payloads) + int(np.sum(sizes)) // DEAL_BYTES)
    st, data = partition.state, np.frombuffer(b"".join(payloads), np.uint8)
    oldest = loading.today - partition.constants.window + 1
    read = unpack_purchases(st, *_views(st), slots, data, np.cumsum(sizes), loading.clock, oldest)
    if read < len(slots):
        raise SnapshotError(
            "a row of purchases is incomplete or impossible: rebuild the partition from its log"
        )
    found = len(slots)
    if not loading.all_customers:
        found = min(found + int(np.count_nonzero(~known)), loading.expected)
    if found != loading.expected:
        raise SnapshotError(
            f"the snapshot has {found} of {loading.expected} rows of purchases: rebuild the partition"
        )

"""Snapshot rows of side state: one for each customer who has any, beside the customer's own row.

A row's key is a prefix and the customer's number of first appearance, as for remembered ids: a number is never given
twice, so no key identifies the customer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.model.errors import SnapshotError
from cxstream.scoring.state.sealed_rows import columns, keys_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.layout import State
    from cxstream.scoring.state.partition import PartitionState
    from cxstream.scoring.state.saved_rows import RowColumns
    from cxstream.scoring.state.side import Loading

SEQ_BYTES = 6


def key(prefix: bytes, seq: int) -> bytes:
    """The key of a customer's row."""
    return prefix + seq.to_bytes(SEQ_BYTES, "big")


def keyed(
    prefix: bytes, st: State, slots: NDArray[np.int64], packed: NDArray[np.uint8], ends: NDArray[np.int64]
) -> RowColumns:
    """Rows with their keys.

    Args:
        prefix: of the keys.
        st: the state.
        slots: int64[n].
        packed: uint8[ends[-1] + WIDE], the rows one after the other.
        ends: int64[n], where the row of each ends.
    """
    text = np.empty((len(slots), 1 + SEQ_BYTES), np.uint8)
    text[:, 0] = prefix[0]
    text[:, 1:] = seqs_of(st.rows["seq"][slots])
    return columns(keys_of(text), packed, ends)


def seqs_of(seqs: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Numbers of first appearance as keys have them, uint8[n, SEQ_BYTES]."""
    return seqs.astype(">i8")[:, None].view(np.uint8)[:, -SEQ_BYTES:]


class Saved(NamedTuple):
    """Saved rows of customers who have been loaded.

    Attributes:
        slots: int64[n], of the customers.
        data: uint8[m], their rows one after the other.
        ends: int64[n], where each ends.
        unknown: rows of others.
    """

    slots: NDArray[np.int64]
    data: NDArray[np.uint8]
    ends: NDArray[np.int64]
    unknown: int


def saved(partition: PartitionState, rows: RowColumns, loading: Loading, what: str) -> Saved:
    """Find the customers of saved rows; the rows of others will be deleted.

    Args:
        partition: the customers, in order of first appearance.
        rows: the saved rows.
        loading: what is known of the snapshot.
        what: name of the rows, for errors.

    Raises:
        SnapshotError: a key cannot be read.
    """
    keys = rows.keys
    if (keys.lengths != 1 + SEQ_BYTES).any():
        raise SnapshotError(f"a key of {what} cannot be read: rebuild the partition from its log")
    seqs = number_at(keys.data, keys.begins + 1, SEQ_BYTES)
    live = partition.live()
    theirs = partition.state.rows["seq"][live]
    places = np.searchsorted(theirs, seqs)
    known = np.append(theirs, -1)[places] == seqs
    # Another worker saved them in between: the next snapshot deletes them.
    partition.dead_keys |= dict.fromkeys(keys.taken(np.flatnonzero(~known)))
    slots = np.append(live, 0).astype(np.int64)[places][known]
    data, ends = rows.taken(np.flatnonzero(known)).payloads(loading.trailer)
    return Saved(slots, data, ends, int(np.count_nonzero(~known)))


def number_at(text: NDArray[np.uint8], places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The numbers of so many bytes at some places of a text, the highest byte first; int64[n]."""
    found = np.zeros(len(places), np.int64)
    for i in range(size):
        found = found << 8 | text[places + i]
    return found


def check(found: Saved, read: int, loading: Loading, what: str) -> None:
    """Check that the rows are sound, and all there.

    Args:
        found: the rows.
        read: how many could be read.
        loading: what is known of the snapshot.
        what: name of the rows, for errors.

    Raises:
        SnapshotError: rows are damaged or missing.
    """
    if read < len(found.slots):
        raise SnapshotError(
            f"a row of {what} is incomplete or impossible: rebuild the partition from its log"
        )
    count = len(found.slots)
    if not loading.all_customers:
        count = min(count + found.unknown, loading.expected)
    if count != loading.expected:
        raise SnapshotError(
            f"the snapshot has {count} of {loading.expected} rows of {what}: rebuild the partition from its log"
        )

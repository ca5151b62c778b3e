"""Which steps journeys have had by how they end; arguments are as in `cxstream.kernels.journeys`.

A set of places is some words of 64 bits for each customer. What a journey has had before its end is what it has had when
the row came that made the end, so the sets at the last of these rows are kept: of purchases and churn one, since the
last of them decides, and of complaints another one, which counts where there was neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.paths import COMPLAINT, PURCHASE, SILENCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.void]
    Words = NDArray[np.uint64]

# The journey of a customer that is under way, and its last time.
UNDER_WAY = np.dtype([("time", np.int64), ("rows", np.int32), ("ending", np.int32)], align=True)
BITS = 64
_ONE, _NONE = np.uint64(1), np.uint64(0)


@entry
def follow_outcomes(
    order: NDArray[np.int32],
    rows: Records,
    within: int,
    cuts: NDArray[np.bool_],
    groups: NDArray[np.int8],
    journeys: Records,
    seen: Words,
    at_end: Words,
    at_complaint: Words,
    ever: Words,
    counts: NDArray[np.int64],
) -> None:
    """Add what each row says of the journey of its customer.

    Args:
        order: see the module.
        rows: likewise; place 1 is none, and kinds are SILENCE, COMPLAINT, PURCHASE or CHURN.
        within: see the module.
        cuts: bool[4], of each end, whether only what came before it counts.
        groups: int8[4], of each end, the group that its journeys are counted in; below 0 for none.
        journeys: UNDER_WAY by customer.
        seen: uint64[customers, words], places of the journey.
        at_end: ... before its last purchase or churn.
        at_complaint: ... before its last complaint.
        ever: ... of all journeys that have ended; no customers if nobody asks.
        counts: int64[groups, places], of this part: journeys that have each place; at 0 all journeys.
    """
    words = seen.shape[1]
    for i in range(len(order)):
        row = rows[order[i]]
        customer = row.customer
        at = journeys[customer]
        if at.rows > 0 and within >= 0 and row.time - at.time > within:
            _end(customer, at, cuts, groups, seen, at_end, at_complaint, ever, counts)
            at.rows = 0
            at.ending = SILENCE
            for word in range(words):
                seen[customer, word] = _NONE
        kind = row.kind
        if kind >= PURCHASE:
            at.ending = kind
            for word in range(words):
                at_end[customer, word] = seen[customer, word]
        elif kind == COMPLAINT:
            if at.ending == SILENCE:
                at.ending = kind
            for word in range(words):
                at_complaint[customer, word] = seen[customer, word]
        bit = row.place - 2
        if bit >= 0:
            seen[customer, bit // BITS] |= _ONE << np.uint64(bit % BITS)
        at.time = row.time
        at.rows += 1


@kernel
def _end(
    customer: int,
    at: Any,
    cuts: NDArray[np.bool_],
    groups: NDArray[np.int8],
    seen: Words,
    at_end: Words,
    at_complaint: Words,
    ever: Words,
    counts: NDArray[np.int64],
) -> None:
    group = groups[at.ending]
    if group < 0:
        return
    counts[group, 0] += 1
    for word in range(seen.shape[1]):
        bits = seen[customer, word]
        if cuts[at.ending]:
            bits = at_end[customer, word] if at.ending >= PURCHASE else at_complaint[customer, word]
        if len(ever):
            ever[customer, word] |= bits
        _count(bits, word, counts[group])


@kernel
def _count(bits: np.uint64, word: int, counts: NDArray[np.int64]) -> None:
    """Count the places of a word."""
    place = word * BITS + 1
    while bits != _NONE:
        if bits & _ONE:
            counts[place] += 1
        bits >>= _ONE
        place += 1


@entry
def end_outcomes(
    part: int,
    parts: int,
    cuts: NDArray[np.bool_],
    groups: NDArray[np.int8],
    journeys: Records,
    seen: Words,
    at_end: Words,
    at_complaint: Words,
    ever: Words,
    counts: NDArray[np.int64],
) -> None:
    """Count the journeys that are under way, of the customers of a part; other arguments as in `follow_outcomes`."""
    for customer in range(part, len(journeys), parts):
        if journeys[customer].rows > 0:
            _end(customer, journeys[customer], cuts, groups, seen, at_end, at_complaint, ever, counts)


@entry
def count_bits(ever: Words, counts: NDArray[np.int64]) -> None:
    """Count the customers of each place.

    Args:
        ever: uint64[customers, words].
        counts: int64[places], zeros; receives the customers from place 1 on.
    """
    for customer in range(len(ever)):
        for word in range(ever.shape[1]):
            _count(ever[customer, word], word, counts)

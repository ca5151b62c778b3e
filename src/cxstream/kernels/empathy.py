"""An empathy map, told from touchpoints in any order: how many have each item, and which customers.

Items are numbers from 0 on, below 64 times the words of `seen`. What an item adds is counted in integers, so that the order
does not matter. Rows are of blocks of customers (`cxstream.kernels.blocks`), so that the sets of a block are within the cache.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.journeys import AHEAD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.void]
    Words = NDArray[np.uint64]

# An item: touchpoints, their customers, and what they added, in millionths of a point.
ITEM = np.dtype([(name, np.int64) for name in ("count", "customers", "effort", "mood")])
# A kind, channel and touchpoint: a number that stands for it, and the items that touchpoints there have; those that are below 0, no item.
CELL = np.dtype(
    [("key", np.int64), *((name, np.int32) for name in ("does", "pains", "gains", "is_there"))], align=True
)
BITS = 64
BAND, BANDS = 20, 5
_MICRO = 1e6
_HALF = 0.5
_NONE = np.uint64(0)


@entry
def count_items(
    rows: Records,
    values: NDArray[np.float32],
    cells: Records,
    bands: NDArray[np.int32],
    tones: NDArray[np.int32],
    seen: Words,
    items: Records,
) -> bool:
    """Count the items that rows have by their place, by the satisfaction after them, and by the tone of their words.

    Args:
        rows: ROW[n] of customers that no other thread has; `time` is the key of a cell, and `kind` a tone.
        values: float32[n, 4], effort and mood that each row added, points, and satisfaction after it, 0..100.
        cells: CELL[m], a table of a power of two, where each key is at the first free place from `key` modulo m on.
        bands: int32[BANDS], items.
        tones: int32[tones], items; below 0 for none.
        seen: uint64[customers, words], receives a bit for each item of a customer.
        items: ITEM by item, of this thread, receives the sums.

    Returns:
        False if the cell of a row is not there.
    """
    mask = len(cells) - 1
    for i in range(len(rows)):
        row = rows[i]
        at = row.time & mask
        while cells[at].is_there and cells[at].key != row.time:
            at = (at + 1) & mask
        cell = cells[at]
        if not cell.is_there:
            return False
        mine = seen[row.customer]
        effort, mood = micro(values[i, 0]), micro(values[i, 1])
        # What customers do themselves, and how they feel.
        if cell.does >= 0:
            _count(cell.does, True, mine, items, effort, mood)
            band = max(0, min(BANDS - 1, int(values[i, 2] // BAND)))
            _count(bands[band], True, mine, items, effort, mood)
            if tones[row.kind] >= 0:
                _count(tones[row.kind], True, mine, items, effort, mood)
        _count(cell.pains, (values[i, 0] > 0) | (values[i, 1] < 0), mine, items, effort, mood)
        _count(cell.gains, values[i, 1] > 0, mine, items, effort, mood)
    return True


@entry
def count_texts(
    customers: NDArray[np.int32],
    efforts: NDArray[np.float32],
    moods: NDArray[np.float32],
    texts: NDArray[np.int32],
    seen: Words,
    items: Records,
) -> int:
    """Count the items of words.

    Args:
        customers: int32[n], the other number of the customer of each row.
        efforts: float32[n], that each row added, points.
        moods: float32[n], likewise.
        texts: int32[n], the item of each row; below 0 for none.
        seen: uint64[customers, words], receives a bit for each item of a customer.
        items: ITEM by item, receives the sums.

    Returns:
        Nothing of use; without it, the reads ahead would be left out.
    """
    warm = _NONE
    for i in range(len(customers)):
        if i % AHEAD == 0:
            for ahead in range(i, min(i + AHEAD, len(customers))):
                warm |= seen[customers[ahead], 0]
        if texts[i] >= 0:
            _count(texts[i], True, seen[customers[i]], items, micro(efforts[i]), micro(moods[i]))
    return int(warm)


@kernel
def _count(item: int, has: bool, mine: Words, items: Any, effort: int, mood: int) -> None:
    """Add to an item if a row has it, without a branch: whether it has it is as good as random."""
    many = np.int64(has)
    one = items[item]
    one.count += many
    one.effort += many * effort
    one.mood += many * mood
    bit = np.uint64(many) << np.uint64(item % BITS)
    before = mine[item // BITS]
    mine[item // BITS] = before | bit
    one.customers += np.int64((bit & ~before) != _NONE)


@kernel
def micro(points: float) -> int:
    """Millionths of a point, rounded half away from zero, as SQL rounds.

    >>> micro(2.5e-6), micro(-2.5e-6), micro(np.float32(0.0078125))
    (3, -3, 7813)
    """
    # The product of a float32 and a million is exact, and so is its sum with a half.
    scaled = np.float64(points) * _MICRO
    return int(scaled + math.copysign(_HALF, scaled))

"""An empathy map, told from touchpoints in any order: how many have each item, and which customers.

Items are numbers from 0 on, below 64 times the words of `seen`. What an item adds is counted in integers, so that the order
does not matter.
"""

from __future__ import annotations

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
BITS = 64
BAND, BANDS = 20, 5
# Sentiments up to this are neutral.
NEUTRAL = 0.05
POSITIVE, NEGATIVE, NEUTRAL_WORDS = 0, 1, 2
_MICRO = 1e6
_HALF = 0.5
_ONE, _NONE = np.uint64(1), np.uint64(0)


@entry
def count_items(
    part: int,
    parts: int,
    seen: Words,
    items: Records,
    customers: NDArray[np.int32],
    kinds: NDArray[np.int16],
    channels: NDArray[np.int16],
    touchpoints: NDArray[np.int16],
    own: NDArray[np.bool_],
    satisfactions: NDArray[np.float32],
    sentiments: NDArray[np.float64],
    efforts: NDArray[np.float32],
    moods: NDArray[np.float32],
    says: NDArray[np.int32],
    thinks: NDArray[np.int32],
    reasons: NDArray[np.int32],
    does: NDArray[np.int32],
    pains: NDArray[np.int32],
    gains: NDArray[np.int32],
    bands: NDArray[np.int32],
    tones: NDArray[np.int32],
) -> int:
    """Count the items of each row of a part, which has the customers whose number has the remainder `part` by `parts`.

    Args:
        part: see above.
        parts: likewise.
        seen: uint64[customers, words], receives a bit for each item of a customer.
        items: ITEM by item, of this part, receives the sums.
        customers: of each row.
        kinds: of each row.
        channels: of each row.
        touchpoints: of each row, 0 for none.
        own: whether the customer did it, and not the company.
        satisfactions: after each row, 0..100.
        sentiments: of the text of each row; NaN without one.
        efforts: that each row added, points.
        moods: ... likewise.
        says: item of each row; below 0 for none.
        thinks: ... likewise.
        reasons: ... likewise.
        does: int32[kinds, channels, touchpoints], items.
        pains: ... likewise.
        gains: ... likewise.
        bands: int32[BANDS], items.
        tones: int32[3], items by POSITIVE, NEGATIVE and NEUTRAL_WORDS.

    Returns:
        Nothing of use; without it, the reads ahead would be left out.
    """
    warm = _NONE
    for i in range(len(customers)):
        if i % AHEAD == 0:
            for ahead in range(i, min(i + AHEAD, len(customers))):
                if customers[ahead] % parts == part:
                    warm |= seen[customers[ahead], 0]
        if customers[i] % parts != part:
            continue
        mine = seen[customers[i]]
        kind, channel = kinds[i], channels[i]
        effort, mood = micro(efforts[i]), micro(moods[i])
        _count(says[i], mine, items, effort, mood)
        _count(thinks[i], mine, items, effort, mood)
        _count(reasons[i], mine, items, effort, mood)
        if own[i]:
            _count(does[kind, channel, touchpoints[i]], mine, items, effort, mood)
            band = max(0, min(BANDS - 1, int(satisfactions[i] // BAND)))
            _count(bands[band], mine, items, effort, mood)
            sentiment = sentiments[i]
            if not np.isnan(sentiment):
                tone = (
                    POSITIVE if sentiment > NEUTRAL else NEGATIVE if sentiment < -NEUTRAL else NEUTRAL_WORDS
                )
                _count(tones[tone], mine, items, effort, mood)
        if efforts[i] > 0 or moods[i] < 0:
            _count(pains[kind, channel, touchpoints[i]], mine, items, effort, mood)
        if moods[i] > 0:
            _count(gains[kind, channel, touchpoints[i]], mine, items, effort, mood)
    return int(warm)


@kernel
def _count(item: int, mine: Words, items: Any, effort: int, mood: int) -> None:
    if item < 0:
        return
    one = items[item]
    one.count += 1
    one.effort += effort
    one.mood += mood
    bit = _ONE << np.uint64(item % BITS)
    if not mine[item // BITS] & bit:
        mine[item // BITS] |= bit
        one.customers += 1


@kernel
def micro(points: float) -> int:
    """Millionths of a point, rounded half away from zero, as SQL rounds.

    >>> micro(2.5e-6), micro(-2.5e-6), micro(np.float32(0.0078125))
    (3, -3, 7813)
    """
    # The product of a float32 and a million is exact, and so is its sum with a half.
    scaled = np.float64(points) * _MICRO
    return int(scaled + _HALF) if scaled >= 0 else -int(_HALF - scaled)

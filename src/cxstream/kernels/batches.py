"""What is asked of all records of a batch at once, before they are applied and after: a pass over the batch in place of one for each question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.kernels.jit import entry
from cxstream.kernels.layout import ACCEPTED, FROM_THE_FUTURE, TOO_LATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KINDS, FATES = 256, 16
"""How many kinds, and how many fates of a record, counts have room for."""


@entry
def prepare(
    events: NDArray[np.void], slots: NDArray[np.int32], kind: int, counts: NDArray[np.int64], places: NDArray[np.int64]
) -> int:  # fmt: skip
    """Fill in the slots of events, and count their kinds.

    Args:
        events: EVENT[n]; `slot` is filled in.
        slots: int32[n].
        kind: a kind whose places are asked for.
        counts: int64[KINDS], zeros; how many events of each kind there are is filled in.
        places: int64[n], filled in: the places of that kind, in order.

    Returns:
        How many places there are.
    """
    found = 0
    for i in range(len(events)):
        events[i].slot = slots[i]
        counts[events[i].kind] += 1
        if events[i].kind == kind:
            places[found] = i
            found += 1
    return found


@entry
def sum_up(
    events: NDArray[np.void], status: NDArray[np.uint8], wanted: NDArray[np.bool_], counts: NDArray[np.int64],
    accepted: NDArray[np.int64], refused: NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Count what became of events, and note some of them.

    Args:
        events: EVENT[n].
        status: uint8[n].
        wanted: bool[KINDS], whether the accepted events of a kind are noted.
        counts: int64[FATES], zeros; how many events have each status is filled in.
        accepted: int64[n], filled in: places of accepted events of these kinds, in order.
        refused: int64[n], filled in: places of events that are too late or from the future, in order.

    Returns:
        How many of the first and of the second are noted.
    """
    first, second = 0, 0
    for i in range(len(events)):
        counts[status[i]] += 1
        if status[i] == ACCEPTED:
            if wanted[events[i].kind]:
                accepted[first] = i
                first += 1
        elif status[i] == TOO_LATE or status[i] == FROM_THE_FUTURE:
            refused[second] = i
            second += 1
    return first, second

"""What the order of records does to the clocks of partitions, for the reports of a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.kernels.jit import entry
from cxstream.kernels.layout import ACCEPTED, FROM_THE_FUTURE, NEVER, NONE, TICKED, TOO_LATE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DAY_MS = 86_400_000
_JUMP_MS = 7 * _DAY_MS
# What is counted: times of the first, the last and the latest record, NEVER before there is one; records older than one before
# them, newer than the one just before, and behind by more than a day; how far behind at most; the first such record of a batch.
FIRST, BEFORE, LATEST, BEHIND, AHEAD, FAR, WORST, BEGINS, COUNTS = range(9)


@entry
def follow(
    times: NDArray[np.int64], status: NDArray[np.uint8], partitions: NDArray[np.int32], clocks: NDArray[np.int64],
    counts: NDArray[np.int64], notes: NDArray[np.int64],
) -> int:  # fmt: skip
    """Follow the records of a batch.

    Args:
        times: int64[n], event times, ms UTC.
        status: uint8[n], as in `Outcome`.
        partitions: int32[n].
        clocks: int64[...], of each partition; NEVER before it has started. Changed.
        counts: int64[COUNTS], changed.
        notes: int64[n, 2], filled in: places of records that are too late, start a clock or move it by more than a week, in
            order, and the clock before.

    Returns:
        How many notes there are.
    """
    counts[BEGINS] = NONE
    noted = 0
    for i in range(len(times)):
        time = times[i]
        if status[i] != FROM_THE_FUTURE:
            gap = max(counts[LATEST] - time, 0)
            counts[BEHIND] += gap > 0
            counts[AHEAD] += time > counts[BEFORE]
            if gap > _DAY_MS:
                counts[FAR] += 1
                if counts[BEGINS] == NONE:
                    counts[BEGINS] = i
            counts[WORST] = max(counts[WORST], gap)
            counts[FIRST] = min(counts[FIRST], time)
            counts[LATEST] = max(counts[LATEST], time)
            counts[BEFORE] = time
        clock = clocks[partitions[i]]
        if status[i] == TOO_LATE:
            notes[noted, 0], notes[noted, 1] = i, clock
            noted += 1
        elif (status[i] == ACCEPTED or status[i] == TICKED) and (time > clock or clock == NEVER):
            if clock == NEVER or time - clock > _JUMP_MS:
                notes[noted, 0], notes[noted, 1] = i, clock
                noted += 1
            clocks[partitions[i]] = time
    return noted

"""What sources deliver, told from touchpoints in any order within slices of time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.void]

# What a source has delivered, but for its times.
DELIVERED = np.dtype([(name, np.int64) for name in ("touchpoints", "customers", "late")])
# Times of a source, in us: how many there are, the first and the last one, and the longest time between two.
TIMES = np.dtype([(name, np.int64) for name in ("count", "first", "last", "gap")])
# Buckets of time of a source in a slice: where they begin, how many there are, and 2 to the power of `shift` us is the width of one.
BUCKETS = np.dtype([(name, np.int64) for name in ("start", "count", "shift")])
_MS = 1000
# No delay is known.
UNKNOWN = np.int64(-(1 << 63))
NEVER = np.int64(1 << 62)


@entry
def count_deliveries(
    customers: NDArray[np.int32],
    places: NDArray[np.int16],
    late: NDArray[np.uint8],
    delays: NDArray[np.int64],
    delivered: Records,
    seen: NDArray[np.bool_],
    counts: NDArray[np.int64],
    others: NDArray[np.int64],
    sources: NDArray[np.int16],
) -> int:
    """Count touchpoints of sources, which are the places.

    Args:
        customers: int32[n], of each row.
        places: int16[n], of each row, numbers of sources from 1 on.
        late: uint8[n], 1 for a late row.
        delays: int64[n], of each row, us, whole milliseconds; UNKNOWN without one.
        delivered: DELIVERED by source.
        seen: bool[sources, customers], whether a customer was seen.
        counts: int64[sources, m], of delays from 0 to m - 1 ms.
        others: int64[n], receives the other delays, ms.
        sources: int16[n], receives their sources.

    Returns:
        How many other delays there are.
    """
    found = 0
    for row in range(len(customers)):
        source = places[row] - 1
        one = delivered[source]
        one.touchpoints += 1
        one.late += late[row]
        if not seen[source, customers[row]]:
            seen[source, customers[row]] = True
            one.customers += 1
        if delays[row] == UNKNOWN:
            continue
        delay = delays[row] // _MS
        if 0 <= delay < counts.shape[1]:
            counts[source, delay] += 1
        else:
            others[found] = delay
            sources[found] = source
            found += 1
    return found


@entry
def find_times(times: NDArray[np.int64], places: NDArray[np.int16], found: Records) -> None:
    """Count the rows of sources, and find their first and last times.

    Args:
        times: int64[n], of each row, us.
        places: int16[n], of each row, numbers of sources from 1 on.
        found: TIMES by source; with `first` NEVER and `last` -NEVER before the first row.
    """
    for row in range(len(times)):
        one = found[places[row] - 1]
        one.count += 1
        one.first = min(one.first, times[row])
        one.last = max(one.last, times[row])


@entry
def fill_buckets(
    times: NDArray[np.int64],
    places: NDArray[np.int16],
    found: Records,
    buckets: Records,
    earliest: NDArray[np.int64],
    latest: NDArray[np.int64],
) -> None:
    """Find the first and the last time of each bucket.

    Args:
        times: int64[n], of each row, us.
        places: int16[n], of each row, numbers of sources from 1 on.
        found: TIMES by source, of the slice.
        buckets: BUCKETS by source.
        earliest: int64[buckets of all sources], NEVER; receives the first times.
        latest: int64[buckets of all sources], receives the last times.
    """
    for row in range(len(times)):
        source = places[row] - 1
        one = buckets[source]
        at = one.start + ((times[row] - found[source].first) >> one.shift)
        if earliest[at] == NEVER:
            earliest[at] = times[row]
            latest[at] = times[row]
        else:
            earliest[at] = min(earliest[at], times[row])
            latest[at] = max(latest[at], times[row])


@entry
def find_gaps(
    found: Records, buckets: Records, earliest: NDArray[np.int64], latest: NDArray[np.int64], times: Records
) -> None:
    """Add the times of a slice to those before it.

    Of n times the longest gap is at least their span / (n - 1). Where a bucket is not wider, it has no longer one within.

    Args:
        found: TIMES by source, of the slice.
        buckets: BUCKETS by source.
        earliest: as in `fill_buckets`.
        latest: likewise.
        times: TIMES by source, of all slices before; receives those of the slice, too.
    """
    for source in range(len(found)):
        if found[source].count == 0:
            continue
        one = times[source]
        if one.count == 0:
            one.first = found[source].first
            one.last = one.first
        start = buckets[source].start
        for at in range(start, start + buckets[source].count):
            if earliest[at] != NEVER:
                one.gap = max(one.gap, earliest[at] - one.last)
                one.last = latest[at]
        one.count += found[source].count

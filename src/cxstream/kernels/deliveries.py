"""What sources deliver, told from touchpoints in the order of time; `cxstream.kernels.journeys` says what a slice is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.void]

# What a source has delivered; times and the longest gap are in us.
DELIVERED = np.dtype(
    [(name, np.int64) for name in ("touchpoints", "customers", "late", "first", "last", "gap")]
)
_MS = 1000
# No delay is known.
UNKNOWN = np.int64(-(1 << 63))


@entry
def count_deliveries(
    order: NDArray[np.int32],
    customers: NDArray[np.int32],
    times: NDArray[np.int64],
    places: NDArray[np.int16],
    late: NDArray[np.bool_],
    delays: NDArray[np.int64],
    delivered: Records,
    seen: NDArray[np.bool_],
    counts: NDArray[np.int64],
    others: NDArray[np.int64],
    sources: NDArray[np.int16],
) -> int:
    """Count touchpoints of sources, which are the places.

    Args:
        order: of the rows.
        customers: of each row.
        times: of each row.
        places: of each row.
        late: of each row.
        delays: of each row, us, whole milliseconds; UNKNOWN without one.
        delivered: DELIVERED by source.
        seen: bool[sources, customers], whether a customer was seen.
        counts: int64[sources, m], of delays from 0 to m - 1 ms.
        others: int64[n], receives the other delays, ms.
        sources: int16[n], receives their sources.

    Returns:
        How many other delays there are.
    """
    found = 0
    for i in range(len(order)):
        row = order[i]
        source = places[row] - 1
        one = delivered[source]
        time = times[row]
        if one.touchpoints == 0:
            one.first = time
        else:
            one.gap = max(one.gap, time - one.last)
        one.last = time
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

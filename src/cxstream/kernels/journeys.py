"""Journeys of customers, told from touchpoints in the order of time: edges and funnels; `paths` has whole journeys.

Touchpoints come in slices, each later than the one before. `in_order` sorts a slice, and the others then look at each row
once, and at the state of its customer, an array by number of customer. So nothing is sorted by customer, and memory
grows with customers and not with the window.

Columns of a slice: `customers` int32[n], `times` int64[n] in us, `places` int16[n], what a step is, as numbers from 1 on.
`order` int32[m] are rows in order, of the customers whose number has the remainder `part` by `parts`: each thread has its own. `within` is the time in us after which a touchpoint begins another journey, below 0
for never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.void]

# Rows of a bucket of time on average, and how often a row may be moved on average until another way to sort is better.
BUCKET, _MOVES = 4, 16

# The last touchpoint of a customer; `journey` counts from 1 on, over all customers.
LAST = np.dtype(
    [("time", np.int64), ("journey", np.int32), ("place", np.int32), ("effort", np.float32), ("satisfaction", np.float32),
     # A record is within one line of the cache.
     ("unused", np.int64)],
    align=True,
)  # fmt: skip
# An edge: how often it is taken, and sums over that; gaps are in us.
EDGE = np.dtype([("count", np.int64),
                 *((name, np.float64) for name in ("gap", "effort", "mood", "effort_change", "satisfaction_change"))], align=True)  # fmt: skip
# So many states of customers are read at a time, before they are needed: a read that nothing depends on does not wait.
AHEAD = 128
# Before any time.
NEVER = -(1 << 62)


@entry
def in_order(
    times: NDArray[np.int64],
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    first: int,
    shift: int,
    ends: NDArray[np.int32],
    order: NDArray[np.int32],
) -> bool:
    """The rows by time, partition and offset.

    Args:
        times: int64[n].
        partitions: int32[n].
        offsets: int64[n].
        first: not after any time.
        shift: 2 to the power of it is the width of a bucket of time.
        ends: int32[m], zeros; as many widths after `first` is after every time.
        order: int32[n], receives the rows.

    Returns:
        False if too many rows share a bucket: then `order` is of no use.
    """
    count = len(times)
    for i in range(count):
        ends[(times[i] - first) >> shift] += 1
    total = 0
    for bucket in range(len(ends)):
        total += ends[bucket]
        ends[bucket] = total
    for i in range(count - 1, -1, -1):
        bucket = (times[i] - first) >> shift
        ends[bucket] -= 1
        order[ends[bucket]] = i
    left = _MOVES * count
    for i in range(1, count):
        row = order[i]
        at = i
        while at > 0 and _is_later(order[at - 1], row, times, partitions, offsets):
            order[at] = order[at - 1]
            at -= 1
        order[at] = row
        left -= i - at
        if left < 0:
            return False
    return True


@kernel
def _is_later(
    one: int,
    other: int,
    times: NDArray[np.int64],
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
) -> bool:
    if times[one] != times[other]:
        return bool(times[one] > times[other])
    if partitions[one] != partitions[other]:
        return bool(partitions[one] > partitions[other])
    return bool(offsets[one] > offsets[other])


@entry
def divide(
    order: NDArray[np.int32],
    customers: NDArray[np.int32],
    ends: NDArray[np.int64],
    divided: NDArray[np.int32],
) -> None:
    """Give each part the rows of its customers.

    Args:
        order: int32[n], all rows in order.
        customers: of each row.
        ends: int64[parts], zeros; receives where the rows of each part end.
        divided: int32[n], receives the rows of all parts, each in order.
    """
    parts = len(ends)
    for i in range(len(order)):
        ends[customers[order[i]] % parts] += 1
    total = 0
    for part in range(parts):
        count = ends[part]
        ends[part] = total
        total += count
    for i in range(len(order)):
        part = customers[order[i]] % parts
        divided[ends[part]] = order[i]
        ends[part] += 1


@entry
def follow_edges(
    order: NDArray[np.int32],
    customers: NDArray[np.int32],
    times: NDArray[np.int64],
    places: NDArray[np.int16],
    efforts: NDArray[np.float32],
    moods: NDArray[np.float32],
    efforts_after: NDArray[np.float32],
    satisfactions_after: NDArray[np.float32],
    within: int,
    size: int,
    part: int,
    parts: int,
    last: Records,
    edges: Records,
    owners: NDArray[np.int32],
    final: NDArray[np.int32],
    begun: int,
    edge: NDArray[np.int32],
    journey: NDArray[np.int32],
    gap: NDArray[np.int64],
) -> int:
    """Count the edges that lead to each row, and those from the end of a journey.

    An edge from place a to b has the number `a * size + b`; place 0 is before a journey and behind it.

    Args:
        order: of the rows.
        customers: of each row.
        times: of each row.
        places: of each row, 1 .. size - 1.
        efforts: that each row added.
        moods: that each row added.
        efforts_after: the customer's effort after each row.
        satisfactions_after: the customer's satisfaction after each row.
        within: see the module.
        size: places and one.
        part: see the module.
        parts: see the module.
        last: LAST by customer.
        edges: EDGE by number of edge, of this part alone.
        owners: int32, receives the customer of each journey.
        final: int32, receives the last place of each journey that has ended.
        begun: journeys so far, of this part.
        edge: int32[m], receives the edge to each row, in order.
        journey: int32[m], receives the journey of each row, in order.
        gap: int64[m], receives the time since the row before, us; -1 where a journey begins.

    Returns:
        Journeys so far, of this part.
    """
    warm = 0
    for i in range(len(order)):
        if i % AHEAD == 0:
            for ahead in range(i, min(i + AHEAD, len(order))):
                warm += last[customers[order[ahead]]].journey
        row = order[i]
        customer = customers[row]
        before = last[customer]
        place = places[row]
        is_between = before.journey > 0 and (within < 0 or times[row] - before.time <= within)
        if is_between:
            number = before.place * size + place
            gap[i] = times[row] - before.time
            taken = edges[number]
            taken.gap += gap[i]
            taken.effort_change += np.float64(efforts_after[row]) - np.float64(before.effort)
            taken.satisfaction_change += np.float64(satisfactions_after[row]) - np.float64(
                before.satisfaction
            )
        else:
            if before.journey > 0:
                _end(before, size, edges, final)
            number = np.int32(place)
            gap[i] = -1
            taken = edges[number]
            owners[begun * parts + part] = customer
            before.journey = begun * parts + part + 1
            begun += 1
        taken.count += 1
        taken.effort += efforts[row]
        taken.mood += moods[row]
        edge[i] = number
        journey[i] = before.journey
        before.time = times[row]
        before.place = place
        before.effort = efforts_after[row]
        before.satisfaction = satisfactions_after[row]
    # Never; but what was read must be of use, or the compiler leaves it out.
    return begun if warm >= 0 else warm


@kernel
def _end(before: Any, size: int, edges: Records, final: NDArray[np.int32]) -> None:
    edges[before.place * size].count += 1
    final[before.journey - 1] = before.place


@entry
def end_edges(last: Records, size: int, edges: Records, final: NDArray[np.int32]) -> None:
    """Count the edges from the end of the journeys that no touchpoint has ended, of all parts; arguments as in `follow_edges`."""
    for customer in range(len(last)):
        if last[customer].journey > 0:
            _end(last[customer], size, edges, final)


@entry
def takers(
    edge: NDArray[np.int32],
    journey: NDArray[np.int32],
    gap: NDArray[np.int64],
    wanted: NDArray[np.int32],
    wanted_out: NDArray[np.int32],
    journey_out: NDArray[np.int32],
    gap_out: NDArray[np.int64],
) -> None:
    """Choose the rows of some edges.

    Args:
        edge: int32[n], of each row.
        journey: int32[n], of each row.
        gap: int64[n], of each row.
        wanted: int32, a number for each edge; below 0 it is left out.
        wanted_out: int32[m], receives the numbers; m is how many there are.
        journey_out: int32[m], receives the journeys.
        gap_out: int64[m], receives the gaps, us.
    """
    found = 0
    for i in range(len(edge)):
        number = wanted[edge[i]]
        if number >= 0:
            wanted_out[found] = number
            journey_out[found] = journey[i]
            gap_out[found] = gap[i]
            found += 1


@entry
def follow_funnel(
    order: NDArray[np.int32],
    customers: NDArray[np.int32],
    times: NDArray[np.int64],
    places: NDArray[np.int16],
    within: int,
    is_strict: bool,
    starts: NDArray[np.int64],
    took: NDArray[np.int64],
) -> int:
    """Advance customers through the steps of a funnel, which are the places.

    Args:
        order: of the rows.
        customers: of each row.
        times: of each row.
        places: of each row, 1 .. steps.
        within: from the first of the steps to the last, us.
        is_strict: whether the steps must be one after the other.
        starts: int64[customers, steps], NEVER: the latest start of the steps up to each one; in any order the last
            time of each one.
        took: int64[customers, steps], minus 1; receives the time in us that a customer took through the steps up to each
            one when first there.

    Returns:
        Nothing of use, so that the compiler does not leave out what was read ahead.
    """
    steps = starts.shape[1]
    warm = 0
    for i in range(len(order)):
        if i % AHEAD == 0:
            for ahead in range(i, min(i + AHEAD, len(order))):
                customer = customers[order[ahead]]
                warm |= starts[customer, 0] ^ took[customer, 0]
        row = order[i]
        customer = customers[row]
        place = places[row] - 1
        time = times[row]
        if not is_strict:
            starts[customer, place] = time
            earliest = time
            for step in range(steps):
                if starts[customer, step] == NEVER:
                    break
                earliest = min(earliest, starts[customer, step])
                if time - earliest > within:
                    break
                if took[customer, step] < 0:
                    took[customer, step] = time - earliest
            continue
        start = time if place == 0 else starts[customer, place - 1]
        if start != NEVER and time - start <= within:
            starts[customer, place] = start
            if took[customer, place] < 0:
                took[customer, place] = time - start
    return warm

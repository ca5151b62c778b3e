"""Journeys of customers, told from touchpoints in the order of time: edges and funnels; `paths` has whole journeys.

Touchpoints come in slices, each later than the one before, and within a slice by blocks of customers
(`cxstream.kernels.blocks`). Kernels look at each row once, and at the state of its customer, an array by number of
customer. So nothing is sorted by customer, and memory grows with customers and not with the window.

Arrays of a slice: `rows` ROW[n], of which `place` is what a step is, as a number from 1 on; `values` float32[n, m], numbers of
each row; `order` int32[k], the rows of one thread in order, block by block, of the customers whose block is `part` of `parts`.
`within` is the time in us after which a touchpoint begins another journey, below 0 for never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.void]

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
def follow_edges(
    order: NDArray[np.int32],
    rows: Records,
    values: NDArray[np.float32],
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
        order: see the module.
        rows: likewise.
        values: effort and mood that each row added, and the customer's effort and satisfaction after it.
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
                warm += last[rows[order[ahead]].customer].journey
        number = order[i]
        row = rows[number]
        before = last[row.customer]
        is_between = before.journey > 0 and (within < 0 or row.time - before.time <= within)
        if is_between:
            taking = before.place * size + row.place
            gap[i] = row.time - before.time
            taken = edges[taking]
            taken.gap += gap[i]
            taken.effort_change += np.float64(values[number, 2]) - np.float64(before.effort)
            taken.satisfaction_change += np.float64(values[number, 3]) - np.float64(before.satisfaction)
        else:
            if before.journey > 0:
                _end(before, size, edges, final)
            taking = np.int32(row.place)
            gap[i] = -1
            taken = edges[taking]
            owners[begun * parts + part] = row.customer
            before.journey = begun * parts + part + 1
            begun += 1
        taken.count += 1
        taken.effort += values[number, 0]
        taken.mood += values[number, 1]
        edge[i] = taking
        journey[i] = before.journey
        before.time = row.time
        before.place = row.place
        before.effort = values[number, 2]
        before.satisfaction = values[number, 3]
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
def count_takers(
    order: NDArray[np.int32],
    ends: NDArray[np.int64],
    journeys: NDArray[np.int32],
    owners: NDArray[np.int32],
    journey_stamps: NDArray[np.int32],
    customer_stamps: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> None:
    """Count the journeys and the customers that take each of some edges.

    Args:
        order: int32[n], rows by edge.
        ends: int64[edges], where those of each edge end in it.
        journeys: int32[n], of each row, from 1 on.
        owners: int32, the customer of each journey.
        journey_stamps: int32, zeros by journey; changes.
        customer_stamps: int32, zeros by customer; changes.
        counts: int64[2, edges], zeros; receives the journeys and the customers of each edge.
    """
    begin = 0
    for edge in range(len(ends)):
        stamp = edge + 1
        for i in range(begin, ends[edge]):
            journey = journeys[order[i]] - 1
            if journey_stamps[journey] != stamp:
                journey_stamps[journey] = stamp
                counts[0, edge] += 1
                customer = owners[journey]
                if customer_stamps[customer] != stamp:
                    customer_stamps[customer] = stamp
                    counts[1, edge] += 1
        begin = ends[edge]


@entry
def follow_funnel(
    order: NDArray[np.int32],
    rows: Records,
    within: int,
    is_strict: bool,
    starts: NDArray[np.int64],
    took: NDArray[np.int64],
) -> int:
    """Advance customers through the steps of a funnel, which are the places.

    Args:
        order: see the module.
        rows: likewise; places are 1 .. steps.
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
                customer = rows[order[ahead]].customer
                warm |= starts[customer, 0] ^ took[customer, 0]
        row = rows[order[i]]
        customer = row.customer
        place = row.place - 1
        time = row.time
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

"""Sums over the customers of groups of touchpoints, without a set of customers for each group.

Rows are sorted by group. Then one group after the other is told from a state for each customer, in which the last group that
has touched it is kept, so that it is not emptied between two groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry
from cxstream.kernels.journeys import AHEAD

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.void]

FLAGS = 8
# A customer in a group: rows and what they added; `group` counts from 1 on.
STATE = np.dtype(
    [("group", np.int64), ("n", np.int64), ("effort", np.float64), ("mood", np.float64)], align=True
)
# ... and their last row: its time in us, and the scores after it.
LAST = np.dtype(
    [("time", np.int64), ("group", np.int32), ("row", np.int32), ("effort", np.float32), ("satisfaction", np.float32),
     # A record is within one line of the cache.
     ("unused", np.int64)],
    align=True,
)  # fmt: skip
# A group: customers, rows, and sums over customers.
PLACE = np.dtype(
    [("customers", np.int64), ("n", np.int64),
     *((name, np.float64) for name in ("effort", "mood", "satisfaction", "effort_squares", "effort_products", "mood_squares",
                                       "mood_products", "n_squares")),
     ("flags", np.int64, FLAGS)], align=True)  # fmt: skip
# A group: customers, and mean and sum of squared distances from it.
PEOPLE = np.dtype(
    [("customers", np.int64), *((name, np.float64) for name in ("effort", "effort_squares", "satisfaction",
                                                                "satisfaction_squares"))], align=True)  # fmt: skip


@entry
def sort_groups(groups: NDArray[np.int32], ends: NDArray[np.int64], order: NDArray[np.int32]) -> None:
    """Sort rows by group.

    Args:
        groups: of each row.
        ends: int64[groups], zeros; receives where the rows of each group end.
        order: int32[n], receives the rows, those of a group in their order.
    """
    for i in range(len(groups)):
        ends[groups[i]] += 1
    total = 0
    for group in range(len(ends)):
        total += ends[group]
        ends[group] = total
    for i in range(len(groups) - 1, -1, -1):
        group = groups[i]
        ends[group] -= 1
        order[ends[group]] = i
    for group in range(len(ends)):
        ends[group] = ends[group + 1] if group + 1 < len(ends) else len(groups)


@entry
def sum_places(
    order: NDArray[np.int32],
    ends: NDArray[np.int64],
    customers: NDArray[np.int32],
    efforts: NDArray[np.float32],
    moods: NDArray[np.float32],
    satisfactions: NDArray[np.float32],
    flags: NDArray[np.uint8],
    states: Records,
    touched: NDArray[np.int32],
    places: Records,
) -> int:
    """Sum what visits added, with a customer as the unit.

    Args:
        order: rows by group.
        ends: of each group in it.
        customers: of each row.
        efforts: of each row.
        moods: of each row.
        satisfactions: of each row.
        flags: of each row, bits.
        states: STATE by customer, zeros.
        touched: int32[customers], for the customers of a group.
        places: PLACE by group, zeros; receives the sums.

    Returns:
        Nothing of use; without it, the reads ahead would be left out.
    """
    warm = 0
    begin = 0
    for group in range(len(ends)):
        one = places[group]
        count = 0
        for i in range(begin, ends[group]):
            if (i - begin) % AHEAD == 0:
                for ahead in range(i, min(i + AHEAD, ends[group])):
                    warm |= states[customers[order[ahead]]].group
            row = order[i]
            at = states[customers[row]]
            if at.group != group + 1:
                at.group = group + 1
                at.n = 0
                at.effort = 0.0
                at.mood = 0.0
                touched[count] = customers[row]
                count += 1
            at.n += 1
            at.effort += np.float64(efforts[row])
            at.mood += np.float64(moods[row])
            one.satisfaction += np.float64(satisfactions[row])
            bits = flags[row]
            if bits:
                for bit in range(FLAGS):
                    one.flags[bit] += (bits >> bit) & 1
        one.customers = count
        one.n = ends[group] - begin
        for i in range(count):
            if i % AHEAD == 0:
                for ahead in range(i, min(i + AHEAD, count)):
                    warm |= states[touched[ahead]].group
            at = states[touched[i]]
            one.effort += at.effort
            one.mood += at.mood
            one.effort_squares += at.effort * at.effort
            one.effort_products += at.effort * at.n
            one.mood_squares += at.mood * at.mood
            one.mood_products += at.mood * at.n
            one.n_squares += np.float64(at.n * at.n)
        begin = ends[group]
    return warm


@entry
def sum_people(
    order: NDArray[np.int32],
    ends: NDArray[np.int64],
    customers: NDArray[np.int32],
    times: NDArray[np.int64],
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    efforts: NDArray[np.float32],
    satisfactions: NDArray[np.float32],
    states: Records,
    touched: NDArray[np.int32],
    people: Records,
) -> int:
    """Mean and spread of the scores after the last row of each customer.

    Args:
        order: rows by group.
        ends: of each group in it.
        customers: of each row.
        times: of each row, us.
        partitions: of each row, for rows of one time.
        offsets: of each row, likewise.
        efforts: after each row.
        satisfactions: after each row.
        states: LAST by customer, zeros.
        touched: int32[customers], for the customers of a group.
        people: PEOPLE by group, zeros; receives the sums.

    Returns:
        Nothing of use; without it, the reads ahead would be left out.
    """
    warm = 0
    begin = 0
    for group in range(len(ends)):
        one = people[group]
        count = 0
        for i in range(begin, ends[group]):
            if (i - begin) % AHEAD == 0:
                for ahead in range(i, min(i + AHEAD, ends[group])):
                    warm |= states[customers[order[ahead]]].group
            row = order[i]
            at = states[customers[row]]
            is_later = times[row] > at.time
            if at.group != group + 1:
                at.group = group + 1
                touched[count] = customers[row]
                count += 1
                is_later = True
            elif times[row] == at.time:
                is_later = partitions[row] > partitions[at.row] or (
                    partitions[row] == partitions[at.row] and offsets[row] > offsets[at.row]
                )
            if is_later:
                at.time = times[row]
                at.row = row
                at.effort = efforts[row]
                at.satisfaction = satisfactions[row]
        one.customers = count
        for i in range(count):
            at = states[touched[i]]
            one.effort += np.float64(at.effort)
            one.satisfaction += np.float64(at.satisfaction)
        if count:
            one.effort /= count
            one.satisfaction /= count
        for i in range(count):
            at = states[touched[i]]
            one.effort_squares += (np.float64(at.effort) - one.effort) ** 2
            one.satisfaction_squares += (np.float64(at.satisfaction) - one.satisfaction) ** 2
        begin = ends[group]
    return warm

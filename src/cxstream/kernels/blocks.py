"""Rows of touchpoints by blocks of customers, so that the states of the customers of a block are within the cache.

A block has the customers whose number has its number in the lowest `bits` bits. Customers get other numbers, of which those
of a block are next to each other: `block * stride + customer // blocks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.void]

# A row: its time in us, the other number of its customer, what step it is, as a number from 1 on, and its kind.
ROW = np.dtype(
    [("time", np.int64), ("customer", np.int32), ("place", np.int16), ("kind", np.int16)], align=True
)
# How often a row may be moved on average until another way to sort is better.
_MOVES = 16
# How rows were sorted: not at all because too many are of a bucket, or two of a customer are of one time.
SORTED, CROWDED, TIED = range(3)


@entry
def count_blocks(customers: NDArray[np.int32], bits: int, counts: NDArray[np.int64]) -> None:
    """Count the rows of blocks.

    Args:
        customers: int32[n], of each row.
        bits: see the module.
        counts: int64[blocks], zeros; receives how many rows each has.
    """
    mask = (1 << bits) - 1
    for i in range(len(customers)):
        counts[customers[i] & mask] += 1


@entry
def place_rows(
    customers: NDArray[np.int32],
    times: NDArray[np.int64],
    steps: NDArray[np.int16],
    kinds: NDArray[np.int8],
    bits: int,
    stride: int,
    next_places: NDArray[np.int64],
    places: NDArray[np.int32],
    rows: Records,
) -> None:
    """Give each row a place in its block.

    Args:
        customers: int32[n], of each row.
        times: int64[n], of each row, us.
        steps: int16[n], of each row.
        kinds: int8[n], of each row; or nothing at all.
        bits: see the module.
        stride: see the module.
        next_places: int64[blocks], the place of the next row of each; moves on.
        places: int32[n], receives the place of each row.
        rows: ROW, receives the rows at their places.
    """
    mask = (1 << bits) - 1
    has_kinds = len(kinds) > 0
    for i in range(len(customers)):
        block = customers[i] & mask
        at = next_places[block]
        next_places[block] = at + 1
        places[i] = at
        row = rows[at]
        row.time = times[i]
        row.customer = block * stride + (customers[i] >> bits)
        row.place = steps[i]
        row.kind = kinds[i] if has_kinds else 0


@entry
def put(values: NDArray[np.generic], places: NDArray[np.int32], out: NDArray[np.generic]) -> None:
    """Write each value to its place.

    Args:
        values: [n].
        places: int32[n], of each value.
        out: of the same type, receives the values.
    """
    for i in range(len(values)):
        out[places[i]] = values[i]


@entry
def put_four(
    first: NDArray[np.float32],
    second: NDArray[np.float32],
    third: NDArray[np.float32],
    fourth: NDArray[np.float32],
    places: NDArray[np.int32],
    out: NDArray[np.float32],
) -> None:
    """Write four values of each row to its place.

    Args:
        first: float32[n].
        second: float32[n].
        third: float32[n].
        fourth: float32[n].
        places: int32[n], of each row.
        out: float32[m, 4], receives the values.
    """
    for i in range(len(places)):
        at = places[i]
        out[at, 0] = first[i]
        out[at, 1] = second[i]
        out[at, 2] = third[i]
        out[at, 3] = fourth[i]


@entry
def sort_blocks(
    starts: NDArray[np.int64],
    rows: Records,
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    ends: NDArray[np.int32],
    order: NDArray[np.int32],
) -> int:
    """Sort the rows of blocks by time, and those of one time and customer by partition and offset.

    Args:
        starts: int64[m + 1], where the rows of m blocks begin and end.
        rows: ROW[n].
        partitions: int32[n], of each row; or nothing at all.
        offsets: int64[n], likewise.
        ends: int32, room for as many numbers as the largest block has rows.
        order: int32[n], receives the rows of these blocks.

    Returns:
        SORTED; or CROWDED, or without partitions TIED: then `order` is of no use.
    """
    for block in range(len(starts) - 1):
        how = _sort(starts[block], starts[block + 1], rows, partitions, offsets, ends, order)
        if how != SORTED:
            return how
    return SORTED


@kernel
def _sort(
    start: int,
    end: int,
    rows: Records,
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    ends: NDArray[np.int32],
    order: NDArray[np.int32],
) -> int:
    """Sort into buckets of time by counting, and then by moving rows that are still behind a later one."""
    if start == end:
        return SORTED
    first = last = rows[start].time
    for i in range(start + 1, end):
        time = rows[i].time
        first = min(first, time)
        last = max(last, time)
    buckets = end - start
    shift = 0
    while (last - first) >> shift >= buckets:
        shift += 1
    for bucket in range(buckets):
        ends[bucket] = 0
    for i in range(start, end):
        ends[(rows[i].time - first) >> shift] += 1
    total = start
    for bucket in range(buckets):
        total += ends[bucket]
        ends[bucket] = total
    for i in range(end - 1, start - 1, -1):
        bucket = (rows[i].time - first) >> shift
        ends[bucket] -= 1
        order[ends[bucket]] = i
    has_places = len(partitions) > 0
    left = _MOVES * (end - start)
    for i in range(start + 1, end):
        number = order[i]
        row = rows[number]
        at = i
        while at > start:
            before = order[at - 1]
            other = rows[before]
            if other.time < row.time:
                break
            if other.time == row.time:
                if other.customer < row.customer:
                    break
                if other.customer == row.customer:
                    if not has_places:
                        return TIED
                    if partitions[before] < partitions[number]:
                        break
                    if partitions[before] == partitions[number] and offsets[before] < offsets[number]:
                        break
            order[at] = before
            at -= 1
        order[at] = number
        left -= i - at
        if left < 0:
            return CROWDED
    return SORTED

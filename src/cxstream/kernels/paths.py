"""Whole journeys of customers, told from touchpoints in the order of time; arguments are as in `cxstream.kernels.journeys`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.void]

# A whole journey: `one` and `two` are 128 bits that stand for its steps, `skip` is the customer's number of touchpoints
# before it.
JOURNEY = np.dtype(
    [("first", np.int64), ("last", np.int64), ("one", np.uint64), ("two", np.uint64), ("effort", np.float64),
     ("customer", np.int32), ("skip", np.int32), ("steps", np.int32),
     ("ending", np.int32)],
    align=True,
)  # fmt: skip
# How a journey ends, and what a touchpoint can be for that.
SILENCE, COMPLAINT, PURCHASE, CHURN = range(4)
_ONE, _TWO, _NEXT = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(1)
_FIRST, _SECOND, _THIRD = np.uint64(30), np.uint64(27), np.uint64(31)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@kernel
def _mixed(value: np.uint64) -> np.uint64:
    """Every bit of the result depends on every bit of the value (the finalizer of SplitMix64)."""
    value = (value ^ (value >> _FIRST)) * _MIX_1
    value = (value ^ (value >> _SECOND)) * _MIX_2
    return value ^ (value >> _THIRD)


@entry
def follow_paths(
    order: NDArray[np.int32],
    rows: Records,
    values: NDArray[np.float32],
    within: int,
    journeys: Records,
    done: Records,
) -> int:
    """Lengthen the journeys of customers.

    Args:
        order: see the module.
        rows: likewise; kinds are SILENCE, COMPLAINT, PURCHASE or CHURN.
        values: effort that each row added.
        within: see the module.
        journeys: JOURNEY by customer, under way.
        done: JOURNEY, receives those that have ended.

    Returns:
        How many these are.
    """
    ended = 0
    for i in range(len(order)):
        row = rows[order[i]]
        at = journeys[row.customer]
        kind = row.kind
        if kind == CHURN:
            # No step: it ends the journey before it, however much later.
            if at.steps > 0:
                at.ending = kind
            continue
        if at.steps > 0 and within >= 0 and row.time - at.last > within:
            done[ended] = at
            ended += 1
            at.skip += at.steps
            at.steps = 0
        if at.steps == 0:
            at.customer = row.customer
            at.first = row.time
            at.one = _ONE
            at.two = _TWO
            at.effort = 0.0
            at.ending = SILENCE
        step = np.uint64(row.place)
        at.one = _mixed(at.one + step)
        at.two = _mixed((at.two ^ (step * _ONE)) + _NEXT)
        at.last = row.time
        at.effort += values[order[i], 0]
        at.steps += 1
        # The last purchase or churn counts; a complaint only without either.
        if kind >= PURCHASE or (kind == COMPLAINT and at.ending == SILENCE):
            at.ending = kind
    return ended


@entry
def end_paths(journeys: Records, done: Records) -> int:
    """Copy the journeys that are under way.

    Args:
        journeys: JOURNEY by customer.
        done: JOURNEY, receives them.

    Returns:
        How many these are.
    """
    ended = 0
    for customer in range(len(journeys)):
        if journeys[customer].steps > 0:
            done[ended] = journeys[customer]
            ended += 1
    return ended


@entry
def group_paths(
    journeys: Records, table: NDArray[np.int32], groups: NDArray[np.int32], counts: NDArray[np.int32]
) -> int:
    """Find which journeys take the same path.

    Args:
        journeys: JOURNEY[n].
        table: int32[m], zeros; m is a power of two above n.
        groups: int32[n], receives the group of each journey, the number of the first one with its path.
        counts: int32[n], zeros; receives how many journeys a group has.

    Returns:
        How many groups there are.
    """
    mask = len(table) - 1
    found = 0
    for i in range(len(journeys)):
        mine = journeys[i]
        at = np.int64(mine.one & np.uint64(mask))
        while True:
            other = table[at] - 1
            if other < 0:
                table[at] = i + 1
                other = i
                found += 1
                break
            theirs = journeys[other]
            if theirs.one == mine.one and theirs.two == mine.two and theirs.steps == mine.steps:
                break
            at = (at + 1) & mask
        groups[i] = other
        counts[other] += 1
    return found

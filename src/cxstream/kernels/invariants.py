"""The invariants of the kernels, and which of them are checked when state comes from outside.

The kernels index, count and divide by the values in a state. Values that the kernels wrote themselves are right; a
state that is loaded is not trusted. `wrong_customer` checks a row and its panes, complaints and contacts
before any other kernel works on them. With C the clock, D its day, and `window` the number of days that count:

- Every customer is live, and has a unique number of first appearance, below the next free one.
- Every time lies in the years 1 to 9999 and not after C; no time of a customer is after their last evaluation. No
  offset is after that of the snapshot.
- The panes of a customer are of different days, the newest first, none after the day of the last evaluation or outside
  the window: a pane's age is the index of its weight.
- Sums, points and coordinates are finite; all but mood and coordinates are 0 or more.
- Flags are 0 or 1, levels 0 to 3, an NPS answer 0 to 10, a run of clicks no longer than a rage click can need.
- At most 32 ids, 4 contacts with topic and 8 open complaints; the row says how many.

The linked lists themselves cannot be wrong: indices are not saved, and `unpack` links items in the order in which it
reads them. It checks each length against the bytes that are left. So does `unpack_memory`, which also checks that

- chunks of remembered ids are full but for the newest, the newest first by day, none younger than C;
- a list without lanes has at most LONG chunks, numbered without a gap up to the row's `*_next` - 1;
- a list with lanes has 2**level of them, FIRST_LEVEL <= level < LANE_LEVELS, with at most LANE_IDS ids each on average,
  and an id lies in the lane of its low bits.

The numbers of the marker, the digests, the texts and the number of rows are checked in `cxstream.scoring.state.snapshot`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cxstream.kernels.evaluate import DAY, NO_RAISE
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import COMPLAINTS, NEVER, NO_DAY, NONE, Constants, State

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The years 1 to 9999, and a day at both ends: an event's time has an offset of less than a day.
MIN_TIME, MAX_TIME = -62_135_683_200_000, 253_402_387_200_000
NO_LIMIT = 2**63 - 1
# Far above any sum of points, and so far below the largest float that sums of it stay finite.
MAX_SUM = 1e18
# The most clicks that a rage click can need under any rules.
MAX_RUN = 100

WHAT = (
    "",
    "a flag",
    "a level",
    "the order of customers",
    "a time",
    "an offset",
    "a score",
    "a day",
    "the points of a day",
    "a complaint",
    "a contact",
)
FLAG, LEVEL, ORDER, TIME, OFFSET, SCORE, DAY_OF_PANE, POINTS, COMPLAINT_OF, CONTACT_OF = range(1, 11)


@kernel
def _is_sum(value: float) -> bool:
    """Whether it is a number of 0 or more; NaN is not."""
    return value >= 0.0 and value <= MAX_SUM  # two comparisons, as Numba compiles them best


@kernel
def _within(time: int, last: int) -> bool:
    return time >= MIN_TIME and time <= last


@kernel
def _wrong_row(row: Any, clock: int, seq: int, offset: int) -> int:
    """Index of the invariant that the row itself breaks; 0 if none."""
    if row.live != 1 or row.touched > 1 or row.suspended > 1 or row.armed > 1 or row.suppressed > 1:
        return FLAG
    if row.spent > 1 or row.erased > 1 or row.run > MAX_RUN or row.nps > 10:
        return FLAG
    if row.level > 3 or row.notified_level > 3:
        return LEVEL
    if row.raise_level != NO_RAISE and (row.raise_level < 1 or row.raise_level > 3):
        return LEVEL
    if row.seq < 0 or row.seq >= seq:
        return ORDER
    if not _within(row.eval_clock, clock) or not _within(row.last_touch, clock):
        return TIME
    if not _within(row.acute_time, row.eval_clock):
        return TIME
    if row.raise_level != NO_RAISE and not _within(row.last_raise, clock):
        return TIME
    if row.nps_time != NEVER and not _within(row.nps_time, clock):
        return TIME
    if row.failed_time != NEVER and not _within(row.failed_time, clock):
        return TIME
    if row.run > 0 and not _within(row.click_time, clock):
        return TIME
    if row.unsubscribed_day != NO_DAY and not _within(row.unsubscribed_day * DAY, clock):
        return TIME
    if row.eval_offset < 0 or row.eval_offset > offset:
        return OFFSET
    if not _is_sum(row.acute) or not math.isfinite(row.click_x) or not math.isfinite(row.click_y):
        return SCORE
    return 0


@kernel
def _wrong_told(told: Any, clock: int) -> int:
    if told.time != NEVER and not _within(told.time, clock):
        return TIME
    return 0 if told.probability >= 0.0 and told.probability <= 1.0 else SCORE


@kernel
def _wrong_panes(st: State, c: Constants, head: int, today: int) -> int:
    newest = today
    index = head
    while index != NONE:
        pane = st.panes[index]
        if pane.day > newest or pane.day <= today - c.window:
            return DAY_OF_PANE
        newest = pane.day - 1
        answers = st.answers[pane.answers]
        if not (_is_sum(pane.effort) and _is_sum(abs(pane.mood)) and _is_sum(answers.effort_sum)):
            return POINTS
        if not (_is_sum(answers.sat_sum) and _is_sum(answers.effort_weight) and _is_sum(answers.sat_n)):
            return POINTS
        index = pane.next
    return 0


@kernel
def _wrong_complaints(st: State, head: int, count: int, clock: int) -> int:
    if count > COMPLAINTS:
        return COMPLAINT_OF
    index = head
    while index != NONE:
        if not _within(st.complaints[index].time, clock):
            return COMPLAINT_OF
        index = st.complaints[index].next
    return 0


@entry
def wrong_customer(
    st: State, c: Constants, slots: NDArray[np.int32], clock: int, seq: int, offset: int
) -> tuple[int, int]:
    """Find the first customer whose state breaks an invariant.

    Args:
        st: the partition, just loaded: panes outside the window have been left out.
        c: the constants.
        slots: int32[n], the customers to check.
        clock: the partition's, ms UTC.
        seq: next number of first appearance.
        offset: offset after the last record in the state.

    Returns:
        Position in `slots` of the first, and an index of WHAT; n and 0 if there is none.
    """
    for n in range(len(slots)):
        slot = slots[n]
        row = st.rows[slot]
        wrong = _wrong_row(row, clock, seq, offset)
        if wrong == 0:
            # Panes were dropped by the clock; their days must match the evaluation, too.
            wrong = _wrong_panes(st, c, row.head, clock // DAY)
        if wrong == 0 and row.head != NONE and st.panes[row.head].day > row.eval_clock // DAY:
            wrong = DAY_OF_PANE
        if wrong == 0:
            wrong = _wrong_complaints(st, row.complaints, row.complaints_n, clock)
        if wrong == 0:
            wrong = _wrong_told(st.told[st.seldom[slot]], clock) if row.notified_level > 0 else 0
        for i in range(row.contacts_n):
            if wrong == 0 and not _within(st.contact_times[st.seldom[slot], i], clock):
                wrong = CONTACT_OF
        if wrong != 0:
            return n, wrong
    return len(slots), 0

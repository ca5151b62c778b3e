"""Arenas: a customer's day panes with their answers, and open complaints, linked lists with a free list each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.kernels.jit import kernel
from cxstream.kernels.layout import (
    ANSWERS_FREE,
    ANSWERS_TOP,
    COMPLAINT_FREE,
    COMPLAINT_TOP,
    COMPLAINTS,
    NONE,
    PANE_FREE,
    PANE_TOP,
    PANES,
    State,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

AHEAD = 16  # customers whose memory is read together


@kernel
def _blank(st: State, index: int) -> None:
    """Clear a pane, so that a free one contains nothing about the customer who had it."""
    pane = st.panes[index]
    pane.effort = 0.0
    pane.mood = 0.0
    pane.day = 0
    pane.answers = 0
    pane.touches = 0
    pane.waited = 0
    pane.contacts = 0
    pane.failed = 0
    pane.transfers = 0
    pane.unresolved = 0
    pane.abandoned = 0
    pane.late = 0


@kernel
def new_pane(st: State, day: int) -> int:
    """Allocate an empty pane. The caller makes sure that there is room."""
    at = st.at
    index = at[PANE_FREE]
    if index != NONE:
        at[PANE_FREE] = st.panes[index].next
    else:
        index = at[PANE_TOP]
        at[PANE_TOP] += 1
    at[PANES] += 1
    _blank(st, index)
    st.panes[index].day = day
    st.panes[index].next = NONE
    return index


@kernel
def _blank_answers(st: State, place: int) -> None:
    answers = st.answers[place]
    answers.effort_sum = 0.0
    answers.sat_sum = 0.0
    answers.effort_weight = 0.0
    answers.sat_n = 0.0


@kernel
def answers_of(st: State, pane: int) -> int:
    """The place of the answers of a pane, an empty one if it had none. The caller makes sure that there is room."""
    place = st.panes[pane].answers
    if place != 0:
        return place
    at = st.at
    place = at[ANSWERS_FREE]
    if place != NONE:
        at[ANSWERS_FREE] = int(st.answers[place].effort_sum)
    else:
        place = at[ANSWERS_TOP]
        at[ANSWERS_TOP] += 1
    _blank_answers(st, place)
    st.panes[pane].answers = place
    return place


@kernel
def _free_answers(st: State, pane: int) -> None:
    place = st.panes[pane].answers
    if place == 0:
        return
    _blank_answers(st, place)
    st.answers[place].effort_sum = float(st.at[ANSWERS_FREE])
    st.at[ANSWERS_FREE] = place


@kernel
def free_panes(st: State, index: int) -> None:
    """Free a pane and all that are linked behind it."""
    while index != NONE:
        older = st.panes[index].next
        _free_answers(st, index)
        _blank(st, index)
        st.panes[index].next = st.at[PANE_FREE]
        st.at[PANE_FREE] = index
        st.at[PANES] -= 1
        index = older


@kernel
def pane_of(st: State, slot: int, day: int) -> int:
    """The customer's pane of that day, made if there is none; the list stays sorted, newest first."""
    before = NONE
    index = st.rows[slot].head
    while index != NONE and st.panes[index].day > day:
        before = index
        index = st.panes[index].next
    if index != NONE and st.panes[index].day == day:
        return index
    fresh = new_pane(st, day)
    st.panes[fresh].next = index
    if before == NONE:
        st.rows[slot].head = fresh
    else:
        st.panes[before].next = fresh
    return fresh


@kernel
def trim(st: State, slot: int, oldest: int) -> None:
    """Free the customer's panes of days before `oldest`."""
    before = NONE
    index = st.rows[slot].head
    while index != NONE and st.panes[index].day >= oldest:
        before = index
        index = st.panes[index].next
    if index == NONE:
        return
    if before == NONE:
        st.rows[slot].head = NONE
    else:
        st.panes[before].next = NONE
    free_panes(st, index)


@kernel
def _unlink(st: State, slot: int, before: int, index: int) -> None:
    row = st.rows[slot]
    if before == NONE:
        row.complaints = st.complaints[index].next
    else:
        st.complaints[before].next = st.complaints[index].next
    row.complaints_n -= 1
    st.complaints[index].case = 0
    st.complaints[index].time = 0
    st.complaints[index].next = st.at[COMPLAINT_FREE]
    st.at[COMPLAINT_FREE] = index


@kernel
def close_complaint(st: State, slot: int, case: int) -> None:
    """Close the complaint of that case, if it is open."""
    before = NONE
    index = st.rows[slot].complaints
    while index != NONE:
        if st.complaints[index].case == case:
            _unlink(st, slot, before, index)
            return
        before = index
        index = st.complaints[index].next


@kernel
def new_complaint(st: State, case: int, time: int) -> int:
    """Allocate a complaint that is not linked. The caller makes sure that there is room."""
    at = st.at
    index = at[COMPLAINT_FREE]
    if index != NONE:
        at[COMPLAINT_FREE] = st.complaints[index].next
    else:
        index = at[COMPLAINT_TOP]
        at[COMPLAINT_TOP] += 1
    st.complaints[index].case = case
    st.complaints[index].time = time
    st.complaints[index].next = NONE
    return index


@kernel
def open_complaint(st: State, slot: int, case: int, time: int) -> None:
    """Open a complaint at the end of the list; a ninth evicts the one that was opened earliest."""
    row = st.rows[slot]
    last = NONE
    index = row.complaints
    while index != NONE:
        if st.complaints[index].case == case:
            return
        last = index
        index = st.complaints[index].next
    fresh = new_complaint(st, case, time)
    if last == NONE:
        row.complaints = fresh
    else:
        st.complaints[last].next = fresh
    row.complaints_n += 1
    if row.complaints_n <= COMPLAINTS:
        return
    before = NONE
    oldest_before = NONE
    index = row.complaints
    oldest = index
    while index != NONE:
        if st.complaints[index].time < st.complaints[oldest].time:
            oldest = index
            oldest_before = before
        before = index
        index = st.complaints[index].next
    _unlink(st, slot, oldest_before, oldest)


@kernel
def free_complaints(st: State, slot: int) -> None:
    """Free all open complaints of the customer."""
    while st.rows[slot].complaints != NONE:
        _unlink(st, slot, NONE, st.rows[slot].complaints)


@kernel
def touch_panes(st: State, ahead: NDArray[np.int64], n: int) -> int:
    """Read all panes of n customers, the newest of each in `ahead`: one of each before the next.

    A pane is found by the one before it, so that alone each customer waits for memory once a pane.
    """
    seen = 0
    while n:
        left = 0
        for i in range(n):
            if ahead[i] != NONE:
                pane = st.panes[ahead[i]]
                # It may begin in one line of the cache and end in the next.
                seen += (pane.effort > 0.0) + pane.late
                ahead[left] = pane.next
                left += 1
        n = left
    return seen

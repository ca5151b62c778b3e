"""Tallies: how often a customer met each kind of the company's own, by day, for the evidence of signals.

Panes count what every company has. Which kinds a company adds, its rules say, and they change: so an entry names its
kind by a digest of the name, and an entry of a kind that the rules do not name any more waits for the end of the
window. A list has the newest day first, and within a day the digests in order.

The places by slot have no memory at all until the first such event: where nobody has an entry, they are not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.kernels.jit import kernel
from cxstream.kernels.layout import (
    FIRST_OWN,
    NO_TALLY,
    NONE,
    OWN_NAMED,
    S_OWN,
    SAVED_TALLIES,
    TALLIED,
    TALLIES_ENDED,
    TALLY_FREE,
    TALLY_TOP,
    UNSAVED_TALLIES,
    Constants,
    State,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Int = int | np.integer[Any]


@kernel
def new_tally(st: State) -> Int:
    """Allocate an empty entry. The caller makes sure that there is room."""
    at = st.at
    index = at[TALLY_FREE]
    if index != NO_TALLY:
        at[TALLY_FREE] = st.tallies[index].next
    else:
        index = at[TALLY_TOP]
        at[TALLY_TOP] += 1
    st.tallies[index].next = NO_TALLY
    return index


@kernel
def _free(st: State, index: Int) -> None:
    """Clear and free an entry and all that are linked behind it."""
    while index != NO_TALLY:
        entry = st.tallies[index]
        older = entry.next
        entry.kind = 0
        entry.day = 0
        entry.n = 0
        entry.next = st.at[TALLY_FREE]
        st.at[TALLY_FREE] = index
        index = older


@kernel
def _end(st: State, slot: Int) -> None:
    """Note that a customer has no entries any more."""
    if st.tallies_dirty[slot] & SAVED_TALLIES:
        st.tallies_ended[st.at[TALLIES_ENDED]] = st.rows[slot].seq
        st.at[TALLIES_ENDED] += 1
    st.tallied[slot] = NO_TALLY
    st.tallies_dirty[slot] = 0
    st.at[TALLIED] -= 1


@kernel
def cut_tallies(st: State, slot: Int, oldest: Int) -> None:
    """Free the entries of days before `oldest`."""
    if st.at[TALLIED] == 0:
        return
    before = NO_TALLY
    index = st.tallied[slot]
    while index != NO_TALLY and st.tallies[index].day >= oldest:
        before = index
        index = st.tallies[index].next
    if index == NO_TALLY:
        return
    _free(st, index)
    if before == NO_TALLY:
        _end(st, slot)
    else:
        st.tallies[before].next = NO_TALLY


@kernel
def drop_tallies(st: State, slot: Int) -> None:
    """Delete all entries of the customer."""
    if st.at[TALLIED] > 0 and st.tallied[slot] != NO_TALLY:
        _free(st, st.tallied[slot])
        _end(st, slot)


@kernel
def tally(st: State, c: Constants, slot: Int, kind: Int, day: Int) -> None:
    """Count an event of a kind of the company's own."""
    name = c.own[kind - FIRST_OWN]
    before = NO_TALLY
    index = st.tallied[slot]
    if index == NO_TALLY:
        st.at[TALLIED] += 1
    while index != NO_TALLY and (
        st.tallies[index].day > day or (st.tallies[index].day == day and st.tallies[index].kind < name)
    ):
        before = index
        index = st.tallies[index].next
    if index == NO_TALLY or st.tallies[index].day != day or st.tallies[index].kind != name:
        fresh = new_tally(st)
        entry = st.tallies[fresh]
        entry.kind = name
        entry.day = day
        entry.n = 0
        entry.next = index
        if before == NO_TALLY:
            st.tallied[slot] = fresh
        else:
            st.tallies[before].next = fresh
        index = fresh
    st.tallies[index].n += 1
    st.tallies_dirty[slot] |= UNSAVED_TALLIES


@kernel
def total(st: State, slot: Int) -> Int:
    """How many events the entries of a customer count."""
    n = 0
    index = st.tallied[slot] if st.at[TALLIED] > 0 else NO_TALLY
    while index != NO_TALLY:
        n += st.tallies[index].n
        index = st.tallies[index].next
    return n


@kernel
def name_own(st: State, c: Constants, slot: Int, today: Int, span: Int, out: NDArray[np.float64]) -> float:
    """Write the kinds that occurred most often in the last `span` days into `out`; of equal ones, the first by name.

    Kinds that the rules in force do not name, or that cost nothing under them, are left out.

    Returns:
        How often they all occurred.
    """
    for i in range(OWN_NAMED):
        out[S_OWN + 2 * i] = NONE
        out[S_OWN + 2 * i + 1] = 0.0
    every = 0.0
    if st.at[TALLIED] == 0 or st.tallied[slot] == NO_TALLY:
        return every
    for i in range(len(c.own)):
        if c.tallied[FIRST_OWN + i] == 0:
            continue
        n = 0.0
        index = st.tallied[slot]
        while index != NO_TALLY and today - st.tallies[index].day < span:
            if st.tallies[index].kind == c.own[i]:
                n += st.tallies[index].n
            index = st.tallies[index].next
        every += n
        place = OWN_NAMED
        while place > 0 and n > out[S_OWN + 2 * place - 1]:
            place -= 1
        if place < OWN_NAMED:
            for j in range(OWN_NAMED - 1, place, -1):
                out[S_OWN + 2 * j] = out[S_OWN + 2 * j - 2]
                out[S_OWN + 2 * j + 1] = out[S_OWN + 2 * j - 1]
            out[S_OWN + 2 * place] = FIRST_OWN + i
            out[S_OWN + 2 * place + 1] = n
    return every

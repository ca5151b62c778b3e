"""What few customers have: contacts with a topic, a last signal, an erasure request.

It has places of its own: told, erased, contact_times and contact_topics of State are by place, and State.seldom has the
place of a slot. There is room for all, because one sweep may signal everybody; places that nobody needs use no memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import CONTACTS, NONE, SELDOM_FREE, SELDOM_TOP, State

if TYPE_CHECKING:
    from numpy.typing import NDArray


@kernel
def seldom_of(st: State, slot: int) -> int:
    """The customer's place, an empty one if there was none."""
    place = np.int64(st.seldom[slot])
    if place != 0:
        return place
    at = st.at
    place = at[SELDOM_FREE]
    if place != NONE:
        at[SELDOM_FREE] = st.contact_topics[place, 0]
        st.contact_topics[place, 0] = 0
    else:
        place = at[SELDOM_TOP]
        at[SELDOM_TOP] += 1
    st.seldom[slot] = place
    return place


@kernel
def _free(st: State, slot: int) -> None:
    """Free the customer's place, which is empty."""
    place = np.int64(st.seldom[slot])
    st.contact_topics[place, 0] = st.at[SELDOM_FREE]
    st.at[SELDOM_FREE] = place
    st.seldom[slot] = 0


@kernel
def drop_seldom(st: State, slot: int) -> None:
    """Clear the customer's place and free it; an erasure request stays until `release_seldom`."""
    place = st.seldom[slot]
    if place == 0:
        return
    for i in range(CONTACTS):
        st.contact_times[place, i] = 0
        st.contact_topics[place, i] = 0
    st.told[place].time = 0
    st.told[place].probability = 0.0
    if st.rows[slot].erased == 0:
        _free(st, slot)


@entry
def release_seldom(st: State, slots: NDArray[np.int32]) -> None:
    """Free what `drop_seldom` has left of customers whose slots are released."""
    for n in range(len(slots)):
        if st.seldom[slots[n]] != 0:
            st.erased[st.seldom[slots[n]]] = 0
            _free(st, slots[n])


@entry
def recall_erased(st: State, slots: NDArray[np.int32], times: NDArray[np.int64]) -> None:
    """Keep the time of an erasure request, ms UTC, of each of these customers."""
    for n in range(len(slots)):
        st.rows[slots[n]].erased = 1
        st.erased[seldom_of(st, slots[n])] = times[n]

"""A customer's latest accepted ids: a ring of 32 places, in pages of 8 that are allocated as it fills.

Most customers have few events, so that one page of a cache line is enough for them. A page stays where it is until the
customer is gone; the ring's first page is in the first column of State.id_pages.
"""

from __future__ import annotations

import numpy as np

from cxstream.kernels.jit import kernel
from cxstream.kernels.layout import ID_PAGE_FREE, ID_PAGE_TOP, IDS, PAGE_IDS, State


@kernel
def _new_page(st: State) -> int:
    """Allocate an empty page. The caller makes sure that there is room."""
    at = st.at
    page = at[ID_PAGE_FREE]
    if page >= 0:
        at[ID_PAGE_FREE] = np.int64(st.ids[page, 0]) - 1
        st.ids[page, 0] = 0
    else:
        page = at[ID_PAGE_TOP]
        at[ID_PAGE_TOP] += 1
    return page


@kernel
def recent_id(st: State, slot: int, place: int) -> np.uint64:
    """The id at a place of the ring."""
    return st.ids[st.id_pages[slot, place // PAGE_IDS], place % PAGE_IDS]


@kernel
def is_recent(st: State, slot: int, hashed: int) -> bool:
    """Whether the id is one of the latest."""
    count = np.int64(st.rows[slot].ids_n)
    found = False
    for begin in range(0, count, PAGE_IDS):
        page = st.id_pages[slot, begin // PAGE_IDS]
        # Without an early exit the loop is vectorized.
        for i in range(PAGE_IDS):
            found |= (st.ids[page, i] == hashed) & (begin + i < count)
    return found


@kernel
def keep_id(st: State, slot: int, hashed: int) -> None:
    """Put an id in the place of the earliest, or into the next place until all are taken."""
    row = st.rows[slot]
    place = np.int64(row.ids_at)
    if row.ids_n < IDS and place % PAGE_IDS == 0:
        st.id_pages[slot, place // PAGE_IDS] = _new_page(st)
    st.ids[st.id_pages[slot, place // PAGE_IDS], place % PAGE_IDS] = hashed
    row.ids_at = (place + 1) % IDS
    row.ids_n = min(row.ids_n + 1, IDS)


@kernel
def drop_ids(st: State, slot: int) -> None:
    """Clear and free the customer's pages."""
    row = st.rows[slot]
    for begin in range(0, np.int64(row.ids_n), PAGE_IDS):
        page = np.int64(st.id_pages[slot, begin // PAGE_IDS])
        for i in range(PAGE_IDS):
            st.ids[page, i] = 0
        # The next free page, counted from 1.
        st.ids[page, 0] = st.at[ID_PAGE_FREE] + 1
        st.at[ID_PAGE_FREE] = page
        st.id_pages[slot, begin // PAGE_IDS] = 0
    row.ids_n = 0
    row.ids_at = 0

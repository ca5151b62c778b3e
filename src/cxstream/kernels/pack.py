"""Customers to bytes and back, for snapshots.

A packed customer: one version byte, ROW, four counts (uint16 panes, uint8 complaints, ids, contacts), the panes
newest first, complaints in order of acceptance (case, time), id hashes and contacts (time, then uint16 length
and UTF-8 of the topic) oldest first; and TOLD, if the last notified level is not none. Little-endian; indices into
arenas are packed as zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import (
    COMPLAINTS,
    CONTACTS,
    IDS,
    LAYOUT,
    LIVE,
    NONE,
    PANE,
    ROW,
    TOLD,
    State,
)
from cxstream.kernels.panes import answers_of, new_complaint, new_pane, trim
from cxstream.kernels.recent_ids import keep_id, recent_id
from cxstream.kernels.seldom import seldom_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The first byte of a packed customer: a row of another layout is never misread, whatever the marker says.
VERSION = LAYOUT
ROW_BYTES = ROW.itemsize
PANE_BYTES = PANE.itemsize
TOLD_BYTES = TOLD.itemsize
HEADER = 1 + ROW_BYTES + 5
INDEX_FIELDS = (ROW.fields["head"][1], ROW.fields["complaints"][1])  # type: ignore[index]
HEAD_FIELD, COMPLAINTS_FIELD = INDEX_FIELDS


@kernel
def _copy(source: NDArray[np.uint8], begin: int, end: int, out: NDArray[np.uint8], at: int) -> None:
    for i in range(end - begin):
        out[at + i] = source[begin + i]


@kernel
def _put(out: NDArray[np.uint8], at: int, value: np.uint64, size: int) -> int:
    for i in range(size):
        out[at + i] = (value >> np.uint64(8 * i)) & np.uint64(255)
    return at + size


@kernel
def _get(data: NDArray[np.uint8], at: int, size: int) -> np.uint64:
    value = np.uint64(0)
    for i in range(size):
        value |= np.uint64(data[at + i]) << np.uint64(8 * i)
    return value


@kernel
def _save_pane(st: State, index: int, saved: Any) -> None:
    pane = st.panes[index]
    answers = st.answers[pane.answers]
    saved.effort = pane.effort
    saved.mood = pane.mood
    saved.effort_answers_sum = answers.effort_sum
    saved.sat_sum = answers.sat_sum
    saved.effort_answers_weight = answers.effort_weight
    saved.sat_n = answers.sat_n
    saved.day = pane.day
    saved.next = 0
    saved.touches = pane.touches
    saved.waited = pane.waited
    saved.contacts = pane.contacts
    saved.failed = pane.failed
    saved.transfers = pane.transfers
    saved.unresolved = pane.unresolved
    saved.abandoned = pane.abandoned
    saved.late = pane.late


@kernel
def _load_pane(st: State, index: int, saved: Any) -> None:
    pane = st.panes[index]
    pane.effort = saved.effort
    pane.mood = saved.mood
    pane.day = saved.day
    pane.touches = saved.touches
    pane.waited = saved.waited
    pane.contacts = saved.contacts
    pane.failed = saved.failed
    pane.transfers = saved.transfers
    pane.unresolved = saved.unresolved
    pane.abandoned = saved.abandoned
    pane.late = saved.late
    # NaN is not 0: it is kept, and refused later.
    if (
        saved.effort_answers_sum != 0.0
        or saved.sat_sum != 0.0
        or saved.effort_answers_weight != 0.0
        or saved.sat_n != 0.0
    ):
        answers = st.answers[answers_of(st, index)]
        answers.effort_sum = saved.effort_answers_sum
        answers.sat_sum = saved.sat_sum
        answers.effort_weight = saved.effort_answers_weight
        answers.sat_n = saved.sat_n


@entry
def packed_sizes(
    st: State, slots: NDArray[np.int32], topic_ends: NDArray[np.int64], ends: NDArray[np.int64]
) -> None:
    """Fill ends[n] with the end of each packed customer."""
    total = 0
    for n in range(len(slots)):
        slot = slots[n]
        row = st.rows[slot]
        total += HEADER + row.complaints_n * 16 + row.ids_n * 8
        index = row.head
        while index != NONE:
            total += PANE_BYTES
            index = st.panes[index].next
        for i in range(row.contacts_n):
            topic = st.contact_topics[st.seldom[slot], i]
            total += 10 + topic_ends[topic + 1] - topic_ends[topic]
        if row.notified_level > 0:
            total += TOLD_BYTES
        ends[n] = total


@entry
def pack(
    st: State, row_bytes: NDArray[np.uint8], told_bytes: NDArray[np.uint8], pane: NDArray[np.void], pane_bytes: NDArray[np.uint8],
    slots: NDArray[np.int32], topics: NDArray[np.uint8], topic_ends: NDArray[np.int64], out: NDArray[np.uint8],
) -> None:  # fmt: skip
    """Pack customers one after the other into `out`.

    Args:
        st: the partition.
        row_bytes: uint8[slots, 128], view of st.rows.
        told_bytes: uint8[slots + 1, 16], view of st.told.
        pane: PANE[1], scratch.
        pane_bytes: uint8[64], view of it.
        slots: int32[n], the customers to pack.
        topics: uint8[...], UTF-8 of all topics; topic t is topics[topic_ends[t]:topic_ends[t + 1]].
        topic_ends: int64[topics + 1].
        out: uint8[sum of packed_sizes].
    """
    at = 0
    for n in range(len(slots)):
        slot = slots[n]
        row = st.rows[slot]
        out[at] = VERSION
        at += 1
        _copy(row_bytes[slot], 0, ROW_BYTES, out, at)
        _put(out, at + HEAD_FIELD, np.uint64(0), 4)
        _put(out, at + COMPLAINTS_FIELD, np.uint64(0), 4)
        at += ROW_BYTES
        counts = at
        at += 5
        panes = 0
        index = row.head
        while index != NONE:
            _save_pane(st, index, pane[0])
            _copy(pane_bytes, 0, PANE_BYTES, out, at)
            at += PANE_BYTES
            panes += 1
            index = st.panes[index].next
        index = row.complaints
        while index != NONE:
            at = _put(out, at, np.uint64(st.complaints[index].case), 8)
            at = _put(out, at, np.uint64(st.complaints[index].time), 8)
            index = st.complaints[index].next
        for back in range(row.ids_n, 0, -1):
            at = _put(out, at, recent_id(st, slot, (row.ids_at - back) % IDS), 8)
        ring = st.seldom[slot]
        for back in range(row.contacts_n, 0, -1):
            place = (row.contacts_at - back) % CONTACTS
            topic = st.contact_topics[ring, place]
            at = _put(out, at, np.uint64(st.contact_times[ring, place]), 8)
            length = topic_ends[topic + 1] - topic_ends[topic]
            at = _put(out, at, np.uint64(length), 2)
            _copy(topics, topic_ends[topic], topic_ends[topic + 1], out, at)
            at += length
        if row.notified_level > 0:
            _copy(told_bytes[ring], 0, TOLD_BYTES, out, at)
            at += TOLD_BYTES
        _put(out, counts, np.uint64(panes), 2)
        out[counts + 2] = row.complaints_n
        out[counts + 3] = row.ids_n
        out[counts + 4] = row.contacts_n


@kernel
def _unpack(
    st: State, row_bytes: NDArray[np.uint8], told_bytes: NDArray[np.uint8], pane: NDArray[np.void], pane_bytes: NDArray[np.uint8],
    slot: int, data: NDArray[np.uint8], begin: int, end: int, oldest: int, topics: NDArray[np.int64], n: int,
) -> int:  # fmt: skip
    """Read one packed customer, data[begin:end]; returns 0, or -1 if it is incomplete."""
    if end - begin < HEADER or data[begin] != VERSION:
        return -1
    at = begin + 1 + ROW_BYTES
    panes = _get(data, at, 2)
    complaints, ids, contacts = np.int64(data[at + 2]), np.int64(data[at + 3]), np.int64(data[at + 4])
    at += 5
    if ids > IDS or contacts > CONTACTS or complaints > COMPLAINTS:
        return -1
    if end < at + np.int64(panes) * PANE_BYTES + complaints * 16 + ids * 8 + contacts * 10:
        return -1
    _copy(data, begin + 1, begin + 1 + ROW_BYTES, row_bytes[slot], 0)
    row = st.rows[slot]
    if row.complaints_n != complaints or row.ids_n != ids or row.contacts_n != contacts:
        return -1
    row.head = NONE
    row.complaints = NONE
    last = NONE
    for _ in range(panes):
        index = new_pane(st, 0)
        _copy(data, at, at + PANE_BYTES, pane_bytes, 0)
        _load_pane(st, index, pane[0])
        at += PANE_BYTES
        if last == NONE:
            row.head = index
        else:
            st.panes[last].next = index
            # Panes of early days are left out below, at any position.
            if st.panes[index].day >= st.panes[last].day:
                return -1
        last = index
    last = NONE
    for _ in range(complaints):
        index = new_complaint(st, _get(data, at, 8), np.int64(_get(data, at + 8, 8)))  # type: ignore[arg-type]
        at += 16
        if last == NONE:
            row.complaints = index
        else:
            st.complaints[last].next = index
        last = index
    row.complaints_n = complaints
    row.ids_n = 0
    row.ids_at = 0
    for _ in range(ids):
        keep_id(st, slot, _get(data, at, 8))  # type: ignore[arg-type]
        at += 8
    for i in range(contacts):
        if end < at + 10:
            return -1
        st.contact_times[seldom_of(st, slot), i] = np.int64(_get(data, at, 8))
        length = np.int64(_get(data, at + 8, 2))
        at += 10
        if end < at + length:
            return -1
        topics[n, i, 0] = at
        topics[n, i, 1] = at + length
        at += length
    row.contacts_n = contacts
    row.contacts_at = contacts % CONTACTS
    if row.notified_level > 0:
        if end < at + TOLD_BYTES:
            return -1
        _copy(data, at, at + TOLD_BYTES, told_bytes[seldom_of(st, slot)], 0)
        at += TOLD_BYTES
    if at != end:
        return -1
    st.order[st.at[LIVE]] = slot
    st.at[LIVE] += 1
    trim(st, slot, oldest)
    return 0


@entry
def unpack(
    st: State, row_bytes: NDArray[np.uint8], told_bytes: NDArray[np.uint8], pane: NDArray[np.void], pane_bytes: NDArray[np.uint8],
    slots: NDArray[np.int32], data: NDArray[np.uint8], ends: NDArray[np.int64], oldest: int, topics: NDArray[np.int64],
) -> int:  # fmt: skip
    """Read packed customers into empty slots; the arenas have room.

    Args:
        st: the partition.
        row_bytes: uint8[slots, 128], view of st.rows.
        told_bytes: uint8[slots + 1, 16], view of st.told.
        pane: PANE[1], scratch.
        pane_bytes: uint8[64], view of it.
        slots: int32[n], the slots to fill.
        data: uint8[...], what `pack` wrote for them, one after the other.
        ends: int64[n], the end of each.
        oldest: panes of days before this one are left out.
        topics: int64[n, 4, 2], receives begin and end of each contact's topic in `data`; the caller fills in
            the topics themselves.

    Returns:
        n, or the index of the first that is incomplete.
    """
    begin = 0
    for n in range(len(slots)):
        if (
            _unpack(
                st, row_bytes, told_bytes, pane, pane_bytes, slots[n], data, begin, ends[n], oldest, topics, n
            )
            != 0
        ):
            return n
        begin = ends[n]
    return len(slots)

"""Remembered ids to bytes and back, for snapshots.

A row is a block of a list, four chunks at most, or a lane. It is: one version byte, the number of its newest chunk
(0 in a lane), how many ids that has, and the chunks, newest first: two bytes of day and six an id. Little-endian.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import (
    ALL,
    APPENDED,
    CHUNK_IDS,
    CUT,
    KEPT_IDS,
    LANE_LEVELS,
    MEMORY_ROWS,
    NONE,
    SAVED,
    Constants,
    State,
)
from cxstream.kernels.remembered_ids import (
    BLOCK_CHUNKS,
    BLOCKS,
    FIRST_LEVEL,
    LANE_IDS,
    LONG,
    age,
    blocks_saved,
    id_at,
    link,
    new_chunk,
    new_lanes,
    older,
    put_id,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.remembered_ids import Int

MEMORY_VERSION = 1
HEADER_BYTES = 3
CHUNK_BYTES = 2 + 6 * CHUNK_IDS
LANES = 256  # a row's code: its block, or LANES and the lane: 2**level and its number
# What became of a row that was read.
LIVE_ROW, EXPIRED_ROW = 1, 2


@kernel
def _length(st: State, chunk: Int) -> Int:
    n = 0
    while chunk != NONE:
        n += 1
        chunk = older(st, chunk)
    return n


@kernel
def _fill(st: State, chunk: Int) -> Int:
    n = 0
    while n < CHUNK_IDS and id_at(st, chunk, n) != 0:
        n += 1
    return n


@entry
def memory_sizes(st: State, slots: NDArray[np.int64], totals: NDArray[np.int64]) -> None:
    """Fill totals[3] with how many rows, rows to remove and bytes `pack_memory` needs at most."""
    totals[:] = 0
    for n in range(len(slots)):
        for which in range(2):
            memory = st.memory[slots[n], which]
            head = np.int64(memory.head)
            if head < NONE:
                level = np.int64(memory.first)
                for lane in range(-1 - head, -1 - head + (1 << level)):
                    if st.lanes[lane, 1] & (APPENDED | CUT):
                        totals[0] += 1
                        totals[1] += 1
                        totals[2] += HEADER_BYTES + CHUNK_BYTES * _length(st, np.int64(st.lanes[lane, 0]))
            else:
                chunks = _length(st, head)
                rows = chunks // BLOCK_CHUNKS + 2
                totals[0] += rows
                totals[1] += blocks_saved(st, slots[n], which)
                totals[2] += HEADER_BYTES * rows + CHUNK_BYTES * chunks


@kernel
def _put_chunks(
    st: State, chunk: Int, count: Int, number: Int, out: NDArray[np.uint8], at: Int
) -> tuple[Int, Int]:
    """Write a row of `count` chunks; returns its end, and the chunk behind them."""
    fill = _fill(st, chunk)
    out[at] = MEMORY_VERSION
    out[at + 1] = number
    out[at + 2] = fill
    at += HEADER_BYTES
    for _ in range(count):
        day = np.int64(st.chunks[chunk, 2])
        out[at] = day & 255
        out[at + 1] = day >> 8
        at += 2
        for i in range(fill):
            value = id_at(st, chunk, i)
            for byte in range(6):
                out[at + byte] = (value >> (8 * byte)) & 255
            at += 6
        fill = CHUNK_IDS
        chunk = older(st, chunk)
    return at, chunk


@kernel
def _note(table: NDArray[np.int64], n: Int, seq: Int, which: Int, code: Int) -> None:
    table[n, 0] = seq
    table[n, 1] = which
    table[n, 2] = code


@kernel
def _pack_lanes(
    st: State, slot: Int, which: Int, keys: NDArray[np.int64], ends: NDArray[np.int64], dead: NDArray[np.int64],
    out: NDArray[np.uint8], totals: NDArray[np.int64],
) -> None:  # fmt: skip
    memory, seq = st.memory[slot, which], st.rows[slot].seq
    first, level = -1 - np.int64(memory.head), np.int64(memory.first)
    for i in range(1 << level):
        flags, head = st.lanes[first + i, 1], np.int64(st.lanes[first + i, 0])
        code = LANES + (1 << level) + i
        if head == NONE and flags & SAVED:
            _note(dead, totals[1], seq, which, code)
            totals[1] += 1
            st.at[MEMORY_ROWS] -= 1
            flags = 0
        elif head != NONE and flags & APPENDED:
            _note(keys, totals[0], seq, which, code)
            totals[2], _ = _put_chunks(st, head, _length(st, head), 0, out, totals[2])
            ends[totals[0]] = totals[2]
            totals[0] += 1
            if not flags & SAVED:
                st.at[MEMORY_ROWS] += 1
            flags = SAVED
        st.lanes[first + i, 1] = flags & SAVED


@kernel
def _pack_list(
    st: State, slot: Int, which: Int, keys: NDArray[np.int64], ends: NDArray[np.int64], dead: NDArray[np.int64],
    out: NDArray[np.uint8], totals: NDArray[np.int64],
) -> None:  # fmt: skip
    memory, row = st.memory[slot, which], st.rows[slot]
    number = np.int64(row.kept_next) if which == KEPT_IDS else np.int64(row.visits_next)
    first, head, saved = np.int64(memory.first), np.int64(memory.head), np.int64(memory.saved)
    oldest = first // BLOCK_CHUNKS
    blocks = 0
    if head != NONE:
        blocks = (((((number - 1) & 255) // BLOCK_CHUNKS) - oldest) & (BLOCKS - 1)) + 1
    before = blocks_saved(st, slot, which)
    for i in range(before):
        block = (np.int64(memory.base) + i) & (BLOCKS - 1)
        if (block - oldest) & (BLOCKS - 1) >= blocks:
            _note(dead, totals[1], row.seq, which, block)
            totals[1] += 1
    st.at[MEMORY_ROWS] += blocks - before
    fresh = memory.flags & ALL != 0 or before == 0
    # The newest chunk that is saved may have got more ids since.
    last = ((saved - 1) & 255) // BLOCK_CHUNKS
    chunk, top = head, (number - 1) & 255
    if memory.flags & (APPENDED | ALL) == 0:
        chunk = NONE
    while chunk != NONE:
        block = top // BLOCK_CHUNKS
        count = min(top % BLOCK_CHUNKS, (top - first) & 255) + 1
        _note(keys, totals[0], row.seq, which, block)
        totals[2], chunk = _put_chunks(st, chunk, count, top, out, totals[2])
        ends[totals[0]] = totals[2]
        totals[0] += 1
        top = (top - count) & 255
        if not fresh and block == last:
            break
    memory.base = oldest
    memory.saved = number
    memory.flags = SAVED if head != NONE else 0


@entry
def pack_memory(
    st: State, slots: NDArray[np.int64], keys: NDArray[np.int64], ends: NDArray[np.int64], dead: NDArray[np.int64],
    out: NDArray[np.uint8], totals: NDArray[np.int64],
) -> None:  # fmt: skip
    """Pack the changes in the lists of customers, and mark them as saved.

    Args:
        st: the partition.
        slots: int64[n], the customers.
        keys: int64[rows, 3], receives seq, list and code of each row.
        ends: int64[rows], receives where each row ends in `out`.
        dead: int64[rows, 3], receives the same for rows to delete.
        out: uint8[...].
        totals: int64[3], receives the numbers of rows, of rows to delete and of bytes.
    """
    totals[:] = 0
    for n in range(len(slots)):
        slot = slots[n]
        for which in range(2):
            if st.memory[slot, which].head < NONE:
                _pack_lanes(st, slot, which, keys, ends, dead, out, totals)
            else:
                _pack_list(st, slot, which, keys, ends, dead, out, totals)
        st.memory_dirty[slot] = 0


@kernel
def _get_chunks(
    st: State,
    data: NDArray[np.uint8],
    begin: Int,
    end: Int,
    today: Int,
    life: Int,
    youngest: Int,
    mask: Int,
    low: Int,
) -> tuple[Int, Int, Int, Int]:
    """Read the chunks of a row that are still remembered.

    Args:
        st: the partition.
        data: rows, one after the other.
        begin: where this one begins.
        end: where it ends.
        today: day of the clock.
        life: days for which its ids are remembered.
        youngest: days ago at which its newest id can have been accepted.
        mask: which bits of an id must be ...
        low: ... these.

    Returns:
        The newest and the oldest chunk, NONE if none is left, how many, and how many ids; -1 chunks if the row
        is incomplete.
    """
    if end - begin < HEADER_BYTES + 8 or data[begin] != MEMORY_VERSION:
        return NONE, NONE, -1, 0
    fill = np.int64(data[begin + 2])
    rest = end - begin - HEADER_BYTES - 2 - 6 * fill
    if fill < 1 or fill > CHUNK_IDS or rest < 0 or rest % CHUNK_BYTES != 0:
        return NONE, NONE, -1, 0
    newest = last = NONE
    count = ids = 0
    at = begin + HEADER_BYTES
    while at < end:
        day = np.int64(data[at]) | (np.int64(data[at + 1]) << 8)
        days = (today - day) & 0xFFFF
        if days >= life:
            # No chunk behind it is younger. A day after the clock looks the same, because its distance wraps around.
            break
        if days < youngest:
            return NONE, NONE, -1, 0
        youngest = days
        chunk = new_chunk(st, NONE)
        st.chunks[chunk, 2] = day
        at += 2
        for i in range(fill):
            value = 0
            for byte in range(6):
                value |= np.int64(data[at + byte]) << (8 * byte)
            if value == 0 or value & mask != low:
                return NONE, NONE, -1, 0
            put_id(st, chunk, i, value)
            at += 6
        if last == NONE:
            newest = chunk
        else:
            link(st, last, chunk)
        last = chunk
        count += 1
        ids += fill
        fill = CHUNK_IDS
    return newest, last, count, ids


@kernel
def _unpack_lane(
    st: State, slot: Int, which: Int, lane: Int, data: NDArray[np.uint8], begin: Int, end: Int, today: Int,
    life: Int,
) -> Int:  # fmt: skip
    level = 0
    while lane >> (level + 1) > 0:
        level += 1
    memory = st.memory[slot, which]
    if level < FIRST_LEVEL or level >= LANE_LEVELS:
        return -1
    chunk, _, count, ids = _get_chunks(
        st, data, begin, end, today, life, 0, (1 << level) - 1, lane - (1 << level)
    )
    if count <= 0:
        return -1 if count < 0 else EXPIRED_ROW
    if memory.head == NONE:
        memory.head = -2 - new_lanes(st, level)
        memory.first = level
        st.memory_due[slot, which] = today & 0xFFFF
    elif memory.head > NONE or memory.first != level:
        return -1
    place = -2 - np.int64(memory.head)
    at = place + 1 + lane - (1 << level)
    if st.lanes[at, 0] != NONE:
        return -1
    st.lanes[at, 0] = chunk
    st.lanes[at, 1] = SAVED
    st.lanes[place, 0] += ids
    if st.lanes[place, 0] > LANE_IDS << level and level + 1 < LANE_LEVELS:
        return -1
    return LIVE_ROW


@kernel
def _unpack_block(
    st: State, slot: Int, which: Int, block: Int, data: NDArray[np.uint8], begin: Int, end: Int, today: Int,
    life: Int, tail: Int,
) -> tuple[Int, Int]:  # fmt: skip
    """Read the next older block of a list, whose oldest chunk so far is `tail`; returns its fate and the oldest chunk."""
    memory, row = st.memory[slot, which], st.rows[slot]
    youngest = age(st, tail, today) if tail != NONE else 0
    chunk, oldest, count, _ = _get_chunks(st, data, begin, end, today, life, youngest, 0, 0)
    if count <= 0:
        return (-1 if count < 0 else EXPIRED_ROW), tail
    number = np.int64(row.kept_next) if which == KEPT_IDS else np.int64(row.visits_next)
    expected = (number - 1) & 255
    if tail != NONE:
        expected = (np.int64(memory.first) - 1) & 255
        if data[begin + 2] != CHUNK_IDS:
            return -1, tail
    elif memory.head != NONE:
        return -1, tail
    top = np.int64(data[begin + 1])
    if top != expected or top // BLOCK_CHUNKS != block or count > top % BLOCK_CHUNKS + 1:
        return -1, tail
    if tail == NONE:
        memory.head = chunk
        memory.saved = number
        memory.flags = SAVED
        st.memory_due[slot, which] = today & 0xFFFF
    else:
        link(st, tail, chunk)
    memory.first = (top - count + 1) & 255
    memory.base = block
    if (number - memory.first) & 255 > LONG:
        return -1, tail
    return LIVE_ROW, oldest


@entry
def unpack_memory(
    st: State, c: Constants, slots: NDArray[np.int64], keys: NDArray[np.int64], data: NDArray[np.uint8],
    ends: NDArray[np.int64], today: Int, fates: NDArray[np.uint8],
) -> Int:  # fmt: skip
    """Read rows into customers without remembered ids; the arenas have room.

    Args:
        st: the partition.
        c: the constants.
        slots: int64[n], the customer of each; the rows of a list stand together, its blocks from the newest to the oldest.
        keys: int64[n, 3], seq, list and code.
        data: uint8[...], the rows, one after the other.
        ends: int64[n], the end of each.
        today: day of the clock.
        fates: uint8[n], receives LIVE_ROW or EXPIRED_ROW.

    Returns:
        n, or the index of the first row that is incomplete.
    """
    begin = 0
    tail = NONE
    for n in range(len(slots)):
        which, code = keys[n, 1], keys[n, 2]
        life = c.window if which == KEPT_IDS else c.visit_window
        if n == 0 or slots[n] != slots[n - 1] or which != keys[n - 1, 1]:
            tail = NONE
        fate = 0
        if code >= LANES:
            fate = _unpack_lane(st, slots[n], which, code - LANES, data, begin, ends[n], today, life)
        else:
            fate, tail = _unpack_block(st, slots[n], which, code, data, begin, ends[n], today, life, tail)
        if fate < 0:
            return n
        fates[n] = fate
        st.at[MEMORY_ROWS] += fate == LIVE_ROW
        begin = ends[n]
    return len(slots)

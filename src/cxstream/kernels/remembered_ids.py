"""The ids of accepted events: a lookup for duplicates, exact within the window.

A customer has two lists: ids kept for the window, and ids of plain visits. An id is 48 bits of a hash of its source,
itself and the day of its event; two different ids of one customer on one day collide with a probability of 1 in
2**48. A list is a chain of chunks of five ids in order of acceptance, the newest first; a chunk has the day of the
clock at which its newest id was accepted. As no event is later than the clock, a lookup for a day ends at the first
chunk of an earlier day, and a chunk expires with its day: ids are never moved or removed one by one.

A long list is split into lanes by the low bits of the ids: a power of two of chains, doubled
each time there are 40 ids per lane. So an event costs a few chunks however many the customer has in a day.

All of it depends on the log alone, including the numbers of chunks and the level of lanes: two workers give a saved
block the same key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kernels.ahead import fetch
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import (
    ALL,
    APPENDED,
    CHUNK_FREE,
    CHUNK_IDS,
    CHUNK_TOP,
    CHUNK_WORDS,
    CHUNKS,
    CUT,
    DEAD,
    FLOOR,
    KEPT_IDS,
    LANE_FREE,
    LANE_LEVELS,
    LANE_TOP,
    MEMORY_ROWS,
    NONE,
    SAVED,
    VISIT_FLOOR,
    VISIT_IDS,
    Constants,
    State,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Int = int | np.integer[Any]

BLOCK_CHUNKS = 4  # chunks that are saved together
BLOCKS = 256 // BLOCK_CHUNKS  # numbers of blocks, used in turn
LONG = 32  # chunks of a list that is split into lanes
FIRST_LEVEL = 3
LANE_IDS = 40  # ids a lane, on average, at which the lanes are doubled
FAR = 0x4000  # days for which a list without chunks has nothing to expire
MIX = np.uint64(0xC6A4A7935BD1E995)
_MASK = np.uint64(0xFFFF_FFFF_FFFF)


@kernel
def fingerprint(hashed: Int, day: Int) -> Int:
    """48 bits, not 0, of the hash of (source, id) and the day of the event."""
    mixed = (np.uint64(hashed) ^ (np.uint64(day) * MIX)) * MIX
    mixed ^= mixed >> np.uint64(32)
    mixed *= MIX
    found = np.int64((mixed ^ (mixed >> np.uint64(29))) & _MASK)
    return found if found != 0 else 1


@kernel
def older(st: State, chunk: Int) -> Int:
    """The next older chunk."""
    return np.int64(
        np.int32(np.uint32(st.chunks[chunk, 0]) | (np.uint32(st.chunks[chunk, 1]) << np.uint32(16)))
    )


@kernel
def link(st: State, chunk: Int, to: Int) -> None:
    """Make `to` the next older chunk."""
    st.chunks[chunk, 0] = to & 0xFFFF
    st.chunks[chunk, 1] = (to >> 16) & 0xFFFF


@kernel
def age(st: State, chunk: Int, today: Int) -> Int:
    """Days since the newest id of the chunk was accepted."""
    return (today - np.int64(st.chunks[chunk, 2])) & 0xFFFF


@kernel
def id_at(st: State, chunk: Int, i: Int) -> Int:
    """An id of a chunk; 0 if there is none yet."""
    at = 3 + 3 * i
    return (
        np.int64(st.chunks[chunk, at])
        | (np.int64(st.chunks[chunk, at + 1]) << 16)
        | (np.int64(st.chunks[chunk, at + 2]) << 32)
    )


@kernel
def put_id(st: State, chunk: Int, i: Int, value: Int) -> None:
    """Write an id into a chunk."""
    at = 3 + 3 * i
    st.chunks[chunk, at] = value & 0xFFFF
    st.chunks[chunk, at + 1] = (value >> 16) & 0xFFFF
    st.chunks[chunk, at + 2] = (value >> 32) & 0xFFFF


@kernel
def new_chunk(st: State, to: Int) -> Int:
    """Allocate an empty chunk in front of another. The caller makes sure that there is room."""
    at = st.at
    index = at[CHUNK_FREE]
    if index != NONE:
        at[CHUNK_FREE] = older(st, index)
        fetch(st.chunks, at[CHUNK_FREE], 0)
    else:
        index = at[CHUNK_TOP]
        at[CHUNK_TOP] += 1
    at[CHUNKS] += 1
    for i in range(CHUNK_WORDS):
        st.chunks[index, i] = 0
    link(st, index, to)
    return index


@kernel
def free_chunks(st: State, chunk: Int) -> Int:
    """Clear and free a chunk and all that are linked behind it; returns how many."""
    n = 0
    while chunk != NONE:
        behind = older(st, chunk)
        for i in range(2, CHUNK_WORDS):
            st.chunks[chunk, i] = 0
        link(st, chunk, st.at[CHUNK_FREE])
        st.at[CHUNK_FREE] = chunk
        chunk = behind
        n += 1
    st.at[CHUNKS] -= n
    return n


@kernel
def _push(st: State, head: Int, value: Int, day: Int) -> Int:
    """Add an id to a chain; returns its newest chunk."""
    place = 0
    while head != NONE and place < CHUNK_IDS and id_at(st, head, place) != 0:
        place += 1
    if head == NONE or place == CHUNK_IDS:
        head = new_chunk(st, head)
        place = 0
    put_id(st, head, place, value)
    st.chunks[head, 2] = day & 0xFFFF
    return head


@kernel
def _chain_has(st: State, chunk: Int, value: Int, day: Int, today: Int) -> bool:
    low, middle, high = value & 0xFFFF, (value >> 16) & 0xFFFF, value >> 32
    while chunk != NONE and age(st, chunk, today) <= today - day:
        for i in range(CHUNK_IDS):
            at = 3 + 3 * i
            if (
                st.chunks[chunk, at] == low
                and st.chunks[chunk, at + 1] == middle
                and st.chunks[chunk, at + 2] == high
            ):
                return True
        chunk = older(st, chunk)
    return False


@kernel
def _list_has(st: State, slot: Int, which: Int, value: Int, day: Int, today: Int) -> bool:
    head = np.int64(st.memory[slot, which].head)
    if head < NONE:
        lane = value & ((1 << np.int64(st.memory[slot, which].first)) - 1)
        head = np.int64(st.lanes[-2 - head + 1 + lane, 0])
    return _chain_has(st, head, value, day, today)


@kernel
def remembers(st: State, c: Constants, slot: Int, hashed: Int, day: Int, today: Int) -> bool:
    """Whether an event of that day with that id was accepted from the customer, as far as that is known at `today`."""
    if not c.remembers or day > today or day <= today - c.window or day < st.at[FLOOR]:
        return False
    kept, visits = st.memory[slot, KEPT_IDS].head, st.memory[slot, VISIT_IDS].head
    looks = day > today - c.visit_window and day >= st.at[VISIT_FLOOR] and visits != NONE
    if kept == NONE and not looks:
        return False
    value = fingerprint(hashed, day)
    if kept != NONE and _list_has(st, slot, KEPT_IDS, value, day, today):
        return True
    return looks and _list_has(st, slot, VISIT_IDS, value, day, today)


@kernel
def remember(st: State, c: Constants, slot: Int, kind: Int, hashed: Int, day: Int, today: Int) -> None:
    """Keep the id of an accepted event."""
    if not c.remembers:
        return
    which, life = KEPT_IDS, c.window
    if c.plain[kind] != 0:
        which, life = VISIT_IDS, c.visit_window
        if day <= today - life:
            return
    _append(st, slot, which, fingerprint(hashed, day), today, life)


@kernel
def _append(st: State, slot: Int, which: Int, value: Int, today: Int, life: Int) -> None:
    st.memory_dirty[slot] = 1
    memory = st.memory[slot, which]
    if memory.head < NONE:
        _append_to_lane(st, slot, which, value, today)
        return
    row = st.rows[slot]
    number = np.int64(row.kept_next) if which == KEPT_IDS else np.int64(row.visits_next)
    before = np.int64(memory.head)
    if before == NONE:
        # A block never has chunks from both before and after.
        number = (number + BLOCK_CHUNKS - 1) // BLOCK_CHUNKS * BLOCK_CHUNKS & 255
        memory.first = number
        memory.flags |= ALL
        st.memory_due[slot, which] = (today + life) & 0xFFFF
    elif (number - memory.first) & 255 == LONG and id_at(st, before, CHUNK_IDS - 1) != 0:
        _bury_blocks(st, slot, which)
        memory.head = -2 - _lanes_of(st, before, NONE, FIRST_LEVEL)
        memory.first = FIRST_LEVEL
        _append_to_lane(st, slot, which, value, today)
        return
    head = _push(st, before, value, today)
    memory.head = head
    memory.flags |= APPENDED
    if head != before:
        number = (number + 1) & 255
    if which == KEPT_IDS:
        row.kept_next = number
    else:
        row.visits_next = number


@kernel
def blocks_saved(st: State, slot: Int, which: Int) -> Int:
    """How many blocks of a list without lanes are saved."""
    memory = st.memory[slot, which]
    if memory.flags & SAVED == 0:
        return 0
    return ((((np.int64(memory.saved) - 1) & 255) // BLOCK_CHUNKS - np.int64(memory.base)) & (BLOCKS - 1)) + 1


# --- lanes


@kernel
def new_lanes(st: State, level: Int) -> Int:
    """Allocate 2**level empty lanes: the number of their ids, then the lanes."""
    at = st.at
    place = at[LANE_FREE + level]
    if place != NONE:
        at[LANE_FREE + level] = st.lanes[place, 0]
    else:
        place = at[LANE_TOP]
        at[LANE_TOP] += (1 << level) + 1
    st.lanes[place, 0] = 0
    st.lanes[place, 1] = 0
    for i in range(place + 1, place + 1 + (1 << level)):
        st.lanes[i, 0] = NONE
        st.lanes[i, 1] = 0
    return place


@kernel
def _free_lanes(st: State, place: Int, level: Int) -> None:
    st.lanes[place, 0] = st.at[LANE_FREE + level]
    st.at[LANE_FREE + level] = place


@kernel
def _lanes_of(st: State, chain: Int, place: Int, level: Int) -> Int:
    """Distribute a chain over lanes, allocated if `place` is NONE; keeps the order of acceptance. Returns their place."""
    if place == NONE:
        place = new_lanes(st, level)
    oldest = NONE
    while chain != NONE:
        behind = older(st, chain)
        link(st, chain, oldest)
        oldest = chain
        chain = behind
    mask = (1 << level) - 1
    while oldest != NONE:
        day = np.int64(st.chunks[oldest, 2])
        for i in range(CHUNK_IDS):
            value = id_at(st, oldest, i)
            if value != 0:
                lane = place + 1 + (value & mask)
                st.lanes[lane, 0] = _push(st, np.int64(st.lanes[lane, 0]), value, day)
                st.lanes[lane, 1] |= APPENDED
                st.lanes[place, 0] += 1
        newer = older(st, oldest)
        link(st, oldest, NONE)
        free_chunks(st, oldest)
        oldest = newer
    return place


@kernel
def _append_to_lane(st: State, slot: Int, which: Int, value: Int, today: Int) -> None:
    memory = st.memory[slot, which]
    place, level = -2 - np.int64(memory.head), np.int64(memory.first)
    if st.lanes[place, 0] >= LANE_IDS << level and level + 1 < LANE_LEVELS:
        _bury_lanes(st, slot, which)
        wider = new_lanes(st, level + 1)
        for i in range(place + 1, place + 1 + (1 << level)):
            _lanes_of(st, np.int64(st.lanes[i, 0]), wider, level + 1)
        _free_lanes(st, place, level)
        place, level = wider, level + 1
        memory.head = -2 - place
        memory.first = level
    lane = place + 1 + (value & ((1 << level) - 1))
    st.lanes[lane, 0] = _push(st, np.int64(st.lanes[lane, 0]), value, today)
    st.lanes[lane, 1] |= APPENDED
    st.lanes[place, 0] += 1


# --- expiry


@kernel
def _bury(st: State, slot: Int, which: Int, level: Int, base: Int, count: Int) -> None:
    """Note that saved rows of a customer are obsolete: see `cxstream.scoring.state.remembered_ids`."""
    st.dead[st.at[DEAD]] = (
        (np.int64(st.rows[slot].seq) << 20) | (which << 19) | (level << 14) | (base << 7) | count
    )
    st.at[DEAD] += 1


@kernel
def _bury_blocks(st: State, slot: Int, which: Int) -> None:
    """The blocks of a list; also those that another worker may have saved since it was last saved here."""
    memory, row = st.memory[slot, which], st.rows[slot]
    st.at[MEMORY_ROWS] -= blocks_saved(st, slot, which)
    if memory.flags & SAVED != 0:
        _bury(st, slot, which, 0, np.int64(memory.base), blocks_saved(st, slot, which))
    if memory.head != NONE:
        number = np.int64(row.kept_next) if which == KEPT_IDS else np.int64(row.visits_next)
        first = np.int64(memory.first) // BLOCK_CHUNKS
        last = ((number - 1) & 255) // BLOCK_CHUNKS
        _bury(st, slot, which, 0, first, ((last - first) & (BLOCKS - 1)) + 1)
    memory.flags = 0
    memory.saved = 0
    memory.base = 0


@kernel
def _bury_lanes(st: State, slot: Int, which: Int) -> None:
    memory = st.memory[slot, which]
    place, level = -2 - np.int64(memory.head), np.int64(memory.first)
    for i in range(place + 1, place + 1 + (1 << level)):
        if st.lanes[i, 1] & SAVED:
            st.at[MEMORY_ROWS] -= 1
    _bury(st, slot, which, level, 0, 0)


@kernel
def vacant_memory(st: State, slot: Int) -> None:
    """Start the lists of a customer without remembered ids."""
    for which in range(2):
        memory = st.memory[slot, which]
        memory.head = NONE
        memory.first = 0
        memory.saved = 0
        memory.base = 0
        memory.flags = 0
        st.memory_due[slot, which] = 0
    st.memory_dirty[slot] = 0


@kernel
def drop_memory(st: State, slot: Int) -> None:
    """Free all remembered ids of a customer."""
    for which in range(2):
        head = np.int64(st.memory[slot, which].head)
        if head < NONE:
            _bury_lanes(st, slot, which)
            level = np.int64(st.memory[slot, which].first)
            place = -2 - head
            for i in range(place + 1, place + 1 + (1 << level)):
                free_chunks(st, np.int64(st.lanes[i, 0]))
            _free_lanes(st, place, level)
        else:
            _bury_blocks(st, slot, which)
            free_chunks(st, head)
    vacant_memory(st, slot)


@kernel
def _cut_chain(st: State, head: Int, today: Int, life: Int) -> tuple[Int, Int, Int]:
    """Free the expired chunks of a chain.

    Returns:
        The newest chunk or NONE, how many ids have expired, and the age of the oldest chunk that stays.
    """
    before = NONE
    chunk = head
    oldest = days = 0
    while chunk != NONE:
        days = age(st, chunk, today)
        if days >= life:
            break
        oldest = days
        before = chunk
        chunk = older(st, chunk)
    if chunk == NONE:
        return head, 0, oldest
    ids = 0
    while ids < CHUNK_IDS and id_at(st, chunk, ids) != 0:
        ids += 1
    # All but the newest of a chain are full.
    ids += (free_chunks(st, chunk) - 1) * CHUNK_IDS
    if before == NONE:
        return NONE, ids, oldest
    link(st, before, NONE)
    return head, ids, oldest


@kernel
def _cut_lanes(st: State, slot: Int, which: Int, today: Int, life: Int) -> Int:
    """Expire chunks in the lanes of a list; returns the age of the oldest chunk that stays."""
    memory = st.memory[slot, which]
    place, level = -2 - np.int64(memory.head), np.int64(memory.first)
    oldest = 0
    for i in range(place + 1, place + 1 + (1 << level)):
        head, ids, days = _cut_chain(st, np.int64(st.lanes[i, 0]), today, life)
        if ids > 0:
            st.lanes[i, 0] = head
            st.lanes[i, 1] |= CUT
            st.lanes[place, 0] -= ids
            st.memory_dirty[slot] = 1
        oldest = max(oldest, days)
    if st.lanes[place, 0] == 0:
        _bury_lanes(st, slot, which)
        _free_lanes(st, place, level)
        memory.head = NONE
        memory.first = 0
        memory.flags = 0
    return oldest


@kernel
def _cut_list(st: State, slot: Int, which: Int, today: Int, life: Int) -> Int:
    """Expire chunks of a list without lanes; returns the age of the oldest chunk that stays."""
    memory = st.memory[slot, which]
    head, ids, oldest = _cut_chain(st, np.int64(memory.head), today, life)
    if ids == 0:
        return oldest
    chunks = (ids + CHUNK_IDS - 1) // CHUNK_IDS
    if chunks > (np.int64(memory.saved) - memory.first) & 255:
        # None of the saved blocks is left, so their numbers do not matter for the rest.
        memory.flags |= ALL
    memory.head = head
    memory.first = (memory.first + chunks) & 255
    memory.flags |= CUT
    st.memory_dirty[slot] = 1
    return oldest


@kernel
def _is_due(st: State, slot: Int, which: Int, today: Int) -> bool:
    """Whether ids of a list may expire on the day `today`."""
    return not 0 < (np.int64(st.memory_due[slot, which]) - today) & 0xFFFF < 0x8000


@kernel
def touch_due(st: State, begin: Int, end: Int, which: Int, today: Int, ahead: NDArray[np.int64]) -> Int:
    """Read the chunks of customers begin..end-1 of `order` whose ids may expire: one of each before the next."""
    n = 0
    for i in range(begin, end):
        slot = st.order[i]
        head = np.int64(st.memory[slot, which].head)
        if head > NONE and _is_due(st, slot, which, today):
            ahead[n] = head
            n += 1
    seen = 0
    while n:
        left = 0
        for i in range(n):
            chunk = ahead[i]
            # It may begin in one line of the cache and end in the next.
            seen += np.int64(st.chunks[chunk, CHUNK_WORDS - 1])
            ahead[left] = older(st, chunk)
            left += ahead[left] != NONE
        n = left
    return seen


@kernel
def cut_memory(st: State, c: Constants, slot: Int, today: Int) -> None:
    """Expire the ids that need not be remembered any more on the day `today`."""
    for which in range(2):
        if not _is_due(st, slot, which, today):
            continue
        life = c.window if which == KEPT_IDS else c.visit_window
        head = st.memory[slot, which].head
        oldest = 0
        if head < NONE:
            oldest = _cut_lanes(st, slot, which, today, life)
        elif head != NONE:
            oldest = _cut_list(st, slot, which, today, life)
        wait = life - oldest if st.memory[slot, which].head != NONE else FAR
        st.memory_due[slot, which] = (today + wait) & 0xFFFF


@entry
def mark_unsaved(st: State, slots: NDArray[np.int64]) -> None:
    """Mark all remembered ids of these customers as not saved."""
    for n in range(len(slots)):
        slot = slots[n]
        st.memory_dirty[slot] = 1
        for which in range(2):
            memory = st.memory[slot, which]
            if memory.head < NONE:
                place = -2 - np.int64(memory.head)
                for i in range(place + 1, place + 1 + (1 << np.int64(memory.first))):
                    st.lanes[i, 1] |= APPENDED
            else:
                memory.flags |= ALL

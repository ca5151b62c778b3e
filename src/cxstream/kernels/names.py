"""Customers by name: an open-addressing table whose names are compared byte by byte, so a hash never decides who is who.

An entry of the table has half of a name's hash beside its slot: a name is compared with hardly any other than itself. The
hash is SipHash-1-3 (Aumasson and Bernstein 2012) under a key that senders do not know, so nobody can choose customer ids that
fall into one place. Nothing that comes out of a partition depends on the hash or on a slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.ahead import fetch
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.wide import word

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = -1
"""The slot of a name that is not there."""

TOP, FREE, USED, DEAD, ENTRIES, CURSORS = 0, 1, 2, 3, 4, 5
"""Slots ever taken; free ones among them; bytes of `text` in use; of these without a slot; places of `table` in use."""

AHEAD = 32
"""Names that are looked up together."""

_NEAR = 8
_EMPTY, _REMOVED = np.int64(-1), np.int64(-2)
_SLOT = np.int64(0xFFFFFFFF)


class Names(NamedTuple):
    """The names of a partition.

    Attributes:
        text: uint8[...], names in UTF-8; zeros where there is none.
        begins: int64[slots], where the name of each slot lies there.
        lengths: int32[slots], its bytes; 0 without a name.
        free: int32[slots], slots that may be taken again.
        table: int64[2**k], low half of a hash above a slot; -1 for an empty place, -2 where one was removed.
        key: uint64[2], of the hash.
        at: int64[CURSORS].
    """

    text: NDArray[np.uint8]
    begins: NDArray[np.int64]
    lengths: NDArray[np.int32]
    free: NDArray[np.int32]
    table: NDArray[np.int64]
    key: NDArray[np.uint64]
    at: NDArray[np.int64]


@kernel
def _rotated(x: np.uint64, by: int) -> np.uint64:
    return (x << np.uint64(by)) | (x >> np.uint64(64 - by))


@kernel
def _round(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    a += b
    b = _rotated(b, 13) ^ a
    a = _rotated(a, 32)
    c += d
    d = _rotated(d, 16) ^ c
    a += d
    d = _rotated(d, 21) ^ a
    c += b
    b = _rotated(b, 17) ^ c
    return a, b, _rotated(c, 32), d


@kernel
def _bytes(text: NDArray[np.uint8], at: int, n: int) -> np.uint64:
    found = np.uint64(0)
    for i in range(n):
        found |= np.uint64(text[at + i]) << np.uint64(8 * i)
    return found


@entry
def siphash(text: NDArray[np.uint8], at: int, end: int, key: NDArray[np.uint64]) -> np.uint64:
    """SipHash-1-3 of text[at:end]."""
    a = key[0] ^ np.uint64(0x736F6D6570736575)
    b = key[1] ^ np.uint64(0x646F72616E646F6D)
    c = key[0] ^ np.uint64(0x6C7967656E657261)
    d = key[1] ^ np.uint64(0x7465646279746573)
    size = np.uint64(end - at)
    while end - at >= 8:
        m = word(text, at)
        d ^= m
        a, b, c, d = _round(a, b, c, d)
        a ^= m
        at += 8
    if at < end:
        # The last bytes are at the top of the last 8.
        rest = (
            word(text, end - 8) >> np.uint64(8 * (8 - (end - at)))
            if size >= np.uint64(8)
            else _bytes(text, at, end - at)
        )
    else:
        rest = np.uint64(0)
    m = (size << np.uint64(56)) | rest
    d ^= m
    a, b, c, d = _round(a, b, c, d)
    a ^= m
    c ^= np.uint64(0xFF)
    for _ in range(3):
        a, b, c, d = _round(a, b, c, d)
    return a ^ b ^ c ^ d


@kernel
def _tag(hashed: np.uint64) -> np.int64:
    """The part of a hash that an entry has, above its slot; not negative."""
    return np.int64((hashed >> np.uint64(33)) << np.uint64(32))


@kernel
def _equal(one: NDArray[np.uint8], begin: int, two: NDArray[np.uint8], at: int, n: int) -> bool:
    """Whether n bytes are equal: by 8, of which the last may be some that were compared before."""
    same = True
    if n < 8:
        for j in range(n):
            same &= one[begin + j] == two[at + j]
        return same
    for j in range(0, n - 8, 8):
        same &= word(one, begin + j) == word(two, at + j)
    return same & (word(one, begin + n - 8) == word(two, at + n - 8))


@kernel
def _place(names: Names, text: NDArray[np.uint8], at: int, end: int, hashed: np.uint64) -> int:
    """The place of a name in the table; -1 for an unknown one."""
    last, tag = len(names.table) - 1, _tag(hashed)
    i = np.int64(hashed & np.uint64(last))
    while True:
        found = names.table[i]
        if found == _EMPTY:
            return -1
        if found >= 0 and (found & ~_SLOT) == tag:
            slot = found & _SLOT
            if names.lengths[slot] == end - at and _equal(names.text, names.begins[slot], text, at, end - at):
                return i
        i = (i + 1) & last


@entry
def find(
    names: Names, text: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64],
    slots: NDArray[np.int32], hashes: NDArray[np.uint64], found: NDArray[np.int64],
) -> int:  # fmt: skip
    """Fill in the slots of names.

    Args:
        names: the names.
        text: uint8[...].
        begins: int64[n], where each name begins there.
        ends: int64[n], where it ends.
        slots: int32[n], filled in: UNKNOWN for a name that is not there, 0 for no name.
        hashes: uint64[AHEAD], scratch.
        found: int64[AHEAD], scratch.

    Returns:
        How many are unknown.
    """
    unknown = 0
    last = np.uint64(len(names.table) - 1)
    for i in range(min(AHEAD, len(slots))):
        fetch(text, begins[i], 0)
    for first in range(0, len(slots), AHEAD):
        n = min(AHEAD, len(slots) - first)
        for i in range(first + AHEAD, min(first + 2 * AHEAD, len(slots))):
            fetch(text, begins[i], 0)
        # One step for all of them before the next: what it reads, the step before has asked for.
        for i in range(n):
            hashes[i] = siphash(text, begins[first + i], ends[first + i], names.key)
            fetch(names.table, np.int64(hashes[i] & last), 0)  # type: ignore[arg-type]
        for i in range(n):
            found[i] = names.table[np.int64(hashes[i] & last)]
            if found[i] >= 0:
                found[i] &= _SLOT
                fetch(names.lengths, found[i], 0)
                fetch(names.begins, found[i], 0)
        for i in range(n):
            if found[i] >= 0:
                fetch(names.text, names.begins[found[i]], 0)
        for i in range(n):
            at, end = begins[first + i], ends[first + i]
            slots[first + i] = 0
            if end > at:
                place = _place(names, text, at, end, hashes[i])
                slots[first + i] = UNKNOWN if place < 0 else names.table[place] & _SLOT
                unknown += place < 0
    return unknown


@entry
def recall(
    names: Names, text: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64],
    codes: NDArray[np.int32], last: NDArray[np.int32], slots: NDArray[np.int32],
) -> int:  # fmt: skip
    """Fill in the slots of names that still have the slot that they had when they were looked up last.

    The name in that slot is compared, so that it does not matter whose it is now.

    Args:
        names: the names.
        text: uint8[...].
        begins: int64[n], where each name begins there.
        ends: int64[n], where it ends.
        codes: int32[n], which of some words each name is.
        last: int32[words], the slot that each word had; UNKNOWN where that is not known.
        slots: int32[n], filled in: UNKNOWN for a name that has another slot or none, 0 for no name.

    Returns:
        How many are UNKNOWN.
    """
    n, top, unknown = len(slots), names.at[TOP], 0
    for i in range(n):
        # What one step reads, those before it have asked for.
        if i + 2 * _NEAR < n:
            slot = np.int64(last[codes[i + 2 * _NEAR]])
            if 0 <= slot < top:
                fetch(names.begins, slot, 0)  # type: ignore[arg-type]
                fetch(names.lengths, slot, 0)  # type: ignore[arg-type]
        if i + _NEAR < n:
            slot = np.int64(last[codes[i + _NEAR]])
            if 0 <= slot < top:
                fetch(names.text, names.begins[slot], 0)
        at, end, slot = begins[i], ends[i], np.int64(last[codes[i]])
        slots[i] = 0
        if end > at:
            known = 0 <= slot < top and names.lengths[slot] == end - at
            if known:
                known = _equal(names.text, names.begins[slot], text, at, end - at)
            slots[i] = slot if known else UNKNOWN
            unknown += not known
    return unknown


@kernel
def _enter(names: Names, hashed: np.uint64, slot: int | np.int64) -> None:
    """Put a slot into the table, in the first place where one was removed, or in an empty one."""
    last = len(names.table) - 1
    i = np.int64(hashed & np.uint64(last))
    while names.table[i] >= 0:
        i = (i + 1) & last
    names.at[ENTRIES] += names.table[i] == _EMPTY
    names.table[i] = _tag(hashed) | np.int64(slot)


@entry
def add(
    names: Names, text: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64],
    slots: NDArray[np.int32], fresh: NDArray[np.int32],
) -> int:  # fmt: skip
    """Give the unknown names slots; there is room for all of them.

    Args:
        names: the names.
        text: uint8[...].
        begins: int64[n].
        ends: int64[n].
        slots: int32[n], as of `find`; filled in where it is UNKNOWN. The same name may come twice.
        fresh: int32[unknown], filled in with the new slots, in order.

    Returns:
        How many there are.
    """
    new = 0
    for i in range(len(slots)):
        if slots[i] != UNKNOWN:
            continue
        at, end = begins[i], ends[i]
        hashed = siphash(text, at, end, names.key)
        place = _place(names, text, at, end, hashed)
        if place >= 0:
            slots[i] = names.table[place] & _SLOT
            continue
        if names.at[FREE]:
            names.at[FREE] -= 1
            slot = np.int64(names.free[names.at[FREE]])
        else:
            slot = names.at[TOP]
            names.at[TOP] += 1
        begin = names.at[USED]
        names.begins[slot], names.lengths[slot] = begin, end - at
        for j in range(end - at):
            names.text[begin + j] = text[at + j]
        names.at[USED] = begin + end - at
        _enter(names, hashed, slot)
        slots[i] = slot
        fresh[new] = slot
        new += 1
    return new


@entry
def remove(names: Names, slots: NDArray[np.int32]) -> None:
    """Release slots, each with a name; the names are overwritten, since they may be those of erased customers."""
    for i in range(len(slots)):
        slot = slots[i]
        begin, n = names.begins[slot], names.lengths[slot]
        place = _place(names, names.text, begin, begin + n, siphash(names.text, begin, begin + n, names.key))
        names.table[place] = _REMOVED
        for j in range(begin, begin + n):
            names.text[j] = 0
        names.at[DEAD] += n
        names.lengths[slot] = 0
        names.free[names.at[FREE]] = slot
        names.at[FREE] += 1


@entry
def rebuild(names: Names, text: NDArray[np.uint8]) -> None:
    """Move the names one after the other into `text`, and enter them into the table, which is empty.

    Args:
        names: the names; `begins` and `at` change.
        text: uint8[...], zeros, with room for all of them.
    """
    used = 0
    names.at[ENTRIES] = 0
    for slot in range(names.at[TOP]):
        begin, n = names.begins[slot], names.lengths[slot]
        if n == 0:
            continue
        for j in range(n):
            text[used + j] = names.text[begin + j]
        _enter(names, siphash(text, used, used + n, names.key), slot)
        names.begins[slot] = used
        used += n
    names.at[USED], names.at[DEAD] = used, 0


@entry
def told(names: Names, slots: NDArray[np.int32], ends: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
    """Put names one after the other.

    Args:
        names: the names.
        slots: int32[n].
        ends: int64[n], where the name of each ends in `out`.
        out: uint8[...], filled in.
    """
    last = len(slots) - 1
    for i in range(len(slots)):
        ahead = slots[min(i + AHEAD, last)]
        fetch(names.begins, ahead, 0)
        fetch(names.lengths, ahead, 0)
        fetch(names.text, names.begins[slots[min(i + AHEAD // 2, last)]], 0)
        begin, n = names.begins[slots[i]], np.int64(names.lengths[slots[i]])
        for j in range(n):
            out[ends[i] - n + j] = names.text[begin + j]


@entry
def same(
    text: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64],
    other: NDArray[np.uint8], other_begins: NDArray[np.int64], other_ends: NDArray[np.int64], out: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Fill in, bool[n], whether each text of one kind is the one of another kind, byte by byte."""
    for i in range(len(out)):
        n = ends[i] - begins[i]
        out[i] = other_ends[i] - other_begins[i] == n and _equal(text, begins[i], other, other_begins[i], n)

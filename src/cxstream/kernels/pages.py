"""Headers and dictionaries of the pages of Parquet: structs in Thrift's compact protocol, and texts behind their lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

KIND, UNPACKED, PACKED, OF_DATA, OF_DICTIONARY, OF_DATA_V2, LEVELS, FOUND = 0, 1, 2, 3, 5, 7, 9, 10
"""Places of what a page header says: kind of the page, its bytes unpacked and packed; how many values it has, and behind
that how they are written, in the struct for each kind; and how the levels of a page of data are. A header may have several structs: that
of its kind counts."""

DEEPEST = 16
"""Most structs and lists within each other; `page_header` needs as many rows of room."""

ENDS_EARLY, NO_HEADER = -1, -2

# Types of Thrift's compact protocol; a list of so many items has their number behind its head.
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    12,
)
_MANY, _LAST_BYTE = 15, 0x80
# Numbers of more bits mean something else to readers that cut them off.
_BITS, _MOST_MEMBERS = np.uint64(32), 0x7FFF
_MOST_BYTES = 10  # of a number
# Members of a page header that are structs by kind of the page, and which member of theirs is the encoding.
_DATA_HEADER, _DICTIONARY_HEADER, _DATA_HEADER_V2 = 5, 7, 8
_OF_STRUCT, _ITEMS, _MEMBER, _ROOM = 0, 1, 2, 3


@kernel
def _number(data: NDArray[np.uint8], at: int) -> tuple[np.uint64, int]:
    """A number of 7 bits a byte, and where it ends; ENDS_EARLY or NO_HEADER where there is none."""
    value, shift = np.uint64(0), np.uint64(0)
    for _ in range(_MOST_BYTES):
        if at >= len(data):
            return value, ENDS_EARLY
        byte = data[at]
        at += 1
        value |= np.uint64(byte & np.uint8(0x7F)) << shift
        if byte < _LAST_BYTE:
            return value, at
        shift += np.uint64(7)
    return value, NO_HEADER


@kernel
def _whole(value: np.uint64) -> int:
    """A number with a sign: 0, -1, 1, -2, ... are 0, 1, 2, 3, ..."""
    return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))


@kernel
def _note(found: NDArray[np.int64], outer: int, member: int, depth: int, value: int) -> None:
    """Keep a number of the header, or of a struct within it that is for a kind of page."""
    if depth == 0:
        if 1 <= member <= 3:
            found[member - 1] = value
    elif depth == 1:
        place = 0
        if outer == _DATA_HEADER:
            place = OF_DATA
        elif outer == _DICTIONARY_HEADER:
            place = OF_DICTIONARY
        elif outer == _DATA_HEADER_V2:
            place = OF_DATA_V2
        if place != 0 and member == 1:
            found[place] = value
        elif place != 0 and member == (4 if outer == _DATA_HEADER_V2 else 2):
            found[place + 1] = value
        elif place == OF_DATA and member == 3:
            found[LEVELS] = value


@entry
def page_header(data: NDArray[np.uint8], found: NDArray[np.int64], room: NDArray[np.int64]) -> int:
    """Read the header of a page.

    Args:
        data: uint8[...], which begins with it.
        found: int64[FOUND], filled in with what it says; the others stay.
        room: int64[DEEPEST, 3].

    Returns:
        Its bytes; ENDS_EARLY where the data ends within it, NO_HEADER where it is none.
    """
    at, depth, outer = 0, 0, 0
    room[0, _OF_STRUCT], room[0, _ITEMS], room[0, _MEMBER] = 1, 0, 0
    while True:
        if room[depth, _OF_STRUCT] == 1:
            if at >= len(data):
                return ENDS_EARLY
            head = np.int64(data[at])
            at += 1
            if head == 0:
                if depth == 0:
                    return at
                depth -= 1
                continue
            kind = head & 0x0F
            if head >> 4:
                room[depth, _MEMBER] += head >> 4
            else:
                value, at = _number(data, at)
                if at < 0:
                    return at
                room[depth, _MEMBER] = _whole(value)
            if not 0 < room[depth, _MEMBER] <= _MOST_MEMBERS:
                return NO_HEADER
            if kind == _TRUE or kind == _FALSE:
                continue
        else:
            if room[depth, _ITEMS] == 0:
                depth -= 1
                continue
            room[depth, _ITEMS] -= 1
            kind = room[depth, _MEMBER]
            if kind == _TRUE or kind == _FALSE:
                kind = _BYTE
        if kind == _I16 or kind == _I32 or kind == _I64:
            value, at = _number(data, at)
            if at < 0:
                return at
            if kind == _I32 and value >> _BITS != np.uint64(0):
                return NO_HEADER
            if kind == _I32 and room[depth, _OF_STRUCT] == 1:
                _note(found, outer, room[depth, _MEMBER], depth, _whole(value))
        elif kind == _BYTE or kind == _DOUBLE or kind == _BINARY:
            size = np.uint64(1 if kind == _BYTE else 8)
            if kind == _BINARY:
                size, at = _number(data, at)
                if at < 0:
                    return at
            if size > np.uint64(len(data) - at):
                return ENDS_EARLY
            at += np.int64(size)
        elif kind == _STRUCT or kind == _LIST or kind == _SET:
            if depth + 1 >= DEEPEST:
                return NO_HEADER
            if depth == 0:
                outer = room[0, _MEMBER] if kind == _STRUCT else 0
            depth += 1
            room[depth, _OF_STRUCT], room[depth, _ITEMS], room[depth, _MEMBER] = kind == _STRUCT, 0, 0
            if kind != _STRUCT:
                if at >= len(data):
                    return ENDS_EARLY
                head = np.int64(data[at])
                at += 1
                items = np.uint64(head >> 4)
                if head >> 4 == _MANY:
                    items, at = _number(data, at)
                    if at < 0:
                        return at
                if items > np.uint64(1 << 62):
                    return NO_HEADER
                room[depth, _ITEMS], room[depth, _MEMBER] = np.int64(items), head & 0x0F
        else:
            return NO_HEADER


@entry
def longest_value(data: NDArray[np.uint8], values: int) -> int:
    """The most bytes of one of the values of a dictionary, each of which stands behind its length in 4 bytes."""
    at = longest = np.int64(0)
    for _ in range(values):
        if at + 4 > len(data):
            break
        size = np.int64(0)
        for i in range(4):
            size |= np.int64(data[at + i]) << (8 * i)
        longest = max(longest, min(size, np.int64(len(data))))
        at += 4 + size
    return longest

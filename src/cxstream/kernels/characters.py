"""The characters of a text: lower case, capitals and spaces, for the texts that can be read without a doubt.

A character is *known* where nothing but itself decides what it is in lower case, in as many bytes of UTF-8, and in Unicode's
normal form: Latin, Greek and Cyrillic letters, punctuation and signs of money. Emoji have a table of their own. Any other text
is for Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.jit import kernel
from cxstream.kernels.words import find_word

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.words import Words

CODES = 0x2100
"""Known characters have numbers below this."""
KNOWN, UPPER, LOWER, SPACE, WORD, CONTINUED, EMOJI = 1, 2, 4, 8, 16, 32, 64
"""Marks of a byte: known; of a capital, a small letter, a space, a letter or digit; not the first of its character; of an
emoji."""

TOO_LONG, DOUBTFUL, UNCLEAN = -1, -2, -3
"""Longer than the room for it; an unknown character; something in it that is perhaps not its author's own words."""

_NEWLINE, _SLASH, _COLON, _QUOTE, _AT, _HASH, _DOT = 10, 47, 58, 62, 64, 35, 46
_W, _W_CAPITAL, _BLANK = 119, 87, 32


class Characters(NamedTuple):
    """What is known of characters.

    Attributes:
        lower: uint16[CODES], each in lower case.
        marks: uint8[CODES].
    """

    lower: NDArray[np.uint16]
    marks: NDArray[np.uint8]


class Emoji(NamedTuple):
    """Emoji, and what else of such texts is no letter.

    Attributes:
        names: the characters; their values are log-odds of what they say, NaN where nobody knows.
        low: uint8[...], the descriptions of those that have one, in lower case, one after the other.
        marks: uint8[...], of each byte of these.
        ends: int32[n + 1], where the description of each ends, behind a 0.
    """

    names: Words
    low: NDArray[np.uint8]
    marks: NDArray[np.uint8]
    ends: NDArray[np.int32]


class Room(NamedTuple):
    """Room for one text.

    Attributes:
        low: uint8[m], its bytes in lower case.
        marks: uint8[m], of each byte.
    """

    low: NDArray[np.uint8]
    marks: NDArray[np.uint8]


@kernel
def _code(text: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """The number of a character of up to three bytes, and how many they are; CODES for one that is not known."""
    first = np.int64(text[at])
    if first < 0x80:
        return first, 1
    if 0xC2 <= first <= 0xDF and at + 1 < end:
        return (first & 0x1F) << 6 | np.int64(text[at + 1]) & 0x3F, 2
    if first == 0xE2 and at + 2 < end:
        return 0x2000 | (np.int64(text[at + 1]) & 0x3F) << 6 | np.int64(text[at + 2]) & 0x3F, 3
    return CODES, 4 if first >= 0xF0 else 3


@kernel
def _is_unclean(text: NDArray[np.uint8], at: int, begin: int, end: int, byte: int) -> bool:
    """Whether `cxstream.text.cleaning` would look closer at a text for its byte at some place."""
    if byte == _NEWLINE or byte == _AT or byte == _HASH:
        return True
    if byte == _QUOTE:
        return at - begin < 2
    if byte == _COLON:
        return at + 2 < end and text[at + 1] == _SLASH and text[at + 2] == _SLASH
    if byte == _DOT and at - begin >= 3:
        a, b, c = text[at - 3], text[at - 2], text[at - 1]
        return (a == _W and b == _W and c == _W) or (a == _W_CAPITAL and b == _W_CAPITAL and c == _W_CAPITAL)
    return False


@kernel
def _put(
    known: Characters, text: NDArray[np.uint8], at: int, code: int, size: int, room: Room, to: int
) -> None:
    """Put a known character into `room`."""
    lower = np.int64(known.lower[code])
    if size == 1:
        room.low[to] = lower
    elif size == 2:
        room.low[to] = 0xC0 | lower >> 6
        room.low[to + 1] = 0x80 | lower & 0x3F
    else:
        # Of these, none has a lower case.
        _copy(text, at, size, room.low, to)
    room.marks[to] = known.marks[code]


@kernel
def _copy(source: NDArray[np.uint8], at: int, n: int, target: NDArray[np.uint8], to: int) -> None:
    for i in range(n):
        target[to + i] = source[at + i]


@kernel
def prepare(
    known: Characters,
    emoji: Emoji,
    text: NDArray[np.uint8],
    begin: int,
    end: int,
    room: Room,
    is_clean: bool,
) -> int:
    """Put a text in lower case and its marks into `room`.

    Args:
        known: the characters.
        emoji: others.
        text: uint8[...], valid UTF-8.
        begin: of the text.
        end: of it.
        room: receives them.
        is_clean: the text is its author's own words.

    Returns:
        How many characters it has; TOO_LONG, DOUBTFUL or UNCLEAN if the text is for Python.
    """
    if end - begin > len(room.low):
        return TOO_LONG
    n = 0
    at = begin
    while at < end:
        code, size = _code(text, at, end)
        to = at - begin
        if code < CODES and known.marks[code] & KNOWN:
            if size == 1 and not is_clean and _is_unclean(text, at, begin, end, code):
                return UNCLEAN
            _put(known, text, at, code, size, room, to)
        else:
            if at + size > end or find_word(emoji.names, text, at, at + size) < 0:
                return DOUBTFUL
            _copy(text, at, size, room.low, to)
            room.marks[to] = EMOJI
        for i in range(1, size):
            room.marks[to + i] = CONTINUED | room.marks[to] & SPACE
        at += size
        n += 1
    return n


@kernel
def in_words(emoji: Emoji, room: Room, n: int, spoken: Room) -> int:
    """Put a text into `spoken`, with descriptions in place of emoji, as VADER reads it.

    Returns:
        Bytes of it; TOO_LONG if there is no room for them.
    """
    to = at = 0
    while at < n:
        size = 1
        while at + size < n and room.marks[at + size] & CONTINUED:
            size += 1
        begin = end = 0
        if room.marks[at] & EMOJI:
            i = find_word(emoji.names, room.low, at, at + size)
            begin, end = np.int64(emoji.ends[i]), np.int64(emoji.ends[i + 1])
        if to + max(size, end - begin + 1) > len(spoken.low):
            return TOO_LONG
        if end > begin:
            # Python puts no second blank before it, which separates no other words.
            spoken.low[to], spoken.marks[to] = _BLANK, SPACE
            to += 1
            _copy(emoji.low, begin, end - begin, spoken.low, to)
            _copy(emoji.marks, begin, end - begin, spoken.marks, to)
            to += end - begin
        else:
            _copy(room.low, at, size, spoken.low, to)
            _copy(room.marks, at, size, spoken.marks, to)
            to += size
        at += size
    return to

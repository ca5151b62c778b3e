"""Columns out of what was read of a batch: one pass over the rows, which stops at the members that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.ahead import fetch
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.wide import WIDE, bits, copy, lowest, word

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ONE = np.uint64(1)
_AHEAD = 8

NULL, EMPTY, FIRST = 0, 1, 2
"""Numbers of words: of none, of the empty one, and of the word 0 of a table."""


WORDS, WORD = 2048, 16
"""Places for words that were numbered, and the longest of them, in bytes."""

FIRST_HALF, LAST_HALF, SIZE, OWN_NUMBER, PLACE = 0, 1, 2, 3, 4
"""What a place has: the first 8 bytes of a word, its last 8, how many there are, and its number."""


@kernel
def _halves(text: NDArray[np.uint8], at: int, n: int) -> tuple[np.uint64, np.uint64]:
    """The first and the last 8 bytes of a word of at most WORD bytes, which together with its length are all of it."""
    first = word(text, at)
    if n < 8:
        return first & ((_ONE << np.uint64(8 * n)) - _ONE), np.uint64(0)
    return first, word(text, at + n - 8)


@kernel
def _place_of(first: np.uint64, last: np.uint64, n: int) -> int:
    mixed = (first ^ np.uint64(n)) * np.uint64(0x9E3779B97F4A7C15) + last * np.uint64(0xC2B2AE3D27D4EB4F)
    return np.int64((mixed ^ (mixed >> np.uint64(29))) * np.uint64(0x165667B19E3779F9) >> np.uint64(53))


@kernel
def _is_at(known: NDArray[np.uint64], place: int, first: np.uint64, last: np.uint64, n: int) -> bool:
    """Whether a place has this word."""
    return (
        (known[place, FIRST_HALF] == first)
        & (known[place, LAST_HALF] == last)
        & (known[place, SIZE] == np.uint64(n))
    )


@entry
def spread(
    rows: NDArray[np.int64], members: NDArray[np.uint64], spans: NDArray[np.int64], numbers: NDArray[np.float64],
    own: NDArray[np.int64], source: int, text: NDArray[np.uint8], number_of: NDArray[np.int16],
    words_of: NDArray[np.int16], at: int, there: NDArray[np.uint64], values: NDArray[np.float64],
    codes: NDArray[np.int32], known: NDArray[np.uint64], begins: NDArray[np.int64], ends: NDArray[np.int64],
    places: NDArray[np.int64],
) -> int:  # fmt: skip
    """Spread the numbers and the words of some rows over columns, and list the words that are not known.

    Args:
        rows: int64[n], of m.
        members: uint64[m], bits of the members that are there.
        spans: int64[m, members, 2], where their texts lie.
        numbers: float64[m, members].
        own: int64[m, members of the envelope, 2], where its texts lie.
        source: which of these is the source, whose words are the first column of words.
        text: uint8[...], with 8 bytes behind the last word.
        number_of: int16[members], the column of numbers of each; -1 for none.
        words_of: int16[members], the column of words of each; -1 for none.
        at: row of the columns that is the first of these.
        there: uint64[room], filled in with the bits of the members that are there.
        values: float64[columns of numbers, room], filled in there.
        codes: int32[columns of words, room], filled in with the numbers of known words there.
        known: uint64[WORDS, PLACE], numbers of words.
        begins: int64[...], where each unknown word begins; filled in, and there is room for all.
        ends: int64[...], where it ends; filled in.
        places: int64[...], the column of each times `room`, plus its row there; filled in.

    Returns:
        How many words are unknown.
    """
    unknown, room = 0, len(there)
    kept = np.uint64(0)
    for m in range(len(number_of)):
        if number_of[m] >= 0 or words_of[m] >= 0:
            kept |= _ONE << np.uint64(m)
    for i in range(len(rows)):
        if i + _AHEAD < len(rows):
            row = rows[i + _AHEAD]
            fetch(own, row, 16 * source)
            left = members[row] & kept
            while left != np.uint64(0):
                m = lowest(left)
                left &= left - _ONE
                if number_of[m] < 0:
                    fetch(spans, row, 16 * m)
                else:
                    fetch(numbers, row, 8 * m)
            begin = own[rows[i + _AHEAD // 2], source, 0]
            for line in range(0, 320, 64):
                fetch(text, begin, line)
        row = rows[i]
        there[at + i] = members[row]
        left = members[row] & kept
        column, begin, end = 0, own[row, source, 0], own[row, source, 1]
        while True:
            n = end - begin
            code = np.int64(EMPTY if n == 0 else NULL)
            if 0 < n <= WORD:
                first, last = _halves(text, begin, n)
                place = _place_of(first, last, n)
                if not _is_at(known, place, first, last, n):
                    place ^= 1
                if _is_at(known, place, first, last, n):
                    code = np.int64(known[place, OWN_NUMBER])
            if code == NULL:
                begins[unknown], ends[unknown] = begin, end
                places[unknown] = np.int64(column) * room + at + i
                unknown += 1
            else:
                codes[column, at + i] = code
            m = -1
            while left != np.uint64(0):
                m = lowest(left)
                left &= left - _ONE
                if number_of[m] < 0:
                    break
                values[number_of[m], at + i] = numbers[row, m]
                m = -1
            if m < 0:
                break
            column, begin, end = np.int64(words_of[m]), spans[row, m, 0], spans[row, m, 1]
    return unknown


@entry
def lay(
    text: NDArray[np.uint8], spans: NDArray[np.int64], rows: NDArray[np.int64], m: int, there: NDArray[np.uint64],
    bit: np.uint64, at: int, ends: NDArray[np.int32], out: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Append texts to a column, as far as there is room.

    Args:
        text: uint8[...].
        spans: int64[..., members, 2], where texts lie in it.
        rows: int64[n], of `spans`.
        m: which member.
        there: uint64[room], bits of the members that rows have, by the rows of the column.
        bit: the bit of this one; 0 where all rows have it.
        at: texts that the column has.
        ends: int32[room + 1], where each ends in `out`, behind a 0; filled in.
        out: uint8[...], filled in; what is behind the last text means nothing.

    Returns:
        Bytes that `out` must have; where it has fewer, nothing is filled in.
    """
    need = np.int64(ends[at])
    for i in range(len(rows)):
        if there[at + i] & bit == bit:
            need += spans[rows[i], m, 1] - spans[rows[i], m, 0]
    if need > len(out):
        return need
    end = np.int64(ends[at])
    for i in range(len(rows)):
        if i + _AHEAD < len(rows) and there[at + i + _AHEAD] & bit == bit:
            fetch(text, spans[rows[i + _AHEAD], m, 0], 0)
        if there[at + i] & bit == bit:
            begin = spans[rows[i], m, 0]
            n = spans[rows[i], m, 1] - begin
            if end + n + WIDE <= len(out) and begin + n + WIDE <= len(text):
                for j in range(0, n, WIDE):
                    copy(text, int(begin) + j, out, int(end) + j)
            else:
                for j in range(n):
                    out[end + j] = text[begin + j]
            end += n
        ends[at + i + 1] = end
    return need


@entry
def place(
    slots: NDArray[np.int32], text: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64],
    places: NDArray[np.int64], codes: NDArray[np.int32], known: NDArray[np.uint64],
) -> None:  # fmt: skip
    """Put the numbers of words where they belong, and let short words be known.

    Args:
        slots: int32[n], of the words in their table.
        text: uint8[...], with 8 bytes behind the last word.
        begins: int64[n], where each begins.
        ends: int64[n], where it ends.
        places: int64[n], in `codes`.
        codes: int32[...], filled in there.
        known: uint64[WORDS, PLACE], numbers of words; filled in.
    """
    for i in range(len(slots)):
        n = ends[i] - begins[i]
        codes[places[i]] = FIRST + slots[i]
        if n <= WORD:
            first, last = _halves(text, begins[i], n)
            at = _place_of(first, last, n)
            if known[at, SIZE] and not _is_at(known, at, first, last, n):
                at ^= 1
            known[at, FIRST_HALF], known[at, LAST_HALF] = first, last
            known[at, SIZE], known[at, OWN_NUMBER] = np.uint64(n), np.uint64(FIRST + slots[i])


_BLOCK = 64


@entry
def bitmaps(
    there: NDArray[np.uint64], block: NDArray[np.uint64], out: NDArray[np.uint64], counts: NDArray[np.int64]
) -> None:
    """Bits of rows to bits of columns.

    Args:
        there: uint64[n], bits of the members that rows have.
        block: uint64[64], scratch.
        out: uint64[members, (n + 63) // 64], filled in: a bit for each row, the first one lowest.
        counts: int64[members], filled in: how many rows have each.
    """
    counts[:] = 0
    for begin in range(0, len(there), _BLOCK):
        for i in range(_BLOCK):
            block[i] = there[begin + i] if begin + i < len(there) else np.uint64(0)
        # A matrix of bits is transposed by halves, quarters, ... (Warren, Hacker's Delight, 7-3).
        step, mask = 32, np.uint64(0xFFFFFFFF)
        while step:
            i = 0
            while i < _BLOCK:
                moved = ((block[i] >> np.uint64(step)) ^ block[i + step]) & mask
                block[i] ^= moved << np.uint64(step)
                block[i + step] ^= moved
                i = (i + step + 1) & ~step
            step >>= 1
            mask ^= mask << np.uint64(step)
        for m in range(len(counts)):
            out[m, begin // _BLOCK] = block[m]
            counts[m] += bits(block[m])


@entry
def renumber(codes: NDArray[np.int32], seen: NDArray[np.int32], order: NDArray[np.int32]) -> int:
    """Number words in the order in which they appear.

    Args:
        codes: int32[n], numbers of words, NULL for none; replaced by their new numbers, from 0 on, which for NULL is 0.
        seen: int32[words], zeros.
        order: int32[words], filled in with the old number of each new one.

    Returns:
        How many words appear.
    """
    count = 0
    for i in range(len(codes)):
        code = codes[i]
        if code == NULL:
            continue
        if seen[code] == 0:
            order[count] = code
            count += 1
            seen[code] = count
        codes[i] = seen[code] - 1
    return count

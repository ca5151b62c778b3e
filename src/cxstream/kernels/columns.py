"""Columns out of what was read of a batch: one pass over the rows, which stops at the members that are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry
from cxstream.kernels.wide import WIDE, copy, lowest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ONE = np.uint64(1)

NULL, EMPTY, FIRST = 0, 1, 2
"""Numbers of words: of none, of the empty one, and of the word 0 of a table."""


@entry
def spread(
    rows: NDArray[np.int64], members: NDArray[np.uint64], spans: NDArray[np.int64], numbers: NDArray[np.float64],
    number_of: NDArray[np.int16], words_of: NDArray[np.int16], at: int, there: NDArray[np.bool_],
    values: NDArray[np.float64], begins: NDArray[np.int64], ends: NDArray[np.int64], places: NDArray[np.int64],
) -> int:  # fmt: skip
    """Spread the numbers of some rows over columns, and list their words.

    Args:
        rows: int64[n], of m.
        members: uint64[m], bits of the members that are there.
        spans: int64[m, members, 2], where their texts lie.
        numbers: float64[m, members].
        number_of: int16[members], the column of numbers of each; -1 for none.
        words_of: int16[members], the column of words of each; -1 for none.
        at: row of the columns that is the first of these.
        there: bool[members, room], set where a member is there.
        values: float64[columns of numbers, room], filled in there.
        begins: int64[...], where each word begins; filled in, and there is room for all.
        ends: int64[...], where it ends; filled in.
        places: int64[...], the column of each times `room`, plus its row there; filled in.

    Returns:
        How many words there are.
    """
    words, room = 0, there.shape[1]
    known = (_ONE << np.uint64(len(number_of))) - _ONE
    for i in range(len(rows)):
        row = rows[i]
        left = members[row] & known
        while left != np.uint64(0):
            m = lowest(left)
            left &= left - _ONE
            there[m, at + i] = True
            if number_of[m] >= 0:
                values[number_of[m], at + i] = numbers[row, m]
            if words_of[m] >= 0:
                begins[words], ends[words] = spans[row, m, 0], spans[row, m, 1]
                places[words] = np.int64(words_of[m]) * room + at + i
                words += 1
    return words


@entry
def lay(
    text: NDArray[np.uint8], spans: NDArray[np.int64], rows: NDArray[np.int64], m: int, there: NDArray[np.bool_],
    at: int, ends: NDArray[np.int32], out: NDArray[np.uint8],
) -> int:  # fmt: skip
    """Append texts to a column, as far as there is room.

    Args:
        text: uint8[...].
        spans: int64[..., members, 2], where texts lie in it.
        rows: int64[n], of `spans`.
        m: which member.
        there: bool[n], whether a row has it.
        at: texts that the column has.
        ends: int32[room + 1], where each ends in `out`, behind a 0; filled in.
        out: uint8[...], filled in; what is behind the last text means nothing.

    Returns:
        Bytes that `out` must have; where it has fewer, nothing is filled in.
    """
    need = np.int64(ends[at])
    for i in range(len(rows)):
        if there[i]:
            need += spans[rows[i], m, 1] - spans[rows[i], m, 0]
    if need > len(out):
        return need
    end = np.int64(ends[at])
    for i in range(len(rows)):
        if there[i]:
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
    slots: NDArray[np.int32], begins: NDArray[np.int64], ends: NDArray[np.int64], places: NDArray[np.int64],
    codes: NDArray[np.int32],
) -> None:  # fmt: skip
    """Put the numbers of words where they belong.

    Args:
        slots: int32[n], of the words in their table; of an empty one they mean nothing.
        begins: int64[n], where each begins.
        ends: int64[n], where it ends.
        places: int64[n], in `codes`.
        codes: int32[...], filled in there.
    """
    for i in range(len(slots)):
        codes[places[i]] = EMPTY if ends[i] == begins[i] else FIRST + slots[i]


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

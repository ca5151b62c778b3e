"""Values of Parquet's pages: runs of levels and of places in dictionaries, numbers, and texts behind their lengths.

A page holds for each row a level, which says whether it has a value, and then the values of those that have one. Levels and
places in a dictionary are *runs*: of one number, or of numbers of a few bits each. A level is at most 2. Whatever a page says is checked
before it is followed, and what is wrong ends with DAMAGED.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cxstream.kernels.ahead import fetch
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.wide import WIDE, copy, lowest, word

if TYPE_CHECKING:
    from numpy.typing import NDArray

Whole: TypeAlias = "int | np.int64"

DAMAGED = -1

LEVELS, VALUES, STREAMS = 0, 1, 2
"""The streams of a page."""

AT, END, LEFT, REPEATED, BIT, WIDTH, STREAM = 0, 1, 2, 3, 4, 5, 6
"""State of a stream: where its next run begins and where the last one ends; of the run that goes on how many are left, the number that
is repeated or -1, and else the bit at which the next one lies; and how many bits each has. Values that are no runs have a width of
PLAIN: texts lie from AT to END, and numbers at these places of the table."""

PLAIN = -1

AS_THEY_ARE, CODES, RUNS = 0, 1, 2
"""What the values of a page are: one behind the other, places in a dictionary, or runs of flags."""

SEVERAL = -2
"""Levels of a run that are not all the same."""

GAP = 4
"""Bytes before each text, which say how long it is."""

_MOST_SHIFT = 28
_LENGTH, _MOST_WIDTH = 4, 32
# Words of a large dictionary are asked for so many rows before they are copied.
_AHEAD = 16
# Of a word that begins at any bit.
_WHOLE_BITS = 56
_LOWER = np.array([0, 0xFFFFFFFFFFFFFFFF, 0x5555555555555555], np.uint64)
_ONE = np.uint64(1)


@kernel
def _next_run(data: NDArray[np.uint8], s: NDArray[np.int64]) -> bool:
    """Begin the next run; False where there is none."""
    while s[LEFT] == 0:
        at, end, header, shift = s[AT], s[END], np.int64(0), np.int64(0)
        while True:
            if at >= end or shift > _MOST_SHIFT:
                return False
            byte = np.int64(data[at])
            at += 1
            header |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        count = header >> 1
        if header & 1:
            size = count * s[WIDTH]
            s[LEFT], s[REPEATED], s[BIT] = count * 8, -1, at * 8
        else:
            size, value = (s[WIDTH] + 7) >> 3, np.int64(0)
            if size > end - at:
                return False
            for k in range(size):
                value |= np.int64(data[at + k]) << (8 * k)
            s[LEFT], s[REPEATED] = count, value
        if size > end - at:
            s[LEFT] = 0
            return False
        s[AT] = at + size
    return True


@kernel
def _stretch(data: NDArray[np.uint8], s: NDArray[np.int64], most: int, n: int) -> tuple[int, int]:
    """How many of the next n rows have their levels in one run, and the level, SEVERAL, or DAMAGED for one that there cannot be."""
    if most == 0:
        return n, 0
    if s[LEFT] == 0 and not _next_run(data, s):
        return 0, DAMAGED
    count, level = min(s[LEFT], n), s[REPEATED]
    s[LEFT] -= count
    if level < 0:
        return count, SEVERAL
    return count, level if level <= most else DAMAGED


@kernel
def _some(
    data: NDArray[np.uint8], s: NDArray[np.int64], most: int, first: int, n: int, valid: NDArray[np.uint64],
    bit: np.uint64, without: NDArray[np.uint64], outer: np.uint64, rows: NDArray[np.int32],
) -> int:  # fmt: skip
    """Read levels that are not repeated, and list the rows that have a value behind `first` in `rows`; how many, or DAMAGED.

    They are read some dozen at a time, and then from one that has a value to the next: where values come and go from row to row,
    a branch for each would be guessed wrong half of the time.
    """
    at, width, found = s[BIT], np.uint64(s[WIDTH]), first
    step, lower = _WHOLE_BITS // int(s[WIDTH]), _LOWER[s[WIDTH]]
    for begin in range(first, first + n, step):
        count = min(step, first + n - begin)
        levels = word(data, at >> 3) >> np.uint64(at & 7)
        levels &= (_ONE << (np.uint64(count) * width)) - _ONE
        at += count * s[WIDTH]
        # The lowest bit of each level: 1 and 2 are the highest ones that there are.
        upper = levels >> np.uint64(most - 1) & lower
        if most > 1 and levels & (levels >> _ONE) & lower != np.uint64(0):
            return DAMAGED
        while upper != np.uint64(0):
            i = begin + np.int64(lowest(upper)) // s[WIDTH]
            upper &= upper - _ONE
            rows[found] = i
            found += 1
            valid[i] |= bit
        if outer != np.uint64(0):
            none = ~(levels | levels >> np.uint64(most - 1)) & lower
            none &= (_ONE << (np.uint64(count) * width)) - _ONE
            while none != np.uint64(0):
                without[begin + np.int64(lowest(none)) // s[WIDTH]] |= outer
                none &= none - _ONE
    s[BIT] = at
    return found - first


@kernel
def _places(
    data: NDArray[np.uint8], s: NDArray[np.int64], words: int, places: NDArray[np.int32], first: int, n: int
) -> bool:
    """The next n places in a dictionary; False where one is not there."""
    i, end, highest = first, first + n, np.uint64(0)
    while i < end:
        if s[LEFT] == 0 and not _next_run(data, s):
            return False
        count = min(s[LEFT], end - i)
        s[LEFT] -= count
        if s[REPEATED] >= 0:
            highest = max(highest, np.uint64(s[REPEATED]))
            for k in range(i, i + count):
                places[k] = s[REPEATED]
        else:
            bit, width = s[BIT], s[WIDTH]
            mask = (_ONE << np.uint64(width)) - _ONE
            for k in range(i, i + count):
                place = (word(data, bit >> 3) >> np.uint64(bit & 7)) & mask
                highest = max(highest, place)
                places[k] = place
                bit += width
            s[BIT] = bit
        i += count
    return highest < np.uint64(words)


@kernel
def _mark(valid: NDArray[np.uint64], first: int, n: int, bit: np.uint64) -> None:
    for i in range(first, first + n):
        valid[i] |= bit


@kernel
def _next_rows(
    data: NDArray[np.uint8], s: NDArray[np.int64], most: int, first: int, n: int, valid: NDArray[np.uint64],
    bit: np.uint64, without: NDArray[np.uint64], outer: np.uint64, rows: NDArray[np.int32],
) -> tuple[int, int]:  # fmt: skip
    """How many of the next n rows have their levels in one run, and how many of them have a value, or DAMAGED.

    Where only some have one, they are listed behind `first` in `rows`.
    """
    count, level = _stretch(data, s, most, n)
    if level == DAMAGED:
        return 0, DAMAGED
    if level == SEVERAL:
        return count, _some(data, s, most, first, count, valid, bit, without, outer, rows)
    if level == most:
        _mark(valid, first, count, bit)
        return count, count
    if level == 0 and outer != np.uint64(0):
        _mark(without, first, count, outer)
    return count, 0


@kernel
def _end_of_runs(data: NDArray[np.uint8], at: Whole, size: int) -> int:
    """Where runs end whose length stands at a place; DAMAGED where they do not lie within the page."""
    if size - at < _LENGTH:
        return DAMAGED
    end = at + _LENGTH + np.int64(word(data, int(at)) & np.uint64(0xFFFFFFFF))
    return end if end <= size else DAMAGED


@entry
def open_page(data: NDArray[np.uint8], size: int, most: int, form: int, state: NDArray[np.int64]) -> int:
    """Find the levels and the values of a page.

    Args:
        data: uint8[...], the page, and WIDE bytes more.
        size: bytes of the page.
        most: the level of a row with a value; 0 where all have one and there are no levels.
        form: AS_THEY_ARE, CODES or RUNS: what its values are.
        state: int64[STREAMS, STREAM], filled in.

    Returns:
        Where the values begin; DAMAGED.
    """
    at = np.int64(0)
    state[:] = 0
    if most > 0:
        end = _end_of_runs(data, 0, size)
        if end < 0:
            return DAMAGED
        # The levels up to 2 have as many bits as the highest one says.
        state[LEVELS, AT], state[LEVELS, END], state[LEVELS, WIDTH] = _LENGTH, end, most
        at = end
    values = state[VALUES]
    values[AT], values[END], values[WIDTH] = at, size, PLAIN
    if form == CODES:
        # A page of nulls may have no width at all.
        values[WIDTH] = np.int64(data[at]) if at < size else 0
        values[AT] = min(at + 1, size)
        if values[WIDTH] > _MOST_WIDTH:
            return DAMAGED
    elif form == RUNS:
        end = _end_of_runs(data, at, size)
        if end < 0:
            return DAMAGED
        values[AT], values[END], values[WIDTH] = at + _LENGTH, end, 1
    return at


@entry
def take_codes(
    data: NDArray[np.uint8], state: NDArray[np.int64], first: int, n: int, most: int, words: int,
    valid: NDArray[np.uint64], bit: np.uint64, without: NDArray[np.uint64], outer: np.uint64, rows: NDArray[np.int32],
    codes: NDArray[np.int32],
) -> int:  # fmt: skip
    """The next n rows of a page of places in a dictionary.

    Args:
        data: uint8[...], the page, and WIDE bytes more.
        state: int64[STREAMS, STREAM], of the page; goes on.
        first: which row of the batch is the first of them.
        n: how many; the page has as many.
        most: the level of a row with a value.
        words: how many the dictionary has.
        valid: uint64[rows]; the bit is set for the rows that have a value.
        bit: see there.
        without: uint64[rows]; the bit `outer` is set for the rows of level 0.
        outer: see there; 0 where nobody needs it.
        rows: int32[rows], room.
        codes: int32[rows], filled in for the rows that have a value.

    Returns:
        How many have a value; DAMAGED.
    """
    i, end, values = first, first + n, 0
    while i < end:
        count, some = _next_rows(data, state[LEVELS], most, i, end - i, valid, bit, without, outer, rows)
        if some == DAMAGED or (some > 0 and not _places(data, state[VALUES], words, codes, i, some)):
            return DAMAGED
        if some < count:
            # From the last one on: none goes to a place before its own.
            for k in range(i + some - 1, i - 1, -1):
                codes[rows[k]] = codes[k]
        values += some
        i += count
    return values


@entry
def take_numbers(
    data: NDArray[np.uint8], state: NDArray[np.int64], first: int, n: int, most: int, table: NDArray[np.float64],
    wholes: NDArray[np.int64], valid: NDArray[np.uint64], bit: np.uint64, without: NDArray[np.uint64],
    outer: np.uint64, rows: NDArray[np.int32], places: NDArray[np.int32], numbers: NDArray[np.float64],
    exact: NDArray[np.int64],
) -> int:  # fmt: skip
    """The next n rows of a page of numbers.

    Args:
        data: as of `take_codes`, and so are the others.
        state: likewise.
        first: likewise.
        n: likewise.
        most: likewise.
        table: float64[...], the numbers of the dictionary, or all of the page.
        wholes: int64[...], the same where they are whole ones; else int64[0].
        valid: likewise.
        bit: likewise.
        without: likewise.
        outer: likewise.
        rows: likewise.
        places: int32[rows], room.
        numbers: float64[rows], filled in for the rows that have a value.
        exact: int64[rows], the same where they are whole ones.

    Returns:
        How many have a value; DAMAGED.
    """
    i, end, values, s = first, first + n, 0, state[VALUES]
    while i < end:
        count, some = _next_rows(data, state[LEVELS], most, i, end - i, valid, bit, without, outer, rows)
        if some == DAMAGED:
            return DAMAGED
        if some > 0:
            if s[WIDTH] == PLAIN:
                if s[AT] + some > s[END]:
                    return DAMAGED
                for k in range(some):
                    places[i + k] = s[AT] + k
                s[AT] += some
            elif not _places(data, s, len(table), places, i, some):
                return DAMAGED
            for k in range(i, i + some):
                numbers[rows[k] if some < count else k] = table[places[k]]
            if len(wholes) > 0:
                for k in range(i, i + some):
                    exact[rows[k] if some < count else k] = wholes[places[k]]
        values += some
        i += count
    return values


@kernel
def _laid(text: NDArray[np.uint8], begin: Whole, size: Whole, out: NDArray[np.uint8], at: Whole) -> None:
    """Copy a text."""
    if at + size + WIDE <= len(out) and begin + size + WIDE <= len(text):
        for j in range(0, size, WIDE):
            copy(text, int(begin) + j, out, int(at) + j)
    else:
        for j in range(size):
            out[at + j] = text[begin + j]


@kernel
def _size(data: NDArray[np.uint8], at: Whole, end: Whole) -> int:
    """The bytes of the text behind its length; DAMAGED where it is not there."""
    if end - at < 4:
        return DAMAGED
    if at + 8 <= len(data):
        size = np.int64(word(data, int(at)) & np.uint64(0xFFFFFFFF))
    else:
        size = np.int64(0)
        for j in range(4):
            size |= np.int64(data[at + j]) << (8 * j)
    return size if size <= end - at - 4 else DAMAGED


@entry
def take_texts(
    data: NDArray[np.uint8], plain: NDArray[np.uint8], state: NDArray[np.int64], first: int, n: int, most: int, words: NDArray[np.uint8],
    ends: NDArray[np.int32], valid: NDArray[np.uint64], bit: np.uint64, without: NDArray[np.uint64], outer: np.uint64,
    rows: NDArray[np.int32], places: NDArray[np.int32], offsets: NDArray[np.int32], text: NDArray[np.uint8],
    codes: NDArray[np.int32],
) -> int:  # fmt: skip
    """The next n rows of a page of texts, copied one behind the other.

    Args:
        data: as of `take_codes`, and so are the others.
        plain: uint8[...], the page, where its texts are no words of a dictionary; of `data` its levels are enough then.
        state: likewise.
        first: likewise.
        n: likewise.
        most: likewise.
        words: uint8[...], those of the dictionary, one behind the other.
        ends: int32[words + 1], where each begins and ends.
        valid: likewise.
        bit: likewise.
        without: likewise.
        outer: likewise.
        rows: likewise.
        places: int32[rows], room.
        offsets: int32[rows + 1], where each text begins and ends; filled in behind `first`.
        text: uint8[...], filled in; there is room for all.
        codes: int32[rows], filled in for the rows that have a word of the dictionary; or int32[0].

    Returns:
        How many have a value; DAMAGED.
    """
    i, end, values, s, at = first, first + n, 0, state[VALUES], np.int64(offsets[first])
    while i < end:
        count, some = _next_rows(data, state[LEVELS], most, i, end - i, valid, bit, without, outer, rows)
        if some == DAMAGED:
            return DAMAGED
        before = at
        if some < count:
            for k in range(i, i + count):
                offsets[k + 1] = 0
        if s[WIDTH] == PLAIN:
            from_ = s[AT]
            for k in range(i, i + some):
                size = _size(plain, from_, s[END])
                if size < 0 or at + size > len(text):
                    return DAMAGED
                _laid(plain, from_ + GAP, size, text, at)
                from_ += GAP + size
                at += size
                offsets[(rows[k] if some < count else k) + 1] = size
            s[AT] = from_
        elif some > 0:
            if not _places(data, s, len(ends) - 1, places, i, some):
                return DAMAGED
            for k in range(i, i + some):
                if k + _AHEAD < i + some:
                    fetch(words, int(ends[places[k + _AHEAD]]), 0)
                begin = np.int64(ends[places[k]])
                size = ends[places[k] + 1] - begin
                if at + size > len(text):
                    return DAMAGED
                _laid(words, begin, size, text, at)
                at += size
                row = rows[k] if some < count else k
                offsets[row + 1] = size
                if len(codes) > 0:
                    codes[row] = places[k]
        for k in range(i, i + count):
            before += offsets[k + 1]
            offsets[k + 1] = before
        values += some
        i += count
    return values


@entry
def place_texts(
    data: NDArray[np.uint8], plain: NDArray[np.uint8], state: NDArray[np.int64], first: int, n: int, most: int,
    valid: NDArray[np.uint64], bit: np.uint64, without: NDArray[np.uint64], outer: np.uint64,
    rows: NDArray[np.int32], offsets: NDArray[np.int32],
) -> int:  # fmt: skip
    """The next n rows of a page of texts that are no words of a dictionary, which stay where they are.

    Args:
        data: as of `take_texts`, and so are the others.
        plain: likewise.
        state: likewise.
        first: likewise.
        n: likewise.
        most: likewise.
        valid: likewise.
        bit: likewise.
        without: likewise.
        outer: likewise.
        rows: likewise.
        offsets: int32[rows + 1], where each begins, with its length of GAP bytes before it, and ends; filled in behind `first`.

    Returns:
        How many have a value; DAMAGED.
    """
    i, end, values, s, at = first, first + n, 0, state[VALUES], np.int64(offsets[first])
    while i < end:
        count, some = _next_rows(data, state[LEVELS], most, i, end - i, valid, bit, without, outer, rows)
        if some == DAMAGED:
            return DAMAGED
        from_, row = s[AT], i
        for k in range(i, i + some):
            there = rows[k] if some < count else k
            for before in range(row, there):
                offsets[before + 1] = at
            size = _size(plain, from_, s[END])
            if size < 0:
                return DAMAGED
            from_ += GAP + size
            at += GAP + size
            offsets[there + 1] = at
            row = there + 1
        for before in range(row, i + count):
            offsets[before + 1] = at
        s[AT] = from_
        values += some
        i += count
    return values


@entry
def take_words(data: NDArray[np.uint8], end: int, ends: NDArray[np.int32], words: NDArray[np.uint8]) -> int:
    """The words of a dictionary, one behind the other.

    Args:
        data: uint8[...], its page, and WIDE bytes more.
        end: bytes of the page.
        ends: int32[words + 1], where each begins and ends; filled in.
        words: uint8[end + WIDE], filled in.

    Returns:
        The bytes of the longest; DAMAGED.
    """
    from_ = at = np.int64(0)
    longest = 0
    ends[0] = 0
    for k in range(len(ends) - 1):
        size = _size(data, from_, end)
        if size < 0:
            return DAMAGED
        _laid(data, from_ + GAP, size, words, at)
        from_ += GAP + size
        at += size
        longest = max(longest, size)
        ends[k + 1] = at
    return longest


@entry
def longest_of(offsets: NDArray[np.int32]) -> int:
    """The bytes of the longest of some texts.

    Args:
        offsets: int32[n + 1], where each begins and ends.
    """
    longest = 0
    for i in range(len(offsets) - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    return longest

"""Where the lines of a text lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.ahead import fetch
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.wide import WIDE, like, lowest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LINE_FEED, _RETURN, _MARK = 10, 13, 0xEF
_TAB, _SPACE = 9, 32
_ONE = np.uint64(1)
# Bytes ahead of which the text is asked for: the processor does so by itself, but not into the next page.
_AHEAD = 2048


@kernel
def _blank(text: NDArray[np.uint8], begin: int, end: int) -> bool:
    """Whether there is nothing but white space of JSON."""
    while begin < end and (text[begin] == _SPACE or text[begin] == _TAB or text[begin] == _RETURN):
        begin += 1
    return begin == end


@entry
def lines_of(
    text: NDArray[np.uint8], size: int, begins: NDArray[np.int64], ends: NDArray[np.int64], places: NDArray[np.int64]
) -> tuple[int, int, int, bool]:  # fmt: skip
    """Cut the first bytes of a text into lines. The last one may have no line feed; a text without bytes is a blank line.

    Args:
        text: uint8[...], of which WIDE bytes more may be read.
        size: of its first bytes.
        begins: int64[n], where each line begins that is not blank; filled in.
        ends: int64[n], where it ends, without its line feed; filled in.
        places: int64[n], how many lines are before it; filled in.

    Returns:
        How many lines there are, how many of them are not blank, the bytes of the longest, and whether there is a carriage
        return or a byte with which a byte order mark may begin. If there are more lines than there is room for, nothing is filled in that
        means anything, and only the number of lines that are not blank is right.
    """
    begin, lines, filled, longest, room = 0, 0, 0, 0, len(begins)
    odd = np.uint64(0)
    for at in range(0, size, WIDE):
        fetch(text, at, _AHEAD)
        marks = like(text, at, _LINE_FEED)
        strange = like(text, at, _RETURN) | like(text, at, _MARK)
        if size - at < WIDE:
            inside = (_ONE << np.uint64(size - at)) - _ONE
            marks &= inside
            strange &= inside
        odd |= strange
        while marks != np.uint64(0):
            end = at + lowest(marks)
            marks &= marks - _ONE
            if not _blank(text, begin, end):
                if filled < room:
                    begins[filled], ends[filled], places[filled] = begin, end, lines
                filled += 1
                longest = max(longest, end - begin)
            lines += 1
            begin = end + 1
    if not _blank(text, begin, size):
        if filled < room:
            begins[filled], ends[filled], places[filled] = begin, size, lines
        filled += 1
        longest = max(longest, size - begin)
    if begin < size or lines == 0:
        lines += 1
    return lines, filled, longest, odd != np.uint64(0)

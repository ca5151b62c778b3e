"""Where the lines of a text lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry
from cxstream.kernels.wide import WIDE, bits, like, lowest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LINE_FEED = 10
_ONE = np.uint64(1)


@entry
def line_feeds(text: NDArray[np.uint8], size: int) -> int:
    """How many line feeds are among the first bytes of a text; WIDE bytes more may be read."""
    count = 0
    for at in range(0, size, WIDE):
        marks = like(text, at, _LINE_FEED)
        if size - at < WIDE:
            marks &= (_ONE << np.uint64(size - at)) - _ONE
        count += bits(marks)
    return count


@entry
def lines_of(
    text: NDArray[np.uint8], size: int, begins: NDArray[np.int64], ends: NDArray[np.int64], places: NDArray[np.int64]
) -> tuple[int, int]:  # fmt: skip
    """Cut the first bytes of a text into lines. The last one may have no line feed; a text without bytes is an empty line.

    Args:
        text: uint8[...], of which WIDE bytes more may be read.
        size: of its first bytes.
        begins: int64[line feeds + 1], where each line begins that is not empty; filled in.
        ends: int64[line feeds + 1], where it ends, without its line feed; filled in.
        places: int64[line feeds + 1], how many lines are before it; filled in.

    Returns:
        How many lines there are, and how many of them are not empty.
    """
    begin, lines, filled = 0, 0, 0
    for at in range(0, size, WIDE):
        marks = like(text, at, _LINE_FEED)
        if size - at < WIDE:
            marks &= (_ONE << np.uint64(size - at)) - _ONE
        while marks != np.uint64(0):
            end = at + lowest(marks)
            marks &= marks - _ONE
            if end > begin:
                begins[filled], ends[filled], places[filled] = begin, end, lines
                filled += 1
            lines += 1
            begin = end + 1
    if begin < size:
        begins[filled], ends[filled], places[filled] = begin, size, lines
        filled += 1
    if begin < size or lines == 0:
        lines += 1
    return lines, filled

"""Words by their bytes: an open-addressing table, compared byte by byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.text import hash64

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SEED = np.uint64(0)


class Words(NamedTuple):
    """Words by their bytes.

    Attributes:
        text: uint8[...], the words in UTF-8, one after the other.
        ends: int32[n + 1], where each ends, behind a 0.
        table: int32[2**k], a word by its hash; -1 for none. At most half of it is used.
        values: float64[n], of each word: its valence, or what a booster changes.
        flags: int32[n].
    """

    text: NDArray[np.uint8]
    ends: NDArray[np.int32]
    table: NDArray[np.int32]
    values: NDArray[np.float64]
    flags: NDArray[np.int32]


@entry
def word_place(text: NDArray[np.uint8], begin: int, end: int, size: int) -> int:
    """Where to look first for the word text[begin:end] in a table of `size`, a power of two."""
    return np.int64(hash64(text, begin, end, _SEED) & np.uint64(size - 1))


@kernel
def find_word(words: Words, text: NDArray[np.uint8], begin: int, end: int) -> int:
    """The place of a word; -1 if the table does not have it."""
    size = len(words.table)
    at = word_place(text, begin, end, size)
    while words.table[at] >= 0:
        i = np.int64(words.table[at])
        first = np.int64(words.ends[i])
        if words.ends[i + 1] - first == end - begin:
            same = True
            for j in range(end - begin):
                same &= words.text[first + j] == text[begin + j]
            if same:
                return i
        at = (at + 1) & (size - 1)
    return -1

"""The language of texts, by their n-grams of bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

# N-grams of the language model have 2 to 5 bytes: packed with their length and their row they fit into 64 bits.
SHORTEST, LONGEST = 2, 5
FILTERS, FILTER_WORDS = LONGEST - SHORTEST + 1, 1024
_KEY_BITS, _LENGTH_SHIFT, _WEIGHED_SHIFT = 43, 40, 56
_KEY = np.uint64((1 << _KEY_BITS) - 1)
_EMPTY = np.uint64(0)
_MIX = np.uint64(0x9E3779B97F4A7C15)


class Grams(NamedTuple):
    """The n-grams of the language model, and what is known of each.

    Attributes:
        table: uint64[2**k], by hash: the bytes of an n-gram, then its length, then its row and 1; 0 for none.
        filters: uint64[FILTERS, FILTER_WORDS], for each length a bit for each hash that an n-gram has: they stay in the
            processor's first cache, and most that is no n-gram is not looked for in the table.
        weights: int8[n, languages], log-probabilities in steps.
        counts: int32[n], zeros; they are zeros again after each text.
        found: int64[n], scratch.
        logs: float64[k], log1p of 0 .. k - 1; no n-gram counts more often.
    """

    table: NDArray[np.uint64]
    filters: NDArray[np.uint64]
    weights: NDArray[np.int8]
    counts: NDArray[np.int32]
    found: NDArray[np.int64]
    logs: NDArray[np.float64]


@kernel
def _key(packed: np.uint64, n: int) -> np.uint64:
    """The last n bytes, and how many they are."""
    bits = np.uint64(8 * n)
    return (packed & ((np.uint64(1) << bits) - np.uint64(1))) | (np.uint64(n) << np.uint64(_LENGTH_SHIFT))


@kernel
def _place(mixed: np.uint64, size: int) -> int:
    """Where a hash belongs in a table of `size`, a power of two of at most 32 bits."""
    return np.int64((mixed >> np.uint64(32)) & np.uint64(size - 1))


@entry
def fill_table(keys: NDArray[np.uint64], grams: Grams) -> None:
    """Fill the table and the filters.

    Args:
        keys: uint64[n], up to LONGEST bytes, and their number in the highest byte.
        grams: its `table` and `filters` are zeros; of the table at most half is used.
    """
    size = len(grams.table)
    for i in range(len(keys)):
        n = np.int64(keys[i] >> np.uint64(_WEIGHED_SHIFT))
        key = _key(keys[i], int(n))
        mixed = key * _MIX
        at = _place(mixed, size)
        while grams.table[at] != _EMPTY:
            at = (at + 1) & (size - 1)
        grams.table[at] = key | (np.uint64(i + 1) << np.uint64(_KEY_BITS))
        bit = np.uint64(1) << ((mixed >> np.uint64(48)) & np.uint64(63))
        grams.filters[n - SHORTEST, np.int64(mixed >> np.uint64(54))] |= bit


@kernel
def _longest(packed: np.uint64, n: int, grams: Grams) -> int:
    """The row of the longest n-gram that ends in the last of n bytes; -1 if none does."""
    size = len(grams.table)
    for length in range(min(n, LONGEST), SHORTEST - 1, -1):
        key = _key(packed, length)
        mixed = key * _MIX
        word = grams.filters[length - SHORTEST, np.int64(mixed >> np.uint64(54))]
        if (word >> ((mixed >> np.uint64(48)) & np.uint64(63))) & np.uint64(1) == _EMPTY:
            continue
        at = _place(mixed, size)
        while grams.table[at] != _EMPTY:
            if grams.table[at] & _KEY == key:
                return np.int64(grams.table[at] >> np.uint64(_KEY_BITS)) - 1
            at = (at + 1) & (size - 1)
    return -1


@entry
def language_of(
    text: NDArray[np.uint8], begin: int, end: int, grams: Grams, out: NDArray[np.float64]
) -> bool:
    """Naive Bayes over the longest known n-gram that ends at each byte of a text, as py3langid has it.

    Args:
        text: uint8[...].
        begin: of the text.
        end: of it.
        grams: see there.
        out: float64[languages], receives the sums, in steps of the weights.

    Returns:
        Whether any of these is not 0.
    """
    width = len(out)
    for k in range(width):
        out[k] = 0.0
    packed = _EMPTY
    n_found = 0
    for at in range(begin, end):
        packed = (packed << np.uint64(8)) | np.uint64(text[at])
        row = _longest(packed, at - begin + 1, grams)
        if row >= 0:
            if grams.counts[row] == 0:
                grams.found[n_found] = row
                n_found += 1
            grams.counts[row] += 1
    for j in range(n_found):
        row = grams.found[j]
        weight = grams.logs[min(grams.counts[row], len(grams.logs) - 1)]
        grams.counts[row] = 0
        for k in range(width):
            out[k] += weight * grams.weights[row, k]
    known = False
    for k in range(width):
        known |= out[k] != 0.0
    return known


@entry
def languages(
    text: NDArray[np.uint8], ends: NDArray[np.int64], grams: Grams, out: NDArray[np.float64]
) -> None:
    """What `language_of` finds for each text.

    Args:
        text: uint8[...], all texts.
        ends: int64[n].
        grams: see there.
        out: float64[n, languages], receives the sums; 0 everywhere for a text without a known n-gram.
    """
    begin = 0
    for i in range(len(ends)):
        language_of(text, begin, ends[i], grams, out[i])
        begin = ends[i]

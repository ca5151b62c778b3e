"""The language of texts, and sentiment by hashed words and n-grams, over many texts at once.

Texts come as one uint8 buffer in UTF-8 and the int64 end of each: `ends[i - 1] .. ends[i]` is text i.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

# N-grams of the language model have 2 to 6 bytes: packed with their length they fit into 64 bits.
SHORTEST, LONGEST = 2, 6
# Words of letters that belong together: a bigram or a negation does not reach beyond punctuation.
MAX_WORD = 64
WINDOW = 4
_EMPTY = np.uint64(0)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_FNV, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
# Features of different sorts begin with different seeds.
_UNIGRAM, _BIGRAM, _TRIGRAM, _CHARACTERS = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
_NEGATED = np.uint64(0xA5A5A5A5A5A5A5A5)
# How many words after a negation it reaches.
SCOPE = 3
_BOUNDARY, _LETTER, _SPACE = 0, 1, 2


@kernel
def _place(key: np.uint64, size: int) -> int:
    """Where a key belongs in a table of `size`, a power of two."""
    mixed = key * _MIX
    return np.int64((mixed ^ (mixed >> np.uint64(29))) & np.uint64(size - 1))


@entry
def fill_table(keys: NDArray[np.uint64], table: NDArray[np.uint64], rows: NDArray[np.int32]) -> None:
    """Build a hash table of n-grams.

    Args:
        keys: uint64[n], packed; none is 0.
        table: uint64[m], zeros; m is a power of two above n.
        rows: int32[m], receives the place of each key in `keys`.
    """
    size = len(table)
    for i in range(len(keys)):
        at = _place(keys[i], size)
        while table[at] != _EMPTY:
            at = (at + 1) & (size - 1)
        table[at] = keys[i]
        rows[at] = i


@kernel
def _find(key: np.uint64, table: NDArray[np.uint64], rows: NDArray[np.int32]) -> int:
    """The row of a key; -1 if there is none."""
    size = len(table)
    at = _place(key, size)
    while table[at] != _EMPTY:
        if table[at] == key:
            return np.int64(rows[at])
        at = (at + 1) & (size - 1)
    return -1


@entry
def languages(
    text: NDArray[np.uint8],
    ends: NDArray[np.int64],
    table: NDArray[np.uint64],
    rows: NDArray[np.int32],
    weights: NDArray[np.int8],
    deepest: NDArray[np.uint8],
    counts: NDArray[np.int32],
    found: NDArray[np.int64],
    logs: NDArray[np.float64],
    out: NDArray[np.float64],
) -> None:
    """Naive Bayes over the longest known n-gram that ends at each byte, as py3langid has it.

    Args:
        text: uint8[...], all texts.
        ends: int64[n].
        table: see `fill_table`.
        rows: likewise.
        weights: int8[features, languages], log-probabilities in steps.
        deepest: uint8[65536], the longest n-gram that ends in two bytes, by these; 0 if there is none.
        counts: int32[features], zeros; they are zeros again afterwards.
        found: int64[features], scratch.
        logs: float64[k], log1p of 0 .. k - 1; no n-gram counts more often.
        out: float64[n, languages], receives the sums, in these steps; 0 everywhere for a text without a known n-gram.
    """
    begin = 0
    width = out.shape[1]
    for i in range(len(ends)):
        end = ends[i]
        for k in range(width):
            out[i, k] = 0.0
            packed = np.uint64(0)
        n_found = 0
        for at in range(begin, end):
            packed = (packed << np.uint64(8)) | np.uint64(text[at])
            longest = min(int(deepest[np.int64(packed & np.uint64(0xFFFF))]), at - begin + 1)
            for n in range(longest, SHORTEST - 1, -1):
                mask = (np.uint64(1) << np.uint64(8 * n)) - np.uint64(1)
                row = _find((packed & mask) | (np.uint64(n) << np.uint64(56)), table, rows)
                if row >= 0:
                    if counts[row] == 0:
                        found[n_found] = row
                        n_found += 1
                    counts[row] += 1
                    break
        for j in range(n_found):
            row = found[j]
            weight = logs[min(counts[row], len(logs) - 1)]
            counts[row] = 0
            for k in range(width):
                out[i, k] += weight * weights[row, k]
        begin = end


@kernel
def _fold(second: np.uint8, first: np.uint8) -> np.uint8:
    """The plain letter of a Polish one, by its two bytes in UTF-8; 0 if it is another one."""
    if first == 0xC3:
        return np.uint8(111) if second == 0xB3 or second == 0x93 else np.uint8(0)
    if first == 0xC4:
        if second == 0x84 or second == 0x85:
            return np.uint8(97)
        if second == 0x86 or second == 0x87:
            return np.uint8(99)
        return np.uint8(101) if second == 0x98 or second == 0x99 else np.uint8(0)
    if first == 0xC5:
        if second == 0x81 or second == 0x82:
            return np.uint8(108)
        if second == 0x83 or second == 0x84:
            return np.uint8(110)
        if second == 0x9A or second == 0x9B:
            return np.uint8(115)
        return np.uint8(122) if 0xB9 <= second <= 0xBC else np.uint8(0)
    return np.uint8(0)


@kernel
def _hashed(seed: np.uint64, text: NDArray[np.uint8], at: int, end: int) -> np.uint64:
    h = _FNV ^ (seed * _MIX)
    for i in range(at, end):
        h = (h ^ np.uint64(text[i])) * _PRIME
    return h


@kernel
def _bucket(h: np.uint64, size: int) -> int:
    h = (h ^ (h >> np.uint64(32))) * _MIX
    return np.int64((h ^ (h >> np.uint64(29))) & np.uint64(size - 1))


@kernel
def _negates(word: NDArray[np.uint8], n: int) -> bool:
    """Whether a folded word is nie, bez, ani, brak, nigdy, or a form of zaden."""
    if n == 3:
        a, b, c = word[0], word[1], word[2]
        return (
            (a == 110 and b == 105 and c == 101)
            or (a == 98 and b == 101 and c == 122)
            or (a == 97 and b == 110 and c == 105)
        )
    if n == 4:
        return word[0] == 98 and word[1] == 114 and word[2] == 97 and word[3] == 107
    if n == 5 and word[0] == 110:
        return word[1] == 105 and word[2] == 103 and word[3] == 100 and word[4] == 121
    return n >= 5 and word[0] == 122 and word[1] == 97 and word[2] == 100 and word[3] == 110


@entry
def features(
    text: NDArray[np.uint8],
    begin: int,
    end: int,
    size: int,
    buckets: NDArray[np.int32],
    owners: NDArray[np.int32],
    spans: NDArray[np.int32],
    word: NDArray[np.uint8],
) -> int:
    """The hashed features of one text: words, two and three words in a row, and the letters of words.

    Letters are read without their Polish marks, digits as one digit. After a negation, words and their letters are other
    features than without, until the next punctuation or for SCOPE words.

    Args:
        text: uint8[...], lower case, in UTF-8.
        begin: of the text, in bytes.
        end: of it.
        size: number of buckets, a power of two.
        buckets: int32[k], receives the features; what does not fit is left out.
        owners: int32[k], receives the word to which each belongs.
        spans: int32[w, 2], receives begin and end of each word in the text, in bytes; words that do not fit are left out.
        word: uint8[MAX_WORD], scratch.

    Returns:
        How many features there are; the number of words is in `owners` of the last one, plus 1.
    """
    found = words = negated = 0
    h1 = h2 = _EMPTY
    at = begin
    while at < end and words < len(spans):
        # What lies between words: anything but spaces is punctuation.
        byte = text[at]
        if not (97 <= byte <= 122 or 48 <= byte <= 57 or 65 <= byte <= 90 or 0xC3 <= byte <= 0xDF):
            if byte == 46 or byte == 44 or byte == 33 or byte == 63 or byte == 59 or byte == 58 or byte == 10:
                negated = 0
                h1 = h2 = _EMPTY
            at += 1
            continue
        first = at
        word[0] = 60
        n = 1
        while at < end:
            byte = text[at]
            step = 1
            if 48 <= byte <= 57:
                byte = np.uint8(48)
            elif 65 <= byte <= 90:
                byte = np.uint8(byte + 32)
            elif 0xC3 <= byte <= 0xDF and at + 1 < end:
                plain = _fold(text[at + 1], byte)
                step = 2
                byte = plain or text[at + 1]
            elif not 97 <= byte <= 122:
                break
            if n < len(word) - 1:
                word[n] = byte
                n += 1
            at += step
        word[n] = 62
        h0 = _hashed(_UNIGRAM, word, 1, n)
        seed = _NEGATED if negated > 0 else _EMPTY
        spans[words, 0] = first - begin
        spans[words, 1] = at - begin
        if found + 3 > len(buckets):
            break
        buckets[found] = _bucket(h0 ^ seed, size)
        owners[found] = words
        found += 1
        if h1 != _EMPTY:
            buckets[found] = _bucket((h1 * _PRIME ^ h0) * _BIGRAM + _BIGRAM, size)
            owners[found] = words
            found += 1
            if h2 != _EMPTY:
                buckets[found] = _bucket(((h2 * _PRIME ^ h1) * _PRIME ^ h0) * _TRIGRAM + _TRIGRAM, size)
                owners[found] = words
                found += 1
        for length in range(3, 6):
            # A whole word with both of its marks is the word.
            for i in range(n + 2 - length):
                if found < len(buckets) and length < n + 1:
                    buckets[found] = _bucket(_hashed(_CHARACTERS ^ seed, word, i, i + length), size)
                    owners[found] = words
                    found += 1
        words += 1
        h2 = h1
        h1 = h0
        # The word without its marks decides.
        for i in range(n - 1):
            word[i] = word[i + 1]
        negated = SCOPE if _negates(word, n - 1) else negated - 1
    return found


@entry
def sums(
    text: NDArray[np.uint8],
    ends: NDArray[np.int64],
    weights: NDArray[np.int8],
    buckets: NDArray[np.int32],
    owners: NDArray[np.int32],
    spans: NDArray[np.int32],
    word: NDArray[np.uint8],
    out: NDArray[np.int64],
) -> None:
    """The weights of the features of each text.

    Args:
        text: uint8[...], all texts, lower case, in UTF-8.
        ends: int64[n].
        weights: int8[buckets], 0 for features that are not known.
        buckets: see `features`; likewise the next three.
        owners: likewise.
        spans: likewise.
        word: likewise.
        out: int64[n, 2], receives their sum, and how many of the features are known.
    """
    begin = 0
    for i in range(len(ends)):
        n = features(text, begin, ends[i], len(weights), buckets, owners, spans, word)
        total = known = 0
        for j in range(n):
            weight = np.int64(weights[buckets[j]])
            total += weight
            known += 1 if weight != 0 else 0
        out[i, 0] = total
        out[i, 1] = known
        begin = ends[i]

"""Sentiment by hashed words and n-grams of letters, over many texts at once.

Texts come as one uint8 buffer in UTF-8 and the int64 end of each: `ends[i - 1] .. ends[i]` is text i.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Words of letters that belong together: a bigram or a negation does not reach beyond punctuation.
MAX_WORD = 64
_EMPTY = np.uint64(0)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_FNV, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
# Features of different sorts begin with different seeds.
_UNIGRAM, _BIGRAM, _TRIGRAM, _CHARACTERS = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)
_NEGATED = np.uint64(0xA5A5A5A5A5A5A5A5)
# How many words after a negation it reaches.
SCOPE = 3


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
    """Whether a folded word of n bytes, behind its mark, is nie, bez, ani, brak, nigdy, or a form of zaden."""
    a, b, c, d = word[1], word[2], word[3], word[4]
    if n == 3:
        return (
            (a == 110 and b == 105 and c == 101)
            or (a == 98 and b == 101 and c == 122)
            or (a == 97 and b == 110 and c == 105)
        )
    if n == 4:
        return a == 98 and b == 114 and c == 97 and d == 107
    if n == 5 and a == 110:
        return b == 105 and c == 103 and d == 100 and word[5] == 121
    return n >= 5 and a == 122 and b == 97 and c == 100 and d == 110


@kernel
def _is_in_word(byte: np.uint8) -> bool:
    return 97 <= byte <= 122 or 48 <= byte <= 57 or 65 <= byte <= 90 or 0xC3 <= byte <= 0xDF


@kernel
def _ends_scope(byte: np.uint8) -> bool:
    """Whether a negation and what belongs together ends there: . , ! ? ; : and the end of a line."""
    return byte == 46 or byte == 44 or byte == 33 or byte == 63 or byte == 59 or byte == 58 or byte == 10


@kernel
def _word(text: NDArray[np.uint8], at: int, end: int, word: NDArray[np.uint8]) -> tuple[int, int]:
    """Put the word at some place between two marks, and say where it ends, and how many bytes it has with the first mark."""
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
    return at, n


@kernel
def _pair(h1: np.uint64, h0: np.uint64) -> np.uint64:
    return (h1 * _PRIME ^ h0) * _BIGRAM + _BIGRAM


@kernel
def _triple(h2: np.uint64, h1: np.uint64, h0: np.uint64) -> np.uint64:
    return ((h2 * _PRIME ^ h1) * _PRIME ^ h0) * _TRIGRAM + _TRIGRAM


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
        if not _is_in_word(text[at]):
            if _ends_scope(text[at]):
                negated = 0
                h1 = h2 = _EMPTY
            at += 1
            continue
        first = at
        at, n = _word(text, at, end, word)
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
            buckets[found] = _bucket(_pair(h1, h0), size)
            owners[found] = words
            found += 1
            if h2 != _EMPTY:
                buckets[found] = _bucket(_triple(h2, h1, h0), size)
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
        negated = SCOPE if _negates(word, n - 1) else negated - 1
    return found


@kernel
def _weighed(total: int, known: int, weight: np.int64) -> tuple[int, int]:
    return int(total + weight), known + (1 if weight != 0 else 0)


@kernel
def _weight(weights: NDArray[np.int8], h: np.uint64) -> np.int64:
    return np.int64(weights[_bucket(h, len(weights))])


@kernel
def _grown(h: np.uint64, byte: np.uint8) -> np.uint64:
    """The hash of an n-gram and one more byte."""
    return (h ^ np.uint64(byte)) * _PRIME


@kernel
def _letters(word: NDArray[np.uint8], m: int, seed: np.uint64, weights: NDArray[np.int8]) -> tuple[int, int]:
    """The weights of the n-grams of 3 to 5 bytes of word[: m + 1], other than all of it; their sum, and how many are known.

    They are taken without a decision between them, so that memory is asked for the next before the last is there.
    """
    total = known = 0
    last = m - 4
    for i in range(last + 1):
        h = _grown(_hashed(_CHARACTERS ^ seed, word, i, i + 2), word[i + 2])
        a = _weight(weights, h)
        h = _grown(h, word[i + 3])
        b = _weight(weights, h)
        c = _weight(weights, _grown(h, word[i + 4]))
        # All of a word of three bytes and its marks is the word itself.
        c = c if m > 4 else np.int64(0)
        total, known = _weighed(total, known, a)
        total, known = _weighed(total, known, b)
        total, known = _weighed(total, known, c)
    for i in range(max(last + 1, 0), m - 1):
        h = _hashed(_CHARACTERS ^ seed, word, i, i + 2)
        for j in range(i + 2, m + 1):
            h = _grown(h, word[j])
            if j - i < m:
                total, known = _weighed(total, known, _weight(weights, h))
    return total, known


@entry
def sum_of(
    text: NDArray[np.uint8], n: int, weights: NDArray[np.int8], most: int, word: NDArray[np.uint8]
) -> tuple[int, int]:
    """What `sums` finds for text[:n], of a text so short that no feature is left out; faster, since nothing is kept.

    Args:
        text: uint8[...], lower case, in UTF-8.
        n: bytes of it.
        weights: int8[buckets].
        most: words of it that are read.
        word: uint8[MAX_WORD], scratch.

    Returns:
        The sum of the weights, and how many of the features are known.
    """
    size = len(weights)
    total = known = words = negated = at = 0
    h1 = h2 = _EMPTY
    while at < n and words < most:
        if not _is_in_word(text[at]):
            if _ends_scope(text[at]):
                negated = 0
                h1 = h2 = _EMPTY
            at += 1
            continue
        at, m = _word(text, at, n, word)
        h0 = _hashed(_UNIGRAM, word, 1, m)
        seed = _NEGATED if negated > 0 else _EMPTY
        total, known = _weighed(total, known, np.int64(weights[_bucket(h0 ^ seed, size)]))
        if h1 != _EMPTY:
            total, known = _weighed(total, known, np.int64(weights[_bucket(_pair(h1, h0), size)]))
            if h2 != _EMPTY:
                total, known = _weighed(total, known, np.int64(weights[_bucket(_triple(h2, h1, h0), size)]))
        more, seen = _letters(word, m, seed, weights)
        total, known = total + more, known + seen
        words += 1
        h2 = h1
        h1 = h0
        negated = SCOPE if _negates(word, m - 1) else negated - 1
    return total, known


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

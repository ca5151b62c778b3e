"""The sentiment of many texts at once, for those that can be read without a doubt; the others are for `cxstream.text.model`.

Each step is one of that model's, in its order and with its arithmetic: the results are equal to the last bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.characters import CONTINUED, EMOJI, LOWER, UNCLEAN, UPPER, WORD, in_words, prepare
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.languages import language_of
from cxstream.kernels.ngrams import features, sum_of
from cxstream.kernels.vader import english, knows, tokens_of
from cxstream.kernels.words import find_word

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.characters import Characters, Emoji, Room
    from cxstream.kernels.languages import Grams
    from cxstream.kernels.vader import Phrases, Tokens
    from cxstream.kernels.words import Words

ABSTAINS, TOLD, FOR_PYTHON, TO_CLEAN = range(4)
"""What is told of a text: no sentiment; one; the kernel is in doubt; it is, until the text is cleaned."""
ENGLISH, POLISH, OTHER, NO_TAG = 0, 1, 2, 3
"""The language of a text: one of these; one that is not read, or not known; what the source says: nothing."""

CLOSE = 1.0
"""A language that is read is preferred to one that is not where the two are this close, in log-probability by the square
root of the text's bytes: short texts look like many languages."""
NEAR = 2.0
"""Beyond this, a text is in another language."""
READ = 200
"""Characters of a text; more say nothing new of its language."""
SHORT = 40
"""Characters of a text whose words may say its language."""
# What emoji and emoticons add at most, as in `cxstream.text.polish`.
_SIGNS = 3.0
_KNOWN_BITS = 30
_FAR = math.inf
_EN, _PL, _UND, _MINUS, _UNDERLINE = (101, 110), (112, 108), (117, 110, 100), 45, 95
_DIGIT_0, _DIGIT_9, _BLANK = 48, 57, 32
# Steps of a sentiment, and how near to the middle of two a multiplication may err.
_STEPS, _TIE = 10_000.0, 1e-6
UNSURE = 0.25
"""A sentiment in Polish nearer to 0 is no verdict."""
# Bytes of an emoticon.
LONGEST_SIGN = 16
# What an emoticon begins with, as in `cxstream.text.polish`: ( : ; < = > ^
_BEGIN = (40, 58, 59, 60, 61, 62, 94)


class Languages(NamedTuple):
    """Naive Bayes over n-grams.

    Attributes:
        grams: the n-grams.
        sums: float64[languages], scratch.
        prior: float64[languages], log-probabilities.
        step: float64[1], of the weights.
        columns: int64[2], of English and Polish.
        accepted: bool[2], whether a text in them gets a sentiment.
    """

    grams: Grams
    sums: NDArray[np.float64]
    prior: NDArray[np.float64]
    step: NDArray[np.float64]
    columns: NDArray[np.int64]
    accepted: NDArray[np.bool_]


class Linear(NamedTuple):
    """The Polish model; see `cxstream.text.polish`.

    Attributes:
        weights: int8[buckets].
        step: float64[1], of them.
        known: int32[m], sorted: words that reviews have.
        buckets: int32[k], scratch.
        owners: int32[k], scratch.
        spans: int32[w, 2], scratch.
        word: uint8[MAX_WORD], scratch.
        blank: uint8[n], scratch, a short text.
    """

    weights: NDArray[np.int8]
    step: NDArray[np.float64]
    known: NDArray[np.int32]
    buckets: NDArray[np.int32]
    owners: NDArray[np.int32]
    spans: NDArray[np.int32]
    word: NDArray[np.uint8]
    blank: NDArray[np.uint8]


@kernel
def _marks(room: Room, n: int) -> int:
    """All marks of the first bytes of a text."""
    found = 0
    for i in range(n):
        found |= room.marks[i]
    return found


@kernel
def _read(room: Room, n: int) -> int:
    """Bytes of the first READ characters."""
    characters = 0
    for i in range(n):
        if room.marks[i] & CONTINUED == 0:
            if characters == READ:
                return i
            characters += 1
    return n


@kernel
def _behind(of: Languages, text: NDArray[np.uint8], begin: int, end: int) -> tuple[float, float]:
    """How far English and Polish are behind the most likely language; _FAR of one that is not accepted or not near."""
    known = language_of(text, begin, end, of.grams, of.sums)
    english_, polish = of.columns[ENGLISH], of.columns[POLISH]
    if not known:
        a = b = NEAR
    else:
        root = math.sqrt(max(end - begin, 1))
        best = -_FAR
        for k in range(len(of.sums)):
            of.sums[k] = (of.sums[k] * of.step[0] + of.prior[k]) / root
            best = max(best, of.sums[k])
        a, b = best - of.sums[english_], best - of.sums[polish]
    return (
        a if of.accepted[ENGLISH] and a <= NEAR else _FAR,
        b if of.accepted[POLISH] and b <= NEAR else _FAR,
    )


@kernel
def _is_among(known: NDArray[np.int32], bucket: int) -> bool:
    """Whether a sorted array has a number."""
    low, high = 0, len(known)
    while low < high:
        middle = (low + high) // 2
        if known[middle] < bucket:
            low = middle + 1
        else:
            high = middle
    return low < len(known) and known[low] == bucket


@kernel
def _knows_polish(of: Linear, room: Room, n: int) -> bool:
    """Whether every word of the text stood in what the model was trained on; digits are no word."""
    for i in range(n):
        byte = room.low[i]
        of.blank[i] = _BLANK if _DIGIT_0 <= byte <= _DIGIT_9 else byte
    found = features(of.blank, 0, n, 1 << _KNOWN_BITS, of.buckets, of.owners, of.spans, of.word)
    before = -1
    for i in range(found):
        if of.owners[i] == before:
            continue
        before = of.owners[i]
        if not _is_among(of.known, of.buckets[i]):
            return False
    return found > 0


@kernel
def _identified(
    of: Languages,
    linear: Linear,
    words: Words,
    tokens: Tokens,
    text: NDArray[np.uint8],
    begin: int,
    room: Room,
    n: int,
    characters: int,
) -> int:
    """The language that a text looks like, if it is accepted; OTHER if it is not."""
    size = _read(room, n)
    marks = _marks(room, size)
    mixed = marks & UPPER and marks & LOWER
    if mixed:
        a, b = _behind(of, text, begin, begin + size)
    # Capitals look like no language.
    if not mixed or min(a, b) > CLOSE:
        a, b = _behind(of, room.low, 0, size)
    nearest = ENGLISH if a < b or (a == b and of.columns[ENGLISH] < of.columns[POLISH]) else POLISH
    sure = min(a, b) <= CLOSE
    if characters <= SHORT and (max(a, b) <= NEAR or not sure):
        for k in range(2):
            one = nearest if k == 0 else 1 - nearest
            if (a if one == ENGLISH else b) > NEAR:
                continue
            if one == ENGLISH:
                if knows(tokens, tokens_of(words, room, n, tokens)):
                    return ENGLISH
            elif _knows_polish(linear, room, n):
                return POLISH
    return nearest if sure else OTHER


@kernel
def _added(total: float, rest: float, value: float) -> tuple[float, float]:
    """A sum and what it lacks by rounding (Knuth's two-sum): the two together are as exact as `math.fsum`."""
    both = total + value
    part = both - total
    return both, rest + ((total - (both - part)) + (value - part))


@kernel
def _signs(emoji: Emoji, emoticons: Words, text: NDArray[np.uint8], begin: int, room: Room, n: int) -> float:
    """What the emoji and emoticons of a text say, in log-odds."""
    total = rest = 0.0
    at = 0
    while at < n:
        step = 1
        if room.marks[at] & EMOJI:
            while at + step < n and room.marks[at + step] & CONTINUED:
                step += 1
            value = emoji.names.values[find_word(emoji.names, room.low, at, at + step)]
            if not math.isnan(value):
                total, rest = _added(total, rest, value)
        elif text[begin + at] in _BEGIN:
            for length in range(min(LONGEST_SIGN, n - at), 0, -1):
                i = find_word(emoticons, text, begin + at, begin + at + length)
                if i >= 0:
                    total, rest = _added(total, rest, emoticons.values[i])
                    step = length
                    break
        at += step
    return max(min(total + rest, _SIGNS), -_SIGNS)


@kernel
def _is(text: NDArray[np.uint8], at: int, letters: tuple[int, ...]) -> bool:
    """Whether letters stand at some place, in either case."""
    same = True
    for i in range(len(letters)):
        same &= text[at + i] | 0x20 == letters[i]
    return same


@kernel
def _tagged(text: NDArray[np.uint8], begin: int, end: int) -> int:
    """The language that a tag of RFC 5646 says: ENGLISH, POLISH, OTHER, or NO_TAG."""
    n = 0
    while begin + n < end and text[begin + n] != _MINUS and text[begin + n] != _UNDERLINE:
        n += 1
    if n == 0 or (n == 3 and _is(text, begin, _UND)):
        return NO_TAG
    if n == 2 and _is(text, begin, _EN):
        return ENGLISH
    return POLISH if n == 2 and _is(text, begin, _PL) else OTHER


@kernel
def _english(
    emoji: Emoji, words: Words, phrases: Phrases, tokens: Tokens, room: Room, n: int, spoken: Room
) -> float:
    """The sentiment of a text, not yet rounded; NaN where no word of it counts, inf if the kernel is in doubt."""
    if _marks(room, n) & EMOJI == 0:
        return english(words, phrases, room, n, tokens, tokens_of(words, room, n, tokens))
    n = in_words(emoji, room, n, spoken)
    if n < 0:
        return math.inf
    return english(words, phrases, spoken, n, tokens, tokens_of(words, spoken, n, tokens))


@kernel
def _polish(
    linear: Linear,
    emoji: Emoji,
    emoticons: Words,
    text: NDArray[np.uint8],
    begin: int,
    room: Room,
    n: int,
) -> float:
    """The sentiment of a text, not yet rounded."""
    total, known = sum_of(room.low, n, linear.weights, len(linear.spans), linear.word)
    margin = total * linear.step[0] / math.sqrt(known) if known else 0.0
    return math.tanh((margin + _signs(emoji, emoticons, text, begin, room, n)) / 2)


@kernel
def _rounded(value: float) -> float:
    """A number of -1..1 with four decimals, as Python rounds it; NaN where it is too near to the middle of two."""
    steps = value * _STEPS
    whole = np.rint(steps)
    return math.nan if abs(abs(steps - whole) - 0.5) < _TIE else whole / _STEPS


@entry
def sentiments(
    text: NDArray[np.uint8],
    spans: NDArray[np.int64],
    tags: NDArray[np.int64],
    characters: Characters,
    emoji: Emoji,
    words: Words,
    phrases: Phrases,
    languages: Languages,
    linear: Linear,
    emoticons: Words,
    room: Room,
    spoken: Room,
    tokens: Tokens,
    are_clean: bool,
    told: NDArray[np.int8],
    scores: NDArray[np.float64],
) -> int:
    """The sentiment of each text.

    Args:
        text: uint8[...], all texts and tags, valid UTF-8.
        spans: int64[n, 2], where each text begins and ends.
        tags: int64[n, 2], where the language tag of each does; nothing between the two if it has none.
        characters: what is known of characters.
        emoji: other characters.
        words: VADER's words.
        phrases: of them.
        languages: the n-grams.
        linear: the Polish model.
        emoticons: for it; their values are log-odds.
        room: scratch.
        spoken: scratch.
        tokens: scratch.
        are_clean: the texts are their authors' own words.
        told: int8[n], receives ABSTAINS, TOLD, FOR_PYTHON or TO_CLEAN.
        scores: float64[n], receives sentiments of -1..1 with four decimals; NaN where there is none.

    Returns:
        How many are FOR_PYTHON or TO_CLEAN.
    """
    left = 0
    for i in range(len(spans)):
        scores[i] = math.nan
        begin, n = spans[i, 0], spans[i, 1] - spans[i, 0]
        size = prepare(characters, emoji, text, begin, begin + n, room, are_clean)
        if size < 0:
            told[i] = TO_CLEAN if size == UNCLEAN else FOR_PYTHON
            left += 1
            continue
        language = _tagged(text, tags[i, 0], tags[i, 1])
        if language == NO_TAG:
            language = _identified(languages, linear, words, tokens, text, begin, room, n, size)
        elif language != OTHER and not languages.accepted[language]:
            language = OTHER
        told[i], score = ABSTAINS, math.nan
        if language == ENGLISH:
            score = _english(emoji, words, phrases, tokens, room, n, spoken)
        elif language == POLISH:
            score = _polish(linear, emoji, emoticons, text, begin, room, n)
        if math.isinf(score) or (language == OTHER and _marks(room, n) & WORD == 0):
            # Of a text without words, its signs tell.
            told[i] = FOR_PYTHON
        elif not math.isnan(score):
            scores[i] = _rounded(score)
            told[i] = FOR_PYTHON if math.isnan(scores[i]) else TOLD
            if language == POLISH and abs(scores[i]) < UNSURE:
                told[i], scores[i] = ABSTAINS, math.nan
        left += 1 if told[i] == FOR_PYTHON else 0
    return left

"""VADER's rules over the tokens of one text, in the order of `cxstream.text.vader`, which reads any other text.

Of a text there are its bytes in lower case and their marks, as `cxstream.kernels.characters` makes them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.characters import CONTINUED, LOWER, SPACE, UPPER
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.words import find_word

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.characters import Room
    from cxstream.kernels.words import Words

MAX_WORDS = 1000
"""So many words of a text are read, as in `cxstream.text.vader`."""

(LEXICON, COUNTS, BOOSTS, NEGATES, NO, NEVER, SO, WITHOUT, DOUBT, LEAST, AT, OR, KIND, OF, BUT) = (
    1 << i for i in range(15)
)
"""What a word is: of the lexicon; one that counts; a booster; a negation; the word itself, where `SO` is also `this`,
`AT` also `very`, and `OR` also `nor`."""
CAPITALS, LONG = 1 << 15, 1 << 16
"""What a token is: in capitals; longer than two characters."""
ID_BITS = 20

_CAPITALS, _NEGATION, _ALPHA, _NEVER_SO = 0.733, -0.74, 15, 1.25
_BEFORE_BUT, _AFTER_BUT = 0.5, 1.5
_EXCLAMATION, _MOST_EXCLAMATIONS = 0.292, 4
_QUESTION, _MOST_QUESTIONS, _MANY_QUESTIONS = 0.18, 3, 0.96


class Phrases(NamedTuple):
    """Phrases of two and three words.

    Attributes:
        keys: int64[n], the words: each its place + 1, ID_BITS for each, the last one lowest.
        idioms: float64[n], valence of an idiom; NaN of what is none.
        boosts: float64[n], what a booster adds; 0 of what is none.
    """

    keys: NDArray[np.int64]
    idioms: NDArray[np.float64]
    boosts: NDArray[np.float64]


class Tokens(NamedTuple):
    """Room for the tokens of one text.

    Attributes:
        words: int32[MAX_WORDS], their places in the table; -1 for what it does not have.
        flags: int32[MAX_WORDS].
        hits: int32[MAX_WORDS], the tokens that count.
        valences: float64[MAX_WORDS], of these.
    """

    words: NDArray[np.int32]
    flags: NDArray[np.int32]
    hits: NDArray[np.int32]
    valences: NDArray[np.float64]


@kernel
def _is_punctuation(byte: np.uint8) -> bool:
    """Whether `string.punctuation` has it."""
    return 33 <= byte <= 47 or 58 <= byte <= 64 or 91 <= byte <= 96 or 123 <= byte <= 126


@kernel
def _token(words: Words, room: Room, begin: int, end: int) -> tuple[int, int]:
    """The place and the flags of the token between two spaces, without punctuation around it; emoticons keep theirs."""
    first, last = begin, end
    while first < last and _is_punctuation(room.low[first]):
        first += 1
    while last > first and _is_punctuation(room.low[last - 1]):
        last -= 1
    n = 0
    for i in range(first, last):
        n += 0 if room.marks[i] & CONTINUED else 1
    if n <= 2:
        first, last = begin, end
        n = 0
        for i in range(first, last):
            n += 0 if room.marks[i] & CONTINUED else 1
    flags = LONG if n > 2 else 0
    upper = lower = 0
    for i in range(first, last):
        upper |= room.marks[i] & UPPER
        lower |= room.marks[i] & LOWER
    if upper and not lower:
        flags |= CAPITALS
    place = find_word(words, room.low, first, last)
    if place >= 0:
        return place, flags | words.flags[place]
    for i in range(first + 1, last - 1):
        if room.low[i] == 39 and room.low[i - 1] == 110 and room.low[i + 1] == 116:
            flags |= NEGATES
    return place, flags


@entry
def tokens_of(words: Words, room: Room, n: int, tokens: Tokens) -> int:
    """Put the first MAX_WORDS tokens of a text into `tokens`.

    Args:
        words: the table.
        room: the text.
        n: bytes of it.
        tokens: receives them.

    Returns:
        How many there are.
    """
    found = at = 0
    while found < len(tokens.words):
        while at < n and room.marks[at] & SPACE:
            at += 1
        if at == n:
            break
        begin = at
        while at < n and room.marks[at] & SPACE == 0:
            at += 1
        tokens.words[found], tokens.flags[found] = _token(words, room, begin, at)
        found += 1
    return found


@entry
def knows(tokens: Tokens, n: int) -> bool:
    """Whether the lexicon has a word of the text; short ones are words of other languages, too."""
    found = False
    for i in range(n):
        found |= tokens.flags[i] & COUNTS != 0 and tokens.flags[i] & LONG != 0
    return found


@kernel
def _is_kind_of(tokens: Tokens, i: int, n: int) -> bool:
    return tokens.flags[i] & KIND != 0 and i + 1 < n and tokens.flags[i + 1] & OF != 0


@kernel
def _capitals(valence: float) -> float:
    return _CAPITALS if valence > 0 else -_CAPITALS


@kernel
def _negated(valence: float, flags: NDArray[np.int32], i: int, distance: int) -> float:
    """The valence after the word at some distance before, which may negate it."""
    before = flags[i - distance]
    if distance > 1:
        strong = before & NEVER != 0 and flags[i - distance + 1] & SO != 0
        doubt = flags[i - distance + 1] & DOUBT != 0
        if distance == 3:
            strong = strong or flags[i - 1] & SO != 0
            doubt = doubt or flags[i - 1] & DOUBT != 0
        if strong:
            return valence * _NEVER_SO
        if before & WITHOUT and doubt:
            return valence
    return valence * _NEGATION if before & NEGATES else valence


@kernel
def _key(words: NDArray[np.int32], begin: int, n: int) -> int:
    """The key of a phrase; 0 if the table does not have all of its words."""
    key = 0
    for i in range(begin, begin + n):
        if words[i] < 0:
            return 0
        key = key << ID_BITS | (np.int64(words[i]) + 1)
    return key


@kernel
def _phrase(phrases: Phrases, key: int) -> int:
    for i in range(len(phrases.keys)):
        if phrases.keys[i] == key:
            return i
    return -1


@kernel
def _idiomatic(valence: float, phrases: Phrases, words: NDArray[np.int32], i: int, n: int) -> float:
    """The valence of an idiom of which the word is a part, and modifiers of two or three words."""
    for j in range(5):
        begin = i - (1, 2, 2, 3, 3)[j]
        at = _phrase(phrases, _key(words, begin, (2, 3, 2, 3, 2)[j]))
        if at >= 0 and not math.isnan(phrases.idioms[at]):
            valence = phrases.idioms[at]
            break
    for length in range(2, 4):
        if i + length <= n:
            at = _phrase(phrases, _key(words, i, length))
            if at >= 0 and not math.isnan(phrases.idioms[at]):
                valence = phrases.idioms[at]
    for j in range(3):
        at = _phrase(phrases, _key(words, i - (2, 3, 3)[j], (2, 3, 2)[j]))
        if at >= 0:
            valence += phrases.boosts[at]
    return valence


@kernel
def _valence(words: Words, phrases: Phrases, tokens: Tokens, i: int, n: int, differs: bool) -> float:
    """What a word of the lexicon counts for among its neighbours."""
    flags = tokens.flags
    own = words.values[tokens.words[i]]
    valence = own
    if flags[i] & NO and i + 1 < n and flags[i + 1] & LEXICON:
        valence = 0.0
    if (
        (i >= 1 and flags[i - 1] & NO)
        or (i >= 2 and flags[i - 2] & NO)
        or (i >= 3 and flags[i - 3] & NO and flags[i - 1] & OR)
    ):
        valence = own * _NEGATION
    if differs and flags[i] & CAPITALS:
        valence += _capitals(valence)
    for distance in range(1, min(i, 3) + 1):
        before = i - distance
        if flags[before] & LEXICON:
            continue
        if flags[before] & BOOSTS:
            change = words.values[tokens.words[before]]
            if valence < 0:
                change = -change
            if differs and flags[before] & CAPITALS:
                change += _capitals(valence)
            valence += change * (1.0, 0.95, 0.9)[distance - 1]
        valence = _negated(valence, flags, i, distance)
        if distance == 3:
            valence = _idiomatic(valence, phrases, tokens.words, i, n)
    least = i >= 1 and flags[i - 1] & LEAST != 0 and flags[i - 1] & LEXICON == 0
    if least and (i < 2 or flags[i - 2] & AT == 0):
        valence *= _NEGATION
    return valence


@kernel
def _weigh_but(tokens: Tokens, hits: int, but: int) -> None:
    """What comes before `but` counts less, what comes after it more.

    As the reference does it: of equal valences, the first that is still there is changed in place of each.
    """
    for i in range(hits):
        if tokens.valences[i] == 0.0:
            continue
        first = i
        for j in range(i):
            if tokens.valences[j] == tokens.valences[i]:
                first = j
                break
        place = tokens.hits[first]
        if place != but:
            tokens.valences[first] *= _BEFORE_BUT if place < but else _AFTER_BUT


@kernel
def _emphasis(room: Room, n: int) -> float:
    exclamations = questions = 0
    for i in range(n):
        exclamations += 1 if room.low[i] == 33 else 0
        questions += 1 if room.low[i] == 63 else 0
    found = min(exclamations, _MOST_EXCLAMATIONS) * _EXCLAMATION
    if questions <= 1:
        return found
    return found + (questions * _QUESTION if questions <= _MOST_QUESTIONS else _MANY_QUESTIONS)


@entry
def english(words: Words, phrases: Phrases, room: Room, size: int, tokens: Tokens, n: int) -> float:
    """The sentiment of a text, -1..1, not yet rounded; NaN where no word of it counts.

    Args:
        words: the table.
        phrases: of its words.
        room: the text.
        size: bytes of it.
        tokens: its tokens; valences are filled in.
        n: how many.
    """
    hits = capitals = 0
    but = -1
    for i in range(n):
        flags = tokens.flags[i]
        capitals += 1 if flags & CAPITALS else 0
        if but < 0 and flags & BUT:
            but = i
        if flags & COUNTS and not _is_kind_of(tokens, i, n):
            tokens.hits[hits] = i
            hits += 1
    differs = 0 < capitals < n
    for i in range(hits):
        tokens.valences[i] = _valence(words, phrases, tokens, tokens.hits[i], n, differs)
    if but >= 0:
        _weigh_but(tokens, hits, but)
    total = 0.0
    counts = False
    for i in range(hits):
        total += tokens.valences[i]
        counts |= tokens.valences[i] != 0.0
    if not counts:
        return np.nan
    emphasis = _emphasis(room, size)
    if total > 0:
        total += emphasis
    elif total < 0:
        total -= emphasis
    return total / math.sqrt(total * total + _ALPHA)

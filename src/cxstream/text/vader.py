"""English: VADER (Hutto and Gilbert, ICWSM 2014), with the results of vaderSentiment 3.3.2, several times as fast.

Only words of the lexicon are worked on; the rest of a text costs a look-up a word.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# The constants of the paper: capitals, negation, and how sums become -1..1.
_CAPITALS, _NEGATION, _ALPHA = 0.733, -0.74, 15
_NEVER_SO = 1.25
_BEFORE_BUT, _AFTER_BUT = 0.5, 1.5
_EXCLAMATION, _MOST_EXCLAMATIONS = 0.292, 4
_QUESTION, _MOST_QUESTIONS, _MANY_QUESTIONS = 0.18, 3, 0.96
# Words that change what others count for, beside those of the data, and how far: up to three words after them, and two before.
_ACTING = ("no", "never", "so", "this", "without", "doubt", "least", "or", "nor")
_REACH = 3
# Modifiers one, two and three words before count for so much.
_DISTANCE = {1: 1.0, 2: 0.95, 3: 0.9}
# The time of a text is bounded: so many words of it are read.
MAX_WORDS = 1000
_SHORT = 2
# Tokens that are kept, and the longest of them.
_KEPT, _LONGEST_KEPT = 50_000, 30


@dataclass(frozen=True, slots=True)
class Found:
    """The result for a text.

    Attributes:
        score: -1..1, with four decimals.
        words: its words.
        hits: place and valence of each word that counts; valences that cancelled out are 0.
    """

    score: float
    words: list[str]
    hits: list[tuple[int, float]]


class _Tokens(dict[str, tuple[str, str, bool, bool, bool]]):
    """Each token seen: the word, in lower case, whether it counts, is in capitals, and may change what others count for.

    Most of what people write is a few thousand tokens; all are forgotten before they take up much memory.
    """

    def __init__(
        self, lexicon: Mapping[str, float], boosters: Mapping[str, float], others: Iterable[str]
    ) -> None:
        self._counts = frozenset(lexicon) - frozenset(boosters)
        self._acts = frozenset(others)

    def __missing__(self, token: str) -> tuple[str, str, bool, bool, bool]:
        word = _bare(token)
        lower = word.lower()
        acts = lower in self._acts or "n't" in lower
        found = word, lower, lower in self._counts, word.isupper(), acts
        if len(token) <= _LONGEST_KEPT:
            if len(self) >= _KEPT:
                self.clear()
            self[token] = found
        return found


class Vader:
    """VADER's rules.

    Args:
        data: `lexicon`, `boosters` and `idioms`: numbers by word; `negations`: words; `emojis`: words by character.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._lexicon: dict[str, float] = data["lexicon"]
        self._boosters: dict[str, float] = data["boosters"]
        self._idioms: dict[str, float] = data["idioms"]
        self._negations = frozenset(data["negations"])
        self._emojis: dict[str, str] = {sign: said for sign, said in data["emojis"].items() if len(sign) == 1}
        # All words that `_valence` looks for around another, and what any phrase has in it.
        self._tokens = _Tokens(self._lexicon, self._boosters, {*_ACTING, *self._negations, *self._boosters})
        phrases = [said.split() for said in (*self._boosters, *self._idioms)]
        self._pairs = frozenset(pair for said in phrases for pair in pairwise(said))

    def find(self, text: str) -> Found:
        """The sentiment of a text."""
        if not text.isascii():
            text = self._in_words(text)
        text = text.strip()
        tokens = [self._tokens[each] for each in text.split(None, MAX_WORDS)[:MAX_WORDS]]
        words = [token[0] for token in tokens]
        lower = [token[1] for token in tokens]
        places = [
            i
            for i, token in enumerate(tokens)
            if token[2] and not (token[1] == "kind" and lower[i + 1 : i + 2] == ["of"])
        ]
        if not places:
            return Found(0.0, words, [])
        capitals = sum(token[3] for token in tokens)
        differs = 0 < capitals < len(words)
        phrased = not self._pairs.isdisjoint(pairwise(lower))
        acts = [phrased or token[4] for token in tokens]
        valences = [
            self._valence(words, lower, i, differs, phrased=phrased)
            if differs or True in acts[i - _REACH if i > _REACH else 0 : i + _REACH]
            else self._lexicon[lower[i]]
            for i in places
        ]
        if "but" in lower:
            _weigh_but(places, valences, lower.index("but"))
        total = 0.0
        # Not `sum`, whose last digits depend on the version of Python.
        for valence in valences:
            total += valence
        emphasis = _emphasis(text)
        if total > 0:
            total += emphasis
        elif total < 0:
            total -= emphasis
        score = round(total / math.sqrt(total * total + _ALPHA), 4)
        return Found(score, words, list(zip(places, valences, strict=True)))

    def knows(self, text: str) -> bool:
        """Whether the lexicon has a word of the text; short ones are words of other languages, too."""
        return any(
            token[2] and len(token[1]) > _SHORT
            for token in (self._tokens[each] for each in text.split(None, MAX_WORDS))
        )

    def phrase(self, words: list[str], place: int) -> str:
        """A word that counts, from the first word before it that changes what it says."""
        begin = place
        for i in range(max(place - 3, 0), place):
            before = words[i].lower()
            if before in self._boosters or before == "no" or self._negates(before):
                begin = i
                break
        return " ".join(words[begin : place + 1])

    def _in_words(self, text: str) -> str:
        """The text with descriptions in place of emoji."""
        if self._emojis.keys().isdisjoint(text):
            return text
        parts, before = [], " "
        for sign in text:
            said = self._emojis.get(sign)
            if said is not None and before != " ":
                parts.append(" ")
            parts.append(sign if said is None else said)
            before = sign
        return "".join(parts)

    def _negates(self, word: str) -> bool:
        return word in self._negations or "n't" in word

    def _valence(self, words: list[str], lower: list[str], i: int, differs: bool, *, phrased: bool) -> float:
        """What a word of the lexicon counts for among its neighbours, of which some may be a phrase."""
        lexicon = self._lexicon
        valence = lexicon[lower[i]]
        if lower[i] == "no" and i + 1 < len(lower) and lower[i + 1] in lexicon:
            valence = 0.0
        if "no" in lower[max(i - 2, 0) : i] or (
            i > 2 and lower[i - 3] == "no" and lower[i - 1] in {"or", "nor"}  # noqa: PLR2004
        ):
            valence = lexicon[lower[i]] * _NEGATION
        if differs and words[i].isupper():
            valence += _CAPITALS if valence > 0 else -_CAPITALS
        for distance in range(1, min(i, 3) + 1):
            before = lower[i - distance]
            if before in lexicon:
                continue
            if before in self._boosters:
                valence += self._boost(words[i - distance], before, valence, differs) * _DISTANCE[distance]
            valence = self._negated(valence, lower, i, distance)
            if phrased and distance == 3:  # noqa: PLR2004
                valence = self._idiomatic(valence, lower, i)
        if (
            i
            and lower[i - 1] == "least"
            and "least" not in lexicon
            and lower[i - 2 : i - 1] not in (["at"], ["very"])
        ):
            valence *= _NEGATION
        return valence

    def _boost(self, word: str, lower: str, valence: float, differs: bool) -> float:
        change = self._boosters[lower]
        if valence < 0:
            change = -change
        if differs and word.isupper():
            change += _CAPITALS if valence > 0 else -_CAPITALS
        return change

    def _negated(self, valence: float, lower: list[str], i: int, distance: int) -> float:
        """The valence after the word at some distance before, which may negate it."""
        before = lower[i - distance]
        if distance == 1:
            return valence * _NEGATION if self._negates(before) else valence
        between = lower[i - distance + 1 : i]
        so = between[0] in {"so", "this"}
        if distance == 2:  # noqa: PLR2004
            is_strong = before == "never" and so
        else:
            is_strong = (before == "never" and so) or between[1] in {"so", "this"}
        if is_strong:
            return valence * _NEVER_SO
        if before == "without" and "doubt" in between:
            return valence
        return valence * _NEGATION if self._negates(before) else valence

    def _idiomatic(self, valence: float, lower: list[str], i: int) -> float:
        """The valence of an idiom of which the word is a part, and modifiers of two or three words."""
        three, two, one, this = lower[i - 3 : i + 1]
        before = (f"{three} {two} {one}", f"{three} {two}", f"{two} {one}")
        for said in (f"{one} {this}", f"{two} {one} {this}", before[2], before[0], before[1]):
            if said in self._idioms:
                valence = self._idioms[said]
                break
        for n in (2, 3):
            if i + n <= len(lower):
                valence = self._idioms.get(" ".join(lower[i : i + n]), valence)
        for said in before:
            valence += self._boosters.get(said, 0.0)
        return valence


def _bare(word: str) -> str:
    """A word without punctuation around it; emoticons keep theirs."""
    stripped = word.strip(string.punctuation)
    return word if len(stripped) <= _SHORT else stripped


def _weigh_but(places: list[int], valences: list[float], but: int) -> None:
    """What comes before `but` counts less, what comes after it more.

    As the reference does it: of equal valences, the first that is still there is changed in place of each.
    """
    kept = [i for i, valence in enumerate(valences) if valence]
    some = [valences[i] for i in kept]
    for at in range(len(some)):
        first = some.index(some[at])
        place = places[kept[first]]
        if place != but:
            some[first] *= _BEFORE_BUT if place < but else _AFTER_BUT
    for i, valence in zip(kept, some, strict=True):
        valences[i] = valence


def _emphasis(text: str) -> float:
    exclamations = min(text.count("!"), _MOST_EXCLAMATIONS) * _EXCLAMATION
    questions = text.count("?")
    if questions <= 1:
        return exclamations
    return exclamations + (questions * _QUESTION if questions <= _MOST_QUESTIONS else _MANY_QUESTIONS)

"""Polish: a linear model over hashed words and their letters, with emoji and emoticons beside it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.ngrams import MAX_WORD, features, sums
from cxstream.kernels.sentiment import SHORT, UNSURE, Linear
from cxstream.text.columns import column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.text.weights import PolishWeights

# What one text can have; the rest of a longer one is not read.
MAX_FEATURES, MAX_WORDS = 16_384, 1_000
# Of a character in UTF-8.
_MOST_BYTES = 4
# What emoji and emoticons add at most, in log-odds.
_SIGNS = 3.0
# Buckets so many that words do not share one.
KNOWN = 1 << 30
# With these an emoticon begins; what begins with a letter or a digit is too often something else.
BEGIN = re.compile("[:;=<>^(]")
_NUMBERS = re.compile(r"\d+")
# Ranges, since a set of single characters outside the Basic Multilingual Plane is searched one by one.
EMOJI = re.compile("[\u2600-\u27bf\u2665\U0001f000-\U0001faff]")


class Polish:
    """The model.

    Args:
        weights: of the features, and of the signs.
    """

    def __init__(self, weights: PolishWeights) -> None:
        self._weights, self._step, self._words = weights.weights, weights.step, weights.words
        self._signs = dict(weights.signs)
        emoticons = sorted(filter(BEGIN.match, self._signs), key=lambda each: (-len(each), each))
        self._emoticon = re.compile("|".join(map(re.escape, emoticons)))
        self._buckets = np.zeros(MAX_FEATURES, np.int32)
        self._owners = np.zeros(MAX_FEATURES, np.int32)
        self._spans = np.zeros((MAX_WORDS, 2), np.int32)
        self._word = np.zeros(MAX_WORD, np.uint8)

    def tables(self) -> Linear:
        """The model for the kernel of all texts."""
        return Linear(
            self._weights,
            np.array([self._step]),
            self._words.astype(np.int32),
            self._buckets,
            self._owners,
            self._spans,
            self._word,
            np.zeros(SHORT * _MOST_BYTES, np.uint8),
        )

    def _features(self, raw: bytes, size: int) -> int:
        found = features(
            np.frombuffer(raw, np.uint8),
            0,
            len(raw),
            size,
            self._buckets,
            self._owners,
            self._spans,
            self._word,
        )
        self._word.fill(0)
        return found

    def _found(self, text: str) -> list[str]:
        """The emoji and emoticons of a text."""
        found = [] if text.isascii() else [sign for sign in EMOJI.findall(text) if sign in self._signs]
        end = 0
        for begin in BEGIN.finditer(text):
            if begin.start() >= end and (sign := self._emoticon.match(text, begin.start())):
                found.append(sign[0])
                end = sign.end()
        return found

    def signs(self, text: str) -> float:
        """What the emoji and emoticons of a text say, in log-odds; 0 if there are none."""
        total = math.fsum(map(self._signs.__getitem__, self._found(text)))
        return max(min(total, _SIGNS), -_SIGNS)

    def scores(self, texts: Sequence[str]) -> list[float | None]:
        """The sentiment of each text, -1..1 with four decimals; None where it is unsure."""
        if not texts:
            return []
        joined, ends = column([text.lower() for text in texts])
        out = np.empty((len(texts), 2), np.int64)
        sums(joined, ends, self._weights, self._buckets, self._owners, self._spans, self._word, out)
        self._word.fill(0)
        found = []
        for text, (total, known) in zip(texts, out.tolist(), strict=True):
            margin = total * self._step / math.sqrt(known) if known else 0.0
            score = round(math.tanh((margin + self.signs(text)) / 2), 4)
            found.append(score if abs(score) >= UNSURE else None)
        return found

    def knows(self, text: str) -> bool:
        """Whether every word of the text stood in what the model was trained on; digits are no word."""
        n = self._features(_NUMBERS.sub(" ", text.lower()).encode(errors="ignore"), KNOWN)
        # The first feature of each word is the word itself.
        words = self._buckets[:n][np.diff(self._owners[:n], prepend=-1) > 0]
        at = np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)
        return bool(n) and bool((self._words[at] == words).all())

    def phrases(self, text: str, most: int) -> list[str]:
        """The parts of a text that decided, the strongest first: words with the negation or the words they need."""
        lower = text.lower()
        if len(lower) != len(text):
            text = lower
        raw = lower.encode(errors="ignore")
        n = self._features(raw, len(self._weights))
        values = self._weights[self._buckets[:n]]
        by_word = np.bincount(self._owners[:n], weights=values) if n else np.zeros(0)
        total = by_word.sum()
        agreeing = [i for i in np.argsort(-np.abs(by_word)).tolist() if by_word[i] * total > 0]
        spans = self._spans.tolist()
        found: list[str] = []
        for i in sorted(agreeing[: most * 2], key=lambda i: -abs(by_word[i])):
            begin = max(i - 1, 0)
            said = text if text.isascii() else text.encode(errors="ignore")
            part = said[spans[begin][0] : spans[i][1]]
            phrase = part if isinstance(part, str) else part.decode(errors="ignore")
            if re.search(r"[.!?,;:\n\[\]]", phrase):
                part = said[spans[i][0] : spans[i][1]]
                phrase = part if isinstance(part, str) else part.decode(errors="ignore")
            if not any(phrase in other or other in phrase for other in found):
                found.append(phrase)
        signs = sorted(set(self._found(text)), key=lambda each: -abs(self._signs[each]))
        return (signs[:1] + found)[:most]

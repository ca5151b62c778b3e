"""Texts by the kernel: those that it reads without a doubt."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.characters import Room
from cxstream.kernels.sentiment import sentiments
from cxstream.kernels.vader import MAX_WORDS, Tokens
from cxstream.text.columns import together
from cxstream.text.tables import characters, emoji, emoticons, english
from cxstream.text.weights import load

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.characters import Characters, Emoji
    from cxstream.kernels.vader import Phrases
    from cxstream.kernels.words import Words
    from cxstream.text.language import Identifier
    from cxstream.text.polish import Polish

# Bytes of a text, of which no feature of the Polish model is left out, and of one with descriptions of its emoji.
_LONGEST, _SPOKEN = 2048, 8192


class Read(NamedTuple):
    """What the kernel made of n texts.

    Attributes:
        told: int8[n], see `cxstream.kernels.sentiment`.
        scores: float64[n], sentiments with four decimals; NaN where there is none, also where the kernel is in doubt.
        left: of how many it is in doubt.
    """

    told: NDArray[np.int8]
    scores: NDArray[np.float64]
    left: int


@cache
def _shared(name: str) -> tuple[Characters, Emoji, Words, Phrases, Words]:
    """The tables that nothing writes to; to make them takes 25 ms."""
    weights = load(name)
    signs = weights.polish.signs
    known = characters(sign for sign in (*weights.english["emojis"], *signs) if len(sign) == 1)
    words, phrases = english(weights.english)
    return known, emoji(known, weights.english["emojis"], signs), words, phrases, emoticons(signs)


class Quick:
    """The kernel with its tables.

    Args:
        name: of the weights.
        identifier: its languages.
        polish: its Polish.
    """

    def __init__(self, name: str, identifier: Identifier, polish: Polish) -> None:
        room, spoken = (Room(np.zeros(n, np.uint8), np.zeros(n, np.uint8)) for n in (_LONGEST, _SPOKEN))
        tokens = Tokens(
            np.zeros(MAX_WORDS, np.int32),
            np.zeros(MAX_WORDS, np.int32),
            np.zeros(MAX_WORDS, np.int32),
            np.zeros(MAX_WORDS),
        )
        known, faces, words, phrases, faces_in_letters = _shared(name)
        self._tables = together((
            known, faces, words, phrases, identifier.tables(), polish.tables(), faces_in_letters, room, spoken, tokens
        ))  # fmt: skip
        *_, linear, _, room, spoken, tokens = self._tables
        # What holds a text or its words.
        self._scratch = (*room, *spoken, *tokens, linear.blank, linear.word)

    def read(
        self, text: bytes, spans: NDArray[np.int64], tags: NDArray[np.int64], *, are_clean: bool
    ) -> Read:
        """Read texts.

        Args:
            text: all texts and language tags, in UTF-8.
            spans: int64[n, 2], where each text begins and ends.
            tags: int64[n, 2], where its language tag does.
            are_clean: the texts are their authors' own words.
        """
        told, scores = np.empty(len(spans), np.int8), np.empty(len(spans))
        left = sentiments(np.frombuffer(text, np.uint8), spans, tags, *self._tables, are_clean, told, scores)
        # A text may be of a customer who is erased later.
        for array in self._scratch:
            array.fill(0)
        return Read(told, scores, left)

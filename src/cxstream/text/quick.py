"""Texts by the kernel: those that it reads without a doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.characters import Room
from cxstream.kernels.sentiment import sentiments
from cxstream.kernels.vader import MAX_WORDS, Tokens
from cxstream.text.tables import characters, emoji, emoticons, english

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.text.language import Identifier
    from cxstream.text.polish import Polish
    from cxstream.text.weights import Weights

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


class Quick:
    """The kernel with its tables.

    Args:
        weights: of the model.
        identifier: its languages.
        polish: its Polish.
    """

    def __init__(self, weights: Weights, identifier: Identifier, polish: Polish) -> None:
        signs = weights.polish.signs
        known = characters(sign for sign in (*weights.english["emojis"], *signs) if len(sign) == 1)
        room, spoken = (Room(np.zeros(n, np.uint8), np.zeros(n, np.uint8)) for n in (_LONGEST, _SPOKEN))
        faces = emoji(known, weights.english["emojis"], signs)
        tokens = Tokens(
            np.zeros(MAX_WORDS, np.int32),
            np.zeros(MAX_WORDS, np.int32),
            np.zeros(MAX_WORDS, np.int32),
            np.zeros(MAX_WORDS),
        )
        words, phrases = english(weights.english)
        self._tables = (
            known, faces, words, phrases, identifier.tables(), polish.tables(), emoticons(signs), room, spoken, tokens
        )  # fmt: skip

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
        return Read(told, scores, left)

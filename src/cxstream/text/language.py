"""The language of texts, by the n-grams of py3langid (naive Bayes over bytes), for the languages of Europe that weights have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.ngrams import fill_table, languages
from cxstream.text.columns import column

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cxstream.text.weights import LanguageWeights

# More of a text says nothing new.
_READ = 200
# A language that is configured is preferred to one that is not where the two are this close, in log-probability by the
# square root of the text's bytes: short texts look like many languages.
_CLOSE = 1.0
# Beyond this, a text is in another language.
NEAR = 2.0
_COUNTS = 64


class Identifier:
    """Finds languages.

    Args:
        weights: of the n-grams.
        accepted: ISO 639-1 codes; a text in another language has none.
    """

    def __init__(self, weights: LanguageWeights, accepted: Collection[str]) -> None:
        self._accepted = np.array([name in accepted for name in weights.names])
        self._names = weights.names
        self._weights, self._step, self._prior = weights.weights, weights.step, weights.prior
        size = 1 << int(len(weights.keys) * 2).bit_length()
        self._table, self._rows = np.zeros(size, np.uint64), np.zeros(size, np.int32)
        fill_table(weights.keys, self._table, self._rows)
        self._deepest = np.zeros(1 << 16, np.uint8)
        lengths = (weights.keys >> np.uint64(56)).astype(np.uint8)
        np.maximum.at(self._deepest, (weights.keys & np.uint64(0xFFFF)).astype(np.int64), lengths)
        self._counts = np.zeros(len(weights.keys), np.int32)
        self._found = np.zeros(len(weights.keys), np.int64)
        self._logs = np.log1p(np.arange(_COUNTS, dtype=np.float64))

    def scores(self, texts: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Log-probability of each language, up to a constant, by the square root of the bytes; float64[n, languages]."""
        some = [text[:_READ] for text in texts]
        joined, ends = column([text.lower() if text.isupper() else text for text in some])
        out = np.empty((len(texts), len(self._names)))
        languages(
            joined,
            ends,
            self._table,
            self._rows,
            self._weights,
            self._deepest,
            self._counts,
            self._found,
            self._logs,
            out,
        )
        lengths = np.maximum(np.diff(ends, prepend=0), 1)
        known = out.any(axis=1, keepdims=True)
        scores: np.ndarray[tuple[int, int], np.dtype[np.float64]] = (
            out * self._step + self._prior * known
        ) / np.sqrt(lengths)[:, None]
        return scores

    def identify(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """How far each accepted language is behind the most likely one, the nearest first; nothing if all are unlikely.

        Capitals look like no language, so a text that is not sure is read again without them.
        """
        found = self._near(texts)
        doubtful = [i for i, near in enumerate(found) if not is_sure(near)]
        for i, again in zip(doubtful, self._near([texts[i].lower() for i in doubtful]), strict=True):
            found[i] = again
        return found

    def _near(self, texts: Sequence[str]) -> list[dict[str, float]]:
        if not texts:
            return []
        scores = self.scores(texts)
        behind = scores.max(axis=1, keepdims=True) - scores
        # Nothing is known of a text that all languages are equally likely for.
        behind[~scores.any(axis=1)] = NEAR
        found: list[dict[str, float]] = [{} for _ in texts]
        rows, columns = np.nonzero((behind <= NEAR) & self._accepted)
        distances = behind[rows, columns]
        order = np.lexsort((columns, distances, rows))
        for row, column_, distance in zip(
            rows[order].tolist(), columns[order].tolist(), distances[order].tolist(), strict=True
        ):
            found[row][self._names[column_]] = distance
        return found


def is_sure(near: Mapping[str, float]) -> bool:
    """Whether a text is in the nearest language."""
    return next(iter(near.values()), NEAR) <= _CLOSE

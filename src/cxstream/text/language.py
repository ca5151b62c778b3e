"""The language of texts, by the n-grams of py3langid (naive Bayes over bytes), for the languages of Europe that weights have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.languages import FILTER_WORDS, FILTERS, Grams, fill_table, languages
from cxstream.kernels.sentiment import CLOSE, NEAR, READ, Languages
from cxstream.text.columns import column

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cxstream.text.weights import LanguageWeights

_COUNTS = 64
# In the order of the kernel.
_READ = ("en", "pl")


class Identifier:
    """Finds languages.

    Args:
        weights: of the n-grams.
        accepted: ISO 639-1 codes; a text in another language has none.
    """

    def __init__(self, weights: LanguageWeights, accepted: Collection[str]) -> None:
        self._accepted = np.array([name in accepted for name in weights.names])
        self._names = weights.names
        self._step, self._prior = weights.step, weights.prior
        n = len(weights.keys)
        self._grams = Grams(
            np.zeros(1 << (2 * n).bit_length(), np.uint64),
            np.zeros((FILTERS, FILTER_WORDS), np.uint64),
            weights.weights,
            np.zeros(n, np.int32),
            np.zeros(n, np.int64),
            np.log1p(np.arange(_COUNTS, dtype=np.float64)),
        )
        fill_table(weights.keys, self._grams)

    def tables(self) -> Languages:
        """The n-grams for the kernel of all texts."""
        columns = [self._names.index(name) for name in _READ]
        return Languages(
            self._grams,
            np.zeros(len(self._names)),
            self._prior,
            np.array([self._step]),
            np.array(columns, np.int64),
            self._accepted[columns],
        )

    def scores(self, texts: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Log-probability of each language, up to a constant, by the square root of the bytes; float64[n, languages]."""
        some = [text[:READ] for text in texts]
        joined, ends = column([text.lower() if text.isupper() else text for text in some])
        out = np.empty((len(texts), len(self._names)))
        languages(joined, ends, self._grams, out)
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
    return next(iter(near.values()), NEAR) <= CLOSE

"""Texts to sentiments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.sentiment import FOR_PYTHON, TO_CLEAN, UNSURE
from cxstream.text.cleaning import cleaned
from cxstream.text.language import Identifier, is_sure
from cxstream.text.masking import mask
from cxstream.text.polish import Polish
from cxstream.text.quick import Quick
from cxstream.text.vader import Vader
from cxstream.text.weights import load

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from numpy.typing import NDArray

ENGLISH, POLISH = "en", "pl"
# Phrases of a verdict, and the most characters of each.
_PHRASES, _LONGEST = 3, 80
# Scores that are kept, and the most characters of texts that come again and again, such as `everything ok`.
_KEPT, _REPEATED = 10_000, 64
# Characters of a text whose words may say its language.
_SHORT = 40


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a text says.

    Attributes:
        language: ISO 639-1 code; None where it is not configured, or not known.
        sentiment: -1..1, with four decimals; None where the model abstains.
        evidence: the phrases that decided, the strongest first, with personal data masked.
    """

    language: str | None
    sentiment: float | None
    evidence: tuple[str, ...]


def _key(text: str, tag: str | None) -> bytes:
    """What a score is kept by; nothing for a longer text, which hardly comes twice. No text can be read from it."""
    if len(text) > _REPEATED:
        return b""
    said = tag or ""
    return blake2b(f"{len(said)} {said}{text}".encode(errors="surrogatepass"), digest_size=16).digest()


def _joined(
    texts: Sequence[str], tags: Sequence[str | None] | None
) -> tuple[bytes, NDArray[np.int64], NDArray[np.int64]]:
    """Texts and tags in one, and where each begins and ends. What UTF-8 cannot have leaves the kernel in doubt."""
    n = len(texts)
    parts = [part.encode(errors="surrogatepass") for part in (*texts, *(tag or "" for tag in tags or ()))]
    ends = np.zeros(len(parts) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)), out=ends[1:])
    spans = np.stack([ends[:-1], ends[1:]], axis=1)
    return b"".join(parts), spans[:n], spans[n:] if tags else np.zeros((n, 2), np.int64)


def _cut(text: bytes, spans: NDArray[np.int64]) -> list[str]:
    return [text[begin:end].decode(errors="surrogatepass") for begin, end in spans.tolist()]


class TextModel:
    """A text model. A pure function of the texts: batches and threads of time do not matter; not for two threads at once.

    Args:
        name: of its weights.
        languages: ISO 639-1 codes of the languages that get a sentiment.
    """

    def __init__(self, name: str, languages: Collection[str]) -> None:
        weights = load(name)
        self.digest = weights.digest
        self._languages = frozenset(languages)
        self._identifier = Identifier(weights.language, languages)
        self._vader = Vader(weights.english)
        self._polish = Polish(weights.polish)
        self._quick = Quick(name, self._identifier, self._polish)
        self._known: dict[bytes, float | None] = {}

    def sentiments(
        self, texts: Sequence[str], languages: Sequence[str | None] | None = None
    ) -> list[float | None]:
        """The sentiment of each text, -1..1 with four decimals; None where the model abstains.

        Args:
            texts: n texts.
            languages: n language tags (RFC 5646) as the sources say them; None where they say none.
        """
        text, spans, tags = _joined(texts, languages)
        return [None if math.isnan(score) else score for score in self.read(text, spans, tags).tolist()]

    def read(self, text: bytes, spans: NDArray[np.int64], tags: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sentiment of each text, -1..1 with four decimals; NaN where the model abstains.

        Args:
            text: bytes in UTF-8 in which texts and tags lie.
            spans: int64[n, 2], where each text begins and ends.
            tags: int64[n, 2], where its language tag (RFC 5646) does, as the source says it; nothing between if it says none.

        Returns:
            float64[n].
        """
        told, scores, left = self._quick.read(text, spans, tags, are_clean=False)
        if not left:
            return scores
        unclean, doubtful = np.flatnonzero(told == TO_CLEAN), np.flatnonzero(told == FOR_PYTHON)
        if len(unclean):
            said = _cut(text, tags[unclean])
            own = _joined([cleaned(each) for each in _cut(text, spans[unclean])], said)
            again, scores[unclean], _ = self._quick.read(*own, are_clean=True)
            doubtful = np.concatenate([doubtful, unclean[again == FOR_PYTHON]])
        if len(doubtful):
            found = self.in_python(_cut(text, spans[doubtful]), _cut(text, tags[doubtful]))
            scores[doubtful] = [np.nan if score is None else score for score in found]
        return scores

    def in_python(self, texts: Sequence[str], tags: Sequence[str | None]) -> list[float | None]:
        """The same as `sentiments` without the kernel: for texts about which it is in doubt."""
        keys = [_key(text, tag) for text, tag in zip(texts, tags, strict=True)]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        if not new:
            return [self._known[key] for key in keys]
        own = [cleaned(texts[i]) for i in new]
        found = dict(zip(new, self._scores(own, self._of(own, [tags[i] for i in new])), strict=True))
        scores = [found[i] if i in found else self._known[key] for i, key in enumerate(keys)]
        if len(self._known) + len(new) > _KEPT:
            self._known.clear()
        self._known.update((keys[i], score) for i, score in found.items() if keys[i])
        return scores

    def languages(self, texts: Sequence[str]) -> list[str | None]:
        """The language of each text; None where it is not configured, or not known."""
        return self._of([cleaned(text) for text in texts], None)

    def explain(self, text: str, language: str | None = None) -> Verdict:
        """The sentiment of a text, and why."""
        own = cleaned(text)
        [found] = self._of([own], [language])
        [score] = self._scores([own], [found])
        return Verdict(found, score, () if score is None else self._evidence(own, found, score))

    def _of(self, texts: Sequence[str], tags: Sequence[str | None] | None) -> list[str | None]:
        """The language of each text: the one its source says, or else the one it looks like."""
        found: list[str | None] = [None] * len(texts)
        unknown = []
        for i, tag in enumerate(tags or found):
            said = (tag or "").replace("_", "-").partition("-")[0].lower()
            if not said or said == "und":
                unknown.append(i)
            elif said in self._languages:
                found[i] = said
        for i, language in zip(unknown, self._identified([texts[i] for i in unknown]), strict=True):
            found[i] = language
        return found

    def _identified(self, texts: list[str]) -> list[str | None]:
        """The language that each text looks like, if it is configured.

        One or two words look like many languages: a word that is known decides, too.
        """
        found: list[str | None] = []
        for text, near in zip(texts, self._identifier.identify(texts), strict=True):
            sure = is_sure(near)
            known: Iterable[str] = near if sure else ()
            if len(text) <= _SHORT and (len(near) > 1 or not sure):
                known = [language for language in near if self._knows(text, language)] or known
            found.append(next(iter(known), None))
        return found

    def _knows(self, text: str, language: str) -> bool:
        return self._vader.knows(text) if language == ENGLISH else self._polish.knows(text)

    def _scores(self, texts: list[str], languages: list[str | None]) -> list[float | None]:
        found: list[float | None] = [None] * len(texts)
        polish = [i for i, language in enumerate(languages) if language == POLISH]
        for i, score in zip(polish, self._polish.scores([texts[i] for i in polish]), strict=True):
            found[i] = score
        for i, language in enumerate(languages):
            if language == ENGLISH:
                english = self._vader.find(texts[i])
                found[i] = english.score if any(valence for _, valence in english.hits) else None
            elif language is None and not any(map(str.isalnum, texts[i])):
                found[i] = self._signs_alone(texts[i])
        return found

    def _signs_alone(self, text: str) -> float | None:
        """The sentiment of a text without words: emoji are the same in every language."""
        score = round(float(np.tanh(self._polish.signs(text) / 2)), 4)
        return score if abs(score) >= UNSURE else None

    def _evidence(self, text: str, language: str | None, score: float) -> tuple[str, ...]:
        text = mask(text)
        if language == ENGLISH:
            english = self._vader.find(text)
            hits = sorted(english.hits, key=lambda hit: -abs(hit[1]))
            said = [self._vader.phrase(english.words, i) for i, valence in hits if valence * score > 0]
            found = list(dict.fromkeys(said))[:_PHRASES]
        else:
            found = self._polish.phrases(text, _PHRASES)
        return tuple(each[:_LONGEST] for each in found)

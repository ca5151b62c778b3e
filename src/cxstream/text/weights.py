"""The weights of the text model, which travel in the package."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_DIGEST_BYTES = 4


@dataclass(frozen=True, slots=True)
class LanguageWeights:
    """Of naive Bayes over n-grams.

    Attributes:
        names: ISO 639-1 codes.
        keys: uint64[features], n-grams: up to 5 bytes, and their number in the highest byte.
        weights: int8[features, languages], log-probabilities in steps, each less the mean of its n-gram.
        step: of them.
        prior: float64[languages], log-probabilities.
    """

    names: tuple[str, ...]
    keys: NDArray[np.uint64]
    weights: NDArray[np.int8]
    step: float
    prior: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PolishWeights:
    """Of the linear model.

    Attributes:
        weights: int8[buckets], log-odds in steps; 0 for what was never or seldom seen.
        step: of them.
        words: uint32[m], sorted: the words of which several reviews have each, as features of `polish.KNOWN` buckets.
        signs: log-odds of each emoji and emoticon.
    """

    weights: NDArray[np.int8]
    step: float
    words: NDArray[np.uint32]
    signs: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Weights:
    """All of a text model.

    Attributes:
        name: of the model.
        digest: of all weights.
        language: see there.
        english: see `vader.Vader`.
        polish: see there.
    """

    name: str
    digest: str
    language: LanguageWeights
    english: Mapping[str, Any]
    polish: PolishWeights


def digest_of(arrays: Mapping[str, NDArray[Any]]) -> str:
    """The digest of weights: their names, types, shapes and bytes, in order of names."""
    whole = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for name in sorted(arrays):
        array = arrays[name]
        whole.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()


@cache
def load(name: str) -> Weights:
    """The weights of a model that travels in the package."""
    raw = files(__package__).joinpath("weights", f"{name}.npz").read_bytes()
    with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
        arrays = {each: archive[each] for each in archive.files}
    said = msgspec.json.decode(arrays["said"].tobytes())
    return Weights(
        name,
        digest_of(arrays),
        LanguageWeights(
            tuple(said["languages"]),
            arrays["language_keys"],
            arrays["language_weights"],
            said["language_step"],
            arrays["language_prior"],
        ),
        said["english"],
        PolishWeights(arrays["polish_weights"], said["polish_step"], arrays["polish_words"], said["signs"]),
    )

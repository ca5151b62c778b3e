"""Drift: how far a sample is from the one that a model was fitted to, by the population stability index (PSI)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PARTS = 10
# Shares of a part are taken as at least this, so that an empty one gives a large drift, not an infinite one.
_SMALL = 1e-4


@dataclass(frozen=True, slots=True)
class Spread:
    """How the values of a sample are spread.

    Attributes:
        edges: where parts end, ascending; values at an edge are below it. Tenths, where values differ enough.
        shares: share of the sample in each part, one more than edges.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]


def _shares(edges: Floats, values: Floats) -> Floats:
    counts = np.bincount(np.searchsorted(edges, values, "left"), minlength=len(edges) + 1)
    return counts / len(values)


def spread(values: Floats) -> Spread:
    """How values are spread over their tenths; no value has no spread.

    Raises:
        ValueError: there are no values.
    """
    if not len(values):
        raise ValueError("no values")
    edges = np.unique(np.quantile(values, np.arange(1, _PARTS) / _PARTS))
    return Spread(tuple(edges.tolist()), tuple(_shares(edges, values).tolist()))


def psi(before: Spread, now: Floats) -> float:
    """The population stability index: below 0.1 little drift, above 0.25 much; NaN without values."""
    if not len(now):
        return math.nan
    one = np.maximum(np.array(before.shares), _SMALL)
    other = np.maximum(_shares(np.array(before.edges), now), _SMALL)
    return float(np.sum((other - one) * np.log(other / one)))

"""The score distribution over the customers of a partition, counted in slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.evaluate import score_cards
from cxstream.kernels.layout import C_EFFORT, C_P, C_SAT, CARD_WIDTH, SIGNAL_WIDTH
from cxstream.kernels.panes import AHEAD
from cxstream.model.enumerations import LEVELS, Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.scoring.engine import Engine


class SliceScores(NamedTuple):
    """The scores of a slice of customers.

    Attributes:
        efforts: float64[n], 0..100, as of each customer's last evaluation.
        satisfactions: float64[n], 0..100.
        risks: float64[n], probability.
        levels: int64[levels + 1], customers by risk level; the last counts churned customers, who are suspended.
    """

    efforts: NDArray[np.float64]
    satisfactions: NDArray[np.float64]
    risks: NDArray[np.float64]
    levels: NDArray[np.int64]


def slots_of(engine: Engine) -> int:
    """Places of customers, empty ones too; the slices to count are cut from them."""
    return engine.partition.slots.top


def count(engine: Engine, start: int, stop: int) -> SliceScores:
    """Count the customers in the places start <= place < stop; some 0.5 us each."""
    partition = engine.partition
    rows = partition.state.rows[start:stop]
    live = np.flatnonzero(rows["live"][: max(0, slots_of(engine) - start)])
    cards = np.empty((len(live), CARD_WIDTH))
    slots = (live + start).astype(np.int32)
    scratch = np.empty(SIGNAL_WIDTH), np.empty(AHEAD, np.int64)
    score_cards(partition.state, partition.constants, slots, cards, *scratch)
    standing = np.where(rows["suspended"][live] != 0, len(LEVELS), rows["level"][live])
    levels = np.bincount(standing, minlength=len(LEVELS) + 1)
    return SliceScores(cards[:, C_EFFORT], cards[:, C_SAT], cards[:, C_P], levels)


def levels(engine: Engine) -> dict[Level, int]:
    """Customers by risk level; churned ones count with the level they have."""
    partition = engine.partition
    counts = np.bincount(partition.state.rows["level"][partition.live()], minlength=len(LEVELS))
    return dict(zip(LEVELS, counts.tolist(), strict=True))

"""What came after each snapshot: who left within the horizon, and whose outcome the company changed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from cxstream.model.parameters import DAY_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.training.snapshots import Snapshots

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

Definition = Literal["events", "silence"]
# Fewer customers who were held out cannot stand for those who were treated.
_HELD_OUT = 30
_TEST_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Labelled:
    """Snapshots with their outcomes.

    Attributes:
        snapshots: those that count.
        y: bool[n], whether the customer left within the horizon.
        weights: float64[n], above 0.
        wait: float64[n], days until the departure; NaN where there is none within the horizon.
        definition: what leaving is: a `churned` event, or no touch within the horizon.
        treated: snapshots of customers who were treated within the horizon.
        held_out: snapshots of customers who were held out.
        weighted: whether those held out stand for those treated, who are left out.
        quiet: snapshots left out because the customer had no touch within the horizon before; 0 with events.
    """

    snapshots: Snapshots
    y: Bools
    weights: Floats
    wait: Floats
    definition: Definition
    treated: int
    held_out: int
    weighted: bool
    quiet: int

    def __len__(self) -> int:
        return len(self.y)

    @property
    def departures(self) -> int:
        """Customers who left."""
        return len(np.unique(self.snapshots.customer[self.y]))

    @property
    def customers(self) -> int:
        """Customers with a snapshot."""
        return len(np.unique(self.snapshots.customer))

    def taken(self, which: Bools) -> Labelled:
        """Some of them."""
        return Labelled(
            self.snapshots.taken(which),
            self.y[which],
            self.weights[which],
            self.wait[which],
            self.definition,
            self.treated,
            self.held_out,
            self.weighted,
            self.quiet,
        )


def label(snapshots: Snapshots, horizon_days: int, definition: Definition | None) -> Labelled:
    """Outcomes of snapshots.

    Args:
        snapshots: at cutoffs whose horizon has passed.
        horizon_days: days that are looked ahead.
        definition: what leaving is; None: a `churned` event if there is any, otherwise silence.
    """
    if definition is None:
        definition = "events" if len(snapshots.churned) else "silence"
    horizon = horizon_days * DAY_MS
    _, wait = snapshots.churned.first_after(snapshots.customer, snapshots.time)
    left, kept = (wait > 0) & (wait <= horizon), np.ones(len(snapshots), bool)
    days = np.where(left, wait / DAY_MS, np.nan)
    if definition == "silence":
        left, kept = snapshots.silent, snapshots.recency < horizon_days
        days = np.where(left, np.maximum(horizon_days - snapshots.recency, 0.0), np.nan)
    weights, treated, held_out = _weights(snapshots, horizon, kept)
    weighted = held_out >= _HELD_OUT
    if not weighted:
        weights = np.ones(len(snapshots))
    quiet = int(np.count_nonzero(~kept))
    whole = Labelled(snapshots, left, weights, days, definition, treated, held_out, weighted, quiet)
    return whole.taken(kept & (weights > 0))


def _weights(snapshots: Snapshots, horizon: int, kept: Bools) -> tuple[Floats, int, int]:
    """Weights with which customers held out stand for those treated, and how many snapshots there are of each."""
    place, wait = snapshots.acted.first_after(snapshots.customer, snapshots.time)
    acted = kept & (place >= 0) & (wait <= horizon)
    treated = acted.copy()
    treated[acted] = snapshots.acted.treated[place[acted]]
    held_out = acted & ~treated
    counts = int(treated.sum()), int(held_out.sum())
    weights = np.where(treated, 0.0, 1.0)
    if counts[1]:
        weights[held_out] = sum(counts) / counts[1]
    return weights, *counts


def is_test(snapshots: Snapshots) -> Bools:
    """Whether each snapshot is of a customer whom the checked model must not see: by name, so it stays so."""
    drawn = [
        int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big") < _TEST_SHARE * 2**32
        for name in snapshots.names
    ]
    return np.array(drawn, bool)[snapshots.customer]

"""The customers: who they are, drawn once, and how they feel, which changes every day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cxstream.model.parameters import DAY_MS
from cxstream.simulate.world import CAUSES, LOCATIONS, SEGMENTS

if TYPE_CHECKING:
    from cxstream.simulate.rows import Bools, Floats, Ints

STAYING, LEAVING, GONE = range(3)
NEVER = np.iinfo(np.int64).max


@dataclass(slots=True)
class People:
    """Columns of n customers.

    Attributes:
        segment: index in `world.SEGMENTS`.
        visits: visits a day.
        app: share of digital visits through the app.
        store: share of visits to a store.
        luck: how many times as often as others something fails for them (device, network, address).
        sensitivity: how much the same trouble hurts.
        tolerance: pain at which leaving becomes likely.
        purchase_days: mean days between purchases.
        spend: median amount of a purchase.
        talkative: how readily they answer and post.
        home: index in `world.LOCATIONS`.
        next_purchase: ms UTC.
        pain: now.
        by_cause: float[n, causes], pain now by what it came from.
        state: STAYING, LEAVING (has decided) or GONE.
        left_at: ms UTC; of a customer who is LEAVING, when they will be gone; NEVER otherwise.
        member: in the loyalty programme.
        unsubscribed: gets no campaigns.
    """

    segment: npt.NDArray[np.uint8]
    visits: Floats
    app: Floats
    store: Floats
    luck: Floats
    sensitivity: Floats
    tolerance: Floats
    purchase_days: Floats
    spend: Floats
    talkative: Floats
    home: npt.NDArray[np.uint8]
    next_purchase: Ints
    pain: Floats
    by_cause: Floats
    state: npt.NDArray[np.uint8]
    left_at: Ints
    member: Bools
    unsubscribed: Bools

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.segment)

    @property
    def engagement(self) -> Floats:
        """The share of the usual activity that each customer still shows: float64[n], 0..1."""
        return np.array([1.0, 0.35, 0.0])[self.state]


def draw(count: int, start_ms: int, rng: np.random.Generator) -> People:
    """Draw `count` customers as they are at `start_ms`."""
    segment = rng.choice(len(SEGMENTS), count, p=[s.share for s in SEGMENTS]).astype(np.uint8)

    def of(name: str) -> Floats:
        return np.array([getattr(s, name) for s in SEGMENTS], np.float64)[segment]

    purchase_days = of("purchase_days") * rng.lognormal(0, 0.4, count)
    return People(
        segment=segment,
        visits=of("visits") * rng.lognormal(-0.18, 0.6, count),
        app=of("app") * rng.uniform(0.3, 1.7, count),
        store=of("store") * rng.uniform(0.2, 1.8, count),
        luck=rng.lognormal(-0.4, 0.9, count),
        sensitivity=rng.lognormal(0, 0.3, count),
        tolerance=of("tolerance") * rng.lognormal(0, 0.3, count),
        purchase_days=purchase_days,
        spend=of("spend") * rng.lognormal(0, 0.5, count),
        talkative=rng.lognormal(-0.3, 0.8, count),
        home=rng.integers(0, len(LOCATIONS), count).astype(np.uint8),
        next_purchase=start_ms + (rng.random(count) * purchase_days * DAY_MS).astype(np.int64),
        pain=np.zeros(count),
        by_cause=np.zeros((count, len(CAUSES))),
        state=np.zeros(count, np.uint8),
        left_at=np.full(count, NEVER),
        member=rng.random(count) < np.array([0.05, 0.3, 0.8, 0.4, 0.2])[segment],
        unsubscribed=rng.random(count) < 0.08,
    )


def subjects(count: int) -> list[bytes]:
    """Return the customers' ids, in order of their index."""
    return [b"c-%06d" % index for index in range(count)]

"""How effort, satisfaction and risk are spread over the customers, looked at now and then.

A look goes through the state in slices of some milliseconds, so that the event loop stays alive, and the pause
after it is many times as long as it took.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from cxstream.scoring import distribution
from cxstream.worker.metrics.buckets import Buckets
from cxstream.worker.metrics.definitions import METRICS, STANDINGS

if TYPE_CHECKING:
    from cxstream.scoring.engine import Engine
    from cxstream.worker.ownership.partitions import Partitions

SLICE = 4096
PAUSE_SECONDS = 15.0
# A look may take this share of the time.
_SHARE = 0.01


class Spread:
    """Customers of some partitions.

    Attributes:
        effort: histogram.
        satisfaction: histogram.
        risk: histogram.
        levels: int64[5], customers by STANDINGS.
    """

    def __init__(self) -> None:
        self.effort = Buckets(METRICS["cxstream_customer_effort"].buckets)
        self.satisfaction = Buckets(METRICS["cxstream_customer_satisfaction"].buckets)
        self.risk = Buckets(METRICS["cxstream_customer_churn_risk_ratio"].buckets)
        self.levels = np.zeros(len(STANDINGS), np.int64)

    def add(self, counted: distribution.Census) -> None:
        """Add a slice."""
        self.effort.observe_all(counted.efforts)
        self.satisfaction.observe_all(counted.satisfactions)
        self.risk.observe_all(counted.risks)
        self.levels += counted.levels


class Population:
    """Keeps the latest look.

    Args:
        partitions: the owned partitions.

    Attributes:
        spread: what the latest look saw; of the partitions that ran.
    """

    def __init__(self, partitions: Partitions) -> None:
        self.spread = Spread()
        self._partitions = partitions

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            began = perf_counter()
            await self.look()
            await asyncio.sleep(max(PAUSE_SECONDS, (perf_counter() - began) / _SHARE))

    async def look(self) -> None:
        """Look once."""
        spread = Spread()
        for partition in list(self._partitions):
            engine = partition.engine
            if engine is not None:
                await self._add(spread, engine)
        self.spread = spread

    async def _add(self, spread: Spread, engine: Engine) -> None:
        start = 0
        while start < distribution.slots_of(engine):
            spread.add(distribution.count(engine, start, start + SLICE))
            start += SLICE
            await asyncio.sleep(0)

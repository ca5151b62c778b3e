"""The distribution of effort, satisfaction and risk over the customers, counted from time to time.

A count goes through the state in slices of some milliseconds, so that the event loop is not blocked. The pause after
it is many times as long as the count took.
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
# The share of the time that counting may take.
_SHARE = 0.01


class ScoreDistribution:
    """The scores of the customers of some partitions.

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

    def add(self, counted: distribution.SliceScores) -> None:
        """Add a slice."""
        self.effort.observe_all(counted.efforts)
        self.satisfaction.observe_all(counted.satisfactions)
        self.risk.observe_all(counted.risks)
        self.levels += counted.levels


class DistributionMonitor:
    """Keeps the latest score distribution.

    Args:
        partitions: the owned partitions.

    Attributes:
        scores: the latest count, over the partitions that were running.
    """

    def __init__(self, partitions: Partitions) -> None:
        self.scores = ScoreDistribution()
        self._partitions = partitions

    async def run(self) -> None:
        """Count repeatedly, until cancelled."""
        while True:
            began = perf_counter()
            await self.count()
            await asyncio.sleep(max(PAUSE_SECONDS, (perf_counter() - began) / _SHARE))

    async def count(self) -> None:
        """Count once."""
        scores = ScoreDistribution()
        for partition in list(self._partitions):
            engine = partition.engine
            if engine is not None:
                await self._add(scores, engine)
        self.scores = scores

    async def _add(self, scores: ScoreDistribution, engine: Engine) -> None:
        start = 0
        while start < distribution.slots_of(engine):
            scores.add(distribution.count(engine, start, start + SLICE))
            start += SLICE
            await asyncio.sleep(0)

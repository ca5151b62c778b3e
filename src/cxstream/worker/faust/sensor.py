"""The duration of each rebalance, which Faust's monitor does not keep."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import faust

from cxstream.worker.metrics.buckets import Buckets
from cxstream.worker.metrics.definitions import METRICS


class Rebalances(faust.Sensor):  # type: ignore[misc]
    """A Faust sensor, in addition to the monitor that every app has.

    Attributes:
        count: rebalances begun.
        seconds: time of those that ended.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.seconds = Buckets(METRICS["faust_rebalance_seconds"].buckets)

    def on_rebalance_start(self, app: faust.App) -> dict[str, Any]:  # noqa: ARG002
        """Called by Faust when partitions are revoked."""
        self.count += 1
        return {"began": perf_counter()}

    def on_rebalance_end(self, app: faust.App, state: dict[str, Any]) -> None:  # noqa: ARG002
        """Called by Faust when streams continue."""
        self.seconds.observe(perf_counter() - state["began"])

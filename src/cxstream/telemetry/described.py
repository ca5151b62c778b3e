"""Metrics from a table of names, types, meanings and labels, in a registry with those of the process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Table = Mapping[str, tuple[str, str, tuple[str, ...]]]


class Described:
    """Makes metrics as a table describes them.

    Attributes:
        registry: what is served.

    Args:
        table: by name: type, meaning and labels.
        beside: where they stand beside others of this process; by default in a registry of their own.
    """

    def __init__(self, table: Table, beside: CollectorRegistry | None = None) -> None:
        self.registry = beside or CollectorRegistry(support_collectors_without_names=True)
        for collector in () if beside else (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)
        self._table = table

    def gauge(self, name: str) -> Gauge:
        """A gauge of the table."""
        made = Gauge(*self._of(name), registry=None)
        self.registry.register(made)
        return made

    def counter(self, name: str) -> Counter:
        """A counter of the table."""
        made = Counter(*self._of(name), registry=None)
        self.registry.register(made)
        return made

    def histogram(self, name: str, bounds: Sequence[float]) -> Histogram:
        """A histogram of the table.

        Args:
            name: of the metric.
            bounds: upper bounds of its buckets, without infinity.
        """
        made = Histogram(*self._of(name), buckets=bounds, registry=None)
        self.registry.register(made)
        return made

    def _of(self, name: str) -> tuple[str, str, tuple[str, ...]]:
        _, meaning, labels = self._table[name]
        return name, meaning, labels

"""The interfaces that the metrics are read from, without Faust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.settings import Settings
    from cxstream.worker.metrics.buckets import Buckets
    from cxstream.worker.ownership.partitions import Partitions
    from cxstream.worker.ownership.stall_detector import Watch
    from cxstream.worker.ticker import Ticker


class Monitor(Protocol):
    """Faust's own counts.

    Attributes:
        messages_received_total: messages that Faust has handed to the agent.
        http_response_codes: answers of the web server, by status.
    """

    @property
    def messages_received_total(self) -> int: ...  # noqa: D102
    @property
    def http_response_codes(self) -> Mapping[int, int]: ...  # noqa: D102


class Offsets(Protocol):
    """First and last offsets of the partitions, by Kafka's latest response.

    Attributes:
        oldest: offset of the oldest record, by partition.
        ends: offset after the last record, by partition.
        answered_at: Unix time of that response.
        partitions: how many the topic has; None while it is not known.
    """

    oldest: dict[int, int]
    ends: dict[int, int]
    answered_at: float
    partitions: int | None

    async def watch(self) -> None:
        """Ask repeatedly, until cancelled."""


class Rebalances(Protocol):
    """Rebalances of the consumer group.

    Attributes:
        count: how many have begun.
        seconds: time of those that ended.
    """

    count: int
    seconds: Buckets


class Worker(Protocol):
    """The worker.

    Attributes:
        settings: all settings.
        partitions: the partitions owned now.
        watch: which of them make no progress.
        ticker: writes the ticks; None if another program does.
    """

    settings: Settings
    partitions: Partitions
    watch: Watch
    ticker: Ticker | None

    @property
    def ready(self) -> bool:
        """Whether all assigned partitions run and make progress."""

    @property
    def monitor(self) -> Monitor:
        """Faust's own counts."""

"""Notices partitions that have work and get nowhere, and says so once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from cxstream.worker.clock import now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cxstream.worker.ownership.partition import Partition
    from cxstream.worker.ownership.partitions import Partitions

log = structlog.get_logger(__name__)


class Watch:
    """Looks at the owned partitions now and then.

    A partition knows itself when its results cannot be committed. That the feed no longer brings it what the log
    has, only the log can tell.

    Args:
        partitions: the owned partitions.
        seconds: how long a partition may get nowhere.
        progress: tells of a partition how far the feed has read and where the log ends (offsets).
        unreadable: what cannot be read, by topic and number of partition, and why.

    Attributes:
        stalls: why each stalled partition is, by number.
    """

    def __init__(
        self,
        partitions: Partitions,
        seconds: float,
        progress: Callable[[int], Awaitable[tuple[int | None, int]]],
        unreadable: Callable[[], Mapping[tuple[str, int], str]] = dict,
    ) -> None:
        self.stalls: dict[int, str] = {}
        self._partitions = partitions
        self._seconds = seconds
        self._progress = progress
        self._unreadable = unreadable
        self._fed: dict[int, tuple[int | None, float]] = {}
        self._settled_at: float | None = None

    async def look(self, *, rebalancing: bool = False) -> None:
        """Look once.

        Args:
            rebalancing: the group is being shared out anew, so that nothing is fed.
        """
        partitions = list(self._partitions)
        if rebalancing:
            unsettled = self._unsettled()
            self._say({p.number: reason for p in partitions if (reason := p.stalled or unsettled)})
            return
        damaged = {number: reason for (_, number), reason in self._unreadable().items()}
        self._settled_at = now()
        # What is known is said before the log is asked, which takes long when Kafka is away. It is asked about one
        # partition after the other: few requests fit into Faust's thread of the consumer.
        known = {p.number: reason for p in partitions if (reason := damaged.get(p.number) or p.stalled)}
        self._say({**self.stalls, **known})
        asked = [(p, await self._starved(p)) for p in partitions]
        self._say(
            {
                p.number: reason
                for p, starved in asked
                if (reason := known.get(p.number) or p.stalled or starved)
            }
        )

    def _say(self, stalls: dict[int, str]) -> None:
        for number, reason in stalls.items():
            if number not in self.stalls:
                log.error("partition stalled", partition=number, reason=reason)
        for number in self.stalls.keys() - stalls.keys():
            log.info("partition stalled no longer", partition=number)
        self.stalls = stalls

    def _unsettled(self) -> str:
        if self._settled_at is None:
            self._settled_at = now()
        seconds = now() - self._settled_at
        return f"a rebalance does not end, for {seconds:.0f} s" if seconds > self._seconds else ""

    async def _starved(self, partition: Partition) -> str:
        """Why the feed of a partition gets nowhere; "" where it does, or need not."""
        try:
            position, end = await self._progress(partition.number)
        except Exception as error:  # noqa: BLE001 - whatever it is, the log cannot be asked
            position, end, reason = None, None, f"the log cannot be asked ({type(error).__name__}: {error})"
        else:
            reason = f"the feed stands at {position} although the log ends at {end}"
        before, since = self._fed.get(partition.number, (None, now()))
        stuck = end is None or (position is not None and position < end and position == before)
        if not stuck or partition.full:
            self._fed[partition.number] = (position, now())
            return ""
        self._fed[partition.number] = (position, since)
        return f"{reason}, for {now() - since:.0f} s" if now() - since > self._seconds else ""

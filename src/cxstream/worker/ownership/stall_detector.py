"""Detects partitions that have work but make no progress, and logs each once."""

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
    """Checks the owned partitions from time to time.

    A partition knows when its results cannot be committed. Only a comparison with the log shows that the
    feed no longer delivers its records.

    Args:
        partitions: the owned partitions.
        seconds: how long a partition may make no progress.
        progress: for a partition, the offsets that the feed has reached and at which the log ends.
        unreadable: the records that cannot be read, by topic and partition.

    Attributes:
        stalls: the reason of each stalled partition, by number.
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
        """Check once.

        Args:
            rebalancing: the group is rebalancing, so that nothing is fed.
        """
        partitions = list(self._partitions)
        if rebalancing:
            unsettled = self._unsettled()
            self._say({p.number: reason for p in partitions if (reason := p.stalled or unsettled)})
            return
        damaged = {number: reason for (_, number), reason in self._unreadable().items()}
        self._settled_at = now()
        # Known stalls are logged before Kafka is asked, which takes long if it is unreachable. It is asked about one
        # partition after the other: Faust's consumer thread handles few requests at a time.
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
        """Why the feed of a partition makes no progress; "" if it does, or has nothing to do."""
        try:
            position, end = await self._progress(partition.number)
        except Exception as error:  # noqa: BLE001 - after any error, the log's end is unknown
            position, end, reason = (
                None,
                None,
                f"Kafka does not return the end of the log ({type(error).__name__}: {error})",
            )
        else:
            reason = f"the feed is at {position} although the log ends at {end}"
        before, since = self._fed.get(partition.number, (None, now()))
        stuck = end is None or (position is not None and position < end and position == before)
        if not stuck or partition.full:
            self._fed[partition.number] = (position, now())
            return ""
        self._fed[partition.number] = (position, since)
        return f"{reason}, for {now() - since:.0f} s" if now() - since > self._seconds else ""

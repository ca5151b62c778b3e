"""Partitions that the feed cannot read: each pauses alone, is reported, and is tried again.

readable -- a fetch fails --> paused -- backoff --> tried again -- fails --> paused, for twice as long
    ^                                                  |
    +---------------- read, or reassigned -------------+
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from cxstream.kafka.batch_fetch import WholeBatches
from cxstream.kafka.fetch_screen import Screen, unreadable
from cxstream.kafka.frames import KEPT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiokafka import AIOKafkaConsumer, TopicPartition

    from cxstream.kafka.record_batches import Limits
    from cxstream.model.errors import UnreadableError

_BACKOFF_SECONDS = 0.5
_BACKOFF_MAX_SECONDS = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Damage:
    """Why a partition cannot be read.

    Attributes:
        error: which records, and why.
        since: Unix time of the first failure.
        wait: seconds until it is tried again.
    """

    error: UnreadableError
    since: float
    wait: float


class DamagedPartitions:
    """The partitions of one consumer that cannot be read now.

    Belongs to the consumer's thread; other threads may look.

    Args:
        topics: the topics that are read by whole batches.
        limits: the largest records and batches.
        most: how much of a partition is unpacked at a time, in bytes of memory.
        skip: offsets of cx.touchpoints that an operator has chosen to skip, by partition.

    Attributes:
        found: the error of each, by topic and number.
    """

    def __init__(
        self,
        topics: frozenset[str],
        limits: Limits,
        most: int,
        skip: Callable[[int], Sequence[range]] = lambda _: (),
    ) -> None:
        self.found: dict[tuple[str, int], Damage] = {}
        self._topics = topics
        self._limits = limits
        self._most = most
        self._skip = skip
        self._consumer: AIOKafkaConsumer | None = None
        self._batches: WholeBatches | None = None

    def guard(self, consumer: AIOKafkaConsumer) -> None:
        """Keep an unreadable partition of a started consumer from blocking its other partitions."""
        self._consumer = consumer
        fetcher = consumer._fetcher  # noqa: SLF001
        fetcher._client = screen = Screen(fetcher._client, self.add, self._fetched, KEPT_BYTES)  # noqa: SLF001
        fetcher._records = self._batches = WholeBatches(  # noqa: SLF001
            self._topics, self.add, screen.raw, self._limits, self._most, self._read
        )

    def add(self, tp: TopicPartition, offset: int, error: Exception) -> None:
        """A partition cannot be read: pause it, and try again later."""
        assert self._consumer is not None  # noqa: S101 - only its consumer calls this
        assignment = self._consumer._subscription.subscription.assignment  # noqa: SLF001
        if not assignment.active or tp not in assignment.tps:
            return
        state = assignment.state_value(tp)
        after = next((skip.stop for skip in self._skip(tp.partition) if offset in skip), None)
        if after is not None and tp.topic in self._topics:
            # The partition handles it itself. A fetch that is being unpacked sets the position once more.
            self._consumer._loop.call_soon(self._go_on, tp, offset, after)  # noqa: SLF001
            return
        before = self.found.get(_key(tp))
        if before is not None and before.error.offset != offset:
            before = None
        damage = Damage(
            unreadable(tp, offset, error),
            before.since if before else time.time(),
            min(before.wait * 2, _BACKOFF_MAX_SECONDS) if before else _BACKOFF_SECONDS,
        )
        self.found[_key(tp)] = damage
        log.error(
            "partition cannot be read; trying again",
            topic=tp.topic,
            partition=tp.partition,
            offset=offset,
            reason=damage.error.reason,
            seconds=damage.wait,
        )
        state.pause()
        self._consumer._loop.call_later(damage.wait, state.resume)  # noqa: SLF001

    def _go_on(self, tp: TopicPartition, offset: int, after: int) -> None:
        """Continue after the skipped records, one offset at a time if they are not a whole batch."""
        assert self._consumer is not None  # noqa: S101 - only its consumer calls this
        assignment = self._consumer._subscription.subscription.assignment  # noqa: SLF001
        if assignment.active and tp in assignment.tps and assignment.state_value(tp).position == offset:
            self._consumer._fetcher.seek_to(tp, after)  # noqa: SLF001

    def leave_room(self, room: int) -> None:
        """Set how much the next call for records may take of all partitions, in bytes of memory."""
        if self._batches is not None:
            self._batches.room = room

    def forget(self) -> None:
        """After a rebalance, try each partition at once."""
        self.found.clear()

    def _fetched(self, tp: TopicPartition, offset: int) -> None:
        """Kafka has answered; if the position has moved, the damaged records are behind it."""
        damage = self.found.get(_key(tp))
        if damage is not None and damage.error.offset != offset:
            self._read(tp)

    def _read(self, tp: TopicPartition) -> None:
        damage = self.found.pop(_key(tp), None)
        if damage is not None:
            log.info(
                "partition can be read again",
                topic=tp.topic,
                partition=tp.partition,
                seconds=round(time.time() - damage.since, 1),
            )


def _key(tp: TopicPartition) -> tuple[str, int]:
    return tp.topic, tp.partition

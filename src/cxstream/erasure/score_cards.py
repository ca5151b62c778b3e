"""Searches all partitions of cx.scores for score cards of erased customers.

An earlier version scored a customer wherever a record of theirs lay, so a card may lie in a partition that is not
the customer's. A card of the customer's own partition that is newer than the request is no leftover: they have come
back.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cxstream.kafka.reader import reading
from cxstream.scoring.state.erasures import digest
from cxstream.topology import SCORES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings

_POLL_SECONDS = 0.25


class Erased(NamedTuple):
    """Where a customer was erased.

    Attributes:
        partition: the customer's own.
        offset: of the request there.
    """

    partition: int
    offset: int


class Leftovers:
    """The cards of some customers, as far as cx.scores has been read.

    Args:
        reader: of cx.scores.
        topic: the name of cx.scores.
        erased: the customers, by the digests in the receipts.
    """

    def __init__(self, reader: TopicReader, topic: str, erased: Mapping[str, Erased]) -> None:
        self._reader = reader
        self._topic = topic
        self._erased = erased
        self._at: dict[int, int] = {}
        self._cards: set[tuple[int, bytes]] = set()

    async def look(self) -> list[int]:
        """Read the new records; returns the partition of each card that is left."""
        for partition in range(self._reader.partitions[self._topic]):
            first, end = await self._reader.bounds(self._topic, partition)
            start = max(first, self._at.get(partition, 0))
            async for records in self._reader.read(self._topic, partition, start, end):
                for record in records:
                    self._take(partition, record)
            self._at[partition] = end
        return sorted(partition for partition, _ in self._cards)

    def _take(self, partition: int, record: Any) -> None:
        key = record.key or b""
        where = self._erased.get(digest(key.decode(errors="replace")).hex())
        if where is None:
            return
        if record.value is None or (partition == where.partition and _offset(record.value) > where.offset):
            self._cards.discard((partition, key))
        else:
            self._cards.add((partition, key))


def _offset(card: bytes) -> int:
    """The source offset that a card was made at."""
    name: str = msgspec.json.decode(card)["id"]
    return int(name.partition(":")[0].rpartition("-")[2])


async def cards_left(settings: Settings, erased: Mapping[str, Erased], deadline: float) -> list[int]:
    """Wait until no card of erased customers is left.

    Args:
        settings: how to reach Kafka.
        erased: the customers, by the digests in the receipts.
        deadline: until when to wait, by `time.monotonic`; cards are read at least once.

    Returns:
        The partition of each card that is left.

    Raises:
        BrokerError: Kafka does not answer.
        TopicError: cx.scores is missing, or this client may not see it.
    """
    async with reading(settings, [SCORES]) as reader:
        leftovers = Leftovers(reader, settings.topology.scores.name, erased)
        left = await leftovers.look()
        while left and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
            left = await leftovers.look()
        return left

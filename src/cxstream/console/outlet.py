"""Sends records to Kafka one request at a time, through a producer that stays open."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from cxstream.kafka.producer import route, sending
from cxstream.model.errors import BrokerError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.kafka.producer import Sender
    from cxstream.settings import Settings
    from cxstream.topology import Topic

# A person waits for it.
_SECONDS = 15.0


class Outlet:
    """A topic that is written to.

    Args:
        settings: how to reach Kafka.
        topic: of the installation.
    """

    def __init__(self, settings: Settings, topic: Topic) -> None:
        self._settings, self._topic = settings, topic
        self._stack = AsyncExitStack()
        self._sender: Sender | None = None
        self._lock = asyncio.Lock()

    async def send(self, customer: str, key: bytes, value: bytes) -> None:
        """Send a record to the customer's partition, and wait until Kafka has confirmed it.

        Args:
            customer: decides the partition, as Kafka's default partitioner has it.
            key: of the record.
            value: of the record.

        Raises:
            BrokerError: Kafka did not confirm it in time.
            TopicError: the topic is missing.
            InputError: the record is too long.
        """
        if await self.send_all([(customer, key, value)]):
            raise InputError(f"{self._topic.name}: takes no record of {len(value):,} bytes")

    async def send_all(self, records: Sequence[tuple[str, bytes, bytes]]) -> list[int]:
        """Send records in order, and wait until Kafka has confirmed them.

        Args:
            records: of each: what decides the partition, its key, its value.

        Returns:
            Positions of the records that are too long for the topic, which are not sent.

        Raises:
            BrokerError: Kafka did not confirm all of them in time; it may have some.
            TopicError: the topic is missing.
        """
        too_long = []
        async with self._lock:
            try:
                async with asyncio.timeout(_SECONDS):
                    if self._sender is None:
                        self._sender = await self._stack.enter_async_context(
                            sending(self._settings, self._topic)
                        )
                    chosen = route([owner.encode() for owner, _, _ in records], self._sender.partitions)
                    for position, (partition, (_, key, value)) in enumerate(
                        zip(chosen, records, strict=True)
                    ):
                        if not await self._sender.send_to(partition, key, value):
                            too_long.append(position)
                    await self._sender.flush()
            except TimeoutError as error:
                await self.close()
                raise BrokerError(f"{self._settings.kafka}: did not confirm within {_SECONDS:g} s") from error
            except BrokerError:
                await self.close()
                raise
        return too_long

    async def close(self, seconds: float = _SECONDS) -> None:
        """Close the producer; the next record opens another one.

        Args:
            seconds: this may take at most.
        """
        self._sender, stack, self._stack = None, self._stack, AsyncExitStack()
        try:
            async with asyncio.timeout(seconds):
                await stack.aclose()
        except (BrokerError, TimeoutError):
            # What was not confirmed has been said already.
            return

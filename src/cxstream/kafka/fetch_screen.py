"""Isolates an unreadable partition in a fetch from the other partitions of the same consumer.

By itself, aiokafka raises such an error in a call for records of any partition and drops the records of the
others, asks the broker again without a pause, or ends the task that fetches. Here the client of a fetcher
is wrapped: unusable data is removed from the response before the fetcher sees it, and a function is called. If
damage is found only while unpacking, the iterators of the records call the same function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.fetcher import FetchError
from aiokafka.errors import CorruptRecordException, KafkaError, TopicAuthorizationFailedError, for_code
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.memory_records import MemoryRecords

from cxstream.kafka.batch_fetch import WholeBatches
from cxstream.kafka.coordinators import send
from cxstream.kafka.frames import receive_at_once
from cxstream.model.errors import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka import AIOKafkaConsumer

    from cxstream.kafka.batch_fetch import Refuse
    from cxstream.kafka.record_batches import Limits


# Kafka's error codes that the fetcher handles: none, offset out of range, unknown partition, not the leader.
_DEALT_WITH = {0, 1, 3, 6}


class Screen:
    """The client of a fetcher, which removes unreadable data from responses.

    Args:
        client: aiokafka's client; only `send` is replaced.
        refuse: called for each partition that is removed.
        on_fetched: called with the partition and the offset of every successful fetch.
        keep: bytes of memory that may be kept from response to response.

    Attributes:
        raw: the bytes of the latest fetch, by partition, until they are taken.
    """

    def __init__(
        self,
        client: Any,
        refuse: Refuse,
        on_fetched: Callable[[TopicPartition, int], None] = lambda *_: None,
        keep: int = 0,
    ) -> None:
        self._keep = keep
        self._client = client
        self._refuse = refuse
        self._on_fetched = on_fetched
        self.raw: dict[TopicPartition, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def send(self, node: int, request: Any, **options: Any) -> Any:
        """Send a request; the response to a fetch contains no unreadable data."""
        if isinstance(request, FetchRequest):
            connection = self._client._conns.get((node, ConnectionGroup.DEFAULT))  # noqa: SLF001
            if connection is not None:
                receive_at_once(connection, self._keep)
        response = await send(self._client, node, request, **options)
        if isinstance(request, FetchRequest):
            # The fetcher takes its data from a response before it awaits anything.
            self.raw.clear()
            asked = {(topic, number): at for topic, parts in request.topics for number, at, _ in parts}
            response.topics = [
                (topic, [part for part in parts if self._usable(topic, part, asked)])
                for topic, parts in response.topics
            ]
        return response

    def _usable(self, topic: str, part: tuple[Any, ...], asked: dict[tuple[str, int], int]) -> bool:
        number, code, offset = part[0], part[1], asked[topic, part[0]]
        error = _wrong(code, part[-1])
        tp = TopicPartition(topic, number)
        if error is None:
            self._on_fetched(tp, offset)
            self.raw[tp] = part[-1] or b""
            return True
        if code:
            self._client.force_metadata_update()
        self._refuse(tp, offset, error)
        return False


def _wrong(code: int, records: bytes | None) -> Exception | None:
    """Why a partition of a response cannot be used; None if it can."""
    if code not in _DEALT_WITH:
        failed: Exception = for_code(code)()
        return failed
    if code:
        return None
    try:
        found = MemoryRecords(records or b"")
    except Exception as error:  # noqa: BLE001 - damaged bytes may cause any error
        return error
    # Kafka sends at least one whole batch, even if it is larger than requested.
    if found.size_in_bytes() and not found.has_next():
        short: Exception = CorruptRecordException("a batch is longer than what was sent of it")
        return short
    return None


def unreadable(tp: TopicPartition, offset: int, error: Exception) -> UnreadableError:
    """The error for a partition that cannot be read from an offset on."""
    return UnreadableError(tp.topic, tp.partition, offset, reason(error))


def reason(error: Exception) -> str:
    """An error in one line."""
    return str(error) if isinstance(error, KafkaError) else f"{type(error).__name__}: {error}"


def read_whole(consumer: AIOKafkaConsumer, limits: Limits, most: int) -> None:
    """Make a started consumer return whole batches, and raise the errors of its fetches.

    It is for a consumer that reads one partition at a time. The next call for records raises UnreadableError; an authorization error
    stays aiokafka's own error.

    Args:
        consumer: a started one, which has not fetched yet.
        limits: the largest records and batches.
        most: how much a call unpacks, in bytes of memory.
    """
    fetcher = consumer._fetcher  # noqa: SLF001

    def refuse(tp: TopicPartition, offset: int, error: Exception) -> None:
        known = isinstance(error, TopicAuthorizationFailedError)
        raised = TopicAuthorizationFailedError(tp.topic) if known else unreadable(tp, offset, error)
        fetcher._records[tp] = FetchError(error=raised, backoff=fetcher._prefetch_backoff)  # noqa: SLF001
        for waiter in list(fetcher._fetch_waiters):  # noqa: SLF001
            fetcher._notify(waiter)  # noqa: SLF001

    def unpacked(tp: TopicPartition, offset: int, error: Exception) -> None:
        raise unreadable(tp, offset, error) from error

    fetcher._client = screen = Screen(fetcher._client, refuse)  # noqa: SLF001
    fetcher._records = WholeBatches(None, unpacked, screen.raw, limits, most)  # noqa: SLF001

"""A producer of transactions of Kafka's second version (KIP-890), each of three requests.

    rows      -> Produce           the partitions join the transaction
    offsets   -> TxnOffsetCommit   the group joins it
    commit    -> EndTxn            the response has the epoch of the next transaction

With the first version, which aiokafka's producer speaks, partitions and group join by requests of their own: five one after
the other, each through a task that hands over to the next. This one has no background: the task that waits for a request has
sent it. Kafka fences transaction by transaction: a batch that was delayed cannot join a later one, since its epoch is over.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    DuplicateSequenceNumber,
    GroupAuthorizationFailedError,
    IllegalOperation,
    IncompatibleBrokerVersion,
    InvalidProducerEpoch,
    KafkaError,
    NoError,
    NotCoordinatorError,
    ProducerClosed,
    ProducerFenced,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.transaction import InitProducerIdRequest
from aiokafka.structs import RecordMetadata, TopicPartition

from cxstream.kafka.batch_writer import BatchWriter
from cxstream.kafka.coordinators import (
    BACKOFF_SECONDS,
    BUSY_SECONDS,
    Coordinators,
    TransactionExpiredError,
    error_of,
    send,
)
from cxstream.kafka.transaction_requests import (
    EndTxnRequest,
    FeaturesRequest,
    ProduceRequest,
    TxnOffsetCommitRequest,
    feature_level,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.structs import OffsetAndMetadata

FEATURE, LEVEL = "transaction.version", 2

_NO_TIME = -1  # of a topic whose records have the time of who wrote them


class Batch(NamedTuple):
    """A batch on its way.

    Attributes:
        records: it, as it is sent.
        arrived: set when it is in the log.
    """

    records: bytes
    arrived: asyncio.Future[RecordMetadata | None]


class TransactionProducer:
    """Has an epoch of a transactional id; made by `opened`.

    Args:
        client: knows the cluster.
        transactional_id: the producer's own.
        transaction_ms: after this long Kafka aborts a transaction.
        request_ms: how long replicas may take to write.
        batch_bytes: the largest batch.
    """

    def __init__(
        self,
        client: AIOKafkaClient,
        transactional_id: str,
        *,
        transaction_ms: int,
        request_ms: int,
        batch_bytes: int,
    ) -> None:
        self._client = client
        self._id = transactional_id
        self._transaction_ms = transaction_ms
        self._request_ms = request_ms
        self._batch_bytes = batch_bytes
        self._producer = (-1, -1)
        self._coordinators = Coordinators(client, transactional_id, self._fenced)
        self._sequences: defaultdict[TopicPartition, int] = defaultdict(int)
        self._open = False
        self._begun = 0.0  # by the event loop's clock
        self._closed = False
        self._error: BaseException | None = None
        # What is to be sent, what is not confirmed, and who sends.
        self._queue: dict[TopicPartition, Batch] = {}
        self._flying: dict[TopicPartition, Batch] = {}
        self._sending: set[asyncio.Task[None]] = set()

    # --- as aiokafka's producer

    async def start(self) -> None:
        """Claim the transactional id.

        Raises:
            KafkaError: Kafka does not grant it.
        """

        def granted(response: Any) -> float | None:
            error = error_of(response.error_code)
            if error is NoError:
                self._producer = response.producer_id, response.producer_epoch
                return None
            return self._coordinators.pause(error, CoordinationType.TRANSACTION, BACKOFF_SECONDS)

        await self._coordinators.ask(
            CoordinationType.TRANSACTION,
            lambda: InitProducerIdRequest(self._id, self._transaction_ms),
            granted,
        )

    def create_batch(self, *, compress: bool = False) -> BatchWriter:
        """An empty batch, to be filled and sent."""
        return BatchWriter(self._batch_bytes, compress=compress)

    async def partitions_for(self, topic: str) -> set[int]:
        """The partitions of a topic."""
        found: set[int] = await self._client._wait_on_metadata(topic)  # noqa: SLF001 - aiokafka's producer asks so, too
        return found

    async def begin_transaction(self) -> None:
        """Begin: Kafka hears of it with the first request."""
        self._require(open_=False)
        self._open, self._begun = True, asyncio.get_running_loop().time()

    async def send_batch(
        self, batch: BatchWriter, topic: str, *, partition: int
    ) -> asyncio.Future[RecordMetadata | None]:
        """Send a batch, together with all that are given in the same turn of the event loop.

        Args:
            batch: it takes no more records; one without any is not sent.
            topic: where to.
            partition: ... and of it.

        Returns:
            Done when the batch is in the log; its result says where.

        Raises:
            IllegalOperation: there is no transaction, it has failed, or the partition has an unconfirmed batch.
            KafkaError: Kafka does not know the topic, or does not permit it.
        """
        await self.partitions_for(topic)
        self._require(open_=True)
        tp = TopicPartition(topic, partition)
        if tp in self._flying:
            raise IllegalOperation(f"{topic}-{partition}: the batch before is not confirmed")
        arrived: asyncio.Future[RecordMetadata | None] = asyncio.get_running_loop().create_future()
        if not batch.record_count():
            arrived.set_result(None)
            return arrived
        first = self._sequences[tp]
        self._sequences[tp] = _after(first, batch.record_count())
        queued = Batch(batch.sealed(self._producer, first), arrived)
        self._flying[tp] = queued
        self._enqueue({tp: queued}, 0.0)
        return arrived

    async def send_offsets_to_transaction(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata], group: str
    ) -> None:
        """Commit offsets together with the batches.

        Raises:
            ProducerFenced: another producer has claimed the transactional id.
            KafkaError: Kafka refuses them.
        """
        self._require(open_=True)
        topics: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for tp, at in offsets.items():
            topics[tp.topic].append((tp.partition, at.offset))

        def committed(response: Any) -> float | None:
            for _, partitions, _ in response.topics:
                for _, code, _ in partitions:
                    error = error_of(code)
                    if error is GroupAuthorizationFailedError:
                        raise error(group)
                    if error is RequestTimedOutError:
                        error = NotCoordinatorError
                    if error is not NoError:
                        return self._coordinators.pause(error, CoordinationType.GROUP, BUSY_SECONDS)
            return None

        await self._coordinators.ask(
            CoordinationType.GROUP,
            lambda: TxnOffsetCommitRequest(self._id, group, self._producer, topics),
            committed,
            group,
        )

    async def commit_transaction(self) -> None:
        """Commit what was sent; all of it must have been confirmed.

        Raises:
            ProducerFenced: another producer has claimed the transactional id.
            KafkaError: Kafka refuses it.
        """
        self._require(open_=True)
        if self._flying:
            raise IllegalOperation("a batch of the transaction is not confirmed")

        def ended(response: Any) -> float | None:
            error = error_of(response.error_code)
            if error is NoError:
                self._next(response.producer_id, response.producer_epoch)
                return None
            return self._coordinators.pause(error, CoordinationType.TRANSACTION, BUSY_SECONDS)

        try:
            await self._coordinators.ask(
                CoordinationType.TRANSACTION, lambda: EndTxnRequest(self._id, self._producer), ended
            )
        except BaseException as error:
            # Whether it is committed is not known: nothing may follow.
            self._error = error
            raise

    async def stop(self) -> None:
        """Close the connections. A transaction that is open stays so, until the next claim or Kafka ends it."""
        if self._closed:
            return
        self._closed = True
        self._coordinators.close()
        for task in self._sending:
            task.cancel()
        for batch in self._flying.values():
            _fail(batch, ProducerClosed())
        await self._client.close()

    # --- requests

    def _require(self, *, open_: bool) -> None:
        if self._closed:
            raise ProducerClosed
        if self._error is not None:
            # Not that error once more: what it says is about other rows.
            raise IllegalOperation("the transaction has failed") from self._error
        if self._open is not open_:
            raise IllegalOperation("there is no transaction" if open_ else "a transaction is open")

    def _next(self, producer: int, epoch: int) -> None:
        """Take the epoch of the next transaction, in which sequence numbers begin again."""
        self._open = False
        if (producer, epoch) != self._producer:
            self._producer = producer, epoch
            self._sequences.clear()

    def _enqueue(self, batches: Mapping[TopicPartition, Batch], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if not self._queue:
            # What others write in this turn is sent with it.
            loop.call_later(seconds, self._flush) if seconds else loop.call_soon(self._flush)
        self._queue.update(batches)

    def _flush(self) -> None:
        queued, self._queue = self._queue, {}
        if self._closed:
            return
        of_leader: defaultdict[int | None, dict[TopicPartition, Batch]] = defaultdict(dict)
        for tp, batch in queued.items():
            of_leader[self._client.cluster.leader_for_partition(tp)][tp] = batch
        for leader, batches in of_leader.items():
            if leader is None or leader == -1:
                self._client.force_metadata_update()
                self._enqueue(batches, BACKOFF_SECONDS)
                continue
            task = asyncio.create_task(self._produce(leader, batches))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _produce(self, leader: int, batches: Mapping[TopicPartition, Batch]) -> None:
        topics: defaultdict[str, list[tuple[int, bytes]]] = defaultdict(list)
        for tp, batch in batches.items():
            topics[tp.topic].append((tp.partition, batch.records))
        try:
            response = await send(self._client, leader, ProduceRequest(self._id, self._request_ms, topics))
        except KafkaError as lost:
            for tp, batch in batches.items():
                self._refused(tp, batch, lost)
            return
        except Exception as failed:  # noqa: BLE001 - the callers that wait for the batches raise it
            for tp in batches:
                self._give_up(tp, failed)
            return
        for topic, partitions, _ in response.topics:
            for partition, code, offset, timestamp, start, *_ in partitions:
                tp = TopicPartition(topic, partition)
                error = error_of(code)
                if error in (NoError, DuplicateSequenceNumber):
                    self._landed(
                        tp,
                        RecordMetadata(
                            topic, partition, tp, offset, timestamp, int(timestamp != _NO_TIME), start
                        ),
                    )
                else:
                    self._refused(
                        tp, batches[tp], error(topic) if error is TopicAuthorizationFailedError else error()
                    )

    def _landed(self, tp: TopicPartition, where: RecordMetadata) -> None:
        batch = self._flying.pop(tp, None)
        if batch is not None and not batch.arrived.done():
            batch.arrived.set_result(where)

    def _refused(self, tp: TopicPartition, batch: Batch, error: KafkaError) -> None:
        """Send a batch again, if that may help; its sequence numbers keep it from being written twice."""
        if isinstance(error, ConcurrentTransactions):
            self._enqueue({tp: batch}, BUSY_SECONDS)
        elif error.retriable:
            if error.invalid_metadata:
                self._client.force_metadata_update()
            self._enqueue({tp: batch}, BACKOFF_SECONDS)
        else:
            self._give_up(tp, self._fenced() if isinstance(error, InvalidProducerEpoch) else error)

    def _fenced(self) -> ProducerFenced:
        """What it means that the epoch is over: Kafka raises it for a claim, and where it aborts a transaction for its age."""
        seconds = asyncio.get_running_loop().time() - self._begun
        if not self._open or seconds * 1000 < self._transaction_ms:
            return ProducerFenced()
        return TransactionExpiredError(
            f"a transaction took {seconds:.0f} s; Kafka aborts one after {self._transaction_ms / 1000:.0f} s"
        )

    def _give_up(self, tp: TopicPartition, error: BaseException) -> None:
        batch = self._flying.pop(tp)
        self._error = self._error or error
        _fail(batch, error)


async def opened(
    connection: Mapping[str, Any], transactional_id: str, *, transaction_ms: int, batch_bytes: int
) -> TransactionProducer | None:
    """A producer that has claimed a transactional id; None if the cluster has no such transactions.

    Args:
        connection: arguments of every client.
        transactional_id: the producer's own.
        transaction_ms: after this long Kafka aborts a transaction.
        batch_bytes: the largest batch.

    Raises:
        KafkaError: Kafka does not answer, or does not grant it.
    """
    client = AIOKafkaClient(**connection)
    try:
        await client.bootstrap()
        if await _level(client) < LEVEL:
            await client.close()
            return None
        producer = TransactionProducer(
            client,
            transactional_id,
            transaction_ms=transaction_ms,
            request_ms=connection["request_timeout_ms"],
            batch_bytes=batch_bytes,
        )
        await producer.start()
    except BaseException:
        await client.close()
        raise
    return producer


async def _level(client: AIOKafkaClient) -> int:
    try:
        response = await client.send(client.get_random_node(), FeaturesRequest())
    except (NotImplementedError, IncompatibleBrokerVersion):  # brokers before 2.4
        return 0
    return feature_level(response, FEATURE)


def _after(sequence: int, count: int) -> int:
    """The sequence number after so many records; after the largest comes 0."""
    return (sequence + count) & 0x7FFFFFFF


def _fail(batch: Batch, error: BaseException) -> None:
    if not batch.arrived.done():
        batch.arrived.set_exception(error)
        batch.arrived.exception()  # the caller that waits for it gets it; there may be none

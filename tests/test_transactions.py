"""Transactions of Kafka's second version: what is asked, what is asked again, and what is given up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    IllegalOperation,
    InvalidTxnState,
    KafkaConnectionError,
    MessageSizeTooLargeError,
    ProducerClosed,
    ProducerFenced,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)
from aiokafka.protocol.struct import Struct
from aiokafka.protocol.types import CompactArray, CompactString, Int16, TaggedFields
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.structs import OffsetAndMetadata

from cxstream.kafka import coordinators, transactions
from cxstream.kafka.batch_writer import BatchWriter
from cxstream.kafka.coordinators import TransactionAbortableError, TransactionExpiredError
from cxstream.kafka.transaction_requests import FeaturesResponse, ProduceFields, ProduceRequest
from cxstream.kafka.transactions import TransactionProducer, opened
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.engine import Engine
from cxstream.scoring.state.seal import Seal
from cxstream.scoring.state.sealed_rows import Sealed, SealedRows, columns_of
from cxstream.topology import SNAPSHOTS, Topology
from cxstream.worker.clients import Kafka
from cxstream.worker.ownership import outbox as outboxes
from cxstream.worker.ownership.outbox import Outbox
from cxstream.worker.ownership.suspects import RowsRefusedError, Suspects

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.settings import Settings

PRODUCE, OFFSETS, END, INIT = 0, 28, 26, 22
A, B = TopicPartition("a", 0), TopicPartition("b", 0)


class Cluster:
    """Answers as it is told; without a word about a request, with yes.

    Attributes:
        asked: key, node and fields of each request.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, Any]] = []
        self.answers: dict[int, list[Any]] = {}
        self.leaders = {A: 1, B: 1}
        self.coordinators = [7, 8]
        self.looked_up: list[tuple[Any, str]] = []
        self.refreshed = 0
        self.epoch = 5
        self.closed = False
        self.cluster = SimpleNamespace(leader_for_partition=self.leaders.get)

    async def _wait_on_metadata(self, topic: str) -> set[int]:
        return {tp.partition for tp in self.leaders if tp.topic == topic}

    def force_metadata_update(self) -> asyncio.Future[bool]:
        self.refreshed += 1
        if None in self.leaders.values():
            self.leaders.update({A: 2, B: 2})
        done = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done

    async def coordinator_lookup(self, kind: Any, key: str) -> int:
        self.looked_up.append((kind, key))
        return self.coordinators[len(self.looked_up) % 2]

    async def ready(self, _node: int, **_: Any) -> bool:
        return True

    async def close(self) -> None:
        self.closed = True

    async def send(self, node: int, request: Any, **_: Any) -> Any:
        fields = request.build(type(request)._CLASSES[0])
        # What is sent can be read, and says the same.
        assert type(fields).decode(BytesIO(fields.encode())).encode() == fields.encode()
        self.asked.append((fields.API_KEY, node, fields))
        await asyncio.sleep(0)
        answers = self.answers.get(fields.API_KEY, [])
        answer = answers.pop(0) if answers else 0
        if isinstance(answer, BaseException):
            raise answer
        return getattr(self, f"_{fields.API_KEY}")(fields, answer)

    def _22(self, _: Any, code: int) -> Any:
        return SimpleNamespace(error_code=code, producer_id=3, producer_epoch=self.epoch)

    def _0(self, fields: Any, answer: Any) -> Any:
        codes = answer if isinstance(answer, dict) else dict.fromkeys(("a", "b"), answer)
        topics = [
            (topic, [(partition, codes[topic], 10, -1, 0, [], None, {}) for partition, _, _ in some], {})
            for topic, some, _ in fields.topics
        ]
        return SimpleNamespace(topics=topics)

    def _28(self, fields: Any, code: int) -> Any:
        return SimpleNamespace(
            topics=[(topic, [(p, code, {}) for p, *_ in some], {}) for topic, some, _ in fields.topics]
        )

    def _26(self, _: Any, code: int) -> Any:
        self.epoch += code == 0
        return SimpleNamespace(error_code=code, producer_id=3, producer_epoch=self.epoch)

    def keys(self) -> list[int]:
        return [key for key, *_ in self.asked]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    for module in (transactions, coordinators):
        monkeypatch.setattr(module, "BACKOFF_SECONDS", 0.001)
    return Cluster()


async def claimed(cluster: Any) -> TransactionProducer:
    producer = TransactionProducer(cluster, "t", transaction_ms=60_000, request_ms=1000, batch_bytes=1000)
    await producer.start()
    cluster.asked.clear()
    return producer


async def sent(producer: TransactionProducer, tp: TopicPartition, count: int = 1) -> Any:
    batch = producer.create_batch()
    batch.extend([(b"k", b"v")] * count, [], 1)
    return await producer.send_batch(batch, tp.topic, partition=tp.partition)


def offsets() -> dict[TopicPartition, OffsetAndMetadata]:
    return {TopicPartition("source", 4): OffsetAndMetadata(99, "")}


def numbering(records: bytes) -> tuple[int, int, int]:
    """The producer's id and epoch, and the first sequence number, of a batch on the wire."""
    read = int.from_bytes
    return read(records[43:51], "big"), read(records[51:53], "big"), read(records[53:57], "big")


async def test_a_transaction_takes_three_requests_and_the_next_one_has_an_epoch_of_its_own(
    cluster: Cluster,
) -> None:
    producer = await claimed(cluster)
    for epoch in (5, 6):
        await producer.begin_transaction()
        arrived = await asyncio.gather(sent(producer, A, 2), sent(producer, B))
        assert [(await each).offset for each in arrived] == [10, 10]
        await (await sent(producer, A))
        assert await (await sent(producer, A, 0)) is None
        await producer.send_offsets_to_transaction(offsets(), "group")
        await producer.commit_transaction()
        assert cluster.keys() == [PRODUCE, PRODUCE, OFFSETS, END]
        both, second, committed, end = (fields for *_, fields in cluster.asked)
        assert [[topic, numbering(some[0][1])] for topic, some, _ in both.topics] == [
            ["a", (3, epoch, 0)],
            ["b", (3, epoch, 0)],
        ]
        assert numbering(second.topics[0][1][0][1]) == (3, epoch, 2)
        assert (committed.group_id, committed.producer_epoch) == ("group", epoch)
        assert committed.topics == [("source", [(4, 99, -1, "", {})], {})]
        assert (end.producer_id, end.producer_epoch, end.committed) == (3, epoch, True)
        cluster.asked.clear()
    assert transactions._after(2**31 - 2, 3) == 1


@pytest.mark.parametrize(
    "trouble",
    [
        51,  # CONCURRENT_TRANSACTIONS
        6,  # NOT_LEADER_OR_FOLLOWER
        KafkaConnectionError(),
        RequestTimedOutError(),
    ],
)
async def test_a_batch_that_may_have_been_lost_is_sent_again_as_it_was(
    cluster: Cluster, trouble: Any
) -> None:
    producer = await claimed(cluster)
    await producer.begin_transaction()
    # Kafka knows its number if it was written before.
    cluster.answers[PRODUCE] = [trouble, 46]
    await (await sent(producer, A))
    (_, _, first), (_, _, again) = cluster.asked
    assert first.encode() == again.encode()


async def test_a_batch_without_a_leader_waits_for_one(cluster: Cluster) -> None:
    producer = await claimed(cluster)
    await producer.begin_transaction()
    cluster.leaders[A] = None  # type: ignore[assignment]
    await (await sent(producer, A))
    assert (cluster.asked[0][1], cluster.refreshed) == (2, 1)


async def test_a_refused_batch_fails_alone_and_its_transaction_is_never_committed(cluster: Cluster) -> None:
    producer = await claimed(cluster)
    await producer.begin_transaction()
    cluster.answers[PRODUCE] = [{"a": 10, "b": 0}]
    refused, arrived = await asyncio.gather(sent(producer, A), sent(producer, B))
    with pytest.raises(MessageSizeTooLargeError):
        await refused
    assert (await arrived).offset == 10
    for call in (
        producer.commit_transaction,
        producer.begin_transaction,
        lambda: producer.send_offsets_to_transaction(offsets(), "group"),
        lambda: sent(producer, B),
    ):
        # Not the refusal, which would be taken for one of other rows.
        with pytest.raises(IllegalOperation, match="has failed"):
            await call()
    assert cluster.keys() == [PRODUCE]


@pytest.mark.parametrize(
    ("key", "code", "error"),
    [
        (PRODUCE, 47, ProducerFenced),
        (PRODUCE, 90, ProducerFenced),
        (PRODUCE, 29, TopicAuthorizationFailedError),
        (PRODUCE, 120, TransactionAbortableError),
        (OFFSETS, 47, ProducerFenced),
        (OFFSETS, 90, ProducerFenced),
        (OFFSETS, 30, GroupAuthorizationFailedError),
        (END, 47, ProducerFenced),
        (END, 90, ProducerFenced),
        (END, 48, InvalidTxnState),
        (END, 53, TransactionalIdAuthorizationFailed),
    ],
)
async def test_what_asking_again_would_not_change_is_raised(
    cluster: Cluster, key: int, code: int, error: type[Exception]
) -> None:
    producer = await claimed(cluster)
    cluster.answers[key] = [code]
    await producer.begin_transaction()
    with pytest.raises(error):
        await _through(producer)
    assert cluster.keys().count(key) == 1
    assert key == END or cluster.keys()[-1] == key
    with pytest.raises(IllegalOperation):
        await producer.begin_transaction()


async def _through(producer: TransactionProducer) -> None:
    await (await sent(producer, A))
    await producer.send_offsets_to_transaction(offsets(), "group")
    await producer.commit_transaction()


@pytest.mark.parametrize("trouble", [14, 15, 16, 51, RequestTimedOutError(), KafkaConnectionError()])
@pytest.mark.parametrize("key", [INIT, OFFSETS, END])
async def test_a_coordinator_that_cannot_answer_now_is_asked_again(
    cluster: Cluster, key: int, trouble: Any
) -> None:
    cluster.answers[key] = [trouble, trouble]
    producer = TransactionProducer(cluster, "t", transaction_ms=60_000, request_ms=1000, batch_bytes=1000)  # type: ignore[arg-type]
    await producer.start()
    await producer.begin_transaction()
    await _through(producer)
    assert cluster.keys().count(key) == 3
    # One that has moved is looked for; one that is busy or loads is not.
    kind = CoordinationType.GROUP if key == OFFSETS else CoordinationType.TRANSACTION
    lookups = [each for each, _ in cluster.looked_up].count(kind)
    assert lookups == (1 if trouble in (14, 51) else 3)


@pytest.mark.parametrize("key", [PRODUCE, OFFSETS, END])
@pytest.mark.parametrize("late", [True, False])
async def test_a_transaction_that_took_too_long_is_not_said_to_be_another_producers(
    cluster: Cluster, key: int, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka answers alike where it has aborted a transaction for its age, and where another producer has come."""
    producer = await claimed(cluster)
    cluster.answers[key] = [47]
    await producer.begin_transaction()
    loop, begun = asyncio.get_running_loop(), producer._begun
    monkeypatch.setattr(loop, "time", lambda: begun + (61 if late else 59))
    with pytest.raises(ProducerFenced) as raised:
        await _through(producer)
    monkeypatch.undo()
    assert isinstance(raised.value, TransactionExpiredError) is late
    assert ("a transaction took 61 s; Kafka aborts one after 60 s" in str(raised.value)) is late


@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 300_000])
@pytest.mark.parametrize("topics", [[], ["a"], ["a", "\N{SNOWMAN}" * 50]])
def test_a_request_with_records_is_what_its_fields_say(topics: list[str], size: int) -> None:
    batches = {topic: [(n, bytes([n]) * size) for n in range(len(topic))] for topic in topics}
    fields = ProduceRequest("t", 1000, batches).build(ProduceFields)
    assert fields.encode() == Struct.encode(fields)


async def test_two_requests_that_time_out_together_both_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first closes the connection, which aiokafka's client then forgets, and the second does not find it there."""

    class Connection:
        def send(self, *_: Any, **__: Any) -> Any:
            async def lost() -> None:
                await asyncio.sleep(0)
                raise TimeoutError

            return lost()

        def close(self, reason: Any) -> None:
            del client._conns[1, ConnectionGroup.DEFAULT]

    async def ready(*_: Any, **__: Any) -> bool:
        return True

    client = AIOKafkaClient()
    client._conns[1, ConnectionGroup.DEFAULT] = Connection()
    monkeypatch.setattr(client, "ready", ready)
    found = await asyncio.gather(
        *(coordinators.send(client, 1, None) for _ in range(2)), return_exceptions=True
    )
    assert [type(each) for each in found] == [RequestTimedOutError] * 2
    client._conns[1, ConnectionGroup.DEFAULT] = None
    with pytest.raises(KeyError):
        await coordinators.send(client, 2, None)


async def test_nothing_is_committed_before_it_has_arrived_nor_without_a_transaction(cluster: Cluster) -> None:
    producer = await claimed(cluster)
    for call in (producer.commit_transaction, lambda: sent(producer, A)):
        with pytest.raises(IllegalOperation):
            await call()
    await producer.begin_transaction()
    arrived = await sent(producer, A)
    for call in (producer.commit_transaction, producer.begin_transaction, lambda: sent(producer, A)):
        with pytest.raises(IllegalOperation):
            await call()
    await arrived
    await producer.commit_transaction()
    assert cluster.keys() == [PRODUCE, END]


async def test_who_waits_hears_of_the_end(cluster: Cluster) -> None:
    producer = await claimed(cluster)
    await producer.begin_transaction()
    arrived = await sent(producer, A)
    await producer.stop()
    await producer.stop()
    with pytest.raises(ProducerClosed):
        await arrived
    with pytest.raises(ProducerClosed):
        await producer.commit_transaction()
    assert cluster.closed
    assert cluster.keys() == []


def features(**levels: int) -> FeaturesResponse:
    text = CompactString("utf-8")
    array = CompactArray(("name", text), ("highest", Int16), ("lowest", Int16), ("tags", TaggedFields))
    content = array.encode([(name.replace("_", "."), level, 1, {}) for name, level in levels.items()])
    return FeaturesResponse(0, [(0, 0, 12, {})], 0, {2: content} if levels else {})


@pytest.mark.parametrize(
    ("answer", "of_two"),
    [
        (features(kraft_version=1, transaction_version=2), True),
        (features(transaction_version=1), False),
        (features(group_version=2), False),
        (features(), False),
        (NotImplementedError("v0"), False),
    ],
)
async def test_older_clusters_have_no_such_transactions(
    monkeypatch: pytest.MonkeyPatch, answer: Any, of_two: bool
) -> None:
    class Client(Cluster):
        def __init__(self, **_: Any) -> None:
            super().__init__()

        async def bootstrap(self) -> None:
            made.append(self)

        def get_random_node(self) -> int:
            return 1

        def _18(self, *_: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

    made: list[Client] = []
    monkeypatch.setattr(transactions, "AIOKafkaClient", Client)
    found = await opened({"request_timeout_ms": 1}, "t", transaction_ms=1, batch_bytes=1)
    assert (found is not None, made[0].closed) == (of_two, not of_two)


@pytest.mark.broker
@pytest.mark.parametrize("level", [2, 99])
async def test_a_claim_fences_the_one_before_it_whichever_transactions_the_cluster_has(
    settings: Settings, topics: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, level: int
) -> None:
    topics(1)
    kafka: Callable[[], Kafka] = lambda: Kafka(settings, "claims")  # noqa: E731
    first = await kafka().claim(0)
    monkeypatch.setattr(transactions, "LEVEL", level)
    second = await kafka().claim(0)
    try:
        assert isinstance(first, TransactionProducer)
        assert isinstance(second, TransactionProducer) is (level == 2)
        for producer, last in ((second, 7), (first, 8)):
            at = {TopicPartition(settings.topology.touchpoints.name, 0): OffsetAndMetadata(last, "")}
            await producer.begin_transaction()
            try:
                await producer.send_offsets_to_transaction(at, "claims")
                await producer.commit_transaction()
            except ProducerFenced:
                assert producer is first
            else:
                assert producer is second
        async with kafka().reader(0) as reader:
            assert await reader.committed() == 7
    finally:
        for producer in (first, second):
            await kafka().release(producer)


async def test_rows_of_a_snapshot_are_sent_in_batches_that_no_object_was_made_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(b"k%d" % i, None if i % 3 else b"v" * i) for i in range(40)]
    outbox = Outbox(Topology(""))
    taken = Engine(ScoringParams(), {}).begin_snapshot()
    outbox.add_snapshot(replace(taken, rows=rows[:10], changed=[columns_of(rows[10:])]))
    outbox.encode()
    assert outbox.count(SNAPSHOTS.contract) == 41
    monkeypatch.setattr(outboxes, "BATCH_BYTES", 400)
    cluster.answers[PRODUCE] = [{"a": 0}] * 9
    producer = await claimed(cluster)
    await producer.begin_transaction()
    monkeypatch.setattr(BatchWriter, "extend", None)
    await outboxes.write(producer, SNAPSHOTS.contract, A, outbox.saved)
    batches = [fields.topics[0][1][0][1] for *_, fields in cluster.asked]
    assert len(batches) > 1
    assert max(map(len, batches[:-1])) <= 400
    found, first = [], 0
    for raw in batches:
        batch = DefaultRecordBatch(raw)
        assert batch.validate_crc()
        assert numbering(raw) == (3, 5, first)
        records = list(batch)
        found += [(each.key, each.value) for each in records]
        first += len(records)
    assert found == list(outbox.saved)


async def test_rows_of_a_snapshot_that_are_refused_come_in_ever_smaller_batches(cluster: Cluster) -> None:
    """Tombstones take a third of what a row may take at most: half of that was more than the batch, again and again."""
    rows = columns_of([(b"k%07d" % i, None) for i in range(20_000)])
    saved = SealedRows([Sealed(rows, Seal(0).trailers(rows))])
    refused, suspects = 0, Suspects(0)
    while refused < 9:
        cluster.answers[PRODUCE] = [10] if refused < 3 else []
        cluster.asked.clear()
        producer = await claimed(cluster)
        await producer.begin_transaction()
        limit = suspects.limits.get(SNAPSHOTS.contract)
        try:
            await outboxes.write(producer, SNAPSHOTS.contract, A, saved, limit=limit)
            break
        except RowsRefusedError as error:
            refused += suspects.learn(error)
    sizes = [len(fields.topics[0][1][0][1]) for *_, fields in cluster.asked]
    assert refused == 3
    assert len(sizes) == 8
    assert max(sizes) < 50_000

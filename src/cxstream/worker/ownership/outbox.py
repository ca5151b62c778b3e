"""Results that wait for their transaction, and the transaction."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation, KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import OffsetAndMetadata

from cxstream.kafka.batch_writer import BatchWriter
from cxstream.kafka.inflate import ZSTD
from cxstream.kafka.transactions import TransactionProducer
from cxstream.model.errors import BrokerError
from cxstream.scoring.codec.decode import TOO_LARGE
from cxstream.scoring.codec.rejection import Row, by_reference, copy, shortened, wire_bytes
from cxstream.scoring.codec.routing import FORWARDED_FROM
from cxstream.scoring.state.passed_over import PASSED_OVER
from cxstream.scoring.state.sealed_rows import SealedRows
from cxstream.topology import REJECTED, SCORED, SCORES, SNAPSHOTS, TOUCHPOINTS
from cxstream.worker.clients import BATCH_BYTES
from cxstream.worker.metrics.tally import FlushTally
from cxstream.worker.ownership.scored_rows import RECORD_BYTES, ScoredRows
from cxstream.worker.ownership.suspects import Cause, RowsRefusedError, is_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiokafka.structs import RecordMetadata

    from cxstream.scoring.codec.pseudonym import Pseudonyms
    from cxstream.scoring.engine import Outcome
    from cxstream.scoring.state.snapshot import Unsealed
    from cxstream.topology import Topology
    from cxstream.worker.clients import Producer

Pair = tuple[bytes | None, bytes | None]
Headers = list[tuple[str, bytes | None]]


class Unread(NamedTuple):
    """A record of which only the offset is known."""

    offset: int
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[()] = ()


# Fewer records are read, and rows encoded, in some 2 ms, which is sooner than a thread on a busy computer begins and
# hands over.
WORTH_A_THREAD = 2000
_NO_HEADERS: Headers = []
_BY_REFERENCE = {TOO_LARGE, *PASSED_OVER}
# Their records are unchanged copies, or repeat a schema, which matters in small records: large ones are compressed.
_REPEATING = {REJECTED.contract, TOUCHPOINTS.contract, SCORED.contract}
_BROKERS_CLOCK = 1  # the type of a timestamp: LogAppendTime
# What Kafka's format adds to a batch of records.
_BATCH_OVERHEAD = 61


class Forward(NamedTuple):
    """A misrouted record on its way to the partition of its customer.

    Attributes:
        record: aiokafka's.
        source: who sent it.
        headers: the record's own, and the position at which it was found.
    """

    record: Any
    source: str
    headers: Headers

    @property
    def size(self) -> int:
        """The most bytes that it takes in a batch."""
        return wire_bytes(self.record.key, self.record.value, self.headers)


class Limits(NamedTuple):
    """The largest batches that may be written, in bytes.

    Attributes:
        touchpoints: into cx.touchpoints.
        rejected: into cx.rejected.
    """

    touchpoints: int
    rejected: int


class Outbox:
    """The results that one flush of a partition commits, atomically.

    Attributes:
        records: source records that the results follow from.
        rejected_bytes: the most bytes that the rows of cx.rejected take in a batch.
        largest_rejected: ... and that the largest of them takes in a batch of its own.
        rows: keys and values to write, by the contract's name of the topic, in order; without those of cx.snapshots.
        saved: those of cx.snapshots.
        causes: the records that caused the rows of signals, receipts and of cx.rejected, by topic, in order.
        explanations: headers of the rows of cx.rejected.
        scored: the accepted touchpoints, for cx.scored.
        requests: what inlets have taken, for every partition of cx.touchpoints.
        latest_request: the latest time of theirs, ms UTC; None if there are none.
        forwards: misrouted records, for cx.touchpoints, by partition.
        taken: the offset after the last record of each side topic in here, by its name in the contract.
        committed: set when all of it is.
        tally: counts of the records.

    Args:
        topology: the topics of the installation.
        pseudonyms: names under which customers are known; None: their own.
        scored_bytes: the most bytes of a record of cx.scored.
    """

    def __init__(
        self, topology: Topology, pseudonyms: Pseudonyms | None = None, scored_bytes: int = RECORD_BYTES
    ) -> None:
        self._topology = topology
        self._touchpoints = topology.touchpoints.name
        self._pseudonyms = pseudonyms
        self.requests: list[Pair] = []
        self.request_causes: list[Cause] = []
        self.latest_request: int | None = None
        self.forwards: defaultdict[int, list[Forward]] = defaultdict(list)
        self.taken: dict[str, int] = {}
        self.committed = asyncio.Event()
        self.records = 0
        self._bytes = self.rejected_bytes = self.largest_rejected = 0
        self.rows: defaultdict[str, list[Pair]] = defaultdict(list)
        self.causes: defaultdict[str, list[Cause]] = defaultdict(list)
        self.explanations: list[Headers] = []
        self.scored = ScoredRows(scored_bytes)
        self.tally = FlushTally()
        self.saved: Sequence[Pair] = ()
        self._snapshot: Unsealed | None = None

    @property
    def held_bytes(self) -> int:
        """Size of the signals, of the rejected and forwarded records, and of the scored touchpoints."""
        return self._bytes + self.scored.held_bytes

    def add(self, outcome: Outcome, records: Sequence[Any], partition: int) -> None:
        """Take the signals, and the rejected and misrouted records of a batch.

        Args:
            outcome: the engine's outcome for it.
            records: the records of the batch, which rejected and misrouted ones are copied from byte for byte.
            partition: the partition they are of.
        """
        self.records += len(records)
        for row in outcome.rows:
            self.rows[row.topic].append((row.key, row.value))
            self.causes[row.topic].append(Cause(TOUCHPOINTS.contract, records[row.index].offset))
            self._bytes += len(row.value)
        if outcome.scored is not None:
            self.scored.add(outcome.scored, records)
        for rejection in outcome.rejected:
            place = (self._touchpoints, partition)
            self.add_rejected(records[rejection.index], place, rejection.reason, rejection.field)
        for stray in outcome.misrouted:
            record = records[stray.index]
            found = f"{self._touchpoints}-{partition}-{record.offset}".encode()
            headers = [*record.headers, (FORWARDED_FROM, found)]
            self.forwards[stray.partition].append(Forward(record, stray.source, headers))
            self._bytes += len(record.key or b"") + len(record.value or b"")

    def add_rejected(self, record: Any, place: tuple[str, int], reason: str, field: str) -> None:
        """Take a record that cannot be used: a copy, or a reference to one that is too large.

        Args:
            record: aiokafka's.
            place: its topic and partition.
            reason: why.
            field: path of the field.
        """
        unheld = getattr(record, "reference", None) is not None
        make = by_reference if unheld or reason in _BY_REFERENCE else copy
        self._add_rejected(
            make(record, place, reason, field, self._pseudonyms), self._cause(place[0], record.offset)
        )

    def add_unread(self, unread: Unread, place: tuple[str, int], reason: str) -> None:
        """Take a record of which only the position is known."""
        self._add_rejected(copy(unread, place, reason, ""), self._cause(place[0], unread.offset))

    def _cause(self, topic: str, offset: int) -> Cause:
        return Cause(topic.removeprefix(self._topology.prefix), offset)

    def _add_rejected(self, row: Row, cause: Cause) -> None:
        self.causes[REJECTED.contract].append(cause)
        self.rows[REJECTED.contract].append((row.key, row.value))
        self.explanations.append(row.headers)
        size = row.size
        self._bytes += size
        self.rejected_bytes += size
        self.largest_rejected = max(self.largest_rejected, size + _BATCH_OVERHEAD)

    def shorten(self, limit: int) -> None:
        """Replace copies that are too large for cx.rejected by references.

        Args:
            limit: the largest batch that it takes, in bytes.
        """
        if self._pseudonyms is not None or self.largest_rejected <= limit:
            return
        pairs = self.rows[REJECTED.contract]
        for i, (pair, headers) in enumerate(zip(pairs, self.explanations, strict=True)):
            row = Row(*pair, headers)
            if row.size + _BATCH_OVERHEAD > limit:
                key, value, self.explanations[i] = shortened(row)
                pairs[i] = key, value

    def exceeds(self, limit: int) -> bool:
        """Whether a misrouted record would be too large for a topic that takes batches of at most `limit` bytes."""
        return any(each.size + _BATCH_OVERHEAD > limit for some in self.forwards.values() for each in some)

    def refuse_too_large(self, limit: int, partition: int) -> None:
        """Reject misrouted records that would be too large with the header of their old position.

        Args:
            limit: the largest batch that cx.touchpoints takes, in bytes.
            partition: the partition they were found in.
        """
        for target, forwards in self.forwards.items():
            large = [each for each in forwards if each.size + _BATCH_OVERHEAD > limit]
            for each in large:
                self.add_rejected(each.record, (self._touchpoints, partition), TOO_LARGE, "")
                self.tally.refuse(each.source, TOO_LARGE)
            if large:
                self.forwards[target] = [each for each in forwards if each.size + _BATCH_OVERHEAD <= limit]

    def add_request(self, key: bytes, value: bytes, cause: Cause, time_ms: int) -> None:
        """Take what an inlet has translated, for cx.touchpoints.

        Args:
            key: the customer.
            value: the request.
            cause: its record of the side topic.
            time_ms: its time, ms UTC.
        """
        self.requests.append((key, value))
        self.request_causes.append(cause)
        self.latest_request = max(time_ms, time_ms if self.latest_request is None else self.latest_request)
        self._bytes += len(value)

    def close(self, clock: int | None = None) -> None:
        """Take no more touchpoints.

        Args:
            clock: of the partition, ms UTC, which cx.scored says where it has no touchpoints to say it; None: it need not.
        """
        self.scored.close()
        if clock is not None and not self.scored.rows:
            self.scored.beat(clock)

    def encode(self) -> None:
        """Make the records of cx.scored and of a snapshot, after `close`; another thread may do so.

        Raises:
            BatchError: touchpoints cannot be encoded, for what is in them.
        """
        if self._snapshot is not None:
            self.saved, self._snapshot = self._snapshot.sealed(), None
        self.scored.encode()
        if self.scored.values:
            self.rows[SCORED.contract] = [(None, value) for value in self.scored.values]

    def repeats(self, topic: str) -> bool:
        """Whether the rows of a topic, by its name in the contract, are worth compressing together."""
        return topic in _REPEATING and not (topic == SCORED.contract and self.scored.compressed)

    def headers(self, topic: str) -> Sequence[Headers]:
        """Headers of the rows of a topic, by its name in the contract; none if its rows have none."""
        if topic == REJECTED.contract:
            return self.explanations
        return self.scored.headers if topic == SCORED.contract else ()

    def add_cards(self, cards: list[tuple[bytes, bytes | None]]) -> None:
        """Take score cards; None for a customer who was removed."""
        if cards:
            self.rows[SCORES.contract] += cards

    def add_snapshot(self, snapshot: Unsealed) -> None:
        """Take the changed rows of the state; they become records when all is encoded."""
        self._snapshot = snapshot

    @property
    def rows_to_encode(self) -> int:
        """About how many rows `encode` has to make."""
        return self.scored.rows + (0 if self._snapshot is None else len(self._snapshot))

    def count(self, topic: str) -> int:
        """How many records wait for a topic, by its name in the contract."""
        return len(self.by_topic.get(topic, ()))

    @property
    def by_topic(self) -> dict[str, Sequence[Pair]]:
        """Keys and values to write, by the contract's name of the topic."""
        return {**self.rows, SNAPSHOTS.contract: self.saved} if self.saved else dict(self.rows)

    def __bool__(self) -> bool:
        return bool(self.records or self.rows or self.taken or self._snapshot is not None)


async def commit(
    producer: Producer,
    outbox: Outbox,
    *,
    topology: Topology,
    group: str,
    partition: int,
    partitions: int,
    offset: int,
    limits: Limits,
    smaller: Mapping[str, int] | None = None,
) -> None:
    """Write an outbox and the source offset after its records, in one transaction.

    After an error the transaction is left open; the next claim of the partition ends it.

    Args:
        producer: the producer with the claim.
        outbox: what to write; results go to the partition of the same number.
        topology: the topics of the installation.
        group: consumer group whose offset is committed.
        partition: number of the partition.
        partitions: how many there are.
        offset: first source offset that the results do not follow from.
        limits: the largest batches that may be written.
        smaller: the largest batches that some topics are to be sent, in bytes, where that is less.

    Raises:
        RowsRefusedError: Kafka refuses rows for what is in them.
        ProducerFenced: somebody else has claimed the partition.
        KafkaError: Kafka did not take it.
        BrokerError: the clock of a broker is behind an erasure request.
    """
    smaller = smaller or {}
    await producer.begin_transaction()
    largest = {REJECTED.contract: limits.rejected - _BATCH_OVERHEAD, **smaller}
    written = await asyncio.gather(
        *(
            write(
                producer,
                topic,
                (topology.name(topic), partition),
                rows,
                outbox.headers(topic),
                outbox.causes.get(topic, ()),
                largest.get(topic),
                compress=outbox.repeats(topic),
            )
            for topic, rows in outbox.by_topic.items()
        ),
        return_exceptions=True,
    )
    if errors := [each for each in written if isinstance(each, BaseException)]:
        # Who writes to a producer that has just given up hears only that there is no transaction; others know why.
        raise min(errors, key=_says_little)
    touchpoints = topology.touchpoints.name
    for target in range(partitions):
        forwards = outbox.forwards.get(target, [])
        rows = [(each.record.key, each.record.value) for each in forwards] + outbox.requests
        if rows:
            headers = [each.headers for each in forwards]
            causes = [
                Cause(TOUCHPOINTS.contract, each.record.offset) for each in forwards
            ] + outbox.request_causes
            most = min(
                limits.touchpoints - _BATCH_OVERHEAD, smaller.get(TOUCHPOINTS.contract, limits.touchpoints)
            )
            appended = await write(
                producer,
                TOUCHPOINTS.contract,
                (touchpoints, target),
                rows,
                headers,
                causes,
                most,
                compress=True,
            )
            _require_past(outbox.latest_request, appended, f"{touchpoints}-{target}")
    offsets = {TopicPartition(touchpoints, partition): OffsetAndMetadata(offset, "")}
    for topic, taken in outbox.taken.items():
        offsets[TopicPartition(topology.name(topic), partition)] = OffsetAndMetadata(taken, "")
    await producer.send_offsets_to_transaction(offsets, group)
    await producer.commit_transaction()
    outbox.committed.set()


def _says_little(error: BaseException) -> int:
    return 0 if isinstance(error, RowsRefusedError) else 1 + isinstance(error, IllegalOperation)


def _require_past(latest_request: int | None, appended: int | None, where: str) -> None:
    """Take back a request that is later than its place in the log: there it would be rejected, and so be lost.

    Args:
        latest_request: the latest time of those that were written, ms UTC.
        appended: when they were written by the broker's clock, ms UTC.
        where: topic and partition.

    Raises:
        BrokerError: it is later. When it is written again, the broker's clock has caught up.
    """
    if latest_request is None or appended is None or latest_request <= appended:
        return
    raise BrokerError(
        f"{where}: the clock of its broker is {latest_request - appended} ms behind an "
        "erasure request, which waits for it. Synchronize the clocks of brokers, workers and the clients that "
        "write requests"
    )


async def write(
    producer: Producer,
    topic: str,
    tp: tuple[str, int],
    rows: Sequence[Pair],
    headers: Sequence[Headers] = (),
    causes: Sequence[Cause] = (),
    limit: int | None = None,
    *,
    compress: bool = False,
    pause: Callable[[], Awaitable[None]] | None = None,
) -> int | None:
    """Send rows in order: one batch at a time, the next only when the one before has arrived.

    Args:
        producer: where to.
        topic: the topic as the contract calls it.
        tp: ... as it is called here, and its partition.
        rows: keys and values.
        headers: of the first rows; the others have none.
        causes: what the rows follow from; none where that is not one record each.
        limit: the largest batch, in bytes, where that may be less than the producer's.
        compress: whether the batches are compressed.
        pause: what to wait for between two batches.

    Returns:
        When the first of them came into the log by the broker's clock, ms UTC; None where it does not say so.

    Raises:
        RowsRefusedError: Kafka refuses rows for what is in them.
        KafkaError: Kafka did not take them.
    """
    earliest: int | None = None
    now = int(time.time() * 1000)

    async def send(batch: Any, first: int, stop: int) -> None:
        nonlocal earliest
        try:
            sent = await (await producer.send_batch(batch, tp[0], partition=tp[1]))
            earliest = _earlier(earliest, sent)
        except KafkaError as error:
            if not is_refusal(error):
                raise
            # By the measure of the limit: half of it must be less than the batch.
            size = written or sum(wire_bytes(*rows[i], _headers_of(i, headers)) for i in range(first, stop))
            found = causes[first:stop] if causes else [None] * (stop - first)
            raise RowsRefusedError(topic, found, size, error) from error

    if isinstance(rows, SealedRows) and not isinstance(producer, TransactionProducer):
        # aiokafka's batches take objects; to make one for each row as it is added would take longer.
        few = len(rows) < WORTH_A_THREAD
        rows = list(rows) if few else await asyncio.get_running_loop().run_in_executor(None, list, rows)
    first = written = 0
    while True:
        if isinstance(rows, SealedRows):
            most = BATCH_BYTES - _BATCH_OVERHEAD
            records = rows.records(first, most if limit is None else min(limit, most))
            batch, stop = producer.create_batch(), first + records.rows
            batch.fill(records.data, records.rows, now)
            written = len(records.data)
        else:
            fill = partial(_filled, _new_batch(producer, compress=compress), rows, first, headers, limit, now)
            if len(rows) - first < WORTH_A_THREAD:
                batch, stop = fill()
            else:
                batch, stop = await asyncio.get_running_loop().run_in_executor(None, fill)
        await send(batch, first, stop)
        first = stop
        if first >= len(rows):
            return earliest
        if pause is not None:
            await pause()


def _filled(
    batch: Any, rows: Sequence[Pair], first: int, headers: Sequence[Headers], limit: int | None, now: int
) -> tuple[Any, int]:
    """A batch with the rows from `first` on, as far as they fit, at least one; and where the next begins."""
    if isinstance(batch, BatchWriter):
        stop = len(rows) if limit is None else _within(rows, first, headers, limit)
        stop = first + batch.extend(rows[first:stop], headers[first:stop], now)
        batch.close()
        return batch, stop
    used = 0
    for index in range(first, len(rows)):
        key, value = rows[index]
        more = _headers_of(index, headers)
        size = wire_bytes(key, value, more) if limit is not None else 0
        if limit is not None and used > 0 and used + size > limit:
            return batch, index
        if batch.append(timestamp=now, key=key, value=value, headers=more) is None:
            return batch, index
        used += size
    return batch, len(rows)


def _within(rows: Sequence[Pair], first: int, headers: Sequence[Headers], limit: int) -> int:
    """Where the rows from `first` on end that take so many bytes at most; there is at least one."""
    used = 0
    for index in range(first, len(rows)):
        used += wire_bytes(*rows[index], _headers_of(index, headers))
        if used > limit and index > first:
            return index
    return len(rows)


def _new_batch(producer: Producer, *, compress: bool) -> Any:
    """A batch of a producer, compressed where it repeats what others have sent.

    They may have sent a kilobyte that stands for a megabyte, again and again.
    """
    if isinstance(producer, TransactionProducer):
        return producer.create_batch(compress=compress)
    batch = producer.create_batch()
    if compress and type(batch) is BatchBuilder:
        batch._builder = DefaultRecordBatchBuilder(  # noqa: SLF001 - a producer has one codec for all topics
            2,
            ZSTD,
            is_transactional=True,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=0,
            batch_size=BATCH_BYTES,
        )
    return batch


def _headers_of(index: int, headers: Sequence[Headers]) -> Headers:
    return headers[index] if index < len(headers) else _NO_HEADERS


def _earlier(first: int | None, sent: RecordMetadata | None) -> int | None:
    """The earlier of two times of the broker's clock, ms UTC."""
    if sent is None or sent.timestamp_type != _BROKERS_CLOCK:
        return first
    time = int(sent.timestamp)
    return time if first is None else min(first, time)

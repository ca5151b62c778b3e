"""Results that wait for their transaction, and the transaction."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.errors import IllegalOperation
from aiokafka.structs import OffsetAndMetadata

from cxstream.topology import FORGET, REJECTED, SCORES, SNAPSHOTS, TOUCHPOINTS
from cxstream.worker.telemetry.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from aiokafka import AIOKafkaProducer

    from cxstream.scoring.engine import Outcome
    from cxstream.scoring.pseudonym import Pseudonyms

Pair = tuple[bytes | None, bytes | None]
Headers = list[tuple[str, bytes | None]]

_NO_HEADERS: Headers = []


class Outbox:
    """What one flush of a partition will commit, all of it or nothing.

    Attributes:
        records: source records that the results follow from.
        bytes: size of the signals and rejected records.
        rows: keys and values to write, by topic, in order.
        explanations: headers of the rows of cx.rejected; no other row has any.
        requests: requests to be erased, for cx.touchpoints, by partition.
        requested: the offset of cx.forget after the last request in here; None where there is none.
        committed: set when all of it is.
        tally: what the records were, for those who count.

    Args:
        pseudonyms: names under which customers are known; None: their own.
    """

    def __init__(self, pseudonyms: Pseudonyms | None = None) -> None:
        self._pseudonyms = pseudonyms
        self.requests: defaultdict[int, list[Pair]] = defaultdict(list)
        self.requested: int | None = None
        self.committed = asyncio.Event()
        self.records = 0
        self.bytes = 0
        self.rows: defaultdict[str, list[Pair]] = defaultdict(list)
        self.explanations: list[Headers] = []
        self.tally = Tally()

    def add(self, outcome: Outcome, records: Sequence[Any], partition: int) -> None:
        """Take the signals and the rejected records of a batch.

        Args:
            outcome: what the engine made of it.
            records: the records of the batch, which rejected ones are copied from byte for byte.
            partition: the partition they are of.
        """
        self.records += len(records)
        for signal in chain(outcome.signals, outcome.receipts):
            self.rows[signal.topic].append((signal.key, signal.value))
            self.bytes += len(signal.value)
        for rejection in outcome.rejected:
            place = (TOUCHPOINTS.name, partition)
            self.add_rejected(records[rejection.index], place, rejection.reason, rejection.field)

    def add_rejected(self, record: Any, place: tuple[str, int], reason: str, field: str) -> None:
        """Take a record that cannot be used, byte for byte; under pseudonyms, where it lies instead.

        Args:
            record: aiokafka's.
            place: its topic and partition.
            reason: why.
            field: path of the field.
        """
        key, value, headers = record.key, record.value, list(record.headers)
        if self._pseudonyms is not None:
            key, value, headers = _pseudonym(self._pseudonyms, key), None, []
        self.rows[REJECTED.name].append((key, value))
        self.bytes += len(key or b"") + len(value or b"")
        explained = {"reason": reason, "field": field, "topic": place[0], "partition": place[1]}
        explained["offset"] = record.offset
        self.explanations.append(headers + [(name, str(said).encode()) for name, said in explained.items()])

    def add_request(self, partition: int, key: bytes, value: bytes) -> None:
        """Take a request to be erased, for a partition of cx.touchpoints."""
        self.requests[partition].append((key, value))
        self.bytes += len(value)

    def add_cards(self, cards: list[tuple[bytes, bytes | None]]) -> None:
        """Take score cards; None for a customer who is forgotten."""
        if cards:
            self.rows[SCORES.name] += cards

    def add_snapshot(self, rows: list[tuple[bytes, bytes | None]]) -> None:
        """Take the changed rows of the state, the marker last."""
        self.rows[SNAPSHOTS.name] += rows

    def count(self, topic: str) -> int:
        """How many records wait for a topic."""
        return len(self.rows[topic]) if topic in self.rows else 0

    def __bool__(self) -> bool:
        return bool(self.records or self.rows or self.requested is not None)


def _pseudonym(pseudonyms: Pseudonyms, key: bytes | None) -> bytes | None:
    return None if key is None else pseudonyms.of(key.decode(errors="surrogateescape")).encode()


async def commit(
    producer: AIOKafkaProducer, outbox: Outbox, *, group: str, partition: int, offset: int
) -> None:
    """Write an outbox and the source offset after the records it follows from, in one transaction.

    After an error the transaction is left open; the next claim of the partition ends it.

    Args:
        producer: the one who holds the claim.
        outbox: what to write; every record but requests goes to the partition of the same number.
        group: consumer group whose offset is committed.
        partition: number of the partition.
        offset: first source offset that the results do not follow from.

    Raises:
        ProducerFenced: somebody else has claimed the partition.
        KafkaError: Kafka did not take it.
    """
    await producer.begin_transaction()
    written = await asyncio.gather(
        *(
            _write(producer, topic, partition, rows, outbox.explanations if topic == REJECTED.name else ())
            for topic, rows in outbox.rows.items()
        ),
        return_exceptions=True,
    )
    if errors := [error for error in written if error is not None]:
        # Who writes to a producer that has just given up hears only that there is no transaction; others know why.
        raise min(errors, key=lambda error: isinstance(error, IllegalOperation))
    for target, requests in outbox.requests.items():
        await _write(producer, TOUCHPOINTS.name, target, requests, ())
    offsets = {TopicPartition(TOUCHPOINTS.name, partition): OffsetAndMetadata(offset, "")}
    if outbox.requested is not None:
        offsets[TopicPartition(FORGET.name, partition)] = OffsetAndMetadata(outbox.requested, "")
    await producer.send_offsets_to_transaction(offsets, group)
    await producer.commit_transaction()
    outbox.committed.set()


async def _write(
    producer: AIOKafkaProducer, topic: str, partition: int, rows: Sequence[Pair], headers: Sequence[Headers]
) -> None:
    """Send rows in order: one batch at a time, the next only when the one before has arrived."""
    now = int(time.time() * 1000)
    batch = producer.create_batch()
    for (key, value), more in zip_longest(rows, headers, fillvalue=_NO_HEADERS):
        if batch.append(timestamp=now, key=key, value=value, headers=more) is None:
            await (await producer.send_batch(batch, topic, partition=partition))
            batch = producer.create_batch()
            batch.append(timestamp=now, key=key, value=value, headers=more)
    await (await producer.send_batch(batch, topic, partition=partition))

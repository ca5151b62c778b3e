"""Results that wait for their transaction, and the transaction."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from itertools import zip_longest
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata

from cxstream.topology import REJECTED, SCORES, SNAPSHOTS, TOUCHPOINTS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from aiokafka import AIOKafkaProducer

    from cxstream.scoring.engine import Outcome

Pair = tuple[bytes | None, bytes | None]
Headers = list[tuple[str, bytes]]

_NO_HEADERS: Headers = []


class Outbox:
    """What one flush of a partition will commit, all of it or nothing.

    Attributes:
        records: source records that the results follow from.
        bytes: size of the signals and rejected records.
        rows: keys and values to write, by topic, in order.
        explanations: headers of the rows of cx.rejected; no other row has any.
    """

    def __init__(self) -> None:
        self.records = 0
        self.bytes = 0
        self.rows: defaultdict[str, list[Pair]] = defaultdict(list)
        self.explanations: list[Headers] = []

    def add(self, outcome: Outcome, records: Sequence[Any], partition: int) -> None:
        """Take the signals and the rejected records of a batch.

        Args:
            outcome: what the engine made of it.
            records: the records of the batch, which rejected ones are copied from byte for byte.
            partition: the partition they are of.
        """
        self.records += len(records)
        for signal in outcome.signals:
            self.rows[signal.topic].append((signal.key, signal.value))
            self.bytes += len(signal.value)
        for rejection in outcome.rejected:
            record = records[rejection.index]
            self.rows[REJECTED.name].append((record.key, record.value))
            self.bytes += len(record.key or b"") + len(record.value or b"")
            self.explanations.append(_explained(record, rejection.reason, rejection.field, partition))

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
        return bool(self.records or self.rows)


def _explained(record: Any, reason: str, field: str, partition: int) -> Headers:
    return [
        *record.headers,
        ("reason", reason.encode()),
        ("field", field.encode()),
        ("topic", TOUCHPOINTS.name.encode()),
        ("partition", b"%d" % partition),
        ("offset", b"%d" % record.offset),
    ]


async def commit(
    producer: AIOKafkaProducer, outbox: Outbox, *, group: str, partition: int, offset: int
) -> None:
    """Write an outbox and the source offset after the records it follows from, in one transaction.

    After an error the transaction is left open; the next claim of the partition ends it.

    Args:
        producer: the one who holds the claim.
        outbox: what to write; every record goes to the partition of the same number.
        group: consumer group whose offset is committed.
        partition: number of the partition.
        offset: first source offset that the results do not follow from.

    Raises:
        ProducerFenced: somebody else has claimed the partition.
        KafkaError: Kafka did not take it.
    """
    await producer.begin_transaction()
    await asyncio.gather(
        *(
            _write(producer, topic, partition, rows, outbox.explanations if topic == REJECTED.name else ())
            for topic, rows in outbox.rows.items()
        )
    )
    source = TopicPartition(TOUCHPOINTS.name, partition)
    await producer.send_offsets_to_transaction({source: OffsetAndMetadata(offset, "")}, group)
    await producer.commit_transaction()


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

"""The least that any program does between a touchpoint and a committed signal: it reads, and commits with the offset.

    python benchmarks/relay.py --kafka localhost:9092 --flush 0.05

`latency.py` measures it beside the worker, as a floor of what is possible on the computer: Kafka, its garbage collection,
the load, the reader and the processors are the same, and nothing is decoded, scored or saved. For each touchpoint of a
new customer it writes a record that names it to cx.friction, and commits once in --flush seconds for each partition,
these in turn, by the transactions of the worker.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
from collections import defaultdict

import aiokafka
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from cxstream.kafka.connection import connection
from cxstream.kafka.transactions import TransactionProducer, opened
from cxstream.settings import Settings
from cxstream.topology import FRICTION, TOUCHPOINTS

GROUP = "relay"
BATCH_BYTES = 900 << 10
# What the worker lets brokers gather for a fetch.
FETCH_BYTES, FETCH_SHARE = 256 << 10, 0.2


class Waiting:
    """What is to be committed, by partition: causes of signals, and the offset after the last record."""

    def __init__(self) -> None:
        self.causes: defaultdict[int, list[int]] = defaultdict(list)
        self.offsets: dict[int, int] = {}


async def read(consumer: aiokafka.AIOKafkaConsumer, waiting: Waiting) -> None:
    """Take what comes."""
    while True:
        for tp, records in (await consumer.getmany(timeout_ms=1000)).items():
            waiting.causes[tp.partition] += [each.offset for each in records if each.key.startswith(b"new")]
            waiting.offsets[tp.partition] = records[-1].offset + 1


async def write(producer: TransactionProducer, waiting: Waiting, partition: int) -> None:
    """Commit what waits of a partition."""
    offset = waiting.offsets.pop(partition, None)
    if offset is None:
        return
    causes = waiting.causes.pop(partition, [])
    rows = [(b"", b'{"data":{"cause":{"partition":%d,"offset":%d}}}' % (partition, each)) for each in causes]
    await producer.begin_transaction()
    batch = producer.create_batch()
    batch.extend(rows, (), int(time.time() * 1000))
    await (await producer.send_batch(batch, FRICTION.name, partition=partition))
    at = {TopicPartition(TOUCHPOINTS.name, partition): OffsetAndMetadata(offset, "")}
    await producer.send_offsets_to_transaction(at, GROUP)
    await producer.commit_transaction()


async def commit(
    producer: TransactionProducer, waiting: Waiting, partition: int, flush: float, phase: float
) -> None:
    """Commit a partition again and again, at times of its own."""
    while True:
        now = time.monotonic()
        await asyncio.sleep(flush - (now - phase) % flush)
        await write(producer, waiting, partition)


async def relay(bootstrap: str, flush: float) -> None:
    """Relay until it is ended."""
    arguments = connection(Settings(kafka=bootstrap))
    consumer = aiokafka.AIOKafkaConsumer(
        **arguments,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=max(5, round(flush * FETCH_SHARE * 1000)),
        fetch_min_bytes=FETCH_BYTES,
    )
    await consumer.start()
    waiting = Waiting()
    await consumer._client._wait_on_metadata(TOUCHPOINTS.name)  # noqa: SLF001 - partitions are not known before
    partitions = sorted(consumer.partitions_for_topic(TOUCHPOINTS.name))
    consumer.assign([TopicPartition(TOUCHPOINTS.name, each) for each in partitions])
    producers = [
        await opened(arguments, f"{GROUP}-{each}", transaction_ms=60_000, batch_bytes=BATCH_BYTES)
        for each in partitions
    ]
    gc.freeze()
    print("ready: ", flush=True)
    async with asyncio.TaskGroup() as group:
        group.create_task(read(consumer, waiting))
        for n, producer in zip(partitions, producers, strict=True):
            assert producer is not None
            group.create_task(commit(producer, waiting, n, flush, flush * n / len(partitions)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kafka", required=True, help="where Kafka is")
    parser.add_argument("--flush", type=float, default=0.05, help="seconds between commits of a partition")
    args = parser.parse_args()
    asyncio.run(relay(args.kafka, args.flush))


if __name__ == "__main__":
    main()

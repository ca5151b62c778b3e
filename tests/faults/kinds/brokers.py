"""Brokers that die."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import KafkaError

from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.topology import TOUCHPOINTS
from faults.run import PARTITIONS, Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from faults.run import Run

_ATTEMPTS = 50


async def _leader(run: Run, partition: int) -> int:
    async with administration(run.settings) as admin:
        [topic] = await admin.describe_topics([TOUCHPOINTS.name])
    return int(next(each["leader"] for each in topic["partitions"] if each["partition"] == partition))


async def _coordinator(run: Run, kind: int, key: str) -> int:
    client = AIOKafkaClient(**connection(run.settings))
    try:
        await client.bootstrap()
        for _ in range(_ATTEMPTS):
            try:
                return int(await client.coordinator_lookup(kind, key))
            except KafkaError:
                await asyncio.sleep(0.2)
    finally:
        await client.close()
    raise TimeoutError(f"nobody says who coordinates {key}")


async def _transaction_coordinator(run: Run, partition: int) -> int:
    key = f"{run.settings.worker.group}-{TOUCHPOINTS.name}-{partition}"
    return await _coordinator(run, CoordinationType.TRANSACTION, key)


async def _group_coordinator(run: Run, _: int) -> int:
    return await _coordinator(run, CoordinationType.GROUP, run.settings.worker.group)


async def _lose(run: Run, what: str, find: Callable[[Run, int], Awaitable[int]]) -> None:
    for _ in range(2):
        await run.moment(1, 3)
        number = await find(run, run.rng.randrange(PARTITIONS))
        node = run.cluster.nodes[number]
        await asyncio.to_thread(node.kill)
        run.over(f"broker {number} killed: {what}")
        await run.moment(2, 10)
        node.start()
        await node.answering()
        run.note(f"broker {number} is back")
        if not await run.cluster.healthy():
            raise TimeoutError("the brokers do not come in sync")
        await run.recovered()


async def leader(run: Run) -> None:
    """SIGKILL of a broker that leads a source partition."""
    await _lose(run, "leads a source partition", _leader)


async def transaction_coordinator(run: Run) -> None:
    """SIGKILL of the broker that keeps a partition's transactions."""
    await _lose(run, "coordinates a partition's transactions", _transaction_coordinator)


async def group_coordinator(run: Run) -> None:
    """SIGKILL of the broker that keeps the group."""
    await _lose(run, "coordinates the group", _group_coordinator)


async def two_of_three(run: Run) -> None:
    """SIGKILL of two brokers: nothing can be written, nor led, until one is back."""
    await run.moment(1, 3)
    lost = run.rng.sample(sorted(run.cluster.nodes), 2)
    for number in lost:
        await asyncio.to_thread(run.cluster.nodes[number].kill)
    run.note(f"brokers {lost} killed")
    await run.moment(5, 15)
    for number in lost:
        run.cluster.nodes[number].start()
    await asyncio.gather(*(run.cluster.nodes[number].answering() for number in lost))
    run.over(f"brokers {lost} are back")
    await run.recovered()


KINDS = (
    Kind("leader-kill", "the broker that leads a source partition dies", leader),
    Kind(
        "transaction-coordinator-kill", "the broker that keeps the transactions dies", transaction_coordinator
    ),
    Kind("group-coordinator-kill", "the broker that keeps the group dies", group_coordinator),
    Kind("two-brokers-down", "two of three brokers are away for a while", two_of_three),
)

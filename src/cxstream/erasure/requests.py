"""Sends erasure requests, waits for the receipts, and checks whether a score card is left."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import aiokafka
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from cxstream.erasure.score_cards import Erased, cards_left
from cxstream.kafka.admin import require_topics
from cxstream.kafka.connection import connection
from cxstream.kafka.producer import route
from cxstream.model.errors import BrokerError
from cxstream.model.forget import erasure_request
from cxstream.model.rfc3339 import rfc3339
from cxstream.topology import FORGET, FORGOTTEN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cxstream.settings import Settings

_POLL_MS = 500


class Left(NamedTuple):
    """What was missing at the end of the time.

    Attributes:
        receipts: how many are missing.
        cards: partition of each score card that is still in cx.scores.
    """

    receipts: int
    cards: list[int]


def request(customer: str) -> tuple[str, bytes]:
    """Id and value of a request to erase a customer now."""
    name = str(uuid.uuid4())
    now = rfc3339(time.time_ns() // 1_000_000)
    return name, erasure_request(name, "/cxstream/cli", customer, now)


async def forget(
    settings: Settings,
    customers: Sequence[str],
    wait_seconds: float,
    on_receipt: Callable[[dict[str, Any]], None],
) -> Left:
    """Request the erasure of customers.

    Args:
        settings: where Kafka is.
        customers: their ids.
        wait_seconds: how long to wait for the receipts and for the score cards to go; 0 does not wait.
        on_receipt: called with each receipt.

    Returns:
        The receipts that did not come, and the cards that were not removed, in time.

    Raises:
        BrokerError: Kafka does not answer, or does not take a request.
        TopicError: cx.forget or cx.forgotten is missing or is not what the contract says.
    """
    requests, _ = await require_topics(settings, [FORGET, FORGOTTEN])
    try:
        async with aiokafka.AIOKafkaConsumer(
            **connection(settings), isolation_level="read_committed"
        ) as consumer:
            tps = [TopicPartition(settings.topology.forgotten.name, p) for p in range(requests.partitions)]
            consumer.assign(tps)
            await consumer.seek_to_end(*tps)
            for tp in tps:  # all later records are after the requests
                await consumer.position(tp)
            asked = await _ask(settings, customers, requests.partitions)
            if not wait_seconds:
                return Left(0, [])
            deadline = time.monotonic() + wait_seconds
            erased = await _receive(consumer, asked, wait_seconds, on_receipt)
        cards = await cards_left(settings, erased, deadline) if erased else []
        return Left(len(asked), cards)
    except KafkaError as error:
        raise BrokerError(f"{settings.kafka}: {type(error).__name__}: {error}") from error


async def _ask(settings: Settings, customers: Sequence[str], partitions: int) -> dict[str, int]:
    """Write the requests; the partition of each one's customer, by its id."""
    asked = {}
    partition_numbers = route([customer.encode() for customer in customers], partitions)
    async with aiokafka.AIOKafkaProducer(**connection(settings), enable_idempotence=True) as producer:
        for customer, home in zip(customers, partition_numbers, strict=True):
            name, value = request(customer)
            topic = settings.topology.forget.name
            await producer.send_and_wait(topic, value, key=customer.encode(), partition=home)
            asked[name] = home
    return asked


async def _receive(
    consumer: aiokafka.AIOKafkaConsumer,
    asked: dict[str, int],
    seconds: float,
    on_receipt: Callable[[dict[str, Any]], None],
) -> dict[str, Erased]:
    """Wait for a receipt of each customer's own partition; returns where each was erased, by the digest in the receipt.

    Args:
        consumer: of cx.forgotten.
        asked: requests and partitions; those with a receipt are removed.
        seconds: how long to wait.
        on_receipt: called with each receipt, also of other partitions than the customer's.
    """
    erased: dict[str, Erased] = {}
    ids = frozenset(asked)
    try:
        async with asyncio.timeout(seconds):
            while asked:
                for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
                    for record in records:
                        receipt = json.loads(record.value)
                        name, cause = receipt["data"]["request"], receipt["data"]["cause"]
                        if name not in ids:
                            continue
                        on_receipt(receipt)
                        if asked.get(name) == cause["partition"]:
                            del asked[name]
                            erased[receipt["subject"]] = Erased(cause["partition"], cause["offset"])
    except TimeoutError:
        pass
    return erased

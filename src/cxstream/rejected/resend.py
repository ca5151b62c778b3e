"""Sends rejected records again, each at most once, with any number of senders, attempts and interruptions.

    claim GROUP-resend -> read cx.rejected to its end -> one transaction for some records:
                                                           cx.touchpoints   the events
                                                           cx.rejected      a marker for each record

A record counts as sent if it has a marker, which is committed together with the events or not at all. The claim
fences any other sender and aborts its open transaction. Only then the markers are read, up to the end of
the log as it is after the claim: behind a worker's open transaction a reader of committed records would not
see those that follow it, so that end is asked for without regard to transactions, and waited for.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import aiokafka
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced

from cxstream.kafka.acls import resend_id
from cxstream.kafka.admin import administration, look
from cxstream.kafka.claims import Ownership
from cxstream.kafka.connection import connection
from cxstream.kafka.reader import reading
from cxstream.logs.counted import counted
from cxstream.model.errors import BrokerError
from cxstream.rejected.listing import Filters, Listing, original, scan, scan_partition
from cxstream.rejected.plan import Plan, plan
from cxstream.rejected.record import Place, Rejection, marker_headers
from cxstream.scoring.codec.vocabulary import BUILT_IN, Vocabulary
from cxstream.topology import REJECTED, TOUCHPOINTS
from cxstream.worker.clients import Kafka

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings
    from cxstream.topology import Topology

# Records in one transaction: small enough that its events are soon seen by the worker.
CHUNK = 200
# A transaction that was cut off holds back the workers this long, where nobody claims before.
_TRANSACTION_MS = 30_000
_MAX_REQUEST = 64 * 1024 * 1024

Planner: TypeAlias = "Callable[[Rejection], Awaitable[Plan]]"
Status = Literal["would send", "sent", "refused", "sent before", "not found"]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one record.

    Attributes:
        place: which.
        status: what.
        message: why, or where to.
    """

    place: Place
    status: Status
    message: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent again.

    Attributes:
        filters: which records.
        fixer: makes structured events of a record; None to send records as they are.
        send: really send; without it nothing is written.
        vocabulary: the kinds of events that there are.
    """

    filters: Filters
    fixer: Callable[[Rejection], list[bytes]] | None = None
    send: bool = False
    vocabulary: Vocabulary = BUILT_IN


async def resend(
    settings: Settings,
    order: Order,
    on_result: Callable[[Result], None],
    on_progress: Callable[[int, int], None] = lambda *_: None,
    on_planned: Callable[[int, int], None] = lambda *_: None,
) -> None:
    """Send rejected records again, or say what would be sent.

    Args:
        settings: how to reach Kafka, and the group whose name the claim bears.
        order: what to do.
        on_result: is told what became of each record, once that is certain.
        on_progress: of reading cx.rejected.
        on_planned: is told how many records have been looked at, and of how many.

    Raises:
        BrokerError: Kafka does not answer or take it, or somebody else has begun to send.
        OwnershipError: the topics belong to another group than that of the settings.
        TopicError: a topic is missing.
    """
    async with reading(settings, [REJECTED, TOUCHPOINTS]) as reader:
        listing = await scan(reader, order.filters, on_progress)
        if not listing.open:
            _tell_others(order.filters, listing, on_result)
            return
        planner = await _planner(settings, order, reader)
        if not order.send:
            _tell_others(order.filters, listing, on_result)
            async for made in _plans(planner, listing, on_planned):
                on_result(_result(settings.topology, made, "would send"))
            return
        # Senders of two groups would not fence one another.
        await Ownership(settings).require_own()
        async with _claimed(settings) as producer:
            await _look_again(settings, reader, listing)
            _tell_others(order.filters, listing, on_result)
            await _send_each(settings.topology, planner, listing, on_result, on_planned, producer)


def _tell_others(filters: Filters, listing: Listing, on_result: Callable[[Result], None]) -> None:
    """Records that were asked for, and are not to be sent."""
    found = {each.place for each in listing.found}
    for place in sorted(found & listing.resent):
        on_result(Result(place, "sent before"))
    for place in sorted(filters.places - found):
        on_result(Result(place, "not found", "cx.rejected has no such record, or the filters leave it out"))


@asynccontextmanager
async def _claimed(settings: Settings) -> AsyncIterator[aiokafka.AIOKafkaProducer]:
    """The one producer of this installation that may send rejected records again."""
    producer = aiokafka.AIOKafkaProducer(
        **connection(settings),
        transactional_id=resend_id(settings.worker.group, settings.topology),
        transaction_timeout_ms=_TRANSACTION_MS,
        max_request_size=_MAX_REQUEST,
    )
    try:
        await producer.start()
        yield producer
    except ProducerFenced as error:
        raise BrokerError(
            "another 'cxstream rejected resend' has begun; this one has stopped, and what it had not yet "
            "confirmed is not sent"
        ) from error
    except KafkaError as error:
        raise BrokerError(
            f"{settings.kafka}: {error!r}; whether the last records were sent is not known: run the command again, "
            "it sends no record twice"
        ) from error
    finally:
        await Kafka(settings, settings.worker.group).release(producer)


async def _look_again(settings: Settings, reader: TopicReader, listing: Listing) -> None:
    """Read the markers that the first look could not see, up to the end of the log."""
    numbers = sorted({each.place.partition for each in listing.open})
    async with reading(settings, [REJECTED], "read_uncommitted") as everything:
        name = settings.topology.rejected.name
        ends = {p: (await everything.bounds(name, p))[1] for p in numbers}
    # The first look has found what is meant; of the second only the markers count.
    nothing = Filters(places=frozenset({Place("", 0, 0)}))
    for p, end in ends.items():
        await scan_partition(reader, p, (listing.ends[p], end), nothing, listing)


async def _send_each(
    topology: Topology,
    planner: Planner,
    listing: Listing,
    on_result: Callable[[Result], None],
    on_planned: Callable[[int, int], None],
    producer: aiokafka.AIOKafkaProducer,
) -> None:
    plans: list[Plan] = []
    async for made in _plans(planner, listing, on_planned):
        plans.append(made)
        if len(plans) == CHUNK:
            await _send(topology, producer, plans, on_result)
            plans = []
    await _send(topology, producer, plans, on_result)


async def _send(
    topology: Topology,
    producer: aiokafka.AIOKafkaProducer,
    plans: Sequence[Plan],
    on_result: Callable[[Result], None],
) -> None:
    good = [each for each in plans if each.events]
    if good:
        await _commit(topology, producer, good)
    for each in plans:
        on_result(_result(topology, each, "sent"))


async def _plans(
    planner: Planner, listing: Listing, on_planned: Callable[[int, int], None]
) -> AsyncIterator[Plan]:
    """What becomes of each record that has not been sent again, in order."""
    pending = sorted(listing.open, key=lambda each: each.place)
    for done, rejection in enumerate(pending, start=1):
        yield await planner(rejection)
        on_planned(done, len(pending))


async def _planner(settings: Settings, order: Order, reader: TopicReader) -> Planner:
    async with administration(settings) as admin:
        [touchpoints] = await look(admin, settings.topology, topics=[TOUCHPOINTS])
    max_bytes = int(touchpoints.config["max.message.bytes"])

    async def planner(rejection: Rejection) -> Plan:
        latest = round(time.time() * 1000 + settings.scoring.future_minutes * 60_000)
        made = plan(
            await original(reader, rejection),
            order.fixer,
            topology=settings.topology,
            partitions=touchpoints.partitions,
            latest_ms=latest,
            max_bytes=max_bytes,
            max_record_bytes=settings.scoring.max_record_bytes,
            vocabulary=order.vocabulary,
        )
        # What cx.rejected does not keep (a customer's own id, under pseudonyms) must not get there by the marker.
        return replace(made, rejection=rejection)

    return planner


def _where_to(topology: Topology, made: Plan) -> str:
    numbers = ", ".join(str(p) for p in sorted({ready.partition for ready in made.events}))
    count = len(made.events)
    return f"{counted(count, 'event')} to partition {numbers} of {topology.touchpoints.name}"


def _result(topology: Topology, made: Plan, done: Status) -> Result:
    place = made.rejection.place
    if not made.events:
        return Result(place, "refused", made.refusal)
    return Result(place, done, _where_to(topology, made))


async def _commit(topology: Topology, producer: aiokafka.AIOKafkaProducer, plans: Sequence[Plan]) -> None:
    """Events and markers in one transaction."""
    async with producer.transaction():
        sent = []
        try:
            for made in plans:
                for topic, record in _records(topology, made):
                    sent.append(await producer.send(topic, **record))
        except IllegalOperation:
            # A producer that has given up says only that there is no transaction; what was sent before knows why.
            await asyncio.gather(*sent)
            raise
        await asyncio.gather(*sent)


def _records(topology: Topology, made: Plan) -> Iterator[tuple[str, dict[str, Any]]]:
    """What goes to which topic for one rejected record."""
    for ready in made.events:
        yield (
            topology.touchpoints.name,
            {
                "value": ready.value,
                "key": ready.key,
                "partition": ready.partition,
                "headers": ready.headers,
            },
        )
    rejection = made.rejection
    # The Kafka client takes no record that has neither key nor value.
    marker = {"key": rejection.key or b"", "partition": rejection.place.partition}
    yield topology.rejected.name, {**marker, "value": None, "headers": marker_headers(rejection)}

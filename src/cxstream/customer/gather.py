"""Reads the records of one customer: from their partition of each topic, and from all of cx.touchpoints and cx.scores.

cx.scores        the latest card, searched from the end backwards
cx.churn-risk    the customer's signals of the last days
cx.friction      the same
cx.touchpoints   the customer's records of the last days, also in other partitions
cx.rejected      which of these the worker has rejected
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.customer.actions import Action, actions
from cxstream.customer.history import Touch, context_ms, refused, touches
from cxstream.customer.identity import Identity, identify
from cxstream.customer.strays import Stray, strays
from cxstream.kafka.reader import reading
from cxstream.model.parameters import DAY_MS
from cxstream.rules.log import standing
from cxstream.scoring.explain import Account, account

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings
    from cxstream.topology import Topic


@dataclass(slots=True)
class Found:
    """Everything about a customer in Kafka.

    Attributes:
        identity: who, and in which partition.
        card: the latest score card, a CloudEvent as it was read; None if there is none.
        elsewhere: other partitions of cx.scores with a card of the customer; there should be none.
        account: how the churn risk of the card comes about; None without a card.
        signals: the customer's signals, oldest first, CloudEvents as they were read.
        actions: the actions for the customer and their outcomes, oldest first.
        touches: the customer's records and the points of each, oldest first.
        earlier: how many more of the customer's records these days have.
        strays: the newest records of the customer in other partitions, and what became of each.
    """

    identity: Identity
    card: dict[str, Any] | None = None
    elsewhere: list[int] = field(default_factory=list)
    account: Account | None = None
    signals: list[dict[str, Any]] = field(default_factory=list)
    actions: list[Action] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    earlier: int = 0
    strays: list[Stray] = field(default_factory=list)


async def gather(
    settings: Settings,
    customer: str,
    *,
    days: float,
    limit: int,
    everywhere: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Found:
    """Read everything about a customer.

    Args:
        settings: how to reach Kafka; its rules hold if the log has none.
        customer: the customer's id.
        days: how far back signals and records are read, by Kafka's timestamps.
        limit: most signals, records and actions to return; the newest are returned.
        everywhere: search the other partitions for touchpoints and cards, too.
        on_progress: called with the topic, the offsets read, and their number.

    Raises:
        BrokerError: Kafka does not answer.
        TopicError: a topic is missing.
        InputError: the id is invalid.
    """
    since = round(time.time() * 1000 - days * DAY_MS)
    topics = settings.topology
    wanted = [
        topics.touchpoints,
        topics.scores,
        topics.churn_risk,
        topics.friction,
        topics.rejected,
        topics.snapshots,
    ]
    async with reading(settings, wanted) as reader:
        who = identify(settings, customer, reader.partitions[topics.touchpoints.name])
        found = Found(who)
        # The points and the risk are explained by the rules that are in force now.
        rules = await standing(settings, reader, who.partition)
        settings = settings.with_rules(rules.rules.rules)
        latest = await reader.latest(
            topics.scores.name,
            who.partition,
            who.subject.encode(),
            lambda done, total: on_progress(topics.scores.name, done, total),
        )
        if latest is not None and latest.value is not None:
            found.card = msgspec.json.decode(latest.value)
            found.account = account(settings.scoring, found.card["data"])
        if everywhere:
            found.elsewhere = await _elsewhere(reader, topics.scores.name, who, on_progress)
        for topic in (topics.churn_risk, topics.friction):
            records = await _his(reader, topic, who.partition, who.subject, since, on_progress)
            found.signals += [msgspec.json.decode(each.value) for each in records]
        found.signals.sort(key=lambda signal: signal["time"])
        start = since - context_ms(settings)
        records = await _his(reader, topics.touchpoints, who.partition, who.id, start, on_progress)
        if everywhere:
            found.strays = (await strays(reader, who, since, records, on_progress))[-limit:]
        rejections = await _his(reader, topics.rejected, who.partition, who.subject, start, on_progress)
    touchpoints = topics.touchpoints.name
    shown = sum(record.timestamp >= since for record in records)
    all_of_them = touches(settings, who.id, records, refused(rejections, touchpoints))[len(records) - shown :]
    first = len(records) - shown
    found.actions = actions(records[first:], all_of_them, found.signals, touchpoints)[-limit:]
    found.signals = found.signals[-limit:]
    found.touches = all_of_them[-limit:]
    found.earlier = len(all_of_them) - len(found.touches)
    return found


async def _elsewhere(
    reader: TopicReader, topic: str, who: Identity, on_progress: Callable[[str, int, int], None]
) -> list[int]:
    """Other partitions than the customer's that have a card of theirs."""
    found = []
    for partition in range(reader.partitions[topic]):
        if partition != who.partition:
            card = await reader.latest(
                topic,
                partition,
                who.subject.encode(),
                lambda done, total: on_progress(topic, done, total),
            )
            if card is not None and card.value is not None:
                found.append(partition)
    return found


async def _his(
    reader: TopicReader,
    topic: Topic,
    partition: int,
    subject: str,
    since_ms: int,
    on_progress: Callable[[str, int, int], None],
) -> list[Any]:
    """A customer's records since a time, by Kafka's timestamp."""
    key = subject.encode()
    start = await reader.offset_at(topic.name, partition, since_ms)
    _, end = await reader.bounds(topic.name, partition)
    found: list[Any] = []

    def tell(at: int) -> None:
        on_progress(topic.name, at - start, end - start)

    async for records in reader.read(topic.name, partition, start, end, on_offset=tell):
        found += [record for record in records if record.key == key]
    return found

"""Writes a set of rules to every partition of cx.touchpoints, in one transaction.

Workers reject a control record that is later than its append to the log, and pass over a set that is not later than the
one in force. So a set is dated by this computer's clock; if the broker's is behind it, which the answers of the first
attempt say, that attempt is aborted and the set is dated by the broker's.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import aiokafka
import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced

from cxstream.kafka.acls import rules_id
from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.kafka.groups import patiently
from cxstream.model.errors import BrokerError, InputError
from cxstream.model.kinds import RULES_TYPE
from cxstream.model.rfc3339 import rfc3339

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from cxstream.model.rules import Rules
    from cxstream.rules.log import Standing
    from cxstream.scoring.codec.signatures import Authority
    from cxstream.settings import Settings

SOURCE = "/cxstream/rules"
# A transaction that was cut off holds back the workers this long.
_TRANSACTION_MS = 30_000
_ATTEMPTS = 3
# How much the two clocks may drift apart between two attempts.
_SLACK_MS = 100
_POLL_SECONDS = 0.2


class Written(NamedTuple):
    """A set that is in the log.

    Attributes:
        id: of its records, the same in every partition.
        time: of its records, ms UTC.
        offsets: its offset in each partition.
    """

    id: str
    time: int
    offsets: list[int]


def event(rules: Rules, name: str, source: str, time_ms: int, authority: Authority | None) -> bytes:
    """A record of rules, signed if there is a key."""
    said: dict[str, Any] = {
        "specversion": "1.0",
        "id": name,
        "source": source,
        "type": RULES_TYPE,
        "time": rfc3339(time_ms),
        "data": msgspec.json.decode(rules.data),
    }
    return msgspec.json.encode(said if authority is None else authority.sign(said))


@asynccontextmanager
async def writing(settings: Settings) -> AsyncIterator[aiokafka.AIOKafkaProducer]:
    """The one producer of this installation that may write rules.

    Raises:
        BrokerError: Kafka does not answer, or another has begun.
    """
    producer = aiokafka.AIOKafkaProducer(
        **connection(settings),
        transactional_id=rules_id(settings.worker.group, settings.topology),
        transaction_timeout_ms=_TRANSACTION_MS,
    )
    try:
        await producer.start()
        yield producer
    except ProducerFenced as error:
        raise BrokerError(
            "another 'cxstream rules apply' has begun, and this one has stopped: 'cxstream rules show' says which set is "
            "in force"
        ) from error
    except KafkaError as error:
        raise BrokerError(
            f"{settings.kafka}: {error!r}; whether the set was written is not known: 'cxstream rules show' says which is "
            "in force"
        ) from error
    finally:
        await producer.stop()


async def write(
    settings: Settings,
    producer: aiokafka.AIOKafkaProducer,
    rules: Rules,
    before: Sequence[Standing],
    source: str = SOURCE,
) -> Written:
    """Write a set to every partition, or to none.

    Args:
        settings: of the installation.
        producer: see `writing`.
        rules: the set.
        before: what is in force in each partition.
        source: who writes it.

    Raises:
        BrokerError: the set in force is from the broker's future, or the broker's clock is not known.
        InputError: the record is too large for the topic.
    """
    name, authority = str(uuid.uuid4()), settings.control.authority()
    latest = max((each.rules.time for each in before if each.rules.time is not None), default=None)
    partitions = [each.partition for each in before]
    now = round(time.time() * 1000)
    for _ in range(_ATTEMPTS):
        said = now if latest is None else max(now, latest + 1)
        value = event(rules, name, source, said, authority)
        offsets, appended = await _attempt(settings, producer, value, partitions, said)
        if said <= appended:
            return Written(name, said, offsets)
        if latest is not None and appended <= latest:
            raise BrokerError(
                f"the set in force is of {rfc3339(latest)}, and the broker's clock says {rfc3339(appended)}: a new set "
                "must be later than the one in force, and not later than the clock: wait until then, or correct the clock"
            )
        now = appended - _SLACK_MS
    raise BrokerError(
        f"the clocks of the brokers of {settings.kafka} differ from each other, or jump: nothing was written; correct "
        "them (NTP) and try again"
    )


async def _attempt(
    settings: Settings,
    producer: aiokafka.AIOKafkaProducer,
    value: bytes,
    partitions: Sequence[int],
    said: int,
) -> tuple[list[int], int]:
    """Write a record to the partitions, and commit it unless a broker's clock is before its time.

    Returns:
        The offsets, and the earliest clock of a broker at the append, ms UTC.
    """
    topic = settings.topology.touchpoints.name
    await producer.begin_transaction()
    try:
        sent = [await producer.send(topic, value, partition=p, timestamp_ms=None) for p in partitions]
        answers = await asyncio.gather(*sent)
    except MessageSizeTooLargeError as error:
        await producer.abort_transaction()
        raise InputError(
            f"the set takes {len(value):,} bytes, more than {topic} takes: shorten the descriptions of your own kinds"
        ) from error
    except BaseException:
        await producer.abort_transaction()
        raise
    appended = min(answer.timestamp for answer in answers)
    if said <= appended:
        await producer.commit_transaction()
    else:
        await producer.abort_transaction()
    return [answer.offset for answer in answers], appended


async def followed(settings: Settings, written: Written, seconds: float) -> list[int]:
    """Wait until the workers have read a set; returns the partitions in which they have not.

    Args:
        settings: of the installation; the group is that of the workers.
        written: the set.
        seconds: the most time to wait.
    """
    topic, deadline = settings.topology.touchpoints.name, time.monotonic() + seconds
    wanted = [TopicPartition(topic, p) for p in range(len(written.offsets))]
    async with administration(settings) as admin:
        while True:
            found = await patiently(
                lambda: admin.list_consumer_group_offsets(settings.worker.group, partitions=wanted)
            )
            behind = [
                tp.partition
                for tp in wanted
                if (at := found.get(tp)) is None or at.offset <= written.offsets[tp.partition]
            ]
            if not behind or time.monotonic() > deadline:
                return behind
            await asyncio.sleep(_POLL_SECONDS)

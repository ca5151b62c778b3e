"""Takes a partition over from another group.

    take the former owners' transactional ids      they cannot commit any more
    read what they have committed                  the work continues from there
    first transaction                              this group's offset, and a marker that names it as the owner

Until that transaction the marker names the former owner, so the next worker after a crash repeats all
steps. A worker that was replaced meanwhile has lost its own transactional id, and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from cxstream.kafka.claims import Ownership
from cxstream.model.errors import BrokerError, SnapshotError
from cxstream.worker.clients import Kafka
from cxstream.worker.ownership.requests import INLETS
from cxstream.worker.ownership.restore import furthest, last_marker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cxstream.kafka.claims import Claim
    from cxstream.settings import Settings
    from cxstream.worker.clients import Reader

# The partition with which the rights for a takeover are tested.
_FIRST_PARTITION = 0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Inheritance:
    """Offsets that former owners of a partition have committed; None if there are none, or none that matter.

    Attributes:
        touchpoints: of cx.touchpoints.
        taken: of the side topics of inlets, by their names in the contract.
    """

    touchpoints: int | None = None
    taken: Mapping[str, int] = field(default_factory=dict)


NOTHING = Inheritance()


async def succeed(
    settings: Settings, kafka: Kafka, claim: Claim, partition: int, reader: Reader
) -> Inheritance:
    """Fence the former owners of a partition, and read their committed offsets.

    Call it after the partition and its ownership have been claimed.

    Args:
        settings: the topics.
        kafka: creates the clients.
        claim: of this group.
        partition: number of the partition.
        reader: of the partition, for this group.

    Raises:
        KafkaError: Kafka does not answer, or does not permit it.
    """
    if not claim.former:
        return NOTHING
    topics = settings.topology
    try:
        marker = await last_marker(reader, topics.snapshots.name, settings.snapshot_secrets())
    except SnapshotError:
        marker = None
    if marker is not None and marker.owner == claim.owner:
        return NOTHING
    for group in claim.former:
        await kafka.fence(group, partition)
    touchpoints: list[int | None] = []
    # This group may have taken requests already without saving the state since.
    side = [topics.named(inlet.topic) for inlet in INLETS]
    taken: dict[str, list[int | None]] = {
        topic.contract: [await reader.committed(topic.name)] for topic in side
    }
    for group in claim.former:
        async with kafka.reader(partition, group) as theirs:
            touchpoints.append(await theirs.committed(topics.touchpoints.name))
            for topic in side:
                taken[topic.contract].append(await theirs.committed(topic.name))
    furthest_taken = {topic: furthest(*offsets) for topic, offsets in taken.items()}
    found = Inheritance(
        furthest(*touchpoints),
        {topic: offset for topic, offset in furthest_taken.items() if offset is not None},
    )
    log.info("partition taken over", partition=partition, former=claim.former, offset=found.touchpoints)
    return found


async def take_over(settings: Settings, former: str) -> Claim:
    """Claim the topics in place of another group, and fence it; returns the claim that counts afterwards.

    If this is interrupted after the claim, the workers of the new owner do the rest, partition by partition.

    Args:
        settings: how to reach Kafka, the topics, and the group that is to own them.
        former: the group that owns them now.

    Raises:
        OwnershipError: they belong to another group, or another claim was faster.
        BrokerError: Kafka does not answer, or does not permit it.
        TopicError: a topic is missing.
    """
    kafka = Kafka(settings, settings.worker.group)
    ownership = Ownership(settings)
    await ownership.require_owner(former)
    try:
        count = await kafka.partitions()
        if former != settings.worker.group:
            # Without the right to fence it, do not claim: then no group could score.
            await kafka.fence(former, _FIRST_PARTITION)
            async with kafka.reader(_FIRST_PARTITION, former) as theirs:
                await theirs.committed()
        claim = await ownership.take_over(former)
        for partition in range(count):
            for group in claim.former:
                await kafka.fence(group, partition)
    except KafkaError as error:
        raise BrokerError(
            f"{settings.kafka}: {type(error).__name__}: {error}; a takeover needs the rights of both groups: "
            f"'cxstream topics --acls --role worker --group {former}' prints those of the former"
        ) from error
    return claim

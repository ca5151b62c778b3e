"""Check of ownership: which group the topics belong to, and who else has worked on them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from cxstream.doctor.finding import Finding, Patient, error, ok, warning
from cxstream.kafka.admin import partition_counts
from cxstream.kafka.claims import Ownership
from cxstream.kafka.groups import group_of, patiently
from cxstream.model.errors import OwnershipError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cxstream.kafka.claims import Claim


class Other(NamedTuple):
    """A group beside the owner that has committed offsets of cx.touchpoints.

    Attributes:
        name: of the group.
        members: how many of its members have partitions.
        wrote: it has, or lately had, a transactional id as workers have it; other programs only read.
    """

    name: str
    members: int
    wrote: bool


async def owner(patient: Patient) -> AsyncIterator[Finding]:
    """Which group owns the topics, whether it is that of the settings, and which others have committed offsets."""
    ownership = Ownership(patient.settings)
    claim = await ownership.standing()
    owning = patient.settings.worker.group if claim is None else claim.group
    if claim is None:
        yield ok(
            f"the topics belong to nobody yet; the first worker claims them for its group, here {owning}"
        )
    else:
        yield await _whose(ownership, claim)
    for other in await _others(patient, owning):
        yield _judge(other, owning)


async def _whose(ownership: Ownership, claim: Claim) -> Finding:
    try:
        await ownership.require_own()
    except OwnershipError as problem:
        return error(str(problem), f"ask with the group that owns them: CXSTREAM_WORKER__GROUP={claim.group}")
    former = f", taken over from {', '.join(claim.former)}" if claim.former else ""
    return ok(f"group {claim.group} owns the topics on this cluster (epoch {claim.epoch}{former})")


def _judge(other: Other, owning: str) -> Finding:
    said = f"group {other.name} has committed offsets of cx.touchpoints, beside the owner {owning}"
    if not other.wrote:
        return ok(f"{said}, and only reads")
    if other.members:
        return error(
            f"{said}, and {other.members} of its workers have partitions",
            "stop them: workers of an earlier version write each signal a second time, others stop at their next commit",
        )
    return warning(
        f"{said}, and had workers",
        f"if they are gone for good: kafka-consumer-groups --delete --group {other.name}",
    )


async def _others(patient: Patient, owning: str) -> list[Other]:
    """The other groups, as far as we may see them."""
    admin, topic = patient.kafka.admin, patient.settings.topology.touchpoints.name
    tps = [TopicPartition(topic, p) for p in range((await partition_counts(admin)).get(topic, 0))]
    if not tps:
        return []
    found = []
    for name, *_ in sorted(await admin.list_consumer_groups()):
        if name == owning:
            continue
        try:
            offsets = await patiently(partial(admin.list_consumer_group_offsets, name, partitions=tps))
            if any(each.offset >= 0 for each in offsets.values()):
                members = (await group_of(admin, name, topic)).members
                working = sum(bool(member.partitions) for member in members)
                found.append(Other(name, working, await _wrote(patient, f"{name}-{topic}-0")))
        except GroupAuthorizationFailedError:
            continue
    return found


async def _wrote(patient: Patient, transactional_id: str) -> bool:
    """Whether Kafka knows a transactional id; where it does not tell, it is taken for known."""
    try:
        return not (await patient.kafka.transaction(transactional_id))["error_code"]
    except (KafkaError, NotImplementedError):
        return True

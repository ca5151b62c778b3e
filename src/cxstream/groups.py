"""Consumer groups: who is in them, and who owns which partition of cx.touchpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import for_code

from cxstream.topology import TOUCHPOINTS

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group.

    Attributes:
        id: the group's name for it.
        client: its client id.
        host: where it connects from.
        partitions: of cx.touchpoints, those it owns.
    """

    id: str
    client: str
    host: str
    partitions: frozenset[int]

    def __str__(self) -> str:
        return f"{self.id} at {self.host}"


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group.

    Attributes:
        state: as Kafka calls it: Stable, Empty, PreparingRebalance, ...
        members: who is in it.
    """

    state: str
    members: list[Member]

    def owner(self, partition: int) -> Member | None:
        """Who owns a partition."""
        return next((member for member in self.members if partition in member.partitions), None)


async def group_of(admin: AIOKafkaAdminClient, name: str) -> Group:
    """The members of a group and what each owns.

    Raises:
        KafkaError: Kafka does not say.
    """
    [answer] = await admin.describe_consumer_groups([name])
    [described] = answer.to_object()["groups"]
    if described["error_code"]:
        raise for_code(described["error_code"])(f"group {name}")
    return Group(described["state"], [_member(each) for each in described["members"]])


def _member(described: dict[str, Any]) -> Member:
    raw = described["member_assignment"]
    owned: set[int] = set()
    if raw:
        for topic, partitions in ConsumerProtocolMemberAssignment.decode(raw).assignment:
            if topic == TOUCHPOINTS.name:
                owned.update(partitions)
    host = described["client_host"].removeprefix("/")
    return Member(described["member_id"], described["client_id"], host, frozenset(owned))

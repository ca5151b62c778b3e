"""Consumer groups: their members, and the partitions of cx.touchpoints that each owns."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
    for_code,
)

from cxstream.kafka.member_address import address_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiokafka.admin import AIOKafkaAdminClient

T = TypeVar("T")

_WAIT = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)
NOT_YET = frozenset(error.errno for error in _WAIT)
"""Kafka's error codes while a group has no coordinator yet."""
_PATIENCE_SECONDS, _PAUSE_SECONDS = 10.0, 0.2


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group.

    Attributes:
        id: the group's name for it.
        client: its client id.
        host: where it connects from.
        partitions: of cx.touchpoints, those it owns.
        url: of its web server, from its group metadata; "" if there is none.
    """

    id: str
    client: str
    host: str
    partitions: frozenset[int]
    url: str = ""

    def __str__(self) -> str:
        return f"{self.id} at {self.host}"


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group.

    Attributes:
        state: Kafka's name of it: Stable, Empty, PreparingRebalance, ...
        members: its members.
    """

    state: str
    members: list[Member]

    def owner(self, partition: int) -> Member | None:
        """The owner of a partition."""
        return next((member for member in self.members if partition in member.partitions), None)


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The response of a coordinator, which a Kafka that has just started may not have yet.

    Raises:
        KafkaError: any other error of `ask`, or no coordinator in time.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return await ask()
        except _WAIT:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)


async def group_of(admin: AIOKafkaAdminClient, name: str, topic: str) -> Group:
    """The members of a group and what each owns.

    Args:
        admin: a connected client.
        name: of the group.
        topic: the name of cx.touchpoints.

    Raises:
        KafkaError: Kafka does not answer.
    """

    async def ask() -> dict[str, Any]:
        [answer] = await admin.describe_consumer_groups([name])
        [found] = answer.to_object()["groups"]
        if found["error_code"]:
            raise for_code(found["error_code"])(f"group {name}")
        described: dict[str, Any] = found
        return described

    described = await patiently(ask)
    return Group(described["state"], [_member(each, topic) for each in described["members"]])


def _member(described: dict[str, Any], touchpoints: str) -> Member:
    raw = described["member_assignment"]
    owned: set[int] = set()
    if raw:
        for topic, partitions in ConsumerProtocolMemberAssignment.decode(raw).assignment:
            if topic == touchpoints:
                owned.update(partitions)
    host = described["client_host"].removeprefix("/")
    url = address_in(described["member_metadata"])
    return Member(described["member_id"], described["client_id"], host, frozenset(owned), url)

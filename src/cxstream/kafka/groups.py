"""Consumer groups: who is in them, and who owns which partition of cx.touchpoints."""

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
"""Kafka's error codes for a coordinator that it has yet to appoint."""
_PATIENCE_SECONDS, _PAUSE_SECONDS = 10.0, 0.2


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group.

    Attributes:
        id: the group's name for it.
        client: its client id.
        host: where it connects from.
        partitions: of cx.touchpoints, those it owns.
        url: of its web server, as it has told the group; "" where it has told none.
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
        state: as Kafka calls it: Stable, Empty, PreparingRebalance, ...
        members: who is in it.
    """

    state: str
    members: list[Member]

    def owner(self, partition: int) -> Member | None:
        """Who owns a partition."""
        return next((member for member in self.members if partition in member.partitions), None)


async def patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """The answer of a coordinator, which a Kafka that has just started may need a moment to appoint.

    Raises:
        KafkaError: as `ask` does, for anything else, and when the patience is at its end.
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
        topic: what cx.touchpoints is called.

    Raises:
        KafkaError: Kafka does not say.
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

"""The address of a worker's web server, in its consumer group metadata.

The group's protocol has room for data of the assignor. The sticky assignor reads only its own part of it,
so the address can follow: workers of earlier versions work in the same group and ignore it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka.coordinator.assignors.sticky.sticky_assignor import (
    StickyAssignorUserDataV1,
    StickyPartitionAssignor,
)
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MARK = b"\0web "


class AddressedAssignor(StickyPartitionAssignor):  # type: ignore[misc]
    """The sticky assignor, with the member's address behind its data.

    Attributes:
        address: of the member's web server; "" if it has none.
    """

    address: Callable[[], str] = staticmethod(lambda: "")

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """The metadata that the member sends when it joins."""
        plain = super().metadata(topics)
        address = cls.address()
        if not address:
            return plain
        data = plain.user_data or StickyAssignorUserDataV1([], cls.DEFAULT_GENERATION_ID).encode()
        told = data + _MARK + address.encode()
        return ConsumerProtocolMemberMetadata(plain.version, plain.subscription, told)


def assignor(address: Callable[[], str]) -> type[AddressedAssignor]:
    """An assignor for one consumer: aiokafka keeps what a sticky member owned on the class."""
    return type("StickyAssignor", (AddressedAssignor,), {"address": staticmethod(address)})


def address_in(metadata: bytes) -> str:
    """The address in the metadata of a member; "" if there is none."""
    try:
        data = ConsumerProtocolMemberMetadata.decode(metadata).user_data
    except ValueError:  # of a program that is no consumer of this protocol
        return ""
    return (data or b"").rpartition(_MARK)[2].decode(errors="replace") if _MARK in (data or b"") else ""

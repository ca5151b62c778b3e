"""As much of Kafka's protocol as a proxy needs: where requests begin, and of what kind they are.

int32 size | int16 api_key | int16 api_version | int32 correlation_id | client_id ...
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_SIZE = 4
_API_KEY = 2


class Api(IntEnum):
    """Kinds of requests, by their api_key."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    OFFSET_FETCH = 9
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """The next request, its size included.

    Raises:
        IncompleteReadError: the connection ended.
    """
    head = await reader.readexactly(_SIZE)
    return head + await reader.readexactly(int.from_bytes(head, "big"))


def api_of(request: bytes) -> int:
    """The api_key of a request that `read_request` gave."""
    return int.from_bytes(request[_SIZE : _SIZE + _API_KEY], "big")


class Trigger:
    """Counts requests until a sequence of them has been seen.

    Args:
        steps: (api_key, count) in order: `count` requests of that kind, and then those of the next step.
    """

    def __init__(self, steps: list[tuple[int, int]]) -> None:
        self._steps = [(int(api), int(count)) for api, count in steps]

    def saw(self, api: int) -> bool:
        """Take note of a request; whether it was the last of the sequence. True at most once."""
        if not self._steps or self._steps[0][0] != api:
            return False
        count = self._steps[0][1] - 1
        if count:
            self._steps[0] = (api, count)
            return False
        del self._steps[0]
        return not self._steps

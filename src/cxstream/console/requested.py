"""Erasure requests in cx.forget: nothing is done about such a customer any more.

The topic remembers them, so that a console that has just started knows those that another one was asked for, and those of
`cxstream forget`, too.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NoReturn

import msgspec
import structlog

from cxstream.kafka.reader import reading
from cxstream.model.errors import CxstreamError
from cxstream.topology import FORGET

if TYPE_CHECKING:
    from cxstream.console.desk import Desk
    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings

# A request is in force within minutes; what is older was done, or its worker does not run.
_SINCE = timedelta(days=30)
_POLL_SECONDS = 3.0
_RETRY_SECONDS = 60.0

_log = structlog.get_logger("cxstream.console")


class _Request(msgspec.Struct):
    id: str
    subject: str
    time: datetime


async def learn(settings: Settings, desk: Desk) -> NoReturn:
    """Tell the desk of the requests of the last 30 days, and of those that come, until it is cancelled.

    Where they cannot be read, that is logged and tried again: pages then know the requests of this console alone.

    Args:
        settings: of the installation.
        desk: told of each.
    """
    is_told = False
    while True:
        try:
            async with reading(settings, [FORGET]) as reader:
                await _follow(reader, desk)
        except CxstreamError as error:
            if not is_told:
                _log.warning("requests for erasures cannot be read", error=str(error))
            is_told = True
        await asyncio.sleep(_RETRY_SECONDS)


async def _follow(reader: TopicReader, desk: Desk) -> NoReturn:
    (topic,) = reader.partitions
    since = round((time.time() - _SINCE.total_seconds()) * 1000)
    places: dict[int, int] = {}
    while True:
        for partition in range(reader.partitions[topic]):
            _, end = await reader.bounds(topic, partition)
            begin = places.get(partition)
            begin = await reader.offset_at(topic, partition, since) if begin is None else begin
            async for records in reader.read(topic, partition, begin, end):
                for record in records:
                    _tell(desk, record.value)
            places[partition] = end
        await asyncio.sleep(_POLL_SECONDS)


def _tell(desk: Desk, value: bytes | None) -> None:
    try:
        found = msgspec.json.decode(value or b"", type=_Request)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        # The worker rejects it.
        return
    desk.told_of_erasure(found.subject, found.id, found.time.astimezone(UTC).replace(tzinfo=None))

"""Erasure requests in cx.forget: nothing is done about such a customer any more.

The topic remembers them, so that a console that has just started knows those that another one was asked for, and those of
`cxstream forget`, too.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import structlog

from cxstream.kafka.reader import reading
from cxstream.model.cloudevents import content_bytes
from cxstream.topology import FORGET
from cxstream.worker.ownership import requests
from cxstream.worker.ownership.inlets import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.console.desk import Desk
    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings

# A request is in force within minutes; what is older was done, or its worker does not run.
_SINCE = timedelta(days=30)
_POLL_SECONDS = 3.0
_RETRY_SECONDS = 60.0
# The year 1, before which Python knows no time; with an offset, a request may be of the year before.
_FIRST_MS = -62_135_596_800_000

_log = structlog.get_logger("cxstream.console")


class _Event(msgspec.Struct):
    id: str


async def learn(settings: Settings, desk: Desk) -> NoReturn:
    """Tell the desk of the requests of the last 30 days, and of those that come, until it is cancelled.

    Where they cannot be read, that is logged and tried again: pages then know the requests of this console alone.

    Args:
        settings: of the installation.
        desk: told of each.
    """
    told = ""
    while True:
        try:
            async with reading(settings, [FORGET]) as reader:
                await _follow(reader, desk, settings)
        except Exception as error:  # noqa: BLE001 - whatever it is: unread requests would be acted against
            if told != (told := repr(error)):
                _log.warning("requests for erasures cannot be read", error=str(error), exc_info=error)
        await asyncio.sleep(_RETRY_SECONDS)


async def _follow(reader: TopicReader, desk: Desk, settings: Settings) -> NoReturn:
    (topic,) = reader.partitions
    since = round((time.time() - _SINCE.total_seconds()) * 1000)
    places: dict[int, int] = {}
    while True:
        for partition in range(reader.partitions[topic]):
            _, end = await reader.bounds(topic, partition)
            begin = places.get(partition)
            begin = await reader.offset_at(topic, partition, since) if begin is None else begin
            async for records in reader.read(topic, partition, begin, end):
                # The kernels that read them may have to be compiled first.
                for found in await asyncio.to_thread(_asked, records, partition, settings):
                    desk.told_of_erasure(*found)
            places[partition] = end
        await asyncio.sleep(_POLL_SECONDS)


def _asked(records: Sequence[Any], partition: int, settings: Settings) -> list[tuple[str, str, datetime]]:
    """Customer, id and time (UTC without a zone) of the requests among records of cx.forget: of those that the worker takes.

    It takes them without a signature, also where there is a `control.key`: its own is on what it writes to cx.touchpoints.
    """
    future_ms, now_ms = round(settings.scoring.future_minutes * 60_000), round(time.time() * 1000)
    found = []
    for record in records:
        if content_bytes(record.key, record.value, record.headers) > settings.scoring.max_record_bytes:
            continue
        request = requests.read(record, partition, future_ms, now_ms, None)
        if isinstance(request, Request):
            number = msgspec.json.decode(request.value, type=_Event).id
            asked = datetime.fromtimestamp(max(request.time, _FIRST_MS) / 1000, UTC).replace(tzinfo=None)
            found.append((request.subject, number, asked))
    return found

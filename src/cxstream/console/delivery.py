"""Sends audit records to Kafka in the background: nobody waits for it, and what waits is bounded.

    add -> waiting, at most so many bytes -> the oldest, some at a time -> Kafka -> no longer waiting

A record waits until Kafka has confirmed it. Where Kafka does not, it is sent again: a record may be there twice, with the same
id. Records are lost that find no room, that are too long for the topic, or that still wait when the time to close is over. They
are counted, and told of once a minute at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.console.outlet import Outlet

# Some 40,000 records of usual length.
_MOST_BYTES = 16 * 1024 * 1024
_AT_ONCE = 500
_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
# Those who stop a server wait for it, and kill it after 10 s: Docker, for example.
_LAST_SECONDS, _CLOSE_SECONDS = 5.0, 2.0
_REPORT_SECONDS = 60.0
_TO_DO = (
    "the log has each entry, by the logger cxstream.console.audit; see that Kafka answers, that 'cxstream topics' finds no "
    "difference, and that this user has the role console"
)

_log = structlog.get_logger("cxstream.console")


class Delivery:
    """Audit records on their way to their topic.

    Attributes:
        lost: how many records will not be there.

    Args:
        outlet: to the topic; it is closed with the delivery.
        most_bytes: of records that wait.
        last_seconds: how long `close` goes on to deliver.
        clock: monotonic, s; spaces the reports of losses.
    """

    def __init__(
        self,
        outlet: Outlet,
        most_bytes: int = _MOST_BYTES,
        last_seconds: float = _LAST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outlet, self._most_bytes, self._last_seconds = outlet, most_bytes, last_seconds
        self._clock = clock
        self._waiting: deque[tuple[str, bytes, bytes]] = deque()
        self._bytes = 0
        self._woken, self._ending = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.lost = self._reported = 0
        self._due = clock()

    def start(self) -> None:
        """Begin to deliver; needs a running event loop."""
        self._task = asyncio.create_task(self._run())

    def add(self, key: str, value: bytes) -> None:
        """Let a record wait for its delivery; it is lost if there is no room.

        Args:
            key: of the record; decides the partition.
            value: of the record.
        """
        record = (key, key.encode(), value)
        if self._bytes + _size(record) > self._most_bytes:
            self.lost += 1
        else:
            self._waiting.append(record)
            self._bytes += _size(record)
        self._woken.set()

    async def close(self) -> None:
        """Deliver what waits as long as Kafka takes it, and close the outlet; takes 7 s at most."""
        self._ending.set()
        self._woken.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._last_seconds):
                if self._task is not None:
                    await self._task
        self.lost += len(self._waiting)
        self._waiting.clear()
        if self.lost > self._reported:
            self._report("the console ends")
        await self._outlet.close(_CLOSE_SECONDS)

    async def _run(self) -> None:
        pause = _PAUSE_SECONDS
        while self._waiting or not self._ending.is_set():
            await self._wait()
            error = await self._send()
            if (error or self.lost > self._reported) and self._clock() >= self._due:
                self._report(error)
            if not error:
                pause = _PAUSE_SECONDS
                continue
            if self._ending.is_set():
                return
            await _within(self._ending, pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _wait(self) -> None:
        """Until there is something to send, or time to tell of losses, or the end."""
        if self._waiting:
            return
        unsaid = self.lost > self._reported
        await _within(self._woken, max(0.0, self._due - self._clock()) if unsaid else None)
        self._woken.clear()

    async def _send(self) -> str:
        """Send the oldest records; returns what went wrong, "" for nothing."""
        batch = list(islice(self._waiting, _AT_ONCE))
        if not batch:
            return ""
        try:
            too_long = await self._outlet.send_all(batch)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next records may get through
            return str(error) or repr(error)
        for record in batch:
            self._waiting.popleft()
            self._bytes -= _size(record)
        self.lost += len(too_long)
        return ""

    def _report(self, error: str) -> None:
        new, self._reported = self.lost - self._reported, self.lost
        self._due = self._clock() + _REPORT_SECONDS
        _log.warning(
            "audit records do not reach Kafka",
            lost=new,
            lost_since_start=self.lost,
            waiting=len(self._waiting),
            error=error or "too many at once, or too long",
            to_do=_TO_DO,
        )


def _size(record: tuple[str, bytes, bytes]) -> int:
    """Bytes that a record takes, about: the key is there as text, too."""
    _, key, value = record
    return 2 * len(key) + len(value)


async def _within(event: asyncio.Event, seconds: float | None) -> None:
    """Wait for an event, at most so long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()

"""Tells open pages that the read model has changed, by server-sent events.

One task looks at the file, whatever the number of browsers; a change is told at most four times a second.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable

    from starlette.requests import Request
    from starlette.responses import Response

SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0
_RETRY_MS = 3000


class Live:
    """What has changed, for everybody who listens.

    Args:
        state: changes with the read model.
        seconds: how often it is looked at.
        heartbeat: something is sent after this time at the latest, in seconds, so that a broken connection is noticed.
    """

    def __init__(
        self, state: Callable[[], Hashable], seconds: float = SECONDS, heartbeat: float = HEARTBEAT_SECONDS
    ) -> None:
        self._state = state
        self._seconds = seconds
        self._heartbeat = heartbeat
        self._listeners: set[asyncio.Event] = set()
        self._watching: asyncio.Task[None] | None = None
        self._is_ending = False

    @property
    def open(self) -> int:
        """How many streams there are."""
        return len(self._listeners)

    async def stream(self, _: Request) -> Response:
        """The events, until the browser goes."""
        return StreamingResponse(self.events(), media_type="text/event-stream")

    async def events(self) -> AsyncIterator[str]:
        """An event with the version of the read model at once, and one for each change."""
        changed = asyncio.Event()
        self._listeners.add(changed)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())
        try:
            yield f"retry: {_RETRY_MS}\n" + self._event()
            while not self._is_ending:
                try:
                    async with asyncio.timeout(self._heartbeat):
                        await changed.wait()
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                changed.clear()
                if not self._is_ending:
                    yield self._event()
        finally:
            self._listeners.discard(changed)

    def end(self) -> None:
        """End all streams."""
        self._is_ending = True
        for listener in self._listeners:
            listener.set()
        if self._watching is not None:
            self._watching.cancel()

    async def _watch(self) -> None:
        """Look for changes as long as somebody listens."""
        before = self._state()
        while self._listeners:
            await asyncio.sleep(self._seconds)
            now = self._state()
            if now != before:
                before = now
                for listener in self._listeners:
                    listener.set()

    def _event(self) -> str:
        version = hashlib.sha256(repr(self._state()).encode()).hexdigest()[:16]
        return f"event: version\ndata: {version}\n\n"

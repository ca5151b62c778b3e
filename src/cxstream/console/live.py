"""Tells open pages that the read model has changed, by server-sent events.

One task looks at the file, whatever the number of browsers; a change is told at most four times a second.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Hashable

    from starlette.requests import Request
    from starlette.responses import Response

SECONDS = 0.25
HEARTBEAT_SECONDS = 15.0
MOST, MOST_OF_ONE = 1000, 20
"""Streams of all, and of a person who has signed in. A browser has one, whatever the number of its tabs."""
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
        self._of: Counter[str] = Counter()
        self._is_ending = False

    @property
    def open(self) -> int:
        """How many streams there are."""
        return len(self._listeners)

    async def stream(self, request: Request) -> Response:
        """The events, until the browser goes.

        Raises:
            HTTPException: 429 where the person, or all, have too many streams.
        """
        who = request.state.person.name
        if self._is_full(who):
            raise HTTPException(429)
        return StreamingResponse(self.events(who), media_type="text/event-stream")

    def _is_full(self, who: str) -> bool:
        return len(self._listeners) >= MOST or (bool(who) and self._of[who] >= MOST_OF_ONE)

    async def events(self, who: str = "") -> AsyncIterator[str]:
        """An event with the version of the read model at once, and one for each change.

        Args:
            who: the person; "" where nobody signs in.
        """
        if self._is_full(who):
            # Others began at the same moment.
            return
        changed = asyncio.Event()
        self._listeners.add(changed)
        self._of[who] += 1
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
            self._of[who] -= 1
            self._of += Counter()

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

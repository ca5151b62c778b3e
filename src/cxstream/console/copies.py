"""Pages that are the same for everybody of a role are made once for each state of the read model, however many look at them.

A change is told to all open pages at once, and each asks for itself again. The first request makes the page; the others wait for
it, or find it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable
    from typing import Any

MOST_CHARACTERS = 32 << 20
"""Of all pages that are kept."""


@dataclass(slots=True)
class _Making:
    task: asyncio.Task[str]
    forgotten: int
    waiting: int = 0


class Copies:
    """Pages of the latest state, those that were asked for last.

    Args:
        most: characters that are kept.
    """

    def __init__(self, most: int = MOST_CHARACTERS) -> None:
        self._most, self._characters = most, 0
        self._forgotten = 0
        self._state: Hashable = None
        self._made: OrderedDict[Hashable, str] = OrderedDict()
        self._making: dict[Hashable, _Making] = {}

    @property
    def characters(self) -> int:
        """How many are kept."""
        return self._characters

    async def of(self, state: Hashable, key: Hashable, make: Callable[[], Coroutine[Any, Any, str]]) -> str:
        """A page: as it was made for this state, or made now. What fails is made again for the next who asks.

        Args:
            state: of what it shows; with another one, nothing is kept of the one before.
            key: all else that it depends on.
            make: makes it, and is cancelled when nobody waits for it any more.
        """
        self.keep_only(state)
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key]
        making = self._making.get(key)
        if making is None:
            making = self._making[key] = _Making(asyncio.create_task(make()), self._forgotten)
            # Where everybody has gone, nobody asks why it failed.
            making.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        making.waiting += 1
        try:
            text = await asyncio.shield(making.task)
        finally:
            making.waiting -= 1
            if not making.waiting:
                making.task.cancel()
            if (making.task.done() or not making.waiting) and self._making.get(key) is making:
                del self._making[key]
        # What it has read may name somebody who has been erased meanwhile.
        is_kept = state == self._state and making.forgotten == self._forgotten
        if is_kept and key not in self._made:
            self._keep(key, text)
        return text

    def keep_only(self, state: Hashable) -> None:
        """Keep no pages but those of this state."""
        if state != self._state:
            self._state = state
            self.forget()

    def forget(self) -> None:
        """Keep none of the pages, nor those that are being made: they may name customers who have been erased."""
        self._forgotten += 1
        self._making = {}
        self._made.clear()
        self._characters = 0

    def _keep(self, key: Hashable, text: str) -> None:
        self._made[key] = text
        self._characters += len(text)
        while self._characters > self._most:
            _, dropped = self._made.popitem(last=False)
            self._characters -= len(dropped)

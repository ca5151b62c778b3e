"""What happened, in order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from simulation.loop import current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Trace:
    """Takes down who did what and when; two runs of a seed have the same.

    Args:
        now: the time, in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._entries: list[tuple[Any, ...]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, what: str, *facts: Any) -> None:
        """Take down something that the running process does."""
        self._entries.append((self._now(), current().name, what, *facts))

    def digest(self) -> str:
        """The same for the same history."""
        return hashlib.blake2b(repr(self._entries).encode(), digest_size=8).hexdigest()

    def lines(self) -> Iterator[str]:
        """For people."""
        for now, process, what, *facts in self._entries:
            yield f"{now:9.3f} {process:<9} {what} {' '.join(map(str, facts))}".rstrip()

    def counts(self) -> dict[str, int]:
        """How often each thing happened."""
        counted: dict[str, int] = {}
        for _, _, what, *_ in self._entries:
            counted[what] = counted.get(what, 0) + 1
        return counted

"""Memory that the views of a process share."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Room:
    """So many bytes; who wants more than is left waits. One that wants more than all gets it when it is alone.

    Args:
        most: bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def of(self, wanted: int) -> Iterator[None]:
        """Have so many bytes meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + wanted <= self._most)
            self._taken += wanted
        try:
            yield
        finally:
            with self._changed:
                self._taken -= wanted
                self._changed.notify_all()

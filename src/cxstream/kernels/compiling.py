"""Whether kernels are being compiled, which takes minutes where their machine code is not on disk yet."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from numba.core import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class _Listener(event.Listener):  # type: ignore[misc]  # Numba has no types
    def __init__(self, say: Callable[[], None]) -> None:
        self._say: Callable[[], None] | None = say

    def on_start(self, _event: object) -> None:
        say, self._say = self._say, None
        if say is not None:
            say()

    def on_end(self, _event: object) -> None:
        """Nothing is said of the end."""


@contextmanager
def told(say: Callable[[], None]) -> Iterator[None]:
    """Call `say` once when the first kernel is compiled while the block runs; one that is loaded from disk does not count."""
    listener = _Listener(say)
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)

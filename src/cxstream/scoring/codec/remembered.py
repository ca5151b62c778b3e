"""A cache of values computed from texts, bounded in memory because senders choose the texts."""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")

# An entry of a dictionary, and the objects of a key and a value without their texts; a character has up to 4 bytes.
_ENTRY_BYTES, _CHARACTER_BYTES = 320, 4


class Remembered(dict[str, V], Generic[V]):
    """A value per text; drops all of them when they take too much memory.

    Subclasses compute the value of a text in `__missing__` and `keep` it.

    Args:
        most_bytes: limit of memory.
    """

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most = most_bytes
        self._bytes = 0

    def keep(self, text: str, value: V) -> V:
        """Remember a value, unless its text alone would take a large part of the memory.

        Returns:
            The value.
        """
        size = _ENTRY_BYTES + _CHARACTER_BYTES * len(text)
        if size > self._most // 64:
            return value
        if self._bytes + size > self._most:
            self.clear()
            self._bytes = 0
        self._bytes += size
        self[text] = value
        return value

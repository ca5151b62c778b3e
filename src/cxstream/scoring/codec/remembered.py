"""What is worked out of a text once and remembered, within bounds of memory: texts come from whoever sends them."""

from __future__ import annotations

from typing import Generic, TypeVar

V = TypeVar("V")

# A place in a dictionary, and the objects of a key and a value without their texts; a character has up to 4 bytes.
_ENTRY_BYTES, _CHARACTER_BYTES = 320, 4


class Remembered(dict[str, V], Generic[V]):
    """A value for each text; forgets all of them when they take too much memory.

    Subclasses say in `__missing__` what the value of a text is, and `keep` it.

    Args:
        most_bytes: what it may take in memory.
    """

    def __init__(self, most_bytes: int) -> None:
        super().__init__()
        self._most = most_bytes
        self._bytes = 0

    def keep(self, text: str, value: V) -> V:
        """Remember a value; one whose text alone would take a good part of the memory is not remembered.

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

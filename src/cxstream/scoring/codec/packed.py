"""Many texts in one, without an object for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from cxstream.kernels.wide import WIDE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

AFTER = b"\0" * WIDE
"""What must lie behind the last text: kernels read that many bytes at a time."""


class Packed(Sequence[bytes]):
    """Texts that lie in one, each made an object when it is asked for.

    Attributes:
        text: all of them. Behind each lies a byte that no string of JSON contains, such as NUL or a line feed, and as many
            as AFTER has behind the last.
        begins: int64[n], where each begins.
        ends: int64[n], where each ends.

    `longest` is how many bytes the longest has, where that is known.
    """

    __slots__ = ("_longest", "begins", "ends", "text")

    def __init__(
        self, text: bytes, begins: NDArray[np.int64], ends: NDArray[np.int64], longest: int | None = None
    ) -> None:
        self.text, self.begins, self.ends, self._longest = text, begins, ends, longest

    @classmethod
    def of(cls, texts: Sequence[bytes | None], between: bytes = b"\0") -> Packed:
        """Pack texts; an empty one for None.

        Args:
            texts: n texts.
            between: the byte that is put behind each.
        """
        held: Sequence[bytes]
        try:
            held, text = texts, between.join([*texts, AFTER])  # type: ignore[assignment, list-item]
        except TypeError:  # one is None; to look for it takes longer than to join them
            held = [each or b"" for each in texts]
            text = between.join([*held, AFTER])
        ends = np.cumsum(np.fromiter(map(len, held), np.int64, len(held)) + 1) - 1
        begins = np.empty_like(ends)
        begins[:1] = 0
        begins[1:] = ends[:-1] + 1
        return cls(text, begins, ends)

    @property
    def data(self) -> NDArray[np.uint8]:
        """The text for a kernel, uint8[...]."""
        return np.frombuffer(self.text, np.uint8)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each, int64[n]."""
        return self.ends - self.begins

    @property
    def longest(self) -> int:
        """Bytes of the longest; 0 where there is none."""
        if self._longest is None:
            self._longest = int(self.lengths.max(initial=0))
        return self._longest

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, i: int) -> bytes: ...
    @overload
    def __getitem__(self, i: slice) -> Packed: ...
    def __getitem__(self, i: int | slice) -> bytes | Packed:
        if isinstance(i, slice):
            return Packed(self.text, self.begins[i], self.ends[i])
        return self.text[self.begins[i] : self.ends[i]]

    def __iter__(self) -> Iterator[bytes]:
        text = self.text
        for begin, end in zip(self.begins.tolist(), self.ends.tolist(), strict=True):
            yield text[begin:end]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def taken(self, places: NDArray[np.int64] | Sequence[int]) -> Packed:
        """Those at some places."""
        return Packed(self.text, self.begins[places], self.ends[places])

    def strings(self) -> list[str]:
        """All of them as strings."""
        begins, ends = self.begins.tolist(), self.ends.tolist()
        if self.text.isascii():
            text = self.text.decode("ascii")
            return [text[begin:end] for begin, end in zip(begins, ends, strict=True)]
        return [self.text[begin:end].decode() for begin, end in zip(begins, ends, strict=True)]

"""Records that are rows of columns, each made a text when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.kernels.rows import Cells


class Rows(Sequence[bytes]):
    """Structured records that are rows of columns: a kernel reads the plain ones as they are.

    Args:
        text: the bytes of `cells.text`.
        cells: n rows as the kernel reads them.
        write: makes the records of the rows at some places, in JSON.
        longest: at least the bytes of the longest record.
        nests: whether values within values may be deeper than a few levels.

    Attributes:
        text: see above.
        cells: see above.
        longest: see above.
        nests: see above.
    """

    __slots__ = ("_made", "_write", "cells", "longest", "nests", "text")

    def __init__(
        self,
        text: bytes,
        cells: Cells,
        write: Callable[[Sequence[int]], list[bytes]],
        longest: int,
        *,
        nests: bool,
    ) -> None:
        self.text, self.cells, self._write, self.longest, self.nests = text, cells, write, longest, nests
        self._made: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self.cells.whole)

    @overload
    def __getitem__(self, i: int) -> bytes: ...
    @overload
    def __getitem__(self, i: slice) -> list[bytes]: ...
    def __getitem__(self, i: int | slice) -> bytes | list[bytes]:
        if isinstance(i, slice):
            return self.at(range(*i.indices(len(self))))
        return self.at([range(len(self))[i]])[0]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.at(range(len(self))))

    def at(self, places: Sequence[int]) -> list[bytes]:
        """Those at some places; many at once take a tenth of the time of one after the other."""
        made = self._made
        missing = [i for i in places if i not in made]
        if missing:
            made.update(zip(missing, self._write(missing), strict=True))
        return [made[i] for i in places]

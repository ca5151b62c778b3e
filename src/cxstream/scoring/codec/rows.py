"""Records that are rows of columns, each made a text when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from cxstream.kernels.rows import Learned, learn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from cxstream.kernels.events import Contract
    from cxstream.kernels.rows import Cells


class Words:
    """The words of columns with codes, and what contracts say of them.

    Args:
        columns: column of `cells`, space and number of words, of each column with codes.
    """

    def __init__(self, columns: Sequence[tuple[int, int, int]]) -> None:
        self._columns = np.array(columns, np.int64).reshape(-1, 3).T.copy()
        self._learned: dict[int, tuple[Contract, Learned]] = {}

    def learned(self, known: Contract, cells: Cells) -> Learned:
        """What a contract says of them; several threads may ask."""
        found = self._learned.get(id(known))
        if found is None:
            columns, spaces, words = self._columns
            shape = len(columns), int(words.max(initial=0))
            said = Learned(
                np.empty(shape, np.int16), np.empty(shape, np.int32), np.empty(len(known.rules), np.uint64)
            )
            learn(known, cells, columns, spaces, words, said)
            # With the contract itself, so that no other one gets its id.
            found = self._learned[id(known)] = known, said
        return found[1]


class Rows(Sequence[bytes]):
    """Structured records that are rows of columns: a kernel reads the plain ones as they are.

    Args:
        text: the bytes of `cells.text`.
        cells: n rows as the kernel reads them.
        words: those of columns with codes.
        write: makes the records of the rows at some places, in JSON.
        longest: at least the bytes of the longest record.
        nests: whether values within values may be deeper than a few levels.
        customers: which of some words each subject is, int32[n], and the slots that these had last, int32[words], see `Slots.find`; None
            where subjects are no words of a dictionary.

    Attributes:
        text: see above.
        cells: see above.
        longest: see above.
        nests: see above.
        customers: see above.
    """

    __slots__ = ("_made", "_words", "_write", "cells", "customers", "longest", "nests", "text")

    def __init__(
        self,
        text: bytes,
        cells: Cells,
        words: Words,
        write: Callable[[Sequence[int]], list[bytes]],
        longest: int,
        *,
        nests: bool,
        customers: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
    ) -> None:
        self.text, self.cells, self._words, self._write = text, cells, words, write
        self.longest, self.nests, self.customers = longest, nests, customers
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

    def text_of(self, column: int, i: int) -> str:
        """The text of a row in a column of `cells`, which has one."""
        cells = self.cells
        coded, base = cells.coded[column], int(cells.bases[column])
        which = i if coded < 0 else cells.codes[coded, i]
        begin, end = cells.offsets[column, which : which + 2].tolist()
        return self.text[base + int(cells.gaps[column]) + begin : base + end].decode()

    def member_of(self, number: int, i: int) -> str | None:
        """The text of a member of `data` of a row, which is a text where it is there; not of `data` in JSON."""
        if not int(self.cells.present[i]) >> number & 1:
            return None
        return self.text_of(int(self.cells.places[number]), i)

    def learned(self, known: Contract) -> Learned:
        """What a contract says of their words."""
        return self._words.learned(known, self.cells)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.at(range(len(self))))

    def at(self, places: Sequence[int]) -> list[bytes]:
        """Those at some places; many at once take a tenth of the time of one after the other."""
        made = self._made
        missing = [i for i in places if i not in made]
        if missing:
            made.update(zip(missing, self._write(missing), strict=True))
        return [made[i] for i in places]

"""How many rows of Parquet come together, by the bytes that their pages have when they are unpacked.

The average row of a file says little: a million short ones may stand before a few of a megabyte each. The header of a page says how
many rows it has and how large it is, and no more. So a batch takes so many rows that

- the pages that begin within it are not too large together, whichever of their rows have the bytes, and
- neither is its share of all pages, those that are larger than a batch may be included.

What a batch has of the pages that began before it comes on top: these are held in any case. Lists are not counted here: pages do not
say to which rows the values belong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.files.parquet_pages import DICTIONARY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from cxstream.files.parquet_pages import Examined, Page

MOST_BYTES = 16 << 20
"""What the pages of a batch may have together."""


class Spans:
    """The rows of some row groups, one after the other, in batches.

    Args:
        leaves: pages of each column, which has one value a row, behind the row that they begin with.
        n: rows.
        rows: how many come at a time at most.
    """

    def __init__(self, leaves: Iterable[tuple[int, Sequence[Page]]], n: int, rows: int) -> None:
        self._n, self._rows = n, rows
        begins, values, sizes = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for first, pages in leaves:
            data = [page for page in pages if page.kind != DICTIONARY and page.values]
            values.append(np.array([page.values for page in data], np.int64))
            sizes.append(np.array([page.unpacked for page in data], np.int64))
            begins.append(first + np.cumsum(values[-1]) - values[-1])
        begin, count, size = np.concatenate(begins), np.concatenate(values), np.concatenate(sizes)
        order = np.argsort(begin, kind="stable")
        self._begins = begin[order]
        self._begun = np.concatenate(([0], np.cumsum(size[order])))
        # How many bytes lie before a row, if each page is spread evenly over its rows.
        places = np.concatenate((begin, begin + count))
        order = np.argsort(places, kind="stable")
        each = np.cumsum(np.concatenate((size / count, -size / count))[order])
        self._places = places[order]
        # Rounding must not let it fall.
        before = np.concatenate(([0.0], np.cumsum(each[:-1] * np.diff(self._places))))[: len(places)]
        self._before = np.maximum.accumulate(before)

    def _ends(self, firsts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The most rows that a batch may end with, by its first one."""
        ends = np.minimum(firsts + self._rows, self._n)
        if not len(self._begins):
            return ends
        begun = self._begun[np.searchsorted(self._begins, firsts, "right")]
        next_page = np.searchsorted(self._begun, begun + MOST_BYTES, "right") - 1
        ends = np.minimum(ends, np.append(self._begins, self._n)[next_page])
        before = np.interp(firsts, self._places, self._before)
        shared = np.interp(before + MOST_BYTES, self._before, self._places, right=self._n)
        found: NDArray[np.int64] = np.maximum(np.minimum(ends, shared.astype(np.int64)), firsts + 1)
        return found

    def __iter__(self) -> Iterator[int]:
        """How many rows each batch has."""
        first = 0
        while first < self._n:
            end = int(self._ends(np.array([first]))[0])
            yield end - first
            first = end

    def alike(self) -> int:
        """How many rows all batches can have alike, apart from the last one: Arrow knows no others."""
        size = self._rows
        while size > 1:
            firsts = np.arange(0, self._n, size)
            if (self._ends(firsts) >= np.minimum(firsts + size, self._n)).all():
                break
            size = (size + 1) // 2
        return size


def spans_of(file: Any, found: Examined, groups: Iterable[int], rows: int) -> Spans:
    """The rows of some row groups.

    Args:
        file: pyarrow's ParquetFile.
        found: its pages.
        groups: numbers of the row groups.
        rows: how many come at a time at most.
    """
    leaves, n = [], 0
    for group in groups:
        leaves += [(n, found.pages[group, i]) for i in found.flat if (group, i) in found.pages]
        n += file.metadata.row_group(group).num_rows
    return Spans(leaves, n, min(rows, found.rows))

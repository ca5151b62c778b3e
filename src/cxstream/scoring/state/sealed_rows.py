"""Rows of a snapshot as they are written, without an object for each.

A snapshot has tens of thousands of rows. As objects they would keep other threads from Python's lock for tens of
milliseconds: from the event loop of a worker, and so from signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.framing import FRAMING_BYTES
from cxstream.kernels.packed_records import AT, NUMBER, PLACES, put_records
from cxstream.kernels.saved_rows import GONE
from cxstream.kernels.wide import WIDE
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.state.saved_rows import RowColumns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

Pair = tuple[bytes, bytes | None]


def columns_of(rows: Iterable[Pair]) -> RowColumns:
    """Columns of single rows; those without a payload are tombstones."""
    keys, payloads = [], []
    for key, payload in rows:
        keys.append(key)
        payloads.append(payload)
    values = Packed.of(payloads)
    gone = np.fromiter((payload is None for payload in payloads), np.bool_, len(payloads))
    return RowColumns(Packed.of(keys), values.data, values.begins, np.where(gone, GONE, values.lengths))


def columns(keys: Packed, packed: NDArray[np.uint8], ends: NDArray[np.int64]) -> RowColumns:
    """Columns of rows.

    Args:
        keys: n keys.
        packed: uint8[ends[-1] + WIDE], the payloads one after the other.
        ends: int64[n], where each ends.
    """
    begins = np.zeros_like(ends)
    begins[1:] = ends[:-1]
    return RowColumns(keys, packed, begins, ends - begins)


def packed_into(ends: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Room for payloads that end there, and for WIDE bytes."""
    return np.empty((int(ends[-1]) if len(ends) else 0) + WIDE, np.uint8)


def keys_of(text: NDArray[np.uint8]) -> Packed:
    """Keys of the same length, uint8[n, length]."""
    n, length = text.shape
    ends = np.arange(1, n + 1) * length
    return Packed(text.tobytes() + AFTER, ends - length, ends)


class Sealed(NamedTuple):
    """Rows, and what is written behind each.

    Attributes:
        rows: n rows.
        trailers: uint8[n, m].
    """

    rows: RowColumns
    trailers: NDArray[np.uint8]

    def pair(self, i: int) -> Pair:
        """A row as objects."""
        key, begin, size = self.rows.keys[i], int(self.rows.begins[i]), int(self.rows.sizes[i])
        if size == GONE:
            return key, None
        return key, self.rows.text[begin : begin + size].tobytes() + self.trailers[i].tobytes()


class Records(NamedTuple):
    """Records of a batch in Kafka's format.

    Attributes:
        data: they.
        rows: how many.
    """

    data: bytes
    rows: int


class SealedRows(Sequence[Pair]):
    """All rows of a snapshot in order, each made an object when it is asked for.

    Args:
        parts: their parts.
    """

    def __init__(self, parts: Sequence[Sealed]) -> None:
        self._parts = [part for part in parts if len(part.rows)]
        self._ends = list(accumulate(len(part.rows) for part in self._parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @property
    def size(self) -> int:
        """About how many bytes they take."""
        return sum(
            int(part.rows.keys.lengths.sum() + np.maximum(part.rows.sizes, 0).sum()) + part.trailers.size
            for part in self._parts
        )

    def __getitem__(self, i: int) -> Pair:  # type: ignore[override]  # nobody asks for several
        part, begin = self._place(i if i >= 0 else len(self) + i)
        return self._parts[part].pair((i if i >= 0 else len(self) + i) - begin)

    def __iter__(self) -> Iterator[Pair]:
        for part in self._parts:
            yield from map(part.pair, range(len(part.rows)))

    def _place(self, i: int) -> tuple[int, int]:
        """The part with a row, and the number of its first row."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        part = int(np.searchsorted(self._ends, i, "right"))
        return part, self._ends[part] - len(self._parts[part].rows)

    def records(self, first: int, limit: int) -> Records:
        """Records of the rows from one on, as many as fit, at least one.

        Args:
            first: number of the row.
            limit: the most bytes of several.
        """
        start, begin = self._place(first)
        places = np.zeros(PLACES, np.int64)
        keys, row = self._parts[start].rows.keys, first - begin
        most = max(len(keys[row]) + len(self[first][1] or b"") + FRAMING_BYTES, limit)
        out = np.empty(most + WIDE, np.uint8)
        for part in self._parts[start:]:
            rows = part.rows
            text = rows.keys.data, rows.keys.begins, rows.keys.ends, rows.text, rows.begins, rows.sizes
            if put_records(*text, part.trailers, row, limit, out, places) < len(rows):
                break
            row = 0
        return Records(out[: int(places[AT])].tobytes(), int(places[NUMBER]))

"""Rows of a snapshot by columns: millions of them become no objects on their way into a state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from cxstream.kernels import saved_rows as kernel
from cxstream.kernels.names import UNKNOWN
from cxstream.kernels.saved_rows import DEAD, GONE, ROWS, USED
from cxstream.kernels.wide import WIDE
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.state.memory import grown, zeros
from cxstream.scoring.state.names import Slots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_FIRST, _FIRST_BYTES = 1024, 1 << 16


@dataclass(frozen=True, slots=True)
class RowColumns:
    """Some rows.

    Attributes:
        keys: n keys, none of them empty.
        text: uint8[...], has the values, and WIDE bytes behind the last.
        begins: int64[n], where each value begins there.
        sizes: int64[n], its bytes.
    """

    keys: Packed
    text: NDArray[np.uint8]
    begins: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.begins)

    def kinds(self) -> NDArray[np.uint8]:
        """The first byte of each key, uint8[n]."""
        return self.keys.data[self.keys.begins]

    def of(self, *prefixes: bytes) -> RowColumns:
        """Those whose keys begin with one of these bytes."""
        return self.taken(np.flatnonzero(np.isin(self.kinds(), np.frombuffer(b"".join(prefixes), np.uint8))))

    def taken(self, places: NDArray[np.int64]) -> RowColumns:
        """Those at some places."""
        return RowColumns(self.keys.taken(places), self.text, self.begins[places], self.sizes[places])

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values as objects."""
        data = memoryview(self.text)  # type: ignore[arg-type]  # an array has a buffer
        ends = (self.begins + self.sizes).tolist()
        for key, begin, end in zip(self.keys, self.begins.tolist(), ends, strict=True):
            yield key, bytes(data[begin:end])

    def packed_keys(self) -> Packed:
        """The keys, one after the other in a text of their own, which ends with AFTER."""
        sizes = self.keys.lengths
        out = _gathered(self.keys.data, self.keys.begins, sizes)
        ends = np.cumsum(sizes)
        return Packed(out.tobytes() + AFTER, ends - sizes, ends)

    def payloads(self, trailer: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The values without the last bytes of each, one after the other, uint8[m], and the end of each, int64[n]."""
        sizes = np.maximum(self.sizes - trailer, 0)
        return _gathered(self.text, self.begins, sizes), np.cumsum(sizes)


def _gathered(
    text: NDArray[np.uint8], begins: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Parts of a text that is longer than the last of them, one after the other."""
    total = int(sizes.sum())
    out = np.empty(total + WIDE, np.uint8)
    kernel.gather(text, begins, sizes, out)
    return out[:total]


class SavedRows(Mapping[bytes, bytes]):
    """The latest value of every key.

    A single row is slow to find: to read many, use `columns` or `whole`.
    """

    __slots__ = ("_held", "_keyless", "_keys")

    def __init__(self) -> None:
        self._keys = Slots()
        self._held = kernel.Values(
            text=np.zeros(_FIRST_BYTES, np.uint8),
            begins=np.zeros(_FIRST, np.int64),
            sizes=np.full(_FIRST, GONE),
            at=np.zeros(kernel.CURSORS, np.int64),
        )
        # No row of ours has an empty key, but a damaged snapshot may have one.
        self._keyless: bytes | None = None

    @classmethod
    def of(cls, rows: Mapping[bytes, bytes]) -> Self:
        """These rows."""
        if isinstance(rows, cls):
            return rows
        new = cls()
        new.put(Packed.of(list(rows)), Packed.of(list(rows.values())), np.zeros(len(rows), np.bool_))
        return new

    def put(self, keys: Packed, values: Packed, gone: NDArray[np.bool_]) -> None:
        """Take records in the order of the log.

        Args:
            keys: n keys.
            values: n values.
            gone: bool[n], whether the row of a key is deleted instead.
        """
        if not keys.lengths.all():
            empty, named = np.flatnonzero(keys.lengths == 0), np.flatnonzero(keys.lengths)
            last = int(empty[-1])
            self._keyless = None if gone[last] else values[last]
            keys, values, gone = keys.taken(named), values.taken(named), gone[named]
        rows, unknown = self._keys.find(keys)
        if unknown:
            self._keys.add(keys, rows, unknown)
        self._reserve(int(values.lengths.sum()))
        kernel.keep(self._held, rows, values.data, values.begins, values.ends, gone)

    def _reserve(self, more: int) -> None:
        """Make room for the keys that are known, and for so many bytes of values."""
        held, top = self._held, self._keys.top
        if top > len(held.sizes):
            size = max(top, 2 * len(held.sizes))
            before = len(held.sizes)
            held = held._replace(begins=grown(held.begins, size), sizes=grown(held.sizes, size))
            held.sizes[before:] = GONE
        more += WIDE
        need = int(held.at[USED]) + more
        if need > len(held.text):
            if 2 * held.at[DEAD] > held.at[USED]:
                # What was replaced makes room before the memory grows.
                places = np.flatnonzero(held.sizes != GONE)
                sizes = held.sizes[places]
                need = int(sizes.sum()) + more
                text = zeros(max(need, len(held.text)), np.uint8)
                kernel.gather(held.text, held.begins[places], sizes, text)
                held.begins[places] = np.cumsum(sizes) - sizes
                held.at[USED], held.at[DEAD] = need - more, 0
                held = held._replace(text=text)
            else:
                text = grown(held.text, max(need, 2 * len(held.text)), int(held.at[USED]))
                held = held._replace(text=text)
        self._held = held

    def columns(self) -> RowColumns:
        """All rows with a key that is not empty."""
        held = self._held
        places = np.flatnonzero(held.sizes[: self._keys.top] != GONE)
        return RowColumns(self._keys.packed(places), held.text, held.begins[places], held.sizes[places])

    def __getitem__(self, key: bytes) -> bytes:
        if not key:
            if self._keyless is None:
                raise KeyError(key)
            return self._keyless
        held = self._held
        row = int(self._keys.find(Packed.of([key]))[0][0])
        if row == UNKNOWN or held.sizes[row] == GONE:
            raise KeyError(key)
        begin = int(held.begins[row])
        return held.text[begin : begin + int(held.sizes[row])].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        yield from self.columns().keys
        if self._keyless is not None:
            yield b""

    def __len__(self) -> int:
        return int(self._held.at[ROWS]) + (self._keyless is not None)

    def whole(self) -> dict[bytes, bytes]:
        """All of them as objects."""
        found = dict(self.columns().items())
        return found if self._keyless is None else {**found, b"": self._keyless}

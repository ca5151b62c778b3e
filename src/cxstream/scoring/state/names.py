"""Customers to slots and topics to numbers; both are reused after they are released."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from cxstream.kernels import names as kernel
from cxstream.kernels.names import UNKNOWN
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.state.memory import blank, grown, zeros

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

MAX_TOPIC = 256
Coded: TypeAlias = "tuple[NDArray[np.int32], NDArray[np.int32]]"
"""Which of some words each of n names is, int32[n], and the slot that each word had last, int32[words]; kept up to date."""

_FIRST = 1024
_WORD = (1 << 64) - 1
# So many names are read one by one in less time than together.
_FEW = 100
# Names of at most so many words of 8 bytes are sorted as numbers.
_WORD_BYTES, _SORTED_WORDS = 8, 8


class Slots:
    """Customers and their slots.

    A slot stays with its customer until `release`, because within a batch the kernel may expire a customer who
    then comes back.
    """

    __slots__ = ("_names", "_scratch")

    def __init__(self) -> None:
        # Another key in each process, like that of Python's own dictionaries: nothing depends on it.
        key = [hash(f"{name} of names") & _WORD for name in ("first half", "second half")]
        self._names = kernel.Names(
            text=np.zeros(_FIRST, np.uint8),
            begins=np.zeros(_FIRST, np.int64),
            lengths=np.zeros(_FIRST, np.int32),
            free=np.zeros(_FIRST, np.int32),
            table=np.full(4 * _FIRST, -1),
            key=np.array(key, np.uint64),
            at=np.zeros(kernel.CURSORS, np.int64),
        )

        self._scratch = np.zeros(kernel.AHEAD, np.uint64), np.zeros(kernel.AHEAD, np.int64)

    @property
    def top(self) -> int:
        """Slots that are or were taken: all are below it."""
        return int(self._names.at[kernel.TOP])

    @property
    def nbytes(self) -> int:
        """Bytes reserved."""
        return sum(array.nbytes for array in self._names)

    def find(self, names: Packed, coded: Coded | None = None) -> tuple[NDArray[np.int32], int]:
        """Slots of names, and how many of them are unknown.

        Args:
            names: n customers; empty for none.
            coded: which of some words they are, where that is known.

        Returns:
            int32[n]: UNKNOWN for an unknown customer, 0 for none; and a number.
        """
        slots = np.empty(len(names), np.int32)
        if coded is not None:
            return slots, self._recall(names, coded, slots)
        unknown = kernel.find(self._names, names.data, names.begins, names.ends, slots, *self._scratch)
        return slots, unknown

    def _recall(self, names: Packed, coded: Coded, slots: NDArray[np.int32]) -> int:
        """Fill in slots, first those that words had before; how many are unknown."""
        codes, last = coded
        if not kernel.recall(self._names, names.data, names.begins, names.ends, codes, last, slots):
            return 0
        missing = np.flatnonzero(slots == UNKNOWN)
        found, unknown = self.find(names.taken(missing))
        slots[missing] = last[codes[missing]] = found
        return unknown

    def add(self, names: Packed, slots: NDArray[np.int32], unknown: int) -> NDArray[np.int32]:
        """Give unknown customers slots; returns the new slots, in order of appearance.

        Args:
            names: n customers.
            slots: int32[n], as of `find`; filled in.
            unknown: how many are UNKNOWN.
        """
        self._reserve(unknown, int(names.lengths[slots == UNKNOWN].sum()))
        fresh = np.empty(unknown, np.int32)
        new = kernel.add(self._names, names.data, names.begins, names.ends, slots, fresh)
        return fresh[:new]

    def get(self, subject: str) -> int | None:
        """The slot of a customer; None for an unknown one."""
        slots, unknown = self.find(Packed.of([subject.encode()]))
        return None if unknown or not subject else int(slots[0])

    def __contains__(self, subject: str) -> bool:
        return self.get(subject) is not None

    def __len__(self) -> int:
        return int(np.count_nonzero(self._names.lengths[: self.top]))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names(np.flatnonzero(self._names.lengths[: self.top])))

    def name(self, slot: int) -> str:
        """The customer with a slot; "" for nobody."""
        begin = int(self._names.begins[slot])
        return self._names.text[begin : begin + int(self._names.lengths[slot])].tobytes().decode()

    def packed(self, slots: NDArray[Any], before: bytes = b"") -> Packed:
        """The customers with these slots, one after the other; empty for nobody.

        Args:
            slots: their slots.
            before: what each begins with, at most a byte.
        """
        held = self._names
        lengths = held.lengths[slots].astype(np.int64) + len(before)
        ends = np.cumsum(lengths)
        out = np.zeros(int(lengths.sum()) + len(AFTER), np.uint8)
        kernel.told(held, slots.astype(np.int32), ends, out)
        if before:
            out[ends - lengths] = before[0]
        return Packed(out.tobytes(), ends - lengths, ends)

    def names(self, slots: NDArray[Any]) -> list[str]:
        """The customers with these slots; "" for nobody."""
        if len(slots) < _FEW:
            return list(map(self.name, slots.tolist()))
        return self.packed(slots).strings()

    def in_order(self, slots: NDArray[np.int32]) -> NDArray[np.int32]:
        """Slots in the order of the names of their customers: by code points, as Python sorts."""
        lengths = self._names.lengths[slots].astype(np.int64)
        words = -(-int(lengths.max(initial=0)) // _WORD_BYTES)
        if words > _SORTED_WORDS:
            names = self.names(slots)
            return slots[sorted(range(len(names)), key=names.__getitem__)]
        # Bytes of UTF-8 sort as code points do. Of two names of which one begins with the other, the longer comes last.
        out = np.zeros((len(slots), words), ">u8")
        ends = np.arange(len(slots)) * words * _WORD_BYTES + lengths
        kernel.told(self._names, slots.astype(np.int32), ends, out.view(np.uint8).reshape(-1))
        found: NDArray[np.int32] = slots[np.lexsort((lengths, *out.astype(np.uint64).T[::-1]))]
        return found

    def fill(self, names: Packed) -> None:
        """Assign the slots 0, 1, 2, ... in order to different names; no slot is assigned yet."""
        self.add(names, np.full(len(names), UNKNOWN, np.int32), len(names))

    def release(self, slots: NDArray[np.int32]) -> list[str]:
        """Release slots; returns whose they were."""
        whose = self.names(slots)
        kernel.remove(self._names, slots)
        self._tidy()
        return whose

    def _reserve(self, more: int, more_bytes: int) -> None:
        """Make room for that many more names, of so many bytes together."""
        at = self._names.at
        self._grow(("text",), int(at[kernel.USED]) + more_bytes)
        self._grow(("begins", "lengths", "free"), self.top + more)
        if 2 * (int(at[kernel.ENTRIES]) + more) > len(self._names.table):
            self._rebuild(more)

    def _grow(self, which: tuple[str, ...], need: int) -> None:
        for name in which:
            array = getattr(self._names, name)
            if need > len(array):
                size = max(need, len(array) * 3 // 2)
                self._names = self._names._replace(**{name: grown(array, size)})

    def _tidy(self) -> None:
        """Take back the bytes of names that are gone, where they are more than those that are there."""
        at = self._names.at
        if at[kernel.DEAD] > _FIRST + at[kernel.USED] // 2:
            self._rebuild(0)

    def _rebuild(self, more: int) -> None:
        """A table without removed places, with room for more names, and the names without gaps."""
        held, at = self._names, self._names.at
        count = int(at[kernel.TOP] - at[kernel.FREE]) + more
        size = max(len(held.text) - int(at[kernel.DEAD]), _FIRST)
        text = zeros(size, np.uint8)
        table = zeros(1 << (2 * max(count, _FIRST)).bit_length(), np.int64)
        table[:] = -1
        self._names = held._replace(table=table)
        kernel.rebuild(self._names, text)
        self._names = self._names._replace(text=text)
        blank(held.text)


class Topics:
    """Contact topics as small numbers; topics that no customer references any more are deleted."""

    __slots__ = ("free", "of", "texts")

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self.texts: list[str] = []
        self.free: list[int] = []

    def number(self, topic: str) -> int:
        """The number of `topic`; a long topic is shortened to its beginning and a digest."""
        if len(topic) > MAX_TOPIC:
            topic = f"{topic[:200]}... {hashlib.blake2b(topic.encode(), digest_size=12).hexdigest()}"
        found = self.of.get(topic)
        if found is not None:
            return found
        if self.free:
            number = self.free.pop()
            self.texts[number] = topic
        else:
            number = len(self.texts)
            self.texts.append(topic)
        self.of[topic] = number
        return number

    def release(self, number: int) -> None:
        """Delete the topic."""
        del self.of[self.texts[number]]
        self.texts[number] = ""
        self.free.append(number)

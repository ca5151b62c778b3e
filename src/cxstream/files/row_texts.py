"""Texts of rows for the kernel that reads them, one column after the other: as they are, or by codes of few words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
from pyarrow import types

from cxstream.files.parquet_pages import MOST_WORDS
from cxstream.kernels.parquet_values import longest_of
from cxstream.kernels.rows import take_codes, take_offsets
from cxstream.scoring.codec.packed import AFTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.files.parquet_leaves import Chunk, Marks

Value: TypeAlias = Callable[[int], Any]
"""Gives the value of a row."""

ESCAPED = 6
"""Bytes of JSON that a character may become."""


class Unfit(Exception):  # noqa: N818 - no error: another way is taken
    """The columns are for the general decoder."""


class _Laid(NamedTuple):
    """Texts one behind the other: all of them, where each begins and ends, and how many bytes before it do not belong to it."""

    text: bytes
    offsets: NDArray[np.int32]
    gap: int

    def validate(self, *, full: bool) -> None:
        """Check that each is UTF-8.

        Raises:
            pa.ArrowInvalid: one is not.
        """
        if not self.gap:
            buffers = pa.py_buffer(self.offsets), pa.py_buffer(self.text)
            pa.StringArray.from_buffers(len(self.offsets) - 1, *buffers).validate(full=full)
            return
        # With ASCII between the texts, all together are UTF-8 where each is.
        whole = np.frombuffer(self.text, np.uint8).copy()
        begins = self.offsets[:-1][np.diff(self.offsets) > 0]
        for i in range(self.gap):
            whole[begins + i] = 0
        ends = np.array([0, len(whole)], np.int32)
        pa.StringArray.from_buffers(1, pa.py_buffer(ends), pa.py_buffer(whole)).validate(full=full)


class Texts:
    """Texts of all columns, one after the other.

    Args:
        n: rows.
        most: columns at most.

    Attributes:
        parts: the texts of each column.
        bases: where the part of each column begins.
        gaps: how many bytes before each text of a column do not belong to it.
        text: all texts, and AFTER, once they are joined.
        coded: the row of codes of each column; -1 for one without.
        words: what there is to look up: column, space of its words, and how many, by the row of codes.
        longest: at least the bytes of the texts of a row in JSON.
        places: int32[2, n], room for who adds texts.
    """

    def __init__(self, n: int, most: int) -> None:
        self.parts: list[Any] = []
        self.bases: list[int] = []
        self.gaps: list[int] = []
        self.text = b""
        # Those of Arrow, and the offsets of the others.
        self._columns: list[tuple[Any, int, int, int]] = []
        self.coded: list[int] = []
        self.words: list[tuple[int, int, int]] = []
        self._offsets = np.empty((most, n + 1), np.int32)
        self._codes = np.empty((most, n), np.int32)
        self.places = np.empty((2, n), np.int32)
        self.longest = self._size = 0

    @property
    def offsets(self) -> NDArray[np.int32]:
        """Where the texts of each column begin and end in its part, int32[columns, n + 1]."""
        return self._offsets[: len(self.bases)]

    @property
    def codes(self) -> NDArray[np.int32]:
        """The codes of each column that has some, int32[coded, n]."""
        return self._codes[: len(self.words)]

    def add(self, column: Any | None, n: int, space: int = -1) -> int:
        """Take a column of strings, as they are or by codes, or nothing; its number.

        Args:
            column: n strings.
            n: how many.
            space: of the words of a dictionary; -1 for none.

        Raises:
            Unfit: offsets do not lie within the data.
        """
        number = self._begin()
        if column is None or not n:
            self._offsets[number] = 0
        elif not types.is_dictionary(column.type):
            self._take(column, n, number)
        else:
            codes, words = len(self.words), len(column.dictionary)
            self.coded[number] = codes
            self.words.append((number, space, words))
            self._take(column.dictionary, words, number)
            indices = column.indices
            take_codes(
                np.frombuffer(indices.buffers()[1], np.int32, n, 4 * indices.offset),
                words,
                self._codes[codes],
            )
        return number

    def put(self, chunk: Chunk, n: int, space: int, marks: Marks) -> tuple[int, int, Value]:
        """Take the next n texts of a leaf of Parquet.

        Returns:
            Number of the column, how many have a value, and what gives the value of a row that has one.

        Raises:
            Damaged: it cannot be read here.
        """
        number, words = self._begin(), len(chunk.ends) - 1
        offsets = self._offsets[number]
        if not (chunk.coded and 0 < words <= n):
            count, parts, gap = chunk.take_texts(n, marks, self.places, offsets)
            base = self._size
            if count:
                self.gaps[number] = gap
                self._append(offsets, parts, longest_of(offsets), gap)
            return (
                number,
                count,
                lambda i: self.text[base + gap + offsets[i] : base + offsets[i + 1]].decode(),
            )
        codes = self._codes[len(self.words)]
        count = chunk.take_codes(n, marks, self.places, codes)
        offsets[: words + 1] = chunk.ends
        if count:
            self.coded[number] = len(self.words)
            self.words.append((number, space, words))
            self._append(chunk.ends, [chunk.words[: chunk.ends[-1]]], chunk.longest, 0)
        return number, count, lambda i: chunk.word(int(codes[i]))

    def _begin(self) -> int:
        """A column more; its number."""
        self.bases.append(self._size)
        self.gaps.append(0)
        self.coded.append(-1)
        return len(self.bases) - 1

    def _append(self, offsets: NDArray[np.int32], parts: Sequence[Any], longest: int, gap: int) -> None:
        begin, self._size = self._size, self._size + int(offsets[-1])
        self.parts += parts
        self.longest += longest * ESCAPED
        self._columns.append((offsets, gap, begin, self._size))

    def _take(self, column: Any, n: int, number: int) -> None:
        data = column.buffers()[2]
        if data is None:
            self._offsets[number] = 0
            return
        found = np.frombuffer(column.buffers()[1], np.int32, n + 1, 4 * column.offset)
        longest = take_offsets(found, data.size, self._offsets[number, : n + 1])
        if longest < 0:
            raise Unfit
        first, last = int(found[0]), int(found[-1])
        self.parts.append(data.slice(first, last - first))
        self._size += last - first
        self.longest += longest * ESCAPED
        self._columns.append((column, 0, self.bases[-1], self._size))

    def joined(self) -> bytes:
        """All texts, and AFTER.

        Raises:
            pa.ArrowInvalid: one is not UTF-8.
        """
        self.text = text = b"".join([*self.parts, AFTER])
        self.parts.clear()
        if not text.isascii():
            for column, gap, begin, end in self._columns:
                some = text[begin:end]
                if not some.isascii():
                    found = _Laid(some, column, gap) if isinstance(column, np.ndarray) else column
                    found.validate(full=True)
        return text


def is_coded(column: Any) -> bool:
    """Whether a column with a dictionary is taken as it is: few words, none of which is a null."""
    kind, words = column.type, column.dictionary
    plain = types.is_string(kind.value_type) and types.is_int32(kind.index_type) and not words.null_count
    return plain and 0 < len(words) <= min(len(column), MOST_WORDS)

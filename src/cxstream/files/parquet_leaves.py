"""Simple columns of Parquet, read page by page into arrays for the kernel of rows: texts, numbers and flags, or none.

For columns that are empty in most rows this costs a fraction of what Arrow takes. Anything else, and any page that has something
unusual, is for Arrow: Damaged says so.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import zstandard
from pyarrow import types

from cxstream.files.parquet_columns import Plain, inner
from cxstream.files.parquet_pages import BY_DICTIONARY, DATA, DICTIONARY, Page, is_coded
from cxstream.kernels.names import UNKNOWN
from cxstream.kernels.parquet_values import (
    AS_THEY_ARE,
    AT,
    CODES,
    DAMAGED,
    END,
    GAP,
    PLAIN,
    RUNS,
    STREAM,
    STREAMS,
    VALUES,
    WIDTH,
    open_page,
    place_texts,
    take_codes,
    take_numbers,
    take_texts,
    take_words,
)
from cxstream.kernels.wide import WIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_RUNS, _AS_THEY_ARE, _DICTIONARY_AS_IT_IS = 3, 0, (0, 2)
_MOST_OFFSET = np.iinfo(np.int32).max
# Small pages lie close together: one read gets several.
_NEIGHBOURS_BYTES = 16 << 10
# Leaves that have a bit each, beside one for rows without `data`.
MOST_LEAVES = 62
NUMBERS = {"INT32": "<i4", "INT64": "<i8", "FLOAT": "<f4", "DOUBLE": "<f8"}
# Larger pages are for Arrow: what is made of one takes several times its bytes. Writers end a page at 1 MiB, or some 20,000 rows.
_MOST_BYTES, _MOST_FLAGS = 4 << 20, 1 << 20
_FLAGS = np.array([0.0, 1.0])
_UNKNOWN = -1
_NO_NUMBERS, _NO_WHOLES = np.empty(0), np.empty(0, np.int64)
_NO_BYTES, _NO_ENDS, _NO_CODES = np.empty(0, np.uint8), np.zeros(1, np.int32), np.empty(0, np.int32)


class Damaged(Exception):  # noqa: N818 - no error yet: Arrow may be able to read it
    """A page cannot be read here."""


class Leaf(NamedTuple):
    """A column of simple values.

    Attributes:
        name: of the field.
        kind: its type in Arrow.
        number: of the leaf in the file.
        physical: its type in Parquet.
        most: the level of a row that has a value.
        outer: whether the level 0 says that there is no `data`.
        is_text: whether values are texts.
        is_flag: whether they are flags.
        make: makes a value plain.
    """

    name: str
    kind: Any
    number: int
    physical: str
    most: int
    outer: bool
    is_text: bool
    is_flag: bool
    make: Plain


class Marks(NamedTuple):
    """Where to say which of n rows have a value.

    Attributes:
        valid: uint64[n].
        bit: set in the rows that have one.
        without: uint64[n].
        outer: set in the rows without `data`; 0 where another leaf says so.
    """

    valid: NDArray[np.uint64]
    bit: np.uint64
    without: NDArray[np.uint64]
    outer: np.uint64


def leaf_of(file: Any, path: str, field: Any, outer: bool) -> Leaf | None:
    """The leaf of a field; None where its values are not simple ones.

    Args:
        file: pyarrow's ParquetFile.
        path: of the leaf.
        field: of Arrow.
        outer: whether the field is one of a struct that may be null.
    """
    schema, kind = file.schema, field.type
    found = [i for i in range(len(schema.names)) if schema.column(i).path == path]
    if len(found) != 1:
        return None
    column = schema.column(found[0])
    fits = {
        "BYTE_ARRAY": types.is_string(kind),
        "INT32": types.is_int8(kind) or types.is_int16(kind) or types.is_int32(kind),
        "INT64": types.is_int64(kind) or types.is_timestamp(kind),
        "FLOAT": types.is_float32(kind),
        "DOUBLE": types.is_float64(kind),
        "BOOLEAN": types.is_boolean(kind),
    }.get(column.physical_type, False)
    most = outer + field.nullable
    if not fits or column.max_repetition_level or column.max_definition_level != most:
        return None
    make = inner(kind) if types.is_floating(kind) else None
    return Leaf(
        field.name, kind, found[0], column.physical_type, most, outer, types.is_string(kind), types.is_boolean(kind), make
    )  # fmt: skip


def _is_readable(leaf: Leaf, pages: Sequence[Page]) -> bool:
    allowed = {_AS_THEY_ARE, *BY_DICTIONARY, *((_RUNS,) if leaf.physical == "BOOLEAN" else ())}
    first = bool(pages) and pages[0].kind == DICTIONARY
    return all(
        page.encoding in (_DICTIONARY_AS_IT_IS if i == 0 and first else allowed)
        and (page.levels == _RUNS or not leaf.most or (i == 0 and first))
        and (page.kind == DATA or (i == 0 and first))
        for i, page in enumerate(pages)
    )


class Chunk:
    """A leaf in a row group, which is read from its first row on.

    Args:
        raw: descriptor of the file.
        leaf: which.
        chunk: pyarrow's metadata of it.
        pages: its pages.

    Attributes:
        leaf: see above.
        coded: whether all its texts are in a dictionary of few words.
        words: uint8[...], those of the dictionary, one behind the other.
        ends: int32[words + 1], where each begins and ends.
        longest: the bytes of the longest.

    Raises:
        Damaged: Arrow must read it.
    """

    def __init__(self, raw: int, leaf: Leaf, chunk: Any, pages: Sequence[Page]) -> None:
        if not _is_readable(leaf, pages):
            raise Damaged
        self._raw, self.leaf, self._pages, self._next = raw, leaf, pages, 0
        if any(page.unpacked > _MOST_BYTES or page.values > chunk.num_values for page in pages):
            raise Damaged
        packing = chunk.compression
        if packing not in _UNPACK:
            raise Damaged
        try:
            self._unpack = _UNPACK[packing]()
        except (pa.ArrowException, ValueError, OSError) as error:
            raise Damaged from error
        self._read, self._begin, self._room = memoryview(b""), 0, _NO_BYTES
        self._data, self._state, self._left = _NO_BYTES, np.zeros((STREAMS, STREAM), np.int64), 0
        self._page, self._plain = memoryview(b""), _NO_BYTES
        self._table = self._listed = _NO_NUMBERS
        self._wholes = self._listed_wholes = _NO_WHOLES
        self.words, self.ends, self.longest = _NO_BYTES, _NO_ENDS, 0
        self.coded = leaf.physical == "BYTE_ARRAY" and is_coded(chunk, list(pages))
        self._strings: list[str | None] = []
        self._slots = self._codes = _NO_CODES
        if pages and pages[0].kind == DICTIONARY:
            self._take_dictionary(pages[0])
            self._next = 1

    def word(self, code: int) -> str:
        """A word of the dictionary."""
        if not self._strings:
            self._strings = [None] * (len(self.ends) - 1)
        found = self._strings[code]
        if found is None:
            found = self.words[self.ends[code] : self.ends[code + 1]].tobytes().decode()
            self._strings[code] = found
        return found

    def customers(self, n: int) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
        """What `Rows` says of customers of the next n rows, which the next call of `take_texts` fills in; None without a large dictionary."""
        words = len(self.ends) - 1
        if self.coded or not words:
            return None
        if not len(self._slots):
            self._slots = np.full(words, UNKNOWN, np.int32)
        # In rows without a word of the dictionary it is any: names are compared.
        self._codes = np.zeros(n, np.int32)
        return self._codes, self._slots

    def _unpacked(self, page: Page) -> memoryview:
        """The bytes of a page."""
        begin = page.start - self._begin
        if begin < 0 or begin + page.packed > len(self._read):
            self._read = memoryview(os.pread(self._raw, max(page.packed, _NEIGHBOURS_BYTES), page.start))
            self._begin, begin = page.start, 0
        packed, size = self._read[begin : begin + page.packed], page.unpacked
        if len(packed) < page.packed:
            raise Damaged
        try:
            found = self._unpack(packed, size) if size else packed
        except (pa.ArrowException, zstandard.ZstdError, ValueError, OSError) as error:
            raise Damaged from error
        if len(found) != size:
            raise Damaged
        return memoryview(found)

    def _with_room(self, found: memoryview) -> NDArray[np.uint8]:
        """Bytes of a page, WIDE more behind them, until the next page is unpacked."""
        size = len(found)
        # Room that is there: memory that is asked for again costs as much as what is put there.
        if size + WIDE > len(self._room):
            self._room = np.empty(size + WIDE, np.uint8)
        self._room[:size] = np.frombuffer(found, np.uint8)
        return self._room

    def _take_dictionary(self, page: Page) -> None:
        data, size = self._with_room(self._unpacked(page)), page.unpacked
        if self.leaf.physical == "BYTE_ARRAY":
            # Each word has at least its length.
            if page.values > size // GAP:
                raise Damaged
            self.ends = np.empty(page.values + 1, np.int32)
            self.words = np.empty(size + WIDE, np.uint8)
            self.longest = take_words(data, size, self.ends, self.words)
            if self.longest == DAMAGED:
                raise Damaged
        elif self.leaf.physical == "BOOLEAN":
            raise Damaged
        else:
            self._listed, self._listed_wholes = self._numbers(data, 0, size, page.values)
            if len(self._listed) < page.values:
                raise Damaged

    def _numbers(
        self, data: NDArray[np.uint8], at: int, end: int, most: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The numbers that a page has from a place on, so many at most, and the same where they are whole ones."""
        kind = np.dtype(NUMBERS[self.leaf.physical])
        found = np.frombuffer(data[at:end].tobytes(), kind, min((end - at) // kind.itemsize, most))
        if kind.kind == "i":
            # As Arrow does it, 8 and 16 bits are cut out of 32.
            found = found.astype(f"<i{self.leaf.kind.bit_width // 8}")
            return found.astype(np.float64), found.astype(np.int64)
        with np.errstate(invalid="ignore"):  # a NaN that signals
            return found.astype(np.float64), _NO_WHOLES

    def _turn(self) -> None:
        """Go to the next page."""
        if self._next >= len(self._pages):
            raise Damaged
        page, leaf = self._pages[self._next], self.leaf
        self._next += 1
        found, size = self._unpacked(page), page.unpacked
        self._left = page.values
        form = CODES if page.encoding in BY_DICTIONARY else RUNS if page.encoding == _RUNS else AS_THEY_ARE
        if form == AS_THEY_ARE and leaf.is_text:
            # Texts stay where they are.
            self._page, self._plain = found, np.frombuffer(found, np.uint8)
            found = found[: GAP + int.from_bytes(found[:GAP], "little") if leaf.most else 0]
        self._data = self._with_room(found)
        at = open_page(self._data, size, leaf.most, form, self._state)
        if at == DAMAGED:
            raise Damaged
        self._table, self._wholes = self._listed, self._listed_wholes
        if form == RUNS:
            self._table = _FLAGS
        elif form == AS_THEY_ARE and leaf.physical == "BOOLEAN":
            if page.values > _MOST_FLAGS:
                raise Damaged
            count = min(8 * (size - at), page.values)
            self._table = np.unpackbits(self._data[at:size], count=count, bitorder="little").astype(
                np.float64
            )
            self._state[VALUES, [AT, END]] = 0, len(self._table)
        elif form == AS_THEY_ARE and leaf.physical != "BYTE_ARRAY":
            self._table, self._wholes = self._numbers(self._data, at, size, page.values)
            self._state[VALUES, [AT, END]] = 0, len(self._table)

    def _take(self, n: int, take: Callable[[int, int], int]) -> int:
        """Take the next n rows, those of each page by one call with the first and how many; how many have a value."""
        first = values = 0
        while first < n:
            if not self._left:
                self._turn()
            some = min(n - first, self._left)
            if some:
                found = take(first, some)
                if found == DAMAGED:
                    raise Damaged
                values += found
                self._left -= some
                first += some
        return values

    def take_codes(self, n: int, marks: Marks, places: NDArray[np.int32], codes: NDArray[np.int32]) -> int:
        """The places in the dictionary of the next n rows.

        Args:
            n: rows.
            marks: filled in.
            places: int32[2, n], room.
            codes: int32[n], filled in where there is a value.

        Returns:
            How many have a value.
        """
        words = len(self.ends) - 1

        def take(first: int, some: int) -> int:
            return take_codes(
                self._data, self._state, first, some, self.leaf.most, words, *marks, places[0], codes
            )

        return self._take(n, take)

    def take_numbers(
        self, n: int, marks: Marks, places: NDArray[np.int32], numbers: NDArray[np.float64]
    ) -> tuple[int, NDArray[np.int64]]:
        """The numbers or flags of the next n rows.

        Args:
            n: rows.
            marks: filled in.
            places: int32[2, n], room.
            numbers: float64[n], filled in where there is a value.

        Returns:
            How many have a value, and int64[n] with the same where they are whole numbers; else int64[0].
        """
        exact = np.empty(n if self.leaf.physical in {"INT32", "INT64"} else 0, np.int64)

        def take(first: int, some: int) -> int:
            return take_numbers(
                self._data, self._state, first, some, self.leaf.most, self._table, self._wholes, *marks, places[0], places[1],
                numbers, exact,
            )  # fmt: skip

        return self._take(n, take), exact

    def take_texts(
        self, n: int, marks: Marks, places: NDArray[np.int32], offsets: NDArray[np.int32]
    ) -> tuple[int, list[Any], int]:
        """The texts of the next n rows.

        Args:
            n: rows.
            marks: filled in.
            places: int32[2, n], room.
            offsets: int32[n + 1], where each begins and ends; filled in.

        Returns:
            How many have a value; all of them, in parts that lie one behind the other; and how many bytes before each do not belong
            to it.
        """
        offsets[0] = 0
        if self._are_plain(n):
            return self._take_plain(n, marks, places, offsets)
        text = _NO_BYTES

        def take(first: int, some: int) -> int:
            nonlocal text
            used, values = int(offsets[first]), self._state[VALUES]
            plain = values[WIDTH] == PLAIN
            room = int(values[END] - values[AT]) if plain else some * self.longest
            if used + room > _MOST_OFFSET:
                raise Damaged
            if used + room + WIDE > len(text):
                larger = np.empty(max(used + room + WIDE, 2 * used), np.uint8)
                larger[:used] = text[:used]
                text = larger
            return take_texts(
                self._data, self._plain, self._state, first, some, self.leaf.most, self.words, self.ends, *marks, places[0],
                places[1], offsets, text, self._codes,
            )  # fmt: skip

        found = self._take(n, take)
        return found, [text[: offsets[n]]], 0

    def _are_plain(self, n: int) -> bool:
        """Whether none of the texts of the next n rows is a word of the dictionary."""
        if self._left and self._state[VALUES, WIDTH] != PLAIN:
            return False
        n -= self._left
        for page in self._pages[self._next :]:
            if n <= 0:
                break
            if page.encoding in BY_DICTIONARY:
                return False
            n -= page.values
        return True

    def _take_plain(
        self, n: int, marks: Marks, places: NDArray[np.int32], offsets: NDArray[np.int32]
    ) -> tuple[int, list[Any], int]:
        """As `take_texts`, where they lie in their pages."""
        parts: list[Any] = []

        def take(first: int, some: int) -> int:
            begin, end = self._state[VALUES, [AT, END]].tolist()
            if offsets[first] + end - begin > _MOST_OFFSET:
                raise Damaged
            found = place_texts(
                self._data, self._plain, self._state, first, some, self.leaf.most, *marks, places[0], offsets
            )
            parts.append(self._page[begin : self._state[VALUES, AT]])
            return found

        found = self._take(n, take)
        return found, parts, GAP


def _of_snappy() -> Callable[[memoryview, int], Any]:
    codec = pa.Codec("snappy")

    def unpack(packed: memoryview, size: int) -> Any:
        if _length_of_snappy(packed) != size:
            raise Damaged
        return codec.decompress(packed, size)

    return unpack


def _of_zstd() -> Callable[[memoryview, int], Any]:
    # Arrow makes the tables of the decoder again for each page.
    decoder = zstandard.ZstdDecompressor()

    def unpack(packed: memoryview, size: int) -> Any:
        # What a frame says of its size is made room for, whatever the page says.
        if zstandard.frame_content_size(packed) not in {size, _UNKNOWN}:
            raise Damaged
        return decoder.decompress(packed, size, allow_extra_data=False)

    return unpack


def _as_it_is() -> Callable[[memoryview, int], Any]:
    return lambda packed, _: packed


# Decoders that fail where a page promises more bytes than come out; those of others leave what was in memory before.
_UNPACK = {"UNCOMPRESSED": _as_it_is, "SNAPPY": _of_snappy, "ZSTD": _of_zstd}


def _length_of_snappy(packed: memoryview) -> int:
    """How many bytes come out, as the first bytes say."""
    found = 0
    for i, byte in enumerate(packed[:5]):
        found |= (byte & 127) << 7 * i
        if not byte & 128:
            return found
    raise Damaged

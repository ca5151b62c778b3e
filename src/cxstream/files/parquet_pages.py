"""How much the pages of a Parquet file hold, by the headers of the pages themselves, before any of them is unpacked.

The metadata at the end of a file may say anything. A few bytes in a page can stand for gigabytes: it may be compressed, a
value of a dictionary may be there once and meant in every row, a text may repeat the one before it, and one row may hold a
list of millions. A page header is a struct in Thrift's compact protocol.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa

from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

# Most bytes of a page, unpacked. Writers make pages of 1 MiB, some of them of up to 100 MB; a page has whole records.
_PAGE_BYTES, _PAGE_RECORDS = 256 << 20, 16
# What a batch of rows may take as Arrow has it, whatever the values are.
_BATCH_BYTES = 16 << 20
# What all lists of a row group may take in memory, where they are long ones, and in any case.
_LISTS_BYTES, _LONG_LIST, _ALL_LISTS_BYTES = 512 << 20, 64, 4 << 30

_HEADER_BYTES, _MOST_HEADER_BYTES = 4096, 16 << 20
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_TYPE, _UNPACKED, _PACKED, _DATA_HEADER, _DICTIONARY_HEADER, _DATA_HEADER_V2 = 1, 2, 3, 5, 7, 8
_NUM_VALUES = 1
_NUMBER_BYTES, _ITEM_BYTES = 8, 64


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        kind: 0 and 3 data, 2 a dictionary.
        unpacked: bytes when it is unpacked.
        values: how many it holds.
        start: offset of what follows its header.
        packed: bytes that follow.
    """

    kind: int
    unpacked: int
    values: int
    start: int
    packed: int


def rows_at_a_time(
    file: Any, path: Path, columns: Collection[str], rows: int, max_record_bytes: int = 0
) -> int:
    """How many rows may be read at a time, so that memory stays within bounds.

    Args:
        file: pyarrow's ParquetFile.
        path: the file.
        columns: those that will be read.
        rows: how many there should be.
        max_record_bytes: most bytes of a record: a page may hold 16 of them, and 256 MiB in any case.

    Raises:
        InputError: a page or the lists of a row group are too large, or a page cannot be read.
    """
    widest, page_bytes = 0, max(_PAGE_BYTES, _PAGE_RECORDS * max_record_bytes)
    with path.open("rb") as raw:
        for group in range(file.metadata.num_row_groups):
            chunks = file.metadata.row_group(group)
            width = 0
            if not chunks.num_rows:
                continue
            for number in range(chunks.num_columns):
                chunk = chunks.column(number)
                if chunk.path_in_schema.split(".")[0] in columns:
                    leaf = file.schema.column(number)
                    where = f"{path}: column {chunk.path_in_schema!r}, row group {group + 1}"
                    width += _width(raw, chunk, leaf, chunks.num_rows, where, page_bytes)
            widest = max(widest, width)
    return max(1, min(rows, _BATCH_BYTES // max(1, widest)))


def _width(raw: BinaryIO, chunk: Any, leaf: Any, rows: int, where: str, page_bytes: int) -> int:
    """The most bytes of one value of a column chunk."""
    try:
        pages = list(_pages(raw, chunk, where, page_bytes))
        longest = _longest(raw, chunk, leaf, pages)
    except (struct.error, LookupError, pa.ArrowException, OSError, OverflowError) as error:
        raise InputError(f"{where}: a page that cannot be read ({error}); write the file again") from error
    items = sum(page.values for page in pages if page.kind in {_DATA, _DATA_V2}) - rows
    size = items * (longest + _ITEM_BYTES)
    if leaf.max_repetition_level and size > (_LISTS_BYTES if items > _LONG_LIST * rows else _ALL_LISTS_BYTES):
        raise InputError(
            f"{where}: lists of {items} values beside {rows} rows, of up to {longest} bytes each, are too many to be "
            "held; write row groups of fewer rows"
        )
    return longest


def _longest(raw: BinaryIO, chunk: Any, leaf: Any, pages: list[Page]) -> int:
    if chunk.physical_type == "FIXED_LEN_BYTE_ARRAY":
        return int(leaf.length)
    if chunk.physical_type != "BYTE_ARRAY":
        return _NUMBER_BYTES
    # A text that is written as the end of the one before it may be as long as all that the page has of it.
    shared = "DELTA_BYTE_ARRAY" in chunk.encodings
    longest = max((page.unpacked for page in pages), default=0) if shared else 0
    for page in pages:
        if page.kind == _DICTIONARY:
            raw.seek(page.start)
            longest = max(longest, _longest_in(raw.read(page.packed), page, chunk.compression))
    return longest


def _longest_in(data: bytes, page: Page, compression: str) -> int:
    """The longest value of a dictionary: each has its length, in 4 bytes, before it."""
    if compression != "UNCOMPRESSED":
        name = {"LZ4": "lz4_raw"}.get(compression, compression.lower())
        try:
            data = pa.Codec(name).decompress(data, page.unpacked, asbytes=True)
        except (pa.ArrowException, OSError, ValueError):
            return page.unpacked  # framed as Hadoop does it, or damaged, which Arrow will say
    at = longest = 0
    for _ in range(page.values):
        if at + 4 > len(data):
            break
        (size,) = struct.unpack_from("<I", data, at)
        longest = max(longest, min(size, len(data)))
        at += 4 + size
    return longest


def _pages(raw: BinaryIO, chunk: Any, where: str, page_bytes: int) -> Iterator[Page]:
    at = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < (chunk.dictionary_page_offset or 0) < at:
        at = chunk.dictionary_page_offset
    end = at + chunk.total_compressed_size
    # The metadata counts values, not pages; Arrow reads until it has so many of them.
    while at < end:
        page = _page(raw, at)
        if not 0 <= page.unpacked <= page_bytes:
            raise InputError(
                f"{where}: a page of {page.unpacked} bytes is larger than {page_bytes}; write smaller pages, or raise "
                f"replay.max_record_bytes, of which a page may have {_PAGE_RECORDS}"
            )
        if page.packed < 0:
            raise InputError(f"{where}: a page of {page.packed} bytes; write the file again")
        yield page
        at = page.start + page.packed


def _page(raw: BinaryIO, at: int) -> Page:
    size = _HEADER_BYTES
    while True:
        raw.seek(at)
        data = raw.read(size)
        try:
            reader = _Thrift(data)
            fields = reader.struct()
            break
        except IndexError:
            if len(data) < size or size >= _MOST_HEADER_BYTES:
                raise
            size *= 16
    said = fields.get(_DATA_HEADER) or fields.get(_DATA_HEADER_V2) or fields.get(_DICTIONARY_HEADER) or {}
    values = _number(said, _NUM_VALUES) if isinstance(said, dict) and _NUM_VALUES in said else 0
    kind, unpacked, packed = (_number(fields, field) for field in (_TYPE, _UNPACKED, _PACKED))
    return Page(kind, unpacked, values, at + reader.at, packed)


def _number(fields: dict[int, Any], field: int) -> int:
    value = fields[field]
    if not isinstance(value, int):
        raise IndexError(f"field {field} is no number")
    return value


# Types of Thrift's compact protocol; a list of so many items has their number behind its head.
_FLAGS, _INTEGERS, _TEXT, _LISTS, _STRUCT, _MANY = (1, 2), (4, 5, 6), 8, (9, 10), 12, 15
_FIXED = {3: 1, 7: 8}
_LAST_BYTE = 0x80


class _Thrift:
    """Reads one struct of Thrift's compact protocol: its numbers, flags and structs by field; the rest is passed over.

    Raises:
        IndexError: the data ends within it, or is none.
    """

    _DEEPEST = 16

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > self._DEEPEST:
            raise IndexError("structs within structs")
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._zigzag()
            found[field] = self._value(head & 0x0F, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _FLAGS:
            return kind == _FLAGS[0]
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in _LISTS:
            head = self._byte()
            count = head >> 4 if head >> 4 != _MANY else self._varint()
            for _ in range(count):
                self._value(head & 0x0F, depth)
        elif kind == _TEXT or kind in _FIXED:
            self._skip(_FIXED[kind] if kind in _FIXED else self._varint())
        else:
            raise IndexError(f"a field of type {kind}")
        return None

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < _LAST_BYTE:
                return value
            shift += 7

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)

    def _skip(self, size: int) -> None:
        self.at += size
        if self.at > len(self._data):
            raise IndexError("it ends early")

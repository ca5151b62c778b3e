"""How much the pages of a Parquet file hold, by the headers of the pages themselves, before any of them is unpacked.

The metadata at the end of a file may say anything. A few bytes in a page can stand for gigabytes: it may be compressed, a
value of a dictionary may be there once and meant in every row, a text may repeat the one before it, and one row may hold a
list of millions. A page header is a struct in Thrift's compact protocol.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from cxstream.kernels.pages import (
    DEEPEST,
    ENDS_EARLY,
    FOUND,
    LEVELS,
    NO_HEADER,
    OF_DATA,
    OF_DATA_V2,
    OF_DICTIONARY,
    longest_value,
    page_header,
)
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
# Small pages lie close together: one read gets the headers of several.
_NEIGHBOURS_BYTES = 64 << 10
DATA, DICTIONARY, _DATA_V2 = 0, 2, 3
_STRUCT_OF = {DATA: OF_DATA, DICTIONARY: OF_DICTIONARY, _DATA_V2: OF_DATA_V2}
# No number that a header says of itself.
_NOTHING = -(1 << 63)
# A dictionary that is kept as it is; a larger one would be copied for every few rows.
MOST_WORDS, _WORDS_BYTES = 1024, 64 << 10
BY_DICTIONARY = (2, 8)
"""Encodings of places in a dictionary: before version 2, and since."""
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
        encoding: how its values are written.
        levels: how the levels of a page of data before version 2 are written.
    """

    kind: int
    unpacked: int
    values: int
    start: int
    packed: int
    encoding: int
    levels: int


class Examined(NamedTuple):
    """What the pages of a file say.

    Attributes:
        rows: how many may be read at a time, so that memory stays within bounds.
        coded: leaves whose values are all in dictionaries of few words.
        pages: those of each leaf, by row group and number of the leaf.
        flat: numbers of the leaves that have one value a row.
    """

    rows: int
    coded: list[str]
    pages: dict[tuple[int, int], list[Page]]
    flat: set[int]


def examined(
    file: Any, path: Path, columns: Collection[str], rows: int, max_record_bytes: int = 0
) -> Examined:
    """Look at the headers of all pages.

    Args:
        file: pyarrow's ParquetFile.
        path: the file.
        columns: those that will be read.
        rows: how many rows there should be at a time.
        max_record_bytes: most bytes of a record: a page may hold 16 of them, and 256 MiB in any case.

    Raises:
        InputError: a page or the lists of a row group are too large, or a page cannot be read.
    """
    widest, page_bytes = 0, max(_PAGE_BYTES, _PAGE_RECORDS * max_record_bytes)
    coded: dict[str, bool] = {}
    all_pages: dict[tuple[int, int], list[Page]] = {}
    flat: set[int] = set()
    with path.open("rb", buffering=_NEIGHBOURS_BYTES) as raw:
        for group in range(file.metadata.num_row_groups):
            chunks = file.metadata.row_group(group)
            width = 0
            if not chunks.num_rows:
                continue
            for number in range(chunks.num_columns):
                chunk = chunks.column(number)
                name = chunk.path_in_schema
                if name.split(".")[0] in columns:
                    leaf = file.schema.column(number)
                    where = f"{path}: column {name!r}, row group {group + 1}"
                    longest, pages = _width(raw, chunk, leaf, chunks.num_rows, where, page_bytes)
                    width += longest
                    coded[name] = coded.get(name, True) and is_coded(chunk, pages)
                    all_pages[group, number] = pages
                    if not leaf.max_repetition_level:
                        flat.add(number)
            widest = max(widest, width)
    few_words = [name for name, few in coded.items() if few]
    return Examined(max(1, min(rows, _BATCH_BYTES // max(1, widest))), few_words, all_pages, flat)


def _width(
    raw: BinaryIO, chunk: Any, leaf: Any, rows: int, where: str, page_bytes: int
) -> tuple[int, list[Page]]:
    """The most bytes of one value of a column chunk, and its pages."""
    try:
        pages = list(_pages(raw, chunk, where, page_bytes))
        longest = _longest(raw, chunk, leaf, pages)
    except (struct.error, LookupError, pa.ArrowException, OSError, OverflowError) as error:
        raise InputError(f"{where}: a page that cannot be read ({error}); write the file again") from error
    items = sum(page.values for page in pages if page.kind in {DATA, _DATA_V2}) - rows
    size = items * (longest + _ITEM_BYTES)
    if leaf.max_repetition_level and size > (_LISTS_BYTES if items > _LONG_LIST * rows else _ALL_LISTS_BYTES):
        raise InputError(
            f"{where}: lists of {items} values beside {rows} rows, of up to {longest} bytes each, are too many to be "
            "held; write row groups of fewer rows"
        )
    return longest, pages


def is_coded(chunk: Any, pages: list[Page]) -> bool:
    """Whether all texts of a column chunk are in a dictionary of few words."""
    return (
        chunk.physical_type == "BYTE_ARRAY"
        and all(page.encoding in BY_DICTIONARY for page in pages if page.kind in {DATA, _DATA_V2})
        and sum(page.values for page in pages if page.kind == DICTIONARY) <= MOST_WORDS
        and sum(page.unpacked for page in pages if page.kind == DICTIONARY) <= _WORDS_BYTES
    )


def _longest(raw: BinaryIO, chunk: Any, leaf: Any, pages: list[Page]) -> int:
    if chunk.physical_type == "FIXED_LEN_BYTE_ARRAY":
        return int(leaf.length)
    if chunk.physical_type != "BYTE_ARRAY":
        return _NUMBER_BYTES
    # A text that is written as the end of the one before it may be as long as all that the page has of it.
    shared = "DELTA_BYTE_ARRAY" in chunk.encodings
    longest = max((page.unpacked for page in pages), default=0) if shared else 0
    for page in pages:
        if page.kind == DICTIONARY:
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
    return int(longest_value(np.frombuffer(data, np.uint8), page.values))


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
    size, found = _HEADER_BYTES, np.empty(FOUND, np.int64)
    room = np.empty((DEEPEST, 3), np.int64)
    while True:
        raw.seek(at)
        data = raw.read(size)
        found[:] = _NOTHING
        end = page_header(np.frombuffer(data, np.uint8), found, room)
        if end >= 0:
            break
        if end == NO_HEADER or len(data) < size or size >= _MOST_HEADER_BYTES:
            raise IndexError("it ends early" if end == ENDS_EARLY else "no page header")
        size *= 16
    kind, unpacked, packed = found[:OF_DATA].tolist()
    values, encoding = 0, _NOTHING
    if kind in _STRUCT_OF:
        values, encoding = found[_STRUCT_OF[kind] :][:2].tolist()
    if _NOTHING in (kind, unpacked, packed, values) or values < 0:
        raise IndexError("a page header without its sizes")
    return Page(kind, unpacked, values, at + end, packed, encoding, int(found[LEVELS]))

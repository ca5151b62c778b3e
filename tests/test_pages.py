"""The kernel for headers of Parquet's pages, beside a slow reader of Thrift's compact protocol."""

from __future__ import annotations

import io
import random
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.files.parquet_pages import _page
from cxstream.kernels.pages import DEEPEST, FOUND, longest_value, page_header

NOTHING = -(1 << 63)
SIZES = {3: 1, 7: 8}


class Slow:
    """Reads one struct; IndexError where the data ends within it, ValueError where it is none."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        value = 0
        for i in range(10):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                return value & (1 << 64) - 1
        raise ValueError("a number of more than 64 bits")

    def whole(self) -> int:
        value = self.number()
        return value >> 1 ^ -(value & 1)

    def skip(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise IndexError("it ends early")
        self.at += size

    def struct(self, depth: int) -> dict[int, Any]:
        found: dict[int, Any] = {}
        field = 0
        while head := self.byte():
            field = field + (head >> 4) if head >> 4 else self.whole()
            if not 0 < field < 1 << 15:
                raise ValueError("no number of a member")
            if head & 15 in {1, 2}:
                continue
            value = self.value(head & 15, depth)
            if value is not None:
                found[field] = value
        return found

    def value(self, kind: int, depth: int) -> Any:
        if kind in {4, 5, 6}:
            number = self.number()
            if kind == 5 and number >= 1 << 32:
                raise ValueError("more than 32 bits")
            return number >> 1 ^ -(number & 1) if kind == 5 else None
        if kind in SIZES or kind == 8:
            self.skip(SIZES.get(kind) or self.number())
            return None
        if kind not in {9, 10, 12} or depth + 1 >= DEEPEST:
            raise ValueError("no such type, or too deep")
        if kind == 12:
            return self.struct(depth + 1)
        head = self.byte()
        for _ in range(self.number() if head >> 4 == 15 else head >> 4):
            self.value(3 if head & 15 in {1, 2} else head & 15, depth + 1)
        return None


def slow(data: bytes) -> tuple[int, dict[int, Any]] | None:
    reader = Slow(data)
    try:
        found = reader.struct(0)
    except (IndexError, ValueError):
        return None
    return reader.at, found


def fast(data: bytes) -> tuple[int, list[int]] | None:
    found = np.full(FOUND, NOTHING, np.int64)
    end = page_header(np.frombuffer(data, np.uint8), found, np.empty((DEEPEST, 3), np.int64))
    return None if end < 0 else (end, found.tolist())


HEADERS = [
    bytes.fromhex("1500151415182c15021500150615060000"),  # a page of data
    bytes.fromhex(
        "1506151415185c1502150015021500150015001100 00".replace(" ", "")
    ),  # of version 2, with a flag
    bytes.fromhex("150415cc0115be014c15101500120000"),  # a dictionary
    bytes.fromhex("15001514151819350204061c18036162630015020000"),  # a list, a text and a struct before them
]


@given(seed=st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_the_kernel_reads_what_a_slow_reader_reads(seed: int) -> None:
    chance = random.Random(seed)
    head = bytearray(chance.choice(HEADERS))
    for _ in range(chance.randrange(4)):
        head[chance.randrange(len(head))] = chance.randrange(256)
    data = bytes(head[: chance.randrange(1, len(head) + 1)]) + bytes(chance.randrange(3))
    expected, found = slow(data), fast(data)
    if expected is None or found is None:
        assert expected is found
        return
    end, members = expected
    assert found[0] == end
    said = [members.get(field) for field in (1, 2, 3)]
    for field, encoding in ((5, 2), (7, 2), (8, 4)):
        inner = members.get(field)
        if not isinstance(inner, dict):
            return  # a member that comes twice may have been a struct first
        said += [inner.get(1), inner.get(encoding)]
    said.append(members[5].get(3))  # how levels are written
    assert found[1] == [each if isinstance(each, int) else NOTHING for each in said]


def test_headers_say_kind_sizes_values_and_encoding() -> None:
    assert fast(HEADERS[0]) == (17, [0, 10, 12, 1, 0, *[NOTHING] * 4, 3])
    assert fast(HEADERS[2]) == (16, [2, 102, 95, NOTHING, NOTHING, 8, 0, *[NOTHING] * 3])
    assert fast(HEADERS[0][:-1]) is None


def varint(number: int) -> bytes:
    head = bytearray()
    while number > 0x7F:
        head.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*head, number])


def header(members: dict[int, int | dict[int, int]]) -> bytes:
    """A struct of numbers of 32 bits, or of what a writer says are such, and of such structs."""
    said = b""
    for field, value in members.items():
        kind, data = (12, header(value)) if isinstance(value, dict) else (5, varint(value << 1 ^ value >> 63))
        said += bytes([kind]) + varint(field << 1) + data
    return said + b"\0"


def page(members: dict[int, int | dict[int, int]]) -> tuple[int, int, int, int, int]:
    found = _page(io.BytesIO(header(members)), 0)
    return found.kind, found.unpacked, found.packed, found.values, found.encoding


@pytest.mark.parametrize(("kind", "own"), [(0, 5), (2, 7), (3, 8)])
def test_the_struct_of_its_kind_says_how_many_values_a_page_has(kind: int, own: int) -> None:
    """Arrow reads no other: one beside it made a page of many values one of none."""
    said: dict[int, int | dict[int, int]] = {1: kind, 2: 10, 3: 20}
    own_says = {1: 50_000_000, 2: 3, 4: 4}
    encoding = 4 if own == 8 else 3
    for fields in ((5, 7, 8), (8, 7, 5)):
        structs = {field: own_says if field == own else {1: 0, 2: 8, 4: 8} for field in fields}
        assert page(said | structs) == (kind, 10, 20, 50_000_000, encoding)
    with pytest.raises(IndexError, match="without its sizes"):
        page(said | {field: {1: 0} for field in (5, 7, 8) if field != own})


@pytest.mark.parametrize(
    "members",
    [
        {1: 0, 2: 10, 3: (1 << 32) + 20, 5: {1: 1}},
        {1: 1 << 32, 2: 10, 3: 20, 5: {1: 1}},
        {1: 0, 2: 10, 3: 20, 5: {1: 5 - (1 << 32)}},
        {1: 0, 2: 10, 3: 20, 5: {1: -5}},
        {1: 0, 2: 10, 3: 20, (1 << 16) + 5: {1: 9}, 5: {1: 1}},
    ],
)
def test_numbers_that_other_readers_cut_off_are_refused(members: dict[int, int | dict[int, int]]) -> None:
    """Arrow keeps the low 32 bits of a number, and 16 of a member's: the page would be another one."""
    with pytest.raises(IndexError):
        page(members)


@given(values=st.lists(st.binary(max_size=300), max_size=20), cut=st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_the_longest_value_of_a_dictionary(values: list[bytes], cut: int) -> None:
    data = b"".join(struct.pack("<I", len(value)) + value for value in values)
    assert longest_value(np.frombuffer(data, np.uint8), len(values)) == max(map(len, values), default=0)
    some = data[:cut]
    assert longest_value(np.frombuffer(some, np.uint8), len(values)) <= len(some)

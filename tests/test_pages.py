"""The kernel for headers of Parquet's pages, beside a slow reader of Thrift's compact protocol."""

from __future__ import annotations

import random
import struct
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

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
            if head & 15 in {1, 2}:
                continue
            value = self.value(head & 15, depth)
            if value is not None:
                found[field] = value
        return found

    def value(self, kind: int, depth: int) -> Any:
        if kind in {4, 5, 6}:
            return self.whole()
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
    if not any(isinstance(members.get(field), dict) for field in (5, 7, 8)):
        assert found[1][:3] == [
            NOTHING if not isinstance(members.get(field), int) else members[field] for field in (1, 2, 3)
        ]


def test_headers_say_kind_sizes_values_and_encoding() -> None:
    assert fast(HEADERS[0]) == (17, [0, 10, 12, 1, 0])
    assert fast(HEADERS[2]) == (16, [2, 102, 95, 8, 0])
    assert fast(HEADERS[0][:-1]) is None


@given(values=st.lists(st.binary(max_size=300), max_size=20), cut=st.integers(0, 400))
@settings(max_examples=100, deadline=None)
def test_the_longest_value_of_a_dictionary(values: list[bytes], cut: int) -> None:
    data = b"".join(struct.pack("<I", len(value)) + value for value in values)
    assert longest_value(np.frombuffer(data, np.uint8), len(values)) == max(map(len, values), default=0)
    some = data[:cut]
    assert longest_value(np.frombuffer(some, np.uint8), len(values)) <= len(some)

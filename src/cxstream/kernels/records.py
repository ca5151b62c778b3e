"""Where the records of a batch lie in its inflated bytes (Kafka's record format 2), and what they cost in memory.

length  attributes  timestamp delta  offset delta  key length  key  value length  value  headers  (name value)*
varint  1 byte      varlong          varint        varint      ...  varint        ...    varint    varint ...

A varint has at most five bytes and 32 bits. Brokers drop the excess bits of the fifth byte, and so accept batches
in which a reader that keeps those bits finds other numbers. Such batches are read here as brokers read them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHOLE, UNFINISHED, GIANT, FULL, BROKEN = 0, 1, 2, 3, 4
"""Why a scan ended: all records found, the bytes end within one, one is too large, the cost limit reached, no record."""

RECORD_COST = 256
HEADER_COST = 128
"""What Python's objects for a record, and for a header of it, take beside the bytes in them, in bytes."""

AT, RECORDS, COST, SCAN = 0, 1, 2, 3
"""Places in what a scan returns: where the next record begins, records found, their cost."""

_LONGEST_VARINT, _LONGEST_VARLONG = 5, 10
# The bit of a byte of a varint that says that another byte follows.
_MORE = 0x80
_INT, _ALL = 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF


@kernel
def _varint(data: NDArray[np.uint8], at: int, end: int, bits: int = _INT) -> tuple[int, int]:
    """A zigzag varint of 32 bits, and where it ends; -1 where the bytes end within it, -2 where it is too long."""
    value = np.uint64(0)
    for i in range(_LONGEST_VARINT):
        if at + i >= end:
            return 0, -1
        byte = np.uint64(data[at + i])
        value |= (byte & np.uint64(0x7F)) << np.uint64(7 * i)
        if byte < np.uint64(0x80):
            value &= np.uint64(bits)
            half = np.int64(value >> np.uint64(1))
            return (-half - 1 if value & np.uint64(1) else half), at + i + 1
    return 0, -2


@kernel
def _after_varlong(data: NDArray[np.uint8], at: int, end: int) -> int:
    """Where a varint of 64 bits ends; -1 where the bytes end within it or it is too long."""
    for i in range(_LONGEST_VARLONG):
        if at + i >= end:
            return -1
        if data[at + i] < 0x80:
            return at + i + 1
    return -1


@kernel
def _headers(data: NDArray[np.uint8], at: int, end: int) -> int:
    """How many headers a record says that it has, no more than its bytes can hold."""
    at = _after_varlong(data, at + 1, end)
    if at > 0:
        _, at = _varint(data, at, end)
    for _ in range(2):
        if at > 0:
            size, at = _varint(data, at, end)
            if at > 0 and size > 0:
                at = at + size if size <= end - at else -1
    if at <= 0:
        return 0
    count, at = _varint(data, at, end)
    return min(max(count, 0), end - at) if at > 0 else 0


@entry
def scan(
    data: NDArray[np.uint8], at: int, records: int, max_record: int, max_cost: int, found: NDArray[np.int64]
) -> int:
    """Find consecutive records.

    Args:
        data: uint8[n], inflated bytes.
        at: where the first record begins.
        records: how many there should be.
        max_record: a longer record ends the scan, in bytes.
        max_cost: what the records may cost together, in bytes; one that costs more alone ends the scan, too.
        found: int64[SCAN], what was found.

    Returns:
        Why the scan ended; where it ends at a record (all but WHOLE), that one is not among those found.
    """
    end, n, cost, status = len(data), 0, 0, WHOLE
    while n < records:
        length, body = _varint(data, at, end)
        if body == -1:
            status = UNFINISHED
            break
        if body == -2 or length < 0:
            status = BROKEN
            break
        if length > max_record:
            status = GIANT
            break
        if length > end - body:
            status = UNFINISHED
            break
        more = RECORD_COST + length + HEADER_COST * _headers(data, body, body + length)
        if more > max_cost:
            status = GIANT
            break
        if cost + more > max_cost:
            status = FULL
            break
        n, cost, at = n + 1, cost + more, body + length
    found[AT], found[RECORDS], found[COST] = at, n, cost
    return status


@entry
def in_order(data: NDArray[np.uint8], at: int, records: int, last: int) -> bool:
    """Whether the offsets of consecutive records match those that the batch declares.

    Brokers check only the number of records, so a producer may number them in any way. Attributes that aiokafka's
    parser takes for a longer number are wrong, too: it then reads all that follows at the wrong position.

    Args:
        data: uint8[n], inflated bytes.
        at: where the first record begins.
        records: how many there are.
        last: the last offset of the batch, counted from its first.
    """
    end, dense, before = len(data), records == last + 1, -1
    for n in range(records):
        length, body = _varint(data, at, end)
        if body < 0 or length < 0 or length > end - body:
            return False
        at = body + length
        if length and data[body] >= _MORE:
            return False
        place = _after_varlong(data, body + 1, at)
        if place < 0:
            return False
        # With the excess bits, as aiokafka's parser has read it.
        offset, place = _varint(data, place, at, _ALL)
        if place < 0 or offset <= before or offset > last or (dense and offset != n):
            return False
        before = offset
    return True


@entry
def clear_attributes(data: NDArray[np.uint8], at: int, records: int) -> None:
    """Set the attributes of consecutive records to 0: they are one byte without a meaning.

    Args:
        data: uint8[n], inflated bytes; changed.
        at: where the first record begins.
        records: how many there are.
    """
    end = len(data)
    for _ in range(records):
        length, body = _varint(data, at, end)
        if body < 0 or length <= 0 or length > end - body:
            return
        data[body] = 0
        at = body + length


@kernel
def _short(data: NDArray[np.uint8], at: int, end: int, most: int = 4) -> tuple[int, int]:
    """A zigzag varint of at most so many bytes, 9 or fewer, and where it ends; -1 where it is none."""
    value = np.int64(0)
    for i in range(most):
        if at + i >= end:
            return 0, -1
        byte = np.int64(data[at + i])
        value |= (byte & 0x7F) << (7 * i)
        if byte < _MORE:
            return (value >> 1) ^ -(value & 1), at + i + 1
    return 0, -1


KEY_BEGIN, KEY_END, VALUE_BEGIN, VALUE_END, SPANS = 0, 1, 2, 3, 4
"""Where key and value of a record lie."""


@entry
def ordinary(
    data: NDArray[np.uint8], at: int, last: int, max_record: int,
    offsets: NDArray[np.int64], times: NDArray[np.int64], spans: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Read consecutive records if all of them are ordinary: with a key and a value, without headers, and not too large.

    Numbers are as short as producers write them, so every reader reads them alike; offsets are those that the batch
    declares; behind each value lies the number of its headers, which is a NUL.

    Args:
        data: uint8[n], inflated bytes.
        at: where the first record begins.
        last: the last offset of the batch, counted from its first.
        max_record: a longer record is not ordinary, in bytes.
        offsets: int64[records], filled in, counted from the first of the batch.
        times: int64[records], filled in, ms after the time of the batch.
        spans: int64[SPANS, records], filled in.

    Returns:
        Whether they are; if not, what was filled in means nothing.
    """
    end, records, before = len(data), len(offsets), -1
    dense = records == last + 1
    for n in range(records):
        length, body = _short(data, at, end)
        if body < 0 or length <= 0 or length > end - body or length > max_record or data[body] >= _MORE:
            return False
        stop = body + length
        times[n], place = _short(data, body + 1, stop, 9)
        if place < 0:
            return False
        offset, place = _short(data, place, stop)
        if place < 0 or offset <= before or offset > last or (dense and offset != n):
            return False
        before = offset
        size, place = _short(data, place, stop)
        if place < 0 or size < 0 or size > stop - place:
            return False
        spans[KEY_BEGIN, n], spans[KEY_END, n] = place, place + size
        size, place = _short(data, place + size, stop)
        if place < 0 or size < 0 or size + 1 != stop - place or data[stop - 1] != 0:
            return False
        spans[VALUE_BEGIN, n], spans[VALUE_END, n] = place, place + size
        offsets[n], at = offset, stop
    return True

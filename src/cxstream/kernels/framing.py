"""Records of Kafka as a batch holds them, written from keys and values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.wide import WIDE, copy

if TYPE_CHECKING:
    from numpy.typing import NDArray

NULL = -1
"""The length of a key or value that is not there."""
KEY, VALUE, HEADERS, LENGTHS = 0, 1, 2, 3
"""Which length of a record is which."""
FRAMING_BYTES = 32
"""The most bytes that are written for a record beside its key, value and headers."""
NUMBER_BYTES = 10
"""The most bytes of a number."""

_SEVEN, _MORE = np.uint64(7), np.uint64(0x80)


@kernel
def _zigzag(value: int) -> np.uint64:
    return np.uint64((value << 1) ^ (value >> 63))


@kernel
def number_bytes(value: int) -> int:
    """How many bytes a number takes."""
    rest, n = _zigzag(value) >> _SEVEN, 1
    while rest != np.uint64(0):
        rest >>= _SEVEN
        n += 1
    return n


@kernel
def put_number_at(out: NDArray[np.uint8], at: int, value: int) -> int:
    """Write a number; returns where it ends."""
    rest = _zigzag(value)
    while rest >= _MORE:
        out[at] = np.uint8(rest & np.uint64(0x7F) | _MORE)
        rest >>= _SEVEN
        at += 1
    out[at] = np.uint8(rest)
    return at + 1


@entry
def write_number(out: NDArray[np.uint8], value: int) -> int:
    """Write one number; returns how many bytes it takes.

    Args:
        out: uint8[NUMBER_BYTES], filled in.
        value: the number.
    """
    return put_number_at(out, 0, value)


@kernel
def _copy(text: NDArray[np.uint8], begin: int, length: int, out: NDArray[np.uint8], at: int) -> int:
    """Write some bytes, and up to WIDE more that mean nothing; returns where they end."""
    for i in range(0, length, WIDE):
        copy(text, begin + i, out, at + i)
    return at + length


@entry
def frame(
    text: NDArray[np.uint8], lengths: NDArray[np.int64], first: int, delay_ms: int, room: int, out: NDArray[np.uint8]
) -> tuple[int, int]:  # fmt: skip
    """Write consecutive records as far as there is room for them; the first one of a batch in any case.

    Args:
        text: uint8[...], key, value and headers of each record, one behind the other, and WIDE bytes more.
        lengths: int64[n, LENGTHS], of these, NULL for a key or value that is not there; headers begin with their number, and
            0 means that there are none.
        first: how many records are before them in the batch.
        delay_ms: how much later they are than the first of the batch.
        room: bytes for them.
        out: uint8[...], of all that they may take, and WIDE bytes more; filled in.

    Returns:
        How many records were written, and their bytes.
    """
    at = end = 0
    for n in range(len(lengths)):
        key, value, more = lengths[n, KEY], lengths[n, VALUE], lengths[n, HEADERS]
        of_key, of_value = max(key, 0), max(value, 0)
        body = (
            1 + number_bytes(delay_ms) + number_bytes(first + n) + number_bytes(key) + of_key + number_bytes(value) + of_value + max(more, 1)
        )  # fmt: skip
        if end + number_bytes(body) + body > room and first + n > 0:
            return n, end
        end = put_number_at(out, end, body)
        out[end] = np.uint8(0)  # attributes, which mean nothing
        end = put_number_at(out, end + 1, delay_ms)
        end = put_number_at(out, end, first + n)
        end = _copy(text, at, of_key, out, put_number_at(out, end, key))
        end = _copy(text, at + of_key, of_value, out, put_number_at(out, end, value))
        if more:
            end = _copy(text, at + of_key + of_value, more, out, end)
        else:
            out[end] = np.uint8(0)
            end += 1
        at += of_key + of_value + more
    return len(lengths), end

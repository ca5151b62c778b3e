"""Rows of a snapshot as they are read: the latest value of each key, in one text, and their checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.documents import put_text
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.wide import word

if TYPE_CHECKING:
    from numpy.typing import NDArray

GONE = -1
"""The size of a row that is not there."""

USED, DEAD, ROWS, CURSORS = 0, 1, 2, 3
"""Bytes of `text` in use; of these without a row; rows that are there."""

_BYTE, _ONES, _RESIDUE = np.uint64(255), np.uint64(0xFFFFFFFF), np.uint64(0x2144DF1C)
_POLYNOMIAL = 0xEDB88320
GENERATION_BYTES, CRC_BYTES = 8, 4
# Bytes of a text that are read at once.
_STEP = 8


def _crc_table() -> NDArray[np.uint64]:
    """What each byte does to a CRC-32 that many bytes further on; uint64[8, 256].

    Source: Kounavis and Berry 2008, Novel table lookup-based algorithms for high-performance CRC generation.
    """
    table = np.zeros((_STEP, 256), np.uint64)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL * (crc & 1))
        table[0, byte] = crc
    for further in range(1, _STEP):
        before = table[further - 1]
        table[further] = (before >> np.uint64(8)) ^ table[0][before & _BYTE]
    return table


CRC_TABLE = _crc_table()


class Values(NamedTuple):
    """The values of rows by number.

    Attributes:
        text: uint8[...], values one after the other.
        begins: int64[rows], where each begins.
        sizes: int64[rows], its bytes; GONE without one.
        at: int64[CURSORS].
    """

    text: NDArray[np.uint8]
    begins: NDArray[np.int64]
    sizes: NDArray[np.int64]
    at: NDArray[np.int64]


@entry
def keep(
    held: Values, rows: NDArray[np.int32], text: NDArray[np.uint8], begins: NDArray[np.int64],
    ends: NDArray[np.int64], gone: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Take values in place of earlier ones; there is room for all of them, and for WIDE bytes more.

    Args:
        held: the values.
        rows: int32[n], number of the row of each; the same may come several times.
        text: uint8[...], WIDE bytes longer than the last value.
        begins: int64[n], where each value begins there.
        ends: int64[n], where it ends.
        gone: bool[n], whether there is none from now on.
    """
    at = held.at
    for i in range(len(rows)):
        row, size = rows[i], ends[i] - begins[i]
        before = held.sizes[row]
        if before != GONE:
            at[DEAD] += before
            at[ROWS] -= 1
        if gone[i]:
            held.sizes[row] = GONE
            continue
        at[ROWS] += 1
        if before == size:
            at[DEAD] -= size
            for j in range(size):
                held.text[held.begins[row] + j] = text[begins[i] + j]
            continue
        held.begins[row], held.sizes[row] = at[USED], size
        at[USED] = put_text(held.text, at[USED], text, begins[i], ends[i])


@entry
def gather(
    text: NDArray[np.uint8], begins: NDArray[np.int64], sizes: NDArray[np.int64], out: NDArray[np.uint8]
) -> None:
    """Put parts of a text one after the other.

    Args:
        text: uint8[...], WIDE bytes longer than the last part.
        begins: int64[n], where each begins.
        sizes: int64[n], its bytes.
        out: uint8[sum of sizes + WIDE], filled in.
    """
    at = 0
    for i in range(len(begins)):
        at = put_text(out, at, text, begins[i], begins[i] + sizes[i])


@kernel
def crc_of(
    text: NDArray[np.uint8], at: int, end: int, crc: np.uint64, table: NDArray[np.uint64]
) -> np.uint64:
    """The CRC-32 of what was before and of text[at:end], both without the last inversion."""
    while end - at >= _STEP:
        mixed = word(text, at) ^ crc
        crc = np.uint64(0)
        for i in range(_STEP):
            crc ^= table[_STEP - 1 - i, np.int64((mixed >> np.uint64(8 * i)) & _BYTE)]
        at += _STEP
    while at < end:
        crc = table[0, np.int64((crc ^ np.uint64(text[at])) & _BYTE)] ^ (crc >> np.uint64(8))
        at += 1
    return crc


@entry
def first_damaged(
    keys: NDArray[np.uint8], key_begins: NDArray[np.int64], key_ends: NDArray[np.int64],
    text: NDArray[np.uint8], begins: NDArray[np.int64], sizes: NDArray[np.int64],
    generation: np.uint64, table: NDArray[np.uint64], but: int,
) -> int:  # fmt: skip
    """The first row whose CRC-32 is wrong, or that is of another generation.

    Args:
        keys: uint8[...].
        key_begins: int64[n], where each key begins there.
        key_ends: int64[n], where it ends.
        text: uint8[...], values: payload, generation and the CRC-32 of all of it behind the key.
        begins: int64[n], where each value begins there.
        sizes: int64[n], its bytes.
        generation: of the rows.
        table: CRC_TABLE.
        but: number of an entry that is not a row; -1 for none.

    Returns:
        Its number, or n.
    """
    for i in range(len(begins)):
        if i == but:
            continue
        begin, end = begins[i], begins[i] + sizes[i]
        if sizes[i] < GENERATION_BYTES + CRC_BYTES:
            return i
        # A text followed by its own CRC-32 has always the same one.
        crc = crc_of(keys, key_begins[i], key_ends[i], _ONES, table)
        crc = crc_of(text, begin, end, crc, table)
        if crc ^ _ONES != _RESIDUE or word(text, end - CRC_BYTES - GENERATION_BYTES) != generation:
            return i
    return len(begins)

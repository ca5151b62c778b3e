"""Rows of a snapshot as they are written: their checksums, and the records of a batch of Kafka.

A record, of Kafka's format since 0.11; numbers are zigzag varints, and a size of -1 is that of no value:

    size | attributes, a byte | time after the first | number in the batch | key size | key | value size | value | headers: 0
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.documents import put_text
from cxstream.kernels.framing import number_bytes, put_number_at
from cxstream.kernels.jit import entry
from cxstream.kernels.saved_rows import GENERATION_BYTES, GONE, crc_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

AT, NUMBER, PLACES = 0, 1, 2
"""Bytes in a batch, and how many records it has."""

_ONES = np.uint64(0xFFFFFFFF)


@entry
def checksums(
    keys: NDArray[np.uint8], key_begins: NDArray[np.int64], key_ends: NDArray[np.int64], text: NDArray[np.uint8],
    begins: NDArray[np.int64], sizes: NDArray[np.int64], generation: NDArray[np.uint8], table: NDArray[np.uint64],
    out: NDArray[np.uint32],
) -> None:  # fmt: skip
    """The CRC-32 of key, payload and generation of each row.

    Args:
        keys: uint8[...], WIDE bytes longer than the last key.
        key_begins: int64[n], where each key begins there.
        key_ends: int64[n], where it ends.
        text: uint8[...], WIDE bytes longer than the last payload.
        begins: int64[n], where each payload begins there.
        sizes: int64[n], its bytes; GONE without one.
        generation: uint8[GENERATION_BYTES], of the rows.
        table: CRC_TABLE.
        out: uint32[n], filled in where there is a payload.
    """
    for i in range(len(sizes)):
        if sizes[i] == GONE:
            continue
        found = crc_of(keys, key_begins[i], key_ends[i], _ONES, table)
        found = crc_of(text, begins[i], begins[i] + sizes[i], found, table)
        found = crc_of(generation, 0, GENERATION_BYTES, found, table)
        out[i] = np.uint32(found ^ _ONES)


@entry
def put_records(
    keys: NDArray[np.uint8], key_begins: NDArray[np.int64], key_ends: NDArray[np.int64], text: NDArray[np.uint8],
    begins: NDArray[np.int64], sizes: NDArray[np.int64], trailers: NDArray[np.uint8], first: int, limit: int,
    out: NDArray[np.uint8], places: NDArray[np.int64],
) -> int:  # fmt: skip
    """Add rows to the records of a batch, as far as they fit.

    Args:
        keys: as in `checksums`, and so on.
        key_begins: int64[n].
        key_ends: int64[n].
        text: uint8[...].
        begins: int64[n].
        sizes: int64[n].
        trailers: uint8[n, m], behind each payload.
        first: the first row to add.
        limit: the most bytes of the batch, unless it has one record.
        out: uint8[...], with room for `limit` bytes or the largest row, whichever is more, and WIDE bytes.
        places: int64[PLACES], of the batch.

    Returns:
        The first row that does not fit, or n.
    """
    trailing = trailers.shape[1]
    for i in range(first, len(sizes)):
        key = key_ends[i] - key_begins[i]
        value = sizes[i] + trailing if sizes[i] != GONE else GONE
        number = places[NUMBER]
        # Attributes, time and headers are a byte each.
        size = 3 + number_bytes(number) + number_bytes(key) + key + number_bytes(value) + max(value, 0)
        at = places[AT]
        if number > 0 and at + number_bytes(size) + size > limit:
            return i
        at = put_number_at(out, at, size)
        out[at] = out[at + 1] = 0
        at = put_number_at(out, at + 2, number)
        at = put_number_at(out, at, key)
        at = put_text(out, at, keys, key_begins[i], key_ends[i])
        at = put_number_at(out, at, value)
        if value != GONE:
            at = put_text(out, at, text, begins[i], begins[i] + sizes[i])
            for j in range(trailing):
                out[at + j] = trailers[i, j]
            at += trailing
        out[at] = 0
        places[AT], places[NUMBER] = at + 1, number + 1
    return len(sizes)

"""A batch of records to be written, without an object or a call for each record.

    rows -> their records, by a kernel -> compressed, if they repeat -> header and checksum, once it is sent

aiokafka's batches take one record a call, and their checksums have no instruction of the processor.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, cast

import numpy as np
from aiokafka.codec import zstd_encode
from crc32c import crc32c

from cxstream.kafka.inflate import ZSTD
from cxstream.kernels.framing import FRAMING_BYTES, HEADERS, LENGTHS, NULL, NUMBER_BYTES, frame, write_number
from cxstream.scoring.codec.packed import AFTER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Row = tuple[bytes | None, bytes | None]
    Headers = Sequence[tuple[str, bytes | None]]

_MAGIC, _TRANSACTIONAL, _NO_EPOCH = 2, 0x10, -1
# Base offset, length and epoch of the leader, format, checksum; and what the checksum is of, with the records.
_BEFORE, _AFTER = struct.Struct(">qiibI"), struct.Struct(">hiqqqhii")
# The bytes that the length does not include.
_NOT_COUNTED = 12
_HEADER_BYTES = _BEFORE.size + _AFTER.size
# A value that takes longer to copy than to be written by itself.
_LARGE = 16 << 10
# Rows are put together so many at a time: of more, most might not fit.
_ROWS = 2048


class BatchWriter:
    """A batch of a transaction. Once it is closed it takes no more records.

    Args:
        limit: the most bytes of a batch with more than one record, before it is compressed.
        compress: whether to compress it where that makes it smaller.
    """

    def __init__(self, limit: int, *, compress: bool = False) -> None:
        self._limit = limit
        self._compress = compress
        self._codec = 0
        self._closed = False
        self._parts: list[bytes | memoryview] = []
        self._size = _HEADER_BYTES
        self._count = 0
        self._first_ms = self._latest_ms = 0

    def record_count(self) -> int:
        """How many records it has."""
        return self._count

    def extend(
        self,
        rows: Sequence[Row],
        headers: Sequence[Headers],
        timestamp: int,
    ) -> int:
        """Add records in order, as far as they fit; into an empty batch at least one.

        Args:
            rows: keys and values.
            headers: of the first rows; the others have none.
            timestamp: of all of them, ms UTC.

        Returns:
            How many were added.
        """
        if not self._count:
            self._first_ms = self._latest_ms = timestamp
        taken = 0
        while taken < len(rows) and not self._closed:
            key, value = rows[taken]
            if value is not None and len(value) >= _LARGE:
                added = wanted = 1
                if not self._add_large(key, value, headers[taken] if taken < len(headers) else (), timestamp):
                    break
            else:
                some = slice(taken, taken + _ROWS)
                wanted, added = len(rows[some]), self._add(rows[some], headers[some], timestamp)
            taken += added
            if added < wanted:
                break
        if taken:
            self._latest_ms = max(self._latest_ms, timestamp)
        return taken

    def fill(self, records: bytes, count: int, timestamp: int) -> None:
        """Take records that are written already, into an empty batch.

        Args:
            records: numbered from 0 on, with a time after the first of 0.
            count: how many there are.
            timestamp: of all of them, ms UTC.
        """
        self._first_ms = self._latest_ms = timestamp
        self._keep(count, len(records), records)

    def _add(self, rows: Sequence[Row], headers: Sequence[Headers], timestamp: int) -> int:
        """Add records as far as they fit; returns how many."""
        filled, lengths = _measured(rows, headers)
        room = self._limit - self._size
        sizes = np.cumsum(np.maximum(lengths, 0).sum(axis=1))
        # One more than surely fits, which the kernel leaves out; and always one, which may be the first.
        n = min(int(np.searchsorted(sizes, room, "right")) + 1, len(rows))
        text = b"".join([*chain.from_iterable(filled[:n]), AFTER])
        out = np.empty(len(text) + n * FRAMING_BYTES, np.uint8)
        delay = timestamp - self._first_ms
        added, size = frame(np.frombuffer(text, np.uint8), lengths[:n], self._count, delay, room, out)
        self._keep(added, size, out[:size].data)
        return added

    def _add_large(self, key: bytes | None, value: bytes, headers: Headers, timestamp: int) -> bool:
        """Add a record where it lies: to write it would copy it once more; returns whether it fits."""
        before = b"".join(
            (
                b"\0",
                _number(timestamp - self._first_ms),
                _number(self._count),
                _number(NULL if key is None else len(key)),
                key or b"",
                _number(len(value)),
            )
        )
        after = _encoded(headers)
        size = len(before) + len(value) + len(after)
        before = _number(size) + before
        size = len(before) + len(value) + len(after)
        if self._count and self._size + size > self._limit:
            return False
        self._keep(1, size, before, value, after)
        return True

    def _keep(self, count: int, size: int, *parts: bytes | memoryview) -> None:
        self._parts += parts
        self._size += size
        self._count += count

    def close(self) -> None:
        """Take no more records, and compress those that are there."""
        if self._closed:
            return
        self._closed = True
        if self._compress:
            plain = b"".join(self._parts)
            packed = zstd_encode(plain)
            if len(packed) < len(plain):
                self._codec, self._parts, self._size = ZSTD, [packed], _HEADER_BYTES + len(packed)

    def sealed(self, producer: tuple[int, int], sequence: int) -> bytes:
        """The batch as it is sent.

        Args:
            producer: id and epoch of who sends it.
            sequence: number of its first record among all that they have sent to the partition.
        """
        self.close()
        after = _AFTER.pack(
            _TRANSACTIONAL | self._codec,
            self._count - 1,
            self._first_ms,
            self._latest_ms,
            *producer,
            sequence,
            self._count,
        )
        checksum = crc32c(after)
        for part in self._parts:
            checksum = crc32c(part, checksum)
        before = _BEFORE.pack(0, self._size - _NOT_COUNTED, _NO_EPOCH, _MAGIC, checksum)
        return b"".join((before, after, *self._parts))


def _measured(
    rows: Sequence[Row], headers: Sequence[Headers]
) -> tuple[Sequence[tuple[bytes, ...]], NDArray[np.int64]]:
    """Rows with their headers as they are written, and the lengths of all of that."""
    lengths = np.zeros((len(rows), LENGTHS), np.int64)
    more = [_encoded(each) if each else b"" for each in headers]
    if not more:
        whole = cast("Sequence[tuple[bytes, bytes]]", rows)
        # Those that are not there have no length.
        with suppress(TypeError):
            found = np.fromiter(map(len, chain.from_iterable(whole)), np.int64, 2 * len(rows))
            lengths[:, :HEADERS] = found.reshape(-1, HEADERS)
            return whole, lengths
    more += [b""] * (len(rows) - len(more))
    lengths[:] = [
        (NULL if key is None else len(key), NULL if value is None else len(value), len(rest))
        for (key, value), rest in zip(rows, more, strict=True)
    ]
    return [(key or b"", value or b"", rest) for (key, value), rest in zip(rows, more, strict=True)], lengths


def _encoded(headers: Headers) -> bytes:
    """Headers as a record has them: their number, and each with the lengths of its name and value."""
    found = [_number(len(headers))]
    for name, value in headers:
        data = name.encode()
        found += [_number(len(data)), data, _number(NULL if value is None else len(value)), value or b""]
    return b"".join(found)


@lru_cache(4096)
def _number(value: int) -> bytes:
    """A number as Kafka writes it; most are lengths, which come again and again."""
    out = np.empty(NUMBER_BYTES, np.uint8)
    return out[: write_number(out, value)].tobytes()


def compile_writer() -> None:
    """Compile the kernels that write records, or load them from the cache, so that the first transaction does not wait for them."""
    BatchWriter(0).extend([(None, None)], [()], 0)
    _number(0)

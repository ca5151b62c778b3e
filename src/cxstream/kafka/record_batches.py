r"""Unpacks the records of a batch from its wire format, in bounded memory whatever its inflated size.

    batch --- ordinary records ---------------> a kernel -----------------> all of its records at once, as columns
      |\\----- others, small ------------------> aiokafka's parser ---------> all of its records at once
      \-- large --> blocks --> where records lie --> aiokafka's parser --> some of its records at a time

A record that is too long is not kept in memory: it is skipped, and a reference replaces it. Data beyond the
size limit of a batch is not inflated; one reference replaces all records in it. The same holds for all records after
unreadable data: the checksum of the batch is right, so its producer sent it this way, and a retry would not help. The
result depends only on the bytes of the batch and on the limits: a worker that reads the batch again finds the same.

Offsets of records come from the batch, not from the records: brokers do not check those.
"""

from __future__ import annotations

import hashlib
import struct
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from cxstream.kafka.inflate import inflate_into, inflated
from cxstream.kafka.records import PLACES_BYTES, PackedRecords, Record
from cxstream.kernels.records import (
    AT,
    BROKEN,
    COST,
    GIANT,
    RECORDS,
    SCAN,
    SPANS,
    UNFINISHED,
    clear_attributes,
    in_order,
    ordinary,
    scan,
)
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.codec.rejection import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

# Batches up to this size are inflated at once.
_BUFFER_BYTES = 4 << 20
# Records of so few bytes cannot take much memory.
_SMALL_BYTES = 64 << 10
# The memory of the records that are returned at a time.
_PIECE_COST = 8 << 20
# No valid event is shorter. Records without a value take 7 bytes, and millions of them some kilobytes on the wire.
_LEAST_BYTES = 128
# Up to this many headers, the overhead of Kafka's format is not counted for a record that is not kept.
_HEADERS_COUNTED = 10_000
# A longer key is not kept; no customer id is that long.
_KEY_BYTES = 512

_HEADER_BYTES, _ATTRIBUTES, _LAST, _COUNT = 61, 21, 23, 57
_CODEC_MASK, _LOG_APPEND_TIME = 0x07, 0x08
# Kafka drops excess bits in the last byte of a number.
_VARINT_BITS, _VARLONG_BITS = 32, 64
_FIELDS = struct.Struct(">q13xhiqq14xi")


class Limits(NamedTuple):
    """The size limits of records and batches.

    Attributes:
        record: bytes of a record as it is inflated; a longer one is not kept.
        batch: bytes that a batch may inflate to, of which each record counts as 128 at least; data beyond is not
            read.
    """

    record: int
    batch: int

    @property
    def records(self) -> int:
        """The most records of a batch that are read."""
        return self.batch // _LEAST_BYTES


HELD = Limits(record=64 << 20, batch=1 << 30)
"""The limits for commands, which also show records that workers reject."""


class Piece(list[Any]):
    """Consecutive records, and the memory that they take.

    Attributes:
        cost: approximate bytes.
        plain: whether all are as aiokafka's parser returns them.
    """

    __slots__ = ("cost", "plain")

    def __init__(self, records: Sequence[Any], cost: int, *, plain: bool = False) -> None:
        super().__init__(records)
        self.cost, self.plain = cost, plain


class Unpacker:
    """Unpacks batches one after the other, with a buffer for all of them.

    Args:
        limits: the largest records and batches.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._small = min(_SMALL_BYTES, limits.record)
        self._buffer: NDArray[np.uint8] | None = None

    def pieces(
        self, fetched: bytes, begin: int = 0, end: int | None = None
    ) -> Iterator[Piece | PackedRecords]:
        """The records of a batch of format 2 whose checksum is right, a bounded number at a time.

        Args:
            fetched: what was fetched, in which a batch without compression is read where it lies.
            begin: where the batch begins there.
            end: where it ends; None for the end of what was fetched.

        Raises:
            UnsupportedCodecError: it is compressed with an unknown codec.
        """
        end = len(fetched) if end is None else end
        batch = memoryview(fetched)[begin:end]
        codec = batch[_ATTRIBUTES + 1] & _CODEC_MASK
        plain = self._plain(batch, codec)
        if plain is not None:
            # Kernels read that many bytes at a time, whatever they are.
            in_place = not codec and end + len(AFTER) <= len(fetched)
            piece = self._at_once(plain, (fetched, begin) if in_place else None)
            if piece is not None:
                yield piece
                return
        records = batch[_HEADER_BYTES:]
        blocks = inflated(codec, records) if codec else iter([records])
        yield from _Scan(batch[:_HEADER_BYTES], blocks, self._limits).pieces()

    def _plain(self, batch: memoryview, codec: int) -> NDArray[np.uint8] | None:
        """The batch without compression; None if it does not fit into the buffer or cannot be read."""
        if not codec:
            return np.frombuffer(batch, np.uint8)
        if self._buffer is None:
            self._buffer = np.empty(_HEADER_BYTES + min(_BUFFER_BYTES, self._limits.batch), np.uint8)
        size = inflate_into(codec, batch[_HEADER_BYTES:], self._buffer[_HEADER_BYTES:].data)
        if size is None:
            return None
        plain = self._buffer[: _HEADER_BYTES + size]
        plain[:_HEADER_BYTES] = np.frombuffer(batch[:_HEADER_BYTES], np.uint8)
        plain[_ATTRIBUTES + 1] &= ~_CODEC_MASK & 0xFF
        return plain

    def _at_once(
        self, plain: NDArray[np.uint8], place: tuple[bytes, int] | None
    ) -> Piece | PackedRecords | None:
        """All records of a batch; None if they or one of them are too large, or they cannot be parsed this way.

        Args:
            plain: the batch without compression.
            place: in what, and where, it lies for good; None if it does not.
        """
        cost, count = len(plain), _int(plain, _COUNT)
        if count > self._limits.records:
            return None
        if (packed := self._ordinary(plain, count, place)) is not None:
            return packed
        if len(plain) - _HEADER_BYTES > self._small:
            found = np.zeros(SCAN, np.int64)
            scan(plain, _HEADER_BYTES, count, self._limits.record, _PIECE_COST, found)
            if found[RECORDS] < count:
                return None
            cost = int(found[COST])
        try:
            records = list(DefaultRecordBatch(plain.data))
        except (CorruptRecordException, UnicodeDecodeError):
            return None
        right = in_order(plain, _HEADER_BYTES, count, _int(plain, _LAST))
        return Piece(records, cost, plain=True) if right else None

    def _ordinary(
        self, plain: NDArray[np.uint8], count: int, place: tuple[bytes, int] | None
    ) -> PackedRecords | None:
        """The records of a batch as columns; None if one of them is not ordinary, or they are too large."""
        if count <= 0 or len(plain) + PLACES_BYTES * count > _PIECE_COST:
            return None
        offsets, times = np.empty(count, np.int64), np.empty(count, np.int64)
        spans = np.empty((SPANS, count), np.int64)
        base, attributes, last, first_ms, max_ms, _ = _FIELDS.unpack_from(plain.data)
        text, begin = place or (b"".join((plain.data, AFTER)), 0)
        data = np.frombuffer(text, np.uint8, len(plain), begin)
        if not ordinary(data, _HEADER_BYTES, last, self._limits.record, offsets, times, spans):
            return None
        kind = int(bool(attributes & _LOG_APPEND_TIME))
        if kind:
            times[:] = max_ms
        else:
            times += first_ms
        offsets += base
        spans += begin
        keys, values = Packed(text, *spans[:2]), Packed(text, *spans[2:])
        return PackedRecords(offsets, times, kind, keys, values)


def _int(plain: NDArray[np.uint8], at: int) -> int:
    return int.from_bytes(plain[at : at + 4].tobytes(), signed=True)


def _signed(zigzag: int) -> int:
    return zigzag >> 1 ^ -(zigzag & 1)


def _at(record: Any, offset: int) -> Record:
    """A record that declares a wrong offset."""
    if isinstance(record, Record):
        return record._replace(offset=offset)
    return Record(
        offset, record.timestamp, record.timestamp_type, record.key, record.value, list(record.headers)
    )


class _BeyondError(Exception):
    """The batch inflates to more than it may."""


class _Scan:
    """The records of one batch, found block by block.

    Args:
        header: of the batch.
        blocks: its inflated bytes. Bytes after the last record are ignored: Kafka accepts such a batch, and other
            consumers read it.
        limits: the largest records and batches.
    """

    def __init__(self, header: memoryview, blocks: Iterator[bytes | memoryview], limits: Limits) -> None:
        self._base, attributes, self._last, self._first_ms, self._max_ms, self._left = _FIELDS.unpack(header)
        self._type = int(bool(attributes & _LOG_APPEND_TIME))
        plain = bytearray(header)
        plain[_ATTRIBUTES + 1] &= ~_CODEC_MASK & 0xFF
        self._header = bytes(plain[:_COUNT])
        self._dense = self._left == self._last + 1  # no record was compacted away
        self._blocks, self._limits = blocks, limits
        self._data: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._at = 0
        self._inflated = 0
        self._room = limits.records
        self._next = self._base  # the first offset that is not returned yet

    def pieces(self) -> Iterator[Piece]:
        found = np.zeros(SCAN, np.int64)
        try:
            while self._left > 0:
                most = min(self._left, self._room)
                if not most:
                    raise _BeyondError  # noqa: TRY301 - as where its bytes are too many
                status = scan(self._data, self._at, most, self._limits.record, _PIECE_COST, found)
                n, end = int(found[RECORDS]), int(found[AT])
                if n:
                    records = self._parsed(n, end)
                    self._at = end
                    yield self._numbered(records, int(found[COST]))
                if status == UNFINISHED:
                    self._more()
                elif status == GIANT:
                    record = self._giant()
                    yield self._numbered([record], len(record.key or b""))
                elif status == BROKEN:
                    yield Piece([self._rest("a record has no length")], 0)
                    return
        except _BeyondError:
            yield Piece([self._rest()], 0)
        except CorruptRecordException as error:
            yield Piece([self._rest(str(error.args[0]) if error.args else type(error).__name__)], 0)

    def _numbered(self, records: Sequence[Any], cost: int) -> Piece:
        """The next records, with the offsets of the batch."""
        offsets = [record.offset for record in records]
        if self._dense:
            right = list(range(self._next, self._next + len(records)))
            if offsets != right:
                records = [_at(record, offset) for record, offset in zip(records, right, strict=True)]
        elif (
            offsets[0] < self._next
            or offsets[-1] > self._base + self._last
            or any(after <= before for before, after in pairwise(offsets))
        ):
            raise CorruptRecordException("offsets of records are not those of their batch")
        self._next = records[-1].offset + 1
        self._left -= len(records)
        self._room -= len(records)
        return Piece(records, cost)

    def _more(self) -> None:
        """Take the next block and drop the data before the position."""
        if self._inflated >= self._limits.batch:
            raise _BeyondError
        block = next(self._blocks, None)
        if block is None:
            raise CorruptRecordException("a batch ends within its records")
        block = memoryview(block)[: self._limits.batch - self._inflated]
        self._inflated += len(block)
        rest = self._data[self._at :]
        new = np.frombuffer(block, np.uint8)
        self._data, self._at = (np.concatenate((rest, new)) if len(rest) else new), 0

    def _parsed(self, n: int, end: int) -> Sequence[Any]:
        raw = self._data[self._at : end].copy()
        clear_attributes(raw, 0, n)
        body = raw.tobytes()
        header = self._header + n.to_bytes(4)
        try:
            # The parser looks beyond the last record if its numbers are wrong, and must find the same there each time.
            return list(DefaultRecordBatch(memoryview(header + body + AFTER * 2)[: -2 * len(AFTER)]))
        except (CorruptRecordException, UnicodeDecodeError):
            if n == 1:
                return [self._odd(body)]
        # One of them cannot be parsed: the others must still be read.
        found = np.zeros(SCAN, np.int64)
        data, at, records = np.frombuffer(body, np.uint8), self._at, []
        place = 0
        for _ in range(n):
            scan(data, place, 1, self._limits.record, _PIECE_COST, found)
            self._at, stop = at + place, at + int(found[AT])
            records.append(self._parsed(1, stop))
            place = int(found[AT])
        self._at = at
        return list(chain.from_iterable(records))

    def _odd(self, body: bytes) -> Record:
        """A record that aiokafka's parser refuses, whose length is right.

        The names of its headers are not UTF-8, or a number has more bits than it may have.
        """
        reader = _Body(body)
        reader.varint()
        reader.skip(1)
        timestamp, offset = self._first_ms + reader.varlong(), self._base + reader.varint()
        try:
            key, value = reader.string(), reader.string()
            headers = []
            for _ in range(reader.varint()):
                name = reader.string()
                if name is None:
                    raise CorruptRecordException("a header has no name")  # noqa: TRY301 - as where its length is wrong
                headers.append((name.decode(errors="surrogateescape"), reader.string()))
            if reader.at != len(body):
                raise CorruptRecordException("a record has another length than it says")  # noqa: TRY301 - likewise
        except CorruptRecordException as error:
            # Its length is right: the following records can be read.
            reference, said = Reference(len(body), ""), str(error.args[0])
            return Record(offset, self._time(timestamp), self._type, None, reference=reference, broken=said)
        return Record(offset, self._time(timestamp), self._type, key, value, headers)

    def _time(self, created: int) -> int:
        return self._max_ms if self._type else created

    # --- a record that is not kept

    def _giant(self) -> Record:
        left = self._varint()
        before = self._consumed
        self._skip(1)
        timestamp, offset = self._first_ms + self._varlong(), self._base + self._varint()
        key_bytes = max(self._varint(), -1)
        key = self._take(key_bytes) if 0 <= key_bytes <= _KEY_BYTES else None
        if key_bytes > _KEY_BYTES:
            self._skip(key_bytes)
        value_bytes = max(self._varint(), 0)
        digest = hashlib.sha256()
        self._skip(value_bytes, digest)
        headers_bytes = self._skip_headers(before + left)
        if self._consumed != before + left:
            raise CorruptRecordException("a record has another length than it says")
        reference = Reference(max(key_bytes, 0) + value_bytes + headers_bytes, digest.hexdigest())
        return Record(offset, self._time(timestamp), self._type, key, reference=reference)

    def _skip_headers(self, end: int) -> int:
        """Skip headers; returns the bytes of their names and values, or of very many headers all bytes."""
        count = self._varint()
        if count > _HEADERS_COUNTED:
            rest = max(end - self._consumed, 0)
            self._skip(rest)
            return rest
        found = 0
        for _ in range(2 * count):
            size = max(self._varint(), 0)
            if size > end - self._consumed:
                raise CorruptRecordException("a header is longer than its record")
            self._skip(size)
            found += size
        return found

    def _rest(self, broken: str = "") -> Record:
        """One reference for all remaining records."""
        last = self._base + self._last
        reference = Reference(self._limits.batch, "")
        return Record(
            last, self._max_ms, self._type, None, reference=reference, first=self._next, broken=broken
        )

    @property
    def _consumed(self) -> int:
        """Inflated bytes before the position."""
        return self._inflated - len(self._data) + self._at

    def _varint(self) -> int:
        return _signed(self._number(_VARINT_BITS))

    def _varlong(self) -> int:
        return _signed(self._number(_VARLONG_BITS))

    def _number(self, bits: int) -> int:
        value = shift = 0
        while shift < bits:
            if self._at == len(self._data):
                self._more()
            byte = int(self._data[self._at])
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last byte
                return value & ((1 << bits) - 1)
            shift += 7
        raise CorruptRecordException("a number is too long")

    def _take(self, size: int) -> bytes:
        while len(self._data) - self._at < size:
            self._more()
        self._at += size
        return self._data[self._at - size : self._at].tobytes()

    def _skip(self, size: int, digest: Any = None) -> None:
        while size:
            if self._at == len(self._data):
                self._more()
            part = self._data[self._at : self._at + size]
            if digest is not None:
                digest.update(part)
            self._at += len(part)
            size -= len(part)


class _Body:
    """Reads the bytes of one record from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def varint(self) -> int:
        return _signed(self._number(_VARINT_BITS))

    def varlong(self) -> int:
        return _signed(self._number(_VARLONG_BITS))

    def _number(self, bits: int) -> int:
        value = shift = 0
        while shift < bits:
            if self.at >= len(self._data):
                raise CorruptRecordException("a record ends early")
            byte = self._data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004 - the last byte
                return value & ((1 << bits) - 1)
            shift += 7
        raise CorruptRecordException("a number is too long")

    def skip(self, size: int) -> None:
        self.at += size

    def string(self) -> bytes | None:
        size = self.varint()
        if size < 0:
            return None
        if size > len(self._data) - self.at:
            raise CorruptRecordException("a record ends early")
        self.at += size
        return self._data[self.at - size : self.at]

"""Inflates compressed record batches in bounded memory, whatever their real or declared size.

    inflate_into   all of it into a buffer, if there is room: at the speed of the codec
    inflated       all of it in blocks, if it is larger: a decompression bomb only hurts if it is kept whole

Producers, and brokers that recompress, write several framings per codec: several gzip members or lz4
and zstd frames one after the other, xerial's blocks of snappy (several streams of them too), Google's frames of
snappy, and bare snappy. Other bytes after a whole stream are an error, which is raised after the blocks before it.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import zstandard
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError

try:
    import cramjam
except ImportError:  # `cxstream.kafka.codecs` says what to do, and the worker refuses to start
    cramjam = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

BLOCK_BYTES = 1 << 20
"""The approximate size of the pieces of a batch that is inflated in blocks; one block of bare snappy may be more."""

_PART_BYTES = 4096
"""The input of zlib per call."""

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
NAMES = {GZIP: "gzip", SNAPPY: "snappy", LZ4: "lz4", ZSTD: "zstd"}

_XERIAL = b"\x82SNAPPY\0"
_XERIAL_HEADER = 16
_FRAMED_SNAPPY = b"\xff\x06\x00\x00sNaPpY"
# The shortest element of snappy that copies takes 3 bytes for 64.
_SNAPPY_RATIO, _SNAPPY_LEAST = 22, 64
_FRAME_COMPRESSED, _FRAME_PLAIN, _FRAME_SKIPPED = 0x00, 0x01, 0x80
_FRAME_LARGEST = 65_536

_LZ4_MAGIC, _SKIPPED_MAGIC = 0x184D2204, 0x184D2A50
_LZ4_LINKED = 0x40
# The most bytes that a byte of a compressed block can stand for.
_LZ4_RATIO = 255
_LZ4_HISTORY = 65_536
# Size of the largest block by its descriptor, and the checksum of a header with linked blocks and nothing else.
_LZ4_BLOCKS = {0x40: (1 << 16, 0xC0), 0x50: (1 << 18, 0x77), 0x60: (1 << 20, 0x96), 0x70: (1 << 22, 0xDF)}
_LZ4_PLAIN = 1 << 31
# zstd's own default limit; its highest level uses it.
_ZSTD_WINDOW = 1 << 27

_ERRORS: tuple[type[Exception], ...] = (zlib.error, zstandard.ZstdError, struct.error, ValueError)
if cramjam is not None:
    _ERRORS += (cramjam.DecompressionError,)


def inflate_into(codec: int, data: bytes | memoryview, out: memoryview) -> int | None:
    """Inflate all of a batch into a buffer.

    Args:
        codec: number of the codec, as in the attributes of a batch.
        data: the compressed records.
        out: where to.

    Returns:
        How many bytes that took; None if there is no room for all of it, or a part cannot be read.
    """
    if codec not in NAMES:
        return None
    try:
        if codec == SNAPPY:
            return _snappy_into(memoryview(data), out)
        return int(getattr(cramjam, NAMES[codec]).decompress_into(data, out))
    except _ERRORS:
        return None


def inflated(codec: int, data: bytes | memoryview) -> Iterator[bytes | memoryview]:
    """Inflate a batch a block at a time.

    Args:
        codec: number of the codec, as in the attributes of a batch.
        data: the compressed records.

    Raises:
        UnsupportedCodecError: no such codec.
        CorruptRecordException: the data cannot be read; data that ends too early does not raise.
    """
    if codec not in _STREAMS:
        raise UnsupportedCodecError(f"Unknown compression codec {codec:#04x}")
    try:
        yield from _joined(_STREAMS[codec](memoryview(data)))
    except _ERRORS as error:
        raise CorruptRecordException(f"{NAMES[codec]} data that cannot be read ({error})") from error


def _joined(blocks: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Join small blocks to some of BLOCK_BYTES; blocks before an error are returned before it."""
    held: list[bytes | memoryview] = []
    size = 0
    try:
        for block in blocks:
            held.append(block)
            size += len(block)
            if size >= BLOCK_BYTES:
                whole = held[0] if len(held) == 1 else b"".join(held)
                held, size = [], 0
                yield whole
    except Exception:
        if held:
            yield b"".join(held)
        raise
    if held:
        yield b"".join(held)


def _gzip(data: memoryview) -> Iterator[bytes]:
    # A little at a time: the rest after a member is copied, and there may be a member every twenty bytes.
    member, rest, at = zlib.decompressobj(wbits=31), b"", 0
    while rest or at < len(data):
        if not rest:
            rest, at = bytes(data[at : at + _PART_BYTES]), at + _PART_BYTES
        if member.eof:
            member = zlib.decompressobj(wbits=31)
        yield member.decompress(rest, BLOCK_BYTES)
        rest = member.unused_data if member.eof else member.unconsumed_tail


def _zstd(data: memoryview) -> Iterator[bytes]:
    context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    with context.stream_reader(io.BytesIO(data), read_across_frames=True) as stream:
        while block := stream.read1(BLOCK_BYTES):
            yield block


# --- snappy


def _snappy_into(data: memoryview, out: memoryview) -> int | None:
    if data[: len(_FRAMED_SNAPPY)] == _FRAMED_SNAPPY:
        return int(cramjam.snappy.decompress_into(data, out))
    at = 0
    for block in _snappy_blocks(data):
        size = _snappy_size(block)
        if size > len(out) - at:
            return None
        at += int(cramjam.snappy.decompress_raw_into(block, out[at : at + size]))
    return at


def _snappy(data: memoryview) -> Iterator[bytes]:
    if data[: len(_FRAMED_SNAPPY)] == _FRAMED_SNAPPY:
        yield from _framed_snappy(data)
        return
    for block in _snappy_blocks(data):
        yield _bare_snappy(block)


def _bare_snappy(block: memoryview) -> bytes:
    out = bytearray(_snappy_size(block))
    cramjam.snappy.decompress_raw_into(block, out)
    return bytes(out)


def _snappy_size(block: memoryview) -> int:
    """The size that a block declares to inflate to, if it is possible."""
    size = int(cramjam.snappy.decompress_raw_len(block))
    if size > _SNAPPY_RATIO * len(block) + _SNAPPY_LEAST:
        raise ValueError(f"{len(block)} bytes cannot hold {size}")
    return size


def _snappy_blocks(data: memoryview) -> Iterator[memoryview]:
    """The blocks of one or more of xerial's streams; all of the data if it is bare snappy."""
    if data[: len(_XERIAL)] != _XERIAL:
        yield data
        return
    at = 0
    while at < len(data):
        if data[at : at + len(_XERIAL)] == _XERIAL:
            at += _XERIAL_HEADER
            continue
        (size,) = struct.unpack_from(">i", data, at)
        block = data[at + 4 : at + 4 + size] if size > 0 else data[:0]
        if size < 0 or len(block) < size:
            raise ValueError(f"a block has {size} bytes where {len(data) - at - 4} are left")
        at += 4 + size
        if size:
            yield block


def _framed_snappy(data: memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        kind, size = data[at], int.from_bytes(data[at + 1 : at + 4], "little")
        chunk = data[at + 4 : at + 4 + size]
        if len(chunk) < size:
            raise ValueError("a frame ends early")
        at += 4 + size
        if kind == _FRAME_COMPRESSED:
            if cramjam.snappy.decompress_raw_len(chunk[4:]) > _FRAME_LARGEST:
                raise ValueError("a frame is larger than 64 KiB")
            yield _bare_snappy(chunk[4:])
        elif kind == _FRAME_PLAIN:
            yield bytes(chunk[4:])
        elif kind < _FRAME_SKIPPED:
            raise ValueError(f"a frame of an unknown kind ({kind:#04x})")


# --- lz4


def _lz4(data: memoryview) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        (magic,) = struct.unpack_from("<I", data, at)
        if magic & ~0xF == _SKIPPED_MAGIC:
            at += 8 + int(struct.unpack_from("<I", data, at + 4)[0])
            continue
        if magic != _LZ4_MAGIC:
            raise ValueError("a frame is missing")
        at = yield from _lz4_frame(data, at)


def _lz4_frame(data: memoryview, at: int) -> Generator[bytes, None, int]:
    """Inflate a frame some blocks at a time; returns its end.

    cramjam inflates whole frames only. So blocks are put into a frame of their own, after the 64 KiB that they may refer
    to, as they are. As many as surely fit: there may be a block for every six bytes.
    """
    flags, descriptor = struct.unpack_from("<BB", data, at + 4)
    descriptor &= 0x70
    if flags >> 6 != 1 or flags & 1 or descriptor not in _LZ4_BLOCKS:
        raise ValueError("a frame of another version, or with a dictionary")
    at += 7 + (8 if flags & 0x08 else 0)
    most, checksum = _LZ4_BLOCKS[descriptor]
    header = struct.pack("<IBBB", _LZ4_MAGIC, _LZ4_LINKED, descriptor, checksum)
    history, room, blocks = b"", 0, list[memoryview]()
    while True:
        (word,) = struct.unpack_from("<I", data, at)
        size = int(word & ~_LZ4_PLAIN)
        end = at + 4 + size
        if size > most or end > len(data):
            raise ValueError("a block is larger than it may be, or cut off")
        need = size if word & _LZ4_PLAIN else min(most, _LZ4_RATIO * size)
        if blocks and (not word or room + need > BLOCK_BYTES):
            text = _lz4_blocks(header, history, blocks, room)
            history = (history + text[-_LZ4_HISTORY:])[-_LZ4_HISTORY:]
            room, blocks = 0, []
            yield text
        if not word:
            return end + (4 if flags & 0x04 else 0)
        if size:
            blocks.append(data[at:end])
            room += need
        at = end + (4 if flags & 0x10 else 0)


def _lz4_blocks(header: bytes, history: bytes, blocks: list[memoryview], room: int) -> bytes:
    """Inflate blocks, each after its size.

    Args:
        header: of their frame.
        history: what they may refer to.
        blocks: the blocks.
        room: the most bytes that they inflate to.
    """
    before = struct.pack("<I", len(history) | _LZ4_PLAIN) + history if history else b""
    frame = b"".join((header, before, *blocks, bytes(4)))
    out = np.empty(len(history) + room, np.uint8).data
    end = int(cramjam.lz4.decompress_into(frame, out))
    return bytes(out[len(history) : end])


_STREAMS: dict[int, Callable[[memoryview], Iterator[bytes]]] = {
    GZIP: _gzip,
    SNAPPY: _snappy,
    LZ4: _lz4,
    ZSTD: _zstd,
}

"""Record batches that cannot be read, made of good ones; in memory, or on the disk of a running broker."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from aiokafka.record.util import calc_crc32c

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cxstream.local.broker import LocalKafka

# Places in a batch: its length, its format, its checksum, what that covers, and the records.
LENGTH, MAGIC, CRC, ATTRIBUTES, RECORDS = 8, 16, 17, 21, 61


def sealed(batch: bytes) -> bytes:
    """With the right checksum."""
    return batch[:CRC] + struct.pack(">I", calc_crc32c(batch[ATTRIBUTES:])) + batch[ATTRIBUTES:]


def with_codec(batch: bytes, codec: int) -> bytes:
    """As if it had been compressed with another codec."""
    attributes = struct.unpack_from(">h", batch, ATTRIBUTES)[0] & ~7 | codec
    return sealed(batch[:ATTRIBUTES] + struct.pack(">h", attributes) + batch[ATTRIBUTES + 2 :])


def flipped(batch: bytes, at: int) -> bytes:
    """With other bits at a place."""
    return batch[:at] + bytes([batch[at] ^ 0xFF]) + batch[at + 1 :]


def counted(batch: bytes, records: int) -> bytes:
    """With another number of records."""
    return sealed(batch[: RECORDS - 4] + struct.pack(">i", records) + batch[RECORDS:])


def lengthened(batch: bytes, length: int) -> bytes:
    """With another length."""
    return batch[:LENGTH] + struct.pack(">i", length) + batch[LENGTH + 4 :]


# Batches that may be readable some day, or elsewhere.
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "checksum": lambda batch: flipped(batch, len(batch) - 1),
    "unknown codec": lambda batch: with_codec(batch, 5),
    "format 3": lambda batch: sealed(batch[:MAGIC] + b"\3" + batch[MAGIC + 1 :]),
    "format 1": lambda batch: batch[:MAGIC] + b"\1" + batch[MAGIC + 1 :],
    "too short": lambda batch: lengthened(batch, 5),
    "too long": lambda batch: lengthened(batch, 2**31 - 1),
}
# Batches that hold what was sent, and never what they say.
LIES: dict[str, Callable[[bytes], bytes]] = {
    "no gzip": lambda batch: with_codec(batch, 1),
    "no snappy": lambda batch: with_codec(batch, 2),
    "no lz4": lambda batch: with_codec(batch, 3),
    "no zstd": lambda batch: with_codec(batch, 4),
    "too many records": lambda batch: counted(batch, 1_000_000),
}


def batches(log: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Place, first offset and bytes of each batch."""
    at = 0
    while at < len(log):
        offset, length = struct.unpack_from(">qi", log, at)
        yield at, offset, log[at : at + 12 + length]
        at += 12 + length


def segment(broker: LocalKafka, topic: str, partition: int) -> Path:
    """The file in which the broker keeps the first records of a partition."""
    assert broker.log
    [found] = broker.log.parent.glob(f"*/{topic}-{partition}/00000000000000000000.log")
    return found


def alter(log: Path, offset: int, change: Callable[[bytes], bytes]) -> bytes:
    """Change the batch that begins at an offset in its file, in place.

    Returns:
        What was there.
    """
    [(at, batch)] = [(at, batch) for at, first, batch in batches(log.read_bytes()) if first == offset]
    put(log, at, change(batch))
    return batch


def put(log: Path, at: int, data: bytes) -> None:
    """Write into a file that somebody has open."""
    with log.open("r+b") as file:
        file.seek(at)
        file.write(data)

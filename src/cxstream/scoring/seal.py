"""What stands behind each row of a snapshot: the generation that the row belongs to, and a checksum.

    payload | generation, 8 bytes | checksum, 4 bytes; 16 under a key

The checksum covers payload, generation and the row's key. Without a secret it is a CRC-32, which finds damage; under
one it is keyed BLAKE2b (RFC 7693), which nobody without the secret can make. Little-endian.

A generation is the number of one line of saved state. A state that goes on from a snapshot keeps its generation; one
that is built anew gets another, and saves all of its rows. So the rows that belong together have one generation.
"""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING
from zlib import crc32

from cxstream.model.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_GENERATION_BYTES = 8
_CRC_BYTES, _MAC_BYTES = 4, 16
_LENGTH_BYTES = 4
KEYED_DIGITS = 2 * _MAC_BYTES


def text_checksum(text: bytes, secret: bytes) -> str:
    """The checksum of a marker, in hexadecimal."""
    if secret:
        return hashlib.blake2b(
            text, key=secret, digest_size=_MAC_BYTES, person=b"cxstream-marker"
        ).hexdigest()
    return f"{crc32(text):08x}"


class Seal:
    """Adds generation and checksum to rows, and checks them.

    Args:
        generation: of the rows, 0..2**63 - 1.
        secret: at most 64 bytes; empty for checksums that find damage alone.

    Attributes:
        size: bytes that it adds to a row.
    """

    def __init__(self, generation: int, secret: bytes = b"") -> None:
        self._generation = generation.to_bytes(_GENERATION_BYTES, "little")
        self._seed = crc32(self._generation)
        self._mac = (
            hashlib.blake2b(key=secret, digest_size=_MAC_BYTES, person=b"cxstream-row") if secret else None
        )
        self.size = _GENERATION_BYTES + (_MAC_BYTES if secret else _CRC_BYTES)

    def _checksum(self, key: bytes, payload: bytes) -> bytes:
        if self._mac is None:
            return crc32(payload, crc32(key, self._seed)).to_bytes(_CRC_BYTES, "little")
        mac = self._mac.copy()
        # The length says where the key ends: no byte can move from one to the other.
        mac.update(self._generation + len(key).to_bytes(_LENGTH_BYTES, "little") + key + payload)
        return mac.digest()

    def close(self, rows: Iterable[tuple[bytes, bytes | None]]) -> Iterator[tuple[bytes, bytes | None]]:
        """Rows as they are to be stored; tombstones stay what they are."""
        for key, payload in rows:
            if payload is None:
                yield key, None
            else:
                yield key, payload + self._generation + self._checksum(key, payload)

    def check(self, rows: Mapping[bytes, bytes]) -> None:
        """Check stored rows.

        Raises:
            SnapshotError: a checksum is wrong, or a row is of another generation.
        """
        size, generation, checksum = self.size, self._generation, self._checksum
        for key, row in rows.items():
            if row[-size:] != generation + checksum(key, row[:-size]):
                raise self._problem(row)

    def _problem(self, row: bytes) -> SnapshotError:
        if len(row) > self.size and row[-self.size :][:_GENERATION_BYTES] != self._generation:
            return SnapshotError(
                "a row of the snapshot is damaged, or was saved with another state: rebuild the partition"
            )
        if self._mac is None:
            return SnapshotError("a row of the snapshot is damaged: rebuild the partition from its log")
        return SnapshotError(
            "a row of the snapshot was changed by somebody who does not have the key of control.key, or is damaged: "
            "rebuild the partition",
            "forged",
        )


def readable(rows: Mapping[bytes, bytes], secret: bytes = b"") -> dict[bytes, bytes]:
    """The payloads of those stored rows whose checksum is right, whatever their generation."""
    size = Seal(0, secret).size
    payloads = {}
    for key, row in rows.items():
        if len(row) > size:
            seal = Seal(int.from_bytes(row[-size:][:_GENERATION_BYTES], "little"), secret)
            with contextlib.suppress(SnapshotError):
                seal.check({key: row})
                payloads[key] = row[:-size]
    return payloads

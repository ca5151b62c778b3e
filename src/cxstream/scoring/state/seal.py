"""The trailer of each row of a snapshot: the generation that the row belongs to, and a checksum.

    payload | generation, 8 bytes | checksum, 4 bytes; 16 under a key

The checksum covers the row's key, payload and generation. Without a secret it is a CRC-32, which detects damage; with
a secret it is keyed BLAKE2b (RFC 7693), which cannot be made without the secret. Little-endian.

A generation is the number of a snapshot lineage. A state that continues from a snapshot keeps its generation; one
that is rebuilt gets a new one, and saves all of its rows. So rows that belong together have the same generation.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from cxstream.kernels.packed_records import checksums
from cxstream.kernels.saved_rows import CRC_TABLE, GONE, first_damaged
from cxstream.model.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cxstream.scoring.state.saved_rows import RowColumns

_GENERATION_BYTES = 8
_CRC_BYTES, _MAC_BYTES = 4, 16
_LENGTH_BYTES = 4
# The CRC-32 of any bytes followed by their own CRC-32.
_RESIDUE = 0x2144DF1C
KEYED_DIGITS = 2 * _MAC_BYTES
FORM = (_GENERATION_BYTES, _CRC_BYTES, _MAC_BYTES, _LENGTH_BYTES)


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
        secret: at most 64 bytes; empty for checksums without a key, which only detect damage.

    Attributes:
        size: bytes added to a row.
    """

    def __init__(self, generation: int, secret: bytes = b"") -> None:
        self._generation = generation.to_bytes(_GENERATION_BYTES, "little")
        self._keyed = bool(secret)
        self._mac = hashlib.blake2b(key=secret, digest_size=_MAC_BYTES, person=b"cxstream-row")
        self.size = _GENERATION_BYTES + (_MAC_BYTES if secret else _CRC_BYTES)

    def _mac_of(self, key: bytes, sealed: bytes) -> bytes:
        """The checksum under the secret, of a payload and generation."""
        mac = self._mac.copy()
        # The length marks the end of the key: no byte can move between key and payload.
        mac.update(len(key).to_bytes(_LENGTH_BYTES, "little") + key + sealed)
        return mac.digest()

    def trailers(self, rows: RowColumns) -> NDArray[np.uint8]:
        """What is added to each of these rows, uint8[n, size]; anything for tombstones."""
        out = np.empty((len(rows), self.size), np.uint8)
        out[:, :_GENERATION_BYTES] = np.frombuffer(self._generation, np.uint8)
        keys, text, begins, sizes = rows.keys, rows.text, rows.begins, rows.sizes
        if not self._keyed:
            found = np.empty(len(rows), "<u4")
            generation = np.frombuffer(self._generation, np.uint8)
            checksums(keys.data, keys.begins, keys.ends, text, begins, sizes, generation, CRC_TABLE, found)
            out[:, _GENERATION_BYTES:] = found.view(np.uint8).reshape(-1, _CRC_BYTES)
            return out
        whole = memoryview(text)  # type: ignore[arg-type]  # an array has a buffer
        for i, (key, begin, size) in enumerate(zip(keys, begins.tolist(), sizes.tolist(), strict=True)):
            if size != GONE:
                sealed = bytes(whole[begin : begin + size]) + self._generation
                out[i, _GENERATION_BYTES:] = np.frombuffer(self._mac_of(key, sealed), np.uint8)
        return out

    def check(self, rows: RowColumns, but: bytes | None = None) -> None:
        """Check stored rows.

        Args:
            rows: all of them.
            but: the key of an entry that is not a row.

        Raises:
            SnapshotError: a checksum is wrong, or a row is of another generation.
        """
        if self._keyed:
            generation, begin, end = self._generation, -self.size, _GENERATION_BYTES - self.size
            for key, row in rows.items():
                if (not self.is_whole(key, row) or row[begin:end] != generation) and key != but:
                    raise self._problem(key, row)
            return
        keys, exempt = rows.keys, -1
        if but is not None:
            like = np.flatnonzero((keys.lengths == len(but)) & (rows.kinds() == but[0]))
            exempt = next((int(i) for i in like if keys[int(i)] == but), -1)
        number = np.uint64(int.from_bytes(self._generation, "little"))
        text, begins, sizes = rows.text, rows.begins, rows.sizes
        found = first_damaged(
            keys.data, keys.begins, keys.ends, text, begins, sizes, number, CRC_TABLE, exempt
        )
        if found < len(rows):
            raise self._problem(*next(rows.taken(np.array([found])).items()))

    def is_whole(self, key: bytes, row: bytes) -> bool:
        """Whether the checksum of a stored row matches its payload and generation."""
        if not self._keyed:
            return crc32(row, crc32(key)) == _RESIDUE
        end = -_MAC_BYTES
        return hmac.compare_digest(row[end:], self._mac_of(key, row[:end]))

    def _problem(self, key: bytes, row: bytes) -> SnapshotError:
        if len(row) > self.size and self.is_whole(key, row):
            return SnapshotError(
                "a row of the snapshot was saved with another state: rebuild the partition from its log"
            )
        if not self._keyed:
            return SnapshotError("a row of the snapshot is damaged: rebuild the partition from its log")
        return SnapshotError(
            "a row of the snapshot was not saved under control.key, or is damaged: rebuild the partition from its log",
            "forged",
        )


def readable(rows: Mapping[bytes, bytes], secret: bytes = b"") -> dict[bytes, bytes]:
    """The payloads of the stored rows with a valid checksum, of any generation."""
    seal = Seal(0, secret)
    return {
        key: row[: -seal.size]
        for key, row in rows.items()
        if len(row) > seal.size and seal.is_whole(key, row)
    }

"""Pseudonyms, which replace customer ids in outputs: keyed HMAC-SHA-256 (RFC 2104, FIPS 180-4)."""

from __future__ import annotations

import hashlib
import hmac

from cxstream.scoring.codec.remembered import Remembered

MIN_KEY_BYTES = 16
# Room for half a million customers; with many more, pseudonyms are computed again from time to time.
_KEPT_BYTES = 256 << 20


class Pseudonyms(Remembered[str]):
    """The pseudonym of each customer, 64 hexadecimal digits; computed once, and kept until it is popped.

    Args:
        key: a secret of at least 16 bytes; with it, the pseudonym of any customer id can be computed.
    """

    def __init__(self, key: bytes) -> None:
        super().__init__(_KEPT_BYTES)
        self._key = key
        self.key_id = hashlib.blake2b(key, digest_size=8, person=b"cxstream-key").hexdigest()

    def __missing__(self, subject: str) -> str:
        return self.keep(subject, self.of(subject))

    def of(self, subject: str) -> str:
        """A pseudonym that is not kept."""
        return hmac.digest(self._key, subject.encode(errors="surrogateescape"), "sha256").hex()

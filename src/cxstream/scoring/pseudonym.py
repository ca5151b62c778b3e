"""Names that stand for customers where their own are not to be seen: keyed HMAC-SHA-256 (RFC 2104, FIPS 180-4)."""

from __future__ import annotations

import hashlib
import hmac

MIN_KEY_BYTES = 16
# Where there are absurdly many customers the memory of their pseudonyms is given up and made anew.
_KEPT = 4_000_000


class Pseudonyms(dict[str, str]):
    """The pseudonym of each customer, 64 hexadecimal digits; computed once, and kept until it is popped.

    Args:
        key: at least 16 bytes that nobody else has; who has it can tell which pseudonym is whose.
    """

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key
        self.key_id = hashlib.blake2b(key, digest_size=8, person=b"cxstream-key").hexdigest()

    def __missing__(self, subject: str) -> str:
        if len(self) >= _KEPT:
            self.clear()
        name = self[subject] = self.of(subject)
        return name

    def of(self, subject: str) -> str:
        """A pseudonym that is not kept."""
        return hmac.digest(self._key, subject.encode(errors="surrogateescape"), "sha256").hex()

"""Signatures of control records, made with a key.

Control records erase customers and move the clock. A source that may write touchpoints must not be able to do
that, so each control record carries the attribute `signature`: HMAC-SHA-256 (RFC 2104, FIPS 180-4), 64 lower-case hexadecimal
digits, over the canonical JSON (RFC 8785) of the event without it:

- an attribute that is null counts as absent;
- every other attribute stands as its canonical text (CloudEvents 1.0, type system), as in a header of the binary
  content mode, so that an event has the same signature in both content modes;
- `data` stands as the JSON value that it is.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Any

import msgspec
import rfc8785

from cxstream.model.cloudevents import text_of
from cxstream.model.errors import CloudEventError
from cxstream.model.kinds import FORGET_TYPE, TICK_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MIN_KEY_BYTES = 32
SIGNATURE = "signature"
# Canonical JSON is made in Python, at some 3 us per value: without these bounds, one cheap hostile record would take a
# hundred times as long as any other.
MAX_BYTES = 64 * 1024
MAX_ATTRIBUTES = 64
_WITHOUT_DATA = frozenset({TICK_TYPE, FORGET_TYPE})
_HEX = re.compile(r"[0-9a-f]{64}")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def canonical(event: Mapping[str, Any]) -> bytes:
    """The bytes that are signed for an event in structured form.

    Raises:
        CloudEventError: an attribute is an object, an array or a number that is not whole.
        ValueError: `data` has a whole number beyond 2^53 - 1, which is not the same number to every reader of JSON.
        RecursionError: `data` is nested too deeply.
    """
    signed = {
        name: value if name == "data" else text_of(name, value)
        for name, value in event.items()
        if name != SIGNATURE and value is not None
    }
    return rfc8785.dumps(signed)


def derived(key: bytes, purpose: str) -> bytes:
    """A key for another purpose than control records: 32 bytes that do not reveal the key they are derived from.

    Args:
        key: one of `Authority.keys`.
        purpose: as "snapshot".
    """
    # Canonical JSON of an event begins with a brace: no signature is ever such a key.
    return hmac.digest(key, f"cxstream/{purpose}".encode(), "sha256")


class Authority:
    """Signs control records and verifies signatures.

    Args:
        keys: at least one, of at least MIN_KEY_BYTES bytes each: the one that signs, then those that it replaced.

        unsigned_until: ms UTC; control records appended before need no signature. None: all need one.

    Attributes:
        keys: the same.
    """

    def __init__(self, keys: Sequence[bytes], unsigned_until: int | None = None) -> None:
        self.keys = tuple(keys)
        self._unsigned_until = unsigned_until

    def sign(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """The event with its signature.

        Raises:
            CloudEventError, ValueError, RecursionError: as `canonical`.
        """
        return {**event, SIGNATURE: _mac(self.keys[0], canonical(event))}

    def doubt(self, raw: bytes, appended: int | None = None) -> str:
        """Why the signature of a structured event is not valid under any of the keys, for the reader; "" if it is valid.

        Args:
            raw: a well-formed JSON object.
            appended: when it came into the log, by the broker's clock, ms UTC; None if that is not known.
        """
        if self._unsigned_until is not None and appended is not None and appended < self._unsigned_until:
            return ""
        if len(raw) > MAX_BYTES:
            return f"{len(raw):,} bytes, and a signed record has at most {MAX_BYTES:,}"
        event = _decode(raw)
        if why := _unsigned(event):
            return why
        try:
            signed = canonical(event)
        except (CloudEventError, ValueError, RecursionError) as error:
            return f"cannot have been signed: {error}"
        # All of them, so that the time does not reveal which key matches.
        matches = [hmac.compare_digest(_mac(key, signed), event[SIGNATURE]) for key in self.keys]
        return "" if any(matches) else "the signature is not of control.key"


def _unsigned(event: Mapping[str, Any]) -> str:
    """Why an event cannot have a valid signature, as far as cheap checks tell; "" if it may have one."""
    given = event.get(SIGNATURE)
    if given is None:
        return "no signature, and only records signed with control.key count"
    if not isinstance(given, str) or not _HEX.fullmatch(given):
        return "the signature is not 64 lower-case hexadecimal digits"
    if len(event) > MAX_ATTRIBUTES:
        return f"{len(event)} attributes, and a signed record has at most {MAX_ATTRIBUTES}"
    if event.get("type") in _WITHOUT_DATA and event.get("data") is not None:
        return "it has data, and a record of this type is signed without"
    return ""


def _mac(key: bytes, signed: bytes) -> str:
    return hmac.digest(key, signed, "sha256").hex()

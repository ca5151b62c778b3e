"""The record of cx.rejected that stands for a rejected record: a copy, or a reference to it.

    copy       key, value and headers as they came, then the headers reason field topic partition offset
    reference  the key where it may be one of a customer, no value, and only the headers
               reason field topic partition offset size sha256

A reference takes a few hundred bytes, however large the record is. Its place says where the record lies as long as
the source topic keeps it; size and digest show whether it is still the same record. The last header tells
the two forms apart: the headers of the record itself come before the explanation and may have any name.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

from cxstream.model.cloudevents import content_bytes, names_are_text
from cxstream.model.fields import MAX_SUBJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.scoring.codec.pseudonym import Pseudonyms

Headers = list[tuple[str, bytes | None]]

EXPLANATION = ("reason", "field", "topic", "partition", "offset")
REFERENCE = ("size", "sha256")

# A longer key is not a customer id; UTF-8 has at most four bytes a character.
_KEY_BYTES = 4 * MAX_SUBJECT
_FIELD_CHARACTERS = 256
# The most bytes that Kafka's format adds to the key, value and headers of a record.
_RECORD_OVERHEAD, _HEADER_OVERHEAD = 42, 10


class Passing:
    """A record that is read part by part and not kept."""

    def __init__(self) -> None:
        self._size = 0
        self._digest = hashlib.sha256()

    def add(self, part: bytes) -> None:
        """Take the next bytes of its value."""
        self._size += len(part)
        self._digest.update(part)

    def reference(self) -> Reference:
        """The reference to the bytes taken so far."""
        return Reference(self._size, self._digest.hexdigest())


class Row(NamedTuple):
    """A record of cx.rejected."""

    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def size(self) -> int:
        """The most bytes that it takes in a batch."""
        return wire_bytes(*self)


class Reference(NamedTuple):
    """What a reference says about its record.

    Attributes:
        size: bytes of its key, value and headers, not compressed; in a file, of the record as it stands there.
        sha256: digest of its value in hexadecimal; "" under pseudonyms, because it would let readers test guesses of the value.
    """

    size: int
    sha256: str

    def fits(
        self, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]
    ) -> bool:
        """Whether it refers to this record."""
        return self.size == content_bytes(key, value, headers) and self.sha256 in {"", _digest(value)}


def wire_bytes(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> int:
    """The most bytes that a record takes in a batch that is not compressed."""
    return content_bytes(key, value, headers) + len(headers) * _HEADER_OVERHEAD + _RECORD_OVERHEAD


def copy(
    record: Any, place: tuple[str, int], reason: str, field: str, pseudonyms: Pseudonyms | None = None
) -> Row:
    """The copy of a record, byte for byte; under pseudonyms without value and headers.

    A record with a header whose name is not UTF-8 cannot be written again: it gets a reference.

    Args:
        record: aiokafka's.
        place: its topic and partition.
        reason: why it is rejected.
        field: path of the field.
        pseudonyms: names under which customers are known; None: their own.
    """
    said = _explained(record, place, reason, field)
    if pseudonyms is not None:
        return Row(_pseudonym(pseudonyms, record.key), None, said)
    if not names_are_text(record.headers):
        return by_reference(record, place, reason, field)
    return Row(record.key, record.value, [*record.headers, *said])


def by_reference(
    record: Any, place: tuple[str, int], reason: str, field: str, pseudonyms: Pseudonyms | None = None
) -> Row:
    """The reference to a record that cannot or should not be copied; arguments as for `copy`."""
    said = _explained(record, place, reason, field)
    # The caller took the size of a record that is not in memory from its batch.
    known: Reference | None = getattr(record, "reference", None)
    return _reference(record.key, record.value, record.headers, said, pseudonyms, known)


def shortened(row: Row) -> Row:
    """The reference that replaces a copy not made under pseudonyms; a reference is returned unchanged."""
    if row.headers[-1][0] == REFERENCE[-1]:
        return row
    own, said = row.headers[: -len(EXPLANATION)], row.headers[-len(EXPLANATION) :]
    return _reference(row.key, row.value, own, said, None)


def unfold(headers: Headers) -> tuple[Headers, dict[str, bytes], Reference | None] | None:
    """Take the headers of a record of cx.rejected apart.

    Returns:
        The headers of the rejected record itself, the explanation by name, and what a reference says; None where
        they are not those of a rejected record.
    """
    names = [name for name, _ in headers]
    reference = None
    if tuple(names) == EXPLANATION + REFERENCE:
        try:
            reference = Reference(int(headers[-2][1] or b""), (headers[-1][1] or b"").decode())
        except ValueError:
            return None
        headers = headers[: -len(REFERENCE)]
    count = len(EXPLANATION)
    said = {name: value for name, value in headers[-count:] if value is not None}
    if tuple(said) != EXPLANATION:
        return None
    return headers[:-count], said, reference


def _explained(record: Any, place: tuple[str, int], reason: str, field: str) -> Headers:
    texts = (reason, field[:_FIELD_CHARACTERS], place[0], str(place[1]), str(record.offset))
    return [(name, text.encode()) for name, text in zip(EXPLANATION, texts, strict=True)]


def _reference(
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes | None]],
    explanation: Headers,
    pseudonyms: Pseudonyms | None,
    known: Reference | None = None,
) -> Row:
    size = content_bytes(key, value, headers) if known is None else known.size
    if pseudonyms is not None:
        key, sha256 = _pseudonym(pseudonyms, key), ""
    else:
        key = key if key is None or len(key) <= _KEY_BYTES else None
        sha256 = _digest(value) if known is None else known.sha256
    said = zip(REFERENCE, (str(size).encode(), sha256.encode()), strict=True)
    return Row(key, None, [*explanation, *said])


def _digest(value: bytes | None) -> str:
    return hashlib.sha256(value or b"").hexdigest()


def _pseudonym(pseudonyms: Pseudonyms, key: bytes | None) -> bytes | None:
    return None if key is None else pseudonyms.of(key.decode(errors="surrogateescape")).encode()

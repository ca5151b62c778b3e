"""Changes of the experience (cx.change.v1): decoded as touchpoints are, and taken out of what scoring rejects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cxstream.model.changes import CHANGE_TYPE, Change
from cxstream.scoring.codec.decode import INVALID, Decoded, Headers, Rejected, decode
from cxstream.scoring.codec.peek import about
from cxstream.scoring.codec.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAME = CHANGE_TYPE.encode()
# A type may be written with escapes.
_ESCAPE = b"\\u00"


class _ChangesOnly(Vocabulary):
    """The vocabulary of cx.changes: no other event is valid there."""

    contract = None

    def __init__(self) -> None:
        super().__init__({})
        self.decode = msgspec.json.Decoder(Change).decode  # type: ignore[assignment]


CHANGES_ONLY = _ChangesOnly()


class Marker(NamedTuple):
    """A valid change.

    Attributes:
        time: ms UTC.
        event: the change.
    """

    time: int
    event: Change


def decode_changes(
    values: Sequence[bytes | None], headers: Sequence[Headers] | None = None, *, limit: int | None = None
) -> Decoded:
    """Decode and validate changes.

    Args:
        values: n records; None is a record without a value.
        headers: their Kafka headers, where there are any.
        limit: the most bytes of a record's value and headers; None for no limit.
    """
    return decode(values, headers, limit=limit, vocabulary=CHANGES_ONLY)


def markers(decoded: Decoded) -> list[Marker]:
    """The valid changes of `decode_changes`."""
    return list(map(Marker, decoded.columns["time"].tolist(), decoded.events))


def is_change(value: bytes | None) -> bool:
    """Whether a record says that it is a change, valid or not."""
    if value is None or (_NAME not in value and _ESCAPE not in value):
        return False
    kind: object = about(value, []).type
    return kind == CHANGE_TYPE


def changes_among(
    values: Sequence[bytes | None], rejected: Sequence[Rejected]
) -> tuple[list[Marker], list[Rejected]]:
    """The changes among the records that scoring rejected, which knows no such type, and what remains rejected.

    Args:
        values: n structured records.
        rejected: what scoring rejected of them, in order.
    """
    found = [
        each.index
        for each in rejected
        if each.reason == INVALID and each.field == "type" and is_change(values[each.index])
    ]
    if not found:
        return [], list(rejected)
    decoded = decode_changes([values[i] for i in found])
    wrong = {
        found[each.index]: Rejected(found[each.index], each.reason, each.field, each.message)
        for each in decoded.rejected
    }
    changes = set(found)
    remaining = [
        wrong.get(each.index, each) for each in rejected if each.index not in changes or each.index in wrong
    ]
    return markers(decoded), remaining

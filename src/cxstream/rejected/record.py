"""A rejected record as cx.rejected holds it: a copy or a reference (`cxstream.scoring.codec.rejection`).

A record with the reason `resent` is no rejection but a marker: what was rejected at its place has been sent
again. It has no value, and its key and headers are those of the record at that place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Self

from cxstream.model.errors import InputError
from cxstream.scoring.codec.rejection import EXPLANATION, Headers, Reference, unfold
from cxstream.topology import RESENT

RESENT_FROM = "resent-from"
_PLACE = re.compile(r"(?:(?P<topic>.+)-)?(?P<partition>\d+)-(?P<offset>\d+)")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a rejected record came from.

    Attributes:
        topic: source topic.
        partition: its partition.
        offset: the record's offset there.
    """

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"

    @classmethod
    def parse(cls, text: str, touchpoints: str) -> Self:
        """Read `TOPIC-PARTITION-OFFSET`; the topic may be left out, it is cx.touchpoints then.

        Args:
            text: the place.
            touchpoints: what cx.touchpoints is called.

        Raises:
            InputError: it is no place.
        """
        found = _PLACE.fullmatch(text)
        if found is None:
            raise InputError(f"{text!r} is no place: write {touchpoints}-PARTITION-OFFSET, as the list does")
        return cls(found["topic"] or touchpoints, int(found["partition"]), int(found["offset"]))


@dataclass(frozen=True, slots=True)
class Rejection:
    """One record of cx.rejected.

    Attributes:
        place: where the record came from.
        reason: why it was rejected; `resent` for a marker.
        field: path of the field, "" where there is none.
        time_ms: when it was rejected, ms UTC.
        offset: where in cx.rejected it is; the partition is that of the place.
        key: as it came.
        value: as it came; None where cx.rejected does not keep values.
        headers: as they came.
        reference: what a reference says of the record; None of a copy.
    """

    place: Place
    reason: str
    field: str
    time_ms: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    reference: Reference | None = None

    @property
    def is_marker(self) -> bool:
        """Whether this says that the record has been sent again."""
        return self.reason == RESENT

    @property
    def resent_from(self) -> str:
        """The place of the record that this one repeats; "" where it repeats none."""
        value = next((value for name, value in self.headers if name == RESENT_FROM), None)
        return (value or b"").decode(errors="backslashreplace")


def read(record: Any) -> Rejection | None:
    """A record of cx.rejected; None where its headers are not those of a rejected record."""
    found = unfold(list(record.headers))
    if found is None:
        return None
    own, said, reference = found
    try:
        reason, field, topic, partition, offset = [said[name].decode() for name in EXPLANATION]
        place = Place(topic, int(partition), int(offset))
    except ValueError:
        return None
    return Rejection(
        place, reason, field, record.timestamp, record.offset, record.key, record.value, own, reference
    )


def marker_headers(rejection: Rejection) -> Headers:
    """The headers of the record of cx.rejected that says that a rejected record has been sent again."""
    place = rejection.place
    texts = (RESENT, "", place.topic, str(place.partition), str(place.offset))
    said: Headers = [(name, text.encode()) for name, text in zip(EXPLANATION, texts, strict=True)]
    return [*rejection.headers, *said]

"""A draft is an event before it is checked, with the place in the input that it comes from."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.json import Encoder

from cxstream.model.kinds import type_of
from cxstream.model.rfc3339 import rfc3339

_encode = Encoder().encode


class Draft(NamedTuple):
    """An event to be.

    Attributes:
        kind: its name, as mappings and summaries have it.
        id: identifies the event together with `source`.
        source: the system that it comes from.
        subject: the customer.
        time_ms: when it happened, in ms UTC.
        data: the attributes of the contract.
        file: the input that it comes from.
        line: 1-based line on which its row begins.
    """

    kind: str
    id: str
    source: str
    subject: str
    time_ms: int
    data: dict[str, Any]
    file: str
    line: int


class _CloudEvent(Struct, gc=False):
    """A structured CloudEvent, in the order in which it is written."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    data: dict[str, Any]


def encode(draft: Draft) -> bytes:
    """The draft as a structured CloudEvent in one line.

    Raises:
        UnicodeEncodeError: a text holds bytes that were no text in the encoding of the input.
    """
    kind, id_, source, subject, time_ms, data, _, _ = draft
    return _encode(_CloudEvent("1.0", id_, source, type_of(kind), subject, rfc3339(time_ms), data))

"""The attributes of a record as far as they can be read, also of an invalid one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.model.cloudevents import structured
from cxstream.model.errors import CloudEventError
from cxstream.model.kinds import BY_TYPE

if TYPE_CHECKING:
    from cxstream.model.cloudevents import Headers


class About(msgspec.Struct, frozen=True):
    """The readable part of a record, not validated.

    Attributes:
        source: the system that sent it.
        id: its id there.
        type: the CloudEvents type.
        subject: the customer.
        time: event time.
        data: what happened.
    """

    source: Any = None
    id: Any = None
    type: Any = None
    subject: Any = None
    time: Any = None
    data: Any = None

    @property
    def kind(self) -> str:
        """The kind of touchpoint; the type itself if it is no kind; "" without a type."""
        kind = BY_TYPE.get(self.type) if isinstance(self.type, str) else None
        return kind.label if kind is not None else str(self.type or "")

    @property
    def channel(self) -> str:
        """The channel; "" if it cannot be read."""
        return str(self.data.get("channel") or "") if isinstance(self.data, dict) else ""


_about = msgspec.json.Decoder(About).decode


def about(value: bytes | None, headers: Headers) -> About:
    """The readable part of a record in either content mode."""
    try:
        return _about(structured(headers, value))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, CloudEventError):
        return About()

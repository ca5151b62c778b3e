"""Touchpoint events as msgspec types: one envelope a kind, told apart by the CloudEvents `type`.

These types are the wire contract: the decoder runs on them and the JSON Schemas are generated from them.
Unknown fields are ignored, an explicit null of an optional field is the same as its absence.
`time` is checked by `cxstream.kernels.text`, which reads RFC 3339 with an offset.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias, Union

from msgspec import Meta, Raw, Struct, defstruct

from cxstream.model.fields import MAX_SUBJECT, Data, NonEmpty, Signature, Text
from cxstream.model.kinds import FORGET_TYPE, RULES_TYPE, TICK_TYPE, Kind, type_of

# `KIND` of control records, from here on: they are signed where there is a key, and never from the future.
CONTROL = 248


# The topic of the log, by its name in the contract: ids of signals begin with it.
LOG = "cx.touchpoints"


class Touchpoint(Struct, kw_only=True, gc=False, tag_field="type", tag="cx.touchpoint"):
    """The CloudEvents envelope of a touchpoint.

    Attributes:
        id: identifies the event together with `source`; 1..256 characters.
        source: the system that says so; 1..256 characters.
        subject: the customer, 1..128 characters; the Kafka key equals it.
        time: RFC 3339 with offset.
        data: what happened.
    """

    KIND: ClassVar[int] = -1

    specversion: Literal["1.0"]
    id: NonEmpty
    source: NonEmpty
    subject: Annotated[str, Meta(min_length=1, max_length=MAX_SUBJECT)]
    time: Text
    data: Data


class Tick(Struct, kw_only=True, gc=False, tag_field="type", tag=TICK_TYPE):
    """Time passes; nothing else happens.

    Attributes:
        signature: of who may write ticks; needed where the workers have a `control.key`.
    """

    KIND: ClassVar[int] = 255

    specversion: Literal["1.0"]
    id: NonEmpty
    source: NonEmpty
    time: Text
    signature: Signature | None = None


class Forget(Struct, kw_only=True, gc=False, tag_field="type", tag=FORGET_TYPE):
    """The customer wants to be erased: everything known of him goes, and what comes late about him is dropped.

    Attributes:
        signature: of the worker that took the request from cx.forget; needed in cx.touchpoints where the workers have
            a `control.key`, and not looked at in cx.forget.
    """

    KIND: ClassVar[int] = 254

    specversion: Literal["1.0"]
    id: NonEmpty
    source: NonEmpty
    subject: Annotated[str, Meta(min_length=1, max_length=MAX_SUBJECT)]
    time: Text
    signature: Signature | None = None


class NewRules(Struct, kw_only=True, gc=False, tag_field="type", tag=RULES_TYPE):
    """The rules of the partition from the next record on.

    Attributes:
        data: a set of rules; see `cxstream.model.rules`.
        signature: of who may change the rules; needed where the workers have a `control.key`.
    """

    KIND: ClassVar[int] = 253

    specversion: Literal["1.0"]
    id: NonEmpty
    source: NonEmpty
    time: Text
    data: Raw
    signature: Signature | None = None


def envelope(label: str, number: int, data: type[Data]) -> Any:
    """The type of the events of a kind.

    Args:
        label: name of the kind.
        number: of the kind.
        data: type of `data`.
    """
    return defstruct(
        f"Touchpoint_{label}",
        [("data", data)],
        bases=(Touchpoint,),
        namespace={
            "KIND": number,
            "__annotations__": {},
            "__doc__": f"A touchpoint of kind {label}.",
        },
        tag_field="type",
        tag=type_of(label),
        kw_only=True,
        gc=False,
        module=__name__,
    )


ENVELOPES: dict[Kind, type[Touchpoint]] = {
    kind: envelope(kind.label, int(kind), kind.spec.data) for kind in Kind
}
# Control records without a customer: they are in the partition that they were written to.
EVERYWHERE = (Tick, NewRules)
Event: TypeAlias = Touchpoint | Tick | Forget | NewRules
EVENT_TYPES: tuple[Any, ...] = (*ENVELOPES.values(), Tick, Forget, NewRules)
EVENT_TYPE: Any = Union[EVENT_TYPES]  # noqa: UP007  # of a tuple

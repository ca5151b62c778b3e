"""Changes of the experience, such as a release, a new menu of the phone line or a price: markers on charts.

A change is about no customer, and scoring ignores it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from msgspec import Struct

from cxstream.model.enumerations import Channel  # noqa: TC001  # msgspec evaluates the annotations
from cxstream.model.fields import NonEmpty, Text  # noqa: TC001  # msgspec evaluates the annotations

CHANGE_TYPE = "cx.change.v1"


class ChangeData(Struct, kw_only=True, gc=False):
    """`data` of a change: what changed, and where.

    Attributes:
        name: What changed; 1..256 characters.
        channel: The channel that it is limited to.
        touchpoint: The touchpoint that it is limited to.
        product: The product that it is limited to.
        location: The shop or place that it is limited to.
    """

    name: NonEmpty
    channel: Channel | None = None
    touchpoint: Text | None = None
    product: Text | None = None
    location: Text | None = None


class Change(Struct, kw_only=True, gc=False, tag_field="type", tag=CHANGE_TYPE):
    """A change of the experience, without a customer: a marker on charts, to compare before and after."""

    # Never in the state: scoring does not decode it.
    KIND: ClassVar[int] = 252

    specversion: Literal["1.0"]
    id: NonEmpty
    source: NonEmpty
    time: Text
    data: ChangeData

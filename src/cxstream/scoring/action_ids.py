"""What an `action_id` can refer to: a signal that was sent about the same customer before.

A signal's id is the place of the record that caused it, `<topic>-<partition>-<offset>-<n>`, and a customer's signals
come from the customer's own partition. So an id that names another topic, another partition, or a place that is not
before the record that refers to it, is not the id of a signal of this customer. That takes no memory, and is the same
however the log is cut. It cannot detect an id of the right form whose record caused no signal of this customer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.kinds import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.scoring.codec.decode import Decoded

# Actions and their outcomes. Checking every record would take 3 % of the time that scoring takes.
KINDS = tuple(kind for kind in Kind if kind.spec.refers)
LOOKED_AT = np.zeros(256, np.bool_)
LOOKED_AT[list(KINDS)] = True
_PLACE = re.compile(r"-(0|[1-9]\d{0,18})-(?:0|[1-9]\d{0,9})", re.ASCII)


def may_be_known(action_id: str, origin: str, offset: int) -> bool:
    """Whether an id can be that of a signal sent before.

    Args:
        action_id: what a touchpoint refers to.
        origin: source topic and partition as ids of signals begin: <topic>-<partition>.
        offset: the touchpoint's own.
    """
    if not action_id.startswith(origin):
        return False
    place = _PLACE.fullmatch(action_id, len(origin))
    return place is not None and int(place[1]) < offset


def unknown(
    decoded: Decoded, accepted: NDArray[np.int64], offsets: NDArray[np.int64], origin: str
) -> list[str]:
    """The sources of accepted touchpoints whose `action_id` is not that of a signal sent before, in order.

    Args:
        decoded: g valid records of a batch.
        accepted: int64[n], places of those that were accepted and whose kind is LOOKED_AT; others do not matter.
        offsets: int64[batch].
        origin: source topic and partition as ids of signals begin.
    """
    found: list[str] = []
    places = accepted[LOOKED_AT[decoded.columns["kind"][accepted]]]
    if not len(places):
        return found
    places = decoded.events.having("action_id", places)
    decoded.events.make(places)
    for i in places.tolist():
        event = decoded.events[i]
        action_id = event.data.action_id
        if action_id is not None and not may_be_known(action_id, origin, int(offsets[decoded.valid[i]])):
            found.append(event.source)
    return found

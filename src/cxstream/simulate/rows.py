"""A planned or past event as one row of a numpy array; what a column means depends on the kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cxstream.model.enumerations import CHANNELS

if TYPE_CHECKING:
    from cxstream.model.kinds import Kind

Rows = npt.NDArray[np.void]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ROW = np.dtype(
    [
        ("t", "<i8"),  # event time, ms UTC
        ("arrival", "<i8"),  # when it reaches the log, ms UTC
        ("seq", "<i8"),  # number behind the event's id
        ("ref", "<i8"),  # session, order, case, campaign or action, by kind
        ("cust", "<i4"),
        ("pain", "<f4"),  # what it does to the customer, in units of pain
        ("wait", "<i4"),  # seconds; -1: nothing to say
        ("handle", "<i4"),  # seconds
        ("cents", "<i4"),
        ("x", "<i2"),
        ("y", "<i2"),
        ("kind", "u1"),
        ("channel", "u1"),
        ("topic", "u1"),  # index in world.TOPICS; 0: none
        ("place", "u1"),  # touchpoint or location, by kind
        ("outcome", "u1"),  # UNKNOWN, RESOLVED, UNRESOLVED or ABANDONED
        ("cause", "u1"),  # index in world.CAUSES
        ("fault", "u1"),  # index in faults.FAULTS
        ("score", "i1"),  # an answer; hundredths of sentiment for a social post
        ("late_days", "i1"),
        ("transfers", "i1"),
    ]
)
UNKNOWN, RESOLVED, UNRESOLVED, ABANDONED = range(4)
CHANNEL: dict[str, int] = {name: index for index, name in enumerate(CHANNELS)}


def rows(
    kind: Kind | npt.NDArray[np.uint8], cust: npt.NDArray[Any], t: npt.NDArray[Any], **columns: Any
) -> Rows:
    """Build rows; columns that are not named are zero, `channel` may be a name.

    Args:
        kind: one kind, or a kind per row.
        cust: int[n], index of the customer.
        t: int64[n], event time, ms UTC.
        columns: further columns of `ROW`, scalars or arrays of length n.
    """
    made = np.zeros(len(cust), ROW)
    made["kind"], made["cust"], made["t"] = kind, cust, t
    for name, value in columns.items():
        made[name] = CHANNEL[value] if isinstance(value, str) else value
    return made


def join(parts: list[Rows]) -> Rows:
    """Concatenate rows."""
    return np.concatenate(parts) if parts else np.zeros(0, ROW)

"""Customers by the million, put into a state at the speed of the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.events import SPANS, SUBJECT_BEGIN, SUBJECT_END, TOPIC_BEGIN
from cxstream.kernels.layout import EVENT, NONE
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS
from cxstream.scoring.codec.events import Events
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.state.partition import NO_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cxstream.scoring.state.partition import PartitionState

_MIX = [Kind.page_view, Kind.contact, Kind.error, Kind.purchase, Kind.survey_csat]
_BATCH = 20_000
_DIGITS = 8
DAYS_APART = 3


def name(number: int, prefix: str = "customer") -> str:
    """The customer with this number."""
    return f"{prefix}-{number:0{_DIGITS}d}"


def names(numbers: NDArray[np.int64], prefix: str = "customer") -> Packed:
    """The customers with these numbers, without an object for each."""
    n, first = len(numbers), f"{prefix}-".encode()
    text = np.empty((n, len(first) + _DIGITS + 1), np.uint8)
    text[:, : len(first)], text[:, -1] = np.frombuffer(first, np.uint8), 0
    text[:, len(first) : -1] = numbers[:, None] // 10 ** np.arange(_DIGITS - 1, -1, -1) % 10 + ord("0")
    begins = np.arange(n) * text.shape[1]
    return Packed(text.tobytes() + AFTER, begins, begins + text.shape[1] - 1)


def fill(
    partition: PartitionState,
    customers: int | Sequence[int],
    panes: int,
    first_day: int,
    prefix: str = "customer",
) -> int:
    """Give customers an event on each of `panes` days, three days apart; how many events that are.

    Args:
        partition: the state.
        customers: how many, or their numbers.
        panes: days of each.
        first_day: the first of them, days UTC.
        prefix: of their names.
    """
    numbers = np.arange(customers) if isinstance(customers, int) else np.array(customers, np.int64)
    offset = 0
    for pane in range(panes):
        for begin in range(0, len(numbers), _BATCH):
            some = names(numbers[begin : begin + _BATCH], prefix)
            apply_events(partition, some, (first_day + pane * DAYS_APART) * DAY_MS + begin * 80, offset, pane)
            offset += len(some)
    return offset


def _no_record(_: bytes) -> object:
    raise ValueError("these events follow from no record")


def apply_events(
    partition: PartitionState, subjects: Packed, time_ms: int, offset: int, turn: int = 0
) -> None:
    """Put an event of each of these customers into a state that follows from no record of a log."""
    n = len(subjects)
    columns = np.zeros(n, EVENT)
    columns["time"] = time_ms + np.arange(n) * 80
    columns["kind"] = np.array(_MIX)[(np.arange(n) + turn) % len(_MIX)]
    columns["a"] = 2 + np.arange(n) % 3
    columns["id"] = np.arange(offset, offset + n)
    columns["topic"] = NONE
    spans = np.zeros((n, SPANS), np.int64)
    spans[:, SUBJECT_BEGIN], spans[:, SUBJECT_END], spans[:, TOPIC_BEGIN] = (
        subjects.begins,
        subjects.ends,
        NONE,
    )
    events = Events([], _no_record, subjects.text, spans)
    partition.apply(events, columns, np.zeros(n, np.int64), np.full(n, NO_LIMIT))
    partition.release_slots()

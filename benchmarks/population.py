"""Customers by the million, put into a state at the speed of the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.layout import EVENT, NONE
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS
from cxstream.scoring.codec.events import Events
from cxstream.scoring.state.partition import NO_LIMIT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.scoring.state.partition import PartitionState

_MIX = [Kind.page_view, Kind.contact, Kind.error, Kind.purchase, Kind.survey_csat]
_BATCH = 20_000
DAYS_APART = 3


class Subject:
    """What `PartitionState.apply` reads of an event without a topic."""

    class data:  # noqa: N801
        topic = None

    def __init__(self, subject: str) -> None:
        self.subject = subject


def name(number: int, prefix: str = "customer") -> str:
    """The customer with this number."""
    return f"{prefix}-{number:08d}"


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
    numbers = range(customers) if isinstance(customers, int) else customers
    offset = 0
    for pane in range(panes):
        for begin in range(0, len(numbers), _BATCH):
            # Made here, so that the names that stay are those that the partition keeps.
            names = [name(i, prefix) for i in numbers[begin : begin + _BATCH]]
            apply_events(
                partition, names, (first_day + pane * DAYS_APART) * DAY_MS + begin * 80, offset, pane
            )
            offset += len(names)
    return offset


def apply_events(
    partition: PartitionState, subjects: list[str], time_ms: int, offset: int, turn: int = 0
) -> None:
    """Put an event of each of these customers into a state that follows from no record of a log."""
    n = len(subjects)
    columns = np.zeros(n, EVENT)
    columns["time"] = time_ms + np.arange(n) * 80
    columns["kind"] = np.array(_MIX)[(np.arange(n) + turn) % len(_MIX)]
    columns["a"] = 2 + np.arange(n) % 3
    columns["id"] = np.arange(offset, offset + n)
    columns["topic"] = NONE
    events = Events.of([Subject(each) for each in subjects])
    partition.apply(events, columns, np.zeros(n, np.int64), np.full(n, NO_LIMIT))
    partition.release_slots()

"""The days of purchase histories, and what must agree in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kernels.text import BAD_TIME, parse_times
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cxstream.model.fields import HistoryData

_DAY_LENGTH = len("2019-05-04")


def _day(text: str) -> int | None:
    """The day of a day or time; None if it is none."""
    encoded = (text if len(text) > _DAY_LENGTH else f"{text}T00:00:00Z").encode()
    time = np.empty(1, np.int64)
    parse_times(np.frombuffer(encoded, np.uint8), np.array([len(encoded)]), time)
    return None if time[0] == BAD_TIME else int(time[0]) // DAY_MS


def fill_days(events: Sequence[Any], columns: NDArray[np.void]) -> Iterator[tuple[int, str, str]]:
    """Fill in the first and last day of each purchase history.

    Args:
        events: n events.
        columns: EVENT[n].

    Yields:
        Position, path of the field, and what is wrong with it, of histories that contradict themselves.
    """
    for i in np.flatnonzero(columns["kind"] == Kind.purchase_history).tolist():
        data: HistoryData = events[i].data
        first, last = _day(data.first), _day(data.last)
        if first is None or last is None:
            yield (
                i,
                "data.first" if first is None else "data.last",
                "not a day like 2019-05-04, or an RFC 3339 time",
            )
        elif last > columns["time"][i] // DAY_MS:
            yield i, "data.last", "later than the day of the event"
        elif first > last:
            yield i, "data.first", "later than `last`"
        elif data.purchases > last - first + 1:
            yield i, "data.purchases", "more than there are days from `first` to `last`"
        else:
            columns["topic"][i], columns["day"][i] = first, last

"""Who moved the clock, and which records are too late because of it, against a slow account of the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels.layout import ACCEPTED, FROM_THE_FUTURE, TOO_LATE
from cxstream.model.parameters import DAY_MS
from cxstream.replay.order import Order
from cxstream.scoring.engine import Fates

WINDOW = 90
IN = Path("in")
records = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 400) | st.integers(390, 410), st.integers(0, DAY_MS - 1)),
    max_size=40,
)


def slowly(events: list[tuple[int, int]]) -> tuple[list[int], Counter[int | None], dict[int, int]]:
    """Status of each, late records by the line that is charged, and size of the jump of each such line."""
    clocks: dict[int, int] = {}
    moves: list[tuple[int, int | None, int, int]] = []  # partition, before, after, line
    status, charged, sizes = [], Counter[int | None](), {}
    for line, (p, time) in enumerate(events, 1):
        clock = clocks.get(p)
        if clock is not None and time // DAY_MS <= clock // DAY_MS - WINDOW:
            status.append(TOO_LATE)
            # The first move after which this record was too late.
            _, before, after, mover = next(
                move for move in moves if move[0] == p and time // DAY_MS <= move[2] // DAY_MS - WINDOW
            )
            jumped = before is None or after - before > 7 * DAY_MS
            charged[mover if jumped else None] += 1
            sizes[mover] = after - (before or 0)
            continue
        status.append(ACCEPTED)
        if clock is None or time > clock:
            clocks[p] = time
            moves.append((p, clock, time, line))
    return status, charged, sizes


@settings(deadline=None)
@given(records, st.integers(1, 9))
def test_late_records_are_charged_to_the_record_that_moved_the_clock(
    drawn: list[tuple[int, int, int]], size: int
) -> None:
    events = [(p, day * DAY_MS + ms) for p, day, ms in drawn]
    status, charged, _ = slowly(events)
    order = Order(WINDOW)
    for first in range(0, len(events), size):
        part = events[first : first + size]
        fates = Fates(
            np.arange(len(part)),
            np.array([time for _, time in part], np.int64),
            np.array(status[first : first + size], np.uint8),
            np.array([p for p, _ in part], np.int32),
        )
        order.add(fates, lambda i, first=first: (IN, first + i + 1))  # type: ignore[misc]
    found = Counter({jump.line: jump.late for jump in order.jumps()})
    if order.drifted:
        found[None] = order.drifted
    assert found == charged
    times = [time for _, time in events]
    assert order.behind == sum(time < max(times[:i], default=time) for i, time in enumerate(times))
    gaps = [max(times[: i + 1]) - time for i, time in enumerate(times)]
    far = [i for i, gap in enumerate(gaps) if gap > DAY_MS]
    assert (order.far, order.begins) == (len(far), (IN, far[0] + 1) if far else None)
    assert order.worst == max((max(times[: i + 1]) - time for i, time in enumerate(times)), default=0)
    low = min(times[:size], default=0)
    assert order.ahead == sum(time > before for before, time in zip([low, *times], times, strict=False))
    assert (order.first, order.last) == ((min(times), max(times)) if times else (None, None))


def test_what_comes_from_the_future_moves_nothing() -> None:
    order = Order(WINDOW)
    times = np.array([10, 4000, 20], np.int64) * DAY_MS
    status = np.array([ACCEPTED, FROM_THE_FUTURE, ACCEPTED], np.uint8)
    order.add(Fates(np.arange(3), times, status, np.zeros(3, np.int32)), lambda i: (IN, i))
    assert order.jumps() == []
    assert (order.behind, order.last) == (0, 20 * DAY_MS)


def test_a_clock_moved_by_little_more_than_a_week_is_charged_and_by_less_is_not() -> None:
    for days, charged in ((8, True), (7, False)):
        order = Order(WINDOW)
        times = np.array([0, 5, 10, 15, *range(16, WINDOW - 1), WINDOW - 2 + days, 1], np.int64) * DAY_MS
        status = np.array([ACCEPTED] * (len(times) - 1) + [TOO_LATE], np.uint8)
        order.add(
            Fates(np.arange(len(times)), times, status, np.zeros(len(times), np.int32)), lambda i: (IN, i + 1)
        )
        assert [(jump.line, jump.late) for jump in order.jumps()] == (
            [(len(times) - 1, 1)] if charged else []
        )
        assert order.drifted == (not charged)

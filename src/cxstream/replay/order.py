"""What the order of the records did to the clocks: who moved them, and what became too late because of it.

A partition's clock is the largest event time so far. One wrong time far ahead, or a second file that begins where the
first one began, makes the records after it too late. Each of those is charged to the record that moved
the clock across the limit of its window, where it moved it by more than a week at once, or was the first one;
else to the order of the records as a whole.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.layout import ACCEPTED, FROM_THE_FUTURE, TICKED, TOO_LATE
from cxstream.model.parameters import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cxstream.scoring.engine import Fates

    Place = Callable[[int], tuple[Path, int]]

_JUMP_MS = 7 * DAY_MS


@dataclass(slots=True)
class Jump:
    """A record that moved a clock by more than a week, or started it.

    Attributes:
        path: its input.
        line: 1-based line there.
        before: the clock before it, ms UTC; None where it started the clock.
        after: its event time, ms UTC.
        late: later records that are too late because of it.
    """

    path: Path
    line: int
    before: int | None
    after: int
    late: int = 0


@dataclass(slots=True)
class _Clock:
    """A partition's clock, and its jumps; `days` are those that they lead to, ascending."""

    now: int | None = None
    days: list[int] = field(default_factory=list)
    jumps: list[Jump] = field(default_factory=list)


class Order:
    """Follows the records of a replay.

    Args:
        window_days: records of that many days before the clock's day are too late.

    Attributes:
        first: earliest event time that is not from the future, ms UTC; None where there is none.
        last: the latest one.
        behind: records older than one before them.
        ahead: records newer than the one just before them.
        far: records that lie behind the latest one before them by more than a day.
        worst: how far a record lies behind the latest one before it, at most, in ms.
        begins: the first of those that lie behind by more than a day.
        drifted: records that are too late through no jump.
        drift_begins: the first of them.
    """

    def __init__(self, window_days: int) -> None:
        self._window = window_days
        self._clocks: dict[int, _Clock] = {}
        self.first: int | None = None
        self.last: int | None = None
        self._before: int | None = None
        self.behind = 0
        self.ahead = 0
        self.far = 0
        self.worst = 0
        self.begins: tuple[Path, int] | None = None
        self.drifted = 0
        self.drift_begins: tuple[Path, int] | None = None

    def add(self, fates: Fates, place: Place) -> None:
        """Take note of a batch.

        Args:
            fates: what became of its records.
            place: input and line of the record at a position.
        """
        believed = fates.status != FROM_THE_FUTURE
        if believed.any():
            self._compare(fates.times[believed], fates.positions[believed], place)
        for p in np.unique(fates.partitions).tolist():
            mine = np.flatnonzero(fates.partitions == p)
            clock = self._clocks.setdefault(p, _Clock())
            self._move(clock, fates, mine, place)
            for i in mine[fates.status[mine] == TOO_LATE].tolist():
                self._charge(clock, int(fates.times[i]), place, int(fates.positions[i]))

    def jumps(self) -> list[Jump]:
        """The jumps that made records too late, the worst one first."""
        found = [jump for clock in self._clocks.values() for jump in clock.jumps if jump.late]
        return sorted(found, key=lambda jump: -jump.late)

    @property
    def newest_first(self) -> bool:
        """Whether the records run backwards."""
        return self.behind > 1 and self.behind > 9 * self.ahead

    def _compare(self, times: NDArray[np.int64], positions: NDArray[np.int64], place: Place) -> None:
        low, high = int(times.min()), int(times.max())
        previous = np.concatenate([[low if self._before is None else self._before], times[:-1]])
        latest = np.maximum.accumulate(np.concatenate([[low if self.last is None else self.last], times]))[
            :-1
        ]
        gaps = latest - times
        self.behind += int(np.count_nonzero(gaps > 0))
        self.ahead += int(np.count_nonzero(times > previous))
        self.far += int(np.count_nonzero(gaps > DAY_MS))
        self.worst = max(self.worst, int(gaps.max()))
        if self.begins is None and self.worst > DAY_MS:
            self.begins = place(int(positions[np.argmax(gaps > DAY_MS)]))
        self.first = low if self.first is None else min(self.first, low)
        self.last = high if self.last is None else max(self.last, high)
        self._before = int(times[-1])

    def _move(self, clock: _Clock, fates: Fates, mine: NDArray[np.int64], place: Place) -> None:
        moving = mine[(fates.status[mine] == ACCEPTED) | (fates.status[mine] == TICKED)]
        if not len(moving):
            return
        times = fates.times[moving]
        start = int(times[0]) if clock.now is None else clock.now
        reached = np.maximum.accumulate(np.concatenate([[start], times]))
        found = np.flatnonzero(np.diff(reached) > _JUMP_MS).tolist()
        if clock.now is None:
            self._note(clock, None, start, place(int(fates.positions[moving[0]])))
        for i in found:
            self._note(clock, int(reached[i]), int(times[i]), place(int(fates.positions[moving[i]])))
        clock.now = int(reached[-1])

    def _note(self, clock: _Clock, before: int | None, after: int, where: tuple[Path, int]) -> None:
        clock.days.append(after // DAY_MS)
        clock.jumps.append(Jump(*where, before, after))

    def _charge(self, clock: _Clock, time: int, place: Place, position: int) -> None:
        # The clock was on a day before `limit` when this record would still have been in time.
        limit = time // DAY_MS + self._window
        i = bisect_left(clock.days, limit)
        jump = clock.jumps[i] if i < len(clock.jumps) else None
        if jump is not None and (jump.before is None or jump.before // DAY_MS < limit):
            jump.late += 1
            return
        self.drifted += 1
        if self.drift_begins is None:
            self.drift_begins = place(position)

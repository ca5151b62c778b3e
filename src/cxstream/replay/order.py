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

from cxstream.kernels import clocks as k
from cxstream.kernels.layout import FROM_THE_FUTURE, NEVER, NONE, TOO_LATE
from cxstream.model.parameters import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from cxstream.scoring.engine import Fates

    Place = Callable[[int], tuple[Path, int]]


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
    """The jumps of a partition's clock; `days` are those that they lead to, ascending."""

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
        self._times = np.full(1, NEVER)
        self._counts = np.zeros(k.COUNTS, np.int64)
        self.first: int | None = None
        self.last: int | None = None
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
        if self.first is None and not self._begin(fates):
            return
        more = int(fates.partitions.max(initial=0)) + 1 - len(self._times)
        if more > 0:
            self._times = np.concatenate([self._times, np.full(more, NEVER)])
        notes, counts = np.empty((len(fates.times), 2), np.int64), self._counts
        noted = k.follow(fates.times, fates.status, fates.partitions, self._times, counts, notes)
        self.first, self.last = int(counts[k.FIRST]), int(counts[k.LATEST])
        self.behind, self.ahead = int(counts[k.BEHIND]), int(counts[k.AHEAD])
        self.far, self.worst = int(counts[k.FAR]), int(counts[k.WORST])
        if self.begins is None and counts[k.BEGINS] != NONE:
            self.begins = place(int(fates.positions[counts[k.BEGINS]]))
        if noted:
            self._take(notes[:noted], fates, place)

    def _begin(self, fates: Fates) -> bool:
        """Begin with the earliest record of the first batch; whether there is one."""
        believed = fates.times[fates.status != FROM_THE_FUTURE]
        if len(believed):
            self._counts[[k.FIRST, k.BEFORE, k.LATEST]] = believed.min()
        return bool(len(believed))

    def _take(self, notes: NDArray[np.int64], fates: Fates, place: Place) -> None:
        """Take note of records that moved a clock far, and of those that are too late."""
        order = np.argsort(fates.partitions[notes[:, 0]], kind="stable")
        for i, before in notes[order].tolist():
            clock = self._clocks.setdefault(int(fates.partitions[i]), _Clock())
            time, position = int(fates.times[i]), int(fates.positions[i])
            if fates.status[i] == TOO_LATE:
                self._charge(clock, time, place, position)
            else:
                clock.days.append(time // DAY_MS)
                clock.jumps.append(Jump(*place(position), None if before == NEVER else before, time))

    def jumps(self) -> list[Jump]:
        """The jumps that made records too late, the worst one first."""
        found = [jump for clock in self._clocks.values() for jump in clock.jumps if jump.late]
        return sorted(found, key=lambda jump: -jump.late)

    @property
    def newest_first(self) -> bool:
        """Whether the records run backwards."""
        return self.behind > 1 and self.behind > 9 * self.ahead

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

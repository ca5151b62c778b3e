"""One simulated day: its bounds, its incidents, its randomness."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.parameters import DAY_MS, HOUR_MS
from cxstream.simulate.world import BILLING, HOURS, OUTAGE, WAVE

if TYPE_CHECKING:
    from cxstream.simulate.people import People
    from cxstream.simulate.rows import Bools, Floats, Ints

# Days from one incident to the next, and hours that one lasts, at least and at most.
_RHYTHM = {OUTAGE: (9.0, 2.0, 7.0), WAVE: (16.0, 48.0, 110.0), BILLING: (21.0, 24.0, 24.0)}
_HOUR_EDGES = np.concatenate([[0.0], np.cumsum(HOURS / HOURS.sum())])


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that goes wrong for many at once.

    Attributes:
        cause: index in `world.CAUSES`: OUTAGE, WAVE or BILLING.
        start: ms UTC.
        end: ms UTC, exclusive.
    """

    cause: int
    start: int
    end: int


@dataclass(slots=True)
class Numbers:
    """Numbers for ids, each handed out once."""

    upcoming: int = 1

    def take(self, count: int) -> Ints:
        """Return the next `count` numbers: int64[count]."""
        taken: Ints = np.arange(self.upcoming, self.upcoming + count)
        self.upcoming += count
        return taken


@dataclass(slots=True)
class Day:
    """A day, and all that a part of life needs to know about it.

    Attributes:
        number: 0 for the first simulated day.
        start: ms UTC.
        people: everybody.
        incidents: those that touch this day.
        rng: the source of all chance.
        numbers: for sessions, orders, cases and actions.
        trouble: how many times as often as usual something goes wrong.
    """

    number: int
    start: int
    people: People
    incidents: list[Incident]
    rng: np.random.Generator
    numbers: Numbers
    trouble: float

    @property
    def end(self) -> int:
        """End of the day, ms UTC, exclusive."""
        return self.start + DAY_MS

    def chance(self, count: int) -> Floats:
        """Draw `count` numbers in [0, 1)."""
        return self.rng.random(count)

    def hours(self, count: int) -> Ints:
        """Draw `count` times of this day as people keep hours: int64[count], ms UTC."""
        u = np.interp(self.chance(count), _HOUR_EDGES, np.arange(25.0))
        of_day: Ints = (u * (HOUR_MS - 1)).astype(np.int64)
        return self.start + of_day

    def during(self, cause: int, t: Ints) -> Bools:
        """Tell which of the times fall into an incident of that cause: bool[n]."""
        hit = np.zeros(len(t), np.bool_)
        for incident in self.incidents:
            if incident.cause == cause:
                hit |= (t >= incident.start) & (t < incident.end)
        return hit


@dataclass(slots=True)
class Calendar:
    """Incidents to come; each sort strikes in its own rhythm, for ever.

    Attributes:
        rng: the source of chance.
        drawn: incidents drawn so far.
    """

    rng: np.random.Generator
    drawn: list[Incident] = field(default_factory=list)
    _next: dict[int, int] = field(default_factory=dict)

    def of(self, start: int, end: int) -> list[Incident]:
        """Return the incidents that touch [start, end), ms UTC; days must be asked for in order."""
        for cause, (days, shortest, longest) in _RHYTHM.items():
            upcoming = self._next.get(cause)
            if upcoming is None:
                upcoming = start + int(self.rng.uniform(0.1, 0.4) * days * DAY_MS)
            while upcoming < end:
                lasts = int(self.rng.uniform(shortest, longest) * HOUR_MS)
                self.drawn.append(Incident(cause, upcoming, upcoming + lasts))
                upcoming += max(lasts, int(self.rng.uniform(0.6, 1.4) * days * DAY_MS))
            self._next[cause] = upcoming
        return [i for i in self.drawn[-64:] if i.start < end and i.end > start]

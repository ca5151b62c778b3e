"""The days of everybody's life, one after the other."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS
from cxstream.simulate import answers, outreach, purchases, troubles, visits
from cxstream.simulate.day import Calendar, Day, Numbers
from cxstream.simulate.departures import Departures
from cxstream.simulate.people import draw
from cxstream.simulate.rows import ROW, Bools, Rows, join

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.simulate.crm import Crm

_PAIN_SAMPLE_DAYS = 7


class Life:
    """Customers, their days, and the truth about them.

    Args:
        customers: how many.
        start: first midnight, ms UTC.
        seed: of all chance.
        trouble: how many times as often as usual something goes wrong.
        crm: acts on signals; None: somebody acts by chance.

    Attributes:
        people: as they are now.
        departures: who left when and why.
        calendar: the incidents so far.
        pain: (ms UTC, float32[n]): everybody's pain at the end of a day, once a week.
    """

    def __init__(
        self, customers: int, start: int, seed: int, trouble: float = 1.0, crm: Crm | None = None
    ) -> None:
        life, incidents = np.random.SeedSequence(seed).spawn(2)
        self._rng = np.random.default_rng(life)
        self._start = start
        self._trouble = trouble
        self._crm = crm
        self.people = draw(customers, start, self._rng)
        self.departures = Departures()
        self.calendar = Calendar(np.random.default_rng(incidents))
        self.pain: list[tuple[int, np.ndarray[tuple[int], np.dtype[np.float32]]]] = []
        self._planned = np.zeros(0, ROW)
        self._numbers = Numbers()
        self._number = 0

    def days(self) -> Iterator[tuple[Day, Rows]]:
        """Yield day after day what happened, in order of time, without end; go on where the last day ended."""
        while True:
            start = self._start + self._number * DAY_MS
            incidents = self.calendar.of(start, start + DAY_MS)
            day = Day(self._number, start, self.people, incidents, self._rng, self._numbers, self._trouble)
            new = self._plan(day)
            np.maximum(new["t"], day.start, out=new["t"])
            planned = join([self._planned, new])
            due = planned["t"] < day.end
            happened = self._still_here(planned[due])
            self._planned = planned[~due]
            happened = happened[np.argsort(happened["t"], kind="stable")]
            self._feel(happened)
            if self._number % _PAIN_SAMPLE_DAYS == _PAIN_SAMPLE_DAYS - 1:
                self.pain.append((day.end, self.people.pain.astype(np.float32)))
            self._number += 1
            yield day, happened

    def again(self, seed: int, departures: Departures) -> Life:
        """Return a copy that goes on from here under other chances, with departures of its own."""
        life, incidents = np.random.SeedSequence(seed).spawn(2)
        other = copy.deepcopy(self)
        other._rng, other.departures = np.random.default_rng(life), departures  # noqa: SLF001
        other.calendar.rng = np.random.default_rng(incidents)
        return other

    def _plan(self, day: Day) -> Rows:
        told = self.departures.step(day)
        visited, failed = visits.visits(day)
        bought, late = purchases.purchases(day)
        touched = [
            troubles.contacts(day, trouble)
            for trouble in (failed, late, troubles.billing_errors(day), troubles.everyday_questions(day))
        ]
        return join(
            [
                told,
                visited,
                bought,
                *touched,
                outreach.campaigns(day),
                outreach.actions(day) if self._crm is None else self._crm.act(day, self.departures),
                answers.unasked(day),
            ]
        )

    def _still_here(self, due: Rows) -> Rows:
        """Drop what those would have done who are gone by then."""
        here: Bools = due["t"] < self.people.left_at[due["cust"]]
        # Who was kept after all did not leave.
        left: Bools = (due["kind"] == Kind.churned) & ~here
        stays: Rows = due[here & (due["kind"] != Kind.churned) | left | (due["kind"] == Kind.won_back)]
        return stays

    def _feel(self, happened: Rows) -> None:
        people = self.people
        hurt = happened[happened["pain"] != 0]
        cust = hurt["cust"].astype(np.int64)
        amount = hurt["pain"] * np.where(hurt["pain"] > 0, people.sensitivity[cust], 1.0)
        people.pain += np.bincount(cust, amount, len(people))
        np.maximum(people.pain, 0, out=people.pain)
        bad = hurt["pain"] > 0
        np.add.at(people.by_cause, (cust[bad], hurt["cause"][bad]), amount[bad])

"""The simulation as a stream of records, and the count of what was taken from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS
from cxstream.simulate.crm import Acting, Crm
from cxstream.simulate.faults import FAULTS, FROM_THE_FUTURE, INVALID, MALFORMED, NONE, TOO_LATE, Rates, Road
from cxstream.simulate.life import Life
from cxstream.simulate.people import subjects
from cxstream.simulate.render import Renderer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.simulate.rows import Ints, Rows

# What a customer's life comes to, faults included; for plans only, the stream itself counts.
RECORDS_PER_CUSTOMER_DAY = 3.1

_BLOCK = 20_000
_BROKEN = (MALFORMED, INVALID, FROM_THE_FUTURE, TOO_LATE)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate.

    Attributes:
        customers: how many.
        start: event time of the beginning, ms UTC.
        seed: of all chance: the same plan gives the same records.
        days: how long, in days of event time; None: without end.
        events: after how many records it ends; None: without end.
        rates: of the faults.
        trouble: how many times as often as usual something goes wrong.
        acting: how the CRM acts on signals; None: it acts by chance, without looking at them.
    """

    customers: int
    start: int
    seed: int = 1
    days: float | None = None
    events: int | None = None
    rates: Rates = field(default_factory=Rates)
    trouble: float = 1.0
    acting: Acting | None = None


@dataclass(slots=True)
class Block:
    """Some records in order of arrival.

    Attributes:
        rows: what they are.
        values: what they look like: one JSON record each.
    """

    rows: Rows
    values: list[bytes]

    @property
    def arrival(self) -> Ints:
        """When each reaches the log, ms UTC: int64[n]; no record arrives before its event time."""
        arrival: Ints = self.rows["arrival"]
        return arrival


@dataclass(slots=True)
class StreamTally:
    """What was taken from a stream.

    Attributes:
        records: how many.
        until: latest arrival, ms UTC; only records from the future have a later event time.
        faults: number of records by fault.
        kinds: number of records by kind that a scorer accepts.
    """

    records: int = 0
    until: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, taken: Rows) -> None:
        """Count these rows."""
        if not len(taken):
            return
        self.records += len(taken)
        self.until = max(self.until, int(taken["arrival"].max()))
        faults = np.bincount(taken["fault"], minlength=len(FAULTS)).tolist()
        self.faults.update(
            {name: n for name, n in zip(FAULTS[NONE + 1 :], faults[NONE + 1 :], strict=True) if n}
        )
        accepted = taken["kind"][~np.isin(taken["fault"], (*_BROKEN, FAULTS.index("duplicate")))]
        kinds = np.bincount(accepted, minlength=len(Kind)).tolist()
        self.kinds.update({Kind(code).label: n for code, n in enumerate(kinds) if n})

    @property
    def accepted(self) -> int:
        """How many of the records a scorer accepts."""
        return sum(self.kinds.values())


class Simulation:
    """A population, its life and its records.

    Attributes:
        plan: what it was made from.
        life: the people and the truth about them.
        subjects: the customers' ids, by the index in the rows.
        crm: acts on signals; None where it acts by chance.
        tally: what was taken so far; kept by the caller.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.subjects = subjects(plan.customers)
        self.crm = None if plan.acting is None else Crm(plan.acting, self.subjects)
        self.life = Life(plan.customers, plan.start // DAY_MS * DAY_MS, plan.seed, plan.trouble, self.crm)
        self.tally = StreamTally()
        # A seed of its own: the same people live the same lives whatever happens to their records.
        self._road = Road(plan.rates, np.random.default_rng([plan.seed, 1]))
        self._renderer = Renderer(self.life.people, self.subjects)

    def blocks(self) -> Iterator[Block]:
        """Yield the records of the plan, some at a time, in order of arrival."""
        left = self.plan.events
        for part in self._parts():
            taken = part if left is None else part[:left]
            block = Block(taken, self._renderer.render(taken))
            if self.crm is not None and len(taken):
                self.crm.read(block.values, int(block.arrival.max()))
            yield block
            if left is not None:
                left -= len(taken)
                if not left:
                    return

    def _parts(self) -> Iterator[Rows]:
        for arrived in self._arrivals():
            for at in range(0, len(arrived), _BLOCK):
                yield arrived[at : at + _BLOCK]

    def _arriving_at(self, end: int) -> Rows:
        """Return what is still on its way at the end: it arrives with the end, in the order it would have."""
        rest = self._road.rest()
        rest["arrival"] = end
        return rest

    def _arrivals(self) -> Iterator[Rows]:
        start = self.plan.start
        end = None if self.plan.days is None else start + round(self.plan.days * DAY_MS)
        for day, happened in self.life.days():
            if day.start < start:
                happened = happened[happened["t"] >= start]  # noqa: PLW2901
            if end is not None and day.end >= end:
                yield self._road.carry(happened[happened["t"] < end], end)
                yield self._arriving_at(end)
                return
            yield self._road.carry(happened, day.end)

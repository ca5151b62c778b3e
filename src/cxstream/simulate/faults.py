"""The road to the log: records that come late, out of order, twice, or broken, at stated rates.

Every row that has happened gets a sequence number (the event's id) and a time of arrival. A share of them is
delayed; copies are made of a share of those that are not: repeated as they are, or with an id of their own
and something wrong. A copy follows the record it was made of, of the same customer and so in the same
partition. That makes certain what a scorer has to say about it: a repetition is a duplicate, and a copy set
back by months is too late, as the clock has been at its original's time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxstream.model.parameters import DAY_MS, HOUR_MS
from cxstream.simulate.day import Numbers
from cxstream.simulate.rows import ROW, Ints, Rows, join

FAULTS = ("none", "late", "out_of_order", "duplicate", "malformed", "invalid", "from_the_future", "too_late")
NONE, LATE, OUT_OF_ORDER, DUPLICATE, MALFORMED, INVALID, FROM_THE_FUTURE, TOO_LATE = range(len(FAULTS))

# A wrong year is what a device with an empty battery sends; far enough to be told from any `--until`.
_FUTURE_MS = 3653 * DAY_MS
_LATE_MS = (HOUR_MS, 7 * DAY_MS)
# The window of the scores has 90 days by default and may have up to 366.
_TOO_LATE_MS = (370 * DAY_MS, 700 * DAY_MS)
# A scorer knows a customer's last 32 ids; nobody does that much in so short a time.
_REPEATED_MS = 60_000


@dataclass(frozen=True, slots=True)
class Rates:
    """How many of all records are not as they should be, each 0..1.

    Attributes:
        late: arrive hours to days after they happened.
        out_of_order: arrive seconds to minutes after they happened.
        duplicates: arrive twice.
        broken: malformed, invalid, from the future or too late, in equal parts.
        future: whether broken ones may come from the future (nothing in a plain file tells that they do).
    """

    late: float = 0.01
    out_of_order: float = 0.02
    duplicates: float = 0.005
    broken: float = 0.001
    future: bool = True

    @property
    def reasons(self) -> tuple[int, ...]:
        """The faults that broken records have."""
        return (
            (MALFORMED, INVALID, FROM_THE_FUTURE, TOO_LATE) if self.future else (MALFORMED, INVALID, TOO_LATE)
        )


class Road:
    """What is on its way between happening and the log.

    Args:
        rates: of the faults.
        rng: the source of all chance.
    """

    def __init__(self, rates: Rates, rng: np.random.Generator) -> None:
        self._rates = rates
        self._rng = rng
        self._numbers = Numbers()
        self._transit = np.zeros(0, ROW)

    def carry(self, happened: Rows, until: int) -> Rows:
        """Take what happened, in order of time, and return what arrives before `until` (ms UTC), in order."""
        happened = happened.copy()
        happened["seq"] = self._numbers.take(len(happened))
        happened["arrival"] = happened["t"]
        copies = self._delay_and_copy(happened)
        transit = join([self._transit, happened, copies])
        arrived = transit["arrival"] < until
        self._transit = transit[~arrived]
        transit = transit[arrived]
        return transit[np.argsort(transit["arrival"], kind="stable")]

    def rest(self) -> Rows:
        """Return what is still on its way, in order of arrival."""
        rest, self._transit = self._transit, np.zeros(0, ROW)
        return rest[np.argsort(rest["arrival"], kind="stable")]

    def _delay_and_copy(self, happened: Rows) -> Rows:
        rates, rng = self._rates, self._rng
        # Copies add to the records that the rates are shares of.
        original = 1 - rates.duplicates - rates.broken
        edges = np.cumsum([rates.late, rates.out_of_order, rates.duplicates, rates.broken]) / original
        luck = np.searchsorted(edges, rng.random(len(happened)), side="right")
        late, swapped = luck == 0, luck == 1
        happened["fault"][late] = LATE
        low, high = np.log(_LATE_MS)
        happened["arrival"][late] += np.exp(rng.uniform(low, high, late.sum())).astype(np.int64)
        happened["fault"][swapped] = OUT_OF_ORDER
        happened["arrival"][swapped] += 1 + np.minimum(
            rng.exponential(60_000, swapped.sum()), 600_000
        ).astype(np.int64)
        repeated = self._follow(happened[luck == 2])
        repeated["fault"] = DUPLICATE
        return join([repeated, self._break(self._follow(happened[luck == 3]))])

    def _follow(self, copies: Rows) -> Rows:
        copies["arrival"] += 1 + self._rng.integers(0, _REPEATED_MS, len(copies))
        return copies

    def _break(self, copies: Rows) -> Rows:
        count = len(copies)
        reasons: Ints = np.array(self._rates.reasons)
        copies["fault"] = reasons[self._rng.integers(0, len(reasons), count)]
        copies["seq"] = self._numbers.take(count)
        back = self._rng.integers(*_TOO_LATE_MS, count)
        copies["t"] += np.select(
            [copies["fault"] == FROM_THE_FUTURE, copies["fault"] == TOO_LATE], [_FUTURE_MS, -back], 0
        )
        return copies

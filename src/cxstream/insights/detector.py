"""Finds places whose share of bad visits leaves their own range, minute by minute.

A *series* is one measure of one place, for example the failed visits of the checkout. Everything that is watched is a
share: of visits that failed, that cost much effort, that waited long for this place, of answers that are detractors.

Theory. Let p0 be the usual share of a series at this hour of the week, and p1 a worse one, whose odds are r times as
high. The log-likelihood ratio of a bad visit is `log(p1 / p0)`, and of a good one `log((1 - p1) / (1 - p0))`. The CUSUM
S = max(0, S + ratio) adds them up; while the series is in its range they are negative on average, and S stays near 0.
The mean number of visits between false alarms is exp(h) / (I * w^2), where I is the mean ratio of a visit at p1, and
w = E[exp(-overshoot)] at the threshold h (Siegmund 1985); a bad visit adds l = log(p1 / p0) at once, so the overshoot is
about uniform on 0..l, and w = (1 - exp(-l)) / l. With V visits in a month and a budget of f false alarms in a month for
each series, h follows. One r detects one size of change fastest; there is one CUSUM for each of `Watch.odds`.

p0 is not known but learned, which costs more than the theory says: it is taken `Watch.margin` standard errors too high,
a series whose usual hours vary by more than chance (`dispersion` above 1) has its ratios divided by it, and nothing is
raised before a series has a history. An hour of the week has little history, so its share is drawn towards that of the
hour of the day, and this one towards that of the series. Hours with an alarm are not learned, until `Settings.adopt_days` have passed: then they
are the new usual.

Visits of one minute are added together, so the order within a minute does not matter. All numbers follow from the
counts given, minute by minute: the same counts give the same alarms.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOUR = 60  # minutes
WEEK = 168  # hours
MONTH = 30 * 24  # hours
NEVER = np.iinfo(np.int64).min
# An hour tells of a series' dispersion if the variance of its sum is at least this.
_LEAST_VARIANCE = 0.5
# The arrays of a `Detector` that are 0 for a new series.
_ZERO = (
    *("_visits", "_bad", "_chi2", "_free", "_now_visits", "_now_bad"),
    *("_sum", "_since", "_since_visits", "_since_bad"),
    *("_began", "_back", "_back_since", "_back_visits", "_back_bad"),
    *("_usual", "_good_ratio", "_bad_ratio"),
)
# What changes once an hour, and is large; and the rest of the arrays.
_LEARNED = ("_visits", "_bad", "_chi2", "_free")
_PRESENT = (
    *(name for name in _ZERO if name not in _LEARNED),
    "_first_hour",
    "_which",
    "_raised",
    "_threshold",
)
Arrays = dict[str, "NDArray[Any]"]


@dataclass(frozen=True, slots=True)
class Watch:
    """How closely series are watched.

    Attributes:
        false_alarms: the most that one series may have in a month, on average.
        odds: ratios of the odds of the changes to find.
        half_life_days: of what is learned of the usual share.
        least_days: a series is watched once it has been learned for that many days ...
        least_visits: ... and has that many visits.
        day_prior: weight, in visits, of the series' overall share in that of an hour of the day ...
        week_prior: ... and of this one in that of an hour of the week.
        margin: standard errors that the learned share is taken too high.
        least_customers: an alarm needs that many bad visits since the change began.
        clear_odds: evidence for the usual share, as a likelihood ratio, which ends an alarm.
        cooldown_hours: no alarm of a series follows another within that time.
        adopt_days: a share that an alarm has been about for so long is the new usual one.
    """

    false_alarms: float = 0.01 / 4
    odds: tuple[float, ...] = (3.0, 12.0, 200.0)
    half_life_days: float = 28.0
    least_days: int = 7
    least_visits: int = 200
    day_prior: float = 100.0
    week_prior: float = 200.0
    margin: float = 0.5
    least_customers: int = 4
    clear_odds: float = 100.0
    cooldown_hours: int = 6
    adopt_days: int = 7


class Change(Enum):
    """What happened to a series."""

    raised = "raised"
    cleared = "cleared"


class Alarm(NamedTuple):
    """A series has left its range, or is back in it.

    Attributes:
        series: number of the series.
        change: which of the two.
        minute: at the end of which minute since the epoch.
        since: minute in which the change began, as far as the CUSUM tells.
        visits: visits since then.
        bad: bad ones of them.
        usual: the usual share at this hour of the week, 0..1.
        odds: ratio of the odds of the change that was tested.
    """

    series: int
    change: Change
    minute: int
    since: int
    visits: int
    bad: int
    usual: float
    odds: float


def _total(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum over rows, one after the other: `sum` has another order where there is one column only."""
    total: NDArray[np.float64] = rows.cumsum(axis=0)[-1]
    return total


class Detector:
    """Watches series. Give it the counts of each minute, in order; minutes without visits may be left out.

    Args:
        watch: how closely.
        series: how many there are at first; `grow` adds more.
    """

    def __init__(self, watch: Watch | None = None, series: int = 0) -> None:
        self.watch = watch or Watch()
        self.minute: int = NEVER
        self._hour: int = NEVER
        d = len(self.watch.odds)
        # What is learned: decayed counts by hour of the week.
        self._visits = np.zeros((WEEK, 0))
        self._bad = np.zeros((WEEK, 0))
        # Pearson's statistic of past hours against the usual share, and its degrees of freedom, decayed.
        self._chi2 = np.zeros(0)
        self._free = np.zeros(0)
        # The present hour.
        self._now_visits = np.zeros(0)
        self._now_bad = np.zeros(0)
        self._first_hour = np.zeros(0, np.int64)
        # The tests.
        self._sum = np.zeros((d, 0))
        self._since = np.zeros((d, 0), np.int64)
        self._since_visits = np.zeros((d, 0), np.int64)
        self._since_bad = np.zeros((d, 0), np.int64)
        # Alarms.
        self._which = np.zeros(0, np.int8)
        self._raised = np.zeros(0, np.int64)
        self._began = np.zeros(0, np.int64)
        self._back = np.zeros(0)
        self._back_since = np.zeros(0, np.int64)
        self._back_visits = np.zeros(0, np.int64)
        self._back_bad = np.zeros(0, np.int64)
        # For the present hour: usual share, ratios of a good and of a bad visit, thresholds; inf: not watched.
        self._usual = np.zeros(0)
        self._good_ratio = np.zeros((d, 0))
        self._bad_ratio = np.zeros((d, 0))
        self._threshold = np.zeros((d, 0))
        self.grow(series)

    @property
    def hour(self) -> int:
        """The hour of the last minute that was added, since the epoch; NEVER before the first."""
        return self._hour

    def learned(self) -> Arrays:
        """What has been learned by the present hour: arrays that stay as they are until the next one."""
        return {name.strip("_"): getattr(self, name) for name in _LEARNED}

    def present(self) -> Arrays:
        """Everything else, as arrays."""
        times = {"minute": np.array([self.minute, self._hour])}
        return times | {name.strip("_"): getattr(self, name) for name in _PRESENT}

    def restore(self, learned: Arrays, present: Arrays) -> None:
        """Take the state of another detector with the same `Watch`, as it gave it; this one must be new.

        Series that have come since `learned` was saved have learned nothing.
        """
        self.minute, self._hour = (int(each) for each in present["minute"])
        for name in _PRESENT:
            setattr(self, name, present[name.strip("_")])
        series = len(self._which)
        for name in _LEARNED:
            array = learned[name.strip("_")]
            wide = np.zeros((*array.shape[:-1], series))
            wide[..., : array.shape[-1]] = array
            setattr(self, name, wide)

    @property
    def series(self) -> int:
        """How many series there are."""
        return len(self._chi2)

    @property
    def alarmed(self) -> NDArray[np.int64]:
        """Numbers of the series with an alarm."""
        return np.flatnonzero(self._which >= 0)

    @property
    def watched(self) -> NDArray[np.int64]:
        """Numbers of the series whose history is long enough."""
        return np.flatnonzero(np.isfinite(self._threshold[0]))

    def usual(self, series: int) -> float:
        """The usual share of a series at this hour of the week, 0..1."""
        return float(self._usual[series])

    def begins(self, series: NDArray[np.int64]) -> NDArray[np.int64]:
        """The earliest minute in which a change that is tested for may have begun; the next minute where there is none.

        Args:
            series: int64[n].

        Returns:
            int64[n].
        """
        begun = np.where(self._sum[:, series] > 0, self._since[:, series], self.minute + 1)
        earliest: NDArray[np.int64] = begun.min(axis=0, initial=self.minute + 1)
        return earliest

    def grow(self, more: int) -> None:
        """Add series that nothing is known about."""
        if not more:
            return

        def wider(array: NDArray[Any], value: float = 0) -> NDArray[Any]:
            shape = (*array.shape[:-1], more)
            return np.concatenate([array, np.full(shape, value, array.dtype)], axis=-1)

        for name in _ZERO:
            setattr(self, name, wider(getattr(self, name)))
        self._first_hour = wider(self._first_hour, NEVER)
        self._raised = wider(self._raised, NEVER)
        self._which = wider(self._which, -1)
        self._threshold = wider(self._threshold, np.inf)

    def add(
        self, minute: int, series: NDArray[np.int64], visits: NDArray[np.int64], bad: NDArray[np.int64]
    ) -> list[Alarm]:
        """Add the visits of a minute.

        Args:
            minute: since the epoch; later than the one before.
            series: int64[n], different ones.
            visits: int64[n].
            bad: int64[n], the bad ones of them.

        Returns:
            The alarms that begin and end with it, in order of series.

        Raises:
            ValueError: the minute is not later than the one before.
        """
        if minute <= self.minute:
            raise ValueError(f"minute {minute} is not later than minute {self.minute}")
        self.minute = minute
        hour = minute // HOUR
        if hour != self._hour:
            self._learn()
            self._hour = hour
            self._look_up()
        self._now_visits[series] += visits
        self._now_bad[series] += bad
        new = series[self._first_hour[series] == NEVER]
        self._first_hour[new] = hour
        at = np.isfinite(self._threshold[0, series])
        if not at.any():
            return []
        return self._test(minute, series[at], visits[at], bad[at])

    def _test(
        self, minute: int, series: NDArray[np.int64], visits: NDArray[np.int64], bad: NDArray[np.int64]
    ) -> list[Alarm]:
        good = visits - bad
        before = self._sum[:, series]
        fresh = before <= 0
        since = np.where(fresh, minute, self._since[:, series])
        all_visits = np.where(fresh, 0, self._since_visits[:, series]) + visits
        all_bad = np.where(fresh, 0, self._since_bad[:, series]) + bad
        after = np.maximum(
            0.0, before + bad * self._bad_ratio[:, series] + good * self._good_ratio[:, series]
        )
        self._sum[:, series], self._since[:, series] = after, since
        self._since_visits[:, series], self._since_bad[:, series] = all_visits, all_bad

        alarms = []
        quiet = self._which[series] < 0
        rested = (self._raised[series] == NEVER) | (
            minute - self._raised[series] >= self.watch.cooldown_hours * HOUR
        )
        over = (
            (after >= self._threshold[:, series]) & (all_bad >= self.watch.least_customers) & quiet & rested
        )
        for i in np.flatnonzero(over.any(axis=0)).tolist():
            # Of those that are over the threshold, the one with the strongest evidence.
            which = int(np.argmax(np.where(over[:, i], after[:, i], -np.inf)))
            s = int(series[i])
            self._which[s], self._raised[s], self._began[s] = which, minute, since[which, i]
            self._back[s] = 0.0
            alarms.append(
                Alarm(
                    s, Change.raised, minute, int(since[which, i]), int(all_visits[which, i]),
                    int(all_bad[which, i]), float(self._usual[s]), self.watch.odds[which],
                )
            )  # fmt: skip
        alarms += self._ended(minute, series[~quiet], visits[~quiet], bad[~quiet])
        return sorted(alarms)

    def _ended(
        self, minute: int, series: NDArray[np.int64], visits: NDArray[np.int64], bad: NDArray[np.int64]
    ) -> list[Alarm]:
        """The reverse test: is the share the usual one again, and not that of the alarm?"""
        which = self._which[series]
        ratio = bad * self._bad_ratio[which, series] + (visits - bad) * self._good_ratio[which, series]
        before = self._back[series]
        fresh = before <= 0
        self._back_since[series] = np.where(fresh, minute, self._back_since[series])
        self._back_visits[series] = np.where(fresh, 0, self._back_visits[series]) + visits
        self._back_bad[series] = np.where(fresh, 0, self._back_bad[series]) + bad
        self._back[series] = np.maximum(0.0, before - ratio)
        ended = series[self._back[series] >= np.log(self.watch.clear_odds)]
        alarms = []
        for s in ended.tolist():
            alarms.append(
                Alarm(
                    s, Change.cleared, minute, int(self._back_since[s]), int(self._back_visits[s]),
                    int(self._back_bad[s]), float(self._usual[s]), self.watch.odds[int(self._which[s])],
                )
            )  # fmt: skip
            self._which[s] = -1
            self._sum[:, s] = 0.0
        return alarms

    def _learn(self) -> None:
        """Learn the hour that has ended, but not of series with an alarm, and forget a little of the past."""
        if self._hour == NEVER:
            return
        # A minute later than an hour may have come: what lies between was empty.
        learned = self._which < 0
        adopted = ~learned & (self.minute - self._raised >= self.watch.adopt_days * 24 * HOUR)
        if adopted.any():
            self._begin_again(np.flatnonzero(adopted))
            learned |= adopted
        n, bad, usual = self._now_visits, self._now_bad, self._usual
        counts = learned & np.isfinite(self._threshold[0]) & (n > 0)
        variance = n * usual * (1 - usual)
        whole = counts & (variance >= _LEAST_VARIANCE)
        self._chi2[whole] += (bad[whole] - n[whole] * usual[whole]) ** 2 / variance[whole]
        self._free[whole] += 1.0
        slot = self._hour % WEEK
        self._visits[slot, learned] += n[learned]
        self._bad[slot, learned] += bad[learned]
        self._now_visits[:] = 0.0
        self._now_bad[:] = 0.0
        passed = max(self.minute // HOUR - self._hour, 1)
        keep = 0.5 ** (passed / (24.0 * self.watch.half_life_days))
        for array in (self._visits, self._bad, self._chi2, self._free):
            np.multiply(array, keep, out=array)

    def _begin_again(self, series: NDArray[np.int64]) -> None:
        """Take what an alarm was about for the usual from now on."""
        self._visits[:, series] = 0.0
        self._bad[:, series] = 0.0
        self._chi2[series] = self._free[series] = 0.0
        self._first_hour[series] = self._hour
        self._which[series] = -1
        self._sum[:, series] = 0.0

    def _look_up(self) -> None:
        """Usual shares, ratios and thresholds for the present hour."""
        watch = self.watch
        slot = self._hour % WEEK
        n, bad = _total(self._visits), _total(self._bad)
        overall = (bad + 0.5) / (n + 1.0)
        day_n, day_bad = (_total(each[slot % 24 :: 24]) for each in (self._visits, self._bad))
        daily = (day_bad + watch.day_prior * overall) / (day_n + watch.day_prior)
        weight = self._visits[slot] + watch.week_prior
        share = (self._bad[slot] + watch.week_prior * daily) / weight
        known_by = np.minimum(np.minimum(weight, day_n + watch.day_prior), n + 1.0)
        share += watch.margin * np.sqrt(share * (1 - share) / known_by)
        self._usual = usual = np.minimum(share, 0.99)
        odds = np.array(watch.odds)[:, None] * (usual / (1 - usual))
        worse = odds / (1 + odds)
        dispersion = np.maximum(1.0, (self._chi2 + 24.0) / (self._free + 24.0))
        self._bad_ratio = np.log(worse / usual) / dispersion
        self._good_ratio = np.log((1 - worse) / (1 - usual)) / dispersion
        age = np.where(self._first_hour == NEVER, 0, self._hour - self._first_hour)
        known = (age >= 24 * watch.least_days) & (n >= watch.least_visits)
        # Visits in a month, from the decayed sum of the hours known.
        mean_life = 24.0 * watch.half_life_days / np.log(2.0)
        hours = mean_life * -np.expm1(-np.maximum(age, 1) / mean_life)
        monthly = np.maximum(n / hours * MONTH, 1.0)
        ratio = np.log(worse / usual)
        mean = worse * ratio + (1 - worse) * np.log((1 - worse) / (1 - usual))
        overshoot = -np.expm1(-ratio) / ratio
        starts = monthly * len(watch.odds) / watch.false_alarms * np.minimum(mean * overshoot**2, 1.0)
        self._threshold = np.where(known, np.log(np.maximum(starts, 1.0)), np.inf)

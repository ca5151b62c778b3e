"""Places that leave their own range: the vectorized detector against one written for a single series."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.insights.detector import HOUR, WEEK, Alarm, Change, Detector, Watch

DAY = 24 * HOUR


@dataclass
class Slow:
    """One series, as the module's text says it, without arrays."""

    watch: Watch
    visits: list[float] = field(default_factory=lambda: [0.0] * WEEK)
    bad: list[float] = field(default_factory=lambda: [0.0] * WEEK)
    chi2: float = 0.0
    free: float = 0.0
    hour: int | None = None
    first: int | None = None
    now: tuple[float, float] = (0.0, 0.0)
    tests: list[tuple[float, int, int, int]] = field(default_factory=list)
    alarm: int | None = None
    raised: int | None = None
    back: tuple[float, int, int, int] = (0.0, 0, 0, 0)

    def add(self, minute: int, visits: int, bad: int) -> list[tuple[Change, int, int, int, int]]:
        hour = minute // HOUR
        if hour != self.hour:
            if self.hour is not None:
                self._learn(minute)
            self.hour = hour
            self._look_up()
        if not visits:
            return []
        self.now = self.now[0] + visits, self.now[1] + bad
        self.first = hour if self.first is None else self.first
        if not self.known:
            return []
        for k, (before, *rest) in enumerate(self.tests):
            since, n, b = rest if before > 0 else (minute, 0, 0)
            after = max(0.0, before + bad * self.ratios[k][0] + (visits - bad) * self.ratios[k][1])
            self.tests[k] = after, since, n + visits, b + bad
        if self.alarm is None:
            over = [
                k
                for k, (total, _, _, b) in enumerate(self.tests)
                if total >= self.thresholds[k] and b >= self.watch.least_customers
            ]
            rested = self.raised is None or minute - self.raised >= self.watch.cooldown_hours * HOUR
            if not over or not rested:
                return []
            self.alarm = max(over, key=lambda k: self.tests[k][0])
            self.raised, self.back = minute, (0.0, 0, 0, 0)
            return [(Change.raised, minute, *self.tests[self.alarm][1:])]
        ratio = bad * self.ratios[self.alarm][0] + (visits - bad) * self.ratios[self.alarm][1]
        total, since, n, b = self.back
        if total <= 0:
            since, n, b = minute, 0, 0
        self.back = max(0.0, total - ratio), since, n + visits, b + bad
        if self.back[0] < math.log(self.watch.clear_odds):
            return []
        self.alarm = None
        self.tests = [(0.0, *rest) for _, *rest in self.tests]
        return [(Change.cleared, minute, *self.back[1:])]

    def _learn(self, minute: int) -> None:
        n, b = self.now
        if self.alarm is not None and minute - self.raised >= self.watch.adopt_days * DAY:
            self.visits, self.bad = [0.0] * WEEK, [0.0] * WEEK
            self.chi2 = self.free = 0.0
            self.first, self.alarm = self.hour, None
            self.tests = [(0.0, *rest) for _, *rest in self.tests]
        if self.alarm is None:
            variance = n * self.usual * (1 - self.usual)
            if self.known and n > 0 and variance >= 0.5:
                self.chi2 += (b - n * self.usual) ** 2 / variance
                self.free += 1
            self.visits[self.hour % WEEK] += n
            self.bad[self.hour % WEEK] += b
        self.now = 0.0, 0.0
        keep = 0.5 ** (max(minute // HOUR - self.hour, 1) / (24 * self.watch.half_life_days))
        self.visits = [x * keep for x in self.visits]
        self.bad = [x * keep for x in self.bad]
        self.chi2 *= keep
        self.free *= keep

    def _look_up(self) -> None:
        w, slot = self.watch, self.hour % WEEK
        n, bad = sum(self.visits), sum(self.bad)
        overall = (bad + 0.5) / (n + 1)
        day_n, day_bad = sum(self.visits[slot % 24 :: 24]), sum(self.bad[slot % 24 :: 24])
        daily = (day_bad + w.day_prior * overall) / (day_n + w.day_prior)
        weight = self.visits[slot] + w.week_prior
        p = (self.bad[slot] + w.week_prior * daily) / weight
        p += w.margin * math.sqrt(p * (1 - p) / min(weight, day_n + w.day_prior, n + 1))
        self.usual = p = min(p, 0.99)
        age = 0 if self.first is None else self.hour - self.first
        self.known = age >= 24 * w.least_days and n >= w.least_visits
        mean_life = 24 * w.half_life_days / math.log(2)
        monthly = max(n / (mean_life * (1 - math.exp(-max(age, 1) / mean_life))) * 720, 1.0)
        dispersion = max(1.0, (self.chi2 + 24) / (self.free + 24))
        self.ratios, self.thresholds = [], []
        for r in w.odds:
            worse = r * p / (1 - p) / (1 + r * p / (1 - p))
            bad_ratio, good_ratio = math.log(worse / p), math.log((1 - worse) / (1 - p))
            mean = worse * bad_ratio + (1 - worse) * good_ratio
            overshoot = (1 - math.exp(-bad_ratio)) / bad_ratio
            starts = monthly * len(w.odds) / w.false_alarms * min(mean * overshoot**2, 1.0)
            self.ratios.append((bad_ratio / dispersion, good_ratio / dispersion))
            self.thresholds.append(math.log(max(starts, 1.0)))
        if not self.tests:
            self.tests = [(0.0, 0, 0, 0)] * len(w.odds)


def facts(alarm: Alarm) -> tuple[Change, int, int, int, int]:
    return alarm.change, alarm.minute, alarm.since, alarm.visits, alarm.bad


# Little history is needed, so that random data has alarms.
EAGER = Watch(
    false_alarms=5.0, least_days=1, least_visits=40, day_prior=10, week_prior=10, clear_odds=5, cooldown_hours=2,
    adopt_days=1,
)  # fmt: skip


@st.composite
def traffic(draw):
    """Minutes with visits of three series, each with a time of trouble."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    shares = draw(st.lists(st.floats(0.0, 0.4), min_size=3, max_size=3))
    trouble = [(draw(st.integers(1000, 3500)), draw(st.integers(10, 2500))) for _ in shares]
    minutes = np.cumsum(rng.integers(1, draw(st.integers(2, 90)), 250)) + draw(st.integers(0, 10**7))
    rows = []
    for minute in minutes.tolist():
        at = minute - int(minutes[0])
        now = [
            0.9 if begin <= at < begin + length else p
            for p, (begin, length) in zip(shares, trouble, strict=True)
        ]
        visits = rng.poisson(2.0, 3)
        rows.append((minute, visits, rng.binomial(visits, now)))
    return rows


@given(traffic())
@settings(max_examples=25, deadline=None)
def test_each_series_is_watched_as_if_it_were_alone(rows):
    detector, slow = Detector(EAGER, 3), [Slow(EAGER) for _ in range(3)]
    for minute, visits, bad in rows:
        some = np.flatnonzero(visits)
        alarms = detector.add(minute, some, visits[some], bad[some])
        expected = [
            (s, *found) for s in range(3) for found in slow[s].add(minute, int(visits[s]), int(bad[s]))
        ]
        assert [(alarm.series, *facts(alarm)) for alarm in alarms] == expected


def calm(detector: Detector, share: float, days: int, visits: int = 50) -> int:
    """Some days without trouble; returns the minute after them."""
    series = np.arange(detector.series)
    for hour in range(24 * days):
        for part in range(5):
            n = visits // 5
            due = (hour * 5 + part + 1) * n * share
            bad = int(due) - int(due - n * share)
            detector.add(hour * HOUR + 12 * part, series, np.full(len(series), n), np.full(len(series), bad))
    return days * DAY


def outage(detector: Detector, begin: int, minutes: int) -> list[Alarm]:
    """A visit a minute, and all are bad."""
    one = np.ones(1, np.int64)
    found = []
    for minute in range(begin, begin + minutes):
        found += detector.add(minute, np.zeros(1, np.int64), one, one)
    return found


def test_an_outage_is_found_with_its_beginning_and_its_visits():
    detector = Detector(series=1)
    begin = calm(detector, 0.02, 14)
    [alarm] = outage(detector, begin, 10)
    assert alarm.change is Change.raised
    assert begin - 12 <= alarm.since <= begin
    assert alarm.minute < begin + 8
    assert alarm.bad == alarm.minute - begin + 1
    assert 0.02 < alarm.usual < 0.04


def test_nothing_is_raised_before_there_is_a_history():
    for days in (2, 6):
        detector = Detector(series=1)
        assert outage(detector, calm(detector, 0.02, days), 60) == []


def test_an_alarm_ends_when_the_usual_share_is_back_and_the_next_one_waits():
    detector = Detector(series=1)
    begin = calm(detector, 0.02, 14)
    [raised] = outage(detector, begin, 30)
    ended = []
    for minute in range(begin + 30, begin + 90):
        ended += detector.add(minute, np.zeros(1, np.int64), np.ones(1, np.int64), np.zeros(1, np.int64))
    assert [alarm.change for alarm in ended] == [Change.cleared]
    assert outage(detector, begin + 90, 60) == []
    [again] = outage(detector, raised.minute + 6 * HOUR, 60)
    assert again.change is Change.raised


def test_a_share_that_stays_becomes_the_usual_one():
    detector = Detector(series=1)
    begin = calm(detector, 0.02, 14)
    assert outage(detector, begin, 20)
    for hour in range(24 * 8):
        detector.add(begin + (hour + 1) * HOUR, np.zeros(1, np.int64), np.full(1, 50), np.full(1, 25))
    assert list(detector.alarmed) == []
    assert list(detector.watched) == []


def test_the_hour_of_an_alarm_is_not_learned():
    detector = Detector(series=2)
    begin = calm(detector, 0.02, 14)
    before = detector.usual(0)
    outage(detector, begin, HOUR)
    for hour in range(1, WEEK + 1):
        detector.add(begin + hour * HOUR, np.array([1]), np.array([1]), np.array([0]))
    assert detector.usual(0) == pytest.approx(before, abs=0.002)


def test_new_series_leave_the_others_alone():
    one, two = Detector(series=1), Detector(series=1)
    begin = calm(one, 0.05, 10)
    calm(two, 0.05, 5)
    two.grow(1)
    for minute in range(5 * DAY, begin, 12):
        due = (minute // 12 + 1) * 0.5
        two.add(minute, np.array([0, 1]), np.array([10, 3]), np.array([int(due) - int(due - 0.5), 3]))
    assert one.usual(0) == two.usual(0)
    assert list(two.watched) == [0]
    assert outage(one, begin, 15) == outage(two, begin, 15)


def test_minutes_come_in_order():
    detector = Detector(series=1)
    one = np.ones(1, np.int64)
    detector.add(7, np.zeros(1, np.int64), one, one)
    with pytest.raises(ValueError, match="minute 7 is not later than minute 7"):
        detector.add(7, np.zeros(1, np.int64), one, one)

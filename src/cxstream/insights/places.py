"""From scored touchpoints to what a `Detector` watches: visits of places, minute by minute of event time.

A *place* is a touchpoint of a channel, a channel, a topic or a team. A *visit* is one customer at one place within half an
hour of the clock, so a customer who tries ten times counts once. It is bad for `failure` if anything in it failed (a
failed digital step, a rage click, an abandoned or unresolved contact), and for `effort` if it added `hard_points` or more.
For `wait` each waiting time counts, and is bad beyond `long_wait_s`; for `nps` each answer, and detractors are bad.

Theory. A touchpoint that was behind the clock of its partition by more than the grace is late, and is not counted. So a
minute can be closed once the clocks of all partitions are past it by the grace, and nothing of it can come any more. What it
counts is a set of visits and the first minute in which each was bad, which does not depend on the order of touchpoints, nor
on where batches end: it follows from the touchpoints alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from cxstream.insights.detector import NEVER, Alarm, Change, Detector, Watch
from cxstream.model.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cxstream.insights.detector import Arrays

MINUTE_MS = 60_000
VISIT_MINUTES = 30
FAILURE, EFFORT, WAIT, NPS = range(4)
MEASURES = ("failure", "effort", "wait", "nps")
DIMENSIONS = ("touchpoint", "channel", "topic", "team")
DETRACTOR = 6  # the best score of a detractor
COLUMNS = (
    *("time", "customer_id", "kind", "channel", "touchpoint", "topic", "agent"),
    *("wait_s", "score", "resolved", "abandoned", "effort", "rage_click", "failed", "behind_ms"),
)
_MICRO = 1_000_000  # points are counted in millionths: sums of these do not depend on their order


@dataclass(frozen=True, slots=True)
class Rules:
    """What is watched, and when a visit is bad.

    Attributes:
        hard_points: effort points in a visit from which it is a hard one.
        long_wait_s: waiting time beyond which it is a long one, in seconds.
        teams: patterns of agents by team, as in a shell: `support-*`.
        grace: minutes that a touchpoint may be behind its partition.
        most_places: places that are watched; later ones are not.
        watch: how closely.
    """

    hard_points: float = 4.0
    long_wait_s: float = 60.0
    teams: Mapping[str, Sequence[str]] = field(default_factory=dict)
    grace: int = 2
    most_places: int = 5_000
    watch: Watch = field(default_factory=Watch)


class Place(NamedTuple):
    """Something that is watched.

    Attributes:
        dimension: one of DIMENSIONS.
        channel: of a touchpoint or a channel; else "".
        name: of a touchpoint, a topic or a team; else "".
    """

    dimension: str
    channel: str
    name: str


class Insight(NamedTuple):
    """A place has left its range, or is back in it.

    Attributes:
        place: which.
        measure: one of MEASURES.
        alarm: the detector's verdict; times are minutes since the epoch.
        customers: customers with bad visits since the change began; 0 where it is back in its range.
    """

    place: Place
    measure: str
    alarm: Alarm
    customers: int


class _Visits(NamedTuple):
    """Touchpoints at places: one that belongs to three places is three of these. Arrays of n.

    Attributes:
        minute: int64, of event time, since the epoch.
        customer: int64, number of the customer.
        place: int64, number of the place.
        failed: bool.
        effort: int64, points that it added, in millionths.
        wait: float64, in seconds; NaN without a waiting time.
        answer: float64, to NPS; NaN without one.
        told: bool; such a row is what has been counted of a visit: whether it failed, and its effort so far.
    """

    minute: NDArray[np.int64]
    customer: NDArray[np.int64]
    place: NDArray[np.int64]
    failed: NDArray[np.bool_]
    effort: NDArray[np.int64]
    wait: NDArray[np.float64]
    answer: NDArray[np.float64]
    told: NDArray[np.bool_]


class _Counts(NamedTuple):
    """Visits counted in a minute, and who was in the bad ones. Arrays of n, and of m.

    Attributes:
        minute: int64[n].
        series: int64[n].
        bad: bool[n]: a bad visit, which is no other visit; else a visit.
        customer: int64[n].
    """

    minute: NDArray[np.int64]
    series: NDArray[np.int64]
    bad: NDArray[np.bool_]
    customer: NDArray[np.int64]


_Columns = TypeVar("_Columns", _Visits, _Counts)


def _joined(parts: Sequence[_Columns]) -> _Columns:
    """Parts, one after the other."""
    return type(parts[0])(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _some(columns: _Columns, which: NDArray[Any]) -> _Columns:
    """The rows at some places."""
    return type(columns)(*(array[which] for array in columns))


def _floats(column: pa.ChunkedArray, missing: float) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).fill_null(missing))


def _codes(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], list[str | None]]:
    """Numbers of the values of a column of strings, and the values."""
    encoded = pc.dictionary_encode(column.cast(pa.string()), null_encoding="encode").combine_chunks()
    return np.asarray(encoded.indices).astype(np.int64), encoded.dictionary.to_pylist()


def _failed(rows: pa.Table) -> NDArray[np.bool_]:
    unresolved = pc.invert(rows["resolved"].fill_null(True))
    reasons = (rows["failed"], rows["rage_click"], rows["abandoned"].fill_null(False), unresolved)
    failed: NDArray[np.bool_] = np.logical_or.reduce([np.asarray(each) for each in reasons])
    return failed


class Places:
    """Watches the places of a stream of scored touchpoints.

    Args:
        rules: what is watched.

    Attributes:
        late: touchpoints that were too late to be counted.
        unwatched: touchpoints at places beyond `Rules.most_places`, which were not counted.
        closed: the last minute that is closed; NEVER before the first.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.detector = Detector(rules.watch)
        self.late = self.unwatched = 0
        self.closed = NEVER
        self._numbers: dict[Place, int] = {}
        self._places: list[Place] = []
        # Places of visits that wait, by a number that they have until they are counted.
        self._found: dict[Place, int] = {}
        self._waiting: list[_Visits] = []
        # Of the half hour that is open: what has been counted of each visit.
        self._open: list[_Visits] = []
        # Bad visits, as far back as the tests of their series reach.
        self._hits: list[_Counts] = []

    def add(self, rows: pa.Table) -> None:
        """Take touchpoints, in any order; what is late is left out.

        Args:
            rows: the columns in COLUMNS, as in a warehouse: those of cx.scored, its flags as columns, and a number for
                each customer.

        Raises:
            ValueError: one of a minute that is closed.
        """
        if not len(rows):
            return
        times = np.asarray(rows["time"].cast(pa.timestamp("ms", rows["time"].type.tz)).cast(pa.int64()))
        minutes = times // MINUTE_MS
        clocks = (times + np.asarray(rows["behind_ms"])) // MINUTE_MS
        in_time = minutes >= clocks - self.rules.grace
        self.late += int(np.count_nonzero(~in_time))
        minutes = minutes[in_time]
        if (minutes <= self.closed).any():
            raise ValueError(f"a touchpoint of minute {minutes.min()}, but {self.closed} is closed")
        self._waiting.append(self._read(rows.filter(pa.array(in_time)), minutes))

    def close(self, until: int) -> list[Insight]:
        """Count the minutes up to one; the clocks of all partitions are past it by more than the grace.

        Returns:
            What follows from them, in their order.
        """
        if until <= self.closed:
            return []
        self.closed = until
        if not self._waiting:
            return []
        waiting = _joined(self._waiting)
        due = waiting.minute <= until
        self._waiting = [] if due.all() else [_some(waiting, ~due)]
        counted = self._admitted(_some(waiting, due))
        if not self._waiting:
            self._found.clear()
        if not len(counted.minute):
            return []
        return self._count(_joined([*self._open, counted]), until)

    def _admitted(self, visits: _Visits) -> _Visits:
        """Visits with the numbers that their places keep, without those of places that are not watched.

        New places are numbered by the minute in which they appear, then by name: whatever the order of touchpoints, the same
        ones are watched.
        """
        names = list(self._found)
        first = np.full(len(names), np.iinfo(np.int64).max)
        np.minimum.at(first, visits.place, visits.minute)
        new = [i for i in np.unique(visits.place).tolist() if names[i] not in self._numbers]
        for i in sorted(new, key=lambda i: (first[i], names[i])):
            if len(self._places) == self.rules.most_places:
                break
            self._numbers[names[i]] = len(self._places)
            self._places.append(names[i])
        kept = np.array([self._numbers.get(name, -1) for name in names], np.int64)[visits.place]
        watched = kept >= 0
        self.unwatched += int(np.count_nonzero(~watched))
        return _some(visits._replace(place=kept), watched)

    def learned(self) -> Arrays:
        """What has been learned by the present hour, as arrays."""
        return self.detector.learned()

    def present(self) -> Arrays:
        """Everything else, as arrays; nothing may wait to be counted."""
        if self._waiting:
            raise ValueError("touchpoints wait to be counted")
        state = {f"detector_{name}": array for name, array in self.detector.present().items()}
        state["closed"] = np.array([self.closed])
        # JSON: an array of strings would drop a NUL at the end.
        state["places"] = np.frombuffer(json.dumps(self._places).encode(), np.uint8)
        if self._open:
            state |= {f"open_{name}": array for name, array in _joined(self._open)._asdict().items()}
        if self._hits:
            state |= {f"hits_{name}": array for name, array in _joined(self._hits)._asdict().items()}
        return state

    @classmethod
    def restored(cls, rules: Rules, learned: Arrays, present: Arrays) -> Places:
        """Places as they were when they gave this state."""
        places = cls(rules)
        names = json.loads(present["places"].tobytes())
        places._places = [Place(*each) for each in names]
        places._numbers = {place: number for number, place in enumerate(places._places)}
        places.closed = int(present["closed"][0])
        detector = {
            name.removeprefix("detector_"): array
            for name, array in present.items()
            if name.startswith("detector_")
        }
        places.detector.restore(learned, detector)
        if "open_minute" in present:
            places._open = [_Visits(*(present[f"open_{name}"] for name in _Visits._fields))]
        if "hits_minute" in present:
            places._hits = [_Counts(*(present[f"hits_{name}"] for name in _Counts._fields))]
        return places

    def _read(self, rows: pa.Table, minutes: NDArray[np.int64]) -> _Visits:
        places = [self._channels(rows), self._touchpoints(rows), self._topics(rows), *self._teams(rows)]
        each = np.concatenate([np.flatnonzero(numbers >= 0) for numbers in places])
        of = np.concatenate([numbers[numbers >= 0] for numbers in places])
        effort = np.rint(_floats(rows["effort"], 0.0) * _MICRO).astype(np.int64)
        nps = pc.equal(rows["kind"].cast(pa.string()), Kind.survey_nps.label)
        answers = np.where(np.asarray(nps), _floats(rows["score"], np.nan), np.nan)
        return _Visits(
            minutes[each],
            np.asarray(rows["customer_id"]).astype(np.int64)[each],
            of,
            _failed(rows)[each],
            effort[each],
            _floats(rows["wait_s"], np.nan)[each],
            answers[each],
            np.zeros(len(each), np.bool_),
        )

    def _channels(self, rows: pa.Table) -> NDArray[np.int64]:
        codes, names = _codes(rows["channel"])
        return self._numbered([Place("channel", name or "", "") for name in names])[codes]

    def _touchpoints(self, rows: pa.Table) -> NDArray[np.int64]:
        channels, channel_names = _codes(rows["channel"])
        codes, names = _codes(rows["touchpoint"])
        pairs, inverse = np.unique(channels * max(len(names), 1) + codes, return_inverse=True)
        places = []
        for pair in pairs.tolist():
            channel, name = divmod(pair, len(names))
            places.append(
                Place("touchpoint", channel_names[channel] or "", names[name]) if names[name] else None
            )
        return self._numbered(places)[inverse]

    def _topics(self, rows: pa.Table) -> NDArray[np.int64]:
        codes, names = _codes(rows["topic"])
        return self._numbered([Place("topic", "", name) if name else None for name in names])[codes]

    def _teams(self, rows: pa.Table) -> Iterator[NDArray[np.int64]]:
        codes, names = _codes(rows["agent"])
        for team, patterns in self.rules.teams.items():
            place = Place("team", "", team)
            matches = [name and any(fnmatchcase(name, pattern) for pattern in patterns) for name in names]
            yield self._numbered([place if match else None for match in matches])[codes]

    def _numbered(self, places: Sequence[Place | None]) -> NDArray[np.int64]:
        """Numbers of places among those found; -1 for none."""
        found = self._found
        numbers = [-1 if place is None else found.setdefault(place, len(found)) for place in places]
        return np.array(numbers, np.int64)

    def _count(self, visits: _Visits, until: int) -> list[Insight]:
        # By visit, and the touchpoints of a visit by minute, after what has been counted of it.
        half_hours = visits.minute // VISIT_MINUTES
        order = np.lexsort((visits.minute, ~visits.told, visits.customer, visits.place, half_hours))
        visits, half_hours = _some(visits, order), half_hours[order]
        different = [np.diff(each) != 0 for each in (half_hours, visits.place, visits.customer)]
        starts = np.flatnonzero(np.concatenate([[True], np.logical_or.reduce(different)]))
        counts, failed, effort = self._counts(visits, starts)
        latest = half_hours[starts] == until // VISIT_MINUTES
        opened = _some(visits, starts[latest])
        self._open = [
            opened._replace(
                minute=np.full(len(opened.minute), until),
                failed=failed[latest],
                effort=effort[latest],
                wait=np.full(len(opened.minute), np.nan),
                answer=np.full(len(opened.minute), np.nan),
                told=np.ones(len(opened.minute), np.bool_),
            )
        ]
        return self._test(counts)

    def _counts(
        self, visits: _Visits, starts: NDArray[np.int64]
    ) -> tuple[_Counts, NDArray[np.bool_], NDArray[np.int64]]:
        """What is to be counted of visits.

        Args:
            visits: sorted by visit.
            starts: int64[k], where each visit begins.

        Returns:
            The counts; whether each visit failed, bool[k]; and its effort so far, int64[k], in millionths.
        """
        new = ~visits.told
        group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(new))))
        fails = visits.failed.astype(np.int64)
        failures, effort = np.cumsum(fails), np.cumsum(visits.effort)
        failures -= (failures[starts] - fails[starts])[group]
        effort -= (effort[starts] - visits.effort[starts])[group]
        hard = round(self.rules.hard_points * _MICRO)
        first = np.zeros(len(new), np.bool_)
        first[starts] = True
        waited, answered = ~np.isnan(visits.wait) & new, ~np.isnan(visits.answer) & new
        found = [
            (FAILURE, False, first & new),
            (EFFORT, False, first & new),
            (FAILURE, True, new & visits.failed & (failures == 1)),
            (EFFORT, True, new & (effort >= hard) & (effort - visits.effort < hard)),
            (WAIT, False, waited),
            (WAIT, True, waited & (visits.wait > self.rules.long_wait_s)),
            (NPS, False, answered),
            (NPS, True, answered & (visits.answer <= DETRACTOR)),
        ]
        parts = []
        for measure, bad, which in found:
            some = np.flatnonzero(which)
            series = visits.place[some] * len(MEASURES) + measure
            parts.append(_Counts(visits.minute[some], series, np.full(len(some), bad), visits.customer[some]))
        ends = np.append(starts[1:], len(new)) - 1
        return _joined(parts), failures[ends] > 0, effort[ends]

    def _test(self, counts: _Counts) -> list[Insight]:
        self.detector.grow(len(self._places) * len(MEASURES) - self.detector.series)
        order = np.lexsort((counts.series, counts.minute))
        counts = _some(counts, order)
        different = (np.diff(counts.minute) != 0) | (np.diff(counts.series) != 0)
        starts = np.flatnonzero(np.concatenate([[True], different]))
        bad = np.add.reduceat(counts.bad.astype(np.int64), starts)
        visits = np.add.reduceat((~counts.bad).astype(np.int64), starts)
        minutes, series = counts.minute[starts], counts.series[starts]
        self._hits.append(_some(counts, counts.bad))
        insights: list[Insight] = []
        for some in np.split(np.arange(len(starts)), np.flatnonzero(np.diff(minutes)) + 1):
            alarms = self.detector.add(int(minutes[some[0]]), series[some], visits[some], bad[some])
            insights += sorted(map(self._insight, alarms))
        hits = _joined(self._hits)
        self._hits = [_some(hits, hits.minute >= self.detector.begins(hits.series))]
        return insights

    def _insight(self, alarm: Alarm) -> Insight:
        place, measure = divmod(alarm.series, len(MEASURES))
        customers = 0
        if alarm.change is Change.raised:
            hits = _joined(self._hits)
            self._hits = [hits]
            hit = (hits.series == alarm.series) & (hits.minute >= alarm.since) & (hits.minute <= alarm.minute)
            customers = len(np.unique(hits.customer[hit]))
        return Insight(self._places[place], MEASURES[measure], alarm, customers)

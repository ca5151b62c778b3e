"""What was known of customers at many times, by the engine that scores them live, and what came after.

    records before the cutoff -> engine, whose clock moves to the cutoff -> features of everybody: a snapshot
    records from the cutoff on -> outcomes: who left, who was treated

A cutoff is a midnight UTC. The engine has then seen the records that came before the first one of that day, in their
order: a record that comes late, with an event time before the cutoff, is not in its snapshot, as it is not in live scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.evaluate import score_cards
from cxstream.kernels.layout import ACCEPTED, C_P, C_T90, C_X, CARD_WIDTH, SIGNAL_WIDTH
from cxstream.kernels.panes import AHEAD
from cxstream.logs.counted import none_usable
from cxstream.model.errors import InputError
from cxstream.model.events import CONTROL
from cxstream.model.features import FEATURES
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.failing import BatchError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cxstream.files.readers import Chunk
    from cxstream.scoring.codec.decode import Decoded
    from cxstream.training.log import Source

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_TOLD = (int(Kind.churned), int(Kind.action_taken), int(Kind.contact))


@dataclass(slots=True)
class Happened:
    """Events of one sort.

    Attributes:
        customers: int64[n], numbers of customers.
        times: int64[n], ms UTC.
        treated: bool[n], for actions: whether the customer was treated, not held out.
    """

    customers: Ints
    times: Ints
    treated: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.times)

    def first_after(self, customers: Ints, times: Ints) -> tuple[Ints, Ints]:
        """The first event of a customer after a time.

        Returns:
            int64[m], its place in `times`, and int64[m], ms UTC until it; -1 and -1 where there is none.
        """
        none = np.full(len(customers), -1)
        if not len(self):
            return none, none.copy()
        # Events are in order of customer and time: one search finds both.
        least = min(int(self.times.min()), int(times.min(initial=0)))
        most = max(int(self.times.max()), int(times.max(initial=0))) - least + 2
        place = np.searchsorted(
            self.customers * most + (self.times - least), customers * most + (times - least), "right"
        )
        at = np.minimum(place, len(self) - 1)
        found = (place < len(self)) & (self.customers[at] == customers)
        return np.where(found, at, -1), np.where(found, self.times[at] - times, -1)


@dataclass(slots=True)
class Snapshots:
    """Customers at cutoffs, in order of time: those who are not suspended and have shown activity within the window.

    Attributes:
        names: of the customers, by number.
        customer: int64[n], number of each.
        time: int64[n], the cutoff, ms UTC.
        x: float64[n, features], as the engine has them.
        before: float64[n], probability by the rules that were in force.
        recency: float64[n], days since the last touch.
        touches: float64[n], within 90 days.
        channel: channel of the latest contact of each; "" where there is none.
        segment: latest segment of each; "" where none is known.
        end: ms UTC, until when the log goes.
        silent: bool[n], no touch from the cutoff to the horizon after it.
        churned: departures.
        acted: what the company did.
        records: how many were read.
        accepted: how many of them counted.
        suspended: snapshots left out because the customer had left.
        inactive: ... because of no touch within the window.
    """

    names: list[str]
    customer: Ints
    time: Ints
    x: Floats
    before: Floats
    recency: Floats
    touches: Floats
    channel: NDArray[np.str_]
    segment: NDArray[np.str_]
    end: int
    silent: NDArray[np.bool_]
    churned: Happened
    acted: Happened
    records: int
    accepted: int
    suspended: int
    inactive: int

    def __len__(self) -> int:
        return len(self.time)

    def taken(self, which: NDArray[np.bool_]) -> Snapshots:
        """Some of them."""
        parts = {
            name: getattr(self, name)[which]
            for name in (
                "customer", "time", "x", "before", "recency", "touches", "channel", "segment", "silent"
            )
        }  # fmt: skip
        others = {name: getattr(self, name) for name in self.__slots__ if name not in parts}
        return Snapshots(**parts, **others)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When snapshots are taken.

    Attributes:
        every: days between cutoffs.
        warmup: days before the first one, for which the log only fills the state.
        horizon: days that outcomes are looked for.
    """

    every: int
    warmup: int
    horizon: int


@dataclass(slots=True)
class _Taken:
    """One cutoff."""

    time: int
    customer: Ints
    values: Floats
    touched: Ints
    channel: list[str]
    segment: list[str]


@dataclass(slots=True)
class _Log:
    """The engine, and what is noted beside it."""

    engine: Engine
    schedule: Schedule
    limit: int
    due: list[tuple[int, bool]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    channels: dict[str, str] = field(default_factory=dict)
    segments: dict[str, str] = field(default_factory=dict)
    taken: list[_Taken] = field(default_factory=list)
    touched: dict[int, dict[int, int]] = field(default_factory=dict)
    churned: list[tuple[int, int, bool]] = field(default_factory=list)
    acted: list[tuple[int, int, bool]] = field(default_factory=list)
    records: int = 0
    accepted: int = 0
    suspended: int = 0
    inactive: int = 0

    def take(self, chunk: Chunk) -> None:
        """Process a chunk."""
        count = len(chunk.lines)
        offsets = range(self.records, self.records + count)
        limits = np.full(count, self.limit)
        records = Records(chunk.lines, offsets, limits, unheld=frozenset(chunk.cut))
        for _, part, decoded in self.engine.pieces(records):
            self._apply(part, decoded)
        self.records += count

    def _apply(self, part: Records, decoded: Decoded) -> None:
        """Apply records, and take the snapshots that fall between them."""
        while (place := self._crossing(decoded)) is not None:
            if place > 0:
                head = part.only(range(place))
                self._score(self.engine.read(head), head)
            self._snapshot()
            part = part.only(range(place, len(part.values)))
            decoded = self.engine.read(part)
        self._score(decoded, part)

    def _crossing(self, decoded: Decoded) -> int | None:
        """The position of the first record from the next cutoff on; None if there is none."""
        moves = (decoded.columns["kind"] < CONTROL) & (decoded.columns["time"] <= self.limit)
        times = decoded.columns["time"]
        if not self.due:
            if not moves.any():
                return None
            first = (int(times[np.argmax(moves)]) // DAY_MS + 1 + self.schedule.warmup) * DAY_MS
            self.due = [(first, True)]
        late = np.flatnonzero(moves & (times >= self.due[0][0]))
        return int(decoded.valid[late[0]]) if len(late) else None

    def _score(self, decoded: Decoded, part: Records) -> None:
        outcome = self.engine.score(decoded, part)
        self.accepted += outcome.accepted
        counted = outcome.status == ACCEPTED
        kinds, times = decoded.columns["kind"], decoded.columns["time"]
        for i in np.flatnonzero(counted & np.isin(kinds, _TOLD)).tolist():
            event, kind, time = decoded.events[i], int(kinds[i]), int(times[i])
            if kind == Kind.churned:
                self.churned.append((self._number(event.subject), time, False))
            elif kind == Kind.action_taken:
                self.acted.append((self._number(event.subject), time, event.data.arm != "holdout"))
            else:
                self.channels[event.subject] = event.data.channel
        for i in np.flatnonzero(counted & (kinds < CONTROL)).tolist():
            if (segment := decoded.events[i].data.segment) is not None:
                self.segments[decoded.events[i].subject] = segment

    def _number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    def _snapshot(self) -> None:
        """Move the clock to what is due, and keep what is known then."""
        time, is_cutoff = self.due.pop(0)
        self.engine.advance(time)
        partition = self.engine.partition
        slots = partition.live()
        rows = partition.state.rows[slots]
        names = partition.slots.names(slots)
        if is_cutoff:
            again = [
                (time + self.schedule.every * DAY_MS, True),
                (time + self.schedule.horizon * DAY_MS, False),
            ]
            self.due = sorted(self.due + again)
            window = self.engine.params.window_days * DAY_MS
            known = (rows["touched"] == 1) & (time - rows["last_touch"] < window)
            self.suspended += int(np.count_nonzero(known & (rows["suspended"] == 1)))
            self.inactive += int(np.count_nonzero(~known))
            here = np.flatnonzero(known & (rows["suspended"] == 0))
            values = np.empty((len(here), CARD_WIDTH))
            scratch = np.empty(SIGNAL_WIDTH), np.empty(AHEAD, np.int64)
            score_cards(partition.state, partition.constants, slots[here], values, *scratch)
            mine = [names[i] for i in here.tolist()]
            self.taken.append(
                _Taken(
                    time,
                    np.array([self._number(name) for name in mine], np.int64),
                    values,
                    rows["last_touch"][here],
                    [self.channels.get(name, "") for name in mine],
                    [self.segments.get(name, "") for name in mine],
                )
            )
        else:
            numbers = map(self._number, names)
            self.touched[time] = dict(zip(numbers, rows["last_touch"].tolist(), strict=True))

    def end(self) -> Snapshots:
        """Everything, after the last record."""
        clock = self.engine.clock or 0
        horizon = self.schedule.horizon * DAY_MS
        # What is due at the very end is known, too.
        while self.due and self.due[0][0] <= clock:
            self._snapshot()
        whole = [each for each in self.taken if each.time + horizon <= clock]
        silent = [
            np.array(
                [self.touched[each.time + horizon].get(who, each.time) for who in each.customer.tolist()]
            )
            <= each.time
            for each in whole
            if each.time + horizon in self.touched
        ]
        whole = whole[: len(silent)]
        values = _joined([each.values for each in whole], np.empty((0, CARD_WIDTH)))
        time = np.repeat([each.time for each in whole], [len(each.customer) for each in whole]).astype(
            np.int64
        )
        touched = _joined([each.touched for each in whole], np.empty(0, np.int64))
        return Snapshots(
            names=list(self.numbers),
            customer=_joined([each.customer for each in whole], np.empty(0, np.int64)),
            time=time,
            x=values[:, C_X : C_X + len(FEATURES)],
            before=values[:, C_P],
            recency=(time - touched) / DAY_MS,
            touches=values[:, C_T90],
            channel=np.array([name for each in whole for name in each.channel], np.str_),
            segment=np.array([name for each in whole for name in each.segment], np.str_),
            end=clock,
            silent=_joined(silent, np.empty(0, np.bool_)),
            churned=happened(self.churned),
            acted=happened(self.acted),
            records=self.records,
            accepted=self.accepted,
            suspended=self.suspended,
            inactive=self.inactive,
        )  # fmt: skip


def _joined(parts: list[NDArray], nothing: NDArray) -> NDArray:  # type: ignore[type-arg]
    return np.concatenate(parts) if parts else nothing


def happened(rows: list[tuple[int, int, bool]]) -> Happened:
    """Events from rows of customer, ms UTC, and whether the customer was treated."""
    rows = sorted(rows)
    return Happened(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.bool_),
    )


def read_snapshots(
    source: Source,
    schedule: Schedule,
    until: int | None = None,
    on_chunk: Callable[[Chunk], None] = lambda _: None,
) -> Snapshots:
    """Read all inputs, and take a snapshot of all customers every few days.

    Args:
        source: the inputs.
        schedule: when snapshots are taken.
        until: ms UTC; later events are left out. None: none are.
        on_chunk: called when a chunk has been read.

    Raises:
        InputError: an input cannot be read, or no record could be used.
    """
    limit = source.limit if until is None else min(source.limit, until)
    log = _Log(Engine(source.params, source.actions, authority=source.authority), schedule, limit)
    for chunk in source.chunks(source.params.max_record_bytes):
        try:
            log.take(chunk)
        except BatchError as error:
            raise InputError(
                f"{chunk.path}: {error}; 'cxstream validate' finds records that cannot be used"
            ) from error
        on_chunk(chunk)
    if not log.accepted:
        raise InputError(f"{source.name}: {none_usable(log.records)}; 'cxstream validate' says why")
    return log.end()

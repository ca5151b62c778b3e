"""The customers of a replay divided among processes: each scores its own ones, and the outcomes are put together.

    one process      read(lines)           -> Reading: a Frame of all records, and the Slice of each process
    each process     score(frame, slice)   -> Part: signals, rejections and counts of its own customers
    one process      together(parts)       -> Outcome, as of a `Router` that has all customers

A partition's clock is moved by the records of all its customers. Where several processes share a partition, each takes the others'
records for ticks, and believes that they count: that a record later than all before it is a duplicate or was erased, only the process
knows that has the customer. It then raises `NotSharedError`, and somebody must score all of it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from cxstream.kernels.layout import NEVER, RULED, RULES
from cxstream.kernels.shares import PASSES, follow_shared, own_status, time_ticks
from cxstream.scoring.codec.decode import Decoded, Rejected, rows_of, rules_among
from cxstream.scoring.codec.events import Events, Parts
from cxstream.scoring.codec.texts import fill_sentiments, text_model
from cxstream.scoring.codec.vocabulary import vocabulary
from cxstream.scoring.engine import Fates, Outcome, spans
from cxstream.scoring.outcomes import COUNTS, Part, add, moved_by, nothing
from cxstream.scoring.slices import Frame, Slice, Some, slice_of
from cxstream.scoring.state.partition import NO_LIMIT

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from cxstream.scoring.router import Router

# Equal parts of the customers; and of the time that scoring takes, what is divided among the processes, and what the first one needs
# for what it does for all.
_BITS, _EACH, _ALONE = 6, 1.14, 0.14
_TICK = object()


class NotSharedError(Exception):
    """The records cannot be scored by several processes."""


class Reading(NamedTuple):
    """A batch that was read.

    Attributes:
        lines: n structured records.
        unheld: positions of records that were too large to be kept in memory.
        frame: what all processes need of it.
        slices: what each process scores; None where each must read the batch itself, since there are sets of rules in it.
    """

    lines: Sequence[bytes | None]
    unheld: Collection[int]
    frame: Frame
    slices: list[Slice] | None


class Share:
    """What one process scores.

    Args:
        router: engines that have seen nothing yet. They must not have pseudonyms, nor tell what is scored.
        number: of the process.
        count: how many processes there are.

    Attributes:
        router: the engines.
        number: see above.
        is_whole: whether each process has whole partitions, so that it needs no clocks of others.
    """

    def __init__(self, router: Router, number: int, count: int) -> None:
        self.router, self.number, self._count = router, number, count
        self._partitions = len(router.engines)
        self._version = 0
        self.is_whole = self._partitions >= 2 * count or self._partitions % count == 0
        self._owners = owners_of(count)
        self._clocks = dict.fromkeys(range(self._partitions), NEVER)
        if not self.is_whole:
            for engine in router.engines:
                engine.partition.share()

    @property
    def _mine(self) -> range:
        """The partitions of which this process has customers."""
        return range(self.number, self._partitions, self._count) if self.is_whole else range(self._partitions)

    def read(self, lines: Sequence[bytes | None], unheld: Collection[int] = ()) -> Reading:
        """Read a batch; arguments as of `Router.read`."""
        version = self._version
        decoded = self.router.read(lines, unheld).decoded
        partitions = self.router.places_of(lines, decoded, self._partitions)
        if self.is_whole:
            owners = partitions % self._count
        else:
            owners = np.zeros(len(lines), np.int32)
            owners[decoded.valid] = self._owners[decoded.events.shares(_BITS)]
        codes = owners * self._partitions + partitions
        columns, parts = decoded.columns, decoded.events.parts()
        slices = None
        if (
            parts is not None
            and not rules_among(decoded)
            and np.array_equal(decoded.events.rows, decoded.valid)
        ):
            of_valid = owners[decoded.valid]
            slices = [slice_of(decoded, parts, of_valid == number) for number in range(self._count)]
        times, kinds = columns["time"].copy(), columns["kind"].copy()
        frame = Frame(lines, decoded.valid, times, kinds, codes, decoded.rejected, version)
        return Reading(lines, unheld, frame, slices)

    def score(self, frame: Frame, mine: Slice, limit: int | None, grace: int) -> tuple[Part, Fates]:
        """Apply the records of a batch that concern this process; arguments as of `Router.process`.

        Returns:
            The outcome for its customers, and positions, times and partitions of all valid records; the status is left open.

        Raises:
            NotSharedError: the records cannot be scored by several processes.
        """
        part, n = nothing(), len(frame.lines)
        found, status = [part.positions], [part.status]
        limit = NO_LIMIT if limit is None else limit
        events = self._events(frame, mine)
        one = self._partitions == 1
        partitions = np.zeros(n, np.int32) if one else frame.codes % self._partitions
        for p in self._mine:
            engine = self.router.engines[p]
            members = np.arange(n) if one else np.flatnonzero(partitions == p)
            if not len(members):
                continue
            offsets = members + engine.next_offset
            if not one:
                offsets = np.zeros(n, np.int64)
                offsets[members] = np.arange(engine.next_offset, engine.next_offset + len(members))
            engine.next_offset += len(members)
            here = np.arange(len(mine.positions)) if one else np.flatnonzero(partitions[mine.positions] == p)
            rejected = [each for each in frame.rejected if frame.codes[each.index] == self._code(p)]
            if self.is_whole:
                some = self._decoded(mine, events, here, rejected)
                outcome, order = engine.apply(some, offsets, np.full(n, limit), grace), np.zeros((0, 3))
                positions = some.valid
            else:
                positions, outcome, order = self._apply(
                    p, frame, self._decoded(mine, events, here, rejected, tick=True), offsets, limit, grace
                )
            found.append(positions)
            status.append(outcome.status)
            add(part, outcome, p, order)
        part.positions, part.status = np.concatenate(found), np.concatenate(status)
        return part, Fates(frame.valid, frame.times, part.status, partitions[frame.valid])

    def _code(self, p: int) -> int:
        return self.number * self._partitions + p

    def _events(self, frame: Frame, mine: Slice) -> Events:
        """The events of a slice, and a tick behind them."""
        decode = vocabulary(self.router.params.kinds).decode
        lines = Some(frame.lines, mine.positions)
        made: dict[int, Any] = {i: decode(lines[i] or b"") for i in mine.made}
        texts = text_model(self.router.params.text_model)
        if made and texts is not None:
            fill_sentiments(list(made.values()), texts)
        # A failed signal of a sweep is compared with its cause.
        made[len(mine.positions)] = _TICK
        parts = Parts(mine.text, mine.spans, mine.members, mine.sentiments, mine.made)
        return Events.of_parts(lines, decode, parts, np.arange(len(mine.columns)), made)

    @staticmethod
    def _decoded(
        mine: Slice, events: Events, here: NDArray[np.int64], rejected: list[Rejected], *, tick: bool = False
    ) -> Decoded:
        """Some records of a slice; with a tick behind them, whose position means nothing."""
        rows = np.append(here, len(mine.positions)) if tick else here
        whole = len(rows) == len(mine.columns)
        valid = mine.positions[here]
        return Decoded(
            np.append(valid, -1) if tick else valid,
            events if whole else events.taken(rows),
            mine.columns if whole else rows_of(mine.columns, rows),
            np.zeros(len(rows), np.uint64),
            rejected,
        )

    def _apply(
        self, p: int, frame: Frame, own: Decoded, offsets: NDArray[np.int64], limit: int, grace: int
    ) -> tuple[NDArray[np.int64], Outcome, NDArray[np.float64]]:
        """Apply the records of a partition of which this process has some of the customers.

        Args:
            p: the partition.
            frame: of the batch.
            own: the records of these customers, and a tick.
            offsets: int64[n].
            limit: see `score`.
            grace: likewise.
        """
        engine, g, m = self.router.engines[p], len(frame.valid), len(own.valid) - 1
        valid, times, kinds = frame.valid, frame.times, frame.kinds
        codes = frame.codes if g == len(frame.codes) else frame.codes[valid]
        if self._partitions > 1:
            here = np.flatnonzero(codes % self._partitions == p)
            valid, times, kinds, codes = valid[here], times[here], kinds[here], codes[here]
        latest = engine.latest(kinds, np.full(len(valid), limit), grace)
        places, what = np.empty(len(valid), np.int64), np.empty(len(valid), np.uint8)
        rows, limits = np.empty((2, len(valid)), np.int64)
        n, self._clocks[p] = follow_shared(
            times,
            kinds,
            latest,
            codes,
            self._code(p),
            self._clocks[p],
            m,
            NO_LIMIT,
            places,
            what,
            rows,
            limits,
        )
        places, what, rows, limits = places[:n], what[:n], rows[:n], limits[:n]
        columns = rows_of(own.columns, rows)
        time_ticks(columns, what, places, times)
        some = Decoded(valid[places], own.events.taken(rows), columns, np.zeros(n, np.uint64), own.rejected)
        passes = what == PASSES
        assert n - np.count_nonzero(passes) == m  # noqa: S101  # else there would be no room for their status
        outcome, order = engine.apply_share(some, offsets, limits, passes)
        status, outcome.status = outcome.status, np.empty(m, np.uint8)
        if not own_status(status, what, outcome.status):
            raise NotSharedError("a record that does not count is later than all before it")
        return own.valid[:m], outcome, order

    def score_all(self, reading: Reading, limit: int | None, grace: int) -> tuple[Part, Fates]:
        """Like `score`, of a batch that this process has read itself."""
        if not self.knows(reading.frame):
            reading = self.read(reading.lines, reading.unheld)
        if reading.slices is not None:
            return self.score(reading.frame, reading.slices[self.number], limit, grace)
        rules, n = reading.frame.valid[reading.frame.kinds == RULES].tolist(), len(reading.lines)
        if not rules:
            raise NotSharedError("the records are in a form that cannot be divided")
        if n > 1:
            return self._score_each(spans(n, rules), reading, limit, grace)
        decoded = self.router.read(reading.lines, reading.unheld).decoded
        return self._follow(decoded, np.full(n, NO_LIMIT if limit is None else limit), grace)

    def knows(self, frame: Frame) -> bool:
        """Whether a batch was read by the rules that are in force."""
        return frame.version == self._version

    def _score_each(
        self, pieces: Iterator[range], reading: Reading, limit: int | None, grace: int
    ) -> tuple[Part, Fates]:
        """Score a batch in pieces that one set of rules decodes."""
        whole = nothing()
        parts, fates = [whole], []
        for piece in pieces:
            large = [position - piece.start for position in reading.unheld if position in piece]
            lines = reading.lines[piece.start : piece.stop]
            part, all_of = self.score_all(self.read(lines, large), limit, grace)
            whole.rows += [moved_by(each, piece.start) for each in part.rows]
            whole.rejected += [
                msgspec.structs.replace(each, index=each.index + piece.start) for each in part.rejected
            ]
            whole.counts = [a + b for a, b in zip(whole.counts, part.counts, strict=True)]
            whole.unconverted += part.unconverted
            part.positions = part.positions + piece.start
            parts.append(part)
            fates.append((all_of.positions + piece.start, all_of.times, all_of.partitions))
        whole.positions = np.concatenate([part.positions for part in parts])
        whole.status = np.concatenate([part.status for part in parts])
        positions, times, partitions = (np.concatenate(each) for each in zip(*fates, strict=True))
        return whole, Fates(positions, times, whole.status, partitions)

    def _follow(self, decoded: Decoded, limits: NDArray[np.int64], grace: int) -> tuple[Part, Fates]:
        """Put a set of rules, which is alone, in force in every partition. The first process tells of it."""
        outcome = Outcome()
        for engine in reversed(self.router.engines):
            offsets = np.full(1, engine.next_offset)
            outcome = engine.apply(decoded, offsets, limits, grace)
            engine.next_offset += 1
        self._version += int((outcome.status == RULED).sum())
        told = self.number == 0
        part = Part([], [], [0] * len(COUNTS), [], decoded.valid[:told], outcome.status[:told])
        if told:
            add(part, outcome, 0, np.zeros((0, 3)))
        zero = np.zeros(len(decoded.valid), np.int32)
        return part, Fates(decoded.valid, decoded.columns["time"].copy(), outcome.status, zero)

    def advance(self, time: int) -> Part:
        """Let time pass until `time` (ms UTC) for all customers of this process."""
        part = nothing()
        for p in self._mine:
            outcome, order = self.router.engines[p].advance_share(time)
            add(part, outcome, p, order)
        return part


def owners_of(count: int) -> NDArray[np.int32]:
    """Which of `count` processes each of some equal parts of the customers belongs to, int32[2**_BITS].

    The first process puts together what all have found, and has fewer customers for that.
    """
    buckets = 1 << _BITS
    first = max(buckets * (_EACH / count - _ALONE), 0.0)
    ends = first + np.arange(count) * (buckets - first) / max(count - 1, 1)
    return np.searchsorted(ends, np.arange(buckets), side="right").astype(np.int32)

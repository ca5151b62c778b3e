"""One partition, as the adapters use it: records in, signals and rejections out; cards and snapshots on demand."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from cxstream.kernels.batches import FATES, sum_up
from cxstream.kernels.clocks import COUNTS, follow
from cxstream.kernels.evaluate import score_cards
from cxstream.kernels.layout import (
    ACCEPTED,
    C_ALIVE,
    C_X,
    CARD_WIDTH,
    CHANGED,
    CLEAN,
    DUPLICATE,
    ERASED,
    ERASES,
    FRICTION,
    FROM_THE_FUTURE,
    MISROUTED,
    RECEIPT,
    RULED,
    S_ALIVE,
    S_CLOCK,
    S_INDEX,
    S_LEVEL,
    S_OWN,
    S_SEQ,
    S_SLOT,
    S_SWEPT,
    S_TOPIC,
    S_WHAT,
    SCORED,
    SIGNAL_WIDTH,
    SUPPRESSED,
    SWEPT_OFFSET,
    TICKED,
    TOO_LATE,
)
from cxstream.kernels.names import same
from cxstream.kernels.panes import AHEAD
from cxstream.kernels.records import SCAN, scan
from cxstream.model.events import CONTROL, EVERYWHERE, LOG
from cxstream.model.outputs import FORGOTTEN
from cxstream.model.parameters import OwnKind, ScoringParams
from cxstream.model.rules import Rules, read_rules, rules_of
from cxstream.scoring import action_ids, failing
from cxstream.scoring.cards import Facts, cards
from cxstream.scoring.codec import decode as d
from cxstream.scoring.codec.decode import Decoded, Headers, Rejected, decode, rules_among, subjects_of
from cxstream.scoring.codec.events import Events
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.codec.routing import MAX_FORWARDS, Misrouted, forwards
from cxstream.scoring.codec.texts import text_model, warm_up
from cxstream.scoring.codec.vocabulary import vocabulary
from cxstream.scoring.failing import BatchError, SweepError
from cxstream.scoring.scored import Scored, scored, together
from cxstream.scoring.signals import Emitted, Signals, Writer
from cxstream.scoring.state import purchases, side, snapshot
from cxstream.scoring.state.erasures import digest
from cxstream.scoring.state.in_force import InForce, Timeline
from cxstream.scoring.state.marker import MARKER_KEY
from cxstream.scoring.state.partition import NO_LIMIT, Applied, PartitionState
from cxstream.scoring.state.passed_over import PASSED_OVER
from cxstream.scoring.state.saved_rows import SavedRows
from cxstream.scoring.state.snapshot import Line, Unsealed
from cxstream.scoring.state.worth import clv, compile_worth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cxstream.scoring.codec.pseudonym import Pseudonyms
    from cxstream.scoring.codec.signatures import Authority
    from cxstream.scoring.state.marker import Marker, Owner


# How many cards are written at a time.
_CARDS = 1024
# Signals that are written together: room is made for the longest texts, and a sweep may have a signal of every customer.
_TOGETHER = 4096
# Kinds of which accepted events are looked at once more.
_LOOKED_AT = action_ids.LOOKED_AT | purchases.OF_MONEY

__all__ = ["MARKER_KEY", "Emitted", "Engine", "Fates", "Outcome", "Read", "Records", "Rejected", "Scored"]


@dataclass(slots=True)
class Records:
    """A batch of one partition, in offset order.

    Attributes:
        values: n record values.
        offsets: n source offsets, or ordinals.
        limits: n times, ms UTC: the latest event time that is not from the future; None for no limit.
        grace: the part of these limits that allows for wrong clocks, ms; it does not apply to control records.
        keys: n Kafka keys, which must equal the subjects; None if there are none to check.
        headers: n lists of Kafka headers; None if all records are structured.
        unheld: positions of records without a value because they are too large to be kept in memory.
    """

    values: Sequence[bytes | None]
    offsets: Sequence[int] | NDArray[np.int64]
    limits: Sequence[int] | NDArray[np.int64] | None = None
    keys: Sequence[bytes | None] | None = None
    headers: Sequence[Headers] | None = None
    unheld: frozenset[int] = frozenset()
    grace: int = 0

    def only(self, positions: Sequence[int]) -> Records:
        """Those at some positions."""
        return Records(
            [self.values[i] for i in positions],
            [self.offsets[i] for i in positions],
            None if self.limits is None else [int(self.limits[i]) for i in positions],
            None if self.keys is None else [self.keys[i] for i in positions],
            None if self.headers is None else [self.headers[i] for i in positions],
            frozenset(i for i, position in enumerate(positions) if position in self.unheld),
            self.grace,
        )


class Read(NamedTuple):
    """A batch that was read.

    Attributes:
        decoded: what was read.
        rules: those that were in force before.
    """

    decoded: Decoded
    rules: InForce


@dataclass(frozen=True, slots=True)
class Fates:
    """The outcome of each valid record of a batch, for reports by record.

    Attributes:
        positions: int64[g], of the records in the batch, ascending.
        times: int64[g], their event times, ms UTC.
        status: uint8[g], as in `Outcome`.
        partitions: int32[g], where they were scored.
    """

    positions: NDArray[np.int64]
    times: NDArray[np.int64]
    status: NDArray[np.uint8]
    partitions: NDArray[np.int32]


@dataclass(slots=True)
class Outcome:
    """The results of a batch.

    Attributes:
        rows: records for the output topics: signals, receipts; in order within a topic. A receipt says what was erased;
            in another partition than the customer's, there is one only if something was erased.
        rejected: in order.
        misrouted: records that belong to other partitions, in order.
        accepted: records that counted.
        duplicates: records that had been accepted before.
        ticks: records that only move the clock.
        rules: sets of rules that came into force.
        erased: records dropped because of an earlier erasure request.
        erasures: erasure requests that were carried out.
        held_back: raises suppressed by the cooldown, counted once each.
        unknown_actions: sources of accepted touchpoints whose `action_id` cannot be that of a signal of the customer.
        unconverted: currencies of accepted amounts without a rate.
        status: uint8[g], what became of each valid record: ACCEPTED, DUPLICATE, TOO_LATE, FROM_THE_FUTURE, TICKED,
            ERASED, ERASES, MISROUTED, RULED.
        fates: the same with times and partitions, from a `Router`; None from an engine.
        scored: the accepted touchpoints with what they counted for; None where that is left out (`Engine.scored`).
    """

    rows: list[Emitted] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    misrouted: list[Misrouted] = field(default_factory=list)
    accepted: int = 0
    duplicates: int = 0
    ticks: int = 0
    rules: int = 0
    erased: int = 0
    erasures: int = 0
    held_back: int = 0
    unknown_actions: list[str] = field(default_factory=list)
    unconverted: list[str] = field(default_factory=list)
    status: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8), compare=False)
    fates: Fates | None = field(default=None, compare=False)
    scored: Scored | None = field(default=None, compare=False)

    @property
    def signals(self) -> list[Emitted]:
        """The rows that are signals."""
        return [row for row in self.rows if row.change]

    @property
    def receipts(self) -> list[Emitted]:
        """The rows that are receipts of erasures."""
        return [row for row in self.rows if row.topic == FORGOTTEN.topic]


@dataclass(frozen=True, slots=True)
class Unsaved:
    """The changes before an offset that were not known to be saved.

    Attributes:
        offset: the offset.
        rows: int64[n], slots whose rows changed.
        cards: int64[m], slots whose score cards changed.
        gone: customers whose rows must be deleted.
        gone_cards: customers whose cards must be deleted.
        erasures: digests of erasure requests.
        beside: slots whose side state changed, int64[k] for each kind of it.
        ended: keys of saved rows of side state to delete.
    """

    offset: int
    rows: NDArray[np.int64]
    cards: NDArray[np.int64]
    gone: dict[str, None]
    gone_cards: dict[str, None]
    erasures: dict[bytes, None]
    beside: dict[str, NDArray[np.int64]]
    ended: dict[bytes, None]

    def without_rows(self) -> Unsaved:
        """Only the cards, after the rows have been saved."""
        nothing = {name: slots[:0] for name, slots in self.beside.items()}
        return replace(self, rows=self.rows[:0], gone={}, erasures={}, beside=nothing, ended={})


def spans(n: int, single: Sequence[int]) -> Iterator[range]:
    """Cut n positions so that each of some is alone.

    Args:
        n: how many there are.
        single: ascending.
    """
    begin = 0
    for place in single:
        if begin < place:
            yield range(begin, place)
        yield range(place, place + 1)
        begin = place + 1
    if begin < n:
        yield range(begin, n)


def joined(parts: Sequence[tuple[int, Outcome]]) -> Outcome:
    """The outcome of a batch from those of its pieces, each with the position in the batch at which it begins."""
    whole, moved = Outcome(), msgspec.structs.replace
    for begin, part in parts:
        whole.rows += [moved(row, index=row.index + begin) for row in part.rows]
        whole.rejected += [moved(each, index=each.index + begin) for each in part.rejected]
        whole.misrouted += [moved(each, index=each.index + begin) for each in part.misrouted]
        whole.accepted += part.accepted
        whole.duplicates += part.duplicates
        whole.ticks += part.ticks
        whole.rules += part.rules
        whole.erased += part.erased
        whole.erasures += part.erasures
        whole.held_back += part.held_back
        whole.unknown_actions += part.unknown_actions
        whole.unconverted += part.unconverted
    whole.status = np.concatenate([part.status for _, part in parts])
    whole.scored = together([(begin, part.scored) for begin, part in parts])
    return whole


def check_keys(decoded: Decoded, keys: Sequence[bytes | None]) -> None:
    """Reject records whose key is not their subject: another partition would score the same customer, too."""
    expected = decoded.events.packed_subjects()
    given = keys if isinstance(keys, Packed) else Packed.of(keys)
    equal = np.empty(len(expected), np.bool_)
    mine = given.taken(decoded.valid)
    same(expected.data, expected.begins, expected.ends, mine.data, mine.begins, mine.ends, equal)
    if given is not keys:
        equal &= np.array([keys[position] is not None for position in decoded.valid.tolist()], np.bool_)
    decoded.reject(
        {
            i: (d.INVALID, "key", "the Kafka key differs from the subject")
            for i in np.flatnonzero(~equal).tolist()
            if not isinstance(decoded.events[i], EVERYWHERE)
        }
    )


def _reject_too_often_forwarded(outcome: Outcome, headers: Sequence[Headers]) -> None:
    """Reject misrouted records that have been forwarded MAX_FORWARDS times; the others stay to be forwarded."""
    kept: list[Misrouted] = []
    rejected: list[Rejected] = []
    for each in outcome.misrouted:
        if forwards(headers[each.index]) < MAX_FORWARDS:
            kept.append(each)
            continue
        message = f"belongs to partition {each.partition}, and was forwarded too often"
        rejected.append(Rejected(each.index, d.MISROUTED, "key", message))
    if rejected:
        outcome.misrouted = kept
        outcome.rejected = sorted(outcome.rejected + rejected)


class Engine:
    """The scores of one partition. Synchronous, not safe for use from two threads at once.

    Args:
        params: constants of the scores, until the log says others.
        actions: suggested action by leading feature, likewise.
        topic: source topic, for the ids of signals.
        partition: its partition.
        partitions: how many the topic has; a record of a customer of another one is misrouted. None: no record is.
        pseudonyms: names under which customers are known; None: their own.
        authority: verifies the signatures of control records; None: signatures are not required.

    Attributes:
        must_save: a customer was erased, or a record passed over, since the last snapshot; the next should not wait.
        next_offset: the offset after the last applied record.
        clears: the saved state is of a version that scored customers of other partitions here, too: see `clear`.
        line: the lineage that snapshots belong to; the caller sets it before the first snapshot.
        broken: a batch was only applied in part: the state cannot be used any more.
        rules: the rules in force, and those since the last sweep.
    """

    def __init__(
        self,
        params: ScoringParams,
        actions: Mapping[str, str],
        *,
        topic: str = LOG,
        partition: int = 0,
        partitions: int | None = None,
        pseudonyms: Pseudonyms | None = None,
        authority: Authority | None = None,
    ) -> None:
        self._settings = rules_of(params, actions)
        self._max_record_bytes = params.max_record_bytes
        self.rules = Timeline([InForce(self._settings)])
        self.partitions = partitions
        self._pseudonyms = pseudonyms
        self._authority = authority
        self.next_offset = 0
        self.partition = PartitionState(params, partition, partitions)
        self._writer = Writer(self._settings, topic, partition)
        self._vocabulary = vocabulary(params.kinds)
        self._texts = text_model(params.text_model)
        self._again = partial(
            Engine,
            params,
            actions,
            topic=topic,
            partition=partition,
            partitions=partitions,
            pseudonyms=pseudonyms,
            authority=authority,
        )
        self._key_id = pseudonyms.key_id if pseudonyms else ""
        self._held = 0
        self._card_cursor = 0
        self._gone_cards: dict[str, None] = {}
        self._stale: dict[bytes, bytes] = {}
        self._recalled: dict[bytes, bytes] = {}
        self.must_save = False
        self.clears = False
        self.line = Line()
        self.broken = False

    @property
    def params(self) -> ScoringParams:
        """The parameters in force."""
        return self.rules.latest.rules.params

    @property
    def scored(self) -> bool:
        """Whether outcomes tell what each accepted touchpoint counted for; the state does not depend on it."""
        return self.partition.scored

    @scored.setter
    def scored(self, wanted: bool) -> None:
        self.partition.scored = wanted

    @property
    def clock(self) -> int | None:
        """Event time reached, ms UTC."""
        return self.partition.clock

    @property
    def customers(self) -> int:
        """Customers that are known."""
        return self.partition.customers

    @property
    def panes(self) -> int:
        """Day panes in use."""
        return self.partition.panes

    @property
    def state_bytes(self) -> int:
        """Bytes reserved for the state, with names."""
        return self.partition.state_bytes

    # --- records in, signals out

    def process(self, records: Records) -> Outcome:
        """Apply a batch; the bytes that come out do not depend on where batches begin and end."""
        parts = [(begin, self.score(decoded, part)) for begin, part, decoded in self.pieces(records)]
        return parts[0][1] if len(parts) == 1 else joined(parts)

    def read_ahead(self, records: Records) -> Read:
        """Read a batch that is applied later; another thread may do so while batches before it are applied."""
        rules = self.rules.latest
        return Read(self.read(records), rules)

    def pieces(self, records: Records, read: Read | None = None) -> Iterator[tuple[int, Records, Decoded]]:
        """Read a batch in pieces that one set of rules decodes; apply each before the next.

        Args:
            records: the batch.
            read: what `read_ahead` made of it; it is read again if other rules are in force by now.

        Returns:
            Where each piece begins in the batch, the piece, and what was read of it. A set of rules is a piece of its own.
        """
        if read is None or read.rules is not self.rules.latest:
            read = self.read_ahead(records)
        decoded = read.decoded
        n, places = len(records.values), rules_among(decoded)
        if not places or n == 1:
            yield 0, records, decoded
            return
        for span in spans(n, decoded.valid[places].tolist()):
            part = records.only(span)
            yield span.start, part, self.read(part)

    def read(self, records: Records) -> Decoded:
        """Decode and check a batch; the state is not touched.

        Records that are passed over are not read. A record that cannot be read because of an unforeseen error is rejected
        as `failed`.
        """
        over = self.partition.passed.among(records.offsets)
        if not over:
            return self._read_some(range(len(records.values)), records)
        others = [position for position in range(len(records.values)) if position not in over]
        decoded = self._read_some(others, records)
        decoded.rejected += [Rejected(i, reason, "", PASSED_OVER[reason]) for i, reason in over.items()]
        decoded.rejected.sort()
        return decoded

    def _read_some(self, positions: Sequence[int], records: Records) -> Decoded:
        """Decode and check the records at these positions of a batch, which they keep."""

        def read(some: Sequence[int]) -> Decoded:
            part = records if len(some) == len(records.values) else records.only(some)
            appended = None
            if self._authority is not None and part.limits is not None:
                appended = np.asarray(part.limits, np.int64) - part.grace
            decoded = decode(
                part.values,
                part.headers,
                keys=part.keys,
                limit=self._max_record_bytes,
                unheld=part.unheld,
                authority=self._authority,
                appended=appended,
                vocabulary=self._vocabulary,
                texts=self._texts,
                fields=self.scored,
            )
            if part.keys is not None:
                check_keys(decoded, part.keys)
            return decoded

        return failing.read(positions, len(records.values), read, self.require_sound)

    def require_sound(self) -> None:
        """Process records that are known to be sound, in a separate state.

        Raises:
            Exception: they fail, so the failure of another record is not caused by that record.
        """
        sound = Records(failing.SOUND, range(len(failing.SOUND)))
        engine: Engine = self._again(partitions=None)
        engine._score(decode(sound.values), sound)

    def score(self, decoded: Decoded, records: Records) -> Outcome:
        """Apply a piece of a batch that `pieces` has read.

        Raises:
            BatchError: an unknown record of the batch fails with an unforeseen error; the state is lost.
        """
        self.broken = True
        try:
            outcome = self._score(decoded, records)
        except Exception as error:
            if not failing.may_be_of_record(error):
                raise
            raise BatchError(int(records.offsets[0]), int(records.offsets[-1]), error) from error
        self.broken = False
        return outcome

    def _score(self, decoded: Decoded, records: Records) -> Outcome:
        offsets = np.asarray(records.offsets, np.int64)
        if records.limits is None:
            limits = np.full(len(offsets), NO_LIMIT)
        else:
            limits = np.asarray(records.limits, np.int64)
        outcome = self.apply(decoded, offsets, limits, records.grace)
        if outcome.misrouted and records.headers is not None:
            _reject_too_often_forwarded(outcome, records.headers)
        for each in decoded.rejected:
            if each.reason in PASSED_OVER:
                # In the same transaction as its rejection: a rebuild of the state must pass it over, too.
                self.pass_over(int(offsets[each.index]), each.reason)
        if len(offsets):
            self.next_offset = int(offsets[-1]) + 1
        return outcome

    def pass_over(self, offset: int, reason: str) -> None:
        """Record that the record at the next offset is passed over."""
        self.partition.passed.add(offset, reason)
        self.must_save, self.next_offset = True, offset + 1

    def apply(
        self, decoded: Decoded, offsets: NDArray[np.int64], limits: NDArray[np.int64], grace: int = 0
    ) -> Outcome:
        """Apply a decoded batch.

        Args:
            decoded: some or all of the records of a batch.
            offsets: int64[batch].
            limits: int64[batch], ms UTC.
            grace: the part of these limits that allows for wrong clocks, as the settings say it, ms: the rules in
                force may say another, and it does not apply to control records.

        Raises:
            ValueError: there is a set of rules among several records.
        """
        good = decoded.valid
        latest = self.latest(decoded.columns["kind"], limits[good], grace, touchpoints=decoded.touchpoints)
        if rules_among(decoded):
            return self._follow(decoded, offsets, latest)
        own = self._rename(decoded.events)
        applied = self.partition.apply(decoded.events, decoded.columns, offsets[good], latest, own)
        if self._pseudonyms is not None:
            for i in np.flatnonzero(np.isin(applied.status, (ERASES, ERASED, MISROUTED))):
                self._pseudonyms.pop(own[i], None)
        outcome = self._outcome(applied, decoded, offsets, own)
        self._settle()
        return outcome

    def latest(
        self,
        kinds: NDArray[np.uint8],
        limits: NDArray[np.int64],
        grace: int,
        *,
        touchpoints: bool = False,
    ) -> NDArray[np.int64]:
        """The latest time of each of g records that is not from the future, int64[g].

        Args:
            kinds: uint8[g], as in EVENT.
            limits: int64[g], as of `apply`.
            grace: likewise.
            touchpoints: there is no control record among them.
        """
        if not grace:
            return limits
        more = self.rules.latest.rules.future_ms - self._settings.future_ms
        latest: NDArray[np.int64] = np.minimum(limits, NO_LIMIT - max(more, 0)) + more
        if not touchpoints:
            latest[kinds >= CONTROL] -= more + grace
        return latest

    def apply_share(
        self,
        decoded: Decoded,
        offsets: NDArray[np.int64],
        latest: NDArray[np.int64],
        passes: NDArray[np.bool_],
    ) -> tuple[Outcome, NDArray[np.float64]]:
        """Apply the records of some customers of the partition, whose other customers other processes have.

        Args:
            decoded: their records, and ticks for those of the others that move the clock between them; no set of rules.
            offsets: int64[batch].
            latest: int64[g], as of `latest`.
            passes: bool[g], which of `decoded` are these ticks.

        Returns:
            The outcome, with a status of 0 for these ticks; and of each of its signals, in order, whether it is of a sweep, the time
            of that sweep, and the customer's sequence number; float64[m, 3].
        """
        applied = self.partition.apply(decoded.events, decoded.columns, offsets[decoded.valid], latest)
        # An assignment to those with a flag takes ten times as long.
        np.multiply(applied.status, ~passes, out=applied.status)
        rows = applied.signals
        rows = rows[rows[:, S_WHAT] != RECEIPT]
        order = rows[:, [S_SWEPT, S_CLOCK, S_SEQ]]
        outcome = self._outcome(applied, decoded, offsets, [])
        self._settle()
        return outcome, order

    def _follow(self, decoded: Decoded, offsets: NDArray[np.int64], latest: NDArray[np.int64]) -> Outcome:
        """Put a set of rules in force, unless it is from the future or not newer than the one in force."""
        if len(decoded.events) > 1:
            raise ValueError("a set of rules must be a piece of its own: see `pieces`")
        [event], time, before = decoded.events, int(decoded.columns["time"][0]), self.rules.latest.time
        if time > latest[0]:
            status = FROM_THE_FUTURE
        elif before is not None and time <= before:
            status = DUPLICATE
        else:
            status = RULED
            offset = int(offsets[decoded.valid[0]])
            self._change(InForce(read_rules(bytes(event.data)), offset, time, event.source, event.id))
        applied = Applied(np.array([status], np.uint8), np.empty((0, SIGNAL_WIDTH)), np.empty(0, SCORED), {})
        return self._outcome(applied, decoded, offsets, [])

    def _change(self, new: InForce) -> None:
        """Put a set of rules in force."""
        # Another thread may read ahead meanwhile. It takes the rules in force first, so these change last: what was read by
        # old and new ones belongs to the old ones, and is read again.
        self._obey(new.rules)
        other_window = self.partition.change(new.rules.params)
        kept = self.rules.follow(new, forget=other_window)
        if not kept:
            # What the cards said cannot be worked out any more.
            self.partition.state.card_dirty[self.partition.live()] = 1

    def _obey(self, rules: Rules) -> None:
        """Decode and write by rules."""
        self._writer.follow(rules)
        self._vocabulary = vocabulary(rules.params.kinds)
        self._texts = text_model(rules.params.text_model)

    def follow_settings(self) -> bool:
        """Put the settings' rules in force from the next record on, if no rules of the log are.

        A state that was saved under other settings goes on under these. Until the next snapshot is stored, nothing that
        follows from them may be: the snapshot says since when they are in force.

        Returns:
            Whether the rules have changed.
        """
        latest = self.rules.latest
        if latest.of_log or latest.rules.data == self._settings.data:
            return False
        self._change(InForce(self._settings, self.next_offset - 1))
        self.must_save = True
        return True

    def _rename(self, events: Events) -> list[str]:
        """Replace customer ids by pseudonyms; returns the original ids, "" for a tick."""
        if self._pseudonyms is None:
            return []
        own = subjects_of(events)
        events.rename([self._pseudonyms[subject] if subject else "" for subject in own])
        return own

    def advance(self, time: int) -> Outcome:
        """Let time pass until `time` (ms UTC) after the last record, as a tick with the next offset would."""
        return self.advance_share(time)[0]

    def advance_share(self, time: int) -> tuple[Outcome, NDArray[np.float64]]:
        """The same for some customers of the partition; returns what `apply_share` does."""
        rows = self.partition.advance(time, 0, self.next_offset)
        order = rows[:, [S_SWEPT, S_CLOCK, S_SEQ]]
        outcome = Outcome(held_back=self._newly_held())
        outcome.rows = self._signals(
            rows, np.zeros(1, np.int64), np.array([self.next_offset]), np.zeros(1, np.uint8), [None]
        )
        self._settle()
        return outcome, order

    def _outcome(
        self, applied: Applied, decoded: Decoded, offsets: NDArray[np.int64], own: list[str]
    ) -> Outcome:
        status, good = applied.status, decoded.valid
        fates = np.zeros(FATES, np.int64)
        accepted, late = np.empty((2, len(status)), np.int64)
        some, refused = sum_up(decoded.columns, status, _LOOKED_AT, fates, accepted, late)
        counts, accepted = fates.tolist(), accepted[:some]
        rejected = decoded.rejected
        if refused:
            names = {
                TOO_LATE: (d.TOO_LATE, "older than the window at the partition's clock"),
                FROM_THE_FUTURE: (d.FROM_THE_FUTURE, "later than its record can be"),
            }
            rejected = rejected + [
                Rejected(int(good[i]), names[int(status[i])][0], "time", names[int(status[i])][1])
                for i in late[:refused].tolist()
            ]
            rejected.sort()
        rows = applied.signals
        receipts: list[Emitted] = []
        if counts[ERASES]:
            self.must_save = True
            is_receipt = rows[:, S_WHAT] == RECEIPT
            receipts = self._receipts(
                self._telling(rows[is_receipt], own, decoded.events), good, offsets, decoded.events
            )
            rows = rows[~is_receipt]
        return Outcome(
            rows=self._signals(rows, good, offsets, decoded.columns["kind"], decoded.events) + receipts,
            erased=counts[ERASED],
            erasures=counts[ERASES],
            rejected=rejected,
            misrouted=[
                Misrouted(int(good[i]), home, decoded.events[i].source)
                for i, home in applied.elsewhere.items()
            ],
            accepted=counts[ACCEPTED],
            duplicates=counts[DUPLICATE],
            ticks=counts[TICKED],
            rules=counts[RULED],
            held_back=self._newly_held(),
            unconverted=purchases.unconverted(decoded.columns, accepted, self.partition.constants),
            unknown_actions=action_ids.unknown(decoded, accepted, offsets, self._writer.origin),
            status=status,
            scored=self._scored(applied, decoded, offsets) if self.scored else None,
        )

    def _scored(self, applied: Applied, decoded: Decoded, offsets: NDArray[np.int64]) -> Scored | None:
        rules = self.rules.latest.rules
        return scored(
            decoded,
            applied,
            offsets,
            partition=self.partition.number,
            labels=self._vocabulary.labels,
            model=rules.label,
            rates={rules.params.base_currency: 1.0, **rules.params.rates},
        )

    def _newly_held(self) -> int:
        held = int(self.partition.state.at[SUPPRESSED])
        new, self._held = held - self._held, held
        return new

    def _signals(
        self, rows: NDArray[np.float64], good: NDArray[np.int64], offsets: NDArray[np.int64], kinds: NDArray[np.uint8],
        events: Sequence[Any],
    ) -> list[Emitted]:  # fmt: skip
        if not len(rows):
            return []
        places = rows[:, S_INDEX].astype(np.int64)
        rows[:, S_INDEX] = indexes = good[places]
        texts = self.partition.topics.texts
        felt: Callable[[int], Any] = events.__getitem__
        if isinstance(events, Events):
            events.make_felt(places[rows[:, S_WHAT] == FRICTION])
            felt = events.felt
        last, turn, turns = -1, 0, []
        for place in places.tolist():
            turn = turn + 1 if place == last else 0
            last = place
            turns.append(turn)
        told = Signals(
            rows,
            self.partition.slots.packed(rows[:, S_SLOT].astype(np.int32)),
            [texts[int(topic)] if topic >= 0 else "" for topic in rows[:, S_TOPIC].tolist()],
            offsets[indexes],
            np.array(turns),
            kinds[places].astype(np.int64),
            clv(self.params, rows[:, S_ALIVE:S_OWN]),
            places,
            felt,
        )
        try:
            return [each for some in told.parts(_TOGETHER) for each in self._writer.signals(some)]
        except Exception:
            self._blame(told, events)
            raise

    def _blame(self, told: Signals, events: Sequence[Any]) -> None:
        """Find the signal that cannot be written.

        Raises:
            SweepError: it is of a sweep, so that no record is the cause.
        """
        for one in told.parts(1):
            try:
                self._writer.signals(one)
            except Exception as error:
                if one.names[0].decode() != getattr(events[int(one.places[0])], "subject", None):
                    raise SweepError(int(one.offsets[0]), error) from error
                raise

    def _telling(
        self, rows: NDArray[np.float64], own: list[str], events: Sequence[Any]
    ) -> NDArray[np.float64]:
        """Receipts that matter: another partition than the customer's usually knows nothing of them."""
        names = own or subjects_of(events)
        away = self.partition.strangers([names[i] for i in rows[:, S_INDEX].astype(int)])
        told = [bool(row[S_LEVEL]) or names[int(row[S_INDEX])] not in away for row in rows]
        kept: NDArray[np.float64] = rows[np.array(told, bool)]
        return kept

    def _receipts(
        self,
        rows: NDArray[np.float64],
        good: NDArray[np.int64],
        offsets: NDArray[np.int64],
        events: Sequence[Any],
    ) -> list[Emitted]:
        receipts = []
        for row in rows.tolist():
            local = int(row[S_INDEX])
            row[S_INDEX] = index = int(good[local])
            subject = self.partition.slots.name(int(row[S_SLOT]))
            receipts.append(self._writer.receipt(row, subject, int(offsets[index]), events[local]))
        return receipts

    def _settle(self) -> None:
        self.rules.swept(int(self.partition.state.at[SWEPT_OFFSET]))
        self.partition.release_slots()
        self._gone_cards |= self.partition.gone

    # --- score cards

    def _render(self, slots: NDArray[np.int32]) -> tuple[Packed, Packed]:
        """Customers and their score cards, which have a line feed behind them."""
        rows = self.partition.state.rows.take(slots)
        values, judged, worths = self._evaluated(slots, rows["eval_offset"])
        facts = Facts(
            rows["level"],
            rows["notified_level"],
            rows["last_touch"],
            rows["eval_clock"],
            rows["eval_offset"],
            *purchases.facts(self.partition, slots),
            worths,
            [each.rules.label for each in self.rules.sets],
            judged,
        )
        names = self.partition.slots.packed(slots)
        return names, cards(self._writer.origin, names, values, facts)

    def _evaluated(
        self, slots: NDArray[np.int32], offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
        """Scores at the last evaluation of customers, by the rules that were in force then, which these are, and CLV.

        Args:
            slots: int32[n].
            offsets: int64[n], of the records that caused the evaluations.
        """
        values, scratch = (
            np.empty((len(slots), CARD_WIDTH)),
            (np.empty(SIGNAL_WIDTH), np.empty(AHEAD, np.int64)),
        )
        if len(self.rules.sets) == 1:
            score_cards(self.partition.state, self.partition.constants, slots, values, *scratch)
            return values, np.zeros(len(slots), np.int64), clv(self.params, values[:, C_ALIVE:C_X])
        since = np.array([each.offset for each in self.rules.sets])
        which = np.maximum(np.searchsorted(since, offsets) - 1, 0)
        worths = np.full(len(slots), np.nan)
        for i in np.unique(which).tolist():
            mine = np.flatnonzero(which == i)
            some = np.empty((len(mine), CARD_WIDTH))
            score_cards(self.partition.state, self.rules.constants(i), slots[mine], some, *scratch)
            values[mine] = some
            worths[mine] = clv(self.rules.sets[i].rules.params, some[:, C_ALIVE:C_X])
        return values, which, worths

    def dirty_cards(self) -> int:
        """Customers whose card has changed since it was last taken."""
        return int(np.count_nonzero(self.partition.state.card_dirty[: self.partition.slots.top])) + len(
            self._gone_cards
        )

    def take_cards(self, limit: int | None = None) -> list[tuple[bytes, bytes | None]]:
        """Cards that have changed since they were last taken, at most `limit` of them.

        Returns:
            Customer and card, a CloudEvent; None instead of the card of a customer who was removed.
        """
        top = self.partition.slots.top
        dirty = self.partition.state.card_dirty
        changed = np.flatnonzero(dirty[:top]).astype(np.int32)
        taken: list[tuple[bytes, bytes | None]] = [
            (subject.encode(), None) for subject in self._gone_cards if subject not in self.partition.slots
        ]
        self._gone_cards = {}
        if limit is not None and len(changed) > limit:
            # Round robin, so that a limit delays all customers equally.
            changed = np.roll(changed, -int(np.searchsorted(changed, self._card_cursor)))[:limit]
            self._card_cursor = int(changed[-1]) + 1 if limit else self._card_cursor
        taken += zip(*self._render(changed), strict=True)
        dirty[changed] = 0
        return taken

    def cards(self) -> Iterator[tuple[str, bytes]]:
        """Every customer's card, sorted by subject."""
        for names, some in self.named_card_blocks():
            yield from zip(names.strings(), some, strict=True)

    def card_blocks(self) -> Iterator[Packed]:
        """The same without the subjects, some at a time; behind each card is a line feed."""
        return (some for _, some in self.named_card_blocks())

    def named_card_blocks(self) -> Iterator[tuple[Packed, Packed]]:
        """The same with the subjects."""
        slots = self.partition.slots.in_order(self.partition.live())
        for start in range(0, len(slots), _CARDS):
            yield self._render(slots[start : start + _CARDS])

    def card(self, subject: str) -> bytes | None:
        """One customer's card, which does not count as taken; None for an unknown customer."""
        slot = self.partition.slots.get(subject)
        if slot is None:
            return None
        _, [card] = self._render(np.array([slot], np.int32))
        return card

    # --- snapshots

    def snapshot(self) -> list[tuple[bytes, bytes | None]]:
        """Rows that have changed since the last snapshot (None: the customer is gone), the marker last.

        They count as saved from now on: a caller that cannot store them must drop this engine and restore another.
        """
        return list(self.begin_snapshot().sealed())

    def begin_snapshot(self) -> Unsealed:
        """What `snapshot` returns, to be sealed later: by then the state may be another."""
        stale: list[tuple[bytes, bytes | None]] = [(key, None) for key in self._stale]
        self._stale, self.must_save, self.clears = {}, False, False
        taken = snapshot.save(
            self.partition,
            self.next_offset,
            self.rules,
            key_id=self._key_id,
            cards_clean=self.dirty_cards() == 0,
            line=self.line,
        )
        taken.rows[:0] = stale
        return taken

    def belong_to(self, owner: Owner, generation: int) -> None:
        """Save the state for an owner from now on.

        Args:
            owner: the owner that saves.
            generation: number of a new lineage. All rows of another group are saved again with it, so that no row
                that this group may still write is taken for one of this state.
        """
        before = self.line.owner
        if before.group and (before.cluster, before.group) != (owner.cluster, owner.group):
            snapshot.mark_all(self.partition)
            self.line = replace(self.line, generation=generation)
        self.must_save = self.must_save or before != owner
        self.line = replace(self.line, owner=owner)

    def mark_stale(self, rows: Mapping[bytes, bytes]) -> None:
        """Mark the rows of an unusable snapshot as stale: those that this state does not overwrite are deleted."""
        self._stale = rows.whole() if isinstance(rows, SavedRows) else dict(rows)
        self.partition.passed.recall(snapshot.passed_of(self._stale, self.line.secrets))
        self._gone_cards = snapshot.customers_of(self._stale)
        self.clears = True

    def clear(self, outcome: Outcome, keys: Sequence[bytes | None]) -> None:
        """Delete the state that an earlier version saved for customers of misrouted records.

        Args:
            outcome: of a batch that is replayed without output.
            keys: of the batch's records.
        """
        for index in (each.index for each in outcome.misrouted):
            own = (keys[index] or b"").decode()
            subject = own if self._pseudonyms is None else self._pseudonyms.of(own)
            self.partition.gone[subject] = self._gone_cards[subject] = None

    def fits(self, marker: Marker) -> bool:
        """Whether a snapshot's rows match this state: the same layout, rules, key and partitions.

        Both must also pass over the same records.
        """
        return (
            marker.is_present
            and marker.rules == self.rules.saved()
            and marker.key == self._key_id
            and marker.partitions == self.partitions
            and marker.passed == self.partition.passed.digest()
        )

    def replaced(self, marker: Marker) -> None:
        """Record that another engine with the same state has saved it, and continue its lineage.

        Args:
            marker: of its snapshot. No stale row is left, and all rows are of that generation.
        """
        self._stale = {}
        self.line = replace(self.line, generation=marker.generation)

    def recall_erasures(self, latest: int = NO_LIMIT) -> bool:
        """Take over the erasure requests from the stale rows, because the log may no longer have them.

        Args:
            latest: time that no request can be later than, ms UTC.

        Returns:
            Whether this state has any of these customers. Some of their records may be older than the request, and only an
            engine that knows the request from its first record on can drop these: see `fresh_copy`.
        """
        self._recalled = self.partition.erasures.recall(
            snapshot.erasures_of(self._stale, self.line.secrets), latest
        )
        return bool(self._recalled) and any(digest(name) in self._recalled for name in self.partition.slots)

    def fresh_copy(self) -> Engine:
        """An empty engine with the recalled erasure requests and the stale rows of this one."""
        engine = self._again()
        engine.line = self.line
        engine.mark_stale(self._stale)
        engine.partition.erasures.recall(self._recalled)
        return engine

    def begin_checkpoint(self) -> Unsaved:
        """Collect the changes since the last snapshot and score cards, and mark them as saved."""
        st, top = self.partition.state, self.partition.slots.top
        beside = side.changed(self.partition)
        ended, _ = side.take_changed(self.partition)
        apart = Unsaved(
            self.next_offset,
            np.flatnonzero(st.row_dirty[:top] == CHANGED),
            np.flatnonzero(st.card_dirty[:top]),
            self.partition.gone,
            self._gone_cards,
            self.partition.erasures.changed,
            beside,
            dict.fromkeys(ended),
        )
        st.row_dirty[apart.rows] = CLEAN
        st.card_dirty[apart.cards] = 0
        self.partition.gone, self._gone_cards = {}, {}
        self.partition.erasures.changed = {}
        return apart

    def roll_back_checkpoint(self, apart: Unsaved) -> None:
        """Mark the collected changes as not saved again."""
        st = self.partition.state
        live = st.rows["live"] != 0
        st.row_dirty[apart.rows[live[apart.rows]]] = CHANGED
        st.card_dirty[apart.cards[live[apart.cards]]] = 1
        self.partition.gone = apart.gone | self.partition.gone
        self._gone_cards = apart.gone_cards | self._gone_cards
        side.mark(self.partition, {name: slots[live[slots]] for name, slots in apart.beside.items()})
        self.partition.dead_keys = apart.ended | self.partition.dead_keys
        erasures = self.partition.erasures
        erasures.changed = {key: None for key in apart.erasures if key in erasures.times} | erasures.changed

    @classmethod
    def restore(
        cls, params: ScoringParams, actions: Mapping[str, str], rows: Mapping[bytes, bytes],
        *, topic: str = LOG, partition: int = 0, partitions: int | None = None,
        pseudonyms: Pseudonyms | None = None, authority: Authority | None = None,
        secrets: tuple[bytes, ...] = (b"",), latest: int = NO_LIMIT,
    ) -> Engine:  # fmt: skip
        """Rebuild an engine from the latest snapshot row of every key.

        Customers of other partitions are left out: their rows and cards will be deleted.

        Raises:
            SnapshotError: rows without a marker, incomplete, of another layout, or made with other parameters.
        """
        engine = cls(
            params, actions, topic=topic, partition=partition, partitions=partitions, pseudonyms=pseudonyms,
            authority=authority,
        )  # fmt: skip
        loaded = snapshot.load(
            engine.partition,
            rows,
            engine._settings,
            key_id=engine._key_id,
            secrets=secrets,
            latest=latest,
        )
        marker = loaded.marker
        engine.rules = loaded.rules
        engine._obey(loaded.rules.latest.rules)
        engine.next_offset = marker.offset
        # If all rows are saved again, they are a new lineage.
        engine.line = Line(0 if loaded.again else marker.generation, marker.owner, secrets)
        engine.must_save = loaded.again
        engine.clears = marker.partitions != partitions
        engine._gone_cards |= engine.partition.gone
        engine._newly_held()
        return engine


def compile_kernels() -> None:
    """Compile every kernel, or load it from the cache, so that the first real batch does not wait for it."""
    events = [
        b'{"specversion":"1.0","id":"%d","source":"/","type":"cx.touchpoint.%s.v1","subject":"1",'
        b'"time":"2000-01-01T00:00:00Z","data":{"channel":"call","topic":"1","amount":1,"currency":"EUR"}}'
        % (i, kind)
        for i, kind in enumerate((b"contact", b"purchase", b"own"))
    ]
    # For writable and for read-only bytes.
    for data in (np.zeros(1, np.uint8), np.frombuffer(b"\0", np.uint8)):
        scan(data, 0, 1, 0, 0, np.zeros(SCAN, np.int64))
    follow(np.zeros(1, np.int64), np.zeros(1, np.uint8), np.zeros(1, np.int32), np.zeros(1, np.int64),
           np.zeros(COUNTS, np.int64), np.zeros((1, 2), np.int64))  # fmt: skip
    compile_worth()
    warm_up()
    # All side state has some.
    params = ScoringParams(kinds={"own": OwnKind(effort=1)})
    engine = Engine(params, {})
    engine.process(Records(events, range(len(events))))
    engine.advance(0)
    engine.take_cards()
    one, row = np.zeros(1, np.int64), np.zeros((1, SIGNAL_WIDTH))
    signals = Signals(row, Packed.of([b""]), [""], one, one, one, np.zeros(1), one, Events.of([]).felt)
    engine._writer.signals(signals)  # noqa: SLF001  # not every signal comes at once
    sealed = engine.begin_snapshot().sealed()
    # All of them, as the last ones lie in read-only bytes and others do not.
    sealed.records(0, 1 << 20)
    Engine.restore(params, {}, {key: value for key, value in sealed if value is not None})

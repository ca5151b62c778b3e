"""Counts of the records of one flush: collected batch by batch, published once they are committed.

The work is done per batch, by a kernel or numpy if possible.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cxstream.kernels import measures as kernel
from cxstream.kernels.layout import ACCEPTED, MISROUTED, RULES, TICK
from cxstream.model.enumerations import CHANNELS
from cxstream.model.kinds import Kind
from cxstream.scoring.codec.decode import TOO_LATE, read_source
from cxstream.scoring.codec.plain import NUMBER
from cxstream.scoring.state.passed_over import PASSED_OVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cxstream.scoring.codec.decode import Decoded
    from cxstream.scoring.codec.events import Events
    from cxstream.scoring.engine import Outcome

SOURCE_LENGTH = 64
OTHER = "other"
# Sources with a count of their own in one flush, names of at most SOURCE_LENGTH characters; far more than in metrics.
_MOST_SOURCES = 1000
_CHANNEL = {name: number for number, name in enumerate(CHANNELS)}
_CHANNEL_OF = {name.encode(): number for name, number in _CHANNEL.items()}
# Kinds with more metrics than their number.
_TELLING = np.zeros(kernel.KINDS, bool)
_TELLING[[Kind.contact, Kind.queue, Kind.survey_ces, Kind.survey_csat, Kind.survey_nps]] = True


class Times(NamedTuple):
    """The times of the valid touchpoints of a batch, without ticks.

    Attributes:
        appended: int64[n], Kafka timestamps, ms UTC.
        happened: int64[n], event times, ms UTC.
        accepted: bool[n].
    """

    appended: NDArray[np.int64]
    happened: NDArray[np.int64]
    accepted: NDArray[np.bool_]


class Told(NamedTuple):
    """Accepted contacts, waits and answers of a batch.

    Attributes:
        columns: EVENT[n].
        channels: int64[n], index in CHANNELS.
        waited: bool[n], has a waiting time.
    """

    columns: NDArray[np.void]
    channels: NDArray[np.int64]
    waited: NDArray[np.bool_]


class FlushTally:
    """The records of one flush.

    Attributes:
        outcomes: records by outcome.
        rejected: rejected records by reason and source; None if the source cannot be read.
        sources: valid records by source; misrouted ones count in their right partition.
        misrouted: records that were forwarded, by source.
        unknown_actions: accepted records whose `action_id` is no signal of the customer, by source.
        unconverted: accepted amounts without a rate, by currency.
        kinds: int64[kinds], accepted records of the built-in kinds.
        own: accepted records of the company's own kinds, by name.
        signals: signals by kind and level.
        reasons: raised signals by leading reason.
        held_back: raises suppressed by the cooldown, counted once each.
        newest: event time of the newest accepted record, ms UTC; None before the first.
        times: of each batch.
        told: of each batch with contacts, waits or answers.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.rejected: Counter[tuple[str, str | None]] = Counter()
        self.sources: Counter[str] = Counter()
        self.misrouted: Counter[str] = Counter()
        self.unknown_actions: Counter[str] = Counter()
        self.unconverted: Counter[str] = Counter()
        self.kinds = np.zeros(len(Kind), np.int64)
        self.own: Counter[str] = Counter()
        self.signals: Counter[tuple[str, str]] = Counter()
        self.reasons: Counter[str] = Counter()
        self.held_back = 0
        self.newest: int | None = None
        self.times: list[Times] = []
        self.told: list[Told] = []
        self._names: dict[int, str] = {}  # of sources, by their hashes

    def observe(
        self, decoded: Decoded, outcome: Outcome, records: Sequence[Any], appended: NDArray[np.int64]
    ) -> None:
        """Take a batch.

        Args:
            decoded: its valid records.
            outcome: the engine's outcome for them.
            records: all of its records.
            appended: int64[records], their Kafka timestamps, ms UTC.
        """
        self._count(outcome)
        events, columns, status = decoded.events, decoded.columns, outcome.status
        sources = decoded.sources
        appended = appended[decoded.valid]
        if outcome.rejected:
            self._reject(decoded, outcome, records)
        if outcome.ticks or outcome.rules or MISROUTED in status:
            nobodys = np.isin(columns["kind"], (TICK, RULES))
            scored = np.flatnonzero(~nobodys & (status != MISROUTED))
            events = events.taken(scored)
            columns, status, appended = columns[scored], status[scored], appended[scored]
            sources = sources[scored]
        if not events:
            return
        kinds, told = self._counted(events, columns, status, sources, appended)
        self.kinds += kinds[: len(Kind)]
        for kind in (len(Kind) + np.flatnonzero(kinds[len(Kind) :])).tolist():
            of_kind = (columns["kind"] == kind) & (status == ACCEPTED)
            self.own[_kind_of(events[int(of_kind.argmax())])] += int(kinds[kind])
        if len(told):
            self._tell(events.taken(told), columns.take(told))

    def _counted(
        self,
        events: Events,
        columns: NDArray[np.void],
        status: NDArray[np.uint8],
        sources: NDArray[np.uint64],
        appended: NDArray[np.int64],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Take sources and times; returns how many accepted records each kind has, and those of kinds that tell more."""
        n = len(columns)
        happened, accepted = np.empty(n, np.int64), np.empty(n, np.bool_)
        kinds, told, numbers = np.empty(kernel.KINDS, np.int64), np.empty(n, np.int64), np.empty(2, np.int64)
        hashes = np.empty(kernel.MOST_SOURCES, np.uint64)
        firsts, counts = (np.empty(kernel.MOST_SOURCES, np.int64) for _ in range(2))
        known = kernel.count(
            columns,
            status,
            sources,
            _TELLING,
            happened,
            accepted,
            kinds,
            told,
            hashes,
            firsts,
            counts,
            numbers,
        )
        if known < 0:
            _, firsts, counts = np.unique(sources, return_index=True, return_counts=True)
            # In order of appearance, because only the first ones have a count of their own.
            order = np.argsort(firsts)
            firsts, counts = firsts[order], counts[order]
        else:
            firsts, counts = firsts[:known], counts[:known]
        hashes = sources[firsts].tolist()
        for first, hashed, count in zip(firsts.tolist(), hashes, counts.tolist(), strict=True):
            # To ask an event for its source means to decode all of it.
            name = self._names.get(hashed)
            if name is None:
                name = _told_apart(self.sources, events[first].source)
                if len(self._names) < _MOST_SOURCES:
                    self._names[hashed] = name
            self.sources[name] += count
        self.times.append(Times(appended, happened, accepted))
        newest = int(numbers[1])
        if newest != kernel.NO_TIME:
            self.newest = newest if self.newest is None else max(self.newest, newest)
        return kinds, told[: numbers[0]]

    def _count(self, outcome: Outcome) -> None:
        late = sum(rejection.reason == TOO_LATE for rejection in outcome.rejected)
        self.outcomes["accepted"] += outcome.accepted
        self.outcomes["duplicate"] += outcome.duplicates
        self.outcomes["late"] += late
        self.outcomes["rejected"] += len(outcome.rejected) - late
        self.outcomes["tick"] += outcome.ticks
        self.outcomes["rules"] += outcome.rules
        self.outcomes["erased"] += outcome.erased
        self.outcomes["erasure"] += outcome.erasures
        self.outcomes["misrouted"] += len(outcome.misrouted)
        for each in outcome.misrouted:
            self.misrouted[_told_apart(self.misrouted, each.source)] += 1
        for source in outcome.unknown_actions:
            self.unknown_actions[_told_apart(self.unknown_actions, source)] += 1
        for currency in outcome.unconverted:
            self.unconverted[_told_apart(self.unconverted, currency)] += 1
        self.held_back += outcome.held_back
        self.signals.update((signal.change, signal.level) for signal in outcome.signals)
        self.reasons.update(
            s.reason for s in outcome.signals if s.change == "raised" and s.reason is not None
        )

    def refuse(self, source: str, reason: str) -> None:
        """Count a misrouted record as rejected."""
        self.misrouted[_told_apart(self.misrouted, source)] -= 1
        self.outcomes["misrouted"] -= 1
        self.outcomes["rejected"] += 1
        self._count_rejected(reason, source)

    def _count_rejected(self, reason: str, source: str | None) -> None:
        name = source if source is None else source[:SOURCE_LENGTH]
        if len(self.rejected) >= _MOST_SOURCES and (reason, name) not in self.rejected:
            name = OTHER
        self.rejected[reason, name] += 1

    def skip(self, reason: str) -> None:
        """Count a record that could not be read as rejected."""
        self.outcomes["rejected"] += 1
        self.rejected[reason, None] += 1

    def _reject(self, decoded: Decoded, outcome: Outcome, records: Sequence[Any]) -> None:
        for rejection in outcome.rejected:
            # Late records and those from the future were valid until they were compared with the partition's clock.
            place = int(np.searchsorted(decoded.valid, rejection.index))
            if place < len(decoded.valid) and decoded.valid[place] == rejection.index:
                source = decoded.events[place].source
            elif rejection.reason in PASSED_OVER:
                source = None  # the source may be what fails to process
            else:
                source = _source_of(records[rejection.index])
            self._count_rejected(rejection.reason, source)

    def _tell(self, events: Events, columns: NDArray[np.void]) -> None:
        channels, waited = np.empty(len(events), np.int64), np.empty(len(events), np.bool_)
        others = np.arange(len(events))
        if (fields := events.fields) is not None:
            # To make the events takes a microsecond each.
            whole = fields.whole[events.rows]
            rows, others = events.rows[whole], others[~whole]
            text = fields.text
            channels[whole] = [
                _CHANNEL_OF[text[begin:end]] for begin, end in fields.spans[rows, NUMBER["channel"]].tolist()
            ]
            waited[whole] = fields.members[rows] & np.uint64(1 << NUMBER["wait_s"]) != 0
        for i in others.tolist():
            data = events[i].data
            channels[i], waited[i] = _CHANNEL[data.channel], data.wait_s is not None
        self.told.append(Told(columns, channels, waited))


def _kind_of(event: Any) -> str:
    """The name of an event's kind."""
    return str(event.__struct_config__.tag).split(".")[2]


def _told_apart(counter: Counter[str], source: str) -> str:
    """The name under which a source is counted: its beginning, or `other` for one too many."""
    name = source[:SOURCE_LENGTH]
    return name if name in counter or len(counter) < _MOST_SOURCES else OTHER


def _source_of(record: Any) -> str | None:
    """The source of a record that cannot be used, where it can be read."""
    for name, value in record.headers:
        if name == "ce_source" and value is not None:
            return str(value, "utf-8", "replace")
    return read_source(record.value)

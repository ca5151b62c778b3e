"""The measurements of this process, over all of its partitions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels import measures as kernel
from cxstream.kernels.layout import ABANDONED, RESOLVED, UNRESOLVED
from cxstream.logs.printable import printable
from cxstream.model.enumerations import CHANNELS
from cxstream.model.kinds import Kind
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.failing import SOUND
from cxstream.worker.metrics.buckets import Buckets
from cxstream.worker.metrics.definitions import (
    CONTACT_RESULTS,
    FRESHNESS,
    HISTORY_SECONDS,
    METRICS,
    MOST_OWN_KINDS,
    NPS,
)
from cxstream.worker.metrics.tally import OTHER, SOURCE_LENGTH, FlushTally, Times, Told

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PROMOTER, _PASSIVE = 9, 7
_MOST_CURRENCIES = 20
# A source may send any finite number, and a huge one would make a sum infinite forever.
_LONGEST_WAIT = 86_400.0


class Sources:
    """Names of sources as label values: the first ones by name, the rest as `other`.

    Args:
        most: how many have a label of their own.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def name(self, source: str | None) -> str:
        """The label value; `unknown` for a source that cannot be read, `other` for one too many."""
        if source is None:
            return "unknown"
        name = printable(source[:SOURCE_LENGTH])
        if name not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(name)
        return name


def _buckets(name: str) -> Buckets:
    return Buckets(METRICS[name].buckets)


def _by_channel(name: str) -> dict[str, Buckets]:
    return {channel: _buckets(name) for channel in CHANNELS}


class Measures:
    """Histograms, and the counters that have no partition; names as in `cxstream.worker.metrics.definitions`.

    Written by the event loop, read by the thread that answers Prometheus.

    Args:
        sources: how many sources have a label of their own.
    """

    def __init__(self, sources: int = 50) -> None:
        self._sources = Sources(sources)
        self.rejected: Counter[tuple[str, str]] = Counter()
        self.sources: Counter[str] = Counter()
        self.misrouted: Counter[str] = Counter()
        self.unknown_actions: Counter[str] = Counter()
        self._currencies = Sources(_MOST_CURRENCIES)
        self.unconverted: Counter[str] = Counter()
        self.kinds = np.zeros(len(Kind), np.int64)
        self.own_kinds: Counter[str] = Counter()
        self.signals: Counter[tuple[str, str]] = Counter()
        self.reasons: Counter[str] = Counter()
        self.held_back = 0
        self.cards = 0
        self.scored_rows = self.scored_bytes = 0
        self.commit_delay = {each: _buckets("cxstream_commit_delay_seconds") for each in FRESHNESS}
        self.event_delay = _buckets("cxstream_event_delay_seconds")
        self.nps = np.zeros((len(CHANNELS), len(NPS)), np.int64)
        self.contacts = np.zeros((len(CHANNELS), len(CONTACT_RESULTS)), np.int64)
        self.csat = _by_channel("cxstream_csat_score")
        self.ces = _by_channel("cxstream_ces_score")
        self.waits = _by_channel("cxstream_wait_seconds")
        self.batch = _buckets("cxstream_batch_records")
        self.decode = _buckets("cxstream_decode_seconds")
        self.kernel = _buckets("cxstream_kernel_seconds")
        self.flush_records = _buckets("cxstream_flush_records")
        self.flush = _buckets("cxstream_flush_seconds")
        self.transaction = _buckets("cxstream_transaction_seconds")
        self.snapshot = _buckets("cxstream_snapshot_seconds")
        self.recovery = _buckets("cxstream_recovery_seconds")

    def add(self, tally: FlushTally, now_ms: float) -> None:
        """Count committed records.

        Args:
            tally: of the records.
            now_ms: when they were committed, ms UTC.
        """
        for (reason, source), n in tally.rejected.items():
            self.rejected[reason, self._sources.name(source)] += n
        for source, n in tally.sources.items():
            self.sources[self._sources.name(source)] += n
        for source, n in tally.misrouted.items():
            self.misrouted[self._sources.name(source)] += n
        for source, n in tally.unknown_actions.items():
            self.unknown_actions[self._sources.name(source)] += n
        for currency, n in tally.unconverted.items():
            self.unconverted[self._currencies.name(currency)] += n
        self.kinds += tally.kinds
        for kind, n in tally.own.items():
            known = kind in self.own_kinds or len(self.own_kinds) < MOST_OWN_KINDS
            self.own_kinds[kind if known else OTHER] += n
        self.signals.update(tally.signals)
        self.reasons.update(tally.reasons)
        self.held_back += tally.held_back
        for times in tally.times:
            self._delay(times, now_ms)
        if tally.told:
            self._tell(Told(*map(np.concatenate, zip(*tally.told, strict=True))))

    def _delay(self, times: Times, now_ms: float) -> None:
        live, history = self.commit_delay["live"], self.commit_delay["history"]
        counts, sums = np.zeros((2, len(live.counts)), np.int64), np.zeros(3)
        event_counts = np.zeros_like(self.event_delay.counts)
        kernel.delays(
            *times,
            now_ms,
            round(HISTORY_SECONDS * 1000),
            live.upper,
            counts,
            self.event_delay.upper,
            event_counts,
            sums,
        )
        added = (counts[0], counts[1], event_counts)
        for buckets, numbers, total in zip(
            (live, history, self.event_delay), added, sums.tolist(), strict=True
        ):
            buckets.add(numbers, total)

    def _tell(self, told: Told) -> None:
        kinds, values, channels = told.columns["kind"], told.columns["a"], told.channels
        nps = kinds == Kind.survey_nps
        # Columns in the order of NPS: promoter, passive, detractor.
        answer = np.where(values >= _PROMOTER, 0, np.where(values >= _PASSIVE, 1, 2))
        np.add.at(self.nps, (channels[nps], answer[nps]), 1)
        contact = kinds == Kind.contact
        np.add.at(self.contacts, (channels[contact], _results(told.columns["flags"][contact])), 1)
        waits = np.minimum(values, _LONGEST_WAIT)
        for chosen, numbers, by_channel in (
            (kinds == Kind.survey_csat, values, self.csat),
            (kinds == Kind.survey_ces, values, self.ces),
            ((contact | (kinds == Kind.queue)) & told.waited, waits, self.waits),
        ):
            for channel in np.unique(channels[chosen]).tolist():
                by_channel[CHANNELS[channel]].observe_all(numbers[chosen & (channels == channel)])


def compile_measures() -> None:
    """Compile the kernels that count, or load them from the cache, so that the first flush does not wait for it."""
    batch = Records(SOUND, range(len(SOUND)))
    engine = Engine(ScoringParams(), {})
    decoded, tally = engine.read(batch), FlushTally()
    tally.observe(decoded, engine.score(decoded, batch), SOUND, np.zeros(len(SOUND), np.int64))
    Measures().add(tally, 0.0)


def _results(flags: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Index in CONTACT_RESULTS: resolved, unresolved, abandoned, unknown."""
    found = [flags & RESOLVED != 0, flags & UNRESOLVED != 0, flags & ABANDONED != 0]
    return np.select(found, [0, 1, 2], 3)

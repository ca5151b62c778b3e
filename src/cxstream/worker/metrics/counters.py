"""What a partition counts while it works: plain numbers that metrics and status pages read."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cxstream.model.outputs import SIGNAL_TOPICS
from cxstream.topology import SCORES, SNAPSHOTS
from cxstream.worker.metrics.process import Measures

if TYPE_CHECKING:
    from cxstream.worker.metrics.tally import FlushTally


class Scored(Protocol):
    """What a transaction wrote to cx.scored.

    Attributes:
        rows: accepted touchpoints.
    """

    rows: int

    @property
    def held_bytes(self) -> int:
        """Size of the records."""


class Committed(Protocol):
    """The counted contents of a transaction.

    Attributes:
        records: source records that the results follow from.
        tally: counts of these records.
        scored: rows and bytes for cx.scored.
    """

    records: int
    tally: FlushTally

    @property
    def scored(self) -> Scored:
        """Rows and bytes for cx.scored."""

    def count(self, topic: str) -> int:
        """How many records it wrote to a topic, by its name in the contract."""


@dataclass(slots=True)
class Counters:
    """Totals of one partition since this worker was first given it; those of records and results when committed.

    Attributes:
        measures: what is measured over all partitions.
        outcomes: records by outcome: accepted, duplicate, late, rejected, tick, misrouted.
        rejected: records rejected, by reason.
        signals: signals committed, by topic.
        flushes: transactions of results committed.
        aborted: ... and those that failed.
        snapshots: snapshots committed.
        unsaved: snapshots whose own transaction failed.
        snapshot_rows: rows in these snapshots.
        replayed: records replayed without output after a restore.
        followed: records applied to a standby replica while another worker owned the partition.
        restores: times the state was built from Kafka.
        refused: snapshots that were not used, by `SnapshotError.reason`.
        lost: source offsets that were deleted before they were read, and were skipped.
        failures: times the partition had to restart.
        fenced: times another worker claimed the partition.
        committed: offset that the group has committed; None if it is not known.
        committed_at: Unix time of the last commit; None before the first.
        saved_at: Unix time of the last snapshot committed; None before the first.
        compared: the rules that were last compared with those of the settings.
        newest: event time of the newest accepted touchpoint, ms UTC; None before the first.
    """

    measures: Measures = field(default_factory=Measures)
    outcomes: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)
    flushes: int = 0
    aborted: int = 0
    snapshots: int = 0
    unsaved: int = 0
    snapshot_rows: int = 0
    replayed: int = 0
    followed: int = 0
    restores: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    failures: int = 0
    fenced: int = 0
    committed: int | None = None
    committed_at: float | None = None
    saved_at: float | None = None
    newest: int | None = None
    compared: str = ""
    _told: str = ""

    @property
    def events(self) -> int:
        """Records committed, with any outcome."""
        return self.outcomes.total()

    @property
    def accepted(self) -> int:
        """Records that changed the state."""
        return self.outcomes["accepted"]

    @property
    def ticks(self) -> int:
        """cx.tick.v1 records."""
        return self.outcomes["tick"]

    def count_refusal(self, reason: str) -> None:
        """Count a snapshot that was not used, by reason; "" if it was used."""
        if reason:
            self.refused[reason] += 1

    def is_news(self, problem: str) -> bool:
        """Whether this problem of the snapshot is new since the last call: retries would log it again."""
        news, self._told = problem != self._told, problem
        return news

    def save(self, rows: int) -> None:
        """Add a snapshot of so many rows that was committed."""
        self.snapshots += 1
        self.snapshot_rows += rows
        self.saved_at = time.time()

    def commit(self, outbox: Committed, offset: int) -> None:
        """Add what a transaction committed.

        Args:
            outbox: what it wrote.
            offset: the source offset it committed.
        """
        now = time.time()
        tally = outbox.tally
        self.outcomes.update(tally.outcomes)
        for (reason, _), n in tally.rejected.items():
            self.rejected[reason] += n
        self.flushes += 1
        for topic in SIGNAL_TOPICS:
            self.signals[topic] += outbox.count(topic)
        if outbox.count(SNAPSHOTS.contract):
            self.save(outbox.count(SNAPSHOTS.contract))
        self.committed, self.committed_at = offset, now
        if tally.newest is not None:
            self.newest = tally.newest if self.newest is None else max(self.newest, tally.newest)
        self.measures.cards += outbox.count(SCORES.contract)
        self.measures.scored_rows += outbox.scored.rows
        self.measures.scored_bytes += outbox.scored.held_bytes
        self.measures.flush_records.observe(outbox.records)
        self.measures.add(tally, now * 1000)

"""What a partition counts while it works: plain numbers that metrics and status pages read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxstream.scoring.engine import Outcome


@dataclass(slots=True)
class Counters:
    """Totals of one partition since this worker was first given it.

    Attributes:
        events: records applied, whatever became of them.
        accepted: records that changed the state.
        duplicates: records that were known already.
        ticks: cx.tick.v1 records.
        held_back: raises that wait for their cooldown.
        rejected: records rejected, by reason.
        signals: signals committed, by topic.
        cards: score cards committed.
        flushes: transactions committed.
        flush_seconds: time those took in all.
        snapshots: snapshots committed.
        snapshot_rows: rows those held in all.
        replayed: records applied a second time, muted, after a restore.
        followed: records applied to a warm copy while another worker owned the partition.
        restores: times the state was built from Kafka.
        lost: source offsets that were gone before they were read, and were passed over.
        failures: times the partition had to start over.
    """

    events: int = 0
    accepted: int = 0
    duplicates: int = 0
    ticks: int = 0
    held_back: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)
    cards: int = 0
    flushes: int = 0
    flush_seconds: float = 0.0
    snapshots: int = 0
    snapshot_rows: int = 0
    replayed: int = 0
    followed: int = 0
    restores: int = 0
    lost: int = 0
    failures: int = 0

    def count(self, outcome: Outcome, records: int) -> None:
        """Add what became of a batch of `records` records."""
        self.events += records
        self.accepted += outcome.accepted
        self.duplicates += outcome.duplicates
        self.ticks += outcome.ticks
        self.held_back += outcome.held_back
        self.rejected.update(rejection.reason for rejection in outcome.rejected)

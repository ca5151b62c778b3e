"""What a replay came to, counted while it runs and shown as a table at its end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cxstream.files.merged import MergedChunk
from cxstream.logs.counted import counted
from cxstream.model.enumerations import LEVELS
from cxstream.model.parameters import ScoringParams
from cxstream.model.rfc3339 import rfc3339
from cxstream.replay.order import Order
from cxstream.scoring.codec.decode import INVALID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table

    from cxstream.files.readers import Chunk
    from cxstream.model.enumerations import Level
    from cxstream.scoring.codec.decode import Rejected
    from cxstream.scoring.engine import Outcome


@dataclass(slots=True)
class InputTally:
    """Counts of one input.

    Attributes:
        records: lines read.
        rejected: by reason.
        invalid: the invalid ones by field.
        messages: what is wrong with the first invalid record of each field.
    """

    records: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    invalid: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)

    def reject(self, rejected: Rejected) -> None:
        """Count a record that was rejected."""
        self.rejected[rejected.reason] += 1
        if rejected.reason == INVALID:
            self.invalid[rejected.field] += 1
            self.messages.setdefault(rejected.field, rejected.message)


@dataclass(slots=True)
class Tally:
    """Counts of a replay.

    Attributes:
        records: lines read, of whatever fate.
        accepted: events that counted.
        duplicates: events that had been accepted before.
        ticks: records that let time pass.
        changes: changes of the experience, which scoring ignores.
        held_back: raises that began to wait for their cooldown.
        rejected: by reason.
        inputs: counts of each input.
        order: what the order of the records did.
        limit: ms UTC, the latest event time that is not from the future; None for no limit.
        signals: by change; friction signals as `friction`.
        leading: raised signals by their leading reason.
        levels: customers by risk level.
        seconds: how long it took.
    """

    records: int = 0
    accepted: int = 0
    duplicates: int = 0
    ticks: int = 0
    changes: int = 0
    held_back: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)
    leading: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    inputs: dict[Path, InputTally] = field(default_factory=dict)
    order: Order = field(default_factory=lambda: Order(ScoringParams().window_days))
    limit: int | None = None

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.records / self.seconds if self.seconds else 0.0

    def add(self, outcome: Outcome, records: int) -> None:
        """Count a batch."""
        self.records += records
        self.accepted += outcome.accepted
        self.duplicates += outcome.duplicates
        self.ticks += outcome.ticks
        self.held_back += outcome.held_back
        self.rejected.update(rejected.reason for rejected in outcome.rejected)
        for signal in outcome.signals:
            self.signals[signal.change] += 1
            if signal.change == "raised" and signal.reason is not None:
                self.leading[signal.reason] += 1

    def add_places(self, outcome: Outcome, chunk: Chunk) -> None:
        """Count a batch by the inputs of its records, and follow its order."""
        if isinstance(chunk, MergedChunk):
            for path, count in Counter(chunk.paths).items():
                self._input(path).records += count
        else:
            self._input(chunk.path).records += len(chunk.lines)
        for rejected in outcome.rejected:
            self._input(chunk.place(rejected.index)[0]).reject(rejected)
        if outcome.fates is not None:
            self.order.add(outcome.fates, chunk.place)

    def _input(self, path: Path) -> InputTally:
        return self.inputs.setdefault(path, InputTally())

    def add_levels(self, counts: Iterable[Mapping[Level, int]]) -> None:
        """Count customers; their numbers by risk level."""
        for each in counts:
            self.levels.update(each)

    def line(self) -> str:
        """The result in one line."""
        return (
            f"{counted(self.signals.total(), 'signal')}, {counted(self.levels.total(), 'score card')},"
            f" {self.rejected.total():,} rejected of {counted(self.records, 'record')}"
        )

    def table(self) -> RenderableType:
        """All of it, as a table."""
        from rich.table import Table

        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold")
        table.add_column()
        table.add_column(justify="right")
        for title, rows in self._sections():
            for i, (name, count) in enumerate(rows):
                table.add_row(title if i == 0 else "", name, f"{count:,}")
            if title == "rejected":
                self._add_times(table)
        table.add_row("time", "seconds", f"{self.seconds:,.1f}")
        table.add_row("", "records/s", f"{self.rate:,.0f}")
        return table

    def _add_times(self, table: Table) -> None:
        order = self.order
        for i, (name, ms) in enumerate((("first", order.first), ("last", order.last), ("limit", self.limit))):
            table.add_row("event times" if i == 0 else "", name, "none" if ms is None else rfc3339(ms))
        table.add_row("", "out of order", f"{order.behind:,}")

    def _sections(self) -> list[tuple[str, list[tuple[str, int]]]]:
        records = [("read", self.records), ("accepted", self.accepted), ("duplicates", self.duplicates)]
        if self.ticks:
            records.append(("ticks", self.ticks))
        if self.changes:
            records.append(("changes", self.changes))
        levels = [(level, self.levels[level]) for level in reversed(LEVELS)]
        named = (
            "raised",
            "worsened",
            "eased",
            "cleared",
            *(["erased"] if self.signals["erased"] else []),
            "friction",
        )
        signals = [(name, self.signals[name]) for name in named]
        return [
            ("records", records),
            ("rejected", self.rejected.most_common() or [("none", 0)]),
            ("signals", [*signals, ("raises suppressed", self.held_back)]),
            ("leading reasons", self.leading.most_common() or [("none", 0)]),
            ("customers", [("all", self.levels.total()), *levels]),
        ]

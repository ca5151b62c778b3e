"""The table on the terminal and the JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from faults.run import as_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from faults.run import Result

HEADINGS = (
    "fault", "runs", "events", "signals", "lost", "repeated", "wrong", "cards wrong", "failed",
    "longest gap s", "recovery s", "died",
)  # fmt: skip


@dataclass(slots=True)
class Row:
    """All runs of one kind.

    Attributes:
        kind: its name.
        results: of its runs.
    """

    kind: str
    results: list[Result]

    @property
    def good(self) -> bool:
        """Every run is as promised."""
        return all(result.good for result in self.results)

    def cells(self) -> list[str]:
        """As HEADINGS has them."""
        verdicts = [result.verdict for result in self.results if result.verdict]
        recoveries = [result.recovery for result in self.results if result.recovery is not None]
        bad = sum(not result.good for result in self.results)
        counts = [
            len(self.results),
            sum(verdict.events for verdict in verdicts),
            sum(verdict.signals for verdict in verdicts),
            sum(verdict.difference.lost for verdict in verdicts),
            sum(verdict.difference.repeated for verdict in verdicts),
            sum(verdict.difference.wrong for verdict in verdicts),
            sum(verdict.cards.lost + verdict.cards.wrong for verdict in verdicts),
        ]
        return [
            self.kind,
            *(f"{count:,}" for count in counts),
            "not here" if all(result.skipped for result in self.results) else f"{bad}",
            f"{max(result.gap for result in self.results):.1f}",
            f"{max(recoveries):.1f}" if recoveries else "-",
            str(sum(len(result.deaths) for result in self.results)),
        ]


def table(rows: Sequence[Row]) -> Table:
    """All kinds."""
    shown = Table(title="Faults: lost, repeated and wrong must be 0")
    for heading in HEADINGS:
        shown.add_column(heading, justify="left" if heading == HEADINGS[0] else "right")
    for row in rows:
        shown.add_row(*row.cells(), style=None if row.good else "bold red")
    return shown


def line(result: Result) -> str:
    """One run, in words."""
    if result.skipped:
        return f"not here: {result.skipped}"
    said = []
    if result.verdict:
        found, cards = result.verdict.difference, result.verdict.cards
        said.append(
            f"{result.verdict.events:,} events, {result.verdict.signals:,} signals, {found.lost} lost, "
            f"{found.repeated} repeated, {found.wrong} wrong, {cards.lost + cards.wrong} cards wrong"
        )
        said += result.verdict.faults
    if result.error:
        said.append(result.error)
    said += result.deaths
    if result.artefacts:
        said.append(f"see {result.artefacts}")
    recovery = "-" if result.recovery is None else f"{result.recovery:.1f}"
    return f"{'; '.join(said)} (gap {result.gap:.1f} s, recovery {recovery} s, {result.seconds:.0f} s in all)"


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write all results as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "good": bool(rows) and all(row.good for row in rows),
        "kinds": [
            {
                **dict(zip(HEADINGS, row.cells(), strict=True)),
                "good": row.good,
                "results": [as_json(each) for each in row.results],
            }
            for row in rows
        ],
    }
    path.write_text(json.dumps(report, indent=1) + "\n")

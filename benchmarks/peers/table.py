"""Medians and spread of measured rates, as ratios to cxstream in the same round."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

OURS = "cxstream"


@dataclass
class Results:
    """What rounds have measured.

    Attributes:
        rates: events a second: {engine: {round: rate}}.
        failed: {engine: the last reason why it has no rate}.
    """

    rates: dict[str, dict[str, float]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, engine: str, number: str, rate: float) -> None:
        """Keep the rate of an engine in a round."""
        self.rates.setdefault(engine, {})[number] = rate

    def ratios(self, engine: str) -> list[float]:
        """How many times as many events cxstream did, in each round in which both have a rate."""
        ours = self.rates.get(OURS, {})
        return [ours[number] / rate for number, rate in self.rates.get(engine, {}).items() if number in ours]


def spread(values: list[float], digits: int) -> str:
    """`median (lowest to highest)`."""
    shown = [f"{each:,.{digits}f}" for each in (median(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def significant(values: list[float]) -> int:
    """Digits after the point so that the median has two or three in all."""
    return 2 if median(values) < 10 else 1 if median(values) < 100 else 0


def markdown(results: Results, rows: list[tuple[str, str, str]]) -> str:
    """The table.

    Args:
        results: of all rounds.
        rows: (engine, title, what it does), in order.
    """
    lines = [
        "| engine | what it does | events/s: median (range) | cxstream does as many times: median (range) | rounds |",
        "|---|---|---|---|---|",
    ]
    for engine, title, does in rows:
        rates = list(results.rates.get(engine, {}).values())
        ratios = results.ratios(engine)
        if rates:
            times = (
                spread(ratios, significant(ratios)) if ratios and engine != OURS else "1" if ratios else "-"
            )
            lines.append(f"| {title} | {does} | {spread(rates, 0)} | {times} | {len(rates)} |")
        else:
            reason = results.failed.get(engine, "not run")
            lines.append(f"| {title} | {does} | not measured: {reason.replace('|', '/')} | - | 0 |")
    return "\n".join(lines)

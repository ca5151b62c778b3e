"""Signals, rejections and score cards a second of processor time, of a stormy stream, and what cx.scored costs: medians.

    python benchmarks/results.py touchpoints.ndjson [--runs 7] [--most-reasons]

The rules raise a signal for nearly every annoyance, and a third of the records is broken in three ways.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from cxstream.model.parameters import ScoringParams
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.engine import Engine, Records, compile_kernels
from cxstream.settings import ACTIONS
from cxstream.worker.ownership.scored_rows import ScoredRows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BATCH = 1900  # 512 KiB of some 270 bytes
_EVENTS = 60_000


def rules(*, most_reasons: bool) -> ScoringParams:
    """Rules under which nearly every annoyance is a signal."""
    params = ScoringParams(
        acute_threshold=1.0,
        acute_rearm=0.9,
        thresholds=(0.03, 0.05, 0.08),
        cooldown_days=0.0001,
        worsened=0.0001,
        worsened_hours=0.0,
    )
    if not most_reasons:
        return params
    # No customer is typical in anything.
    changed = {
        "coefficients": {name: b or 0.4 for name, b in params.coefficients.items()},
        "typical": dict.fromkeys(params.typical, 0.21),
    }
    return params.model_copy(update=changed)


class _Appended(NamedTuple):
    """What cx.scored takes of a record."""

    timestamp: int
    offset: int = 0


class Storm:
    """A stream of which the results are known, each to be written again.

    Attributes:
        engine: after the stream.
        signals: how many signals there were.
    """

    def __init__(self, lines: Sequence[bytes], params: ScoringParams) -> None:
        self.engine = Engine(params, ACTIONS)
        self.engine.scored = True
        self._kept: list[tuple[Any, ...]] = []
        self._write = self.engine._signals  # noqa: SLF001  # only the writing is timed
        self.engine._signals = self._keep  # type: ignore[method-assign]  # noqa: SLF001  # likewise
        for start in range(0, len(lines), _BATCH):
            part = lines[start : start + _BATCH]
            self.engine.process(Records(part, range(start, start + len(part))))
        self.signals = sum(len(rows) for rows, *_ in self._kept)

    def _keep(self, rows: Any, *others: Any) -> Any:
        if len(rows):
            self._kept.append((rows.copy(), *others))
        return self._write(rows, *others)

    def prepare(self) -> None:
        """Forget the events that were made for a signal; that is not timed."""
        self._kept = [(*others, events.taken(range(len(events)))) for *others, events in self._kept]

    def write_signals(self) -> int:
        """Write all signals again; how many."""
        for rows, *others in self._kept:
            self._write(rows.copy(), *others)
        return self.signals

    def write_cards(self) -> int:
        """Write the cards of all customers; how many."""
        return sum(1 for _ in self.engine.cards())


def broken(lines: Sequence[bytes]) -> list[bytes]:
    """Records without a subject, of an unknown channel, or cut off."""
    changes: list[Callable[[bytes], bytes]] = [
        lambda line: line.replace(b'"subject"', b'"subjekt"'),
        lambda line: line.replace(b'"channel":"', b'"channel":"x'),
        lambda line: line[:-1],
    ]
    return [changes[i % len(changes)](line) for i, line in enumerate(lines)]


def refuse(records: Sequence[bytes]) -> int:
    """Decode records that are all rejected; how many."""
    batches = range(0, len(records), _BATCH)
    return sum(len(decode(records[start : start + _BATCH]).rejected) for start in batches)


def score(lines: Sequence[bytes], *, scored: bool) -> int:
    """Read and score a stream, with or without the values of cx.scored; how many events."""
    engine, rows = Engine(ScoringParams(), ACTIONS), ScoredRows()
    engine.scored = scored
    for start in range(0, len(lines), _BATCH):
        part = lines[start : start + _BATCH]
        found = engine.process(Records(part, range(start, start + len(part)))).scored
        if found is not None:
            rows.add(found, [_Appended(0)] * len(part))
    rows.close()
    rows.encode()
    return len(lines)


def timed(work: Callable[[], int], runs: int, prepare: Callable[[], None] = lambda: None) -> str:
    """Microseconds of processor time for each result, and results a second."""
    found = []
    for _ in range(runs):
        prepare()
        begin = time.process_time()
        n = work()
        found.append((time.process_time() - begin) / n)
    return (
        f"{1e6 * median(found):6.2f} us ({1e6 * min(found):.2f} at best), {1 / median(found):9,.0f} a second"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument(
        "--most-reasons", action="store_true", help="signals with all reasons instead of one or two"
    )
    args = parser.parse_args()
    lines = args.file.read_bytes().splitlines()[:_EVENTS]
    compile_kernels()
    storm, bad = Storm(lines, rules(most_reasons=args.most_reasons)), broken(lines[:_BATCH])
    print(f"signal     {timed(storm.write_signals, args.runs, storm.prepare)}, of {storm.signals:,}")
    print(f"card       {timed(storm.write_cards, args.runs)}, of {storm.engine.customers:,}")
    for scored, name in ((False, "event     "), (True, "... scored")):
        print(f"{name} {timed(partial(score, lines, scored=scored), args.runs)}, of {len(lines):,}")
    print(f"rejection  {timed(lambda: refuse(bad), args.runs)}, of {len(bad):,}")


if __name__ == "__main__":
    main()

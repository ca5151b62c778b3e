"""Memory of a million customers with five active panes each, and the time of a sweep over them.

python benchmarks/state.py [--customers 1000000] [--panes 5]
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from cxstream.kernels.layout import EVENT, NONE
from cxstream.model.kinds import Kind
from cxstream.model.params import DAY_MS, ScoringParams
from cxstream.scoring.partition import NO_LIMIT, Partition

MIX = [Kind.page_view, Kind.contact, Kind.error, Kind.purchase, Kind.survey_csat]


class _Subject:
    """What `Partition.apply` reads of an event without a topic."""

    class data:  # noqa: N801
        topic = None

    def __init__(self, subject: str) -> None:
        self.subject = subject


def resident() -> int:
    """Resident bytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--panes", type=int, default=5)
    args = parser.parse_args()

    warm = Partition(ScoringParams())
    warm.apply([_Subject("w")], np.zeros(1, EVENT), np.zeros(1, np.int64), np.full(1, NO_LIMIT))
    warm.settle()
    warm.advance(0, 0, 1)
    before = resident()

    partition = Partition(ScoringParams())
    first_day = 20_000
    batch = 20_000
    started = time.perf_counter()
    offset = 0
    for pane in range(args.panes):
        for begin in range(0, args.customers, batch):
            n = min(batch, args.customers - begin)
            # Made here, so that the names that stay are those that the partition keeps.
            events = [_Subject(f"customer-{i:08d}") for i in range(begin, begin + n)]
            columns = np.zeros(n, EVENT)
            columns["time"] = (first_day + pane * 3) * DAY_MS + np.arange(begin, begin + n) * 80
            columns["kind"] = np.array(MIX)[(np.arange(n) + pane) % len(MIX)]
            columns["a"] = 2 + np.arange(n) % 3
            columns["id"] = np.arange(offset, offset + n)
            columns["topic"] = NONE
            partition.apply(events, columns, np.arange(offset, offset + n), np.full(n, NO_LIMIT))
            partition.settle()
            offset += n
    applied = time.perf_counter() - started
    del events
    taken = resident() - before
    print(f"customers            {partition.customers:>12,}")
    print(f"panes                {partition.panes:>12,}")
    print(f"events/s, kernel side{offset / applied:>12,.0f}")
    print(f"memory taken         {taken / 1e9:>12.3f} GB  (whole process {resident() / 1e9:.3f} GB)")
    for day in range(3):
        started = time.process_time()
        signals = partition.advance((first_day + args.panes * 3 + day) * DAY_MS, 0, offset)
        partition.settle()
        print(
            f"sweep {day + 1}              {time.process_time() - started:>12.3f} s   ({len(signals):,} signals)"
        )


if __name__ == "__main__":
    main()

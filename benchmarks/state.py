"""Memory of a million customers with five active panes each, what of it is for duplicates, and the time of a sweep.

python benchmarks/state.py [--customers 1000000] [--panes 5]
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from cxstream.kernels.layout import CHUNK_TOP, CHUNK_WORDS, LANE_TOP
from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.scoring.state.partition import PartitionState
from population import DAYS_APART, fill

FIRST_DAY = 20_000


def resident() -> int:
    """Resident bytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def remembering(partition: PartitionState) -> int:
    """Bytes of the ids that are remembered, all that stands beside them included."""
    st, top = partition.state, partition.slots.top
    a_customer = (st.memory[:1].nbytes + st.memory_due[:1].nbytes + st.memory_dirty[:1].nbytes) * top
    chunks = int(st.at[CHUNK_TOP]) * CHUNK_WORDS * st.chunks.itemsize
    return a_customer + chunks + int(st.at[LANE_TOP]) * st.lanes[:1].nbytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--panes", type=int, default=5)
    args = parser.parse_args()

    warm = PartitionState(ScoringParams())
    fill(warm, 1, 1, 0)
    warm.advance(DAY_MS, 0, 1)
    before = resident()

    partition = PartitionState(ScoringParams())
    started = time.perf_counter()
    offset = fill(partition, args.customers, args.panes, FIRST_DAY)
    applied = time.perf_counter() - started
    taken = resident() - before
    print(f"customers            {partition.customers:>12,}")
    print(f"panes                {partition.panes:>12,}")
    print(f"events/s, kernel side{offset / applied:>12,.0f}")
    print(f"memory taken         {taken / 1e9:>12.3f} GB  (whole process {resident() / 1e9:.3f} GB)")
    print(f"... for duplicates   {remembering(partition) / 1e9:>12.3f} GB")
    # One midnight at a time: the last events are of the day before the first of them.
    first = FIRST_DAY + (args.panes - 1) * DAYS_APART + 1
    for day in range(3):
        started = time.process_time()
        signals = partition.advance((first + day) * DAY_MS, 0, offset)
        partition.release_slots()
        print(
            f"sweep {day + 1}              {time.process_time() - started:>12.3f} s   ({len(signals):,} signals)"
        )


if __name__ == "__main__":
    main()

"""What comes in: broken, too large, too much; and workers that have the time wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from faults.clock import Clock, require_compiler
from faults.run import Kind
from faults.traffic import RATES, Load, broken

if TYPE_CHECKING:
    from faults.run import Run

NORMAL = Load()
TIMES = 10
_DAY_SECONDS = 86_400
_LONG_BYTES = 10 * 1024 * 1024


async def poison(run: Run) -> None:
    """One record in a hundred is broken, and one of 10 MiB is."""
    await run.moment(2, 5)
    run.traffic.inject(broken(_LONG_BYTES))
    run.over("a broken record of 10 MiB is sent")
    await run.moment(4, 6)
    await run.recovered()


async def load(run: Run) -> None:
    """Ten times the usual, for minutes; and in the middle of it a worker dies."""
    await run.moment(0.3 * run.kind.load.seconds, 0.5 * run.kind.load.seconds)
    slot = run.rng.choice(sorted(run.fleet.workers))
    await run.fleet.kill(slot)
    run.over(f"worker {slot} killed")
    await run.fleet.start(slot)


async def clock(run: Run) -> None:
    """The clock of a worker jumps by a day, forward and back, while it writes ticks."""
    for seconds in run.rng.sample([_DAY_SECONDS, -_DAY_SECONDS], 2):
        slot = run.rng.choice(sorted(run.fleet.workers))
        await run.moment(1, 3)
        run.clocks[slot].set(seconds)
        run.note(f"the clock of worker {slot} jumps by {seconds:+d} s")
        await run.moment(4, 6)
        run.clocks[slot].set(0)
        run.over(f"the clock of worker {slot} is right again")
        await run.recovered()


def _with_clock(run: Run, slot: int) -> dict[str, str]:
    run.clocks[slot] = clock = Clock(run.folder, f"clock-{slot}")
    return {**clock.environment, "CXSTREAM_WORKER__TICK_SECONDS": "0.5"}


KINDS = (
    Kind(
        "clock-jump",
        "the clock of a worker jumps by a day, either way",
        clock,
        load=replace(NORMAL, now=True, rates=replace(RATES, future=True)),
        options=(),
        environment=_with_clock,
        replayed=False,
        needs=require_compiler,
    ),
    Kind(
        "poison",
        "one record in a hundred is broken, and one of 10 MB",
        poison,
        load=replace(NORMAL, rates=replace(RATES, broken=0.01)),
    ),
    Kind(
        "load",
        "ten times the usual for five minutes",
        load,
        load=replace(NORMAL, rate=NORMAL.rate * TIMES, seconds=300, customers=20_000),
        drain_seconds=600.0,
    ),
)

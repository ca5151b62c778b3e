"""What comes in: broken, too large, too much; and workers that have the time wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from faults.run import Kind, NotHereError
from faults.traffic import RATES, Load, broken

if TYPE_CHECKING:
    from faults.run import Run

NORMAL = Load()
TIMES = 10
_DAY = "1d"
_LONG_BYTES = 10 * 1024 * 1024
_CLOCK = "faketime-offset"


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
    for offset in run.rng.sample([f"+{_DAY}", f"-{_DAY}"], 2):
        slot = run.rng.choice(sorted(run.fleet.workers))
        await run.moment(1, 3)
        _set_clock(run, slot, offset)
        run.note(f"the clock of worker {slot} jumps: {offset}")
        await run.moment(4, 6)
        _set_clock(run, slot, "+0")
        run.over(f"the clock of worker {slot} is right again")
        await run.recovered()


def _set_clock(run: Run, slot: int, offset: str) -> None:
    file = run.folder / f"{_CLOCK}-{slot}"
    scratch = file.with_suffix(".new")
    scratch.write_text(offset + "\n")
    scratch.replace(file)


def _faked(run: Run, slot: int) -> dict[str, str]:
    _set_clock(run, slot, "+0")
    return {
        "LD_PRELOAD": str(_library()),
        "FAKETIME_TIMESTAMP_FILE": str(run.folder / f"{_CLOCK}-{slot}"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "CXSTREAM_WORKER__TICK_SECONDS": "0.5",
    }


def _library() -> Path:
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))
    if not found:
        raise NotHereError("a worker's clock is moved by libfaketime: apt-get install faketime")
    return found[0]


def _needs_library() -> None:
    _library()


KINDS = (
    Kind(
        "clock-jump",
        "the clock of a worker jumps by a day, either way",
        clock,
        load=replace(NORMAL, now=True, rates=replace(RATES, future=True)),
        options=(),
        environment=_faked,
        replayed=False,
        needs=_needs_library,
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

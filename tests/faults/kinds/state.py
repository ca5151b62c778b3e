"""Saved state that is damaged, and topics that change hands."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

from cxstream.scoring.state.marker import MARKER_KEY
from faults import spoiled
from faults.fleet import READY_SECONDS, Said
from faults.run import PARTITIONS, Kind

if TYPE_CHECKING:
    from faults.fleet import Worker
    from faults.run import Run

_SAVED_SECONDS = 60.0
_LOOK_SECONDS = 0.3
_ROUNDS = 3
_CONTROL_KEY = "only for what is broken here on purpose"


# --- damaged snapshots


async def damaged_snapshot(run: Run) -> None:
    """Saved state is altered while nobody works, so that it must be noticed, or while somebody does."""
    for number in range(_ROUNDS):
        states = await _saved(run)
        before = {worker.log.name: len(worker.said()) for worker in run.fleet.started}
        everybody = number == 0 or run.rng.random() < 0.6
        if everybody:
            for slot in sorted(run.fleet.workers):
                await run.fleet.kill(slot)
            run.note("all workers killed")
            states = await spoiled.read(run.settings, PARTITIONS)
            chosen = await _spoil(run, states)
            if run.rng.random() < 0.5:
                slot = run.rng.choice([0, 1])
                run.fleet.launch(slot)
                await run.moment(1, 8)
                await run.fleet.kill(slot)
                run.note(f"worker {slot} killed while it starts")
            run.over("workers are started again")
            await run.fleet.start(0, 1)
        else:
            chosen = await _spoil(run, states)
            slot = run.rng.choice(sorted(run.fleet.workers))
            await run.fleet.kill(slot)
            run.over(f"worker {slot} killed")
            await run.fleet.start(slot)
        await run.recovered()
        _require_told(run.fleet.started, before, set(chosen), all_noticed=everybody)
        await run.moment(1, 2)


async def _saved(run: Run) -> dict[int, spoiled.State]:
    """What is saved, once there is something of every partition."""
    async with asyncio.timeout(_SAVED_SECONDS):
        while True:
            states = await spoiled.read(run.settings, PARTITIONS)
            if all(MARKER_KEY in state.rows and len(state.rows) > 3 for state in states.values()):
                return states
            await asyncio.sleep(_LOOK_SECONDS)


async def _spoil(run: Run, states: dict[int, spoiled.State]) -> dict[int, str]:
    """Spoil the state of some partitions, each in another way; which, and how."""
    good = run.settings.snapshot_secrets()[0]
    chosen: dict[int, str] = {}
    ways = iter(run.rng.sample(sorted(spoiled.WAYS), PARTITIONS))
    for partition in sorted(run.rng.sample(range(PARTITIONS), 4)):
        name = next(ways)
        other = states[(partition + 1) % PARTITIONS]
        secret = run.rng.choice([good, b""])
        shelf = spoiled.Shelf(states[partition], other, good, secret, run.rng)
        await spoiled.write(run.settings, partition, spoiled.WAYS[name](shelf))
        run.note(f"partition {partition}: {name}")
        chosen[partition] = name
    return chosen


def _require_told(
    workers: list[Worker], before: dict[str, int], chosen: set[int], *, all_noticed: bool
) -> None:
    """Each damage is told, once by each worker that meets it, and no other partition is built from the log.

    Raises:
        AssertionError: it is otherwise.
    """
    told: set[int] = set()
    for worker in workers:
        said = worker.said()[before.get(worker.log.name, 0) :]
        times = Counter(partition for partition, what in said if what == Said.REBUILDS)
        if often := {partition: count for partition, count in times.items() if count > 1}:
            raise AssertionError(f"{worker.log.name}: told more than once: {often}")
        told |= set(times)
    if told - chosen:
        raise AssertionError(
            f"partitions {sorted(told - chosen)} were built from the log, and nobody had touched them"
        )
    if all_noticed and chosen - told:
        raise AssertionError(f"the damage of partitions {sorted(chosen - told)} was not noticed")


def _with_key(seed: int) -> dict[str, dict[str, object]]:
    """Every other two seeds have a control key; of three one has warm copies."""
    keyed = {"control": {"key": _CONTROL_KEY}} if seed % 4 >= 2 else {}
    return {**keyed, "worker": {"standby": seed % 3 == 0}}


# --- a second group


async def second_group(run: Run) -> None:
    """A worker of another group is refused, and disturbs nobody, until the topics are taken over on purpose."""
    first = run.settings.worker.group
    second = f"{first}-second"
    for killed in (False, True):
        await run.moment(0.5, 2)
        slot = run.rng.choice(sorted(run.fleet.workers))
        if killed:
            await run.fleet.kill(slot)
        await _refused(run, second, owner=first)
        run.over(f"a second group was refused{f', worker {slot} dead' if killed else ''}")
        if killed:
            await run.fleet.start(slot)
        await run.recovered()
    await _take_over(run, first, second)
    await _refused(run, first, owner=second)
    run.note("the former group is refused")
    slot = run.rng.choice(sorted(run.fleet.workers))
    await run.fleet.kill(slot)
    run.over(f"worker {slot} of the second group killed")
    await run.fleet.start(slot)
    await run.recovered()


async def _refused(run: Run, group: str, *, owner: str) -> None:
    command = [sys.executable, "-m", "cxstream", "worker", "--kafka", run.settings.kafka, "--group", group]
    done = await asyncio.to_thread(
        subprocess.run, [*command, "--web-port", "0", "--metrics-port", "0"],
        capture_output=True, text=True, check=False, timeout=READY_SECONDS,
    )  # fmt: skip
    if done.returncode != 1 or f"belong to group {owner};" not in done.stderr:
        raise AssertionError(f"group {group} was not refused: {done.returncode}, {done.stderr[-500:]}")


async def _take_over(run: Run, first: str, second: str) -> None:
    """Under load, with all workers of the first group at work or one of them hanging; they must end by themselves."""
    former = sorted(run.fleet.workers)
    await run.moment(0.5, 2)
    for slot in former:
        run.fleet.expect_end(slot)
    hanging = run.rng.choice([None, *former])
    if hanging is not None:
        run.fleet.freeze(hanging)
        run.note(f"worker {hanging} hangs")
    command = ["topics", "--kafka", run.settings.kafka, "--take-over", first, "--group", second]
    if run.rng.random() < 0.5:
        await _cut_off(run, command)
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", "cxstream", *command],
        capture_output=True, text=True, check=False, timeout=READY_SECONDS,
    )  # fmt: skip
    if done.returncode or f"group {second} owns the topics" not in done.stdout:
        raise AssertionError(f"not taken over: {done.returncode}, {done.stderr[-500:]}")
    run.note("the topics are taken over")
    run.change_group(second)
    newcomers = [max(former) + 1 + n for n in range(2)]
    for slot in newcomers:
        run.fleet.launch(slot)
    await run.moment(0, 6)
    if hanging is not None:
        run.fleet.thaw(hanging)
        run.note(f"worker {hanging} goes on")
    for slot in former:
        status, said = await run.fleet.ended(slot, READY_SECONDS)
        if status != 1 or f"belong to group {second};" not in said:
            raise AssertionError(f"worker {slot} of the former group ended with {status}: {said[-500:]}")
    run.over("the workers of the former group have ended by themselves")
    for slot in newcomers:
        await run.fleet.ready(slot)
    await run.recovered()


async def _cut_off(run: Run, command: list[str]) -> None:
    """Kill the command somewhere on its way; whoever gives it again must get the rest done."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cxstream", *command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    await run.moment(0.5, 4)
    if process.returncode is None:
        process.kill()
    status = await process.wait()
    run.note(f"a take-over was {'cut off' if status else 'done before it could be cut off'}")


KINDS = (
    Kind("second-group", "another group is refused, and takes the topics over on purpose", second_group),
    Kind(
        "damaged-snapshot",
        "saved state is altered, cut, swapped and made up, while workers die",
        damaged_snapshot,
        settings=_with_key,
    ),
)

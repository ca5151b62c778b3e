"""Workers that die, hang, come and go."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from faults.fleet import Said
from faults.run import PARTITIONS, Kind
from faults.wire import Api

if TYPE_CHECKING:
    from faults.fleet import Worker
    from faults.run import Run

_SESSION_SECONDS = 6.0
_SEEN_SECONDS = 60.0
_LOOK_SECONDS = 0.2


async def kill(run: Run) -> None:
    """SIGKILL at seeded moments; a new worker takes the slot some time later."""
    for _ in range(2):
        await run.moment(1, 4)
        slot = run.rng.choice(sorted(run.fleet.workers))
        await run.fleet.kill(slot)
        run.over(f"worker {slot} killed")
        await run.moment(0, 4)
        await run.fleet.start(slot)
        await run.recovered()


async def _kill_at(run: Run, slot: int, steps: list[tuple[int, int]], *, forward: bool, what: str) -> None:
    """Kill the worker the moment its network has seen certain requests; nothing leaves or reaches it after."""
    await run.links.arm(slot, steps, forward=forward)
    hit = await run.links.fired(slot, _SEEN_SECONDS)
    await run.fleet.kill(slot)
    await run.links.reset(slot)
    if not hit:
        raise TimeoutError(f"worker {slot} did not come to {what} within {_SEEN_SECONDS:.0f} s")
    run.over(f"worker {slot} killed {what}")


# What a flush does, in order, and where it can be cut. EndTxn is the commit.
_CUTS = (
    (Api.END_TXN, False, "before its commit was sent"),
    (Api.END_TXN, True, "before its commit was answered"),
    (Api.TXN_OFFSET_COMMIT, False, "before its offset was sent"),
    (Api.TXN_OFFSET_COMMIT, True, "before its offset was answered"),
    (Api.PRODUCE, True, "before its results were answered"),
)


async def _kill_in_commit(run: Run, cut: tuple[int, bool, str], slot: int) -> None:
    api, forward, what = cut
    await _kill_at(run, slot, [(api, run.rng.randint(2, 12))], forward=forward, what=what)


async def kill_in_commit(run: Run) -> None:
    """SIGKILL between what is flushed and what is committed."""
    for cut in run.rng.sample(_CUTS, 3):
        slot = run.rng.choice(sorted(run.fleet.workers))
        await _kill_in_commit(run, cut, slot)
        await run.fleet.start(slot)
        await run.recovered()


async def kill_of_standby(run: Run) -> None:
    """The same, and the other worker has a warm copy of all that the dead one had, and goes on from it."""
    for cut in run.rng.sample(_CUTS, 3):
        slot, other = run.rng.sample(sorted(run.fleet.workers), 2)
        survivor = run.fleet.workers[other]
        followed = await _followed(run, survivor)
        before = len(survivor.said())
        await _kill_in_commit(run, cut, slot)
        await run.recovered()
        since = dict(reversed(survivor.said()[before:]))
        if cold := {number for number in followed if since.get(number) != Said.KEPT}:
            raise AssertionError(
                f"worker {other} followed partitions {sorted(followed)}, and did not go on from its copies of "
                f"{sorted(cold)}"
            )
        run.note(f"worker {other} went on from its warm copies of partitions {sorted(followed)}")
        await run.fleet.start(slot)
        await run.recovered()


async def _followed(run: Run, worker: Worker) -> set[int]:
    """Wait until a worker has or follows every partition; those that it follows."""
    async with asyncio.timeout(_SEEN_SECONDS):
        while True:
            last = dict(worker.said())
            # Of a partition of which nothing is committed there is nothing to go on from.
            known = len(last) == len(run.watcher.committed) == PARTITIONS
            if known and Said.CLOSED not in last.values():
                return {number for number, what in last.items() if what == Said.FOLLOWED}
            await asyncio.sleep(_LOOK_SECONDS)


async def kill_in_recovery(run: Run) -> None:
    """SIGKILL while a partition is claimed and its state restored, again and again."""
    await run.moment(2, 4)
    await run.fleet.kill(0)
    run.note("worker 0 killed")
    for _ in range(3):
        # The claim, the committed offset, the bounds of the log; then the saved rows and the records after them.
        restoring = [
            (Api.INIT_PRODUCER_ID, run.rng.randint(1, 2)),
            (Api.OFFSET_FETCH, 1),
            (Api.LIST_OFFSETS, 1),
            (Api.FETCH, run.rng.randint(1, 5)),
        ]
        steps = restoring[: run.rng.randint(1, len(restoring))]
        name = Api(steps[-1][0]).name
        run.fleet.launch(0)
        await _kill_at(run, 0, steps, forward=run.rng.random() < 0.5, what=f"in its recovery, at {name}")
    await run.fleet.start(0)
    await run.recovered()


async def kill_in_rebalance(run: Run) -> None:
    """SIGKILL while the group is being shared out anew: of who joins, or of who was there."""
    for _ in range(2):
        await run.moment(0.5, 2)
        newcomer = 2
        victim = run.rng.choice([0, 1, newcomer])
        steps = [(run.rng.choice([Api.JOIN_GROUP, Api.SYNC_GROUP]), 1)]
        forward = run.rng.random() < 0.5
        name = Api(steps[0][0]).name
        await run.links.arm(victim, steps, forward=forward)
        run.fleet.launch(newcomer)
        if not await run.links.fired(victim, _SEEN_SECONDS):
            raise TimeoutError(f"worker {victim} saw no rebalance within {_SEEN_SECONDS:.0f} s")
        await run.fleet.kill(victim)
        await run.links.reset(victim)
        run.over(f"worker {victim} killed in a rebalance, at {name}")
        if victim != newcomer:
            await run.fleet.start(victim)
            await run.fleet.ready(newcomer)
            await run.fleet.stop(newcomer)
        await run.recovered()


async def zombie(run: Run) -> None:
    """SIGSTOP for longer than the session, then SIGCONT: what it was about to commit must not count."""
    for _ in range(2):
        await run.moment(0.5, 2)
        slot = run.rng.choice(sorted(run.fleet.workers))
        in_commit = run.rng.random() < 0.7
        if in_commit:
            # Its commit is on the way, held by the network, and arrives when others have its partitions.
            await run.links.arm(slot, [(Api.END_TXN, run.rng.randint(1, 6))], forward=False)
            if not await run.links.fired(slot, _SEEN_SECONDS):
                raise TimeoutError(f"worker {slot} did not commit within {_SEEN_SECONDS:.0f} s")
        run.fleet.freeze(slot)
        run.note(f"worker {slot} stopped, {'its commit on the way' if in_commit else 'somewhere'}")
        await asyncio.sleep(_SESSION_SECONDS * run.rng.uniform(1.5, 2.5))
        if in_commit:
            await run.links.pass_(slot)
            await run.moment(0, 0.5)
        run.fleet.thaw(slot)
        run.over(f"worker {slot} goes on")
        await run.recovered()


async def nap(run: Run) -> None:
    """SIGSTOP for about as long as the session, so that it is just thrown out, or just not."""
    for _ in range(2):
        await run.moment(0.5, 2)
        slot = run.rng.choice(sorted(run.fleet.workers))
        run.fleet.freeze(slot)
        seconds = _SESSION_SECONDS * run.rng.uniform(0.7, 1.2)
        run.note(f"worker {slot} stopped for {seconds:.1f} s")
        await asyncio.sleep(seconds)
        run.fleet.thaw(slot)
        run.over(f"worker {slot} goes on")
        await run.recovered()


async def scale(run: Run) -> None:
    """From one worker to three and back to one."""
    for slot in (1, 2):
        await run.moment(0.5, 3)
        run.note(f"worker {slot} joins")
        await run.fleet.start(slot)
    await run.moment(1, 4)
    for slot in run.rng.sample([0, 1, 2], 2):
        await run.fleet.stop(slot)
        run.over(f"worker {slot} has left")
        await run.moment(0.5, 3)
    await run.recovered()


async def roll(run: Run) -> None:
    """Every worker is stopped in good order and started again, one after the other."""
    for slot in sorted(run.fleet.workers):
        await run.moment(0.5, 2)
        await run.fleet.stop(slot)
        run.over(f"worker {slot} has left")
        await run.fleet.start(slot)
        run.note(f"worker {slot} is back")
    await run.recovered()


KINDS = (
    Kind("worker-kill", "a worker dies (SIGKILL) at any moment", kill),
    Kind("kill-in-commit", "a worker dies between flush and commit", kill_in_commit),
    Kind(
        "kill-of-standby",
        "the same, and another goes on from its warm copies",
        kill_of_standby,
        options=("--no-ticker", "--standby"),
    ),
    Kind("kill-in-recovery", "a worker dies while it claims and restores", kill_in_recovery),
    Kind("kill-in-rebalance", "a worker dies in a rebalance", kill_in_rebalance),
    Kind("zombie", "a worker hangs (SIGSTOP) longer than its session, and wakes up", zombie),
    Kind("nap", "a worker hangs for about its session", nap),
    Kind("scale", "from 1 worker to 3 and back to 1", scale, workers=(0,)),
    Kind("rolling-restart", "each worker is stopped and started again", roll, workers=(0, 1, 2)),
)

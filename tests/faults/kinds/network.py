"""The network between a worker and the brokers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faults.run import Kind

if TYPE_CHECKING:
    from faults.run import Run


async def _bad(run: Run, what: str, mode: str, least: float, most: float) -> None:
    """Twice: one worker loses its network to all brokers, or to some."""
    for _ in range(2):
        await run.moment(1, 3)
        slot = run.rng.choice(sorted(run.fleet.workers))
        nodes = run.rng.choice([None, None, run.rng.sample(sorted(run.cluster.nodes), 1)])
        await run.links.shape(slot, mode, nodes=nodes)
        run.note(f"worker {slot}: {what}, to {nodes or 'all brokers'}")
        await run.moment(least, most)
        await run.links.pass_(slot)
        run.over(f"worker {slot} has its network again")
        await run.recovered()


async def cut(run: Run) -> None:
    """Connections are reset and refused."""
    await _bad(run, "cut", "cut", 1, 10)


async def blackhole(run: Run) -> None:
    """Nothing arrives, nothing is reset; what was sent arrives late."""
    await _bad(run, "nothing arrives", "hold", 2, 14)


async def latency(run: Run) -> None:
    """Everything takes long, each way, for all workers."""
    for slot in sorted(run.fleet.workers):
        seconds = run.rng.uniform(0.1, 0.5)
        await run.links.shape(slot, latency=seconds)
        run.note(f"worker {slot}: {seconds * 1000:.0f} ms each way")
    await run.moment(10, 14)
    for slot in sorted(run.fleet.workers):
        await run.links.pass_(slot)
    run.over("the network is quick again")
    await run.recovered()


async def slow(run: Run) -> None:
    """A thin link: one worker gets and sends few bytes a second."""
    slot = run.rng.choice(sorted(run.fleet.workers))
    rate = run.rng.uniform(20_000, 80_000)
    await run.moment(0.5, 2)
    await run.links.shape(slot, rate=rate)
    run.note(f"worker {slot}: {rate / 1000:.0f} kB/s each way")
    await run.moment(10, 14)
    await run.links.pass_(slot)
    run.over("the network is wide again")
    await run.recovered()


KINDS = (
    Kind("network-cut", "a worker's connections are reset and refused", cut),
    Kind("network-hold", "a worker's packets are lost, its connections stay", blackhole),
    Kind("network-latency", "everything between workers and brokers takes long", latency),
    Kind("network-slow", "a worker's link is thin", slow),
)

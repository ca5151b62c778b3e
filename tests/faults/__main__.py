"""`python -m faults`: which kinds, how often, and whether all of it held."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from cxstream.scoring.engine import compile_kernels
from faults import report
from faults.cluster import Cluster
from faults.errors import NotHereError
from faults.kinds import KINDS
from faults.links import Links
from faults.run import Result, Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faults.run import Kind

_INTERRUPTED = 130
_PIPE_COLUMNS = 160


@click.command(epilog="Exit status 0 only if every run of every kind was as promised.")
@click.option("--list", "listing", is_flag=True, help="Say which kinds there are.")
@click.option("--only", metavar="KIND[,KIND...]", help="These kinds alone.")
@click.option("--skip", metavar="KIND[,KIND...]", help="Not these kinds.")
@click.option("--runs", type=click.IntRange(1), default=5, show_default=True, help="Runs of each kind.")
@click.option(
    "--seed", type=int, default=1, show_default=True, help="Of the first run; the next has the next."
)
@click.option(
    "--seconds", type=click.FloatRange(1), help="Least time that traffic flows in a run. Default: the kind's."
)
@click.option(
    "--load-seconds",
    type=click.FloatRange(1),
    default=300,
    show_default=True,
    help="The same, of the kind 'load'.",
)
@click.option(
    "--rate",
    type=click.FloatRange(1),
    help="Records a second, where the computer has not much to give. Default: the kind's.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("out/faults"), show_default=True,
    help="Folder for report.json, and for the logs and topics of runs that failed.",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Keep the logs and topics of runs that did not fail, too.")
def main(
    listing: bool, only: str | None, skip: str | None, runs: int, seed: int, seconds: float | None,
    load_seconds: float, rate: float | None, out: Path, keep: bool,
) -> None:  # fmt: skip
    """Break everything around the workers, and check that nothing is lost, repeated or wrong.

    Starts three brokers, workers and a proxy between them on this computer, and ends all of it.

    \b
    Example:
      make faults ARGS="--only zombie,leader-kill --runs 5"
      make faults ARGS="--only worker-kill --seed 7 --runs 1 --keep"
    """
    chosen = _chosen(only, skip)
    if listing:
        for kind in chosen:
            click.echo(f"{kind.name:30}{kind.what}")
        return
    chosen = [_loaded(kind, load_seconds if kind.name == "load" else seconds, rate) for kind in chosen]
    for name in [name for name in os.environ if name.startswith("CXSTREAM_")]:
        del os.environ[name]
    # A pipe has no width: what reads it wants a kind a line, not a table folded at 80 columns.
    console = Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    session = Session(console, runs, seed, out, keep=keep)
    # What breaks here is broken on purpose, and the clients say so at length.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        asyncio.run(_until_told(session, chosen))
    except (KeyboardInterrupt, asyncio.CancelledError):
        session.finish()
        click.echo("interrupted: everything that was started has been ended", err=True)
        raise SystemExit(_INTERRUPTED) from None
    sys.exit(0 if session.finish() else 1)


def _chosen(only: str | None, skip: str | None) -> list[Kind]:
    known = {kind.name: kind for kind in KINDS}
    wanted = only.split(",") if only else list(known)
    unwanted = skip.split(",") if skip else []
    for name in [*wanted, *unwanted]:
        if name not in known:
            raise click.UsageError(f"no kind {name!r}; there are {', '.join(known)}")
    return [known[name] for name in wanted if name not in unwanted]


def _loaded(kind: Kind, seconds: float | None, rate: float | None) -> Kind:
    """A kind with other traffic, where any is asked for."""
    load = kind.load
    return replace(kind, load=replace(load, seconds=seconds or load.seconds, rate=rate or load.rate))


async def _until_told(session: Session, kinds: Sequence[Kind]) -> None:
    task = asyncio.current_task()
    assert task
    # Ctrl-C is asyncio's own; a supervisor's SIGTERM ends everything in the same way.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await session.go(kinds)


@dataclass(slots=True)
class Brokers:
    """A cluster that runs, and the workers' networks."""

    stack: AsyncExitStack
    cluster: Cluster
    links: Links


class Session:
    """All runs of one call.

    Args:
        console: the terminal.
        runs: of each kind.
        seed: of the first.
        out: folder of the report and of what is kept.
        keep: keep what runs leave that did not fail, too.
    """

    def __init__(self, console: Console, runs: int, seed: int, out: Path, *, keep: bool) -> None:
        self._console = console
        self._runs = runs
        self._seed = seed
        self._out = out.absolute()
        self._keep = keep
        self._rows: list[report.Row] = []
        self._brokers: Brokers | None = None

    async def go(self, kinds: Sequence[Kind]) -> None:
        """Run them all, one after the other."""
        scratch = Path(tempfile.mkdtemp(prefix="cxstream-faults-"))
        try:
            # Once, and not in each of the workers of the first run.
            await asyncio.to_thread(compile_kernels)
            for kind in kinds:
                self._rows.append(report.Row(kind.name, []))
                for seed in range(self._seed, self._seed + self._runs):
                    with self._console.status(f"{kind.name}, seed {seed}: {kind.what}"):
                        result = await self._run(kind, seed, scratch)
                    self._rows[-1].results.append(result)
                    self._say(f"{kind.name}, seed {seed}: {report.line(result)}")
                self._console.print(report.table(self._rows[-1:]))
        finally:
            await self._down()
            shutil.rmtree(scratch, ignore_errors=True)

    def finish(self) -> bool:
        """Show the table and write the report; whether all was as promised."""
        rows = [row for row in self._rows if row.results]
        if len(rows) > 1:
            self._console.print(report.table(rows))
        if rows:
            path = self._out / "report.json"
            report.write(path, rows)
            self._say(f"report: {path}")
        return bool(rows) and all(row.good for row in rows)

    async def _run(self, kind: Kind, seed: int, scratch: Path) -> Result:
        folder = scratch / f"{kind.name}-{seed}"
        folder.mkdir()
        try:
            brokers = await self._up(scratch, small_disk=kind.small_disk)
            run = Run(kind, seed, brokers.cluster, brokers.links, folder)
            result = await run.go()
        except NotHereError as error:
            result = Result(kind.name, seed, skipped=str(error))
        except Exception as error:  # noqa: BLE001 - brokers that do not start fail this run, and are tried anew
            result = Result(kind.name, seed, error=f"{type(error).__name__}: {error}")
        failed = not (result.good or result.skipped)
        if self._keep or failed:
            result.artefacts = self._kept(folder)
        if failed:
            # The next run gets brokers that this one has done nothing to.
            await self._down()
        shutil.rmtree(folder, ignore_errors=True)
        return result

    async def _up(self, scratch: Path, *, small_disk: bool) -> Brokers:
        """Brokers in health: those that run, or new ones."""
        now = self._brokers
        if now and (now.cluster.disk is not None) == small_disk:
            await now.links.reset_all()
            if await now.cluster.healthy():
                return now
        await self._down()
        self._say("starting three brokers ...")
        async with AsyncExitStack() as stack:
            folder = Path(tempfile.mkdtemp(prefix="kafka-", dir=scratch))
            cluster = Cluster(folder / "cluster", small_disk=small_disk, say=self._say)
            await stack.enter_async_context(cluster)
            links = await stack.enter_async_context(Links(cluster.ways))
            if not await cluster.healthy():
                raise RuntimeError("the brokers do not find each other")
            self._brokers = Brokers(stack.pop_all(), cluster, links)
        return self._brokers

    async def _down(self) -> None:
        if self._brokers:
            brokers, self._brokers = self._brokers, None
            await brokers.stack.aclose()

    def _kept(self, folder: Path) -> Path:
        """Move a run's folder, and the brokers' logs, to where they stay."""
        place = self._out / folder.name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(folder, place)
        if self._brokers:
            for log in self._brokers.cluster.folder.glob("broker-*/kafka-*.log"):
                shutil.copy(log, place / f"{log.parent.name}-{log.name}")
        return place

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    main(prog_name="python -m faults")

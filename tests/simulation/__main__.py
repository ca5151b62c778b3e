"""Run seeds: `python -m simulation --seeds 0..2000`, or one with all that happens: `--seed 7 --trace`."""

from __future__ import annotations

import itertools
import sys
import time
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from simulation.mutations import MUTATIONS, applied
from simulation.run import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulation.run import Result

_LAST_LINES = 60


class _Seeds(click.ParamType):
    name = "A..B"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> range:
        begin, _, end = str(value).partition("..")
        if not (begin.isdigit() and end.isdigit() and int(begin) < int(end)):
            self.fail(f"{value!r} is no range of seeds like 0..2000 (the end is not part of it)", param, ctx)
        return range(int(begin), int(end))


@click.command()
@click.option("--seed", type=click.IntRange(0), help="Run this one only.")
@click.option("--seeds", type=_Seeds(), help="Run these; the end is not part of it.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="Run one after the other this long.")
@click.option("--trace", is_flag=True, help="Tell everything that happens.")
@click.option(
    "--mutation", metavar="TEXT", help="Break the worker first, in the way whose name has this in it."
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
def main(
    seed: int | None,
    seeds: range | None,
    seconds: float | None,
    trace: bool,
    mutation: str | None,
    quiet: bool,
) -> None:
    """Run workers on a simulated Kafka, a seed at a time; stop at the first that fails.

    \b
    Example:
        python -m simulation --seeds 0..2000
        python -m simulation --seed 7 --trace
        python -m simulation --seconds 60 --mutation "does not fence"
    """
    chosen: Iterable[int] = seeds or (itertools.count() if seconds else range(2000))
    if seed is not None:
        chosen = (seed,)
    if mutation is None:
        failed = _run_all(chosen, seconds, trace=trace, quiet=quiet)
    else:
        found = [m for m in MUTATIONS if mutation in m.name]
        if len(found) != 1:
            raise click.UsageError(
                f"{len(found)} mutations have {mutation!r} in their name; there are:\n" + _names()
            )
        with applied(found[0]):
            failed = _run_all(chosen, seconds, trace=trace, quiet=quiet)
    sys.exit(failed)


def _names() -> str:
    return "\n".join(f"  {mutation.name}" for mutation in MUTATIONS)


def _run_all(seeds: Iterable[int], seconds: float | None, *, trace: bool, quiet: bool) -> bool:
    """Whether one failed; says which, and how to see it again."""
    start, count = time.monotonic(), 0
    columns = (TextColumn("seeds"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    total = len(seeds) if isinstance(seeds, range) else None
    with Progress(*columns, disable=quiet or trace, transient=True) as progress:
        bar = progress.add_task("seeds", total=total)
        for seed in seeds:
            result = run(seed, keep_trace=trace)
            count += 1
            progress.update(bar, advance=1)
            if trace or result.failure:
                progress.stop()
                tell(result, whole=trace)
            if result.failure:
                return True
            if seconds is not None and time.monotonic() - start > seconds:
                break
    click.echo(f"{count} seeds in {time.monotonic() - start:.1f} s, and nothing lost, nothing twice")
    return False


def tell(result: Result, *, whole: bool = False) -> None:
    """What happened, why it failed, and how to see it again."""
    click.echo(f"seed {result.seed}: {result.scenario}")
    lines = result.trace
    if not whole and len(lines) > _LAST_LINES:
        click.echo(f"... {len(lines) - _LAST_LINES} lines before; --trace has them all")
        lines = lines[-_LAST_LINES:]
    for line in lines:
        click.echo(line)
    click.echo(f"digest {result.digest}")
    if result.failure:
        click.echo(f"seed {result.seed} FAILED: {result.failure}")
        click.echo(f"again: {again(result)}")


def again(result: Result) -> str:
    """The command that runs a seed again."""
    return f"make simulation ARGS='--seed {result.seed} --trace'"


if __name__ == "__main__":
    main()

"""`cxstream produce`: send touchpoint files to Kafka."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.files.readers import Chunk
    from cxstream.sender import Sender
    from cxstream.settings import Settings

_READ_BYTES = 4 * 1024 * 1024
# At a rate, records leave this many times a second.
_BEATS = 20
_SHOWN = 5


@dataclass(slots=True)
class _Run:
    """What has been done so far.

    Attributes:
        sender: while there is one.
        read: records read.
        size: bytes of the records that were taken for sending.
        refused: `file:line` of the records that are too long for the topic.
    """

    sender: Sender | None = None
    read: int = 0
    size: int = 0
    refused: list[str] = field(default_factory=list)

    @property
    def confirmed(self) -> int:
        """Records that Kafka has confirmed."""
        return self.sender.acknowledged if self.sender else 0


@click.command("produce")
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Records a second. Default: as fast as it goes."
)
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(config: str | None, inputs: tuple[Path, ...], rate: float | None, kafka: str | None) -> None:
    """Send touchpoint files to cx.touchpoints, keyed by subject, in order.

    Takes JSON (lines or arrays, also packed) and Parquet; `-` reads standard input. Every record is sent as it is,
    broken ones too, for the worker to reject: a record whose subject cannot be read goes to partition 0
    without a key. Exit status 1 when a record is too long for the topic; the others are sent.

    \b
    Example:
      cxstream produce touchpoints.ndjson.zst
      zcat *.gz | cxstream produce - --rate 1000
    """  # noqa: D301
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    run = _Run()
    started = time.perf_counter()
    try:
        asyncio.run(_produce(settings, inputs, rate, run))
    except KeyboardInterrupt:
        click.echo(f"interrupted: {run.confirmed:,} records sent, the rest is not", err=True)
        raise SystemExit(130) from None
    seconds = time.perf_counter() - started
    click.echo(
        f"sent {run.confirmed:,} records ({run.size / 1e6:,.1f} MB) to cx.touchpoints at {settings.kafka} "
        f"in {seconds:,.1f} s ({run.confirmed / seconds:,.0f}/s)"
    )
    if run.refused:
        shown = ", ".join(run.refused[:_SHOWN]) + (", ..." if len(run.refused) > _SHOWN else "")
        click.echo(f"not sent, too long for the topic: {len(run.refused):,} records: {shown}", err=True)
        raise SystemExit(1)


async def _produce(settings: Settings, inputs: tuple[Path, ...], rate: float | None, run: _Run) -> None:
    from cxstream.files.readers import read_batches, total_bytes
    from cxstream.sender import sending

    total = total_bytes(inputs)
    started = time.perf_counter()
    # Each part is on its way before the next is waited for: by the clock, or in a pipe that may be slow.
    prompt = rate is not None or total is None
    async with sending(settings) as sender:
        run.sender = sender
        with _progress(total) as show:
            for chunk in read_batches(inputs, _READ_BYTES, sender.max_bytes):
                step = max(1, round(rate / _BEATS)) if rate else len(chunk.lines)
                for first in range(0, len(chunk.lines), step):
                    if rate:
                        await asyncio.sleep(max(0.0, started + run.read / rate - time.perf_counter()))
                    await _send(run, sender, chunk, slice(first, first + step))
                    if prompt:
                        await sender.flush()
                    show(chunk.consumed_bytes, run)


async def _send(run: _Run, sender: Sender, chunk: Chunk, part: slice) -> None:
    from cxstream.scoring.decode import read_subject

    positions = [i for i in range(len(chunk.lines))[part] if i not in chunk.cut]
    values = [chunk.lines[i] for i in positions]
    keys = [subject.encode() if subject else None for subject in map(read_subject, values)]
    too_long = [positions[i] for i in await sender.send(keys, values)]
    cut = [i for i in range(len(chunk.lines))[part] if i in chunk.cut]
    run.refused += [f"{chunk.path}:{chunk.numbers[i]}" for i in sorted(too_long + cut)]
    run.read += len(positions) + len(cut)
    run.size += sum(map(len, values)) - sum(len(chunk.lines[i]) for i in too_long)


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int, _Run], None]]:
    """A bar on standard error, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), DownloadColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, speed="")
        started = time.perf_counter()

        def show(consumed: int, run: _Run) -> None:
            speed = run.read / (time.perf_counter() - started)
            bar.update(task, completed=consumed, speed=f"{speed:,.0f} records/s")

        yield show

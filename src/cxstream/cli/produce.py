"""`cxstream produce`: send touchpoint files to Kafka."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cxstream.replay.readers import Chunk
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
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Records a second. Default: as fast as it goes.")
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(config: str | None, inputs: tuple[Path, ...], rate: float | None, kafka: str | None) -> None:
    """Send touchpoint files to cx.touchpoints, keyed by subject, in order.

    Takes NDJSON (also .gz and .zst) and Parquet; `-` reads standard input. Every record is sent as it is,
    broken ones too, for the worker to reject: a record whose subject cannot be read goes to partition 0
    without a key. Exit status 1 when a record is too long for the topic; the others are sent.

    \b
    Example:
      cxstream produce touchpoints.ndjson.zst
      zcat *.gz | cxstream produce - --rate 1000
    """  # noqa: D301
    from cxstream.settings import load

    settings = load(config, kafka=kafka)
    # In place of asyncio's own handler, which would wait for a standard input that may never say more.
    signal.signal(signal.SIGINT, _interrupt)
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


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


async def _produce(settings: Settings, inputs: tuple[Path, ...], rate: float | None, run: _Run) -> None:
    from cxstream.replay.readers import read_batches, total_bytes
    from cxstream.sender import sending

    total = total_bytes(inputs)
    async with sending(settings) as run.sender:
        with _progress(total) as show:
            chunks = read_batches(inputs, _READ_BYTES)
            for chunk in chunks if rate is None else _paced(chunks, rate):
                await _send(run, chunk)
                if rate is not None:
                    await run.sender.flush()
                    await asyncio.sleep(max(0.0, due - time.perf_counter()))
                show(chunk.consumed_bytes, run.read)

"""`cxstream produce`: send touchpoint files to Kafka."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cxstream.cli.options import Number, tell_compilation
from cxstream.logs.counted import counted, were

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.files.readers import Chunk
    from cxstream.kafka.producer import Sender
    from cxstream.rules.in_files import RulesReader
    from cxstream.scoring.codec.signatures import Authority
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
        future: records that were sent earlier than `future_minutes` before their own time.
        future_places: `file:line` of the first of them.
        forged: control records that were sent without a valid signature, where there is a `control.key`.
        forged_places: `file:line` of the first of them.
        rules: sets of rules, which were sent to every partition.
        changes: changes of the experience, which were sent to cx.changes.
        changes_sender: sends these, once there is one.
    """

    sender: Sender | None = None
    read: int = 0
    size: int = 0
    refused: list[str] = field(default_factory=list)
    future: int = 0
    future_places: list[str] = field(default_factory=list)
    forged: int = 0
    forged_places: list[str] = field(default_factory=list)
    rules: int = 0
    changes: int = 0
    changes_sender: Sender | None = None

    @property
    def confirmed(self) -> int:
        """Records that Kafka has confirmed."""
        return sum(sender.acknowledged for sender in (self.sender, self.changes_sender) if sender)


@click.command("produce")
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--rate", type=Number(0, min_open=True), help="Records a second. Default: as fast as it goes.")
@click.option(
    "--sort",
    "in_order",
    is_flag=True,
    help="Merge all inputs by event time first, in bounded memory and with temporary files in $TMPDIR.",
)
@click.option("--kafka", metavar="HOST:PORT[,...]", help="Where Kafka is.")
@click.pass_obj
def command(
    config: str | None, inputs: tuple[Path, ...], rate: float | None, in_order: bool, kafka: str | None
) -> None:
    """Send touchpoint files to cx.touchpoints, keyed by subject, in order.

    Takes JSON (lines or arrays, also packed), Parquet and Arrow; `-` reads standard input. Every record is sent as it is,
    broken ones too, for the worker to reject: a record whose subject cannot be read goes to partition 0
    without a key. Exit status 1 when a record is too long for the topic; the others are sent.

    A valid set of rules (cx.rules.v1) is sent to every partition, and is signed first where control.key is set and it has
    no signature.

    A valid change of the experience (cx.change.v1) is sent to cx.changes, keyed by its source.

    A worker rejects a record whose time is more than scoring.future_minutes later than its arrival. Such records are
    sent too, counted, and named at the end. So are control records without a valid signature, where control.key is set.

    \b
    Example:
      cxstream produce touchpoints.ndjson.zst
      zcat *.gz | cxstream produce - --rate 1000
      cxstream produce orders.ndjson tickets.ndjson --sort
    """  # noqa: D301
    from cxstream.settings import load

    tell_compilation()
    settings = load(config, kafka=kafka)
    run = _Run()
    started = time.perf_counter()
    try:
        # What is sorted is sorted before there is a connection that could be kept waiting.
        chunks = _sorted(inputs, asyncio.run(_longest(settings))) if in_order else None
        asyncio.run(_produce(settings, inputs, chunks, rate, run))
    except KeyboardInterrupt:
        click.echo(f"interrupted: {counted(run.confirmed, 'record')} sent, the rest is not", err=True)
        raise
    seconds = time.perf_counter() - started
    click.echo(
        f"sent {counted(run.confirmed, 'record')} ({run.size / 1e6:,.1f} MB) to "
        f"{settings.topology.touchpoints.name} at {settings.kafka} in {seconds:,.1f} s ({run.confirmed / seconds:,.0f}/s)"
    )
    if run.rules:
        click.echo(f"{counted(run.rules, 'set')} of rules {were(run.rules)} sent to every partition")
    if run.changes:
        click.echo(
            f"{counted(run.changes, 'change')} of the experience went to {settings.topology.changes.name}"
        )
    if run.future:
        shown = _shown(run.future_places, run.future)
        said = (
            f"{counted(run.future, 'record')} {were(run.future)} sent more than {settings.scoring.future_minutes:g} minutes before "
            f"{'its' if run.future == 1 else 'their'} own time: a"
            f" worker rejects such records as from_the_future; correct the clock of their source: {shown}"
        )
        # Click takes the colour away where standard error is no terminal.
        click.secho(said, fg="red", err=True)
    if run.forged:
        shown = _shown(run.forged_places, run.forged)
        said = (
            f"{counted(run.forged, 'control record')} (ticks, rules, erasure requests) {were(run.forged)} sent without a signature of"
            f" control.key: a worker rejects such records as forged; ask for erasures with 'cxstream forget': {shown}"
        )
        click.secho(said, fg="red", err=True)
    if run.refused:
        shown = _shown(run.refused, len(run.refused))
        click.echo(
            f"not sent, too long for the topic: {counted(len(run.refused), 'record')}: {shown}", err=True
        )
        raise SystemExit(1)


def _shown(places: list[str], count: int) -> str:
    """The first places of records, and whether there are more."""
    return ", ".join(places[:_SHOWN]) + (", ..." if count > _SHOWN else "")


async def _longest(settings: Settings) -> int:
    from cxstream.kafka.producer import sending

    async with sending(settings) as sender:
        return sender.max_bytes


def _sorted(inputs: tuple[Path, ...], longest: int) -> Iterator[Chunk]:
    """The records in the order of their times; all inputs are read when this returns."""
    from itertools import chain

    from cxstream.files.merged import merged_batches
    from cxstream.files.readers import total_bytes

    run = _Run()
    with _progress(total_bytes(inputs)) as show:

        def read(chunk: Chunk) -> None:
            run.read += len(chunk.lines)
            show(chunk.consumed_bytes, run)

        chunks = merged_batches(inputs, _READ_BYTES, longest, on_read=read)
        first = list(islice(chunks, 1))
    return chain(first, chunks)


async def _produce(
    settings: Settings,
    inputs: tuple[Path, ...],
    chunks: Iterator[Chunk] | None,
    rate: float | None,
    run: _Run,
) -> None:
    from cxstream.files.readers import read_batches, total_bytes
    from cxstream.kafka.producer import sending
    from cxstream.rules.in_files import RulesReader

    total = total_bytes(inputs) if chunks is None else None
    future_ms = round(settings.scoring.future_minutes * 60_000)
    authority = settings.control.authority()
    reader = RulesReader(authority, settings.scoring.max_record_bytes)
    started = time.perf_counter()
    # Each part is on its way before the next is waited for: by the clock, or in a pipe that may be slow.
    prompt = rate is not None or (total is None and chunks is None)
    async with AsyncExitStack() as stack:
        run.sender = sender = await stack.enter_async_context(sending(settings))
        with _progress(total) as show:
            for chunk in chunks or read_batches(inputs, _READ_BYTES, sender.max_bytes):
                step = max(1, round(rate / _BEATS)) if rate else len(chunk.lines)
                for first in range(0, len(chunk.lines), step):
                    if rate:
                        await asyncio.sleep(max(0.0, started + run.read / rate - time.perf_counter()))
                    part = slice(first, first + step)
                    _look_ahead(run, chunk, part, round(time.time() * 1000) + future_ms)
                    if authority is not None:
                        _look_for_forged(run, chunk, part, authority, reader)
                    changes = _changes(chunk, part)
                    if changes and run.changes_sender is None:
                        topic = settings.topology.changes
                        run.changes_sender = await stack.enter_async_context(sending(settings, topic))
                    await _send(run, sender, chunk, part, reader, changes)
                    if prompt:
                        await sender.flush()
                    show(chunk.consumed_bytes, run)


def _changes(chunk: Chunk, part: slice) -> dict[int, str]:
    """The sources of the valid changes of the experience, by their positions."""
    from cxstream.scoring.codec.changes import decode_changes, is_change

    found = [i for i in range(len(chunk.lines))[part] if i not in chunk.cut and is_change(chunk.lines[i])]
    decoded = decode_changes([chunk.lines[i] for i in found])
    places = [found[i] for i in decoded.valid.tolist()]
    return dict(zip(places, (event.source for event in decoded.events), strict=True))


def _look_ahead(run: _Run, chunk: Chunk, part: slice, limit: int) -> None:
    """Count the records that a worker will find to be from the future."""
    import numpy as np

    from cxstream.scoring.codec.changes import is_change
    from cxstream.scoring.codec.decode import read_times

    for i in np.flatnonzero(read_times(chunk.lines[part]) > limit).tolist():
        if is_change(chunk.lines[part.start + i]):
            # A change may be planned.
            continue
        run.future += 1
        if len(run.future_places) < _SHOWN:
            path, line = chunk.place(part.start + i)
            run.future_places.append(f"{path}:{line}")


def _look_for_forged(run: _Run, chunk: Chunk, part: slice, authority: Authority, reader: RulesReader) -> None:
    """Count the control records that a worker will find to be forged."""
    from cxstream.model.kinds import FORGET_TYPE, RULES_TYPE, TICK_TYPE
    from cxstream.scoring.codec.decode import FORGED, decode

    types = FORGET_TYPE.encode(), TICK_TYPE.encode(), RULES_TYPE.encode()
    for i, line in enumerate(chunk.lines[part]):
        # Few files have any; whose type is written with escapes is not looked for.
        if any(name in line for name in types):
            signed = reader.to_send(line) or line
            rejected = decode([signed], authority=authority).rejected
            if rejected and rejected[0].reason == FORGED:
                run.forged += 1
                if len(run.forged_places) < _SHOWN:
                    path, number = chunk.place(part.start + i)
                    run.forged_places.append(f"{path}:{number}")


async def _send(
    run: _Run, sender: Sender, chunk: Chunk, part: slice, reader: RulesReader, changes: dict[int, str]
) -> None:
    from cxstream.scoring.codec.decode import read_subject

    lines = range(len(chunk.lines))[part]
    positions = [i for i in lines if i not in chunk.cut and i not in changes]
    too_long: list[int] = []
    if run.changes_sender is not None and changes:
        sources = [source.encode() for source in changes.values()]
        refused = await run.changes_sender.send(sources, [chunk.lines[i] for i in changes])
        too_long += [list(changes)[i] for i in refused]
        run.changes += len(changes) - len(refused)
    sets = {i: value for i in positions if (value := reader.to_send(chunk.lines[i])) is not None}
    begin = 0
    for at in [*(k for k, i in enumerate(positions) if i in sets), len(positions)]:
        some = positions[begin:at]
        values = [chunk.lines[i] for i in some]
        keys = [subject.encode() if subject else None for subject in map(read_subject, values)]
        too_long += [some[i] for i in await sender.send(keys, values)]
        if at < len(positions) and not await sender.send_to_all(sets[positions[at]]):
            too_long.append(positions[at])
        begin = at + 1
    run.rules += len(sets)
    places = [chunk.place(i) for i in sorted(too_long + [i for i in lines if i in chunk.cut])]
    run.refused += [f"{path}:{line}" for path, line in places]
    run.read += len(lines)
    run.size += sum(len(chunk.lines[i]) for i in [*positions, *changes]) - sum(
        len(chunk.lines[i]) for i in too_long
    )


@contextmanager
def _progress(total: int | None) -> Iterator[Callable[[int, _Run], None]]:
    """A bar on standard error, where that is a terminal."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

    from cxstream.logs.bars import bar as shown

    columns = (BarColumn(), DownloadColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn())
    with shown(*columns) as bar:
        task = bar.add_task("", total=total, speed="")
        started = time.perf_counter()

        def show(consumed: int, run: _Run) -> None:
            speed = run.read / (time.perf_counter() - started)
            bar.update(task, completed=consumed, speed=f"{speed:,.0f} records/s")

        yield show

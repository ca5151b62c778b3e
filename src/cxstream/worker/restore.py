"""The state of a partition, out of what Kafka holds.

    cx.snapshots   rows ... marker at offset m       (a cache)
    cx.touchpoints |........m.......c............    (the truth)
                            | muted | comes through the feed

The rows of the latest snapshot are loaded. The source records from the marker's offset m up to the committed
offset c are applied again with what they say thrown away: it was committed before, and determinism makes the
state the same. The first transaction of a partition holds a snapshot, so an offset without a marker means
that somebody emptied cx.snapshots.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from cxstream.model.errors import SnapshotError
from cxstream.scoring.engine import MARKER_KEY, Engine
from cxstream.topology import SNAPSHOTS, TOUCHPOINTS
from cxstream.worker.feed import chunks, to_records

if TYPE_CHECKING:
    from cxstream.settings import Settings
    from cxstream.worker.clients import Reader

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """A partition ready to go on.

    Attributes:
        engine: its state.
        position: the first source offset that is not yet in the state.
        replayed: records applied again, muted.
        saved: the state has a snapshot in Kafka.
    """

    engine: Engine
    position: int
    replayed: int
    saved: bool


async def restore(settings: Settings, reader: Reader, partition: int, parked: Engine | None) -> Restored:
    """Build the state of a partition; call it only after the claim.

    Args:
        settings: scoring parameters and actions.
        reader: a started reader.
        partition: number of the partition.
        parked: a state that this process kept from when it last had the partition; taken if nothing was
            committed since.

    Raises:
        SnapshotError: the state cannot be rebuilt, because the log lacks what it follows from.
        KafkaError: Kafka cannot be read.
    """
    committed = await reader.committed()
    if parked is not None and parked.next_offset == committed:
        return Restored(parked, committed, 0, saved=True)
    rows = await _saved_rows(reader)
    first, end = await reader.bounds(TOUCHPOINTS.name)
    # A million rows take seconds, in which the others must not stand still.
    engine, problem = await asyncio.get_running_loop().run_in_executor(None, _load, settings, rows, partition)
    position = max(engine.next_offset, committed or 0)
    _refuse_truncated(partition, position, end)
    if engine.next_offset < first and position > engine.next_offset:
        raise SnapshotError(
            f"{TOUCHPOINTS.name}-{partition}: the state must be rebuilt from offset {engine.next_offset} "
            f"({problem or 'the last snapshot'}), but the log begins at {first}; bring back {SNAPSHOTS.name}, or "
            f"start afresh: recreate {SNAPSHOTS.name} and run the worker with another --group"
        )
    if problem:
        log.warning("rebuilding the state from the log", partition=partition, reason=problem)
    if committed is not None and committed < engine.next_offset:
        log.warning(
            "the committed offset is behind the saved state; going on where the state ends",
            partition=partition,
            committed=committed,
            state=engine.next_offset,
        )
    replayed = await replay(settings, reader, engine, position)
    return Restored(engine, position, replayed, saved=bool(rows) and not problem)


async def replay(settings: Settings, reader: Reader, engine: Engine, stop: int) -> int:
    """Apply the source records from the engine's offset up to `stop`, muted; how many there were."""
    count = 0
    future_ms = round(settings.scoring.future_minutes * 60_000)
    async for records in reader.read(TOUCHPOINTS.name, engine.next_offset, stop):
        for piece in chunks(records):
            engine.process(to_records(piece, future_ms))
            count += len(piece)
            await asyncio.sleep(0)
    return count


async def _saved_rows(reader: Reader) -> dict[bytes, bytes]:
    rows: dict[bytes, bytes] = {}
    first, end = await reader.bounds(SNAPSHOTS.name)
    async for records in reader.read(SNAPSHOTS.name, first, end):
        for record in records:
            if record.value is None:
                rows.pop(record.key, None)
            else:
                rows[record.key] = record.value
    return rows


def _load(settings: Settings, rows: dict[bytes, bytes], partition: int) -> tuple[Engine, str]:
    """The engine out of the rows; a new one, and why, where they cannot be used."""
    new = Engine(settings.scoring, settings.actions, topic=TOUCHPOINTS.name, partition=partition)
    if not rows:
        return new, ""
    if MARKER_KEY not in rows:
        return new, f"{SNAPSHOTS.name}-{partition} has rows but no marker"
    try:
        engine = Engine.restore(
            settings.scoring, settings.actions, rows, topic=TOUCHPOINTS.name, partition=partition
        )
    except SnapshotError as error:
        return new, str(error)
    return engine, ""


def _refuse_truncated(partition: int, position: int, end: int) -> None:
    if position > end:
        raise SnapshotError(
            f"{TOUCHPOINTS.name}-{partition} ends at offset {end}, but the state follows from {position} records: "
            f"the topic was recreated or truncated; recreate {SNAPSHOTS.name} too and use another --group"
        )

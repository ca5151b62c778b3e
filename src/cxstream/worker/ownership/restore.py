"""Restores the state of a partition from Kafka.

    cx.snapshots   rows ... marker at offset m                 (a cache)
    cx.touchpoints |........m................c............    (authoritative)
                            | without output | comes through the feed

The rows of the latest snapshot are loaded. The source records from the marker's offset m up to the committed
offset c are replayed without output: their results were committed before, and scoring is deterministic. A state that
this process has already, because it owned the partition or was its standby, replaces the snapshot. The first
transaction of a partition contains a snapshot, so a committed offset without a marker means that cx.snapshots was
emptied.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import structlog

from cxstream.kafka.claims import CLAIM_PREFIX, is_claim
from cxstream.kafka.records import PackedRecords
from cxstream.model.errors import LostRecordsError, SnapshotError, UnreadableError
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.engine import MARKER_KEY, Engine
from cxstream.scoring.state.marker import read_marker
from cxstream.scoring.state.saved_rows import SavedRows
from cxstream.scoring.state.snapshot import Line
from cxstream.worker.feed import to_records
from cxstream.worker.ownership.suspects import Suspects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.scoring.state.marker import Marker, Owner
    from cxstream.settings import Settings
    from cxstream.topology import Topology
    from cxstream.worker.clients import Reader
    from cxstream.worker.metrics.counters import Counters

# The marker is the last record of its transaction; Kafka's transaction marker follows it.
_TAIL, _FURTHER = 4, 32
# How far the clocks of the brokers and of this computer may differ.
_SKEW_MS = 600_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """The restored state of a partition.

    Attributes:
        engine: its state.
        position: the first source offset that is not yet in the state.
        saved: the state has a snapshot in Kafka.
        problem: why the state is empty although there may have been one; "" if it is not.
        refused: `SnapshotError.reason` of a snapshot that was not used; "" if there was none.
    """

    engine: Engine
    position: int
    saved: bool
    problem: str
    refused: str = ""


async def restore(
    settings: Settings,
    reader: Reader,
    partition: int,
    parked: Restored | None,
    counters: Counters,
    inherited: int | None = None,
    suspects: Suspects | None = None,
) -> Restored:
    """Build the state of a partition; call it only after the claim.

    Args:
        settings: scoring parameters and actions.
        reader: a started reader.
        partition: number of the partition.
        parked: a state that this process has already; used if it is not ahead of the committed offset.
        counters: count replayed and lost records.
        inherited: the committed offset of the group that this one replaces.
        suspects: records that this process has found to fail.

    Raises:
        BatchError: records cannot be applied; `suspects` may learn from it.
        SnapshotError: the state does not belong to this log.
        LostRecordsError: the log lacks records that are needed, and the settings refuse to go on without.
        KafkaError: Kafka cannot be read.
    """
    committed = furthest(await reader.committed(), inherited)
    topics = settings.topology
    first, end = await reader.bounds(topics.touchpoints.name)
    partitions = reader.partitions()
    if parked is not None and parked.engine.partitions != partitions:
        # Some of its customers belong to other partitions now.
        parked = None
    if parked is not None and not (
        not parked.engine.broken
        and _leads_to(parked.position, first, committed)
        and await _is_what_is_saved(reader, topics.snapshots.name, parked)
    ):
        parked = None
    latest = await _latest(settings, reader)
    if parked is None:
        rows = await _saved_rows(reader, topics.snapshots.name)
        # A million rows take seconds, during which the other partitions must continue.
        parked = await asyncio.get_running_loop().run_in_executor(
            None, _load, settings, rows, partition, partitions, latest
        )
        counters.count_refusal(parked.refused)
    engine = parked.engine
    engine.partition.passed.forget_before(first)
    suspects = suspects or Suspects(partition)
    suspects.tell(engine)
    position = max(engine.next_offset, committed or 0)
    _refuse_truncated(topics, partition, position, end)
    lost = Losses(settings, partition, counters)
    if position > engine.next_offset:
        lost.check(engine.next_offset, first, f"the state must be built again from there ({parked.problem})")
    if position > 0:
        lost.check(position, first, "they were not read yet")
    if parked.problem and position and counters.is_news(parked.problem):
        tell = log.error if parked.refused == "forged" else log.warning
        tell("rebuilding the state from the log", partition=partition, reason=parked.problem)
    if committed is not None and committed < engine.next_offset:
        log.warning(
            "the committed offset is behind the saved state; continuing at the offset of the state",
            partition=partition,
            committed=committed,
            state=engine.next_offset,
        )
    counters.replayed += await replay(settings, reader, engine, position, lost, suspects)
    if engine.recall_erasures(latest):
        log.warning(
            "rebuilding the state from the log: it has customers whose erasure requests it lacks",
            partition=partition,
        )
        engine = engine.fresh_copy()
        counters.replayed += await replay(settings, reader, engine, position, lost, suspects)
    if engine.follow_settings():
        log.warning(
            "the settings' rules differ from those of the saved state, and are in force from here on; "
            "'cxstream rules apply' writes rules to the log, where they hold for every worker and replay",
            partition=partition,
            offset=engine.next_offset,
            rules=engine.rules.latest.rules.label,
        )
    return Restored(engine, max(position, first), saved=parked.saved, problem="")


async def _is_what_is_saved(reader: Reader, snapshots: str, parked: Restored) -> bool:
    """Whether the rows in cx.snapshots belong to this lineage, so that only changes must be saved."""
    try:
        marker = await last_marker(reader, snapshots, parked.engine.line.secrets)
    except SnapshotError:
        return False
    if marker is None:
        return not parked.saved
    if not parked.engine.fits(marker):
        return False
    parked.engine.replaced(marker)
    return True


async def last_marker(reader: Reader, snapshots: str, good: Sequence[bytes]) -> Marker | None:
    """The marker of the latest snapshot; None if there is none.

    Args:
        reader: a started reader.
        snapshots: the name of cx.snapshots.
        good: accepted keys of the checksums.

    Raises:
        SnapshotError: it cannot be read.
    """
    first, end = await reader.bounds(snapshots)
    tail = _TAIL
    while True:
        start, found = max(first, end - tail), None
        async for records in reader.read(snapshots, start, end):
            for record in records:
                if record.key == MARKER_KEY and record.value is not None:
                    found = record.value
        if found is not None:
            return read_marker(found, good)
        if start == first:
            return None
        # Records of aborted transactions take offsets, but cannot be read.
        tail *= _FURTHER


def _leads_to(position: int, first: int, committed: int | None) -> bool:
    """Whether a state at a position is at the committed offset, or the log has the records in between."""
    return committed is not None and (position == committed or first <= position < committed)


async def replay(
    settings: Settings,
    reader: Reader,
    engine: Engine,
    stop: int,
    lost: Losses,
    suspects: Suspects | None = None,
) -> int:
    """Replay the source records from the engine's offset up to `stop` without output; returns how many.

    Records that are passed over are not read, because they may be unreadable.

    Raises:
        BatchError: records cannot be applied.
        LostRecordsError: some were deleted meanwhile, and the settings refuse to go on without.
    """
    count = 0
    touchpoints = settings.topology.touchpoints.name
    passed, future_ms = engine.partition.passed, round(settings.scoring.future_minutes * 60_000)
    pieces = (suspects or Suspects(engine.partition.number)).pieces
    for span in [*passed.ranges(engine.next_offset, stop)]:
        async for records in reader.read(touchpoints, *span):
            if records[0].offset > engine.next_offset:
                # Before any record is applied, because a state without the lost records must not be used.
                first, _ = await reader.bounds(touchpoints)
                lost.check(engine.next_offset, first, "the state must be built again from there")
            for piece in pieces(records):
                batch = to_records(piece, future_ms)
                outcome = engine.process(batch)
                if engine.clears and outcome.misrouted and batch.keys is not None:
                    engine.clear(outcome, batch.keys)
                count += len(piece)
                await asyncio.sleep(0)
    engine.next_offset = passed.after(engine.next_offset, stop)
    if engine.next_offset < stop:
        # The last offsets are transaction markers, or records that were deleted since the bounds were read.
        first, _ = await reader.bounds(touchpoints)
        lost.check(engine.next_offset, first, "the state must be built again from there")
    return count


class Losses:
    """What to do if the log begins after the needed offset.

    Args:
        settings: whether to refuse or to accept.
        partition: number of the partition.
        counters: count the lost records.
    """

    def __init__(self, settings: Settings, partition: int, counters: Counters) -> None:
        self._accept = settings.worker.lost_records == "accept"
        self._topics = settings.topology
        self._partition = partition
        self._counters = counters
        self._until = 0

    def check(self, needed: int, first: int, why: str) -> None:
        """Refuse, or count and log it, if the log begins at `first` but is needed from `needed` on.

        Raises:
            LostRecordsError: records are lost, and the settings refuse that.
        """
        if first <= max(needed, self._until):
            return
        touchpoints, snapshots = self._topics.touchpoints.name, self._topics.snapshots.name
        lost = f"{touchpoints}-{self._partition}: the records from offset {needed} to {first} are no longer in the log"
        if not self._accept:
            raise LostRecordsError(
                f"{lost}, and {why}; bring them or {snapshots} back, or run 'cxstream worker --accept-loss' "
                "once to go on with what the log still holds"
            )
        self._counters.lost += first - max(needed, self._until)
        self._until = first
        log.error(
            "records were lost", partition=self._partition, lost_from=needed, lost_to=first, because=why
        )


async def _latest(settings: Settings, reader: Reader) -> int:
    """The latest possible event time in the log, ms UTC, by the clocks of the broker and of this computer."""
    newest, touchpoints = round(time.time() * 1000), settings.topology.touchpoints.name
    first, end = await reader.bounds(touchpoints)
    try:
        async for records in reader.read(touchpoints, max(first, end - _TAIL), end):
            newest = max(newest, *(record.timestamp for record in records))
    except UnreadableError:
        # The code that needs those records reports the error.
        pass
    return newest + round(settings.scoring.future_minutes * 60_000) + _SKEW_MS


async def _saved_rows(reader: Reader, snapshots: str) -> SavedRows:
    rows, loop = SavedRows(), asyncio.get_running_loop()
    first, end = await reader.bounds(snapshots)
    async for records in reader.read(snapshots, first, end):
        # Another thread, so that the partitions are not restored one after the other.
        await loop.run_in_executor(None, _take, rows, records)
    return rows


def _take(rows: SavedRows, records: Sequence[Any]) -> None:
    """Take records of cx.snapshots: its claims are no rows."""
    if isinstance(records, PackedRecords):
        keys, values, gone = records.keys, records.values, np.zeros(len(records), np.bool_)
    else:
        keyed = [record for record in records if record.key is not None]
        keys, values = Packed.of([each.key for each in keyed]), Packed.of([each.value for each in keyed])
        gone = np.array([each.value is None for each in keyed], np.bool_)
    first = keys.data[np.minimum(keys.begins, len(keys.text) - 1)]
    odd = np.flatnonzero((first == CLAIM_PREFIX[0]) & (keys.lengths > 0))
    claims = [int(i) for i in odd if is_claim(keys[int(i)])]
    if claims:
        rest = np.delete(np.arange(len(keys)), claims)
        keys, values, gone = keys.taken(rest), values.taken(rest), gone[rest]
    rows.put(keys, values, gone)


def furthest(*offsets: int | None) -> int | None:
    """The highest of some offsets; None if there is none."""
    return max((offset for offset in offsets if offset is not None), default=None)


def _load(settings: Settings, rows: SavedRows, partition: int, partitions: int, latest: int) -> Restored:
    """The engine built from the rows; an empty one, and why, if they cannot be used."""
    topics = settings.topology
    problem, refused = f"{topics.snapshots.name}-{partition} is empty", ""
    pseudonyms, authority = settings.privacy.pseudonyms(), settings.control.authority()
    good = settings.snapshot_secrets()
    if MARKER_KEY in rows:
        try:
            engine = Engine.restore(
                settings.scoring,
                settings.actions,
                rows,
                topic=topics.touchpoints.name,
                partition=partition,
                partitions=partitions,
                pseudonyms=pseudonyms,
                authority=authority,
                secrets=good,
                latest=latest,
            )
            if not engine.line.generation:
                engine.line = replace(engine.line, generation=_new_generation())
            return Restored(engine, engine.next_offset, saved=True, problem="")
        except SnapshotError as error:
            problem, refused = str(error), error.reason
        except Exception as error:  # noqa: BLE001 - after any error of the snapshot, the log has everything
            problem, refused = f"the snapshot cannot be loaded ({type(error).__name__}: {error})", "damaged"
    elif rows:
        problem, refused = f"{topics.snapshots.name}-{partition} has rows but no marker", "damaged"
    new = Engine(
        settings.scoring,
        settings.actions,
        topic=topics.touchpoints.name,
        partition=partition,
        partitions=partitions,
        pseudonyms=pseudonyms,
        authority=authority,
    )
    new.line = Line(_new_generation(), secrets=good)
    new.mark_stale(rows)
    return Restored(new, 0, saved=False, problem=problem, refused=refused)


def hand_over(engine: Engine, owner: Owner) -> None:
    """Set the owner that saves the state from now on; it may differ from the previous one."""
    engine.belong_to(owner, _new_generation())


def _new_generation() -> int:
    """The number of a new snapshot lineage; 0 means none."""
    return 1 + secrets.randbelow(2**63 - 1)


def _refuse_truncated(topics: Topology, partition: int, position: int, end: int) -> None:
    if position > end:
        raise SnapshotError(
            f"{topics.touchpoints.name}-{partition} ends at offset {end}, but the state follows from {position} records: "
            f"the topic was recreated or truncated; recreate {topics.snapshots.name} too and use another --group"
        )

"""An ownership session: the time of a claim, in which a state follows the log, and its transactions.

    fetch -> engine -> outbox -> transaction
                       outbox    (the next one, while the transaction is under way)

Order and atomicity: one transaction at a time, each with all results of the records between two
offsets. The rows of a snapshot are taken when its outbox is closed, so they are the state at exactly that offset. They
follow in a transaction of their own (`cxstream.worker.ownership.saving`), but for the first snapshot of a partition
and one that may not wait: a committed offset has a marker in cx.snapshots, and the receipt of an erasure a state without
the customer.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import structlog

from cxstream.kafka.records import PackedRecords
from cxstream.model.cloudevents import content_bytes
from cxstream.model.errors import TopicError
from cxstream.scoring.codec.decode import MALFORMED, TOO_LARGE
from cxstream.scoring.failing import BatchError, may_be_of_record, place_of
from cxstream.scoring.state.passed_over import FAILED, PASSED_OVER, SKIPPED
from cxstream.topology import REJECTED, SCORED, SNAPSHOTS, TOUCHPOINTS
from cxstream.worker.clients import BATCH_BYTES
from cxstream.worker.clock import now
from cxstream.worker.feed import to_records
from cxstream.worker.ownership import outbox as outboxes
from cxstream.worker.ownership.inlets import Refused
from cxstream.worker.ownership.outbox import Limits, Outbox, Unread, commit
from cxstream.worker.ownership.pace import Pace
from cxstream.worker.ownership.restore import Losses
from cxstream.worker.ownership.saving import Saving
from cxstream.worker.ownership.scored_rows import RECORD_BYTES
from cxstream.worker.ownership.suspects import Cause

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from cxstream.scoring.engine import Outcome, Read
    from cxstream.scoring.state.snapshot import Unsealed
    from cxstream.settings import Settings
    from cxstream.topology import Topic
    from cxstream.worker.clients import Kafka, Producer, Reader
    from cxstream.worker.metrics.counters import Counters
    from cxstream.worker.ownership.inlets import Inlet, Request
    from cxstream.worker.ownership.restore import Restored
    from cxstream.worker.ownership.suspects import Suspects

# While more records wait, a flush takes at most one score card per this many records: a worker that is behind would
# write cards that are outdated as soon as it has caught up.
_RECORDS_PER_CARD = 64
# Where only ticks come, cx.scored says how far the clock is once it is so much farther: its readers wait for all partitions.
_BEAT_MS = 10_000
# A batch that every topic takes: for smaller ones, the limit of cx.rejected need not be read.
_SURELY_TAKEN_BYTES = 1024

# One core is for the event loop.
_READERS = ThreadPoolExecutor(max(1, min(4, (os.cpu_count() or 2) - 1)), "read-ahead")
_COLUMNS = ThreadPoolExecutor(max(1, min(4, (os.cpu_count() or 2) - 1)), "scored-columns")

log = structlog.get_logger(__name__)


class Ahead(NamedTuple):
    """What was read of records before they are applied.

    Attributes:
        records: they, in a text of their own.
        read: what was read.
        seconds: how long that took.
    """

    records: Sequence[Any]
    read: Read
    seconds: float


def _alone(records: Sequence[Any]) -> Sequence[Any]:
    """Records of a fetch without the rest of it."""
    return records.alone() if isinstance(records, PackedRecords) else records


class OwnershipSession:
    """The state of one partition and its committed part.

    Attributes:
        engine: the state.
        position: the first source offset not yet applied.
        committed_at: time of the last commit by the event loop's clock; 0 if there was none.
        moved_at: when the committed offset last grew, by the event loop's clock; 0 if it has not.
    """

    def __init__(
        self,
        settings: Settings,
        kafka: Kafka,
        partition: int,
        producer: Producer,
        saver: Producer,
        reader: Reader,
        restored: Restored,
        counters: Counters,
        suspects: Suspects,
        on_flushed: Callable[[], None],
    ) -> None:
        self.engine = restored.engine
        self.position = restored.position
        self._worker = settings.worker
        self._topology = settings.topology
        self._future_ms = round(settings.scoring.future_minutes * 60_000)
        self._max_record_bytes = settings.scoring.max_record_bytes
        self._kafka = kafka
        self._partition = partition
        self._partitions = restored.engine.partitions or 1
        self._limit: int | None = None
        self._rejected_limit: int | None = None
        self._producer = producer
        self._saver = saver
        self._reader = reader
        self._lost = Losses(settings, partition, counters)
        self._hole: int | None = None
        self._counters = counters
        self._suspects = suspects
        self._on_flushed = on_flushed
        self._pseudonyms = settings.privacy.pseudonyms()
        self._authority = settings.control.authority()
        self.engine.scored = settings.worker.scored
        self._outbox = self._new_outbox()
        # How far cx.scored says that the clock is, ms UTC.
        self._said = 0
        self._flushing: asyncio.Task[None] | None = None
        self._saving: Saving | None = None
        started = now()
        self.committed_at = self.moved_at = 0.0
        self._moved_to = self.position
        self._pace = Pace(self._worker.flush_seconds, partition, self._partitions, started)
        # Each partition at a time of its own: what a snapshot takes of the event loop delays all of them.
        self._early = self._worker.snapshot_seconds * (partition % self._partitions) / self._partitions
        self._saved_at = -float("inf")
        if restored.saved:
            self._snapshot_taken(started)
        self._saved_position = self.position if restored.saved else -1

    def _new_outbox(self) -> Outbox:
        limit = self._suspects.limits.get(SCORED.contract, RECORD_BYTES)
        return Outbox(self._topology, self._pseudonyms, limit)

    def reading(self, records: Sequence[Any]) -> asyncio.Future[Ahead] | None:
        """Begin to read records in another thread, before those before them are applied; None for few, which are read as fast here."""
        if len(records) < outboxes.WORTH_A_THREAD:
            return None
        return asyncio.get_running_loop().run_in_executor(_READERS, self._read, records)

    def _read(self, records: Sequence[Any]) -> Ahead:
        started = perf_counter()
        records = _alone(records)  # here, since who copies them last reads them fast
        read = self.engine.read_ahead(to_records(records, self._future_ms))
        return Ahead(records, read, perf_counter() - started)

    def apply(self, records: Sequence[Any], ahead: Ahead | None = None) -> None:
        """Apply consecutive records that follow the position.

        Args:
            records: they.
            ahead: what was read of them before.

        Raises:
            BatchError: one of them fails with an unforeseen error; the state is lost.
        """
        try:
            self._apply(records, ahead)
        except BatchError:
            raise
        except Exception as error:
            if not may_be_of_record(error):
                raise
            raise BatchError(records[0].offset, records[-1].offset, error) from error

    def _apply(self, records: Sequence[Any], ahead: Ahead | None) -> None:
        if records[0].offset > self.position and self._hole is None:
            self._hole = self.position
        records, read, before = ahead or (_alone(records), None, 0.0)
        batch = to_records(records, self._future_ms)
        appended = np.asarray(batch.limits) - self._future_ms
        measures, started = self._counters.measures, perf_counter() - before
        for begin, piece, decoded in self.engine.pieces(batch, read):
            decoded_at = perf_counter()
            outcome = self.engine.score(decoded, piece)
            scored_at = perf_counter()
            some = (
                records if len(piece.values) == len(records) else records[begin : begin + len(piece.values)]
            )
            self._outbox.add(outcome, some, self._partition)
            self._outbox.tally.observe(decoded, outcome, some, appended[begin : begin + len(some)])
            measures.batch.observe(len(some))
            measures.decode.observe(decoded_at - started)
            measures.kernel.observe(scored_at - decoded_at)
            started = scored_at
            self._report(outcome, some)
        self.position = records[-1].offset + 1
        if self._outbox.scored.rows_put_off >= outboxes.WORTH_A_THREAD:
            asyncio.get_running_loop().run_in_executor(_COLUMNS, self._outbox.scored.catch_up)

    def _report(self, outcome: Outcome, records: Sequence[Any]) -> None:
        """Log rules that came into force, and records that are passed over."""
        if outcome.rules:
            new = self.engine.rules.latest
            log.info(
                "new rules are in force",
                partition=self._partition,
                offset=new.offset,
                rules=new.rules.label,
                source=new.source,
                id=new.id,
            )
        for each in outcome.rejected:
            if each.reason in PASSED_OVER:
                self._say(TOUCHPOINTS, records[each.index].offset, each.reason, each.message)

    def skip(self, offset: int) -> None:
        """Reject a record that cannot be read: only its position is known."""
        self.engine.pass_over(offset, SKIPPED)
        self._outbox.records += 1
        self._outbox.add_unread(Unread(offset), (self._topology.touchpoints.name, self._partition), SKIPPED)
        self._outbox.tally.skip(SKIPPED)
        self.position = offset + 1
        self._say(TOUCHPOINTS, offset, SKIPPED, "it cannot be read, or there is none")

    def _say(self, topic: Topic, offset: int, reason: str, message: str) -> None:
        """Log which record is passed over, without its contents."""
        log.error(
            "record passed over: it is rejected by reference",
            topic=self._topology.named(topic).name,
            partition=self._partition,
            offset=offset,
            reason=reason,
            error=self._suspects.why(topic.contract, offset) or message,
        )

    def forward(self, inlet: Inlet, records: Sequence[Any]) -> asyncio.Event:
        """Take records of a side topic, for every partition: an earlier version may have scored a customer in any.

        Returns:
            Set when they are in the logs.
        """
        outbox, now_ms = self._outbox, round(time.time() * 1000)
        place = (self._topology.named(inlet.topic).name, self._partition)
        for record in records:
            request = self._request(inlet, record, now_ms)
            if isinstance(request, Refused):
                outbox.add_rejected(record, place, *request)
                continue
            cause = Cause(inlet.topic.contract, record.offset)
            outbox.add_request(request.subject.encode(), request.value, cause, request.time)
        outbox.taken[inlet.topic.contract] = records[-1].offset + 1
        return outbox.committed

    def inherit(self, taken: Mapping[str, int]) -> None:
        """Commit the side topics' offsets of another group with the first transaction.

        After that transaction the saved state may be this group's, and the other group's offsets are not read any more.
        """
        self._outbox.taken.update(taken)

    def _request(self, inlet: Inlet, record: Any, now_ms: int) -> Request | Refused:
        # A record that is not in memory has no value; without this check its key alone would be a request.
        if getattr(record, "broken", ""):
            return Refused(MALFORMED, "")
        unheld = getattr(record, "reference", None) is not None
        if unheld or content_bytes(record.key, record.value, record.headers) > self._max_record_bytes:
            return Refused(TOO_LARGE, "")
        message = self._suspects.why(inlet.topic.contract, record.offset)
        if message is None:
            try:
                # The settings may say another: the rules in force do, as for a request that lies in the log.
                future_ms = self.engine.rules.latest.rules.future_ms
                return inlet.translate(record, self._partition, future_ms, now_ms, self._authority)
            except Exception as error:
                if not may_be_of_record(error):
                    raise
                self.engine.require_sound()
                message = f"cannot be processed: {place_of(error)}"
        self._say(inlet.topic, record.offset, FAILED, message)
        return Refused(FAILED, "")

    @property
    def idle(self) -> bool:
        """Nothing waits to be committed."""
        return self._flushing is None and self._saving is None and not self._outbox

    @property
    def gathers_until(self) -> float:
        """When results of more records could be committed, by the event loop's clock; infinite during a transaction."""
        return math.inf if self._flushing is not None and not self._flushing.done() else self._pace.flushes_at

    @property
    def next_flush(self) -> float | None:
        """When there will be something to commit, by the event loop's clock; None if there is nothing."""
        if self._flushing is not None:
            return None
        if self._outbox:
            return self._pace.flushes_at
        if self.engine.dirty_cards():
            return max(self._pace.flushes_at, self._pace.cards_at)
        return self._snapshot_at if self._unsaved and self._saving is None else None

    async def keep_up(self, *, behind: bool) -> None:
        """Start a transaction if one is due; wait only if results pile up during the current one.

        Args:
            behind: more records are waiting.

        Raises:
            ProducerFenced: another worker has claimed the partition.
            LostRecordsError: records between two that were applied were deleted before they were read.
            KafkaError: the last transaction failed.
        """
        full = (
            self._outbox.records >= self._worker.flush_records
            or self._outbox.held_bytes >= self._worker.flush_bytes
        )
        if self._flushing is not None and (full or self._flushing.done()):
            await self._settle()
        if self._saving is not None and self._saving.written.done():
            await self._settle_snapshot()
        due = self.next_flush
        if due is not None and (full or now() >= due):
            snapshot = self._snapshot_due()
            # Saved state says whether all cards are written; if not, all are written again after a restart.
            self._start(snapshot=snapshot, cards=snapshot or now() >= self._pace.cards_at, behind=behind)

    async def finish(self, deadline: float) -> bool:
        """Commit everything; then save the state, if that can be done in time.

        Args:
            deadline: time (of the event loop) after which the next owner must save.

        Returns:
            Whether Kafka holds all of the state, so that this one may be kept and used again.

        Raises:
            ProducerFenced: another worker has claimed the partition.
            LostRecordsError: records between two that were applied were deleted before they were read.
            KafkaError: Kafka refused it.
        """
        await self._settle()
        if self._outbox:
            self._start(snapshot=self._saved_position < 0 or self.engine.must_save)
            await self._settle()
        try:
            async with asyncio.timeout_at(deadline):
                await self._settle_snapshot()
                if self._unsaved or self.engine.dirty_cards():
                    self._start(snapshot=True, at_once=True)
                    await self._settle()
        except TimeoutError:
            return False
        return True

    def abandon(self) -> None:
        """Stop the current transactions; their outcome no longer matters to this process."""
        if self._flushing is not None:
            self._flushing.cancel()
        if self._saving is not None:
            self._saving.written.cancel()

    async def _settle(self) -> None:
        if self._flushing is not None:
            flushing, self._flushing = self._flushing, None
            await flushing

    async def _settle_snapshot(self) -> None:
        if self._saving is not None:
            await self._saving.finish()
            self._saving = None

    @property
    def _unsaved(self) -> bool:
        return self.position > max(self._saved_position, 0)

    @property
    def _snapshot_at(self) -> float:
        return self._saved_at + self._worker.snapshot_seconds

    def _snapshot_taken(self, when: float) -> None:
        self._saved_at, self._early = when - self._early, 0.0

    def _snapshot_due(self) -> bool:
        is_time = self._saving is None and now() >= self._snapshot_at
        return self._unsaved and (self.engine.must_save or is_time)

    def _start(
        self, *, snapshot: bool, at_once: bool = False, cards: bool = True, behind: bool = False
    ) -> None:
        """Close the outbox and commit it.

        Args:
            snapshot: save the state.
            at_once: ... in the same transaction, as is done in any case where there is nothing else in it.
            cards: take score cards.
            behind: more records are waiting.
        """
        at_once = at_once or self._saved_position < 0 or self.engine.must_save or not self._outbox
        outbox, self._outbox = self._outbox, self._new_outbox()
        closed = perf_counter()
        clock = self.engine.clock
        is_due = self.engine.scored and clock is not None and clock >= self._said + _BEAT_MS
        outbox.close(clock if is_due else None)
        if is_due or outbox.scored.rows:
            self._said = clock or 0
        limit = self._worker.cards_per_flush if cards else 0
        if behind:
            limit = min(limit, outbox.records // _RECORDS_PER_CARD)
        # Cards of customers who are gone are deleted at once in any case.
        outbox.add_cards(self.engine.take_cards(limit))
        if snapshot:
            packing = perf_counter()
            taken = self.engine.begin_snapshot()
            self._counters.measures.snapshot.observe(perf_counter() - packing)
            self._snapshot_taken(now())
            self._saved_position = self.position
            if at_once:
                outbox.add_snapshot(taken)
        self._pace.begin(now(), cards=cards)
        hole, self._hole = self._hole, None
        before = self._saving if snapshot else None
        self._flushing = asyncio.create_task(self._commit(outbox, self.position, hole, closed, before))
        self._flushing.add_done_callback(self._ended)
        if snapshot and not at_once:
            self._save(taken, self._flushing)

    def _save(self, taken: Unsealed, results: asyncio.Task[None]) -> None:
        place, limit = self._topology.name(SNAPSHOTS.contract), self._suspects.limits.get(SNAPSHOTS.contract)
        self._saving = Saving(taken, self._saver, (place, self._partition), limit, results)
        self._saving.written.add_done_callback(self._count_saved)
        self._saving.written.add_done_callback(self._ended)

    def _count_saved(self, written: asyncio.Task[int | None]) -> None:
        if written.cancelled():
            return
        if written.exception() is not None:
            self._counters.unsaved += 1
        elif (rows := written.result()) is not None:
            self._counters.save(rows)

    def _ended(self, transaction: asyncio.Task[Any]) -> None:
        if not transaction.cancelled():
            transaction.exception()  # the code that awaits it raises it; after a cancellation there may be none
        self._on_flushed()

    async def _commit(
        self,
        outbox: Outbox,
        offset: int,
        hole: int | None,
        closed: float,
        before: Saving | None,
    ) -> None:
        if hole is not None:
            # Offsets without a record (transaction markers) look like deleted records.
            first, _ = await self._reader.bounds(self._topology.touchpoints.name)
            self._lost.check(hole, first, "they were not read yet")
        if outbox.rows_to_encode < outboxes.WORTH_A_THREAD:
            outbox.encode()
        else:
            await asyncio.get_running_loop().run_in_executor(None, outbox.encode)
        if before is not None:
            # The rows of this snapshot come after those of the one before.
            await before.finish()
        begun = perf_counter()
        limits = await self._prepared(outbox)
        try:
            await commit(
                self._producer,
                outbox,
                topology=self._topology,
                group=self._kafka.group,
                partition=self._partition,
                partitions=self._partitions,
                offset=offset,
                limits=limits,
                smaller=self._suspects.limits,
            )
        except BaseException:
            self._counters.aborted += 1
            raise
        ended = perf_counter()
        self.committed_at = now()
        self._pace.end(self.committed_at)
        if offset > self._moved_to:
            self._moved_to, self.moved_at = offset, self.committed_at
        self._counters.measures.transaction.observe(ended - begun)
        self._counters.measures.flush.observe(ended - closed)
        self._counters.commit(outbox, offset)

    async def _prepared(self, outbox: Outbox) -> Limits:
        """Prepare an outbox for its transaction; returns the largest batches that the topics take.

        Raises:
            TopicError: there are more partitions than this state was made for.
        """
        touchpoints = BATCH_BYTES
        if outbox.forwards or outbox.requests:
            touchpoints = min(await self._prepare_forwards(outbox), BATCH_BYTES)
        return Limits(touchpoints, min(await self._prepare_rejected(outbox), BATCH_BYTES))

    async def _prepare_forwards(self, outbox: Outbox) -> int:
        """Reject records that are too large for cx.touchpoints; returns the largest batch that it takes, in bytes."""
        touchpoints = self._topology.touchpoints.name
        count = len(await self._producer.partitions_for(touchpoints))
        if count != self._partitions:
            raise TopicError(
                f"{touchpoints} has {count} partitions now, not {self._partitions}: "
                "the partition starts over, as some of its customers belong elsewhere"
            )
        if self._limit is None or outbox.exceeds(self._limit):
            # It may have been raised since.
            self._limit = await self._kafka.largest_batch()
        outbox.refuse_too_large(self._limit, self._partition)
        return self._limit

    async def _prepare_rejected(self, outbox: Outbox) -> int:
        """Replace copies that are too large for cx.rejected; returns the largest batch that it takes, in bytes."""
        if outbox.rejected_bytes <= _SURELY_TAKEN_BYTES:
            return BATCH_BYTES
        if self._rejected_limit is None or outbox.largest_rejected > self._rejected_limit:
            # It may have been raised since.
            self._rejected_limit = await self._kafka.largest_batch(REJECTED)
        outbox.shorten(self._rejected_limit)
        return self._rejected_limit

"""One assigned partition, from the claim to the last commit.

    claiming -> restoring -> running -> closed
        ^           |           |
        +-- failed -+-----------+   the state in memory is dropped and restored from Kafka

A claim fences the previous owner of the partition, and only then the committed offset and the snapshot are
read. A state whose results could not be committed is never used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Literal

import structlog
from aiokafka.errors import KafkaError, ProducerFenced

from cxstream.kafka.coordinators import TransactionExpiredError
from cxstream.kafka.records import between
from cxstream.model.errors import CxstreamError, OwnershipError, TopicError, UnreadableError
from cxstream.model.rules import rules_of
from cxstream.scoring.failing import BatchError, UnforeseenError, place_of
from cxstream.scoring.state.passed_over import SKIPPED
from cxstream.settings.skips import skips
from cxstream.topology import SNAPSHOTS
from cxstream.worker import feed
from cxstream.worker.clock import now
from cxstream.worker.feed import Waiting
from cxstream.worker.ownership.requests import INLETS
from cxstream.worker.ownership.restore import Restored, furthest, hand_over, restore
from cxstream.worker.ownership.session import OwnershipSession
from cxstream.worker.ownership.standstill import Standstill
from cxstream.worker.ownership.suspects import RowsRefusedError, Suspects
from cxstream.worker.ownership.takeover import succeed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cxstream.scoring.engine import Engine
    from cxstream.scoring.state.marker import Owner
    from cxstream.settings import Settings
    from cxstream.worker.clients import Kafka, Producer, Reader
    from cxstream.worker.feed import Fetch
    from cxstream.worker.metrics.counters import Counters
    from cxstream.worker.ownership.inlets import Inlet
    from cxstream.worker.ownership.session import Ahead
    from cxstream.worker.ownership.takeover import Inheritance

Phase = Literal["claiming", "restoring", "running", "failed", "fenced", "closed"]

_BACKOFF_SECONDS = 0.5
_BACKOFF_MAX_SECONDS = 60.0
# While the log has more, the next fetch comes within this time.
_NEXT_FETCH_SECONDS = 1.0
_REQUESTS_RETRY_SECONDS = 5.0
# How long few records wait for more.
_GATHER_SECONDS = 0.25
# The part of the time to close that is reserved for releasing the claim; at most half of it.
_GOODBYE_SECONDS = 3.0
# Two heartbeats take this part of `session_seconds`. If the group has given the partition to another worker, it says so at
# the next one; if not, only a transaction took too long, and the partition can be claimed again.
_HEARTBEATS_SHARE = 0.2
# The time that a partition that was not closed in time gets to stop.
_CANCEL_SECONDS = 3.0

log = structlog.get_logger(__name__)


class Partition:
    """The task that owns one partition of cx.touchpoints.

    Attributes:
        number: which partition.
        state: claiming, restoring, ...; it takes records when "running".
        counters: its totals.
        dispossessed: the error if the topics belong to another group, which ends the work; None otherwise.
        unreadable: topics whose partition of this number it cannot read itself, and why; without those of the feed.

    Args:
        settings: all settings.
        kafka: creates its clients.
        number: which partition.
        parked: its state, if this process has one.
        counters: totals to continue.
        count: how many partitions there were when the worker started; None if that is not known.
        seen: the offset up to which the feed has brought records that this object does not get.
    """

    def __init__(
        self,
        settings: Settings,
        kafka: Kafka,
        number: int,
        *,
        parked: Restored | None,
        counters: Counters,
        count: int | None = None,
        seen: int = 0,
    ) -> None:
        self.number = number
        self.state: Phase = "claiming"
        self.counters = counters
        self.unreadable: dict[str, UnreadableError] = {}
        self.dispossessed: OwnershipError | None = None
        self._settings = settings
        self._kafka = kafka
        self._parked = parked
        self._count = count
        self._queue = Waiting()
        self._seen = seen  # the offset after the last record from the feed
        self._end = 0  # the offset after the last record in the log, as far as the feed knows
        self._fed_at = 0.0
        self._applying = 0  # memory of the fetch that is being applied, in bytes
        self._wake = asyncio.Event()
        self._deadline: float | None = None
        self._backoff = _BACKOFF_SECONDS
        self._session: OwnershipSession | None = None
        self._reason = ""
        self._failed: Standstill | None = None  # where it has failed, until it is past that offset
        self._suspects = Suspects(number)
        self._resting = False  # running, and nothing to do
        self._progress_at = now()
        self._log = log.bind(partition=number)
        self._task = asyncio.create_task(self._live(), name=f"partition-{number}")

    @property
    def full(self) -> bool:
        """Whether enough fetches wait; more would only take memory."""
        return len(self._queue) >= self._settings.worker.queue_batches

    @property
    def position(self) -> int | None:
        """The first source offset not yet applied; None while there is no state."""
        return self._session.position if self._session else None

    @property
    def engine(self) -> Engine | None:
        """The state, to be read between two batches; None while it does not follow the log."""
        return self._session.engine if self._session is not None and self.state == "running" else None

    @property
    def waiting(self) -> int:
        """Fetches that wait to be applied."""
        return len(self._queue)

    @property
    def waiting_bytes(self) -> int:
        """The memory of these and of the one that is being applied, in bytes."""
        return self._applying + self._queue.cost

    @property
    def end(self) -> int:
        """The offset after the last record in the log, as far as the feed knows; 0 before the first fetch."""
        return self._end

    @property
    def caught_up(self) -> bool:
        """Whether all records from the feed have been applied."""
        return self.state == "running" and self._session is not None and self._session.position >= self._seen

    @property
    def stalled(self) -> str:
        """Why a partition with work has made no progress for `stalled_seconds`; "" otherwise."""
        if self._resting:
            return ""
        since = max(self._progress_at, self._session.moved_at if self._session else 0.0)
        seconds = now() - since
        if seconds <= self._settings.worker.stalled_seconds:
            return ""
        reason = "nothing was committed" if self.state == "running" else self._reason or f"still {self.state}"
        return f"{reason}, for {seconds:.0f} s"

    @property
    def failed(self) -> Standstill | None:
        """Where it has failed, until it is past that offset, even if it runs again; None otherwise."""
        if self._failed is not None and (self.counters.committed or 0) > self._failed.offset:
            self._failed = None
        return self._failed

    def put(self, fetch: Fetch) -> None:
        """Take the next fetch of the feed."""
        if self._closing:
            return
        if self._resting:
            self._resting, self._progress_at = False, now()
        self._seen, self._end, self._fed_at = fetch.last + 1, fetch.end, now()
        self._queue.put(fetch, self._fed_at)
        self._wake.set()

    async def close(self, seconds: float) -> Restored | None:
        """Commit the applied records and release the partition.

        Args:
            seconds: how long that may take; what is not committed by then is computed again by the next owner.

        Returns:
            The state, if Kafka holds all of it; it may be kept for when the partition comes back.
        """
        self._deadline = now() + seconds - min(_GOODBYE_SECONDS, seconds / 2)
        self._wake.set()
        if self._session is None:
            self._task.cancel()
        _, pending = await asyncio.wait([self._task], timeout=seconds)
        if pending:
            self._log.error("partition not closed in time; its next owner continues from the last commit")
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CANCEL_SECONDS)
        self.state = "closed"
        return self._parked

    @property
    def _behind(self) -> bool:
        # The log may end with transaction markers, which no fetch contains: without fetches the partition is not behind.
        coming = self._seen < self._end and now() - self._fed_at < _NEXT_FETCH_SECONDS
        return bool(self._queue) or coming

    @property
    def _closing(self) -> bool:
        return self._deadline is not None

    async def _live(self) -> None:
        while not self._closing:
            try:
                await self._own()
            except OwnershipError as error:
                self._give_way(error)
                return
            except ProducerFenced as error:
                # The group has given the partition to another worker and will revoke it here; if it does not, that worker is gone.
                self.state, wait = "fenced", self._settings.worker.session_seconds
                if isinstance(error, TransactionExpiredError):
                    wait *= _HEARTBEATS_SHARE
                self._stop_for(error)
                if await self._is_dispossessed():
                    return
            except Exception as error:  # noqa: BLE001 - an error of one partition must not affect the others
                self.state, wait = "failed", self._recover(error)
            else:
                return
            await self._pause(wait)

    def _stop_for(self, error: ProducerFenced) -> None:
        """Record that the claim is over; where a transaction was too slow, that is why, and nobody else need have claimed it."""
        if isinstance(error, TransactionExpiredError):
            why = str(error.args[0])
            self._fail(why)
            self.counters.failures += 1
            self._log.error("a transaction took too long; the partition starts over", error=why)
            return
        self._fail("another worker has claimed the partition")
        self.counters.fenced += 1
        self._log.error("another worker has claimed the partition; this one has stopped working on it")

    async def _is_dispossessed(self) -> bool:
        """Whether another group has claimed the partition, not another worker of this group."""
        try:
            await self._kafka.confirm()
        except OwnershipError as error:
            self._give_way(error)
            return True
        except (KafkaError, CxstreamError) as error:
            self._log.warning("owner of the topics not known", error=str(error))
        return False

    def _give_way(self, error: OwnershipError) -> None:
        self.state, self._reason, self.dispossessed = "fenced", str(error), error
        self._log.error("the topics belong to another group", error=str(error))

    def _recover(self, error: Exception) -> float:
        """Record a failure; returns the seconds until the next attempt."""
        expected = isinstance(error, (KafkaError, CxstreamError, BatchError, RowsRefusedError))
        said = f"{type(error).__name__}: {error}" if expected else place_of(error)
        self._fail(said, error.first if isinstance(error, BatchError) else None)
        if self._suspects.learn(error):
            return 0.0
        wait = self._backoff
        self._backoff = min(self._backoff * 2, _BACKOFF_MAX_SECONDS)
        if isinstance(error, UnreadableError):
            self.unreadable[error.topic] = error
        self.counters.failures += 1
        self._log.error(
            "partition failed; trying again",
            offset=self._failed.offset if self._failed else None,
            error=said,
            seconds=wait,
            exc_info=None if expected else UnforeseenError.of(error),
        )
        return wait

    def _fail(self, reason: str, offset: int | None = None) -> None:
        """Record the failed offset until it is passed."""
        self._reason = reason
        self._failed = Standstill(self.counters.committed or 0 if offset is None else offset, reason)

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until the partition must be closed."""
        until = now() + seconds
        while not self._closing and now() < until:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until - now()):
                    await self._wake.wait()

    async def _own(self) -> None:
        """Claim, restore, work until closed, commit."""
        self.state = "claiming"
        began = now()
        parked, self._parked = self._parked, None
        producer = await self._kafka.claim(self.number)
        saver: Producer | None = None
        try:
            saver = await self._kafka.claim(self.number, of=SNAPSHOTS)
            # Only now: a takeover claims the topics first, and then this partition.
            claim = await self._kafka.confirm()
            async with self._kafka.reader(self.number) as reader:
                inherited = await succeed(self._settings, self._kafka, claim, self.number, reader)
                self._session = await self._restored(producer, saver, reader, parked, claim.owner, inherited)
                self._session.inherit(inherited.taken)
                self.state, self._reason = "running", ""
                self.unreadable.clear()
                self.counters.measures.recovery.observe(now() - began)
                listening = [
                    asyncio.create_task(
                        self._listen(self._session, inlet, inherited.taken.get(inlet.topic.contract)),
                        name=f"{inlet.topic.contract}-{self.number}",
                    )
                    for inlet in INLETS
                ]
                for task in listening:
                    task.add_done_callback(lambda _: self._wake.set())
                try:
                    await self._work(self._session, reader, listening)
                finally:
                    for task in listening:
                        task.cancel()
                    await asyncio.wait(listening)
                if await self._session.finish(self._deadline or 0.0):
                    self._parked = Restored(
                        self._session.engine, self._session.position, saved=True, problem=""
                    )
                self._log.info("partition closed", offset=self._session.position)
        finally:
            if self._session is not None:
                # A partition that fails at its first commit waits longer each time.
                if self._session.committed_at:
                    self._backoff = _BACKOFF_SECONDS
                self._progress_at = max(self._progress_at, self._session.moved_at)
                self._rest(False)
                self._session.abandon()
                self._session = None
            try:
                await self._kafka.release(producer)
            finally:
                # Also where there was no time for the other one.
                if saver is not None:
                    await self._kafka.release(saver)

    def _compare_rules(self, engine: Engine) -> None:
        """Log, once for each set of rules, if the log and the settings have different rules."""
        latest = engine.rules.latest
        if latest.rules.label == self.counters.compared:
            return
        self.counters.compared = latest.rules.label
        own = rules_of(self._settings.scoring, self._settings.actions)
        if latest.of_log and not latest.rules.is_same(own):
            self._log.warning(
                "the log has other rules than the settings, whose [scoring] and [actions] have no effect; 'cxstream rules "
                "show' says what differs",
                rules=latest.rules.label,
                settings=own.label,
                source=latest.source,
                id=latest.id,
            )

    async def _restored(
        self,
        producer: Producer,
        saver: Producer,
        reader: Reader,
        parked: Restored | None,
        owner: Owner,
        inherited: Inheritance,
    ) -> OwnershipSession:
        self.state = "restoring"
        start, before = now(), self.counters.replayed
        restored = await restore(
            self._settings, reader, self.number, parked, self.counters, inherited.touchpoints, self._suspects
        )
        hand_over(restored.engine, owner)
        there = restored.engine.partitions
        if self._count is not None and there != self._count:
            # This state leaves out customers of other partitions: it must not replace their saved state.
            raise TopicError(
                f"{self._settings.topology.touchpoints.name} has {there} partitions now, and had {self._count} when this worker started"
            )
        self.counters.restores += 1
        self.counters.committed = restored.position
        self._log.info(
            "partition running",
            offset=restored.position,
            customers=restored.engine.customers,
            replayed=self.counters.replayed - before,
            kept=parked is not None and restored.engine is parked.engine,
            seconds=round(now() - start, 3),
            rules=restored.engine.rules.latest.rules.label,
        )
        self._compare_rules(restored.engine)
        return OwnershipSession(
            self._settings,
            self._kafka,
            self.number,
            producer,
            saver,
            reader,
            restored,
            self.counters,
            self._suspects,
            self._wake.set,
        )

    async def _listen(self, session: OwnershipSession, inlet: Inlet, inherited: int | None) -> None:
        """Take the records of a side topic, one fetch after the other.

        Args:
            session: takes them.
            inlet: the side topic.
            inherited: the offset of the group that this one replaces.
        """
        position: int | None = None
        topic = self._settings.topology.named(inlet.topic).name
        wait = _REQUESTS_RETRY_SECONDS
        while True:
            try:
                async with self._kafka.reader(self.number) as reader:
                    if position is None:
                        position = furthest(await reader.committed(topic), inherited)
                    if position is None:
                        position, _ = await reader.bounds(topic)
                    async for records in reader.follow(topic, position):
                        committed = session.forward(inlet, records)
                        self._wake.set()
                        await committed.wait()
                        position = records[-1].offset + 1
                        self.unreadable.pop(topic, None)
                        wait = _REQUESTS_RETRY_SECONDS
            except KafkaError as error:
                self._log.warning(
                    "records of a side topic wait",
                    topic=topic,
                    error=str(error),
                    seconds=_REQUESTS_RETRY_SECONDS,
                )
                await asyncio.sleep(_REQUESTS_RETRY_SECONDS)
            except UnreadableError as error:
                self.unreadable[topic] = error
                self._log.error(
                    "records of a side topic cannot be read", topic=topic, error=str(error), seconds=wait
                )
                await asyncio.sleep(wait)
                wait = min(wait * 2, _BACKOFF_MAX_SECONDS)

    async def _work(
        self, session: OwnershipSession, reader: Reader, listening: Sequence[asyncio.Task[None]]
    ) -> None:
        fed: int | None = None
        await self._skip(session, reader)
        await self._catch_up(session, reader, await self._first_fed(reader, session.position))
        while not self._closing:
            for task in listening:
                if task.done():
                    task.result()  # it ends only by an error, which is an error of this partition
            if self._waits_until(session) > now():
                await session.keep_up(behind=self._behind)
                self._rest(session.idle and not self._queue)
                await self._until(session)
                continue
            fetch = self._queue.take()
            if fetch.follows is None or fetch.follows != fed:
                await self._catch_up(session, reader, fetch.first)
            fed = fetch.last
            self._applying, records = fetch.cost, fetch.records
            # Drop the reference: an idle partition must not keep its last fetch in memory.
            del fetch
            try:
                await self._apply(session, records)
            finally:
                self._applying = 0
                del records

    async def _first_fed(self, reader: Reader, position: int) -> int:
        """The offset from which the feed brings all records: its first one that waits, or else the end of what it has brought."""
        seen = self._seen
        if not self._queue and seen > position:
            # A log that has lost its end, or that was made again, may not reach so far: a reader would wait for that.
            _, end = await reader.bounds(self._settings.topology.touchpoints.name)
            seen = min(seen, end)
        return self._queue.first if self._queue else seen

    def _waits_until(self, session: OwnershipSession) -> float:
        """When the next records are applied; never while there are none.

        Few records wait until their results can be committed, a quarter of a second at most: they take little more time
        together than each of many small fetches would.
        """
        if not self._queue:
            return math.inf
        if self._queue.records >= feed.CHUNK:
            return -math.inf
        return min(session.gathers_until, self._queue.since + _GATHER_SECONDS)

    def _rest(self, resting: bool) -> None:
        """Record whether there is nothing to do."""
        if self._resting and not resting:
            self._progress_at = now()
        if resting:
            self._failed = None  # all records from the feed are committed
        self._resting = resting

    async def _skip(self, session: OwnershipSession, reader: Reader) -> None:
        """Skip the records that an operator has chosen, after those before them are applied."""
        for asked in skips(self._settings.worker.skip, self.number):
            _, end = await reader.bounds(self._settings.topology.touchpoints.name)
            done = range(asked.start, min(asked.stop, session.position))
            await self._catch_up(session, reader, min(asked.start, end))
            there = range(max(asked.start, session.position), min(asked.stop, end))
            for offset in there:
                session.engine.partition.passed.add(offset, SKIPPED)
            while session.position < there.stop and not self._closing:
                if await self._skip_some(session, there):
                    break
            self._tell_skipped(session, asked, done, end)

    async def _skip_some(self, session: OwnershipSession, there: range) -> bool:
        """Pass over records up to and including the first that cannot be read; returns whether all could be read."""
        try:
            # After an unreadable record, a reader cannot read later ones.
            async with self._kafka.reader(self.number) as reader:
                await self._catch_up(session, reader, there.stop)
        except UnreadableError as error:
            if error.offset not in there:
                raise
            self._log.warning("record cannot be read", offset=error.offset, reason=error.reason)
            session.skip(error.offset)
            await session.keep_up(behind=self._behind)
            return False
        return True

    def _tell_skipped(self, session: OwnershipSession, asked: range, done: range, end: int) -> None:
        said = f"{asked.start}-{asked.stop - 1}" if len(asked) > 1 else f"{asked.start}"
        skipped = session.engine.partition.passed.reasons
        if processed := [offset for offset in done if offset not in skipped]:
            self._log.warning(
                "not skipped: processed before", asked=said, first=processed[0], last=processed[-1]
            )
        elif done:
            self._log.info("skipped before; --skip can be left out", asked=said)
        if asked.stop > end:
            self._log.warning("not skipped: the log ends before", asked=said, end=end)

    async def _catch_up(self, session: OwnershipSession, reader: Reader, stop: int) -> None:
        """Read records that the feed has not delivered: those before a fetch that does not follow the previous one."""
        if session.position >= stop:
            return
        async for records in reader.read(self._settings.topology.touchpoints.name, session.position, stop):
            await self._apply(session, records)
            if self._closing:
                return

    async def _apply(self, session: OwnershipSession, records: Sequence[Any]) -> None:
        if records[0].offset < session.position:
            records = between(records, session.position)
        pieces = iter(self._suspects.pieces(records))
        piece = next(pieces, None)
        reading = None if piece is None else session.reading(piece)
        try:
            while piece is not None:
                ahead = await _or_nothing(reading)
                if self._closing:
                    return
                following = next(pieces, None)
                reading = None if following is None else session.reading(following)
                session.apply(piece, ahead)
                await session.keep_up(behind=self._behind)
                await asyncio.sleep(0)
                piece = following
        finally:
            if reading is not None:
                reading.cancel()

    async def _until(self, session: OwnershipSession) -> None:
        """Sleep until there is something to do, or until a fetch, the end of a flush or the closing wakes it."""
        self._wake.clear()
        when = self._waits_until(session) if self._queue else session.next_flush
        if self._closing or (when is not None and when <= now()):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if when is None or math.isinf(when) else when - now()):
                await self._wake.wait()


async def _or_nothing(reading: asyncio.Future[Ahead] | None) -> Ahead | None:
    """What was read ahead; None where that failed: who applies the records finds out why."""
    if reading is None:
        return None
    try:
        return await reading
    except Exception:  # noqa: BLE001 - likewise
        return None

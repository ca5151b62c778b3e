"""Records of Kafka as batches of a warehouse, from the positions in the file on."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pyarrow as pa
import structlog

from cxstream.files.scored import decode
from cxstream.model.errors import LostRecordsError
from cxstream.model.scored import CLOCK, COLUMNS
from cxstream.scoring.codec.changes import decode_changes, markers
from cxstream.scoring.codec.peek import about
from cxstream.scoring.codec.rejection import unfold
from cxstream.topology import CHANGES, CHURN_RISK, FORGOTTEN, FRICTION, REJECTED, RESENT, SCORED, SCORES, WORK
from cxstream.warehouse.batch import Batch, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings
    from cxstream.warehouse.ingest import Ingest
    from cxstream.warehouse.metrics import FollowMetrics
    from cxstream.warehouse.store import Store

    Positions = Mapping[tuple[str, int], int]

_COLUMNS = [column.name for column in COLUMNS]
# Of the last ms of the year 9999.
_CLOCK_DIGITS = 15
# Receipts first: what they delete is then not taken in.
TOPICS = (FORGOTTEN, SCORED, SCORES, CHURN_RISK, FRICTION, CHANGES, REJECTED, WORK)

log = structlog.get_logger(__name__)


def positions(store: Store) -> dict[tuple[str, int], int]:
    """The next offset of each topic (by its name in the contract) and partition."""
    found = store.connection.execute("SELECT topic, partition, next_offset FROM positions").fetchall()
    return {(topic, partition): offset for topic, partition, offset in found}


class Feed:
    """Reads on where the warehouse has stopped.

    Args:
        settings: topics, and how much is taken in at a time.
        store: the warehouse.
        ingest: takes batches into it.
        stopped: asked between batches; what has been read is taken in first.
        accept_loss: go on where the log has lost records that were not read.
        metrics: told how far it is.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        ingest: Ingest,
        *,
        stopped: Callable[[], bool] = lambda: False,
        accept_loss: bool = False,
        metrics: FollowMetrics | None = None,
    ) -> None:
        self._metrics = metrics
        self._settings, self._store, self._ingest = settings, store, ingest
        self._stopped, self._accept_loss = stopped, accept_loss
        self._batch = Batch()
        self._left: Counter[str] = Counter()

    async def catch_up(self, reader: TopicReader, until: Positions | None = None) -> int:
        """Take in what is there, up to the end of the log; returns how many rows.

        Args:
            reader: of TOPICS.
            until: the offsets at which to stop, instead of the end.

        Raises:
            BrokerError: Kafka does not answer.
            LostRecordsError: the log no longer has records that were not read.
            WarehouseError: the disk is full, or the memory does not suffice.
        """
        done = positions(self._store)
        ranges = []
        for topic in map(self._settings.topology.named, TOPICS):
            for partition in range(reader.partitions[topic.name]):
                place = topic.contract, partition
                first, end = await reader.bounds(topic.name, partition)
                stop = end if until is None else min(end, until.get(place, 0))
                ranges.append((topic, partition, self._start(place, done.get(place), first, end), stop))
        self._left = Counter({topic.contract: 0 for topic, *_ in ranges})
        for topic, _, start, stop in ranges:
            self._left[topic.contract] += max(0, stop - start)
        for contract in self._left:
            self._say(contract, None)
        taken = 0
        for topic, partition, start, stop in ranges:
            if start < stop and not self._stopped():
                taken += await self._read(reader, topic.contract, topic.name, partition, start, stop)
        return taken + self._flush()

    async def _read(
        self, reader: TopicReader, contract: str, name: str, partition: int, start: int, stop: int
    ) -> int:
        taken, at = 0, start
        async for records in reader.read(name, partition, start, stop):
            left_out = take(self._batch, contract, partition, records)
            if left_out and self._metrics is not None:
                self._metrics.failed("record", left_out)
            self._batch.positions[contract, partition] = records[-1].offset + 1
            self._left[contract] -= records[-1].offset + 1 - at
            at = records[-1].offset + 1
            self._say(contract, records[-1].timestamp)
            if self._batch.rows >= self._settings.warehouse.flush_rows:
                taken += self._flush()
            if self._stopped():
                return taken
        # What ends a transaction takes an offset, too.
        self._batch.positions[contract, partition] = stop
        self._left[contract] -= stop - at
        self._say(contract, None)
        return taken

    @property
    def lag(self) -> int:
        """Records that were there at the last look and are not taken in."""
        return self._left.total()

    def _say(self, topic: str, last_ms: int | None) -> None:
        if self._metrics is not None:
            self._metrics.behind(topic, self._left[topic], last_ms)

    def _flush(self) -> int:
        """Take in what has been read."""
        batch, self._batch = self._batch, Batch()
        if batch.positions:
            self._ingest.apply(batch)
        return batch.rows

    def _start(self, place: tuple[str, int], done: int | None, first: int, end: int) -> int:
        topic, partition = place
        if done is None:
            return first
        if done > end:
            raise LostRecordsError(
                f"{topic}-{partition}: the warehouse has read up to offset {done}, and the log ends at {end}: it is another "
                "log; name another file, or build it again with 'cxstream warehouse rebuild'"
            )
        if done < first:
            if not self._accept_loss:
                raise LostRecordsError(
                    f"{topic}-{partition}: the warehouse has read up to offset {done}, and the log begins at {first}: what was "
                    "between is deleted; go on without it with 'cxstream warehouse follow --accept-loss'"
                )
            log.warning("records are lost", topic=topic, partition=partition, first=done, last=first - 1)
        return max(done, first)


def take(batch: Batch, topic: str, partition: int, records: Sequence[Any]) -> int:
    """Decode records of a topic of the contract into a batch; returns how many were left out.

    A record that is not what the topic should have is left out, and a warning names it: it did not come from a worker.
    """
    left_out = 0
    for record in records:
        try:
            _TAKERS[topic](batch, partition, record)
        except (msgspec.MsgspecError, pa.ArrowException, ValueError, TypeError, KeyError) as error:
            log.warning(
                "a record cannot be read and is left out",
                topic=topic,
                partition=partition,
                offset=record.offset,
                reason=type(error).__name__,
            )
            left_out += 1
    return left_out


def _scored(batch: Batch, partition: int, record: Any) -> None:
    table = decode(record.value)
    for name, said in record.headers:
        if name == CLOCK:
            batch.clocks[partition] = max(batch.clocks.get(partition, 0), _clock(said))
    # Columns that a later version adds are not known here.
    batch.scored.append(table.select(_COLUMNS))


def _clock(said: bytes) -> int:
    """A time in ms, UTC; a clock never goes back, so that one from elsewhere would end all watching of places.

    Raises:
        ValueError: no worker wrote it.
    """
    if not said.isdigit() or len(said) > _CLOCK_DIGITS:
        raise ValueError(f"header {CLOCK}: no time in ms")
    return int(said)


def _card(batch: Batch, partition: int, record: Any) -> None:
    if record.value:
        batch.add_card(record.offset, record.value)
    else:
        batch.add_tombstone(partition, record.offset, record.key.decode())


def _signal(batch: Batch, _: int, record: Any) -> None:
    batch.add_signals([record.value])


def _receipt(batch: Batch, _: int, record: Any) -> None:
    batch.add_receipt(record.value)


def _work(batch: Batch, partition: int, record: Any) -> None:
    batch.add_work(partition, record.offset, record.key or b"", record.value)


def _change(batch: Batch, _: int, record: Any) -> None:
    decoded = decode_changes([record.value], [list(record.headers)])
    if decoded.rejected:
        raise ValueError(decoded.rejected[0].message)
    batch.add_changes(markers(decoded))


def _rejected(batch: Batch, _: int, record: Any) -> None:
    found = unfold(list(record.headers))
    if found is None:
        return
    own, said, _reference = found
    reason = said["reason"].decode()
    if reason != RESENT:
        source = about(record.value, own).source
        day = datetime.fromtimestamp(record.timestamp / 1000, UTC).date()
        batch.rejected[Refusal(day, source if isinstance(source, str) else None, reason)] += 1


_TAKERS: dict[str, Callable[[Batch, int, Any], None]] = {
    SCORED.contract: _scored,
    SCORES.contract: _card,
    CHURN_RISK.contract: _signal,
    FRICTION.contract: _signal,
    CHANGES.contract: _change,
    REJECTED.contract: _rejected,
    FORGOTTEN.contract: _receipt,
    WORK.contract: _work,
}

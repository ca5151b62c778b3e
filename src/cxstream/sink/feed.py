"""Records of Kafka as batches of a database, from the positions in it on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pyarrow as pa
import structlog

from cxstream.files.scored import decode
from cxstream.model.errors import LostRecordsError
from cxstream.model.scored import COLUMNS
from cxstream.sink.ingest import only_new
from cxstream.sink.records import Rows
from cxstream.topology import CHURN_RISK, FORGOTTEN, FRICTION, INSIGHTS, SCORED, SCORES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings
    from cxstream.sink.database import Database
    from cxstream.sink.ingest import Ingest

_COLUMNS = [column.name for column in COLUMNS]
# Receipts first: what they delete is then not taken in.
TOPICS = (FORGOTTEN, SCORES, CHURN_RISK, FRICTION, INSIGHTS, SCORED)

log = structlog.get_logger(__name__)


def positions(database: Database) -> dict[tuple[str, int], int]:
    """The next offset of each topic (by its name in the contract) and partition."""
    with database.translated():
        found = database.connection.execute("SELECT topic, partition, next_offset FROM positions").fetchall()
    return {(topic, partition): offset for topic, partition, offset in found}


class Feed:
    """Reads on where the database has stopped.

    Args:
        settings: topics, and how much is taken in at a time.
        database: the database.
        ingest: takes batches into it.
        stopped: asked between batches; what has been read is taken in first.
        accept_loss: go on where the log has lost records that were not read.
        committed: told of each batch that is in the database.

    Attributes:
        lag: records that were there at the last look and are not taken in, by topic.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        ingest: Ingest,
        *,
        stopped: Callable[[], bool] = lambda: False,
        accept_loss: bool = False,
        committed: Callable[[Rows], None] = lambda _: None,
    ) -> None:
        self._settings, self._database, self._ingest = settings, database, ingest
        self._stopped, self._accept_loss, self._committed = stopped, accept_loss, committed
        self._rows = Rows()
        self._writing: asyncio.Task[None] | None = None
        self.lag: dict[str, int] = {}

    async def catch_up(self, reader: TopicReader, until: Mapping[tuple[str, int], int] | None = None) -> int:
        """Take in what is there, up to the end of the log; returns how many rows.

        Args:
            reader: of TOPICS.
            until: the offsets at which to stop, instead of the end, by topic (its name in the contract) and partition.

        Raises:
            BrokerError: Kafka does not answer.
            LostRecordsError: the log no longer has records that were not read.
            SinkError: the database does not answer, refuses something, or has another writer.
        """
        self._rows = Rows()
        done = positions(self._database)
        ranges = []
        for topic in map(self._settings.topology.named, TOPICS):
            self.lag[topic.contract] = 0
            for partition in range(reader.partitions[topic.name]):
                first, end = await reader.bounds(topic.name, partition)
                place = topic.contract, partition
                start = self._start(topic.contract, partition, done.get(place), first, end)
                end = end if until is None else min(end, until.get(place, 0))
                ranges.append((topic, partition, start, end))
                self.lag[topic.contract] += max(0, end - start)
        taken = 0
        try:
            for topic, partition, start, end in ranges:
                if start < end and not self._stopped():
                    taken += await self._read(reader, topic.contract, topic.name, partition, start, end)
            taken += await self._flush()
        finally:
            # What is being written must end before the connection is used for something else.
            await self._written()
        return taken

    async def _read(
        self, reader: TopicReader, contract: str, name: str, partition: int, start: int, stop: int
    ) -> int:
        taken, most = 0, self._settings.sink.flush_rows
        place = contract, partition
        async for records in reader.read(name, partition, start, stop):
            for i in range(0, len(records), most):
                some = records[i : i + most]
                self._rows.take(contract, partition, some)
                self._rows.positions[place] = some[-1].offset + 1
                self.lag[contract] = max(0, self.lag[contract] - len(some))
                if self._rows.count >= most:
                    taken += await self._flush()
            if self._stopped():
                return taken
        # What ends a transaction takes an offset, too.
        self._rows.positions[place] = stop
        return taken

    async def _flush(self) -> int:
        """Write what has been read, in another thread, while more is read and decoded."""
        rows, self._rows = self._rows, Rows()
        await self._written()
        if rows.positions:
            self._writing = asyncio.create_task(self._write(rows))
        return rows.count

    async def _write(self, rows: Rows) -> None:
        await asyncio.to_thread(self._ingest.apply, rows)
        self._committed(rows)

    async def _written(self) -> None:
        """Wait until what is being written is in the database."""
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    def _start(self, topic: str, partition: int, done: int | None, first: int, end: int) -> int:
        if done is None:
            return first
        where = f"{topic}-{partition}: {self._database.address.shown} has been written up to offset {done}"
        if done > end:
            raise LostRecordsError(
                f"{where}, and the log ends at {end}: it is another log; name another schema with the setting "
                "sink.schema_name, or drop this one"
            )
        if done < first:
            if not self._accept_loss:
                raise LostRecordsError(
                    f"{where}, and the log begins at {first}: what was between is deleted; go on without it with "
                    "'cxstream sink --accept-loss'"
                )
            log.warning("records are lost", topic=topic, partition=partition, first=done, last=first - 1)
        return max(done, first)


async def take_out(settings: Settings, database: Database, ingest: Ingest, reader: TopicReader) -> int:
    """Take the touchpoints of erased customers out of the aggregates; returns how many.

    It reads what the aggregates count from cx.scored, in one transaction. What the log no longer has stays counted.

    Raises:
        BrokerError: Kafka does not answer.
        SinkError: the database does not answer, refuses something, or has another writer.
    """
    done = positions(database)
    topic = settings.topology.scored
    found: list[pa.Table] = []
    through: dict[int, int] = {}
    for partition in range(reader.partitions[topic.name]):
        first, _ = await reader.bounds(topic.name, partition)
        stop = done.get((topic.contract, partition), 0)
        async for records in reader.read(topic.name, partition, first, stop):
            for record in records:
                rows = _decoded(record.value)
                if rows is not None:
                    found.append(ingest.erasures.to_take_out(only_new(rows, through)))
    pending = list(ingest.erasures.pending)
    taken = pa.concat_tables(found) if found else None
    with database.transaction() as connection:
        if taken is not None:
            ingest.add(connection, taken, sign=-1)
        connection.execute(
            "UPDATE erasures SET taken_out = true WHERE digest = ANY(%s) AND NOT taken_out", [pending]
        )
    ingest.erasures.load(database)
    return 0 if taken is None else taken.num_rows


def _decoded(value: bytes) -> pa.Table | None:
    try:
        # Columns that a later version adds are not known here.
        return decode(value).select(_COLUMNS)
    except (pa.ArrowException, ValueError, TypeError, KeyError):
        # Nor was it counted.
        return None

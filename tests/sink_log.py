"""A log in memory that the sink reads as it reads Kafka, and what its tables have."""

from __future__ import annotations

import uuid
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cxstream.settings import Settings
from cxstream.sink.address import Address
from cxstream.sink.database import Database
from cxstream.sink.feed import TOPICS, Feed, take_out
from cxstream.sink.ingest import Ingest
from cxstream.sink.partitions import Partitions
from cxstream.warehouse import aggregates
from cxstream.warehouse.batch import Batch
from cxstream.warehouse.feed import take

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    import duckdb

    from cxstream.sink.embedded import Embedded
    from cxstream.warehouse.store import Store

# Of the rows of both, without what depends on the order of arrival or is the sink's alone.
_CARD = (
    'customer, partition, "offset", time, probability, effort, effort_halfwidth, satisfaction, satisfaction_halfwidth, '
    "level, announced, acute, last_touch, touches_1, touches_7, touches_30, touches_90, purchases, last_purchase, spent, model, "
    "p_alive, clv, value_at_risk"
)
_SIGNAL = (
    'customer, partition, "offset", n, id, time, change, level, previous, probability, effort, effort_halfwidth, satisfaction, '
    "satisfaction_halfwidth, leading_reason, suggested_action, model, value_at_risk, experiment, arm, "
    "p_alive, clv"
)
_FRICTION = 'customer, partition, "offset", n, id, time, effort_points, channel, touchpoint, evidence, model'


@dataclass
class Record:
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    timestamp: int = 0


class Log:
    """Records by topic and partition; it is its own reader.

    Args:
        partitions: of each topic.
    """

    def __init__(self, partitions: int) -> None:
        self.partitions = {topic.name: partitions for topic in TOPICS}
        self.records: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.first: dict[tuple[str, int], int] = defaultdict(int)

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Any = ()
    ) -> None:
        there = self.records[topic, partition]
        there.append(Record(len(there), key, value, list(headers)))

    def extend(self, written: dict[tuple[str, int], list[tuple[bytes | None, bytes | None, Any]]]) -> None:
        for (topic, partition), some in written.items():
            for key, value, headers in some:
                self.append(topic, partition, key, value, headers)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return self.first[topic, partition], len(self.records[topic, partition])

    async def read(
        self, topic: str, partition: int, start: int, stop: int
    ) -> AsyncIterator[Sequence[Record]]:
        for at in range(start, stop, 7):
            yield self.records[topic, partition][at : min(at + 7, stop)]


class Target:
    """A schema of its own in the database of the tests, and a writer of it.

    Args:
        server: the server.
        **settings: of the section `sink`.
    """

    def __init__(self, server: Embedded, **settings: Any) -> None:
        self.settings = sink_settings(server, **settings)
        self.database = Database(Address(server.url, self.settings.sink), self.settings.sink)
        self.database.migrate()
        self.database.claim()
        self.partitions = Partitions(self.database, self.settings.sink)
        self.partitions.keep()
        self.ingest = Ingest(self.database, self.partitions, self.settings)

    async def catch_up(self, log: Log, **options: Any) -> int:
        return await Feed(self.settings, self.database, self.ingest, **options).catch_up(log)  # type: ignore[arg-type]

    async def take_out(self, log: Log) -> int:
        return await take_out(self.settings, self.database, self.ingest, log)  # type: ignore[arg-type]

    def select(self, query: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        return self.database.connection.execute(query.encode(), parameters).fetchall()

    def content(self) -> dict[str, set[tuple[Any, ...]]]:
        """All rows, as `content` has them of a warehouse."""
        found = {
            "cards": self.select(f"SELECT {_CARD}, features FROM score_cards WHERE latest"),
            "signals": self.select(f"SELECT {_SIGNAL}, reasons FROM risk_signals"),
            "friction": self.select(f"SELECT {_FRICTION} FROM friction_signals"),
        }
        for table in aggregates.TABLES:
            keys, sums = aggregates.columns(table)
            found[table] = self.select(f"SELECT {', '.join((*keys, *sums))} FROM {table}")
        return {table: {_plain(row) for row in rows} for table, rows in found.items()}


def sink_settings(server: Embedded, **settings: Any) -> Settings:
    """Settings with a schema of their own."""
    own = {
        "password_file": str(server.password_file),
        "schema_name": f"s{uuid.uuid4().hex[:12]}",
        "keep_months": 600,
        "ahead_months": 0,
    }
    return Settings(sink=own | settings, warehouse={"memory_mib": 512, "threads": 1, "keep_days": 100_000})


@contextmanager
def target(server: Embedded, **settings: Any) -> Iterator[Target]:
    made = Target(server, **settings)
    try:
        yield made
    finally:
        made.database.close()


def fill(store: Store, log: Log) -> None:
    """Take a log into a warehouse."""
    from cxstream.warehouse.ingest import Ingest as WarehouseIngest

    ingest = WarehouseIngest(store)
    for topic in TOPICS:
        for (name, partition), records in log.records.items():
            if name == topic.name and records:
                batch = Batch()
                take(batch, name, partition, records)
                batch.positions[name, partition] = len(records)
                ingest.apply(batch)


def content(connection: duckdb.DuckDBPyConnection) -> dict[str, set[tuple[Any, ...]]]:
    """All rows of a warehouse that the sink has, too."""
    found = {
        "cards": f"SELECT {_CARD}, features FROM cards",
        "signals": f"SELECT {_SIGNAL}, reasons FROM signals",
        "friction": f"SELECT {_FRICTION} FROM friction",
    }
    found |= {table: aggregates.summed(table) for table in aggregates.TABLES}
    return {
        table: {_plain(row) for row in connection.execute(query).fetchall()} for table, query in found.items()
    }


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Comparable: times without their zone, which is UTC, and JSON documents as sorted text."""
    import json
    from datetime import datetime

    made: list[Any] = []
    for value in row:
        if isinstance(value, datetime):
            made.append(value.replace(tzinfo=None))
        elif isinstance(value, (dict, list)):
            made.append(json.dumps(value, sort_keys=True))
        elif isinstance(value, str) and value[:1] in {"{", "["}:
            made.append(json.dumps(json.loads(value), sort_keys=True))
        else:
            made.append(value)
    return tuple(made)

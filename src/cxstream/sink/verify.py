"""Proves that a schema equals the topics: it is built again beside, up to the same places, and the two are compared.

The sink may go on meanwhile: the schema is read in one snapshot, and the log up to the positions that it has. Each table is
compared by day and by digests of some rows each, so that only rows of digests that differ are fetched.

What the log no longer has cannot be compared: rows of partitions before their first record, and aggregates of days that
began before the log does. What that is, is said.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cxstream.kafka.reader import reading
from cxstream.model.errors import LostRecordsError, SinkError
from cxstream.scoring.state.erasures import digest
from cxstream.sink.database import Database
from cxstream.sink.feed import TOPICS, Feed, positions
from cxstream.sink.ingest import Ingest
from cxstream.sink.partitions import BY_DAY, Partitions
from cxstream.topology import CHURN_RISK, FORGOTTEN, FRICTION, INSIGHTS, SCORED, SCORES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings, Sink
    from cxstream.sink.address import Address

_EXAMPLES = 5
# Digests of a day's rows: of rows that differ, only those of one digest are fetched.
_BUCKETS = 256
# A record may be this much older in Kafka than its event's time says.
_SKEW = timedelta(days=1)
_LOCK = "cxstream sink verify"
# Table, the day of a row, what tells it from others.
_TABLES = {
    "score_cards": ("NULL::date", "digest"),
    "risk_signals": ("time::date", "id"),
    "friction_signals": ("time::date", "id"),
    "place_signals": ("time::date", "id"),
    **dict.fromkeys(BY_DAY, ("day", "key")),
    "erasures": ("time::date", "digest"),
    "counted": ("NULL::date", "partition"),
}
# Digests of customers and of keys say nothing to people.
_HIDDEN = frozenset({"digest", "key"})

Digests = dict[tuple[date | None, int], tuple[int, int]]
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Difference:
    """A day of a table whose rows differ.

    Attributes:
        table: the table.
        day: None for a table without days.
        only_here: some of the rows that only the database has.
        only_there: ... and that only the log has.
    """

    table: str
    day: date | None
    only_here: list[dict[str, Any]] = field(default_factory=list)
    only_there: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What was found.

    Attributes:
        differences: days of tables whose rows differ; none if the database equals the log.
        rows: how many rows were compared, by table.
        left_out: what could not be compared, in words.
    """

    differences: list[Difference] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


async def verify(settings: Settings, address: Address) -> Report:
    """Compare the schema of the settings with the topics.

    Raises:
        BrokerError: Kafka does not answer.
        TopicError: a topic is missing.
        LostRecordsError: the schema is of another log.
        SinkError: the database does not answer, has no such schema, or may not have another one beside it.
    """
    async with reading(settings, TOPICS) as reader:
        return await verify_against(settings, address, reader)


async def verify_against(settings: Settings, address: Address, reader: TopicReader) -> Report:
    """Compare the schema with what a reader of TOPICS has; raises as `verify`."""
    with _snapshot(settings, address) as here:
        reached = positions(here)
        bounds = await _bounds(settings, reader, reached)
        with _aside(settings, address, here) as (there, chosen):
            partitions = Partitions(there, chosen)
            partitions.keep()
            ingest = Ingest(there, partitions, settings)
            feed = Feed(settings, there, ingest)
            await feed.catch_up(
                reader, {place: end for place, end in reached.items() if place[0] == FORGOTTEN.contract}
            )
            _take_over(here, there, is_cut="erasures" in bounds.conditions)
            ingest.erasures.load(there)
            await feed.catch_up(reader, reached)
            with here.translated(), there.translated():
                _leave_compacted(bounds, here, there)
                return _compare(here.connection, there.connection, bounds)


@contextmanager
def _snapshot(settings: Settings, address: Address) -> Iterator[Database]:
    """The database as it is now, for as long as it takes."""
    database = Database(address, settings.sink)
    try:
        with database.translated():
            connection = database.connection
            if not database.version():
                raise SinkError(
                    f"{address.shown}: there is no schema {settings.sink.schema_name} of the sink: start 'cxstream sink', or "
                    "name another one with the setting sink.schema_name"
                )
            if not database.value("SELECT pg_try_advisory_lock(hashtext(%s))", [_LOCK]):
                raise SinkError(f"{address.shown}: another 'cxstream sink verify' runs: wait for its end")
            for name in ("idle_in_transaction_session_timeout", "statement_timeout"):
                connection.execute("SELECT set_config(%s, '0', false)", [name])
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield database
    finally:
        database.close()


@contextmanager
def _aside(settings: Settings, address: Address, here: Database) -> Iterator[tuple[Database, Sink]]:
    """An empty schema beside, which keeps the same days, and its settings; nothing is left of it afterwards."""
    name = f"{settings.sink.schema_name[:32]}_verify"
    chosen = settings.sink.model_copy(update={"schema_name": name, "statement_seconds": 3600})
    there = Database(address, chosen)
    try:
        # Of one that was killed.
        there.drop()
        there.migrate()
        there.claim()
        with here.translated(), there.translated():
            rows = here.connection.execute("SELECT name, value FROM properties").fetchall()
            there.connection.cursor().executemany("INSERT INTO properties VALUES (%s, %s)", rows)
        try:
            yield there, chosen
        finally:
            there.drop()
    finally:
        there.close()


def _take_over(here: Database, there: Database, *, is_cut: bool) -> None:
    """Which erasures the aggregates do not count any more; and those that the log may no longer have."""
    with here.translated(), there.translated():
        rows = here.connection.execute(
            'SELECT digest, partition, "offset", time, taken_out FROM erasures'
        ).fetchall()
        cursor = there.connection.cursor()
        if is_cut:
            cursor.executemany(
                "INSERT INTO erasures VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", rows
            )
        cursor.executemany(
            'UPDATE erasures SET taken_out = true WHERE digest = %s AND partition = %s AND "offset" = %s',
            [row[:3] for row in rows if row[4]],
        )


@dataclass(slots=True)
class _Bounds:
    """Which rows are compared.

    Attributes:
        conditions: of them, by table.
        left_out: what is not compared, in words.
        newer: digests of customers with cards that come after what the database has read, by topic and partition.
    """

    conditions: dict[str, list[str]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    newer: dict[Place, set[bytes]] = field(default_factory=dict)

    def add(self, table: str, condition: str) -> None:
        self.conditions.setdefault(table, []).append(condition)

    def of(self, table: str) -> str:
        return " AND ".join(self.conditions.get(table, ["true"]))


async def _bounds(settings: Settings, reader: TopicReader, reached: dict[Place, int]) -> _Bounds:
    """What of each table the log still has.

    Raises:
        LostRecordsError: the log is shorter than what was read of it.
    """
    found = _Bounds()
    for topic in map(settings.topology.named, TOPICS):
        for partition in range(reader.partitions[topic.name]):
            first, end = await reader.bounds(topic.name, partition)
            done = reached.get((topic.contract, partition), 0)
            if done > end:
                raise LostRecordsError(
                    f"{topic.name}-{partition}: the database has been written up to offset {done}, and the log ends at {end}: "
                    "it is another log"
                )
            if topic.contract == SCORES.contract:
                place = topic.name, partition
                found.newer[place] = await _customers(reader, place, done, end)
            elif first > 0 and done > 0:
                await _leave_older(found, reader, topic.contract, topic.name, partition, first, end)
    return found


async def _customers(reader: TopicReader, place: Place, start: int, stop: int) -> set[bytes]:
    """Digests of the customers who have records there."""
    found = set()
    async for records in reader.read(*place, start, stop):
        found |= {digest(record.key.decode()) for record in records if record.key}
    return found


def _leave_compacted(found: _Bounds, here: Database, there: Database) -> None:
    """Cards that Kafka has dropped for newer ones, which the database has not read yet."""
    query = "SELECT digest, record FROM score_cards WHERE partition = %s AND digest = ANY(%s)"
    for (name, partition), newer in found.newer.items():
        ours, theirs = (
            dict(each.connection.execute(query, [partition, list(newer)]).fetchall())
            for each in (here, there)
        )
        gone = [key for key, record in ours.items() if theirs.get(key, -1) < record]
        if gone:
            named = ", ".join(f"'\\x{key.hex()}'" for key in sorted(gone))
            found.add("score_cards", f"(partition <> {partition} OR digest NOT IN ({named}))")
            found.left_out.append(f"score_cards: {len(gone):,} with newer cards in {name}-{partition}")


async def _leave_older(
    found: _Bounds, reader: TopicReader, contract: str, name: str, partition: int, first: int, end: int
) -> None:
    """Rows of records that Kafka has deleted."""
    since = await _time_of_first(reader, name, partition, first, end)
    day = (since + _SKEW).date() if since else None
    tables: Sequence[str]
    if contract in {CHURN_RISK.contract, FRICTION.contract}:
        tables = ("risk_signals",) if contract == CHURN_RISK.contract else ("friction_signals",)
        bound = f"partition <> {partition}"
        condition = f"({bound} OR time::date > '{day}')" if day else bound
    elif contract == INSIGHTS.contract:
        tables, condition = ("place_signals",), f"time::date > '{day}'" if day else "false"
    elif contract == SCORED.contract:
        tables, condition = BY_DAY, f"day > '{day}'" if day else "false"
    else:
        # Receipts of erasures: who was erased stays erased.
        tables, condition = ("erasures",), f"time::date > '{day}'" if day else "false"
    for table in tables:
        found.add(table, condition)
    until = f"up to {day}" if day else "all days"
    found.left_out.append(f"{', '.join(tables)}: {until}, since {name}-{partition} begins at offset {first}")


async def _time_of_first(
    reader: TopicReader, name: str, partition: int, first: int, end: int
) -> datetime | None:
    """When the first record that the log has was appended; None if there is none."""
    async for records in reader.read(name, partition, first, end):
        if records:
            return datetime.fromtimestamp(records[0].timestamp / 1000, UTC)
    return None


def _compare(here: psycopg.Connection[Any], there: psycopg.Connection[Any], bounds: _Bounds) -> Report:
    report = Report(left_out=bounds.left_out)
    for table in _TABLES:
        where = bounds.of(table)
        ours, theirs = _digests(here, table, where), _digests(there, table, where)
        report.rows[table] = sum(count for count, _ in ours.values())
        different = {place for place in ours.keys() | theirs.keys() if ours.get(place) != theirs.get(place)}
        days = sorted({day for day, _ in different}, key=lambda day: (day is not None, day))
        for day in days:
            buckets = sorted(bucket for other, bucket in different if other == day)
            report.differences.append(_difference(here, there, table, where, day, buckets))
    return report


def _digests(connection: psycopg.Connection[Any], table: str, where: str) -> Digests:
    """Rows and the sum of their hashes, by day and by a hash of what tells a row from others."""
    day, key = _TABLES[table]
    found = connection.execute(
        f"SELECT {day}, mod(abs(hashtext({key}::text)::bigint), {_BUCKETS}), count(*), sum(hashtextextended(r::text, 0)) "
        f"FROM {_rows(connection, table)} r WHERE {where} GROUP BY 1, 2".encode()
    ).fetchall()
    return {(day, bucket): (count, int(total)) for day, bucket, count, total in found}


def _rows(connection: psycopg.Connection[Any], table: str) -> str:
    """The rows with their columns in an order that does not depend on how the table came to be."""
    described = connection.execute(f"SELECT * FROM {table} LIMIT 0".encode()).description or ()
    names = ", ".join(f'"{name}"' for name in sorted(column.name for column in described))
    return f"(SELECT {names} FROM {table})"


def _difference(
    here: psycopg.Connection[Any],
    there: psycopg.Connection[Any],
    table: str,
    where: str,
    day: date | None,
    buckets: Sequence[int],
) -> Difference:
    """Some of the rows that only one side has, from the first digests that differ."""
    found = Difference(table, day)
    for bucket in buckets:
        ours, theirs = (_of(each, table, where, day, bucket) for each in (here, there))
        found.only_here.extend(row for text, row in ours.items() if text not in theirs)
        found.only_there.extend(row for text, row in theirs.items() if text not in ours)
        if len(found.only_here) >= _EXAMPLES or len(found.only_there) >= _EXAMPLES:
            break
    del found.only_here[_EXAMPLES:], found.only_there[_EXAMPLES:]
    return found


def _of(
    connection: psycopg.Connection[Any], table: str, where: str, day: date | None, bucket: int
) -> dict[str, dict[str, Any]]:
    """The rows of a digest, by their text."""
    of_day, key = _TABLES[table]
    cursor = connection.execute(
        f"SELECT r::text, * FROM {_rows(connection, table)} r WHERE {where} "
        f"AND {of_day} IS NOT DISTINCT FROM %s::date AND mod(abs(hashtext({key}::text)::bigint), {_BUCKETS}) = %s".encode(),
        [day, bucket],
    )
    names = [column.name for column in cursor.description or ()][1:]
    return {
        text: {name: value for name, value in zip(names, values, strict=True) if name not in _HIDDEN}
        for text, *values in cursor.fetchall()
    }

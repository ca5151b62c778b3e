"""Builds a warehouse from the log beside another one: to prove that this one equals the log, or to replace it."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from cxstream.insights.detector import NEVER
from cxstream.kafka.reader import reading
from cxstream.model.errors import WarehouseError
from cxstream.topology import CHURN_RISK, FORGOTTEN, FRICTION, REJECTED, SCORED
from cxstream.warehouse.feed import TOPICS, Feed, positions
from cxstream.warehouse.ingest import Ingest
from cxstream.warehouse.insights import EPOCH
from cxstream.warehouse.place_signals import PlaceWatch, unsent
from cxstream.warehouse.query import value
from cxstream.warehouse.store import Store, remove
from cxstream.warehouse.verify import Difference, check_aggregates, compare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings
    from cxstream.warehouse.feed import Positions

# Tables whose rows come from a topic that deletes old records, and the order of their rows in a partition.
_BY_PLACE = {
    "touchpoints": (SCORED, '"offset"'),
    "risk_signals": (CHURN_RISK, '("offset", n)'),
    "friction_signals": (FRICTION, '("offset", n)'),
}
_BY_DAY = {"rejected": REJECTED, "erasures": FORGOTTEN}


async def verify(settings: Settings, path: Path) -> list[Difference]:
    """Bring a warehouse up to date, build it again aside, and compare the two.

    Rows whose records the log no longer has are not compared; aggregates are compared with the touchpoints of the file.

    Raises:
        BrokerError: Kafka does not answer.
        TopicError: a topic is missing.
        LostRecordsError: the log no longer has records that were not read.
        WarehouseError: the file cannot be opened, or the disk is full.
    """
    async with reading(settings, TOPICS) as reader:
        with Store(path, settings.warehouse) as store:
            await Feed(settings, store, Ingest(store)).catch_up(reader)
            watch = PlaceWatch(store, settings.insights)
            watch.advance()
            closed = watch.closed
            reached, memory = positions(store), await _remembered(settings, reader, store)
        with _aside(path) as draft:
            bounds = await _build(settings, reader, draft, memory, reached)
            with Store(draft, settings.warehouse) as store:
                PlaceWatch(store, settings.insights).advance(closed)
                if "touchpoints" in bounds or _is_cut(store):
                    bounds["place_signals"] = "false"
            found = compare(path, draft, settings.warehouse, bounds=bounds)
    return found + check_aggregates(path, settings.warehouse)


async def rebuild(settings: Settings, path: Path, *, accept_loss: bool = False) -> None:
    """Build a warehouse again from the log, and put it in the place of the old one.

    Args:
        settings: all settings.
        path: the warehouse.
        accept_loss: also if it has touchpoints that the log no longer has.

    Raises:
        BrokerError: Kafka does not answer.
        TopicError: a topic is missing.
        WarehouseError: touchpoints would be lost, the file cannot be opened, or the disk is full.
    """
    async with reading(settings, TOPICS) as reader:
        with Store(path, settings.warehouse) as store:
            memory = await _remembered(settings, reader, store)
            with _aside(path) as draft:
                bounds = await _build(settings, reader, draft, memory, None)
                with Store(draft, settings.warehouse) as built:
                    _watch_again(built, store, settings)
                if "touchpoints" in bounds and not accept_loss:
                    _check_loss(store, bounds["touchpoints"])
                store.replace_by(draft)


def _is_cut(store: Store) -> bool:
    """Whether touchpoints that were watched are no longer there: of customers who were erased, or of deleted days."""
    erased = value(store.connection, "SELECT count(*) FROM erasures")
    first = value(store.connection, "SELECT min(day)::VARCHAR FROM touchpoints")
    return bool(erased) or (first is not None and first <= (store.get("kept_from") or ""))


def _watch_again(built: Store, before: Store, settings: Settings) -> None:
    """Find the signals about places again; those of minutes that were counted before are not sent again."""
    PlaceWatch(built, settings.insights).advance()
    closed = PlaceWatch(before, settings.insights).closed
    waiting = [msgspec.json.decode(each.value)["id"] for each in unsent(before)]
    if closed != NEVER:
        counted = EPOCH + timedelta(minutes=closed + 1)
        with built.transaction() as connection:
            connection.execute(
                "UPDATE place_signals SET sent = true WHERE time <= ? AND NOT list_contains(?::VARCHAR[], id)",
                [counted, waiting],
            )


def _check_loss(store: Store, kept: str) -> None:
    lost, last = store.connection.execute(
        f"SELECT count(*), max(day) FROM touchpoints WHERE NOT ({kept})"
    ).fetchall()[0]
    if lost:
        raise WarehouseError(
            f"{store.path}: has {lost:,} touchpoints, up to {last}, that the log no longer has: keep the file, or drop them "
            "with --accept-loss"
        )


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Where to build another one; nothing is left of it afterwards."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        yield draft
    finally:
        remove(draft)


class _Memory(NamedTuple):
    """What a warehouse knows that the log may no longer have.

    Attributes:
        kept_from: its first day.
        erasures: (digest, partition, offset, time) of customers who were erased, if the log lacks receipts.
    """

    kept_from: str | None
    erasures: list[tuple[Any, ...]]


async def _remembered(settings: Settings, reader: TopicReader, store: Store) -> _Memory:
    erasures = []
    if await _cut(reader, settings.topology.forgotten.name):
        # Who was erased stays erased.
        erasures = store.connection.execute(
            'SELECT digest, partition, "offset", time FROM erasures'
        ).fetchall()
    return _Memory(store.get("kept_from"), erasures)


async def _build(
    settings: Settings, reader: TopicReader, draft: Path, memory: _Memory, until: Positions | None
) -> dict[str, str]:
    """Build a warehouse; returns the conditions of the rows that the log still has, by table, where it lacks some."""
    with Store(draft, settings.warehouse) as store:
        if memory.kept_from is not None:
            store.set("kept_from", memory.kept_from)
        for erasure in memory.erasures:
            store.connection.execute("INSERT INTO erasures VALUES (?, ?, ?, ?)", list(erasure))
        await Feed(settings, store, Ingest(store)).catch_up(reader, until)
        return await _bounds(settings, reader, store)


async def _bounds(settings: Settings, reader: TopicReader, store: Store) -> dict[str, str]:
    found: dict[str, str] = {}
    for table, (topic, order) in _BY_PLACE.items():
        cut = await _cut(reader, settings.topology.named(topic).name)
        parts = [_from(store, table, order, partition) for partition in cut]
        if parts:
            found[table] = " AND ".join(parts)
    for table, topic in _BY_DAY.items():
        if await _cut(reader, settings.topology.named(topic).name):
            first = value(
                store.connection, f"SELECT min({'day' if table == 'rejected' else 'time::DATE'}) FROM {table}"
            )
            found[table] = "false" if first is None else f"day > DATE '{first}'"
    if found:
        found["customers"] = "false"
    if await _cut(reader, settings.topology.changes.name):
        # Their times say nothing about their places in the log.
        found["changes"] = "(source, id) IN (SELECT (source, id) FROM there.changes)"
    return found


async def _cut(reader: TopicReader, name: str) -> list[int]:
    """The partitions whose first records are deleted."""
    return [p for p in range(reader.partitions[name]) if (await reader.bounds(name, p))[0] > 0]


def _from(store: Store, table: str, order: str, partition: int) -> str:
    """Condition of the rows of a partition from the first that the log has."""
    first = store.connection.execute(
        f"SELECT min({order}) FROM {table} WHERE partition = ?", [partition]
    ).fetchall()[0][0]
    if first is None:
        return f"partition <> {partition}"
    least = f"({', '.join(map(str, first))})" if isinstance(first, tuple) else str(first)
    return f"(partition <> {partition} OR {order} >= {least})"

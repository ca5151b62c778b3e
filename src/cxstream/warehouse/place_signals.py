"""Signals about places: found in the touchpoints of a warehouse, kept there, and sent from there.

touchpoints -> minutes that all partitions are past -> Places -> place_signals -> cx.insights

The signals of a minute, what has been learned and the minute itself are committed together. They follow from the
touchpoints and the clocks of the partitions alone, so whatever the order in which partitions are read, and wherever a
process stops, they are the same; what has been kept and not sent is sent later, with the same id.
"""

from __future__ import annotations

import io
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import structlog

from cxstream.insights.detector import NEVER
from cxstream.insights.places import COLUMNS, MINUTE_MS, Places
from cxstream.warehouse.insights import EPOCH, rules_of
from cxstream.warehouse.place_events import Signal, signals
from cxstream.warehouse.query import value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

    import duckdb

    from cxstream.insights.detector import Arrays
    from cxstream.settings import Insights as InsightsSettings
    from cxstream.warehouse.store import Store

# So many minutes are counted at a time.
_CHUNK = 6 * 60
_DAY = 24 * 60
_CODEC = "zstd"

log = structlog.get_logger(__name__)


class PlaceWatch:
    """Watches the places of a warehouse.

    Args:
        store: the warehouse.
        settings: what is watched.
        monotonic: seconds by a clock that never goes back.
    """

    def __init__(
        self, store: Store, settings: InsightsSettings, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._settings, self._monotonic = store, settings, monotonic
        self._rules = rules_of(settings)
        self._places: Places | None = None
        self._learned_hour: int | None = None
        # When the clock of each partition was last seen to move.
        self._moved: dict[int, tuple[int, float]] = {}
        self._given_up: set[int] = set()

    @property
    def closed(self) -> int:
        """The last minute that has been counted, since the epoch; NEVER before the first."""
        found: int | None = value(self._store.connection, "SELECT max(minute) FROM watch")
        return NEVER if found is None else found

    def advance(
        self, until: int | None = None, *, stopped: Callable[[], bool] = lambda: False
    ) -> list[Signal]:
        """Count the minutes that are complete; returns the new signals.

        Args:
            until: the last minute to count, instead.
            stopped: asked now and then; what has been counted stays counted.

        Raises:
            WarehouseError: the disk is full, or the memory does not suffice.
        """
        if not self._settings.measures:
            return []
        if until is None:
            until = self._complete()
        found: list[Signal] = []
        closed = self.closed
        for day in self._days(closed, until):
            first = _minute_of(day)
            for begin in range(first, first + _DAY, _CHUNK):
                end = min(begin + _CHUNK - 1, until)
                if closed < end and begin <= end:
                    found += self._count(max(begin, closed + 1), end)
                if stopped():
                    return found
        return found

    def finish(self) -> list[Signal]:
        """Count everything: no more touchpoints will come."""
        latest = value(self._store.connection, "SELECT max(clock_ms) FROM clocks")
        return [] if latest is None else self.advance(latest // MINUTE_MS)

    def _complete(self) -> int:
        """The last minute to which no touchpoint can come any more; NEVER if there is none."""
        clocks = dict(self._store.connection.execute("SELECT partition, clock_ms FROM clocks").fetchall())
        if not clocks:
            return NEVER
        now = self._monotonic()
        for partition, clock in clocks.items():
            if self._moved.get(partition, (None, 0.0))[0] != clock:
                self._moved[partition] = clock, now
                self._given_up.discard(partition)
        patience = self._settings.patience_minutes * 60
        waited = {p: clock for p, clock in clocks.items() if now - self._moved[p][1] < patience}
        for partition in clocks.keys() - waited.keys() - self._given_up:
            if waited and clocks[partition] < min(waited.values()):
                self._given_up.add(partition)
                log.warning(
                    "the clock of a partition stands still: alerts do not wait for it", partition=partition
                )
        return int(min((waited or clocks).values())) // MINUTE_MS - 1 - self._rules.grace

    def _days(self, closed: int, until: int) -> list[date]:
        """The days with touchpoints that are not counted."""
        if until == NEVER:
            return []
        first = EPOCH.date() if closed == NEVER else _moment(closed + 1).date()
        found = self._store.connection.execute(
            "SELECT DISTINCT day FROM touchpoints WHERE day BETWEEN ? AND ? ORDER BY day",
            [first, _moment(until).date()],
        ).fetchall()
        return [day for (day,) in found]

    def _count(self, begin: int, end: int) -> list[Signal]:
        connection = self._store.connection
        places = self._places or self._restored()
        # What has been counted and is not kept would be counted twice.
        self._places = None
        columns = ", ".join(COLUMNS)
        rows = connection.sql(
            f"SELECT {columns} FROM touchpoints WHERE day = ? AND time >= ? AND time < ?",
            params=[_moment(begin).date(), _moment(begin), _moment(end + 1)],
        ).to_arrow_table()
        places.add(rows)
        insights = [
            each
            for each in places.close(end)
            if each.measure in self._settings.measures and each.place.dimension in self._settings.dimensions
        ]
        found = signals(connection, insights, self._rules)
        with self._store.transaction() as connection:
            _keep(connection, found)
            self._save(connection, places, end)
        self._places = places
        return found

    def _restored(self) -> Places:
        saved = dict(self._store.connection.execute("SELECT name, state FROM watch").fetchall())
        if not saved:
            return Places(self._rules)
        return Places.restored(self._rules, _arrays(saved["learned"]), _arrays(saved["present"]))

    def _save(self, connection: duckdb.DuckDBPyConnection, places: Places, minute: int) -> None:
        states = {"present": places.present()}
        if self._learned_hour != places.detector.hour:
            states["learned"] = places.learned()
            self._learned_hour = places.detector.hour
        for name, arrays in states.items():
            connection.execute("DELETE FROM watch WHERE name = ?", [name])
            connection.execute("INSERT INTO watch VALUES (?, ?, ?)", [name, minute, _bytes(arrays)])


def unsent(store: Store) -> list[Signal]:
    """Signals that have not been sent, in their order."""
    found = store.connection.execute(
        "SELECT subject, event, change FROM place_signals WHERE NOT sent ORDER BY time, n"
    ).fetchall()
    return [Signal(subject.encode(), event.encode(), change) for subject, event, change in found]


def mark_sent(store: Store, sent: Sequence[Signal]) -> None:
    """Remember that signals have been sent."""
    ids = [msgspec.json.decode(each.value)["id"] for each in sent]
    with store.transaction() as connection:
        connection.execute("UPDATE place_signals SET sent = true WHERE list_contains(?, id)", [ids])


def open_alarms(store: Store) -> dict[tuple[str, str], int]:
    """How many places are out of their range, by dimension and measure."""
    found = store.connection.execute(
        """SELECT dimension, measure, count(*) FROM (
            SELECT dimension, measure, change FROM place_signals
            QUALIFY row_number() OVER (PARTITION BY subject, measure ORDER BY time DESC, n DESC) = 1)
        WHERE change = 'raised' GROUP BY ALL"""
    ).fetchall()
    return {(dimension, measure): count for dimension, measure, count in found}


def _keep(connection: duckdb.DuckDBPyConnection, found: Sequence[Signal]) -> None:
    before: Counter[str] = Counter()
    for signal in found:
        event = msgspec.json.decode(signal.value)
        data, at = event["data"], event["time"]
        row = {
            **{
                name: data[name]
                for name in ("change", "dimension", "channel", "name", "measure", "visits", "bad")
            },
            **{name: data[name] for name in ("share", "usual", "customers")},
            "id": event["id"],
            "time": _naive(at),
            "since": _naive(data["since"]),
            "reasons": msgspec.json.encode(data["reasons"]).decode(),
            "n": before[at],
            "subject": event["subject"],
            "event": signal.value.decode(),
            "sent": False,
        }
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        connection.execute(f"INSERT INTO place_signals ({names}) VALUES ({marks})", list(row.values()))
        before[at] += 1


def _naive(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def _moment(minute: int) -> datetime:
    return EPOCH + timedelta(minutes=minute)


def _minute_of(day: date) -> int:
    return (day - EPOCH.date()).days * _DAY


def _bytes(arrays: Arrays) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, allow_pickle=False, **arrays)
    raw = sink.getvalue()
    packed: bytes = pa.compress(raw, codec=_CODEC, asbytes=True)
    return len(raw).to_bytes(8, "little") + packed


def _arrays(state: bytes) -> Arrays:
    size = int.from_bytes(state[:8], "little")
    raw: Any = pa.decompress(state[8:], decompressed_size=size, codec=_CODEC, asbytes=True)
    with np.load(io.BytesIO(raw), allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}

"""Takes batches in, each in one transaction with the positions after it.

- A card replaces only one that is earlier in its partition of cx.scores, and a signal is inserted once.
- Aggregates are differences that are added; `counted` says through which touchpoint of a partition they count.
- Erasures are remembered, so that they delete rows that come after them, too.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cxstream.scoring.state.erasures import digest
from cxstream.sink import counts, rows
from cxstream.sink.erasures import CONCERNS, Erasures
from cxstream.sink.partitions import month_of
from cxstream.sink.records import CARD, PLACE
from cxstream.warehouse import batch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import psycopg

    from cxstream.settings import Settings
    from cxstream.sink.database import Database
    from cxstream.sink.partitions import Partitions
    from cxstream.sink.records import Rows
    from cxstream.warehouse.batch import Erasure

# Partition, offset and time in the row of a card.
_PLACE = slice(2, 5)
_SIGNALS = {"risk_signals": batch.SIGNALS.names, "friction_signals": batch.FRICTION.names}
_DOCUMENTS = frozenset({"features", "reasons"})
# Texts that are not one of a few.
_FREE = frozenset(
    {"customer", "id", "channel", "touchpoint", "evidence", "leading_reason", "suggested_action", "model"}
)


class Ingest:
    """Takes batches into a database.

    Attributes:
        erasures: those that the database knows.

    Args:
        database: the database, after `claim`.
        partitions: of its tables, after `keep`.
        settings: memory for counting.
    """

    def __init__(self, database: Database, partitions: Partitions, settings: Settings) -> None:
        self._database, self._partitions = database, partitions
        self._counts = counts.Counts(settings.warehouse)
        self.erasures = Erasures()
        self.erasures.load(database)

    def apply(self, taken: Rows) -> None:
        """Take in a batch, in one transaction.

        Raises:
            FencedError: another process is the writer now.
            UnavailableError: the connection is lost, or something took too long.
            SinkError: PostgreSQL refuses something.
        """
        try:
            with self._database.transaction() as connection:
                self._take(connection, taken)
        except BaseException:
            self._partitions.forget()
            raise

    def _take(self, connection: psycopg.Connection[Any], taken: Rows) -> None:
        if taken.erasures:
            self._erase(connection, taken.erasures)
        if taken.scored:
            self._count(connection, pa.concat_tables(taken.scored))
        if taken.cards or taken.gone:
            self._take_cards(connection, taken)
        for table, names in _SIGNALS.items():
            found = taken.signals if table == "risk_signals" else taken.friction
            self._take_signals(connection, table, tuple(names), found)
        self._take_places(connection, taken.places)
        connection.cursor().executemany(
            "INSERT INTO positions VALUES (%s, %s, %s) ON CONFLICT (topic, partition) "
            "DO UPDATE SET next_offset = excluded.next_offset",
            [(topic, partition, offset) for (topic, partition), offset in taken.positions.items()],
        )

    def _erase(self, connection: psycopg.Connection[Any], erasures: Sequence[Erasure]) -> None:
        requests = [(each.digest, each.partition, each.offset, each.time) for each in erasures]
        connection.cursor().executemany(
            "INSERT INTO erasures VALUES (%s, %s, %s, %s, false) ON CONFLICT DO NOTHING", requests
        )
        concerned = list({each.digest for each in erasures})
        for table in ("score_cards", *_SIGNALS):
            connection.execute(
                f"DELETE FROM {table} r WHERE digest = ANY(%s) AND EXISTS "
                f"(SELECT 1 FROM erasures e WHERE {CONCERNS})".encode(),
                [concerned],
            )
        _choose_latest(connection, concerned)
        self.erasures.load(self._database)

    def _count(self, connection: psycopg.Connection[Any], touchpoints: pa.Table) -> None:
        through = dict(connection.execute("SELECT partition, through FROM counted").fetchall())
        touchpoints = only_new(touchpoints, through)
        connection.cursor().executemany(
            "INSERT INTO counted VALUES (%s, %s) ON CONFLICT (partition) DO UPDATE SET through = excluded.through",
            list(through.items()),
        )
        self.add(connection, self.erasures.not_counted(touchpoints))

    def add(self, connection: psycopg.Connection[Any], touchpoints: pa.Table, sign: int = 1) -> None:
        """Add touchpoints to the aggregates, in the open transaction; `sign` is -1 to take them out."""
        touchpoints = self._recent(touchpoints)
        if not touchpoints.num_rows:
            return
        for table, found in self._counts.of(touchpoints, sign).items():
            if not found:
                continue
            keys, sums = counts.columns(table)
            self._partitions.make({month_of(row[1]) for row in found})
            names = ("key", *keys, *sums)
            staged = rows.stage(connection, table, names, map(_clean, found))
            changed = ", ".join(f"{name} = t.{name} + excluded.{name}" for name in sums)
            connection.execute(
                f"INSERT INTO {table} AS t ({rows.quoted(names)}) SELECT {rows.quoted(names)} FROM {staged} "
                f"ON CONFLICT (day, key) DO UPDATE SET {changed}".encode()
            )
            if sign < 0:
                connection.execute(
                    f"DELETE FROM {table} t USING {staged} s WHERE t.day = s.day AND t.key = s.key "
                    f"AND t.{sums[0]} = 0".encode()
                )

    def _recent(self, touchpoints: pa.Table) -> pa.Table:
        """The touchpoints of days that are kept."""
        first = np.datetime64(self._partitions.kept_from, "ms").astype(np.int64)
        return touchpoints.filter(touchpoints.column("time").cast(pa.int64()).to_numpy() >= first)

    def _take_cards(self, connection: psycopg.Connection[Any], taken: Rows) -> None:
        gone = [(key, partition, record) for (_, partition), (key, record) in taken.gone.items()]
        if gone:
            connection.cursor().executemany(
                "DELETE FROM score_cards WHERE digest = %s AND partition = %s AND record < %s", gone
            )
            _choose_latest(connection, [key for key, *_ in gone])
        cards = [row for row in taken.cards.values() if not self.erasures.concern(row[0], *row[_PLACE])]
        if cards:
            names = ("digest", *CARD)
            staged = rows.stage(connection, "score_cards", names, cards)
            changed = ", ".join(f'"{name}" = excluded."{name}"' for name in CARD if name != "partition")
            connection.execute(
                f"INSERT INTO score_cards AS t ({rows.quoted(names)}) SELECT {rows.quoted(names)} FROM {staged} "
                f"ON CONFLICT (digest, partition) DO UPDATE SET {changed} WHERE excluded.record > t.record".encode()
            )
            _choose_latest(connection, _in_several(connection, staged))

    def _take_signals(
        self,
        connection: psycopg.Connection[Any],
        table: str,
        columns: Sequence[str],
        found: Sequence[dict[str, Any]],
    ) -> None:
        named = [
            (digest(row["customer"]), row)
            for row in found
            if row["time"].date() >= self._partitions.kept_from
        ]
        kept = [
            (key, row)
            for key, row in named
            if not self.erasures.concern(key, row["partition"], row["offset"], row["time"])
        ]
        if not kept:
            return
        self._partitions.make({month_of(row["time"].date()) for _, row in kept})
        _insert(connection, table, ("digest", *columns), _made(columns, kept))

    def _take_places(self, connection: psycopg.Connection[Any], found: Sequence[tuple[Any, ...]]) -> None:
        at = PLACE.index("time")
        kept = [row for row in found if row[at].date() >= self._partitions.kept_from]
        if kept:
            self._partitions.make({month_of(row[at].date()) for row in kept})
            _insert(connection, "place_signals", PLACE, kept)


def _insert(
    connection: psycopg.Connection[Any], table: str, names: Sequence[str], found: Iterable[Sequence[Any]]
) -> None:
    """Insert rows, but for those that are there."""
    staged = rows.stage(connection, table, names, found)
    connection.execute(
        f"INSERT INTO {table} ({rows.quoted(names)}) SELECT {rows.quoted(names)} FROM {staged} "
        "ON CONFLICT DO NOTHING".encode()
    )


# Some of many customers are looked up: the planner would read all of them, and it does not know the staging table.
_BY_INDEX = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
)
_BY_ANY = "SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on"


def _in_several(connection: psycopg.Connection[Any], staged: str) -> list[bytes]:
    """The customers of a staging table who have cards in several partitions: few, and only after partitions were added."""
    connection.execute(_BY_INDEX)
    found = connection.execute(
        f"SELECT s.digest FROM {staged} s WHERE EXISTS "
        "(SELECT 1 FROM score_cards c WHERE c.digest = s.digest AND c.partition <> s.partition)".encode()
    ).fetchall()
    connection.execute(_BY_ANY)
    return [key for (key,) in found]


def _choose_latest(connection: psycopg.Connection[Any], customers: list[bytes]) -> None:
    """Of the cards of a customer in several partitions, the one with the latest time counts."""
    if not customers:
        return
    connection.execute(
        """UPDATE score_cards c SET latest = o.latest FROM (
            SELECT digest, partition,
                row_number() OVER (PARTITION BY digest ORDER BY time DESC, partition DESC) = 1 AS latest
            FROM score_cards WHERE digest = ANY(%s)) o
        WHERE c.digest = o.digest AND c.partition = o.partition AND c.latest <> o.latest""",
        [customers],
    )


def _made(columns: Sequence[str], found: Iterable[tuple[bytes, dict[str, Any]]]) -> Iterator[Sequence[Any]]:
    """The rows of a table: the digest, then these columns."""
    chosen = itemgetter(*columns)
    cleaned = [
        (i, rows.document if name in _DOCUMENTS else rows.text)
        for i, name in enumerate(columns, 1)
        if name in _FREE or name in _DOCUMENTS
    ]
    for key, row in found:
        values = [key, *chosen(row)]
        for i, clean in cleaned:
            if values[i] is not None:
                values[i] = clean(values[i])
        yield values


def _clean(row: Sequence[Any]) -> list[Any]:
    return [rows.text(value) if isinstance(value, str) else value for value in row]


def only_new(touchpoints: pa.Table, through: dict[int, int]) -> pa.Table:
    """The touchpoints behind the last one that is counted of their partition, each once.

    Args:
        touchpoints: of each partition in the order of its offsets, but for some that come again.
        through: the last offset by partition, which is brought up to date.
    """
    partitions, offsets = touchpoints.column("partition").to_numpy(), touchpoints.column("offset").to_numpy()
    new = np.zeros(len(offsets), bool)
    for partition in np.unique(partitions).tolist():
        mine = np.flatnonzero(partitions == partition)
        some = offsets[mine]
        before = np.maximum.accumulate(np.concatenate(([through.get(partition, -1)], some)))
        new[mine] = some > before[:-1]
        through[partition] = int(before[-1])
    return touchpoints.filter(new)

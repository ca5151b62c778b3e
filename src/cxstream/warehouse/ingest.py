"""Takes batches in, each in one transaction with the positions after it.

The content is a function of the logs, however they are cut and in whatever order the topics are read:

- a touchpoint is known by partition and offset, a signal by its id, a change by its source and id, a card by its place in
  cx.scores: what comes again changes nothing;
- work is known by customer, partition and item, and the latest record counts;
- erasures are remembered, so that they delete rows that come after them, too;
- aggregates are integers, and follow each row that comes or goes.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from cxstream.kernels.names import UNKNOWN
from cxstream.model.scored import COLUMNS, FLAGS
from cxstream.warehouse import aggregates, batch, erase, names, work
from cxstream.warehouse.query import value

if TYPE_CHECKING:
    from cxstream.warehouse.batch import Batch
    from cxstream.warehouse.store import Store

# Aggregates are added up when they have this many rows more than twice those of the last time.
_SLACK = 200_000
# Rows of a full row group of DuckDB's.
_GROUP = 122_880
_NAIVE = pa.timestamp("us")
_OPTIONAL_TEXTS = tuple(
    column.name for column in COLUMNS if column.optional and column.type in {"text", "code"}
)


def _touchpoint_columns() -> str:
    """What is read of a row of cx.scored, in the order of the table `touchpoints`, from `day` on."""
    chosen = ["CAST(time AS DATE) AS day", "customer_id"]
    for column in COLUMNS:
        if column.name == "customer":
            continue
        if column.name == "flags":
            chosen += [f"(flags & {bit}) <> 0 AS {name}" for name, bit in FLAGS.items()]
        else:
            chosen.append(f'"{column.name}"')
    return ", ".join(chosen)


_TOUCHPOINT = _touchpoint_columns()


class Ingest:
    """Takes batches into a warehouse.

    Args:
        store: the warehouse.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection = store.connection
        self._through: dict[int, int] | None = None

    def apply(self, taken: Batch) -> None:
        """Take in a batch, in one transaction.

        Raises:
            WarehouseError: the disk is full, or the memory does not suffice.
        """
        # A compaction replaces it.
        self._connection = self._store.connection
        try:
            with self._store.transaction():
                self._take(taken)
        except BaseException:
            self._through = None
            raise

    def _take(self, taken: Batch) -> None:
        if taken.erasures:
            erase.erase(self._store, taken.erasures)
        if taken.scored:
            self._take_scored(pa.concat_tables(taken.scored))
        if taken.cards or taken.tombstones:
            self._take_cards(taken)
        self._move_clocks(taken)
        self._take_signals("risk_signals", taken.signals, batch.SIGNALS)
        self._take_signals("friction_signals", taken.friction, batch.FRICTION)
        self._take_changes(taken.changes)
        if taken.work:
            work.take(self._store, taken.work, self._recent())
        self._count_rejected(taken)
        for (topic, partition), offset in taken.positions.items():
            self._connection.execute(
                "DELETE FROM positions WHERE topic = ? AND partition = ?", [topic, partition]
            )
            self._connection.execute("INSERT INTO positions VALUES (?, ?, ?)", [topic, partition, offset])
        self._tidy()

    def _take_scored(self, table: pa.Table) -> None:
        """Insert touchpoints as they stand in Arrow: a join of all columns costs more than all aggregates."""
        table = self._only_new(self._only_recent(_without_empty(_naive(table))))
        if not table.num_rows:
            return
        table = table.append_column(
            "customer_id", pa.array(self._ids(table.column("customer").combine_chunks()))
        )
        kept = names.not_erased(self._connection, table)
        if kept is not None:
            table = table.filter(kept)
        self._connection.register("incoming", in_order(table.drop_columns("customer"), self._store.threads))
        names.admit(self._store, "incoming")
        self._connection.execute(f"INSERT INTO touchpoints BY NAME SELECT {_TOUCHPOINT} FROM incoming")
        aggregates.add(self._connection, f"(SELECT {_TOUCHPOINT} FROM incoming)")
        self._connection.unregister("incoming")

    def _ids(self, customers: pa.StringArray) -> np.ndarray:
        """Their numbers, int32[n]; new customers, who are in the table `names` then, take the next."""
        ids = self._store.known.find(self._connection, customers)
        unknown = np.flatnonzero(ids == UNKNOWN)
        fresh = pc.dictionary_encode(customers.take(unknown))
        first = names.introduce(self._connection, fresh.dictionary)
        ids[unknown] = first + fresh.indices.to_numpy()
        return ids

    def _only_recent(self, table: pa.Table) -> pa.Table:
        kept_from = self._store.get("kept_from")
        if kept_from is None:
            return table
        first = pa.scalar(datetime.fromisoformat(kept_from), _NAIVE)
        return table.filter(pc.greater_equal(table.column("time"), first))

    def _only_new(self, table: pa.Table) -> pa.Table:
        """The rows that are not there yet, each once."""
        if _repeats(table):
            partitions, offsets = _column(table, "partition"), _column(table, "offset")
            _, first = np.unique(np.stack([partitions, offsets]), axis=1, return_index=True)
            table = table.take(np.sort(first))
        if not self._is_behind(table):
            return table
        self._connection.register("places", table.select(["partition", "offset"]))
        found = self._connection.sql(
            """SELECT partition, "offset" FROM places SEMI JOIN touchpoints USING (partition, "offset")"""
        ).to_arrow_table()
        self._connection.unregister("places")
        there = set(zip(found.column(0).to_pylist(), found.column(1).to_pylist(), strict=True))
        places = zip(_column(table, "partition").tolist(), _column(table, "offset").tolist(), strict=True)
        return table.filter(pa.array([place not in there for place in places], pa.bool_()))

    def _recent(self) -> str:
        """Condition of the rows that retention keeps."""
        kept_from = self._store.get("kept_from")
        return f"time >= TIMESTAMP '{kept_from}'" if kept_from else "true"

    def _is_behind(self, table: pa.Table) -> bool:
        """Whether a row may be there already: offsets of a partition ascend, unless records come again."""
        if self._through is None:
            found = self._connection.execute(
                'SELECT partition, max("offset") FROM touchpoints GROUP BY partition'
            ).fetchall()
            self._through = dict(found)
        partitions, offsets = _column(table, "partition"), _column(table, "offset")
        behind = False
        for partition in np.unique(partitions).tolist():
            mine = offsets[partitions == partition]
            last = self._through.get(partition, -1)
            behind |= int(mine.min()) <= last
            self._through[partition] = max(last, int(mine.max()))
        return behind

    def _move_clocks(self, taken: Batch) -> None:
        """Clocks as records say them, and at least what the rows say: a clock never goes back."""
        clocks = Counter(taken.clocks)
        for table in taken.scored:
            partitions = _column(table, "partition")
            times = _column(table, "time").astype("datetime64[ms]").astype(np.int64)
            for partition in np.unique(partitions).tolist():
                reached = int((times + _column(table, "behind_ms"))[partitions == partition].max())
                clocks[partition] = max(clocks.get(partition, reached), reached)
        for partition, clock in clocks.items():
            before = value(
                self._connection, "DELETE FROM clocks WHERE partition = ? RETURNING clock_ms", [partition]
            )
            latest = clock if before is None else max(clock, before)
            self._connection.execute("INSERT INTO clocks VALUES (?, ?)", [partition, latest])

    def _take_cards(self, taken: Batch) -> None:
        """The latest record of each partition and customer counts, and of these the card with the latest time."""
        run = self._connection.execute
        self._connection.register("incoming", pa.Table.from_pylist(taken.cards, batch.CARDS))
        self._connection.register("tombstones", pa.Table.from_pylist(taken.tombstones, batch.TOMBSTONES))
        run(
            """CREATE OR REPLACE TEMP TABLE arriving AS SELECT * REPLACE (time::TIMESTAMP AS time,
            last_touch::TIMESTAMP AS last_touch, last_purchase::DATE AS last_purchase) FROM incoming"""
        )
        everybody = "(SELECT customer FROM arriving UNION ALL SELECT customer FROM tombstones)"
        names.resolve(self._connection, everybody)
        run(f"CREATE OR REPLACE TEMP TABLE kept AS {names.KEPT.format(rows='arriving')}")
        run(
            """CREATE OR REPLACE TEMP TABLE candidates AS
            SELECT * EXCLUDE (latest), false AS gone FROM score_cards
            WHERE customer_id IN (SELECT customer_id FROM names)
            UNION ALL BY NAME SELECT *, false AS gone FROM kept
            UNION ALL BY NAME SELECT n.customer_id, t.partition, t.record, true AS gone
            FROM tombstones t JOIN names n ON n.customer = t.customer"""
        )
        self._connection.unregister("incoming")
        self._connection.unregister("tombstones")
        run("DELETE FROM score_cards WHERE customer_id IN (SELECT customer_id FROM names)")
        run(
            """INSERT INTO score_cards BY NAME SELECT * EXCLUDE (gone),
            row_number() OVER (PARTITION BY customer_id ORDER BY time DESC, partition DESC) = 1 AS latest
            FROM (SELECT * FROM candidates
                  QUALIFY row_number() OVER (PARTITION BY customer_id, partition ORDER BY record DESC) = 1)
            WHERE NOT gone"""
        )
        names.admit(self._store, "score_cards")
        if taken.tombstones:
            names.drop_unused(self._store, "names")

    def _take_signals(self, table: str, rows: list[dict[str, object]], schema: pa.Schema) -> None:
        if not rows:
            return
        self._connection.register("incoming", pa.Table.from_pylist(rows, schema))
        self._connection.execute(
            f"""CREATE OR REPLACE TEMP TABLE arriving AS
            SELECT * FROM (SELECT * REPLACE (time::TIMESTAMP AS time) FROM incoming) WHERE {self._recent()}
            AND id NOT IN (SELECT id FROM {table}) QUALIFY row_number() OVER (PARTITION BY id) = 1"""
        )
        self._connection.unregister("incoming")
        names.resolve(self._connection, "arriving")
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE kept AS {names.KEPT.format(rows='arriving')}")
        names.admit(self._store, "kept")
        self._connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM kept")

    def _take_changes(self, rows: list[dict[str, object]]) -> None:
        """Of several changes with one source and id, the first counts."""
        if not rows:
            return
        first: dict[tuple[object, object], dict[str, object]] = {}
        for row in rows:
            first.setdefault((row["source"], row["id"]), row)
        self._connection.register("incoming", pa.Table.from_pylist(list(first.values()), batch.CHANGES))
        self._connection.execute(
            "INSERT INTO changes BY NAME SELECT * FROM incoming ANTI JOIN changes USING (source, id)"
        )
        self._connection.unregister("incoming")

    def _count_rejected(self, taken: Batch) -> None:
        kept_from = self._store.get("kept_from")
        for (day, source, reason), count in taken.rejected.items():
            if day is None or kept_from is None or day.isoformat() >= kept_from:
                self._connection.execute(
                    "INSERT INTO rejected VALUES (?, ?, ?, ?)", [day, source, reason, count]
                )

    def _tidy(self) -> None:
        """Add up the aggregates once they have grown."""
        rows = aggregates.rows(self._connection)
        before = int(self._store.get("consolidated") or 0)
        if rows > 2 * before + _SLACK:
            aggregates.consolidate(self._connection)
            self._store.set("consolidated", str(aggregates.rows(self._connection)))


def _naive(table: pa.Table) -> pa.Table:
    """The table with times without a zone, as DuckDB is to keep them."""
    for name in ("time", "arrived"):
        i = table.schema.get_field_index(name)
        table = table.set_column(i, name, table.column(i).cast(_NAIVE))
    return table


def _without_empty(table: pa.Table) -> pa.Table:
    """The table with nothing where a source has sent an empty text: a reader cannot tell one from the other."""
    for name in _OPTIONAL_TEXTS:
        i = table.schema.get_field_index(name)
        column = table.column(i)
        encoded = pa.types.is_dictionary(column.type)
        parts = [part.dictionary if encoded else part for part in column.chunks]
        if any(pc.any(pc.equal(part, "")).as_py() for part in parts):
            texts = column.cast(pa.string())
            texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
            table = table.set_column(i, name, texts.dictionary_encode() if encoded else texts)
    return table


def in_order(table: pa.Table, threads: int, group: int = _GROUP) -> pa.Table:
    """The rows by day and kind, since a view of few kinds then reads few blocks of the file; one chunk for each of DuckDB's threads.

    A thread makes row groups by itself only of a chunk of a row group or more; rows of smaller ones are copied into those of one thread.
    What a chunk has beyond full row groups is a row group of its own; a checkpoint writes those of less than half a group
    again, together with the full ones beside them.
    """
    kinds = pc.dictionary_encode(table.column("kind").cast(pa.string()).combine_chunks()).indices.to_numpy()
    days = _column(table, "time").astype("datetime64[D]")
    order = np.lexsort((kinds, days))
    parts = max(1, min(threads, len(order) // group))
    rows = len(order) // parts
    if parts > 1 and rows % group <= group // 2:
        rows -= rows % group
    chunks = np.split(order, [i * rows for i in range(1, parts)])
    with ThreadPoolExecutor(parts) as pool:
        return pa.concat_tables(pool.map(table.take, chunks))


def _column(table: pa.Table, name: str) -> np.ndarray:
    found: np.ndarray = table.column(name).to_numpy()
    return found


def _repeats(table: pa.Table) -> bool:
    """Whether a partition and offset occurs twice."""
    partitions, offsets = _column(table, "partition"), _column(table, "offset")
    order = np.lexsort((offsets, partitions))
    same = (np.diff(partitions[order]) == 0) & (np.diff(offsets[order]) == 0)
    return bool(same.any())

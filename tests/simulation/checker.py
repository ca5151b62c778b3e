"""What must hold: while it runs, and when all is read to the end.

The yardstick is an engine that reads the log once. What the workers have committed, in whatever pieces and after
whatever accidents, must be its signals, receipts and rejected records byte for byte in its order, and its score
cards. What the log itself owes to the workers, the requests to be erased, is in `requests`; the records that they
forward from one log to another are checked here.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from cxstream.files.scored import decode, record_batch
from cxstream.files.scored_columns import CODE, SCHEMA
from cxstream.model.errors import LostRecordsError, SnapshotError
from cxstream.model.outputs import OUTPUTS
from cxstream.scoring.codec.routing import FORWARDED_FROM
from cxstream.scoring.engine import MARKER_KEY, Engine
from cxstream.scoring.failing import BatchError
from cxstream.scoring.state.passed_over import FAILED
from cxstream.topology import (
    FORGET,
    FORGOTTEN,
    REJECTED,
    SCORED,
    SCORES,
    SNAPSHOTS,
    TOUCHPOINTS,
)
from cxstream.worker.feed import to_records
from cxstream.worker.metrics.counters import Counters
from cxstream.worker.ownership.restore import restore
from simulation.histories import FUTURE_MS, home
from simulation.poison import is_poison
from simulation.requests import Requests, ViolationError, is_forwarded
from simulation.scenario import GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cxstream.scoring.scored import Scored
    from simulation.broker import TP, Record, Transaction
    from simulation.cluster import Cluster

# Every row counts in these; of the score cards only the latest.
_OUTPUTS = (*(output.topic for output in OUTPUTS if output.keep_days is not None), REJECTED.name)
# What a transaction is counted by.
_COUNTED = (*_OUTPUTS, FORWARDED_FROM, SCORED.name)


class Commit(NamedTuple):
    """A committed transaction of a worker.

    Attributes:
        partition: whose.
        offset: the source offset that it committed.
        rows: records of each output, and forwarded ones, that were committed with it or before it.
    """

    partition: int
    offset: int
    rows: tuple[int, ...]


class Stray(NamedTuple):
    """A misrouted record as it is to be forwarded."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Expected(NamedTuple):
    """What an engine says that reads the log of a partition once.

    Attributes:
        engine: at the end.
        rows: by output, keys and values in order.
        causes: by output, the source offset that each follows from; those of records to be forwarded, too.
        strays: by partition, the records that are to be forwarded there, in order.
        scored: the accepted touchpoints.
        cards: by customer.
        erased: customers of whom the last record is the request to erase them.
        end: the offset after the last record.
    """

    engine: Engine
    rows: dict[str, list[tuple[bytes | None, bytes | None]]]
    causes: dict[str, list[int]]
    strays: dict[int, list[Stray]]
    scored: pa.Table
    cards: dict[bytes, bytes]
    erased: set[bytes]
    end: int


class Checker:
    """Watches the broker of a cluster.

    Args:
        cluster: which.
        report: told of what is broken while it runs.
    """

    def __init__(self, cluster: Cluster, report: Callable[[str], None]) -> None:
        self.commits: list[Commit] = []
        self.expected: list[Expected] = []
        self._cluster = cluster
        self._report = report
        self._broker = cluster.broker
        self._requests = Requests(cluster)
        self._offsets: dict[TP, int] = {}
        self._counts: dict[TP, int] = {}
        # Of each partition, the offset that a snapshot is of, by the place of its marker.
        self._saved: dict[int, dict[int, int]] = {}
        self._broker.on_commit = self._on_commit

    # --- while it runs

    def _on_commit(self, transaction: Transaction) -> None:
        for (group, tp), offset in transaction.offsets.items():
            if group != GROUP:
                continue
            before = self._offsets.get(tp, 0)
            if offset < before:
                self._report(f"{tp[0]}-{tp[1]}: the committed offset went back from {before} to {offset}")
            self._offsets[tp] = offset
        for (group, (topic, partition)), offset in transaction.offsets.items():
            if group == GROUP and topic == TOUCHPOINTS.name:
                self._take_down(transaction, partition, offset)
        if not transaction.offsets and transaction.id.startswith(GROUP):
            for topic, partition in transaction.begun_at:
                self._check_saved(transaction, topic, partition)

    def _check_saved(self, transaction: Transaction, topic: str, partition: int) -> None:
        """A snapshot in a transaction of its own is alone in it, and of an offset that was committed before."""
        if topic != SNAPSHOTS.name:
            self._report(f"{topic}-{partition}: records were committed without an offset")
        rows = self._rows_of(transaction, (topic, partition))
        [marker] = [row for row in rows if row.key == MARKER_KEY] or [None]
        if marker is None or rows[-1] is not marker:
            self._report(f"partition {partition}: a snapshot was committed without its marker at the end")
            return
        saved = msgspec.json.decode(marker.value or b"")["offset"]
        if saved not in self._decided(partition):
            self._report(
                f"partition {partition}: a snapshot of offset {saved} was committed, and no results up to it"
            )
        self._check_order(partition, marker.offset, saved)

    def _check_order(self, partition: int, at: int, saved: int) -> None:
        """Snapshots lie in the log in the order of their offsets, whichever has its marker of the transaction first."""
        for other, before in self._saved.setdefault(partition, {}).items():
            if (other < at and before > saved) or (other > at and before < saved):
                self._report(
                    f"partition {partition}: snapshots of offsets {before} and {saved} lie the other way round"
                )
        self._saved[partition][at] = saved

    def _decided(self, partition: int) -> set[int]:
        """The offsets whose results are committed, although Kafka may not have written all markers yet."""
        ending = (identity.transaction for identity in self._broker.identities.values())
        return {commit.offset for commit in self.commits if commit.partition == partition} | {
            transaction.offsets[GROUP, (TOUCHPOINTS.name, partition)]
            for transaction in ending
            if transaction is not None
            and transaction.committed
            and (GROUP, (TOUCHPOINTS.name, partition)) in transaction.offsets
        }

    def _take_down(self, transaction: Transaction, partition: int, offset: int) -> None:
        rows = {
            topic: self._rows_of(transaction, (topic, partition)) for topic in (*_OUTPUTS, SNAPSHOTS.name)
        }
        written = [
            row
            for target in range(self._cluster.scenario.partitions)
            for row in self._rows_of(transaction, (TOUCHPOINTS.name, target))
        ]
        strays = sum(map(is_forwarded, written))
        forwarded = len(written) - strays
        self._counts[FORWARDED_FROM, partition] = self._counts.get((FORWARDED_FROM, partition), 0) + strays
        scored = sum(
            int(dict(row.headers)["rows"]) for row in self._rows_of(transaction, (SCORED.name, partition))
        )
        self._counts[SCORED.name, partition] = self._counts.get((SCORED.name, partition), 0) + scored
        refused = [row for row in rows[REJECTED.name] if is_from(row, FORGET.name)]
        requested = self._offsets.get((FORGET.name, partition), 0)
        self._requests.take_down(partition, requested, forwarded, len(refused))
        for topic in _OUTPUTS:
            counted = len(rows[topic]) - (len(refused) if topic == REJECTED.name else 0)
            self._counts[topic, partition] = self._counts.get((topic, partition), 0) + counted
        self.commits.append(
            Commit(partition, offset, tuple(self._counts[name, partition] for name in _COUNTED))
        )
        markers = [row for row in rows[SNAPSHOTS.name] if row.key == MARKER_KEY]
        if rows[FORGOTTEN.name] and not markers:
            self._report(
                f"partition {partition}: a receipt was committed with {offset}, but no state without him"
            )
        for marker in markers:
            saved = msgspec.json.decode(marker.value or b"")["offset"]
            if saved != offset:
                self._report(
                    f"partition {partition}: a snapshot of offset {saved} was committed with {offset}"
                )
            self._check_order(partition, marker.offset, saved)

    def _rows_of(self, transaction: Transaction, tp: TP) -> list[Record]:
        if transaction.begun_at.get(tp) is None:
            return []
        found = []
        for record in reversed(self._broker.log(tp).records):
            if record.transaction is transaction:
                found.append(record)
            elif found and record.offset < transaction.begun_at[tp]:
                break
        return found[::-1]

    # --- at the end

    def source_lag(self) -> str:
        """What is still to come into the logs, requests and forwarded records; empty if nothing is."""
        for partition in range(self._cluster.scenario.partitions):
            log = self._broker.log((TOUCHPOINTS.name, partition))
            end = max((r.offset + 1 for r in reversed(log.records) if r.visible), default=0)
            offset = self._broker.committed.get((GROUP, (TOUCHPOINTS.name, partition)), 0)
            if offset < end:
                return f"partition {partition} is committed to {offset} of {end}"
        return self._requests.lag()

    def read_once(self) -> None:
        """Let an engine read each log, now that it is whole."""
        self.expected = [self._read(partition) for partition in range(self._cluster.scenario.partitions)]

    def _read(self, partition: int) -> Expected:
        settings = self._cluster.scenario.settings
        records = [r for r in self._broker.log((TOUCHPOINTS.name, partition)).records if r.visible]
        engine = Engine(
            settings.scoring,
            settings.actions,
            topic=TOUCHPOINTS.name,
            partition=partition,
            partitions=self._cluster.scenario.partitions,
            authority=settings.control.authority(),
        )
        for record in filter(is_poison, records):
            engine.partition.passed.add(record.offset, FAILED)
        engine.scored = True
        outcome = engine.process(to_records(records, FUTURE_MS))
        rows: dict[str, list[tuple[bytes | None, bytes | None]]] = {topic: [] for topic in _OUTPUTS}
        causes: dict[str, list[int]] = {topic: [] for topic in _OUTPUTS}
        for signal in (*outcome.signals, *outcome.receipts):
            rows[signal.topic].append((signal.key, signal.value))
            causes[signal.topic].append(records[signal.index].offset)
        for rejection in outcome.rejected:
            record = records[rejection.index]
            copied = None if rejection.reason == FAILED else record.value
            rows[REJECTED.name].append((record.key, copied))
            causes[REJECTED.name].append(record.offset)
        accepted = outcome.scored.offsets.tolist() if outcome.scored else []
        causes[SCORED.name] = accepted
        strays: dict[int, list[Stray]] = {}
        causes[FORWARDED_FROM] = [records[each.index].offset for each in outcome.misrouted]
        for index in (each.index for each in outcome.misrouted):
            record = records[index]
            place = f"{TOUCHPOINTS.name}-{partition}-{record.offset}".encode()
            target = home(record.key or b"", self._cluster.scenario.partitions)
            strays.setdefault(target, []).append(
                Stray(record.key, record.value, (*record.headers, (FORWARDED_FROM, place)))
            )
        elsewhere = {each.index for each in outcome.misrouted}
        last = {record.key: index for index, record in enumerate(records) if index not in elsewhere}
        receipts = [(records[receipt.index].key or b"", receipt.index) for receipt in outcome.receipts]
        return Expected(
            engine,
            rows,
            causes,
            strays,
            scored=_scored_table(outcome.scored, records),
            cards={subject.encode(): card for subject, card in engine.cards()},
            erased={key for key, index in receipts if last[key] == index},
            end=records[-1].offset + 1,
        )

    def committed(self, topic: str, partition: int) -> list[Record]:
        """What a read_committed reader finds."""
        return list(self._broker.fetch((topic, partition), 0))

    def lag(self) -> str:
        """What is still to come before everything is committed; empty if nothing is."""
        for partition, expected in enumerate(self.expected):
            offset = self._broker.committed.get((GROUP, (TOUCHPOINTS.name, partition)), 0)
            if offset < expected.end:
                return f"partition {partition} is committed to {offset} of {expected.end}"
            cards = self._latest(SCORES.name, partition)
            if cards != expected.cards:
                wrong = sorted(
                    key
                    for key in cards.keys() | expected.cards.keys()
                    if cards.get(key) != expected.cards.get(key)
                )
                return f"partition {partition}: the score cards of {wrong} are not the last"
        return ""

    def _latest(self, topic: str, partition: int) -> dict[bytes, bytes]:
        """The rows of a compacted topic as they stand."""
        latest = {r.key: r.value for r in self.committed(topic, partition)}
        return {key: value for key, value in latest.items() if key is not None and value is not None}

    def check(self) -> None:
        """Compare everything.

        Raises:
            ViolationError: something is lost, or there twice, or different.
        """
        for partition, expected in enumerate(self.expected):
            offset = self._broker.committed.get((GROUP, (TOUCHPOINTS.name, partition)))
            if offset != expected.end:
                raise ViolationError(f"partition {partition}: committed {offset}, not {expected.end}")
            for topic in _OUTPUTS:
                self._compare(topic, partition, expected)
            self._compare_scored(partition, expected)
            self._check_erased(partition, expected)
            self._check_strays(partition, expected)
        for commit in self.commits:
            self._check_commit(commit)
        self._requests.check()

    def _compare(self, topic: str, partition: int, expected: Expected) -> None:
        records = self.committed(topic, partition)
        if topic == REJECTED.name:
            records = [record for record in records if is_from(record, TOUCHPOINTS.name)]
            offsets = [int(dict(record.headers)["offset"]) for record in records]
            if offsets != expected.causes[topic]:
                raise ViolationError(f"{topic}-{partition}: from {offsets}, not {expected.causes[topic]}")
        found = [(record.key, record.value) for record in records]
        wanted = expected.rows[topic]
        for index, (have, want) in enumerate(zip(found, wanted, strict=False)):
            if have != want:
                raise ViolationError(
                    f"{topic}-{partition}: record {index} of {len(wanted)} differs: {have}, not {want}"
                )
        if len(found) != len(wanted):
            raise ViolationError(f"{topic}-{partition}: {len(found)} records, not {len(wanted)}")

    def _compare_scored(self, partition: int, expected: Expected) -> None:
        """Each accepted touchpoint is in cx.scored once, in order, with what it counted for."""
        found = [decode(record.value or b"") for record in self.committed(SCORED.name, partition)]
        have = _plain(pa.concat_tables([SCHEMA.empty_table(), *found]))
        offsets, wanted = (each["offset"].to_pylist() for each in (have, expected.scored))
        if offsets != wanted:
            raise ViolationError(f"{SCORED.name}-{partition}: the touchpoints at {offsets}, not {wanted}")
        if not have.equals(expected.scored):
            wrong = [name for name in have.column_names if not have[name].equals(expected.scored[name])]
            raise ViolationError(f"{SCORED.name}-{partition}: the columns {wrong} differ")

    def _check_erased(self, partition: int, expected: Expected) -> None:
        """Nothing is kept of who was erased and has not come back."""
        for topic, prefix in ((SCORES.name, b""), (SNAPSHOTS.name, b"c")):
            left = sorted(self._latest(topic, partition).keys() & {prefix + key for key in expected.erased})
            if left:
                raise ViolationError(f"{topic}-{partition}: {left} are still there, although erased")

    def _check_strays(self, partition: int, expected: Expected) -> None:
        """What is misrouted in a log is in the logs where it belongs, in its order, once, and nobody's else is here."""
        count = self._cluster.scenario.partitions
        origin = f"{TOUCHPOINTS.name}-{partition}-".encode()
        for target in range(count):
            found = [
                Stray(r.key, r.value, tuple(r.headers))
                for r in self._broker.log((TOUCHPOINTS.name, target)).records
                if r.visible and dict(r.headers).get(FORWARDED_FROM, b"").startswith(origin)
            ]
            wanted = expected.strays.get(target, [])
            if found != wanted:
                raise ViolationError(
                    f"{TOUCHPOINTS.name}-{target}: {len(found)} records were forwarded from partition {partition}, "
                    f"not the {len(wanted)} that belong there"
                )
        for topic, skipped in ((SCORES.name, 0), (SNAPSHOTS.name, 1)):
            keys = [
                key
                for key in self._latest(topic, partition)
                # Of the saved state, only rows of customers have their names.
                if not skipped or key.startswith(b"c")
            ]
            strangers = [key for key in keys if home(key[skipped:], count) != partition]
            if strangers:
                raise ViolationError(f"{topic}-{partition}: {strangers} belong elsewhere")

    def _check_commit(self, commit: Commit) -> None:
        """Results and the offset they follow from go together, in every transaction."""
        causes = self.expected[commit.partition].causes
        wanted = tuple(bisect_left(causes[name], commit.offset) for name in _COUNTED)
        if commit.rows != wanted:
            raise ViolationError(
                f"partition {commit.partition}: with offset {commit.offset}, {commit.rows} records of "
                f"{_COUNTED} were committed, not {wanted}"
            )

    async def check_saved_state(self) -> None:
        """What a new owner would restore is what the engine has that read the log once, now and further on."""
        cluster = self._cluster
        for partition, expected in enumerate(self.expected):
            try:
                async with cluster.kafka().reader(partition) as reader:
                    restored = await restore(cluster.scenario.settings, reader, partition, None, Counters())
            except (BatchError, LostRecordsError, SnapshotError) as error:
                raise ViolationError(f"partition {partition}: {error}") from error
            if not restored.saved:
                raise ViolationError(f"partition {partition}: the saved state cannot be used")
            if restored.position != expected.end:
                raise ViolationError(
                    f"partition {partition}: restored to {restored.position}, not {expected.end}"
                )
            cards = {subject.encode(): card for subject, card in restored.engine.cards()}
            if cards != expected.cards:
                raise ViolationError(f"partition {partition}: the saved state makes other score cards")
            self._compare_future(partition, restored.engine, expected.engine)

    def _compare_future(self, partition: int, restored: Engine, read: Engine) -> None:
        latest = self._broker.log((TOUCHPOINTS.name, partition)).records[-30:]
        records = [record for record in latest if not is_poison(record)]
        end = self._broker.log((TOUCHPOINTS.name, partition)).end
        again = to_records(records, FUTURE_MS)
        again.offsets = range(end, end + len(records))
        one, other = restored.process(again), read.process(again)
        if (one.signals, one.receipts, one.rejected) != (other.signals, other.receipts, other.rejected):
            raise ViolationError(
                f"partition {partition}: the saved state says other things of what comes next"
            )


def _scored_table(scored: Scored | None, records: Sequence[Any]) -> pa.Table:
    """The rows of cx.scored that an engine says."""
    if scored is None:
        return _plain(SCHEMA.empty_table())
    arrived = np.array([records[i].timestamp for i in scored.positions.tolist()], np.int64)
    return _plain(pa.Table.from_batches([record_batch(scored, arrived)]))


def _plain(table: pa.Table) -> pa.Table:
    """A table without dictionaries, in one piece."""
    fields = [field.with_type(pa.string()) if field.type == CODE else field for field in table.schema]
    return table.cast(pa.schema(fields)).combine_chunks()


def is_from(rejected: Record, topic: str) -> bool:
    """A rejected record came from a topic."""
    return dict(rejected.headers)["topic"] == topic.encode()

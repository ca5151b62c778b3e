"""What must hold: while it runs, and when all is read to the end.

The yardstick is an engine that reads the log once. What the workers have committed, in whatever pieces and after
whatever accidents, must be its signals and rejected records byte for byte in its order, and its score cards.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cxstream.model.errors import SnapshotError
from cxstream.scoring.engine import MARKER_KEY, Engine
from cxstream.topology import CHURN_RISK, FRICTION, REJECTED, SCORES, SNAPSHOTS, TOUCHPOINTS
from cxstream.worker.counters import Counters
from cxstream.worker.feed import to_records
from cxstream.worker.restore import restore
from simulation.scenario import GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from simulation.broker import TP, Record, Transaction
    from simulation.cluster import Cluster

_OUTPUTS = (CHURN_RISK.name, FRICTION.name, REJECTED.name)
_FUTURE_MS = 300_000


class ViolationError(AssertionError):
    """A promise is broken."""


class Commit(NamedTuple):
    """A committed transaction of a worker.

    Attributes:
        partition: whose.
        offset: the source offset that it committed.
        rows: records of each output that were committed with it or before it.
    """

    partition: int
    offset: int
    rows: tuple[int, ...]


class Expected(NamedTuple):
    """What an engine says that reads the log of a partition once.

    Attributes:
        engine: at the end.
        rows: by output, keys and values in order.
        causes: by output, the source offset that each follows from.
        cards: by customer.
        end: the offset after the last record.
    """

    engine: Engine
    rows: dict[str, list[tuple[bytes | None, bytes | None]]]
    causes: dict[str, list[int]]
    cards: dict[bytes, bytes]
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
        self._offsets: dict[TP, int] = {}
        self._counts: dict[TP, int] = {}
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
            if tp[0] == TOUCHPOINTS.name:
                self._take_down(transaction, tp[1], offset)

    def _take_down(self, transaction: Transaction, partition: int, offset: int) -> None:
        for topic in _OUTPUTS:
            tp = topic, partition
            rows = self._rows_of(transaction, tp)
            self._counts[tp] = self._counts.get(tp, 0) + len(rows)
        self.commits.append(
            Commit(partition, offset, tuple(self._counts[topic, partition] for topic in _OUTPUTS))
        )
        for record in self._rows_of(transaction, (SNAPSHOTS.name, partition)):
            if record.key == MARKER_KEY:
                saved = msgspec.json.decode(record.value or b"")["offset"]
                if saved != offset:
                    self._report(
                        f"partition {partition}: a snapshot of offset {saved} was committed with {offset}"
                    )

    def _rows_of(self, transaction: Transaction, tp: TP) -> list[Record]:
        if transaction.begun_at.get(tp) is None:
            return []
        found = []
        for record in reversed(self._broker.log(tp).records):
            if record.transaction is transaction:
                found.append(record)
            elif found:
                break
        return found[::-1]

    # --- at the end

    def read_once(self) -> None:
        """Let an engine read each log, now that it is whole."""
        self.expected = [self._read(partition) for partition in range(self._cluster.scenario.partitions)]

    def _read(self, partition: int) -> Expected:
        settings = self._cluster.scenario.settings
        records = [r for r in self._broker.log((TOUCHPOINTS.name, partition)).records if r.visible]
        engine = Engine(settings.scoring, settings.actions, topic=TOUCHPOINTS.name, partition=partition)
        outcome = engine.process(to_records(records, _FUTURE_MS))
        rows: dict[str, list[tuple[bytes | None, bytes | None]]] = {topic: [] for topic in _OUTPUTS}
        causes: dict[str, list[int]] = {topic: [] for topic in _OUTPUTS}
        for signal in outcome.signals:
            rows[signal.topic].append((signal.key, signal.value))
            causes[signal.topic].append(records[signal.index].offset)
        for rejection in outcome.rejected:
            record = records[rejection.index]
            rows[REJECTED.name].append((record.key, record.value))
            causes[REJECTED.name].append(record.offset)
        cards = {subject.encode(): card for subject, card in engine.cards()}
        return Expected(engine, rows, causes, cards, records[-1].offset + 1)

    def committed(self, topic: str, partition: int) -> list[Record]:
        """What a read_committed reader finds."""
        return list(self._broker.fetch((topic, partition), 0))

    def lag(self) -> str:
        """What is still to come before everything is committed; empty if nothing is."""
        for partition, expected in enumerate(self.expected):
            offset = self._broker.committed.get((GROUP, (TOUCHPOINTS.name, partition)), 0)
            if offset < expected.end:
                return f"partition {partition} is committed to {offset} of {expected.end}"
            cards = self._cards(partition)
            if cards != expected.cards:
                wrong = sorted(
                    key
                    for key in cards.keys() | expected.cards.keys()
                    if cards.get(key) != expected.cards.get(key)
                )
                return f"partition {partition}: the score cards of {wrong} are not the last"
        return ""

    def _cards(self, partition: int) -> dict[bytes, bytes]:
        latest = {r.key: r.value for r in self.committed(SCORES.name, partition)}
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
        for commit in self.commits:
            self._check_commit(commit)

    def _compare(self, topic: str, partition: int, expected: Expected) -> None:
        records = self.committed(topic, partition)
        if topic == REJECTED.name:
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

    def _check_commit(self, commit: Commit) -> None:
        """Results and the offset they follow from go together, in every transaction."""
        causes = self.expected[commit.partition].causes
        wanted = tuple(bisect_left(causes[topic], commit.offset) for topic in _OUTPUTS)
        if commit.rows != wanted:
            raise ViolationError(
                f"partition {commit.partition}: with offset {commit.offset}, {commit.rows} records of "
                f"{_OUTPUTS} were committed, not {wanted}"
            )

    async def check_saved_state(self) -> None:
        """What a new owner would restore is what the engine has that read the log once, now and further on."""
        cluster = self._cluster
        for partition, expected in enumerate(self.expected):
            try:
                async with cluster.kafka().reader(partition) as reader:
                    restored = await restore(cluster.scenario.settings, reader, partition, None, Counters())
            except SnapshotError as error:
                raise ViolationError(f"partition {partition}: {error}") from error
            if restored.position != expected.end:
                raise ViolationError(
                    f"partition {partition}: restored to {restored.position}, not {expected.end}"
                )
            cards = {subject.encode(): card for subject, card in restored.engine.cards()}
            if cards != expected.cards:
                raise ViolationError(f"partition {partition}: the saved state makes other score cards")
            self._compare_future(partition, restored.engine, expected.engine)

    def _compare_future(self, partition: int, restored: Engine, read: Engine) -> None:
        records: Sequence[Record] = self._broker.log((TOUCHPOINTS.name, partition)).records[-30:]
        end = self._broker.log((TOUCHPOINTS.name, partition)).end
        again = to_records(records, _FUTURE_MS)
        again.offsets = range(end, end + len(records))
        one, other = restored.process(again), read.process(again)
        if (one.signals, one.rejected) != (other.signals, other.rejected):
            raise ViolationError(
                f"partition {partition}: the saved state says other things of what comes next"
            )

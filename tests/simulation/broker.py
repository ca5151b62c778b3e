"""Kafka as far as transactions go: logs, markers, epochs, pending offsets. Plain calls, no waiting, no chance.

    log of a partition      0   1   2   3   4   5   6
                            a   a   b   A   b   C   c         a, b, c: records of three transactions
                                            |       |         A, C: markers, an abort and a commit
                            read_committed sees b b, and c once its marker is there

    transaction             empty -> ongoing -> ending -> empty
                                        |                   ^
                                        +-- claimed anew, or too old: epoch + 1, aborted

As in Kafka a commit is decided at once and its markers are written later, partition by partition: `settle`
writes the next one. Until the last is written, the transactional id is busy, for its owner and for others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidProducerEpoch,
    InvalidTxnState,
    OutOfOrderSequenceNumber,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from simulation.trace import Trace

# A tombstone stays this long (delete.retention.ms). A reader who takes longer may miss it, which he must notice.
TOMBSTONE_SECONDS = 10.0
# The time at which everything is written, ms UTC: later than all that histories tell of.
APPENDED_MS = 4_102_444_800_000

TP = tuple[str, int]
Headers = tuple[tuple[str, bytes], ...]


class Row(NamedTuple):
    """A record before it is in a log."""

    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp: int = 0


@dataclass(slots=True)
class Record:
    """A record of a log, with the fields of aiokafka's that the worker reads."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    written: float
    transaction: Transaction | None

    @property
    def visible(self) -> bool:
        """A read_committed reader sees it, once the log is stable up to it."""
        return self.transaction is None or self.transaction.committed


@dataclass(eq=False, slots=True)
class Transaction:
    """One transaction of a producer.

    Attributes:
        began: when, in seconds.
        begun_at: first offset by partition; the partition is not stable from there before its marker.
        offsets: consumer offsets that go with it, by group and partition.
        outcome: None while it is open.
        unmarked: partitions and groups whose marker is not written yet.
    """

    id: str
    epoch: int
    began: float
    begun_at: dict[TP, int | None] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    offsets: dict[tuple[str, TP], int] = field(default_factory=dict)
    outcome: bool | None = None
    unmarked: list[TP | str] = field(default_factory=list)

    @property
    def committed(self) -> bool:
        """It was decided that it counts."""
        return self.outcome is True


@dataclass(slots=True)
class Log:
    """One partition of a topic."""

    records: list[Record] = field(default_factory=list)
    begin: int = 0
    end: int = 0
    open: list[Transaction] = field(default_factory=list)


@dataclass(slots=True)
class Identity:
    """What the coordinator knows of a transactional id."""

    epoch: int = -1
    timeout: float = 60.0
    transaction: Transaction | None = None
    ended: Transaction | None = None
    sequences: dict[TP, int] = field(default_factory=dict)


class Broker:
    """All of Kafka that is remembered.

    Args:
        now: the time, in seconds.
        trace: what happened is told here.

    Attributes:
        logs: by topic and partition.
        committed: consumer offsets by group and partition.
        on_decided: called with the transactional id when a transaction is to get its markers.
        on_commit: called when the last marker of a committed transaction is written.
    """

    def __init__(self, now: Callable[[], float], trace: Trace) -> None:
        self.logs: dict[TP, Log] = {}
        self.committed: dict[tuple[str, TP], int] = {}
        self.identities: dict[str, Identity] = {}
        self.on_decided: Callable[[str], None] = lambda _: None
        self.on_commit: Callable[[Transaction], None] = lambda _: None
        self._now = now
        self._trace = trace

    def log(self, tp: TP) -> Log:
        """The log of a partition, which need not have existed."""
        return self.logs.setdefault(tp, Log())

    @property
    def busy(self) -> list[str]:
        """Ids with a transaction that is open or lacks markers."""
        return [name for name, identity in self.identities.items() if identity.transaction is not None]

    # --- reading

    def stable(self, tp: TP) -> int:
        """The offset up to which every transaction has its marker."""
        log = self.log(tp)
        return min(
            (start for t in log.open if (start := t.begun_at[tp]) is not None),
            default=log.end,
        )

    def fetch(self, tp: TP, start: int, stop: int | None = None) -> Iterator[Record]:
        """The records that a read_committed reader sees from an offset on."""
        log, stable = self.log(tp), self.stable(tp)
        end = stable if stop is None else min(stop, stable)
        for record in log.records[_at(log.records, max(start, log.begin)) :]:
            if record.offset >= end:
                return
            if record.visible:
                yield record

    # --- writing outside of transactions

    def append(self, tp: TP, rows: Sequence[Row], transaction: Transaction | None = None) -> int:
        """Add records; the offset of the first."""
        log = self.log(tp)
        first = log.end
        for row in rows:
            log.records.append(
                Record(log.end, row.timestamp, row.key, row.value, row.headers, self._now(), transaction)
            )
            log.end += 1
        return first

    def compact(self, tp: TP, stop: int) -> None:
        """Keep the latest record of every key below an offset; tombstones go when they are old."""
        log = self.log(tp)
        stop = min(stop, self.stable(tp))
        latest = {r.key: r.offset for r in log.records if r.offset < stop and r.visible}
        old = self._now() - TOMBSTONE_SECONDS
        log.records = [
            r
            for r in log.records
            if r.offset >= stop
            or (r.visible and latest[r.key] == r.offset and (r.value is not None or r.written > old))
        ]

    def delete_before(self, tp: TP, begin: int) -> None:
        """Retention: nobody reads records below an offset any more; the checker still can."""
        log = self.log(tp)
        log.begin = max(log.begin, min(begin, self.stable(tp)))

    # --- transactions

    def claim(self, name: str, timeout: float) -> int:
        """InitProducerId: the new epoch.

        Raises:
            ConcurrentTransactions: an earlier transaction has markers left to write; it is ended if it is open.
        """
        identity = self.identities.setdefault(name, Identity())
        if identity.transaction is not None and identity.transaction.outcome is None:
            self._fence(identity)
        if identity.transaction is not None:
            raise ConcurrentTransactions
        identity.epoch += 1
        identity.timeout = timeout
        identity.ended = None
        identity.sequences.clear()
        return identity.epoch

    def add_partition(self, name: str, epoch: int, tp: TP) -> None:
        """AddPartitionsToTxn, which also begins the transaction."""
        transaction = self._transaction(name, epoch)
        if tp not in transaction.begun_at:
            transaction.begun_at[tp] = None
            self.log(tp).open.append(transaction)

    def add_group(self, name: str, epoch: int, group: str) -> None:
        """AddOffsetsToTxn."""
        transaction = self._transaction(name, epoch)
        if group not in transaction.groups:
            transaction.groups.append(group)

    def produce(self, name: str, epoch: int, tp: TP, rows: Sequence[Row], sequence: int) -> None:
        """Produce; a batch that comes again is known by its sequence number."""
        identity = self._of(name, epoch)
        expected = identity.sequences.get(tp, 0)
        if sequence < expected:
            return
        if sequence > expected:
            raise OutOfOrderSequenceNumber
        transaction = self._ongoing(identity)
        if tp not in transaction.begun_at:
            raise InvalidTxnState
        first = self.append(tp, rows, transaction)
        if transaction.begun_at[tp] is None:
            transaction.begun_at[tp] = first
        identity.sequences[tp] = sequence + len(rows)

    def commit_offsets(self, name: str, epoch: int, group: str, offsets: dict[TP, int]) -> None:
        """TxnOffsetCommit."""
        transaction = self._ongoing(self._of(name, epoch))
        if group not in transaction.groups:
            raise InvalidTxnState
        for tp, offset in offsets.items():
            transaction.offsets[group, tp] = offset

    def end(self, name: str, epoch: int, *, commit: bool) -> None:
        """EndTxn: decides; the markers follow. Asked again for what is decided already, it agrees."""
        identity = self._of(name, epoch)
        open_ = identity.transaction
        if open_ is None or open_.outcome is not None:
            decided = open_ or identity.ended
            if decided is None or decided.epoch != epoch or decided.outcome is not commit:
                raise InvalidTxnState
            return
        self._decide(identity, commit=commit)

    def expire(self) -> None:
        """Abort transactions that are too old."""
        for name, identity in self.identities.items():
            open_ = identity.transaction
            if open_ is not None and open_.outcome is None and self._now() - open_.began > identity.timeout:
                self._trace.add("transaction too old", name)
                self._fence(identity)

    def settle(self, name: str, which: int) -> bool:
        """Write one of the markers that a decided transaction lacks; whether there are more to write."""
        identity = self.identities[name]
        transaction = identity.transaction
        assert transaction is not None
        if transaction.unmarked:
            self._mark(transaction, transaction.unmarked.pop(which % len(transaction.unmarked)))
        if transaction.unmarked:
            return True
        identity.ended, identity.transaction = transaction, None
        offsets = [f"{tp[0]}-{tp[1]}:{offset}" for (_, tp), offset in transaction.offsets.items()]
        self._trace.add(
            "committed" if transaction.committed else "aborted", name, transaction.epoch, *offsets
        )
        if transaction.committed:
            self.on_commit(transaction)
        return False

    def _mark(self, transaction: Transaction, where: TP | str) -> None:
        if isinstance(where, str):
            if transaction.committed:
                for (group, tp), offset in transaction.offsets.items():
                    if group == where:
                        self.committed[group, tp] = offset
            return
        log = self.log(where)
        log.open.remove(transaction)
        log.end += 1

    def _fence(self, identity: Identity) -> None:
        identity.epoch += 1
        self._decide(identity, commit=False)

    def _decide(self, identity: Identity, *, commit: bool) -> None:
        transaction = identity.transaction
        assert transaction is not None
        transaction.outcome = commit
        transaction.unmarked = [*transaction.begun_at, *transaction.groups]
        self.on_decided(transaction.id)

    def _of(self, name: str, epoch: int) -> Identity:
        identity = self.identities[name]
        if identity.epoch != epoch:
            raise InvalidProducerEpoch
        return identity

    def _transaction(self, name: str, epoch: int) -> Transaction:
        identity = self._of(name, epoch)
        if identity.transaction is None:
            identity.transaction = Transaction(name, epoch, self._now())
        if identity.transaction.outcome is not None:
            raise ConcurrentTransactions
        return identity.transaction

    def _ongoing(self, identity: Identity) -> Transaction:
        if identity.transaction is None or identity.transaction.outcome is not None:
            raise InvalidTxnState
        return identity.transaction


def _at(records: Sequence[Record], offset: int) -> int:
    """Index of the first record at or after an offset."""
    low, high = 0, len(records)
    while low < high:
        middle = (low + high) // 2
        if records[middle].offset < offset:
            low = middle + 1
        else:
            high = middle
    return low

"""What the transport passes to a partition: a whole fetch, not single records."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kafka.record_batches import Limits
from cxstream.kafka.records import PackedRecords, Record, together
from cxstream.scoring.engine import Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cxstream.settings import Settings

# Records applied before control returns to the event loop: some 12 ms of work. A piece costs 1 ms, whatever its size.
CHUNK = 4000
# The largest snapshot row, plus what Kafka's format adds to a record with many headers, in bytes.
_ROW_BYTES, _FRAMING_BYTES = 1 << 20, 64 << 10
# The memory that a fetch may take, per byte that Kafka may send: uncompressed touchpoints of 100
# bytes and more stay below it.
FETCH_COST = 4


@dataclass(frozen=True, slots=True)
class Fetch:
    """Consecutive records of one partition, as one fetch brings them.

    Attributes:
        partition: their partition.
        records: aiokafka's records in offset order, at least one; with offset, timestamp (ms UTC), key, value
            and headers.
        follows: last offset of the previous fetch; None for the first of an assignment.
            Offsets between the two contain no records (transaction markers, compacted records). A reader
            that has not seen the fetch that ended there has missed records. Where the consumer has gone back, as Faust
            has it do during a rebalance, the first records of a fetch lie before it: they are there again.
        end: the offset after the last record of the partition, as known at the fetch.
        cost: memory of the records, in bytes.
    """

    partition: int
    records: Sequence[Any]
    follows: int | None
    end: int
    cost: int = 0

    @property
    def first(self) -> int:
        """Offset of the first record."""
        return int(self.records[0].offset)

    @property
    def last(self) -> int:
        """Offset of the last record."""
        return int(self.records[-1].offset)


class Waiting:
    """Fetches that wait to be applied, in order.

    Small ones are taken together, as far as they fit into one piece: a piece costs some time, whatever its size.

    Attributes:
        since: when the first of them came; it means nothing where none waits.
        records: how many records wait.
    """

    def __init__(self) -> None:
        self.since = 0.0
        self.records = 0
        self._fetches: deque[list[Fetch]] = deque()

    def __bool__(self) -> bool:
        return bool(self._fetches)

    def __len__(self) -> int:
        """How often `take` returns something."""
        return len(self._fetches)

    @property
    def first(self) -> int:
        """Offset of the first record."""
        return self._fetches[0][0].first

    @property
    def cost(self) -> int:
        """Memory of the records, in bytes."""
        return sum(fetch.cost for some in self._fetches for fetch in some)

    def put(self, fetch: Fetch, now: float) -> None:
        """Add the next fetch, which came now."""
        if not self._fetches:
            self.since = now
        self.records += len(fetch.records)
        if self._fetches and _fits(self._fetches[-1], fetch):
            self._fetches[-1].append(fetch)
        else:
            self._fetches.append([fetch])

    def take(self) -> Fetch:
        """The first fetch, together with those that follow it as far as they fit into one piece."""
        some = self._fetches.popleft()
        first, last = some[0], some[-1]
        records = first.records if len(some) == 1 else together([fetch.records for fetch in some])
        self.records -= len(records)
        return Fetch(first.partition, records, first.follows, last.end, sum(fetch.cost for fetch in some))


def _fits(some: list[Fetch], fetch: Fetch) -> bool:
    """Whether a fetch follows others, their records are packed, and stay so together, in one piece."""
    a, b = some[-1].records, fetch.records
    return (
        fetch.follows == some[-1].last < fetch.first
        and isinstance(a, PackedRecords)
        and isinstance(b, PackedRecords)
        and a.timestamp_type == b.timestamp_type
        and sum(len(each.records) for each in some) + len(b) <= CHUNK
    )


def limits(settings: Settings) -> Limits:
    """How large records and batches may be that a worker reads."""
    record = max(settings.scoring.max_record_bytes, _ROW_BYTES) + _FRAMING_BYTES
    return Limits(record, settings.worker.max_batch_bytes)


def chunks(records: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut a fetch into pieces that are short enough not to block the event loop; packed ones stay in the text of the fetch."""
    for start in range(0, len(records), CHUNK):
        piece = slice(start, start + CHUNK)
        yield records.part(piece) if isinstance(records, PackedRecords) else records[piece]


def to_records(records: Sequence[Any], future_ms: int) -> Records:
    """Convert aiokafka's records to input of the engine.

    Args:
        records: of one partition, in offset order.
        future_ms: how far an event time may lie after its record's Kafka timestamp, in ms.
    """
    if isinstance(records, PackedRecords):
        return Records(
            values=records.values,
            offsets=records.offsets,
            limits=records.timestamps + future_ms,
            keys=records.keys,
            grace=future_ms,
        )
    headers = [record.headers for record in records]
    values = [record.value for record in records]
    return Records(
        values=values,
        offsets=[record.offset for record in records],
        limits=np.array([record.timestamp for record in records], np.int64) + future_ms,
        keys=[record.key for record in records],
        headers=headers if any(headers) else None,
        unheld=_unheld(records) if None in values else frozenset(),
        grace=future_ms,
    )


def _unheld(records: Sequence[Any]) -> frozenset[int]:
    return frozenset(
        i for i, each in enumerate(records) if isinstance(each, Record) and each.reference and not each.broken
    )

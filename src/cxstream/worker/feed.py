"""The message that travels through Faust: a whole fetch of one partition, not single records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kafka.record_batches import Limits
from cxstream.kafka.records import PackedRecords, Record
from cxstream.scoring.engine import Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cxstream.settings import Settings

# Records applied before control returns to the event loop: some 5 ms of work, and few enough for the CPU cache.
CHUNK = 2000
# The largest snapshot row, plus what Kafka's format adds to a record with many headers, in bytes.
_ROW_BYTES, _FRAMING_BYTES = 1 << 20, 64 << 10
# The memory that a fetch may take, per byte that Kafka may send: uncompressed touchpoints of 100
# bytes and more stay below it.
FETCH_COST = 4


@dataclass(frozen=True, slots=True)
class Fetch:
    """Consecutive records of one partition, as one Faust message carries them.

    Attributes:
        partition: their partition.
        records: aiokafka's records in offset order, at least one; with offset, timestamp (ms UTC), key, value
            and headers.
        follows: last offset of the previous fetch; None for the first of an assignment.
            Offsets between the two contain no records (transaction markers, compacted records). A reader
            that has not seen the fetch that ended there has missed records.
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


def limits(settings: Settings) -> Limits:
    """How large records and batches may be that a worker reads."""
    record = max(settings.scoring.max_record_bytes, _ROW_BYTES) + _FRAMING_BYTES
    return Limits(record, settings.worker.max_batch_bytes)


def chunks(records: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Cut a fetch into pieces that are short enough not to block the event loop."""
    for start in range(0, len(records), CHUNK):
        yield records[start : start + CHUNK]


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

"""What travels through Faust: not a record at a time, a whole fetch of one partition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kafka.record_batches import Limits, Record
from cxstream.scoring.engine import Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cxstream.settings import Settings

# Records applied between two looks at the event loop: some 5 ms of work, and few enough for the processor's cache.
CHUNK = 2000
# Rows of saved state have up to so many bytes; and what Kafka's format adds to a record with many headers.
_ROW_BYTES, _FRAMING_BYTES = 1 << 20, 64 << 10
# What a fetch may cost in memory, by the bytes of it that Kafka may send: touchpoints that are not compressed, of 100
# bytes and more, do not reach it.
FETCH_COST = 4


@dataclass(frozen=True, slots=True)
class Fetch:
    """Consecutive records of one partition, as one Faust message carries them.

    Attributes:
        partition: the partition they are of.
        records: aiokafka's records in offset order, at least one; with offset, timestamp (ms UTC), key, value
            and headers.
        follows: last offset of the fetch handed out before this one; None for the first of an assignment.
            Offsets between the two hold nothing to read (transaction markers, compacted records). A reader
            that has not seen the fetch that ended there has missed something.
        end: the offset after the last record that the partition was known to have.
        cost: what the records take in memory, in bytes.
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
    """Cut a fetch into pieces short enough that the event loop stays alive between them."""
    for start in range(0, len(records), CHUNK):
        yield records[start : start + CHUNK]


def to_records(records: Sequence[Any], future_ms: int) -> Records:
    """Turn aiokafka's records into what the engine takes.

    Args:
        records: of one partition, in offset order.
        future_ms: how far an event time may lie after its record's Kafka timestamp, in ms.
    """
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

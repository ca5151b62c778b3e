"""Record batches as they lie on the wire, without an object of Python's for each record.

aiokafka unpacks what it fetched through a generator that makes a ConsumerRecord of every record, which is most
of what reading costs. Here the generator of a fetch is replaced, before it has begun, by one that gives out the
records of a whole batch as aiokafka's own C objects: they have offset, timestamp, key, value and headers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import CorruptRecordException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiokafka.consumer.fetcher import PartitionRecords


class WholeBatches(OrderedDict[Any, Any]):
    """What a fetcher keeps its results in, by partition: those of some topics give out batches.

    Args:
        topics: the topics.
    """

    def __init__(self, topics: frozenset[str]) -> None:
        super().__init__()
        self._topics = topics

    def __setitem__(self, tp: Any, result: Any) -> None:
        if tp.topic in self._topics and type(result) is FetchResult:
            fetched = result._partition_records  # noqa: SLF001
            fetched._records_iterator = _batches(fetched)  # noqa: SLF001
        super().__setitem__(tp, result)


def _batches(fetched: PartitionRecords) -> Iterator[list[Any]]:
    """Yield the records of each batch that a reader may see."""
    log = fetched._records  # noqa: SLF001
    while log.has_next():
        batch = log.next_batch()
        if fetched._check_crcs and not batch.validate_crc():  # noqa: SLF001
            raise CorruptRecordException(f"{fetched._tp}: a batch is damaged (CRC)")  # noqa: SLF001
        records = list(batch) if _may_be_seen(fetched, batch) else []
        if records and records[0].offset < fetched.next_fetch_offset:
            # A fetch brings whole batches, also where it asked for the middle of one.
            records = [record for record in records if record.offset >= fetched.next_fetch_offset]
        fetched.next_fetch_offset = batch.next_offset
        if records:
            yield records


def _may_be_seen(fetched: PartitionRecords, batch: Any) -> bool:
    """Whether a batch has records for us: markers have none, and aborted ones are not to be read."""
    if fetched._isolation_level == READ_COMMITTED and batch.producer_id is not None:  # noqa: SLF001
        aborted = fetched._aborted_producers  # noqa: SLF001
        fetched._consume_aborted_up_to(batch.base_offset)  # noqa: SLF001
        if batch.is_control_batch and fetched._contains_abort_marker(batch):  # noqa: SLF001
            aborted.discard(batch.producer_id)
        if batch.is_transactional and batch.producer_id in aborted:
            return False
    return not batch.is_control_batch

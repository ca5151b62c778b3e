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
from aiokafka.record.default_records import DefaultRecordBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiokafka.consumer.fetcher import PartitionRecords

    from cxstream.fetching import Refuse


# The format of record batches since Kafka 0.11. aiokafka tells older ones apart by the first batch of a fetch alone,
# and takes later ones for this.
_MAGIC = 2


class WholeBatches(OrderedDict[Any, Any]):
    """What a fetcher keeps its results in, by partition: those of some topics give out batches.

    Args:
        topics: the topics.
        refuse: is told of a batch that cannot be unpacked, once those before it have been given out. If it raises
            nothing, the fetch ends there.
        on_read: is told of each partition of which a batch could be unpacked.
    """

    def __init__(
        self, topics: frozenset[str], refuse: Refuse, on_read: Callable[[Any], None] = lambda _: None
    ) -> None:
        super().__init__()
        self._topics = topics
        self._refuse = refuse
        self._on_read = on_read

    def __setitem__(self, tp: Any, result: Any) -> None:
        if tp.topic in self._topics and type(result) is FetchResult:
            fetched = result._partition_records  # noqa: SLF001
            fetched._records_iterator = self._given_out(fetched)  # noqa: SLF001
        super().__setitem__(tp, result)

    def _given_out(self, fetched: PartitionRecords) -> Iterator[list[Any]]:
        tp, batches, begun = fetched._tp, _batches(fetched), False  # noqa: SLF001
        while True:
            try:
                records = next(batches, None)
            except Exception as error:  # noqa: BLE001 - whatever damaged bytes lead to
                # The next fetch begins at the batch that is damaged, and fails then if this one brought something:
                # an error must not keep back what came before it.
                if not begun:
                    self._refuse(tp, fetched.next_fetch_offset, error)
                return
            if not begun:
                self._on_read(tp)
            if records is None:
                return
            begun = True
            yield records


def _batches(fetched: PartitionRecords) -> Iterator[list[Any]]:
    """Yield the records of each batch that a reader may see."""
    log = fetched._records  # noqa: SLF001
    while log.has_next():
        batch = log.next_batch()
        if isinstance(batch, DefaultRecordBatch) and batch.magic != _MAGIC:
            raise CorruptRecordException(f"a batch has a format that is not known (magic {batch.magic})")
        if fetched._check_crcs and not batch.validate_crc():  # noqa: SLF001
            raise CorruptRecordException("a batch is damaged (its CRC is wrong)")
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

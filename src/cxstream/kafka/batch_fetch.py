"""Record batches in their wire format, without a Python object per record.

aiokafka unpacks a fetch with a generator that makes a ConsumerRecord of every record, which takes most
of the time of reading. Here the generator of a fetch is replaced, before it starts, by one that returns the
records of a whole batch as aiokafka's own C objects: they have offset, timestamp, key, value and headers.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import proxy

import structlog
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch
from crc32c import crc32c

from cxstream.kafka.record_batches import Piece, Unpacker
from cxstream.kafka.records import PackedRecords, Record, between

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, MutableMapping, Sequence

    from aiokafka import TopicPartition
    from aiokafka.consumer.fetcher import PartitionRecords

    from cxstream.kafka.record_batches import Limits

    # Called with the partition, the first offset that cannot be read, and the reason.
    Refuse = Callable[[TopicPartition, int, Exception], None]


# The format of record batches since Kafka 0.11. aiokafka recognises older ones only by the first batch of a fetch,
# and assumes this one for the others.
_MAGIC = 2
log = structlog.get_logger(__name__)

# Position of a batch's length field, and the bytes that the length does not include.
_LENGTH_AT, _OVERHEAD = 8, 12
# Position of the checksum, and of the first byte that it is of.
_CRC_AT, _ATTRIBUTES_AT = 17, 21


class WholeBatches(OrderedDict[Any, Any]):
    """Replaces the dictionary in which a fetcher keeps its results: those of some topics return batches.

    A call for records unpacks some `most` bytes of memory, at least one piece; the rest stays packed until the
    next call.

    Args:
        topics: the topics; None for all of them.
        refuse: called for a batch that cannot be unpacked, after those before it have been returned. If it does not
            raise, the fetch ends there.
        raw: the bytes of the latest fetch, by partition; they are removed when they are taken.
        limits: the largest records and batches.
        most: how much a call unpacks of a partition, in bytes of memory.
        on_read: called for each partition of which a batch could be unpacked.

    Attributes:
        room: how much may be unpacked of all partitions until it is set again, in bytes of memory; None for no limit.
    """

    def __init__(
        self,
        topics: Collection[str] | None,
        refuse: Refuse,
        raw: MutableMapping[Any, bytes],
        limits: Limits,
        most: int,
        on_read: Callable[[Any], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._topics = topics
        self._refuse = refuse
        self._raw = raw
        self._unpacker = Unpacker(limits)
        self._most = most
        self._on_read = on_read
        self.room: int | None = None

    def __setitem__(self, tp: Any, result: Any) -> None:
        if type(result) is FetchResult and (self._topics is None or tp.topic in self._topics):
            fetched = result._partition_records  # noqa: SLF001
            fetched._records_iterator = self._given_out(fetched, self._raw.pop(tp))  # noqa: SLF001
            # By a weak reference: results that held themselves would wait for the garbage collector, hundreds a second.
            result.getall = partial(self._some, proxy(result))
        super().__setitem__(tp, result)

    def _given_out(self, fetched: PartitionRecords, raw: bytes) -> Iterator[Piece | PackedRecords]:
        tp, pieces, begun = fetched._tp, _pieces(fetched, raw, self._unpacker), False  # noqa: SLF001
        while True:
            try:
                piece = next(pieces, None)
            except Exception as error:  # noqa: BLE001 - damaged bytes may cause any error
                # If this fetch returned records, the next one starts at the damaged batch and fails then:
                # an error must not delay the records before it.
                if not begun:
                    self._refuse(tp, fetched.next_fetch_offset, error)
                return
            if not begun:
                self._on_read(tp)
            if piece is None:
                return
            begun = True
            if not piece.plain:
                _tell(tp, piece)
            yield piece

    def _some(self, result: FetchResult, _max_records: int | None = None) -> list[Piece | PackedRecords]:
        """Like aiokafka's `FetchResult.getall`, limited by memory instead of a number of records."""
        found: list[Piece | PackedRecords] = []
        if not result.check_assignment(result._topic_partition) or not result.has_more():  # noqa: SLF001
            return found
        most = self._most if self.room is None else min(self._most, self.room)
        if most <= 0:
            return found
        cost, records = 0, result._partition_records  # noqa: SLF001
        while cost < most:
            piece = next(records, None)
            if piece is None:
                result._partition_records = None  # noqa: SLF001
                break
            found.append(piece)
            cost += piece.cost
        if self.room is not None:
            self.room -= cost
        fetched = records.next_fetch_offset
        result._assignment.state_value(result._topic_partition).consumed_to(fetched)  # noqa: SLF001
        return found


def _tell(tp: Any, piece: Sequence[Any]) -> None:
    for record in piece:
        if not isinstance(record, Record):
            continue
        if record.broken:
            log.error(
                "records cannot be read: they are rejected by reference",
                topic=tp.topic,
                partition=tp.partition,
                first=record.offset if record.first is None else record.first,
                last=record.offset,
                error=record.broken,
            )
        elif record.first is not None:
            log.warning(
                "a batch inflates to more than worker.max_batch_bytes; the records beyond are not read",
                topic=tp.topic,
                partition=tp.partition,
                first=record.first,
                last=record.offset,
            )


def _pieces(fetched: PartitionRecords, raw: bytes, unpacker: Unpacker) -> Iterator[Piece | PackedRecords]:
    """Yield the visible records of each batch, one piece at a time."""
    log, view, at = fetched._records, memoryview(raw), 0  # noqa: SLF001
    while log.has_next():
        batch = log.next_batch()
        start, at = at, at + _OVERHEAD + int(struct.unpack_from(">i", view, at + _LENGTH_AT)[0])
        old = not isinstance(batch, DefaultRecordBatch)
        if not old and batch.magic != _MAGIC:
            raise CorruptRecordException(f"a batch has an unknown format (magic {batch.magic})")
        if fetched._check_crcs and not (batch.validate_crc() if old else _is_whole(view[start:at])):  # noqa: SLF001
            raise CorruptRecordException("a batch is damaged (its CRC is wrong)")
        if _may_be_seen(fetched, batch):
            found: Iterator[Piece | PackedRecords] = (
                iter([Piece(list(batch), at - start)]) if old else unpacker.pieces(raw, start, at)
            )
            for piece in found:
                if kept := _from(piece, fetched.next_fetch_offset):
                    fetched.next_fetch_offset = kept[-1].offset + 1
                    yield kept
        fetched.next_fetch_offset = batch.next_offset


def _is_whole(batch: memoryview) -> bool:
    """Whether the checksum of a batch is right: by an instruction of the processor where it has one."""
    return bool(crc32c(batch[_ATTRIBUTES_AT:]) == int.from_bytes(batch[_CRC_AT : _CRC_AT + 4]))


def _from(piece: Piece | PackedRecords, first: int) -> Piece | PackedRecords:
    """The records from an offset on: a fetch returns whole batches, even if it asked for the middle of one."""
    if not piece or piece[0].offset >= first:
        return piece
    kept = between(piece, first)
    return kept if isinstance(kept, PackedRecords) else Piece(kept, piece.cost, plain=piece.plain)


def _may_be_seen(fetched: PartitionRecords, batch: Any) -> bool:
    """Whether a batch has visible records: transaction markers have none, and aborted batches must not be read."""
    if fetched._isolation_level == READ_COMMITTED and batch.producer_id is not None:  # noqa: SLF001
        aborted = fetched._aborted_producers  # noqa: SLF001
        fetched._consume_aborted_up_to(batch.base_offset)  # noqa: SLF001
        if batch.is_control_batch and fetched._contains_abort_marker(batch):  # noqa: SLF001
            aborted.discard(batch.producer_id)
        if batch.is_transactional and batch.producer_id in aborted:
            return False
    return not batch.is_control_batch

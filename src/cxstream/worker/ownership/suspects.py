"""Records of a partition that may be impossible to process, remembered while its state is rebuilt.

    a batch fails            -> the state is dropped; its records are applied one by one
    a record fails alone     -> the state is dropped; the record is passed over: rejected as `failed`
    rows are too large       -> smaller batches, until the row is alone
    a row is refused alone   -> once more
    ... and again            -> the record that it follows from is passed over

So a record is passed over only after it has failed twice, the second time alone and on a rebuilt state, and
only if records that are known to be sound do not fail.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError

from cxstream.kafka.records import between
from cxstream.scoring.failing import BatchError, place_of
from cxstream.scoring.state.passed_over import FAILED
from cxstream.topology import SCORED, TOUCHPOINTS
from cxstream.worker import feed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from cxstream.scoring.engine import Engine

# Errors of Kafka about a batch that do not change when it is sent again.
_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError, RecordTooLargeError)
# No row that results from a sound record is larger. A topic that refuses a smaller one is configured wrongly
# (max.message.bytes), and would cause one record after the other to be passed over.
_SOUND_BYTES = 64 * 1024

log = structlog.get_logger(__name__)


class Cause(NamedTuple):
    """The source record that caused a row."""

    topic: str
    offset: int


class RowsRefusedError(Exception):
    """Kafka refuses a batch of rows, and a retry would not help.

    Attributes:
        topic: that the rows are for.
        causes: the records that caused the rows; None for a row with many causes.
        size: of the batch, in bytes.
        error: Kafka's error.
    """

    def __init__(self, topic: str, causes: Sequence[Cause | None], size: int, error: Exception) -> None:
        rows = "a row" if len(causes) == 1 else f"{len(causes)} rows"
        super().__init__(f"{topic} refuses {rows} of {size:,} bytes: {type(error).__name__}")
        self.topic, self.causes, self.size, self.error = topic, list(causes), size, error


def is_refusal(error: Exception) -> bool:
    """Whether Kafka has refused a batch for its size, so that a retry would not help."""
    return isinstance(error, _TOO_LARGE)


class Suspects:
    """Remembers how the next attempt must differ.

    Attributes:
        found: records to be passed over, and why.
        limits: the largest batches that a topic is to be sent, in bytes.

    Args:
        partition: whose records.
    """

    def __init__(self, partition: int) -> None:
        self.found: dict[Cause, str] = {}
        self.limits: dict[str, int] = {}
        self._log = log.bind(partition=partition)
        self._alone = range(0)
        self._refused: Cause | None = None
        self._check: Callable[[], None] = lambda: None

    def tell(self, engine: Engine) -> None:
        """Tell an engine the records to pass over."""
        self._check = engine.require_sound
        for topic, offset in self.found:
            if topic == TOUCHPOINTS.contract:
                engine.partition.passed.add(offset, FAILED)

    def pieces(self, records: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """Cut a fetch into pieces to apply: short ones, and single records if one of them is suspect."""
        alone = self._alone
        if not records or not alone or records[-1].offset < alone.start or records[0].offset >= alone.stop:
            yield from feed.chunks(records)
            return
        yield from feed.chunks(between(records, 0, alone.start))
        yield from ([record] for record in between(records, alone.start, alone.stop))
        yield from feed.chunks(between(records, alone.stop))

    def learn(self, error: Exception) -> bool:
        """Record a failure; returns whether an immediate retry may help."""
        if isinstance(error, BatchError):
            return self._learn_batch(error)
        return isinstance(error, RowsRefusedError) and self._learn_rows(error)

    def _learn_batch(self, failed: BatchError) -> bool:
        single = failed.first == failed.last
        if not (single and failed.first in self._alone):
            self._log.warning(
                "records cannot be applied; they are applied again one by one",
                first=failed.first,
                last=failed.last,
                error=place_of(failed.error),
            )
            self._alone = range(failed.first, failed.last + 1)
            return True
        return self._find(Cause(TOUCHPOINTS.contract, failed.first), place_of(failed.error))

    def _learn_rows(self, refused: RowsRefusedError) -> bool:
        if len(refused.causes) > 1:
            # Halving the limit repeatedly isolates a row that is too large in its own batch.
            self.limits[refused.topic] = refused.size // 2 if refused.size > _SOUND_BYTES else 1
            return True
        [cause] = refused.causes
        if refused.topic == SCORED.contract and refused.size > _SOUND_BYTES:
            # Its records have many causes, and are cut to this size.
            self.limits[refused.topic] = refused.size // 2
            return True
        if cause is None or refused.size <= _SOUND_BYTES:
            return False
        before, self._refused = self._refused, cause
        return cause != before or self._find(cause, str(refused))

    def _find(self, cause: Cause, why: str) -> bool:
        if cause in self.found:
            return False
        try:
            self._check()
        except Exception as error:  # noqa: BLE001 - no record is the cause of the error
            self._log.warning("sound records fail, too; none is passed over", error=place_of(error))
            return False
        self.found[cause] = why
        return True

    def why(self, topic: str, offset: int) -> str | None:
        """Why a record must be passed over; None if it need not be."""
        return self.found.get(Cause(topic, offset))

"""The accepted touchpoints of one flush, on their way into records of cx.scored.

batches -> put off -> columns, until there are enough rows for a record -> an Arrow stream, compressed
             (both by another thread, while the event loop applies the next batch)
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from cxstream.files.scored import empty, encoded, is_dense
from cxstream.files.scored_columns import ScoredColumns
from cxstream.kafka.records import timestamps_of
from cxstream.model.scored import CLOCK, CONTENT_TYPE
from cxstream.model.scored import ROWS as ROWS_HEADER
from cxstream.scoring.failing import BatchError, may_be_of_record

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy as np
    from numpy.typing import NDArray

    from cxstream.scoring.scored import Scored

# A record of so many rows has some 500 KB, and takes some 6 MB in memory until it is encoded.
ROWS = 20_000
# Far below the broker's default limit of one record batch, which is 1 MiB; rows with long texts make shorter records.
RECORD_BYTES = 640 * 1024
_LEAST_BYTES = 64 * 1024
# What a row that is put off takes besides the text of its batch, roughly.
_PUT_OFF_BYTES = 1024

Headers = list[tuple[str, bytes | None]]


class _PutOff(NamedTuple):
    """Rows that are not in columns yet.

    Attributes:
        scored: the accepted touchpoints of a batch.
        arrived: int64[n], when Kafka appended them, ms UTC.
        first: offset of the batch's first record.
        last: ... and of its last.
        size: approximate bytes.
    """

    scored: Scored
    arrived: NDArray[np.int64]
    first: int
    last: int
    size: int


class ScoredRows:
    """Takes the scored touchpoints of one partition.

    Attributes:
        rows: accepted touchpoints so far.
        values: the records that are encoded.
        headers: ... and their headers.
        compressed: Kafka need not compress any of them, since Arrow has.

    Args:
        limit: the most bytes of a record with more than one row.
    """

    def __init__(self, limit: int = RECORD_BYTES) -> None:
        self._limit = max(min(limit, RECORD_BYTES), _LEAST_BYTES)
        # In order; None where a new record begins.
        self._put_off: deque[_PutOff | None] = deque()
        # Counted by who adds, and by who catches up: threads share no counter.
        self._added_bytes = self._caught_up_bytes = self._caught_up_rows = 0
        self._catching_up = threading.Lock()
        self._error: Exception | None = None
        self._begun = 0  # rows of the record that is begun
        self._waiting = ScoredColumns()
        self._full: list[ScoredColumns] = []
        self._encoded = 0
        self.rows = 0
        self.values: list[bytes] = []
        self.headers: list[Headers] = []
        self.compressed = True

    @property
    def held_bytes(self) -> int:
        """Memory of the records and of the rows that wait to be encoded."""
        columns = self._waiting.nbytes + sum(each.nbytes for each in self._full)
        return self._added_bytes - self._caught_up_bytes + columns + self._encoded

    @property
    def rows_put_off(self) -> int:
        """Rows that are not in columns yet."""
        return self.rows - self._caught_up_rows

    def add(self, scored: Scored, records: Sequence[Any]) -> None:
        """Take the rows of a batch; they become columns later.

        Args:
            scored: the accepted touchpoints.
            records: the records of the batch.
        """
        n = len(scored)
        if not n:
            return
        fields = scored.events.fields
        size = _PUT_OFF_BYTES * n + (len(fields.text) if fields is not None else 0)
        arrived = timestamps_of(records, scored.positions)
        self._added_bytes += size
        self._put_off.append(_PutOff(scored, arrived, records[0].offset, records[-1].offset, size))
        self.rows += n
        self._begun += n
        if self._begun >= ROWS:
            self.close()

    def close(self) -> None:
        """Begin a new record."""
        if self._begun:
            self._put_off.append(None)
            self._begun = 0

    def catch_up(self) -> None:
        """Make columns of the rows that were put off; another thread may do so while more are added."""
        with self._catching_up:
            while self._put_off and self._error is None:
                self._take_up(self._put_off.popleft())

    def _take_up(self, rows: _PutOff | None) -> None:
        if rows is None:
            self._full.append(self._waiting)
            self._waiting = ScoredColumns()
            return
        try:
            self._waiting.add(rows.scored, rows.arrived)
        except Exception as error:  # noqa: BLE001 - `encode` raises it
            self._error = error
            if may_be_of_record(error):
                self._error = BatchError(rows.first, rows.last, error)
                self._error.__cause__ = error
        self._caught_up_bytes += rows.size
        self._caught_up_rows += len(rows.scored)

    def encode(self) -> None:
        """Encode the rows of records that are closed; another thread may do so once no more rows come.

        Raises:
            BatchError: rows cannot be encoded, for what is in them.
        """
        self.catch_up()
        if self._error is not None:
            raise self._error
        for columns in self._full:
            for value, rows in encoded(columns.batch(), self._limit):
                self._take(value, rows, [])
        self._full.clear()

    def beat(self, clock: int) -> None:
        """Add a record without rows that says how far the clock of the partition is.

        Args:
            clock: ms UTC.
        """
        self._take(empty(), 0, [(CLOCK, str(clock).encode())])

    def _take(self, value: bytes, rows: int, headers: Headers) -> None:
        self.values.append(value)
        self.headers.append(
            [(ROWS_HEADER, str(rows).encode()), *headers, ("content-type", CONTENT_TYPE.encode())]
        )
        self.compressed &= is_dense(rows)
        self._encoded += len(value)

"""The accepted touchpoints of one flush, on their way into records of cx.scored.

batches -> columns, until there are enough rows for a record -> an Arrow stream, compressed
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.files.scored import empty, encoded
from cxstream.files.scored_columns import ScoredColumns
from cxstream.kafka.records import timestamps_of
from cxstream.model.scored import CLOCK, CONTENT_TYPE
from cxstream.model.scored import ROWS as ROWS_HEADER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from cxstream.scoring.scored import Scored

# A record of so many rows has some 500 KB, and takes some 6 MB in memory until it is encoded.
ROWS = 20_000
# Far below the broker's default limit of one record batch, which is 1 MiB; rows with long texts make shorter records.
RECORD_BYTES = 640 * 1024
_LEAST_BYTES = 64 * 1024

Headers = list[tuple[str, bytes | None]]


class ScoredRows:
    """Takes the scored touchpoints of one partition.

    Attributes:
        rows: accepted touchpoints so far.
        values: the records that are encoded.
        headers: ... and their headers.

    Args:
        limit: the most bytes of a record with more than one row.
    """

    def __init__(self, limit: int = RECORD_BYTES) -> None:
        self._limit = max(min(limit, RECORD_BYTES), _LEAST_BYTES)
        self._waiting = ScoredColumns()
        self._full: list[ScoredColumns] = []
        self._encoded = 0
        self.rows = 0
        self.values: list[bytes] = []
        self.headers: list[Headers] = []

    @property
    def held_bytes(self) -> int:
        """Memory of the records and of the rows that wait to be encoded."""
        return self._waiting.nbytes + sum(each.nbytes for each in self._full) + self._encoded

    def add(self, scored: Scored, records: Sequence[Any]) -> None:
        """Take the rows of a batch.

        Args:
            scored: the accepted touchpoints.
            records: the records of the batch.
        """
        if not len(scored):
            return
        self._waiting.add(scored, timestamps_of(records, scored.positions))
        self.rows += len(scored)
        if self._waiting.rows >= ROWS:
            self.close()

    def close(self) -> None:
        """Begin a new record."""
        if self._waiting.rows:
            self._full.append(self._waiting)
            self._waiting = ScoredColumns()

    def encode(self) -> None:
        """Encode the rows of records that are closed; another thread may do so once no more rows come."""
        for columns in self._full:
            for value, rows in encoded(columns.batch(), self._limit):
                self._take(value, [(ROWS_HEADER, str(rows).encode())])
        self._full.clear()

    def beat(self, clock: int) -> None:
        """Add a record without rows that says how far the clock of the partition is.

        Args:
            clock: ms UTC.
        """
        self._take(empty(), [(ROWS_HEADER, b"0"), (CLOCK, str(clock).encode())])

    def _take(self, value: bytes, headers: Headers) -> None:
        self.values.append(value)
        self.headers.append([*headers, ("content-type", CONTENT_TYPE.encode())])
        self._encoded += len(value)

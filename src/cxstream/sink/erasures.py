"""Erasures that the database knows: which rows they concern.

A receipt of cx.forgotten names the place of the request in cx.touchpoints, and the customer by a digest. A row goes if
it is before that place, or, in another partition, if its time is not later than the request. Receipts are remembered,
since rows can arrive after them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from cxstream.scoring.state.erasures import digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.sink.database import Database

# Whether an erasure `e` concerns a row `r`.
CONCERNS = (
    'e.digest = r.digest AND ((e.partition = r.partition AND r."offset" < e."offset") '
    "OR (e.partition <> r.partition AND r.time <= e.time))"
)


class Request(NamedTuple):
    """One erasure.

    Attributes:
        partition: of the request in cx.touchpoints.
        offset: of the request there.
        time: of the request, UTC.
    """

    partition: int
    offset: int
    time: datetime

    def concerns(self, partition: int, offset: int, time: datetime) -> bool:
        """Whether it concerns a row of the customer."""
        return offset < self.offset if partition == self.partition else time <= self.time


class Erasures:
    """All erasures, and those that the aggregates do not count any more.

    Attributes:
        pending: digests of those that the aggregates still count.
    """

    def __init__(self) -> None:
        self._requests: dict[bytes, list[Request]] = {}
        self._taken_out: dict[bytes, list[Request]] = {}
        self.pending: set[bytes] = set()

    def load(self, database: Database) -> None:
        """Read them from the database."""
        self._requests, self._taken_out, self.pending = {}, {}, set()
        with database.translated():
            found = database.connection.execute(
                'SELECT digest, partition, "offset", time, taken_out FROM erasures'
            ).fetchall()
        for key, partition, offset, time, taken_out in found:
            request = Request(partition, offset, time)
            self._requests.setdefault(key, []).append(request)
            if taken_out:
                self._taken_out.setdefault(key, []).append(request)
            else:
                self.pending.add(key)

    def concern(self, key: bytes, partition: int, offset: int, time: datetime) -> bool:
        """Whether one of them concerns a card or a signal of a customer, by the digest."""
        mine = self._requests.get(key, ())
        return any(each.concerns(partition, offset, time) for each in mine)

    def not_counted(self, rows: pa.Table) -> pa.Table:
        """The touchpoints without those that the aggregates no longer count."""
        return rows.filter(~_concerned(rows, self._taken_out)) if self._taken_out else rows

    def to_take_out(self, rows: pa.Table) -> pa.Table:
        """The touchpoints that the aggregates count, and are to count no more."""
        rows = self.not_counted(rows)
        waiting = {key: self._requests[key] for key in self.pending}
        return rows.filter(_concerned(rows, waiting))


def _concerned(rows: pa.Table, requests: dict[bytes, list[Request]]) -> NDArray[np.bool_]:
    """bool[n]: which touchpoints they concern."""
    encoded = rows.column("customer").combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    known = {i: found for i, name in enumerate(names) if (found := requests.get(digest(name)))}
    gone = np.zeros(rows.num_rows, bool)
    if not known:
        return gone
    codes = encoded.indices.to_numpy()
    partitions, offsets = rows.column("partition").to_numpy(), rows.column("offset").to_numpy()
    times = rows.column("time").cast(pa.int64()).to_numpy()
    for i, found in known.items():
        mine = codes == i
        for each in found:
            before = np.where(
                partitions == each.partition, offsets < each.offset, times <= _milliseconds(each.time)
            )
            gone |= mine & before
    return gone


def _milliseconds(time: datetime) -> int:
    since = time.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000

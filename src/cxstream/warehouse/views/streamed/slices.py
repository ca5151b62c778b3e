"""The touchpoints of a selection as arrays, in slices of time that each come after the one before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from cxstream.kernels.journeys import BUCKET, divide, in_order
from cxstream.warehouse.query import value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    import duckdb
    import pyarrow as pa
    from numpy.typing import NDArray

T = TypeVar("T")

# Touchpoints of a slice: enough to keep the threads of DuckDB busy, few enough for the cache of the processor.
_ROWS = 1_000_000
_PLACE = ("partition", "offset")


class Asked(NamedTuple):
    """What of the touchpoints is read.

    Attributes:
        sql: a query with the columns customer_id, time, us, partition, offset, place (SMALLINT, 0 for none), and others.
        values: to bind to it.
        since: start of the window, or None.
        until: its end, or None.
    """

    sql: str
    values: dict[str, Any]
    since: datetime | None
    until: datetime | None


class Slice(NamedTuple):
    """Touchpoints of some time.

    Attributes:
        start: how many touchpoints came before.
        order: int32[n], the rows of each part in the order of time, partition and offset.
        ends: int64[parts], where the rows of each part end.
        columns: the others by name; `us` is int64, the time.
    """

    start: int
    order: NDArray[np.int32]
    ends: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]

    def rows(self, part: int) -> slice:
        """Where the rows of a part are in `order`."""
        return slice(self.ends[part - 1] if part else 0, self.ends[part])


def count(cursor: duckdb.DuckDBPyConnection, asked: Asked) -> int:
    """How many touchpoints the window has at most."""
    conditions, values = _window(asked.since, asked.until)
    found: int = cursor.execute(f"SELECT count(*) FROM touchpoints WHERE {conditions}", values).fetchall()[0][
        0
    ]
    return found


def in_parts(
    cursor: duckdb.DuckDBPyConnection, asked: Asked, parts: int, work: Callable[[Slice, int], T]
) -> Iterator[T]:
    """Do work with each slice in so many threads, each of which gets the number of its part; yields what they return."""
    with ThreadPoolExecutor(parts) as pool:
        for one in slices(cursor, asked, parts):
            yield from pool.map(partial(work, one), range(parts))


def slices(cursor: duckdb.DuckDBPyConnection, asked: Asked, parts: int = 1) -> Iterator[Slice]:
    """Read the touchpoints, for so many parts; the next slice is read while the caller works with one."""
    start = 0
    for columns in _ahead(cursor, asked, _arrays):
        found = _sorted(start, columns, parts)
        start += len(found.order)
        yield found


def tables(cursor: duckdb.DuckDBPyConnection, asked: Asked) -> Iterator[pa.Table]:
    """Read the touchpoints, those of a slice in any order; the next slice is read while the caller works with one."""
    return _ahead(cursor, asked, lambda table: table)


def _ahead(cursor: duckdb.DuckDBPyConnection, asked: Asked, made: Callable[[pa.Table], T]) -> Iterator[T]:
    """What is made of each slice."""
    bounds = [asked.since, *_days(cursor, asked), asked.until]

    def read(window: tuple[datetime | None, datetime | None]) -> T:
        return made(_read(cursor, asked, window))

    windows = list(pairwise(bounds))
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(read, windows[0])
        for window in [*windows[1:], None]:
            found = coming.result()
            if window is not None:
                coming = pool.submit(read, window)
            yield found


def _days(cursor: duckdb.DuckDBPyConnection, asked: Asked) -> list[datetime]:
    """Days within the window that divide it into slices of about as many touchpoints."""
    conditions, values = _window(asked.since, asked.until, "day::TIMESTAMP")
    found = cursor.execute(
        f"SELECT day::TIMESTAMP, sum(touchpoints)::BIGINT FROM daily WHERE {conditions} GROUP BY day ORDER BY day",
        values,
    ).fetchall()
    days, rows = [], 0
    for day, touchpoints in found:
        if rows + touchpoints > _ROWS and rows:
            days.append(day)
            rows = 0
        rows += touchpoints
    return days


def _window(since: datetime | None, until: datetime | None, time: str = "time") -> tuple[str, dict[str, Any]]:
    conditions, values = ["true"], {}
    for name, sign, bound in (("slice_since", ">=", since), ("slice_until", "<", until)):
        if bound is not None:
            conditions.append(f"{time} {sign} ${name}")
            values[name] = bound
    return " AND ".join(conditions), values


def _read(
    cursor: duckdb.DuckDBPyConnection, asked: Asked, window: tuple[datetime | None, datetime | None]
) -> pa.Table:
    conditions, values = _window(*window)
    return cursor.sql(
        f"SELECT * EXCLUDE (time) FROM ({asked.sql}) WHERE place > 0 AND {conditions}",
        params={**asked.values, **values},
    ).to_arrow_table()


def _arrays(table: pa.Table) -> dict[str, NDArray[Any]]:
    return {name: table.column(name).to_numpy() for name in table.column_names}


def _sorted(start: int, columns: dict[str, NDArray[Any]], parts: int) -> Slice:
    times, partitions, offsets = columns["us"], *(columns.pop(name) for name in _PLACE)
    rows = len(times)
    order = np.empty(rows, np.int32)
    if rows:
        first, last = int(times.min()), int(times.max())
        buckets = rows // BUCKET + 1
        shift = ((last - first) // buckets).bit_length()
        if not in_order(times, partitions, offsets, first, shift, np.zeros(buckets, np.int32), order):
            order = np.lexsort((offsets, partitions, times)).astype(np.int32)
    if parts == 1:
        return Slice(start, order, np.array([rows]), columns)
    ends, divided = np.zeros(parts, np.int64), np.empty(rows, np.int32)
    divide(order, columns["customer_id"], ends, divided)
    return Slice(start, divided, ends, columns)


def highest_customer(cursor: duckdb.DuckDBPyConnection) -> int:
    """The largest number of a customer."""
    found: int = value(cursor, "SELECT coalesce(max(customer_id), 0) FROM customers")
    return found

"""The touchpoints of a selection as arrays, in slices of time that each come after the one before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from cxstream.kernels.blocks import ROW, SORTED, count_blocks, place_rows, put, put_four, sort_blocks
from cxstream.warehouse.query import value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    import duckdb
    import pyarrow as pa
    from numpy.typing import NDArray

    Columns = dict[str, NDArray[Any]]
    _Window = tuple[datetime | None, datetime | None]

T = TypeVar("T")

# Touchpoints of a slice: several of a customer of a block, so that its state is read for all of them.
ROWS = 1_500_000
# Customers of a block: their states are within the cache of a processor. So many blocks at most.
_BLOCK, _MOST_BLOCKS = 4096, 256
# What tells touchpoints of one time and customer apart, and the types of that.
_PLACE = {"partition": np.int32, "offset": np.int64}
_FOUR = 4
# After so many slices that need it, it is read of all.
_OFTEN = 2


class Asked(NamedTuple):
    """What of the touchpoints is read.

    Attributes:
        sql: a query with the columns customer_id, time and place (SMALLINT, 0 for none), and others; for `in_parts` also
            partition and offset, and no others but kind (TINYINT) and numbers (FLOAT).
        values: to bind to it.
        since: start of the window, or None.
        until: its end, or None.
        has_none: whether there are places 0, which are left out: to look for them costs as much as to read a column.
    """

    sql: str
    values: dict[str, Any]
    since: datetime | None
    until: datetime | None
    has_none: bool = False


NOTHING = Asked("", {}, None, None)
"""No touchpoints at all."""


class Blocks(NamedTuple):
    """Other numbers of customers, as `cxstream.kernels.blocks` has them.

    Attributes:
        bits: of the number of a block.
        stride: numbers of a block.
    """

    bits: int
    stride: int

    @classmethod
    def of(cls, highest: int, parts: int) -> Blocks:
        """Blocks for customers up to a number, at least one for each part."""
        wanted = max(parts, min(_MOST_BLOCKS, highest // _BLOCK))
        bits = (wanted - 1).bit_length()
        return cls(bits, (highest >> bits) + 1)

    @property
    def room(self) -> int:
        """More than the largest number."""
        return self.stride << self.bits

    def numbers(self, customers: NDArray[np.int32]) -> NDArray[np.int32]:
        """The other numbers of customers."""
        found: NDArray[np.int32] = (customers & ((1 << self.bits) - 1)) * np.int32(self.stride) + (
            customers >> self.bits
        )
        return found

    def customers(self, numbers: NDArray[np.int32]) -> NDArray[np.int32]:
        """The numbers that the warehouse has for customers."""
        found: NDArray[np.int32] = ((numbers % self.stride) << self.bits) | numbers // self.stride
        return found

    def ends(self, parts: int) -> list[int]:
        """The first block of each part, and the number of blocks."""
        return [(part << self.bits) // parts for part in range(parts + 1)]


class Slice(NamedTuple):
    """Touchpoints of some time.

    Attributes:
        start: how many touchpoints came before.
        order: int32[n], the rows of each part, block by block in the order of time, partition and offset.
        ends: int[parts + 1], where the rows of each part begin, and where those of the last end.
        rows: ROW[n].
        values: float32[n, m], the other numbers.
    """

    start: int
    order: NDArray[np.int32]
    ends: list[int]
    rows: NDArray[np.void]
    values: NDArray[np.float32]

    def of(self, part: int) -> slice:
        """Where the rows of a part are in `order`."""
        return slice(self.ends[part], self.ends[part + 1])


def count(cursor: duckdb.DuckDBPyConnection, asked: Asked) -> int:
    """How many touchpoints the window has at most."""
    conditions, values = _window(asked.since, asked.until)
    found: int = cursor.execute(f"SELECT count(*) FROM touchpoints WHERE {conditions}", values).fetchall()[0][
        0
    ]
    return found


def in_parts(
    cursor: duckdb.DuckDBPyConnection,
    asked: Asked,
    blocks: Blocks,
    parts: int,
    work: Callable[[Slice, int], T],
) -> Iterator[T]:
    """Do work with each slice in so many threads, each of which gets the number of its part; yields what they return."""
    reader = _Reader(cursor, asked, but=tuple(_PLACE))
    start, kept = 0, Kept()
    with ThreadPoolExecutor(parts) as pool:
        for table in reader:
            try:
                found = _sorted(pool, divided(pool, table, blocks, kept), blocks, parts, start, kept)
            except _TiedError:
                table = reader.again()  # noqa: PLW2901 - the same slice
                found = _sorted(pool, divided(pool, table, blocks, kept), blocks, parts, start, kept)
            start += len(found.order)
            yield from pool.map(partial(work, found), range(parts))


def tables(
    cursor: duckdb.DuckDBPyConnection, asked: Asked, but: tuple[str, ...] = ("time",)
) -> Iterator[pa.Table]:
    """Read the touchpoints, those of a slice in any order; the next slice is read while the caller works with one.

    Args:
        cursor: in a transaction.
        asked: which touchpoints.
        but: columns that are left out.
    """
    yield from _Reader(cursor, asked, but)


def arrays(table: pa.Table) -> list[Columns]:
    """The columns of each of the batches that a table consists of; times are int64, us."""
    return [
        {
            name: column.to_numpy().view(np.int64) if name == "time" else column.to_numpy()
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        for batch in table.to_batches()
    ]


class _Reader:
    """Reads slices, each while the caller works with the one before.

    Args:
        cursor: in a transaction.
        asked: which touchpoints.
        but: columns that are left out.
    """

    def __init__(self, cursor: duckdb.DuckDBPyConnection, asked: Asked, but: tuple[str, ...]) -> None:
        self._cursor = cursor
        self._asked = asked
        self._but = but
        self._windows: list[_Window] = list(pairwise([asked.since, *_days(cursor, asked), asked.until]))
        self._now, self._again = self._windows[0], 0
        self._pool = ThreadPoolExecutor(1)

    def __iter__(self) -> Iterator[pa.Table]:
        with self._pool:
            coming = self._pool.submit(self._read, self._windows[0], self._but)
            for window, then in zip(self._windows, [*self._windows[1:], None], strict=True):
                self._now = window
                found = coming.result()
                if then is not None:
                    coming = self._pool.submit(self._read, then, self._but)
                yield found

    def again(self) -> pa.Table:
        """Read the slice again with all columns; after several of them, the following ones, too."""
        self._again += 1
        if self._again == _OFTEN:
            self._but = ()
        return self._pool.submit(self._read, self._now, ()).result()

    def _read(self, window: _Window, but: tuple[str, ...]) -> pa.Table:
        conditions, values = _window(*window)
        left_out = ", ".join(f'"{name}"' for name in but)
        chosen = f"* EXCLUDE ({left_out})" if left_out else "*"
        return self._cursor.sql(
            f"SELECT {chosen} FROM ({self._asked.sql}) WHERE {conditions}{' AND place > 0' if self._asked.has_none else ''}",
            params={**self._asked.values, **values},
        ).to_arrow_table(ROWS)


def _days(cursor: duckdb.DuckDBPyConnection, asked: Asked) -> list[datetime]:
    """Days within the window that divide it into slices of about as many touchpoints."""
    conditions, values = _window(asked.since, asked.until, "day::TIMESTAMP")
    found = cursor.execute(
        f"SELECT day::TIMESTAMP, sum(touchpoints)::BIGINT FROM daily WHERE {conditions} GROUP BY day ORDER BY day",
        values,
    ).fetchall()
    days, rows = [], 0
    for day, touchpoints in found:
        if rows + touchpoints > ROWS and rows:
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


class _TiedError(Exception):
    """Touchpoints of a customer have one time."""


class Divided(NamedTuple):
    """Touchpoints by block.

    Attributes:
        starts: int64[blocks + 1], where those of each block begin.
        rows: as `Slice` has them.
        values: likewise.
        partitions: int32[n], of each row; or nothing at all.
        offsets: int64[n], likewise.
    """

    starts: NDArray[np.int64]
    rows: NDArray[np.void]
    values: NDArray[np.float32]
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def part(self, ends: list[int], part: int) -> slice:
        """Where the rows of a part are, by the ends of its blocks."""
        return slice(self.starts[ends[part]], self.starts[ends[part + 1]])


class Kept:
    """Arrays that one slice after the other uses: to get new ones from the operating system takes as long as to fill them."""

    def __init__(self) -> None:
        self._arrays: dict[str, NDArray[Any]] = {}

    def empty(self, name: str, shape: tuple[int, ...], kind: Any) -> NDArray[Any]:
        """An array of this shape with any content; the last one of this name is of no use any more."""
        found = self._arrays.get(name)
        if found is None or len(found) < shape[0] or found.shape[1:] != shape[1:]:
            found = self._arrays[name] = np.empty(shape, kind)
        return found[: shape[0]]


def divided(
    pool: ThreadPoolExecutor, table: pa.Table, blocks: Blocks, kept: Kept, time: str = "time"
) -> Divided:
    """The touchpoints of a slice by block.

    Args:
        pool: of threads.
        table: of the slice.
        blocks: of customers.
        kept: arrays of the slice before.
        time: the column that rows have for it.
    """
    batches = arrays(table)
    counts = np.zeros((len(batches) + 1, 1 << blocks.bits), np.int64)

    def count_rows(i: int) -> None:
        count_blocks(batches[i]["customer_id"], blocks.bits, counts[i + 1])

    list(pool.map(count_rows, range(len(batches))))
    starts = np.concatenate([[0], np.cumsum(counts.sum(axis=0))])
    next_places = np.cumsum(counts, axis=0) + starts[:-1]
    names = [
        name for name in table.column_names if name not in {"customer_id", time, "place", "kind", *_PLACE}
    ]
    has_places = "offset" in table.column_names
    found = Divided(
        starts,
        kept.empty("rows", (table.num_rows,), ROW),
        kept.empty("values", (table.num_rows, len(names)), np.float32),
        *(kept.empty(name, (table.num_rows if has_places else 0,), kind) for name, kind in _PLACE.items()),
    )

    def place(i: int) -> None:
        batch = batches[i]
        places = np.empty(len(batch[time]), np.int32)
        kinds = batch.get("kind", np.empty(0, np.int8))
        place_rows(
            batch["customer_id"], batch[time].view(np.int64), batch["place"], kinds, blocks.bits, blocks.stride, next_places[i], places,
            found.rows,
        )  # fmt: skip
        if len(names) == _FOUR:
            first, second, third, fourth = (batch[name] for name in names)
            put_four(first, second, third, fourth, places, found.values)
        else:
            for column, name in enumerate(names):
                put(batch[name], places, found.values[:, column])
        if has_places:
            put(batch["partition"], places, found.partitions)
            put(batch["offset"], places, found.offsets)

    list(pool.map(place, range(len(batches))))
    return found


def _sorted(
    pool: ThreadPoolExecutor, found: Divided, blocks: Blocks, parts: int, start: int, kept: Kept
) -> Slice:
    """Sort the rows of each block.

    Raises:
        _TiedError: that may take partitions and offsets, and they are not there.
    """
    starts, rows, values, partitions, offsets = found
    order = kept.empty("order", (len(rows),), np.int32)
    ends = blocks.ends(parts)

    def sort(part: int) -> bool:
        mine = starts[ends[part] : ends[part + 1] + 1]
        room = np.empty(int(np.diff(mine).max()), np.int32)
        if sort_blocks(mine, rows, partitions, offsets, room, order) == SORTED:
            return True
        if len(partitions) < len(rows):
            return False
        for first, last in pairwise(mine.tolist()):
            each = slice(first, last)
            order[each] = first + np.lexsort((offsets[each], partitions[each], rows["time"][each]))
        return True

    if not all(pool.map(sort, range(parts))):
        raise _TiedError
    return Slice(start, order, [int(starts[end]) for end in ends], rows, values)


def highest_customer(cursor: duckdb.DuckDBPyConnection) -> int:
    """The largest number of a customer."""
    found: int = value(cursor, "SELECT coalesce(max(customer_id), 0) FROM customers")
    return found

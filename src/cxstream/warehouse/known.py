"""The number (`customer_id`) of each customer in memory, beside the table `customers`: to find one of a million costs no join.

The numbers are read when touchpoints first come, and follow each row that the table gains or loses. What a transaction that failed
has left here is not known to be there: all is forgotten then, and read again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.names import UNKNOWN
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.state.memory import grown
from cxstream.scoring.state.names import Slots

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from numpy.typing import NDArray

_ROWS = 200_000


class Known:
    """Customers of a warehouse and their numbers.

    Memory: about 60 bytes a customer with a name of 17 bytes, once `find` has read them.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all: what is there is to be read again."""
        self._slots: Slots | None = None
        self._ids = np.zeros(0, np.int32)
        # Who has an empty name, which no slot has.
        self._empty = UNKNOWN

    def add(self, customers: pa.StringArray, ids: NDArray[np.int32]) -> None:
        """Take customers who are new in the table, each once; nothing where the table has not been read.

        Args:
            customers: n of them.
            ids: int32[n], their numbers.
        """
        if self._slots is None:
            return
        names = _packed(customers)
        for place in np.flatnonzero(names.lengths == 0):
            self._empty = int(ids[place])
        slots, unknown = self._slots.find(names)
        self._slots.add(names, slots, unknown)
        if self._slots.top > len(self._ids):
            self._ids = grown(self._ids, max(self._slots.top, len(self._ids) * 3 // 2))
        there = names.lengths > 0
        self._ids[slots[there]] = ids[there]

    def remove(self, customers: pa.StringArray) -> None:
        """Let customers go who are no longer in the table."""
        if self._slots is None:
            return
        names = _packed(customers)
        if (names.lengths == 0).any():
            self._empty = UNKNOWN
        names = names.taken(np.flatnonzero(names.lengths))
        slots, _ = self._slots.find(names)
        self._slots.release(slots[slots != UNKNOWN])

    def find(self, connection: duckdb.DuckDBPyConnection, customers: pa.StringArray) -> NDArray[np.int32]:
        """The numbers of customers, int32[n]; UNKNOWN for those who are not in the table, which is read if it has not been."""
        slots_of = self._load(connection) if self._slots is None else self._slots
        names = _packed(customers)
        slots, _ = slots_of.find(names)
        ids = np.full(len(slots), UNKNOWN, np.int32)
        there = slots != UNKNOWN if slots_of.top else np.zeros(len(slots), np.bool_)
        ids[there] = self._ids[slots[there]]
        ids[names.lengths == 0] = self._empty
        return ids

    def _load(self, connection: duckdb.DuckDBPyConnection) -> Slots:
        self._slots = Slots()
        rows = connection.sql("SELECT customer, customer_id FROM customers").to_arrow_reader(_ROWS)
        for batch in rows:
            self.add(batch.column(0), batch.column(1).to_numpy())
        return self._slots


def _packed(texts: pa.StringArray) -> Packed:
    """Texts of Arrow for kernels: a copy of these alone, since kernels read beyond the last."""
    bounds = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(
        np.int64
    )
    held = texts.buffers()[2]
    if held is None or not len(texts):
        return Packed(AFTER, bounds[:-1], bounds[1:])
    first, last = int(bounds[0]), int(bounds[-1])
    bounds -= first
    return Packed(b"".join((memoryview(held)[first:last], AFTER)), bounds[:-1], bounds[1:])

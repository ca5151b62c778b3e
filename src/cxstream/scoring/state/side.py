"""State of customers beside their rows: arrays by slot, with rows of their own in a snapshot.

SIDES lists all of it. Whatever saves, loads, erases or migrates a customer walks this list; the kernels erase it in
`cxstream.kernels.side`. What most customers lack belongs here, not into ROW.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from cxstream.kernels.layout import BUYER, DEAL, TALLY
from cxstream.kernels.purchases import MAX_MONEY
from cxstream.scoring.state import by_customer, purchases, remembered_ids, tallies
from cxstream.scoring.state.constants import NAME_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from cxstream.kernels.layout import State
    from cxstream.scoring.state.partition import PartitionState
    from cxstream.scoring.state.saved_rows import RowColumns


def form_of(layout: np.dtype[Any]) -> list[tuple[str, str, int]]:
    """Name, type and position of each field of a struct, in order, and its size."""
    fields = dict(layout.fields or {})
    places = [(name, fields[name][0].newbyteorder("<").str, fields[name][1]) for name in layout.names or ()]
    return [*places, ("", "", layout.itemsize)]


class Loading(NamedTuple):
    """What is known of a snapshot when its customers have been loaded.

    Attributes:
        clock: ms UTC.
        today: its day.
        first: the first day that counts.
        expected: how many rows of this side state must count.
        trailer: bytes at the end of each row that are not part of it.
        all_customers: every customer with rows among these was loaded.
    """

    clock: int
    today: int
    first: int
    expected: int
    trailer: int
    all_customers: bool


@dataclass(frozen=True, slots=True)
class Side:
    """One kind of side state.

    Attributes:
        counted: the field of the marker that says how many rows there must be.
        prefixes: how the keys of its rows begin, one byte each.
        arrays: the fields of `State` that have a place for each slot.
        of_some: whether these have no place at all until the first customer has such state.
        form: what decides the saved form; part of the layout id.
        vacate: empties the places of slots.
        count: how many rows there are once the changes are saved.
        changed: int64[n], the slots whose state is not all saved.
        take_changed: keys of rows to delete, and rows to write; they count as saved from now on.
        mark: marks all state of these slots as not saved.
        load: loads the saved rows of customers who have been loaded. Raises SnapshotError.
    """

    counted: str
    prefixes: tuple[bytes, ...]
    arrays: tuple[str, ...]
    form: tuple[object, ...]
    vacate: Callable[[State, NDArray[np.int32] | slice], None]
    count: Callable[[PartitionState], int]
    changed: Callable[[PartitionState], NDArray[np.int64]]
    take_changed: Callable[[PartitionState], tuple[list[bytes], RowColumns]]
    mark: Callable[[PartitionState, NDArray[np.int64]], None]
    load: Callable[[PartitionState, RowColumns, Loading], None]
    of_some: bool = False


SIDES = (
    Side(
        counted="memory",
        prefixes=remembered_ids.PREFIXES,
        arrays=("memory", "memory_due", "memory_dirty"),
        form=remembered_ids.FORM,
        vacate=remembered_ids.vacate,
        count=remembered_ids.rows_in_memory,
        changed=remembered_ids.changed,
        take_changed=remembered_ids.take_changed,
        mark=remembered_ids.mark,
        load=remembered_ids.load,
    ),
    Side(
        counted="purchases",
        prefixes=(purchases.PREFIX,),
        arrays=("purchases", "purchases_dirty"),
        form=(by_customer.SEQ_BYTES, form_of(BUYER), form_of(DEAL), MAX_MONEY),
        vacate=purchases.vacate,
        count=purchases.count,
        changed=purchases.changed,
        take_changed=purchases.take_changed,
        mark=purchases.mark,
        load=purchases.load,
    ),
    Side(
        counted="tallies",
        prefixes=(tallies.PREFIX,),
        arrays=("tallied", "tallies_dirty"),
        form=(by_customer.SEQ_BYTES, form_of(TALLY), NAME_BYTES),
        vacate=tallies.vacate,
        count=tallies.count,
        changed=tallies.changed,
        take_changed=tallies.take_changed,
        mark=tallies.mark,
        load=tallies.load,
        of_some=True,
    ),
)
PREFIXES = tuple(prefix for side in SIDES for prefix in side.prefixes)
ARRAYS = tuple(name for side in SIDES for name in side.arrays if not side.of_some)
ARRAYS_OF_SOME = tuple(name for side in SIDES for name in side.arrays if side.of_some)


def is_row(key: bytes) -> bool:
    """Whether a row of a snapshot contains side state."""
    return key.startswith(PREFIXES)


def take_changed(partition: PartitionState) -> tuple[list[bytes], list[RowColumns]]:
    """Keys of rows to delete, and rows to write, of all side state; they count as saved from now on."""
    ended: list[bytes] = []
    rows: list[RowColumns] = []
    for side in SIDES:
        keys, changed = side.take_changed(partition)
        ended += keys
        rows.append(changed)
    return ended, rows


def changed(partition: PartitionState) -> dict[str, NDArray[np.int64]]:
    """The slots whose side state is not all saved, by `Side.counted`."""
    return {side.counted: side.changed(partition) for side in SIDES}


def mark(partition: PartitionState, slots: Mapping[str, NDArray[np.int64]]) -> None:
    """Mark the side state of slots as not saved.

    Args:
        partition: the state.
        slots: int64[n] each, by `Side.counted`.
    """
    for side in SIDES:
        side.mark(partition, slots[side.counted])


def mark_all(partition: PartitionState, slots: NDArray[np.int64]) -> None:
    """Mark all side state of these slots as not saved."""
    mark(partition, {side.counted: slots for side in SIDES})


def counts(partition: PartitionState) -> dict[str, int]:
    """How many rows of each there are once the changes are saved, by field of the marker."""
    return {side.counted: side.count(partition) for side in SIDES}


def vacate(st: State, slots: NDArray[np.int32] | slice) -> None:
    """Empty the places of new slots."""
    for side in SIDES:
        side.vacate(st, slots)


def load(partition: PartitionState, rows: RowColumns, loading: Callable[[str], Loading]) -> None:
    """Load all side state of customers who have been loaded.

    Args:
        partition: the customers, in order of first appearance.
        rows: all saved rows.
        loading: what is known of the snapshot, by `Side.counted`.

    Raises:
        SnapshotError: rows are incomplete or missing.
    """
    for side in SIDES:
        side.load(partition, rows.of(*side.prefixes), loading(side.counted))

"""The outcomes of several processes, each for its own customers, and how they become one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from cxstream.model.outputs import FORGOTTEN
from cxstream.scoring.engine import Emitted, Fates, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from cxstream.scoring.codec.decode import Rejected

COUNTS = ("accepted", "duplicates", "ticks", "rules", "erased", "erasures", "held_back")
"""Of an outcome, those that add up."""
# The order of what has one cause: of sweeps, of the record itself, receipts.
_SWEPT, _OWN, _RECEIPT = 0, 1, 2


class Placed(NamedTuple):
    """A row of an output topic, and its place among all.

    Attributes:
        place: position of its record, partition, 0 for a sweep, 1 for the record itself and 2 for a receipt, time of the sweep, and sequence number
            of the customer.
        row: the row.
    """

    place: tuple[int, int, int, float, float]
    row: Emitted


class Part(msgspec.Struct):
    """The outcome of a batch for the customers of one process.

    Attributes:
        rows: rows for the output topics.
        rejected: records of these customers that are not used, in order.
        counts: how many there are of each of `Outcome`'s counts.
        unconverted: see `Outcome`.
        positions: int64[m], of the valid records of these customers.
        status: uint8[m], what became of them.
    """

    rows: list[Placed]
    rejected: list[Rejected]
    counts: list[int]
    unconverted: list[str]
    positions: NDArray[np.int64]
    status: NDArray[np.uint8]


def nothing() -> Part:
    """The outcome of no records."""
    return Part([], [], [0] * len(COUNTS), [], np.empty(0, np.int64), np.empty(0, np.uint8))


def add(part: Part, outcome: Outcome, p: int, order: NDArray[np.float64]) -> None:
    """Add the outcome of a partition; `order` as of `Engine.apply_share`, or empty where no other process shares it."""
    placed: list[tuple[float, float, float]] = order.tolist()
    at = 0
    for row in outcome.rows:
        if row.topic == FORGOTTEN.topic:
            place = (row.index, p, _RECEIPT, 0.0, 0.0)
        elif not placed:
            place = (row.index, p, _OWN, 0.0, 0.0)
        else:
            swept, clock, seq = placed[at]
            at += 1
            place = (row.index, p, _SWEPT, clock, seq) if swept else (row.index, p, _OWN, 0.0, 0.0)
        part.rows.append(Placed(place, row))
    part.rejected += outcome.rejected
    part.counts = [a + getattr(outcome, name) for a, name in zip(part.counts, COUNTS, strict=True)]
    part.unconverted += outcome.unconverted


def moved_by(placed: Placed, begin: int) -> Placed:
    """A row of a piece that begins at a position of its batch."""
    row = msgspec.structs.replace(placed.row, index=placed.row.index + begin)
    return Placed((row.index, *placed.place[1:]), row)


def together(parts: Sequence[Part], fates: Fates | None = None, n: int = 0) -> Outcome:
    """The outcome of a batch.

    Args:
        parts: of all processes.
        fates: positions, times and partitions of all valid records; None where there are none.
        n: records of the batch.
    """
    outcome = Outcome(
        rejected=sorted(each for part in parts for each in part.rejected),
        unconverted=[each for part in parts for each in part.unconverted],
    )
    placed = sorted((each for part in parts for each in part.rows), key=lambda each: each.place)
    outcome.rows = list(_numbered(placed))
    for i, name in enumerate(COUNTS):
        setattr(outcome, name, sum(part.counts[i] for part in parts))
    if fates is not None:
        status = np.zeros(n, np.uint8)
        for part in parts:
            status[part.positions] = part.status
        outcome.status = status[fates.positions]
        outcome.fates = Fates(fates.positions, fates.times, outcome.status, fates.partitions)
    return outcome


def _numbered(placed: Sequence[Placed]) -> Iterator[Emitted]:
    """The rows in their order; signals of one record are counted."""
    last, n = (-1, -1), 0
    for place, row in placed:
        if place[2] == _RECEIPT:
            yield row
            continue
        n = n + 1 if last == place[:2] else 0
        last = place[:2]
        yield _with_number(row, n) if n or place[2] == _SWEPT else row


def _with_number(row: Emitted, n: int) -> Emitted:
    """A signal with another number behind its record's, at the end of its id."""
    begin = row.value.index(b'"id":"') + len(b'"id":"')
    end = row.value.index(b'"', begin)
    name = row.value[begin:end].rpartition(b"-")[0] + b"-%d" % n
    if row.value[begin:end] == name:
        return row
    return msgspec.structs.replace(row, value=row.value[:begin] + name + row.value[end:])

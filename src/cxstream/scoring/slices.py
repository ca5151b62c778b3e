"""Records of a batch that one process reads and several ones score: what all need, and what each scores."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from cxstream.kernels.events import SPANS
from cxstream.kernels.layout import EVENT, NONE, TICK
from cxstream.kernels.shares import gather_texts, take_rows
from cxstream.scoring.codec.decode import Rejected, raw
from cxstream.scoring.codec.packed import AFTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.scoring.codec.decode import Decoded
    from cxstream.scoring.codec.events import Parts


class Slice(NamedTuple):
    """The valid records of a batch that one process scores.

    Attributes:
        positions: int64[m], in the batch.
        columns: EVENT[m + 1]; the last one is a tick.
        text: bytes in which their customers and topics lie.
        spans: int64[m + 1, SPANS], where; the last one has none.
        members: uint64[m + 1], bits of the members of `data` that may be there.
        sentiments: of their texts, of those that came without one, by the place here.
        made: places here of those that no kernel read.
    """

    positions: NDArray[np.int64]
    columns: NDArray[np.void]
    text: bytes
    spans: NDArray[np.int64]
    members: NDArray[np.uint64]
    sentiments: dict[int, float]
    made: list[int]


class Frame(NamedTuple):
    """What all processes need of a batch of n records that one of them has read.

    Attributes:
        lines: n structured records.
        valid: int64[g], positions of the valid records.
        times: int64[g], their times, ms UTC.
        kinds: uint8[g].
        codes: int32[n], where each record belongs: process * partitions + partition.
        rejected: the records that are not valid, in order.
        version: how many sets of rules were in force.
    """

    lines: Sequence[bytes | None]
    valid: NDArray[np.int64]
    times: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    codes: NDArray[np.int32]
    rejected: list[Rejected]
    version: int


class Some(Sequence[bytes | None]):
    """Some records of a batch, each taken when it is asked for."""

    def __init__(self, lines: Sequence[bytes | None], positions: NDArray[np.int64]) -> None:
        self._lines, self._positions = lines, positions

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, i: int) -> bytes | None:  # type: ignore[override]  # nobody asks for several
        return self._lines[int(self._positions[i])]


def _words(columns: NDArray[np.void]) -> NDArray[np.uint64]:
    """Columns of events as numbers of 8 bytes."""
    return columns.view(np.uint64).reshape(len(columns), EVENT.itemsize // 8)


def slice_of(decoded: Decoded, parts: Parts, mine: NDArray[np.bool_]) -> Slice:
    """Some of the valid records of a batch."""
    m = int(np.count_nonzero(mine))
    rows, spans_ = np.empty(m + 1, np.int64), np.zeros((m + 1, SPANS), np.int64)
    columns, members = np.empty(m + 1, EVENT), np.empty(m + 1, np.uint64)
    room = take_rows(
        _words(decoded.columns),
        parts.members,
        parts.spans,
        decoded.valid,
        mine,
        _words(columns),
        members,
        rows,
    )
    columns["kind"][m], rows = TICK, rows[:m]
    out = np.empty(room + len(AFTER), np.uint8)
    size = gather_texts(np.frombuffer(parts.text, np.uint8), parts.spans, rows, out, spans_)
    out[size:] = 0
    sentiments, made = {}, []
    if parts.sentiments or parts.made:
        at = {row: i for i, row in enumerate(rows.tolist())}
        sentiments = {at[row]: value for row, value in parts.sentiments.items() if row in at}
        made = [at[row] for row in parts.made if row in at]
    return Slice(rows, columns, out.tobytes(), spans_, members, sentiments, made)


class _Chained(Sequence[bytes | None]):
    """Records of several batches, one after the other."""

    def __init__(self, parts: Sequence[Sequence[bytes | None]]) -> None:
        self._parts = parts
        self._ends: list[int] = np.cumsum([len(part) for part in parts]).tolist()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> bytes | None:  # type: ignore[override]  # nobody asks for several
        which = bisect_right(self._ends, i)
        part = self._parts[which]
        return part[i - int(self._ends[which]) + len(part)]


def joined_frames(frames: Sequence[Frame]) -> Frame:
    """Batches that were read by the same rules, one after the other."""
    begins = np.cumsum([0, *(len(frame.lines) for frame in frames[:-1])]).tolist()
    rejected = [
        msgspec.structs.replace(each, index=each.index + begin)
        for frame, begin in zip(frames, begins, strict=True)
        for each in frame.rejected
    ]
    return Frame(
        _Chained([frame.lines for frame in frames]),
        np.concatenate([frame.valid + begin for frame, begin in zip(frames, begins, strict=True)]),
        np.concatenate([frame.times for frame in frames]),
        np.concatenate([frame.kinds for frame in frames]),
        np.concatenate([frame.codes for frame in frames]),
        rejected,
        frames[0].version,
    )


def joined_slices(slices: Sequence[Slice], frames: Sequence[Frame]) -> Slice:
    """The slices of one process of these batches."""
    begins = np.cumsum([0, *(len(frame.lines) for frame in frames[:-1])]).tolist()
    texts = np.cumsum([0, *(len(each.text) for each in slices)]).tolist()
    counts = np.cumsum([0, *(len(each.positions) for each in slices)]).tolist()
    where = []
    for each, at in zip(slices, texts, strict=False):
        moved = each.spans[:-1] + at
        moved[each.spans[:-1] == NONE] = NONE
        where.append(moved)
    last = slices[-1]
    return Slice(
        np.concatenate([each.positions + begin for each, begin in zip(slices, begins, strict=True)]),
        np.concatenate([*(raw(each.columns)[:-1] for each in slices), raw(last.columns)[-1:]]).view(EVENT),
        b"".join(each.text for each in slices),
        np.concatenate([*where, last.spans[-1:]]),
        np.concatenate([*(each.members[:-1] for each in slices), last.members[-1:]]),
        {
            i + at: value
            for each, at in zip(slices, counts, strict=False)
            for i, value in each.sentiments.items()
        },
        [i + at for each, at in zip(slices, counts, strict=False) for i in each.made],
    )

"""Records of a partition: many at once, or one that needs a word of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from cxstream.scoring.codec.packed import AFTER, Packed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cxstream.scoring.codec.rejection import Reference

PLACES_BYTES = 48
"""What a record takes beside its bytes: offset, timestamp, and where key and value lie."""


class Record(NamedTuple):
    """A record that aiokafka's parser cannot return unchanged, or one of `PackedRecords`.

    The former is not kept, cannot be read, has header names that are not UTF-8, or declares a wrong offset.

    Attributes:
        offset: its offset; of several records that of the last.
        timestamp: ms UTC.
        timestamp_type: 0 if the producer set it, 1 if the broker did.
        key: the key; None if it is too long.
        value: the value; None if it is not kept.
        headers: the headers; none if they are not kept.
        reference: its reference if it is not kept; of several records the size is what the batch may inflate
            to, and there is no digest.
        first: the offset of the first of several records; None of one.
        broken: why it cannot be read; "" if it is too large.
    """

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    reference: Reference | None = None
    first: int | None = None
    broken: str = ""


class PackedRecords(Sequence[Record]):
    """Records with a key and a value and without headers, each made an object when it is asked for.

    Attributes:
        offsets: int64[n].
        timestamps: int64[n], ms UTC.
        timestamp_type: 0 if producers set them, 1 if the broker did.
        keys: n keys.
        values: n values, in the same text.
        cost: approximate bytes.
        plain: True, like that of a `Piece`: all of them are as aiokafka's parser returns them.
    """

    __slots__ = ("keys", "offsets", "timestamp_type", "timestamps", "values")

    plain = True

    def __init__(
        self,
        offsets: NDArray[np.int64],
        timestamps: NDArray[np.int64],
        timestamp_type: int,
        keys: Packed,
        values: Packed,
    ) -> None:
        self.offsets, self.timestamps, self.timestamp_type = offsets, timestamps, timestamp_type
        self.keys, self.values = keys, values

    @property
    def cost(self) -> int:
        """Approximate bytes; of a text that others have records in, too, their own part."""
        own = int(self.values.ends[-1] - self.keys.begins[0]) if len(self) else 0
        return own + PLACES_BYTES * len(self)

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, i: int) -> Record: ...
    @overload
    def __getitem__(self, i: slice) -> PackedRecords: ...
    def __getitem__(self, i: int | slice) -> Record | PackedRecords:
        if isinstance(i, slice):
            return self.part(i).alone()
        return Record(
            int(self.offsets[i]),
            int(self.timestamps[i]),
            self.timestamp_type,
            self.keys[i],
            self.values[i],
        )

    def part(self, i: slice) -> PackedRecords:
        """Some of them, in the same text."""
        numbers = self.offsets[i], self.timestamps[i]
        return PackedRecords(*numbers, self.timestamp_type, self.keys[i], self.values[i])

    def alone(self) -> PackedRecords:
        """The same in a text of their own, where they are little of it: what costs by the text then costs by the records."""
        keys, values = _alone(self.keys, self.values)
        if values.text is self.values.text:
            return self
        return PackedRecords(self.offsets, self.timestamps, self.timestamp_type, keys, values)

    def __iter__(self) -> Iterator[Record]:
        numbers = zip(self.offsets.tolist(), self.timestamps.tolist(), strict=True)
        for (offset, timestamp), key, value in zip(numbers, self.keys, self.values, strict=True):
            yield Record(offset, timestamp, self.timestamp_type, key, value)


def _alone(keys: Packed, values: Packed) -> tuple[Packed, Packed]:
    if not len(keys):
        return keys, values
    begin, end = int(keys.begins.min()), int(values.ends.max())
    if 2 * (end - begin) > len(values.text):
        return keys, values
    # With the byte behind the last value.
    text = values.text[begin : end + 1] + AFTER
    return Packed(text, keys.begins - begin, keys.ends - begin), Packed(
        text, values.begins - begin, values.ends - begin
    )


def between(records: Sequence[Any], first: int, stop: int | None = None) -> Sequence[Any]:
    """The records with first <= offset < stop, of records in the order of their offsets."""
    if isinstance(records, PackedRecords):
        begin = int(np.searchsorted(records.offsets, first))
        end = None if stop is None else int(np.searchsorted(records.offsets, stop))
        return records[begin:end]
    return [each for each in records if each.offset >= first and (stop is None or each.offset < stop)]


def timestamps_of(records: Sequence[Any], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Kafka's timestamps of the records at some places, ms UTC; int64[n]."""
    if isinstance(records, PackedRecords):
        return records.timestamps[places]
    return np.array([records[i].timestamp for i in places.tolist()], np.int64)


def together(pieces: Sequence[Sequence[Any]]) -> Sequence[Any]:
    """The records of consecutive pieces in one."""
    if len(pieces) == 1:
        return pieces[0]
    packed = [each for each in pieces if isinstance(each, PackedRecords)]
    kind = packed[0].timestamp_type if packed else 0
    if not packed or len(packed) < len(pieces) or any(each.timestamp_type != kind for each in packed):
        return list(chain.from_iterable(pieces))
    text, shifts = _one_text(packed)

    def moved(some: list[Packed]) -> Packed:
        if not any(shifts):
            return Packed(
                text,
                np.concatenate([each.begins for each in some]),
                np.concatenate([each.ends for each in some]),
            )
        begins = [each.begins + shift for each, shift in zip(some, shifts, strict=True)]
        ends = [each.ends + shift for each, shift in zip(some, shifts, strict=True)]
        return Packed(text, np.concatenate(begins), np.concatenate(ends))

    return PackedRecords(
        np.concatenate([each.offsets for each in packed]),
        np.concatenate([each.timestamps for each in packed]),
        kind,
        moved([each.keys for each in packed]),
        moved([each.values for each in packed]),
    )


def _one_text(parts: Sequence[PackedRecords]) -> tuple[bytes, list[int]]:
    """A text with the records of all parts, and how much farther those of each lie in it; a copy only where they are of several."""
    first = parts[0].values.text
    if all(each.values.text is first for each in parts):
        return first, [0] * len(parts)
    texts, shifts, at = [], [], 0
    for each in parts:
        begin, end = int(each.keys.begins[0]), int(each.values.ends[-1])
        # With the byte behind the last value.
        texts.append(memoryview(each.values.text)[begin : end + 1])
        shifts.append(at - begin)
        at += end + 1 - begin
    return b"".join([*texts, AFTER]), shifts

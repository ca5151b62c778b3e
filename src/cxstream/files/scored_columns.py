"""Columns of cx.scored, as they grow batch by batch, without an object for each event.

Kernels take texts and numbers from where the batch was read to; a batch of Arrow is made once, of all rows.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from cxstream.kernels import columns as kernel
from cxstream.kernels.events import ENVELOPE
from cxstream.model.enumerations import LEVELS
from cxstream.model.scored import COLUMNS, NAME, VERSION
from cxstream.scoring.codec.packed import AFTER, Packed
from cxstream.scoring.codec.plain import MEMBERS, NUMBER, Fields
from cxstream.scoring.state.names import Slots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cxstream.model.scored import Column
    from cxstream.scoring.codec.events import Events
    from cxstream.scoring.scored import Codes, Scored

CODE = pa.dictionary(pa.int32(), pa.string())
_TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "time": pa.timestamp("ms", tz="UTC"),
    "text": pa.string(),
    "code": CODE,
    "codes": pa.list_(pa.field("item", pa.string())),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "uint8": pa.uint8(),
}
# Per column: the schema is in each record, and a small record has little more.
SCHEMA = pa.schema(
    [pa.field(column.name, _TYPES[column.type], nullable=column.optional) for column in COLUMNS],
    metadata={"name": NAME, "version": str(VERSION)},
)
_DATA = tuple(column for column in COLUMNS if column.data)
# Where a member of `data` goes.
_NUMBERS = [NUMBER[c.name] for c in _DATA if c.type in {"float64", "bool"}]
_WORDS = ["source", *(c.name for c in _DATA if c.type == "code")]
_TEXTS = {
    "customer": 0,
    "id": 1,
    **{c.name: 2 + i for i, c in enumerate(c for c in _DATA if c.type == "text")},
}
_NUMBER_OF, _WORDS_OF = np.full(len(MEMBERS), -1, np.int16), np.full(len(MEMBERS), -1, np.int16)
_NUMBER_OF[_NUMBERS] = range(len(_NUMBERS))
for _i, _name in enumerate(_WORDS[1:]):
    _WORDS_OF[NUMBER[_name]] = 1 + _i
_OWN = {name: i for i, name in enumerate(ENVELOPE)}
_LISTS = [c.name for c in _DATA if c.type == "codes"]
_VERDICTS = {
    **dict.fromkeys(
        ("effort", "mood", "effort_after", "satisfaction_after", "probability_after"), np.float32
    ),
    "flags": np.uint8,
    "behind": np.int64,
    "level_after": np.uint8,
}
_OTHERS = {
    "partition": np.int32,
    "offset": np.int64,
    "time": np.int64,
    "arrived": np.int64,
    "kind": np.int32,
    "model": np.int32,
    "amount_base": np.float64,
}
_LEVELS = pa.array(LEVELS, pa.string())
_FIRST_ROWS, _FIRST_BYTES = 1024, 8192
# The most memory that words are kept in.
_WORDS_BYTES = 1 << 20
_NO_BIT = np.uint64(0)
# Room for all rows of a record, where as many as that come at once: arrays that grow step by step are copied each time.
_MANY, _FULL_ROWS = 2000, 24_000
# What a row takes besides its texts.
_ROW_BYTES = (
    8 * len(_NUMBERS)
    + 4 * len(_WORDS)
    + 4 * len(_TEXTS)
    + 8
    + sum(np.dtype(each).itemsize for each in (*_VERDICTS.values(), *_OTHERS.values()))
)


class ScoredColumns:
    """Takes scored touchpoints, and makes one batch of Arrow of them.

    Attributes:
        rows: how many it has.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._room = _FIRST_ROWS
        self._plain = {name: np.zeros(self._room, type_) for name, type_ in {**_VERDICTS, **_OTHERS}.items()}
        self._there = np.zeros(self._room, np.uint64)
        self._values = np.zeros((len(_NUMBERS), self._room))
        self._codes = np.zeros((len(_WORDS), self._room), np.int32)
        self._ends = np.zeros((len(_TEXTS), self._room + 1), np.int32)
        self._texts = [np.empty(_FIRST_BYTES, np.uint8) for _ in _TEXTS]
        self._lists: dict[str, dict[int, Sequence[str]]] = {name: {} for name in _LISTS}
        self._words = _words()
        self._kinds: dict[str, int] = {}
        self._models: dict[str, int] = {}
        self._has_arrived = True

    @property
    def nbytes(self) -> int:
        """Memory of the rows, in bytes; another thread may add some."""
        rows = self.rows  # before `_ends`, which is made longer first
        return rows * _ROW_BYTES + int(self._ends[:, rows].sum())

    def add(self, scored: Scored, arrived: NDArray[np.int64] | None) -> None:
        """Append rows.

        Args:
            scored: n accepted touchpoints.
            arrived: int64[n], when Kafka appended them, ms UTC; None in files.
        """
        n, begin = len(scored), self.rows
        if not n:
            return
        if begin + n > self._room:
            self._grow(begin + n)
        span = slice(begin, begin + n)
        for name in _VERDICTS:
            self._plain[name][span] = scored.verdicts[name]
        self._has_arrived = arrived is not None
        others = {
            "partition": scored.partitions,
            "offset": scored.offsets,
            "time": scored.times,
            "arrived": 0 if arrived is None else arrived,
            "kind": _numbered(scored.kinds, self._kinds),
            "model": _numbered(scored.models, self._models),
            "amount_base": scored.amounts,
        }
        for name, values in others.items():
            self._plain[name][span] = values
        self._add_fields(scored.events, span)
        self.rows += n

    def _add_fields(self, events: Events, span: slice) -> None:
        """Append what the events say."""
        fields, rows = _complete(events)
        at, n = span.start, len(rows)
        text = np.frombuffer(fields.text, np.uint8)
        begins, ends, places = (np.empty(n * len(_WORDS), np.int64) for _ in range(3))
        unknown = kernel.spread(
            rows, fields.members, fields.spans, fields.numbers, fields.own, _OWN["source"], text, _NUMBER_OF, _WORDS_OF,
            at, self._there, self._values, self._codes, self._words.known, begins, ends, places,
        )  # fmt: skip
        if unknown:
            packed = Packed(fields.text, begins[:unknown], ends[:unknown])
            slots = self._words.numbered(packed)
            codes = self._codes.reshape(-1)
            kernel.place(slots, text, packed.begins, packed.ends, places, codes, self._words.known)
        subjects = events.packed_subjects()
        places_of = np.stack((subjects.begins, subjects.ends), axis=1)[:, None]
        self._lay("customer", subjects.data, places_of, np.arange(n), 0, _NO_BIT, at)
        self._lay("id", text, fields.own, rows, _OWN["id"], _NO_BIT, at)
        for name in _TEXTS:
            if name in NUMBER:
                self._lay(name, text, fields.spans, rows, NUMBER[name], _bit(name), at)
        for name in _LISTS:
            having = np.flatnonzero(self._there[span] & _bit(name))
            events.make(having)
            for i in having.tolist():
                self._lists[name][at + i] = getattr(events[i].data, name)

    def _lay(
        self, name: str, text: NDArray[np.uint8], spans: NDArray[np.int64], rows: NDArray[np.int64], m: int,
        bit: np.uint64, at: int,
    ) -> None:  # fmt: skip
        """Append texts to a column, of the rows that have a bit of theirs."""
        column = _TEXTS[name]
        ends = self._ends[column]
        need = kernel.lay(text, spans, rows, m, self._there, bit, at, ends, self._texts[column])
        if need > len(self._texts[column]):
            larger = np.empty(max(need, 2 * len(self._texts[column])), np.uint8)
            larger[: ends[at]] = self._texts[column][: ends[at]]
            self._texts[column] = larger
            kernel.lay(text, spans, rows, m, self._there, bit, at, ends, larger)

    def _grow(self, rows: int) -> None:
        """Make room for so many rows."""
        self._room = max(rows, 2 * self._room, _FULL_ROWS if rows >= _MANY else 0)
        for name, array in self._plain.items():
            self._plain[name] = _wider(array, self._room, self.rows)
        self._there = _wider(self._there, self._room, self.rows)
        self._values = _wider(self._values, self._room, self.rows)
        self._codes = _wider(self._codes, self._room, self.rows)
        self._ends = _wider(self._ends, self._room + 1, self.rows + 1)

    def batch(self) -> pa.RecordBatch:
        """All rows as a batch of Arrow. Nothing can be added any more."""
        bitmaps = np.empty((len(MEMBERS), -(-self.rows // 64)), np.uint64)
        counts = np.empty(len(MEMBERS), np.int64)
        kernel.bitmaps(self._there[: self.rows], np.empty(64, np.uint64), bitmaps, counts)
        known = [_Known(bits, count) for bits, count in zip(bitmaps, counts.tolist(), strict=True)]
        found = pa.RecordBatch.from_arrays([self._array(column, known) for column in COLUMNS], schema=SCHEMA)
        self._words.release()
        return found

    def _array(self, column: Column, known: Sequence[_Known]) -> pa.Array:
        if column.data:
            return self._of_data(column, _TYPES[column.type], known[NUMBER[column.name]])
        match column.name:
            case "customer" | "id":
                return self._text(column.name, None)
            case "source":
                return self._coded(self._codes[0, : self.rows], None)
            case "kind":
                return _in_order(self._plain["kind"][: self.rows], list(self._kinds))
            case "model":
                return _in_order(self._plain["model"][: self.rows], list(self._models))
        return self._plain_array(column.name, _TYPES[column.type])

    def _plain_array(self, name: str, type_: pa.DataType) -> pa.Array:
        """A column whose values are there as they are."""
        values, known = self._plain["behind" if name == "behind_ms" else name][: self.rows], None
        if name == "level_after":
            return pa.DictionaryArray.from_arrays(pa.array(values.astype(np.int32)), _LEVELS)
        if name == "arrived" and not self._has_arrived:
            return pa.nulls(self.rows, type_)
        if name == "amount_base":
            known = _validity(~np.isnan(values))
        return pa.Array.from_buffers(type_, self.rows, [known, pa.py_buffer(values)])

    def _of_data(self, column: Column, type_: pa.DataType, known: _Known) -> pa.Array:
        n, m = self.rows, NUMBER[column.name]
        if not known.having:
            return pa.nulls(n, type_)
        match column.type:
            case "text":
                return self._text(column.name, known)
            case "code":
                return self._coded(self._codes[_WORDS_OF[m], :n], known)
            case "codes":
                values: list[Any] = [None] * n
                for row, found in self._lists[column.name].items():
                    values[row] = found
                return pa.array(values, type_)
        numbers = self._values[_NUMBER_OF[m], :n]
        data = np.packbits(numbers != 0, bitorder="little") if column.type == "bool" else numbers
        return pa.Array.from_buffers(type_, n, [known.buffer(n), pa.py_buffer(data)], n - known.having)

    def _text(self, name: str, known: _Known | None) -> pa.StringArray:
        n = self.rows
        ends = self._ends[_TEXTS[name], : n + 1]
        text = self._texts[_TEXTS[name]][: ends[-1]]
        validity, nulls = (None, 0) if known is None else (known.buffer(n), n - known.having)
        return pa.StringArray.from_buffers(n, pa.py_buffer(ends), pa.py_buffer(text), validity, nulls)

    def _coded(self, codes: NDArray[np.int32], known: _Known | None) -> pa.DictionaryArray:
        n, order = self.rows, np.empty(kernel.FIRST + self._words.slots.top, np.int32)
        count = kernel.renumber(codes, np.zeros_like(order), order)
        slots = order[:count] - kernel.FIRST
        words = self._words.slots.packed(slots[slots >= 0])
        lengths = np.zeros(count, np.int64)
        lengths[slots >= 0] = words.lengths
        ends = np.zeros(count + 1, np.int32)
        np.cumsum(lengths, out=ends[1:])
        found = pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(words.text))
        validity, nulls = (None, 0) if known is None else (known.buffer(n), n - known.having)
        numbers = pa.Array.from_buffers(pa.int32(), n, [validity, pa.py_buffer(codes)], nulls)
        return pa.DictionaryArray.from_arrays(numbers, found)


class _Known(NamedTuple):
    """Which rows have a member.

    Attributes:
        bits: uint64[...], a bit for each row.
        having: how many have it.
    """

    bits: NDArray[np.uint64]
    having: int

    def buffer(self, rows: int) -> pa.Buffer | None:
        """The bits for Arrow; None where all of so many rows have it."""
        return None if self.having == rows else pa.py_buffer(self.bits)[: -(-rows // 8)]


class _Words:
    """Words with numbers, and a table by which short ones are found at once. Numbers are not those that Arrow has.

    Attributes:
        slots: all of them.
        known: uint64[WORDS, PLACE], for the kernel: the short ones, as far as there is room.
    """

    __slots__ = ("known", "slots")

    def __init__(self) -> None:
        self.slots = Slots()
        self.known = np.zeros((kernel.WORDS, kernel.PLACE), np.uint64)

    def numbered(self, words: Packed) -> NDArray[np.int32]:
        """The number of each word."""
        slots, unknown = self.slots.find(words)
        if unknown:
            self.slots.add(words, slots, unknown)
        return slots

    def release(self) -> None:
        """Keep the words for the next columns, which have nearly the same, if they are not too many."""
        if self.slots.nbytes <= _WORDS_BYTES:
            _KEPT_WORDS.append(self)


# By threads that make columns at the same time, and at once for each of them.
_KEPT_WORDS: deque[_Words] = deque(maxlen=4)


def _words() -> _Words:
    try:
        return _KEPT_WORDS.pop()
    except IndexError:
        return _Words()


def _bit(name: str) -> np.uint64:
    """The bit of a member of `data`."""
    return np.uint64(1 << NUMBER[name])


def _complete(events: Events) -> tuple[Fields, NDArray[np.int64]]:
    """All texts and numbers of events, and their rows there.

    What was not read of a record into columns is taken from the event itself; columns of such a record mean nothing before.
    """
    fields, rows = events.fields, events.rows
    if fields is None:
        n, members = len(events), len(MEMBERS)
        rows = np.arange(n)
        fields = Fields(
            b"",
            np.zeros((n, len(ENVELOPE), 2), np.int64),
            np.zeros((n, members)),
            np.zeros((n, members, 2), np.int64),
            np.zeros(n, np.uint64),
            np.zeros(n, np.bool_),
        )
    parts, at = [fields.text], len(fields.text)
    for i in np.flatnonzero(~fields.whole[rows]).tolist():
        event, row, there = events[i], rows[i], 0
        texts = [(fields.own[row, _OWN[name]], getattr(event, name)) for name in ("id", "source")]
        for column in _DATA:
            value, m = getattr(event.data, column.name), NUMBER[column.name]
            if value is None:
                continue
            there |= 1 << m
            if isinstance(value, str):
                texts.append((fields.spans[row, m], value))
            elif not isinstance(value, list):
                fields.numbers[row, m] = value
        fields.members[row] = there
        for place, text in texts:
            parts.append(text.encode())
            place[:] = at, at + len(parts[-1])
            at += len(parts[-1])
    return (fields if len(parts) == 1 else fields._replace(text=b"".join([*parts, AFTER]))), rows


def _wider(array: NDArray[Any], room: int, used: int) -> NDArray[Any]:
    """The same with more room in its last dimension, zeros behind what is used."""
    larger = np.zeros((*array.shape[:-1], room), array.dtype)
    larger[..., :used] = array[..., :used]
    return larger


def _numbered(codes: Codes, known: dict[str, int]) -> NDArray[np.int32]:
    """Words by the numbers that they have here; new ones take the next."""
    return np.array([known.setdefault(word, len(known)) for word in codes.words], np.int32)[codes.numbers]


def _in_order(numbers: NDArray[np.int32], words: list[str]) -> pa.DictionaryArray:
    """Words as a column whose dictionary has them in the order in which they appear, as Arrow itself makes one."""
    codes, order = numbers + np.int32(1), np.empty(len(words) + 1, np.int32)
    count = kernel.renumber(codes, np.zeros_like(order), order)
    found = [words[number - 1] for number in order[:count].tolist()]
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(found, pa.string()))


def _validity(there: NDArray[np.bool_]) -> pa.Buffer | None:
    return None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))

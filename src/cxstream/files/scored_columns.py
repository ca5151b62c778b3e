"""Columns of cx.scored, as they grow batch by batch, without an object for each event.

Kernels take texts and numbers from where the batch was read to; a batch of Arrow is made once, of all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cxstream.kernels import columns as kernel
from cxstream.kernels.events import ENVELOPE
from cxstream.model.enumerations import LEVELS
from cxstream.model.scored import COLUMNS, NAME, VERSION
from cxstream.scoring.codec.packed import Packed
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
# Room for all rows of a record, where as many as that come at once: arrays that grow step by step are copied each time.
_MANY, _FULL_ROWS = 2000, 24_000
# What a row takes besides its texts.
_ROW_BYTES = (
    8 * len(_NUMBERS)
    + 4 * len(_WORDS)
    + 4 * len(_TEXTS)
    + len(MEMBERS)
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
        self._there = np.zeros((len(MEMBERS), self._room), np.bool_)
        self._values = np.zeros((len(_NUMBERS), self._room))
        self._codes = np.zeros((len(_WORDS), self._room), np.int32)
        self._ends = np.zeros((len(_TEXTS), self._room + 1), np.int32)
        self._texts = [np.empty(_FIRST_BYTES, np.uint8) for _ in _TEXTS]
        self._lists: dict[str, dict[int, Sequence[str]]] = {name: {} for name in _LISTS}
        self._words, self._known = Slots(), 0
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
        most = n * len(_WORDS)
        begins, ends, places = (np.empty(most, np.int64) for _ in range(3))
        words = kernel.spread(
            rows, fields.members, fields.spans, fields.numbers, _NUMBER_OF, _WORDS_OF, at,
            self._there, self._values, begins, ends, places,
        )  # fmt: skip
        sources = fields.own[rows, _OWN["source"]]
        begins[words : words + n], ends[words : words + n] = sources[:, 0], sources[:, 1]
        places[words : words + n] = np.arange(at, at + n)
        words += n
        packed = Packed(fields.text, begins[:words], ends[:words])
        slots, unknown = self._words.find(packed)
        if unknown:
            self._words.add(packed, slots, unknown)
        kernel.place(slots, packed.begins, packed.ends, places, self._codes.reshape(-1))
        subjects = events.packed_subjects()
        places_of = np.stack((subjects.begins, subjects.ends), axis=1)[:, None]
        always = np.ones(n, np.bool_)
        self._lay("customer", subjects.data, places_of, np.arange(n), 0, always, at)
        self._lay("id", text, fields.own, rows, _OWN["id"], always, at)
        for name in _TEXTS:
            if name in NUMBER:
                self._lay(name, text, fields.spans, rows, NUMBER[name], self._there[NUMBER[name], span], at)
        for name in _LISTS:
            having = np.flatnonzero(self._there[NUMBER[name], span])
            events.make(having)
            for i in having.tolist():
                self._lists[name][at + i] = getattr(events[i].data, name)

    def _lay(
        self, name: str, text: NDArray[np.uint8], spans: NDArray[np.int64], rows: NDArray[np.int64], m: int,
        there: NDArray[np.bool_], at: int,
    ) -> None:  # fmt: skip
        """Append texts to a column."""
        column = _TEXTS[name]
        ends = self._ends[column]
        need = kernel.lay(text, spans, rows, m, there, at, ends, self._texts[column])
        if need > len(self._texts[column]):
            larger = np.empty(max(need, 2 * len(self._texts[column])), np.uint8)
            larger[: ends[at]] = self._texts[column][: ends[at]]
            self._texts[column] = larger
            kernel.lay(text, spans, rows, m, there, at, ends, larger)

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
        return pa.RecordBatch.from_arrays([self._array(column) for column in COLUMNS], schema=SCHEMA)

    def _array(self, column: Column) -> pa.Array:
        if column.data:
            return self._of_data(column, _TYPES[column.type])
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

    def _of_data(self, column: Column, type_: pa.DataType) -> pa.Array:
        n, m = self.rows, NUMBER[column.name]
        there = self._there[m, :n]
        if not there.any():
            return pa.nulls(n, type_)
        match column.type:
            case "text":
                return self._text(column.name, there)
            case "code":
                return self._coded(self._codes[_WORDS_OF[m], :n], there)
            case "codes":
                values: list[Any] = [None] * n
                for row, found in self._lists[column.name].items():
                    values[row] = found
                return pa.array(values, type_)
        numbers = self._values[_NUMBER_OF[m], :n]
        data = np.packbits(numbers != 0, bitorder="little") if column.type == "bool" else numbers
        return pa.Array.from_buffers(type_, n, [_validity(there), pa.py_buffer(data)])

    def _text(self, name: str, there: NDArray[np.bool_] | None) -> pa.StringArray:
        ends, known = self._ends[_TEXTS[name], : self.rows + 1], None if there is None else _validity(there)
        text = self._texts[_TEXTS[name]][: ends[-1]]
        return pa.StringArray.from_buffers(self.rows, pa.py_buffer(ends), pa.py_buffer(text), known)

    def _coded(self, codes: NDArray[np.int32], there: NDArray[np.bool_] | None) -> pa.DictionaryArray:
        order = np.empty(kernel.FIRST + self._words.top, np.int32)
        count = kernel.renumber(codes, np.zeros_like(order), order)
        slots = order[:count] - kernel.FIRST
        words = self._words.packed(slots[slots >= 0])
        lengths = np.zeros(count, np.int64)
        lengths[slots >= 0] = words.lengths
        ends = np.zeros(count + 1, np.int32)
        np.cumsum(lengths, out=ends[1:])
        found = pa.StringArray.from_buffers(count, pa.py_buffer(ends), pa.py_buffer(words.text))
        known = None if there is None else _validity(there)
        numbers = pa.Array.from_buffers(pa.int32(), self.rows, [known, pa.py_buffer(codes)])
        return pa.DictionaryArray.from_arrays(numbers, found)


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
    return (fields if len(parts) == 1 else fields._replace(text=b"".join(parts))), rows


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

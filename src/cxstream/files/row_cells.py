"""Arrow columns of events as arrays for the kernel that reads rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc
from pyarrow import types

from cxstream.files.parquet_columns import in_ms, is_binary, is_json, is_text
from cxstream.files.row_texts import ESCAPED, Texts, Unfit, Value, is_coded
from cxstream.kernels.events import BOOLEAN, ENVELOPE, NUMBER, TEXT, TEXTS, TYPES, UNSURE, VALUES
from cxstream.kernels.parquet_values import longest_of
from cxstream.kernels.rows import Cells, mark
from cxstream.kernels.text import BAD_TIME
from cxstream.scoring.codec.plain import MEMBERS
from cxstream.scoring.codec.plain import NUMBER as NUMBER_OF
from cxstream.scoring.codec.rows import Rows, Words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cxstream.files.parquet_leaves import Chunk, Leaf, Marks

# Times that `strftime` writes with four digits, and that no arithmetic can leave.
_EARLIEST, _LATEST = -(1 << 41), 1 << 47
# A number has at most 25 bytes in JSON, and a name stands before each.
_NUMBER = 64


def rows_of(columns: dict[str, Any], write: Callable[[Sequence[int]], list[bytes]]) -> Rows | None:
    """The rows for the kernel; None where the general decoder must read all of them.

    Args:
        columns: pyarrow arrays of n rows by the names of an event; they are valid, and so are their texts as UTF-8.
        write: makes the records of the rows at some places, in JSON.
    """
    if any(name not in columns for name in ENVELOPE):
        return None
    try:
        data = columns["data"]
        parts = Parts(len(data), data.type.num_fields if types.is_struct(data.type) else 0)
        for name in ENVELOPE:
            parts.take(name, columns[name])
        if types.is_struct(data.type):
            parts.members.take(data)
        return parts.rows(write)
    except (Unfit, pa.ArrowException):
        return None


class Parts:
    """The columns of n rows, as they are put together: those of the envelope in their order, and then the members of `data`.

    Args:
        n: rows.
        fields: fields that `data` may have.

    Attributes:
        texts: all texts.
        members: the members of `data`.
        whole: bool[n], the rows that have all of the envelope, and in `data` nothing that JSON alone can say.
        customers: see `Rows`.
    """

    def __init__(self, n: int, fields: int) -> None:
        self._n = n
        self.customers: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None
        self.texts = Texts(n, len(ENVELOPE) + fields)
        self.whole, self._times, self._in_json = np.ones(n, np.bool_), np.empty(0, np.int64), False
        self.members = Members(n, self.texts, self.whole, fields)

    def take(self, name: str, column: Any) -> None:
        """Take a column of the envelope.

        Args:
            name: of the column.
            column: of pyarrow; of `data` that is a struct only which rows have it.

        Raises:
            Unfit: the general decoder must read it.
            pa.ArrowException: likewise.
        """
        if column.null_count:
            self.whole &= column.is_valid().to_numpy(zero_copy_only=False)
        if name == "time" and types.is_timestamp(column.type):
            self.take_times(column)
        elif name == "data" and types.is_struct(column.type):
            self.texts.add(None, self._n)
        else:
            self._in_json |= name == "data"
            self.texts.add(_strings(column, name), self._n, TYPES if name == "type" else -1)

    def take_times(self, column: Any) -> None:
        """Take timestamps as the times of events."""
        self._times = _times(column)
        self.texts.add(None, self._n)

    def rows(self, write: Callable[[Sequence[int]], list[bytes]]) -> Rows:
        """All of them as rows.

        Raises:
            pa.ArrowException: a text is not UTF-8.
        """
        texts, members = self.texts, self.members
        text = texts.joined()
        cells = Cells(
            np.frombuffer(text, np.uint8),
            texts.offsets,
            np.array(texts.bases),
            np.array(texts.gaps),
            np.array(texts.coded),
            texts.codes,
            self.whole,
            self._times,
            *members.arrays(),
            self._in_json,
        )
        longest = texts.longest + _NUMBER * (len(ENVELOPE) + members.columns) + members.more
        words = Words(texts.words)
        return Rows(text, cells, words, write, longest, nests=self._in_json, customers=self.customers)


def _strings(column: Any, name: str) -> Any:
    """A column of the envelope as strings."""
    column.validate(full=not types.is_string(column.type))
    if types.is_dictionary(column.type):
        if is_coded(column):
            return column
        column = column.dictionary_decode()
    kind = column.type
    if is_json(kind) and name == "data":
        column = column.storage
    elif types.is_integer(kind) and name in {"id", "subject"}:
        return column.cast(pa.string())
    elif not (is_text(kind) or is_binary(kind)):
        raise Unfit
    return column if types.is_string(column.type) else column.cast(pa.string())


def _times(column: Any) -> NDArray[np.int64]:
    """Event times, int64[n], ms UTC; BAD_TIME for a null, and where the general decoder must say what it is."""
    found = in_ms(column).cast(pa.int64())
    times: NDArray[np.int64] = pc.fill_null(found, BAD_TIME).to_numpy(zero_copy_only=False)
    return np.where((times > _EARLIEST) & (times < _LATEST), times, BAD_TIME)


_Arrays: TypeAlias = tuple[
    NDArray[np.uint64], NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]
]


class Members:
    """The columns of `data`.

    Args:
        n: rows.
        texts: takes their texts.
        whole: bool[n]; the rows with something that JSON alone can say are taken out.
        fields: how many fields there may be.

    Attributes:
        columns: how many there are that have a value.
        more: at least the bytes of a row in JSON beside its texts and numbers.
        present: uint64[n], bits of the members that each row has a value of.
    """

    def __init__(self, n: int, texts: Texts, whole: NDArray[np.bool_], fields: int) -> None:
        self._n, self._texts, self._whole = n, texts, whole
        self._forms = np.zeros(len(MEMBERS), np.uint8)
        self._places = np.zeros(len(MEMBERS), np.int64)
        self._widest = np.zeros(len(MEMBERS))
        self.present = np.zeros(n, np.uint64)
        self._numbers, self._taken = np.empty((fields, n)), 0
        self.columns = self.more = 0

    def take(self, data: Any) -> None:
        """Take the fields of a struct."""
        names = [field.name for field in data.type]
        if len(set(names)) < len(names):
            raise Unfit
        for name, column in zip(names, data.flatten(), strict=True):
            self.more += len(name) * ESCAPED
            if column.null_count < self._n:
                self.columns += 1
                self._take(NUMBER_OF.get(name, -1), column)

    def put(self, chunk: Chunk, marks: Marks) -> Value:
        """Take the next rows of a leaf of Parquet; what gives the value of a row that has one.

        Raises:
            Damaged: it cannot be read here.
        """
        leaf, member = chunk.leaf, NUMBER_OF.get(chunk.leaf.name, -1)
        self.more += len(leaf.name) * ESCAPED
        value: Value
        if leaf.is_text:
            form, space = TEXT, VALUES + member if member >= 0 else -1
            place, count, value = self._texts.put(chunk, self._n, space, marks)
        else:
            form, place = BOOLEAN if leaf.is_flag else NUMBER, self._taken
            numbers = self._numbers[place]
            count, exact = chunk.take_numbers(self._n, marks, self._texts.places, numbers)
            value = _value_of(leaf, numbers, exact)
            self._taken += count > 0
        if count:
            self.columns += 1
            if member >= 0:
                self._forms[member], self._places[member] = form, place
        return value

    def _take(self, member: int, column: Any) -> None:
        column.validate(full=not _is_simple(column.type))
        if types.is_dictionary(column.type) and not is_coded(column):
            column = column.dictionary_decode()
        kind, place, form = column.type, self._taken, UNSURE
        if types.is_dictionary(kind) or is_text(kind):
            form = TEXT
            if is_text(kind) and not types.is_string(kind):
                column = column.cast(pa.string())
            place = self._texts.add(column, self._n, VALUES + member if member >= 0 else -1)
        elif _is_simple(kind):
            form = BOOLEAN if types.is_boolean(kind) else NUMBER
            self._take_numbers(_numbers(column))
        elif types.is_list(kind) and types.is_string(kind.value_type):
            flat = column.flatten()
            if not flat.null_count:
                form = TEXTS
                # Where there is no list this means nothing.
                counts = np.diff(np.frombuffer(column.buffers()[1], np.int32, self._n + 1, 4 * column.offset))
                self._take_numbers(counts)
                widest = longest_of(
                    np.frombuffer(flat.buffers()[1], np.int32, len(flat) + 1, 4 * flat.offset)
                )
                if member >= 0:
                    self._widest[member] = max(self._widest[member], widest)
                self.more += int(counts.max(initial=0)) * (widest * ESCAPED + _NUMBER)
        if form == UNSURE:
            self.more += column.nbytes * ESCAPED + _NUMBER
            self._whole &= column.is_null().to_numpy(zero_copy_only=False)
        elif member >= 0:
            self._forms[member], self._places[member] = form, place
            self._mark(column, np.uint64(1 << member))

    def _take_numbers(self, numbers: NDArray[Any]) -> None:
        self._numbers[self._taken] = numbers
        self._taken += 1

    def _mark(self, column: Any, bit: np.uint64) -> None:
        """Set the bit of a member in the rows that have it."""
        validity = column.buffers()[0]
        if validity is None:
            self.present |= bit
        else:
            mark(np.frombuffer(validity, np.uint8), column.offset, bit, self.present)

    def arrays(self) -> _Arrays:
        """As `Cells` has them, from `present` to `widest`."""
        return self.present, self._forms, self._places, self._numbers[: self._taken], self._widest


def _value_of(leaf: Leaf, numbers: NDArray[np.float64], exact: NDArray[np.int64]) -> Value:
    if leaf.is_flag:
        return lambda i: bool(numbers[i])
    return (lambda i: int(exact[i])) if len(exact) else (lambda i: float(numbers[i]))


def _is_simple(kind: Any) -> bool:
    """Whether a column is strings, whose offsets and bytes are checked apart, or numbers or flags."""
    number = (
        types.is_integer(kind) or types.is_boolean(kind) or types.is_float32(kind) or types.is_float64(kind)
    )
    return bool(number or types.is_string(kind))


def _numbers(column: Any) -> NDArray[Any]:
    """Numbers and flags; where there is a null they mean nothing."""
    n, data = len(column), column.buffers()[1]
    if types.is_boolean(column.type):
        begin, bit = column.offset >> 3, column.offset & 7
        packed = np.frombuffer(data, np.uint8)[begin : (column.offset + n + 7) >> 3]
        return np.unpackbits(packed, bitorder="little")[bit : bit + n]
    kind = np.dtype(column.type.to_pandas_dtype())
    return np.frombuffer(data, kind, n, kind.itemsize * column.offset)

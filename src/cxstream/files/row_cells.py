"""Arrow columns of events as arrays for the kernel that reads rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute as pc
from pyarrow import types

from cxstream.files.parquet_columns import in_ms, is_binary, is_json, is_text
from cxstream.kernels.events import BOOLEAN, ENVELOPE, NUMBER, TEXT, TEXTS, UNSURE
from cxstream.kernels.rows import Cells
from cxstream.kernels.text import BAD_TIME
from cxstream.scoring.codec.packed import AFTER
from cxstream.scoring.codec.plain import NUMBER as MEMBERS
from cxstream.scoring.codec.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Times that `strftime` writes with four digits, and that no arithmetic can leave.
_EARLIEST, _LATEST = -(1 << 41), 1 << 47
# A character may become six in JSON, a number has at most 25, and a name stands before each.
_ESCAPED, _NUMBER = 6, 64


class _Unfit(Exception):  # noqa: N818 - no error: another way is taken
    """The columns are for the general decoder."""


class _Texts:
    """Texts of all columns, one after the other.

    Attributes:
        parts: the texts of each column.
        bases: where the part of each column begins.
        columns: each that has a text, and where its part begins and ends.
        offsets: int32[n + 1] of each column, where its texts begin and end in its part.
        longest: at least the bytes of the texts of a row in JSON.
    """

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.bases: list[int] = []
        self.offsets: list[NDArray[np.int32]] = []
        self.columns: list[tuple[Any, int, int]] = []
        self.longest = self._size = 0

    def add(self, column: Any | None, n: int) -> int:
        """Take a column of strings, or nothing; its number.

        Raises:
            _Unfit: offsets do not lie within the data.
        """
        self.bases.append(self._size)
        offsets = np.zeros(n + 1, np.int32)
        if column is not None and (data := column.buffers()[2]) is not None and n:
            found = np.frombuffer(column.buffers()[1], np.int32, n + 1, 4 * column.offset)
            # Compared before they are subtracted: a difference of damaged ones may leave 32 bits, and look sound.
            if found[0] < 0 or found[-1] > data.size or (found[1:] < found[:-1]).any():
                raise _Unfit
            lengths = found[1:] - found[:-1]
            first, last = int(found[0]), int(found[-1])
            np.subtract(found, first, out=offsets)
            self.parts.append(data.slice(first, last - first))
            self._size += last - first
            self.longest += int(lengths.max()) * _ESCAPED
            self.columns.append((column, self.bases[-1], self._size))
        self.offsets.append(offsets)
        return len(self.offsets) - 1

    def joined(self) -> bytes:
        """All texts, and AFTER.

        Raises:
            pa.ArrowInvalid: one is not UTF-8.
        """
        text = b"".join([*self.parts, AFTER])
        if not text.isascii():
            for column, begin, end in self.columns:
                if not text[begin:end].isascii():
                    column.validate(full=True)
        return text


def rows_of(columns: dict[str, Any], write: Callable[[Sequence[int]], list[bytes]]) -> Rows | None:
    """The rows for the kernel; None where the general decoder must read all of them.

    Args:
        columns: pyarrow arrays of n rows by the names of an event; they are valid, and so are their texts as UTF-8.
        write: makes the records of the rows at some places, in JSON.
    """
    try:
        return _rows(columns, write)
    except (_Unfit, pa.ArrowException):
        return None


def _rows(columns: dict[str, Any], write: Callable[[Sequence[int]], list[bytes]]) -> Rows:
    if any(name not in columns for name in ENVELOPE):
        raise _Unfit
    n = len(columns["id"])
    texts, whole, times = _Texts(), np.ones(n, np.bool_), np.empty(0, np.int64)
    in_json = not types.is_struct(columns["data"].type)
    for name in ENVELOPE:
        column = columns[name]
        if column.null_count:
            whole &= column.is_valid().to_numpy(zero_copy_only=False)
        if name == "time" and types.is_timestamp(column.type):
            times, column = _times(column), None
        elif name == "data" and not in_json:
            column = None
        texts.add(None if column is None else _strings(column, name), n)
    members = _Members(n, texts)
    if not in_json:
        members.take(columns["data"])
    text = texts.joined()
    cells = Cells(
        np.frombuffer(text, np.uint8),
        np.array(texts.offsets),
        np.array(texts.bases),
        whole,
        times,
        *members.arrays(),
        in_json=in_json,
    )
    longest = texts.longest + _NUMBER * (len(ENVELOPE) + len(members.forms)) + members.more
    return Rows(text, cells, write, longest, nests=in_json)


def _strings(column: Any, name: str) -> Any:
    """A column of the envelope as strings."""
    column.validate(full=not types.is_string(column.type))
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if is_json(kind) and name == "data":
        column = column.storage
    elif types.is_integer(kind) and name in {"id", "subject"}:
        return column.cast(pa.string())
    elif not (is_text(kind) or is_binary(kind)):
        raise _Unfit
    return column if types.is_string(column.type) else column.cast(pa.string())


def _times(column: Any) -> NDArray[np.int64]:
    """Event times, int64[n], ms UTC; BAD_TIME for a null, and where the general decoder must say what it is."""
    found = in_ms(column).cast(pa.int64())
    times: NDArray[np.int64] = pc.fill_null(found, BAD_TIME).to_numpy(zero_copy_only=False)
    return np.where((times > _EARLIEST) & (times < _LATEST), times, BAD_TIME)


_Arrays: TypeAlias = tuple[
    NDArray[np.int64],
    NDArray[np.uint8],
    NDArray[np.int64],
    NDArray[np.uint8],
    NDArray[np.int64],
    NDArray[np.float64],
    NDArray[np.float64],
]


class _Members:
    """The columns of `data`."""

    def __init__(self, n: int, texts: _Texts) -> None:
        self._n, self._texts = n, texts
        self.forms: list[int] = []
        self._members: list[int] = []
        self._places: list[int] = []
        self._there: list[Any] = []
        self._numbers: list[NDArray[np.float64]] = []
        self._widest: list[float] = []
        self.more = 0

    def take(self, data: Any) -> None:
        """Take the fields of a struct."""
        names = [field.name for field in data.type]
        if len(set(names)) < len(names):
            raise _Unfit
        for name, column in zip(names, data.flatten(), strict=True):
            self.more += len(name) * _ESCAPED
            if column.null_count < self._n:
                self._take(name, column)

    def _take(self, name: str, column: Any) -> None:
        column.validate(full=not _is_simple(column.type))
        column = column.dictionary_decode() if types.is_dictionary(column.type) else column
        kind, place, widest, form = column.type, 0, 0.0, UNSURE
        if is_text(kind):
            form = TEXT
            place = self._texts.add(column if types.is_string(kind) else column.cast(pa.string()), self._n)
        elif _is_simple(kind):
            form, place = BOOLEAN if types.is_boolean(kind) else NUMBER, len(self._numbers)
            self._numbers.append(_numbers(column))
        elif types.is_list(kind) and types.is_string(kind.value_type) and not column.flatten().null_count:
            form, place = TEXTS, len(self._numbers)
            self._numbers.append(pc.fill_null(pc.list_value_length(column), 0).to_numpy().astype(np.float64))
            widest = float(pc.max(pc.binary_length(column.flatten())).as_py() or 0)
            self.more += int(self._numbers[-1].max(initial=0) * (widest * _ESCAPED + _NUMBER))
        if form == UNSURE:
            self.more += column.nbytes * _ESCAPED + _NUMBER
        self._members.append(MEMBERS.get(name, -1))
        self.forms.append(form)
        self._places.append(place)
        self._there.append(column)
        self._widest.append(widest)

    def _bits(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """As `Cells` has them, `there` and `bits`."""
        bits = np.array([column.offset & 7 for column in self._there], np.int64)
        size = (self._n + 14) >> 3
        there = np.full((len(bits), size), 255, np.uint8)
        for row, column in zip(there, self._there, strict=True):
            if (validity := column.buffers()[0]) is not None:
                begin = column.offset >> 3
                found = np.frombuffer(validity, np.uint8)[begin : begin + size]
                row[: len(found)] = found
        return there, bits

    def arrays(self) -> _Arrays:
        """As `Cells` has them, from `members` to `widest`."""
        n = self._n
        return (
            np.array(self._members, np.int64),
            np.array(self.forms, np.uint8),
            np.array(self._places, np.int64),
            *self._bits(),
            np.array(self._numbers, np.float64).reshape(-1, n),
            np.array(self._widest, np.float64),
        )


def _is_simple(kind: Any) -> bool:
    """Whether a column is strings, whose offsets and bytes are checked apart, or numbers or flags."""
    number = (
        types.is_integer(kind) or types.is_boolean(kind) or types.is_float32(kind) or types.is_float64(kind)
    )
    return bool(number or types.is_string(kind))


def _numbers(column: Any) -> NDArray[np.float64]:
    """Numbers and flags; where there is a null they mean nothing."""
    n, data = len(column), column.buffers()[1]
    if types.is_boolean(column.type):
        begin, bit = column.offset >> 3, column.offset & 7
        packed = np.frombuffer(data, np.uint8)[begin : (column.offset + n + 7) >> 3]
        return np.unpackbits(packed, bitorder="little")[bit : bit + n].astype(np.float64)
    kind = np.dtype(column.type.to_pandas_dtype())
    return np.frombuffer(data, kind, n, kind.itemsize * column.offset).astype(np.float64)

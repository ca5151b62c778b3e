"""Events of Parquet whose `data` is a struct: simple columns without Arrow, and the others with it, in step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import types

from cxstream.files.parquet_columns import identifier, inner, values
from cxstream.files.parquet_leaves import MOST_LEAVES, Chunk, Damaged, Leaf, Marks, leaf_of
from cxstream.files.parquet_spans import spans_of
from cxstream.files.row_cells import Parts
from cxstream.files.row_texts import Unfit
from cxstream.kernels.events import ENVELOPE, TYPES
from cxstream.scoring.codec.plain import NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cxstream.files.parquet_columns import Plain
    from cxstream.files.parquet_pages import Examined
    from cxstream.files.row_texts import Value
    from cxstream.scoring.codec.rows import Rows

_ONE, _NOTHING = np.uint64(1), np.uint64(0)
_WITHOUT_DATA = _ONE << np.uint64(63)


class _Given(NamedTuple):
    """What gives the values of a column of n rows.

    Attributes:
        name: of the column.
        is_member: whether `bit` is one of the members of an event, or one of the rows.
        bit: set where a row has a value; 0 where `value` says None.
        value: gives it.
        make: makes it plain.
    """

    name: str
    is_member: bool
    bit: int
    value: Value
    make: Plain


class Shape(NamedTuple):
    """How a file is read.

    Attributes:
        names: the columns of an event, in the order of JSON.
        fields: names of those of `data`.
        leaves: what is read without Arrow: columns, and fields behind `data.`.
        aside: what Arrow reads, likewise.
    """

    names: list[str]
    fields: list[str]
    leaves: dict[str, Leaf]
    aside: list[str]


def shape_of(file: Any, names: list[str]) -> Shape | None:
    """How a file can be read here; None where Arrow must read all of it.

    Args:
        file: pyarrow's ParquetFile.
        names: the columns of an event.
    """
    schema = file.schema_arrow
    if set(names) != set(ENVELOPE) or not types.is_struct(schema.field("data").type):
        return None
    data = schema.field("data")
    fields = list(data.type)
    # A path with dots may be that of another leaf.
    if len({field.name for field in fields}) < len(fields) or any("." in field.name for field in fields):
        return None
    found = {name: leaf_of(file, name, schema.field(name), outer=False) for name in names if name != "data"}
    found |= {
        f"data.{field.name}": leaf_of(file, f"data.{field.name}", field, outer=data.nullable)
        for field in fields
    }
    leaves = {
        path: leaf
        for path, leaf in found.items()
        if leaf and (leaf.is_text or path == "time" or _is_number(path, leaf))
    }
    if not 0 < len(leaves) <= MOST_LEAVES or not any(path.startswith("data.") for path in leaves):
        return None
    return Shape(names, data.type.names, leaves, [path for path in found if path not in leaves])


def _is_number(path: str, leaf: Leaf) -> bool:
    return path.startswith("data.") and not types.is_timestamp(leaf.kind)


def batches(file: Any, raw: int, group: int, shape: Shape, found: Examined, rows: int) -> Iterator[_Batch]:
    """The rows of a row group, some at a time.

    Args:
        file: pyarrow's ParquetFile.
        raw: descriptor of the same file.
        group: number of the row group.
        shape: how it is read.
        found: its pages.
        rows: how many come at a time at most.

    Raises:
        Damaged: Arrow must read what has not come.
        pa.ArrowException: likewise.
    """
    chunks = file.metadata.row_group(group)
    if not chunks.num_rows:
        return
    leaves: dict[str, Chunk] = {}
    aside = list(shape.aside)
    for path, leaf in shape.leaves.items():
        pages = found.pages[group, leaf.number]
        try:
            leaves[path] = Chunk(raw, leaf, chunks.column(leaf.number), pages)
        except Damaged:
            aside.append(path)
    if not any(path.startswith("data.") for path in leaves):
        raise Damaged
    spans = spans_of(file, found, [group], rows)
    if aside:
        for batch in file.iter_batches(spans.alike(), row_groups=[group], columns=aside, use_threads=False):
            yield _Batch(shape, leaves, batch, batch.num_rows)
        return
    for n in spans:
        yield _Batch(shape, leaves, None, n)


class _Batch:
    """Some rows.

    Args:
        shape: how the file is read.
        leaves: those that are read without Arrow.
        aside: pyarrow's batch of the others; None where there are none.
        n: rows.

    Attributes:
        n: see above.
    """

    def __init__(self, shape: Shape, leaves: dict[str, Chunk], aside: Any, n: int) -> None:
        self.n, self._shape, self._leaves, self._aside = n, shape, leaves, aside
        self._valid = self._present = np.zeros(n, np.uint64)
        self._envelope: list[_Given] = []
        self._fields: list[_Given] = []
        self._bits = 0

    def rows(self, write: Callable[[Sequence[int]], list[bytes]]) -> Rows:
        """They as columns.

        Args:
            write: makes the events at some places in JSON, as `written` does.

        Raises:
            Damaged: Arrow must read them.
        """
        try:
            return self._rows(write)
        except (Unfit, pa.ArrowException) as error:
            raise Damaged from error

    def _rows(self, write: Callable[[Sequence[int]], list[bytes]]) -> Rows:
        parts = Parts(self.n, len(self._shape.fields))
        given = {name: self._take(parts, name) for name in ENVELOPE if name != "data"}
        required = (1 << self._bits) - 1
        self._envelope = [given[name] for name in self._shape.names if name != "data"]
        parts.texts.add(None, self.n)
        self._fields = self._members(parts)
        parts.whole &= self._valid & np.uint64(required | int(_WITHOUT_DATA)) == np.uint64(required)
        return parts.rows(write)

    def _marks(self) -> Marks:
        bit = _ONE << np.uint64(self._bits)
        self._bits += 1
        return Marks(self._valid, bit, self._valid, _NOTHING)

    def _take(self, parts: Parts, name: str) -> _Given:
        """Take a column of the envelope."""
        chunk = self._leaves.get(name)
        if chunk is None:
            column = self._aside.column(name)
            parts.take(name, column)
            return _Given(name, False, 0, _one_of(name, column), None)
        marks = self._marks()
        value: Value
        if chunk.leaf.is_text:
            if name == "subject":
                parts.customers = chunk.customers(self.n)
            _, _, value = parts.texts.put(chunk, self.n, TYPES if name == "type" else -1, marks)
        else:
            _, exact = chunk.take_numbers(self.n, marks, parts.texts.places, np.empty(self.n))
            column = pa.Array.from_buffers(chunk.leaf.kind, self.n, [None, pa.py_buffer(exact)])
            parts.take_times(column)
            value = _one_of(name, column)
        return _Given(name, False, int(marks.bit), value, None)

    def _members(self, parts: Parts) -> list[_Given]:
        """Take the fields of `data`."""
        members, given = parts.members, {}
        outer = _WITHOUT_DATA
        for name in self._shape.fields:
            chunk = self._leaves.get(f"data.{name}")
            if chunk is None:
                continue
            member, level = NUMBER.get(name), outer if chunk.leaf.outer else _NOTHING
            if member is None:
                marks = self._marks()._replace(outer=level)
            else:
                marks = Marks(members.present, _ONE << np.uint64(member), self._valid, level)
            value = members.put(chunk, marks)
            given[name] = _Given(name, member is not None, int(marks.bit), value, chunk.leaf.make)
            # One leaf says which rows have no `data`.
            outer = _NOTHING
        if self._aside is not None and "data" in self._aside.schema.names:
            data = self._aside.column("data")
            members.take(data)
            for field, part in zip(data.type, data.flatten(), strict=True):
                given[field.name] = _Given(field.name, False, 0, _of(part), inner(field.type))
        self._present = members.present
        return [given[name] for name in self._shape.fields]

    def written(self, places: Sequence[int]) -> list[bytes]:
        """The events at some places in JSON."""
        return [self._written(i) for i in places]

    def _written(self, i: int) -> bytes:
        there, present = int(self._valid[i]), int(self._present[i])
        event = _object(self._envelope, i, there, present)
        if not there & int(_WITHOUT_DATA):
            event["data"] = _object(self._fields, i, there, present)
        return orjson.dumps(event, default=str)


def _object(given: Sequence[_Given], i: int, there: int, present: int) -> dict[str, Any]:
    """The values that row i has."""
    found = {}
    for name, is_member, bit, value, make in given:
        if not bit or (present if is_member else there) & bit:
            plain = value(i)
            shown = plain if make is None or plain is None else make(plain)
            if shown is not None:
                found[name] = shown
    return found


def _one_of(name: str, column: Any) -> Value:
    """Gives the plain values of a column of the envelope."""
    convert = identifier if name in {"id", "subject"} else lambda value: value
    return lambda i: convert(values(column.slice(i, 1), utc=True)[0])


def _of(column: Any) -> Value:
    return lambda i: column[i].as_py()

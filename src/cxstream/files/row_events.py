"""Events in JSON out of rows of Arrow columns: all of them, or some.

A null is an attribute or a field that is absent: a struct column has a place for every field in every row.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from pyarrow import types

from cxstream.files.parquet_columns import (
    Plain,
    as_json,
    identifier,
    inner,
    is_binary,
    is_json,
    is_text,
    stored,
    values,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Of more rows than these, `take` and whole columns cost less than one value after the other.
_FEW = 256


class _Part(NamedTuple):
    """A field of `data` that has a value in some row.

    Attributes:
        name: of the field.
        column: its values.
        make: makes one plain.
        validity: uint8[...], a bit a row, the lowest first; None where all rows may have a value.
    """

    name: str
    column: Any
    make: Plain
    validity: NDArray[np.uint8] | None


class RowEvents:
    """The events of n rows.

    Args:
        columns: pyarrow arrays of n rows by the names of an event.
        n: rows.
    """

    def __init__(self, columns: dict[str, Any], n: int) -> None:
        self._columns, self._n = columns, n
        self._parts: list[_Part] | None = None

    def all(self) -> list[bytes]:
        """Those of all rows."""
        return _events(self._columns)

    def at(self, places: Sequence[int]) -> list[bytes]:
        """Those of the rows at some places."""
        if len(places) == self._n and list(places) == list(range(self._n)):
            return self.all()
        try:
            if len(places) > _FEW:
                some = pa.array(places, pa.int64())
                return _events({name: column.take(some) for name, column in self._columns.items()})
            return self._few(places)
        except pa.ArrowNotImplementedError:  # of views of bytes, for example
            return [self._one(i) for i in places]

    def _one(self, i: int) -> bytes:
        return _events({name: column.slice(i, 1) for name, column in self._columns.items()})[0]

    def _few(self, places: Sequence[int]) -> list[bytes]:
        """One value after the other: most fields of most rows are null, and `take` asks each of them."""
        at, found = np.asarray(places, np.int64), {}
        for name, column in self._columns.items():
            if name == "data":
                found[name] = self._data(column, at)
            else:
                found[name] = _envelope(name, _picked(column, at))
        return _in_json(found)

    def _data(self, column: Any, at: NDArray[np.int64]) -> list[Any]:
        if not _has_distinct_fields(column.type):
            return _data(_taken(column, at))
        if self._parts is None:
            self._parts = _parts_of(column)
        there = _valid(at, column.offset, None if column.null_count == 0 else _validity(column))
        found: list[dict[str, Any] | None] = [{} if known else None for known in there.tolist()]
        for name, part, make, validity in self._parts:
            for k in np.flatnonzero(there & _valid(at, part.offset, validity)).tolist():
                value = part[int(at[k])].as_py()
                shown = value if make is None or value is None else make(value)
                if shown is not None:
                    found[k][name] = shown  # type: ignore[index]  # it is there
        return found


def _parts_of(column: Any) -> list[_Part]:
    return [
        _Part(name, part, make, _validity(part) if nulls else None)
        for (name, make), part in zip(_makers(column.type), column.flatten(), strict=True)
        if (nulls := part.null_count) < len(part)
    ]


@lru_cache(maxsize=16)
def _makers(kind: Any) -> list[tuple[str, Plain]]:
    return [(field.name, inner(field.type)) for field in kind]


@lru_cache(maxsize=16)
def _has_distinct_fields(kind: Any) -> bool:
    return bool(types.is_struct(kind)) and len({field.name for field in kind}) == kind.num_fields


def _validity(column: Any) -> NDArray[np.uint8] | None:
    bits = column.buffers()[0]
    return None if bits is None else np.frombuffer(bits, np.uint8)


def _valid(at: NDArray[np.int64], offset: int, validity: NDArray[np.uint8] | None) -> NDArray[np.bool_]:
    """Whether there is a value at some places; None where there may be one everywhere."""
    if validity is None:
        return np.ones(len(at), np.bool_)
    bits = at + offset
    there: NDArray[np.bool_] = (validity[bits >> 3] >> (bits & 7).astype(np.uint8)) & 1 != 0
    return there


def _picked(column: Any, at: NDArray[np.int64]) -> list[Any]:
    """The plain values of a column of the envelope at some places."""
    if is_text(stored(column.type)) and not isinstance(column.type, pa.BaseExtensionType):
        return [column[i].as_py() for i in at.tolist()]
    return values(_taken(column, at), utc=True)


def _taken(column: Any, at: NDArray[np.int64]) -> Any:
    return column.take(pa.array(at, pa.int64()))


def _events(columns: dict[str, Any]) -> list[bytes]:
    return _in_json(
        {
            name: _data(column) if name == "data" else _envelope(name, values(column, utc=True))
            for name, column in columns.items()
        }
    )


def _envelope(name: str, plain: list[Any]) -> list[Any]:
    return list(map(identifier, plain)) if name in {"id", "subject"} else plain


def _in_json(found: dict[str, list[Any]]) -> list[bytes]:
    names = list(found)
    return [
        orjson.dumps(
            {name: value for name, value in zip(names, row, strict=True) if value is not None}, default=str
        )
        for row in zip(*found.values(), strict=True)
    ]


def _data(column: Any) -> list[Any]:
    """Objects; JSON as it stands, so that no number changes on the way."""
    kind = column.type
    if types.is_dictionary(kind):
        return _data(column.dictionary_decode())
    if is_json(kind):
        column = column.storage
    elif not (is_text(kind) or is_binary(kind)):
        return values(column, utc=True)
    return [as_json(text) for text in column.to_pylist()]

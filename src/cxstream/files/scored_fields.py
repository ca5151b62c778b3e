"""Columns of Arrow from the texts and numbers that a batch was read into, without an object for each event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cxstream.kernels.events import ENVELOPE
from cxstream.kernels.text import gather
from cxstream.scoring.codec.plain import NUMBER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cxstream.model.scored import Column
    from cxstream.scoring.codec.events import Events
    from cxstream.scoring.codec.packed import Packed

_PLACE = {name: i for i, name in enumerate(ENVELOPE)}


class FieldColumns:
    """The fields of n events as columns.

    Args:
        events: n events whose `fields` are known. Objects are made of those only that are not in the text as they are.
        columns: the columns that are fields of `data`.
    """

    def __init__(self, events: Events, columns: Sequence[Column]) -> None:
        fields, rows = events.fields, events.rows
        assert fields is not None  # noqa: S101 - the caller has asked
        self._events = events
        self._own, self._spans = fields.own[rows], fields.spans[rows]
        self._numbers, self._members = fields.numbers[rows], fields.members[rows]
        parts, at = [fields.text], len(fields.text)
        for i in np.flatnonzero(~fields.whole[rows]).tolist():
            event, there = events[i], 0
            texts = [(self._own[i, _PLACE[name]], getattr(event, name)) for name in ("id", "source")]
            for column in columns:
                value, m = getattr(event.data, column.name), NUMBER[column.name]
                if value is None:
                    continue
                there |= 1 << m
                if isinstance(value, str):
                    texts.append((self._spans[i, m], value))
                elif not isinstance(value, list):
                    self._numbers[i, m] = value
            self._members[i] = there
            for span, text in texts:
                parts.append(text.encode())
                span[:] = at, at + len(parts[-1])
                at += len(parts[-1])
        self._text = np.frombuffer(fields.text if len(parts) == 1 else b"".join(parts), np.uint8)

    def of_envelope(self, name: str) -> pa.StringArray:
        """A member of the envelope."""
        spans = self._own[:, _PLACE[name]]
        return self._texts(spans, np.ones(len(spans), np.bool_))

    def of_data(self, column: Column, type_: pa.DataType) -> pa.Array | list[Any]:
        """A member of `data`: an array, or objects of which an array must be made."""
        n, m = len(self._members), NUMBER[column.name]
        there = self._members & np.uint64(1 << m) != 0
        if not there.any():
            return pa.nulls(n, type_)
        match column.type:
            case "text":
                return self._texts(self._spans[:, m], there)
            case "code":
                return self._texts(self._spans[:, m], there).dictionary_encode()
            case "codes":
                values: list[Any] = [None] * n
                self._events.make(np.flatnonzero(there))
                for i in np.flatnonzero(there).tolist():
                    values[i] = self._events[i].data.hashtags
                return values
        numbers = np.where(there, self._numbers[:, m], 0.0)
        data = np.packbits(numbers != 0, bitorder="little") if column.type == "bool" else numbers
        return pa.Array.from_buffers(type_, n, [_validity(there), pa.py_buffer(data)])

    def _texts(self, spans: NDArray[np.int64], there: NDArray[np.bool_]) -> pa.StringArray:
        return _gathered(
            self._text, spans[:, 0], np.where(there, spans[:, 1] - spans[:, 0], 0), _validity(there)
        )


def texts(packed: Packed) -> pa.StringArray:
    """Packed texts as a column."""
    return _gathered(packed.data, packed.begins, packed.lengths, None)


def _gathered(
    text: NDArray[np.uint8],
    begins: NDArray[np.int64],
    lengths: NDArray[np.int64],
    validity: pa.Buffer | None,
) -> pa.StringArray:
    """Pieces of a text as a column."""
    ends = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=ends[1:])
    out = np.empty(int(ends[-1]), np.uint8)
    gather(text, np.ascontiguousarray(begins), ends, out)
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(ends), pa.py_buffer(out), validity)


def _validity(there: NDArray[np.bool_]) -> pa.Buffer | None:
    return None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))

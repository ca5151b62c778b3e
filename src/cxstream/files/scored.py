"""Records of cx.scored as Arrow: the schema, their rows and their bytes."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxstream.files.scored_fields import FieldColumns, texts
from cxstream.model.enumerations import LEVELS
from cxstream.model.scored import COLUMNS, NAME, VERSION

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray

    from cxstream.model.scored import Column
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
_DATA_COLUMNS = tuple(column for column in COLUMNS if column.data)
_DATA = tuple(column.name for column in _DATA_COLUMNS)
_data = attrgetter(*_DATA)
_VERDICTS = ("effort", "mood", "flags", "effort_after", "satisfaction_after", "probability_after")
_ONLY_WHO = pa.ipc.IpcReadOptions(
    included_fields=[SCHEMA.get_field_index(name) for name in ("offset", "customer")]
)
# To compress each of some 130 buffers takes 2 ms, even of empty ones. Fewer rows are compressed as a whole, by Kafka.
_FEW = 500
_PLAIN, _ZSTD = pa.ipc.IpcWriteOptions(), pa.ipc.IpcWriteOptions(compression="zstd")


def record_batch(rows: Scored, arrived: NDArray[np.int64] | None = None) -> pa.RecordBatch:
    """The rows as columns of Arrow.

    Args:
        rows: n accepted touchpoints.
        arrived: int64[n], when Kafka appended them, ms UTC; None in files.
    """
    n, verdicts, fields = len(rows), rows.verdicts, _fields(rows)
    values: dict[str, Any] = {
        "partition": rows.partitions,
        "offset": rows.offsets,
        "time": rows.times,
        "arrived": [None] * n if arrived is None else arrived,
        "customer": texts(rows.events.packed_subjects()),
        "kind": _codes(rows.kinds),
        **{name: verdicts[name] for name in _VERDICTS},
        "behind_ms": verdicts["behind"],
        "model": _codes(rows.models),
        **fields,
    }
    made = {"level_after": _levels(verdicts["level_after"]), "amount_base": _or_null(rows.amounts)}
    arrays = [
        made[column.name] if column.name in made else _array(column, values[column.name])
        for column in COLUMNS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _fields(rows: Scored) -> dict[str, Any]:
    """The columns that are fields of the events."""
    events = rows.events
    if not len(events):
        return dict.fromkeys(("source", "id", *_DATA), ())
    if events.fields is None:
        data = dict(zip(_DATA, zip(*[_data(event.data) for event in events], strict=True), strict=True))
        return {**data, "source": [event.source for event in events], "id": [event.id for event in events]}
    found = FieldColumns(events, _DATA_COLUMNS)
    return {
        "source": found.of_envelope("source").dictionary_encode(),
        "id": found.of_envelope("id"),
        **{column.name: found.of_data(column, _TYPES[column.type]) for column in _DATA_COLUMNS},
    }


def _codes(codes: Codes) -> pa.DictionaryArray:
    """Words as a column; its dictionary has them in the order in which they appear, as Arrow itself makes one."""
    numbers, words = codes.in_order()
    return pa.DictionaryArray.from_arrays(pa.array(numbers), pa.array(words, pa.string()))


def _array(column: Column, values: pa.Array | Sequence[Any] | NDArray[Any]) -> pa.Array:
    type_ = _TYPES[column.type]
    if isinstance(values, pa.Array):
        return values
    if isinstance(values, np.ndarray):
        return pa.array(np.ascontiguousarray(values), type_)
    if values.count(None) == len(values):
        return pa.nulls(len(values), type_)
    if column.type == "code":
        return pa.array(values, pa.string()).dictionary_encode()
    return pa.array(values, type_)


def _levels(levels: NDArray[np.uint8]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(levels.astype(np.int32)), pa.array(LEVELS, pa.string()))


def _or_null(amounts: NDArray[np.float64]) -> pa.Array:
    return pa.array(amounts, pa.float64(), mask=np.isnan(amounts))


def combined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The rows of at least one batch in one."""
    if len(batches) == 1:
        return batches[0]
    [batch] = pa.Table.from_batches(batches).unify_dictionaries().combine_chunks().to_batches()
    return batch


def encoded(batch: pa.RecordBatch, limit: int) -> Iterator[tuple[bytes, int]]:
    """Values of records of at most `limit` bytes, each with the number of its rows; a single row may have more."""
    value = encode(batch)
    if len(value) <= limit or batch.num_rows == 1:
        yield value, batch.num_rows
        return
    half = batch.num_rows // 2
    for part in (batch.slice(0, half), batch.slice(half)):
        yield from encoded(_compact(part), limit)


def _compact(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows with dictionaries that have no other values than theirs."""
    columns = [
        column.dictionary_decode().dictionary_encode() if field.type == CODE else column
        for field, column in zip(batch.schema, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def encode(batch: pa.RecordBatch) -> bytes:
    """The value of a record: an IPC stream of one batch."""
    sink = pa.BufferOutputStream()
    options = _PLAIN if batch.num_rows < _FEW else _ZSTD
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def empty() -> bytes:
    """The value of a record without rows."""
    return encode(pa.RecordBatch.from_pylist([], schema=SCHEMA))


def offsets_of(value: bytes, customers: Collection[str]) -> list[tuple[str, int]]:
    """The rows of some customers in a record: each customer with the offset of their touchpoint.

    Raises:
        pa.ArrowInvalid: no such stream.
    """
    with pa.ipc.open_stream(value, options=_ONLY_WHO) as reader:
        table = reader.read_all()
    found = table.filter(pc.is_in(table["customer"], pa.array(customers, pa.string())))
    return list(zip(found["customer"].to_pylist(), found["offset"].to_pylist(), strict=True))


def decode(value: bytes) -> pa.Table:
    """The rows of a record.

    Raises:
        pa.ArrowInvalid: no such stream.
    """
    with pa.ipc.open_stream(value) as reader:
        return reader.read_all()

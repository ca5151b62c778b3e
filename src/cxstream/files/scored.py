"""Records of cx.scored as Arrow: the schema, and their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from cxstream.model.scored import COLUMNS, FLAGS, NAME, VERSION

if TYPE_CHECKING:
    from cxstream.model.scored import Column

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
CONTENT_TYPE = "application/vnd.apache.arrow.stream"
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def _field(column: Column) -> pa.Field:
    metadata = {"holds": column.holds}
    if column.name == "flags":
        metadata |= {name: str(bit) for name, bit in FLAGS.items()}
    return pa.field(column.name, _TYPES[column.type], nullable=column.optional, metadata=metadata)


SCHEMA = pa.schema([_field(column) for column in COLUMNS], metadata={"name": NAME, "version": str(VERSION)})


def encode(batch: pa.RecordBatch) -> bytes:
    """The value of a record: an IPC stream of one batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=_OPTIONS) as writer:
        writer.write_batch(batch)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def decode(value: bytes) -> pa.Table:
    """The rows of a record.

    Raises:
        pa.ArrowInvalid: no such stream.
    """
    with pa.ipc.open_stream(value) as reader:
        return reader.read_all()

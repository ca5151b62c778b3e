"""Records of cx.scored as Arrow: the schema, their rows and their bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from cxstream.files.scored_columns import CODE, SCHEMA, ScoredColumns
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.failing import SOUND

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from cxstream.scoring.scored import Scored

_ONLY_WHO = pa.ipc.IpcReadOptions(
    included_fields=[SCHEMA.get_field_index(name) for name in ("offset", "customer")]
)
# To compress each of some 130 buffers takes 2 ms, even of empty ones. Fewer rows are compressed as a whole, by Kafka.
_FEW = 500
# The schema, which Arrow does not compress, is 9 KB: in a record of fewer rows Kafka compresses it, and all the rest once more.
_MANY = 8000
# Arrow's own threads would take a fifth more processor time for so small buffers, and wake each other all the time.
_PLAIN = pa.ipc.IpcWriteOptions(use_threads=False)
_ZSTD = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)


def record_batch(rows: Scored, arrived: NDArray[np.int64] | None = None) -> pa.RecordBatch:
    """The rows as columns of Arrow.

    Args:
        rows: n accepted touchpoints.
        arrived: int64[n], when Kafka appended them, ms UTC; None in files.
    """
    columns = ScoredColumns()
    columns.add(rows, arrived)
    return columns.batch()


def compile_columns() -> None:
    """Compile the kernels that make columns, or load them from the cache, so that the first flush does not wait for it."""
    engine = Engine(ScoringParams(), {})
    engine.scored = True
    outcome = engine.process(Records(SOUND, range(len(SOUND))))
    if outcome.scored is not None:
        record_batch(outcome.scored)


def is_dense(rows: int) -> bool:
    """Whether a value with so many rows is hardly shorter if Kafka compresses it, too."""
    return rows >= _MANY


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
    options = _ZSTD if batch.num_rows >= _FEW else _PLAIN
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

"""Record batches of Kafka to records: aiokafka's parser and the kernel, in turn in one process; medians.

python benchmarks/wire.py touchpoints.ndjson [--runs 7]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from cxstream.kafka.record_batches import HELD, Unpacker
from cxstream.scoring.codec.decode import read_subject

if TYPE_CHECKING:
    from collections.abc import Callable

_RECORDS = 100_000
_BATCH_BYTES = 1 << 20
_CODECS = {"none": 0, "lz4": 3, "zstd": 4}


def batches(lines: list[bytes], codec: int) -> list[bytes]:
    """The lines as record batches, keyed by their customers."""
    made, builder, n = [], None, 0
    for i, line in enumerate(lines):
        key, time_ms = (read_subject(line) or "").encode(), 1_700_000_000_000 + i
        if builder is None or builder.append(n, time_ms, key, line, []) is None:
            if builder is not None:
                made.append(bytes(builder.build()))
            builder, n = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, _BATCH_BYTES), 0
            builder.append(n, time_ms, key, line, [])
        n += 1
    return [*made, bytes(builder.build())] if builder is not None else made


def seconds(read: Callable[[bytes], object], made: list[bytes]) -> float:
    """Processor time to read all batches."""
    started = time.process_time()
    for batch in made:
        read(batch)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    with args.file.open("rb") as file:
        lines = [line.rstrip(b"\n") for line in file.readlines(300 * _RECORDS)][:_RECORDS]
    unpacker = Unpacker(HELD)
    ways: dict[str, Callable[[bytes], object]] = {
        "aiokafka": lambda batch: list(DefaultRecordBatch(batch)),
        "kernel": lambda batch: list(unpacker.pieces(batch)),
    }
    for name, codec in _CODECS.items():
        made = batches(lines, codec)
        found: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(args.runs):
            for way, read in ways.items():
                found[way].append(1e6 * seconds(read, made) / len(lines))
        ratio = median(a / b for a, b in zip(found["aiokafka"], found["kernel"], strict=True))
        told = ", ".join(f"{way} {median(each):.2f} us" for way, each in found.items())
        print(f"{name:5} {told} a record; the kernel is {ratio:.1f} times as fast", flush=True)


if __name__ == "__main__":
    main()

"""Touchpoints of Kafka, up to now, for training: the partitions side by side in time, each in its own order.

    partition 0  -> running maximum of the event times  \
    partition 1  -> running maximum of the event times   >  Sorter -> chunks
    ...                                                  /

So a record that came late in its partition comes late here, too, as it did for the worker. Only committed records are
read, nobody's offsets change, and what does not fit into memory goes to a temporary file that has no name.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.files.readers import Chunk
from cxstream.files.spill import MEMORY_BYTES, Sorter
from cxstream.kafka.reader import reading
from cxstream.kafka.records import PackedRecords, timestamps_of
from cxstream.kernels.text import BAD_TIME
from cxstream.model.cloudevents import content_bytes, structured
from cxstream.model.errors import CloudEventError, InputError
from cxstream.scoring.codec.decode import read_times
from cxstream.topology import TOUCHPOINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings

_FIRST = BAD_TIME + 1


@dataclass(slots=True)
class Topic:
    """cx.touchpoints from the first record that it still has to the last one now; each pass reads the same records.

    Attributes:
        settings: how to reach Kafka; how far event times may be after Kafka's timestamps.
        say: takes what is done now.
        memory_bytes: about how much is held in memory.
        spans: the first offset and the one to stop before, by partition, once they are known.
    """

    settings: Settings
    say: Callable[[str], None] = lambda _: None
    memory_bytes: int = MEMORY_BYTES
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of the topic in Kafka."""
        return self.settings.topology.touchpoints.name

    def chunks(self, max_record_bytes: int) -> Iterator[Chunk]:
        """All records in the order of the partitions' clocks.

        Args:
            max_record_bytes: a larger record comes as `b""`, which every decoder refuses; so does one that the worker refuses
                because it is from the future.

        Raises:
            BrokerError: Kafka does not answer, or does not permit reading.
            TopicError: the topic is missing.
            InputError: the topic has no records, or no longer those that an earlier pass read.
            OutputError: the temporary file cannot be written.
        """
        with Sorter(self.memory_bytes) as sorter:
            asyncio.run(self._collect(sorter, max_record_bytes))
            if not sorter.records:
                raise InputError(
                    f"{self.name} at {self.settings.kafka} has no records: send some with 'cxstream produce'"
                )
            done = 0
            for batch in sorter.merged():
                done += sum(map(len, batch.values))
                yield Chunk(Path(self.name), batch.values, batch.marks.tolist(), done)

    async def _collect(self, sorter: Sorter, most: int) -> None:
        async with reading(self.settings, [TOUCHPOINTS]) as reader:
            count = reader.partitions[self.name]
            bounds = [await reader.bounds(self.name, partition) for partition in range(count)]
            if not self.spans:
                self.spans = dict(enumerate(bounds))
            total = sum(stop - first for first, stop in self.spans.values())
            done = 0
            for partition, (first, stop) in self.spans.items():
                if (kept := bounds[partition][0]) > first:
                    raise InputError(
                        f"{self.name}, partition {partition}: retention has deleted the offsets {first:,} to {kept - 1:,} since "
                        "the training began, so it would not read the same records again: train again, or keep records longer"
                    )
                await self._read(reader, sorter, most, partition, (first, stop), (done, total))
                done += stop - first

    async def _read(
        self,
        reader: TopicReader,
        sorter: Sorter,
        most: int,
        partition: int,
        bounds: tuple[int, int],
        progress: tuple[int, int],
    ) -> None:
        (start, stop), (done, total) = bounds, progress
        last = _FIRST
        async for records in reader.read(self.name, partition, start, stop):
            keys, values = _in_time(records, last, round(self.settings.scoring.future_minutes * 60_000), most)
            last = int(keys[-1])
            sorter.add(keys, np.array([each.offset for each in records], np.int64), values)
            self.say(f"reading {self.name}: {done + records[-1].offset + 1 - start:,} of {total:,} offsets")


def _in_time(
    records: Sequence[Any], last: int, future_ms: int, most: int
) -> tuple[NDArray[np.int64], list[bytes]]:
    """Running maxima of the event times, and structured records; `b""` for those that no worker counts."""
    values = _values(records, most)
    times = read_times(values)
    future = times > timestamps_of(records, np.arange(len(records))) + future_ms
    for i in np.flatnonzero(future).tolist():
        values[i] = b""
    # A time that cannot be read is the least there is.
    times[future] = BAD_TIME
    return np.maximum(np.maximum.accumulate(times), last), values


def _values(records: Sequence[Any], most: int) -> list[bytes]:
    if isinstance(records, PackedRecords):
        return [
            b"" if len(key or b"") + len(value) > most else value
            for key, value in zip(records.keys, records.values, strict=True)
        ]
    return [_value(record, most) for record in records]


def _value(record: Any, most: int) -> bytes:
    if content_bytes(record.key, record.value, record.headers) > most:
        return b""
    try:
        return structured(record.headers, record.value)
    except CloudEventError:
        return b""

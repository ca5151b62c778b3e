"""Which partition a customer belongs to: Kafka's murmur2 of the id in UTF-8, as the Java producer has it by default.

A record in another partition is misrouted: most clients that are not Java's use another hash by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cxstream.kernels.text import partitions as kafka_partitions
from cxstream.scoring.codec.decode import text_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cxstream.scoring.codec.decode import Headers

# The header that each forwarding adds to a record: the partition and offset that the record had.
FORWARDED_FROM = "forwarded-from"
# A record is forwarded once. More often only where workers disagree, for a while, on how many partitions there are.
MAX_FORWARDS = 3


class Misrouted(msgspec.Struct, frozen=True, gc=False):
    """A valid record that lies in another partition than its customer's.

    Attributes:
        index: its position in the batch.
        partition: where it belongs.
        source: who sent it.
    """

    index: int
    partition: int
    source: str


def partition_of(subjects: list[str], count: int) -> NDArray[np.int32]:
    """Partition of each customer among `count`; int32[n]."""
    return _hashed(*text_column(subjects), count) if count > 1 else np.zeros(len(subjects), np.int32)


def partition_of_keys(keys: Sequence[bytes], count: int) -> NDArray[np.int32]:
    """Partition of each key of a Kafka record among `count`; int32[n]."""
    ends = np.cumsum([len(key) for key in keys], dtype=np.int64)
    return _hashed(np.frombuffer(b"".join(keys), np.uint8), ends, count)


def _hashed(text: NDArray[np.uint8], ends: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    out = np.zeros(len(ends), np.int32)
    if len(ends):
        kafka_partitions(text, ends, count, out)
    return out


def forwards(headers: Headers) -> int:
    """How often a record with these headers has been forwarded."""
    return sum(name == FORWARDED_FROM for name, _ in headers)

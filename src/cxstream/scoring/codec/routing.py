"""Which partition a customer belongs to: Kafka's murmur2 of the id in UTF-8, as the Java producer has it by default.

A record in another partition is misrouted: most clients that are not Java's use another hash by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cxstream.kernels.text import partitions as kafka_partitions
from cxstream.scoring.codec.packed import Packed

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


def partition_of(subjects: Sequence[str], count: int) -> NDArray[np.int32]:
    """Partition of each customer among `count`; int32[n]."""
    return partition_of_keys([subject.encode() for subject in subjects], count)


def partition_of_keys(keys: Sequence[bytes], count: int) -> NDArray[np.int32]:
    """Partition of each key of a Kafka record among `count`; int32[n]."""
    out = np.zeros(len(keys), np.int32)
    if len(keys) and count > 1:
        packed = keys if isinstance(keys, Packed) else Packed.of(keys)
        kafka_partitions(packed.data, packed.begins, packed.ends, count, out)
    return out


def forwards(headers: Headers) -> int:
    """How often a record with these headers has been forwarded."""
    return sum(name == FORWARDED_FROM for name, _ in headers)

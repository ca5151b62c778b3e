"""The requests of Kafka's second version of transactions (KIP-890), which aiokafka does not know.

Field by field after Kafka's own descriptions, clients/src/main/resources/common/message/*.json of version 4.1.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactBytes,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
    UnsignedVarInt32,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)


def _by_topic(*of_partition: tuple[str, Any]) -> tuple[str, CompactArray]:
    """Fields of each partition of each topic, as most of these messages have them."""
    partitions = CompactArray(("partition", Int32), *of_partition, _TAGS)
    return "topics", CompactArray(("topic", _TEXT), ("partitions", partitions), _TAGS)


_NO_TAGS = bytes(1)


def _items(count: int) -> bytes:
    """How many items an array has, or bytes a text."""
    found: bytes = UnsignedVarInt32.encode(count + 1)
    return found


# Which field of the response to ApiVersions holds the features that are in force.
_FINALIZED_FEATURES = 2


class FeaturesResponse(Response):  # type: ignore[misc]
    """What Kafka answers."""

    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "api_versions",
            CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), _TAGS),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class FeaturesFields(RequestStruct):  # type: ignore[misc]
    """The fields of the request, in order."""

    API_KEY = 18
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = FeaturesResponse
    SCHEMA = Schema(("software_name", _TEXT), ("software_version", _TEXT), _TAGS)

    def parse_response_header(self, read_buffer: BytesIO | bytes) -> ResponseHeader_v0:
        """Of this response alone the header has no tags, so that every client can read it."""
        return ResponseHeader_v0.decode(read_buffer)


class FeaturesRequest(Request[FeaturesFields]):  # type: ignore[misc]
    """ApiVersions: what a broker can do, and which features are in force in its cluster."""

    API_KEY = 18

    def build(self, request_struct_class: type[FeaturesFields]) -> FeaturesFields:
        """Fill in the fields."""
        return request_struct_class("cxstream", "1", {})


def feature_level(response: FeaturesResponse, name: str) -> int:
    """The level of a feature that is in force in the cluster; 0 if there is none."""
    content = response.tags.get(_FINALIZED_FEATURES)
    if content is None:
        return 0
    features = CompactArray(("name", _TEXT), ("highest", Int16), ("lowest", Int16), _TAGS)
    found = {feature: highest for feature, highest, *_ in features.decode(BytesIO(content)) or ()}
    return int(found.get(name, 0))


class ProduceResponse(Response):  # type: ignore[misc]
    """What Kafka answers."""

    API_KEY = 0
    API_VERSION = 12
    SCHEMA = Schema(
        _by_topic(
            ("error_code", Int16),
            ("offset", Int64),
            ("timestamp", Int64),
            ("log_start_offset", Int64),
            ("record_errors", CompactArray(("batch_index", Int32), ("message", _TEXT), _TAGS)),
            ("error_message", _TEXT),
        ),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class ProduceFields(RequestStruct):  # type: ignore[misc]
    """The fields of the request, in order."""

    API_KEY = 0
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = ProduceResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("required_acks", Int16),
        ("timeout", Int32),
        _by_topic(("records", CompactBytes)),
        _TAGS,
    )

    def encode(self) -> bytes:
        """The bytes of the request; the records are copied once, and not at each level that they are in."""
        fields: Any = self
        parts = [
            _TEXT.encode(fields.transactional_id),
            Int16.encode(fields.required_acks),
            Int32.encode(fields.timeout),
            _items(len(fields.topics)),
        ]
        for topic, partitions, _ in fields.topics:
            parts += (_TEXT.encode(topic), _items(len(partitions)))
            for partition, records, _ in partitions:
                parts += (Int32.encode(partition), _items(len(records)), records, _NO_TAGS)
            parts.append(_NO_TAGS)
        return b"".join([*parts, _NO_TAGS])


class ProduceRequest(Request[ProduceFields]):  # type: ignore[misc]
    """Write batches of records; their partitions join the transaction.

    Args:
        transactional_id: of the producer.
        timeout_ms: how long replicas may take.
        batches: by topic, and then by partition.
    """

    API_KEY = 0
    required_acks = -1

    def __init__(
        self, transactional_id: str, timeout_ms: int, batches: Mapping[str, Sequence[tuple[int, bytes]]]
    ) -> None:
        self._fields = transactional_id, self.required_acks, timeout_ms
        self._topics: list[Any] = [
            (topic, [(partition, records, {}) for partition, records in some], {})
            for topic, some in batches.items()
        ]

    def build(self, request_struct_class: type[ProduceFields]) -> ProduceFields:
        """Fill in the fields."""
        return request_struct_class(*self._fields, self._topics, {})


class TxnOffsetCommitResponse(Response):  # type: ignore[misc]
    """What Kafka answers."""

    API_KEY = 28
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        _by_topic(("error_code", Int16)),
        _TAGS,
    )


class TxnOffsetCommitFields(RequestStruct):  # type: ignore[misc]
    """The fields of the request, in order."""

    API_KEY = 28
    API_VERSION = 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = TxnOffsetCommitResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("group_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        _by_topic(("offset", Int64), ("leader_epoch", Int32), ("metadata", _TEXT)),
        _TAGS,
    )


class TxnOffsetCommitRequest(Request[TxnOffsetCommitFields]):  # type: ignore[misc]
    """Commit offsets with the transaction; their group joins it.

    Args:
        transactional_id: of the producer.
        group: whose offsets.
        producer: its id and epoch.
        offsets: by topic, and then by partition.
    """

    API_KEY = 28

    def __init__(
        self,
        transactional_id: str,
        group: str,
        producer: tuple[int, int],
        offsets: Mapping[str, Sequence[tuple[int, int]]],
    ) -> None:
        # No generation: the claim fences, not the membership of the group.
        self._fields = transactional_id, group, *producer, -1, "", None
        self._topics: list[Any] = [
            (topic, [(partition, offset, -1, "", {}) for partition, offset in some], {})
            for topic, some in offsets.items()
        ]

    def build(self, request_struct_class: type[TxnOffsetCommitFields]) -> TxnOffsetCommitFields:
        """Fill in the fields."""
        return request_struct_class(*self._fields, self._topics, {})


class EndTxnResponse(Response):  # type: ignore[misc]
    """What Kafka answers."""

    API_KEY = 26
    API_VERSION = 5
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        _TAGS,
    )


class EndTxnFields(RequestStruct):  # type: ignore[misc]
    """The fields of the request, in order."""

    API_KEY = 26
    API_VERSION = 5
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = EndTxnResponse
    SCHEMA = Schema(
        ("transactional_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("committed", Boolean),
        _TAGS,
    )


class EndTxnRequest(Request[EndTxnFields]):  # type: ignore[misc]
    """Commit the transaction; the response has the id and epoch for the next one.

    Args:
        transactional_id: of the producer.
        producer: its id and epoch.
    """

    API_KEY = 26

    def __init__(self, transactional_id: str, producer: tuple[int, int]) -> None:
        self._fields = transactional_id, *producer, True

    def build(self, request_struct_class: type[EndTxnFields]) -> EndTxnFields:
        """Fill in the fields."""
        return request_struct_class(*self._fields, {})

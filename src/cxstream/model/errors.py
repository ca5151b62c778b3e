"""The error tree.

CxstreamError
  SettingsError       a setting is missing or wrong: which, where, and what it may be
  InputError          a file cannot be read or a mapping does not fit: file, line, field
  OutputError         results cannot be written where they should go
  CloudEventError     a Kafka record that is no CloudEvent: which header or attribute
  SnapshotError       saved state that cannot be trusted
  LostRecordsError    the log no longer has records that are needed
  UnreadableError     records of a partition that cannot be read: from which offset on, and why
  InstallationError   a package that is needed does not work
  BrokerError         a local broker that cannot start, or a Kafka that does not answer
  TopicError          a topic is not what the contract says
    MissingTopicError   topics are missing: which
  WarehouseError      a warehouse cannot be opened, is in use by another process, or does not equal the log
  SinkError           a PostgreSQL database cannot be used: which, and what to do
    FencedError         another process has taken over as its writer
  OwnershipError      the topics belong to another consumer group: which, and how to take them over

Each message names the thing that is wrong and says what to do about it. The command line prints it as
one line and exits with status 1; anything that is not a CxstreamError is a defect of cxstream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class CxstreamError(Exception):
    """The root of everything cxstream raises on purpose."""


class SettingsError(CxstreamError):
    """A setting is missing or wrong."""


class InputError(CxstreamError):
    """Input that cannot be read at all (a bad record is rejected, not raised)."""


class SnapshotError(CxstreamError):
    """Saved state that is damaged, of an unknown layout, or does not belong here.

    Attributes:
        reason: "damaged"; "forged", where a checksum under a key is wrong; "other", where the state is whole but does
            not fit, as after a change of parameters.
    """

    def __init__(self, message: str, reason: str = "damaged") -> None:
        super().__init__(message)
        self.reason = reason


class LostRecordsError(CxstreamError):
    """Records that were not read yet, or that a state must be built from, are no longer in the log."""


class UnreadableError(CxstreamError):
    """Records that Kafka has, and that cannot be fetched or decoded.

    Attributes:
        topic: where they are.
        partition: where they are.
        offset: the first offset that cannot be read.
        reason: why.
    """

    def __init__(self, topic: str, partition: int, offset: int, reason: str) -> None:
        super().__init__(
            f"{topic}-{partition} cannot be read from offset {offset} on: {reason}; docs/worker.md, 'Records that "
            "cannot be read', says what to do"
        )
        self.topic, self.partition, self.offset, self.reason = topic, partition, offset, reason


class WarehouseError(CxstreamError):
    """A warehouse that cannot be opened or written, that another process has open, or that lacks records."""


class SinkError(CxstreamError):
    """A PostgreSQL database that cannot be reached or written, or that is not the sink's."""


class FencedError(SinkError):
    """Another process writes the database now."""


class InstallationError(CxstreamError):
    """A package that is needed is missing, or does not work."""


class BrokerError(CxstreamError):
    """A local broker that cannot be started, or a Kafka that does not answer."""


class TopicError(CxstreamError):
    """A topic is missing, or differs from the contract."""


class MissingTopicError(TopicError):
    """Topics that are missing, or that we may not see.

    Attributes:
        topics: their names.
    """

    def __init__(self, topics: Sequence[str], message: str) -> None:
        super().__init__(message)
        self.topics = tuple(topics)


class OwnershipError(CxstreamError):
    """The topics belong to another consumer group, or to this one on another cluster."""


class OutputError(CxstreamError):
    """Results cannot be written where they should go."""


class CloudEventError(CxstreamError):
    """A record that is no CloudEvent.

    Attributes:
        field: the header or attribute that is wrong; empty where it is the record as a whole.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field

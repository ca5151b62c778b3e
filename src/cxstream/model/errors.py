"""The error tree.

CxstreamError
  SettingsError       a setting is missing or wrong: which, where, and what it may be
  InputError          a file cannot be read or a mapping does not fit: file, line, field
  OutputError         results cannot be written where they should go
  CloudEventError     a Kafka record that is no CloudEvent: which header or attribute
  SnapshotError       saved state that cannot be trusted
  LostRecordsError    the log no longer has records that are needed
  BrokerError         a local broker that cannot start, or a Kafka that does not answer
  TopicError          a topic is missing or is not what the contract says

Each message names the thing that is wrong and says what to do about it. The command line prints it as
one line and exits with status 1; anything that is not a CxstreamError is a defect of cxstream.
"""


class CxstreamError(Exception):
    """The root of everything cxstream raises on purpose."""


class SettingsError(CxstreamError):
    """A setting is missing or wrong."""


class InputError(CxstreamError):
    """Input that cannot be read at all (a bad record is rejected, not raised)."""


class SnapshotError(CxstreamError):
    """Saved state that is torn, of an unknown layout, or does not belong here."""


class LostRecordsError(CxstreamError):
    """Records that were not read yet, or that a state must be built from, are no longer in the log."""


class BrokerError(CxstreamError):
    """A local broker that cannot be started, or a Kafka that does not answer."""


class TopicError(CxstreamError):
    """A topic is missing, or differs from the contract."""


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

"""Records whose processing fails with an unforeseen error.

    read a batch  --fails-->  halves, until the record is alone: it is rejected as `failed`, the others are read
    score a batch --fails-->  BatchError: the state is lost; the caller restores an earlier one, applies the records
                              again one by one, and passes over the one that fails alone

A failure is attributed to a record only if its cause is not the environment (memory, files, settings) and if a record
that is known to be sound does not fail, too.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from cxstream.model.errors import CxstreamError
from cxstream.scoring.codec.decode import Decoded, Rejected
from cxstream.scoring.codec.events import joined
from cxstream.scoring.state.passed_over import FAILED, PASSED_OVER

# Together they lead to a signal.
SOUND = [
    b'{"specversion":"1.0","id":"%d","source":"/","type":"cx.touchpoint.app_crash.v1","subject":"1",'
    b'"time":"2000-01-01T00:00:00Z","data":{"channel":"app"}}' % number
    for number in range(3)
]
# Errors that say nothing about a record.
_SURROUNDINGS = (MemoryError, OSError, CxstreamError)


class BatchError(Exception):
    """Records could not be applied, and the state that they were applied to cannot be used any more.

    Attributes:
        first: offset of the first one.
        last: offset of the last one.
        error: what happened.
    """

    def __init__(self, first: int, last: int, error: Exception) -> None:
        super().__init__(f"the records from offset {first} to {last} cannot be applied: {place_of(error)}")
        self.first, self.last, self.error = first, last, error


class SweepError(CxstreamError):
    """A sweep's output about another customer than the record's cannot be written: the record is not the cause."""

    def __init__(self, offset: int, error: Exception) -> None:
        super().__init__(
            f"a sweep at offset {offset} cannot say what it found: {place_of(error)}; no single record is the cause, so "
            "none is passed over: report it, with the version"
        )


class UnforeseenError(Exception):
    """Replaces, in logs, an error whose message may repeat contents of a record."""

    @classmethod
    def of(cls, error: BaseException) -> UnforeseenError:
        """With kind, place and traceback of an error."""
        return cls(place_of(error)).with_traceback(error.__traceback__)


def may_be_of_record(error: BaseException) -> bool:
    """Whether a record may be the cause of an error."""
    return isinstance(error, Exception) and not isinstance(error, _SURROUNDINGS)


def place_of(error: BaseException) -> str:
    """Kind and place of an error, without its message, which may repeat contents of a record."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    # The last frame in this package: frames of libraries say less.
    last = next((frame for frame in reversed(frames) if "cxstream" in frame.filename), frames[-1])
    file = last.filename.replace("\\", "/").rpartition("/")[2]
    return f"{type(error).__name__} in {file}:{last.lineno} ({last.name})"


Read = Callable[[Sequence[int]], Decoded]


def read(positions: Sequence[int], count: int, read_some: Read, require_sound: Callable[[], None]) -> Decoded:
    """Read records of a batch, and reject as `failed` those that fail alone.

    Args:
        positions: of the records in the batch.
        count: how many there are in the batch.
        read_some: reads the records at some positions; what it returns counts from the first of these.
        require_sound: raises where it is not the records that fail.

    Returns:
        The decoded records, by their positions in the batch.
    """
    try:
        decoded = read_some(positions)
    except Exception as error:
        if not may_be_of_record(error):
            raise
        require_sound()
        return _read_each(positions, read_some, error)
    return decoded if len(positions) == count else _moved(decoded, positions)


def _read_each(positions: Sequence[int], read_some: Read, error: Exception) -> Decoded:
    """Read the halves of a batch that fails as a whole."""
    if len(positions) == 1:
        nothing = read_some([])
        nothing.rejected = [Rejected(positions[0], FAILED, "", f"cannot be processed: {place_of(error)}")]
        return nothing
    middle = len(positions) // 2
    return _joined([_read_part(half, read_some) for half in (positions[:middle], positions[middle:])])


def _read_part(positions: Sequence[int], read_some: Read) -> Decoded:
    try:
        return _moved(read_some(positions), positions)
    except Exception as error:
        if not may_be_of_record(error):
            raise
        return _read_each(positions, read_some, error)


def _moved(decoded: Decoded, positions: Sequence[int]) -> Decoded:
    """Some decoded records of a batch, by their positions in it instead of among themselves."""
    decoded.valid = np.asarray(positions, np.int64)[decoded.valid]
    decoded.rejected = [
        Rejected(positions[each.index], each.reason, each.field, each.message) for each in decoded.rejected
    ]
    return decoded


def _joined(parts: Sequence[Decoded]) -> Decoded:
    """Join parts of a batch, in order."""
    return Decoded(
        np.concatenate([part.valid for part in parts]),
        joined(part.events for part in parts),
        np.concatenate([part.columns for part in parts]),
        np.concatenate([part.sources for part in parts]),
        sorted(rejected for part in parts for rejected in part.rejected),
    )


def without(decoded: Decoded, over: Mapping[int, str]) -> Decoded:
    """A decoded batch in which some records, by position, are rejected instead, for the reason given."""
    keep = ~np.isin(decoded.valid, list(over))
    said = [Rejected(i, reason, "", PASSED_OVER[reason]) for i, reason in over.items()]
    return decoded.taken(
        np.flatnonzero(keep), sorted([each for each in decoded.rejected if each.index not in over] + said)
    )

"""Records that are passed over, by offset: those whose processing fails, and those that an operator skips.

Such a record is rejected by reference and changes no state. The state remembers that it was passed over: otherwise a
version that can process the record would build another state from the same log.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

FAILED, SKIPPED = "failed", "skipped"
# The message for each reason.
PASSED_OVER = {FAILED: "its processing failed before", SKIPPED: "an operator has skipped it"}

OFFSET_BYTES = 8


class Passed:
    """The records of one partition that are passed over.

    Attributes:
        reasons: `failed` or `skipped`, by offset.
        changed: offsets that are not saved.
    """

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}
        self.changed: dict[int, None] = {}
        self._gone: dict[bytes, None] = {}

    def add(self, offset: int, reason: str) -> bool:
        """Pass a record over from now on; returns whether that is new."""
        if offset in self.reasons:
            return False
        self.reasons[offset] = reason
        self.changed[offset] = None
        return True

    def among(self, offsets: Sequence[int] | NDArray[np.int64]) -> dict[int, str]:
        """Which of the records with these offsets are passed over, and why, by position."""
        if not self.reasons:
            return {}
        found = {position: self.reasons.get(int(offset)) for position, offset in enumerate(offsets)}
        return {position: reason for position, reason in found.items() if reason is not None}

    def ranges(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The ranges of offsets between `start` and `stop` without the records that are passed over."""
        for offset in sorted(each for each in self.reasons if start <= each < stop):
            if offset > start:
                yield start, offset
            start = offset + 1
        if start < stop:
            yield start, stop

    def after(self, offset: int, stop: int) -> int:
        """The first offset from `offset` on, at most `stop`, that is not passed over."""
        while offset < stop and offset in self.reasons:
            offset += 1
        return offset

    def digest(self) -> str:
        """Digest of the offsets; "" if no record is passed over."""
        if not self.reasons:
            return ""
        packed = b"".join(key for key, _ in self._rows(sorted(self.reasons)))
        return hashlib.blake2b(packed, digest_size=16).hexdigest()

    def forget_before(self, first: int) -> None:
        """Delete the offsets before the first record of the log."""
        for offset in [offset for offset in self.reasons if offset < first]:
            del self.reasons[offset]
            self.changed.pop(offset, None)
            self._gone[_key(offset)] = None

    def take_gone(self) -> list[bytes]:
        """Keys of saved rows to delete; they count as deleted from now on."""
        gone, self._gone = list(self._gone), {}
        return gone

    def take_changed(self) -> list[tuple[bytes, bytes]]:
        """Keys and values of rows that are not saved yet; they count as saved from now on."""
        taken = list(self._rows(self.changed))
        self.changed = {}
        return taken

    def load(self, rows: Mapping[bytes, bytes]) -> None:
        """Load saved rows; rows that cannot be decoded are ignored."""
        for key, value in rows.items():
            reason = value.decode(errors="replace")
            if len(key) == OFFSET_BYTES and reason in PASSED_OVER:
                self.reasons[int.from_bytes(key, "big")] = reason

    def recall(self, rows: Mapping[bytes, bytes]) -> None:
        """Load rows of a state that is otherwise unusable; they will be saved again."""
        self.load(rows)
        self.changed |= dict.fromkeys(self.reasons)

    def _rows(self, offsets: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
        return ((_key(offset), self.reasons[offset].encode()) for offset in offsets)


def _key(offset: int) -> bytes:
    return offset.to_bytes(OFFSET_BYTES, "big")

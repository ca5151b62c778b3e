"""Erasure requests that still count: digests of the customers, and the times of their requests.

Events that are not later than the request of their customer are dropped. Once the request is older than the window,
such an event would be too late anyway, and the digest is deleted, too.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cxstream.kernels.invariants import MAX_TIME, MIN_TIME, NO_LIMIT
from cxstream.model.errors import SnapshotError
from cxstream.model.parameters import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

TIME_BYTES, DIGEST_BYTES = 8, 16


def digest(subject: str) -> bytes:
    """The 16-byte digest of a customer in receipts and in snapshots."""
    return hashlib.blake2b(subject.encode(), digest_size=DIGEST_BYTES, person=b"cxstream-forget").digest()


def _time(row: bytes) -> int:
    return int.from_bytes(row, "little", signed=True) if len(row) == TIME_BYTES else MIN_TIME - 1


class Erasures:
    """The requests that still count.

    Attributes:
        times: time of the latest request (ms UTC), by digest.
        changed: digests whose time is not saved.
    """

    def __init__(self) -> None:
        self.times: dict[bytes, int] = {}
        self.changed: dict[bytes, None] = {}

    def add(self, subject: str, time: int) -> None:
        """Remember a request (ms UTC)."""
        key = digest(subject)
        self.times[key] = time
        self.changed[key] = None

    def time_of(self, subject: str) -> int | None:
        """Time of a customer's erasure request, ms UTC; None without one, or if it is too old to matter."""
        return self.times.get(digest(subject)) if self.times else None

    def expire(self, clock: int, window: int) -> list[bytes]:
        """Delete requests that no longer matter.

        Args:
            clock: ms UTC.
            window: days.

        Returns:
            Their digests.
        """
        oldest = clock // DAY_MS - window
        gone = [key for key, time in self.times.items() if time // DAY_MS <= oldest]
        for key in gone:
            del self.times[key]
            self.changed.pop(key, None)
        return gone

    def take_changed(self) -> list[tuple[bytes, bytes]]:
        """Digests and packed times that are not saved yet; they count as saved from now on."""
        taken = [(key, self.times[key].to_bytes(TIME_BYTES, "little", signed=True)) for key in self.changed]
        self.changed = {}
        return taken

    def load(self, rows: Mapping[bytes, bytes], latest: int = NO_LIMIT) -> None:
        """Take saved requests, by digest.

        Args:
            rows: packed times by digest.
            latest: time that no request can be later than, ms UTC: a request far in the future would drop all events of its customer.

        Raises:
            SnapshotError: a digest or a time is invalid.
        """
        times = {key: _time(row) for key, row in rows.items()}
        if not all(len(key) == DIGEST_BYTES for key in times) or not all(
            MIN_TIME <= time <= min(latest, MAX_TIME) for time in times.values()
        ):
            raise SnapshotError("the snapshot contains an invalid erasure request: rebuild the partition")
        self.times |= times

    def recall(self, rows: Mapping[bytes, bytes], latest: int = NO_LIMIT) -> dict[bytes, bytes]:
        """Add requests of an earlier state that this one does not have; they will be saved again.

        Args:
            rows: packed times by digest; invalid ones are ignored.
            latest: as in `load`.

        Returns:
            The rows that were added.
        """
        new = {key: row for key, row in rows.items() if key not in self.times}
        for key, row in list(new.items()):
            try:
                self.load({key: row}, latest)
            except SnapshotError:
                del new[key]
        self.changed |= dict.fromkeys(new)
        return new

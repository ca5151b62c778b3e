"""When a partition commits next, and when score cards go with it."""

from __future__ import annotations

import math
from collections import deque

# A worker that is busy waits between two transactions for half as long as they take, at most this long: then it makes fewer
# and larger ones. It is busy if the fastest of so many took long: one that had to wait for something does not delay the next.
_BUSY_SHARE, _BUSY_SECONDS, _TRANSACTIONS = 1.5, 0.5, 4
# A card says how a customer is now. Who flushes more often wants signals sooner, which need not wait for cards.
_CARDS_SECONDS = 0.5


class Pace:
    """The times of a partition's transactions, by the event loop's clock.

    Args:
        seconds: between two that follow each other without a pause.
        partition: number of the partition.
        partitions: how many there are: each flushes at a time of its own, so that none waits for the others.
        started: when its session began.
    """

    def __init__(self, seconds: float, partition: int, partitions: int, started: float) -> None:
        self._seconds = seconds
        self._phase = seconds * (partition % partitions) / partitions
        self._began = started
        self._cards_at = -math.inf
        # How long the last transactions took.
        self._took: deque[float] = deque(maxlen=_TRANSACTIONS)

    @property
    def flushes_at(self) -> float:
        """When the next transaction may begin."""
        busy = min(_BUSY_SHARE * min(self._took, default=0.0), _BUSY_SECONDS)
        if busy > self._seconds:
            return self._began + busy
        turns = round((self._began + self._seconds - self._phase) / self._seconds)
        return self._phase + turns * self._seconds

    @property
    def cards_at(self) -> float:
        """When the next score cards may be written: with each transaction, unless these follow each other quickly."""
        return self._cards_at + _CARDS_SECONDS - self._seconds / 2

    def begin(self, now: float, *, cards: bool) -> None:
        """A transaction begins, with score cards or without."""
        self._began = now
        if cards:
            self._cards_at = now

    def end(self, now: float) -> None:
        """It is committed."""
        self._took.append(now - self._began)

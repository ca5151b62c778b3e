"""No more log lines than somebody can read: what makes an event happen a million times must not fill a disk."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

OURS, OTHERS = 1000, 100
_SECONDS = 60.0
_PACKAGE = "cxstream"


@dataclass(slots=True)
class _Count:
    since: float
    lines: int = 0
    left_out: int = 0


class LogLimit(logging.Filter):
    """Lets each logger say so many lines a minute, at `info` and above; then it says how many were left out.

    Args:
        ours: lines a minute of each of our loggers; a rebalance of many partitions says several for each.
        others: of each logger of a package.
    """

    def __init__(self, ours: int = OURS, others: int = OTHERS) -> None:
        super().__init__()
        self._ours = ours
        self._others = others
        self._counts: dict[str, _Count] = {}
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is said."""
        if record.levelno < logging.INFO:
            return True
        ours = record.name.partition(".")[0] == _PACKAGE
        with self._lock:
            said, left_out = self._count(record.name, self._ours if ours else self._others)
        if left_out:
            logging.getLogger(_PACKAGE).warning("%d log lines of %s were left out", left_out, record.name)
        return said

    def _count(self, name: str, most: int) -> tuple[bool, int]:
        """Whether the logger may say a line more, and how many were left out before, where that is to be said now."""
        now = time.monotonic()
        count = self._counts.setdefault(name, _Count(now))
        left_out = 0
        if now - count.since >= _SECONDS:
            left_out, count.left_out, count.lines, count.since = count.left_out, 0, 0, now
        count.lines += 1
        if count.lines <= most:
            return True, left_out
        count.left_out += 1
        return False, left_out

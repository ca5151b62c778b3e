"""Where a partition makes no progress, and why."""

from __future__ import annotations

from typing import NamedTuple


class Standstill(NamedTuple):
    """A place that a partition does not get beyond.

    Attributes:
        offset: the first source offset that is not done.
        reason: why.
    """

    offset: int
    reason: str

"""The offset at which a partition makes no progress, and why."""

from __future__ import annotations

from typing import NamedTuple


class Standstill(NamedTuple):
    """An offset that a partition cannot pass.

    Attributes:
        offset: the first source offset that is not processed.
        reason: why.
    """

    offset: int
    reason: str

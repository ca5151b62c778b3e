"""Whether a change is one that a page may speak of."""

from __future__ import annotations

SHOWN = 0.05
"""A smaller change is 0.0 with one decimal, however sure it is."""


def direction(change: float | None, margin: float | None, least: float = SHOWN) -> int:
    """1 or -1 for a change beyond its margin that can be seen in its figure, else 0.

    >>> direction(1.7, 0.4), direction(-0.9, 0.6), direction(0.3, 0.4), direction(0.01, 0.001), direction(None, 1)
    (1, -1, 0, 0, 0)
    """
    if change is None or margin is None or abs(change) <= margin or abs(change) < least:
        return 0
    return 1 if change > 0 else -1

"""Which of many things are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def leading(counts: NDArray[Any], limit: int | None, small: NDArray[Any] | None = None) -> NDArray[np.int64]:
    """The numbers of the things with the largest counts above 0, so many and their ties.

    Args:
        counts: int[n].
        limit: how many; None for all.
        small: int[n], below 2**31; of the same counts the smallest come first.

    >>> leading(np.array([0, 3, 1, 3, 2, 2]), 3).tolist()
    [1, 3, 4, 5]
    >>> leading(np.array([2, 2, 2]), 1, np.array([5, 4, 4])).tolist()
    [1, 2]
    """
    (there,) = np.nonzero(counts)
    if limit is None or len(there) <= limit:
        return there
    keys = -counts[there].astype(np.int64) << 31
    if small is not None:
        keys += small[there]
    leads: NDArray[np.bool_] = keys <= np.partition(keys, limit - 1)[limit - 1]
    return there[leads]

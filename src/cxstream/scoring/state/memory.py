"""Memory of the arrays of a state."""

from __future__ import annotations

import contextlib
import math
import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

# From here on an array has memory of its own: malloc would keep that of smaller ones after they have grown. From
# there on, the system is asked for large pages, as numpy does: to find a customer is to wait for memory.
_OWN, _LARGE = 1 << 20, 1 << 22


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros.

    Pages that are not written use no memory, and the others go back to the system with the array: what a grown array
    leaves behind is not kept.
    """
    of = np.dtype(dtype)
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * of.itemsize
    if size < _OWN:
        return np.zeros(shape, of)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
        # A system without large pages refuses; it works without them.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, of).reshape(shape)


def grown(array: NDArray[Any], size: int, used: int | None = None) -> NDArray[Any]:
    """A copy of the first `used` with room for `size` along the first axis; the rest are zeros.

    A small `array` is zeros afterwards: its memory is freed as it is, and what it held of a customer would outlive an erasure.
    """
    larger = zeros((size, *array.shape[1:]), array.dtype)
    used = len(array) if used is None else used
    larger[:used] = array[:used]
    blank(array)
    return larger


def blank(array: NDArray[Any]) -> None:
    """Overwrite an array that nobody reads any more, unless its memory goes back to the system."""
    if array.nbytes < _OWN:
        array[...] = np.zeros((), array.dtype)

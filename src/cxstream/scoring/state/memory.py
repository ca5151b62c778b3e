"""Memory of the arrays of a state."""

from __future__ import annotations

import contextlib
import math
import mmap
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

# From here on an array has memory of its own: malloc would keep that of smaller ones after they have grown. From
# there on, the system is asked for large pages, as numpy does: to find a customer is to wait for memory.
_OWN, _LARGE = 1 << 20, 1 << 22
# An array with large pages has addresses for one that is larger by this factor, so that it can grow where it lies.
_ROOM = 4


def _ask_for_large_pages(memory: mmap.mmap, size: int) -> None:
    """Ask for them for what an array has now: behind it, the last one would take memory for nothing."""
    if hasattr(mmap, "MADV_HUGEPAGE"):
        # A system without large pages refuses; it works without them.
        with contextlib.suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE, 0, size)


def _mapped(size: int) -> mmap.mmap:
    """Memory of zeros of which nothing is taken before it is written."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if size < _LARGE:
        return mmap.mmap(-1, size, flags=flags)
    try:
        memory = mmap.mmap(-1, _ROOM * size, flags=flags)
    except OSError:
        # Addresses are limited, or count as memory.
        memory = mmap.mmap(-1, size, flags=flags)
    _ask_for_large_pages(memory, size)
    return memory


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of zeros.

    Pages that are not written use no memory, and the others go back to the system with the array: what a grown array
    leaves behind is not kept.
    """
    of = np.dtype(dtype)
    count = math.prod(shape if isinstance(shape, tuple) else (shape,))
    if count * of.itemsize < _OWN:
        return np.zeros(shape, of)
    return np.frombuffer(_mapped(count * of.itemsize), of, count).reshape(shape)


def _memory_of(array: NDArray[Any]) -> mmap.mmap | None:
    """The memory that `_mapped` gave an array, which begins where it does."""
    whole: Any = array
    while isinstance(whole, np.ndarray):
        whole = whole.base
    memory = whole.obj if isinstance(whole, memoryview) else None
    return memory if isinstance(memory, mmap.mmap) else None


def _raw(array: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of an array: numpy copies structs member by member, and takes several times as long."""
    return array.reshape(-1).view(np.uint8)


def _clear(memory: mmap.mmap, array: NDArray[Any], begin: int) -> None:
    """Overwrite what an array that lies at the beginning of some memory has from a byte on.

    Pages that were never written stay so: the system takes back whole pages where there are many.
    """
    first, last = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE, array.nbytes // mmap.PAGESIZE * mmap.PAGESIZE
    data = _raw(array)
    if last - first < _OWN or not sys.platform.startswith("linux"):
        data[begin:] = 0
        return
    memory.madvise(mmap.MADV_DONTNEED, first, last - first)
    data[begin:first] = 0
    data[last:] = 0


def grown(array: NDArray[Any], size: int, used: int | None = None) -> NDArray[Any]:
    """An array of the first `used` with room for `size` along the first axis; the rest are zeros.

    It lies where `array` does if there are addresses for it, and may be read and written in its place only. Else it is a copy, and
    a small `array` is zeros afterwards: its memory is freed as it is, and what it held of a customer would outlive an erasure.
    """
    shape, used = (size, *array.shape[1:]), len(array) if used is None else used
    count, memory = math.prod(shape), _memory_of(array)
    if memory is not None and count * array.itemsize <= len(memory):
        _clear(memory, array, used * (array.nbytes // max(len(array), 1)))
        _ask_for_large_pages(memory, count * array.itemsize)
        return np.frombuffer(memory, array.dtype, count).reshape(shape)
    larger = zeros(shape, array.dtype)
    _raw(larger[:used])[:] = _raw(array[:used])
    blank(array)
    return larger


def blank(array: NDArray[Any]) -> None:
    """Overwrite an array that nobody reads any more, unless its memory goes back to the system."""
    if array.nbytes < _OWN:
        _raw(array)[:] = 0

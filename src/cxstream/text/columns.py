"""Texts as one buffer for the kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


def column(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All texts in UTF-8, and where each ends; characters that UTF-8 cannot have are left out.

    Returns:
        uint8[...] and int64[n].
    """
    parts = [text.encode(errors="ignore") for text in texts]
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
    return np.frombuffer(b"".join(parts), np.uint8), ends


T = TypeVar("T", bound=tuple[Any, ...])
# Of memory that a system gives as one piece, and from which NumPy asks for such; of a processor's cache.
_PAGE, _LEAST, _LINE = 1 << 21, 1 << 22, 64


def together(tables: T) -> T:
    """A copy of all arrays in tuples of tuples, side by side in as few pages of memory as the system has for them.

    A text is looked up in some hundred places of several MB. Between batches a processor forgets where its pages of 4 kB are,
    and each costs it as much as the memory itself.
    """
    need = sum(_lines(each) for each in _arrays(tables))
    room = np.zeros(max(need, _LEAST) + _PAGE, np.uint8)
    room = room[-room.ctypes.data % _PAGE :]
    copied: T = _moved(tables, iter(np.split(room, np.cumsum([_lines(each) for each in _arrays(tables)]))))
    return copied


def _lines(array: NDArray[Any]) -> int:
    """Bytes of an array, up to the end of a line of a cache."""
    return -(-array.nbytes // _LINE) * _LINE


def _arrays(tables: Any) -> Iterator[NDArray[Any]]:
    if isinstance(tables, np.ndarray):
        yield tables
    else:
        for each in tables:
            yield from _arrays(each)


def _moved(tables: Any, rooms: Iterator[NDArray[np.uint8]]) -> Any:
    if isinstance(tables, np.ndarray):
        moved = next(rooms)[: tables.nbytes].view(tables.dtype).reshape(tables.shape)
        moved[...] = tables
        return moved
    parts = [_moved(each, rooms) for each in tables]
    return type(tables)(*parts) if hasattr(tables, "_fields") else tuple(parts)

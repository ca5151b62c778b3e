"""The one decorator of all kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def kernel(function: F) -> F:
    """Compile `function` on first use and keep the machine code on disk.

    Strict IEEE arithmetic (no fast-math): the order of operations in the source is the order that runs,
    which is what makes two runs agree to the last bit.
    """
    return cast("F", numba.njit(cache=True, nogil=True, fastmath=False, error_model="numpy")(function))

"""The decorators of all kernels.

Strict IEEE arithmetic (no fast-math): the order of operations in the source is the order that runs, which is what
makes two runs agree to the last bit. Without Numba's reference counting (kernels allocate nothing, and the caller
owns every array) an access to the state costs no atomic operation: twice as fast here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def entry(function: F) -> F:
    """Compile a function that Python calls, on first use, and keep the machine code on disk."""
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False)(function))


def kernel(function: F) -> F:
    """Compile a function that other kernels call, into its callers."""
    return cast(
        "F", numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False, forceinline=True)(function)
    )

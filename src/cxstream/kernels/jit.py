"""The decorators of all kernels.

Strict IEEE arithmetic (no fast-math): the order of operations in the source is the order that runs, which is what
makes two runs agree to the last bit. Without Numba's reference counting (kernels allocate nothing, and the caller
owns every array) an access to the state costs no atomic operation: an event takes half the time.

Machine code is kept on disk. Numba looks only at the file of the function itself when it decides whether that is
still good, but kernels are compiled into each other across files: so the folder is named after all of their sources.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import numba

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


def _sources() -> str:
    here = Path(__file__).parent
    parts = [*sorted(here.glob("*.py")), here.parent / "model" / "kinds.py"]
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()[:16]


# Where this cannot be written, Numba goes on to its folder for the user.
_CACHE = str(Path(__file__).parent / "__pycache__" / f"kernels-{_sources()}")


def _compiled(function: F, **options: bool) -> F:
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, _CACHE
    try:
        return cast(
            "F", numba.njit(cache=True, nogil=True, error_model="numpy", _nrt=False, **options)(function)
        )
    finally:
        numba.config.CACHE_DIR = before


def entry(function: F) -> F:
    """Compile a function that Python calls, on first use, and keep the machine code on disk."""
    return _compiled(function)


def kernel(function: F) -> F:
    """Compile a function that other kernels call, into its callers."""
    return _compiled(function, forceinline=True)

"""The decorators of all kernels.

Strict IEEE arithmetic (no fast-math): the order of operations in the source is the order that runs, which is what
makes two runs agree to the last bit. Without Numba's reference counting (kernels allocate nothing, and the caller
owns every array) an access to the state costs no atomic operation: an event takes half the time.

Machine code is kept on disk. Numba looks only at the file of the function itself when it decides whether that is
still good, but kernels are compiled into each other across files: so the folder is named after all of their sources.
An installation that cannot be written to uses the code that was compiled when it was made, if it fits the processor
(`NUMBA_CPU_NAME=generic` then and now makes it fit any); otherwise it compiles, and keeps what it can.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
from numba.core.caching import CompileResultCacheImpl, FunctionCache, InTreeCacheLocator

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., object]")


def _sources() -> str:
    here = Path(__file__).parent
    parts = [*sorted(here.glob("*.py")), here.parent / "model" / "kinds.py"]
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()[:16]


# Machine code with checks of bounds is other code, and Numba does not tell them apart.
_CHECKED = "-checked" if numba.config.BOUNDSCHECK else ""
# Where this cannot be written and holds nothing, Numba goes on to its folder for the user.
_CACHE = Path(__file__).parent / "__pycache__" / f"kernels-{_sources()}{_CHECKED}"


class _Beside(InTreeCacheLocator):  # type: ignore[misc]  # Numba has no types
    """The folder of machine code beside the sources: to be written to, or to be used as it is."""

    def __init__(self, function: Callable[..., object], file: str) -> None:
        super().__init__(function, file)
        self._cache_path = str(_CACHE)

    def ensure_cache_path(self) -> None:
        """Accept a folder that cannot be written to if there is machine code in it.

        Raises:
            OSError: it cannot be written to, and is empty or missing.
        """
        try:
            super().ensure_cache_path()
        except OSError:
            if not any(_CACHE.glob("*.nbi")):
                raise


class _Places(CompileResultCacheImpl):  # type: ignore[misc]  # Numba has no types
    _locator_classes = (_Beside, *CompileResultCacheImpl._locator_classes)  # noqa: SLF001  # no public way


class _Cache(FunctionCache):  # type: ignore[misc]  # Numba has no types
    _impl_class = _Places

    def save_overload(self, signature: Any, code: Any) -> None:
        """Keep machine code on disk, where that is possible: it runs all the same where it is not."""
        with contextlib.suppress(OSError):
            super().save_overload(signature, code)


def _compiled(function: F, **options: bool) -> F:
    dispatcher = numba.njit(nogil=True, error_model="numpy", _nrt=False, **options)(function)
    dispatcher._cache = _Cache(function)  # noqa: SLF001  # what njit(cache=True) does, with places of our own
    return cast("F", dispatcher)


def entry(function: F) -> F:
    """Compile a function that Python calls, on first use, and keep the machine code on disk."""
    return _compiled(function)


def kernel(function: F) -> F:
    """Compile a function that other kernels call, into its callers."""
    return _compiled(function, forceinline=True)

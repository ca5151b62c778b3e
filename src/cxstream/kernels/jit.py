"""The decorators of all kernels.

Strict IEEE arithmetic (no fast-math): operations run in the order of the source, so
two runs agree to the last bit. Without Numba's reference counting (kernels allocate nothing, and the caller
owns every array) an access to the state costs no atomic operation: an event takes half the time.

Machine code is kept on disk. To decide whether it is still valid, Numba looks only at the
file of the function itself, but kernels are inlined into each other across files: so machine code is named after the
code of its module and of all modules of kernels that this one imports, directly or not, for types alone included (a named tuple
whose members are in another order is other code). Comments, docstrings and line numbers are left out, since they do not change the machine code.
A read-only installation uses the code that was compiled when it was installed, if it fits the processor
(`NUMBA_CPU_NAME=generic` at both times makes it fit any); otherwise it compiles again, and keeps what it can.
"""

from __future__ import annotations

import ast
import contextlib
import glob
import hashlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

import numba
import numpy as np
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)

from cxstream.model.features import FEATURES
from cxstream.model.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

if numba.config.DISABLE_JIT:
    # Hashes wrap around in machine code, too, and say nothing.
    np.seterr(over="ignore")

F = TypeVar("F", bound="Callable[..., object]")

_KEY_LENGTH = 16
_WIDEST = 8
_PACKAGE = "cxstream.kernels"
_HERE = Path(__file__).parent
_KEPT = _HERE / "__pycache__"
_SOURCES = sorted(_HERE.glob("*.py"))
# All that kernels import from other packages: the numbers of kinds and the number of features.
_NUMBERS = repr((*((kind.name, int(kind)) for kind in Kind), len(FEATURES))).encode()


def _digest(parts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:_KEY_LENGTH]


def _code(tree: ast.Module) -> bytes:
    """The code of a source file without comments, docstrings and line numbers."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            del node.body[0]
    return ast.dump(tree).encode()


def code_keys(sources: Mapping[str, bytes], others: bytes, kept: Path) -> dict[str, str]:
    """A name for the code of each module that changes with its own code and with that of all which it imports.

    It does not change with a comment, a docstring or a line number.

    Args:
        sources: texts of modules, by their names within the package.
        others: what all of them depend on.
        kept: folder that caches the answers, since parsing takes longer than all other work of an import.
    """
    names = sorted(sources)
    answer = kept / f"kernels-of-{_digest([others, *(sources[name] for name in names)])}"
    with contextlib.suppress(OSError):
        keys = answer.read_text("ascii").split()
        if len(keys) == len(names) and all(len(key) == _KEY_LENGTH for key in keys):
            return dict(zip(names, keys, strict=True))
    trees = {name: ast.parse(sources[name]) for name in names}
    imported = {name: _imported(tree) & set(names) for name, tree in trees.items()}
    codes = {name: _code(tree) for name, tree in trees.items()}
    found = {
        name: _digest([others, *(codes[each] for each in sorted(_reached(name, imported)))]) for name in names
    }
    with contextlib.suppress(OSError):
        kept.mkdir(exist_ok=True)
        answer.write_text("\n".join(found.values()), "ascii")
    return found


def _imported(tree: ast.Module) -> set[str]:
    """The modules of kernels that a module imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == _PACKAGE:
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{_PACKAGE}."):
            found.add(cast("str", node.module).removeprefix(f"{_PACKAGE}."))
        elif isinstance(node, ast.Import):
            parts = [alias.name.rpartition(".") for alias in node.names]
            found.update(name for package, _, name in parts if package == _PACKAGE)
    return found


def _reached(name: str, imported: Mapping[str, set[str]]) -> set[str]:
    found, new = {name}, [name]
    while new:
        more = imported[new.pop()] - found
        found |= more
        new += more
    return found


_KEYS = code_keys({path.stem: path.read_bytes() for path in _SOURCES}, _NUMBERS, _KEPT)
_ALL = _digest([key.encode() for key in _KEYS.values()])
# Machine code with bounds checks is different code, and Numba does not tell the two apart.
_KIND = "kernels-checked" if numba.config.BOUNDSCHECK else "kernels"
# If this is read-only and empty, Numba continues with its folder for the user.
_CACHE = _KEPT / _KIND


class _Keyed:
    """Machine code is valid as long as the code of the kernels that it is made of is the same, whatever its line numbers."""

    def __init__(self, function: Callable[..., object], file: str) -> None:
        super().__init__(function, file)  # type: ignore[call-arg]  # of Numba's locators
        path = Path(file)
        # Elsewhere, what a function is made of is not known.
        self._key = _KEYS.get(path.stem, _ALL) if path.parent == _HERE else _ALL

    def get_source_stamp(self) -> str:
        return f"{_KIND}-{self._key}"

    def get_disambiguator(self) -> str:
        # Numba puts the names of module and function before it.
        return self.get_source_stamp()


class _Beside(_Keyed, InTreeCacheLocator):  # type: ignore[misc]  # Numba has no types
    """The folder of machine code beside the sources, writable or read-only."""

    def __init__(self, function: Callable[..., object], file: str) -> None:
        super().__init__(function, file)
        self._cache_path = str(_CACHE)

    def ensure_cache_path(self) -> None:
        """Accept a folder that cannot be written to if there is machine code of the module in it.

        Raises:
            OSError: it cannot be written to, and there is none.
        """
        try:
            super().ensure_cache_path()
        except OSError:
            if not any(_CACHE.glob(f"*-{self.get_disambiguator()}.*.nbi")):
                raise


class _Named(_Keyed, UserProvidedCacheLocator):  # type: ignore[misc]  # Numba has no types
    """The folder that `NUMBA_CACHE_DIR` names."""


class _OfUser(_Keyed, UserWideCacheLocator):  # type: ignore[misc]  # Numba has no types
    """Numba's folder for the user."""


class _Places(CompileResultCacheImpl):  # type: ignore[misc]  # Numba has no types
    _locator_classes = (_Beside, _Named, _OfUser)


class _Cache(FunctionCache):  # type: ignore[misc]  # Numba has no types
    _impl_class = _Places

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load machine code, but not the tables of types that only a compilation needs.

        They would take two thirds of the time. If there is no machine code, Numba loads them before it compiles.
        """
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)

    def save_overload(self, signature: Any, code: Any) -> None:
        """Keep machine code on disk if that is possible, in place of that of an older function; kernels run without it, too."""
        with contextlib.suppress(OSError):
            super().save_overload(signature, code)
            locator = self._impl.locator
            if isinstance(locator, _Beside):
                name, own = self._impl.filename_base.split(f"-{_KIND}-")[0], locator.get_disambiguator()
                for path in _CACHE.glob(f"{glob.escape(name)}-{_KIND}-*"):
                    if own not in path.name:
                        path.unlink(missing_ok=True)


def _compiled(function: F, **options: bool) -> F:
    dispatcher = numba.njit(nogil=True, error_model="numpy", _nrt=False, **options)(function)
    dispatcher._cache = _Cache(function)  # noqa: SLF001  # what njit(cache=True) does, with places of our own
    return cast("F", dispatcher)


class _Struct(np.void):  # type: ignore[misc]  # NumPy allows it for views
    """A struct of an array whose members plain Python reads and writes as machine code does: `row.head`.

    Machine code widens what it reads, so that sums and differences do not wrap around.
    """

    def __getattribute__(self, name: str) -> Any:
        read = super().__getattribute__
        if name not in (read("dtype").names or ()):
            return read(name)
        value = self[name]
        return value.item() if isinstance(value, np.number) and value.itemsize < _WIDEST else value

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def _with_members(value: Any) -> Any:
    """What a kernel takes, for plain Python."""
    if isinstance(value, np.ndarray) and value.dtype.names:
        return value.view((_Struct, value.dtype))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(_with_members, value))
    return value


def entry(function: F) -> F:
    """Compile a function that Python calls, on first use, and keep the machine code on disk."""
    if numba.config.DISABLE_JIT:
        return cast("F", lambda *args: function(*map(_with_members, args)))
    return _compiled(function, no_cfunc_wrapper=True)


def kernel(function: F) -> F:
    """Compile a function that only other kernels call, into its callers."""
    if numba.config.DISABLE_JIT:
        return function
    dispatcher: Any = _compiled(function, forceinline=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
    # The wrappers with which Python calls a function take longer to compile than the function itself. Without them
    # Python would call address 0, so it must not find the machine code.
    dispatcher._insert = _ignore  # noqa: SLF001
    dispatcher._compile_for_args = partial(_refuse, function.__qualname__)  # noqa: SLF001
    return cast("F", dispatcher)


def _ignore(*_: object) -> None:
    """Take machine code that is not registered."""


def _refuse(name: str, *_: object, **__: object) -> NoReturn:
    raise TypeError(f"{name} is compiled into other kernels; Python can only call an @entry")

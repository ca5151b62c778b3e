"""Machine code on disk: kept where that is possible, used where nothing can be written."""

from __future__ import annotations

import errno
import gc
import importlib.util
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from numba.core import caching

from cxstream.kernels import jit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def _denied(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EROFS, "Read-only file system")


@contextmanager
def _read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a file system that cannot be written to says; tests may run as root, whom no mode bits stop."""
    with monkeypatch.context() as patch:
        patch.setattr(caching.tempfile, "TemporaryFile", _denied)
        patch.setattr(caching.IndexDataCacheFile, "_open_for_write", _denied)
        yield


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of machine code, empty."""
    monkeypatch.setattr(jit, "_CACHE", tmp_path / "kernels")
    return tmp_path / "kernels"


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A function of a module with a source file, not compiled."""
    (tmp_path / "doubling.py").write_text("def double(x):\n    return x + x\n")
    spec = importlib.util.spec_from_file_location("doubling", tmp_path / "doubling.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Numba imports it for code that it finds on disk when nothing is left of the first compilation.
    monkeypatch.setitem(sys.modules, "doubling", module)
    spec.loader.exec_module(module)
    function: Callable[..., Any] = module.double
    return function


def _hits(compiled: Any) -> int:
    return sum(compiled.stats.cache_hits.values())


def test_code_is_kept_beside_the_sources(folder: Path, double: Callable[..., Any]) -> None:
    first = jit.entry(double)
    assert (first(2), _hits(first)) == (4, 0)
    assert list(folder.glob("*.nbc"))
    again = jit.entry(double)
    assert (again(2), _hits(again)) == (4, 1)


def test_code_that_cannot_be_written_to_is_used(
    folder: Path, double: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jit.entry(double)(2) == 4
    gc.collect()
    with _read_only(monkeypatch):
        compiled: Any = jit.entry(double)
        assert (compiled(2), _hits(compiled)) == (4, 1)
        assert compiled.stats.cache_path == str(folder)


def test_code_that_fits_nothing_there_is_compiled_and_not_kept(
    folder: Path, double: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jit.entry(double)(2) == 4
    kept = sorted(folder.iterdir())
    with _read_only(monkeypatch):
        compiled: Any = jit.entry(double)
        assert (compiled(2.5), _hits(compiled)) == (5.0, 0)
    assert sorted(folder.iterdir()) == kept


def test_empty_folder_that_cannot_be_written_to_is_passed_over(
    folder: Path, double: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = folder.parent / "elsewhere"
    monkeypatch.setattr(caching.config, "CACHE_DIR", str(elsewhere))
    writable = caching.tempfile.TemporaryFile

    def only_elsewhere(dir: str) -> Any:  # noqa: A002  # as tempfile calls it
        return writable(dir=dir) if dir.startswith(str(elsewhere)) else _denied()

    monkeypatch.setattr(caching.tempfile, "TemporaryFile", only_elsewhere)
    compiled: Any = jit.entry(double)
    assert compiled(2) == 4
    assert compiled.stats.cache_path.startswith(str(elsewhere))

"""Machine code on disk: kept where that is possible, used where nothing can be written, good until code changes."""

from __future__ import annotations

import errno
import gc
import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import pytest
from click.testing import CliRunner
from numba.core import caching

import prepare
from cxstream.cli import group
from cxstream.kernels import jit
from cxstream.model.errors import InputError
from cxstream.model.kinds import Kind
from cxstream.replay import run
from cxstream.scoring.engine import compile_kernels
from strategies import random_history

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


KERNELS = Path(jit.__file__).parent
CDNOW = KERNELS.parents[2] / "examples" / "cdnow"
PLAIN = b"""LIMIT = 3
def f(x):
    return x + LIMIT
"""
# How many functions of kernels were compiled, and how many were found, by a program that calls some.
COUNTED = """
import json, sys
import numpy as np
from cxstream.kernels import {module}
{call}
functions = [each for name, module in list(sys.modules.items()) if name.startswith("cxstream.kernels.")
             for each in vars(module).values() if hasattr(each, "py_func")]
print(json.dumps([sum(sum(getattr(each.stats, kind).values()) for each in set(functions))
                  for kind in ("cache_misses", "cache_hits")]))
"""


def _denied(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EROFS, "Read-only file system")


@contextmanager
def _read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a file system that cannot be written to says; tests may run as root, whom no mode bits stop."""
    with monkeypatch.context() as patch:
        patch.setattr(caching.tempfile, "TemporaryFile", _denied)
        patch.setattr(caching.IndexDataCacheFile, "_open_for_write", _denied)
        yield


@contextmanager
def _only_elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Path]:
    """A file system where only the folder that `NUMBA_CACHE_DIR` names can be written to."""
    elsewhere, writable = folder.parent / "elsewhere", caching.tempfile.TemporaryFile

    def only_elsewhere(dir: str) -> Any:  # noqa: A002  # as tempfile calls it
        return writable(dir=dir) if dir.startswith(str(elsewhere)) else _denied()

    with monkeypatch.context() as patch:
        patch.setattr(caching.config, "CACHE_DIR", str(elsewhere))
        patch.setattr(caching.tempfile, "TemporaryFile", only_elsewhere)
        yield elsewhere


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


def test_a_kernel_without_wrappers_runs_in_its_callers_and_is_refused_to_python(
    folder: Path, double: Callable[..., Any]
) -> None:
    inner: Any = jit.kernel(double)

    def quadruple(x: int) -> int:
        return inner(inner(x))

    outer = jit.entry(quadruple)
    with pytest.raises(TypeError, match="double is compiled into other kernels"):
        inner(2)
    assert outer(2) == 8
    # It is compiled now, and Python still does not find it.
    with pytest.raises(TypeError, match="double is compiled into other kernels"):
        inner(2)


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
    with _only_elsewhere(monkeypatch, folder) as elsewhere:
        compiled: Any = jit.entry(double)
        assert compiled(2) == 4
        assert compiled.stats.cache_path.startswith(str(elsewhere))


def keys(folder: Path, others: bytes = b"", **sources: bytes) -> dict[str, str]:
    return jit.code_keys(sources, others, folder)


def key(source: bytes, folder: Path) -> str:
    return keys(folder, f=b"import math", g=source)["g"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"return x + LIMIT", b"# Not less.\n    return x + LIMIT  # nor more"),
        (b"    return", b'    """Adds."""\n    return'),
        (b"LIMIT = 3", b'"""Sums."""\n\nLIMIT = 3'),
        (b"return x + LIMIT", b"return (\n        x\n        + LIMIT)"),
    ],
    ids=["comment", "docstring", "docstring of the module", "lines"],
)
def test_what_changes_no_code_changes_no_key(old: bytes, new: bytes, tmp_path: Path) -> None:
    changed = PLAIN.replace(old, new)
    assert changed != PLAIN
    assert key(changed, tmp_path) == key(PLAIN, tmp_path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"x + LIMIT", b"x - LIMIT"),
        (b"LIMIT = 3", b"LIMIT = 4"),
        (b"LIMIT = 3", b"LIMIT = 3.0"),
        (b"x + LIMIT", b"LIMIT + x"),
        (b"def f", b"@kernel\ndef f"),
        (b"return x + LIMIT", b'return x + LIMIT\n    """Not a docstring."""'),
    ],
)
def test_what_changes_code_changes_the_key(old: bytes, new: bytes, tmp_path: Path) -> None:
    assert key(PLAIN.replace(old, new), tmp_path) != key(PLAIN, tmp_path)


@pytest.mark.parametrize(
    "imports",
    [
        "from cxstream.kernels.a import f",
        "from cxstream.kernels.a import f as g",
        "from cxstream.kernels import a",
        "import cxstream.kernels.a",
        "import math, cxstream.kernels.a as b",
        "if TYPE_CHECKING:\n    from cxstream.kernels.a import Named",
        "def f():\n    from cxstream.kernels.a import g",
    ],
)
def test_a_key_changes_with_what_is_imported_directly_or_not(imports: str, tmp_path: Path) -> None:
    sources = {
        "b": imports.encode(),
        "c": b"from cxstream.kernels.b import f",
        # Two that import each other.
        "d": b"from cxstream.kernels.c import f\nfrom cxstream.kernels.e import g",
        "e": b"from cxstream.kernels.d import f",
        "other": b"import a, json",
    }
    before, after = (keys(tmp_path, a=text, **sources) for text in (PLAIN, PLAIN.replace(b"+", b"-")))
    assert {name for name in before if before[name] != after[name]} == {"a", "b", "c", "d", "e"}
    changed = keys(tmp_path, b"3 kinds", a=PLAIN, **sources)
    assert not {changed[name] for name in before} & set(before.values())


def test_the_keys_are_kept_and_spoilt_ones_are_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {"a": PLAIN, "b": b"from cxstream.kernels.a import f"}
    found = keys(tmp_path, **sources)
    with monkeypatch.context() as patch:
        patch.setattr(jit, "_code", _denied)
        assert keys(tmp_path, **sources) == found
    [kept] = tmp_path.iterdir()
    for spoilt in (kept.read_text()[:-1], kept.read_text()[:-17], ""):
        kept.write_text(spoilt)
        assert keys(tmp_path, **sources) == found
    assert kept.read_text().split() == [found["a"], found["b"]]
    assert keys(tmp_path / "no" / "such" / "folder", **sources) == found


def test_everything_that_kernels_are_made_of_is_in_the_keys() -> None:
    made_of = {Path(path) for path in map(_file, _modules())}
    assert made_of == set(jit._SOURCES)
    imported = {
        line.split()[1]
        for path in jit._SOURCES
        for line in path.read_text().splitlines()
        if line.strip().startswith(("from cxstream", "import cxstream", "from ."))
    }
    # Of these only numbers count.
    assert imported <= {"cxstream.model.features", "cxstream.model.kinds", *_modules()}
    assert f"('contact', {int(Kind.contact)})".encode() in jit._NUMBERS


def test_code_of_an_older_function_is_removed_when_a_newer_one_is_kept(
    folder: Path, double: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(version: str) -> Any:
        monkeypatch.setattr(jit, "_ALL", version)
        return jit.entry(double)

    for version in ("v1", "v2"):
        assert of(version)(2) == 4
        assert {path.suffix for path in folder.iterdir()} == {".nbi", ".nbc"}
        assert all(f"-{version}." in path.name for path in folder.iterdir())
    # What is of other functions stays, and of what is of another kind.
    (folder / "doubling.doubled-kernels-v1.py311.nbi").touch()
    (folder / "doubling.double-checked-v1.py311.nbi").touch()
    assert of("v3")(2) == 4
    assert len(list(folder.iterdir())) == 4
    with _only_elsewhere(monkeypatch, folder) as elsewhere:
        assert of("v3").stats.cache_path == str(folder)
        # There is code of the module, but of an older one.
        assert of("v4").stats.cache_path.startswith(str(elsewhere))


def _modules() -> list[str]:
    names = (
        "cxstream.kernels" + f".{path.stem}" * (path.stem != "__init__") for path in KERNELS.glob("*.py")
    )
    return sorted(names)


def _file(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


def compiled_and_found(module: str, call: str, path: Path | None = None) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", COUNTED.format(module=module, call=call)],
        env={**os.environ, **({"PYTHONPATH": str(path)} if path else {})},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[int] = json.loads(done.stdout)
    return found


def test_another_process_compiles_nothing_and_what_it_loads_is_known_before(tmp_path: Path) -> None:
    prepare.compile_all()
    program = (
        COUNTED.format(module="text", call="import prepare; prepare.compile_all()")
        + """
import pickle
loaded = {(each.__module__, each.__name__, types) for each in functions for types in each.overloads}
with open(sys.argv[1], "wb") as file:
    pickle.dump(loaded, file)
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "loaded"],
        env=os.environ | {"PYTHONPATH": str(Path(prepare.__file__).parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    compiled, found = json.loads(done.stdout)
    assert (compiled, found > 10) == (0, True)
    known = prepare.find_functions(tmp_path / "found")
    assert set(known) == pickle.loads((tmp_path / "loaded").read_bytes())
    assert len(known) == len(set(known))
    # The one that takes longest is begun first.
    assert known[0][1] == "apply"


def test_code_from_disk_is_used_without_what_numba_needs_to_compile() -> None:
    compile_kernels()
    program = """
import sys
from cxstream.scoring.engine import compile_kernels
compile_kernels()
print('numba.np.arrayobj' in sys.modules, 'numba.np.linalg' in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "False False\n"


def test_a_comment_compiles_nothing_and_an_operator_only_what_it_is_in(tmp_path: Path) -> None:
    here = tmp_path / "cxstream"
    for part in ("kernels", "model"):
        shutil.copytree(KERNELS.parent / part, here / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(KERNELS.parent / "__init__.py", here)

    def run() -> list[int]:
        return compiled_and_found("text", 'text.murmur2(np.frombuffer(b"21", np.uint8), 0, 2)', tmp_path)

    def change(name: str, old: str, new: str) -> None:
        text = (here / "kernels" / name).read_text()
        assert old in text
        (here / "kernels" / name).write_text(text.replace(old, new, 1))

    assert run() == [3, 0]
    assert run() == [0, 1]
    change("text.py", "@entry\ndef murmur2", "# A line more.\n\n\n@entry\ndef murmur2")
    change("panes.py", "from __future__", "# And in another file.\nfrom __future__")
    assert run() == [0, 1]
    change("panes.py", " < ", " > ")
    assert run() == [0, 1]
    change("wide.py", "==", "!=")
    assert run() == [3, 0]
    change("text.py", " < ", " > ")
    assert run() == [3, 0]


IN_PYTHON = """
import hashlib, sys
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.engine import Engine, Records
engine = Engine(ScoringParams(), {})
lines = sys.stdin.buffer.read().splitlines()
outcome = engine.process(Records(lines, range(len(lines))))
saved = repr((outcome.rows, outcome.status.tolist(), list(engine.cards()), engine.snapshot()))
print(len(outcome.rows), hashlib.sha256(saved.encode()).hexdigest())
"""


def test_kernels_do_the_same_in_plain_python() -> None:
    lines = [json.dumps(event) for event, _ in random_history(5, 60)]
    said = [
        subprocess.run(
            [sys.executable, "-c", IN_PYTHON],
            input="\n".join(lines),
            env={**os.environ, "NUMBA_DISABLE_JIT": disabled},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for disabled in ("0", "1")
    ]
    assert said[0] == said[1]
    assert int(said[0].split()[0]) > 0


def test_a_command_says_that_kernels_are_compiled_once_and_not_that_they_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word a command seems to hang for minutes when its kernels are not on disk yet."""
    said = "compiling the kernels, once"
    record = tmp_path / "one.ndjson"
    record.write_bytes((KERNELS.parents[2] / "examples" / "story.ndjson").read_bytes().splitlines()[0])

    def told(*arguments: str) -> int:
        done = CliRunner().invoke(group, list(arguments))
        assert done.exit_code == 0, done.output
        return done.stderr.count(said)

    out = str(tmp_path / "out")
    compile_kernels()
    told("replay", str(record), "--out", out)
    assert told("replay", str(record), "--out", out, "--force") == 0

    real = run.warm_up

    def compiling(*arguments: Any, **options: Any) -> None:
        for number in range(2):
            numba.njit(lambda x, y=number: x + y)(1)
        real(*arguments, **options)

    monkeypatch.setattr(run, "warm_up", compiling)
    assert told("replay", str(record), "--out", out, "--force") == 1
    assert told("replay", str(record), "--out", out, "--force", "--quiet") == 0


@pytest.mark.parametrize("name", ["replay", "validate"])
def test_every_command_that_scores_files_says_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loading(*_: object) -> Any:
        numba.njit(lambda x: x)(1)
        raise InputError("stop")

    monkeypatch.setattr("cxstream.files.readers.total_bytes", loading)
    more = ["--out", str(tmp_path / "out")] if name == "replay" else []
    assert "compiling the kernels, once" in CliRunner().invoke(group, [name, "missing", *more]).stderr


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (
            f"convert mapping {CDNOW}/purchases.csv --mapping {CDNOW}/mapping.toml --out {{tmp}}/out",
            "convert.run.write",
        ),
        ("simulate --customers 2 --days 1 --out {tmp}/out.ndjson", "simulate.files.write"),
        (f"sentiment {CDNOW}/mapping.toml", "text.model.TextModel.explain"),
        ("produce missing", "cli.produce._produce"),
        ("rejected show 0-1", "cli.rejected._one"),
        ("rejected resend 0-1", "cli.rejected._own_kinds"),
        ("change release --out {tmp}/out", "scoring.codec.changes.decode_changes"),
    ],
)
def test_every_command_that_uses_kernels_says_so(
    words: str, called: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loading(*_: object, **__: object) -> Any:
        numba.njit(lambda x: x)(1)
        raise InputError("stop")

    monkeypatch.setattr(f"cxstream.{called}", loading)
    told = CliRunner().invoke(group, words.format(tmp=tmp_path).split())
    assert str(told.exception) == "stop"
    assert "compiling the kernels, once" in told.stderr

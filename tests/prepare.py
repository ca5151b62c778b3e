"""What a run of the tests makes once for all of its processes.

python tests/prepare.py kernels
python tests/prepare.py kafka ARCHIVE
"""

from __future__ import annotations

import fcntl
import os
import pickle
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numba

from cxstream.kernels import jit
from cxstream.local import java
from cxstream.local.broker import LocalKafka
from cxstream.replay.warm import compile_replay
from cxstream.scoring.engine import compile_kernels

# A broker of a test does not live long enough to be worth the second compiler's work.
_QUICK = "-XX:TieredStopAtLevel=1"
_FOUND = "found"

# In plain Python, all that is compiled runs within two seconds. Written to a file: which functions, with which types.
_FIND = """
import pickle, sys
import numba
from cxstream.kernels import jit

found, depth, plain = {}, 0, jit.entry

def entry(function):
    def call(*args):
        global depth
        if not depth:  # what another kernel calls is compiled into that
            found[function.__module__, function.__name__, tuple(map(numba.typeof, args))] = None
        depth += 1
        try:
            return run(*args)
        finally:
            depth -= 1
    run = plain(function)
    return call

jit.entry = entry
import prepare
prepare.compile_all()
# What takes longest first. It has most of what others are made of, too, which is then not compiled twice.
with open(sys.argv[1], "wb") as file:
    pickle.dump(sorted(found, key=lambda function: function[1] != "apply"), file)
"""


def compile_all() -> None:
    """Compile every kernel, or load it."""
    compile_kernels()
    compile_replay()


def compile_together(processes: int) -> None:
    """Compile every kernel in several processes: each takes the next function that nobody has taken."""
    with suppress(subprocess.CalledProcessError), TemporaryDirectory(prefix="cxstream-kernels-") as folder:
        find_functions(Path(folder, _FOUND))
        command = [sys.executable, __file__, "some", folder]
        for process in [subprocess.Popen(command) for _ in range(processes)]:
            process.wait()
    # Whatever went wrong, all are there after this.
    compile_all()


def find_functions(file: Path) -> list[tuple[str, str, tuple[Any, ...]]]:
    """What `compile_all` compiles: modules, names and types of arguments, which a file keeps, too."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", _FIND, file], env=environment, check=True)
    return _functions(file)


def _functions(file: Path) -> list[tuple[str, str, tuple[Any, ...]]]:
    functions: list[tuple[str, str, tuple[Any, ...]]] = pickle.loads(file.read_bytes())
    return functions


def compile_some(folder: Path) -> None:
    """Compile functions of a list that no other process has taken."""
    save = jit._Cache.save_overload

    def save_alone(*arguments: Any) -> None:
        # Numba reads the list of what there is of a function, and writes it with one more: here another process may, too.
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(*arguments)

    jit._Cache.save_overload = save_alone
    for number, (module, name, types) in enumerate(_functions(folder / _FOUND)):
        try:
            (folder / str(number)).touch(exist_ok=False)
        except FileExistsError:
            continue
        getattr(import_module(module), name).compile(types)


def java_options(archive: Path) -> str:
    """For `JDK_JAVA_OPTIONS`: how brokers start quickly.

    Args:
        archive: the classes of Kafka as `archive_kafka` keeps them; without it they are loaded one by one.
    """
    return f"{_QUICK} -XX:SharedArchiveFile={archive}" if archive.exists() else _QUICK


def archive_kafka(archive: Path) -> None:
    """Keep Kafka's classes as Java has them in memory: a start then takes a third of the time."""
    base, unfinished = archive.with_suffix(".base"), archive.with_suffix(".unfinished")
    subprocess.run(
        [java.find(), "-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={base}"],
        check=True,
        capture_output=True,
    )
    os.environ["JDK_JAVA_OPTIONS"] = (
        f"{_QUICK} -XX:SharedArchiveFile={base} -XX:ArchiveClassesAtExit={unfinished}"
    )
    with LocalKafka():
        pass
    unfinished.rename(archive)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["kernels"] if numba.config.DISABLE_JIT:
            pass
        case ["kernels"]:
            compile_together(os.cpu_count() or 1)
        case ["some", folder]:
            compile_some(Path(folder))
        case ["kafka", archive]:
            archive_kafka(Path(archive))
        case _:
            sys.exit(__doc__)

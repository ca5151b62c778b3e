"""Every command of the runbooks, run as it is written: on a real Kafka with a worker, Prometheus and Alertmanager.

The installation has traffic, a rejected record, a skipped one, a misrouted one, and an erased customer. What the pages
leave open (addresses, places of records) is put in by the table of docs/runbooks/README.md.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from conftest import _remove_all, in_own_loop
from cxstream.cli import group
from cxstream.console.metrics import ConsoleMetrics
from cxstream.kafka.admin import ensure_topics
from cxstream.kafka.producer import route
from cxstream.local import jars, java
from cxstream.settings import Local, Settings
from cxstream.topology import REJECTED, SCORES, TOUCHPOINTS
from cxstream.worker.telemetry.metrics_server import MetricsServer, served
from monitoring import MissingProgramError, monitoring
from workers import Watcher, WorkerProcess, customers_of, cxstream, until, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.local.broker import LocalKafka

ROOT = Path(__file__).parent.parent
RUNBOOKS = ROOT / "docs" / "runbooks"
PAGES = [*sorted(path for path in RUNBOOKS.glob("Cxstream*.md")), ROOT / "docs" / "oncall.md"]
IDS = [page.stem for page in PAGES]
SECONDS = 90.0
PARTITIONS = 4
# The partition of the pages' records, and in it the offsets of one that is skipped and of one that is rejected.
PARTITION, SKIPPED, REJECTED_AT = 3, 1, 2
BUSY = {"CXSTREAM_WORKER__FLUSH_SECONDS": "0.1", "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "0.5"}

# Kafka's own scripts whose classes are among the jars of the local Kafka; any other runs where Kafka's `bin` is on
# the PATH.
CLASSES = {
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-dump-log.sh": "kafka.tools.DumpLogSegments",
}
NOT_HERE = dict.fromkeys(
    ("kafka-acls.sh", "kafka-console-consumer.sh", "kafka-consumer-groups.sh"),
    "its class is in Kafka's module 'tools', which the local Kafka does without; run where Kafka's bin is on the PATH",
)
# Commands that end with another status than 0 here, and why.
STATUSES = {
    "cxstream insights --warehouse cx.duckdb --raised": (1, "there is no warehouse"),
    "cxstream view predictions --warehouse cx.duckdb": (1, "there is no warehouse"),
    "cxstream view predictions --warehouse cx.duckdb --set band=all --by segment": (
        1,
        "there is no warehouse",
    ),
    "cxstream view predictions --warehouse cx.duckdb --set band=all --grain week": (
        1,
        "there is no warehouse",
    ),
    "cxstream view quality --warehouse cx.duckdb": (1, "there is no warehouse"),
    "cxstream view quality --warehouse cx.duckdb --by source": (1, "there is no warehouse"),
    "cxstream view quality --warehouse cx.duckdb --by source --grain week": (1, "there is no warehouse"),
    "cxstream view touchpoints --warehouse cx.duckdb": (1, "there is no warehouse"),
    "cxstream doctor --json --strict --schemas schemas --worker http://localhost:6066": (
        1,
        "with --strict the warnings of this installation count: no control.key, and a misrouted record",
    ),
    "kafka-acls.sh --bootstrap-server kafka-1:9092 --list --topic cx.snapshots": (
        1,
        "the local Kafka has no authorizer, so that it has no ACLs to list",
    ),
}


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The command lines of a page."""
    text = "".join(blocks(page, "sh")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def queries(page: Path) -> list[str]:
    """The PromQL of a page, a line each."""
    return [line for text in blocks(page, "promql") for line in text.splitlines() if line]


def placeholders() -> list[str]:
    """The first column of the table that says what to put in for what."""
    table = (RUNBOOKS / "README.md").read_text().split("| on the pages |")[1].split("\n\n")[0]
    return re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)


@dataclass(slots=True)
class Installation:
    """What the commands run on.

    Attributes:
        substitutes: what is put in for each placeholder.
        environment: how the commands find Kafka and the worker.
        prometheus: its address.
        done: what each command said when it was run, and its exit status.
    """

    substitutes: dict[str, str]
    environment: dict[str, str]
    prometheus: str
    done: dict[str, tuple[int, str]] = field(default_factory=dict)

    def as_here(self, line: str) -> str:
        """A line with this installation's addresses and places."""
        for placeholder, value in self.substitutes.items():
            line = re.sub(rf"(?<![\w.]){re.escape(placeholder)}(?![\w])", lambda _, v=value: v, line)
        return line

    def run(self, line: str) -> tuple[int, str]:
        """Run a command once, however many pages have it."""
        if line not in self.done:
            words = shlex.split(self.as_here(line))
            if words[0] == "cxstream":
                result = CliRunner().invoke(group, words[1:], env=self.environment)
                self.done[line] = (result.exit_code, result.output + repr(result.exception or ""))
            else:
                self.done[line] = _shell(self.as_here(line), self.environment)
        return self.done[line]

    def ask(self, query: str) -> dict[str, Any]:
        """Prometheus' answer to a query, as it is written."""
        url = f"{self.prometheus}/api/v1/query?query={urllib.parse.quote(query)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as problem:
            found = json.load(problem)
        return found


def _shell(line: str, environment: dict[str, str]) -> tuple[int, str]:
    script = shlex.split(line)[0]
    if script in CLASSES and shutil.which(script) is None:
        classpath = jars.ensure(Local().kafka_version, jars.user_cache(), print) / "*"
        line = shlex.join([str(java.find()), "-cp", str(classpath), CLASSES[script], *shlex.split(line)[1:]])
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout + done.stderr


def event(customer: str, number: int, kind: str = "error", **data: Any) -> bytes:
    """A touchpoint of the last hour."""
    time = datetime.now(UTC) - timedelta(hours=1) + timedelta(seconds=number)
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"r{number}",
            "source": "/shop",
            "type": f"cx.touchpoint.{kind}.v1",
            "subject": customer,
            "time": time.isoformat(timespec="milliseconds"),
            "data": {"channel": "web", **data},
        }
    ).encode()


def traffic() -> dict[int, list[bytes]]:
    """Touchpoints by partition; one is rejected, and one lies in another partition than its customer's."""
    [here], [there] = customers_of(PARTITION, PARTITIONS), customers_of(1, PARTITIONS)
    values = {p: [event(customers_of(p, PARTITIONS)[0], n) for n in range(2)] for p in range(PARTITIONS)}
    values[PARTITION].append(event(here, 2, "contact", channel="phone"))
    values[0].append(event(there, 4))
    for customer in ("anna", "customer-4711"):
        [home] = route([customer.encode()], PARTITIONS)
        values[home] += [event(customer, n) for n in range(10, 30)]
    return values


async def _settle(settings: Settings, worker: WorkerProcess) -> None:
    """Wait until the worker has rejected, skipped and scored what there is."""
    async with Watcher(settings, PARTITIONS) as watcher:

        async def settled() -> bool:
            rejected = (await watcher.read(REJECTED.name)).get(PARTITION, [])
            cards = {each.key for records in (await watcher.read(SCORES.name)).values() for each in records}
            return len(rejected) == 2 and {b"anna", b"customer-4711"} <= cards

        await until(settled, SECONDS, lambda: worker.log)


def _skip_option() -> list[str]:
    """The option of the one command that starts a worker."""
    [line] = {line for page in PAGES for line in commands(page) if line.startswith("cxstream worker")}
    return shlex.split(line)[2:]


@pytest.fixture(scope="module")
def installation(broker: LocalKafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Kafka, a worker, Prometheus and Alertmanager, with traffic behind them."""
    folder = tmp_path_factory.mktemp("runbooks")
    settings = Settings(kafka=broker.bootstrap, worker={"group": f"test-{uuid.uuid4().hex[:12]}"})
    in_own_loop(_remove_all(settings))
    in_own_loop(ensure_topics(settings, PARTITIONS))
    in_own_loop(write(settings, TOUCHPOINTS.name, traffic()))
    with ExitStack() as stack:
        stack.callback(lambda: in_own_loop(_remove_all(settings)))
        options = Installation({"1274": str(SKIPPED)}, {}, "").as_here(shlex.join(_skip_option()))
        worker = stack.enter_context(
            WorkerProcess(settings, folder / "worker.log", *shlex.split(options), **BUSY)
        )
        metrics, web = re.findall(r"http://([\d.]+:\d+)", worker.ready())
        in_own_loop(_settle(settings, worker))
        cxstream("forget", "customer-4711", "--kafka", settings.kafka)
        try:
            prometheus, _ = stack.enter_context(monitoring(folder, metrics))
        except MissingProgramError as missing:
            pytest.fail(str(missing))
        in_own_loop(until(lambda: _answers(prometheus), SECONDS, lambda: "Prometheus does not answer"))
        _place_files(folder)
        here = stack.enter_context(pytest.MonkeyPatch.context())
        here.chdir(folder)
        assert broker.log is not None
        yield Installation(
            substitutes={
                "kafka-1:9092": settings.kafka,
                "localhost:6066": web,
                "localhost:9464": metrics,
                "localhost:9467": stack.enter_context(_console()),
                "localhost:9090": prometheus.removeprefix("http://"),
                "localhost:9093": _alertmanager(folder),
                "anna": "anna",
                "customer-4711": "customer-4711",
                "3-1742": f"{PARTITION}-{REJECTED_AT}",
                "1742": str(REJECTED_AT),
                "1274": str(SKIPPED),
                "/shop": "/shop",
                "/var/lib/kafka/data": str(broker.log.parent / "log"),
                "--group cxstream": f"--group {settings.worker.group}",
            },
            environment={
                "CXSTREAM_KAFKA": settings.kafka,
                "CXSTREAM_WORKER__GROUP": settings.worker.group,
                "CXSTREAM_WORKER__WEB_PORT": web.rpartition(":")[2],
                **BUSY,
            },
            prometheus=prometheus,
        )


@contextmanager
def _console() -> Iterator[str]:
    """The metrics and health of a console that does not run: host and port."""
    metrics = ConsoleMetrics()
    with served(MetricsServer(metrics.registry, (), metrics), "console", "127.0.0.1", 0) as where:
        yield where.removeprefix("http://").removesuffix("/metrics")


def _answers(prometheus: str) -> bool:
    try:
        with urllib.request.urlopen(f"{prometheus}/-/ready", timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _alertmanager(folder: Path) -> str:
    """Where Prometheus sends alerts."""
    config = (folder / "prometheus.yml").read_text()
    found = re.search(r"alertmanagers:.*?targets: \[\"?([\w.:]+)\"?\]", config, re.DOTALL)
    assert found, config
    return found[1]


def _place_files(folder: Path) -> None:
    """The files that commands name: the fix file of oncall.md, and the schemas."""
    [fix] = blocks(ROOT / "docs" / "oncall.md", "toml")
    (folder / "fix.toml").write_text(fix)
    (folder / "schemas").symlink_to(ROOT / "schemas")


# --- what the pages have


@pytest.mark.parametrize("page", PAGES[:-1], ids=IDS[:-1])
def test_each_page_asks_the_product_first(page: Path) -> None:
    """Whoever tries cxstream has no Kafka scripts: each page gets along with the product's own commands."""
    diagnosis = page.read_text().split("## Diagnosis")[1].split("## Mitigation")[0]
    assert re.search(r"^cxstream ", diagnosis, re.MULTILINE)


def test_every_exception_is_of_a_command_that_some_page_has() -> None:
    all_of_them = {line for page in PAGES for line in commands(page)}
    assert set(STATUSES) <= all_of_them
    assert set(NOT_HERE) <= {line.split()[0] for line in all_of_them}


# --- on Kafka


@pytest.mark.broker
@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_run_as_written(page: Path, installation: Installation) -> None:
    for line in commands(page):
        script = shlex.split(line)[0]
        if line.startswith("cxstream worker") or (script in NOT_HERE and shutil.which(script) is None):
            continue  # a worker runs with this option
        status, said = installation.run(line)
        expected, _ = STATUSES.get(line, (0, ""))
        assert status == expected, f"{line}\n{said}"
    for query in queries(page):
        assert installation.ask(query)["status"] == "success", query


@pytest.mark.broker
def test_the_table_of_placeholders_is_what_is_put_in(installation: Installation) -> None:
    assert placeholders() == list(installation.substitutes)

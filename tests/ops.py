"""Shows an installation at work, breaks it twice, and waits for the alerts to come and go.

    python tests/ops.py
    python tests/ops.py --keep

Everything is real: Kafka, two workers, Prometheus and Alertmanager with the rules and routes of deploy/prometheus, and
a webhook in the place of a pager. Only the waiting times are shorter than they are shipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import click
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from rich.console import Console
from rich.table import Table

from cxstream.kafka.admin import administration, ensure_topics, look
from cxstream.local.broker import LocalKafka
from cxstream.local.process import Guarded, tail
from cxstream.model.errors import CxstreamError
from cxstream.settings import Settings
from cxstream.topology import CHURN_RISK, topology
from monitoring import (
    RULES,
    InvalidAddressError,
    MissingProgramError,
    asked,
    monitoring,
    program,
    with_runbooks_at,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTITIONS = 4
WORKERS = 2
# In place of a minute, so that the show is short.
STALLED_SECONDS = 10
PATIENCE_SECONDS = 180.0
POLL_SECONDS = 0.2
TOO_SMALL = "100"
INTERRUPTED = 130
EXPLAINED = ("CxstreamWatchdog", "CxstreamWorkerDown", "CxstreamStalled")

FIGURES = (
    ("events a second", "sum(rate(cxstream_events_total[30s]))", ".0f"),
    (
        "append to commit, 99 % within, s",
        "histogram_quantile(0.99, sum by (le) (rate(cxstream_commit_delay_seconds_bucket[1m])))",
        ".2f",
    ),
    ("lag, records", "cxstream:lag:records", ".0f"),
    ("churn-risk signals", 'sum by (kind, level) (cxstream_signals_total{kind!="friction"}) > 0', ".0f"),
    ("friction signals", 'sum(cxstream_signals_total{kind="friction"})', ".0f"),
    ("customers", "sum by (level) (cxstream_customers)", ".0f"),
)


class ShowError(Exception):
    """Something did not happen that has to."""


class Worker:
    """A `cxstream worker` in a process group of its own."""

    def __init__(self, name: str, kafka: str, folder: Path) -> None:
        self.name = name
        command = [sys.executable, "-m", "cxstream", "worker", "--kafka", kafka]
        self.process = Guarded(
            [*command, "--web-port", "0", "--metrics-port", "0"],
            folder / f"{name}.log",
            cwd=folder,
            variables={"CXSTREAM_WORKER__STALLED_SECONDS": str(STALLED_SECONDS)},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.send(signal.SIGCONT)
        self.process.stop()

    def send(self, number: int) -> None:
        """Send a signal to the worker."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    @property
    def addresses(self) -> tuple[str, str] | None:
        """Where its metrics and its web server are; None before it is ready."""
        if self.process.status is not None:
            raise ShowError(f"{self.name} ended; its last lines:\n{self.process.tail()}")
        found = re.search(
            r"^ready: .*metrics (http://\S+), (http://\S+)$", self.process.log.read_text(), re.MULTILINE
        )
        return (found[1], found[2]) if found else None

    @property
    def target(self) -> str:
        """What Prometheus asks: host:port of its metrics."""
        assert self.addresses
        return re.sub(r"^http://|/metrics$", "", self.addresses[0])

    @property
    def ready(self) -> bool:
        """Whether it says so itself."""
        assert self.addresses
        try:
            with urllib.request.urlopen(f"{self.addresses[1]}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


class Screen:
    """Tells what happens, and how long after the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._console = Console(highlight=False, soft_wrap=True, markup=False)

    def say(self, what: str, text: str) -> None:
        """Write a line: when, about what, and what."""
        self._console.print(f"{time.monotonic() - self._began:6.1f} s  {what:13} {text}")

    def table(self, rows: list[tuple[str, str]]) -> None:
        """Write figures with their names."""
        table = Table("figure", "value")
        for row in rows:
            table.add_row(*row)
        self._console.print(table)


class Alert(NamedTuple):
    """What tells an alert from others: name and labels."""

    name: str
    labels: str

    @classmethod
    def of(cls, told: dict[str, Any]) -> Alert:
        """The alert that a message of Alertmanager is about."""
        labels = dict(told["labels"])
        name = labels.pop("alertname")
        shown = {key: labels[key] for key in sorted(labels) if key not in {"area", "job", "severity"}}
        return cls(name, ", ".join(f"{key} {value}" for key, value in shown.items()))


class Pager:
    """Reads the webhook: tells each change of an alert once, and knows what fires."""

    def __init__(self, screen: Screen, inbox: list[dict[str, Any]]) -> None:
        self.status: dict[Alert, str] = {}
        self._screen = screen
        self._inbox = inbox
        self._read = 0

    def look(self) -> None:
        """Take what has come."""
        news, self._read = self._inbox[self._read :], len(self._inbox)
        for told in news:
            alert, status = Alert.of(told), told["status"]
            if self.status.get(alert) == status:
                continue
            self.status[alert] = status
            self._screen.say(f"alert {status}", f"{alert.name} {alert.labels}".rstrip())
            # What follows from a fault is only named.
            if status == "firing" and alert.name in EXPLAINED:
                notes = told["annotations"]
                self._screen.say("", f"{notes['summary']} {notes['description']} -> {notes['runbook_url']}")

    def fires(self, name: str, label: str = "") -> bool:
        """Whether an alert of this name, with this in its labels, fires as far as the webhook was told."""
        self.look()
        return any(
            status == "firing" and alert.name == name and label in alert.labels
            for alert, status in self.status.items()
        )


def wait(what: str, condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> float:
    """Poll until the condition holds; the seconds that took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise ShowError(f"not within {seconds:.0f} s: {what}")
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


class Installation:
    """What runs, once all of it is up."""

    def __init__(
        self, screen: Screen, settings: Settings, workers: list[Worker], prometheus: str, pager: Pager
    ) -> None:
        self.screen = screen
        self.pager = pager
        self.settings = settings
        self.workers = workers
        self.prometheus = prometheus

    def targets_up(self) -> bool:
        """Whether Prometheus reads all workers."""
        up = asked(self.prometheus, 'sum(up{job="cxstream"})')
        return bool(up) and float(up[0]["value"][1]) == len(self.workers)

    def figures(self) -> None:
        """Ask Prometheus for what an operator looks at, and show it."""
        rows = []
        for title, query, form in FIGURES:
            for one in asked(self.prometheus, query):
                labels = [one["metric"][label] for label in ("kind", "level") if label in one["metric"]]
                rows.append((" ".join([title, *labels]), format(float(one["value"][1]), form)))
        self.screen.table(rows)

    def doctor(self, worker: Worker) -> int:
        """Run `cxstream doctor`, and show what it finds fault with; its exit status."""
        assert worker.addresses
        command = [sys.executable, "-m", "cxstream", "doctor", "--kafka", self.settings.kafka]
        command += ["--worker", worker.addresses[1]]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as doctor:
            try:
                wait("the doctor's findings", lambda: self.pager.look() or doctor.poll() is not None)
            finally:
                doctor.kill()
            assert doctor.stdout
            findings = doctor.stdout.read().splitlines()
        self.screen.say(
            "doctor", f"exit status {doctor.returncode}: {findings[-1] if findings else 'nothing'}"
        )
        for line in findings:
            if line.startswith("error"):
                self.screen.say("", line)
        return doctor.returncode


@contextmanager
def hung(worker: Worker) -> Iterator[None]:
    """A worker that does nothing any more."""
    worker.send(signal.SIGSTOP)
    try:
        yield
    finally:
        worker.send(signal.SIGCONT)


async def limit(settings: Settings, size: str | None) -> None:
    """Let cx.churn-risk take batches up to this many bytes; None: as many as by default."""
    async with administration(settings) as admin:
        own = next(each.own for each in await look(admin, topology()) if each.topic is CHURN_RISK)
        config = {name: value for name, value in own.items() if name != "max.message.bytes"}
        config |= {"max.message.bytes": size} if size else {}
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, CHURN_RISK.name, config)])


@contextmanager
def refusing(settings: Settings) -> Iterator[None]:
    """A topic that refuses all signals."""
    asyncio.run(limit(settings, TOO_SMALL))
    try:
        yield
    finally:
        asyncio.run(limit(settings, None))


def fault(
    place: Installation,
    what: str,
    breaking: contextlib.AbstractContextManager[None],
    name: str,
    label: str = "",
) -> None:
    """Break something, see the alert come, ask the doctor, mend it, see the alert go."""
    worker, pager = place.workers[0], place.pager
    wait(f"{name} silent", lambda: not pager.fires(name))
    place.screen.say("broken", what)
    with breaking:
        seconds = wait(f"{name} at the webhook", lambda: pager.fires(name, label))
        place.screen.say("", f"{name} has arrived after {seconds:.1f} s")
        if place.doctor(worker) == 0:
            raise ShowError("the doctor finds nothing wrong")
    place.screen.say("mended", "")
    seconds = wait(f"{name} resolved", lambda: not pager.fires(name))
    place.screen.say("", f"{name} is resolved after {seconds:.1f} s")
    wait("workers ready", lambda: all(each.ready for each in place.workers))
    if place.doctor(worker):
        raise ShowError("the doctor is not content although it is mended")


def start(
    stack: ExitStack, screen: Screen, rate: float, customers: int, runbook_url: str | None
) -> Installation:
    """Start everything, and wait until it works."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cxstream-ops-")))
    # A settings file of the user would make it another installation.
    os.environ["XDG_CONFIG_HOME"] = str(folder)
    stack.enter_context(contextlib.chdir(folder))
    screen.say("Kafka", "starting")
    broker = stack.enter_context(LocalKafka(say=lambda line: screen.say("Kafka", line)))
    settings = Settings(kafka=broker.bootstrap)
    asyncio.run(ensure_topics(settings, PARTITIONS))
    screen.say("Kafka", f"up at {broker.bootstrap}, {PARTITIONS} partitions of each topic")
    workers = [stack.enter_context(Worker(f"worker {n + 1}", settings.kafka, folder)) for n in range(WORKERS)]
    for worker in workers:
        wait(f"{worker.name} ready", lambda: worker.addresses and worker.ready)  # noqa: B023 - called at once
        metrics, web = worker.addresses or ("", "")
        screen.say(worker.name, f"ready: {web}/readyz, {metrics}")
    command = [
        sys.executable,
        "-m",
        "cxstream",
        "simulate",
        "--kafka",
        settings.kafka,
        "--no-future",
        "--quiet",
    ]
    command += ["--rate", f"{rate:g}", "--customers", str(customers), "--days", "90", "--trouble", "5"]
    stack.callback(Guarded(command, folder / "simulate.log", cwd=folder).stop)
    screen.say("simulate", f"{customers:,} customers, {rate:g} touchpoints a second")
    prometheus, inbox = stack.enter_context(
        monitoring(folder, *(each.target for each in workers), runbook_url=runbook_url)
    )
    place = Installation(screen, settings, workers, prometheus, Pager(screen, inbox))
    wait("targets up", place.targets_up)
    screen.say("Prometheus", f"{prometheus}/alerts, {WORKERS} of {WORKERS} targets up")
    wait("Alertmanager known to Prometheus", lambda: managers(prometheus))
    screen.say("Alertmanager", f"{managers(prometheus)[0]}, tells a webhook")
    screen.say(
        "", f"shortened: scrapes, `for` and grouping to 1 s, worker.stalled_seconds to {STALLED_SECONDS}"
    )
    wait("the watchdog's alert", lambda: place.pager.fires("CxstreamWatchdog"))
    return place


def managers(prometheus: str) -> list[str]:
    """Where Prometheus sends alerts."""
    with urllib.request.urlopen(f"{prometheus}/api/v1/alertmanagers", timeout=10) as answer:
        active = json.load(answer)["data"]["activeAlertmanagers"]
    return [one["url"].split("/api/")[0] for one in active]


def show(place: Installation) -> None:
    """Figures, two faults, figures."""
    enough = 'sum(cxstream_signals_total{kind="raised"}) > 4'
    wait("signals", lambda: place.pager.look() or asked(place.prometheus, enough))
    place.figures()
    worker = place.workers[0]
    what = f"{worker.name} hangs (SIGSTOP)"
    fault(place, what, hung(worker), "CxstreamWorkerDown", worker.target)
    what = f"{CHURN_RISK.name} refuses signals (max.message.bytes {TOO_SMALL})"
    fault(place, what, refusing(place.settings), "CxstreamStalled")
    place.figures()


def deaf(screen: Screen) -> None:
    """A second Ctrl-C leaves nothing half ended."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    screen.say("", "ending everything")


def terminated(*_: object) -> None:
    """SIGTERM ends it as Ctrl-C does."""
    raise KeyboardInterrupt


def run(rate: float, customers: int, *, keep: bool, runbook_url: str | None) -> None:
    """All of it, from the first start to the last end."""
    screen = Screen()
    with ExitStack() as stack:
        try:
            place = start(stack, screen, rate, customers, runbook_url)
            show(place)
            screen.say("done", "both alerts came and went")
            if keep:
                screen.say("", "all stays up until Ctrl-C")
                with contextlib.suppress(KeyboardInterrupt):
                    wait("Ctrl-C", place.pager.look, float("inf"))
        except ShowError as error:
            # The folder is in use until the stack unwinds, and is gone then.
            logs = [f"{log.name}:\n{tail(log, 5)}" for log in sorted(Path().glob("*.log"))]
            raise ShowError("\n".join([str(error), *logs])) from error
        finally:
            deaf(screen)


@click.command()
@click.option(
    "--rate", type=click.FloatRange(1), default=200.0, show_default=True, help="Touchpoints a second."
)
@click.option(
    "--customers", type=click.IntRange(1), default=500, show_default=True, help="How many customers."
)
@click.option("--keep", is_flag=True, help="Stay up afterwards, until Ctrl-C.")
@click.option(
    "--runbook-url", metavar="URL", help="Where links to runbooks lead; by default Prometheus serves them."
)
def main(rate: float, customers: int, keep: bool, runbook_url: str | None) -> None:
    """Start a whole installation, break it twice, and wait for the alerts to come and go.

    Exit status 0 only if both alerts came and went, and the doctor noticed. Ctrl-C ends everything. Needs
    Debian's packages prometheus and prometheus-alertmanager.

    \b
    Example:
      python tests/ops.py
      python tests/ops.py --rate 500 --keep
      python tests/ops.py --runbook-url https://git.example.org/cxstream/docs/runbooks
    """
    # A shell that starts it in the background makes it deaf to Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, terminated)
    for name in [name for name in os.environ if name.startswith("CXSTREAM_")]:
        del os.environ[name]
    try:
        for name in ("prometheus", "prometheus-alertmanager"):
            program(name)
        if runbook_url is not None:  # a wrong one is said before anything is started
            with tempfile.TemporaryDirectory() as folder:
                with_runbooks_at(runbook_url, RULES, Path(folder))
        run(rate, customers, keep=keep, runbook_url=runbook_url)
    except (InvalidAddressError, MissingProgramError, ShowError, CxstreamError) as error:
        raise SystemExit(f"ops: {error}") from None
    except KeyboardInterrupt:
        click.echo("interrupted; everything is ended", err=True)
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()

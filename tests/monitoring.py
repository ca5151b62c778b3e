"""Prometheus and Alertmanager of Debian, with the rules and alerts as they are shipped, beside running workers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.parse
import urllib.request
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from answers import serving
from cxstream.console import metrics as console_metrics
from cxstream.insights.places import DIMENSIONS, MEASURES
from cxstream.local.ports import HOST, free
from cxstream.local.process import Guarded
from cxstream.settings import Sink
from cxstream.sink import metrics as sink_metrics
from cxstream.warehouse import metrics as warehouse_metrics
from cxstream.worker.metrics.definitions import METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parent.parent
LABELS = {
    "dimension": DIMENSIONS,
    "measure": MEASURES,
    "change": warehouse_metrics.CHANGES,
    "reason": warehouse_metrics.REASONS,
    "outcome": (*console_metrics.OUTCOMES, *set(console_metrics.SIGN_INS.values())),
}
# The metrics of `warehouse follow` and `serve`; the values of labels that are not known in advance are in words.
DESCRIBED = {
    name: Metric(
        name,
        kind,
        "",
        meaning,
        {label: LABELS.get(label, label) for label in labels},
        module.SECONDS,
    )
    for module in (warehouse_metrics, console_metrics)
    for name, (kind, meaning, labels) in module.METRICS.items()
}
_SINK_LABELS = {
    "cxstream_sink_lag_records": {"topic": "topic"},
    "cxstream_sink_rows": {"table": "table"},
    "cxstream_sink_errors": {"system": ("kafka", "postgresql")},
}
# The metrics of `sink`, as it registers them.
SINK = {
    (name := f"{family.name}_total" if family.type == "counter" else family.name): Metric(
        name, family.type, "", family.documentation, _SINK_LABELS.get(family.name, {}), ()
    )
    for family in sink_metrics.Metrics(Sink()).registry.collect()
    if family.name.startswith("cxstream_sink_")
}
EVERY_METRIC = METRICS | DESCRIBED | SINK
RULES = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
RUNBOOK_URL = ROOT / "deploy" / "runbook-url.sh"


class MissingProgramError(Exception):
    """A program that has to be installed; says how."""


class InvalidAddressError(Exception):
    """An address of runbooks that cannot be put into rules."""


def program(name: str) -> str:
    """A program of Debian's packages `prometheus` and `prometheus-alertmanager`."""
    found = shutil.which(name)
    if found is None:
        raise MissingProgramError(f"{name} is missing: apt-get install prometheus prometheus-alertmanager")
    return found


@contextmanager
def webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A receiver of Alertmanager's messages: its address, and the alerts that came."""
    alerts: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            alerts.extend(json.loads(body)["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        yield address, alerts


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """A program, until it is needed no more or this process ends."""
    process = Guarded(command, log, cwd=log.parent)
    try:
        yield
    finally:
        process.stop()


def with_runbooks_at(address: str, origin: Path, folder: Path) -> None:
    """Copy rules or dashboards, with links to the runbooks at this address.

    Raises:
        InvalidAddressError: it is no address.
    """
    command = ["sh", str(RUNBOOK_URL), address, str(origin), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise InvalidAddressError(done.stderr.strip())


def impatient(
    folder: Path, targets: Sequence[str], manager: str, receiver: str, runbook_url: str | None
) -> None:
    """The configuration as it is shipped, save for addresses and durations: seconds in place of minutes."""
    if runbook_url is None:
        for name in ("cxstream.rules.yml", "cxstream.alerts.yml"):
            shutil.copy(RULES / name, folder)
    else:
        with_runbooks_at(runbook_url, RULES, folder)
    shutil.copy(RULES / "cxstream.tmpl", folder)
    alerts = (folder / "cxstream.alerts.yml").read_text()
    alerts = re.sub(r"^( +for): \w+$", r"\1: 1s", alerts, flags=re.MULTILINE)
    (folder / "cxstream.alerts.yml").write_text(alerts)
    config = (RULES / "prometheus.yml").read_text()
    config = config.replace("15s", "1s").replace("localhost:9093", manager)
    config = config.replace('["localhost:9464"]', json.dumps(targets))
    (folder / "prometheus.yml").write_text(config)
    routes = (RULES / "alertmanager.yml").read_text().replace("http://localhost:9095", receiver)
    routes = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", routes)
    (folder / "alertmanager.yml").write_text(routes)


@contextmanager
def monitoring(
    folder: Path, *targets: str, runbook_url: str | None = None
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Prometheus, Alertmanager and a webhook: Prometheus' address, and the alerts that reach the webhook.

    Args:
        folder: takes configuration, data and logs.
        targets: where workers serve metrics, host:port of each.
        runbook_url: where links to runbooks lead; by default Prometheus serves them.
    """
    prometheus, manager = (f"{HOST}:{port}" for port in free(2))
    with ExitStack() as stack:
        receiver, alerts = stack.enter_context(webhook())
        impatient(folder, targets, manager, receiver, runbook_url)
        command = [program("prometheus-alertmanager"), f"--config.file={folder / 'alertmanager.yml'}"]
        command += [f"--storage.path={folder / 'manager'}", f"--web.listen-address={manager}"]
        stack.enter_context(running([*command, "--cluster.listen-address="], folder / "alertmanager.log"))
        command = [program("prometheus"), f"--config.file={folder / 'prometheus.yml'}"]
        command += [f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={prometheus}"]
        command += [f"--web.external-url=http://{prometheus}", f"--web.console.templates={RUNBOOKS}"]
        # What was told before Alertmanager was there is told again; by default after a minute.
        command += ["--rules.alert.resend-delay=5s"]
        stack.enter_context(running(command, folder / "prometheus.log"))
        yield f"http://{prometheus}", alerts


def asked(address: str, query: str) -> list[Any]:
    """Prometheus' answer."""
    url = f"{address}/api/v1/query?query={urllib.parse.quote(query)}"
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return json.load(answer)["data"]["result"]
    except OSError:  # not up yet
        return []

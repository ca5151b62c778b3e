"""Rules, alerts and runbooks, with Debian's Prometheus and Alertmanager.

The last test breaks a running worker and waits for the alert at a webhook.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import urllib.request
from typing import TYPE_CHECKING

import pytest

from monitoring import EVERY_METRIC as METRICS
from monitoring import RULES, RUNBOOKS, asked, monitoring, program
from workers import WorkerProcess, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cxstream.settings import Settings

ALERTS = (RULES / "cxstream.alerts.yml").read_text()
RECORDS = (RULES / "cxstream.rules.yml").read_text()
TESTS = sorted(RULES.glob("*.test.yml"))
NAMES = re.findall(r"- alert: (\w+)", ALERTS)
SECONDS = 90.0


def promtool(*arguments: object) -> str:
    """Run promtool to its good end; what it said."""
    command = [program("promtool"), *map(str, arguments)]
    # It lives too short to gain from threads and from frequent collections, which are a quarter of its processor time.
    environment = {**os.environ, "GOGC": "400", "GOMAXPROCS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- what hangs together


def rules_of(text: str) -> dict[str, str]:
    """The text of each alert or recording rule."""
    parts = re.split(r"^ +- (?:alert|record): ", text, flags=re.MULTILINE)[1:]
    return {part.split("\n")[0]: part for part in parts}


def series_in(text: str) -> set[str]:
    """Names of series in PromQL."""
    code = re.sub(r'"[^"]*"|#.*', "", text)
    return set(re.findall(r"\b(?:cxstream|faust|kafka)[_:][a-z0-9_:]+", code))


def promql() -> Iterator[tuple[str, str]]:
    """Where PromQL stands, and what."""
    for kind in (ALERTS, RECORDS):
        for name, text in rules_of(kind).items():
            yield name, text.split("expr:")[1].split("labels:\n")[0]
    for path in RUNBOOKS.glob("*.md"):
        for block in re.findall(r"^```promql\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                yield path.name, line


def exposed() -> set[str]:
    """Names of all series there are."""
    suffixes = {"histogram": ("_bucket", "_sum", "_count"), "gaugehistogram": ("_bucket", "_gsum", "_gcount")}
    return {
        metric.name + suffix for metric in METRICS.values() for suffix in suffixes.get(metric.type, ("",))
    } | set(rules_of(RECORDS))


def test_promql_uses_what_is_defined() -> None:
    known = exposed()
    for where, text in promql():
        assert not series_in(text) - known, where


def test_labels_in_promql_are_defined() -> None:
    """A selector with a label that the metric has not, or a value that it cannot have, selects nothing."""
    by_series = {name: METRICS.get(re.sub(r"_(bucket|g?sum|g?count)$", "", name)) for name in exposed()}
    by_series |= METRICS
    for where, text in promql():
        for name, inside in re.findall(r"\b([a-z_]+)\{([^}]*)\}", text):
            metric = by_series.get(name)
            if metric is None:
                continue
            for label, operator, wanted in re.findall(r'(\w+)\s*(=~|!=|=)\s*"([^"]*)"', inside):
                if label == "le":
                    assert float(wanted) in metric.buckets, (where, name)
                elif label != "job":
                    allowed = metric.labels[label]
                    values = wanted.split("|") if operator == "=~" else [wanted]
                    assert isinstance(allowed, str) or set(values) <= set(allowed), (where, name, label)


def test_what_a_kafka_exporter_has_too_is_asked_of_the_workers() -> None:
    for where, text in promql():
        for name, inside in re.findall(r"\b(kafka_(?:consumergroup|topic)_\w+)(\{[^}]*\})?", text):
            assert 'job="cxstream"' in inside, (where, name)


def test_each_recorded_series_is_used() -> None:
    used = set().union(*(series_in(text) for where, text in promql()))
    recorded = set(rules_of(RECORDS))
    # For dashboards.
    assert recorded - used <= {"cxstream:newest_event_age:seconds", "cxstream:events:rate5m"}


def test_alerts_are_in_order() -> None:
    assert len(NAMES) == len(set(NAMES))
    for name, text in rules_of(ALERTS).items():
        assert re.fullmatch(r"Cxstream([A-Z][a-z]+)+", name)
        assert re.search(r"^ +severity: (critical|warning|none)$", text, re.MULTILINE), name
        for annotation in ("summary", "description"):
            assert re.search(rf'^ +{annotation}: ".+"$', text, re.MULTILINE), name


def test_each_alert_has_its_runbook_and_no_runbook_is_left_over() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {*NAMES, "README"}
    index = (RUNBOOKS / "README.md").read_text()
    for name in NAMES:
        text = (RUNBOOKS / f"{name}.md").read_text()
        severity = re.search(r"severity: (\w+)", rules_of(ALERTS)[name])
        assert severity
        assert text.startswith(f"# {name}\n\nSeverity: {severity[1]}. ")
        assert f"| [{name}]({name}.md) | {severity[1]} |" in index
        for heading in ("Meaning", "Impact", "Diagnosis", "Mitigation", "Escalation"):
            assert f"\n## {heading}\n" in text, name
        assert "```" in text, name


def test_each_alert_is_tested_firing_and_silent() -> None:
    cases: dict[str, set[bool]] = {name: set() for name in NAMES}
    for path in TESTS:
        for name, expected in re.findall(r"alertname: (\w+)\n +exp_alerts:(.*)", path.read_text()):
            cases[name].add(expected.strip() != "[]")
    assert cases.pop("CxstreamWatchdog") == {True}
    assert [name for name, kinds in cases.items() if kinds != {True, False}] == []


def opened(address: str) -> str:
    """What a browser gets from this address."""
    with urllib.request.urlopen(address, timeout=60) as answer:
        return str(answer.read().decode())


# --- promtool


def test_rules_and_configuration_are_valid() -> None:
    promtool("check", "rules", RULES / "cxstream.rules.yml", RULES / "cxstream.alerts.yml")
    promtool("check", "config", RULES / "prometheus.yml")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_alerts_fire_when_they_should(path: Path) -> None:
    promtool("test", "rules", path)


@pytest.mark.parametrize("name", NAMES)
def test_promql_of_runbooks_parses(name: str, tmp_path: Path) -> None:
    lines = [text for where, text in promql() if where == f"{name}.md"]
    rules = [{"record": f"r{n}", "expr": text} for n, text in enumerate(lines)]
    # JSON is YAML.
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "runbook", "rules": rules}]}))
    promtool("check", "rules", file)


# --- the whole way


@pytest.mark.broker
async def test_a_worker_that_hangs_is_told_to_the_webhook(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)

    def told(status: str, name: str) -> bool:
        return any(a["status"] == status and a["labels"]["alertname"] == name for a in alerts)

    with WorkerProcess(settings, tmp_path / "log") as worker:
        found = re.search(r"metrics http://(127\.0\.0\.1:\d+)/metrics", worker.ready())
        assert found
        with monitoring(tmp_path, found[1]) as (prometheus, alerts):

            async def scraped() -> bool:
                return bool(await asyncio.to_thread(asked, prometheus, "cxstream_ready == 1"))

            def logs() -> str:
                tails = [path.read_text()[-2000:] for path in tmp_path.glob("*.log")]
                return "\n".join([str(alerts), *tails])

            await until(scraped, SECONDS, logs)
            await until(lambda: told("firing", "CxstreamWatchdog"), SECONDS, logs)
            assert not told("firing", "CxstreamWorkerDown")
            worker.process.send_signal(signal.SIGSTOP)
            await until(lambda: told("firing", "CxstreamWorkerDown"), SECONDS, logs)
            alert = next(a for a in alerts if a["labels"]["alertname"] == "CxstreamWorkerDown")
            assert alert["labels"]["severity"] == "critical"
            page = RUNBOOKS / "CxstreamWorkerDown.md"
            assert opened(alert["annotations"]["runbook_url"]) == page.read_text()
            worker.process.send_signal(signal.SIGCONT)
            await until(lambda: told("resolved", "CxstreamWorkerDown"), SECONDS, logs)
        assert worker.stop() == 0, worker.log

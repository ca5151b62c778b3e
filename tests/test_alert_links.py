"""Links of alerts to their runbooks: from the rules, whatever their address, to the notification of Alertmanager."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from answers import serving
from cxstream.local.ports import HOST, free
from monitoring import (
    ROOT,
    RULES,
    RUNBOOKS,
    InvalidAddressError,
    monitoring,
    program,
    running,
    with_runbooks_at,
)
from test_docs import anchors
from test_prometheus import ALERTS, NAMES, RECORDS, SECONDS, opened, promtool
from workers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# Where the shipped rules look for runbooks, and another address.
SHIPPED = "{{ $externalURL }}/consoles"
ELSEWHERE = "https://git.example.org/cx&more/docs/runbooks"


def annotations(alerts: str) -> dict[str, dict[str, str]]:
    """What each alert says, by its name."""
    groups = yaml.safe_load(alerts)["groups"]
    return {rule["alert"]: rule["annotations"] for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("address", [None, ELSEWHERE, f"{ELSEWHERE}//", "http://localhost:9090/consoles"])
def test_each_alert_links_a_page_and_an_anchor_that_exist(address: str | None, tmp_path: Path) -> None:
    alerts = ALERTS
    if address is not None:
        with_runbooks_at(address, RULES, tmp_path)
        alerts = (tmp_path / "cxstream.alerts.yml").read_text()
        promtool("check", "rules", tmp_path / "cxstream.alerts.yml")
        assert (tmp_path / "cxstream.rules.yml").read_text() == RECORDS
    base = (address or SHIPPED).rstrip("/")
    found = annotations(alerts)
    assert list(found) == NAMES
    for name, said in found.items():
        assert said["runbook"] == f"docs/runbooks/{name}.md"
        assert said["runbook_url"].startswith(f"{base}/")
        page, _, anchor = said["runbook_url"].removeprefix(f"{base}/").partition("#")
        assert said["runbook"] == f"docs/runbooks/{page}"
        assert (ROOT / said["runbook"]).read_text().startswith(f"# {name}\n")
        assert not anchor or anchor in anchors(RUNBOOKS / page), said["runbook_url"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "docs/runbooks",
        "https://",
        "ftp://files.example/docs",
        "https://wiki.example/page?name=x",
        "https://wiki.example/page#x",
        'https://wiki.example/"x',
        "https://wiki.example/a b",
        "https://wiki.example/a\nb",
        "https://wiki.example/a|b",
        "https://wiki.example/$(id)",
        "https://wiki.example/{{ $value }}",
    ],
)
def test_an_address_that_no_page_can_be_appended_to_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidAddressError, match="give one such as https://"):
        with_runbooks_at(address, RULES, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_make_writes_rules_and_dashboards_with_the_address(tmp_path: Path) -> None:
    for name in ("Makefile", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = ["make", "--directory", tmp_path, "rules"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "'' is not the address of a folder of runbooks" in done.stderr
    done = subprocess.run([*command, f"RUNBOOK_URL={ELSEWHERE}"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "build/prometheus/cxstream.alerts.yml").read_text()
    assert text.count(f'runbook_url: "{ELSEWHERE}/Cxstream') == len(NAMES)
    boards = {path.name for path in (ROOT / "deploy/grafana").glob("*.json")}
    made = list((tmp_path / "build/grafana").glob("*.json"))
    assert {path.name for path in made} == boards
    for path in made:
        variables = json.loads(path.read_text())["templating"]["list"]
        # A dashboard without alerts links no runbooks.
        linked = [] if path.name == "postgresql.json" else [ELSEWHERE]
        assert [one["query"] for one in variables if one["name"] == "runbooks"] == linked


# --- the whole way


def logs(folder: Path) -> Callable[[], str]:
    """What Prometheus and Alertmanager said last."""
    return lambda: "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))


async def test_an_alert_arrives_with_a_link_that_shows_its_runbook(tmp_path: Path) -> None:
    with monitoring(tmp_path) as (prometheus, alerts):
        await until(lambda: alerts, SECONDS, logs(tmp_path))
        assert alerts[0]["annotations"]["runbook_url"] == f"{prometheus}/consoles/CxstreamWatchdog.md"
        # Prometheus takes the pages for templates: nothing in them may be one.
        for path in RUNBOOKS.glob("*.md"):
            assert opened(f"{prometheus}/consoles/{path.name}") == path.read_text()


async def test_an_alert_arrives_with_a_link_to_the_address_that_was_set(tmp_path: Path) -> None:
    with monitoring(tmp_path, runbook_url=ELSEWHERE) as (_, alerts):
        await until(lambda: alerts, SECONDS, logs(tmp_path))
        assert alerts[0]["annotations"]["runbook_url"] == f"{ELSEWHERE}/CxstreamWatchdog.md"


# --- notifications


def receivers() -> str:
    """The example of receivers in the documents."""
    text = (ROOT / "docs" / "operations.md").read_text()
    (found,) = re.findall(r"^```yaml\n(receivers:\n.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


def configured(folder: Path) -> Path:
    """The shipped configuration of Alertmanager with the receivers of the documents; its file."""
    shutil.copy(RULES / "cxstream.tmpl", folder)
    routes = (RULES / "alertmanager.yml").read_text().split("receivers:\n")[0]
    file = folder / "alertmanager.yml"
    file.write_text(re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", routes) + receivers())
    return file


@contextmanager
def chat() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A chat's webhook: its address, and the messages that came."""
    messages: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        yield address, messages


def tell(manager: str, name: str, **labels: str) -> bool:
    """Give Alertmanager an alert as the shipped rules say it; False while it is not up."""
    said = {key: text.replace(SHIPPED, ELSEWHERE) for key, text in annotations(ALERTS)[name].items()}
    alert = {"labels": {"alertname": name, "severity": "critical", **labels}, "annotations": said}
    request = urllib.request.Request(
        f"http://{manager}/api/v2/alerts",
        json.dumps([alert]).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def alertmanager(file: Path) -> Iterator[str]:
    """Alertmanager with this configuration; where it listens."""
    manager = f"{HOST}:{free(1)[0]}"
    command = [program("prometheus-alertmanager"), f"--config.file={file}", "--cluster.listen-address="]
    command += [f"--storage.path={file.parent / 'data'}", f"--web.listen-address={manager}"]
    with running(command, file.parent / "alertmanager.log"):
        yield manager


async def test_an_alert_on_the_cause_inhibits_those_on_what_follows(tmp_path: Path) -> None:
    def inhibited() -> set[tuple[str, str]]:
        found = json.loads(
            opened(f"http://{manager}/api/v2/alerts?active=false&silenced=false&inhibited=true")
        )
        return {(one["labels"]["alertname"], one["labels"].get("partition", "")) for one in found}

    with alertmanager(configured(tmp_path)) as manager:
        for partition in ("3", "4"):
            for name in ("CxstreamStalled", "CxstreamPartitionNotRunning"):
                told = partial(tell, manager, name, partition=partition)
                await until(told, SECONDS, logs(tmp_path))
        assert not inhibited()
        assert tell(manager, "CxstreamPartitionUnreadable", partition="3", topic="cx.touchpoints")
        of_3 = {("CxstreamStalled", "3"), ("CxstreamPartitionNotRunning", "3")}
        await until(lambda: inhibited() == of_3, SECONDS, logs(tmp_path))
        assert tell(manager, "CxstreamKafkaUnreachable", instance="a")
        both = {*of_3, ("CxstreamStalled", "4"), ("CxstreamPartitionNotRunning", "4")}
        await until(lambda: inhibited() == both, SECONDS, logs(tmp_path))


async def test_a_notification_in_a_chat_shows_the_link(tmp_path: Path) -> None:
    with chat() as (address, messages):
        file = configured(tmp_path)
        file.write_text(file.read_text().replace("https://hooks.chat.example", address))
        with alertmanager(file) as manager:
            await until(lambda: tell(manager, "CxstreamAbsent"), SECONDS, logs(tmp_path))
            await until(lambda: messages, SECONDS, logs(tmp_path))
    (message,) = messages[0]["attachments"]
    assert message["title"] == "[FIRING] CxstreamAbsent (critical)"
    assert message["title_link"] == f"{ELSEWHERE}/CxstreamAbsent.md"
    said = annotations(ALERTS)["CxstreamAbsent"]
    assert message["text"] == (
        f"firing: {said['summary']} {said['description']}\nRunbook: {ELSEWHERE}/CxstreamAbsent.md\n"
    )


def test_receivers_of_the_documents_are_valid(tmp_path: Path) -> None:
    file = configured(tmp_path)
    for path in (file, RULES / "alertmanager.yml"):
        command = [program("amtool"), "check-config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert "SUCCESS" in done.stdout
        assert "1 templates" in done.stdout


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"{ELSEWHERE}/X.md", f'<a href="{ELSEWHERE.replace("&", "&amp;")}/X.md">CxstreamStalled</a>'),
        ("", "Runbook: docs/runbooks/X.md</p>"),
    ],
)
def test_a_mail_links_the_runbook_or_names_it(url: str, shown: str, tmp_path: Path) -> None:
    said = {"summary": "S.", "description": "a < b", "runbook": "docs/runbooks/X.md"}
    said |= {"runbook_url": url} if url else {}
    alert = {"status": "firing", "labels": {"alertname": "CxstreamStalled"}, "annotations": said}
    data = tmp_path / "data.json"
    data.write_text(json.dumps({"status": "firing", "alerts": [alert]}))
    command = [program("amtool"), "template", "render", f"--template.glob={RULES / 'cxstream.tmpl'}"]
    command += [f"--template.data={data}", "--template.type=html"]
    command += ['--template.text={{ template "cxstream.html" . }}']
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout
    assert "a &lt; b" in done.stdout

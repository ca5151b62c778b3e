"""The show for operators, as far as it goes without starting anything; `make ops` runs all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import ops
from ops import Alert, Pager, Screen

if TYPE_CHECKING:
    from pathlib import Path


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ops.__file__, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **environment}
    )


def test_help_shows_an_example() -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    assert "Example:\n    python tests/ops.py\n" in done.stdout


def test_a_missing_program_is_named_with_the_package_that_has_it(tmp_path: Path) -> None:
    done = run(PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == ("ops: prometheus is missing: apt-get install prometheus prometheus-alertmanager\n")


def test_a_wrong_address_of_runbooks_is_said_before_anything_starts() -> None:
    done = run("--runbook-url", "docs/runbooks")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "ops: runbook-url.sh: 'docs/runbooks' is not the address of a folder of runbooks" in done.stderr


def told(status: str, instance: str = "a", name: str = "CxstreamWorkerDown") -> dict[str, Any]:
    """An alert in a message of Alertmanager."""
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "critical", "area": "system", "instance": instance},
        "annotations": {
            "summary": "A worker.",
            "description": f"It is {instance}.",
            "runbook_url": "https://w/x.md",
        },
    }


def test_the_pager_tells_each_change_once(capsys: Any) -> None:
    inbox = [told("firing"), told("firing"), told("firing", "b")]
    pager = Pager(Screen(), inbox)
    assert pager.fires("CxstreamWorkerDown", "instance a")
    assert not pager.fires("CxstreamStalled")
    inbox += [told("resolved"), told("resolved")]
    assert not pager.fires("CxstreamWorkerDown", "instance a")
    assert pager.fires("CxstreamWorkerDown"), "b still does"
    lines = [line.split(" s  ")[1] for line in capsys.readouterr().out.splitlines()]
    assert [" ".join(line.split()) for line in lines] == [
        "alert firing CxstreamWorkerDown instance a",
        "A worker. It is a. -> https://w/x.md",
        "alert firing CxstreamWorkerDown instance b",
        "A worker. It is b. -> https://w/x.md",
        "alert resolved CxstreamWorkerDown instance a",
    ]
    assert pager.status[Alert("CxstreamWorkerDown", "instance b")] == "firing"

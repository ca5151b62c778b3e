"""The commands of docs/operations.md that change rules and try others, in order, as they are written."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import in_own_loop
from cxstream.kafka.admin import administration
from cxstream.rules.log import in_force
from cxstream.topology import topology
from in_process import completed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cxstream.settings import Settings

OPERATIONS = (Path(__file__).parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
TRY = "try."

pytestmark = pytest.mark.timeout(240)


def blocks(heading: str) -> list[str]:
    """The shell commands of a section."""
    section = OPERATIONS.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_histories_bring_purchases_back_as_the_page_says(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    section = OPERATIONS.partition("\n## Starting afresh\n")[2].partition("\n## ")[0]
    [event] = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    history = json.loads(event)
    (tmp_path / "histories.ndjson").write_text(json.dumps(history) + "\n")
    for line in blocks("Starting afresh")[-1].splitlines():
        program, *arguments = line.split()
        assert program == "cxstream"
        completed(
            arguments[0], tmp_path / arguments[1], *(["--kafka", settings.kafka] if "produce" in line else [])
        )
    completed("replay", tmp_path / "histories.ndjson", "--out", tmp_path / "out", "--quiet")
    [card] = (tmp_path / "out" / "scores.ndjson").read_text().splitlines()
    said = json.loads(card)["data"]
    assert (said["purchases"], said["last_purchase"], said["spent"]) == (14, "2025-03-20", 812.4)


@pytest.fixture
def tried(settings: Settings) -> Iterator[None]:
    """After the test, the topics of the second installation are gone."""
    yield

    async def remove() -> None:
        async with administration(settings) as admin:
            there = set(await admin.list_topics())
            await admin.delete_topics(sorted({each.name for each in topology(TRY).all} & there))

    in_own_loop(remove())


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
@pytest.mark.usefixtures("tried")
def test_rules_are_changed_and_tried_as_the_page_says(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(4)
    touchpoints = tmp_path / "touchpoints.ndjson"
    options = ["--customers", 100, "--events", 4000, "--seed", 3, "--trouble", 20, "--quiet"]
    completed("simulate", *options, "--out", touchpoints)
    completed("produce", touchpoints, "--kafka", settings.kafka)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CXSTREAM_KAFKA": settings.kafka,
    }

    def run(commands: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            input="y\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
            cwd=tmp_path,
            env=environment,
        )
        assert done.returncode == 0, f"{commands}: {done.stdout}\n{done.stderr}"
        return done.stdout

    [change] = blocks("Changing the rules")
    said = run(change)
    assert "scoring.coefficients.complaint: 0.0 -> 1.8" in said
    assert "would be called that are not now" in said
    now = in_own_loop(in_force(settings))
    assert {each.rules.rules.params.name for each in now} == {"complaints-2"}
    assert {each.rules.rules.params.coefficients["complaint"] for each in now} == {1.8}

    history, compare, live, _ = blocks("Trying rules beside the present ones")
    # The simulation ends at the day before yesterday or so, not in the year of the example.
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    run(history.replace("2025-04-01", tomorrow))
    run(compare)
    labels = {
        json.loads(line)["data"]["model"].partition("@")[0]
        for line in (tmp_path / "after" / "scores.ndjson").read_text().splitlines()
    }
    assert labels == {"complaints-2"}
    assert (tmp_path / "called-now").exists()

    commands, worker = live.rstrip().rsplit("\n", 1)
    assert worker == "cxstream worker"
    run(commands)
    beside = settings.model_copy(update={"topics": settings.topics.model_copy(update={"prefix": TRY})})
    found = in_own_loop(in_force(beside))
    assert {each.rules.rules.params.name for each in found} == {"complaints-2"}
    assert [each.rules.offset for each in found] == [0] * 4
    assert sum(each.end for each in found) > 4000

"""`cxstream worker` as an operator meets it."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from cxstream.local.ports import free
from cxstream.topology import SCORES, TOUCHPOINTS
from workers import Watcher, WorkerProcess, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

SECONDS = 90.0


def refused(*options: str) -> str:
    """What a worker that does not start says."""
    command = [sys.executable, "-m", "cxstream", "worker", "--web-port", "0", "--metrics-port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


def test_help_has_an_example() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cxstream", "worker", "--help"], capture_output=True, text=True, check=True
    )
    assert "Example:\n    cxstream worker" in done.stdout


def test_no_kafka() -> None:
    address = f"localhost:{free(1)[0]}"
    assert f"cxstream: no Kafka at {address}" in refused("--kafka", address)


@pytest.mark.broker
def test_missing_topics(kafka: str, topics: Callable[[int], None]) -> None:
    topics(0)
    said = refused("--kafka", kafka)
    assert "cx.touchpoints is missing" in said
    assert "cxstream topics --create" in said


@pytest.mark.broker
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_stops_in_good_order(
    number: signal.Signals, settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(2)
    await write(settings, TOUCHPOINTS.name, {p: [touchpoint(f"c{p}", n) for n in range(100)] for p in (0, 1)})
    with WorkerProcess(settings, tmp_path / "log") as worker:
        assert worker.ready().startswith(
            f"ready: partitions 0, 1 of cx.touchpoints, group {settings.worker.group}, metrics http://127.0.0.1:"
        )
        async with Watcher(settings, 2) as watcher:
            await until(lambda: _committed(watcher), SECONDS, lambda: worker.log)
            assert worker.stop(number) == 0, worker.log
            assert await watcher.committed() == 200
            assert {r.key for records in (await watcher.read(SCORES.name)).values() for r in records} == {
                b"c0",
                b"c1",
            }
        assert "Traceback" not in worker.log


async def _committed(watcher: Watcher) -> bool:
    return await watcher.committed() > 0


@pytest.mark.broker
async def test_stopped_while_it_starts(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    with WorkerProcess(settings, tmp_path / "log", CXSTREAM_LOG_LEVEL="debug") as worker:
        await until(lambda: "Starting" in worker.log, SECONDS, lambda: worker.log)
        assert worker.stop() == 0, worker.log


@pytest.mark.broker
async def test_says_on_the_web_whether_it_is_ready(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    with WorkerProcess(settings, tmp_path / "log") as worker:
        address = worker.ready().rpartition(" ")[2]
        assert await asyncio.to_thread(_get, f"{address}/livez") == (200, {"status": "ok"})
        expected = (200, {"ready": True, "partitions": {"0": "running"}})
        assert await asyncio.to_thread(_get, f"{address}/readyz") == expected
        assert worker.stop() == 0, worker.log


def _get(url: str) -> tuple[int, object]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.broker
async def test_customer_ids_are_not_logged(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("a-secret-name", n) for n in range(50)]})
    with WorkerProcess(settings, tmp_path / "log", CXSTREAM_LOG_LEVEL="debug") as worker:
        worker.ready()
        async with Watcher(settings, 1) as watcher:
            await until(watcher.all_committed, SECONDS, lambda: worker.log)
        assert worker.stop() == 0
        assert "partition running" in worker.log
        assert "a-secret-name" not in worker.log

"""`cxstream worker` as an operator meets it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from conftest import in_own_loop
from cxstream.kafka.admin import administration, look
from cxstream.local.ports import free
from cxstream.topology import FRICTION, SCORED, SCORES, TIMESTAMP_TYPE, TOUCHPOINTS, topology
from cxstream.worker.descriptors import needed
from cxstream.worker.web.connection_limit import BACKLOG, CONNECTIONS
from in_process import cxstream_text
from workers import Watcher, WorkerProcess, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable

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
def test_touchpoints_without_the_brokers_time_are_refused(
    kafka: str, settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(1)

    async def sender_says_when() -> None:
        async with administration(settings) as admin:
            spoilt = {TIMESTAMP_TYPE: "CreateTime"}
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, TOUCHPOINTS.name, spoilt)])

            async def altered() -> bool:
                [found] = await look(admin, topology(), topics=[TOUCHPOINTS])
                return TIMESTAMP_TYPE in found.wrong_config

            await until(altered, SECONDS, lambda: "not altered")

    in_own_loop(sender_says_when())
    said = refused("--kafka", kafka)
    assert "cx.touchpoints: message.timestamp.type is CreateTime, not LogAppendTime" in said
    assert "cxstream topics --alter-config" in said
    done = cxstream_text("doctor", "--kafka", kafka, "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [f["level"] for f in found if f["check"] == "topics" and "CreateTime" in f["what"]] == ["error"]


@pytest.mark.broker
def test_too_few_file_descriptors_for_the_partitions_are_refused(
    kafka: str, topics: Callable[[int], None]
) -> None:
    topics(4)
    limited = 'ulimit -n 200; exec "$@"'
    command = ["sh", "-c", limited, "sh", sys.executable, "-m", "cxstream", "worker", "--kafka", kafka]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 1
    assert re.search(
        r"4 partitions need \d+ file descriptors, and the hard limit is 200: raise it", done.stderr
    )


@pytest.mark.broker
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
async def test_a_worker_has_no_more_descriptors_than_were_computed(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(8)
    with WorkerProcess(settings, tmp_path / "log") as worker:
        await asyncio.to_thread(worker.ready)
        there = Path(f"/proc/{worker.process.pid}/fd")

        def count() -> int:
            return len(list(there.iterdir()))

        # A producer and two readers of each partition have connected.
        await until(lambda: count() >= 6 * 8, SECONDS, lambda: str(count()))
        assert count() <= needed(8, 1) - 2 * (CONNECTIONS + BACKLOG)
        assert worker.stop() == 0


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
        # Faust starts its services; before that nothing needs a good order.
        await until(lambda: "]: Starting..." in worker.log, SECONDS, lambda: worker.log)
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
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.broker
async def test_without_scored_touchpoints_everything_else_is_written(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("anna", n) for n in range(50)]})
    off = {"CXSTREAM_WORKER__SCORED": "false", "CXSTREAM_WORKER__TICK_SECONDS": "0.5"}
    with WorkerProcess(settings, tmp_path / "log", ticker=True, **off) as worker:
        worker.ready()
        async with Watcher(settings, 1) as watcher:

            async def ticked() -> bool:
                """Ticks move the clock, of which cx.scored would tell."""
                return await watcher.committed() >= 55

            await until(ticked, SECONDS, lambda: worker.log)
            assert worker.stop() == 0
            assert await watcher.read(SCORED.name) == {}
            cards = (await watcher.read(SCORES.name))[0]
            assert {card.key for card in cards} == {b"anna"}
            assert (await watcher.read(FRICTION.name))[0]


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

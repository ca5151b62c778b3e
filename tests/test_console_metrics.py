"""Metrics and health of the console."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from console_app import OWN, console, warehouse
from cxstream.console.metrics import METRICS, ConsoleMetrics
from cxstream.console.people import add_person
from cxstream.console.reader import Reader, TooSlowError
from cxstream.settings import Console, Warehouse
from cxstream.warehouse.metrics import METRICS as FOLLOWER
from cxstream.warehouse.metrics import FollowMetrics
from cxstream.worker.telemetry.metrics_server import Health, MetricsServer, served
from view_rows import touchpoint
from workers import until

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse(tmp_path_factory.mktemp("metrics") / "w.duckdb", [touchpoint()])


def value(metrics: ConsoleMetrics, name: str, **labels: str) -> float:
    """A sample; 0 if there is none."""
    return metrics.registry.get_sample_value(f"cxstream_console_{name}", labels) or 0.0


async def test_requests_are_counted_by_route_and_status(path: Path) -> None:
    metrics = ConsoleMetrics()
    async with console(path, metrics=metrics) as client:
        for asked in ("/voice", "/voice?period=28d", "/nowhere", "/../etc/passwd", "/api/v1/views/voice"):
            await client.get(asked)
        await client.get("/voice", headers={"host": "evil.example"})
    count = {
        (labels["route"], labels["status"]): number
        for metric in metrics.registry.collect()
        if metric.name == "cxstream_console_requests"
        for name, labels, number, *_ in metric.samples
        if name.endswith("_total") and number
    }
    assert count == {
        ("/voice", "200"): 2,
        ("/voice", "421"): 1,
        ("other", "404"): 2,
        ("/api/v1/views/{name}", "200"): 1,
    }
    assert value(metrics, "request_seconds_count", route="/voice") == 3
    # Errors of routes that nobody has asked for are there, too: the first one is seen.
    assert metrics.registry.get_sample_value(
        "cxstream_console_requests_total", {"route": "/queue", "status": "500"}
    ) == pytest.approx(0)


async def test_streams_are_counted_while_they_are_open(path: Path) -> None:
    metrics = ConsoleMetrics()
    async with console(path, metrics=metrics) as client:
        # The transport of the test answers when the stream is over: it ends with the console.
        asked = asyncio.create_task(client.get("/live"))
        await until(lambda: _is(value(metrics, "streams_open") == 1), 60, lambda: "no stream")
    await asked
    assert value(metrics, "streams_open") == 0
    assert value(metrics, "requests_total", route="/live", status="200") == 1
    assert value(metrics, "request_seconds_count", route="/live") == 0


async def _is(found: bool) -> bool:
    return found


async def test_queries_are_counted_by_how_they_ended(path: Path) -> None:
    metrics = ConsoleMetrics()
    reader = Reader(path, Warehouse(), Console(query_seconds=2), metrics)
    endless = "SELECT count(*) FROM range(100000000000) AS a"
    try:
        for _ in range(2):
            await reader.sql("SELECT 1 AS one")
        with pytest.raises(TooSlowError):
            await reader.sql(endless)
        leaving = asyncio.create_task(reader.sql(endless))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        with pytest.raises(Exception, match="nothing"):
            await reader.sql("SELECT * FROM nothing")
    finally:
        reader.close()
    found = {
        outcome: value(metrics, "queries_total", outcome=outcome)
        for outcome in ("answered", "cached", "stopped", "left", "failed")
    }
    assert found == {"answered": 1, "cached": 1, "stopped": 1, "left": 1, "failed": 1}
    assert value(metrics, "query_seconds_count") == 4


async def test_sign_ins_are_counted_by_how_they_ended(path: Path, tmp_path: Path) -> None:
    users, metrics = tmp_path / "users.json", ConsoleMetrics()
    add_person(users, "anna", "viewer", "correct horse battery")
    async with console(path, metrics=metrics, users_file=users) as client:
        for password in ("wrong", "correct horse battery", *["wrong"] * 6):
            form = {"name": "anna", "password": password}
            await client.post("/sign-in", data=form, headers=OWN)
            client.cookies.clear()
        await client.get("/sign-in")
    assert value(metrics, "sign_ins_total", outcome="accepted") == 1
    assert value(metrics, "sign_ins_total", outcome="refused") == 6
    assert value(metrics, "sign_ins_total", outcome="limited") == 1


async def test_the_age_is_that_of_the_file_that_is_read(tmp_path: Path) -> None:
    path, metrics = warehouse(tmp_path / "w.duckdb", [touchpoint()]), ConsoleMetrics()
    async with console(path, metrics=metrics) as client:
        await client.get("/voice")
        assert value(metrics, "read_model_timestamp_seconds") == pytest.approx(path.stat().st_mtime)
    path.unlink()
    assert value(metrics, "read_model_timestamp_seconds") == 0


async def test_a_console_is_ready_when_its_file_can_be_read(tmp_path: Path) -> None:
    path, now, metrics = tmp_path / "w.duckdb", [0.0], ConsoleMetrics(lambda: now[0])
    reader = Reader(path, Warehouse(), Console(), metrics)
    watching = asyncio.create_task(metrics.watch(reader))
    try:
        await until(
            lambda: _is("no such warehouse" in (metrics.unready() or "")), 60, lambda: str(metrics.unready())
        )
        assert (metrics.hangs(), value(metrics, "ready")) == (None, 0)
        warehouse(path, [touchpoint()])
        now[0] = 10.0
        await until(lambda: _is(metrics.unready() is None), 60, lambda: str(metrics.unready()))
        assert value(metrics, "ready") == 1
    finally:
        watching.cancel()
        reader.close()
    now[0] = 60.0
    assert "has not run for" in (metrics.hangs() or "")
    assert metrics.unready() == metrics.hangs()


def answer(registry: CollectorRegistry, health: Health, page: str) -> tuple[int, dict[str, Any]]:
    """What the server says to a probe."""
    with served(MetricsServer(registry, (), health), "console", "127.0.0.1", 0) as where:
        try:
            with urllib.request.urlopen(where.replace("/metrics", page), timeout=60) as found:
                return found.status, json.load(found)
        except urllib.error.HTTPError as found:
            return found.code, json.load(found)


def test_probes_are_answered_with_the_reason() -> None:
    now, metrics = [0.0], ConsoleMetrics(lambda: now[0])
    assert answer(metrics.registry, metrics, "/livez") == (200, {"status": "ok"})
    assert answer(metrics.registry, metrics, "/readyz") == (
        503,
        {"ready": False, "reason": "it has not started"},
    )
    metrics.readable()
    assert answer(metrics.registry, metrics, "/readyz") == (200, {"ready": True})
    follower = FollowMetrics(["cx.scored"])
    assert answer(follower.registry, follower, "/readyz")[0] == 503
    follower.taken(0, 0.1)
    assert answer(follower.registry, follower, "/readyz") == (200, {"ready": True})
    assert answer(follower.registry, follower, "/livez")[0] == 200


@pytest.mark.parametrize(("page", "table"), [("console.md", METRICS), ("warehouse.md", FOLLOWER)])
def test_documents_have_the_metrics(page: str, table: dict[str, tuple[str, str, tuple[str, ...]]]) -> None:
    text = (DOCS / page).read_text()
    for name, (kind, meaning, labels) in table.items():
        assert f"| `{name}` | {kind} | {', '.join(f'`{each}`' for each in labels)} | {meaning} |\n" in text

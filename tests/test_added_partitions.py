"""Partitions that somebody adds to cx.touchpoints under a running worker are noticed, and named as what they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import NewPartitions
from structlog.testing import capture_logs

from cxstream.doctor.computer import web as doctor_web
from cxstream.doctor.finding import Patient
from cxstream.model.errors import TopicError
from cxstream.topics import administration
from cxstream.topology import TOUCHPOINTS
from cxstream.web import get
from cxstream.worker.app import create_app
from cxstream.worker.run import require_topics
from test_metrics import samples, scraped, value
from workers import Watcher, in_process, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.settings import Settings

SECONDS = 90.0


@pytest.mark.broker
async def test_a_worker_scores_no_further_once_partitions_were_added(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(2)
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("before", 1)], 1: [touchpoint("too", 2)]})
    app = create_app(settings)
    address = f"http://{app.conf.web_host}:{app.conf.web_port}"
    with capture_logs() as said:
        async with in_process(app), Watcher(settings, 2) as watcher:
            await until(lambda: app.ready, SECONDS, lambda: str(said))
            await until(watcher.all_committed, SECONDS, lambda: str(said))
            assert not app.partitions.halted
            async with administration(settings) as admin:
                await admin.create_partitions({TOUCHPOINTS.name: NewPartitions(4)})
            await until(
                lambda: app.partitions.halted and not list(app.partitions), SECONDS, lambda: str(said)
            )
            committed = await watcher.committed()
            await write(settings, TOUCHPOINTS.name, {0: [touchpoint("after", 3)]})
            status, body = await asyncio.to_thread(get, f"{address}/readyz")
            assert (status, body["ready"], body["partitions"]) == (503, False, {})
            assert "has 4 partitions now, and had 2" in body["halted"]
            assert "More partitions" in body["halted"]
            [found] = [each async for each in doctor_web(Patient(settings, None, None, address))]
            assert (found.level, body["halted"] in found.what) == ("error", True)
            assert app.exporter
            metrics = samples(await asyncio.to_thread(scraped, app.exporter.address))
            assert (value(metrics, "cxstream_halted"), value(metrics, "cxstream_ready")) == (1.0, 0.0)
            # A rebalance gives it the new partitions, which it does not begin.
            await app.partitions.on_assigned(app.consumer.assignment())
            assert list(app.partitions) == []
            assert await watcher.committed() == committed < await watcher.produced()
    errors = [
        each for each in said if each["event"] == "partitions were added; this worker has stopped scoring"
    ]
    assert len(errors) == 1
    with pytest.raises(TopicError, match=r"partitions were added to cx\.touchpoints"):
        await require_topics(settings)

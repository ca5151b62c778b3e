"""Partitions that somebody adds to cx.touchpoints under a running worker are noticed, and named as what they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiokafka.admin import NewPartitions
from structlog.testing import capture_logs

from cxstream.doctor import broker
from cxstream.doctor.cluster import connected
from cxstream.doctor.computer import web as doctor_web
from cxstream.doctor.finding import Patient
from cxstream.kafka.admin import administration, require_topics
from cxstream.model.errors import TopicError
from cxstream.topology import FORGET, SCORES, TOUCHPOINTS
from cxstream.worker.faust.app import create_app
from cxstream.worker.run import require_worker_topics
from cxstream.worker_client.http import get
from test_metrics import samples, scraped, value
from workers import Watcher, customers_of, in_process, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.settings import Settings

SECONDS = 90.0


@pytest.mark.broker
async def test_a_worker_scores_no_further_once_partitions_were_added(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(2)
    # Nothing is forwarded, which would end a partition with a marker that nobody commits.
    first, second = (customers_of(number, 2)[0] for number in range(2))
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint(first, 1)], 1: [touchpoint(second, 2)]})
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
            await write(settings, TOUCHPOINTS.name, {0: [touchpoint(first, 3)]})
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
        await require_worker_topics(settings)
    with pytest.raises(TopicError, match=r"partitions were added to cx\.touchpoints"):
        await require_topics(settings, [FORGET])
    async with connected(settings) as cluster:
        found = [each async for each in broker.topics(Patient(settings, None, None, None, cluster))]
    assert "partitions were added to cx.touchpoints" in found[0].what
    assert not any("delete and create" in each.advice for each in found), "that would lose the state"


@pytest.mark.broker
async def test_every_worker_of_a_group_stops_and_no_customer_loses_their_card(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    """Only the leader of a group hears of partitions from the coordinator; the others must look themselves."""
    topics(2)
    customers = [name for number in range(2) for name in customers_of(number, 2, 8)]
    records = {n: [touchpoint(name, 1) for name in customers_of(n, 2, 8)] for n in range(2)}
    await write(settings, TOUCHPOINTS.name, records)
    worker = settings.worker.model_copy(update={"web": False, "metrics": False})
    apps = [create_app(settings.model_copy(update={"worker": worker})) for _ in range(2)]
    for app in apps:
        app.partitions.expect(2)
    with capture_logs() as said:
        async with in_process(apps[0]), in_process(apps[1]), Watcher(settings, 2) as watcher:

            async def shared() -> bool:
                owned = [[partition.number for partition in app.partitions] for app in apps]
                ready = all(app.ready for app in apps) and sorted(owned) == [[0], [1]]
                return ready and await watcher.all_committed() and await cards(watcher) == set(customers)

            await until(shared, SECONDS, lambda: str(said))
            assert [app.consumer.topic_partitions(TOUCHPOINTS.name) for app in apps] == [2, 2]
            async with administration(settings) as admin:
                await admin.create_partitions({TOUCHPOINTS.name: NewPartitions(4)})
            await until(lambda: all(app.partitions.halted for app in apps), SECONDS, lambda: str(said))
            await until(lambda: not any(list(app.partitions) for app in apps), SECONDS, lambda: str(said))
            assert await cards(watcher) == set(customers)


async def cards(watcher: Watcher) -> set[str]:
    """The customers who have a score card."""
    found: set[str] = set()
    for records in (await watcher.read(SCORES.name)).values():
        latest = {record.key.decode(): record.value for record in records}
        found |= {name for name, card in latest.items() if card is not None}
    return found


@pytest.mark.parametrize(
    ("counts", "halted"),
    [
        ([(2, 2)], False),
        ([(None, 1), (2, 1)], False),
        ([(2, 2), (None, 0)], False),
        ([(2, 4)], True),
        ([(2, 0), (4, 0)], True),
        ([(None, 3)], True),
        ([(1, 0)], True),
    ],
)
async def test_a_worker_stops_by_what_it_hears_or_by_what_it_is_assigned(
    settings: Settings, counts: list[tuple[int | None, int]], halted: bool
) -> None:
    partitions = create_app(settings).partitions
    partitions.expect(2)
    for count, least in counts:
        await partitions.check_count(count, least)
    assert bool(partitions.halted) is halted

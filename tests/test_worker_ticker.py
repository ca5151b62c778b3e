"""Ticks: time passes in partitions that are read to their end, and only there."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from aiokafka.errors import IllegalStateError

from cxstream.topology import SCORED, TOUCHPOINTS
from cxstream.worker.faust.app import create_app
from cxstream.worker.ticker import Ticker, tick
from validity import validate
from workers import Watcher, in_process, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.settings import Settings

SECONDS = 60.0


def test_a_tick_is_valid_and_in_utc() -> None:
    event = tick(datetime(2025, 3, 1, 12, 0, 0, 123_456, timezone(timedelta(hours=2))))
    assert validate(event) is None
    assert json.loads(event)["time"] == "2025-03-01T10:00:00.123Z"
    assert json.loads(event)["id"] != json.loads(tick(datetime.now(UTC)))["id"]


@pytest.mark.broker
async def test_ticks_reach_each_partition_and_its_clock(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(2)
    worker = settings.worker.model_copy(
        update={"web": False, "tick_seconds": 0.2, "flush_seconds": 0.05, "ticker": True}
    )
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("c", n) for n in range(50)]})
    app = create_app(settings.model_copy(update={"worker": worker}))
    async with in_process(app):
        counters = app.partitions.counters
        await until(
            lambda: len(counters) == 2 and all(each.ticks >= 2 for each in counters.values()),
            SECONDS,
            lambda: str(counters),
        )
        assert counters[0].accepted == 50
    async with Watcher(settings, 2) as watcher:
        scored = await watcher.read(SCORED.name)
        for partition, records in (await watcher.read(TOUCHPOINTS.name)).items():
            ticks = [json.loads(record.value) for record in records if record.key is None]
            assert {event["type"] for event in ticks} == {"cx.tick.v1"}
            assert len({event["id"] for event in ticks}) == len(ticks) >= 2
            # Who reads cx.scored waits for no partition in which nothing happens: it is told how far its clock is.
            said = [dict(record.headers) for record in scored[partition]]
            assert sum(int(headers["rows"]) for headers in said) == (50 if partition == 0 else 0)
            times = {datetime.fromisoformat(event["time"]).timestamp() * 1000 for event in ticks}
            clocks = [int(headers["clock"]) for headers in said if "clock" in headers]
            # In partition 0 the touchpoints say it, if the first tick is committed with them.
            assert clocks or partition == 0
            assert times.issuperset(clocks)


@pytest.mark.broker
async def test_a_partition_that_takes_no_tick_does_not_keep_the_others_from_theirs(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(2)

    class Waiting:
        caught_up, position = True, 0

        def __init__(self, number: int) -> None:
            self.number = number

    async def read_to_end(number: int, _: int) -> bool:
        if number == 0:
            raise IllegalStateError
        return True

    ticker = Ticker(settings, [Waiting(0), Waiting(1)], read_to_end)  # type: ignore[arg-type]
    try:
        assert await ticker.tick() == 1
        assert (ticker.written, ticker.failures) == (1, 1)
        assert ticker._producer is None, "what it has not delivered leaves a gap"
        assert await ticker.tick() == 1
    finally:
        await ticker.stop()


@pytest.mark.broker
async def test_no_tick_overtakes_records_that_wait(
    settings: Settings, topics: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition that does not take what the feed brings is not read to its end."""
    topics(2)
    worker = settings.worker.model_copy(update={"web": False, "tick_seconds": 0.1, "ticker": True})
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("c", n) for n in range(50)]})
    app = create_app(settings.model_copy(update={"worker": worker}))
    put = app.partitions.put
    withheld = []
    monkeypatch.setattr(
        app.partitions, "put", lambda fetch: withheld.append(fetch) if fetch.partition == 0 else put(fetch)
    )
    async with in_process(app), Watcher(settings, 2) as watcher:
        counters = app.partitions.counters
        await until(lambda: 1 in counters and counters[1].ticks >= 5, SECONDS, lambda: str(counters))
        log = await watcher.read(TOUCHPOINTS.name)
    assert withheld
    assert all(record.key is not None for record in log[0])

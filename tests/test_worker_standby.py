"""Warm copies, from the command line to a take-over."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.topology import TOUCHPOINTS
from workers import Watcher, WorkerProcess, customers_of, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

SECONDS = 120.0
PARTITIONS = 2
BUSY = {
    "CXSTREAM_WORKER__FLUSH_SECONDS": "0.1",
    "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "0.5",
    "CXSTREAM_WORKER__SESSION_SECONDS": "6",
    "CXSTREAM_LOG_FORMAT": "json",
}


def said(worker: WorkerProcess, event: str) -> list[dict[str, Any]]:
    """What a worker logged under a name."""
    lines = [json.loads(line) for line in worker.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


@pytest.mark.broker
@pytest.mark.timeout(280)
async def test_who_survives_goes_on_from_a_warm_copy(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(PARTITIONS)
    names = {p: customers_of(p, PARTITIONS, 5) for p in range(PARTITIONS)}
    some = {p: [touchpoint(names[p][n % 5], n) for n in range(200)] for p in range(PARTITIONS)}
    await write(settings, TOUCHPOINTS.name, some)
    with (
        WorkerProcess(settings, tmp_path / "one", "--standby", **BUSY) as one,
        WorkerProcess(settings, tmp_path / "two", "--standby", **BUSY) as two,
    ):
        one.ready()
        two.ready()

        def following() -> bool:
            return all(len(said(worker, "standby follows")) >= 1 for worker in (one, two))

        await until(following, SECONDS, lambda: one.log + two.log)
        async with Watcher(settings, PARTITIONS) as watcher:
            await until(watcher.all_committed, SECONDS, lambda: one.log + two.log)
            (followed,) = {line["partition"] for line in said(one, "standby follows")}
            two.process.kill()

            def taken() -> bool:
                return any(
                    line["partition"] == followed and line["kept"] for line in said(one, "partition running")
                )

            await until(taken, SECONDS, lambda: one.log)
            await write(settings, TOUCHPOINTS.name, {followed: [touchpoint(names[followed][0], 500)]})
            await until(watcher.all_committed, SECONDS, lambda: one.log)
        assert one.stop() == 0, one.log

"""What keeps the records: a disk that is full, a topic that takes nothing, a log that begins too late."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from cxstream.kafka.admin import administration
from cxstream.topology import CHURN_RISK, FRICTION, SCORES, SNAPSHOTS, TOUCHPOINTS, Topic
from faults import reader
from faults.errors import NotHereError
from faults.run import PARTITIONS, Kind

if TYPE_CHECKING:
    from faults.run import Run

_NOTHING_BYTES = "100"
_STILL_SECONDS = 12.0
_GONE_SECONDS = 60.0


async def full_disk(run: Run) -> None:
    """The disk of one broker fills up; Kafka ends that broker; room is made and it comes back."""
    assert run.cluster.disk
    node = run.cluster.nodes[max(run.cluster.nodes)]
    await run.moment(2, 4)
    written = await asyncio.to_thread(run.cluster.disk.fill)
    run.note(f"the disk of broker {node.number} is full: {written >> 20} MiB of ballast")
    await node.ended(_GONE_SECONDS)
    run.note(f"broker {node.number} has given up")
    await run.moment(2, 6)
    await asyncio.to_thread(run.cluster.disk.free)
    node.start()
    await node.answering()
    run.over(f"broker {node.number} is back, with room")
    if not await run.cluster.healthy():
        raise TimeoutError("the brokers do not come in sync")
    await run.recovered()


async def refusing_topic(run: Run) -> None:
    """A topic of the results takes nothing for a while: no record is short enough."""
    for topic in run.rng.sample([SCORES, CHURN_RISK, FRICTION, SNAPSHOTS], 2):
        await run.moment(1, 3)
        await _configure(run, topic, {**topic.config, "max.message.bytes": _NOTHING_BYTES})
        run.note(f"{topic.name} takes nothing")
        await run.moment(4, 8)
        await _configure(run, topic, topic.config)
        run.over(f"{topic.name} takes records again")
        await run.recovered()


async def _configure(run: Run, topic: Topic, config: dict[str, str]) -> None:
    async with administration(run.settings) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name, config)])


async def late_log(run: Run) -> None:
    """Kafka deletes records that no worker has read: nothing may happen before a person accepts the loss."""
    await run.moment(3, 5)
    await run.fleet.stop(*run.fleet.workers)
    committed = dict(run.watcher.committed)
    run.note(f"workers stopped; committed {committed}")
    await run.moment(2, 3)
    lost = await _delete(run, committed)
    run.fleet.launch(0)
    await asyncio.sleep(_STILL_SECONDS)
    moved = {p for p in lost if run.watcher.committed.get(p, 0) != committed.get(p, 0)}
    if moved:
        raise AssertionError(
            f"partitions {sorted(moved)} went on over deleted records, and nobody said they may"
        )
    run.note("the partitions that lost records stand still")
    await run.fleet.stop(0)
    run.fleet.options.append("--accept-loss")
    await run.fleet.start(0, 1)
    run.over("workers started with --accept-loss")
    await run.recovered()


async def _delete(run: Run, committed: dict[int, int]) -> list[int]:
    """Delete beyond the committed offsets of some partitions; keep for the check what was read of them before."""
    bounds = await reader.bounds(run.settings, TOUCHPOINTS.name, PARTITIONS)
    chosen = run.rng.sample(range(PARTITIONS), 3)
    upto = {p: committed[p] + max(1, (bounds[p][1] - committed[p]) // 2) for p in chosen}
    before = {p: committed[p] if p in upto else 0 for p in range(PARTITIONS)}
    run.kept = {p: [] for p in upto}
    async for partition, records in reader.read(run.settings, TOUCHPOINTS.name, PARTITIONS, until=before):
        run.kept[partition] += records
    async with administration(run.settings) as admin:
        await admin.delete_records(
            {
                TopicPartition(TOUCHPOINTS.name, p): RecordsToDelete(before_offset=end)
                for p, end in upto.items()
            }
        )
    run.note(f"records deleted before {upto}")
    return chosen


def _can_accept_loss() -> None:
    helped = subprocess.run(
        [sys.executable, "-m", "cxstream", "worker", "--help"], capture_output=True, text=True, check=True
    )
    if "--accept-loss" not in helped.stdout:
        raise NotHereError("this cxstream has no `worker --accept-loss`")


KINDS = (
    Kind("disk-full", "the disk of a broker is full", full_disk, small_disk=True),
    Kind("topic-refuses", "a topic refuses what is written", refusing_topic),
    Kind(
        "log-start",
        "the log begins after the committed offset",
        late_log,
        replayed=False,
        needs=_can_accept_loss,
    ),
)

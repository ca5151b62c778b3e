"""Runs one engine on the log for a while, and says how many events a second it did."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from cxstream.local.process import Guarded
from cxstream.topology import TOUCHPOINTS
from peers.install import telling_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PARTITIONS = 4
_POLL_SECONDS = 0.05
_STOP_SECONDS = 10.0
# With its end: a line that is being written has a part of a number.
_TOLD = re.compile(r"^done (\d+) ([\d.]+)\n", re.MULTILINE)
_SETTLE_SECONDS = 30.0


class FailedError(Exception):
    """An engine that ended, or did nothing in its time; the message says so in a line."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds until an engine has done its first events, and for how long it is measured then."""

    start: float
    measured: float


Tick = tuple[float, int]


def rate(ticks: Sequence[Tick]) -> float:
    """Events a second between the first and the last progress.

    Args:
        ticks: (seconds, events done until then), in order of time.

    Raises:
        FailedError: there is no progress after the first.
    """
    grown = [ticks[i] for i in range(len(ticks)) if ticks[i][1] > (ticks[i - 1][1] if i else 0)]
    if len(grown) < 2 or grown[-1][0] <= grown[0][0]:
        raise FailedError(f"only {len(grown)} steps of progress: measure for longer, or more events")
    return (grown[-1][1] - grown[0][1]) / (grown[-1][0] - grown[0][0])


def told(log: str) -> list[Tick]:
    """The progress in what a program has written: lines `done EVENTS SECONDS`."""
    return [(float(at), int(done)) for done, at in _TOLD.findall(log)]


async def run(
    bootstrap: str,
    command: Callable[[Path, str], Sequence[str]],
    variables: Mapping[str, str],
    *,
    group: str,
    commits: bool,
    events: int,
    limits: Limits,
) -> float:
    """Events a second of an engine that starts with nothing.

    Args:
        bootstrap: where Kafka is.
        command: of a folder for its state, and the topic for its results, which exists: program and arguments.
        variables: its environment besides ours.
        group: of its consumer.
        commits: progress is what the group has committed; otherwise what the program tells.
        events: that are in the log.
        limits: of time.

    Raises:
        FailedError: it ended by itself, or has done nothing in time.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cxstream-bench-")))
            state = folder / "state"
            state.mkdir()
            result = f"{group}-sums"
            await admin.create_topics([NewTopic(result, PARTITIONS, 1)])
            process = Guarded(
                command(state, result),
                folder / "log",
                cwd=folder,
                grace=_STOP_SECONDS,
                variables=variables,
            )
            stack.callback(process.stop)
            ticks = await _ticks(admin, process, group if commits else None, events, limits)
        return rate(ticks)
    finally:
        await admin.close()


async def _ticks(
    admin: AIOKafkaAdminClient, process: Guarded, group: str | None, events: int, limits: Limits
) -> list[Tick]:
    started = time.monotonic()
    ticks: list[Tick] = []
    while not ticks or (ticks[-1][1] < events and time.monotonic() < ticks[0][0] + limits.measured):
        if process.status is not None:
            raise FailedError(f"ended: {telling_line(process.log.read_text(errors='replace'))}")
        if not ticks and time.monotonic() > started + limits.start:
            said = telling_line(process.log.read_text(errors="replace"))
            raise FailedError(f"nothing done in {limits.start:.0f} s: {said}")
        if group is None:
            ticks = told(process.log.read_text(errors="replace"))
        elif done := await committed(admin, group):
            ticks.append((time.monotonic(), done))
        await asyncio.sleep(_POLL_SECONDS)
    return ticks


async def committed(admin: AIOKafkaAdminClient, group: str) -> int:
    """The offsets of the log that a group has committed, together; 0 as long as there are none."""
    try:
        offsets = await admin.list_consumer_group_offsets(group)
    except KafkaError as error:
        if error.retriable:
            return 0  # the group is too new to have a coordinator
        raise
    return sum(max(at.offset, 0) for tp, at in offsets.items() if tp.topic == TOUCHPOINTS.name)


async def forget(bootstrap: str) -> None:
    """Delete all topics but the log, so that the next engine begins with nothing and the disk does not fill."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        deadline = time.monotonic() + _SETTLE_SECONDS
        while old := [
            name for name in await admin.list_topics() if name != TOUCHPOINTS.name and name[0] != "_"
        ]:
            if time.monotonic() > deadline:
                raise FailedError(f"topics are not deleted in {_SETTLE_SECONDS:.0f} s: {', '.join(old[:3])}")
            await admin.delete_topics(old)
            await asyncio.sleep(0.2)
    finally:
        await admin.close()

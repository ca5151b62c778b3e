"""Standby replicas of partitions that other workers own.

The state of a partition is a function of its log up to the committed offset. A standby replays the same records
as the owner without output, as soon as they are committed, and never further. So it has the state of the owner at
its last commit, and this worker can take over without reading a snapshot. A standby takes as much CPU time as the
owner takes for scoring.

Changes that the owner has saved need not be saved again by the next owner: the marker in cx.snapshots gives the
offset up to which changes are saved.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiokafka.errors import KafkaError

from cxstream.model.errors import CxstreamError, SnapshotError, UnreadableError
from cxstream.scoring.failing import place_of
from cxstream.worker.ownership.restore import Losses, Restored, last_marker, replay, restore
from cxstream.worker.ownership.suspects import Suspects

if TYPE_CHECKING:
    from cxstream.scoring.engine import Unsaved
    from cxstream.scoring.state.marker import Marker
    from cxstream.settings import Settings
    from cxstream.worker.clients import Kafka, Reader
    from cxstream.worker.metrics.counters import Counters

_RETRY_SECONDS, _RETRY_MAX_SECONDS = 5.0, 60.0

log = structlog.get_logger(__name__)


class Standby:
    """The task that follows one partition.

    Args:
        settings: scoring parameters, and the interval.
        kafka: creates the clients.
        number: which partition.
        start: a state to start with, if this process has one.
        counters: of the partition in this process.

    Attributes:
        number: which partition.
    """

    def __init__(
        self, settings: Settings, kafka: Kafka, number: int, *, start: Restored | None, counters: Counters
    ) -> None:
        self.number = number
        # The owner's state contains all records that it has read, even deleted ones: a replica without them is wrong.
        self._settings = settings.model_copy(
            update={"worker": settings.worker.model_copy(update={"lost_records": "refuse"})}
        )
        self._kafka = kafka
        self._counters = counters
        self._state = start
        self._unsaved: Unsaved | None = None
        self._suspects = Suspects(number)
        self._log = log.bind(partition=number)
        self._task = asyncio.create_task(self._live(), name=f"standby-{number}")

    @property
    def position(self) -> int | None:
        """The first source offset that is not in the replica; None while there is none."""
        return self._state.engine.next_offset if self._state else None

    async def take(self) -> Restored | None:
        """Stop following; returns the replica if it can be used."""
        self._task.cancel()
        await asyncio.wait([self._task])
        state, self._state = self._state, None
        if state is None or state.engine.broken:
            return None
        if self._unsaved is not None:
            state.engine.roll_back_checkpoint(self._unsaved)
        return Restored(state.engine, state.engine.next_offset, state.saved, problem="")

    async def _live(self) -> None:
        wait = _RETRY_SECONDS
        while True:
            try:
                async with self._kafka.reader(self.number) as reader:
                    state = await restore(
                        self._settings,
                        reader,
                        self.number,
                        self._state,
                        self._counters,
                        suspects=self._suspects,
                    )
                    if self._state is None or state.engine is not self._state.engine:
                        self._unsaved = None
                    self._state = state
                    self._log.info("standby follows", offset=self.position)
                    wait = _RETRY_SECONDS
                    await self._follow(reader, state)
            except Exception as error:  # noqa: BLE001 - without a replica a takeover is slow, but the task must survive
                if self._suspects.learn(error):
                    continue
                expected = isinstance(error, (KafkaError, CxstreamError))
                said = f"{type(error).__name__}: {error}" if expected else place_of(error)
                # Unreadable records stay so for long; other errors are soon over.
                wait = (
                    min(wait * 2, _RETRY_MAX_SECONDS)
                    if isinstance(error, UnreadableError)
                    else _RETRY_SECONDS
                )
                self._log.warning("standby waits", error=said, seconds=wait)
            await asyncio.sleep(wait)

    async def _follow(self, reader: Reader, state: Restored) -> None:
        worker = self._settings.worker
        looks = max(1, round(worker.snapshot_seconds / worker.flush_seconds))
        reached = state.position
        while True:
            for _ in range(looks):
                reached = await self._catch_up(reader, state, reached)
                await asyncio.sleep(worker.flush_seconds)
            await self._drop_saved(reader, state)

    async def _catch_up(self, reader: Reader, state: Restored, reached: int) -> int:
        """Apply the records that were committed since; returns the offset reached."""
        committed = await reader.committed()
        if committed is None or committed <= reached:
            return reached
        lost = Losses(self._settings, self.number, self._counters)
        self._counters.followed += await replay(
            self._settings, reader, state.engine, committed, lost, self._suspects
        )
        return committed

    async def _marker(self, reader: Reader, state: Restored) -> Marker | None:
        """The owner's last marker; None if there is none or it cannot be read, which does not affect the replica."""
        try:
            return await last_marker(
                reader, self._settings.topology.snapshots.name, state.engine.line.secrets
            )
        except SnapshotError as error:
            if self._counters.is_news(str(error)):
                self._log.warning("the saved state cannot be used", error=str(error))
            return None

    async def _drop_saved(self, reader: Reader, state: Restored) -> None:
        """Drop the changes that the owner has saved meanwhile, and begin a checkpoint for the newer ones."""
        apart, marker = self._unsaved, await self._marker(reader, state)
        if apart and marker and state.engine.fits(marker) and marker.offset >= apart.offset:
            self._unsaved = None if marker.cards_clean else apart.without_rows()
        if self._unsaved is None:
            self._unsaved = state.engine.begin_checkpoint()

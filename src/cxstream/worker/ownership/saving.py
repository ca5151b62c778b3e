"""Saves state in a transaction of its own, beside those of results.

    results    | records up to m, offset m | ... | ... | ... |
    state at m              taken ^          | rows ..., ..., marker |

A snapshot has megabytes: in a transaction with results, these would wait for it. That nothing is lost or there twice does not
depend on how long it takes:

- It is written once the results up to its offset m are committed: no saved state is ahead of the committed offset.
- It is one transaction: who reads cx.snapshots finds all of it or nothing.
- The next begins when it has ended: rows are in the log in the order of their offsets.
- Its transactional id belongs to the partition, like that of results, and is claimed after that one and before anything is
  read. Who saves has committed results since it claimed both. So a later owner, who stops these by its first claim, takes
  the id of snapshots by its second: nobody saves a state of which the owner does not know.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from cxstream.topology import SNAPSHOTS
from cxstream.worker.clients import BATCH_BYTES, TRANSACTION_MS
from cxstream.worker.ownership import outbox as outboxes

if TYPE_CHECKING:
    from cxstream.scoring.state.sealed_rows import SealedRows
    from cxstream.scoring.state.snapshot import Unsealed
    from cxstream.worker.clients import Producer

# It is sent in pieces of at least so many bytes with pauses, in which there is time for results; in all it pauses so long.
_PIECE_BYTES, _PAUSE_SECONDS, _PAUSES_SECONDS = 128 << 10, 0.02, 4.0
# So long Kafka lets a transaction be open. One of which it has heard nothing, as its only partition has no leader, has no end.
_LATE_SECONDS = TRANSACTION_MS / 1000

log = structlog.get_logger(__name__)


class Saving:
    """A snapshot on its way.

    Attributes:
        written: done when it is committed, with its number of rows; None: the results up to it are not.

    Args:
        snapshot: the state, as it was taken.
        producer: has the claim of the partition's snapshots.
        place: cx.snapshots as it is called here, and the partition.
        limit: the largest batch that the topic is sent, in bytes; None: as large as of any topic.
        results: done when those up to its offset are committed.
    """

    def __init__(
        self,
        snapshot: Unsealed,
        producer: Producer,
        place: tuple[str, int],
        limit: int | None,
        results: asyncio.Future[None],
    ) -> None:
        self._snapshot = snapshot
        self._producer = producer
        self._place = place
        self._limit = limit or BATCH_BYTES
        self._paused = 0.0
        self._hurried = asyncio.Event()
        self.written = asyncio.create_task(self._write(results))

    async def finish(self) -> None:
        """Wait for it, without pauses.

        Raises:
            RowsRefusedError: Kafka refuses rows for their size.
            ProducerFenced: somebody else has claimed the partition.
            KafkaError: Kafka did not take it.
        """
        self._hurried.set()
        await self.written

    async def _write(self, results: asyncio.Future[None]) -> int | None:
        await asyncio.wait([results])
        if results.cancelled() or results.exception() is not None:
            return None
        rows = await self._sealed()
        piece = max(_PIECE_BYTES, round(rows.size * _PAUSE_SECONDS / _PAUSES_SECONDS))
        late = asyncio.get_running_loop().call_later(_LATE_SECONDS, self._is_late)
        try:
            await self._producer.begin_transaction()
            await outboxes.write(
                self._producer,
                SNAPSHOTS.contract,
                self._place,
                rows,
                limit=min(piece, self._limit),
                pause=self._pause,
            )
            await self._producer.commit_transaction()
        finally:
            late.cancel()
        return len(rows)

    def _is_late(self) -> None:
        # Results go on meanwhile: to give the partition up would stop them, as the next owner has to read this topic.
        log.warning(
            "Kafka does not take a snapshot, which is sent on; the state is not saved until then: has this partition of the "
            "topic a leader?",
            topic=self._place[0],
            partition=self._place[1],
            seconds=_LATE_SECONDS,
        )

    async def _sealed(self) -> SealedRows:
        if len(self._snapshot) < outboxes.WORTH_A_THREAD:
            return self._snapshot.sealed()
        return await asyncio.get_running_loop().run_in_executor(None, self._snapshot.sealed)

    async def _pause(self) -> None:
        if self._paused >= _PAUSES_SECONDS:
            return
        self._paused += _PAUSE_SECONDS
        try:
            async with asyncio.timeout(_PAUSE_SECONDS):
                await self._hurried.wait()
        except TimeoutError:
            return
        self._paused = _PAUSES_SECONDS

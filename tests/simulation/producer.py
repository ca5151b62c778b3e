"""A transactional producer that behaves as aiokafka's does, errors and all.

What aiokafka does, and this does too: requests are made by a background of the process, not by the caller. They
are repeated until they are answered, so a request that timed out has its effect late rather than never. A
caller who is cancelled stops waiting; the background goes on, to the commit if that was asked for. A
transactional request that is refused ends the background: every future fails and the producer is of no more use.
A refused batch fails alone. `stop` waits for the batches, then for the requests under way; if that is
cancelled, the background is left running.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from aiokafka.errors import (
    ConcurrentTransactions,
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    PolicyViolationError,
    ProducerClosed,
    ProducerFenced,
    RequestTimedOutError,
)

from simulation.broker import APPENDED_MS, TP, Broker, Row

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from simulation.network import Network

State = Literal["ready", "open", "committing", "fatal"]

_BACKOFF_SECONDS = 0.1
_BUSY_SECONDS = 0.05


class Batch:
    """Rows that are sent together; `append` returns None when it is full."""

    def __init__(self, limit: int) -> None:
        self.rows: list[Row] = []
        self._room = limit

    def append(
        self,
        *,
        timestamp: int,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> object | None:
        size = 20 + len(key or b"") + len(value or b"")
        if self.rows and size > self._room:
            return None
        self._room -= size
        self.rows.append(Row(key, value, tuple(headers), APPENDED_MS))
        return self


class Producer:
    """Has an epoch of a transactional id.

    Args:
        batch_bytes: size of a batch.
        count: how many partitions every topic has.
    """

    def __init__(
        self, broker: Broker, network: Network, name: str, epoch: int, *, batch_bytes: int, count: int
    ) -> None:
        self.name = name
        self.epoch = epoch
        self.state: State = "ready"
        self._broker = broker
        self._network = network
        self._batch_bytes = batch_bytes
        self._count = count
        self._knows = False
        self._closed = False
        self._stopping = False
        self._fatal: BaseException | None = None
        self._coordinator = asyncio.Lock()
        self._added: list[TP] = []
        self._sequences: dict[TP, int] = {}
        self._queues: dict[TP, asyncio.Lock] = {}
        self._batches: list[asyncio.Future[None]] = []
        self._offsets: asyncio.Future[None] | None = None
        self._end: asyncio.Future[None] | None = None
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: list[asyncio.Task[None]] = []

    async def begin_transaction(self) -> None:
        assert self.state == "ready", f"Invalid state transition {self.state} -> open"
        self.state = "open"
        self._added = []
        self._offsets = None
        self._end = self._new_future()

    def create_batch(self) -> Batch:
        return Batch(self._batch_bytes)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[None]:
        await asyncio.sleep(0)
        if self._network.happens(self._network.weather.refused / 4):
            raise KafkaTimeoutError
        self._must_be_open()
        if self._closed:
            raise ProducerClosed
        future = self._new_future()
        self._batches.append(future)
        self._spawn(self._deliver((topic, partition), batch.rows, future))
        return asyncio.shield(future)

    async def partitions_for(self, topic: str) -> set[int]:
        if not self._knows:
            # Only the first who asks waits for the metadata.
            await asyncio.sleep(self._network.delay())
            if self._network.happens(self._network.weather.refused):
                raise KafkaTimeoutError(topic)
            self._knows = True
        return set(range(self._count))

    async def send_offsets_to_transaction(self, offsets: dict[Any, Any], group: str) -> None:
        self._must_be_open()
        self._offsets = self._new_future()
        numbers = {(tp.topic, tp.partition): int(at.offset) for tp, at in offsets.items()}
        self._spawn(self._send_offsets(numbers, group, self._offsets))
        await asyncio.shield(self._offsets)

    async def commit_transaction(self) -> None:
        assert self.state == "open", f"Invalid state transition {self.state} -> committing"
        assert self._end is not None
        self.state = "committing"
        self._spawn(self._commit())
        await asyncio.shield(self._end)

    async def stop(self) -> None:
        if self._closed:
            return
        self._closed = True
        while self._fatal is None and (pending := [f for f in self._batches if not f.done()]):
            await asyncio.wait(pending[:1])
        self._stopping = True
        await self._idle.wait()

    # --- the background

    async def _deliver(self, tp: TP, rows: list[Row], future: asyncio.Future[None]) -> None:
        async with self._queues.setdefault(tp, asyncio.Lock()):
            async with self._coordinator:
                if tp not in self._added:
                    if not await self._ask(
                        "add", lambda: self._broker.add_partition(self.name, self.epoch, tp)
                    ):
                        return
                    self._added.append(tp)
            if not rows:
                _settle(future)
                return
            first = self._sequences.get(tp, 0)
            while not self._stopping:
                try:
                    await self._attempt(
                        f"produce {tp[0]}-{tp[1]} {len(rows)}",
                        lambda: self._broker.produce(self.name, self.epoch, tp, rows, first),
                    )
                except (NodeNotReadyError, RequestTimedOutError):
                    await asyncio.sleep(_BACKOFF_SECONDS)
                except InvalidProducerEpoch:
                    _settle(future, ProducerFenced())
                    return
                except KafkaError as error:
                    _settle(future, PolicyViolationError(str(error)))
                    return
                else:
                    self._sequences[tp] = first + len(rows)
                    _settle(future)
                    return

    async def _send_offsets(self, offsets: dict[TP, int], group: str, future: asyncio.Future[None]) -> None:
        broker = self._broker
        async with self._coordinator:
            if await self._ask("add group", lambda: broker.add_group(self.name, self.epoch, group)) and (
                await self._ask(
                    f"offsets {sorted(offsets.items())}",
                    lambda: broker.commit_offsets(self.name, self.epoch, group, offsets),
                )
            ):
                _settle(future)

    async def _commit(self) -> None:
        for future in list(self._batches):
            if not future.done():
                await asyncio.wait([future])
        async with self._coordinator:
            if await self._ask("end", lambda: self._broker.end(self.name, self.epoch, commit=True)):
                self.state = "ready"
                self._batches.clear()
                _settle(self._end)

    async def _ask(self, what: str, execute: Callable[[], None]) -> bool:
        """Repeat a transactional request until it is answered; whether it was granted."""
        while not self._stopping and self._fatal is None:
            try:
                await self._attempt(what, execute)
            except (NodeNotReadyError, RequestTimedOutError):
                await asyncio.sleep(_BACKOFF_SECONDS)
            except ConcurrentTransactions:
                await asyncio.sleep(_BUSY_SECONDS)
            except InvalidProducerEpoch:
                self._die(ProducerFenced())
            except KafkaError as error:
                self._die(KafkaError(f"Unexpected error during batch delivery: {error!r}"))
            else:
                return True
        return False

    async def _attempt(self, what: str, execute: Callable[[], None]) -> None:
        self._under_way += 1
        self._idle.clear()
        try:
            await self._network.call(f"{what} {self.name}/{self.epoch}", execute)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    def _die(self, error: BaseException) -> None:
        self._fatal = error
        self.state = "fatal"
        for future in (*self._batches, self._offsets, self._end):
            _settle(future, error)

    def _must_be_open(self) -> None:
        if self.state != "open":
            raise IllegalOperation("Can't send messages while not in transaction")

    def _new_future(self) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))


def _settle(future: asyncio.Future[None] | None, error: BaseException | None = None) -> None:
    if future is None or future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
        future.exception()  # whoever waits gets it; nobody may

"""A Faust transport that passes whole fetches to the partitions.

Faust's own consumer takes every record through four tasks, a lock and a queue, which costs some 80 us per
record. Here the records of one partition in one fetch go to their partition at once, as a `Fetch`. Assignment,
rebalancing, streams, sensors, web and the command line remain Faust's. Topics that are not read in batches pass
through unchanged.

An app selects it by its broker URL, `cxstream://host:port`; the entry point `faust.transports` registers it.
The agent that subscribes to the topic is declared with `acks=False`: its offsets are committed in the transactions that
carry the results, never by Faust.

Faust is pinned to one version because some parts that are overridden here are not public. `upstream_pins.DIGESTS`
lists them, and the parts of aiokafka that this package relies on, each with a digest of the source it was written for.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiokafka
from aiokafka.errors import KafkaError
from faust.exceptions import ImproperlyConfigured
from faust.transport.drivers import aiokafka as driver

from cxstream.kafka.connection import connection
from cxstream.kafka.member_address import assignor
from cxstream.kafka.records import PackedRecords, together
from cxstream.worker.feed import Fetch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from faust.types import TP

    from cxstream.kafka.record_batches import Piece

# How often a consumer whose partitions are all full checks for room.
_ROOM_SECONDS = 0.02
# After a fetch with fewer bytes the brokers gather so many for the next one, for a part of worker.flush_seconds, at most this long:
# each fetch costs some time, and records that come one by one would otherwise come in thousands of fetches a second. They
# gather, not the worker: records that it has fetched ahead would wait for it, and be older by a fetch when it takes them. A
# partition alone can have so many. Brokers count bytes as they are sent, and the worker what they take in memory.
_SMALL_BYTES, _SMALL_SHARE = 256 << 10, 0.5
_GATHER_MS, _GATHER_SHARE, _LEAST_GATHER_MS = 50, 0.2, 5
# Without new records for this long, fetches wait as long as aiokafka has them wait, for a single byte.
_QUIET_SECONDS = 0.25
# How long a broker may take to respond before we leave the group.
_LEAVE_SECONDS = 2.0
_FOR_EVER_MS = 2**31 - 1
_METADATA_MS = 5000


# These are parts of Faust, so they use Faust's logger.
_LOGGER = logging.getLogger("faust.transport.cxstream")


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread that fetches and keeps the group membership alive."""

    logger = _LOGGER

    async def on_start(self) -> None:
        """Start the consumer; from then on it returns whole batches."""
        await super().on_start()
        consumer = self._ensure_consumer()
        self.app.partitions.damaged.guard(consumer)
        fetcher = consumer._fetcher  # noqa: SLF001 - it has no other way to change what a fetch waits for
        self._long = fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes  # noqa: SLF001
        wait = round(self.app.settings.worker.flush_seconds * 1000 * _GATHER_SHARE)
        self._small = min(_SMALL_BYTES, round(self.app.partitions.fetch_bytes * _SMALL_SHARE))
        self._short = max(_LEAST_GATHER_MS, min(wait, _GATHER_MS)), self._small

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - as Faust calls it
        max_records: int | None = None,
    ) -> Mapping[TP, list[Any]]:
        """Fetch, and choose what the next fetch waits for: aiokafka sends it once this one is taken."""
        fetcher = consumer._fetcher  # noqa: SLF001
        if fetcher._fetch_min_bytes > 1 and timeout:  # noqa: SLF001
            timeout = min(timeout, _QUIET_SECONDS)
        fetched: Mapping[TP, list[Any]] = await super()._fetch_records(
            consumer, active_partitions, timeout=timeout, max_records=max_records
        )
        size = sum(getattr(each, "cost", 0) for records in fetched.values() for each in records)
        gathers = 0 < size < self._small
        fetcher._fetch_max_wait_ms, fetcher._fetch_min_bytes = self._short if gathers else self._long  # noqa: SLF001
        return fetched

    def topic_partitions(self, topic: str) -> int | None:
        """How many partitions a topic has, by the latest metadata; None before there is any.

        Faust asks aiokafka's coordinator, which knows it only in the leader of the group.
        """
        there = self._consumer.partitions_for_topic(topic) if self._consumer is not None else None
        return len(there) if there else None

    async def on_thread_stop(self) -> None:
        """Leave the group and stop.

        aiokafka sends one request to leave. If the connection turns out to be closed (Kafka closes a connection whose
        token has expired at its next use), the group waits for the session timeout. So the connection is used once before.
        """
        coordinator = self._consumer and self._consumer._coordinator  # noqa: SLF001
        if coordinator and coordinator.generation > 0:
            with suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    if not await coordinator._do_heartbeat():  # noqa: SLF001
                        await coordinator.ensure_coordinator_known()
        await super().on_thread_stop()

    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:  # noqa: ARG002
        settings = self.app.settings
        worker = settings.worker
        self._assignor = assignor(self._web_address)
        return aiokafka.AIOKafkaConsumer(
            **connection(settings),
            group_id=self.app.conf.id,
            group_instance_id=self.app.conf.consumer_group_instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            max_partition_fetch_bytes=self.app.partitions.fetch_bytes,
            session_timeout_ms=round(worker.session_seconds * 1000),
            heartbeat_interval_ms=round(worker.session_seconds * 1000 / 10),
            # The other members wait this long for a worker that must commit results first.
            rebalance_timeout_ms=round(max(worker.session_seconds, worker.request_seconds) * 1000),
            # New partitions of cx.touchpoints must be noticed within minutes.
            metadata_max_age_ms=_METADATA_MS,
            # A partition whose queue is full is not polled, which is no sign of a worker that hangs; who left the
            # group for that would not come back.
            max_poll_interval_ms=_FOR_EVER_MS,
        )

    def _web_address(self) -> str:
        """The address of this worker's web server; "" if it has none."""
        conf = self.app.conf
        return f"http://{conf.web_host}:{self.app.web.port}" if conf.web_enabled else ""


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Passes fetches to the partitions, and returns the records of other topics."""

    logger = _LOGGER

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(self.app, "partitions"):
            raise ImproperlyConfigured(
                "cxstream:// is only for the app of cxstream.worker.faust.app.create_app; other apps use kafka://"
            )
        self._handed_out: dict[TP, int] = {}

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Reset the positions of earlier assignments: reading starts at the committed offsets."""
        self._handed_out.clear()
        self.app.partitions.damaged.forget()
        await super().on_partitions_assigned(assigned, generation_id)

    def handed_out(self, tp: TP) -> int:
        """The offset after the last record returned in the current assignment; 0 if there was none."""
        return self._handed_out.get(tp, -1) + 1

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Any]]:  # noqa: ASYNC109
        wanted = (active_partitions or set()) - self.app.partitions.full()
        room = self.app.partitions.room
        if not wanted or room <= 0 or self.app.partitions.halted:
            await asyncio.sleep(_ROOM_SECONDS)
            return {}
        self.app.partitions.damaged.leave_room(room)
        fetched = await super()._getmany(wanted, timeout)
        others = {}
        for tp, records in fetched.items():
            if records and tp.topic not in self.app.partitions.topics:
                others[tp] = records
            elif records:
                # At once: Faust would take some 15 turns of the event loop. Also where a rebalance has begun or ended meanwhile:
                # the records may be of the new assignment, and nothing brings them again.
                self.app.partitions.put(self._next(tp, records))
        return others

    def _next(self, tp: TP, pieces: list[Piece | PackedRecords]) -> Fetch:
        records = together(pieces)
        if isinstance(records, PackedRecords):
            # What waits in the queue must not keep a whole fetch in memory.
            records = records.alone()
        cost = sum(piece.cost for piece in pieces)
        fetch = Fetch(tp.partition, records, self._handed_out.get(tp), self.highwater(tp) or 0, cost)
        self._handed_out[tp] = fetch.last
        return fetch


class Transport(driver.Transport):  # type: ignore[misc]
    """Kafka through aiokafka, one fetch at a time."""

    Consumer = Consumer
    ConsumerThread = ConsumerThread

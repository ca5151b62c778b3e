"""What is sent while things break, from one seed, and the fingerprint of what was sent."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cxstream.kafka.producer import route, sending
from cxstream.model.kinds import FORGET_TYPE
from cxstream.scoring.codec.decode import decode, read_subject
from cxstream.simulate.faults import Rates
from cxstream.simulate.stream import Plan, Simulation
from cxstream.simulate.topic import Pace, start_to_end_now
from cxstream.topology import FORGET, TOUCHPOINTS
from faults.parcels import Places, Post
from faults.verdict import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.kafka.producer import Sender
    from cxstream.settings import Settings
    from faults.parcels import Parcel

# 1 January 2025: the same seed sends the same bytes, whenever.
_START_MS = 1_735_689_600_000
_STEP_SECONDS = 0.05
# Sent at once before the clock starts: people with a past, of whom there is something to say from the first second.
_HISTORY = 5000
_ASK_SECONDS = 0.7
# How long traffic usually flows until a fault is over.
_USUAL_SECONDS = 20.0
# People to whom so much happens that there is always something to signal.
_TROUBLE = 15.0
# Kafka may be away for a while; the traffic waits for it rather than lose anything.
_PATIENCE_SECONDS = 240.0
RATES = Rates(late=0.02, out_of_order=0.02, duplicates=0.01, broken=0.003, future=False)


@dataclass(frozen=True, slots=True)
class Load:
    """How much, of what.

    Attributes:
        rate: records a second.
        seconds: for how long at least; it goes on until the fault is over.
        customers: how many.
        rates: of what is late, repeated and broken.
        now: event times end about now, instead of beginning on a fixed day.
    """

    rate: float = 1500.0
    seconds: float = 12.0
    customers: int = 600
    rates: Rates = RATES
    now: bool = False


class Traffic:
    """A seeded stream of touchpoints, sent in order and acknowledged by all replicas.

    Args:
        settings: where Kafka is; past the proxy.
        load: how much.
        seed: the same gives the same records.
        partitions: how many cx.touchpoints has.
        erases: ask for customers to be erased, too.

    Attributes:
        sent: fingerprint of what each partition was sent.
        asked: requests to be erased that each partition of cx.forget was sent, as key and value.
        places: where the records of parcels lie.
        total: records sent.
        began: time.monotonic() of the first record at the rate; 0.0 before.
        flows: set when it begins.
        ended: time.monotonic() of the last acknowledgement; 0.0 before.
    """

    def __init__(self, settings: Settings, load: Load, seed: int, partitions: int, *, erases: bool) -> None:
        self.sent = {partition: Digest() for partition in range(partitions)}
        self.asked: dict[int, list[tuple[bytes | None, bytes | None]]] = {p: [] for p in range(partitions)}
        self.places = Places()
        self.total = 0
        self.began = 0.0
        self.ended = 0.0
        self.flows = asyncio.Event()
        self._load = load
        self._erases = erases
        self._rng = random.Random(seed)
        self._last: list[bytes] = []
        self._settings = settings.model_copy(
            update={"worker": settings.worker.model_copy(update={"request_seconds": _PATIENCE_SECONDS})}
        )
        self._records = records(load, seed)
        self._ready: list[bytes] = []
        self._extra: list[bytes] = []
        self._parcels: list[tuple[Parcel, asyncio.Future[int]]] = []

    async def prepare(self) -> None:
        """Have the first records at hand, so that they need not be waited for."""
        self._ready = await asyncio.to_thread(next, self._records)

    def inject(self, value: bytes) -> None:
        """Send this record too, next."""
        self._extra.append(value)

    async def deliver(self, parcel: Parcel) -> int:
        """Send a parcel next, and wait until it is there; the offset of its first record."""
        there: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._parcels.append((parcel, there))
        return await there

    async def run(self, stop: asyncio.Event) -> None:
        """Send at the rate, for the seconds, and on until `stop` is set.

        Raises:
            BrokerError: Kafka did not take it, not even after minutes.
        """
        async with (
            sending(self._settings) as sender,
            sending(self._settings, FORGET) as requests,
            Post(self._settings) as post,
        ):
            await self._send(sender, await self._take(_HISTORY))
            self.began = time.monotonic()
            self.flows.set()
            while not (stop.is_set() and self._elapsed >= self._load.seconds):
                due = _HISTORY + round(self._elapsed * self._load.rate) - self.total
                await self._send(sender, await self._take(max(0, due)))
                await self._deliver(post)
                if self._erases and self._elapsed >= _ASK_SECONDS * (1 + sum(map(len, self.asked.values()))):
                    await self._ask(requests)
                await asyncio.sleep(_STEP_SECONDS)
        self.ended = time.monotonic()

    async def _send(self, sender: Sender, values: list[bytes]) -> None:
        keys = [_key(value) for value in values]
        refused = await sender.send(keys, values)
        assert not refused, "the topic is made for records of any size that is sent here"
        await sender.flush()
        for partition, key, value in zip(route(keys, len(self.sent)), keys, values, strict=True):
            self.sent[partition].add(key, value)
        self.total += len(values)
        self._last = values or self._last

    async def _deliver(self, post: Post) -> None:
        while self._parcels:
            parcel, there = self._parcels.pop(0)
            try:
                first = await post.send(parcel)
            except Exception as error:
                there.set_exception(error)
                raise
            self.places.take(parcel, first)
            if parcel.topic == TOUCHPOINTS.name:
                await asyncio.to_thread(self._add_all, parcel)
            there.set_result(first)

    def _add_all(self, parcel: Parcel) -> None:
        for record in parcel.records:
            self.sent[parcel.partition].add(record.key, record.value)

    async def _ask(self, requests: Sender) -> None:
        """Ask for one of those to be erased of whom something was sent just now."""
        value = self._rng.choice(self._last)
        if not _happened(value):
            return
        key = _key(value)
        asks = _request(value, sum(map(len, self.asked.values())))
        await requests.send([key], [asks])
        await requests.flush()
        [partition] = route([key], len(self.asked))
        self.asked[partition].append((key, asks))

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self.began

    async def _take(self, count: int) -> list[bytes]:
        taken, self._extra = self._extra, []
        while len(self._ready) < count:
            self._ready += await asyncio.to_thread(next, self._records)
        taken += self._ready[:count]
        del self._ready[:count]
        return taken


def records(load: Load, seed: int) -> Iterator[list[bytes]]:
    plan = Plan(load.customers, _START_MS, seed=seed, rates=load.rates, trouble=_TROUBLE)
    if load.now:
        events = _HISTORY + round(load.rate * max(load.seconds, _USUAL_SECONDS))
        plan = replace(plan, start=start_to_end_now(load.customers, None, events, Pace()))
    for block in Simulation(plan).blocks():
        yield block.values


def _key(value: bytes) -> bytes | None:
    """The key that `produce` would give it, and the partition that `replay` would."""
    subject = read_subject(value)
    return None if subject is None else subject.encode()


def _happened(value: bytes) -> bool:
    """Whether it is a touchpoint that a worker accepts, and not one from the future."""
    decoded = decode([value])
    return not decoded.rejected and bool(decoded.columns["time"][0] < time.time() * 1000)


def _request(value: bytes, number: int) -> bytes:
    """A request to erase the customer of a touchpoint, as of its time."""
    event = json.loads(value)
    asks = {"specversion": "1.0", "id": f"request-{number}", "source": "/faults", "type": FORGET_TYPE}
    return json.dumps({**asks, "subject": event["subject"], "time": event["time"]}).encode()


def broken(size: int) -> bytes:
    """A record of this many bytes that is no JSON: an event that was cut off."""
    begun = json.dumps({"specversion": "1.0", "id": "long", "source": "/broken"})[:-1].encode()
    return begun + b', "data": "' + b"x" * (size - len(begun) - 11)

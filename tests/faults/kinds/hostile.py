"""Records by which a producer would harm others: too large to be written anywhere, or small until they are unpacked."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxstream.model.fields import MAX_TEXT
from cxstream.model.kinds import FORGET_TYPE
from cxstream.model.parameters import MAX_RECORD_BYTES
from cxstream.topology import FORGET, REJECTED, TOUCHPOINTS
from faults.parcels import CODECS, Parcel, People, Sent, event, noise, one_batch, padded
from faults.run import PARTITIONS, Kind

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from faults.run import Run

MIB = 1 << 20
# What Kafka takes where nobody has said anything else; and what cx.rejected takes for a part of a run.
USUAL_LIMIT, LOW_LIMIT = 1_048_588, 300_000
# As much as fits beside the rest of a record, and is far more than any string may have.
_LONG = 900_000
MEMORY_MIB, BATCH_MIB = 800, 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where a parcel is to go.

    Attributes:
        partition: the partition.
        people: customers.
        rng: all chance.
    """

    partition: int
    people: People
    rng: random.Random

    @property
    def customer(self) -> str:
        """Somebody of the partition."""
        return self.people.of(self.partition)

    @property
    def stranger(self) -> str:
        """Somebody of another one."""
        return self.people.elsewhere(self.partition)

    def parcel(self, *records: Sent, codec: str | None = None) -> Parcel:
        """A parcel to the partition."""
        return Parcel("", self.partition, records, codec)

    def request(self, record: Sent, *why: str, codec: str | None = None) -> Parcel:
        """A record of cx.forget, and the reason and field with which it is to be rejected."""
        reason, field = why
        return Parcel("", self.partition, [record], codec, FORGET.name, [(reason, field)])


def _of(customer: str, value: bytes | None, *headers: tuple[str, bytes | None]) -> Sent:
    return Sent(customer.encode(), value, headers)


def _forget(customer: str, name: str) -> bytes:
    whole = json.loads(event(customer, more={"type": FORGET_TYPE, "id": name}))
    del whole["data"]
    return json.dumps(whole).encode()


def _binary(customer: str, name: str, value: bytes) -> Sent:
    """An event in Kafka's binary mode."""
    attributes = json.loads(event(customer, more={"id": name}))
    del attributes["data"]
    return _of(customer, value, *((f"ce_{each}", text.encode()) for each, text in attributes.items()))


def _exact(customer: str, size: int) -> Sent:
    """A valid record whose key and value have this many bytes."""
    return _of(customer, padded(event(customer), size - len(customer)))


def as_large_as_taken(customer: str, limit: int) -> Sent:
    """A valid record that fills a batch of `limit` bytes to the last."""
    record = _exact(customer, limit - 200)
    return _exact(customer, limit - 200 + limit - one_batch(record))


# --- poison by size


def _broken(p: Place) -> Parcel:
    codec = p.rng.choice(CODECS)
    size = p.rng.randint(2, 12 if codec == "snappy" else 64) * MIB
    return p.parcel(_of(p.customer, b'{"id": "' + b"x" * size), codec=codec)


def _contact(p: Place, size: int, codec: str | None = None) -> Parcel:
    who = p.customer
    return p.parcel(_of(who, event(who, "contact", channel="call", touchpoint="x" * size)), codec=codec)


def _request(p: Place, size: int, codec: str | None = None) -> Parcel:
    who = p.customer
    return p.parcel(_of(who, _forget(who, "x" * size)), codec=codec)


def _tick(p: Place) -> Parcel:
    whole = json.loads(event("nobody", more={"type": "cx.tick.v1", "id": "x" * _LONG}))
    return p.parcel(
        Sent(b"tick", json.dumps({k: v for k, v in whole.items() if k not in {"subject", "data"}}).encode())
    )


def _headers(p: Place, size: int, count: int, value: bytes | None, codec: str | None = None) -> Parcel:
    return p.parcel(_of(p.customer, value, *((f"h{n}", b"x" * size) for n in range(count))), codec=codec)


def _deep(p: Place) -> Parcel:
    who = p.customer
    return p.parcel(_of(who, event(who)[:-1] + b',"deep":' + b"[" * 400_000 + b"]" * 400_000 + b"}"))


def _digits(p: Place) -> Parcel:
    who = p.customer
    return p.parcel(
        _of(
            who,
            event(who, "contact", channel="call").replace(
                b'"channel"', b'"wait_s":' + b"1" * _LONG + b',"channel"'
            ),
        )
    )


def _text(p: Place, characters: int) -> Parcel:
    who = p.customer
    return p.parcel(_of(who, event(who, text="\U0001f600" * characters)))


def _with_header(p: Place) -> Parcel:
    who = p.stranger
    return p.parcel(_exact(who, 600_000)._replace(headers=(("trace", b"x" * 200_000), ("empty", None))))


POISON: dict[str, Callable[[Place], Parcel]] = {
    "no JSON, of megabytes": _broken,
    "a touchpoint of 13 MB": lambda p: _contact(p, 13_000_000, "gzip"),
    "a touchpoint that almost fills the record": lambda p: _contact(p, _LONG),
    "a request whose id has 13 MB": lambda p: _request(p, 13_000_000, "zstd"),
    "a request whose id fills the record": lambda p: _request(p, _LONG),
    "a tick whose id fills the record": _tick,
    "a key that fills the record": lambda p: p.parcel(Sent(b"k" * _LONG, event(p.customer))),
    "a key alone": lambda p: p.parcel(Sent(b"k" * _LONG, None)),
    "a header that fills the record": lambda p: _headers(p, _LONG, 1, b"?"),
    "20,000 headers": lambda p: _headers(p, 8, 20_000, b"?"),
    "headers of 13 MB": lambda p: _headers(p, MIB, 13, event(p.customer), "lz4"),
    "exactly as large as a record may be": lambda p: p.parcel(
        _exact(p.customer, MAX_RECORD_BYTES), codec="gzip"
    ),
    "one byte more": lambda p: p.parcel(_exact(p.customer, MAX_RECORD_BYTES + 1), codec="gzip"),
    "a binary event whose id fills the record": lambda p: p.parcel(_binary(p.customer, "x" * _LONG, b"{}")),
    "a binary event with much data": lambda p: p.parcel(
        _binary(p.customer, "b", padded(b'{"channel":"web"}', _LONG))
    ),
    "brackets": _deep,
    "a number of 900,000 digits": _digits,
    "the longest text": lambda p: _text(p, MAX_TEXT),
    "a longer text": lambda p: _text(p, MAX_TEXT + 1),
    "noise": lambda p: p.parcel(_of(p.customer, noise(p.rng, _LONG).encode())),
    "misrouted, and as large as the broker takes": lambda p: p.parcel(
        as_large_as_taken(p.stranger, USUAL_LIMIT)
    ),
    "misrouted, and too large once it is inflated": lambda p: p.parcel(
        _exact(p.stranger, MAX_RECORD_BYTES), codec="gzip"
    ),
    "misrouted, and large": lambda p: p.parcel(as_large_as_taken(p.stranger, USUAL_LIMIT - 200)),
    "misrouted, with a large header": _with_header,
    "misrouted, and no event": lambda p: p.parcel(_of(p.stranger, b'{"id":1,"x":"' + b"x" * _LONG)),
    "in cx.forget: an id of 13 MB": lambda p: p.request(
        _of("a", _forget("a", "x" * 13_000_000)), "too_large", "", codec="gzip"
    ),
    "in cx.forget: an id that fills the record": lambda p: p.request(
        _of("a", _forget("a", "x" * _LONG)), "invalid", "id"
    ),
    "in cx.forget: a key that fills the record": lambda p: p.request(
        Sent(b"k" * _LONG, None), "invalid", "key"
    ),
    "in cx.forget: no JSON": lambda p: p.request(_of("a", b"{" * _LONG), "malformed", ""),
    "in cx.forget: headers of 13 MB": lambda p: p.request(
        _of("a", None, ("h", b"x" * 13_000_000)), "too_large", "", codec="zstd"
    ),
}


async def _replace_a_worker(run: Run) -> None:
    """Kill a worker, and start it again."""
    slot = run.rng.choice(sorted(run.fleet.workers))
    await run.fleet.kill(slot)
    run.over(f"worker {slot} killed")
    await run.fleet.start(slot)
    await run.recovered()


async def poison(run: Run) -> None:
    """Each kind of poison once, in any order and partition; workers die, and cx.rejected takes less for a while."""
    people = People(PARTITIONS)
    names = run.rng.sample(sorted(POISON), len(POISON))
    deaths = run.rng.sample(range(2, len(names) - 2), 2)
    low = run.rng.randrange(2, len(names) - 8)
    # From the beginning: by when which worker writes what is anybody's guess.
    run.rejected_limit = LOW_LIMIT
    for n, name in enumerate(names):
        if n in {low, low + 7}:
            await run.limit(REJECTED.name, LOW_LIMIT if n == low else 12 * MIB)
            run.note(f"{REJECTED.name} takes {'little' if n == low else 'as much as before'}")
        place = Place(run.rng.randrange(PARTITIONS), people, run.rng)
        await run.traffic.deliver(await asyncio.to_thread(POISON[name], place))
        run.note(f"partition {place.partition}: {name}")
        if n in deaths:
            await run.moment(0, 0.4)
            await _replace_a_worker(run)
        await run.moment(0, 0.5)
    run.over("all poison is sent")
    await run.recovered()


# --- bombs


def _giant(p: Place, codec: str, mib: int) -> Parcel:
    """A record that inflates to much between two that are fine."""
    who = p.customer
    return p.parcel(_of(who, event(who)), _of(who, bytes(mib * MIB)), _of(who, event(who)), codec=codec)


def _beyond(p: Place) -> Parcel:
    """A batch that inflates to more than is read of it."""
    who = p.customer
    return p.parcel(_of(who, event(who)), *[_of(who, bytes(30 * MIB))] * 9, codec="zstd")


def first_beyond(sent: Sequence[Sent], limit: int) -> int:
    """Index of the first record that ends beyond what a batch may inflate to, in bytes."""
    inflated = 0
    for index, record in enumerate(sent):
        inflated += one_batch(record) - 61
        if inflated > limit:
            return index
    return len(sent)


def _sources(p: Place, count: int, size: int) -> Parcel:
    who = p.customer
    values = [event(who, more={"source": f"/{n}/{'s' * size}"}) for n in range(count)]
    return p.parcel(*(_of(who, value) for value in values), codec="zstd")


def _customers(p: Place) -> Parcel:
    some = [p.customer for _ in range(300)]
    return p.parcel(*(_of(who, event(who, text="x" * 15_000)) for who in some), codec="lz4")


def _fine(p: Place) -> Parcel:
    who = p.customer
    return p.parcel(*(_of(who, event(who, text="x" * 15_000)) for _ in range(4000)), codec="zstd")


def _tiny(p: Place) -> Parcel:
    return p.parcel(*[Sent(b"k", b"")] * 100_000, codec="gzip")


def _many_headers(p: Place, count: int) -> Parcel:
    """Of one record, between two that are fine; a million headers have more bytes than a record may have."""
    who = p.customer
    name = "" if count > MIB else "h"
    between = _of(who, event(who), *[(name, b"")] * count)
    return p.parcel(_of(who, event(who)), between, _of(who, event(who)), codec="gzip")


BOMBS: dict[str, Callable[[Place], Parcel]] = {
    "gzip": lambda p: _giant(p, "gzip", p.rng.randint(60, 90)),
    "zstd": lambda p: _giant(p, "zstd", p.rng.randint(60, 90)),
    "lz4": lambda p: _giant(p, "lz4", p.rng.randint(60, 90)),
    "snappy": lambda p: _giant(p, "snappy", p.rng.randint(60, 90)),
    "beyond the bound of a batch": _beyond,
    "200 sources of 400 kB": lambda p: _sources(p, 200, 400_000),
    "20,000 sources": lambda p: _sources(p, 20_000, 200),
    "300 customers with much to say": _customers,
    "60 MB that are fine": _fine,
    "100,000 records of nothing": _tiny,
    "a million headers": lambda p: _many_headers(p, MIB + 1),
    "100,000 headers": lambda p: _many_headers(p, 100_000),
}


async def bomb(run: Run) -> None:
    """Batches that inflate far, in any order and partition; a worker dies among them and reads them again."""
    people = People(PARTITIONS)
    names = run.rng.sample(sorted(BOMBS), len(BOMBS))
    death = run.rng.randrange(3, len(names))
    for n, name in enumerate(names):
        place = Place(run.rng.randrange(PARTITIONS), people, run.rng)
        parcel = await asyncio.to_thread(BOMBS[name], place)
        first = await run.traffic.deliver(parcel)
        index = await asyncio.to_thread(first_beyond, parcel.records, BATCH_MIB * MIB)
        if index < len(parcel.records):
            run.beyond.setdefault(place.partition, []).append(
                (first + index, first + len(parcel.records) - 1)
            )
        run.note(f"partition {place.partition}: {name}")
        if n == death:
            await run.moment(0, 0.5)
            await _replace_a_worker(run)
        await run.moment(0, 1.5)
    run.over("all bombs are sent")
    await run.recovered()
    peaks = {name: peak >> 20 for name, peak in sorted(run.fleet.peaks.items())}
    run.note(f"workers have had at most {peaks} MiB")


def _little_memory(seed: int) -> dict[str, dict[str, object]]:
    """Warm copies read the log, too: some runs have them."""
    worker = {"memory_mib": MEMORY_MIB, "max_batch_bytes": BATCH_MIB * MIB, "standby": seed % 3 == 0}
    return {"worker": worker}


KINDS = (
    Kind(
        "poison-by-size",
        "records too large to be written anywhere, while workers die",
        poison,
        replayed=False,
        limits={TOUCHPOINTS.name: USUAL_LIMIT},
    ),
    Kind(
        "bomb",
        "batches that are small until they are unpacked",
        bomb,
        replayed=False,
        settings=_little_memory,
        drain_seconds=240.0,
    ),
)

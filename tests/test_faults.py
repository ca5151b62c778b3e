"""The fault harness itself: its checker finds what it is there to find, and its proxy does what it says.

The runs are `make faults`; here is what can be known of the harness without breaking anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from click.testing import CliRunner

from cxstream.kafka.inflate import NAMES
from cxstream.kafka.record_batches import Limits, Unpacker
from cxstream.local import ports
from cxstream.model.errors import SnapshotError
from cxstream.model.parameters import MAX_RECORD_BYTES, ScoringParams
from cxstream.scoring.codec import rejection
from cxstream.scoring.codec.signatures import Authority
from cxstream.scoring.engine import MARKER_KEY, Engine, Records
from cxstream.scoring.state.snapshot import Line
from cxstream.settings import Settings
from cxstream.worker.ownership import requests
from faults import checker, spoiled
from faults.__main__ import _loaded, main
from faults.clock import Clock
from faults.errors import NotHereError
from faults.fleet import Fleet, Worker
from faults.kinds import KINDS, hostile
from faults.links import Links
from faults.parcels import Parcel, People, Sent, one_batch
from faults.reader import Record
from faults.traffic import Load, broken, records
from faults.verdict import Digest, is_forwarded, is_request, is_tick, unsigned
from faults.watcher import Watcher, gap
from faults.wire import Api, Trigger, api_of
from first_line import next_line
from workers import key_of, touchpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 90.0
CODEC_NUMBERS = {name: number for number, name in NAMES.items()}


# --- the checker


def record(offset: int, value: bytes) -> Record:
    return Record(offset, 1_800_000_000_000, key_of(value), value, ())


def forget(customer: str, number: int) -> bytes:
    """A request to erase a customer, as of a touchpoint of this number."""
    event = json.loads(touchpoint(customer, number))
    return json.dumps({**event, "type": "cx.forget.v1", "id": f"f{number}", "data": {}}).encode()


@pytest.fixture(scope="module")
def log() -> list[Record]:
    """Customers to whom bad things happen, and some records that are broken."""
    values = [touchpoint(f"c{n % 7}", n, "error") for n in range(400)]
    values += [touchpoint(f"c{n % 7}", n, "complaint_opened", case_id=f"k{n}") for n in range(400, 500)]
    values[450:450] = [forget("c3", 449)]
    values[100:100] = [b"{", touchpoint("c1", 100, "contact", channel="web")]
    return [record(offset, value) for offset, value in enumerate(values)]


@pytest.fixture(scope="module")
def expected(log: list[Record]) -> checker.Expectation:
    expectation = checker.Expectation(Settings(), 0, 1)
    expectation.take(log)
    return expectation


@pytest.fixture(scope="module")
def signals(expected: checker.Expectation) -> list[checker.Signal]:
    return expected.signals["cx.friction"] + expected.signals["cx.churn-risk"]


def difference(expected: list[checker.Signal], found: list[checker.Signal]) -> tuple[int, int, int]:
    seen = checker.compare(expected, found, checker.signal_name, "there")
    assert bool(seen.examples) != seen.none
    return seen.lost, seen.repeated, seen.wrong


def test_the_log_says_enough(signals: list[checker.Signal], expected: checker.Expectation) -> None:
    assert len(signals) > 10
    assert len(expected.rejected) == 2
    assert len(expected.cards()) == 7


def test_what_is_right_is_right(signals: list[checker.Signal]) -> None:
    assert difference(signals, list(signals)) == (0, 0, 0)


def test_a_lost_signal_is_found(signals: list[checker.Signal]) -> None:
    for n in (0, 3, len(signals) - 1):
        assert difference(signals, signals[:n] + signals[n + 1 :]) == (1, 0, 0)


def test_everything_lost_is_found(signals: list[checker.Signal]) -> None:
    assert difference(signals, []) == (len(signals), 0, 0)


def test_a_repeated_signal_is_found(signals: list[checker.Signal]) -> None:
    assert difference(signals, [*signals, signals[2]]) == (0, 1, 0)
    assert difference(signals, [*signals[:3], *signals[2:]]) == (0, 1, 0)


def test_a_signal_repeated_with_other_bytes_is_repeated(signals: list[checker.Signal]) -> None:
    again = (signals[2][0], (signals[2][1] or b"").replace(b"cx.", b"xx.", 1))
    assert checker.signal_name(again) == checker.signal_name(signals[2])
    assert difference(signals, [*signals, again]) == (0, 1, 0)


def test_a_wrong_byte_is_found(signals: list[checker.Signal]) -> None:
    event = json.loads(signals[2][1] or b"")
    event["subject"] = "somebody else"
    wrong = (signals[2][0], json.dumps(event).encode())
    assert difference(signals, [*signals[:2], wrong, *signals[3:]]) == (0, 0, 1)


def test_a_wrong_key_is_found(signals: list[checker.Signal]) -> None:
    assert difference(signals, [(b"somebody else", signals[0][1]), *signals[1:]]) == (0, 0, 1)


def test_a_signal_that_nobody_expects_is_found(signals: list[checker.Signal]) -> None:
    assert difference(signals, [*signals, (b"c1", b"no signal at all")]) == (0, 0, 1)


def test_signals_in_another_order_are_found(signals: list[checker.Signal]) -> None:
    swapped = [*signals[:2], signals[3], signals[2], *signals[4:]]
    assert difference(signals, swapped) == (0, 0, 2)


def test_a_reject_without_its_headers_is_found(expected: checker.Expectation) -> None:
    bare = [(key, value, headers[:-1]) for key, value, headers in expected.rejected]
    seen = checker.compare(expected.rejected, bare, checker.reject_name, "there")
    assert seen.lost == seen.wrong == len(expected.rejected)


def test_a_reject_with_another_byte_is_found(expected: checker.Expectation) -> None:
    [(key, value, headers), *rest] = expected.rejected
    seen = checker.compare(
        expected.rejected, [(key, (value or b"") + b" ", headers), *rest], checker.reject_name, "there"
    )
    assert (seen.lost, seen.repeated, seen.wrong) == (0, 0, 1)


def test_a_lost_receipt_is_found(expected: checker.Expectation) -> None:
    [receipt] = expected.signals[checker.RECEIPTS]
    assert difference([receipt], [receipt]) == (0, 0, 0)
    assert difference([receipt], []) == (1, 0, 0)
    assert difference([receipt], [receipt, receipt]) == (0, 1, 0)


def test_wrong_cards_are_found(expected: checker.Expectation) -> None:
    cards = expected.cards()
    assert checker.compare_cards(cards, dict(cards), "there").none
    missing = {key: card for key, card in cards.items() if key != b"c1"}
    assert checker.compare_cards(cards, missing, "there").lost == 1
    assert checker.compare_cards(cards, {**cards, b"c1": b"{}"}, "there").wrong == 1
    assert checker.compare_cards(cards, {**cards, b"nobody": b"{}"}, "there").wrong == 1


def test_expectations_do_not_depend_on_batches(log: list[Record], expected: checker.Expectation) -> None:
    other = checker.Expectation(Settings(), 0, 1)
    for start in range(0, len(log), 13):
        other.take(log[start : start + 13])
    assert (other.signals, other.rejected) == (expected.signals, expected.rejected)
    assert other.cards() == expected.cards()


def test_a_clock_ahead_of_kafka_is_measured() -> None:
    tick = b'{"specversion":"1.0","id":"t","source":"/t","type":"cx.tick.v1","time":"2026-01-01T00:00:00Z"}'
    visit = (
        b'{"specversion":"1.0","id":"v","source":"/t","type":"cx.touchpoint.page_view.v1","subject":"c",'
        b'"time":"2026-01-01T00:04:00Z","data":{"channel":"web"}}'
    )
    expectation = checker.Expectation(Settings(), 0, 1)
    midnight = 1_767_225_600_000
    expectation.take([Record(0, midnight, None, tick, ()), Record(1, midnight, b"c", visit, ())])
    assert expectation.ticks == 1
    assert expectation.ahead_ms == 240_000


def test_a_digest_tells_records_apart() -> None:
    def digest(*pairs: tuple[bytes | None, bytes | None]) -> Digest:
        made = Digest()
        for key, value in pairs:
            made.add(key, value)
        return made

    assert digest((b"a", b"b")) == digest((b"a", b"b"))
    different = [
        digest((b"a", b"b")),
        digest((b"ab", b"")),
        digest((b"ab", None)),
        digest((None, b"ab")),
        digest((b"a", b"b"), (b"a", b"b")),
        digest((b"a", b"b"), (b"c", b"d")),
        digest((b"c", b"d"), (b"a", b"b")),
    ]
    assert len(set(different)) == len(different)


def test_ticks_and_requests_are_told_from_what_was_sent() -> None:
    assert is_request(Record(0, 0, b"c", forget("c", 1), ()))
    assert not is_request(Record(0, 0, b"c", touchpoint("c", 1), ()))
    assert is_tick(Record(0, 0, None, b'{"type":"cx.tick.v1"}', ()))
    assert not is_tick(Record(0, 0, b"c", b'{"type":"cx.tick.v1"}', ()))
    assert not is_tick(Record(0, 0, None, b"{", ()))


# --- what is measured


def test_gaps() -> None:
    assert gap([1.0, 2.0, 5.0, 6.0], 0.0, 6.0) == 3.0
    assert gap([], 0.0, 6.0) == 6.0
    assert gap([4.0], 0.0, 6.0) == 4.0
    assert gap([1.0, 9.0], 0.0, 6.0) == 8.0, "it begins while traffic flows, and ends when it ends"
    assert gap([1.0, 6.0, 60.0], 0.0, 6.0) == 5.0, "what begins afterwards is silence, not a gap"


def test_recovery_waits_for_every_partition() -> None:
    watcher = Watcher(Settings(), 2)
    watcher.samples = [
        (0.0, 0.1, {0: 5, 1: 5}),
        (0.9, 1.5, {0: 6, 1: 6}),
        (1.6, 1.7, {0: 7, 1: 7}),
        (2.0, 2.1, {0: 9, 1: 7}),
        (2.9, 3.0, {0: 9, 1: 8}),
    ]
    assert watcher.recovery(1.0, 9.0, {0: 20, 1: 20}) == 2.0, "what was asked before counts for nothing"
    assert watcher.recovery(1.0, 9.0, {0: 20, 1: 7}) == pytest.approx(1.1), "nothing is left to commit there"
    assert watcher.recovery(1.0, 9.0, {0: 7, 1: 7}) == pytest.approx(0.7), "all there is was committed before"
    assert watcher.recovery(2.5, 9.0, {0: 20, 1: 20}) is None


# --- the traffic


def test_a_seed_gives_the_same_records() -> None:
    assert next(records(Load(), 7)) == next(records(Load(), 7))
    assert next(records(Load(), 7)) != next(records(Load(), 8))


def test_a_broken_record_is_broken_and_as_long_as_asked() -> None:
    assert len(broken(1000)) == 1000
    assert b"\n" not in broken(1000)
    with pytest.raises(ValueError, match="Unterminated"):
        json.loads(broken(1000))


# --- the wire and the proxy


def request(api: int, body: bytes = b"") -> bytes:
    inside = api.to_bytes(2, "big") + b"\0\1" + b"\0\0\0\7" + body
    return len(inside).to_bytes(4, "big") + inside


def test_requests_are_told_by_their_key() -> None:
    assert api_of(request(Api.END_TXN, b"body")) == Api.END_TXN


def test_a_trigger_fires_once_after_its_steps_in_order() -> None:
    trigger = Trigger([(22, 1), (1, 2)])
    seen = [trigger.saw(api) for api in (1, 1, 22, 26, 1, 22, 1, 1, 1)]
    assert seen == [False, False, False, False, False, False, True, False, False]


@dataclass
class Server:
    """Answers each request with the request, and remembers what came."""

    port: int
    came: list[bytes]


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                came.append(data)
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield Server(listening.sockets[0].getsockname()[1], came)


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Links, int, Server]]:
    """A proxy of one slot and one broker, and the port to reach it by."""
    async with server() as broker:
        [port] = ports.free(1)
        async with Links([(0, 1, port, broker.port)]) as links:
            yield links, port, broker


async def exchange(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.readexactly(len(data)), SECONDS)
    finally:
        writer.transport.abort()


async def test_the_proxy_passes_everything_on() -> None:
    async with proxied() as (_, port, broker):
        large = request(0, b"x" * 300_000)
        assert await exchange(port, large) == large
        assert b"".join(broker.came) == large


async def test_a_cut_resets_and_refuses() -> None:
    async with proxied() as (links, port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(3))
        await reader.readexactly(len(request(3)))
        await links.shape(0, "cut")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), SECONDS)
        writer.close()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await exchange(port, request(3))
        await links.pass_(0)
        assert await exchange(port, request(3)) == request(3)


async def test_what_is_held_arrives_later() -> None:
    async with proxied() as (links, port, broker):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(3))
        await reader.readexactly(len(request(3)))
        await links.shape(0, "hold")
        writer.write(request(18))
        answer = asyncio.create_task(reader.readexactly(len(request(18))))
        # The proxy answers commands in order: by now it has had every chance to pass the request on.
        await links.shape(0, "hold")
        await links.shape(0, "hold")
        assert not answer.done()
        assert len(broker.came) == 1
        await links.pass_(0)
        assert await asyncio.wait_for(answer, SECONDS) == request(18)
        writer.close()


async def test_latency_and_rate_make_it_slow() -> None:
    async with proxied() as (links, port, _):
        loop = asyncio.get_running_loop()
        await links.shape(0, latency=0.2)
        began = loop.time()
        await exchange(port, request(3))
        assert loop.time() - began > 0.4
        await links.shape(0, rate=100_000)
        began = loop.time()
        await exchange(port, request(3, b"x" * 30_000))
        assert loop.time() - began > 0.5


@pytest.mark.parametrize("forward", [False, True])
async def test_a_request_is_caught_before_or_after_it_passes(forward: bool) -> None:
    async with proxied() as (links, port, broker):
        await links.arm(0, [(Api.END_TXN, 2)], forward=forward)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        first, second = request(Api.END_TXN, b"1"), request(Api.END_TXN, b"2")
        writer.write(first)
        assert await asyncio.wait_for(reader.readexactly(len(first)), SECONDS) == first
        writer.write(second)
        assert await links.fired(0, SECONDS)
        if forward:
            async with asyncio.timeout(SECONDS):
                while len(broker.came) < 2:  # noqa: ASYNC110 - the server has nothing to wait for but this
                    await asyncio.sleep(0.01)
        await links.reset(0)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), SECONDS)
        writer.close()
        assert broker.came == ([first, second] if forward else [first])
        assert await exchange(port, first) == first


# --- what is sent to do harm


KITCHEN = hostile.Place(2, People(6), random.Random(1))
ACCEPTED, FORWARDED, REFUSED = "accepted", "forwarded", "refused"
# What is to become of each, as docs/security.md and the contract's bounds have it; what is not here is invalid.
FATES = {
    "no JSON, of megabytes": "too_large",
    "a touchpoint of 13 MB": "too_large",
    "a request whose id has 13 MB": "too_large",
    "a key alone": "malformed",
    "a header that fills the record": "malformed",
    "20,000 headers": "malformed",
    "headers of 13 MB": "too_large",
    "exactly as large as a record may be": ACCEPTED,
    "one byte more": "too_large",
    "a binary event with much data": ACCEPTED,
    "brackets": "malformed",
    "the longest text": ACCEPTED,
    "noise": "malformed",
    "misrouted, and as large as the broker takes": REFUSED,
    "misrouted, and too large once it is inflated": REFUSED,
    "misrouted, and large": FORWARDED,
    "misrouted, with a large header": FORWARDED,
    "misrouted, and no event": "malformed",
}


def lying(parcel: Parcel) -> list[Record]:
    return [Record(n, 1_800_000_000_000, *sent) for n, sent in enumerate(parcel.records)]


@pytest.mark.parametrize("name", [name for name in hostile.POISON if not name.startswith("in cx.forget")])
def test_poison_is_what_it_says(name: str) -> None:
    parcel = hostile.POISON[name](KITCHEN)
    [record] = lying(parcel)
    expectation = checker.Expectation(Settings(), KITCHEN.partition, 6, largest=hostile.USUAL_LIMIT)
    expectation.take([record])
    size = sum(len(each or b"") for each in record[2:4]) + sum(len(text or b"") for _, text in record.headers)
    assert size > 50_000
    fate = FATES.get(name, "invalid")
    if fate == FORWARDED:
        assert list(expectation.forwarded) == [3]
    elif fate == REFUSED:
        [(key, value, headers)] = expectation.refused
        assert (key, value, dict(headers)["reason"]) == (record.key, None, b"too_large")
    else:
        assert dict(expectation.reasons) == ({} if fate == ACCEPTED else {fate: 1})
    assert bool(expectation.cards()) == (fate == ACCEPTED)
    limit = 12 << 20 if parcel.codec else hostile.USUAL_LIMIT
    assert parcel.codec or one_batch(parcel.records[0]) <= limit


def test_a_record_as_large_as_is_taken_is_so_to_the_byte() -> None:
    for limit in (500_000, hostile.USUAL_LIMIT):
        assert one_batch(hostile.as_large_as_taken("anna", limit)) == limit


@pytest.mark.parametrize("name", [name for name in hostile.POISON if name.startswith("in cx.forget")])
def test_poison_in_requests_is_refused_as_it_says(name: str) -> None:
    parcel = hostile.POISON[name](KITCHEN)
    [record], [why] = lying(parcel), parcel.refused
    assert parcel.topic == "cx.forget"
    large = checker.batch_bytes((record.key, record.value, record.headers)) > MAX_RECORD_BYTES + 1000
    assert large == (why == ("too_large", ""))
    if not large:
        found = requests.read(record, 0, 0, 2**50, None)
        assert isinstance(found, requests.Refused)
        assert tuple(found) == why


def test_bombs_are_small_until_they_are_unpacked() -> None:
    for name in ("zstd", "lz4", "100,000 headers", "20,000 sources"):
        parcel = hostile.BOMBS[name](KITCHEN)
        assert parcel.codec
        builder = DefaultRecordBatchBuilder(2, CODEC_NUMBERS[parcel.codec], 0, -1, -1, -1, 1 << 30)
        for n, sent in enumerate(parcel.records):
            assert builder.append(n, 0, sent.key, sent.value, list(sent.headers))
        inflated, packed = builder.size(), len(builder.build())
        assert packed < 12 << 20
        assert packed * 8 < inflated, name


def test_what_lies_beyond_the_bound_of_a_batch_is_known() -> None:
    parcel = Parcel("", 0, [Sent(b"k", bytes(3000 + n)) for n in range(20)], "zstd")
    builder = DefaultRecordBatchBuilder(2, CODEC_NUMBERS["zstd"], 0, -1, -1, -1, 1 << 30)
    for n, sent in enumerate(parcel.records):
        builder.append(n, 0, sent.key, sent.value, [])
    batch = builder.build()
    for limit in (10_000, 20_000, 50_000):
        *held, last = [each for piece in Unpacker(Limits(1000, limit)).pieces(batch) for each in piece]
        assert last.first == hostile.first_beyond(parcel.records, limit) == len(held)
        settings = Settings(worker={"max_batch_bytes": 1 << 20})
        expectation = checker.Expectation(settings, 0, 1, beyond=[(last.first, last.offset)])
        expectation.take(lying(parcel))
        assert len(expectation.rejected) == len(held) + 1
        [*_, (key, value, headers)] = expectation.rejected
        assert (key, value, dict(headers)["offset"], dict(headers)["size"]) == (None, None, b"19", b"1048576")


@pytest.mark.parametrize(("count", "many"), [(10_001, False), (63_000, False), (66_000, True)])
def test_a_record_with_too_many_headers_is_not_held(count: int, many: bool) -> None:
    sent = Sent(b"anna", touchpoint("anna", 1), (("", b"1"),) * count)
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 30)
    builder.append(0, 0, sent.key, sent.value, list(sent.headers))
    [found] = [each for piece in Unpacker(Limits(1 << 20, 1 << 28)).pieces(builder.build()) for each in piece]
    record = Record(0, 0, *sent)
    assert checker.too_many_headers(record) == many == (getattr(found, "reference", None) is not None)
    if many:
        row = rejection.by_reference(found, ("cx.touchpoints", 0), "too_large", "")
        mine = checker.reject(record, "too_large", "", "cx.touchpoints", 0)
        assert mine == (row.key, row.value, tuple(row.headers))


def test_copies_and_references_are_those_of_the_worker() -> None:
    long = Record(7, 0, b"k" * 600, b"v" * 50, (("trace", b"\0"), ("none", None)))
    for record in (long, long._replace(key=b"anna"), Record(8, 0, None, None, ())):
        for reason, make in (("invalid", rejection.copy), ("too_large", rejection.by_reference)):
            row = make(record, ("cx.touchpoints", 3), reason, "data.x")
            mine = checker.reject(record, reason, "data.x", "cx.touchpoints", 3)
            assert mine == (row.key, row.value, tuple(row.headers))
        copied = checker.reject(record, "invalid", "", "cx.touchpoints", 3)
        assert not checker.is_reference(copied)
        assert checker.is_reference(checker.referred(copied))
        assert checker.settled([copied], [], 10) == [copied]
        assert checker.settled([copied], [checker.referred(copied)], 10) == [checker.referred(copied)]
        assert checker.settled([copied], [checker.referred(copied)], 10_000) == [copied]


def test_a_worker_that_a_signal_ends_has_crashed(tmp_path: Path) -> None:
    async def ended(command: str) -> tuple[list[str], list[str]]:
        fleet = Fleet(lambda _: "", "g", tmp_path, [], lambda _: {})
        fleet.launch = fleet.workers.pop  # type: ignore[method-assign]
        fleet.workers[0] = worker = Worker(["sh", "-c", command], tmp_path / "log", {})
        async with fleet, asyncio.timeout(SECONDS):
            while fleet.workers:  # noqa: ASYNC110 - there is nothing to wait for but this
                await asyncio.sleep(0.05)
        worker.kill()
        return fleet.deaths, fleet.crashes

    deaths, crashes = asyncio.run(ended("kill -SEGV $$"))
    assert deaths == crashes == ["log: ended by itself with 139"]
    assert asyncio.run(ended("exit 3")) == (["log: ended by itself with 3"], [])


@pytest.mark.skipif(sys.platform != "linux", reason="memory of another process is Linux's to tell")
def test_the_most_memory_of_a_worker_is_known(tmp_path: Path) -> None:
    program = "import time; b = bytearray(200 << 20); del b; print('done', flush=True); time.sleep(300)"
    worker = Worker([sys.executable, "-c", program], tmp_path / "log", {})
    try:
        deadline = time.monotonic() + SECONDS
        while b"done" not in worker.log.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert 200 << 20 < worker.peak_bytes() < 400 << 20
    finally:
        worker.kill()
    assert worker.peak_bytes() == 0


def test_a_signed_request_is_the_one_that_was_asked() -> None:
    asked = forget("c1", 4)
    signed = Authority((b"k" * 32,)).sign(json.loads(asked))
    assert asked != json.dumps(signed).encode()
    assert unsigned((b"c1", asked)) == unsigned((b"c1", json.dumps(signed).encode()))
    assert unsigned((b"c1", asked)) != unsigned((b"c1", forget("c1", 5)))


def test_a_misrouted_record_that_is_lost_or_changed_is_found() -> None:
    names = [f"c{n}" for n in range(20)]
    values = [touchpoint(name, n) for n, name in enumerate(names)]
    expectation = checker.Expectation(Settings(), 0, 3)
    expectation.take([record(n, value) for n, value in enumerate(values)])
    forwarded = [each for some in expectation.forwarded.values() for each in some]
    assert len(forwarded) > 5
    assert all(is_forwarded(Record(0, 0, *each)) for each in forwarded)

    def difference(found: list[checker.Reject]) -> tuple[int, int, int]:
        seen = checker.compare(forwarded, found, checker.forward_name, "there")
        return seen.lost, seen.repeated, seen.wrong

    assert difference(forwarded) == (0, 0, 0)
    assert difference(forwarded[1:]) == (1, 0, 0)
    assert difference([*forwarded, forwarded[0]]) == (0, 1, 0)
    key, value, headers = forwarded[0]
    assert difference([(key, (value or b"") + b" ", headers), *forwarded[1:]]) == (0, 0, 1)


# --- saved state


@pytest.fixture(scope="module", params=[b"", b"key" * 8], ids=["plain", "keyed"])
def saved_states(request: pytest.FixtureRequest) -> tuple[bytes, dict[int, spoiled.State]]:
    """Two partitions, of which the first has been built anew once, as cx.snapshots has them."""
    states = {}
    for partition in range(2):
        history: list[tuple[bytes | None, bytes | None]] = [(b"\0claim:x", b"{}")]
        for generation in (3, 4):
            engine = Engine(ScoringParams(), {}, partition=partition)
            engine.line = Line(generation + partition, secrets=(request.param,))
            names = [f"p{partition}-{n % 9}" for n in range(60)]
            engine.process(Records([touchpoint(name, n) for n, name in enumerate(names)], range(60)))
            history += engine.snapshot()
        states[partition] = spoiled._state(history, request.param)
    return request.param, states


def test_what_is_saved_is_told_from_what_was(saved_states: tuple[bytes, dict[int, spoiled.State]]) -> None:
    secret, states = saved_states
    for partition, state in states.items():
        assert set(state.earlier) == set(state.rows)
        assert all(state.earlier[key] != row for key, row in state.rows.items())
        Engine.restore(ScoringParams(), {}, state.rows, partition=partition, secrets=(secret,))


@pytest.mark.parametrize("name", spoiled.WAYS)
def test_spoiled_state_is_always_refused(
    name: str, saved_states: tuple[bytes, dict[int, spoiled.State]]
) -> None:
    good, states = saved_states
    rng = random.Random(name)
    for _ in range(12):
        shelf = spoiled.Shelf(states[0], states[1], good, rng.choice([good, b""]), rng)
        rows: dict[bytes, bytes | None] = {**states[0].rows, **spoiled.WAYS[name](shelf)}
        there = {key: row for key, row in rows.items() if row is not None}
        assert there != states[0].rows
        if MARKER_KEY in there:
            with pytest.raises(SnapshotError):
                Engine.restore(ScoringParams(), {}, there, secrets=(good,), latest=2**43)


# --- the command


def test_kinds_have_names_of_their_own() -> None:
    names = {kind.name for kind in KINDS}
    assert len(names) == len(KINDS)
    assert {"poison-by-size", "bomb", "second-group", "damaged-snapshot"} <= names


def test_the_command_lists_every_kind() -> None:
    shown = CliRunner().invoke(main, ["--list"])
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.output.splitlines()] == [kind.name for kind in KINDS]


def test_traffic_can_be_less_and_last_longer() -> None:
    [kind] = [kind for kind in KINDS if kind.name == "zombie"]
    assert _loaded(kind, None, None) == kind
    changed = _loaded(kind, 30.0, 500.0).load
    assert (changed.seconds, changed.rate, changed.rates) == (30.0, 500.0, kind.load.rates)


def test_an_unknown_kind_is_refused() -> None:
    shown = CliRunner().invoke(main, ["--only", "earthquake"])
    assert shown.exit_code == 2
    assert "no kind 'earthquake'" in shown.output


def test_the_document_has_every_kind() -> None:
    rows = re.findall(
        r"^\| `([a-z-]+)` \|", (Path(__file__).parent / "faults" / "README.md").read_text(), re.MULTILINE
    )
    assert rows == [kind.name for kind in KINDS]


# --- the clock


def test_a_clock_is_moved_while_its_process_runs(tmp_path: Path) -> None:
    try:
        clock = Clock(tmp_path, "clock")
    except NotHereError as error:
        pytest.skip(str(error))
    program = "import time, datetime as d\nfor _ in range(3): input(); print(time.time(), d.datetime.now().timestamp(), time.monotonic(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **clock.environment},
    ) as process:
        assert process.stdin
        assert process.stdout
        shown = []
        for seconds in (0, 86_400, -86_400):
            clock.set(seconds)
            process.stdin.write("\n")
            process.stdin.flush()
            shown.append([float(each) for each in next_line(process).split()])
    (wall, date, steady), ahead, behind = shown
    assert [round((each - wall) / 86_400) for each in (date, ahead[0], ahead[1], behind[0], behind[1])] == [
        0,
        1,
        1,
        -1,
        -1,
    ]
    assert steady <= ahead[2] <= behind[2]

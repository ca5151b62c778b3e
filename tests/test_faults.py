"""The fault harness itself: its checker finds what it is there to find, and its proxy does what it says.

The runs are `make faults`; here is what can be known of the harness without breaking anything.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from cxstream.local import ports
from cxstream.settings import Settings
from faults import checker
from faults.__main__ import main
from faults.clock import Clock
from faults.errors import NotHereError
from faults.kinds import KINDS
from faults.links import Links
from faults.reader import Record
from faults.traffic import Load, broken, records
from faults.verdict import Digest, is_request, is_tick
from faults.watcher import Watcher, gap
from faults.wire import Api, Trigger, api_of
from workers import key_of, touchpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 20.0


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


# --- the command


def test_kinds_have_names_of_their_own() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_the_command_lists_every_kind() -> None:
    shown = CliRunner().invoke(main, ["--list"])
    assert shown.exit_code == 0
    assert [line.split()[0] for line in shown.output.splitlines()] == [kind.name for kind in KINDS]


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
            shown.append([float(each) for each in process.stdout.readline().split()])
    (wall, date, steady), ahead, behind = shown
    assert [round((each - wall) / 86_400) for each in (date, ahead[0], ahead[1], behind[0], behind[1])] == [
        0,
        1,
        1,
        -1,
        -1,
    ]
    assert steady <= ahead[2] <= behind[2]

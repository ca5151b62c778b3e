"""What cannot be read stops its partition alone, is said, and is tried again."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from cxstream.kafka.admin import administration
from cxstream.kafka.batch_fetch import WholeBatches
from cxstream.kafka.fetch_screen import Screen
from cxstream.kafka.reader import reading
from cxstream.kafka.record_batches import Limits
from cxstream.model.errors import UnreadableError
from cxstream.topology import SCORES, TOUCHPOINTS
from cxstream.worker.clients import Reader
from cxstream.worker.faust.app import create_app
from cxstream.worker_client.http import get
from damage import DAMAGES, LIES, MAGIC, alter, put, segment
from test_metrics import samples, scraped, value
from workers import Watcher, customers_of, in_process, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cxstream.local.broker import LocalKafka
    from cxstream.settings import Settings
    from cxstream.worker.faust.app import App

SECONDS = 90.0
TP = TopicPartition(TOUCHPOINTS.name, 0)


# --- what a fetch brought


def batch(first: int, records: int, compression: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 20)
    for offset in range(records):
        builder.append(offset, 1_700_000_000_000, b"k", b"value" * 20, [("h", None)])
    return first.to_bytes(8) + bytes(builder.build())[8:]


LOG = [batch(0, 3), batch(3, 4, 4), batch(7, 2, 3), batch(9, 5)]
FIRST = [0, 3, 7, 9, 14]


def given_out(log: bytes) -> tuple[list[int], list[tuple[int, str]], int]:
    """Offsets given out, what was refused, and where the next fetch begins."""
    refused: list[tuple[int, str]] = []
    kept = WholeBatches(
        frozenset({TOUCHPOINTS.name}),
        lambda _, offset, error: refused.append((offset, str(error))),
        {TP: log},
        Limits(1 << 20, 1 << 30),
        1 << 20,
    )
    fetched = PartitionRecords(TP, MemoryRecords(log), [], 0, None, None, True, READ_COMMITTED)
    kept[TP] = FetchResult(TP, assignment=None, partition_records=fetched, backoff=0)
    offsets = [record.offset for records in fetched for record in records]
    return offsets, refused, fetched.next_fetch_offset


def test_a_good_log_is_given_out_whole() -> None:
    assert given_out(b"".join(LOG)) == (list(range(14)), [], 14)


@pytest.mark.parametrize("damage", [name for name in DAMAGES if name != "too long"])
@pytest.mark.parametrize("which", range(len(LOG)))
def test_batches_before_a_damaged_one_are_given_out_and_it_is_refused(damage: str, which: int) -> None:
    log = list(LOG)
    log[which] = DAMAGES[damage](log[which])
    if log[which] == LOG[which]:
        return  # it is compressed with that codec
    offsets, refused, then = given_out(b"".join(log))
    assert offsets == list(range(FIRST[which]))
    assert then == FIRST[which]
    # What came before has to be taken first; the fetch that begins with the damaged batch is refused.
    assert [offset for offset, _ in refused] == ([0] if which == 0 else [])
    assert given_out(b"".join(log[which:]))[1]


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("which", range(len(LOG)))
def test_a_batch_that_was_sent_broken_costs_itself_alone(lie: str, which: int) -> None:
    log = list(LOG)
    log[which] = LIES[lie](log[which])
    offsets, refused, then = given_out(b"".join(log))
    assert (refused, then) == ([], 14)
    others = [n for n in range(14) if not FIRST[which] <= n < [*FIRST, 14][which + 1]]
    assert [offset for offset in offsets if offset in others] == others
    assert offsets == sorted(set(offsets))
    # The last offset of the batch stands for all of it that cannot be read.
    assert [*FIRST, 14][which + 1] - 1 in offsets


@given(which=st.integers(0, 3), at=st.integers(MAGIC, 400), bits=st.integers(1, 255))
def test_whatever_is_altered_only_what_is_before_it_is_given_out(which: int, at: int, bits: int) -> None:
    log = [bytearray(each) for each in LOG]
    at = MAGIC + at % (len(log[which]) - MAGIC)
    log[which][at] ^= bits
    offsets, refused, then = given_out(b"".join(log))
    assert (offsets, then) == (list(range(FIRST[which])), FIRST[which])
    assert bool(refused) == (which == 0)


# --- what Kafka answered


class Client:
    """A client whose answer is given."""

    def __init__(self, *parts: tuple[Any, ...]) -> None:
        self.parts, self.updates = list(parts), 0
        self._conns: dict[Any, Any] = {}

    async def send(self, node: int, request: Any) -> Any:
        return SimpleNamespace(
            API_VERSION=11, topics=[(TOUCHPOINTS.name, self.parts)], node=node, asked=request
        )

    def force_metadata_update(self) -> None:
        self.updates += 1


def part(number: int, code: int = 0, log: bytes = b"") -> tuple[Any, ...]:
    return (number, code, 14, 14, 0, [], -1, log)


async def screened(*parts: tuple[Any, ...]) -> tuple[list[int], dict[int, str], Client]:
    refused: dict[int, str] = {}
    client = Client(*parts)
    screen = Screen(client, lambda tp, _, error: refused.update({tp.partition: str(error)}))
    asked = [(TOUCHPOINTS.name, [(number, 0, 1000) for number, *_ in parts])]
    response = await screen.send(1, FetchRequest(500, 1, 1000, 1, asked, rack_id=""))
    return [each[0] for each in response.topics[0][1]], refused, client


async def test_errors_of_the_broker_are_taken_out_of_its_answer() -> None:
    codes = {2: "CorruptRecord", 29: "TopicAuthorizationFailed", 56: "KafkaStorage", -1: "Unknown", 76: "76"}
    left, refused, client = await screened(
        part(0, log=LOG[0]), *(part(number, code) for number, code in enumerate(codes, 1)), part(9)
    )
    assert left == [0, 9]
    assert len(refused) == len(codes)
    assert client.updates == len(codes)
    assert "CorruptRecord" in refused[1]


@pytest.mark.parametrize("code", [1, 3, 6])
async def test_what_the_fetcher_deals_with_is_left_to_it(code: int) -> None:
    left, refused, _ = await screened(part(0, code))
    assert (left, refused) == ([0], {})


async def test_a_batch_that_is_longer_than_the_answer_is_refused() -> None:
    left, refused, _ = await screened(part(0, log=DAMAGES["too long"](LOG[0])), part(1, log=LOG[0]))
    assert left == [1]
    assert "longer than what was sent" in refused[0]


async def test_other_requests_pass_as_they_are() -> None:
    screen = Screen(Client(part(0, 2)), lambda *_: pytest.fail("not a fetch"))
    answer = await screen.send(7, "a request")
    assert (answer.node, answer.asked) == (7, "a request")


# --- a worker on a broker whose disk has damaged records


@pytest.mark.broker
async def test_damaged_records_stop_their_partitions_alone_until_they_can_be_read(
    broker: LocalKafka,
    settings: Settings,
    topics: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cxstream.worker.ownership.unreadable._BACKOFF_MAX_SECONDS", 1.0)
    # Of a batch that is longer than the log the broker says nothing at all.
    damages = [damage for name, damage in DAMAGES.items() if name != "too long"]
    gone, well = 0, len(damages)
    topics(well + 1)
    # Nothing is forwarded, which would end a partition with a marker that nobody commits.
    customers = [customers_of(p, well + 1, 3) for p in range(well + 1)]
    for times in range(3):
        await write(
            settings,
            TOUCHPOINTS.name,
            {
                p: [touchpoint(own[times], 10 * times + n) for n in range(4)]
                for p, own in enumerate(customers)
            },
        )
    later = customers_of(well, well + 1, prefix="later")[0]
    logs = [segment(broker, TOUCHPOINTS.name, p) for p in range(well)]
    whole = [log.read_bytes() for log in logs]
    for log, damage in zip(logs, damages, strict=True):
        alter(log, 4, damage)
    worker = settings.worker.model_copy(update={"lost_records": "accept", "flush_seconds": 0.1})
    app = create_app(settings.model_copy(update={"worker": worker}))
    web = f"http://{app.conf.web_host}:{app.conf.web_port}"
    with capture_logs() as said:
        async with in_process(app), Watcher(settings, well + 1) as watcher:
            await until(lambda: len(app.partitions.unreadable) == well, SECONDS, lambda: str(said))
            await write(settings, TOUCHPOINTS.name, {well: [touchpoint(later, 100)]})
            await until(lambda: committed(watcher, 4 * well + 13), SECONDS, lambda: str(said))
            status, body = await asyncio.to_thread(get, f"{web}/readyz")
            assert (status, set(body["partitions"].values())) == (503, {"running"})
            assert set(body["stalled"]) == set(map(str, range(well)))
            assert all("cannot be read from offset 4 on" in reason for reason in body["stalled"].values())
            assert await metric(app, well) == [1.0] * well + [0.0]

            for log, good in list(zip(logs, whole, strict=True))[gone + 1 :]:
                put(log, 0, good)
            async with administration(settings) as admin:
                await admin.delete_records(
                    {TopicPartition(TOUCHPOINTS.name, gone): RecordsToDelete(before_offset=8)}
                )
            await until(watcher.all_committed, SECONDS, lambda: str(said))
            await until(lambda: app.ready, SECONDS, lambda: str(said))
            assert await metric(app, well) == [0.0] * (well + 1)
            assert app.partitions.counters[gone].lost == 4
            # Cards may follow what is committed by a second.
            carded = {name for own in customers for name in own} - {customers[gone][1]} | {later}
            await until(lambda: cards_are(watcher, carded), SECONDS, lambda: str(said))
    events = Counter(each["event"] for each in said)
    assert events["partition can be read again"] == well
    assert events["partition failed; trying again"] == 0
    waits = [each["seconds"] for each in said if each["event"] == "partition cannot be read; trying again"]
    assert waits.count(0.5) == well
    assert set(waits) <= {0.5, 1.0}


async def committed(watcher: Watcher, offsets: int) -> bool:
    return await watcher.committed() == offsets


async def cards_are(watcher: Watcher, names: set[str]) -> bool:
    return {
        r.key.decode() for records in (await watcher.read(SCORES.name)).values() for r in records
    } == names


async def metric(app: App, last: int) -> list[float]:
    assert app.exporter
    found = samples(await asyncio.to_thread(scraped, app.exporter.address))
    name, topic = "cxstream_partition_unreadable", TOUCHPOINTS.name
    return [value(found, name, topic=topic, partition=str(p)) for p in range(last + 1)]


@pytest.mark.broker
async def test_other_readers_name_the_records_that_they_cannot_read(
    broker: LocalKafka, settings: Settings, topics: Callable[[int], None]
) -> None:
    damages = ["checksum", "unknown codec", "format 3", "too short"]
    topics(len(damages))
    for times in range(3):
        values = [touchpoint("c", 10 * times + n) for n in range(4)]
        await write(settings, TOUCHPOINTS.name, {p: values for p, _ in enumerate(damages)})
    for p, damage in enumerate(damages):
        alter(segment(broker, TOUCHPOINTS.name, p), 4, DAMAGES[damage])
    async with reading(settings, [TOUCHPOINTS]) as reader:
        for p, damage in enumerate(damages):
            _, error = await read_of(reader.read(TOUCHPOINTS.name, p, 0, 12))
            assert (error.topic, error.partition) == (TOUCHPOINTS.name, p), damage
            assert "Records that cannot be read" in str(error)
    for p, damage in enumerate(damages):
        async with Reader(settings, settings.worker.group, p) as own:
            found, error = await read_of(own.read(TOUCHPOINTS.name, 0, 12))
        assert (found, error.offset) == ([0, 1, 2, 3], 4), damage


async def read_of(reading: AsyncIterator[Any]) -> tuple[list[int], UnreadableError]:
    """The offsets that come before the error, and the error."""
    found: list[int] = []
    try:
        async for records in reading:
            found += [record.offset for record in records]
    except UnreadableError as error:
        return found, error
    pytest.fail(f"all was read: {found}")

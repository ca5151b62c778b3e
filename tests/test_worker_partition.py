"""One partition on a real Kafka, fed by hand: claims, recovery, and what happens when things go wrong.

Whatever happens on the way, the committed results must be those of an engine that simply reads the log.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiokafka
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import ProducerFenced
from structlog.testing import capture_logs

import golden_states
from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.kafka.coordinators import TransactionExpiredError
from cxstream.kernels.layout import PANE, ROW
from cxstream.model.errors import LostRecordsError
from cxstream.model.kinds import FORGET_TYPE
from cxstream.model.rules import rules_of
from cxstream.rejected.record import read as read_rejection
from cxstream.scoring.codec.rejection import Reference
from cxstream.scoring.engine import MARKER_KEY, Engine
from cxstream.topology import CHURN_RISK, FRICTION, REJECTED, SCORES, SNAPSHOTS, TOUCHPOINTS
from cxstream.worker.clients import Kafka, Reader, discard
from cxstream.worker.feed import Fetch, to_records
from cxstream.worker.metrics.counters import Counters
from cxstream.worker.ownership import outbox
from cxstream.worker.ownership.partition import Partition
from cxstream.worker.ownership.restore import Losses, Restored, replay
from cxstream.worker.ownership.standby import Standby
from default_1 import DEFAULT_1, default_1
from saved import altered, marker_of, payloads, sealed
from workers import Watcher, key_of, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cxstream.model.parameters import ScoringParams
    from cxstream.settings import Settings

SECONDS = 60.0

pytestmark = pytest.mark.broker


@pytest.fixture(autouse=True)
def _read_in_another_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "WORTH_A_THREAD", 2)


@pytest.fixture
def settings(settings: Settings, topics: Callable[[int], None]) -> Settings:
    """Quick to flush, quick to notice; with fresh topics of one partition."""
    topics(1)
    worker = settings.worker.model_copy(
        update={"flush_seconds": 0.05, "snapshot_seconds": 0.2, "session_seconds": 6.0}
    )
    return settings.model_copy(update={"worker": worker, "scoring": DEFAULT_1})


def troubles(count: int, start: int = 0) -> list[bytes]:
    """Touchpoints that lead to signals: errors of a few customers."""
    return [touchpoint(f"c{n % 7}", n) for n in range(start, start + count)]


async def log_of(settings: Settings, start: int = 0) -> list[Any]:
    """The source records from an offset on."""
    async with Reader(settings, settings.worker.group, 0) as reader:
        _, end = await reader.bounds(TOUCHPOINTS.name)
        return [record async for records in reader.read(TOUCHPOINTS.name, start, end) for record in records]


def fetch(records: list[Any], follows: int | None = None) -> Fetch:
    return Fetch(0, records, follows, records[-1].offset + 1)


@asynccontextmanager
async def owned(settings: Settings, parked: Restored | None = None) -> AsyncIterator[Partition]:
    partition = Partition(
        settings, Kafka(settings, settings.worker.group), 0, parked=parked, counters=Counters()
    )
    try:
        await until(lambda: partition.state in ("running", "failed"), SECONDS, lambda: partition.state)
        yield partition
    finally:
        await partition.close(SECONDS)


async def applied(partition: Partition, offset: int) -> None:
    await until(
        lambda: partition.position == offset, SECONDS, lambda: f"{partition.state} {partition.position}"
    )


async def assert_all_committed(settings: Settings) -> None:
    """What was committed is what an engine says that reads the log from its beginning."""
    await _assert_committed(settings, await log_of(settings))


async def _assert_committed(settings: Settings, records: list[Any]) -> None:
    engine = Engine(settings.scoring, settings.actions)
    outcome = engine.process(to_records(records, 300_000))
    async with Watcher(settings, 1) as watcher:
        assert await watcher.committed() == records[-1].offset + 1
        for topic in (CHURN_RISK.name, FRICTION.name):
            expected = [signal.value for signal in outcome.signals if signal.topic == topic]
            assert [record.value for record in (await watcher.read(topic)).get(0, [])] == expected
        rejected = [record.value for record in (await watcher.read(REJECTED.name)).get(0, [])]
        assert rejected == [records[rejection.index].value for rejection in outcome.rejected]
        latest = {record.key: record.value for record in (await watcher.read(SCORES.name)).get(0, [])}
    cards = {key: card for key, card in latest.items() if card is not None}
    assert cards == {subject.encode(): card for subject, card in engine.cards()}
    assert outcome.signals


async def test_fetches_become_committed_results(settings: Settings) -> None:
    await write(settings, TOUCHPOINTS.name, {0: [*troubles(200), b"no json", *troubles(100, 200)]})
    records = await log_of(settings)
    async with owned(settings) as partition:
        partition.put(fetch(records[:150]))
        partition.put(fetch(records[150:], follows=149))
        await applied(partition, 301)
        assert partition.caught_up
    assert partition.state == "closed"
    assert partition.counters.events == 301
    assert partition.counters.rejected == {"malformed": 1}
    await assert_all_committed(settings)


async def test_rejected_records_keep_key_value_and_headers(settings: Settings) -> None:
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        sent = {"key": b"k\xff", "value": b"{broken", "headers": [("trace", b"\x00\x01")]}
        await producer.send_and_wait(TOUCHPOINTS.name, partition=0, **sent)
        await producer.send_and_wait(TOUCHPOINTS.name, partition=0, key=b"gone", value=None)
    async with owned(settings) as partition:
        partition.put(fetch(await log_of(settings)))
        await applied(partition, 2)
    async with Watcher(settings, 1) as watcher:
        first, second = (await watcher.read(REJECTED.name))[0]
    assert (first.key, first.value) == (b"k\xff", b"{broken")
    assert list(first.headers) == [
        ("trace", b"\x00\x01"),
        ("reason", b"malformed"),
        ("field", b""),
        ("topic", b"cx.touchpoints"),
        ("partition", b"0"),
        ("offset", b"0"),
    ]
    assert (second.key, second.value) == (b"gone", None)


async def test_a_later_claim_fences_and_nothing_is_said_twice(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(400)})
    records = await log_of(settings)
    async with owned(settings) as old:
        old.put(fetch(records[:100]))
        # Who is in the middle of a commit may be told an error that says nothing of a claim.
        await until(lambda: old.counters.committed == 100, SECONDS, lambda: old.state)
        async with owned(settings) as new:
            old.put(fetch(records[100:300], follows=99))
            await until(lambda: old.state == "fenced", SECONDS, lambda: old.state)
            assert new.position == 100
            new.put(fetch(records))
            await applied(new, 400)
    await assert_all_committed(settings)
    gc.collect()
    assert "never retrieved" not in caplog.text


async def test_what_the_feed_left_out_is_read(settings: Settings) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(300)})
    records = await log_of(settings)
    async with owned(settings) as partition:
        partition.put(fetch(records[50:100]))  # the first: offsets 0 to 49 were never brought
        partition.put(fetch(records[200:], follows=150))  # follows on one that never came
        await applied(partition, 300)
    assert partition.counters.events == 300
    await assert_all_committed(settings)


async def test_overlapping_fetches_count_once(settings: Settings) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(300)})
    records = await log_of(settings)
    async with owned(settings) as partition:
        for start, stop in ((0, 200), (100, 150), (150, 300)):
            partition.put(fetch(records[start:stop]))
        await applied(partition, 300)
    assert partition.counters.events == 300
    await assert_all_committed(settings)


async def test_offsets_without_records_are_no_holes(settings: Settings) -> None:
    async with aiokafka.AIOKafkaProducer(**connection(settings), transactional_id="a-source") as producer:
        for number in range(0, 60, 10):
            async with producer.transaction():
                for value in troubles(10, number):
                    await producer.send(TOUCHPOINTS.name, value, key=key_of(value), partition=0)
    await assert_restart_goes_on(settings, 30)


async def assert_restart_goes_on(settings: Settings, first: int) -> None:
    """Apply some, give the partition up, take it again and apply the rest."""
    records = await log_of(settings)
    async with owned(settings) as partition:
        partition.put(fetch(records[:first]))
        await applied(partition, records[first - 1].offset + 1)
    async with owned(settings) as partition:
        assert partition.position == records[first - 1].offset + 1
        partition.put(fetch(records[first:]))
        await applied(partition, records[-1].offset + 1)
    await assert_all_committed(settings)


async def test_a_new_owner_goes_on_from_snapshot_and_log(settings: Settings) -> None:
    """The first owner dies without goodbye, after a snapshot and commits that follow it."""
    await write(settings, TOUCHPOINTS.name, {0: troubles(500)})
    records = await log_of(settings)
    rare = settings.model_copy(
        update={"worker": settings.worker.model_copy(update={"snapshot_seconds": 3600.0})}
    )
    async with owned(rare) as dead, Watcher(settings, 1) as watcher:
        for start in range(0, 300, 100):
            dead.put(fetch(records[start : start + 100]))
            await applied(dead, start + 100)
            await until(lambda: _is(watcher.committed(), start + 100), SECONDS, lambda: dead.state)  # noqa: B023
        assert dead.counters.snapshots == 1
        async with owned(settings) as heir:
            assert heir.position == 300
            assert heir.counters.replayed == 200
            heir.put(fetch(records[300:]))
            await applied(heir, 500)
    await assert_all_committed(settings)


async def _is(work: Any, value: int) -> bool:
    return await work == value


async def test_a_state_that_came_back_is_used_again(settings: Settings) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(100)})
    partition = Partition(
        settings, Kafka(settings, settings.worker.group), 0, parked=None, counters=Counters()
    )
    await until(lambda: partition.state == "running", SECONDS, lambda: partition.state)
    partition.put(fetch(await log_of(settings)))
    await applied(partition, 100)
    kept = await partition.close(SECONDS)
    assert kept is not None
    await write(settings, TOUCHPOINTS.name, {0: troubles(100, 100)})
    again = Partition(settings, Kafka(settings, settings.worker.group), 0, parked=kept, counters=Counters())
    await until(lambda: again.state == "running", SECONDS, lambda: again.state)
    again.put(fetch(await log_of(settings, 100)))
    await applied(again, 200)
    last = await again.close(SECONDS)
    assert last is not None
    assert last.engine is kept.engine
    await assert_all_committed(settings)


async def test_a_kept_state_that_others_overtook_catches_up(settings: Settings) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(200)})
    records = await log_of(settings)
    partition = Partition(
        settings, Kafka(settings, settings.worker.group), 0, parked=None, counters=Counters()
    )
    partition.put(fetch(records[:100]))
    await applied(partition, 100)
    kept = await partition.close(SECONDS)
    async with owned(settings) as other:
        other.put(fetch(records[100:150]))
        await applied(other, 150)
    async with owned(settings, parked=kept) as partition:
        assert partition.position == 150
        assert partition.counters.replayed == 50
        partition.put(fetch(records[150:]))
        await applied(partition, 200)
    await assert_all_committed(settings)


async def test_a_snapshot_without_marker_is_rebuilt_from_the_log(settings: Settings) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(300)})
    records = await log_of(settings)
    async with owned(settings) as partition:
        partition.put(fetch(records[:200]))
        await applied(partition, 200)
    await _forget_marker(settings)
    async with owned(settings) as partition:
        assert partition.counters.replayed == 200
        partition.put(fetch(records[200:]))
        await applied(partition, 300)
    await assert_all_committed(settings)


def _a_byte(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    row = rows[b"cc1"]
    return {b"cc1": row[:40] + bytes([row[40] ^ 1]) + row[41:]}


def _an_absurd_day(rows: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """The day of the newest pane, by which weights are looked up."""
    row = bytearray(payloads(rows)[b"cc1"])
    struct.pack_into("<i", row, 1 + ROW.itemsize + 5 + PANE.fields["day"][1], 2**31 - 1)  # type: ignore[index]
    return sealed({b"cc1": bytes(row)}, marker_of(rows).generation)


DAMAGE: dict[str, Callable[[dict[bytes, bytes]], dict[bytes, bytes]]] = {
    "a row of the snapshot is damaged": _a_byte,
    "(a day)": _an_absurd_day,
    "is from the future": lambda rows: altered(rows, clock=253_402_300_000_000),
    "cannot be read": lambda rows: {
        MARKER_KEY: rows[MARKER_KEY].replace(b'"clock":', b'"clock":4611686018427')
    },
    "0 of 7 rows": lambda rows: dict.fromkeys((key for key in rows if key[:1] == b"c"), b""),
}


async def test_a_damaged_snapshot_is_rebuilt_from_the_log_and_told_once(settings: Settings) -> None:
    """Each kind of damage in turn; the state that is built instead is saved, and nothing is said twice."""
    await write(settings, TOUCHPOINTS.name, {0: troubles(50 * (len(DAMAGE) + 1))})
    records = await log_of(settings)
    async with owned(settings) as partition:
        partition.put(fetch(records[:50]))
        await applied(partition, 50)
    for done, (said, damage) in enumerate(DAMAGE.items(), start=1):
        async with Watcher(settings, 1) as watcher:
            latest = {record.key: record.value for record in (await watcher.read(SNAPSHOTS.name))[0]}
        rows = {key: row for key, row in latest.items() if row is not None}
        async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
            for key, row in damage(rows).items():
                await producer.send_and_wait(SNAPSHOTS.name, row or None, key=key, partition=0)
        with capture_logs() as logs:
            async with owned(settings) as partition:
                assert partition.counters.replayed == 50 * done
                assert partition.counters.refused == {"damaged": 1}
                partition.put(fetch(records[50 * done : 50 * (done + 1)]))
                await applied(partition, 50 * (done + 1))
        told = [line for line in logs if line["event"] == "rebuilding the state from the log"]
        assert len(told) == 1
        assert said in told[0]["reason"]
    async with owned(settings) as partition:
        assert partition.counters.replayed == 0
        assert not partition.counters.refused
    await assert_all_committed(settings)


def accepting(settings: Settings) -> Settings:
    """What `--accept-loss` makes of the settings."""
    return settings.model_copy(
        update={"worker": settings.worker.model_copy(update={"lost_records": "accept"})}
    )


async def _delete_before(settings: Settings, offset: int) -> None:
    async with administration(settings) as admin:
        await admin.delete_records(
            {TopicPartition(TOUCHPOINTS.name, 0): RecordsToDelete(before_offset=offset)}
        )


async def test_a_state_that_the_log_no_longer_covers_is_refused(settings: Settings) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(100)})
    async with owned(settings) as partition:
        partition.put(fetch(await log_of(settings)))
        await applied(partition, 100)
    await _delete_before(settings, 50)
    await _forget_marker(settings)
    with capture_logs() as logs:
        async with owned(settings) as partition:
            assert partition.state == "failed"
            assert partition.position is None
    assert "the records from offset 0 to 50 are no longer in the log" in str(logs)
    assert "cxstream worker --accept-loss" in str(logs)


async def test_a_state_that_the_log_no_longer_covers_can_be_accepted(settings: Settings) -> None:
    """The state is built from what is left, and rows of customers that are not in it go."""
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("early", 0), *troubles(99, 1)]})
    async with owned(settings) as partition:
        partition.put(fetch(await log_of(settings)))
        await applied(partition, 100)
    await _delete_before(settings, 50)
    await _forget_marker(settings)
    await write(settings, TOUCHPOINTS.name, {0: troubles(100, 100)})
    async with owned(accepting(settings)) as partition:
        assert partition.position == 100
        assert partition.counters.lost == 50
        partition.put(fetch(await log_of(settings, 100)))
        await applied(partition, 200)
    async with owned(settings) as partition:  # the next one finds a snapshot that fits
        assert partition.position == 200
        assert partition.counters.replayed == 0
    async with Watcher(settings, 1) as watcher:
        cards = {record.key: record.value for record in (await watcher.read(SCORES.name))[0]}
        rows = {record.key: record.value for record in (await watcher.read(SNAPSHOTS.name))[0]}
    assert cards[b"early"] is None
    assert rows[b"cearly"] is None
    assert cards[b"c1"] is not None


def rules(params: ScoringParams, time: str) -> bytes:
    """A record that puts parameters in force."""
    data = json.loads(rules_of(params, {}).data)
    event = {"specversion": "1.0", "id": time, "source": "/rules", "type": "cx.rules.v1", "time": time}
    return json.dumps({**event, "data": data}).encode()


async def test_rules_change_where_the_log_has_lost_its_beginning(settings: Settings) -> None:
    """No rebuild, no loss and no signal twice, whatever the settings say meanwhile."""
    eager = default_1(name="eager", thresholds=(0.1, 0.2, 0.3), window_days=30)
    late = [rules(eager, "2025-03-01T00:00:00Z"), *troubles(50, 100)]
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("early", 0), *troubles(99, 1), *late]})
    records = await log_of(settings)
    async with owned(settings) as partition:
        partition.put(fetch(records[:100]))
        await applied(partition, 100)
    await _delete_before(settings, 60)
    async with owned(otherwise(settings)) as partition:
        assert (partition.position, partition.counters.replayed) == (100, 0)
        assert not partition.counters.refused
        partition.put(fetch(records[100:130]))
        await applied(partition, 130)
    await _delete_before(settings, 120)
    whole = Engine(settings.scoring, settings.actions)
    outcome = whole.process(to_records(records, 300_000))
    async with owned(settings) as partition:
        assert (partition.position, partition.counters.replayed, partition.counters.lost) == (130, 0, 0)
        partition.put(fetch(records[130:]))
        await applied(partition, 151)
        assert partition.engine is not None
        assert partition.engine.params.name == "eager"
        assert list(partition.engine.cards()) == list(whole.cards())
    async with Watcher(settings, 1) as watcher:
        sent = [record.value for record in (await watcher.read(CHURN_RISK.name))[0]]
    assert sent == [row.value for row in outcome.signals if row.topic == CHURN_RISK.name]
    assert b'"eager@' in sent[-1]


def without_purchases(engine: Engine) -> list[dict[str, Any]]:
    """Score cards without what layouts before 4 did not know."""
    found = [json.loads(card) for _, card in engine.cards()]
    for card in found:
        for name in ("purchases", "last_purchase", "spent"):
            del card["data"][name]
    return found


@pytest.mark.parametrize("layout", [2, 3])
async def test_a_worker_goes_on_from_the_saved_state_of_an_earlier_layout(
    settings: Settings, layout: int
) -> None:
    values = golden_states.records(layout)
    await write(settings, TOUCHPOINTS.name, {0: values})
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        for key, row in golden_states.load(layout).items():
            await producer.send_and_wait(SNAPSHOTS.name, row, key=key, partition=0)
    place = TopicPartition(TOUCHPOINTS.name, 0)
    async with aiokafka.AIOKafkaConsumer(
        **connection(settings), group_id=settings.worker.group, enable_auto_commit=False
    ) as consumer:
        consumer.assign([place])
        await consumer.commit({place: golden_states.CUT})
    await _delete_before(settings, golden_states.CUT)
    whole = golden_states.replayed(layout, passed=layout > 2)
    records = await log_of(settings, golden_states.CUT)
    whole.process(to_records(records, 300_000))
    async with owned(settings) as partition:
        assert (partition.position, partition.counters.replayed) == (golden_states.CUT, 0)
        partition.put(fetch(records))
        await applied(partition, len(values))
        assert partition.engine is not None
        assert without_purchases(partition.engine) == without_purchases(whole)
    async with owned(settings) as partition:  # what it saved has the present layout
        assert (partition.position, partition.counters.replayed) == (len(values), 0)


def asks(customer: str, number: int) -> bytes:
    """A request to be erased, of the time of a touchpoint with that number."""
    return json.dumps({**json.loads(touchpoint(customer, number)), "type": FORGET_TYPE, "data": {}}).encode()


async def test_who_was_erased_stays_so_when_the_log_no_longer_has_the_request(settings: Settings) -> None:
    """What came late counts for nothing, neither for who stayed away nor for who came back."""
    gone = [touchpoint(name, n) for n in range(10) for name in ("away", "back")]
    gone += [asks("away", 300), asks("back", 300)]
    late = [touchpoint(name, n) for n in range(10, 13) for name in ("away", "back")]
    new = [touchpoint("back", n) for n in range(400, 410)] + troubles(100, 500)
    await write(settings, TOUCHPOINTS.name, {0: [*gone, *late, *new]})
    records = await log_of(settings)
    async with owned(settings) as partition:
        partition.put(fetch(records))
        await applied(partition, len(records))
    await _delete_before(settings, len(gone))
    await _forget_marker(settings)
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("away", 20), touchpoint("back", 20)]})
    records += await log_of(settings, len(records))
    async with owned(accepting(settings)) as partition:
        partition.put(fetch(records[-2:]))
        await applied(partition, len(records))
    await _assert_committed(settings, records)
    async with owned(settings) as partition:
        assert partition.counters.replayed == 0


async def test_records_deleted_before_they_were_read_are_not_passed_over_in_silence(
    settings: Settings,
) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(200)})
    records = await log_of(settings)
    async with owned(settings) as partition:
        partition.put(fetch(records[:50]))
        await applied(partition, 50)
    await _delete_before(settings, 120)
    with capture_logs() as logs:
        async with owned(settings) as partition:
            assert partition.state == "failed"
    assert "the records from offset 50 to 120 are no longer in the log" in str(logs)
    async with owned(accepting(settings)) as partition:
        assert partition.counters.lost == 70
        partition.put(fetch(records[120:]))
        await applied(partition, 200)
    await _assert_committed(settings, [*records[:50], *records[120:]])


async def test_records_deleted_while_the_partition_runs_are_noticed(settings: Settings) -> None:
    """The feed jumps to where the log begins now, as a consumer does that resets to the earliest offset."""
    await write(settings, TOUCHPOINTS.name, {0: troubles(200)})
    records = await log_of(settings)
    async with owned(settings) as partition:
        partition.put(fetch(records[:50]))
        await applied(partition, 50)
        await _delete_before(settings, 120)
        partition.put(fetch(records[120:], follows=49))
        await until(lambda: partition.counters.failures, SECONDS, lambda: partition.state)
    async with Watcher(settings, 1) as watcher:
        assert await watcher.committed() == 50
    async with owned(accepting(settings)) as partition:
        partition.put(fetch(records[120:]))
        await applied(partition, 200)
    await _assert_committed(settings, [*records[:50], *records[120:]])


async def test_a_state_is_not_led_on_over_records_that_are_gone(settings: Settings) -> None:
    """What was deleted is noticed before anything behind it is applied: a warm copy may be handed over any time."""
    await write(settings, TOUCHPOINTS.name, {0: troubles(200)})
    records = await log_of(settings)
    engine, counters = Engine(settings.scoring, settings.actions), Counters()
    engine.process(to_records(records[:100], 300_000))
    cards = list(engine.cards())
    await _delete_before(settings, 150)
    async with Reader(settings, settings.worker.group, 0) as reader:
        with pytest.raises(LostRecordsError, match="from offset 100 to 150"):
            await replay(settings, reader, engine, 200, Losses(settings, 0, counters))
        assert engine.next_offset == 100
        assert list(engine.cards()) == cards
        accepted = accepting(settings)
        assert await replay(accepted, reader, engine, 200, Losses(accepted, 0, counters)) == 50
    assert counters.lost == 50


async def test_a_warm_copy_takes_over(settings: Settings) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(600)})
    records = await log_of(settings)
    kafka = Kafka(settings, settings.worker.group)
    standby = Standby(settings, kafka, 0, start=None, counters=Counters())
    async with owned(settings) as owner, Watcher(settings, 1) as watcher:
        for start in range(0, 500, 100):
            owner.put(fetch(records[start : start + 100], follows=start - 1 if start else None))
            await until(lambda: _is(watcher.committed(), start + 100), SECONDS, lambda: owner.state)  # noqa: B023
            await until(lambda: standby.position == start + 100, SECONDS, lambda: str(standby.position))  # noqa: B023
        warm = await standby.take()
        assert warm is not None
        async with owned(settings, parked=warm) as heir:
            assert heir.position == 500
            assert heir.counters.replayed == 0
            heir.put(fetch(records[500:]))
            await applied(heir, 600)
    await assert_all_committed(settings)
    async with owned(settings) as cold:  # what the heir saved is whole
        assert cold.position == 600
        assert cold.counters.replayed == 0


def otherwise(settings: Settings) -> Settings:
    """Other parameters, under which the same records score differently."""
    params = settings.scoring.model_copy(update={"half_life_days": 3.0})
    return settings.model_copy(update={"scoring": params})


async def test_a_warm_copy_of_a_state_that_is_not_what_is_saved_is_not_used(settings: Settings) -> None:
    """As when parameters are rolled out and back: the rows of one and the other must not be mixed.

    The saved state is used, under the parameters of the settings from there on.
    """
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("early", 0), *troubles(200, 1)]})
    records = await log_of(settings)
    engine = Engine(settings.scoring, settings.actions)
    engine.process(to_records(records[:100], 300_000))
    engine.snapshot()
    async with owned(otherwise(settings)) as other:
        other.put(fetch(records[:100]))
        await applied(other, 100)
    warm = Restored(engine, 100, saved=True, problem="")
    async with owned(settings, parked=warm) as heir:
        assert (heir.position, heir.counters.replayed) == (100, 0)
        assert heir.engine is not None
        assert heir.engine is not engine
        assert heir.engine.params == settings.scoring
        heir.put(fetch(records[100:]))
        await applied(heir, 201)
    async with owned(settings) as cold:
        assert cold.counters.replayed == 0
        assert cold.engine is not None
        right = Engine(settings.scoring, settings.actions)
        right.process(to_records(records, 300_000))
        # Customers who came no more have not met the parameters of the settings.
        seen = {subject for subject, _ in right.cards()} - {"early"}
        cards = {subject: card for subject, card in cold.engine.cards() if subject in seen}
        assert cards == {subject: card for subject, card in right.cards() if subject in seen}


def _saved_all(standby: Standby, offset: int) -> bool:
    """The copy has seen that the owner saved everything up to an offset."""
    apart = standby._unsaved
    return apart is not None and apart.offset == offset and not len(apart.rows)


async def test_a_warm_copy_leaves_alone_what_the_owner_saved_over_old_rows(settings: Settings) -> None:
    """Owner and standby both mark the rows of other parameters as stale; once the owner has saved its own, they are valid."""
    await write(settings, TOUCHPOINTS.name, {0: [touchpoint("early", 0), *troubles(400, 1)]})
    records = await log_of(settings)
    kafka = Kafka(settings, settings.worker.group)
    async with owned(otherwise(settings)) as other:
        other.put(fetch(records[:100]))
        await applied(other, 100)
    standby = Standby(settings, kafka, 0, start=None, counters=Counters())
    await until(lambda: standby.position == 100, SECONDS, lambda: str(standby.position))
    async with owned(settings) as owner, Watcher(settings, 1) as watcher:
        owner.put(fetch(records[100:300], follows=99))
        await until(lambda: _is(watcher.committed(), 300), SECONDS, lambda: owner.state)
        await until(lambda: _saved_all(standby, 300), SECONDS, lambda: str(standby._unsaved))
    warm = await standby.take()
    async with owned(settings, parked=warm) as heir:
        assert heir.counters.replayed == 0
        heir.put(fetch(records[300:]))
        await applied(heir, 401)
    async with owned(settings) as cold:
        assert cold.counters.replayed == 0, "what the heir saved is whole"
        assert cold.engine is not None
        assert b"early" in {name.encode() for name, _ in cold.engine.cards()}


@pytest.mark.parametrize("expired", [True, False])
async def test_closing_does_not_wait_out_a_pause(settings: Settings, expired: bool) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(100)})
    partition = Partition(
        settings, Kafka(settings, settings.worker.group), 0, parked=None, counters=Counters()
    )
    await until(lambda: partition.state == "running", SECONDS, lambda: partition.state)

    async def fenced(_: float) -> bool:
        raise TransactionExpiredError("a transaction took 61 s") if expired else ProducerFenced

    assert partition._session is not None
    partition._session.finish = fenced  # type: ignore[method-assign]
    with capture_logs() as logs:
        await partition.close(settings.worker.session_seconds)
    assert "not closed in time" not in str(logs)
    assert ("another worker has claimed the partition" in str(logs)) is not expired
    assert ("a transaction took 61 s" in str(logs)) is expired
    assert (partition.counters.fenced, partition.counters.failures) == ((0, 1) if expired else (1, 0))


async def test_a_producer_that_cannot_say_goodbye_is_cut_off(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = aiokafka.AIOKafkaProducer(**connection(settings), transactional_id="a-source")
    await producer.start()
    sender = producer._sender.sender_task

    async def for_ever() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(producer._message_accumulator, "close", for_ever)
    await asyncio.wait_for(discard(producer), SECONDS)
    assert sender.done()
    assert not any(each.connected() for each in producer.client._conns.values())


async def test_a_partition_that_cannot_commit_is_stalled(settings: Settings) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(100)})
    hasty = settings.model_copy(
        update={"worker": settings.worker.model_copy(update={"stalled_seconds": 1.0})}
    )
    async with administration(settings) as admin:
        await _limit(admin, CHURN_RISK.name, 100)
        async with owned(hasty) as partition:
            assert not partition.stalled
            partition.put(fetch(await log_of(settings)))
            await until(
                lambda: partition.stalled and partition.counters.failures, SECONDS, lambda: partition.state
            )
            assert not partition.counters.rejected
            await _limit(admin, CHURN_RISK.name, 1_000_000)
            await until(lambda: not partition.stalled, SECONDS, lambda: partition.stalled)
    await assert_all_committed(settings)


async def _limit(admin: Any, topic: str, size: int) -> None:
    await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic, {"max.message.bytes": str(size)})]
    )


async def test_a_log_that_began_anew_is_refused(settings: Settings) -> None:
    await write(settings, TOUCHPOINTS.name, {0: troubles(100)})
    async with owned(settings) as partition:
        partition.put(fetch(await log_of(settings)))
        await applied(partition, 100)
    async with administration(settings) as admin:
        await admin.delete_topics([TOUCHPOINTS.name])
        await until(lambda: _absent(admin), SECONDS, lambda: "still there")
        await admin.create_topics([NewTopic(TOUCHPOINTS.name, 1, 1)])
    await write(settings, TOUCHPOINTS.name, {0: troubles(10)})
    with capture_logs() as logs:
        async with owned(settings) as partition:
            assert partition.state == "failed"
    assert "was recreated or truncated" in str(logs)


async def _forget_marker(settings: Settings) -> None:
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        await producer.send_and_wait(SNAPSHOTS.name, None, key=MARKER_KEY, partition=0)


async def _absent(admin: Any) -> bool:
    return TOUCHPOINTS.name not in await admin.list_topics()


async def test_results_that_kafka_refuses_are_computed_again(settings: Settings) -> None:
    """Score cards do not fit into cx.scores; once they do, nothing is missing and nothing twice."""
    async with administration(settings) as admin:
        await _limit(admin, SCORES.name, 100)
        await write(settings, TOUCHPOINTS.name, {0: troubles(200)})
        async with owned(settings) as partition:
            partition.put(fetch(await log_of(settings)))
            await until(lambda: partition.counters.failures, SECONDS, lambda: partition.state)
            await _limit(admin, SCORES.name, 1_000_000)
            async with Watcher(settings, 1) as watcher:
                await until(watcher.all_committed, SECONDS, lambda: partition.state)
    await assert_all_committed(settings)


async def test_results_that_fit_one_by_one_are_sent_in_smaller_batches(settings: Settings) -> None:
    async with administration(settings) as admin:
        await _limit(admin, SCORES.name, 2000)
        await write(settings, TOUCHPOINTS.name, {0: troubles(200)})
        async with owned(settings) as partition, Watcher(settings, 1) as watcher:
            partition.put(fetch(await log_of(settings)))
            await until(watcher.all_committed, SECONDS, lambda: partition.state)
            assert not partition.counters.failures
            assert not partition.counters.rejected
    await assert_all_committed(settings)


async def test_a_rejected_record_that_does_not_fit_into_its_topic_becomes_a_reference(
    settings: Settings,
) -> None:
    async with administration(settings) as admin:
        await _limit(admin, REJECTED.name, 4000)
        large = b'{"broken": "' + b"x" * 5000
        # Several copies that fit, but not in one batch, and a key that is too large for a copy without a value.
        small = [b"{broken" + b"x" * 1500] * 4
        await write(settings, TOUCHPOINTS.name, {0: [*troubles(100), large, *small, *troubles(100, 100)]})
        async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
            await producer.send_and_wait(TOUCHPOINTS.name, None, key=b"k" * 5000, partition=0)
        records = await log_of(settings)
        async with owned(settings) as partition:
            partition.put(fetch(records))
            async with Watcher(settings, 1) as watcher:
                await until(watcher.all_committed, SECONDS, lambda: partition.state)
                rejected = (await watcher.read(REJECTED.name))[0]
            assert not partition.counters.failures
    found = [read_rejection(record) for record in rejected]
    assert all(found)
    assert [(each.value, each.reference) for each in found if each] == [
        (None, Reference(len(large), hashlib.sha256(large).hexdigest())),
        *((each, None) for each in small),
        (None, Reference(5000, hashlib.sha256(b"").hexdigest())),
    ]
    assert [each.place.offset for each in found if each] == [*range(100, 105), 205]

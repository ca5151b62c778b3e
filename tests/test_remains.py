"""`cxstream forget --verify`: what is left of somebody who was erased, and what of it should not be."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiokafka
import pytest
from click.testing import CliRunner, Result

from console_app import OWN, console
from cxstream.cli import group
from cxstream.customer.identity import Identity
from cxstream.erasure.requests import request
from cxstream.erasure.retention import Keeping, keeping
from cxstream.erasure.scan import Place, Receipt, Seen, Traces
from cxstream.erasure.verdicts import back, judge
from cxstream.kafka.admin import Found
from cxstream.kafka.connection import connection
from cxstream.kafka.producer import route
from cxstream.settings import Warehouse
from cxstream.topology import (
    CHURN_RISK,
    FORGET,
    FORGOTTEN,
    REJECTED,
    SCORES,
    SNAPSHOTS,
    TOPICS,
    TOUCHPOINTS,
)
from cxstream.warehouse.follow import follow
from cxstream.warehouse.store import Store
from workers import Watcher, WorkerProcess, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

SECONDS = 120.0
WHOM = "somebody-who-left-4711"
BUSY = {"CXSTREAM_WORKER__FLUSH_SECONDS": "0.1", "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "0.5"}
DAY = 86_400_000
NOW = 1_000 * DAY
KEEPS = dict.fromkeys((topic.name for topic in TOPICS), Keeping(90 * DAY, DAY, 3 * DAY))
# Asked at NOW - 1000, and followed by record 50 of partition 1.
RECEIPT = Receipt(Place(1, 3), NOW - 500, "r1", NOW - 1000, Place(1, 50))


def seen(offset: int, partition: int = 1, arrived: int = NOW - 2000, **more: Any) -> Seen:
    return Seen(Place(partition, offset), arrived, **{"empty": False, **more})


def traces(*receipts: Receipt, **records: list[Seen]) -> Traces:
    found = Traces(Identity(WHOM, WHOM, 1), receipts=list(receipts))
    for name, some in records.items():
        found.seen[f"cx.{name.replace('_', '-')}"] = some
    return found


def wrong(found: Traces, now: int = NOW, keeps: dict[str, Keeping] = KEEPS) -> list[str]:
    return [f"{each.topic}-{each.partition}: {each.wrong}" for each in judge(found, keeps, now) if each.wrong]


GONE = seen(9, arrived=NOW - 500, empty=True)
DONE = {
    "touchpoints": [seen(1, said_ms=NOW - 5000), seen(50, said_ms=NOW - 1000), seen(2, 0, said_ms=NOW - 5000)],
    "churn_risk": [seen(1, cause=Place(1, 1)), seen(2, cause=Place(1, 50), erased=True)],
    "friction": [seen(1, 0, cause=Place(0, 2))],
    "scored": [seen(1, cause=Place(1, 1)), seen(1, cause=Place(1, 2))],
    "scores": [seen(1, cause=Place(1, 1)), GONE],
    "snapshots": [seen(1), seen(4), GONE],
    "rejected": [seen(3)],
    "forget": [seen(0, request="r1")],
}  # fmt: skip


def test_after_an_erasure_only_what_retention_holds_is_there() -> None:
    found = judge(traces(RECEIPT, **DONE), KEEPS, NOW)
    assert [each.wrong for each in found if each.wrong] == []
    said = {(each.topic, each.partition, each.what): each.until_ms for each in found}
    assert said["cx.touchpoints", 1, "2 records at offsets 1 to 50"] == NOW - 2000 + 90 * DAY
    assert said["cx.scored", 1, "2 scored touchpoints at offset 1"] == NOW - 2000 + 90 * DAY
    assert said["cx.snapshots", 1, "2 earlier rows of saved state at offsets 1 to 4"] == NOW - 500 + DAY
    assert said["cx.scores", 1, "1 tombstone of a score card at offset 9"] == NOW - 500 + 3 * DAY


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scores": [seen(1)]}, "cx.scores-1: it is left"),
        ({"scores": [GONE, seen(3, 0)]}, "cx.scores-0: it is left"),
        ({"snapshots": [GONE, seen(10)]}, "cx.snapshots-1: it is left"),
        ({"churn_risk": [seen(8, cause=Place(1, 51))]}, "cx.churn-risk-1: it was made after"),
        ({"friction": [seen(8, cause=Place(1, 51))]}, "cx.friction-1: it was made after"),
        ({"scored": [seen(8, cause=Place(1, 51))]}, "cx.scored-1: it was made after"),
        (
            {"forget": [seen(0, request="r1"), seen(1, request="r2")]},
            "cx.forget-1: no worker has followed it",
        ),
        ({"rejected": [seen(3, arrived=NOW - 92 * DAY)]}, "cx.rejected-1: Kafka should have removed"),
    ],
)
def test_what_is_left_and_should_not_be(changes: dict[str, list[Seen]], said: str) -> None:
    [found] = wrong(traces(RECEIPT, **{**DONE, **changes}))
    assert found.startswith(said)


def test_work_of_the_hour_after_the_request_has_to_end() -> None:
    hour = 3_600_000
    for said, left in ((NOW - 2000, 1), (NOW - 1000 + hour, 1), (NOW - 999 + hour, 0)):
        work = seen(3, key=b"k", said_ms=said, arrived=NOW + hour)
        assert len(wrong(traces(RECEIPT, work=[work]))) == left, said
    ended = [seen(3, key=b"k", said_ms=NOW), seen(4, key=b"k", empty=True)]
    assert wrong(traces(RECEIPT, work=ended)) == []
    assert wrong(traces(RECEIPT, audit=[seen(1, said_ms=NOW - 5000), seen(2, said_ms=NOW)])) == []


def test_signals_of_other_partitions_are_of_before() -> None:
    assert wrong(traces(RECEIPT, churn_risk=[seen(8, 3, cause=Place(3, 900))])) == []


def test_without_a_receipt_everything_is_left() -> None:
    assert len(wrong(traces(**DONE))) == len(judge(traces(**DONE), KEEPS, NOW))
    other = RECEIPT._replace(cause=Place(0, 7))
    assert wrong(traces(other, rejected=[seen(3)])) == ["cx.rejected-1: there is no receipt of an erasure"]
    assert wrong(traces()) == []


def test_who_does_something_again_is_a_new_customer() -> None:
    again = DONE | {
        "touchpoints": [*DONE["touchpoints"], seen(60, said_ms=NOW)],
        "scores": [*DONE["scores"], seen(10, cause=Place(1, 60))],
        "snapshots": [*DONE["snapshots"], seen(10, arrived=NOW)],
        "churn_risk": [*DONE["churn_risk"], seen(10, cause=Place(1, 60))],
        "scored": [*DONE["scored"], seen(10, cause=Place(1, 60))],
    }
    assert back(traces(RECEIPT, **again))
    assert wrong(traces(RECEIPT, **again)) == []
    # A card of before the request, or of another partition, is not theirs.
    assert len(wrong(traces(RECEIPT, **again | {"scores": [seen(10, cause=Place(1, 40))]}))) == 1
    assert len(wrong(traces(RECEIPT, **again | {"scores": [seen(10, 0, cause=Place(0, 60))]}))) == 1


def test_a_topic_that_keeps_for_ever_is_wrong() -> None:
    endless = dict.fromkeys(KEEPS, Keeping(None, None, None))
    assert all("for ever" in each for each in wrong(traces(RECEIPT, **DONE), keeps=endless))
    assert len(wrong(traces(RECEIPT, **DONE), keeps=endless)) == len(
        judge(traces(RECEIPT, **DONE), KEEPS, NOW)
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Keeping(110, None, None)),
        ({"retention.ms": "-1"}, Keeping(None, None, None)),
        ({"cleanup.policy": "compact", "max.compaction.lag.ms": "5"}, Keeping(None, 5, 17)),
        ({"cleanup.policy": "compact"}, Keeping(None, None, None)),
        ({"cleanup.policy": "compact,delete", "max.compaction.lag.ms": "5"}, Keeping(110, 5, 17)),
    ],
)
def test_how_long_a_topic_keeps(changes: dict[str, str], expected: Keeping) -> None:
    config = {
        "cleanup.policy": "delete",
        "retention.ms": "100",
        "segment.ms": "10",
        "max.compaction.lag.ms": "9223372036854775807",
        "delete.retention.ms": "7",
        **changes,
    }
    assert keeping(Found(SCORES, 1, 1, 1, config, {})) == expected


# --- on Kafka


def verify(settings: Settings, *customers: str) -> Result:
    return CliRunner().invoke(group, ["forget", "--verify", "--kafka", settings.kafka, *customers])


async def send(settings: Settings, topic: str, partition: int, key: str | None, value: bytes | None) -> None:
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        await producer.send_and_wait(topic, value, key=key and key.encode(), partition=partition)


async def _followed(settings: Settings, path: Path) -> None:
    with Store(path, settings.warehouse) as store:
        await follow(settings, store, lambda _: None, until_end=True)


async def _erased_in_the_console(path: Path) -> None:
    """Leave a note about the customer, and have them erased."""
    page = f"/customers/{WHOM}"
    async with console(path) as client:
        assert 'action="/erase"' in (await client.get(page)).text
        fields = {"customer": WHOM, "do": "note", "text": "called", "key": "k", "typed": WHOM}
        assert (await client.post("/work", data=fields, headers=OWN)).status_code == 303
        assert (await client.post("/erase", data=fields, headers=OWN)).status_code == 303
        assert "to erase this customer" in (await client.get(page)).text


def _has_work_and_audit(output: str, home: int) -> None:
    assert f"kept  cx.work-{home}: 1 tombstone of an item of work" in output
    assert f"kept  cx.work-{home}: 1 earlier item of work" in output
    # Pages and changes that name the customer; those of nobody in particular are not theirs.
    assert re.search(r"kept  cx\.audit-\d: \d audit records at offsets", output), output


async def _left_elsewhere(settings: Settings, partition: int) -> None:
    # A card that somebody else left, in the partition that is not theirs.
    card = json.dumps({"id": f"cx.touchpoints-{partition}-1:score"}).encode()
    await send(settings, SCORES.name, partition, WHOM, card)
    left = await asyncio.to_thread(verify, settings, WHOM)
    assert left.exit_code == 1
    assert f"left  cx.scores-{partition}: a score card at offset" in left.output
    assert "1 thing is left that should not be there" in left.output
    await send(settings, SCORES.name, partition, WHOM, None)


@pytest.mark.broker
@pytest.mark.timeout(280)
async def test_what_is_left_is_shown_with_its_place_and_its_end(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics(2)
    monkeypatch.setenv("CXSTREAM_KAFKA", settings.kafka)
    settings = settings.model_copy(update={"warehouse": Warehouse(keep_days=100_000)})
    [home] = route([WHOM.encode()], 2)
    elsewhere = 1 - home
    broken = touchpoint(WHOM, 40, "survey_nps", score=99)
    await write(settings, TOUCHPOINTS.name, {home: [*(touchpoint(WHOM, n) for n in range(30)), broken]})
    # Without a key, in the wrong partition: rejected, and theirs all the same.
    await send(settings, TOUCHPOINTS.name, elsewhere, None, touchpoint(WHOM, 41))
    with WorkerProcess(settings, tmp_path / "log", **BUSY) as worker:
        worker.ready()
        async with Watcher(settings, 2) as watcher:

            async def scored() -> bool:
                card = any((await watcher.read(SCORES.name)).values())
                row = any(
                    each.key == b"c" + WHOM.encode()
                    for records in (await watcher.read(SNAPSHOTS.name)).values()
                    for each in records
                )
                rejected = (await watcher.read(REJECTED.name)).values()
                return card and row and sum(map(len, rejected)) == 2

            await until(scored, SECONDS, lambda: worker.log)
            before = await asyncio.to_thread(verify, settings, WHOM)
            assert before.exit_code == 1
            assert "not erased" in before.output
            assert f"left  cx.scores-{home}: a score card" in before.output
            path = tmp_path / "w.duckdb"
            await _followed(settings, path)
            await _erased_in_the_console(path)

            async def receipts() -> bool:
                return any((await watcher.read(FORGOTTEN.name)).values())

            await until(receipts, SECONDS, lambda: worker.log)
            # The note is there until a read model has taken in the receipt.
            early = await asyncio.to_thread(verify, settings, WHOM)
            assert f"left  cx.work-{home}: an item of work at offset 0: it is left" in early.output
            assert early.output.count("left  ") == 1, early.output
            await _followed(settings, path)
            async with console(path) as client:
                assert "This customer was erased" in (await client.get(f"/customers/{WHOM}")).text
            after = await asyncio.to_thread(verify, settings, WHOM, "nobody-of-this-name")
            assert after.exit_code == 0, after.output
            assert "nothing is left that should not be there" in after.output
            assert f"kept  cx.scored-{home}: 30 scored touchpoints at offset" in after.output
            _has_work_and_audit(after.output, home)
            for topic in (TOUCHPOINTS, REJECTED, FORGET, CHURN_RISK, SCORES, SNAPSHOTS):
                assert f"kept  {topic.name}-{home}: " in after.output, topic.name
            assert f"kept  {TOUCHPOINTS.name}-{elsewhere}: " in after.output
            assert "earlier row" in after.output
            year = datetime.now(UTC).year
            assert f"there until {year}" in after.output or f"there until {year + 1}" in after.output
            assert "customer 2: no receipt" in after.output
            assert WHOM not in after.output

            await _left_elsewhere(settings, elsewhere)
        assert worker.stop() == 0, worker.log
    _, again = request(WHOM)
    await send(settings, FORGET.name, home, WHOM, again)
    pending = await asyncio.to_thread(verify, settings, WHOM)
    assert pending.exit_code == 1
    assert f"left  cx.forget-{home}: a request at offset" in pending.output

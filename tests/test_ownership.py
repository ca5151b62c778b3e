"""One consumer group owns the topics: who claims them, who is refused, and what a take-over leaves behind."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiokafka
import msgspec
import pytest
from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from hypothesis import given
from hypothesis import strategies as st

from cxstream.doctor.cluster import connected
from cxstream.doctor.finding import Finding, Patient
from cxstream.doctor.owner import owner
from cxstream.kafka.claims import CLAIM_PREFIX, Claim, Claims, Ownership, is_claim
from cxstream.kafka.connection import connection
from cxstream.model.errors import OwnershipError
from cxstream.model.kinds import FORGET_TYPE
from cxstream.rejected.listing import Filters
from cxstream.rejected.resend import Order, resend
from cxstream.scoring.engine import MARKER_KEY, Engine, compile_kernels
from cxstream.topology import CHURN_RISK, FORGET, FRICTION, SNAPSHOTS, TOUCHPOINTS
from cxstream.worker.clients import Kafka, Reader
from cxstream.worker.feed import Fetch, to_records
from cxstream.worker.metrics.counters import Counters
from cxstream.worker.ownership.partition import Partition
from cxstream.worker.ownership.takeover import take_over
from in_process import cxstream_text
from workers import READY_SECONDS, Watcher, WorkerProcess, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from cxstream.settings import Settings

SECONDS = 60.0
OTHER_CLUSTER = "another-cluster"


# --- which claim counts


class Log:
    """Claims as they lie in a log."""

    def __init__(self, claims: list[Claim]) -> None:
        self.records = [
            SimpleNamespace(offset=i, key=CLAIM_PREFIX + b"%d" % i, value=msgspec.json.encode(claim))
            for i, claim in enumerate(claims)
        ]


CLAIM = st.builds(Claim, st.just("c"), st.sampled_from("ABC"), st.integers(1, 6))


def standing(records: list[Any]) -> Claim | None:
    claims = Claims()
    for record in records:
        claims.take([record])
    return claims.standing


@given(st.lists(CLAIM, max_size=12), st.data())
def test_the_first_claim_of_the_highest_epoch_counts_however_the_log_is_compacted(
    claims: list[Claim], data: st.DataObject
) -> None:
    records = Log(claims).records
    highest = max((claim.epoch for claim in claims), default=0)
    wanted = next((claim for claim in claims if claim.epoch == highest), None)
    assert standing(records) == wanted
    # One that came too late is taken back: a tombstone, and later nothing at all.
    late = [i for i, claim in enumerate(claims) if i != (claims.index(wanted) if wanted else -1)]
    gone = data.draw(st.sets(st.sampled_from(late))) if late else set()
    assert standing([record for i, record in enumerate(records) if i not in gone]) == wanted
    tombstones = [SimpleNamespace(offset=99, key=records[i].key, value=None) for i in sorted(gone)]
    assert standing([*records, *tombstones]) == wanted


@given(st.lists(CLAIM, max_size=12))
def test_who_claims_later_never_takes_an_epoch_away(claims: list[Claim]) -> None:
    seen = Claims()
    for record in Log(claims).records:
        before = seen.standing
        seen.take([record])
        if before is not None and seen.standing is not None and seen.standing != before:
            assert seen.standing.epoch > before.epoch


def test_a_claim_that_cannot_be_read_is_noticed_until_a_later_one_counts() -> None:
    claims = Claims()
    first, second = Log([Claim("c", "A", 1), Claim("c", "B", 2)]).records
    claims.take([first, SimpleNamespace(offset=1, key=CLAIM_PREFIX + b"x", value=b"{")])
    assert (claims.standing, claims.unreadable) == (Claim("c", "A", 1), True)
    claims.take([second])
    assert (claims.standing, claims.unreadable) == (Claim("c", "B", 2), False)


def test_no_customers_row_is_taken_for_a_claim() -> None:
    assert not any(is_claim(key) for key in (None, MARKER_KEY, b"canna", b"", b"c\0claim:"))


# --- on a real Kafka


@pytest.fixture(scope="module")
def _kernels() -> None:
    """Compiled before anybody waits for a partition."""
    compile_kernels()


@pytest.fixture
def settings(settings: Settings, topics: Callable[[int], None], _kernels: None) -> Settings:
    """Quick to flush, quick to notice; with fresh topics of one partition."""
    topics(1)
    worker = settings.worker.model_copy(
        update={"flush_seconds": 0.05, "snapshot_seconds": 0.2, "session_seconds": 6.0}
    )
    return settings.model_copy(update={"worker": worker})


def of_group(settings: Settings, group: str) -> Settings:
    name = f"{settings.worker.group}-{group}"
    return settings.model_copy(update={"worker": settings.worker.model_copy(update={"group": name})})


async def left_behind(settings: Settings, *claims: Claim) -> None:
    """Write claims as they are."""
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        for claim in claims:
            key = CLAIM_PREFIX + uuid.uuid4().hex.encode()
            await producer.send_and_wait(SNAPSHOTS.name, msgspec.json.encode(claim), key=key, partition=0)


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[Partition]:
    """A worker's partition 0."""
    partition = Partition(
        settings, Kafka(settings, settings.worker.group), 0, parked=None, counters=Counters()
    )
    try:
        await until(lambda: partition.state in ("running", "fenced"), SECONDS, lambda: partition.stalled)
        yield partition
    finally:
        await partition.close(SECONDS)


async def log_of(settings: Settings) -> list[Any]:
    async with Reader(settings, settings.worker.group, 0) as reader:
        _, end = await reader.bounds(TOUCHPOINTS.name)
        return [record async for records in reader.read(TOUCHPOINTS.name, 0, end) for record in records]


def fetch(records: list[Any]) -> Fetch:
    return Fetch(0, records, None, records[-1].offset + 1)


async def committed_by(partition: Partition, offset: int) -> None:
    await until(lambda: partition.counters.committed == offset, SECONDS, lambda: partition.state)


async def assert_said_once(settings: Settings) -> None:
    """What was committed is what one reading of the whole log says."""
    engine = Engine(settings.scoring, settings.actions)
    signals = engine.process(to_records(await log_of(settings), 300_000)).signals
    assert signals
    async with Watcher(settings, 1) as watcher:
        for topic in (CHURN_RISK.name, FRICTION.name):
            expected = [signal.value for signal in signals if signal.topic == topic]
            assert [record.value for record in (await watcher.read(topic)).get(0, [])] == expected


def troubles(count: int, first: int = 0) -> list[bytes]:
    return [touchpoint(f"c{n % 3}", n) for n in range(first, first + count)]


async def test_of_groups_that_start_at_the_same_moment_exactly_one_owns_the_topics(
    settings: Settings,
) -> None:
    groups = [of_group(settings, name) for name in "ABCDE"]
    answers = await asyncio.gather(*(Ownership(each).confirm() for each in groups), return_exceptions=True)
    owners = [each for each in answers if isinstance(each, Claim)]
    assert len(owners) == 1
    refused = [str(each) for each in answers if isinstance(each, OwnershipError)]
    assert len(refused) == len(groups) - 1
    assert all(f"belong to group {owners[0].group};" in each for each in refused)
    # It stays so, also for workers of the owner that come later.
    again = await asyncio.gather(*(Ownership(each).confirm() for each in groups), return_exceptions=True)
    assert [each for each in again if isinstance(each, Claim)] == owners


async def test_many_partitions_that_ask_share_a_look(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ownership, looks = Ownership(settings), 0
    look = ownership._look

    async def counted() -> None:
        nonlocal looks
        looks += 1
        await look()

    await ownership.confirm()
    monkeypatch.setattr(ownership, "_look", counted)
    claims = await asyncio.gather(*(ownership.confirm() for _ in range(50)))
    assert len(set(claims)) == 1
    # The first one's look begins before the others ask.
    assert looks == 2
    await ownership.confirm()
    assert looks == 3


async def test_a_second_group_is_refused_and_disturbs_nobody(settings: Settings) -> None:
    first, second = of_group(settings, "A"), of_group(settings, "B")
    await write(settings, TOUCHPOINTS.name, {0: troubles(100)})
    records = await log_of(settings)
    async with working(first) as partition:
        partition.put(fetch(records[:60]))
        await committed_by(partition, 60)
        command = [sys.executable, "-m", "cxstream", "worker", "--kafka", settings.kafka]
        done = await asyncio.to_thread(
            subprocess.run, [*command, "--group", second.worker.group, "--web-port", "0", "--metrics-port", "0"],
            capture_output=True, text=True, check=False, timeout=READY_SECONDS,
        )  # fmt: skip
        assert done.returncode == 1
        assert f"belong to group {first.worker.group}; this is group {second.worker.group}" in done.stderr
        assert (
            f"'cxstream topics --take-over {first.worker.group} --group {second.worker.group}'" in done.stderr
        )
        assert "Traceback" not in done.stderr
        async with working(second) as intruder:
            assert intruder.state == "fenced"
            assert isinstance(intruder.dispossessed, OwnershipError)
        partition.put(fetch(records))
        await committed_by(partition, 100)
        assert (partition.counters.fenced, partition.counters.failures) == (0, 0)
    await assert_said_once(settings)


@pytest.mark.parametrize("cut_off", [False, True], ids=["whole", "cut off after the claim"])
async def test_a_take_over_loses_and_repeats_nothing(settings: Settings, cut_off: bool) -> None:
    first, second = of_group(settings, "A"), of_group(settings, "B")
    await write(settings, TOUCHPOINTS.name, {0: troubles(300)})
    records = await log_of(settings)
    async with working(first) as former:
        former.put(fetch(records[:100]))
        await committed_by(former, 100)
        if cut_off:
            await Ownership(second).take_over(first.worker.group)
        else:
            claim = await take_over(second, first.worker.group)
            assert (claim.group, claim.epoch, claim.former) == (second.worker.group, 2, (first.worker.group,))
        async with working(second) as heir:
            assert (heir.state, heir.position) == ("running", 100)
            former.put(fetch(records[:250]))
            await until(lambda: former.dispossessed is not None, SECONDS, lambda: former.state)
            assert f"belong to group {second.worker.group};" in str(former.dispossessed)
            heir.put(fetch(records[:200]))
            await committed_by(heir, 200)
        # Neither the former owner, nor a worker of the new one that crashed, is in the way of the next.
        with pytest.raises(OwnershipError):
            await Ownership(first).confirm()
        async with working(second) as next_one:
            assert next_one.position == 200
            assert next_one.counters.replayed == 0
            next_one.put(fetch(records))
            await committed_by(next_one, 300)
    await assert_said_once(settings)


async def test_rows_that_a_former_owner_writes_nevertheless_are_told_from_the_owners(
    settings: Settings,
) -> None:
    first, second = of_group(settings, "A"), of_group(settings, "B")
    await write(settings, TOUCHPOINTS.name, {0: troubles(100)})
    records = await log_of(settings)
    async with working(first) as former:
        former.put(fetch(records[:50]))
        await committed_by(former, 50)
    stray = await _row_of(settings, b"cc0")
    await take_over(second, first.worker.group)
    async with working(second) as heir:
        heir.put(fetch(records))
        await committed_by(heir, 100)
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        await producer.send_and_wait(SNAPSHOTS.name, stray, key=b"cc0", partition=0)
    async with working(second) as again:
        assert again.counters.replayed == 100, "rebuilt from the log"
    await assert_said_once(settings)


async def _row_of(settings: Settings, key: bytes) -> bytes:
    async with Watcher(settings, 1) as watcher:
        rows = (await watcher.read(SNAPSHOTS.name))[0]
    return next(row.value for row in reversed(rows) if row.key == key)


async def test_a_request_of_before_a_take_over_is_taken_once(settings: Settings) -> None:
    """Also where the new owner has nothing to take, saves the state, and starts again."""
    first, second = of_group(settings, "A"), of_group(settings, "B")
    await write(settings, TOUCHPOINTS.name, {0: troubles(10)})
    records = await log_of(settings)
    request = {
        "specversion": "1.0", "id": "request-1", "source": "/dpo", "type": FORGET_TYPE, "subject": "nobody",
        "time": "2026-03-01T00:00:00Z",
    }  # fmt: skip
    await write(settings, FORGET.name, {0: [json.dumps(request).encode()]})

    async def taken(by: Settings) -> int | None:
        async with Reader(by, by.worker.group, 0) as reader:
            return await reader.committed(FORGET.name)

    async with working(first) as former:
        former.put(fetch(records))
        await committed_by(former, 10)
        async with asyncio.timeout(SECONDS):
            while await taken(first) != 1:  # noqa: ASYNC110 - Kafka tells nobody
                await asyncio.sleep(0.1)
    await take_over(second, first.worker.group)
    async with working(second):
        pass
    assert await taken(second) == 1
    assert len([record for record in await log_of(settings) if b"request-1" in record.value]) == 1


async def test_owners_follow_one_another(settings: Settings) -> None:
    groups = [of_group(settings, name) for name in "ABA"]
    await write(settings, TOUCHPOINTS.name, {0: troubles(300)})
    records = await log_of(settings)
    for number, each in enumerate(groups):
        if number:
            await take_over(each, groups[number - 1].worker.group)
        async with working(each) as partition:
            assert partition.position == 100 * number
            partition.put(fetch(records[: 100 * (number + 1)]))
            await committed_by(partition, 100 * (number + 1))
    claim = await Ownership(groups[0]).confirm()
    assert (claim.epoch, claim.former) == (3, (groups[1].worker.group,))
    await assert_said_once(settings)


async def test_the_wrong_former_owner_takes_nothing_over(settings: Settings) -> None:
    first, second = of_group(settings, "A"), of_group(settings, "B")
    claim = await Ownership(first).confirm()
    with pytest.raises(OwnershipError, match=rf"belong to group {first.worker.group}, not to somebody"):
        await take_over(second, "somebody")
    assert await Ownership(first).confirm() == claim
    # Who owns them may say so again.
    assert await take_over(first, first.worker.group) == claim


async def test_topics_of_another_cluster_are_refused_until_they_are_taken_over(settings: Settings) -> None:
    group = settings.worker.group
    await left_behind(settings, Claim(OTHER_CLUSTER, group, 3))
    with pytest.raises(OwnershipError, match=rf"on another Kafka cluster \({OTHER_CLUSTER}; this is"):
        await Ownership(settings).confirm()
    claim = await take_over(settings, group)
    assert (claim.epoch, claim.former) == (4, ())
    assert claim.cluster not in {"", OTHER_CLUSTER}
    assert await Ownership(settings).confirm() == claim


async def test_saved_state_without_an_owner_goes_to_the_group_that_has_committed(settings: Settings) -> None:
    first, second = of_group(settings, "A"), of_group(settings, "B")
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        await producer.send_and_wait(SNAPSHOTS.name, b'{"layout": 2}', key=MARKER_KEY, partition=0)
    async with aiokafka.AIOKafkaConsumer(
        **connection(first), group_id=first.worker.group, enable_auto_commit=False
    ) as consumer:
        tp = TopicPartition(TOUCHPOINTS.name, 0)
        consumer.assign([tp])
        await consumer.commit({tp: OffsetAndMetadata(0, "")})
    with pytest.raises(OwnershipError, match=r"have saved state, and group .* has committed nothing"):
        await Ownership(second).confirm()
    assert (await Ownership(first).confirm()).group == first.worker.group
    with pytest.raises(OwnershipError, match="belong to group"):
        await Ownership(second).confirm()


async def test_a_claim_that_cannot_be_read_is_refused_until_somebody_takes_over(settings: Settings) -> None:
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        await producer.send_and_wait(SNAPSHOTS.name, b"?", key=CLAIM_PREFIX + b"x", partition=0)
    with pytest.raises(OwnershipError, match="cannot be read"):
        await Ownership(settings).confirm()
    assert await take_over(settings, "former") == await Ownership(settings).confirm()


async def test_rejected_records_are_sent_again_as_the_owner_only(settings: Settings) -> None:
    first, second = of_group(settings, "A"), of_group(settings, "B")
    await write(settings, TOUCHPOINTS.name, {0: [*troubles(10), b"{}"]})
    async with working(first) as partition:
        partition.put(fetch(await log_of(settings)))
        await committed_by(partition, 11)
    with pytest.raises(OwnershipError, match=f"belong to group {first.worker.group};"):
        await resend(second, Order(Filters(), send=True), lambda _: None)
    await resend(first, Order(Filters(), send=True), lambda _: None)


async def test_the_doctor_names_the_owner_and_others_that_have_committed(settings: Settings) -> None:
    first, second = of_group(settings, "A"), of_group(settings, "B")
    [found] = await diagnosis(first)
    assert (found.level, "belong to nobody yet" in found.what) == ("ok", True)
    await write(settings, TOUCHPOINTS.name, {0: troubles(50)})
    async with working(first) as partition:
        partition.put(fetch(await log_of(settings)))
        await committed_by(partition, 50)
    [found] = await diagnosis(first)
    assert (found.level, found.what) == (
        "ok", f"group {first.worker.group} owns the topics on this cluster (epoch 1)"
    )  # fmt: skip
    [found] = await diagnosis(second)
    assert found.level == "error"
    assert f"belong to group {first.worker.group};" in found.what
    await take_over(second, first.worker.group)
    mine, other = await diagnosis(second)
    assert mine.what.endswith(f"(epoch 2, taken over from {first.worker.group})")
    assert (other.level, first.worker.group in other.what) == ("warning", True)
    assert f"--delete --group {first.worker.group}" in other.advice


async def diagnosis(settings: Settings) -> list[Finding]:
    """What the doctor says of the owner, and of the groups of this test."""
    async with connected(settings) as cluster:
        patient = Patient(settings, None, None, None, cluster)
        first, *others = [finding async for finding in owner(patient)]
    return [first, *(each for each in others if settings.worker.group[:12] in each.what)]


def test_a_worker_that_was_replaced_says_so_and_ends(settings: Settings, tmp_path: Path) -> None:
    first, second = of_group(settings, "A"), of_group(settings, "B")
    with WorkerProcess(first, tmp_path / "log") as worker:
        worker.ready()
        options = ["--take-over", first.worker.group, "--group", second.worker.group]
        done = cxstream_text("topics", "--kafka", settings.kafka, *options)
        assert done.returncode == 0, done.stderr
        assert f"group {second.worker.group} owns the topics" in done.stdout
        asyncio.run(write(settings, TOUCHPOINTS.name, {0: troubles(10)}))
        assert worker.process.wait(SECONDS) == 1
        assert f"belong to group {second.worker.group}; this is group {first.worker.group}" in worker.log

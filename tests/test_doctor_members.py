"""The doctor's check of the members: alive, hanging, dead, and how long until Kafka expels them."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from answers import answering
from cxstream.doctor import members as checking
from cxstream.doctor import progress as watching
from cxstream.doctor.cluster import connected
from cxstream.doctor.finding import Patient
from cxstream.doctor.members import Sign, judge, members
from cxstream.doctor.progress import Progress
from cxstream.kafka.groups import Member, _member
from cxstream.kafka.member_address import address_in, assignor
from cxstream.local.ports import free
from cxstream.settings import Settings
from cxstream.topology import TOUCHPOINTS
from workers import Watcher, WorkerProcess, customers_of, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.doctor.finding import Finding

SECONDS = 90.0
# Long enough for a slow computer to look while Kafka still takes the dead worker for a member.
SESSION = 300
HERE = Member("m-1", "cxstream", "127.0.0.1", frozenset({0, 1}), "http://127.0.0.1:6066")


def seen(stuck: dict[int, float], *moved: int) -> Progress:
    return Progress((), {}, stuck, frozenset(moved))


QUIET = seen({})
ANSWERS, UNKNOWN, SILENT = Sign("answers"), Sign("unknown"), Sign("silent", "nothing answers")


@pytest.mark.parametrize(
    ("sign", "progress", "level", "said"),
    [
        (ANSWERS, QUIET, None, ""),
        (ANSWERS, seen({0: 12.0}), None, ""),
        (UNKNOWN, QUIET, None, ""),
        (UNKNOWN, seen({0: 12.0}), "warning", "at most 18 s"),
        (UNKNOWN, seen({0: 12.0}, 1), None, ""),
        (UNKNOWN, seen({2: 12.0}), None, ""),
        (SILENT, QUIET, "warning", "at most 30 s"),
        (SILENT, seen({}, 2), "warning", "seems dead"),
        (SILENT, seen({}, 1), None, ""),
        (SILENT, seen({0: 12.0, 1: 7.0}), "error", "at most 18 s"),
        # It was behind before it died: what waits says nothing of the last heartbeat.
        (SILENT, seen({0: 500.0}), "error", "at most 30 s"),
    ],
)
def test_what_signs_and_offsets_say_of_a_member(
    sign: Sign, progress: Progress, level: str | None, said: str
) -> None:
    found = judge(HERE, sign, progress, 30)
    assert (found.level if found else None) == level
    assert said in (found.what if found else "")
    assert not found or "partitions 0, 1" in found.what


def patient(**more: Any) -> Patient:
    return Patient(Settings(**more), None, None, None)


@pytest.mark.parametrize(
    ("url", "host", "kafka", "address"),
    [
        ("http://127.0.0.1:6066", "127.0.0.1", "localhost:9092", "http://127.0.0.1:6066"),
        ("http://0.0.0.0:6066", "127.0.0.1", "localhost:9092", "http://localhost:6066"),
        # A loopback address of another computer cannot be asked from here.
        ("http://127.0.0.1:6066", "203.0.113.9", "localhost:9092", None),
        ("http://127.0.0.1:6066", "127.0.0.1", "203.0.113.9:9092", None),
        ("http://10.0.0.7:6066", "10.0.0.7", "203.0.113.9:9092", "http://10.0.0.7:6066"),
        ("", "127.0.0.1", "localhost:9092", None),
        ("http://[::1", "127.0.0.1", "localhost:9092", None),
        ("file:///etc/passwd", "127.0.0.1", "localhost:9092", None),
    ],
)
def test_where_a_member_is_asked(url: str, host: str, kafka: str, address: str | None) -> None:
    member = Member("m", "c", host, frozenset({0}), url)
    assert checking._address(patient(kafka=kafka), member) == address
    assert checking._address(patient(kafka=kafka, worker={"web": False}), member) is None


@pytest.mark.parametrize(
    ("body", "life"),
    [
        (b'{"ready": false, "partitions": {"0": "restoring", "1": "running"}}', "answers"),
        (b'{"ready": true, "partitions": {"2": "running"}}', "unknown"),
        (b"<html>", "unknown"),
        (b"{}", "unknown"),
    ],
)
async def test_who_answers_in_place_of_a_member(body: bytes, life: str) -> None:
    with answering(200, body) as (address, _):
        sign = await checking._ask(
            patient(), HERE.__class__("m", "c", "127.0.0.1", frozenset({0, 1}), address)
        )
    assert sign.life == life


async def test_a_port_at_which_nothing_listens() -> None:
    url = f"http://127.0.0.1:{free(1)[0]}"
    sign = await checking._ask(patient(), Member("m", "c", "127.0.0.1", frozenset({0}), url))
    assert sign.life == "silent"
    assert url in sign.said


def test_a_worker_tells_the_group_its_address_and_the_sticky_assignor_reads_its_own_part() -> None:
    kind = assignor(lambda: "http://127.0.0.1:6066")
    for owned in (None, [TopicPartition("t", 3)]):
        kind.member_assignment, kind.generation = owned, 7 if owned else kind.DEFAULT_GENERATION_ID
        told = kind.metadata(["t"])
        assert address_in(told.encode()) == "http://127.0.0.1:6066"
        read = StickyPartitionAssignor.parse_member_metadata(told)
        assert (list(read.partitions), read.generation) == (owned or [], kind.generation)
    silent = assignor(lambda: "")
    assert silent.metadata(["t"]).user_data == b""
    assert silent.member_assignment is None, "each consumer has a class of its own"


@pytest.mark.parametrize("metadata", [b"", b"\0", b"\0\0\0\0\0\0\xff\xff\xff\xff"])
def test_members_that_are_no_workers_have_no_address(metadata: bytes) -> None:
    described = {
        "member_id": "m",
        "client_id": "c",
        "client_host": "/10.0.0.1",
        "member_assignment": b"",
        "member_metadata": metadata,
    }
    assert _member(described, TOUCHPOINTS.name) == Member("m", "c", "10.0.0.1", frozenset())


# --- on Kafka


@pytest.mark.broker
@pytest.mark.timeout(280)
async def test_a_worker_that_hangs_and_one_that_was_killed_are_noticed_before_kafka_does(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics(2)
    worker_settings = settings.worker.model_copy(update={"session_seconds": SESSION})
    settings = settings.model_copy(update={"worker": worker_settings})
    whom = [customers_of(p, 2)[0] for p in (0, 1)]

    async def look() -> list[Finding]:
        async with connected(settings) as cluster:
            who = Patient(settings, None, None, None, cluster)
            return [finding async for finding in members(who)]

    async def send(number: int) -> None:
        await write(settings, TOUCHPOINTS.name, {p: [touchpoint(whom[p], number)] for p in (0, 1)})

    await send(1)
    environment = {"CXSTREAM_WORKER__SESSION_SECONDS": str(SESSION)}
    with WorkerProcess(settings, tmp_path / "log", **environment) as worker:
        worker.ready()
        async with Watcher(settings, 2) as watcher:
            await until(watcher.all_committed, SECONDS, lambda: worker.log)
        [well] = await look()
        assert (well.level, "1 answer" in well.what) == ("ok", True)

        worker.process.send_signal(signal.SIGSTOP)
        [hangs] = await look()
        assert hangs.level == "warning"
        assert "does not answer" in hangs.what
        assert f"at most {SESSION} s" in hangs.what
        worker.process.send_signal(signal.SIGCONT)

        worker.process.kill()
        worker.process.wait(60)
        [quiet] = await look()
        assert (quiet.level, "seems dead" in quiet.what) == ("warning", True)
        monkeypatch.setattr(watching, "WAITING_SECONDS", 0.0)
        monkeypatch.setattr(watching, "LOOK_AGAIN_SECONDS", 0.1)
        await send(2)
        [dead] = await look()
        assert dead.level == "error"
        assert "is dead or cut off: nothing answers" in dead.what
        assert "which owns partitions 0, 1," in dead.what
        left = re.search(r"in at most (\d+) s", dead.what)
        assert left is not None
        assert 0 < int(left[1]) <= SESSION
        assert "start a worker now" in dead.advice

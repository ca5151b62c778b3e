"""What people do in the console: forms and the API, what they send, who may, and how it comes back from Kafka."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import jsonschema
import pytest
from starlette.exceptions import HTTPException

from console_app import OWN, card, console, read, warehouse
from cxstream.console.audit import tell_of_client
from cxstream.console.desk import Desk, Wish
from cxstream.console.following import Follower, Shared
from cxstream.console.metrics import ConsoleMetrics
from cxstream.console.outlet import Outlet
from cxstream.console.people import add_person, add_program
from cxstream.model.errors import BrokerError, WarehouseError
from cxstream.model.forget import erasure_request
from cxstream.model.rfc3339 import rfc3339
from cxstream.scoring.state.erasures import digest
from cxstream.settings import Settings
from cxstream.topology import AUDIT, FORGET, TOUCHPOINTS, WORK
from cxstream.warehouse.batch import Erasure
from cxstream.warehouse.erase import erase
from cxstream.warehouse.ingest import Ingest
from cxstream.warehouse.metrics import FollowMetrics
from cxstream.warehouse.store import Store, copy_of
from cxstream.wire.schema import documents
from test_work import batch, work
from view_rows import START, touchpoint
from workers import Watcher, until, write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import httpx

ROWS = [touchpoint(customer_id=n, offset=n) for n in range(1, 6)]
ROWS.append(
    touchpoint(customer_id=5, offset=9, kind="action_taken", channel="crm", action="call_back", arm="holdout")
)
CARDS = [card(n, "critical", 0.9 - n / 100) for n in range(1, 6)]
Sent = list[tuple[str, str, bytes, Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return warehouse(tmp_path / "w.duckdb", ROWS, (), CARDS)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What would go to Kafka: topic, customer, key, event."""
    monkeypatch.setenv("CXSTREAM_KAFKA", "nowhere:1")
    found: Sent = []

    async def send_all(self: Outlet, records: Sequence[tuple[str, bytes, bytes]]) -> list[int]:
        # tests/test_console_audit.py has what goes to cx.audit.
        if self._topic.name != AUDIT.name:
            found.extend(
                (self._topic.name, customer, key, json.loads(value)) for customer, key, value in records
            )
        return []

    monkeypatch.setattr(Outlet, "send_all", send_all)
    return found


async def form(client: httpx.AsyncClient, page: str, do: str) -> dict[str, str]:
    """The fields of a form of a page."""
    text = (await client.get(page)).text
    found = next(
        each for each in re.findall(r"<form.*?</form>", text, re.DOTALL) if f'name="do" value="{do}"' in each
    )
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', found))


async def test_without_kafka_nothing_is_offered_and_the_page_says_why(path: Path) -> None:
    async with console(path) as client:
        for page in ("/queue", "/customers/c-1"):
            text = (await client.get(page)).text
            assert "no Kafka is named" in text
            assert 'action="/work"' not in text
        answer = await client.post("/work", data={"customer": "c-1", "do": "assign", "key": "k"}, headers=OWN)
        assert answer.status_code == 400


async def test_a_double_click_is_one_record_and_is_seen_at_once(path: Path, sent: Sent) -> None:
    async with console(path) as client:
        fields = await form(client, "/queue?customer=c-2", "assign")
        for _ in range(2):
            answer = await client.post("/work", data=fields, headers=OWN)
            assert (answer.status_code, answer.headers["location"]) == (303, "/queue?customer=c-2")
        row = read((await client.get("/queue")).text).tables[0][2]
        assert row[1] == "c-2"
        assert fields["value"] in row[2]
        note = {**await form(client, "/customers/c-2", "note"), "text": " <b>call</b> on Friday\r\nagain "}
        for _ in range(2):
            await client.post("/work", data=note, headers=OWN)
        text = (await client.get("/customers/c-2")).text
        assert text.count("&lt;b&gt;call&lt;/b&gt; on Friday\nagain") == 1
    assert [each[:2] for each in sent] == [(WORK.name, "c-2")] * 2
    assert sent[0][2] == b"c-2/assignment"
    assert sent[1][2].decode() == f"c-2/note-{sent[1][3]['id']}"
    for each in sent:
        jsonschema.validate(each[3], documents()["work.v1.json"])


async def test_a_snoozed_customer_leaves_the_queue_until_then(path: Path, sent: Sent) -> None:
    async with console(path) as client:
        await client.post("/work", data={**await form(client, "/queue", "snooze"), "value": "3"}, headers=OWN)
        until = datetime.fromisoformat(sent[0][3]["data"]["until"])
        assert timedelta(days=2.99) < until - datetime.now(UTC) < timedelta(days=3)
        # At once, before the read model has it.
        # c-5 is held out: listed, and not to be called.
        assert await _listed(client) == ({"c-2", "c-3", "c-4", "c-5"}, {"c-2", "c-3", "c-4"})
        assert await _listed(client, "?state=snoozed") == ({"c-1"}, {"c-2", "c-3", "c-4"})
        await client.post("/work", data=await form(client, "/queue?customer=c-1", "snooze"), headers=OWN)
        assert await _listed(client) == ({"c-1", "c-2", "c-3", "c-4", "c-5"}, {"c-1", "c-2", "c-3", "c-4"})
    # What comes back.
    with Store(path, Settings().warehouse) as store:
        late, early = (f"{datetime.now(UTC) + timedelta(days=n):%Y-%m-%dT%H:%M:%SZ}" for n in (1, -1))
        Ingest(store).apply(
            batch(
                (0, 0, *work("c-1", "snooze", 0, until=late)),
                (0, 1, *work("c-2", "snooze", 0, until=early)),
                (0, 2, *work("c-3", "assignment", 0, assignee="anna")),
            )
        )
    async with console(path) as client:
        for query, wanted in {
            "": ["c-2", "c-3", "c-4", "c-5"],
            "?state=snoozed": ["c-1"],
            "?state=free": ["c-2", "c-4", "c-5"],
            "?state=mine": [],
            "?assignee=anna": ["c-3"],
            "?assignee=nobody": [],
            "?state=free&level=critical&sort=waiting": ["c-2", "c-4", "c-5"],
        }.items():
            text = (await client.get(f"/queue{query}")).text
            tables = read(text).tables
            assert [row[1] for row in (tables[0][1:] if tables else [])] == wanted, query
        assert "anna" in (await client.get("/queue?customer=c-3")).text
        today = (await client.get("/today")).text
        assert [row[1] for row in read(today).tables[0][1:]] == ["c-2", "c-3", "c-4"]
        assert "1 snoozed customer is left out" in today
        assert "1 customer is snoozed" in (await client.get("/queue")).text
        assert (await client.get("/queue?customer=c-1")).status_code == 200


async def _listed(client: httpx.AsyncClient, query: str = "") -> tuple[set[str], set[str]]:
    """Customers of the queue, and of the first calls of Today."""
    pages = [read((await client.get(page)).text) for page in (f"/queue{query}", "/today")]
    queue, today = ({row[1] for row in page.tables[0][1:]} for page in pages)
    return queue, today


async def test_agents_who_are_known_can_be_assigned(tmp_path: Path, path: Path, sent: Sent) -> None:
    users = tmp_path / "users.json"
    for name, role in (("ada", "admin"), ("olek", "agent"), ("vera", "viewer")):
        add_person(users, name, role, "long enough pw")  # type: ignore[arg-type]
    add_program(users, "crm", "agent")
    with Store(path, Settings().warehouse) as store:
        Ingest(store).apply(batch((0, 0, *work("c-3", "assignment", 0, assignee="Zoé"))))
    async with console(path, users_file=users) as client:
        await client.post("/sign-in", data={"name": "ada", "password": "long enough pw"}, headers=OWN)

        async def offered(customer: str) -> list[str]:
            text = (await client.get(f"/queue?customer={customer}")).text
            return re.findall(r"<option>(.*?)</option>", text)

        # Neither who looks, nor who has the customer already, nor viewers, nor programs.
        assert await offered("c-1") == ["olek", "Zoé"]
        assert await offered("c-3") == ["olek"]
        fields = {**await form(client, "/queue?customer=c-1", "assign"), "value": "olek"}
        assert (await client.post("/work", data=fields, headers=OWN)).status_code == 303
        page = (await client.get("/queue?assignee=olek")).text
        assert [row[1] for row in read(page).tables[0][1:]] == ["c-1"]
        assert 'href="/queue?assignee=olek"' in page
    said = sent[-1][3]["data"]
    assert (said["item"], said["by"], said["assignee"]) == ("assignment", "ada", "olek")


async def test_an_action_is_a_touchpoint_and_a_holdout_is_left_alone(path: Path, sent: Sent) -> None:
    async with console(path) as client:
        fields = {**await form(client, "/customers/c-1", "act"), "value": "send_voucher"}
        await client.post("/work", data=fields, headers=OWN)
        await client.post(
            "/work",
            data={**await form(client, "/customers/c-1", "outcome"), "value": "won_back"},
            headers=OWN,
        )
        assert "sent, not in the figures yet" in (await client.get("/customers/c-1")).text
        assert (
            "Send a voucher"
            in next(row for row in read((await client.get("/queue")).text).tables[0] if row[1] == "c-1")[2]
        )
        page = (await client.get("/customers/c-5")).text
        assert "Holdout" in page
        assert 'name="do" value="act"' not in page
        assert 'name="do" value="assign"' not in page
        for do in ("act", "assign"):
            wrong = {**fields, "customer": "c-5", "do": do}
            assert (await client.post("/work", data=wrong, headers=OWN)).status_code == 409
    assert [each[:3] for each in sent] == [(TOUCHPOINTS.name, "c-1", b"c-1")] * 2
    for each, kind in zip(sent, ("action_taken", "won_back"), strict=True):
        assert each[3]["time"] == rfc3339(round(START.replace(tzinfo=UTC).timestamp() * 1000))
        jsonschema.validate(each[3], documents()[f"touchpoints/{kind}.v1.json"])
    assert sent[0][3]["data"] == {"channel": "crm", "action": "send_voucher", "arm": "treated"}


@pytest.mark.parametrize("do", ["act", "outcome"])
@pytest.mark.parametrize("days", [0, 6, 8, 400])
async def test_actions_are_of_the_time_of_data_that_are_of_another_time(
    sent: Sent, days: int, do: str
) -> None:
    """A touchpoint of today in a simulated July would make the rest of that July too late."""
    bench, before = Desk(Settings(kafka="nowhere:1")), datetime.now(UTC)
    last = (before - timedelta(days=days)).replace(microsecond=5000, tzinfo=None)
    value = "call_back" if do == "act" else "won_back"
    await bench.do(Wish("c-1", do, value, "", "k", None, "anna", last))
    time = datetime.fromisoformat(sent[0][3]["time"])
    if days > 7:
        assert time.replace(tzinfo=None) == last
    else:
        # Rounded to milliseconds.
        a_ms = timedelta(milliseconds=1)
        assert before - a_ms <= time <= datetime.now(UTC) + a_ms
    # What is shown until it comes back has the time of the record.
    [shown] = bench.of("c-1")
    assert shown.time == time.replace(tzinfo=None)


async def test_pseudonyms_get_no_touchpoints(tmp_path: Path, sent: Sent) -> None:
    path = warehouse(tmp_path / "p.duckdb", ROWS, (), CARDS)
    with Store(path, Settings().warehouse) as store:
        store.connection.execute("UPDATE customers SET customer = repeat('0a', 32) WHERE customer_id = 1")
    async with console(path) as client:
        page = (await client.get(f"/customers/{'0a' * 32}")).text
        assert 'value="note"' in page
        assert 'value="act"' not in page
        assert 'action="/erase"' not in page
        wrong = {"customer": "0a" * 32, "do": "act", "value": "call_back", "key": "k", "typed": "0a" * 32}
        for address in ("/work", "/erase"):
            assert (await client.post(address, data=wrong, headers=OWN)).status_code == 400
    assert sent == []


async def test_an_administrator_erases_a_customer_by_typing_the_id(
    tmp_path: Path, path: Path, sent: Sent
) -> None:
    users = tmp_path / "users.json"
    for role in ("agent", "admin"):
        add_person(users, role, role, "long enough pw")
    async with console(path, users_file=users) as client:

        async def sign_in(name: str) -> None:
            await client.post("/sign-in", data={"name": name, "password": "long enough pw"}, headers=OWN)

        await sign_in("agent")
        page = (await client.get("/customers/c-1")).text
        assert 'action="/erase"' not in page
        note = {**await form(client, "/customers/c-1", "note"), "text": "likes roses"}
        await client.post("/work", data=note, headers=OWN)
        wish = {"customer": "c-1", "typed": "c-1", "key": "k", "form_token": note["form_token"]}
        assert (await client.post("/erase", data=wish, headers=OWN)).status_code == 403
        await sign_in("admin")
        page = (await client.get("/customers/c-1")).text
        assert 'action="/erase"' in page
        token = re.search('name="form_token" value="([^"]+)"', page)
        assert token is not None
        wish["form_token"] = token[1]
        for wrong, status in (
            ({"typed": "c-2"}, 400),
            ({"typed": ""}, 400),
            ({"customer": "", "typed": ""}, 400),
            ({"customer": "c-99", "typed": "c-99"}, 404),
            ({"key": ""}, 400),
            ({"form_token": "x"}, 403),
        ):
            assert (await client.post("/erase", data={**wish, **wrong}, headers=OWN)).status_code == status
        assert [each[0] for each in sent] == [WORK.name]
        for _ in range(2):
            answer = await client.post("/erase", data={**wish, "typed": " c-1 "}, headers=OWN)
            assert (answer.status_code, answer.headers["location"]) == (303, "/customers/c-1")
        page = (await client.get("/customers/c-1")).text
        assert "admin asked on" in page
        assert 'action="/erase"' not in page
        # What was typed about them is not kept in memory either.
        assert "likes roses" not in page
    (_, request) = sent
    assert request[:3] == (FORGET.name, "c-1", b"c-1")
    jsonschema.validate(request[3], documents()["forget.v1.json"])
    with Store(path, Settings().warehouse) as store:
        time = datetime.now(UTC).isoformat(timespec="milliseconds")[:23] + "Z"
        store.connection.execute("UPDATE customers SET digest = ? WHERE customer = 'c-1'", [digest("c-1")])
        erase(store, [Erasure(digest("c-1"), 0, 10_000, time)])
    async with console(path, users_file=users) as client:
        for name, status in (("agent", 404), ("admin", 200)):
            await client.post("/sign-in", data={"name": name, "password": "long enough pw"}, headers=OWN)
            answer = await client.get("/customers/c-1")
            assert (answer.status_code, "This customer was erased" in answer.text) == (status, status == 200)
        assert (await client.get("/customers/c-2")).status_code == 200
        assert (await client.get("/customers/c-1.csv")).status_code == 404


async def test_nothing_is_done_about_a_customer_whose_erasure_was_asked_for(path: Path, sent: Sent) -> None:
    said = {"assign": {"value": "olek"}, "note": {"text": "roses"}, "act": {"value": "call_back"}}
    with Shared(path, Settings().warehouse) as store:
        async with console(path, source=store) as client:
            wishes = [await form(client, "/customers/c-1", do) | more for do, more in said.items()]
            erasure = {"customer": "c-1", "typed": "c-1", "key": "k"}
            assert (await client.post("/erase", data=erasure, headers=OWN)).status_code == 303
            for wish in wishes:
                answer = await client.post("/work", data=wish, headers=OWN)
                assert (answer.status_code, "erasure" in answer.text) == (409, True)
            program = {"customer": "c-1", "do": "snooze", "value": "1"}
            answer = await client.post("/api/v1/work", json=program, headers={**OWN, "idempotency-key": "p"})
            assert (answer.status_code, "erasure" in answer.json()["detail"]) == (409, True)
            for page in ("/customers/c-1", "/queue?customer=c-1"):
                text = (await client.get(page)).text
                assert "nothing is done about them any more" in text
                assert 'name="do" value="note"' not in text
            assert [each[0] for each in sent] == [FORGET.name]
            # The erasure is done, and somebody of this id has come since.
            with store.transaction() as connection:
                now = datetime.now(UTC).replace(tzinfo=None)
                connection.execute(
                    'INSERT INTO erasures BY NAME SELECT $digest AS digest, $now AS time, 0 AS partition, 9 AS "offset"',
                    {"digest": digest("c-1"), "now": now},
                )
            assert (await client.post("/work", data=wishes[1], headers=OWN)).status_code == 303
    assert [each[0] for each in sent] == [FORGET.name, WORK.name]


async def test_what_is_on_its_way_goes_before_an_erasure_and_nothing_goes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_end = [], asyncio.Event()

    async def send(self: Outlet, *_: object) -> None:
        begun.append(self._topic.name)
        await may_end.wait()

    monkeypatch.setattr(Outlet, "send", send)
    bench = Desk(Settings(kafka="nowhere:1"))
    wishes = [
        Wish("c-1", do, "", "roses", f"{n}", None, "anna") for n, do in enumerate(("note", "erase", "note"))
    ]
    asked = [asyncio.create_task((bench.erase if each.do == "erase" else bench.do)(each)) for each in wishes]
    other = asyncio.create_task(bench.do(Wish("c-2", "note", "", "tulips", "k", None, "anna")))
    for _ in range(10):
        await asyncio.sleep(0)
    # Another customer waits for nobody.
    assert begun == [WORK.name, WORK.name]
    may_end.set()
    first, erased, late = await asyncio.gather(*asked, return_exceptions=True)
    await other
    assert (first, erased) == (wishes[0].id, wishes[1].id)
    assert isinstance(late, HTTPException)
    assert begun == [WORK.name, WORK.name, FORGET.name]
    assert not bench._locks


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"do": "assign", "value": "x\ny"}, 400),
        ({"do": "snooze", "value": "99"}, 400),
        ({"do": "note", "text": "  "}, 400),
        ({"do": "note", "text": "x" * 2001}, 400),
        ({"do": "note", "text": "a\x00b"}, 400),
        ({"do": "act", "value": "shout"}, 400),
        ({"do": "dance"}, 400),
        ({"do": "note", "text": "x", "customer": "c-99"}, 404),
        ({"do": "note", "text": "x", "more": "y"}, 400),
        ({"do": "note", "text": 7}, 400),
    ],
)
async def test_wrong_wishes_are_problem_documents(
    path: Path, sent: Sent, said: dict[str, Any], status: int
) -> None:
    async with console(path) as client:
        head = {**OWN, "idempotency-key": "k"}
        answer = await client.post("/api/v1/work", json={"customer": "c-1", **said}, headers=head)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert sent == []


async def test_only_agents_act_and_programs_do_with_a_token(tmp_path: Path, path: Path, sent: Sent) -> None:
    users = tmp_path / "users.json"
    add_person(users, "vera", "viewer", "long enough pw")
    viewer, agent = add_program(users, "bi", "viewer"), add_program(users, "crm", "agent")
    wish = {"customer": "c-1", "do": "note", "text": "from the CRM"}

    async with console(path, users_file=users) as client:

        async def post(token: str, **head: str) -> httpx.Response:
            return await client.post(
                "/api/v1/work", json=wish, headers={"authorization": f"Bearer {token}", **head}
            )

        assert (await post(viewer, **{"idempotency-key": "1"})).status_code == 403
        assert (await post("none", **{"idempotency-key": "1"})).status_code == 401
        assert (await post(agent)).status_code == 400
        first, again = [await post(agent, **{"idempotency-key": "1"}) for _ in range(2)]
        assert (first.status_code, first.json()) == (202, again.json())
        other = await client.post("/api/v1/work", json=wish, headers={"sec-fetch-site": "cross-site"})
        assert other.status_code == 403
        await client.post("/sign-in", data={"name": "vera", "password": "long enough pw"}, headers=OWN)
        assert (await client.post("/work", data={**wish, "key": "2"}, headers=OWN)).status_code == 403
    assert [each[3]["data"]["by"] for each in sent] == ["crm"]


async def test_what_kafka_does_not_take_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXSTREAM_KAFKA", "nowhere:1")

    async def send_all(*_: object) -> list[int]:
        raise BrokerError("nowhere:1: no broker answers")

    monkeypatch.setattr(Outlet, "send_all", send_all)
    async with console(path) as client:
        answer = await client.post("/work", data=await form(client, "/queue", "assign"), headers=OWN)
        assert answer.status_code == 503
        assert "no broker answers" in answer.text
        assert "anna" not in (await client.get("/queue")).text


async def _audit_of(watcher: Watcher, count: int) -> list[tuple[str, str | None, str]]:
    """Action, customer and path of the records of cx.audit, once so many have come; all of them lie in one partition."""
    found: list[Any] = []

    async def have_come() -> bool:
        found[:] = [each for some in (await watcher.read(AUDIT.name)).values() for each in some]
        return len(found) >= count

    await until(have_come, 60, lambda: f"{len(found)} of {count} audit records came")
    assert len({(each.partition, each.key) for each in found}) == 1
    records = [json.loads(each.value) for each in found]
    for each, record in zip(found, records, strict=True):
        jsonschema.validate(record, documents()["audit.v1.json"])
        assert each.key.decode() == record["subject"]
    return [tuple(record["data"][name] for name in ("action", "customer", "path")) for record in records]


@pytest.mark.broker
@pytest.mark.timeout(200)
async def test_what_is_done_comes_back_through_kafka(
    kafka: str, topics: Callable[[int], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics(3)
    monkeypatch.setenv("CXSTREAM_KAFKA", kafka)
    chosen = Settings(worker={"group": f"test-{uuid.uuid4().hex[:12]}"}, warehouse={"keep_days": 100_000})  # type: ignore[arg-type]
    async with Watcher(chosen, 3) as watcher:
        async with console(path) as client:
            note = {**await form(client, "/customers/c-3", "note"), "text": "called"}
            assert (await client.post("/work", data=note, headers=OWN)).status_code == 303
            act = {**await form(client, "/customers/c-3", "act"), "value": "call_back"}
            assert (await client.post("/work", data=act, headers=OWN)).status_code == 303
            audited = await _audit_of(watcher, 6)
        await tell_of_client(chosen, "made_client", "bi", "viewer")
        assert (await _audit_of(watcher, 7))[-1] == ("made_client", None, "bi")
        page, sent = ("looked", "c-3", "/customers/c-3"), ("looked", None, "/work")
        assert audited == [page, sent, ("noted", "c-3", "/work"), page, sent, ("acted", "c-3", "/work")]
        acted = [each for some in (await watcher.read(TOUCHPOINTS.name)).values() for each in some]
    assert [json.loads(each.value)["type"] for each in acted] == ["cx.touchpoint.action_taken.v1"]
    # What was asked for elsewhere is known, whatever console is asked, and also by one that starts later.
    request = erasure_request("r-1", "/cli", "c-4", rfc3339(round(datetime.now(UTC).timestamp() * 1000)))
    await write(chosen, FORGET.name, {0: [b"no request", request]})
    async with console(path, is_served=True) as client:

        async def is_known() -> bool:
            return "It was asked on" in (await client.get("/customers/c-4")).text

        await until(is_known, 60, lambda: "the request for an erasure is not read")
        assert 'value="note"' not in (await client.get("/customers/c-4")).text
    # A console that knows nothing of it has it from the read model, which it follows itself.
    ended = threading.Event()
    with Shared(path, chosen.warehouse) as store:
        metrics = ConsoleMetrics()
        followed = FollowMetrics([TOUCHPOINTS.contract], metrics.registry)
        follower = Follower(chosen, store, ended.set, followed)
        follower.start()
        try:
            async with console(path, source=store) as client:

                async def has_come() -> bool:
                    assert not ended.is_set(), follower.error
                    return "called" in (await client.get("/customers/c-3")).text

                await until(has_come, 60, lambda: "the note does not come back")
            follower.copy()
            await until(copy_of(path).exists, 60, lambda: "no copy is made")
            # Nothing comes any more, and the read model is no older for it.
            seen = store.written()
            await until(lambda: store.written() > seen, 60, lambda: "does not look again")
        finally:
            follower.stop()
    assert not ended.is_set()
    # What it did stands beside the metrics of the pages.
    assert metrics.registry.get_sample_value("cxstream_warehouse_rows_total") == 1
    assert metrics.registry.get_sample_value("cxstream_console_ready") is not None


def test_what_is_taken_in_late_does_not_make_a_file_new(path: Path) -> None:
    os.utime(path, (1000, 1000))
    with Shared(path, Settings().warehouse) as store:
        Ingest(store).apply(batch((0, 0, *work("c-3", "assignment", 0, assignee="anna"))))
        assert store.written() == 1000
        store.caught_up()
        assert store.written() > 1000


async def test_a_follower_that_cannot_go_on_says_so(path: Path) -> None:
    ended = threading.Event()
    with Shared(path, Settings().warehouse) as store:
        follower = Follower(Settings(kafka="127.0.0.1:1"), store, ended.set)
        follower.start()
        assert await asyncio.to_thread(ended.wait, 60)
        follower.stop()
    assert isinstance(follower.error, BrokerError)


async def test_pages_read_what_is_committed_while_the_file_is_written_and_replaced(path: Path) -> None:
    settings = Settings().warehouse
    with Shared(path, settings) as store:
        async with console(path, source=store) as client:
            states = [store.state()]
            for n in range(3):
                Ingest(store).apply(batch((0, n, *work("c-3", "assignment", n, assignee=f"anna-{n}"))))
                states.append(store.state())
                assert f"anna-{n}" in (await client.get("/queue?customer=c-3")).text
            assert len(set(states)) == 4
            with ThreadPoolExecutor(1) as pool:
                with store.open() as reading:
                    compacting = pool.submit(store.compact)
                    # The file stays as it is for who reads it; who comes now waits for the new one.
                    assert reading.cursor().execute("SELECT count(*) FROM touchpoints").fetchall() == [(6,)]
                    await until(lambda: store._is_away, 120, lambda: "does not begin")
                    assert not compacting.done()
                    asked = asyncio.ensure_future(client.get("/queue?customer=c-3"))
                await asyncio.to_thread(compacting.result, 60)
            assert "anna-2" in (await asked).text
            store.connection.execute("DELETE FROM work")
            store.version += 1
            assert "anna-2" not in (await client.get("/queue?customer=c-3")).text
    # The file is closed, and anybody may open it.
    with Store(path, settings) as again:
        assert again.connection.execute("SELECT count(*) FROM touchpoints").fetchall() == [(6,)]


def test_connections_of_readers_are_closed_though_some_read_all_the_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxstream.console.following._CURSORS", 3)
    with Shared(path, Settings().warehouse) as store, ExitStack() as last:
        readers = [ExitStack() for _ in range(8)]
        bases = []
        for n, reader in enumerate(readers):
            bases.append(reader.enter_context(store.open()))
            if n:
                readers[n - 1].close()
        last.push(readers[-1])
        # Three readers have had each, and never was there none.
        assert [bases.index(each) for each in bases] == [0, 0, 0, 3, 3, 3, 6, 6]
        for old in (bases[0], bases[3]):
            with pytest.raises(duckdb.ConnectionException):
                old.cursor()
        assert bases[6].cursor().execute("SELECT 1").fetchall() == [(1,)]


def test_readers_do_not_wait_for_a_file_that_does_not_come_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a console whose disk is full would never end."""
    with Shared(path, Settings().warehouse) as store, ThreadPoolExecutor(1) as pool:
        asked = []

        def fails() -> None:
            asked.append(pool.submit(lambda: store.open().__enter__()))
            raise WarehouseError("the disk is full")

        monkeypatch.setattr(store, "_reopen", fails)
        with pytest.raises(WarehouseError, match="full"):
            store.compact()
        with pytest.raises(WarehouseError, match="could not be rewritten"):
            asked[0].result(60)

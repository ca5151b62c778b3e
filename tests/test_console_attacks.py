"""What an attacker would try on the console, and what it answers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from argon2 import extract_parameters
from argon2.profiles import RFC_9106_LOW_MEMORY
from starlette.exceptions import HTTPException
from starlette.requests import Request

from console_app import OWN, console, warehouse
from cxstream.console.entrance import local
from cxstream.console.live import MOST, MOST_OF_ONE, Live
from cxstream.console.metrics import ConsoleMetrics
from cxstream.console.people import People, Person, add_person
from cxstream.console.security import MOST_BYTES
from cxstream.console.server import configured
from cxstream.console.sessions import Sessions
from cxstream.settings import Console, Settings
from view_rows import made_up

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse(tmp_path_factory.mktemp("attacks") / "w.duckdb", made_up(9, 60, 6))


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("users") / "users.json"
    for role in ("viewer", "admin"):
        add_person(file, role, role, PASSWORD)  # type: ignore[arg-type]
    return file


async def test_a_session_that_was_there_before_is_not_taken_over(path: Path, users: Path) -> None:
    async with console(path, users_file=users) as client:
        client.cookies.set("session", "chosen-by-an-attacker", domain="127.0.0.1")
        data = {"name": "viewer", "password": PASSWORD}
        first = await client.post("/sign-in", data=data, headers=OWN)
        kept = first.headers["set-cookie"].split(";")[0].partition("=")[2]
        assert kept != "chosen-by-an-attacker"
        client.cookies.clear()
        client.cookies.set("session", kept, domain="127.0.0.1")
        # Who signs in again in the same browser ends the session before.
        await client.post("/sign-in", data={**data, "name": "admin"}, headers=OWN)
        client.cookies.clear()
        client.cookies.set("session", kept, domain="127.0.0.1")
        assert (await client.get("/today")).status_code == 303


async def test_a_method_is_what_the_request_line_says(path: Path) -> None:
    override = {"x-http-method-override": "POST", "x-method-override": "POST", "x-http-method": "POST"}
    async with console(path) as client:
        for address in ("/work", "/erase", "/sign-out", "/preferences", "/api/v1/work"):
            query = "?_method=POST&customer=c-1&typed=c-1&do=note&text=x&key=k&theme=dark"
            answer = await client.get(address + query, headers={**override, "sec-fetch-site": "cross-site"})
            assert (answer.status_code, "set-cookie" in answer.headers) == (405, False), address
        for method in ("PUT", "DELETE", "PATCH", "TRACE"):
            answer = await client.request(method, "/today", headers=OWN)
            assert answer.status_code == 405, method
            assert (await client.request(method, "/today")).status_code in {403, 405}, method


@pytest.mark.parametrize(
    "address",
    ["//evil.example", "/\\evil.example", "///evil.example", "https://evil.example", "/\t/evil.example", "/\n/evil.example",
     "\\\\evil.example", "/\r\nset-cookie: a=b", "javascript:alert(1)", "evil.example", "", "http:evil.example", "/\x00/x", "//[", "http://[", "//\u2100"],
)  # fmt: skip
async def test_nobody_is_led_elsewhere(path: Path, address: str) -> None:
    assert local(address) == "/"
    async with console(path) as client:
        answer = await client.post("/preferences", data={"theme": "dark", "next": address}, headers=OWN)
        assert answer.headers["location"] == "/"
        assert [each for each in answer.headers.get_list("set-cookie") if not each.startswith("theme=")] == []


async def test_files_outside_of_the_assets_are_not_found(path: Path) -> None:
    async with console(path) as client:
        for name in (
            "..%2f..%2fapp.py",
            "%2e%2e/app.py",
            "..\\app.py",
            "%2fetc%2fpasswd",
            "console.css",
            "x%00.css",
        ):
            assert (await client.get(f"/static/{name}")).status_code == 404, name


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil@127.0.0.1",
        "127.0.0.1:80@evil",
        "127.0.0.1\\evil",
        "[",
        "",
        "[::1",
        "127.0.0.1:x",
    ],
)
async def test_a_host_name_that_becomes_part_of_addresses_is_known_and_nothing_else(
    path: Path, host: str
) -> None:
    async with console(path) as client:
        answer = await client.get("/today", headers={"host": host, "x-forwarded-host": "127.0.0.1"})
        assert answer.status_code == 421
        told = await client.get("/api/v1/views", headers={"host": host})
        assert told.headers["content-type"] == "application/problem+json"
        for good in ("127.0.0.1:8600", "localhost", "[::1]:8600", "LOCALHOST"):
            assert (await client.get("/healthz", headers={"host": good})).status_code == 200


async def _endless(part: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield part


async def test_a_body_without_end_is_not_read(path: Path, users: Path) -> None:
    head = {**OWN, "content-type": "application/x-www-form-urlencoded"}
    async with console(path, users_file=users) as client:
        await client.post("/sign-in", data={"name": "admin", "password": PASSWORD}, headers=OWN)
        for address in ("/sign-in", "/preferences", "/work", "/erase", "/api/v1/work"):
            said = await client.post(address, content=b"a=" + b"x" * MOST_BYTES, headers=head)
            assert said.status_code == 413
            wrong = await client.post(address, content=b"", headers={**head, "content-length": "x"})
            assert wrong.status_code == 413
            # In chunks, without a length.
            unsaid = await client.post(address, content=_endless(b"a=" + b"x" * 8192, 9), headers=head)
            assert unsaid.status_code == 413


SQL = ["'", "x' OR 1=1 --", "x'; DROP TABLE touchpoints; --", '"', '") UNION SELECT customer FROM customers --', "{measure}", "$since",
       "channel); ATTACH '/tmp/x' --", "\x00", "%", "\\"]  # fmt: skip


async def test_what_an_address_asks_is_no_sql(path: Path) -> None:
    names = (
        "by",
        "columns",
        "grain",
        "set",
        "cell",
        "of",
        "after",
        "where",
        "since",
        "until",
        "period",
        "limit",
    )
    async with console(path, requests_per_minute=10_000) as client:
        before = (await client.get("/api/v1/views/touchpoints?period=28d")).json()["rows"]
        for bad in SQL:
            for name in names:
                forms = [f"{name}={quote(bad)}"]
                if name in {"set", "cell", "where"}:
                    forms += [f"{name}={quote(f'channel={bad}')}", f"{name}={quote(f'{bad}=web')}"]
                for form in forms:
                    for address in ("/api/v1/views/voice", "/api/v1/views/voice/customers"):
                        answer = await client.get(f"{address}?period=28d&{form}")
                        assert answer.status_code in {200, 400}, (address, form, answer.text)
                        if answer.status_code == 200 and "WHERE" not in form:
                            rows = answer.json().get("rows", answer.json().get("customers"))
                            assert name not in {"where", "cell"} or rows is not None
            for address in (
                f"/customers/{quote(bad, safe='')}",
                f"/queue?level={quote(bad)}&sort={quote(bad)}",
                f"/today?alert={quote(bad)}",
            ):
                assert (await client.get(address)).status_code in {200, 400, 404}, address
        assert (await client.get("/api/v1/views/touchpoints?period=28d")).json()["rows"] == before
        # A value that nobody has gives nothing, whatever SQL it would be.
        found = await client.get(
            "/api/v1/views/touchpoints", params={"period": "28d", "where": "channel=x' OR 'a'='a"}
        )
        assert found.json()["rows"] == []


async def test_streams_are_limited_by_person_and_in_all() -> None:
    live = Live(lambda: 0)

    def asked(name: str) -> Request:
        return Request({"type": "http", "state": {"person": Person(name, "viewer")}})

    opened = [live.events("anna") for _ in range(MOST_OF_ONE)]
    for each in opened:
        await anext(each)
    with pytest.raises(HTTPException):
        await live.stream(asked("anna"))
    # Those that began at the same moment as the last one end at once.
    assert [each async for each in live.events("anna")] == []
    await live.stream(asked("bert"))
    await opened.pop().aclose()
    await live.stream(asked("anna"))
    more = [live.events() for _ in range(MOST - len(opened))]
    for each in more:
        await anext(each)
    with pytest.raises(HTTPException):
        await live.stream(asked("bert"))
    for each in [*opened, *more]:
        await each.aclose()
    assert not live._of
    live.end()


def test_a_stolen_file_of_passwords_is_hard_to_guess_from(tmp_path: Path) -> None:
    """In a process of its own: in that of the tests, hashes cost nothing."""
    program = """
import sys
from pathlib import Path
from cxstream.console.people import add_person
add_person(Path(sys.argv[1]), *sys.argv[2:])
"""
    words = [tmp_path / "users.json", "anna", "admin", PASSWORD]
    subprocess.run([sys.executable, "-c", program, *words], check=True)
    (anna,) = json.loads((tmp_path / "users.json").read_text())["people"]
    assert extract_parameters(anna["password"]) == RFC_9106_LOW_MEMORY


async def test_a_name_that_nobody_has_costs_as_much_as_a_wrong_password(
    users: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people, checked = People(users), []
    monkeypatch.setattr("cxstream.console.people._hasher", lambda: _Hasher(checked))
    for name in ("admin", "nobody", ""):
        assert people.signed_in(name, "wrong") is None
    assert len(checked) == 3
    assert all(each.startswith("$argon2id$") for each in checked)


class _Hasher:
    def __init__(self, checked: list[str]) -> None:
        self._checked = checked

    def verify(self, known: str, password: str) -> None:
        from argon2.exceptions import VerifyMismatchError

        self._checked.append(known)
        raise VerifyMismatchError

    def hash(self, _: str) -> str:
        return "$argon2id$of nobody"


async def test_passwords_are_not_checked_all_at_once(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(Console(users_file=users))
    running, most, gate = 0, 0, asyncio.Event()

    async def slow(*_: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.wait()
        running -= 1

    monkeypatch.setattr("cxstream.console.sessions.run_in_threadpool", slow)
    tries = [asyncio.create_task(sessions.sign_in(f"n{n}", "wrong", "10.0.0.1")) for n in range(20)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*tries) == [None] * 20
    assert most == 2
    assert await sessions.sign_in("x" * 129, "wrong", "10.0.0.1") is None


async def _origin(settings: Settings, path: Path) -> list[Any]:
    """The address that the server takes for the browser's, where a proxy is said to have forwarded it."""
    config = configured(settings, path, ConsoleMetrics())
    seen: list[Any] = []

    async def app(scope: Any, _: Any, send: Any) -> None:
        seen.append(scope["client"][0])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    config.app = app
    config.load()
    transport = httpx.ASGITransport(config.loaded_app, client=("127.0.0.1", 9))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        await client.get("/", headers={"x-forwarded-for": "203.0.113.7"})
    return seen


async def test_nobody_names_another_address_as_theirs(path: Path) -> None:
    assert await _origin(Settings(), path) == ["127.0.0.1"]
    trusting = Settings(console={"proxies": ["127.0.0.0/8"]})  # type: ignore[arg-type]
    assert await _origin(trusting, path) == ["203.0.113.7"]


async def test_refusals_before_any_page_are_problem_documents_for_programs(path: Path, users: Path) -> None:
    async with console(path, users_file=users, requests_per_minute=2) as client:
        answers = [await client.get("/api/v1/views") for _ in range(3)]
        other = await client.post("/api/v1/work", json={}, headers={"sec-fetch-site": "cross-site"})
    assert [each.status_code for each in (*answers, other)] == [401, 401, 429, 403]
    for each in (*answers, other):
        assert each.headers["content-type"] == "application/problem+json"
        assert json.loads(each.content)["status"] == each.status_code
    assert answers[2].headers["retry-after"] == "60"

"""Who gets into the console, and what their role shows."""

from __future__ import annotations

import asyncio
import contextlib
import re
import stat
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from console_app import OWN, card, console, warehouse
from cxstream.console import people
from cxstream.console.people import People, add_person, add_program
from cxstream.console.server import serve
from cxstream.console.sessions import MOST_KNOWN, Limit, Sessions
from cxstream.model.errors import SettingsError
from cxstream.settings import Console, Settings
from in_process import cxstream
from view_rows import made_up

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

PASSWORD = "correct horse battery"
ROWS = made_up(3, 200, 20)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cards = [card(n, "critical", 0.9) for n in range(1, 21)]
    return warehouse(tmp_path_factory.mktemp("sign-in") / "w.duckdb", ROWS, cards=cards)


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("users") / "users.json"
    for role in ("viewer", "agent", "admin"):
        add_person(file, role, role, PASSWORD)
    return file


async def sign_in(client: httpx.AsyncClient, name: str, password: str = PASSWORD, **more: str) -> Any:
    return await client.post("/sign-in", data={"name": name, "password": password, **more}, headers=OWN)


async def test_nobody_gets_in_without_signing_in(path: Path, users: Path) -> None:
    async with console(path, users_file=users) as client:
        answer = await client.get("/touchpoints?period=28d")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/sign-in?next=%2Ftouchpoints%3Fperiod%3D28d"
        assert (await client.get("/touchpoints.csv")).status_code == 401
        assert (await client.get("/nothing")).status_code == 303
        assert "Password" in (await client.get("/sign-in")).text
        for name, password in (("agent", "wrong"), ("nobody", PASSWORD), ("", "")):
            answer = await sign_in(client, name, password, next="/customers?sort=risk")
            assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
            # Where they wanted to go, and still do.
            assert 'name="next" value="/customers?sort=risk"' in answer.text
        assert 'name="next" value="/"' in (await sign_in(client, "agent", "", next="//evil.example")).text
        assert (await client.get("/touchpoints", cookies={"session": "made-up"})).status_code == 303


async def test_somebody_signs_in_and_out(path: Path, users: Path) -> None:
    async with console(path, users_file=users) as client:
        answer = await sign_in(client, "agent", next="/customers")
        assert (answer.status_code, answer.headers["location"]) == (303, "/customers")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        page = (await client.get("/customers")).text
        token = re.search('name="form_token" value="([^"]+)"', page)
        assert token is not None
        kept = client.cookies["session"]
        # A form of no page of this session.
        for wrong in ("x", "ą"):
            form = {"form_token": wrong}
            assert (await client.post("/sign-out", data=form, headers=OWN)).status_code == 403
        assert (await client.post("/sign-out", data={"form_token": token[1]}, headers=OWN)).status_code == 303
        assert (await client.get("/customers", cookies={"session": kept})).status_code == 303


async def test_a_viewer_sees_figures_and_no_customer(path: Path, users: Path) -> None:
    async with console(path, users_file=users) as client:
        await sign_in(client, "viewer")
        today = (await client.get("/today")).text
        assert re.search(r"\bc-\d", today) is None
        assert 'href="/customers"' not in today
        for address in ("/customers", "/customers.csv", "/today.csv?table=calls"):
            assert (await client.get(address)).status_code == 403, address
        assert (await client.get("/touchpoints.csv")).status_code == 200
    async with console(path, users_file=users) as client:
        await sign_in(client, "agent")
        assert re.search(r"\bc-\d", (await client.get("/today")).text)
        assert (await client.get("/customers")).status_code == 200


async def test_somebody_who_is_taken_out_is_out(path: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    add_person(users, "anna", "agent", PASSWORD)
    async with console(path, users_file=users) as client:
        await sign_in(client, "anna")
        assert (await client.get("/today")).status_code == 200
        users.write_text('{"people": []}')
        assert (await client.get("/today")).status_code == 303


async def test_passwords_cannot_be_tried_without_end(path: Path, users: Path) -> None:
    async with console(path, users_file=users) as client:
        for _ in range(5):
            assert (await sign_in(client, "admin", "wrong")).status_code == 401
        assert (await sign_in(client, "admin")).status_code == 429
        assert (await sign_in(client, "agent")).status_code == 303


async def test_nobody_locks_another_out_by_wrong_passwords(users: Path) -> None:
    sessions = Sessions(Console(users_file=users))
    for n in range(20):
        with contextlib.suppress(HTTPException):
            assert await sessions.sign_in("admin", "wrong", f"10.0.0.{n // 5}") is None
    with pytest.raises(HTTPException):
        await sessions.sign_in("admin", PASSWORD, "10.0.0.1")
    assert await sessions.sign_in("admin", PASSWORD, "10.0.1.1") is not None


@pytest.mark.parametrize("broken", [b"{", b'{"people": [{"name": "\xff"}]}'])
async def test_a_users_file_that_cannot_be_read_lets_nobody_in_and_says_so(
    path: Path, tmp_path: Path, broken: bytes
) -> None:
    users = tmp_path / "users.json"
    add_person(users, "anna", "agent", PASSWORD)
    async with console(path, users_file=users) as client:
        await sign_in(client, "anna")
        users.write_bytes(broken)
        for answer in (await client.get("/today"), await sign_in(client, "anna")):
            assert (answer.status_code, str(tmp_path) in answer.text) == (503, False)


async def test_with_a_provider_there_need_be_no_users_file(path: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    oidc = {"issuer": "https://id.example.org", "client_id": "cx", "client_secret": "s", "admins": ["cx"]}
    async with console(path, {"oidc": oidc}, users_file=users) as client:
        door = (await client.get("/sign-in?next=%2Ftoday")).text
        assert ("Sign in with your company account" in door, "Password" in door) == (True, False)
        assert (await sign_in(client, "anna")).status_code == 401
        # It may come later.
        add_person(users, "anna", "agent", PASSWORD)
        assert "Password" in (await client.get("/sign-in?next=%2Ftoday")).text
        assert (await sign_in(client, "anna")).status_code == 303
        assert (await client.get("/today")).status_code == 200
        users.unlink()
        assert (await client.get("/today")).status_code == 303
    with pytest.raises(SettingsError, match="add-user"):
        async with console(path, users_file=users):
            pass


async def test_requests_are_limited(path: Path) -> None:
    async with console(path, requests_per_minute=3) as client:
        answers = [(await client.get("/healthz")).status_code for _ in range(4)]
    assert answers == [200, 200, 200, 429]


async def test_a_session_ends_when_nothing_is_done(path: Path, users: Path) -> None:
    async with console(path, users_file=users, session_hours=1e-9) as client:
        await sign_in(client, "agent")
        assert (await client.get("/today")).status_code == 303


async def test_a_cookie_goes_over_https_only_where_there_is_https(path: Path, users: Path) -> None:
    async with console(path, users_file=users, behind_tls=True) as client:
        answer = await sign_in(client, "agent")
    assert answer.headers["set-cookie"].startswith("__Host-session=")
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" in answer.headers


def test_a_limit_lets_more_in_after_its_time() -> None:
    now = [0.0]
    limit = Limit(2, 10.0, lambda: now[0])
    assert [limit.take("a"), limit.take("a"), limit.take("a"), limit.take("b")] == [True, True, False, True]
    now[0] = 10.0
    assert limit.take("a")


def test_a_flood_of_names_takes_no_more_memory_than_a_limit_allows() -> None:
    now = [0.0]
    limit = Limit(2, 10.0, lambda: now[0])
    for n in range(2 * MOST_KNOWN):
        assert limit.take(str(n))
        if n % 1000 == 0:
            # Who asks all the time is not forgotten for those.
            limit.take("a")
    assert len(limit) == MOST_KNOWN
    assert not limit.take("a")
    now[0] = 10.0
    assert limit.take("b")
    assert len(limit) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 4)), max_size=60), st.integers(0, 3))
def test_a_limit_counts_as_one_that_forgets_nothing(asked: list[tuple[str, int]], most: int) -> None:
    now, taken = [0.0], []
    limit = Limit(most, 10.0, lambda: now[0])
    for who, later in asked:
        now[0] += later
        expected = sum(name == who and time > now[0] - 10 for name, time in taken) < most
        assert limit.take(who) is expected
        taken += [(who, now[0])] * expected


def test_the_file_has_hashes_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "users.json"
    add_person(file, "anna", "agent", PASSWORD)
    token = add_program(file, "bi", "viewer")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert PASSWORD not in file.read_text()
    assert token not in file.read_text()
    known = People(file)
    found = known.with_token(token)
    assert found is not None
    assert (found.name, known.with_token(""), known.with_token("x")) == ("bi", None, None)
    # A program has no password, and no password is no token.
    assert known.signed_in("bi", "") is None
    assert known.signed_in("anna", PASSWORD) is not None
    with pytest.raises(SettingsError, match="at least 12"):
        add_person(file, "anna", "agent", "short")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({}, "let people sign in"),
        ({"users_file": "users.json"}, "signing in needs https"),
        ({"users_file": "users.json", "behind_tls": True}, "console.hosts"),
        ({"cert_file": "cert.pem"}, "set both"),
    ],
)
def test_the_server_does_not_go_public_without_sign_in_and_https(
    settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(problem)):
        serve(Settings(console={"host": "0.0.0.0", "port": 0, **settings}), None, print)  # type: ignore[arg-type]


async def test_programs_get_and_lose_tokens_on_the_command_line(path: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    add_person(users, "anna", "agent", PASSWORD)
    environ = {"CXSTREAM_CONSOLE__USERS_FILE": str(users)}

    async def clients(*words: str) -> Any:
        return await asyncio.to_thread(cxstream, "clients", *words, environ=environ)

    bi, crm = (
        (await clients("create", "bi", "--days", "30")).stdout.decode().strip(),
        (await clients("create", "crm", "--role", "agent", "--scope", "work", "--days", "0"))
        .stdout.decode()
        .strip(),
    )
    assert re.fullmatch(r"[\w-]{43}", bi)
    assert not any(token in users.read_text() for token in (bi, crm))
    listed = (await clients("list")).stdout.decode()
    until = (datetime.now(UTC) + timedelta(days=30)).date()
    assert re.search(
        rf"^bi +viewer +read +\d{{4}}-\d\d-\d\d +({until}|{until - timedelta(days=1)}) ", listed, re.MULTILINE
    )
    assert re.search(r"^crm +agent +work +\S+ +for ever ", listed, re.MULTILINE)
    assert "anna" not in listed
    for taken in ("anna", "bi"):
        done = await clients("create", taken)
        assert (done.returncode, "take another name" in done.stderr.decode()) == (1, True)
    with pytest.raises(SettingsError, match="is a program"):
        add_person(users, "bi", "admin", PASSWORD)
    async with console(path, users_file=users) as client:

        async def asked(token: str, method: str = "GET", address: str = "/api/v1/views") -> httpx.Response:
            return await client.request(method, address, headers={"authorization": f"Bearer {token}"})

        assert (await asked(bi)).status_code == 200
        answer = await asked(bi, "POST", "/api/v1/work")
        assert (answer.status_code, "lacks the scope work" in answer.json()["detail"]) == (403, True)
        assert (await asked(crm)).status_code == 403
        assert (await asked(crm, "POST", "/api/v1/work")).status_code == 400
        assert (await clients("revoke", "bi")).returncode == 0
        assert (await asked(bi)).status_code == 401
    done = await clients("revoke", "bi")
    assert (done.returncode, "no program of this name" in done.stderr.decode()) == (1, True)
    # Audited first: what Kafka does not take is not done.
    done = await clients("create", "new", "--kafka", "127.0.0.1:1")
    assert (done.returncode, done.stdout) == (1, b"")
    assert "new" not in (await clients("list")).stdout.decode()
    assert cxstream("clients", "create", "bi").returncode == 1


def test_a_token_ends_at_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "users.json"
    token, now = add_program(file, "bi", "viewer", days=1), people._now_ms()
    for hours, holds in ((23.9, True), (24.1, False)):
        monkeypatch.setattr(people, "_now_ms", lambda h=hours: now + round(h * 3_600_000))
        assert (People(file).with_token(token) is not None) is holds

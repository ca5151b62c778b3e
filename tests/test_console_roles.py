"""What each role reaches and sees: every route of the console, and stored text on every page."""

from __future__ import annotations

import csv
import io
import re
from html import unescape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from console_app import OWN, card, console, place_signal, read, warehouse
from cxstream.console.app import create_app
from cxstream.console.people import Role, add_person
from cxstream.console.tables import _FORMULA
from cxstream.settings import Settings, Warehouse
from cxstream.warehouse.store import Store
from cxstream.warehouse.views import definition
from view_rows import made_up, made_up_signals

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import httpx

PASSWORD = "correct horse battery"
# A formula for a spreadsheet, a way out of an attribute, an element, and a template.
HOSTILE = "=1+1\"'><xss onload=alert(1)>{{7*7}}"
CUSTOMER = f"{HOSTILE} person"
# What only agents see begins so.
PERSONAL = "personal"
OPEN = {"GET /healthz", "GET /sign-in", "POST /sign-in", "GET /static/{name}", "POST /preferences"}
API = "/api/v1"
# The least role that a route answers.
ROLES = {
    "GET /": Role.viewer,
    "GET /live": Role.viewer,
    "POST /sign-out": Role.viewer,
    "GET /find": Role.viewer,
    "GET /views": Role.viewer,
    "GET /views/{number}": Role.viewer,
    "POST /views": Role.viewer,
    "GET /rejected": Role.agent,
    "POST /rejected": Role.admin,
    "POST /work": Role.agent,
    "POST /erase": Role.admin,
    f"POST {API}/work": Role.agent,
    f"GET {API}/openapi.json": Role.viewer,
    f"GET {API}/views": Role.viewer,
    f"GET {API}/views/{{name}}": Role.viewer,
    f"GET {API}/views/{{name}}/customers": Role.agent,
    f"GET {API}/rules": Role.viewer,
    f"GET {API}/alerts": Role.viewer,
    f"GET {API}/queue": Role.agent,
    **dict.fromkeys(
        [
            f"GET /{name}{ending}"
            for name in (
                "alerts", "campaigns", "consistency", "empathy", "experiments", "journeys", "models", "quality", "rules", "service", "today",
                "touchpoints", "value", "voice",
            )
            for ending in ("", ".csv")
        ],
        Role.viewer,
    ),
    **dict.fromkeys(
        ["GET /customers", "GET /customers.csv", "GET /customers/{customer:path}", "GET /customers/{customer:path}.csv",
         "GET /queue", "GET /queue.csv"],
        Role.agent,
    ),
}  # fmt: skip
_NAMES = {"{number}": "none", "{name}": "voice", "{customer:path}": quote("c-1", safe="")}


def hostile(row: dict[str, Any]) -> dict[str, Any]:
    """A row with dangerous texts, those about persons with a mark."""
    texts = (
        "touchpoint",
        "product",
        "location",
        "segment",
        "campaign",
        "topic",
        "source",
        "reason",
        "stage",
        "action",
    )
    found = {name: f"{HOSTILE} {row[name]}" for name in texts if row.get(name)}
    found |= {
        name: f"{PERSONAL} {HOSTILE} {row[name]}" for name in ("agent", "session", "case_id") if row.get(name)
    }
    if row.get("hashtags"):
        found["hashtags"] = [HOSTILE]
    return {**row, **found, "id": f"{PERSONAL} {row['id']}"}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = made_up(7, 600, 12)
    cards = [card(n, "critical", 0.9 - n / 100) for n in range(1, 13)]
    places = [place_signal(1, "raised", rows[0]["time"], name=HOSTILE)]
    found = warehouse(
        tmp_path_factory.mktemp("roles") / "w.duckdb",
        [hostile(row) for row in rows],
        made_up_signals(7, rows, 60),
        cards,
        places,
    )
    with Store(found, Warehouse()) as store:
        run = store.connection.execute
        run("UPDATE customers SET customer = ? || customer WHERE customer_id > 1", [f"{PERSONAL} {HOSTILE} "])
        run(
            """INSERT INTO work BY NAME SELECT customer_id, 0 AS partition, 'note-1' AS item, 0 AS record, 'w' AS id, now()::TIMESTAMP AS time,
            ? AS by, ? AS text FROM customers""",
            [f"{PERSONAL} colleague", f"{PERSONAL} {HOSTILE}"],
        )
    return found


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("users") / "users.json"
    for role in Role:
        add_person(file, role.name, role.name, PASSWORD)
    return file


async def sign_in(client: httpx.AsyncClient, name: str) -> str:
    """Returns what the forms of the session carry."""
    client.cookies.clear()
    await client.post("/sign-in", data={"name": name, "password": PASSWORD}, headers=OWN)
    token = re.search('name="form_token" value="([^"]+)"', (await client.get("/today")).text)
    assert token is not None
    return token[1]


def routes() -> Iterator[str]:
    app: Any = create_app(Settings())
    while not isinstance(app, Starlette):
        app = app.app
    for route in app.routes:
        assert isinstance(route, Route), f"{route}: only routes have a role"
        yield from (f"{method} {route.path}" for method in route.methods or () if method != "HEAD")


def test_every_route_has_a_role() -> None:
    assert sorted(routes()) == sorted({*ROLES, *OPEN}), "declare the role of a new route in this file"


async def test_every_route_answers_its_roles_and_no_other(path: Path, users: Path) -> None:
    async with console(path, users_file=users, requests_per_minute=10_000) as client:
        for role in (None, *Role):
            token = await sign_in(client, role.name) if role is not None else ""
            for route, least in ROLES.items():
                method, address = route.split(" ")
                for name, value in _NAMES.items():
                    address = address.replace(name, value)
                if route == "POST /sign-out" or (route == "GET /live" and role is not None):
                    # The end of the session, and a stream without an end.
                    continue
                data = {"form_token": token, "customer": "c-99", "typed": "c-99", "do": "", "key": "k"}
                body = {"json": {}} if address.startswith(API) else {"data": data}
                answer = await client.request(
                    method, address, headers=OWN, **(body if method == "POST" else {})
                )
                if role is None:
                    assert answer.status_code in {303, 401}, route
                    assert answer.status_code == 401 or answer.headers["location"].startswith("/sign-in"), (
                        route
                    )
                elif role < least:
                    assert answer.status_code == 403, (role, route)
                else:
                    assert answer.status_code in {200, 302, 400, 404}, (role, route, answer.status_code)
                    assert not answer.headers.get("location", "").startswith("/sign-in"), route


def linked(answer: httpx.Response) -> list[str]:
    """Addresses of the console that a page leads to."""
    links = read(answer.text).links if answer.headers.get("content-type", "").startswith("text/html") else []
    return [
        each.partition("#")[0]
        for each in links
        if each.startswith("/") and not each.startswith(("//", "/static/"))
    ]


async def crawl(client: httpx.AsyncClient) -> dict[str, httpx.Response]:
    """Each page, and where its links lead: once for each set of parameters."""
    first = [route.split(" ")[1] for route in ROLES if route.startswith("GET ") and "{" not in route]
    first += ["/customers/c-1", "/customers/c-1.csv", f"{API}/views/voice/customers?of=detractors"]
    first += [f"{API}/views/{name}" for name in definition.names()]
    found = {address: await client.get(address) for address in first if address != "/live"}
    seen: set[tuple[Any, ...]] = set()
    for address in [each for answer in found.values() for each in linked(answer)]:
        parts = urlsplit(address)
        pairs = parse_qsl(parts.query)
        # Values of a few parameters choose another page; of the others, one is as good as the other.
        kind = (
            re.sub("^(/customers/).*", r"\1", parts.path),
            *sorted({(name, value if name in {"view", "table", "tab"} else "") for name, value in pairs}),
        )
        if kind not in seen and address not in found and ("period", "1d") not in pairs:
            seen.add(kind)
            found[address] = await client.get(address)
    return found


@pytest.mark.timeout(600)
async def test_stored_text_is_no_markup_and_no_formula_and_viewers_see_nobody(
    path: Path, users: Path
) -> None:
    async with console(path, users_file=users, requests_per_minute=100_000) as client:
        await sign_in(client, "admin")
        pages = await crawl(client)
        kinds = {"text/html; charset=utf-8": 0, "text/csv; charset=utf-8": 0, "application/json": 0}
        for address, answer in pages.items():
            assert answer.status_code in {200, 302, 400}, (address, answer.status_code, answer.text[-300:])
            kind = answer.headers.get("content-type", "")
            if kind in kinds:
                kinds[kind] += HOSTILE in unescape(answer.text).replace('\\"', '"').replace('""', '"')
            if kind.startswith("text/html"):
                assert "<xss" not in answer.text, address
                assert "49 " not in answer.text or "{{7*7}}" in unescape(answer.text), address
                assert read(answer.text).blocked == [], address
            if kind.startswith("text/csv"):
                cells = [cell for row in csv.reader(io.StringIO(answer.text)) for cell in row]
                formulas = [
                    cell for cell in cells if cell.lstrip().startswith(_FORMULA) and not _is_number(cell)
                ]
                assert formulas == [], address
        # The dangerous text was there.
        assert all(number > 5 for number in kinds.values()), kinds
        assert sum(PERSONAL in answer.text for answer in pages.values()) > 10
        await sign_in(client, "viewer")
        named = [f"/{page}?by=agent" for page in ("voice", "touchpoints", "service", "consistency")]
        named += [f"{API}/views/{name}?by=agent" for name in definition.names()]
        for address in [*pages, *named]:
            answer = await client.get(address)
            assert answer.status_code in {200, 302, 400, 403}, address
            # A refusal repeats its own address and nothing else.
            shown = "" if answer.status_code == 403 else answer.text
            assert PERSONAL not in shown, address
            assert re.search(r"\bc-\d", shown) is None, address


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

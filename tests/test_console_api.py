"""The console's API: the figures of `cxstream view`, for programs."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.routing import Route

from console_app import console, warehouse
from cxstream.console import api
from cxstream.console.api import PREFIX, description
from cxstream.console.app import create_app
from cxstream.console.people import add_program
from cxstream.model.errors import InputError
from cxstream.settings import Settings
from cxstream.warehouse.views import definition
from in_process import cxstream
from view_rows import made_up

if TYPE_CHECKING:
    from pathlib import Path

ROWS = made_up(5, 1500, 80)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse(tmp_path_factory.mktemp("api") / "w.duckdb", ROWS)


async def test_a_program_gets_what_the_command_shows(path: Path) -> None:
    options = (
        "--by",
        "channel",
        "--since",
        "2026-03-09",
        "--until",
        "2026-03-16",
        "--where",
        "topic!=invoice",
    )
    done = cxstream("view", "touchpoints", "--warehouse", path, *options, "--format", "json")
    async with console(path) as client:
        answer = await client.get(
            "/api/v1/views/touchpoints?by=channel&since=2026-03-09&until=2026-03-16&where=topic!=invoice"
        )
        assert answer.json()["rows"] == json.loads(done.stdout)
        assert answer.json()["since"] == "2026-03-09T00:00:00Z"
        kept = {"if-none-match": answer.headers["etag"]}
        assert (await client.get(str(answer.request.url), headers=kept)).status_code == 304
        cut = (await client.get("/api/v1/views/touchpoints?by=channel&limit=1&period=28d")).json()
        assert (len(cut["rows"]), cut["is_cut"]) == (1, True)


@pytest.mark.parametrize(
    "asked",
    ["touchpoints?by=channel,topic&grain=week", "journeys?columns=count", "voice?", "funnel?by=source"],
)
async def test_rows_of_a_view_come_in_pages(path: Path, asked: str) -> None:
    address = f"/api/v1/views/{asked}&period=28d"
    async with console(path) as client:
        whole = (await client.get(address)).json()
        assert (whole["is_cut"], whole["next_after"]) == (False, None)
        for limit in (1, 3):
            found, after = [], ""
            while after is not None and len(found) < 3 * limit:
                page = (await client.get(f"{address}&limit={limit}&after={after}")).json()
                assert len(page["rows"]) <= limit
                found += page["rows"]
                after = page["next_after"]
                assert page["is_cut"] == (after is not None)
            assert found == whole["rows"][: len(found)]
            assert len(found) == min(3 * limit, len(whole["rows"]))
        # Behind the last row but one stands the last one.
        if len(whole["rows"]) > 1:
            before = (await client.get(f"{address}&limit={len(whole['rows']) - 1}")).json()
            last = (await client.get(f"{address}&after={before['next_after']}")).json()
            assert (last["rows"], last["next_after"]) == (whole["rows"][-1:], None)
        wrong = await client.get(f"{address}&after=bm9uZQ")
        assert (wrong.status_code, "after=bm9uZQ" in wrong.json()["detail"]) == (400, True)


async def test_pages_of_rows_go_on_behind_those_that_are_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = "/api/v1/views/touchpoints?by=channel,topic&grain=week&period=28d"
    monkeypatch.setattr("cxstream.console.reader._AT_ONCE", 2)
    async with console(path) as client:
        whole = (await client.get(address)).json()["rows"]
        assert len(whole) > 12
        text = (await client.get(f"{address}&limit=3")).json()["next_after"]
        number, _, row = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).partition(b" ")
        # Where the rows have changed, the row is looked for.
        for moved, status in (
            *((each, 200) for each in (b"2", b"9", b"999999", number)),
            *((each, 400) for each in (b"0", b"x", b"-1", b"9" * 13)),
        ):
            text = base64.urlsafe_b64encode(moved + b" " + row).decode().rstrip("=")
            answer = await client.get(f"{address}&limit=2&after={text}")
            assert answer.status_code == status, moved
            assert status != 200 or answer.json()["rows"] == whole[3:5]
        monkeypatch.setattr("cxstream.console.api._KEPT_ROWS", 5)
        found: list[Any] = []
        after: str | None = ""
        while after is not None:
            page = (await client.get(f"{address}&limit=2&after={after}")).json()
            found, after = found + page["rows"], page["next_after"]
        assert found == whole


@given(rows=st.integers(1, 40), limit=st.integers(1, 12), kept=st.integers(1, 12), data=st.data())
async def test_a_page_is_whole_wherever_its_first_row_has_moved(
    rows: int, limit: int, kept: int, data: st.DataObject
) -> None:
    """Beside a list that is kept whole: nothing is left out behind the rows that are kept, and the row is found there, too."""
    whole = [{"name": n} for n in range(rows)]
    row, stood = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(1, rows + 3))

    class Asked:
        async def view(self, _: object, limit: int, skip: int = 0) -> list[dict[str, int]]:
            return whole[skip:limit]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "_KEPT_ROWS", kept)
        for name, wanted in ((row, whole[row + 1 : row + limit + 2]), (rows, None)):
            place = api._Place.of({"name": name}, ["name"], stood)
            asked = api._from(Asked(), None, ["name"], place, limit, {})  # type: ignore[arg-type]
            if wanted is None:
                with pytest.raises(InputError, match="is no row here"):
                    await asked
            else:
                assert await asked == (row + 1, wanted)


async def test_customers_come_in_pages(path: Path) -> None:
    address = "/api/v1/views/voice/customers?of=detractors&period=90d&limit=3"
    async with console(path) as client:
        after, seen = "", []
        while after is not None and len(seen) < len(ROWS):
            page = (await client.get(f"{address}&{urlencode({'after': after})}")).json()
            seen += [(each["rows"], each["customer"]) for each in page["customers"]]
            after = page["next_after"]
    wanted: dict[int, int] = {}
    for row in ROWS:
        if row["kind"] == "survey_nps" and row["score"] <= 6:
            wanted[row["customer_id"]] = wanted.get(row["customer_id"], 0) + 1
    assert seen == sorted(
        ((n, f"c-{each}") for each, n in wanted.items()), key=lambda pair: (-pair[0], pair[1])
    )


async def test_what_is_wrong_is_a_problem_document(path: Path, tmp_path: Path) -> None:
    async with console(path) as client:
        for query in (
            "by=nothing",
            "limit=0",
            "limit=x",
            "limit=" + "9" * 5000,
            "grain=year",
            "period=1y",
            "columns=none",
            "set=x",
        ):
            answer = await client.get(f"/api/v1/views/touchpoints?{query}")
            assert (answer.status_code, answer.headers["content-type"]) == (
                400,
                "application/problem+json",
            ), query
            assert answer.json()["detail"]
        assert (await client.get("/api/v1/views/none")).status_code == 400
        assert (await client.get("/api/v1/nothing")).headers["content-type"] == "application/problem+json"
    async with console(tmp_path / "missing") as client:
        assert (await client.get("/api/v1/views/touchpoints")).status_code == 503


async def test_a_program_has_a_token_and_a_role(path: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    tokens = {role: add_program(users, role, role) for role in ("viewer", "agent")}
    async with console(path, users_file=users) as client:
        assert (await client.get("/api/v1/views")).status_code == 401
        for role, status in (("viewer", 403), ("agent", 200)):
            headers = {"authorization": f"Bearer {tokens[role]}"}
            assert (await client.get("/api/v1/views/voice", headers=headers)).status_code == 200
            assert (await client.get("/api/v1/views/voice/customers", headers=headers)).status_code == status
            # A token is for the API alone.
            assert (await client.get("/today", headers=headers)).status_code == 303
        assert (await client.get("/api/v1/views", headers={"authorization": "Bearer x"})).status_code == 401


async def test_the_description_is_of_every_route_and_has_valid_schemas() -> None:
    document = description()
    app: Any = create_app(Settings())
    while not isinstance(app, Starlette):
        app = app.app
    routes = {
        (route.path, method.lower())
        for route in app.routes
        if isinstance(route, Route) and route.path.startswith(PREFIX)
        for method in route.methods or ()
        if method != "HEAD"
    } - {(f"{PREFIX}/openapi.json", "get")}
    said = {
        (path, method): each for path, found in document["paths"].items() for method, each in found.items()
    }
    assert said.keys() == routes
    # Of 3.1, schemas are JSON Schema of 2020-12.
    schemas = list(document["components"]["schemas"].values())
    for (path, _), each in said.items():
        names = [parameter["name"] for parameter in each["parameters"] if parameter["in"] == "path"]
        assert names == re.findall(r"{(\w+)}", path)
        schemas += [parameter["schema"] for parameter in each["parameters"]]
        bodies = [*each["responses"].values(), *([each["requestBody"]] if "requestBody" in each else [])]
        schemas += [kind["schema"] for body in bodies for kind in body.get("content", {}).values()]
        assert "default" in each["responses"]
    for schema in schemas:
        Draft202012Validator.check_schema(schema)
        if "$ref" in schema:
            assert schema["$ref"].removeprefix("#/components/schemas/") in document["components"]["schemas"]
    names = [each["operationId"] for each in said.values()]
    assert len(set(names)) == len(names)


async def test_every_problem_is_one_of_the_description(path: Path) -> None:
    validator = Draft202012Validator(description()["components"]["schemas"]["Problem"])
    async with console(path, requests_per_minute=4) as client:
        answers = [
            await client.get(f"{PREFIX}/{name}") for name in ("views/none", "nothing", "views/voice?by=x")
        ]
        answers += [await client.delete(f"{PREFIX}/views", headers={"sec-fetch-site": "same-origin"})]
        answers += [await client.get(f"{PREFIX}/views")]
    assert [each.status_code for each in answers] == [400, 404, 400, 405, 429]
    for each in answers:
        validator.validate(each.json())
        assert each.json()["status"] == each.status_code


async def test_the_description_names_every_view(path: Path) -> None:
    async with console(path) as client:
        document = (await client.get("/api/v1/openapi.json")).json()
        views = (await client.get("/api/v1/views")).json()["views"]
    assert document["openapi"].startswith("3.1")
    assert [each["name"] for each in views] == definition.names()
    (name,) = [
        each
        for each in document["paths"]["/api/v1/views/{name}"]["get"]["parameters"]
        if each["in"] == "path"
    ]
    assert name["schema"]["enum"] == definition.names()

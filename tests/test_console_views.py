"""Saved views: whose they are, what is kept of an address, their links; and what "Go to" finds for whom."""

from __future__ import annotations

import re
import stat
import string
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console_app import OWN, console, read, warehouse
from cxstream.console.people import add_person
from cxstream.console.saved import MOST, SavedViews, ViewsFileError
from cxstream.model.errors import InputError
from view_rows import touchpoint

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

PATHS = {"/voice", "/queue"}
ROWS = [touchpoint(customer_id=n, offset=n) for n in range(1, 15)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return warehouse(tmp_path / "w.duckdb", ROWS)


async def post(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    # As a form of a page has it.
    token = re.search(r'name="form_token" value="([^"]*)"', (await client.get("/views")).text)
    data = {"form_token": token[1] if token else "", "next": "/views", **fields}
    return await client.post("/views", data=data, headers=OWN)


async def test_a_view_is_saved_found_renamed_and_deleted(path: Path) -> None:
    async with console(path) as client:
        assert "No views are saved" in (await client.get("/views")).text
        address = "/voice?period=28d&where=channel%3Dweb"
        assert (await post(client, do="save", name=" Web <b>voice</b> ", address=address)).status_code == 303
        page = await client.get("/views")
        assert "Web &lt;b&gt;voice&lt;/b&gt;" in page.text
        link = next(each for each in read(page.text).links if "/views/" in each)
        answer = await client.get(link)
        assert (answer.status_code, answer.headers["location"]) == (302, address)
        number = link.rpartition("/")[2]
        # Each page offers it.
        assert address.replace("&", "&amp;") in (await client.get("/today")).text
        # The same name again: another view under the same link.
        await post(client, do="save", name="Web <b>voice</b>", address="/voice?period=7d")
        assert (await client.get(link)).headers["location"] == "/voice?period=7d"
        await post(client, do="rename", id=number, name="Głos")
        assert "Głos" in (await client.get("/find?q=GŁOS")).text
        await post(client, do="delete", id=number)
        assert (await client.get(link)).status_code == 404
        assert "Głos" not in (await client.get("/views")).text
    assert stat.S_IMODE((path.parent / "w.duckdb.views.json").stat().st_mode) == 0o600


async def test_pages_are_found_by_other_words_in_both_languages(path: Path) -> None:
    wanted = {
        "en": {
            "nps": "Voice",
            "CSAT": "Voice",
            "roi": "Campaigns",
            "reject": "Rejected records",
            "churn": "Models",
            "holdout": "Experiments",
            "clv": "Value",
        },
        "pl": {
            "nps": "Głos klienta",
            "churn": "Modele",
            "odejścia": "Podróże klientów",
            "lejek": "Podróże klientów",
        },
    }
    async with console(path) as client:
        for code, words in wanted.items():
            client.cookies.set("language", code)
            for word, title in words.items():
                page = (await client.get("/find", params={"q": word})).text
                hits = re.findall(r"<li><a href=\"[^\"]+\">([^<]+)</a>", page.partition("data-found")[2])
                assert title in hits, (code, word)
        assert "data-found" not in (await client.get("/find?q=xyzzy")).text


async def test_views_are_of_their_owner_and_links_of_everybody(tmp_path: Path, path: Path) -> None:
    users = tmp_path / "users.json"
    for name, role in (("ada", "agent"), ("vera", "viewer")):
        add_person(users, name, role, "long enough pw")  # type: ignore[arg-type]

    async with console(path, users_file=users) as client:

        async def sign_in(name: str) -> None:
            client.cookies.clear()
            await client.post("/sign-in", data={"name": name, "password": "long enough pw"}, headers=OWN)

        await sign_in("ada")
        await post(client, do="save", name="mine", address="/queue?level=critical")
        link = next(each for each in read((await client.get("/views")).text).links if "/views/" in each)
        found = (await client.get("/find?q=c-1")).text
        assert [each for each in read(found).links if each.startswith("/customers/")] == [
            "/customers/c-1", "/customers/c-10", "/customers/c-11", "/customers/c-12", "/customers/c-13", "/customers/c-14",
        ]  # fmt: skip
        await sign_in("vera")
        assert "mine" not in read((await client.get("/views")).text).text
        answer = await client.get(link)
        assert answer.headers["location"] == "/queue?level=critical"
        assert (await client.get(answer.headers["location"])).status_code == 403
        for do in ("rename", "delete"):
            wrong = await post(client, do=do, id=link.rpartition("/")[2], name="x")
            assert wrong.status_code == 400
        found = read((await client.get("/find?q=c-1")).text)
        assert not [each for each in found.links if each.startswith("/customers")]
        assert "/queue" not in read((await client.get("/find?q=")).text).links
        # A form of another session, or of another site, changes nothing.
        data = {"do": "save", "name": "x", "address": "/voice", "form_token": "other"}
        assert (await client.post("/views", data=data, headers=OWN)).status_code == 403
        assert (
            await client.post("/views", data=data, headers={"sec-fetch-site": "cross-site"})
        ).status_code == 403


@given(
    kept=st.lists(
        st.tuples(
            st.sampled_from(("period", "where", "sort", "x")),
            st.text(string.printable + "żß&=#?", max_size=9),
        ),
        max_size=5,
    ),
    personal=st.lists(
        st.tuples(st.sampled_from(("customer", "id", "after", "at")), st.text("c-1", max_size=5)), max_size=3
    ),
)
def test_an_address_is_kept_without_what_names_a_customer(
    tmp_path_factory: pytest.TempPathFactory, kept: list[tuple[str, str]], personal: list[tuple[str, str]]
) -> None:
    from urllib.parse import parse_qsl, urlencode, urlsplit

    views = SavedViews(tmp_path_factory.mktemp("views") / "v.json")
    found = views.save("anna", "name", f"/voice?{urlencode([*personal, *kept, *personal])}", PATHS)
    assert parse_qsl(urlsplit(found.address).query, keep_blank_values=True) == kept
    # Another process finds the same.
    assert SavedViews(views._path).of("anna") == [found]
    assert SavedViews(views._path).of("olek") == []


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("", "/voice"),
        ("x" * 81, "/voice"),
        ("a\nb", "/voice"),
        ("x", "//evil.example/voice"),
        ("x", "https://evil.example/voice"),
        ("x", "/customers/c-1"),
        ("x", "javascript:alert(1)"),
        ("x", "//["),
        ("x", "/voice?" + "a" * 2000),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, name: str, address: str) -> None:
    views = SavedViews(tmp_path / "v.json")
    with pytest.raises(InputError):
        views.save("anna", name, address, PATHS)
    assert not (tmp_path / "v.json").exists()


def test_a_person_has_only_so_many_and_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    views = SavedViews(tmp_path / "v.json")
    first = views.save("anna", "0", "/voice", PATHS)
    views._write({f"{n}": type(first)(f"{n}", "anna", f"{n}", "/voice", 0) for n in range(MOST)})
    with pytest.raises(InputError, match="delete one"):
        views.save("anna", "more", "/voice", PATHS)
    assert views.save("olek", "more", "/voice", PATHS).owner == "olek"
    (tmp_path / "v.json").write_text("{")
    with pytest.raises(ViewsFileError, match=r"views_file.*v\.json"):
        views.of("anna")
    with pytest.raises(ViewsFileError, match="views_file"):
        SavedViews(tmp_path / "nowhere" / "v.json").save("anna", "x", "/voice", PATHS)


async def test_a_file_that_cannot_be_used_is_not_taken_for_that_of_the_users(
    path: Path, tmp_path: Path
) -> None:
    async with console(path, views_file=tmp_path / "nowhere" / "v.json") as client:
        answer = await post(client, do="save", name="x", address="/voice")
    assert answer.status_code == 503
    text = read(answer.text).text
    assert "Saved views cannot be read or kept" in text
    assert "console.views_file" in text
    assert "sign in" not in text


@pytest.mark.parametrize("broken", [b"{", b'{"views": [{"id": "\xff"}]}'])
async def test_a_file_that_cannot_be_read_takes_no_page_away(
    path: Path, tmp_path: Path, broken: bytes
) -> None:
    file = tmp_path / "v.json"
    file.write_bytes(broken)
    async with console(path, views_file=file) as client:
        for address in ("/today", "/views", "/find?q=x"):
            answer = await client.get(address)
            assert answer.status_code == 200
            if address != "/find?q=x":
                assert "console.views_file" in read(answer.text).text
                assert "put back a copy of the file" in read(answer.text).text
        # Nor is it written over.
        token = {"do": "save", "name": "x", "address": "/voice", "next": "/views"}
        assert (await client.post("/views", data=token, headers=OWN)).status_code == 503
        assert file.read_bytes() == broken
        file.unlink()
        assert "No views are saved" in (await client.get("/views")).text

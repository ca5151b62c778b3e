"""Pages are made once for all who look at them: the same as if each were made for itself, and no more memory than is said."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from markupsafe import escape

from console_app import OWN, card, console, warehouse
from cxstream.console import navigation, results
from cxstream.console.copies import Copies
from cxstream.console.following import Shared
from cxstream.console.language import language
from cxstream.console.people import add_person
from cxstream.console.reader import Reader
from cxstream.settings import Settings
from cxstream.warehouse.ingest import Ingest
from test_work import batch, work
from view_rows import START, fill, made_up, touchpoint
from workers import until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from cxstream.console.reader import Row

PASSWORD = "correct horse battery"
PAGES = sorted(page.path for page in navigation.found().values() if page.is_shared)


class Counted(Copies):
    """Counts what is made; makes all for itself where `is_off`."""

    made = 0
    is_off = False

    async def of(self, state: Any, key: Any, make: Callable[[], Coroutine[Any, Any, str]]) -> str:
        async def counted() -> str:
            Counted.made += 1
            return await make()

        return await (counted() if self.is_off else super().of(state, key, counted))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[Counted]:
    monkeypatch.setattr("cxstream.console.app.Copies", Counted)
    monkeypatch.setattr(Counted, "made", 0)
    # The minute does not end meanwhile.
    monkeypatch.setattr("cxstream.console.work.now", lambda: datetime(2026, 11, 1))  # noqa: DTZ001 - UTC without a zone
    return Counted


@pytest.mark.timeout(300)
async def test_everybody_sees_what_they_would_see_alone(
    tmp_path: Path, counted: type[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    users, rows = tmp_path / "users.json", made_up(3, 60, 20)
    path = warehouse(tmp_path / "w.duckdb", rows, (), [card(1, "high", 0.7)])
    roles = {"<b>&1": "viewer", "olek": "viewer", "eva": "agent", "ada": "agent", "adam": "admin"}
    for name, role in roles.items():
        add_person(users, name, role, PASSWORD)  # type: ignore[arg-type]
    known = set()
    async with console(path, users_file=users, requests_per_minute=100_000) as client:
        for name, language, theme, query in (
            *((name, "en", "", "") for name in roles),
            *((name, "en", "", "?period=28d&where=channel%3Dweb") for name in ("olek", "<b>&1")),
            ("olek", "en", "dark", ""),
            ("olek", "pl", "", ""),
        ):
            client.cookies.clear()
            form = {"name": name, "password": PASSWORD}
            assert (await client.post("/sign-in", data=form, headers=OWN)).status_code == 303
            token = re.search('name="form_token" value="([^"]+)"', (await client.get("/views")).text)
            assert token is not None
            view = {"do": "save", "name": f"of <{name}>", "address": "/voice", "form_token": token[1]}
            assert (await client.post("/views", data=view, headers=OWN)).status_code == 303
            client.cookies.update({"language": language, "theme": theme})
            # Only the first of a role has it made, and who looks alone.
            asked = roles[name], language, theme, query
            most = 1 + (asked not in known)
            known.add(asked)
            for page in PAGES:
                alone, before = {}, counted.made
                for is_off in (False, True):
                    monkeypatch.setattr(Counted, "is_off", is_off)
                    answer = await client.get(f"{page}{query}")
                    assert answer.status_code == 200, page
                    alone[is_off] = answer.text
                assert alone[False] == alone[True], page
                assert counted.made - before == most, page
                assert "mark-" not in alone[False]
                assert token[1] in alone[False]
                assert f"of &lt;{escape(name)}&gt;" in alone[False]


async def test_what_has_come_is_seen_at_once_and_asked_for_once_by_all(
    tmp_path: Path, counted: type[Counted]
) -> None:
    path = warehouse(
        tmp_path / "w.duckdb", made_up(3, 60, 20), (), [card(n, "high", 0.9 - n / 10) for n in (1, 2)]
    )
    with Shared(path, Settings().warehouse) as store:
        async with console(path, source=store) as client:
            pages = await asyncio.gather(*(client.get("/today") for _ in range(20)))
            assert {page.status_code for page in pages} == {200}
            assert len({page.text for page in pages}) == 1
            assert counted.made == 1
            Ingest(store).apply(batch((0, 0, *work("c-1", "snooze", 0, until="2027-01-01T00:00:00Z"))))
            later = await asyncio.gather(*(client.get("/today") for _ in range(20)))
            assert counted.made == 2
            assert {"1 snoozed customer is left out" in page.text for page in later} == {True}
            assert "snoozed customer" not in pages[0].text


async def test_what_comes_while_a_page_is_asked_for_is_in_the_next_one(
    tmp_path: Path, counted: type[Counted], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, later = warehouse(tmp_path / "w.duckdb", made_up(3, 60, 20)), START + timedelta(days=200)
    with Shared(path, Settings().warehouse) as store:
        read = Reader.sql

        async def sql(reader: Reader, text: str, values: dict[str, Any] | None = None) -> list[Row]:
            found = await read(reader, text, values)
            if "min(time)" in text and not store.version:
                # The period of the page is known, and its figures are not read yet.
                with store.transaction():
                    fill(store.connection, [touchpoint(offset=99_999, time=later)])
            return found

        monkeypatch.setattr(Reader, "sql", sql)
        forget, dropped = Reader.forget, []
        monkeypatch.setattr(
            Reader, "forget", lambda reader, **which: (forget(reader, **which), dropped.append(which))
        )
        async with console(path, source=store) as client:
            pages = [(await client.get("/today")).text for _ in range(2)]
            # What is of the state before is dropped once the console sees that it has changed.
            await until(lambda: dropped, 60, lambda: "nothing is dropped")
            pages.append((await client.get("/today")).text)
            assert counted.made == 2
    newest = f"Data up to {language('en').moment(later)}"
    assert [newest in page for page in pages] == [False, True, True]


class Maker:
    """Makes pages when it may.

    Attributes:
        begun: how many.
        ended: how many ended by themselves.
        may_end: holds them up.
        fails: how often it will.
    """

    def __init__(self) -> None:
        self.begun = self.ended = self.fails = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> str:
        self.begun += 1
        number = self.begun
        await self.may_end.wait()
        self.ended += 1
        if self.fails:
            self.fails -= 1
            raise ValueError("no page")
        return str(number)


async def test_who_leaves_takes_nothing_from_those_who_stay() -> None:
    copies, make = Copies(), Maker()
    first, second = (asyncio.create_task(copies.of(1, "a", make)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    make.may_end.set()
    assert (await second, make.begun) == ("1", 1)
    assert (await copies.of(1, "a", make), make.begun) == ("1", 1)


async def test_what_nobody_waits_for_is_stopped_and_made_anew_for_the_next() -> None:
    copies, make = Copies(), Maker()
    alone = asyncio.create_task(copies.of(1, "a", make))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert make.begun == 1
    alone.cancel()
    await asyncio.gather(alone, return_exceptions=True)
    make.may_end.set()
    assert (await copies.of(1, "a", make), make.begun, make.ended) == ("2", 2, 1)


async def test_what_fails_is_told_to_all_and_not_kept() -> None:
    copies, make = Copies(), Maker()
    make.fails = 1
    make.may_end.set()
    told = await asyncio.gather(*(copies.of(1, "a", make) for _ in range(3)), return_exceptions=True)
    assert [str(each) for each in told] == ["no page"] * 3
    assert (make.begun, copies.characters) == (1, 0)
    assert await copies.of(1, "a", make) == "2"


async def test_a_page_that_was_begun_before_a_change_is_not_kept_after_it() -> None:
    copies, make = Copies(), Maker()
    early = asyncio.create_task(copies.of(1, "a", make))
    await asyncio.sleep(0)
    late = asyncio.create_task(copies.of(2, "a", make))
    await asyncio.sleep(0)
    make.may_end.set()
    assert (await early, await late) == ("1", "2")
    assert await copies.of(2, "a", make) == "2"


async def test_pages_take_no_more_memory_than_is_said() -> None:
    copies, made = Copies(100), []

    def page(number: int) -> Callable[[], Coroutine[Any, Any, str]]:
        async def make() -> str:
            made.append(number)
            return "x" * 30

        return make

    for n in (1, 2, 3, 1, 4):
        await copies.of(1, n, page(n))
        assert copies.characters <= 100
    await copies.of(1, 1, page(1))
    await copies.of(1, 2, page(2))
    # The one that nobody had asked for longest is gone.
    assert made == [1, 2, 3, 4, 2]
    assert len(await copies.of(1, 9, page(9))) == 30


async def test_a_page_that_was_begun_before_pages_were_forgotten_is_not_kept() -> None:
    copies, read, goes_on, made = Copies(), asyncio.Event(), asyncio.Event(), []

    async def begun_before() -> str:
        read.set()
        await goes_on.wait()
        return "names c-1"

    async def after() -> str:
        made.append("page")
        return "page"

    first = asyncio.create_task(copies.of(1, "key", begun_before))
    await read.wait()
    copies.forget()
    # Nor does who asks now wait for it.
    assert await asyncio.wait_for(copies.of(1, "key", after), 60) == "page"
    goes_on.set()
    assert await first == "names c-1"
    copies.forget()
    assert await copies.of(1, "key", after) == "page"
    assert await copies.of(1, "key", after) == "page"
    assert made == ["page", "page"]
    # The one that nobody else asks for meanwhile.
    read.clear()
    goes_on.clear()
    first = asyncio.create_task(copies.of(1, "other", begun_before))
    await read.wait()
    copies.forget()
    goes_on.set()
    assert await first == "names c-1"
    assert copies.characters == 0


async def test_nothing_that_names_a_customer_is_kept_once_an_erasure_is_asked_for_or_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = warehouse(tmp_path / "w.duckdb", made_up(3, 60, 20), (), [card(1, "high", 0.7)])
    monkeypatch.setattr("cxstream.console.app._FORGET_SECONDS", 0.01)
    monkeypatch.setenv("CXSTREAM_KAFKA", "nowhere:1")
    readers: list[Reader] = []

    class Watched(Reader):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            readers.append(self)

        def named(self) -> bool:
            return any("c-1" in repr(each.value) for each in self._results._kept.values())

    async def sent(*_: object) -> None:
        """Kafka has it."""

    monkeypatch.setattr("cxstream.console.app.Reader", Watched)
    monkeypatch.setattr("cxstream.console.outlet.Outlet.send", sent)
    with Shared(path, Settings().warehouse) as store:
        async with console(path, source=store) as client:
            (reader,) = readers
            assert (await client.get("/customers/c-1")).status_code == 200
            assert reader.named()
            erasure = {"customer": "c-1", "typed": "c-1", "key": "k"}
            assert (await client.post("/erase", data=erasure, headers=OWN)).status_code == 303
            await until(lambda: not reader.named(), 60, lambda: "a result still names the customer")
            assert (await client.get("/customers/c-1")).status_code == 200
            assert reader.named()
            # The erasure is done, and nobody asks for anything.
            with store.transaction():
                pass
            await until(lambda: not reader.named(), 60, lambda: "a result still names the customer")


async def test_a_page_says_that_newer_figures_could_not_be_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_SLOW_SECONDS", 0.0)
    kept = results.Results(3, 300)
    kept.keep("key", results.Kept("before", 1, 1.0, 0.0, is_figures=True), "before")
    monkeypatch.setattr(results.Kept, "age", property(lambda _: 2.0))

    def asked() -> tuple[float, bool]:
        with results.page(results.LARGE) as served:
            kept.older("key")
        return served.age, served.has_failed

    assert asked() == (2.0, False)
    kept.failed("key")
    assert asked() == (2.0, True)
    kept.keep("key", results.Kept("now", 2, 1.0, 0.0, is_figures=True), "now")
    assert asked() == (2.0, False)
    # Of a result that is not kept, nothing is remembered.
    for n in range(3):
        kept.keep(n, results.Kept("now", n, 1.0, 0.0, is_figures=n > 0), "now")
    kept.failed("key")
    kept.failed(0)
    assert kept._failed == {0}
    kept.forget()
    assert kept._failed == set()

"""The console: pages over the read model, in process. Figures on the pages are those of independent SQL."""

from __future__ import annotations

import asyncio
import csv
import io
import threading
from dataclasses import replace
from datetime import timedelta
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from console_app import HOST, OWN, away, card, console, place_signal, read, warehouse
from cxstream.console import assets, navigation, results
from cxstream.console.following import Shared
from cxstream.console.live import Live
from cxstream.console.metrics import ConsoleMetrics
from cxstream.console.reader import Reader, TooSlowError
from cxstream.console.scope import DEFAULT, PERIODS
from cxstream.console.tables import Table, as_csv
from cxstream.settings import Console, Warehouse
from cxstream.warehouse.views.selection import Selection
from view_rows import START, fill, made_up, made_up_signals, touchpoint

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

ROWS = made_up(7, 3000, 150)
SIGNALS = made_up_signals(7, ROWS, 400)
LEVELS = ("none", "elevated", "high", "critical")
WORTH = {"p_alive": 0.7, "clv": 90.0, "value_at_risk": 40.0}
CARDS = [{**card(n, LEVELS[n % 4], 0.5 + n / 1000), **WORTH} for n in range(1, 151)]
PAGES = [page for page in navigation.found().values() if "{" not in page.path]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    places = [place_signal(1, "raised", START + timedelta(days=18))]
    return warehouse(tmp_path_factory.mktemp("console") / "w.duckdb", ROWS, SIGNALS, CARDS, places)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse(tmp_path_factory.mktemp("empty") / "w.duckdb", [])


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture(scope="module")
def followed() -> set[str]:
    """The paths of links that a page has led to already: most pages share most of them."""
    return set()


@pytest.mark.parametrize("language", ["en", "pl"])
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_a_page_is_whole_and_leads_nowhere_wrong(
    path: Path, page: Any, language: str, followed: set[str]
) -> None:
    async with console(path) as client:
        answer = await client.get(page.path, headers={"accept-language": language})
        assert answer.status_code == 200, answer.text
        found = read(answer.text)
        assert f'<html lang="{language}"' in answer.text
        assert "{n}" not in found.text
        assert "%(" not in found.text
        assert found.blocked == []
        # One link to each page.
        links = {link.partition("?")[0]: link.partition("#")[0] for link in found.links if link[:1] == "/"}
        for place in links.keys() - followed:
            assert (await client.head(links[place])).status_code in {200, 302}, links[place]
            followed.add(place)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_a_page_without_data_says_so(empty: Path, page: Any) -> None:
    async with console(empty) as client:
        answer = await client.get(page.path)
        assert answer.status_code == 200
        if page.scoped:
            assert "No touchpoints yet" in answer.text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
async def test_tables_of_a_page_can_be_downloaded(path: Path, page: Any) -> None:
    async with console(path) as client:
        for name in page.tables:
            answer = await client.get(f"{page.path}.csv", params={"table": name})
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/csv")
            heads, *rows = csv.reader(io.StringIO(answer.text))
            assert heads
            # Models follows customers for 30 days; the data have three weeks.
            assert rows or page.name == "models"
        if page.tables:
            assert (await client.get(f"{page.path}.csv?table=none")).status_code == 404


async def test_touchpoints_are_those_of_the_period(path: Path) -> None:
    async with console(path) as client:
        answer = await client.get("/touchpoints.csv?table=places&since=2026-03-09&until=2026-03-16")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    wanted = asked(
        path,
        """
        SELECT channel, touchpoint, count(*), count(DISTINCT customer_id), avg(effort::DOUBLE)
        FROM touchpoints WHERE time >= '2026-03-09' AND time < '2026-03-16' GROUP BY ALL
        """,
    )
    found = {(row["channel"], row["touchpoint"] or None): row for row in rows}
    assert len(found) == len(wanted)
    for channel, place, visits, customers, effort in wanted:
        row = found[channel, place]
        assert (int(row["touchpoints"]), int(row["customers"])) == (visits, customers)
        assert float(row["effort"]) == pytest.approx(effort)
        before = asked(
            path,
            f"""
            SELECT avg(effort::DOUBLE) FROM touchpoints WHERE time >= '2026-03-02' AND time < '2026-03-09'
            AND channel = '{channel}' AND touchpoint IS NOT DISTINCT FROM {"NULL" if place is None else "'" + place.replace("'", "''") + "'"}
            """,
        )
        assert float(row["effort_change"]) == pytest.approx(effort - before[0][0])


async def test_today_says_how_customers_are(path: Path) -> None:
    async with console(path) as client:
        page = (await client.get("/today?since=2026-03-16&until=2026-03-23")).text
    found = read(page)
    means = []
    for since in (16, 9):
        last: dict[int, Any] = {}
        for row in ROWS:
            if START.replace(day=since) <= row["time"] < START.replace(day=since + 7):
                known = last.get(row["customer_id"])
                last[row["customer_id"]] = row if known is None or row["time"] >= known["time"] else known
        means.append(
            [fmean(row[name] for row in last.values()) for name in ("effort_after", "satisfaction_after")]
        )
    for mean in means[0]:
        assert f"{mean:.1f}" in found.text
    at = {}
    for signal in sorted(
        SIGNALS, key=lambda each: (each["time"], each["partition"], each["offset"], each["n"])
    ):
        if signal["time"] < START.replace(day=23):
            at[signal["customer_id"]] = signal["level"]
    gone = away(ROWS, START.replace(day=23))
    risky = sum(level in {"high", "critical"} and customer not in gone for customer, level in at.items())
    assert f'<a href="/customers?at_risk=1">{risky}</a>' in page
    calls = found.tables[0]
    gone = away(ROWS)
    assert [row[1] for row in calls[1:]] == [
        f"c-{n}" for n in range(150, 0, -1) if n % 4 >= 2 and n not in gone
    ][:8]
    assert calls[1][4] == "0.65"
    assert "Call first now" not in page


async def test_whom_to_call_is_a_matter_of_now(path: Path) -> None:
    async with console(path) as client:
        pages = [
            read((await client.get(f"/today?since=2026-03-{day:02}&until=2026-03-{day + 5}")).text)
            for day in (9, 18)
        ]
    assert pages[0].tables[0] == pages[1].tables[0]
    assert ["Call first now" in page.text for page in pages] == [True, False]
    assert (
        "at risk now, not when the period ended; nothing done since the signal first, then most money at risk first"
        in pages[0].text
    )


async def test_part_of_a_period_is_compared_with_nothing(path: Path) -> None:
    first, last = (choose(row["time"] for row in ROWS) for choose in (min, max))
    half = (last - first) / 2
    async with console(path) as client:
        for since, is_whole in ((last - half, True), (last - 1.5 * half, False)):
            page = (await client.get(f"/today?since={since:%Y-%m-%d}&until={last:%Y-%m-%d}")).text
            assert ("there is no period before" not in page) == is_whole
            assert is_whole or "▲" not in page + page.replace("▼", "▲")


async def test_customers_at_risk_come_in_pages(path: Path) -> None:
    async with console(path) as client:
        first = read((await client.get("/customers?at_risk=1")).text)
        link = next(each for each in first.links if each.startswith("/customers?") and "after=" in each)
        second = read((await client.get(link)).text)
    shown = [row[0] for page in (first, second) for row in page.tables[0][1:]]
    assert shown == [f"c-{n}" for n in range(150, 0, -1) if n % 4 >= 2 and n not in away(ROWS)]


async def test_the_margin_of_a_place_counts_customers_not_visits(tmp_path: Path) -> None:
    # Each of ten customers has the same visit a hundred times: there are ten answers, not a thousand.
    rows = [
        touchpoint(customer_id=customer, offset=100 * customer + n, effort=float(customer % 2))
        for customer in range(1, 11)
        for n in range(100)
    ]
    async with console(warehouse(tmp_path / "w.duckdb", rows)) as client:
        answer = await client.get("/touchpoints.csv?table=places")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert float(row["effort"]) == 0.5
    assert float(row["effort_margin"]) == pytest.approx(1.959963984540054 * (10 / 9 * 0.25 / 10) ** 0.5)


async def test_a_number_opens_to_its_customers(path: Path) -> None:
    async with console(path) as client:
        page = read((await client.get("/touchpoints")).text)
        table = page.tables[1]
        links = [link for link in page.links if link.startswith("/customers?") and "of=customers" in link]
        # The first is that of the chosen cell.
        for row, link in list(zip(table[1:], links[1:], strict=False))[:3]:
            found = await client.get(link.replace("/customers?", "/customers.csv?"))
            assert len(list(csv.DictReader(io.StringIO(found.text)))) == int(row[2].replace(",", ""))


async def test_customers_come_in_pages(path: Path) -> None:
    async with console(path) as client:
        link, seen = "/customers?since=2026-03-02&until=2026-03-23", []
        while link and len(seen) <= len(ROWS):
            page = read((await client.get(link)).text)
            seen += [row[0] for row in page.tables[0][1:]]
            link = next(
                (each for each in page.links if each.startswith("/customers?") and "after=" in each), ""
            )
    assert len(seen) == len(set(seen)) == len({row["customer_id"] for row in ROWS})


async def test_what_is_asked_wrongly_is_said(path: Path) -> None:
    async with console(path) as client:
        for query in (
            "period=1y",
            "since=x&until=y",
            "since=2026-03-09&until=2026-03-02",
            "where=nothing",
            "where=a=b",
        ):
            answer = await client.get(f"/touchpoints?{query}")
            assert answer.status_code == 400, query
            assert "This address does not fit" in answer.text
        for address in (
            *(
                "/customers?after=x",
                "/customers?view=none",
                "/touchpoints?measure=none",
                "/journeys?who=nobody",
            ),
            *(
                "/journeys?per=visit",
                "/campaigns?credit=half",
                "/value?band=mood",
                "/queue?state=gone",
                "/voice?by=weather",
            ),
        ):
            assert (await client.get(address)).status_code == 400, address
        assert (await client.get("/nothing")).status_code == 404


async def test_filters_stand_in_the_address(path: Path) -> None:
    async with console(path) as client:
        answer = await client.get("/touchpoints.csv?where=channel=web,app&where=topic!=invoice")
        page = await client.get("/touchpoints?where=channel=web,app")
    assert {row["channel"] for row in csv.DictReader(io.StringIO(answer.text))} == {"web", "app"}
    assert "where=channel%3Dweb%2Capp" in page.text


async def test_a_file_that_cannot_be_read_is_a_state_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("nothing")
    async with console(tmp_path / "missing") as client:
        answer = await client.get("/touchpoints")
        assert (answer.status_code, "cannot be read" in answer.text) == (503, True)
    async with console(tmp_path / "other") as client:
        assert (await client.get("/touchpoints")).status_code == 503


async def test_what_is_stored_never_becomes_markup_or_a_formula(tmp_path: Path) -> None:
    bad = "<script>alert(1)</script>"
    rows = [
        touchpoint(customer_id=n, offset=n, channel=bad, touchpoint="=1+1", stage=bad, effort=1.0)
        for n in range(1, 30)
    ]
    async with console(warehouse(tmp_path / "w.duckdb", rows)) as client:
        for page in PAGES:
            text = (await client.get(page.path)).text
            assert bad not in text
        text = (await client.get("/touchpoints.csv?table=places")).text
    assert "'=1+1" in text
    for start in ("=", "+", "-", "@", "\t", " ="):
        assert (
            as_csv(Table("t", [{"a": start + "1", "b": -1}]))
            .decode()
            .splitlines()[1]
            .lstrip('"')
            .startswith("'")
        )


async def test_the_language_and_the_theme_are_kept(path: Path) -> None:
    async with console(path) as client:
        for name, value, mark in (
            ("theme", "dark", 'data-theme="dark"'),
            ("language", "pl", '<html lang="pl"'),
        ):
            answer = await client.post(
                "/preferences", data={name: value, "next": "/touchpoints?period=28d"}, headers=OWN
            )
            assert (answer.status_code, answer.headers["location"]) == (303, "/touchpoints?period=28d")
            assert mark in (await client.get("/touchpoints")).text
        for elsewhere in ("https://example.org/", "//example.org", "/\\example.org", "javascript:alert(1)"):
            answer = await client.post("/preferences", data={"next": elsewhere}, headers=OWN)
            assert answer.headers["location"] == "/"


async def test_other_sites_and_other_names_get_nothing(path: Path) -> None:
    async with console(path) as client:
        assert (await client.get("/touchpoints", headers={"host": "evil.example"})).status_code == 421
        for headers in (
            {},
            {"sec-fetch-site": "cross-site"},
            {"origin": "https://evil.example"},
            {"origin": "http://["},
        ):
            assert (
                await client.post("/preferences", data={"theme": "dark"}, headers=headers)
            ).status_code == 403
        assert (await client.post("/preferences", data={}, headers={"origin": HOST})).status_code == 303


async def test_every_answer_carries_a_strict_policy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with console(path) as client:
        for address in ("/touchpoints", "/nothing", "/healthz", "/touchpoints.csv"):
            answer = await client.get(address)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert answer.headers["cache-control"] == "no-store"
        # A defect, too.
        monkeypatch.setattr("cxstream.console.scope.parse", lambda *_: 1 / 0)
        answer = await client.get("/touchpoints")
        assert (answer.status_code, "content-security-policy" in answer.headers) == (500, True)
        assert "division" not in answer.text


async def test_assets_are_kept_for_a_year_under_a_name_of_their_content(path: Path) -> None:
    async with console(path) as client:
        answer = await client.get(assets.url("console.css"))
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-type"].startswith("text/css")
        assert (await client.get("/static/console.css")).status_code == 404


async def test_a_query_is_stopped_at_its_time_limit(path: Path) -> None:
    reader = Reader(path, Warehouse(), Console(query_seconds=2))
    try:
        with pytest.raises(TooSlowError):
            await reader.sql("SELECT count(*) FROM range(100000000000) AS a")
        # The thread is free again, after a moment that may be long on a busy machine.
        reader._console = Console(query_seconds=120)
        assert await reader.sql("SELECT 1 AS one") == [{"one": 1}]
    finally:
        reader.close()


async def test_a_query_that_nobody_waits_for_is_stopped(path: Path) -> None:
    reader = Reader(path, Warehouse(), Console(queries=1))
    try:
        waiting = asyncio.create_task(reader.sql("SELECT count(*) FROM range(100000000000) AS a"))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await reader.sql("SELECT 1 AS one") == [{"one": 1}]
    finally:
        reader.close()


async def test_work_is_stopped_between_two_queries(path: Path) -> None:
    """Kernels work between queries of one cursor; DuckDB forgets an interrupt when the next query begins."""
    reader = Reader(path, Warehouse(), Console(queries=1))
    begun, stopped = threading.Event(), threading.Event()

    def work(connection: duckdb.DuckDBPyConnection) -> None:
        cursor = connection.cursor()
        begun.set()
        stopped.wait(60)
        cursor.execute("SELECT count(*) FROM range(100000000000) AS a")

    try:
        waiting = asyncio.create_task(reader.job(work))
        await asyncio.to_thread(begun.wait, 60)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        stopped.set()
        assert await reader.sql("SELECT 1 AS one") == [{"one": 1}]
    finally:
        reader.close()


async def test_results_are_kept_until_the_file_changes(tmp_path: Path) -> None:
    path = warehouse(tmp_path / "w.duckdb", [touchpoint()])
    reader = Reader(path, Warehouse(), Console(release_seconds=0))
    try:
        sql = "SELECT count(*) AS n FROM touchpoints"
        first = await reader.sql(sql)
        assert await reader.sql(sql) is first
        await asyncio.sleep(0.05)
        reader._file.release()
        # The file is free for a writer now.
        path.unlink()
        warehouse(path, [touchpoint(offset=n, time=START + timedelta(hours=n)) for n in range(3)])
        assert await reader.sql(sql) == [{"n": 3}]
    finally:
        reader.close()


async def test_a_page_shows_the_last_figures_of_a_slow_query_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = warehouse(tmp_path / "w.duckdb", [touchpoint()])

    async def seen(client: httpx.AsyncClient) -> tuple[bool, bool]:
        text = read((await client.get("/quality")).text).text
        return "Some figures are from" in text, "source-7" in text

    monkeypatch.setattr(results, "LARGE", 1)
    monkeypatch.setattr(results, "_SLOW_SECONDS", 0.0)
    monkeypatch.setattr(results, "_PAUSE", 0)
    rows = [touchpoint(offset=n, source=f"source-{n}") for n in range(1, 9)]
    with Shared(path, Warehouse()) as store:
        async with console(path, source=store) as client:
            assert await seen(client) == (False, False)
            assert await seen(client) == (False, False)
            with store.transaction():
                fill(store.connection, rows)
            assert await seen(client) == (True, False)
            async with asyncio.timeout(60):
                now = await seen(client)
                while now[0]:
                    await asyncio.sleep(0.05)
                    now = await seen(client)
            assert now == (False, True)
            # What an API or a table gives is of the last commit.
            with store.transaction():
                fill(store.connection, [touchpoint(offset=99, source="source-99")])
            assert "source-99" in (await client.get("/api/v1/views/quality?by=source")).text
        monkeypatch.setattr(results, "LARGE", 1000)
        async with console(path, source=store) as client:
            await seen(client)
            with store.transaction():
                fill(store.connection, [touchpoint(offset=100)])
            assert (await seen(client))[0] is False


async def test_what_names_customers_is_not_remembered_after_a_change(tmp_path: Path) -> None:
    path = warehouse(tmp_path / "w.duckdb", [touchpoint(), touchpoint(customer_id=2, offset=1)])
    with Shared(path, Warehouse()) as store:
        reader = Reader(path, Warehouse(), Console(), source=store)
        try:
            await reader.view("quality", Selection())
            await reader.sql("SELECT customer FROM customers")
            assert "c-2" in str(reader._results._kept)
            with store.transaction():
                # Such as an erasure.
                pass
            await reader.check()
            assert "c-2" not in str(reader._results._kept)
            # Figures are.
            assert [each.is_figures for each in reader._results._kept.values()] == [True, False]
        finally:
            reader.close()


async def test_pages_of_a_large_read_model_are_made_ahead(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "LARGE", len(ROWS))
    shown: list[tuple[str, str]] = []
    pages = [page for page in PAGES if page.name in {"quality", "today", "models"}]
    expected = {(page.name, period) for page in pages if page.scoped for period in PERIODS}
    expected.add(("models", DEFAULT))
    made = asyncio.Event()

    async def show(page: Any, ask: Any) -> dict[str, Any]:
        found = await page.show(ask)
        shown.append((page.name, ask.scope.period))
        if len(shown) == len(expected):
            made.set()
        return dict(found)

    watched = {page.name: replace(page, show=partial(show, page)) for page in pages}
    monkeypatch.setattr(navigation, "found", lambda: watched)
    metrics = ConsoleMetrics()
    async with console(path, metrics=metrics, is_served=True) as client:
        async with asyncio.timeout(60):
            await made.wait()
        answered = queries(metrics, "answered")
        for page in pages:
            assert (await client.get(page.path)).status_code == 200
        for period in PERIODS:
            assert (await client.get(f"/quality?period={period}")).status_code == 200
        # What depends on the moment is asked again.
        assert queries(metrics, "answered") - answered < len(pages)
    assert set(shown[: len(expected)]) == expected
    # The default comes first.
    assert {period for _, period in shown[: len(pages)]} == {DEFAULT}


def queries(metrics: ConsoleMetrics, outcome: str) -> float:
    return metrics.registry.get_sample_value("cxstream_console_queries_total", {"outcome": outcome}) or 0.0


async def test_open_pages_are_told_of_changes_and_are_never_silent() -> None:
    state = ["a"]
    live = Live(lambda: tuple(state), seconds=0.001, heartbeat=0.05)
    events = live.events()
    first = await anext(events)
    assert first.startswith("retry: ")
    assert await anext(events) == ": still here\n\n"
    state[0] = "b"
    async with asyncio.timeout(120):
        while (told := await anext(events)).startswith(":"):
            pass
    assert told.startswith("event: version\n")
    assert told not in first
    live.end()
    assert [event async for event in events if not event.startswith(":")] == []


async def test_customers_who_left_are_not_at_risk_and_filters_hold(tmp_path: Path) -> None:
    rows = [touchpoint(customer_id=n, offset=10 * n, segment="gold" if n < 4 else None) for n in range(1, 6)]
    later = START + timedelta(hours=2)
    rows += [touchpoint(customer_id=n, offset=10 * n + 1, kind="churned", time=later) for n in (1, 2)]
    rows.append(touchpoint(customer_id=2, offset=22, kind="won_back", time=later))
    signals = made_up_signals(7, rows, 5)
    signals = [
        {
            **signals[0],
            "customer_id": n,
            "level": "high",
            "time": START,
            "offset": 10 * n,
            "n": 0,
            "id": f"s-{n}",
        }
        for n in range(1, 6)
    ]
    file = warehouse(tmp_path / "w.duckdb", rows, signals, [card(n, "high", 0.7) for n in range(1, 6)])
    async with console(file) as client:
        page = (await client.get("/today")).text
        assert '<a href="/customers?at_risk=1">4</a>' in page
        assert [row[1] for row in read(page).tables[0][1:]] == ["c-2", "c-3", "c-4", "c-5"]
        for query, wanted in (
            ("", ["c-2", "c-3", "c-4", "c-5"]),
            ("&where=segment=gold", ["c-2", "c-3"]),
            ("&where=segment=nosuch", []),
        ):
            answer = await client.get(f"/customers.csv?at_risk=1{query}")
            assert [row["customer"] for row in csv.DictReader(io.StringIO(answer.text))] == wanted
        form = (await client.get("/customers?at_risk=1&where=segment=gold")).text
        assert form.count('<input type="hidden" name="at_risk" value="1">') == 2

"""The console in a real browser: what is drawn, what it says to screen readers, and what changes while one looks.

Skipped where there is no Chromium, and without npm's registry, from where axe-core comes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import duckdb
import pytest
from playwright.sync_api import sync_playwright

from console_app import card, place_signal, warehouse
from cxstream.console import navigation
from cxstream.console.people import Role, add_person
from npm_packages import install
from view_rows import START, made_up, made_up_signals, touchpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
PAGES = [page for page in navigation.found().values() if "{" not in page.path]
ROWS = made_up(11, 1200, 60)
for _row in ROWS[::5]:
    _row["behind_ms"] = 40 * 3_600_000
PASSWORD = "correct horse battery"

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: install Debian's package chromium"
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    worth = {"p_alive": 0.7, "clv": 90.0, "value_at_risk": 40.0}
    cards = [{**card(n, "critical" if n % 3 else "high", 0.9 - n / 1000), **worth} for n in range(1, 31)]
    places = [place_signal(n, "raised", START + timedelta(days=18), channel=f"c{n}") for n in range(4)]
    places.append(place_signal(4, "cleared", START + timedelta(days=19), channel="c3"))
    # Enough customers for an experiment that can be drawn.
    signals = [
        {**signal, "customer_id": n % 60 + 1, "time": START + timedelta(hours=n), "change": "raised", "id": f"t-{n}", "n": 1000 + n,
         "experiment": "three", "arm": ("treated", "holdout")[n % 2]}
        for n, signal in enumerate(made_up_signals(11, ROWS, 62))
    ]  # fmt: skip
    return warehouse(
        tmp_path_factory.mktemp("browser") / "w.duckdb",
        ROWS,
        [*made_up_signals(11, ROWS, 200), *signals],
        cards,
        places,
    )


@contextmanager
def served(path: Path, **variables: str) -> Iterator[str]:
    """A server of its own process, with these environment variables."""
    own = {"CXSTREAM_CONSOLE__RELEASE_SECONDS": "0", "CXSTREAM_KAFKA": "127.0.0.1:1"}
    environ = {**os.environ, **own, **variables}
    words = [sys.executable, "-m", "cxstream", "serve", "--warehouse", str(path), "--port", "0"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environ
    ) as server:
        assert server.stdout is not None
        line = server.stdout.readline()
        try:
            yield line.split()[-1].rstrip("/")
        finally:
            server.terminate()
            server.wait(120)


@pytest.fixture(scope="module")
def address(path: Path) -> Iterator[str]:
    with served(path) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory, run_folder: Path) -> str:
    folder = install(Path(__file__).parent / "console_browser", tmp_path_factory.mktemp("axe"), run_folder)
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text()


def opened(browser: Any, **options: Any) -> tuple[Any, list[str]]:
    """A page, and what the browser complains of there."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, **options)
    page = context.new_page()
    page.set_default_timeout(120_000)
    complaints: list[str] = []
    page.on(
        "console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page, complaints


def leave(page: Any) -> None:
    """Leave a page's context for good.

    It ends with the browser: Chromium may hang for ever if a context is closed while a navigation begins.
    """
    for each in page.context.pages:
        each.goto("about:blank")


_WITH_KEYS = ("campaigns", "service", "experiments", "touchpoints", "consistency")
_KEYS = ["Return on it", "Complaints", "Reading"]
_HIDDEN = """keys => [...document.querySelectorAll(".tw")].flatMap(box => [...box.querySelectorAll("thead th")]
    .filter(head => keys.includes(head.innerText.trim())
        && head.getBoundingClientRect().right > box.getBoundingClientRect().right + 1)
    .map(head => [box.ariaLabel, head.innerText]))"""


# The structure of a page is the same in every theme; the contrast is not.
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("scheme", "locale", "width", "rules"),
    [("light", "en-GB", 1440, ""), ("dark", "pl-PL", 390, "runOnly: ['color-contrast'], ")],
)
def test_pages_are_accessible_fit_and_keep_to_the_policy(
    browser: Any, address: str, axe: str, scheme: str, locale: str, width: int, rules: str
) -> None:
    page, complaints = opened(browser, color_scheme=scheme, locale=locale)
    page.set_viewport_size({"width": width, "height": 900})
    found: dict[str, Any] = {}
    more = [
        ("customer", "/customers/c-1"),
        ("change", "/touchpoints?measure=change&period=28d"),
        ("experiment", "/experiments?what=experiment&name=three&days=7&cost=2&value=90"),
    ]
    for name, path in [*((each.name, each.path) for each in PAGES), *more]:
        page.goto(address + path)
        page.evaluate(f"{axe}; 0")
        broken = page.evaluate(f"axe.run({{{rules}resultTypes: ['violations']}})")["violations"]
        problems = [(rule["id"], node["html"][:160]) for rule in broken for node in rule["nodes"]]
        if problems:
            found[name] = problems
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert (
            page.evaluate(
                "performance.getEntries().filter(e => /^http/.test(e.name) && !e.name.startsWith(origin))"
            )
            == []
        )
    if width > 1280:
        # The columns that decide stand without scrolling on a small laptop, too.
        page.set_viewport_size({"width": 1280, "height": 900})
        paths = [*(f"/{name}?period=28d" for name in _WITH_KEYS), more[-1][1]]
        for path in paths:
            page.goto(address + path)
            assert page.evaluate(_HIDDEN, _KEYS) == [], path
            # The head and the names of sections keep their words whole on a tablet.
            page.set_viewport_size({"width": 800, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= 800, path
            assert page.locator("header.bar").evaluate("each => each.offsetHeight") < 80, path
            page.set_viewport_size({"width": 1280, "height": 900})
        page.context.add_cookies([{"name": "language", "value": "pl", "url": address}])
        page.goto(f"{address}/today")
        assert page.evaluate(_HIDDEN, ["Czekanie"]) == []
    leave(page)
    assert found == {}
    assert complaints == []


def test_the_phone_has_the_filter_and_csv_and_shows_where_tables_go_on(browser: Any, address: str) -> None:
    page, complaints = opened(browser, locale="en-GB")
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}/touchpoints")
    page.get_by_role("link", name="CSV").first.wait_for()
    page.locator("header.bar summary", has_text="All customers").click()
    page.get_by_label("Only touchpoints where").fill("channel=web")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url("**where=channel**")
    table = page.locator(".tw").last
    assert table.evaluate("e => e.scrollWidth > e.clientWidth")
    # Shadows that move with the content cover those that stay, at an end.
    shades = table.evaluate("e => getComputedStyle(e).backgroundAttachment")
    assert shades.replace(" ", "") == "local,local,scroll,scroll"
    # A row of the queue leads to its customer wherever it is touched.
    page.goto(f"{address}/queue")
    assert page.locator("p.only-n").first.is_visible()
    row = page.locator(".qrow").last
    wanted = row.locator("a").get_attribute("href")
    row.locator(".why").click(position={"x": 5, "y": 5}, force=True)
    page.wait_for_url(f"**{wanted}")
    assert complaints == []
    leave(page)


@pytest.mark.timeout(300)
def test_names_of_any_length_keep_the_layout(browser: Any, tmp_path: Path) -> None:
    long, words = "x" * 180, "Brzęczyszczykiewicz-Konstantynopolitańczykowianeczka " * 3
    swap = {"checkout": long, "gold": words, "autumn": long, "invoice": words, "p-1": long}
    rows = [
        {name: swap.get(value, value) if isinstance(value, str) else value for name, value in row.items()}
        for row in made_up(3, 700, 30)
    ]
    cards = [{**card(n, "critical", 0.9), "value_at_risk": 5.0, "clv": 9.0} for n in range(1, 31)]
    places = [place_signal(1, "raised", START + timedelta(days=18), name=long)]
    path = warehouse(tmp_path / "w.duckdb", rows, made_up_signals(3, rows, 60), cards, places)
    with duckdb.connect(str(path)) as connection:
        connection.execute(
            "UPDATE customers SET customer = customer || '-' || $1 WHERE customer_id % 2 = 1", [long]
        )
        ((customer,),) = connection.execute("SELECT max(customer) FROM customers").fetchall()
    with served(path) as address:
        page, _ = opened(browser, locale="en-GB")
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            for each in [*(each.path for each in PAGES), f"/customers/{customer}", "/customers?at_risk=1"]:
                page.goto(address + each)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (each, width)
        leave(page)


def test_a_theme_a_language_and_a_cell_are_chosen_by_keyboard(browser: Any, address: str) -> None:
    page, _ = opened(browser, locale="en-GB")
    page.goto(f"{address}/touchpoints?period=28d")
    # A table sorts by a head: by size, and the other way at the second time.
    table = page.locator("table[data-sort]").last
    for falls in (True, False):
        table.get_by_role("button", name="Customers").press("Enter")
        shown = [
            int(each.replace(",", "")) for each in table.locator("tbody td:nth-child(3)").all_inner_texts()
        ]
        assert len(set(shown)) > 1
        assert shown == sorted(shown, reverse=falls)
        assert table.locator("th[aria-sort]").get_attribute("aria-sort") == (
            "descending" if falls else "ascending"
        )
    # New figures keep the order, and the heads their buttons.
    page.evaluate("document.activeElement.blur()")
    page.evaluate("refresh()")
    assert table.locator("th[aria-sort=ascending] button").inner_text() == "Customers"
    kept = [int(each.replace(",", "")) for each in table.locator("tbody td:nth-child(3)").all_inner_texts()]
    assert kept == shown
    # A time sorts by what it is, and what is not known comes last.
    dash = "\N{EN DASH}"
    dates = page.evaluate("""() => {
        const table = document.createElement("table");
        table.createTHead().insertRow().append(document.createElement("th"));
        table.tHead.rows[0].cells[0].textContent = "Week from";
        const body = table.createTBody();
        for (const [text, by] of [["\\u2013", ""], ["2 Apr", "2026-04-02"], ["30 Mar", "2026-03-30"], ["9 Apr", "2026-04-09"]]) {
            const cell = body.insertRow().insertCell();
            cell.textContent = text;
            if (by) cell.dataset.by = by;
        }
        make_sortable(table);
        return [1, 2].map(() => {
            table.querySelector("button").click();
            return Array.from(body.rows, (row) => row.textContent).join();
        });
    }""")
    assert dates == [f"30 Mar,2 Apr,9 Apr,{dash}", f"9 Apr,2 Apr,30 Mar,{dash}"]
    page.goto(f"{address}/touchpoints")
    page.get_by_role("button", name="Dark theme").press("Enter")
    page.wait_for_load_state()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Polski").press("Enter")
    page.wait_for_load_state()
    assert page.get_by_role("heading", level=1).inner_text() == "Punkty styku"
    cells = page.locator(".heat td a")
    wanted = cells.nth(3).get_attribute("href")
    cells.nth(3).press("Enter")
    page.wait_for_url(f"**{wanted}")
    assert page.locator("[aria-current=true]").count() > 0
    page.locator("details.menu summary").first.press("Enter")
    assert page.locator(".pop").first.is_visible()
    page.keyboard.press("Escape")
    assert not page.locator(".pop").first.is_visible()
    leave(page)


def test_the_queue_is_worked_through_by_keyboard(browser: Any, address: str) -> None:
    page, complaints = opened(browser, locale="en-GB")
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(f"{address}/queue")
    names = page.locator(".qrow a").all_inner_texts()
    # One row can be reached by Tab: the others by j and k.
    assert page.locator(".qrow a[tabindex='0']").count() == 1
    for key in "jjjk":
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.textContent") == names[1]
    page.keyboard.press("Enter")
    page.locator("#h-id", has_text=names[1]).wait_for()
    assert page.locator(".qrow[aria-current] a").inner_text() == names[1]
    assert f"customer={names[1]}" in page.url
    # Risk and waiting stand there on narrow windows, too; on a tablet the customer has the window alone.
    for width in (1280, 1000, 800):
        page.set_viewport_size({"width": width, "height": 800})
        cells = page.locator(".qrow").first.locator(":scope > *")
        assert cells.evaluate_all("found => found.every((each) => each.offsetWidth >= 20)"), width
    page.locator(".qrow a").nth(2).click()
    page.locator("#h-id", has_text=names[2]).wait_for()
    assert not page.locator(".qrow").first.is_visible()
    page.get_by_role("link", name="Queue").last.click()
    page.locator(".qrow").first.wait_for()
    page.goto(f"{address}/queue?customer={names[1]}")
    page.keyboard.press("o")
    page.wait_for_url(f"**/customers/{names[1]}")
    assert page.locator("#content h2").first.inner_text() == names[1]
    assert complaints == []
    leave(page)


def test_the_palette_goes_to_pages_and_customers_by_keyboard(browser: Any, address: str, axe: str) -> None:
    page, complaints = opened(browser, locale="en-GB")
    page.goto(f"{address}/voice")
    page.keyboard.press("/")
    field = page.get_by_role("combobox")
    page.get_by_role("option").first.wait_for()
    assert field.evaluate("e => e === document.activeElement")
    page.keyboard.type("tou")
    page.get_by_role("option", name="Touchpoints").wait_for()
    page.get_by_role("option", name="Today").wait_for(state="detached")
    # A screen reader is told what is chosen while the field keeps the focus.
    chosen = page.locator(f"#{field.get_attribute('aria-activedescendant')}")
    assert (chosen.inner_text(), chosen.get_attribute("aria-selected")) == ("Touchpoints", "true")
    page.evaluate(f"{axe}; 0")
    broken = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    assert [(rule["id"], node["html"][:160]) for rule in broken for node in rule["nodes"]] == []
    page.keyboard.press("Escape")
    assert page.locator("[data-palette]").is_hidden()
    page.keyboard.press("Control+k")
    # A page is found by what it shows, too.
    page.keyboard.type("nps")
    page.get_by_role("option", name="Voice").wait_for()
    page.get_by_role("combobox").fill("c-1")
    page.get_by_role("option", name="c-1", exact=True).wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/customers/c-10")
    page.keyboard.press("/")
    page.keyboard.type("no such thing")
    page.get_by_role("status").get_by_text("Nothing is called so").wait_for()
    # A view is saved with the bookmark, and found.
    page.goto(f"{address}/voice?period=28d")
    page.locator("summary[aria-label='Saved views']").press("Enter")
    page.get_by_label("Name of this view").fill("Four weeks")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    page.keyboard.press("/")
    page.get_by_role("option").first.wait_for()
    page.keyboard.type("four")
    # Enter means what is typed, even before it is found. Only the navigation says that the view was opened, as the
    # address stays the same.
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert page.url.endswith("/voice?period=28d")
    assert complaints == []
    leave(page)


def test_work_is_done_by_keyboard(browser: Any, address: str) -> None:
    page, complaints = opened(browser, locale="en-GB")
    sent: list[str] = []
    page.on("request", lambda asked: sent.append(asked.post_data) if asked.method == "POST" else None)
    page.route("**/work", lambda route: route.fulfill(status=204))
    page.goto(f"{address}/queue")
    page.keyboard.press("n")
    page.keyboard.type("a note, with j, k and s")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('[data-sent]') !== null")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    assert page.evaluate("document.activeElement.value") == "1"
    page.keyboard.press("Escape")
    page.evaluate("document.activeElement.blur()")
    with page.expect_request("**/work"):
        page.keyboard.press("a")
    wishes = [dict(parse_qsl(each, keep_blank_values=True)) for each in sent]
    assert [(each["do"], each.get("text")) for each in wishes] == [
        ("note", "a note, with j, k and s"),
        ("assign", None),
    ]
    assert complaints == []
    leave(page)


_SAID = {
    "en-GB": {
        "erase": "Erase this customer",
        "nobody": "Your role shows no customers",
        "refused": "Your role does not show this",
        "help": "Ask an administrator of the console, who can give you another role.",
        "other": "Polski",
        "assign": "Assign to me",
    },
    "pl-PL": {
        "erase": "Usuń dane tego klienta",
        "nobody": "Twoja rola nie pokazuje klientów",
        "refused": "Twoja rola tego nie pokazuje",
        "help": "Poproś administratora konsoli, który może nadać Ci inną rolę.",
        "other": "English",
        "assign": "Przypisz do mnie",
    },
}
_POST = """([path, values]) => {
    const form = Object.assign(document.createElement("form"), { method: "post", action: path });
    values.form_token = document.querySelector("[name=form_token]").value;
    for (const [name, value] of Object.entries(values)) form.append(Object.assign(document.createElement("input"), { name, value }));
    document.body.append(form);
    form.submit();
}"""


@pytest.mark.timeout(600)
def test_each_role_sees_its_own_and_is_refused_in_words(browser: Any, path: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    for role in Role:
        add_person(users, role.name, role.name, PASSWORD)
    with served(path, CXSTREAM_CONSOLE__USERS_FILE=str(users)) as address:
        for role in Role:
            page, complaints = opened(browser, locale="en-GB")
            page.goto(f"{address}/today")
            page.get_by_label("Name").fill(role.name)
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            for said in _SAID.values():
                page.wait_for_url("**/today")
                _sees_what_is_theirs(page, address, role, said)
                page.goto(f"{address}/today")
                with page.expect_navigation():
                    page.get_by_role("button", name=said["other"]).click()
            # A refusal is an answer that the browser complains of, and nothing else is.
            assert [each for each in complaints if "403 (Forbidden)" not in each] == []
            leave(page)


def _sees_what_is_theirs(page: Any, address: str, role: Role, said: dict[str, str]) -> None:
    sees = role >= Role.agent
    links = page.locator("nav.side a")
    shown = {links.nth(n).get_attribute("href").partition("?")[0] for n in range(links.count())}
    assert ({"/queue", "/customers"} <= shown, "/queue" in shown, "/rules" in shown) == (sees, sees, True)
    assert page.get_by_text(said["nobody"]).is_visible() is not sees
    for each in ("/today", "/touchpoints"):
        page.goto(address + each)
        assert (page.locator("main a[href^='/customers']").count() > 0) is sees, each
    refused = {
        "/queue": sees,
        "/customers/c-1": sees,
        "/rejected": sees,
        "/touchpoints?where=agent=a-1": sees,
    }
    for each, may in refused.items():
        if may and each == "/rejected":
            # It waits for a Kafka that is not there.
            continue
        page.goto(address + each)
        _is_refused(page, said, not may)
        if may and each in {"/queue", "/customers/c-1"}:
            page.get_by_role("button", name=said["assign"]).wait_for()
            erases = each != "/queue" and role is Role.admin
            assert page.get_by_text(said["erase"]).count() == erases
    # What no button offers is refused, too, where somebody asks all the same.
    asked = {"customer": "c-1", "do": "note", "text": "a note", "key": "k", "typed": "c-1"}
    for each, may in (("/work", sees), ("/erase", role is Role.admin)):
        if not may:
            with page.expect_navigation():
                page.evaluate(_POST, [each, asked])
            _is_refused(page, said, True)


def _is_refused(page: Any, said: dict[str, str], wanted: bool) -> None:
    assert (page.get_by_role("heading", level=1).inner_text() == said["refused"]) is wanted, page.url
    assert page.get_by_role("alert").get_by_text(said["help"]).count() == wanted
    if wanted:
        assert page.get_by_text("c-1").count() == 0


@pytest.mark.parametrize(
    ("locale", "said", "count", "back"),
    [
        ("en-GB", "As it was known at the end of", "touchpoint", "Back to now"),
        ("pl-PL", "Stan wiedzy na koniec dnia", "punkt", "Wróć do teraz"),
    ],
)
def test_the_page_of_a_customer_goes_back_in_time(
    browser: Any, address: str, locale: str, said: str, count: str, back: str
) -> None:
    mine = [row for row in ROWS if row["customer_id"] == 1]

    def known(day: datetime) -> int:
        return sum(
            row["time"] + timedelta(milliseconds=row["behind_ms"]) < day + timedelta(days=1) for row in mine
        )

    page, complaints = opened(browser, locale=locale)
    page.goto(f"{address}/customers/c-1")
    shown_now = page.locator("main .facts, section[aria-labelledby=h-events]")
    now = shown_now.all_inner_texts()
    assert len(now) == 2
    assert page.locator("form[action='/work']").count() > 0
    end = max(row["time"] for row in mine).replace(hour=0, minute=0)
    # A day at whose end not all was known that had happened, which a clock of events alone would show.
    day = next(
        each
        for each in (end - timedelta(days=n) for n in range(1, 20))
        if 0 < known(each) < sum(row["time"] < each + timedelta(days=1) for row in mine)
    )
    page.locator(".travel summary").click()
    page.locator("input[name=at]").fill(f"{day:%Y-%m-%d}")
    page.locator(".travel .pop button").click()
    page.wait_for_url(f"**at={day:%Y-%m-%d}*")

    def shows(day: datetime) -> None:
        assert said in page.get_by_role("status").filter(has_text=f"{day.day} ").inner_text()
        heading = page.locator(".hd", has=page.locator("#h-events")).inner_text()
        assert (int(next(each for each in heading.split() if each.isdigit())), count in heading) == (
            known(day),
            True,
        )
        assert page.locator("section[aria-labelledby=h-events] tbody tr").count() == min(known(day), 50)
        # The past is looked at: nothing is done there.
        assert page.locator("form[action='/work'], form[action='/erase'], #h-if").count() == 0

    shows(day)
    page.locator(".travel a").first.press("Enter")
    page.wait_for_url(f"**at={day - timedelta(days=1):%Y-%m-%d}*")
    shows(day - timedelta(days=1))
    page.locator(".travel a.on").press("Enter")
    page.wait_for_url(f"**at={day:%Y-%m-%d}*")
    page.get_by_role("link", name=back).click()
    page.wait_for_url("**/customers/c-1*")
    assert shown_now.all_inner_texts() == now
    assert complaints == []
    leave(page)


def test_new_touchpoints_are_on_the_screen_without_a_reload(browser: Any, address: str, path: Path) -> None:
    page, _ = opened(browser, locale="en-GB")
    with page.expect_response("**/live"):
        page.goto(f"{address}/touchpoints?since=2026-03-02&until=2026-03-23&where=channel=kiosk")
    assert page.locator(".heat tbody tr").count() == 0
    page.evaluate("window.same = true")
    # A second tab listens through the first, and misses no change either.
    other = page.context.new_page()
    other.goto(page.url)
    other.wait_for_function("version !== null")
    fresh = path.with_name("fresh.duckdb")
    rows = [
        *ROWS,
        *(
            touchpoint(customer_id=n, offset=10_000 + n, channel="kiosk", stage="purchase")
            for n in range(1, 40)
        ),
    ]
    warehouse(fresh, rows)
    fresh.replace(path)
    page.locator(".heat tbody tr").first.wait_for()
    assert "Kiosk" in page.locator(".heat tbody tr").first.inner_text()
    assert page.evaluate("window.same") is True
    other.locator(".heat tbody tr").first.wait_for()
    # What somebody opens while the page is on its way stays open.
    other.evaluate("""async () => {
        const done = refresh();
        document.querySelector("main").insertAdjacentHTML("beforeend", "<details open id=mine></details>");
        await done;
    }""")
    assert other.locator("#mine").count() == 1
    assert other.locator("[data-news]").is_visible()
    leave(page)

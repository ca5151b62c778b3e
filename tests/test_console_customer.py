"""The queue and the page of a customer: figures against plain Python, time travel, odd ids, and who may see them."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from math import exp, log
from typing import TYPE_CHECKING, Any

import duckdb
import orjson
import pytest

from console_app import OWN, away, card, console, read, warehouse
from cxstream.console import navigation
from cxstream.console.language import language
from cxstream.console.page import customer_address
from cxstream.console.people import add_person, add_program
from view_rows import START, made_up, made_up_signals, touchpoint

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

ROWS = made_up(5, 2500, 160)
for _row in ROWS[::9]:
    _row["behind_ms"] = 40 * 3_600_000
REASONS = [
    {"feature": "effort", "value": 0.8, "contribution": 1.25, "evidence": "3 contacts <about> 'invoice'"},
    {"feature": "complaint", "value": 0.4, "contribution": 0.5, "evidence": "complaint open for 3 days"},
    {"feature": "dissatisfaction", "value": 0.1, "contribution": -0.25, "evidence": "satisfaction 90 of 100"},
]
SIGNALS = made_up_signals(5, ROWS, 500)
for _signal in SIGNALS:
    _signal["reasons"] = orjson.dumps(REASONS).decode()
LEVELS = ("none", "elevated", "high", "critical")
CARDS = [{**card(n, LEVELS[n % 4], 0.5 + n % 40 / 100), "spent": n * 37 % 50 / 4} for n in range(1, 161)]
# Some bought nothing yet, and some are worth the same.
VALUED = [
    {**each, "p_alive": 0.25, "clv": 50.0 + n % 9, "value_at_risk": n * 29 % 23 / 3} if n % 5 else each
    for n, each in enumerate(CARDS)
]
GONE = away(ROWS)
RISKY = [
    each for each in CARDS if each["announced"] in {"high", "critical"} and each["customer_id"] not in GONE
]
OURS = {"campaign_sent", "email_sent", "action_taken"}
ODD = [
    "a/b",
    "..",
    ".",
    "~",
    "x.csv",
    "a?b#c&d=e%2F",
    "\"'><script>x</script>",
    "zażółć 🦋",
    "a\nb",
    " ",
    "+48 600",
    "ż" * 256,
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse(tmp_path_factory.mktemp("customer") / "w.duckdb", ROWS, SIGNALS, CARDS)


@pytest.fixture(scope="module")
def valued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse(tmp_path_factory.mktemp("valued") / "w.duckdb", ROWS, SIGNALS, VALUED)


def name(customer_id: int) -> str:
    return f"c-{customer_id}"


def told(customer_id: int) -> Any:
    """The last signal that raised the risk of a customer."""
    found = [
        each
        for each in SIGNALS
        if each["customer_id"] == customer_id and each["change"] in {"raised", "worsened"}
    ]
    return max(
        found, key=lambda each: (each["time"], each["partition"], each["offset"], each["n"]), default=None
    )


def last_action(customer_id: int) -> Any:
    """The last action on a customer; one that only says that they were held out is none."""
    rows = [
        row
        for row in ROWS
        if row["customer_id"] == customer_id and row["kind"] == "action_taken" and row["arm"] != "holdout"
    ]
    return max(rows, key=lambda row: row["time"], default=None)


def waits(customer_id: int) -> bool:
    """Whether a signal raised the risk of a customer, and nothing was done since."""
    signal, act = told(customer_id), last_action(customer_id)
    return signal is not None and (act is None or act["time"] < signal["time"])


def latest(customer_id: int, column: str) -> Any:
    """The last value of a column in the touchpoints of a customer."""
    rows = [row for row in ROWS if row["customer_id"] == customer_id and row[column] is not None]
    if column == "channel":
        rows = [row for row in rows if row["kind"] not in OURS]
    return max(rows, key=lambda row: (row["time"], row["offset"]), default={column: None})[column]


def key(sort: str, each: Any) -> Any:
    first = {
        "level": -(each["announced"] == "critical"), "probability": -each["probability"], "spent": -each["spent"],
        "waiting": (not waits(each["customer_id"]), waits(each["customer_id"]) and told(each["customer_id"])["time"]),
    }[sort]  # fmt: skip
    return first, -each["probability"], name(each["customer_id"])


def by_money(path: Path) -> list[str]:
    """Customers at risk, most money first: SQL that has nothing in common with the console's."""
    sql = """SELECT customer FROM score_cards s JOIN customers USING (customer_id)
        WHERE s.latest AND announced IN ('high', 'critical') AND NOT EXISTS (
            FROM touchpoints t WHERE t.customer_id = s.customer_id AND kind = 'churned' AND NOT EXISTS (
                FROM touchpoints w WHERE w.customer_id = t.customer_id AND w.kind = 'won_back'
                AND (w.time, w."partition", w."offset") > (t.time, t."partition", t."offset")))
        ORDER BY value_at_risk IS NULL, value_at_risk DESC, probability DESC, customer"""
    with duckdb.connect(str(path), read_only=True) as connection:
        return [row[0] for row in connection.execute(sql).fetchall()]


def done_since(path: Path) -> set[str]:
    """Customers on whom somebody acted since their last signal: SQL that has nothing in common with the console's."""
    sql = """SELECT customer FROM customers c WHERE EXISTS (
        FROM touchpoints t WHERE t.customer_id = c.customer_id AND kind = 'action_taken' AND coalesce(arm, '') <> 'holdout'
        AND time >= (SELECT max(time) FROM risk_signals s WHERE s.customer_id = c.customer_id AND change IN ('raised', 'worsened')))"""
    with duckdb.connect(str(path), read_only=True) as connection:
        return {row[0] for row in connection.execute(sql).fetchall()}


def held_out(path: Path) -> set[str]:
    """Customers whom their last signal holds out, or an action or outcome."""
    sql = """SELECT customer FROM risk_signals JOIN customers USING (customer_id)
        QUALIFY row_number() OVER (PARTITION BY customer ORDER BY risk_signals.time DESC, "partition" DESC, "offset" DESC, n DESC) = 1
        AND arm = 'holdout'
        UNION SELECT customer FROM touchpoints JOIN customers USING (customer_id)
        WHERE arm = 'holdout' AND kind IN ('action_taken', 'won_back', 'churned')"""
    with duckdb.connect(str(path), read_only=True) as connection:
        return {row[0] for row in connection.execute(sql).fetchall()}


async def in_pages(client: httpx.AsyncClient, limit: int) -> tuple[list[Any], set[str]]:
    """The queue as programs read it, and the orders that it says."""
    found, orders, after = [], set(), ""
    while after is not None and len(found) < len(CARDS):
        answer = await client.get("/api/v1/queue", params={"limit": limit, "after": after})
        page = answer.json()
        found += page["customers"]
        orders.add(page["sort"])
        after = page["next_after"]
    return found, orders


async def test_who_risks_most_money_is_called_first(valued: Path) -> None:
    wanted, held = by_money(valued), held_out(valued)
    done = done_since(valued)
    first_calls = sorted((each for each in wanted if each not in held), key=lambda each: each in done)
    assert 0 < len(done & set(first_calls)) < len(first_calls)
    cards = {name(each["customer_id"]): each for each in VALUED}
    async with console(valued, release_seconds=0) as client:
        first = read((await client.get("/queue")).text)
        rows = first.tables[0][1:]
        link = next(each for each in first.links if "after=" in each and "customer=" not in each)
        rows += read((await client.get(link)).text).tables[0][1:]
        table = list(csv.DictReader(io.StringIO((await client.get("/queue.csv")).text)))
        found, orders = await in_pages(client, 7)
        today = read((await client.get("/today")).text)
        calls = list(csv.DictReader(io.StringIO((await client.get("/today.csv?table=calls")).text)))
        chosen = next(each for each in wanted if cards[each].get("value_at_risk"))
        customer = read((await client.get(f"/customers/{chosen}")).text)
    assert len(wanted) > 50
    assert len(wanted) > len(first_calls) > 8
    assert [row[1] for row in rows] == wanted[:100]
    for listed, expected in ((table, wanted), (found, wanted), (calls, first_calls)):
        assert [row["customer"] for row in listed] == expected
        values = [
            None if row["value_at_risk"] in {"", None} else float(row["value_at_risk"]) for row in listed
        ]
        assert values == [cards[each].get("value_at_risk") for each in expected]
    assert orders == {"money"}
    assert "most money at risk first" in first.text
    assert "most money at risk first" in today.text
    assert [row[1] for row in today.tables[0][1:]] == first_calls[:8]
    assert today.tables[0][1][3] == f"{cards[first_calls[0]]['value_at_risk']:.0f}"
    worth = cards[chosen]["value_at_risk"]
    text = "".join(customer.text.split())
    assert f"Moneyatrisk{worth:.0f}EURExpected{cards[chosen]['clv']:.0f}EURWillbuyagain25%" in text


async def test_without_a_purchase_model_the_risk_decides(path: Path) -> None:
    wanted = [name(each["customer_id"]) for each in sorted(RISKY, key=lambda each: key("probability", each))]
    async with console(path) as client:
        for address in ("/queue", "/queue?sort=money"):
            page = read((await client.get(address)).text)
            assert [row[1] for row in page.tables[0][1:]] == wanted[:50]
            assert "highest risk first" in page.text
            assert "most money at risk first" not in page.text
        found, orders = await in_pages(client, 50)
        assert ([row["customer"] for row in found], orders) == (wanted, {"probability"})
        assert "highest risk first" in (await client.get("/today")).text
        assert "Money at risk" not in (await client.get(f"/customers/{wanted[0]}")).text
        for query in ("sort=name", "level=low", "state=mine,free", "after=x", "limit=0"):
            assert (await client.get(f"/api/v1/queue?{query}")).status_code == 400, query


@pytest.mark.parametrize("sort", ["level", "probability", "waiting", "spent"])
async def test_the_queue_is_sorted_in_whole_pages(path: Path, sort: str) -> None:
    wanted = [name(each["customer_id"]) for each in sorted(RISKY, key=lambda each: key(sort, each))]
    found: list[str] = []
    # Somebody without a known signal waits, too.
    waiting = sum(not told(each["customer_id"]) or waits(each["customer_id"]) for each in RISKY)
    assert 0 < waiting < len(RISKY)
    async with console(path) as client:
        address: str | None = f"/queue?sort={sort}"
        while address:
            page = read((await client.get(address)).text)
            found += [row[1] for row in page.tables[0][1:]]
            address = next(
                (link for link in page.links if "after=" in link and "customer=" not in link), None
            )
            assert (
                f"{len(RISKY)} customers at risk; {waiting} wait, about the others something was done"
                in page.text
            )
            if "after=" in (address or "") and len(found) >= len(wanted):
                break
        rows = list(csv.DictReader(io.StringIO((await client.get(f"/queue.csv?sort={sort}")).text)))
    assert found == wanted
    assert [row["customer"] for row in rows] == wanted
    assert {waits(each["customer_id"]) for each in RISKY} == {True, False}
    for row in rows:
        act = last_action(int(row["customer"][2:]))
        at = f"{act['time'].isoformat(timespec='milliseconds')}Z" if act else ""
        assert (row["last_action"], row["last_action_time"]) == ((act and act["action"]) or "", at)
        signal = told(int(row["customer"][2:]))
        since = f"{signal['time'].isoformat(timespec='milliseconds')}Z" if signal else ""
        assert (row["since"], row["segment"] or None) == (since, latest(int(row["customer"][2:]), "segment"))


async def test_the_queue_is_filtered(path: Path) -> None:
    asked = {
        "level=high": lambda each: each["announced"] == "high",
        "reason=silence": lambda each: (told(each["customer_id"]) or {}).get("leading_reason") == "silence",
        "channel=web": lambda each: latest(each["customer_id"], "channel") == "web",
        "segment=gold&level=critical": lambda each: (
            latest(each["customer_id"], "segment") == "gold" and each["announced"] == "critical"
        ),
        "segment=' OR 1=1 --": lambda _: False,
    }
    async with console(path) as client:
        for query, fits in asked.items():
            rows = list(csv.DictReader(io.StringIO((await client.get(f"/queue.csv?{query}")).text)))
            assert {row["customer"] for row in rows} == {
                name(each["customer_id"]) for each in RISKY if fits(each)
            }, query
            assert (await client.get(f"/queue?{query}")).status_code == 200
        assert (await client.get("/queue?after=x")).status_code == 400


async def test_who_reaches_a_high_level_without_a_signal_is_named(tmp_path: Path) -> None:
    rows = [touchpoint(customer_id=n, offset=n, time=START) for n in (1, 2, 3)]
    cards = [card(1, "high", 0.6), {**card(2, "high", 0.7), "announced": "none"}, card(3, "none", 0.1)]
    # The level rose again within the days that signals wait.
    rows += [touchpoint(customer_id=4, offset=4, time=START + timedelta(days=3))]
    cards += [{**card(4, "critical", 0.8), "announced": "high"}]
    signals = [
        made_up_signals(11, rows, 1)[0]
        | {"customer_id": 4, "time": START, "change": "raised", "id": "t", "n": 1}
    ]
    async with console(warehouse(tmp_path / "w.duckdb", rows, signals, cards)) as client:
        listed = {
            state: [
                row["customer"]
                for row in csv.DictReader(io.StringIO((await client.get(f"/queue.csv?state={state}")).text))
            ]
            for state in ("", "untold")
        }
        queue, untold = [(await client.get(address)).text for address in ("/queue", "/queue?state=untold")]
        pages = [(await client.get(f"/customers/c-{n}")).text for n in (1, 2)]
    assert listed == {"": ["c-4", "c-1"], "untold": ["c-2"]}
    text = " ".join(read(queue).text.split())
    assert text.count("by the risk now: Critical") == 2
    assert f"next signal {language('en').day((START + timedelta(days=7)).date())} at the earliest" in text
    # On a phone it stands in the page.
    assert text.count("2 customers at risk") == 2
    assert "1 more customer reaches a high level by the risk" in queue
    assert "no signal has said so yet" in untold
    assert ["by the risk now: High" in page for page in pages] == [False, True]
    assert all(
        "the probability that simulated customers leave within 30 days" in page for page in [queue, *pages]
    )
    other = {"scoring": {"intercept": -3.0}}
    async with console(tmp_path / "w.duckdb", other) as client:
        pages = [(await client.get(address)).text for address in ("/queue", "/customers/c-1")]
    assert all("by rules without a horizon, no probability" in page for page in pages)


async def test_a_customer_stands_beside_the_queue(path: Path) -> None:
    chosen = next(each for each in RISKY if told(each["customer_id"]))
    async with console(path) as client:
        page = read((await client.get("/queue", params={"customer": name(chosen["customer_id"])})).text)
    assert "complaint open for 3 days" in page.text
    assert f"/customers/{name(chosen['customer_id'])}" in page.links
    for each in REASONS:
        assert f"{each['contribution']:+.2f}".replace("-", "\N{MINUS SIGN}") in page.text


async def test_the_timeline_has_every_touchpoint_once(path: Path) -> None:
    rows = [row for row in ROWS if row["customer_id"] == 3] + [
        touchpoint(customer_id=3, time=START, offset=9000 + n, id=f"x-{n}") for n in range(120)
    ]
    other = warehouse(path.parent / "timeline.duckdb", rows)
    ordered = sorted(rows, key=lambda row: (row["time"], row["partition"], row["offset"]), reverse=True)
    async with console(other) as client:
        address: str | None = "/customers/c-3"
        found: list[str] = []
        while address:
            page = read((await client.get(address)).text)
            found += [
                row[0] for table in page.tables for row in table[1:] if table[0][:2] == ["When", "Channel"]
            ]
            address = next((link for link in page.links if "after=" in link and "#h-events" in link), None)
        table = list(csv.DictReader(io.StringIO((await client.get("/customers/c-3.csv")).text)))
    assert len(found) == len(rows)
    assert [row["id"] for row in table] == [row["id"] for row in ordered]


async def test_reasons_add_up_to_the_risk(path: Path) -> None:
    customer_id = next(each["customer_id"] for each in SIGNALS if 0 < each["probability"] < 1)
    signal = max(
        (each for each in SIGNALS if each["customer_id"] == customer_id),
        key=lambda each: (each["time"], each["partition"], each["offset"], each["n"]),
    )
    async with console(path) as client:
        page = read((await client.get(f"/customers/c-{customer_id}")).text)
    table = next(table for table in page.tables if "Weight" in table[0])
    share = min(1 - 1e-12, max(1e-12, signal["probability"]))
    odds = log(share / (1 - share)) - 1.5
    risks = []
    for step in (0, *(each["contribution"] for each in REASONS)):
        odds += step
        risks.append(f"{1 / (1 + exp(-odds)):.2f}")
    assert [row[3] for row in table[1:]] == [*risks, f"{signal['probability']:.2f}"]
    assert [row[2] for row in table[2:]] == ["+1.25", "+0.50", "\N{MINUS SIGN}0.25", "+1.50"]


async def test_figures_of_today_and_of_a_customer_agree_with_what_is_shown(tmp_path: Path) -> None:
    days = {0: ("action_taken", 0.924), 4: ("visit", 0.966), 20: ("action_taken", 0.5), 22: ("visit", 0.75)}
    rows = [
        touchpoint(
            customer_id=1, offset=day, time=START + timedelta(days=day), kind=kind, probability_after=risk
        )
        for day, (kind, risk) in days.items()
    ]
    rows += [
        touchpoint(
            customer_id=2 + n, offset=50 + n, time=START + timedelta(days=22), kind="survey_nps", score=score
        )
        for n, score in enumerate([10.0] * 9 + [0.0] * 2)
    ]
    path = warehouse(tmp_path / "w.duckdb", rows, (), [card(1, "critical", 0.75)])
    horizon = {"scoring": {"intercept": -4.5, "churn_horizon_days": 30}}
    async with console(path, horizon) as client:
        customer = read((await client.get("/customers/c-1")).text)
        today, voice, models = [
            read((await client.get(address)).text).text for address in ("/today", "/voice", "/models")
        ]
    done = next(table for table in customer.tables if "14 days later" in table[0])
    assert [row[1] for row in done[1:]] == ["0.50", "0.92"]
    assert done[1][2] == "not 14 days ago yet"
    assert "".join(done[2][2].split()) == "0.97+0.05"
    for text in (today, voice):
        assert "[18, 100]" in text.replace("\N{NO-BREAK SPACE}", " ")
    for text in (today, customer.text):
        assert "Risk is the probability to leave within 30 days, by the rules in force." in text
        assert "no probability" not in text
    assert "It is the probability to leave within 30 days." in models


async def test_a_day_shows_nothing_from_after_it(path: Path) -> None:
    day = START.date() + timedelta(days=9)
    end = START + timedelta(days=10)
    count = 0
    async with console(path) as client:
        for customer_id in range(1, 12):
            address = f"/customers/c-{customer_id}"
            known = [
                row
                for row in ROWS
                if row["customer_id"] == customer_id
                and row["time"] + timedelta(milliseconds=row["behind_ms"]) < end
            ]
            count += len([row for row in ROWS if row["customer_id"] == customer_id]) - len(known)
            table = list(csv.DictReader(io.StringIO((await client.get(f"{address}.csv?at={day}")).text)))
            assert {row["id"] for row in table} == {row["id"] for row in known}
            page = read((await client.get(f"{address}?at={day}")).text)
            assert "Nothing from later is shown" in page.text
            later = [f"{START + timedelta(days=n):%-d %b}" for n in range(10, 21)]
            cells = [row[0] for table in page.tables for row in table[1:]]
            assert not any(cell.startswith(f"{text}\N{NO-BREAK SPACE}") for cell in cells for text in later)
            if known:
                bought = sum(row["amount_base"] or 0 for row in known if row["kind"] == "purchase")
                assert f"Bought{bought:,.2f}Purchases" in page.text
        assert count > 20
        assert (await client.get("/customers/c-1?at=1980-01-01")).status_code == 200
        assert (await client.get("/customers/c-1?at=tomorrow")).status_code == 400


async def test_an_id_may_contain_anything(tmp_path: Path) -> None:
    file = warehouse(
        tmp_path / "w.duckdb",
        [touchpoint(customer_id=n, offset=n) for n in range(1, len(ODD) + 1)],
        cards=[card(n, "critical", 0.9) for n in range(1, len(ODD) + 1)],
    )
    with duckdb.connect(str(file)) as connection:
        for number, odd in enumerate(ODD, 1):
            connection.execute("UPDATE customers SET customer = ? WHERE customer_id = ?", [odd, number])
    async with console(file) as client:
        today, everybody = [
            {link for link in read((await client.get(page)).text).links if link.startswith("/customers/")}
            for page in ("/today", "/customers?at_risk=1")
        ]
        assert everybody == {customer_address(odd) for odd in ODD}
        assert len(today & everybody) == 8
        for odd in ODD:
            address = customer_address(odd)
            answer = await client.get(address)
            assert answer.status_code == 200, odd
            page = read(answer.text)
            assert odd.strip() in page.text
            assert page.blocked == []
            beside = await client.get("/queue", params={"customer": odd})
            assert customer_address(odd) in read(beside.text).links
            table = next(link for link in page.links if ".csv" in link)
            assert (await client.get(table)).headers["content-type"].startswith("text/csv")
            back = next(link for link in page.links if "days=14" in link)
            assert odd.strip() in read((await client.get(back)).text).text


async def test_a_viewer_reaches_no_customer_and_no_agent(path: Path, tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    add_person(users, "viewer", "viewer", "a long password")
    async with console(path, users_file=users) as client:
        await client.post("/sign-in", data={"name": "viewer", "password": "a long password"}, headers=OWN)
        for address in ("/queue", "/queue.csv", "/customers/c-1", "/customers/c-1.csv", "/service.csv?table=agents",
                        "/today?where=agent=a-1"):  # fmt: skip
            assert (await client.get(address)).status_code == 403, address
        for page in navigation.found().values():
            if page.role == "viewer":
                answer = await client.get(page.path, params={"period": "28d"})
                assert answer.status_code == 200
                assert [
                    link for link in read(answer.text).links if link.startswith(("/customers", "/queue"))
                ] == []
                assert "a-1" not in read(answer.text).text.split()
    token = add_program(users, "bi", "viewer")
    async with console(path, users_file=users) as client:
        client.headers["authorization"] = f"Bearer {token}"
        for query in ("voice?by=agent", "voice?where=agent=a-1", "training"):
            assert (await client.get(f"/api/v1/views/{query}")).status_code == 403, query
        assert (await client.get("/api/v1/queue")).status_code == 403
        assert (await client.get("/api/v1/views/voice?by=channel")).status_code == 200
        views = (await client.get("/api/v1/views")).json()["views"]
        assert not any("agent" in view["dimensions"] for view in views)

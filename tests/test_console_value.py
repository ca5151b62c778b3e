"""Campaigns, Value and Empathy map of the console against independent SQL."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from console_app import card, console, read, warehouse
from view_rows import made_up

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

ROWS = made_up(11, 3000, 150)
CARDS = [
    {**card(n, ("none", "elevated", "high", "critical")[n % 4], 0.5 + n / 1000),
     **({"p_alive": n / 150, "clv": 10.0 * n, "value_at_risk": 4.0 * n} if n % 5 else {})}
    for n in range(1, 151)
]  # fmt: skip
SCOPE = "since=2026-03-02&until=2026-03-16"
WINDOW = "time >= '2026-03-02' AND time < '2026-03-16'"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse(tmp_path_factory.mktemp("value") / "w.duckdb", ROWS, cards=CARDS)


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


async def behind(client: httpx.AsyncClient, link: str) -> list[dict[str, str]]:
    answer = await client.get(link.replace("/customers?", "/customers.csv?"))
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text)))


def table(html: str, head: str) -> list[list[str]]:
    return next(each for each in read(html).tables if each[0][0] == head)[1:]


def number(text: str) -> float:
    return float(re.sub(r"[^\d.\N{MINUS SIGN}]", "", text).replace("\N{MINUS SIGN}", "-"))


async def test_campaigns_are_those_of_the_messages(path: Path) -> None:
    sent = "kind = 'campaign_sent' OR (kind = 'email_sent' AND campaign IS NOT NULL)"
    async with console(path, release_seconds=0) as client:
        page = (await client.get(f"/campaigns?{SCOPE}")).text
        found = {row[0]: row for row in table(page, "Campaign")}
        ((count, followed, opened),) = asked(
            path,
            f"""WITH sent AS (SELECT * FROM touchpoints WHERE ({sent}) AND {WINDOW} AND campaign = 'autumn'),
            followed AS (
                SELECT * FROM sent WHERE (SELECT max(time) FROM touchpoints) - time >= INTERVAL 7 DAY
            )
            SELECT (SELECT count(*) FROM sent), (SELECT count(*) FROM followed), (
                SELECT count(*) FROM followed f WHERE EXISTS (
                    FROM touchpoints t WHERE t.customer_id = f.customer_id AND kind = 'campaign_opened'
                    AND campaign = 'autumn' AND t.time BETWEEN f.time AND f.time + INTERVAL 7 DAY))""",
        )
        row = found["autumn"]
        assert number(row[1]) == count > 0
        assert row[7].startswith(f"{100 * opened / followed:.0f}%")
        links = [link for link in read(page).links if "of=sent" in link and "autumn" in link]
        customers = await behind(client, links[0])
        assert sum(int(each["rows"]) for each in customers) == count
        for credit in ("first", "decay"):
            # As the view has it: the cost and the revenue of the same messages.
            address = f"{SCOPE}&credit={credit}"
            answer = await client.get(f"/campaigns.csv?table=groups&{address}")
            rows = {each["campaign"]: each for each in csv.DictReader(io.StringIO(answer.text))}
            shown = (await client.get(f"/campaigns?{address}")).text
            head = next(each[0] for each in read(shown).tables if each[0][0] == "Campaign")
            cells = next(each for each in table(shown, "Campaign") if each[0] == "autumn")
            assert number(cells[head.index("Return on it")]) == pytest.approx(
                100 * float(rows["autumn"]["roi"]), abs=0.5
            )
        pressure = table(page, "Messages in 7 days")
        ((most,),) = asked(path, f"SELECT count(*) FROM touchpoints WHERE ({sent}) AND {WINDOW}")
        assert sum(number(row[1]) for row in pressure) == most


async def test_young_messages_are_no_failure(path: Path) -> None:
    async with console(path, release_seconds=0) as client:
        page = (await client.get("/campaigns")).text
        assert "What follows a message is known after 7 days" in page
        # Too few is another thing than too recent, which ends by itself.
        pressure = [cell for row in table(page, "Messages in 7 days") for cell in row]
        assert "too recent" in pressure
        assert "too few" not in [row[7] for row in table(page, "Campaign") if number(row[1]) >= 10]
        assert "not enough of these messages are 7 days old yet" in page
        empty = (await client.get(f"/campaigns?{SCOPE}&where=segment=nobody")).text
        assert "No campaign in this period" in empty


async def test_value_is_that_of_the_purchases_and_the_cards(path: Path) -> None:
    async with console(path, release_seconds=0) as client:
        page = (await client.get(f"/value?{SCOPE}")).text
        by_channel = {row[0]: row for row in table(page, "Channel")}
        for channel, net, purchases in asked(
            path,
            f"""SELECT channel, sum(CASE kind WHEN 'purchase' THEN amount_base ELSE -amount_base END),
                count(*) FILTER (kind = 'purchase')
            FROM touchpoints WHERE kind IN ('purchase', 'return') AND {WINDOW} GROUP BY channel""",
        ):
            row = by_channel[{"call": "Call centre"}.get(channel, channel.capitalize())]
            assert number(row[3]) == pytest.approx(net, abs=0.5)
            assert number(row[2]) == purchases
        gone = """SELECT customer_id FROM touchpoints WHERE kind IN ('churned', 'won_back')
            GROUP BY 1 HAVING arg_max(kind, (time, "partition", "offset")) = 'churned'"""
        levels = table(page, "Level")
        assert [row[0] for row in levels] == ["Critical", "High", "Elevated", "None"]
        for row in levels:
            ((customers, clv, at_risk, valued),) = asked(
                path,
                f"""SELECT count(*), sum(clv), sum(value_at_risk), count(clv) FROM score_cards
                WHERE level = '{row[0].lower()}' AND customer_id NOT IN ({gone})""",
            )
            assert [number(cell) for cell in (row[1], row[3], row[4])] == [customers, clv, at_risk]
            link = next(
                each for each in read(page).links if "of=valued" in each and f"%3D{row[0].lower()}" in each
            )
            assert len(await behind(client, link)) == valued
        first = table(page, "Customer")
        ((most,),) = asked(
            path, f"SELECT max(value_at_risk) FROM score_cards WHERE customer_id NOT IN ({gone})"
        )
        assert number(first[0][2]) == most


async def test_money_at_risk_is_not_made_up_without_a_model(tmp_path: Path) -> None:
    path = warehouse(tmp_path / "w.duckdb", ROWS, cards=[card(n, "high", 0.8) for n in range(1, 20)])
    async with console(path, release_seconds=0) as client:
        page = read((await client.get(f"/value?{SCOPE}")).text)
    assert "No purchase model is in force" in page.text
    assert "are at risk" not in page.text


async def test_part_of_a_week_is_no_fall_of_revenue(path: Path) -> None:
    async with console(path, release_seconds=0) as client:
        page = (await client.get("/value?since=2026-03-02&until=2026-03-18")).text
    drawn = re.search(r'aria-label="Revenue less returns, week by week[^"]*">(.*?)</svg>', page)
    assert drawn
    # Two whole weeks, and not the one that has begun.
    assert drawn[1].count("<circle") == 2


async def test_the_empathy_map_counts_touchpoints_and_speaks_the_language(path: Path) -> None:
    async with console(path, release_seconds=0) as client:
        page = (await client.get(f"/empathy?{SCOPE}&all=1")).text
        does = {row[0]: row for row in table(page, "Does")}
        ((count, customers),) = asked(
            path,
            f"""SELECT count(*), count(DISTINCT customer_id) FROM touchpoints
            WHERE kind = 'page_view' AND channel = 'web' AND {WINDOW}""",
        )
        assert [number(cell) for cell in does["Page viewed: Web"][2:]] == [count, customers]
        link = next(each for each in read(page).links if "page_view+on+web" in each)
        assert len(await behind(client, link)) == customers
        client.cookies.set("language", "pl")
        polish = read((await client.get(f"/empathy?{SCOPE}&all=1")).text)
        items = {row[0] for each in polish.tables for row in each[1:]}
        assert "Wyświetlenie strony: Strona WWW" in items
        assert not [
            item for item in items if re.search(r"\b(on|at|about|because|stars|satisfaction|words)\b", item)
        ]


async def test_the_empathy_map_of_those_who_came_by_a_place(path: Path) -> None:
    async with console(path, release_seconds=0) as client:
        page = (await client.get(f"/empathy?{SCOPE}&through=purchase&all=1")).text
        does = {row[0]: row for row in table(page, "Does")}
        ((count,),) = asked(
            path,
            f"""SELECT count(*) FROM touchpoints WHERE kind = 'search' AND channel = 'app' AND {WINDOW} AND customer_id IN (
                SELECT customer_id FROM touchpoints WHERE kind = 'purchase' AND {WINDOW})""",
        )
        assert number(does["Search: App"][2]) == count
        # The kind may be said in words, and its customers are those of the map.
        assert (await client.get(f"/empathy?{SCOPE}&through=Purchase&all=1")).text.count(
            "<tr>"
        ) == page.count("<tr>")
        link = next(each for each in read(page).links if "search+on+app" in each)
        assert sum(int(each["rows"]) for each in await behind(client, link)) == count

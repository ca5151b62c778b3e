"""Alerts in the console: those that the read model keeps, and the visits that they count."""

from __future__ import annotations

import csv
import io
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from console_app import console, place_signal, read, warehouse
from cxstream.console.queries import own
from cxstream.warehouse.views import query
from cxstream.warehouse.views.selection import Selection
from view_rows import START, answers, database, made_up, touchpoint

if TYPE_CHECKING:
    from pathlib import Path

    from view_rows import Row

HOUR = timedelta(hours=1)
TOLD = START + 9 * HOUR
PLACES = [
    place_signal(1, "raised", TOLD, since=TOLD - HOUR),
    place_signal(2, "cleared", TOLD + 5 * HOUR, customers=None, reasons="[]"),
    place_signal(3, "raised", TOLD + 8 * HOUR, since=TOLD + 7 * HOUR, usual=0.031),
    place_signal(4, "raised", TOLD, dimension="topic", channel=None, name="a, b", measure="effort"),
    place_signal(5, "raised", TOLD + 90 * HOUR, dimension="channel", channel="call", name=None, measure="wait"),
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        *made_up(5, 900, 40),
        *(touchpoint(customer_id=n, offset=9000 + n, kind="error", touchpoint="checkout", failed=True,
                     time=TOLD - timedelta(minutes=3 * n)) for n in range(1, 10)),
    ]  # fmt: skip
    return warehouse(tmp_path_factory.mktemp("alerts") / "w.duckdb", rows, places=PLACES)


def scope(hours: float, since: float = -9) -> str:
    return urlencode({"since": (TOLD + since * HOUR).isoformat(), "until": (TOLD + hours * HOUR).isoformat()})


@pytest.mark.parametrize(
    ("since", "until", "still", "over"),
    [
        (-9, 1, ["s-1", "s-4"], []),
        (-9, 6, ["s-4"], ["s-1"]),
        (6, 20, ["s-3", "s-4"], []),
        (20, 100, ["s-5", "s-3", "s-4"], []),
    ],
)
async def test_an_alert_is_open_until_a_signal_ends_it(
    path: Path, since: float, until: float, still: list[str], over: list[str]
) -> None:
    async with console(path) as client:
        found = (await client.get(f"/api/v1/alerts?{scope(until, since)}")).json()["alerts"]
        assert [row["id"] for row in found if row["ended"] is None] == still
        assert [row["id"] for row in found if row["ended"]] == over
        lines = csv.DictReader(io.StringIO((await client.get(f"/alerts.csv?{scope(until, since)}")).text))
        assert [row["id"] for row in lines] == still + over
        page = read((await client.get(f"/alerts?{scope(until, since)}")).text)
        shown = [each for each in page.tables if each[0][0] == "Place"]
        for each in shown:
            # The latest first, which the heads say.
            times = [datetime.strptime(row[2].replace("\xa0", " "), "%d %b %H:%M") for row in each[1:]]  # noqa: DTZ007
            assert times == sorted(times, reverse=True)
        assert page.text.count("latest first") == len(shown)
        assert [len(each) - 1 for each in shown] == [len(each) for each in (still, over) if each]
        today = read((await client.get(f"/today?{scope(until, since)}")).text)
        assert ("alert of the period is over" in today.text) == (not still and bool(over))
        assert f"{len(still)} open" in today.text


async def test_an_alert_opens_to_the_customers_who_were_hit(path: Path) -> None:
    async with console(path) as client:
        page = read((await client.get(f"/alerts?{scope(1)}&alert=s-1")).text)
        links = [link for link in page.links if "view=visits" in link]
        rows = csv.DictReader(
            io.StringIO((await client.get(links[0].replace("/customers?", "/customers.csv?"))).text)
        )
        assert {row["customer"] for row in rows} >= {f"c-{n}" for n in range(1, 10)}
        # A value with a comma is one value.
        for link in links:
            answer = await client.get(link)
            assert answer.status_code == 200, answer.text
        assert "Error 14\N{MULTIPLICATION SIGN}" in page.text
        assert "2.0%" in page.text
        # The topic has no channel, and the value its comma.
        assert any("where=topic%3Da%5C%2C+b" in link for link in links)


async def test_no_filter_holds_for_alerts(path: Path) -> None:
    async with console(path) as client:
        page = read((await client.get(f"/alerts?{scope(1)}&where=segment=gold")).text)
        assert "Parts of this page know no segment" in page.text
        assert (await client.get(f"/api/v1/alerts?{scope(1)}&where=segment=gold")).status_code == 400


@pytest.mark.parametrize("measure", ["failure", "effort", "wait", "nps"])
def test_visits_are_counted_as_alerts_do(measure: str) -> None:
    chance = random.Random(3)
    rows = [
        {**row, "time": START + timedelta(minutes=chance.randrange(300)), "behind_ms": chance.choice([0, 0, 400_000])}
        for row in made_up(8, 900, 30)
    ]  # fmt: skip
    visits: dict[Any, list[Row]] = {}
    for row in rows:
        minute, clock = (int(at) // 60_000 for at in (_ms(row), _ms(row) + row["behind_ms"]))
        if clock - minute > 2:
            continue
        if measure == "wait" and row["wait_s"] is None:
            continue
        if measure == "nps" and row["kind"] != "survey_nps":
            continue
        key = (
            (row["customer_id"], minute // 30)
            if measure in {"failure", "effort"}
            else (row["partition"], row["offset"])
        )
        visits.setdefault(key, []).append(row)
    bad = [key for key, parts in visits.items() if _is_bad(measure, parts)]
    with database(rows) as connection:
        options = {"measure": measure, "hard_points": "3", "long_wait_s": "30"}
        (found,) = answers(connection, query.result(own("visits"), Selection(options=options)))
    assert 0 < found["bad"] < found["visits"]
    assert (found["visits"], found["bad"]) == (len(visits), len(bad))
    customers = {part["customer_id"] for key in bad for part in visits[key]}
    assert found["bad_customers"] == len(customers)
    assert found["share_low"] < found["share"] < found["share_high"]


def _ms(row: Row) -> float:
    return (row["time"] - START).total_seconds() * 1000 + 86_400_000 * 30


def _is_bad(measure: str, parts: list[Row]) -> bool:
    if measure == "failure":
        return any(
            row["failed"] or row["rage_click"] or row["abandoned"] or row["resolved"] is False
            for row in parts
        )
    if measure == "effort":
        return sum(round(row["effort"], 6) for row in parts) >= 3 - 1e-9
    if measure == "wait":
        return any(row["wait_s"] > 30 for row in parts)
    return any(row["score"] <= 6 for row in parts)

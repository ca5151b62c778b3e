"""What-if of a customer's page against the oracle, over the whole log of a simulated company; and what came after actions."""

from __future__ import annotations

import copy
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from console_app import card, console, read, warehouse
from cxstream.console import leaving, whatif
from cxstream.model.rfc3339 import rfc3339
from cxstream.settings import Settings
from cxstream.warehouse.store import reading
from in_process import cxstream
from oracle import Oracle
from view_rows import START, touchpoint

if TYPE_CHECKING:
    from pathlib import Path

    from view_rows import Row

QUIET = timedelta(days=14)
ANSWERS = [("survey_ces", {"score": 6}), ("survey_csat", {"score": 4})]


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("company")
    options = ("--customers", 40, "--days", 25, "--seed", 6, "--trouble", 4, "--broken", 0, "--quiet")
    assert cxstream("simulate", "--out", folder / "in.ndjson", *options).returncode == 0
    words = (
        "replay",
        folder / "in.ndjson",
        "--out",
        folder / "out",
        "--warehouse",
        folder / "w.duckdb",
        "-q",
    )
    assert cxstream(*words).returncode == 0
    return folder


def rows_of(path: Path, sql: str, values: dict[str, Any] | None = None) -> list[Row]:
    with reading(path, Settings().warehouse) as connection:
        cursor = connection.execute(sql, values or {})
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def courses(path: Path, found: Row) -> dict[str, whatif.Result] | None:
    values = {"customer_id": found["customer_id"], "partition": found["partition"], "limit": 20_000}
    rows = rows_of(path, whatif._TOUCHPOINTS, values)
    results = whatif.courses(Settings(), found["customer"], rows, found)
    return None if results is None else {each.name: each for each in results}


class Asked:
    """The oracle after the whole log; what follows is told to a copy of it."""

    def __init__(self, log: Oracle, found: Row) -> None:
        self.oracle, self.customer, self.time = copy.deepcopy(log), found["customer"], found["time"]
        self.sent = 0

    def say(self, kind: str, data: dict[str, Any]) -> None:
        self.sent += 1
        self.time += timedelta(seconds=1)
        event = {
            "specversion": "1.0", "id": str(self.sent), "source": "/asked", "type": f"cx.touchpoint.{kind}.v1",
            "subject": self.customer, "time": self.time.isoformat(timespec="milliseconds") + "Z", "data": {"channel": "web", **data},
        }  # fmt: skip
        assert self.oracle.feed(event, 10**9 + self.sent) == "accepted"

    def wait(self) -> None:
        self.time += QUIET
        self.oracle.advance((self.time - datetime(1970, 1, 1)) // timedelta(milliseconds=1), 10**9)  # noqa: DTZ001

    def now(self) -> tuple[float, str]:
        data = self.oracle.card(self.customer)
        return data["probability"], data["level"]


def test_what_if_is_what_the_oracle_says_after_the_whole_log(company: Path) -> None:
    log = Oracle(Settings().scoring)
    for number, line in enumerate((company / "in.ndjson").read_bytes().splitlines()):
        log.feed(json.loads(line), number)
    path = company / "w.duckdb"
    cards = rows_of(path, "SELECT * FROM cards ORDER BY probability DESC")
    cases = {}
    for row in rows_of(
        path,
        "SELECT customer_id, kind, case_id FROM touchpoints WHERE kind LIKE 'complaint_%' ORDER BY \"offset\"",
    ):
        mine = cases.setdefault(row["customer_id"], {})
        mine[row["case_id"]] = row["kind"] == "complaint_opened"
    seen: set[str] = set()
    detractors = [found for found in cards if json.loads(found["features"])["detractor"] > 0]
    for found in [*cards[:6], *detractors[:2]]:
        results = courses(path, found)
        assert results is not None
        expected = Asked(log, found)
        assert (found["probability"], found["level"]) == (
            pytest.approx(expected.now()[0], abs=1e-9),
            expected.now()[1],
        )
        wanted = {}
        open_cases = [case for case, is_open in cases.get(found["customer_id"], {}).items() if is_open]
        if open_cases:
            for case in open_cases:
                expected.say("complaint_resolved", {"case_id": case})
            wanted["resolved"] = expected.now()
        for kind, data in ANSWERS:
            expected.say(kind, data)
        wanted["then_content" if open_cases else "content"] = expected.now()
        expected.wait()
        wanted["then_quiet"] = expected.now()
        quiet = Asked(log, found)
        quiet.wait()
        wanted["quiet"] = quiet.now()
        if "promoter" in results:
            better = Asked(log, found)
            better.say("survey_nps", {"score": 9})
            wanted["promoter"] = better.now()
        for name, (probability, level) in wanted.items():
            assert (results[name].probability, results[name].level) == (
                pytest.approx(probability, abs=1e-9),
                level,
            ), name
            # Weights are what moved in the log-odds: with those that were left out for being small, all of it.
            before = found["probability"]
            assert results[name].change == pytest.approx(probability - before, abs=1e-9)
        seen |= results.keys()
    assert seen == whatif.IFS.keys()


async def test_the_page_says_what_if_and_when_it_cannot(company: Path, tmp_path: Path) -> None:
    path = company / "w.duckdb"
    (worst,) = rows_of(path, f"SELECT * FROM cards WHERE {leaving.STAYS} ORDER BY probability DESC LIMIT 1")
    results = courses(path, worst)
    assert results is not None
    async with console(path) as client:
        page = (await client.get(f"/customers/{worst['customer']}")).text
        table = next(each for each in read(page).tables if each[0] == ["If", "Risk", "Level"])
        assert [
            row[0].startswith(whatif.IFS[name]) for row, name in zip(table[2:], results, strict=True)
        ] == [True] * len(results)
        assert [row[1][:4] for row in table[2:]] == [f"{each.probability:.2f}" for each in results.values()]
        past = (await client.get(f"/customers/{worst['customer']}?at=2020-01-01")).text
        assert "What if" not in past
    # A card that the rules of the settings do not give, and a customer who has left.
    rows = [touchpoint(customer_id=n, offset=n) for n in (1, 2)]
    rows.append(touchpoint(customer_id=2, offset=9, kind="churned", channel="crm"))
    other = warehouse(tmp_path / "w.duckdb", rows, (), [card(1, "critical", 0.9), card(2, "critical", 0.9)])
    async with console(other) as client:
        assert "do not give this customer" in (await client.get("/customers/c-1")).text
        assert "What if" not in (await client.get("/customers/c-2")).text


async def test_what_came_after_an_action_is_shown_beside_it(tmp_path: Path) -> None:
    def act(n: int, days: float, probability: float, **more: Any) -> Row:
        time = START + timedelta(days=days)
        return touchpoint(
            customer_id=1, offset=n, time=time, day=time.date(), probability_after=probability, **more
        )

    rows = [
        act(1, 0, 0.7, kind="contact"),
        act(2, 1, 0.8, kind="action_taken", channel="crm", action="call_back", arm="treated"),
        act(3, 2, 0.6, kind="complaint_opened", case_id="k"),
        act(4, 3, 0.5, kind="purchase", amount=5.0),
        act(5, 30, 0.4, kind="action_taken", channel="crm", action="send_voucher", arm="holdout"),
        touchpoint(customer_id=2, offset=6, time=START + timedelta(days=50)),
    ]
    path = warehouse(tmp_path / "w.duckdb", rows, (), [card(1, "high", 0.4)])
    async with console(path) as client:
        found = read((await client.get("/customers/c-1")).text)
        table = next(each for each in found.tables if each[0][0] == "Action")
        assert table[1][0].startswith("Send a voucher Holdout")
        assert table[1][1:] == ["0.40", "nothing since"]
        assert "then: 1 complaint, 1 purchase" in table[2][0]
        assert table[2][1:] == ["0.80", "0.50\N{MINUS SIGN}0.30"]
        day = (START + timedelta(days=2)).date()
        past = read((await client.get(f"/customers/c-1?at={day}")).text)
        table = next(each for each in past.tables if each[0][0] == "Action")
        assert [row[1:] for row in table[1:]] == [["0.80", "not 14 days ago yet"]]


def test_times_are_as_the_contract_has_them() -> None:
    assert whatif._ms(datetime(2026, 3, 1, 12, 0, 0, 5000)) == 1772366400005  # noqa: DTZ001
    assert rfc3339(1772366400005) == "2026-03-01T12:00:00.005Z"

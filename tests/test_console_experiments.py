"""The page Experiments against plain Python over the same touchpoints, and what it says where nothing can be said."""

from __future__ import annotations

import re
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from console_app import card, console, read, warehouse
from cxstream.console import effects
from cxstream.console.arms import HELD, _keys
from cxstream.console.curves import _APART, _apart
from cxstream.model.experiments import Experiment, arm_of
from cxstream.model.parameters import ScoringParams
from cxstream.model.rules import rules_of
from cxstream.settings import ACTIONS, Warehouse
from cxstream.trials import gather
from cxstream.trials.evaluate import Wanted, evaluate
from cxstream.warehouse.store import Store, reading
from test_console_value import behind, number, table
from trial_rows import shop
from view_rows import START, made_up, touchpoint

if TYPE_CHECKING:
    from pathlib import Path

ROWS, SIGNALS = shop()
RULES = {"experiments": {"retention": {"holdout": 0.3}}}
ONE = "/experiments?what=experiment&name=retention&days=14"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return warehouse(tmp_path_factory.mktemp("trial") / "w.duckdb", ROWS, SIGNALS)


def truth() -> dict[str, dict[int, timedelta | None]]:
    """The customers of each arm, and when they left after their signal."""
    left = {row["customer_id"]: row["time"] for row in ROWS if row["kind"] == "churned"}
    arms: dict[str, dict[int, timedelta | None]] = {"treated": {}, "holdout": {}}
    for signal in SIGNALS:
        at = left.get(signal["customer_id"])
        arms[signal["arm"]][signal["customer_id"]] = at and at - signal["time"]
    return arms


async def test_the_page_shows_what_happened_and_opens_to_the_customers(path: Path) -> None:
    arms = truth()
    async with console(path, release_seconds=0) as client:
        listed = (await client.get("/experiments?days=14")).text
        page = (await client.get(ONE)).text
        (row,) = table(listed, "Experiment")
        assert row[0] == "retention"
        assert [number(cell) for cell in row[4:7]] == [1200, len(arms["treated"]), len(arms["holdout"])]
        assert number(row[7]) == 0
        assert row[1] == "fewer leave"
        assert any(
            "name=retention" in link and link.startswith("/experiments") for link in read(listed).links
        )
        outcomes = {each[0]: each for each in table(page, "Outcome")}
        for arm, place in (("treated", 1), ("holdout", 2)):
            gone = [at for at in arms[arm].values() if at is not None]
            assert number(outcomes["Left, %"][place]) == pytest.approx(
                100 * len(gone) / len(arms[arm]), abs=0.05
            )
            link = next(each for each in read(page).links if f"of=left_{arm}" in each)
            assert len(await behind(client, link)) == len(gone)
            link = next(each for each in read(page).links if f"of={arm}" in each)
            assert len(await behind(client, link)) == len(arms[arm])
        by_day = table(page, "Day")
        assert len(by_day) == 15
        # They leave on the third day.
        assert [number(row[1]) for row in by_day[:3]] == [0, 0, 0]
        assert by_day[3][1] == outcomes["Left, %"][2]
        assert "Acting keeps customers." in read(page).text
        # The curves have a drawing of their own on a phone.
        assert page.count('role="img"') == 3
        answer = await client.get(ONE.replace("?", ".csv?"))
        assert answer.text.count("\r\n") == 6


async def test_the_last_look_and_money_are_those_of_evaluate(path: Path) -> None:
    with reading(path, Warehouse()) as connection:
        [found] = gather.subjects(connection, 14)
    result = evaluate(found, Wanted(days=14, cost=2, value=100))
    churn = next(each for each in result.metrics if each.name == "churn")
    async with console(path, release_seconds=0) as client:
        page = (await client.get(f"{ONE}&cost=2&value=100")).text
    looks = table(page, "Entered until")
    assert number(looks[-1][1]) == 1200
    assert number(looks[-1][2]) == round(100 * churn.estimate.difference, 1)
    low, high = (round(100 * end, 1) for end in churn.anytime)
    assert looks[-1][3] == f"[{low:.1f}, {high:.1f}]".replace("-", "\N{MINUS SIGN}")
    assert result.money is not None
    assert result.money.saving is not None
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)<", page))
    assert number(facts["Cost"][4:]) == result.money.cost
    assert number(facts["Saving"][4:]) == round(result.money.saving[0])


async def test_the_ratio_is_tested_and_a_broken_one_is_said_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = warehouse(tmp_path / "w.duckdb", *shop(broken=True))
    async with console(path, release_seconds=0, sections={"scoring": RULES}) as client:
        page = (await client.get(ONE)).text
        # The touchpoints name rules that nobody knows here.
        assert "The rules in force are not those of the settings" in page
        assert "not known" in {row[2] for row in table(page, "Check")}
    monkeypatch.setattr("cxstream.console.in_force._LATEST", "SELECT NULL AS model")
    async with console(path, release_seconds=0, sections={"scoring": RULES}) as client:
        page = (await client.get(ONE)).text
        assert "The arms are broken" in page
        assert "30% to be held out, p 0.000" in page
        assert "broken: p is below 0.001" in {row[2] for row in table(page, "Check")}
        assert "arms are broken" in (await client.get("/experiments?days=14")).text


async def test_nothing_is_made_up_where_nothing_can_be_said(tmp_path: Path, path: Path) -> None:
    async with console(path, release_seconds=0) as client:
        waiting = (await client.get(ONE.replace("14", "90"))).text
        assert "Too early to tell" in waiting
        assert "more customers are waiting" in waiting
        (row,) = table((await client.get("/experiments?days=90")).text, "Experiment")
        assert number(row[7]) == number(row[4]) > 0
        assert 'role="img"' not in waiting
        assert (await client.get(ONE.replace("retention", "other"))).status_code == 404
    few = warehouse(tmp_path / "few.duckdb", *shop(customers=60))
    async with console(few, release_seconds=0) as client:
        page = (await client.get(ONE)).text
        assert "Too early to tell" in page
        assert "An arm lacks" in page
        assert {row[5] for row in table(page, "Outcome")} == {"too early"}
    nothing = warehouse(
        tmp_path / "none.duckdb", [row for row in made_up(3, 200, 10) if row["kind"] != "action_taken"]
    )
    async with console(nothing, release_seconds=0) as client:
        assert "No experiment yet" in (await client.get("/experiments")).text


async def test_a_clear_or_unclear_reading_says_its_estimate_and_what_the_sizes_are_judged_by(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxstream.console.in_force._LATEST", "SELECT NULL AS model")
    for share, judged in ((0.3, "as planned"), (0.345, "uneven"), (0.5, "broken")):
        rules = {"experiments": {"retention": {"holdout": share}}}
        async with console(path, release_seconds=0, sections={"scoring": rules}) as client:
            page = (await client.get(ONE)).text
        check = table(page, "Check")[0]
        assert check[2].startswith(judged), check
        assert "0.001" in check[2]
    monkeypatch.setattr("cxstream.console.readings.verdict", lambda *_: 0)
    async with console(path, release_seconds=0) as client:
        page = (await client.get(ONE)).text
    churn = table(page, "Outcome")[0]
    assert (
        f"{churn[3]} points after allowing for their risk at the start, and anything of {churn[4]}"
        in " ".join(read(page).text.split())
    )


def test_an_interval_that_holds_nothing_again_is_not_clear() -> None:
    def look(low: float, high: float) -> effects.Look:
        return effects.Look(START.date(), 100, effects.Estimate((low + high) / 2, low, high))

    assert effects.clear_since([look(-3, -1), look(-3, 1), look(-3, -1), look(-2, -1)]) == 2
    assert effects.clear_since([look(-3, -1), look(-3, 1)]) is None
    assert effects.clear_since([]) is None


def test_a_curve_needs_enough_customers_of_an_arm() -> None:
    rows: list[dict[str, Any]] = [
        {"arm": "treated", "day": None, "customers": 40},
        {"arm": "treated", "day": 2, "customers": 10},
        {"arm": "holdout", "day": 1, "customers": 29},
    ]
    (arm,) = effects.leaving(rows, 3)
    assert (arm.arm, arm.here) == ("treated", [50, 50, 40, 40])
    assert [share.value for share in arm.shares] == [0, 0, 20, 20]


async def test_who_is_held_out_by_the_last_signal_is_marked_and_not_offered(tmp_path: Path) -> None:
    """c-1 is treated, c-2 held out, c-3 was held out at another level, c-4 has no arm, c-5 no signal with one yet."""
    arms = {1: ["holdout", "treated"], 2: ["treated", "holdout"], 3: ["holdout", None], 4: [None], 5: []}
    signals = [
        {**SIGNALS[0], "customer_id": customer, "time": START + timedelta(hours=n), "id": f"{customer}-{n}", "offset": customer,
         "n": n, "arm": arm, "experiment": arm and "one", "change": "raised" if n == 0 else "eased"}
        for customer, told in arms.items()
        for n, arm in enumerate(told)
    ]  # fmt: skip
    rows = [touchpoint(customer_id=n, offset=n) for n in arms]
    path = warehouse(tmp_path / "w.duckdb", rows, signals, [card(n, "critical", 0.9 - n / 100) for n in arms])
    async with console(path, release_seconds=0) as client:
        today = (await client.get("/today")).text
        assert [row[1] for row in table(today, "Level")] == ["c-1", "c-3", "c-4", "c-5"]
        assert "1 customer at risk is held out" in today
        called = await client.get("/today.csv?table=calls")
        assert "c-2" not in called.text
        listed = re.findall(r'<tr class="qrow".*?</tr>', (await client.get("/queue")).text)
        assert ["Holdout" in row for row in listed] == [False, True, False, False, False]
        for customer in (1, 2, 3):
            page = (await client.get(f"/customers/c-{customer}")).text
            assert ("leave this customer alone" in page) == (customer == 2)
            opened = (await client.get("/queue", params={"customer": f"c-{customer}"})).text
            assert ("Suggested:" in opened) == (customer != 2)
    # The rules of the settings are in force, and c-4 and c-5 will be told an arm.
    rules = {"experiments": {"one": {"holdout": 0.9, "salt": "s"}}}
    arm = {n: arm_of("one", Experiment(holdout=0.9, salt="s"), f"c-{n}") for n in (3, 4, 5)}
    assert set(arm.values()) == {"holdout"}
    label = rules_of(ScoringParams.model_validate(rules), ACTIONS).label
    with Store(path, Warehouse()) as store:
        store.connection.execute("UPDATE touchpoints SET model = ?", [label])
    async with console(path, release_seconds=0, sections={"scoring": rules}) as client:
        listed = re.findall(r'<tr class="qrow".*?</tr>', (await client.get("/queue")).text)
        assert ["Holdout" in row for row in listed] == [False, True, True, True, True]
        # Today says the same of whom to call.
        today = (await client.get("/today")).text
        assert [row[1] for row in table(today, "Level")] == ["c-1"]
        assert "4 customers at risk are held out" in today
        called = (await client.get("/today.csv?table=calls")).text
        assert [f"c-{n}" in called for n in arms] == [True, False, False, False, False]


@given(
    st.text(st.characters(codec="utf-8"), max_size=256),
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1, unique=True
    ),
    st.sampled_from([1e-6, 0.1, 0.5, 0.9]),
)
def test_arms_are_drawn_in_sql_as_by_the_rules(salt: str, customers: list[str], share: float) -> None:
    one = Experiment(holdout=share, salt=salt)
    with duckdb.connect() as connection:
        connection.execute(
            'CREATE TABLE risk_signals (customer_id INT, arm VARCHAR, time INT, partition INT, "offset" INT, n INT)'
        )
        connection.execute("CREATE TABLE touchpoints (customer_id INT, arm VARCHAR, kind VARCHAR)")
        those = "SELECT 0 AS customer_id, unnest($customers::VARCHAR[]) AS customer, 'high' AS level"
        drawn = [{"level": "high", **_keys(salt or "one"), "share": share}]
        found = connection.execute(
            f"WITH those AS ({those}), {HELD} SELECT customer FROM held",
            {"customers": customers, "experiments": drawn},
        ).fetchall()
    assert {customer for (customer,) in found} == {
        each for each in customers if arm_of("one", one, each) == "holdout"
    }


@given(st.lists(st.integers(0, 300), min_size=1, max_size=4))
def test_texts_at_the_ends_of_curves_lie_apart(wanted: list[int]) -> None:
    found = _apart(wanted, 208)
    order = sorted(found)
    assert order[-1] <= 208
    assert all(after - before >= _APART for before, after in pairwise(order))
    assert [place for _, place in sorted(zip(found, range(len(wanted)), strict=True))] == sorted(
        range(len(wanted)), key=wanted.__getitem__
    )
    far = sorted(wanted)
    if far[-1] <= 208 and all(after - before >= _APART for before, after in pairwise(far)):
        assert found == wanted

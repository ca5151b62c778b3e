"""The page Models against plain Python, and what it says without enough data."""

from __future__ import annotations

import json
import os
import random
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from console_app import card, console, read, warehouse
from cxstream.console.pages import models
from cxstream.console.pages.models import area
from cxstream.model.parameters import ScoringParams
from test_console_value import behind, number, table
from view_rows import START, touchpoint

if TYPE_CHECKING:
    from pathlib import Path

    from view_rows import Row


def company(customers: int, *, leaves: bool = True) -> list[Row]:
    """Customers whose risk is that of leaving; one in ten had left before, and some had another risk earlier."""
    chance, rows = random.Random(5), []
    for number_ in range(1, customers + 1):
        risk = round(chance.random() ** 2, 2)

        def add(days: float, kind: str, probability: float, customer: int = number_) -> None:
            time = START + timedelta(days=days)
            rows.append(
                touchpoint(
                    customer_id=customer,
                    time=time,
                    kind=kind,
                    offset=len(rows),
                    probability_after=probability,
                )
            )

        add(0, "page_view", 0.99)
        add(5, "churned" if number_ % 10 == 0 else "page_view", risk)
        if leaves and number_ % 10 and chance.random() < risk:
            add(20, "churned", 0.9)
    rows.append(
        touchpoint(customer_id=1, time=START + timedelta(days=40), offset=len(rows), probability_after=0.5)
    )
    return rows


async def test_the_risk_of_then_is_compared_with_who_left_since(tmp_path: Path) -> None:
    rows = company(1000)
    away, chance = {r["customer_id"] for r in rows if r["kind"] == "churned"}, random.Random(7)
    # Who has left is no customer whose risk could have drifted.
    now = {n: 0.99 if n in away else chance.random() for n in range(1, 1001)}
    # Nor is somebody who has not been seen for 90 days, whom no model is fitted to.
    asleep = {n for n in now if n % 7 == 0}
    cards = [
        {**card(n, "none", 0.99 if n in asleep else risk), "touches_90": int(n not in asleep)}
        for n, risk in now.items()
    ]
    path = warehouse(tmp_path / "w.duckdb", rows, cards=cards)
    cut = START + timedelta(days=10)
    risk = {r["customer_id"]: r["probability_after"] for r in rows if r["time"] <= cut}
    gone = {r["customer_id"] for r in rows if r["time"] <= cut and r["kind"] == "churned"}
    left = {r["customer_id"] for r in rows if r["time"] > cut and r["kind"] == "churned"}
    here = sorted(set(risk) - gone, key=lambda customer: (-risk[customer], customer))
    y = np.array([customer in left for customer in here])
    p = np.array([risk[customer] for customer in here])
    async with console(path, release_seconds=0) as client:
        page = (await client.get("/models")).text
        tenths = table(page, "Tenth by risk")
        assert len(tenths) == 10
        for row, members in zip(tenths, np.array_split(np.arange(len(here)), 10), strict=True):
            assert number(row[1]) == len(members)
            assert number(row[2]) == pytest.approx(100 * p[members].mean(), abs=0.06)
            assert number(row[3].split("[")[0]) == pytest.approx(100 * y[members].mean(), abs=0.06)
            assert number(row[5]) == y[members].sum()
        link = next(each for each in read(page).links if "of=left" in each and "part%3D01" in each)
        assert {row["customer"] for row in await behind(client, link)} == {
            f"c-{customer}" for customer in here[:90] if customer in left
        }
    text = read(page).text
    auc = roc_auc_score(y, p)
    assert f"{auc:.2f}" in text
    order = np.argsort(np.argsort(p, kind="stable"), kind="stable") + 1.0
    for value in np.unique(p):
        order[p == value] = order[p == value].mean()
    assert area(len(y), int(y.sum()), float(order[y].sum())).value == pytest.approx(auc)
    edges = np.quantile(p, np.arange(1, 10) / 10)
    before, after = (
        np.maximum(1e-4, np.bincount(np.searchsorted(edges, each), minlength=10) / len(each))
        for each in (p, [risk for n, risk in now.items() if n not in away | asleep])
    )
    shown = re.search(r"Drift of the risk \(PSI\)\s*([\d.]+)\s*shifted", text)
    assert shown, text
    assert float(shown[1]) == pytest.approx(np.sum((after - before) * np.log(after / before)), abs=0.02)
    assert "It was not fitted to your customers" in text


async def test_nothing_is_said_of_too_few(tmp_path: Path) -> None:
    path = warehouse(tmp_path / "w.duckdb", company(100, leaves=False))
    async with console(path, release_seconds=0) as client:
        page = (await client.get("/models")).text
    assert "Not enough data" in page
    assert "There are 0 and 90." in page


CHECK = {
    "customers": 400, "departures": 31, "share": 0.05,
    "scores": [{"model": "linear", "auc": 0.81234, "average_precision": 0.27, "brier": 0.0267, "calibration_error": 0.0066, "log_loss": 0.11234},
               {"model": "boosting", "auc": 0.82, "average_precision": 0.25, "brier": 0.02, "calibration_error": 0.01, "log_loss": None}],
    "auc": [0.71, 0.89], "calibration_error": [0.004, 0.012], "drift": 0.3,
    "bins": [{"customers": 200, "expected": 0.01, "observed": 0.02, "least": 0.015, "most": 0.025},
             {"customers": 201, "expected": 0.11, "observed": 0.09, "least": 0.07, "most": 0.12}],
    "deciles": [{"lift": 1.64, "captured": 0.82}, {"lift": 0.36, "captured": 1.0}],
    "groups": [{"by": "segment", "name": "loyal", "departures": 22, "expected": 0.0364, "observed": 0.028, "auc": 0.685},
               {"by": "channel", "name": "", "departures": 9, "expected": 0.03, "observed": 0.05, "auc": None},
               {"by": "channel", "name": "call", "departures": 3, "expected": 0.03, "observed": 0.05, "auc": None}],
    "costs": {"pays": 0.125, "best": 0.1134, "contacted": 0.0483, "caught": 0.468, "saving": 361.84},
    "lead": {"departures": 31, "seen": 0.742, "days": [5.2, 11.8, 26.0], "early": []},
}  # fmt: skip
CARD = {
    "horizon_days": 30, "customers": 1000, "departures": 90, "model": {"coefficients": {"effort": 2.0000004, "lapse": ScoringParams().coefficients["lapse"]}},
    "check": CHECK, "checked_from": "2026-05-22", "costs": {"contact": 2.5, "success": 0.2, "value": 200.0}, "more": [1],
    "tried": [{"feature": "effort", "log_loss": 0.11354, "saves": 0.0012, "auc": 0.8}, {"feature": "<b>new", "log_loss": 0.1123, "saves": -0.00004, "auc": None}],
}  # fmt: skip


async def test_the_model_card_is_shown(tmp_path: Path) -> None:
    path = warehouse(tmp_path / "w.duckdb", company(100, leaves=False))
    file = tmp_path / "card.json"

    async def page(said: object, language: str = "en", **scoring: object) -> str:
        file.write_text(said if isinstance(said, str) else json.dumps(said))
        sections = {"warehouse": {"model_card": file}, "scoring": scoring}
        async with console(path, sections, release_seconds=0) as client:
            answer = await client.get("/models", headers={"accept-language": language})
            assert answer.status_code == 200
            return answer.text

    shown = await page(CARD, coefficients={"effort": 2.0})
    text = " ".join(read(shown).text.split())
    assert "the risk of 30 days, of 400 customers whom the model had not seen. 31 of them left." in text
    assert "another model" not in text
    for said in (
        "AUC 0.81 [0.71, 0.89]",
        "PR-AUC 0.27 by chance 0.05",
        "Calibration error 0.007 [0.004, 0.012]",
        "Drift of the risk (PSI) 0.30 shifted",
        "Log loss 0.1123",
        "Elevated at the last cutoff before 74% of 31 who left",
        "Days seen before, half of these 12 [5, 26]",
        "A contact pays from 12.5% cost 2.50, keeps 20%, value 200",
        "Best threshold 11.3%",
        "Contacted above it 4.8%",
        "Reached of those who leave 47%",
        "Saved for each 1,000 customers 362",
    ):
        assert "".join(said.split()) in "".join(text.split()), said
    minus = "\N{MINUS SIGN}"
    assert table(shown, "Model") == [
        ["the model, as in the rules", "0.812", "0.270", "0.1123", "0.007"],
        ["gradient boosting, same features", "0.820", "0.250", "\N{EN DASH}", "0.010"],
    ]
    assert table(shown, "Feature") == [
        ["High efforteffort", "+0.00120", "0.800"],
        ["<b>new<b>new", f"{minus}0.00004", "\N{EN DASH}"],
    ]
    tenths = table(shown, "Checked tenth")
    assert [[row[0], row[1], row[2], row[3].split("[")[0], *row[5:]] for row in tenths] == [
        ["1", "201", "11.0", "9.0", "\N{MULTIPLICATION SIGN}1.6", "82%"],
        ["2", "200", "1.0", "2.0", "\N{MULTIPLICATION SIGN}0.4", "100%"],
    ]
    groups = table(shown, "Segment or channel")
    assert [row[1:] for row in groups] == [
        ["22", "3.6", "2.8", "0.69"],
        ["9", "3.0", "5.0", "too few"],
        ["3", "3.0", "5.0", "too few"],
    ]
    assert [row[0] for row in groups] == ["loyalSegment", "unknownChannel", "Call centreChannel"]
    assert "Karta modelu" in await page(CARD, "pl")
    assert "It is of another model" in await page(CARD, coefficients={"effort": 2.1})
    never = {**CHECK, "costs": {**CHECK["costs"], "best": None}, "groups": [], "scores": CHECK["scores"][:1]}
    assert "none: no contact pays" in await page({**CARD, "check": never})
    markup = {**CHECK["groups"][0], "by": "<script>", "name": "<img src=x>%(n)s"}
    shown = await page({**CARD, "check": {**CHECK, "groups": [markup]}})
    assert "&lt;img src=x&gt;%(n)s" in shown
    assert "<img" not in shown
    assert "<script>" not in shown
    # Of a card of an earlier version, nothing is said that it does not say.
    old = {**CHECK, "scores": CHECK["scores"][:1]}
    del old["lead"]
    shown = await page({**CARD, "check": old, "tried": []})
    assert "Beside other models" not in shown
    assert "What each feature earns" not in shown
    assert "How early it saw" not in shown
    assert "90 customers left. It takes a longer log" in await page({**CARD, "check": None})
    huge = {**CHECK, "bins": [{**CHECK["bins"][0], "observed": 1e308}]}
    long = " " * (1 << 20)
    for broken in (
        "{",
        "[]",
        *(json.dumps({**CARD, "check": each}) for each in ({}, huge)),
        json.dumps({**CARD, "check": {**CHECK, "customers": 10**400}}),
        json.dumps(CARD) + long,
    ):
        assert "The model card cannot be read" in await page(broken)


async def test_a_page_whose_queries_read_two_states_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = warehouse(tmp_path / "w.duckdb", company(1000))
    tenths, times = models._tenths, []

    async def replaced(ask: Any) -> Any:
        times.append(len(times))
        if not is_still and len(times) == 1:
            # Another process replaces the file between two queries, by one that has nothing for this one.
            os.utime(path, (len(times), len(times)))
        return [] if is_still or len(times) == 1 else await tenths(ask)

    monkeypatch.setattr(models, "_tenths", replaced)
    is_still = False
    async with console(path, release_seconds=0) as client:
        answer = await client.get("/models")
        assert (answer.status_code, len(times)) == (200, 2)
        assert len(table(answer.text, "Tenth by risk")) == 10
        # What fails without that is a defect, and says so.
        is_still = True
        os.utime(path, (99, 99))
        assert (await client.get("/models")).status_code == 500


async def test_without_a_model_card_the_page_says_how_to_make_one(tmp_path: Path) -> None:
    path = warehouse(tmp_path / "w.duckdb", company(100, leaves=False))
    async with console(path, release_seconds=0) as client:
        page = (await client.get("/models")).text
    assert "No model card" in page
    assert "cxstream train churn touchpoints.ndjson --out rules.toml --report card.json" in page

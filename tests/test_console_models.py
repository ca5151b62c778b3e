"""The page Models against plain Python, and what it says without enough data."""

from __future__ import annotations

import random
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from console_app import card, console, read, warehouse
from cxstream.console.pages.models import area
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
    path = warehouse(tmp_path / "w.duckdb", rows, cards=[card(n, "none", risk) for n, risk in now.items()])
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
        for each in (p, [risk for n, risk in now.items() if n not in away])
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

"""What customers are worth: p_alive, clv and value_at_risk of score cards and signals."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.cli.customer import _worth
from cxstream.kernels.worth import FACTS, SCRATCH, WORTH, expect
from cxstream.model.parameters import PurchaseModel, ScoringParams, ValueModel
from cxstream.scoring.state.worth import MONTH_DAYS, YEAR_DAYS, worth
from default_1 import DEFAULT_1, default_1
from oracle import expected_purchases
from test_purchases import Shop

REFERENCE = Path(__file__).with_name("cases") / "cdnow_reference.csv"
BUYS = {"r": 0.52, "alpha": 6.2, "a": 0.89, "b": 1.6, "unit_days": 7}
VALUE = {"p": 6.25, "q": 3.74, "v": 15.44, "margin": 0.4, "horizon_days": 365, "discount": 0.12}
MODELS = default_1(purchase_model=BUYS, value_model=VALUE)
SMALL, LARGE = 1e-9, 1e9


def reference() -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    with REFERENCE.open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def expected(
    r: float, alpha: float, a: float, b: float, facts: list[float], ends: list[float], weights: list[float]
) -> float:
    out = np.empty(1)
    model = np.zeros(WORTH)
    model[:4] = r, alpha, a, b
    scratch = np.empty((SCRATCH, len(ends)))
    expect(model, np.array([facts]), np.array(ends), np.array(weights), scratch, out)
    return float(out[0])


def data_of(shop: Shop, who: str = "ann") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shop.engine.card(who) or b"{}")["data"]
    return found


# --- against published software


def test_the_value_of_cdnow_customers_is_that_of_other_software() -> None:
    """BG/NBD is MBG/NBD of customers who cannot have left before their last purchase: b is one less."""
    known = reference()
    ends = [4.345 * month for month in range(1, 13)]
    factors = [1.01**-month for month in range(1, 13)]
    weights = [one - other for one, other in zip(factors, [*factors[1:], 0.0], strict=True)]
    for x, age, alive, spend, clv in zip(
        *(known[name] for name in ("x", "T", "p_alive", "spend", "clv")), strict=True
    ):
        purchases = expected(0.243, 4.414, 0.793, 1.426, [alive, x + 1, 0, age, 0], ends, weights)
        assert purchases * spend == pytest.approx(clv, rel=1e-6)


# --- the two ways to compute expectations


@pytest.mark.parametrize("seed", range(60))
def test_expectations_equal_the_published_formula(seed: int) -> None:
    random = np.random.default_rng(seed)
    r, alpha, b = 10 ** random.uniform([-1.5, -0.5, -0.5], [1, 3, 1.5])
    a = 10 ** random.uniform(-0.7, 1)
    age = random.uniform(0, 1500)
    x, ahead = float(random.integers(0, 20)), random.uniform(1, 900)
    # Its sum cancels where this is near 1, and is long where that is far.
    if abs(a - 1) < 0.02 or ahead / (alpha + age + ahead) > 0.995:
        return
    mine = expected(r, alpha, a, b, [1.0, x + 1, 0, age, 0], [ahead], [1.0])
    assert mine == pytest.approx(expected_purchases(r + x, alpha + age, a, b + x, ahead), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("repeats", [900.0, 3000.0])
def test_customers_who_buy_every_day_are_integrated(repeats: float) -> None:
    """(1 + t / A) ^ -R is too small for a float, so the sum over numbers of purchases has no first term."""
    age, ahead = 2 * repeats, 1830.0
    assert repeats * math.log1p(ahead / age) > 200
    mine = expected(0.5, 3.0, 0.9, 4000.0, [1.0, repeats + 1, 0, age, 0], [ahead], [1.0])
    nodes, mass = np.polynomial.legendre.leggauss(400)
    p = (nodes + 1) * 0.01
    log = (0.9 - 1) * np.log(p) + (4000 + repeats) * np.log1p(-p)
    w = mass * np.exp(log - log.max())
    each = -np.expm1(-(0.5 + repeats) * np.log1p(p * ahead / (3 + age))) / p
    assert mine == pytest.approx(float(w @ each / w.sum()), rel=1e-3)


def test_there_is_no_gap_at_a_of_1() -> None:
    around = [
        expected(0.6, 30, a, 2.5, [1.0, 4, 0, 200, 0], [365.0], [1.0]) for a in (1 - 1e-9, 1.0, 1 + 1e-9)
    ]
    assert around == pytest.approx([around[1]] * 3, rel=1e-8)


extremes = st.sampled_from((SMALL, 1e-3, 1.0, 1e3, LARGE))


@given(extremes, extremes, extremes, extremes, st.sampled_from((1.0, 365.0, 1830.0)), st.data())
@settings(max_examples=200, deadline=None)
def test_every_valid_model_gives_numbers(
    r: float, alpha: float, a: float, b: float, horizon: float, data: st.DataObject
) -> None:
    buys = PurchaseModel(r=r, alpha=alpha, a=a, b=b, unit_days=data.draw(extremes))
    value = ValueModel(
        p=data.draw(extremes), q=data.draw(st.sampled_from((1 + 1e-9, 2.0, LARGE))), v=data.draw(extremes),
        margin=data.draw(st.sampled_from((SMALL, 1.0))), horizon_days=horizon, discount=data.draw(st.floats(0, 10)),
    )  # fmt: skip
    span = data.draw(st.integers(0, 100_000))
    bought = data.draw(st.sampled_from([n for n in (1, 2, 1000, 100_001) if n <= span + 1]))
    age, spent = span + data.draw(st.sampled_from((0, 1, 10_000))), data.draw(st.sampled_from((0.0, 1e18)))
    [found] = worth(buys, value).clv(np.array([[0.5, bought, span, age, spent]]))
    assert found is not None
    assert math.isfinite(found)
    assert found >= 0


def test_the_horizon_is_cut_into_parts_of_at_most_a_month() -> None:
    buys = PurchaseModel(r=1, alpha=1, a=1, b=1)
    for days, parts in ((1, 1), (30, 1), (31, 2), (365, 12), (1830, 61)):
        found = worth(buys, ValueModel(p=1, q=2, v=1, horizon_days=days, discount=0.5))
        assert len(found.ends) == parts
        assert found.ends[-1] == days
        assert np.diff(found.ends, prepend=0).max() <= MONTH_DAYS
        # What is foretold for the last part counts with the discount of the end.
        assert found.weights[-1] == pytest.approx(1.5 ** (-days / YEAR_DAYS))
        assert found.weights.sum() == pytest.approx(1.5 ** (-found.ends[0] / YEAR_DAYS))


def test_no_customer_is_a_row_of_nothing() -> None:
    buys, value = PurchaseModel(r=1, alpha=1, a=1, b=1), ValueModel(p=1, q=2, v=1)
    assert worth(buys, value).clv(np.empty((0, FACTS))).tolist() == []
    assert np.isnan(worth(buys, value).clv(np.zeros((2, FACTS)))).all()


# --- score cards and signals


def signals_of(params: ScoringParams, *, buys: bool) -> list[dict[str, Any]]:
    """`data` of the churn-risk signals of somebody who complains twice and goes."""
    shop = Shop(params)
    if buys:
        shop.buy(0)
    shop.say("complaint_opened", 1, case_id="k1")
    shop.say("complaint_opened", 1, case_id="k2")
    found = [json.loads(row.value)["data"] for row in shop.say("tick", 60).signals]
    assert found
    return found


def test_signals_have_what_the_models_give() -> None:
    for data in signals_of(DEFAULT_1, buys=True):
        assert not {"p_alive", "clv"} & data.keys()
    for data in signals_of(MODELS, buys=False):
        assert (data["p_alive"], data["clv"], data["value_at_risk"]) == (None, None, None)
    for data in signals_of(default_1(purchase_model=BUYS), buys=True):
        assert 0 < data["p_alive"] < 1
        assert (data["clv"], data["value_at_risk"]) == (None, None)


def test_without_models_nothing_is_known() -> None:
    shop = Shop(DEFAULT_1)
    shop.buy(0)
    data = data_of(shop)
    assert (data["p_alive"], data["clv"], data["value_at_risk"]) == (None, None, None)
    assert data["features"]["lapse"] == 0


def test_a_model_of_purchases_alone_says_who_is_alive() -> None:
    shop = Shop(default_1(purchase_model=BUYS))
    shop.buy(0)
    shop.say("page_view", 0, who="bob")
    assert 0 < data_of(shop)["p_alive"] < 1
    assert (data_of(shop)["clv"], data_of(shop)["value_at_risk"]) == (None, None)
    assert data_of(shop, "bob")["p_alive"] is None


def test_a_score_card_says_what_a_customer_is_worth() -> None:
    shop = Shop(MODELS)
    for day, amount in ((0, 40), (20, 60), (41, 20)):
        shop.buy(day, amount)
    shop.bring_back(42, 15)
    shop.say("tick", 75.5)
    data = data_of(shop)
    alpha = 6.2 * 7
    alive = 1 / (1 + 0.89 / 3.6 * ((alpha + 75) / (alpha + 41)) ** 2.52)
    assert data["p_alive"] == pytest.approx(alive, rel=1e-9)
    assert data["features"]["lapse"] == pytest.approx(1 - alive, rel=1e-9)
    months, coming, before = [365 / 12 * i for i in range(1, 13)], 0.0, 0.0
    for end in months:
        until = expected_purchases(2.52, alpha + 75, 0.89, 3.6, end)
        coming += (until - before) / 1.12 ** (end / 365.25)
        before = until
    spend = 6.25 * (15.44 + 105) / (6.25 * 3 + 3.74 - 1)
    assert data["clv"] == pytest.approx(0.4 * spend * alive * coming, rel=1e-6)
    assert data["value_at_risk"] == pytest.approx(data["clv"] * data["probability"], rel=1e-12)


def test_signals_name_the_money_and_why_the_customer_has_lapsed() -> None:
    shop = Shop(MODELS)
    for day in range(0, 80, 10):
        shop.buy(day, 100)
    shop.say("complaint_opened", 80, case_id="k1")
    shop.say("complaint_opened", 80, case_id="k2")
    signals = [json.loads(row.value) for row in shop.say("tick", 300).signals]
    last = signals[-1]["data"]
    assert last["value_at_risk"] == last["clv"] * last["probability"] > 0
    lapse = next(reason["value"] for reason in last["reasons"] if reason["feature"] == "lapse")
    assert last["p_alive"] == pytest.approx(1 - lapse)
    said = {reason["feature"]: reason["evidence"] for reason in last["reasons"]}
    assert said["lapse"].startswith("last purchase ")
    assert said["lapse"].endswith(" days ago, usually one every 10 days")


def test_the_command_says_what_a_customer_is_worth() -> None:
    data = {"p_alive": 0.876, "clv": 1234.5, "value_at_risk": 12.345}
    assert _worth(data) == "still buys with 88%, worth 1,234.50, 12.35 of it at risk"
    assert _worth(data | {"clv": None, "value_at_risk": None}) == "still buys with 88%"
    assert _worth({"p_alive": None, "clv": None}) == ""
    # A card of an earlier version.
    assert _worth({}) == ""


def test_restored_state_is_worth_the_same() -> None:
    shop = Shop(MODELS)
    for day in range(4):
        shop.buy(3 * day, 10 + day)
    shop.say("tick", 200)
    before = shop.engine.card("ann")
    shop.reload()
    assert shop.engine.card("ann") == before
    assert data_of(shop)["clv"] > 0

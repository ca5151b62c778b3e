"""Models of purchases: published figures, planted parameters, and the command that writes rules."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.model.errors import InputError
from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.rules.file import read_file
from cxstream.settings import ACTIONS
from cxstream.training.customers import Customers, coarse, group
from cxstream.training.holdout import hold_out
from cxstream.training.log import Source, read_log
from cxstream.training.models import BG_NBD, MBG_NBD, MODELS, PARETO_NBD, PurchaseLikelihood
from cxstream.training.plot import Series, line_plot
from cxstream.training.purchases import Fitted, contractual, fit_model, fit_purchases
from cxstream.training.rfm import read_rfm
from cxstream.training.spend import Spend, expected_spend
from in_process import cxstream
from strategies import rfc3339
from test_docs import ROOT
from test_worth import REFERENCE, reference

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CDNOW = ROOT / "examples" / "cdnow"
DATA = ROOT.parent / "shared" / "data" / "cdnow"
PUBLISHED = np.array([0.243, 4.414, 0.793, 2.426])
# Standard errors within which a planted value is found; the seeds are fixed.
NEAR = 3


@pytest.fixture(scope="module")
def cdnow() -> Fitted:
    return fit_purchases(read_rfm(CDNOW / "customers.csv"))


# --- published figures


def test_bg_nbd_of_cdnow_is_as_published(cdnow: Fitted) -> None:
    """Fader, Hardie and Lee 2005: .243, 4.414, .793, 2.426, log-likelihood -9582.4."""
    fit = cdnow.purchases["bg_nbd"]
    assert fit.converged
    assert fit.values == pytest.approx(PUBLISHED, rel=2e-3)
    assert fit.log_likelihood == pytest.approx(-9582.4256, abs=1e-3)
    total, _ = BG_NBD.log_likelihood(group(read_rfm(CDNOW / "customers.csv")), PUBLISHED)
    assert total == pytest.approx(-9582.42683118, abs=1e-6)


def test_pareto_nbd_and_mbg_nbd_of_cdnow_are_as_published(cdnow: Fitted) -> None:
    """Pareto/NBD: Fader and Hardie 2005, .553, 10.578, .606, 11.669, log-likelihood -9595.0."""
    pareto = cdnow.purchases["pareto_nbd"]
    assert pareto.values == pytest.approx([0.553, 10.578, 0.606, 11.669], rel=1e-3)
    assert pareto.log_likelihood == pytest.approx(-9595.0, abs=0.05)
    mbg = cdnow.purchases["mbg_nbd"]
    assert mbg.values == pytest.approx([0.525, 6.183, 0.891, 1.614], rel=1e-3)
    assert all(fit.converged and fit.agreeing == fit.starts for fit in cdnow.purchases.values())


def test_gamma_gamma_of_cdnow_is_as_published(cdnow: Fitted) -> None:
    """Fader and Hardie 2013: 6.25, 3.74, 15.44, of 946 customers."""
    assert cdnow.spend is not None
    assert cdnow.spend.values == pytest.approx([6.25, 3.74, 15.44], rel=2e-3)
    assert (cdnow.spend.customers, cdnow.warnings) == (946, [])
    assert cdnow.correlation == pytest.approx(0.11, abs=0.01)


def assert_like_other_software(known: dict[str, Floats], names: tuple[str, str, str]) -> None:
    x, span, age = (known[name] for name in ("x", "t_x", "T"))
    alive, coming, spend = names
    assert BG_NBD.alive(PUBLISHED, x, span, age) == pytest.approx(known[alive], abs=1e-6)
    for ahead in (1, 10, 39, 52):
        mine = BG_NBD.expected(PUBLISHED, x, span, age, ahead)
        assert mine == pytest.approx(known[f"{coming}{ahead}"], abs=1e-6)
    mine = expected_spend(np.array([6.25, 3.74, 15.44]), x, known["zbar"])
    assert mine == pytest.approx(known[spend], abs=1e-6)


def test_customers_of_cdnow_are_as_other_software_has_them() -> None:
    known = reference()
    assert_like_other_software(known, ("p_alive", "exp_", "spend"))
    assert_like_other_software(known, ("r_p_alive", "r_exp_", "r_spend"))


@pytest.mark.parametrize(
    ("file", "x", "t_x"),
    [
        ("reference_lifetimes_published_params.csv", "frequency", "recency"),
        ("reference_R_BTYD_published_params.csv", "x", "t_x"),
    ],
)
def test_all_customers_of_cdnow_are_as_other_software_has_them(file: str, x: str, t_x: str) -> None:
    if not (DATA / file).exists():
        pytest.skip(f"{file} is not there: an extract of it is tested")
    with (DATA / file).open() as lines:
        rows = [{name.strip(): value for name, value in row.items()} for row in csv.DictReader(lines)]
    known = {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "ID"}
    assert len(rows) == 2357
    known |= {"x": known[x], "t_x": known[t_x]}
    known["zbar"] = known.get("zbar", known.get("monetary_value", known["x"]))
    assert_like_other_software(known, ("p_alive", "exp_purch_", "exp_avg_profit"))


def foretold(*args: str) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Columns of what `cxstream train foretell` prints."""
    done = cxstream("train", "foretell", *args)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(done.stdout.decode().splitlines()))
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in rows[0]}


VALUES = ("--values", "bg_nbd=0.243,4.414,0.793,2.426")


@pytest.mark.parametrize(
    ("file", "alive", "coming", "spend"),
    [
        (REFERENCE, "p_alive", "exp_", "spend"),
        (DATA / "reference_lifetimes_published_params.csv", "p_alive", "exp_purch_", "exp_avg_profit"),
        (DATA / "reference_R_BTYD_published_params.csv", "p_alive", "exp_purch_", "exp_avg_profit"),
    ],
    ids=lambda each: getattr(each, "stem", ""),
)
def test_the_command_foretells_of_cdnow_what_other_software_does(
    tmp_path: Path, file: Path, alive: str, coming: str, spend: str
) -> None:
    if not file.exists():
        pytest.skip(f"{file.name} is not there: an extract of it is tested")
    with file.open() as lines:
        rows = [{name.strip(): value for name, value in row.items()} for row in csv.DictReader(lines)]
    names = {"x": "frequency", "t_x": "recency", "zbar": "monetary_value"}
    mine = tmp_path / "customers.csv"
    with mine.open("w") as out:
        out.write("x,t_x,T,zbar\n")
        out.writelines(
            ",".join(row.get(name, row.get(names.get(name, ""), "")) for name in ("x", "t_x", "T", "zbar"))
            + "\n"
            for row in rows
        )
    ahead = (1, 10, 39, 52)
    said = foretold(str(mine), *VALUES, "--spend", "6.25,3.74,15.44", *(f"--ahead={each}" for each in ahead))
    known = {name: [float(row[name]) for row in rows] for name in rows[0]}
    assert said["p_alive"] == pytest.approx(known[alive], abs=1e-6)
    assert said["spend"] == pytest.approx(known[spend], abs=1e-6)
    for each in ahead:
        assert said[f"purchases_{each}"] == pytest.approx(known[f"{coming}{each}"], abs=1e-6)


def test_the_command_foretells_of_one_customer() -> None:
    """The customer with 26 repeats of the walk-through of the R package BTYD, and one by rules."""
    said = foretold("--customer", "26,30.86,31", *VALUES)
    assert said["p_alive"] == pytest.approx([0.9689], abs=5e-5)
    assert said["purchases_52"] == pytest.approx([25.76], abs=5e-3)


def test_the_command_foretells_by_the_models_of_rules(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(
        "[scoring.purchase_model]\nr = 0.5\nalpha = 6.0\na = 0.9\nb = 1.6\n"
        "[scoring.value_model]\np = 6.25\nq = 3.74\nv = 15.44\n"
    )
    said = foretold("--customer", "2,3,8,20", "--rules", str(rules), "--ahead", "4.5")
    facts = (np.array([each]) for each in (2.0, 3.0, 8.0))
    assert said["purchases_4.5"] == pytest.approx(
        MBG_NBD.expected(np.array([0.5, 6, 0.9, 1.6]), *facts, 4.5), rel=1e-9
    )
    assert said["spend"] == pytest.approx(
        [float(expected_spend(np.array([6.25, 3.74, 15.44]), 2.0, 20.0))], rel=1e-9
    )
    for args, message in (
        (["--customer", "2,3,8"], "the rules have no purchase_model"),
        (["--customer", "2,9,8", *VALUES], "the last purchase (9) is after the end (8)"),
        (["--customer", "2,3,8", "--values", "bg_nbd=1,2,3"], "is not 4 numbers above 0"),
        (["--customer", "2,3,8", "--values", "cox=1"], "is no model of purchases; there is mbg_nbd, bg_nbd"),
        (["--customer", "2,3,8", *VALUES, "--spend", "1,-1,2"], "is not 3 numbers above 0"),
    ):
        refused = cxstream("train", "foretell", *args)
        assert refused.returncode == 1
        assert message in refused.stderr.decode()
    for wrong in ([], ["--customer", "2,3"], ["--customer", "2,3,8", "--spend", "1,2,3"]):
        assert cxstream("train", "foretell", *wrong).returncode == 2
    assert cxstream("train", "foretell", "--customer", "2,3,8", *VALUES, "--rules", rules).returncode == 2


def test_a_customer_with_26_repeats() -> None:
    """Last seen in week 30.86 of 31, in the walk-through of the R package BTYD."""
    x, span, age = np.array([26.0]), np.array([30.86]), np.array([31.0])
    assert BG_NBD.alive(PUBLISHED, x, span, age) == pytest.approx([0.9689], abs=5e-5)
    assert BG_NBD.expected(PUBLISHED, x, span, age, 52) == pytest.approx([25.76], abs=5e-3)
    few = BG_NBD.expected(PUBLISHED, np.array([2.0]), np.array([30.43]), np.array([38.86]), 39)
    assert few == pytest.approx([1.226], abs=5e-4)
    new = BG_NBD.expected_new(PUBLISHED, np.array([1.0, 10, 39, 52, 78]))
    assert new == pytest.approx([0.05326789, 0.4324134, 1.196723, 1.446051, 1.860519], rel=1e-6)


# --- planted parameters


def times_of_death(name: str, values: Floats, random: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """The time at which each customer leaves (Pareto/NBD), and the probability to leave after a purchase (others)."""
    if name == "pareto_nbd":
        return random.exponential(1 / random.gamma(values[2], 1 / values[3], n)), np.zeros(n)
    return np.full(n, np.inf), random.beta(values[2], values[3], n)


def people(name: str, values: Floats, n: int, seed: int, most: float = 100.0) -> Customers:
    """Customers who behave as a model says, observed for some time."""
    random = np.random.default_rng(seed)
    rates = random.gamma(values[0], 1 / values[1], n)
    death, leaves = times_of_death(name, values, random, n)
    age = random.uniform(most / 3, most, n)
    x, span, now = np.zeros(n), np.zeros(n), np.zeros(n)
    alive = random.random(n) >= leaves if name == "mbg_nbd" else np.ones(n, bool)
    while (who := np.flatnonzero(alive)).size:
        now[who] += random.exponential(1 / rates[who])
        bought = now[who] <= np.minimum(age, death)[who]
        alive[who[~bought]] = False
        who = who[bought]
        x[who] += 1
        span[who] = now[who]
        alive[who[random.random(len(who)) < leaves[who]]] = False
    return Customers(x, span, age, x, x)


@pytest.mark.parametrize(
    ("model", "values"),
    [(MBG_NBD, [0.8, 6.0, 0.9, 3.0]), (BG_NBD, [0.7, 5.0, 0.8, 2.5]), (PARETO_NBD, [0.9, 8.0, 0.8, 20.0])],
    ids=lambda each: getattr(each, "name", ""),
)
def test_planted_parameters_are_found(model: PurchaseLikelihood, values: list[float]) -> None:
    planted = np.array(values)
    fit = fit_model(model, group(people(model.name, planted, 4000, seed=7)))
    assert fit.converged
    assert (np.abs(fit.values - planted) < NEAR * fit.errors).all(), fit
    # They are not so wide that anything would do.
    assert (fit.errors < 0.5 * planted).all()


def test_standard_errors_are_as_wide_as_estimates_differ() -> None:
    planted = np.array([0.8, 6.0, 0.9, 3.0])
    fits = [fit_model(MBG_NBD, group(people("mbg_nbd", planted, 800, seed))) for seed in range(16)]
    spread = np.std(np.log([fit.values for fit in fits]), axis=0)
    said = np.mean([fit.errors / fit.values for fit in fits], axis=0)
    assert spread / said == pytest.approx(np.ones(4), abs=0.5), (spread, said)


def test_planted_spend_is_found() -> None:
    random = np.random.default_rng(3)
    p, q, v = 5.0, 3.5, 20.0
    n = random.integers(1, 9, 3000).astype(float)
    mean = random.gamma(p * n, 1 / (n * random.gamma(q, 1 / v, 3000)))
    customers = Customers(n - 1, n, n + 1, n, mean)
    fit = fit_purchases(customers, models=()).spend
    assert fit is not None
    assert (np.abs(fit.values - [p, q, v]) < NEAR * fit.errors).all(), fit
    known = Spend(n, mean)
    away = fit.values * 1.2
    for i, slope in enumerate(known.log_likelihood(away)[1].tolist()):
        step = np.zeros(3)
        step[i] = 1e-4
        up, down = (known.log_likelihood(away + sign * step)[0] for sign in (1, -1))
        assert slope == pytest.approx((up - down) / 2e-4, rel=1e-5)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_derivatives_are_those_of_the_likelihood(model: PurchaseLikelihood) -> None:
    groups, values = group(people("mbg_nbd", np.array([0.8, 6, 0.9, 3]), 300, 1)), np.array([0.6, 5, 1.2, 4])
    _, slopes = model.log_likelihood(groups, values)
    for i, slope in enumerate(slopes.tolist()):
        step = np.zeros(4)
        step[i] = 1e-4
        up, down = (model.log_likelihood(groups, values + sign * step)[0] for sign in (1, -1))
        assert slope == pytest.approx((up - down) / 2e-4, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_what_is_expected_comes(model: PurchaseLikelihood) -> None:
    """A crowd that behaves as the model says buys as often as the model says, alive or not."""
    values = np.array([0.9, 6.0, 0.8, 12.0])
    crowd = people(model.name, values, 60_000, seed=11)
    new = float(model.expected_new(values, crowd.age).mean())
    assert crowd.repeats.mean() == pytest.approx(new, rel=0.03)
    # Of one who has bought nothing more, observed for no time at all, the same is expected.
    nothing = np.zeros(1)
    assert model.expected(values, nothing, nothing, nothing, 30.0) == pytest.approx(
        model.expected_new(values, np.array([30.0])), rel=1e-6
    )


# --- groups


def test_groups_lose_nothing() -> None:
    random = np.random.default_rng(5)
    x = random.integers(0, 3, 500).astype(float)
    span = np.where(x > 0, random.integers(1, 5, 500), 0.0)
    groups = group(Customers(x, span, span + random.integers(0, 3, 500), x, x))
    assert len(groups.table) < 60
    assert groups.customers == groups.table[:, 3].sum() == 500
    assert dict(zip(groups.repeats.tolist(), groups.counts.tolist(), strict=True)) == {
        value: float((x == value).sum()) for value in (0.0, 1.0, 2.0)
    }


def test_merged_groups_have_no_bias() -> None:
    planted = np.array([0.8, 6.0, 0.9, 3.0])
    groups = group(people("mbg_nbd", planted, 20_000, seed=2))
    few = coarse(groups, 4000)
    assert len(few.table) <= 4000 < len(groups.table)
    for column in range(3):
        assert few.table[:, column] @ few.table[:, 3] == pytest.approx(
            groups.table[:, column] @ groups.table[:, 3]
        )
    exact, merged = fit_model(MBG_NBD, groups), fit_model(MBG_NBD, few)
    assert (np.abs(exact.values - merged.values) < 0.2 * exact.errors).all()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=60),
    st.integers(1, 60),
    st.booleans(),
)
def test_cells_are_those_that_a_loop_finds(people: list[tuple[int, int, int]], most: int, sort: bool) -> None:
    x, span, rest = (np.array(column, float) for column in zip(*people, strict=True))
    groups = group(Customers(x, span, span + rest + 1, x, x))
    with pytest.MonkeyPatch.context() as patch:
        if sort:  # as where there are too many cells to mark
            patch.setattr("cxstream.training.customers._MOST_MARKS", 0)
        found = coarse(groups, most)
    rows = groups.table.tolist()
    cells, merged = 512, {tuple(row[:3]): [row] for row in rows}
    scale = sum(age * n for _, _, age, n in rows) / sum(row[3] for row in rows) / 30
    width = np.log1p(max(row[2] for row in rows) / scale)
    while len(merged) > most and cells > 1:
        merged = {}
        for row in rows:
            inside = [math.floor(np.log1p(time / scale) / (width / cells)) for time in row[1:3]]
            merged.setdefault((row[0], *inside), []).append(row)
        cells = cells * 3 // 4
    assert len(found.table) == len(merged)
    assert found.table[:, 3].sum() == len(people)
    wanted = [
        [*(sum(row[i] * row[3] for row in each) / sum(row[3] for row in each) for i in range(3)), sum(row[3] for row in each)]
        for _, each in sorted(merged.items())
    ]  # fmt: skip
    assert found.table == pytest.approx(np.array(wanted))


# --- what speaks against a model


def said(customers: Customers) -> str:
    return "\n".join(fit_purchases(customers, models=(MBG_NBD,)).warnings)


def test_spend_that_grows_with_purchases_is_noticed() -> None:
    crowd = people("mbg_nbd", np.array([0.9, 5.0, 0.8, 3.0]), 1500, seed=4)
    random = np.random.default_rng(1)
    mean = (10 + 5 * crowd.repeats) * random.gamma(8, 1 / 8, len(crowd))
    assert "are correlated (+" in said(
        Customers(crowd.repeats, crowd.span, crowd.age, crowd.repeats + 1, mean)
    )
    fair = random.gamma(4, 1 / random.gamma(4, 1 / 60, len(crowd)))
    assert said(Customers(crowd.repeats, crowd.span, crowd.age, crowd.repeats + 1, fair)) == ""


def test_subscribers_are_noticed() -> None:
    random = np.random.default_rng(1)
    n = 400
    x = random.integers(4, 12, n).astype(float)
    monthly = Customers(x, x * 30.4 * random.uniform(0.99, 1.01, n), x * 30.4 + 20, x, np.zeros(n))
    found = contractual(monthly)
    assert found is not None
    assert found[0] == pytest.approx(30.4, rel=0.01)
    assert "buy at the same interval" in said(monthly)
    assert contractual(people("mbg_nbd", np.array([3.0, 3.0, 0.2, 3.0]), 4000, seed=1)) is None


def test_too_few_repeats_and_no_maximum_are_said() -> None:
    nobody = Customers(np.zeros(50), np.zeros(50), np.linspace(10, 50, 50), np.zeros(50), np.zeros(50))
    warnings = said(nobody)
    assert "only 0 of 50 customers (0.0%) have bought again" in warnings
    assert "MBG/NBD: " in warnings
    assert "no amounts are known" in warnings
    one = Customers(*(np.array([value]) for value in (3.0, 20.0, 30.0, 4.0, 9.0)))
    assert "only 1 of 1 customers" in said(one)


# --- files of customers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frequency,recency\n1,2\n", ":1: no column t or age"),
        ("x,frequency,t_x,T\n1,1,2,3\n", ":1: the columns x, frequency say the same"),
        ("x,t_x,T\n1,2,3\n\n1,2,abc\n", ":4: t: 'abc' is not a number"),
        ("x,t_x,T\n1,2,inf\n", ":2: t: 'inf' is not a number"),
        ("x,t_x,T\n-1,2,3\n", ":2: frequency: '-1' is not a number"),
        ("x,t_x,T\n1.5,2,3\n", ":2: frequency: 1.5 is not a whole number"),
        ("x,t_x,T\n1,4,3\n", ":2: recency: the last purchase (4) is after the end (3)"),
        ("x,t_x,T\n0,2,3\n", ":2: recency: 2 without a repeat"),
        ("x,t_x,T\n2,0,3\n", ":2: recency: 0 with repeat"),
        ("x,t_x,T\n1,2\n", ":2: t: '' is not a number"),
        ("x,t_x,T\n", ": has no customers"),
        ("", ":1: no column frequency"),
    ],
)
def test_a_wrong_file_of_customers_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "customers.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=re.escape(message)):
        read_rfm(file)


# --- touchpoint files

YEAR = 400
FIRST = 20_000


def purchases_of(n: int, seed: int) -> list[tuple[int, dict[str, Any]]]:
    """Purchases of customers, as (time, event); every fifth comes back once, every seventh has a history."""
    random = np.random.default_rng(seed)
    found: list[tuple[int, dict[str, Any]]] = []
    for i in range(n):
        start, rate = random.integers(0, 120), random.gamma(2, 1 / 40)
        day = float(start)
        leaves = random.beta(1, 5)
        while day < YEAR:
            found.append(_event(i, day, "purchase", amount=round(random.gamma(3, 10), 2)))
            if random.random() < leaves:
                break
            day += random.exponential(1 / rate)
        if i % 5 == 0:
            found.append(_event(i, min(day, YEAR - 1) + 0.5, "return", amount=5))
        if i % 7 == 0:
            days = {"first": _date(start - 200), "last": _date(start - 20)}
            found.append(_event(i, start - 0.5, "purchase_history", purchases=3, amount=60, **days))
    return sorted(found, key=lambda each: each[0])


def _date(day: float) -> str:
    return str(np.datetime64(FIRST + int(day), "D"))


def _event(who: int, day: float, kind: str, **data: Any) -> tuple[int, dict[str, Any]]:
    time = round((FIRST + day) * DAY_MS)
    return time, {
        "specversion": "1.0", "id": f"{who}-{kind}-{time}", "source": "/shop", "subject": f"c{who}",
        "type": f"cx.touchpoint.{kind}.v1", "time": rfc3339(time),
        "data": {"channel": "web", "currency": "EUR", **data},
    }  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "touchpoints.ndjson"
    path.write_text("".join(json.dumps(event) + "\n" for _, event in purchases_of(400, 9)))
    return path


def source(path: Path) -> Source:
    return Source((path,), ScoringParams(), ACTIONS, False, 1 << 18, 2**60)


def by_hand(path: Path, until: int) -> dict[str, tuple[int, int, int, float]]:
    """Days with a purchase, first, last and sum of each customer until a day, worked out from the file alone."""
    found: dict[str, tuple[int, int, int, float]] = {}
    days: dict[str, set[int]] = {}
    for line in path.read_text().splitlines():
        event = json.loads(line)
        day = int(np.datetime64(event["time"][:10]).astype(int))
        who, data = event["subject"], event["data"]
        if day > until:
            continue
        n, first, last, spent = found.get(who, (0, 10**9, -(10**9), 0.0))
        if event["type"].endswith("history.v1"):
            first, last = (int(np.datetime64(data[name]).astype(int)) for name in ("first", "last"))
            found[who] = data["purchases"], first, last, data["amount"]
        elif event["type"].endswith("return.v1"):
            found[who] = n, first, last, max(spent - data["amount"], 0)
        else:
            new = day not in days.setdefault(who, set())
            days[who].add(day)
            found[who] = n + new, min(first, day), max(last, day), spent + data["amount"]
    return {who: each for who, each in found.items() if each[0]}


@pytest.mark.parametrize("until", [None, FIRST + 250])
def test_customers_of_a_log_are_as_the_engine_keeps_them(log: Path, until: int | None) -> None:
    bought = read_log(source(log), None if until is None else (until + 1) * DAY_MS - 1)
    expected = by_hand(log, 10**9 if until is None else until)
    assert set(bought.names) == set(expected)
    for i, name in enumerate(bought.names):
        found = int(bought.days[i]), int(bought.first[i]), int(bought.last[i]), float(bought.spent[i])
        assert found == pytest.approx(expected[name]), name
    customers = bought.customers()
    assert (customers.age >= customers.span).all()
    assert customers.age.max() == bought.end - bought.first.min()


def test_rules_in_a_log_delete_no_customer(log: Path, tmp_path: Path) -> None:
    """Who has stopped buying is what is to be learned, though a live state forgets them."""
    lines = log.read_text().splitlines()
    rules = {
        "specversion": "1.0", "id": "r", "source": "/r", "type": "cx.rules.v1",
        "time": json.loads(lines[0])["time"], "data": {"scoring": {"forget_days": 30}},
    }  # fmt: skip
    file = tmp_path / "with-rules.ndjson"
    file.write_text("\n".join([lines[0], json.dumps(rules), *lines[1:]]) + "\n")
    assert sorted(read_log(source(file)).names) == sorted(read_log(source(log)).names)


def test_a_holdout_counts_what_came_after_the_cut(log: Path) -> None:
    cut = FIRST + 300
    before = read_log(source(log), (cut + 1) * DAY_MS - 1)
    after = read_log(source(log), each=True)
    fit = fit_model(MBG_NBD, group(before.customers().in_units(7)))
    found = hold_out(MBG_NBD, fit, 7, before, after)
    known = dict(zip(before.names, before.days.tolist(), strict=True))
    ended = dict(zip(after.names, after.days.tolist(), strict=True))
    assert found.track[-1].actual == sum(ended[name] - days for name, days in known.items())
    assert found.track[0] == type(found.track[0])(0, 0, 0.0)
    assert sum(row.customers for row in found.rows) == len(known)
    assert sum(row.customers * row.actual for row in found.rows) == pytest.approx(found.track[-1].actual)
    assert sum(row.customers * row.expected for row in found.rows) == pytest.approx(found.track[-1].expected)
    # Simulated customers behave as the model says.
    assert found.ratio == pytest.approx(1, abs=0.15)


# --- the command


def test_train_writes_rules_that_score(log: Path, tmp_path: Path) -> None:
    out, page, numbers = (tmp_path / name for name in ("rules.toml", "report.html", "report.json"))
    track = tmp_path / "track.csv"
    reports = ["--report", page, "--report", numbers, "--track", track]
    done = cxstream("train", "purchases", log, "--margin", 0.25, "--out", out, *reports)
    assert done.returncode == 0, done.stderr
    params = read_file(out).params
    assert params.purchase_model is not None
    assert params.value_model is not None
    assert (params.value_model.margin, params.purchase_model.unit_days) == (0.25, 7)
    assert cxstream("rules", "check", out).returncode == 0
    told = json.loads(numbers.read_text())
    assert told["models"]["mbg_nbd"]["parameters"]["r"] == params.purchase_model.r
    assert set(told["models"]) == {"mbg_nbd", "bg_nbd", "pareto_nbd"}
    points = told["holdout"]["track"]
    assert points[-1]["actual"] > 0
    with track.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["day"]), int(row["actual"])) for row in rows] == [
        (p["day"], p["actual"]) for p in points
    ]
    assert [float(row["expected"]) for row in rows] == pytest.approx(
        [p["expected"] for p in points], abs=1e-6
    )
    assert (rows[0]["date"], rows[-1]["date"]) == (told["holdout"]["cut"], told["holdout"]["end"])
    text = page.read_text()
    assert "<svg" in text
    assert not re.search(r"(?:src|href)\s*=|@import|url\(", text)
    done = cxstream("replay", log, "--rules", out, "--out", tmp_path / "result")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "result" / "scores.ndjson").read_text().splitlines()]
    cards = [line["data"] for line in lines]
    assert all(0 < card["p_alive"] <= 1 and card["clv"] > 0 and card["value_at_risk"] > 0 for card in cards)
    assert_worth(lines, params, by_hand(log, 10**9))


def assert_worth(
    lines: list[dict[str, Any]], params: ScoringParams, known: dict[str, tuple[int, int, int, float]]
) -> None:
    """Score cards say what the functions say that were fitted."""
    buys, value, of = params.purchase_model, params.value_model, {}
    assert buys is not None
    assert value is not None
    values = np.array([buys.r, buys.alpha, buys.a, buys.b])
    for line in lines:
        data = line["data"]
        today = int(np.datetime64(line["time"][:10]).astype(int))
        of[line["subject"]] = (data["purchases"], data["spent"], today, data["p_alive"], data["clv"])
    n, spent, today, alive, clv = (np.array(column) for column in zip(*of.values(), strict=True))
    first, last = (np.array([known[who][i] for who in of]) for i in (1, 2))
    x, span, age = n - 1.0, (last - first) / 7, (np.maximum(today, last) - first) / 7
    assert MBG_NBD.alive(values, x, span, age) == pytest.approx(alive, abs=1e-6)
    ends = [365 / 12 * month for month in range(1, 13)]
    until = [MBG_NBD.expected(values, x, span, age, end / 7) for end in ends]
    coming = sum(
        (now - before) * (1 + value.discount) ** (-end / 365.25)
        for end, now, before in zip(ends, until, [0, *until], strict=False)
    )
    spend = expected_spend(np.array([value.p, value.q, value.v]), n, spent / n)
    assert value.margin * spend * coming == pytest.approx(clv, rel=1e-6, abs=1e-6)


def test_outputs_are_not_replaced_without_being_told(tmp_path: Path) -> None:
    out = tmp_path / "rules.toml"
    out.write_text("mine")
    customers = CDNOW / "customers.csv"
    done = cxstream("train", "purchases", customers, "--out", out)
    assert (done.returncode, out.read_text()) == (1, "mine")
    assert b"--force" in done.stderr
    assert cxstream("train", "purchases", customers, "--out", customers, "--force").returncode == 1
    assert cxstream("train", "purchases", customers, "--out", tmp_path / "no" / "rules.toml").returncode == 1
    assert (
        cxstream("train", "purchases", customers, "--out", tmp_path / "r", "--report", "x.pdf").returncode
        == 2
    )
    done = cxstream("train", "purchases", customers, "--out", tmp_path / "r", "--track", tmp_path / "t.csv")
    assert done.returncode == 2
    assert b"--track is for touchpoint files" in done.stderr


def test_a_pipe_is_not_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = cxstream("train", "purchases", pipe, "--out", tmp_path / "rules.toml")
    assert done.returncode == 1
    assert b"--holdout-days 0" in done.stderr


def test_no_rules_are_written_of_a_model_that_has_not_converged(tmp_path: Path) -> None:
    file, out = tmp_path / "customers.csv", tmp_path / "rules.toml"
    file.write_text("x,t_x,T\n" + "0,0,20\n" * 30)
    done = cxstream("train", "purchases", file, "--out", out)
    assert done.returncode == 1
    assert b"no rules were written" in done.stderr
    assert not out.exists()


@pytest.mark.parametrize("leaves", [0.0, 0.1])
def test_customers_who_stop_alike_have_a_usable_model(leaves: float) -> None:
    """a and b run off, as nothing says how customers differ; what is foretold is as of the true model."""
    random = np.random.default_rng(5)
    rates = random.gamma(2, 1 / 8, 1500)
    age = random.uniform(35, 100, 1500)
    x, span, ahead = np.zeros(1500), np.zeros(1500), np.zeros(1500)
    for i, (rate, end) in enumerate(zip(rates.tolist(), age.tolist(), strict=True)):
        now = 0.0
        while random.random() >= leaves and (now := now + random.exponential(1 / rate)) < end + 20:
            if now <= end:
                x[i], span[i] = x[i] + 1, now
            else:
                ahead[i] += 1
    fit = fit_model(MBG_NBD, group(Customers(x, span, age, x, x)))
    assert fit.usable, fit.problems
    odds = leaves * np.exp(rates * (age - span))
    true = (1 - leaves) / (1 - leaves + odds)
    said = MBG_NBD.alive(fit.values, x, span, age)
    assert said.mean() == pytest.approx(true.mean(), abs=0.02)
    assert MBG_NBD.expected(fit.values, x, span, age, 20.0).mean() == pytest.approx(ahead.mean(), rel=0.07)


def test_a_fit_is_usable_only_if_no_more_than_leaving_is_unknown() -> None:
    whole = fit_model(MBG_NBD, group(people("mbg_nbd", np.array([0.9, 5.0, 0.8, 3.0]), 500, seed=4)))
    assert whole.converged
    assert whole.usable
    for ran_off, problems, usable in (
        (("b",), ("b runs off",), True),
        (("a", "b"), ("a runs off", "b runs off"), True),
        (("alpha",), ("alpha runs off",), False),
        (("b",), ("b runs off", "the search stopped"), False),
        ((), ("flat",), False),
    ):
        assert replace(whole, ran_off=ran_off, problems=problems).usable == usable


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *of: None if name == "scipy" else find(name, *of)
    )
    done = cxstream("train", "purchases", CDNOW / "customers.csv", "--out", tmp_path / "rules.toml")
    assert done.returncode == 1
    assert b"pip install 'cxstream[models]'" in done.stderr


def test_names_in_a_plot_are_text() -> None:
    below = line_plot("kept", "share", [Series("by risk", [(-4, -0.3), (3, 0.7)])], at=-1)
    up, across = (re.findall(rf'text-anchor="{side}">(-?[\d.]+)<', below) for side in ("end", "middle"))
    assert (up, across) == (["-0.4", "-0.2", "0", "0.2", "0.4", "0.6", "0.8"], ["-4", "-2", "0", "2", "4"])
    points = re.findall(r'<polyline points="([\d., ]+)"', below)
    # The line at 0, the moment at -1, and the values, between the ends of the axes.
    assert points == ["70.0,220.0 700.0,220.0", "306.2,310.0 306.2,40.0", "70.0,287.5 621.2,62.5"]
    plot = line_plot("<a> & b", "x", [Series("<i>", [(0, 0), (3, 7)])])
    assert "&lt;a&gt; &amp; b" in plot
    assert "<i>" not in plot
    assert ">10<" in plot

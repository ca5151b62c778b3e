"""The churn risk that is fitted: measures, snapshots that know no future, planted coefficients, and the command."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shlex
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from cxstream.console import model_card
from cxstream.model.features import FEATURES
from cxstream.model.parameters import DAY_MS
from cxstream.rules.file import read_file
from cxstream.settings import ACTIONS
from cxstream.training import churn, measures, snapshots
from cxstream.training.acting import costs_of, lead_of
from cxstream.training.acting_report import CHOICES, EARLY
from cxstream.training.card import Asked, levels_of
from cxstream.training.churn import train_churn, what_features_earn
from cxstream.training.churn_report import SHIFTS, as_json
from cxstream.training.log import Source
from cxstream.training.logistic import fit_linear, fit_without
from cxstream.training.outcomes import label
from cxstream.training.snapshots import Happened, Schedule, Snapshots, happened, read_snapshots
from cxstream.training.truth import by_truth, read_truth
from default_1 import DEFAULT_1, FILE
from in_process import cxstream
from strategies import rfc3339
from test_docs import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

EVERY, WARMUP, HORIZON = 10, 20, 30


# --- measures


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 6), st.sampled_from([0.5, 1.0, 3.0])), min_size=2, max_size=60
    )
)
def test_measures_are_those_of_scikit_learn(rows: list[tuple[bool, int, float]]) -> None:
    y, p, w = (
        np.array([r[0] for r in rows]),
        np.array([r[1] for r in rows]) / 7 + 0.05,
        np.array([r[2] for r in rows]),
    )
    assert measures.brier(y, p, w) == pytest.approx(
        metrics.brier_score_loss(y, p, sample_weight=w, pos_label=True)
    )
    assert measures.log_loss(y, p, w) == pytest.approx(
        metrics.log_loss(y, p, sample_weight=w, labels=[False, True])
    )
    if y.all() or not y.any():
        assert math.isnan(measures.auc(y, p, w))
        return
    assert measures.auc(y, p, w) == pytest.approx(metrics.roc_auc_score(y, p, sample_weight=w))
    assert measures.average_precision(y, p, w) == pytest.approx(
        metrics.average_precision_score(y, p, sample_weight=w)
    )


def test_calibration_is_seen_and_so_is_its_lack() -> None:
    random = np.random.default_rng(1)
    p = random.beta(1, 20, 40_000)
    y, w, who = random.random(len(p)) < p, np.ones(len(p)), np.arange(len(p))
    assert measures.calibration_error(y, p, w) < 0.005
    assert measures.calibration_error(y, np.sqrt(p), w) > 0.1
    bins = measures.calibration(y, p, w, who)
    assert [each.snapshots for each in bins] == [4000] * 10
    assert sum(each.least <= each.expected <= each.most for each in bins) >= 8
    tenths = measures.deciles(y, p, w)
    assert tenths[-1].captured == pytest.approx(1)
    assert tenths[0].lift == pytest.approx(tenths[0].captured * 10)
    assert measures.drift(p, p[::2]) < 0.01
    assert measures.drift(p, np.sqrt(p)) > 0.25
    low, high = measures.interval(measures.auc, y, p, w, who)
    assert low < measures.auc(y, p, w) < high < low + 0.1


# --- snapshots


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Customers in so much trouble that many leave."""
    path = tmp_path_factory.mktemp("log") / "touchpoints.ndjson"
    done = cxstream(
        "simulate", "--customers", 900, "--days", 105, "--trouble", 2, "--seed", 5, "--broken", 0, "--quiet", "--out", path,
        "--truth", path.with_name("truth.ndjson"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


def source(path: Path) -> Source:
    return Source((path,), DEFAULT_1, ACTIONS, False, 1 << 20, 2**60)


@pytest.fixture(scope="module")
def taken(log: Path) -> Snapshots:
    return read_snapshots(source(log), Schedule(EVERY, WARMUP, HORIZON))


def time_of(line: str) -> int:
    return int(np.datetime64(json.loads(line)["time"].rstrip("Z"), "ms").astype(int))


def until(log: Path, cutoff: int) -> list[str]:
    """The records before the first one of a day."""
    lines, first = log.read_text().splitlines(), rfc3339(cutoff)
    for i, line in enumerate(lines):
        if json.loads(line)["time"] >= first:
            return lines[:i]
    return lines


def test_a_snapshot_is_what_replay_says_of_the_records_before_it(
    log: Path, taken: Snapshots, tmp_path: Path
) -> None:
    """The strictest check against leakage: nothing else than the past gives the same numbers."""
    cutoff = int(np.unique(taken.time)[1])
    file = tmp_path / "past.ndjson"
    file.write_text("\n".join(until(log, cutoff)) + "\n")
    done = cxstream("replay", file, "--until", rfc3339(cutoff), "--rules", FILE, "--out", tmp_path / "result")
    assert done.returncode == 0, done.stderr
    cards = {}
    for line in (tmp_path / "result" / "scores.ndjson").read_text().splitlines():
        card = json.loads(line)
        cards[card["subject"]] = card["data"]
    here = taken.time == cutoff
    assert 250 < here.sum() <= len(cards)
    for who, x, p in zip(taken.customer[here], taken.x[here], taken.before[here], strict=True):
        card = cards[taken.names[who]]
        assert [card["features"][name] for name in FEATURES] == pytest.approx(x.tolist(), abs=1e-12)
        assert card["probability"] == pytest.approx(p, abs=1e-12)


def planted(line: str, time: int, number: int, who: str) -> str:
    event = json.loads(line)
    event |= {"id": f"planted-{number}", "subject": who, "time": rfc3339(time)}
    event["type"] = "cx.touchpoint.complaint_opened.v1"
    event["data"] = {"channel": "web", "case_id": f"planted-{number}"}
    return json.dumps(event)


def leaks(log: Path, tmp_path: Path, cutoff: int) -> bool:
    """Plant what only somebody from the future knows, and see whether snapshots do."""
    lines, past = log.read_text().splitlines(), until(log, cutoff)
    churned = {json.loads(line)["subject"] for line in lines if ".churned." in line}
    known = sorted({json.loads(line)["subject"] for line in past} & churned)
    # At the very time of the cutoff, and one that comes after it with a time before it.
    future = [planted(past[0], cutoff, i, who) for i, who in enumerate(known)]
    late = [planted(past[0], cutoff - 1, len(known) + i, who) for i, who in enumerate(known)]
    file = tmp_path / "planted.ndjson"
    file.write_text("\n".join([*past, *future, *late, *lines[len(past) :]]) + "\n")
    schedule = Schedule(EVERY, WARMUP, HORIZON)
    one, other = (read_snapshots(source(path), schedule) for path in (log, file))
    here, there = (each.time == cutoff for each in (one, other))
    assert [one.names[i] for i in one.customer[here]] == [other.names[i] for i in other.customer[there]]
    return not np.array_equal(one.x[here], other.x[there])


def test_what_is_planted_in_the_future_is_not_in_a_snapshot(
    log: Path, taken: Snapshots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutoff = int(taken.time[0])
    assert not leaks(log, tmp_path, cutoff)
    # The test sees a leak: a snapshot that is taken some records too late.
    exact = snapshots._Log._crossing

    def too_late(self: Any, decoded: Any) -> int | None:
        place = exact(self, decoded)
        return None if place is None else min(place + 50, len(decoded.events) - 1)

    monkeypatch.setattr(snapshots._Log, "_crossing", too_late)
    assert leaks(log, tmp_path, cutoff)


def test_pieces_do_not_matter(log: Path, taken: Snapshots) -> None:
    again = read_snapshots(replace(source(log), batch_bytes=1 << 16), Schedule(EVERY, WARMUP, HORIZON))
    for name in ("customer", "time", "x", "recency", "silent", "channel"):
        assert np.array_equal(getattr(again, name), getattr(taken, name)), name
    assert len(np.unique(taken.time)) == (105 - 1 - WARMUP - HORIZON) // EVERY + 1
    assert (taken.time % DAY_MS == 0).all()


def test_outcomes_are_those_of_the_events(log: Path, taken: Snapshots) -> None:
    events = [json.loads(line) for line in log.read_text().splitlines() if ".churned." in line]
    left: dict[str, set[str]] = {}
    for event in events:
        left.setdefault(event["subject"], set()).add(event["time"])
    labelled = label(taken, HORIZON, None)
    assert labelled.definition == "events"
    assert labelled.departures > 80
    some = labelled.snapshots
    for who, time, y in zip(some.customer.tolist(), some.time.tolist(), labelled.y.tolist(), strict=True):
        start, end = rfc3339(time), rfc3339(time + HORIZON * DAY_MS)
        assert y == any(start < each <= end for each in left.get(some.names[who], ())), (who, time)


def test_those_held_out_stand_for_those_treated(taken: Snapshots) -> None:
    labelled = label(taken, HORIZON, "events")
    assert labelled.weighted
    assert labelled.treated > labelled.held_out > 30
    assert labelled.weights.sum() == pytest.approx(len(taken))
    assert len(labelled) == len(taken) - labelled.treated
    nobody = replace(
        taken,
        acted=Happened(
            *(each[:0] for each in (taken.acted.customers, taken.acted.times)), taken.acted.treated[:0]
        ),
    )
    assert not label(nobody, HORIZON, "events").weighted


def test_silence_is_no_touch_within_the_horizon(log: Path, taken: Snapshots) -> None:
    company = ("email_sent", "campaign_sent", "action_taken", "churned", "won_back")
    touches: dict[str, list[str]] = {}
    for line in log.read_text().splitlines():
        event = json.loads(line)
        if not any(f".{kind}." in event.get("type", "") for kind in company) and "subject" in event:
            touches.setdefault(event["subject"], []).append(event["time"])
    labelled = label(
        replace(taken, churned=Happened(*(np.empty(0, np.int64),) * 2, np.empty(0, bool))), HORIZON, None
    )
    assert labelled.definition == "silence"
    some, wrong = labelled.snapshots, 0
    for who, time, y in zip(some.customer.tolist(), some.time.tolist(), labelled.y.tolist(), strict=True):
        start, end = rfc3339(time), rfc3339(time + HORIZON * DAY_MS)
        wrong += y == any(start <= each < end for each in touches.get(some.names[who], ()))
    # Records that are rejected, or come late, are in the file.
    assert wrong <= 0.002 * len(some)
    assert (some.recency < HORIZON).all()
    assert labelled.quiet > 0


# --- fitting


def test_what_features_earn_is_said_of_those_that_the_model_has(taken: Snapshots) -> None:
    whole = label(taken, HORIZON, "events")
    model = fit_linear(whole.snapshots.x, whole.y, whole.weights, whole.snapshots.customer)
    tried = what_features_earn(model, whole, whole)
    assert {each.feature for each in tried} == {FEATURES[i] for i in np.flatnonzero(model.coefficients > 0)}
    saved = [each.saves for each in tried]
    assert saved == sorted(saved, reverse=True)
    assert saved[0] > 0
    losses = {round(each.log_loss - each.saves, 9) for each in tried}
    assert len(losses) == 1
    # The strength of the regularisation is the same, so calibration is all that may differ.
    p = model.probability(whole.snapshots.x)
    assert losses.pop() == pytest.approx(measures.log_loss(whole.y, p, whole.weights), rel=0.02)


def test_a_model_without_a_feature_is_fitted_to_the_others() -> None:
    random = np.random.default_rng(4)
    x = np.c_[random.random((6000, 2)), np.zeros(6000)]
    y = random.random(6000) < 1 / (1 + np.exp(3 - 3 * x[:, 0] - 2 * x[:, 1]))
    w = np.ones(6000)
    model = fit_linear(x, y, w, np.arange(6000))
    same, without = fit_without(model, x, y, w, -1), fit_without(model, x, y, w, 0)
    assert same.coefficients == pytest.approx(model.coefficients, rel=0.05)
    assert without.coefficients[[0, 2]].tolist() == [0, 0]
    assert without.coefficients[1] == pytest.approx(model.coefficients[1], rel=0.2)
    assert (
        measures.log_loss(y, without.probability(x), w) > measures.log_loss(y, same.probability(x), w) + 0.03
    )


def test_planted_coefficients_are_found_and_probabilities_are_right() -> None:
    random = np.random.default_rng(2)
    n, each = 8000, 4
    who = np.repeat(np.arange(n), each)
    x = np.repeat(random.gamma(0.5, 0.4, (n, 3)), each, axis=0) + random.gamma(0.3, 0.1, (n * each, 3))
    b = np.array([2.0, 1.0, -1.5])
    y = random.random(len(x)) < 1 / (1 + np.exp(4 - x @ b))
    free = fit_linear(x, y, np.ones(len(x)), who, signed=True)
    assert free.coefficients == pytest.approx(b, abs=0.25)
    assert free.intercept == pytest.approx(-4, abs=0.2)
    found = fit_linear(np.c_[x, np.zeros(len(x))], y, np.ones(len(x)), who)
    assert found.against.tolist() == [False, False, True, False]
    assert found.constant.tolist() == [False, False, False, True]
    assert (found.coefficients >= 0).all()
    # Rare or not, weighted or not: the mean probability is the share.
    w = np.where(random.random(len(x)) < 0.1, 5.0, 1.0)
    fit = fit_linear(x, y, w, who)
    p = fit.probability(x)
    assert np.average(p, weights=w) == pytest.approx(np.average(y, weights=w), rel=0.02)
    assert measures.calibration_error(y, p, w) < 0.01


def test_levels_keep_their_customers(taken: Snapshots) -> None:
    labelled = label(taken, HORIZON, None)
    p = labelled.snapshots.before**2 / 2
    levels = levels_of(labelled, p, (0.35, 0.55, 0.75))
    assert levels.thresholds == pytest.approx([each**2 / 2 for each in (0.35, 0.55, 0.75)], rel=0.02)
    for row in levels.rows:
        assert row.customers[1] == pytest.approx(row.customers[0], rel=0.05)
    nobody = levels_of(labelled, p, (0.998, 0.999, 0.9999))
    assert list(nobody.thresholds) == sorted(set(nobody.thresholds))


def test_too_few_departures_give_no_model(log: Path) -> None:
    found = train_churn(source(log), Asked(horizon=1, every=30))
    assert found.model is None
    assert "not enough data" in found.warnings[0]


def test_other_inputs_are_judged_by_what_leaving_is_to_the_model(
    log: Path, taken: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = iter([taken, replace(taken, churned=happened([]))])
    monkeypatch.setattr(churn, "_snapshots", lambda *_: next(read))
    found = train_churn(source(log), Asked(every=EVERY, warmup=WARMUP), source(log))
    assert found.model is not None
    assert found.labelled.definition == "events"
    assert found.fresh is None
    assert "other inputs: 0 customers left" in found.warnings[-1]
    assert "no churned event in them" in found.warnings[-1]
    assert json.loads(as_json(found))["other_inputs"] is None
    nothing = label(taken.taken(np.zeros(len(taken), bool)), HORIZON, "events")
    assert churn._check_with(found, nothing, "others") is None
    assert "one of 0 cutoffs" in found.warnings[-1]
    assert "of 51 days or more" in found.warnings[-1]


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 6), st.sampled_from([0.5, 1.0, 3.0])), min_size=1, max_size=60
    ),
    st.sampled_from([0.0, 5.0, 40.0]),
)
def test_what_a_threshold_brings_is_what_adding_up_brings(
    rows: list[tuple[bool, int, float]], gain: float
) -> None:
    y, p, w = (np.array([row[i] for row in rows]) for i in range(3))
    p = p / 7

    def brings(threshold: float) -> tuple[float, float, float]:
        here = p >= threshold
        left = (w * y)[here].sum()
        saving = 1000 * (gain * left - 2 * w[here].sum()) / w.sum()
        return w[here].sum() / w.sum(), left / max((w * y).sum(), 1e-12), saving

    found = costs_of(y, p, w, 2.0, gain)
    for each in found.choices:
        assert (each.contacted, each.caught, each.saving) == pytest.approx(brings(each.threshold))
    thresholds = [each.threshold for each in found.choices]
    assert thresholds == sorted(set(thresholds), reverse=True)
    assert found.choices[-1].contacted == pytest.approx(1)
    most = max(brings(each)[2] for each in np.unique(p))
    assert found.saving == pytest.approx(max(most, 0), abs=1e-9)
    if most > 1e-9:
        assert brings(found.best) == pytest.approx((found.contacted, found.caught, found.saving))


def test_lead_times_are_those_of_a_loop(taken: Snapshots) -> None:
    whole = label(taken, HORIZON, "events")
    some, p = whole.snapshots, whole.snapshots.before
    lead = lead_of(whole, p, 0.35, EVERY)
    flags = {(w, t): q >= 0.35 for w, t, q in zip(some.customer.tolist(), some.time.tolist(), p, strict=True)}
    days = []
    for who, time, wait in zip(some.customer.tolist(), some.time.tolist(), whole.wait.tolist(), strict=True):
        if wait <= EVERY:
            back = 0
            while flags.get((who, time - back * DAY_MS)):
                back += EVERY
            days.append(wait + back - EVERY if back else None)
    seen = [each for each in days if each is not None]
    assert (lead.departures, lead.seen) == (len(days), pytest.approx(len(seen) / len(days)))
    assert lead.early[0].customers == len(seen)
    for each in lead.early:
        assert each.customers == sum(day >= each.days for day in seen)
        assert each.share == pytest.approx(each.customers / len(days))
    assert len(lead.early) > 3


# --- the command


def test_train_writes_rules_that_score(log: Path, tmp_path: Path) -> None:
    out, page, numbers, result = (tmp_path / name for name in ("r.toml", "card.html", "card.json", "result"))
    done = cxstream(
        "train", "churn", log, "--out", out, "--report", page, "--report", numbers, "--test", log, "--every", "5d",
        "--truth", log.with_name("truth.ndjson"), "--rules", FILE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    params = read_file(out).params
    assert params.churn_horizon_days == 30
    assert cxstream("rules", "check", out).returncode == 0
    told = json.loads(numbers.read_text())
    assert told["model"]["coefficients"] == pytest.approx(params.coefficients, abs=1e-6)
    assert told["enough_data"]
    shown = model_card.read(numbers)
    assert shown is not None
    assert model_card.is_of(shown, params)
    assert not model_card.is_of(shown, DEFAULT_1)
    # The log is too short to check the model by a part of itself.
    assert told["check"] is None
    assert shown.check is not None
    assert shown.check.scores[0].auc == told["other_inputs"]["scores"][0]["auc"]
    # The same log is no other one: no feature has moved, and groups are told with their intervals.
    assert {each["feature"] for each in told["other_inputs"]["shifts"]} == set(FEATURES)
    assert max(each["psi"] for each in told["other_inputs"]["shifts"]) < 0.01
    for each in told["other_inputs"]["groups"]:
        assert each["range"][0] <= each["observed"] <= each["range"][1]
        assert each["auc"] is None or each["auc_range"][0] <= each["auc"] <= each["auc_range"][1]
    scores = {each["model"]: each for each in told["other_inputs"]["scores"]}
    assert set(scores) == {"linear", "boosting", "recency_frequency", "before", "share"}
    assert (
        scores["linear"]["log_loss"] < scores["recency_frequency"]["log_loss"] < scores["before"]["log_loss"]
    )
    assert scores["linear"]["calibration_error"] < 0.03
    true, by_events = told["ground_truth"], told["other_inputs"]
    assert true["departures"] > by_events["departures"]
    assert true["snapshots"] < by_events["snapshots"]
    assert true["scores"][0]["auc"] > by_events["scores"][0]["auc"]
    assert scores["before"]["calibration_error"] > 0.1
    text = page.read_text()
    assert text.count("<svg") >= 5
    for title in (CHOICES, EARLY, SHIFTS):
        assert f"<h3>{title}</h3>" in text
    assert not re.search(r"(?:src|href)\s*=|@import|url\(", text)
    assert b"AUC" in done.stdout
    assert cxstream("replay", log, "--rules", out, "--out", result).returncode == 0
    cards = [json.loads(line)["data"] for line in (result / "scores.ndjson").read_text().splitlines()]
    x = np.array([[card["features"][name] for name in FEATURES] for card in cards])
    p = 1 / (1 + np.exp(-(params.intercept + x @ [params.coefficients[name] for name in FEATURES])))
    assert [card["probability"] for card in cards] == pytest.approx(p.tolist(), abs=1e-9)


@pytest.mark.timeout(1200)
def test_the_whole_path_of_the_docs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a log to what acting has brought, with fewer customers who have more trouble."""
    said = (ROOT / "docs" / "training.md").read_text().split("## The whole path\n")[1].split("\n## ")[0]
    (commands,), (code,) = (re.findall(f"```{kind}\n(.*?)```", said, re.DOTALL) for kind in ("sh", "python"))
    for line in commands.splitlines():
        if line.startswith("printf"):
            subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True, timeout=60)
            continue
        few = re.sub(r"--customers \d+", "--customers 700 --trouble 8 --quiet", line)
        name, *words = shlex.split(few.replace("--days 150", "--days 75").replace("--days 90", "--days 60"))
        assert name == "cxstream"
        done = cxstream(*words, cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr)
    assert (tmp_path / "effect.html").exists()
    assert b"retention" in done.stdout
    assert b"churn" in done.stdout
    with contextlib.chdir(tmp_path):
        exec(code, {})  # our own docs
    money = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(money) == 10
    assert money == sorted(money, reverse=True)
    assert money[0] > 0


def test_the_ground_truth_knows_who_is_gone_without_a_word(log: Path, taken: Snapshots) -> None:
    path = log.with_name("truth.ndjson")
    spells = {
        each["subject"]: [(d["left_at"], d["won_back_at"] or "9") for d in each["departures"]]
        for each in map(json.loads, path.read_text().splitlines()[1:])
    }
    here, leaves = [], []
    for who, time in zip(taken.customer.tolist(), taken.time.tolist(), strict=True):
        mine, now, end = spells[taken.names[who]], rfc3339(time), rfc3339(time + HORIZON * DAY_MS)
        here.append(not any(left <= now < back for left, back in mine))
        leaves.append(any(now < left <= end for left, _ in mine))
    true = label(by_truth(taken, read_truth(path)), HORIZON, "events")
    by_events = label(taken, HORIZON, "events")
    assert here.count(False) > 0
    counts = np.array(here) & ~_treated(taken)
    assert true.y.tolist() == np.array(leaves)[counts].tolist()
    assert true.snapshots.customer.tolist() == taken.customer[counts].tolist()
    assert true.departures > by_events.departures


def _treated(taken: Snapshots) -> NDArray[np.bool_]:
    """Snapshots that leave with the customers held out standing for them."""
    kept = label(taken, HORIZON, "events").snapshots
    known = set(zip(kept.customer.tolist(), kept.time.tolist(), strict=True))
    return np.array(
        [pair not in known for pair in zip(taken.customer.tolist(), taken.time.tolist(), strict=True)]
    )


def test_a_feature_that_hardly_differs_has_no_weight() -> None:
    """P(alive) of 0.999999 for all would need a coefficient beyond what rules may have."""
    random = np.random.default_rng(4)
    x = np.column_stack([random.random(3000), random.random(3000) * 1e-7])
    y = random.random(3000) < 1 / (1 + np.exp(4 - 3 * x[:, 0] - 2e7 * x[:, 1]))
    fitted = fit_linear(x, y, np.ones(3000), np.arange(3000))
    assert fitted.constant.tolist() == [False, True]
    assert fitted.coefficients[1] == 0
    assert fitted.coefficients[0] == pytest.approx(3, abs=0.5)


def test_not_enough_data_is_said_and_no_rules_are_written(log: Path, tmp_path: Path) -> None:
    out, page = tmp_path / "rules.toml", tmp_path / "card.html"
    done = cxstream(
        "train", "churn", log, "--horizon", "1d", "--every", "30d", "--out", out, "--report", page
    )
    assert done.returncode == 1
    assert b"not enough data" in done.stderr
    assert not out.exists()
    assert "not enough data" in page.read_text()
    assert cxstream("train", "churn", log, "--horizon", "soon", "--out", out).returncode == 2
    assert cxstream("train", "churn", log, "--test", out, "--out", out).returncode == 1
    refused = cxstream("train", "churn", log, "--test", log, "--truth", log, "--out", out)
    assert refused.returncode == 1
    assert f"{log}, line 1: no ground truth".encode() in refused.stderr
    assert cxstream("train", "churn", log, "--truth", log, "--out", out).returncode == 2

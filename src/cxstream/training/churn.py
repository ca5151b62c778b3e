"""`cxstream train churn`: from a log to a calibrated churn risk, a check of it, and a set of rules.

    cutoffs      |--- fitted: their horizon ends before the split ---|--- horizon ---|--- checked ---|
    customers    seven in ten: fitted                                                 three in ten: checked

The model that goes into the rules is fitted again to everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from cxstream.model.errors import InputError
from cxstream.model.features import FEATURES
from cxstream.model.parameters import DAY_MS
from cxstream.model.rules import Rules, rules_of
from cxstream.training.card import Asked, Check, Levels, Tried, check, levels_of
from cxstream.training.logistic import Linear, fit_linear, fit_without, is_constant
from cxstream.training.measures import auc, log_loss
from cxstream.training.outcomes import Labelled, is_test, label
from cxstream.training.snapshots import Schedule, read_snapshots
from cxstream.training.truth import by_truth

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from cxstream.training.log import Source
    from cxstream.training.snapshots import Snapshots
    from cxstream.training.truth import Truth

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

# Departures below which coefficients are mostly chance, and those that a check needs.
_LEAST, _LEAST_CHECKED = 80, 10
_MOST_TREES = 200_000
_LAST = 0.75
_DIGITS = 6


@dataclass(slots=True)
class TrainedChurn:
    """What came of it.

    Attributes:
        asked: what was asked.
        labelled: the snapshots.
        model: fitted to all of them; None if there is not enough data.
        checked: fitted to a part of them; None likewise.
        check: that one against the others; None likewise.
        fresh: the model of the rules against other inputs; None if there are none.
        true: ... against those who left by the ground truth of these; None without one.
        tried: what each feature of the checked model earns; empty without a check.
        levels: thresholds that keep the meaning of levels; None likewise.
        split: ms UTC, the first cutoff that is checked; None: the check is of other customers only.
        warnings: what to beware of.
    """

    asked: Asked
    labelled: Labelled
    model: Linear | None = None
    checked: Linear | None = None
    check: Check | None = None
    fresh: Check | None = None
    true: Check | None = None
    tried: list[Tried] = field(default_factory=list)
    levels: Levels | None = None
    split: int | None = None
    warnings: list[str] = field(default_factory=list)


def train_churn(
    source: Source,
    asked: Asked,
    fresh: Source | None = None,
    say: Callable[[str], None] = lambda _: None,
    truth: Truth | None = None,
) -> TrainedChurn:
    """Fit a churn risk.

    Args:
        source: touchpoint files.
        asked: what is asked.
        fresh: other ones, which the model of the rules is checked with.
        say: takes what is done now.
        truth: who left of the simulated customers of `fresh`, which the model is checked with, too.

    Raises:
        InputError: the inputs cannot be read.
    """
    say("reading, and taking snapshots")
    labelled = label(_snapshots(source, asked), asked.horizon, asked.definition)
    found = TrainedChurn(asked, labelled)
    needed = _LEAST
    if labelled.departures < needed or labelled.y.all():
        found.warnings.append(_too_few(labelled, needed, asked))
        return found
    _warn(found)
    say("fitting")
    before = source.params.thresholds
    found.model = _fit(labelled)
    p = found.model.probability(labelled.snapshots.x)
    found.levels = levels_of(labelled, p, before)
    say("checking")
    _check(found)
    if fresh is not None:
        say("checking with other inputs")
        taken = _snapshots(fresh, asked)
        # Leaving is what it is to the model, whatever these inputs have.
        found.fresh = _check_with(found, label(taken, asked.horizon, labelled.definition), "other inputs")
        if truth is not None:
            real = label(by_truth(taken, truth), asked.horizon, "events")
            found.true = _check_with(found, real, "the ground truth of these")
    return found


def _snapshots(source: Source, asked: Asked) -> Snapshots:
    return read_snapshots(source, Schedule(asked.every, asked.warmup, asked.horizon), asked.until)


def _too_few(labelled: Labelled, needed: int, asked: Asked) -> str:
    what = "churned event" if labelled.definition == "events" else "silence"
    return (
        f"not enough data: {labelled.departures:,} customers left ({what} within {asked.horizon} days after one of "
        f"{len(np.unique(labelled.snapshots.time)):,} cutoffs), and {needed:,} are needed: give a longer log, or one of more "
        "customers"
    )


def _fit(part: Labelled) -> Linear:
    return fit_linear(part.snapshots.x, part.y, part.weights, part.snapshots.customer)


def _warn(found: TrainedChurn) -> None:
    labelled = found.labelled
    if labelled.treated and not labelled.weighted:
        found.warnings.append(
            f"{labelled.treated:,} snapshots are of customers who were treated, and only {labelled.held_out:,} of customers "
            "who were held out: the risk is that of customers who are treated as before; hold out a share of them "
            "(data.arm holdout) to learn what happens without treatment"
        )
    alike = is_constant(labelled.snapshots.x)
    constant = [name for name, is_alike in zip(FEATURES, alike.tolist(), strict=True) if is_alike]
    if constant:
        without_model = "lapse" in constant and not labelled.snapshots.x[:, FEATURES.index("lapse")].any()
        found.warnings.append(
            f"the same for everybody, so their weight is 0: {', '.join(constant)}"
            + ("; 'cxstream train purchases' first gives lapse a meaning" if without_model else "")
        )


def _check(found: TrainedChurn) -> None:
    """Fit to some customers and the time before the split, and compare with the others and the time after it."""
    labelled, horizon = found.labelled, found.asked.horizon * DAY_MS
    times, test = labelled.snapshots.time, is_test(labelled.snapshots)
    grid = np.unique(times)
    split = int(grid[min(int(np.ceil(len(grid) * _LAST)), len(grid) - 1)])
    part, rest = labelled.taken(~test & (times + horizon <= split)), labelled.taken(test & (times >= split))
    needed = _LEAST
    if part.departures < needed:
        # Correlated in time, but of nobody who was seen.
        part, rest = labelled.taken(~test), labelled.taken(test)
        found.warnings.append(
            f"the log is too short for a check in time: {len(grid):,} cutoffs span {int(grid[-1] - grid[0]) // DAY_MS} days, "
            "the check is of other customers at the same time"
        )
    else:
        found.split = split
    if part.departures < needed or rest.departures < _LEAST_CHECKED or found.levels is None:
        found.warnings.append(
            f"not enough data for a check: {rest.departures:,} of the customers left out for it have left"
        )
        return
    found.checked = _fit(part)
    p = found.checked.probability(part.snapshots.x)
    x, models = part.snapshots.x, _models(found.checked, part, rest)
    found.check = check(rest, models, found.levels, found.asked, p, x)
    found.tried = what_features_earn(found.checked, part, rest)


def _check_with(found: TrainedChurn, other: Labelled, what: str) -> Check | None:
    """The model of the rules against snapshots of others; None, with a warning, where they are not enough."""
    assert found.model is not None  # noqa: S101 - there is enough data for it
    assert found.levels is not None  # noqa: S101 - likewise
    if other.departures < _LEAST_CHECKED:
        found.warnings.append(_too_few_others(found, other, what))
        return None
    x = found.labelled.snapshots.x
    models = _models(found.model, found.labelled, other)
    return check(other, models, found.levels, found.asked, found.model.probability(x), x)


def _too_few_others(found: TrainedChurn, other: Labelled, what: str) -> str:
    asked, cutoffs = found.asked, len(np.unique(other.snapshots.time))
    said = (
        f"not enough data for a check with {what}: {other.departures:,} customers left within {asked.horizon} days after one of "
        f"{cutoffs:,} cutoffs, and {_LEAST_CHECKED} are needed: "
    )
    if not cutoffs:
        days = asked.warmup + asked.horizon + 1
        return f"{said}give files of {days} days or more ({asked.warmup} of warm-up, {asked.horizon} of horizon), or a shorter --warmup"
    if other.definition == "events" and not len(other.snapshots.churned):
        return (
            f"{said}there is no churned event in them, and leaving is one to this model; give files with such events, or fit with "
            "--leaving silence"
        )
    return f"{said}give longer files, or files of more customers"


def what_features_earn(model: Linear, part: Labelled, rest: Labelled) -> list[Tried]:
    """Fit a model again without each of its features; those that earn most come first.

    Args:
        model: fitted to `part`.
        part: what it is fitted to again.
        rest: what it is checked with.
    """
    p = {}
    for place in (-1, *np.flatnonzero(model.coefficients > 0).tolist()):
        fitted = fit_without(model, part.snapshots.x, part.y, part.weights, place)
        p[place] = fitted.probability(rest.snapshots.x)
    y, w = rest.y, rest.weights
    whole = log_loss(y, p.pop(-1), w)
    found = []
    for place, without in p.items():
        loss = log_loss(y, without, w)
        found.append(Tried(FEATURES[place], loss, loss - whole, auc(y, without, w)))
    return sorted(found, key=lambda each: -each.saves)


def _models(model: Linear, part: Labelled, rest: Labelled) -> dict[str, Floats]:
    """Probabilities of the rest, by the model and by others that are fitted to the same part."""
    rf, rf_rest = recency_frequency(part.snapshots), recency_frequency(rest.snapshots)
    habits = fit_linear(rf, part.y, part.weights, part.snapshots.customer, signed=True)
    share = float(np.average(part.y, weights=part.weights))
    return {
        "linear": model.probability(rest.snapshots.x),
        "boosting": boosted(part, rest.snapshots.x),
        "recency_frequency": habits.probability(rf_rest),
        "before": rest.snapshots.before,
        "share": np.full(len(rest), share),
    }


def recency_frequency(snapshots: Snapshots) -> Floats:
    """Logarithms of recency and frequency, and touches missed at the usual rate."""
    missed = snapshots.recency * snapshots.touches / 90
    found: Floats = np.c_[np.log1p(snapshots.recency), np.log1p(snapshots.touches), missed]
    return found


def boosted(part: Labelled, x: Floats) -> Floats:
    """Probabilities of gradient boosting with the same features: what a linear model may cost."""
    rows = np.arange(len(part))
    if len(rows) > _MOST_TREES:
        rows = np.random.default_rng(0).choice(rows, _MOST_TREES, replace=False)
    trees = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.05, max_leaf_nodes=15, l2_regularization=1.0, random_state=0
    )
    trees.fit(part.snapshots.x[rows], part.y[rows], part.weights[rows])
    found: Floats = trees.predict_proba(x)[:, 1]
    return found


def churn_rules(rules: Rules, trained: TrainedChurn) -> Rules:
    """Rules with the fitted churn risk.

    Raises:
        InputError: there is not enough data.
    """
    if trained.model is None or trained.levels is None:
        raise InputError(f"{trained.warnings[0]}; no rules were written")
    low = trained.levels.thresholds[0]
    before = rules.params
    scale = low / before.thresholds[0] if before.thresholds[0] else 1.0
    x = trained.labelled.snapshots.x
    typical = {
        name: round(float(np.median(x[:, i])), 3) if before.typical[name] else 0.0
        for i, name in enumerate(FEATURES)
    }
    coefficients = dict(
        zip(FEATURES, (round(b, _DIGITS) for b in trained.model.coefficients.tolist()), strict=True)
    )
    params = before.model_copy(
        update={
            "intercept": round(trained.model.intercept, _DIGITS),
            "coefficients": coefficients,
            "typical": typical,
            "thresholds": trained.levels.thresholds,
            "hysteresis": round(before.hysteresis * scale, _DIGITS),
            "worsened": min(max(round(before.worsened * scale, _DIGITS), 1e-6), 1.0),
            "churn_horizon_days": trained.asked.horizon,
        }
    )
    return rules_of(params, rules.actions)

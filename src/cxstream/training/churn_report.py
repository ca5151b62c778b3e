"""The model card of a churn risk: JSON for programs, and one HTML page that needs nothing else."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.insights.drift import spread
from cxstream.model.features import FEATURES
from cxstream.model.parameters import DAY_MS
from cxstream.model.rfc3339 import date
from cxstream.training.acting_report import acting_parts
from cxstream.training.card import importance
from cxstream.training.page import Rows, page, table, warnings
from cxstream.training.plot import Series, line_plot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.training.card import Check, Levels
    from cxstream.training.churn import TrainedChurn
    from cxstream.training.logistic import Linear

_LITTLE, _MUCH = 0.1, 0.25
SHIFTS = "Drift of each feature since the snapshots of the fit (PSI)"
TRIED = "What each feature earns, with customers whom the model has not seen"
_NAMES = {
    "linear": "linear, as in the rules",
    "boosting": "gradient boosting, same features",
    "recency_frequency": "recency and frequency",
    "before": "the rules before",
    "share": "the same for everybody",
}


def as_json(trained: TrainedChurn) -> bytes:
    """Everything there is to know, as one JSON object; null where nothing can be said."""
    labelled, asked = trained.labelled, trained.asked
    snapshots = labelled.snapshots
    said: dict[str, Any] = {
        "horizon_days": asked.horizon,
        "leaving": labelled.definition,
        "records": snapshots.records,
        "accepted": snapshots.accepted,
        "snapshots": len(labelled),
        "customers": labelled.customers,
        "departures": labelled.departures,
        "enough_data": trained.model is not None,
        "left_out": {
            "suspended": snapshots.suspended,
            "inactive": snapshots.inactive,
            "quiet": labelled.quiet,
        },
        "treated": {
            "treated": labelled.treated,
            "held_out": labelled.held_out,
            "held_out_stand_for_treated": labelled.weighted,
        },
        "model": _model(trained.model),
        "training": _training(trained),
        "checked_model": _model(trained.checked),
        "checked_from": None if trained.split is None else date(trained.split // DAY_MS),
        "levels": trained.levels,
        "check": trained.check,
        "tried": trained.tried,
        "other_inputs": trained.fresh,
        "ground_truth": trained.true,
        "linear_costs_auc": linear_costs(trained.check),
        "costs": {"contact": asked.cost, "success": asked.success, "value": asked.value},
        "warnings": trained.warnings,
    }
    return msgspec.json.format(msgspec.json.encode(said)) + b"\n"


def _training(trained: TrainedChurn) -> dict[str, Any] | None:
    """How probabilities and features are spread over the snapshots, which live ones are compared with."""
    if trained.model is None:
        return None
    x = trained.labelled.snapshots.x
    return {
        "probability": spread(trained.model.probability(x)),
        "features": {name: spread(x[:, i]) for i, name in enumerate(FEATURES)},
    }


def _model(model: Linear | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return {
        "intercept": model.intercept,
        "coefficients": dict(zip(FEATURES, model.coefficients.tolist(), strict=True)),
        "strength": model.strength,
        "calibration": {"slope": model.slope, "shift": model.shift},
        "constant": _named(model.constant.tolist()),
        "would_lower_the_risk": _named(model.against.tolist()),
    }


def _named(which: list[bool]) -> list[str]:
    return [name for name, is_one in zip(FEATURES, which, strict=True) if is_one]


def linear_costs(check: Check | None) -> float | None:
    """How much AUC gradient boosting has more than the linear model; None where nothing can be said."""
    if check is None:
        return None
    area = {score.model: score.auc for score in check.scores}
    lost = area["boosting"] - area["linear"]
    return lost if math.isfinite(lost) else None


def as_html(trained: TrainedChurn) -> str:
    """The model card as one HTML page with its plots."""
    parts = [f"<p>{escape(line)}</p>" for line in about(trained)]
    parts += warnings(trained.warnings)
    if trained.model is None or trained.levels is None:
        return page("Churn risk: not enough data", parts)
    parts += [
        "<h2>Model</h2>",
        table(model_rows(trained)),
        f"<p>{escape(of_calibration(trained.model))}</p>",
        "<h2>Levels</h2>",
        table(level_rows(trained.levels)),
    ]
    if trained.check is not None:
        when = "" if trained.split is None else f" from {date(trained.split // DAY_MS)} on"
        title = f"Check with customers whom the model has not seen{when}"
        parts += [f"<h2>{title}</h2>", *_check(trained.check, trained)]
        parts += [f"<h3>{TRIED}</h3>", table(tried_rows(trained))]
    if trained.fresh is not None:
        parts += ["<h2>Check with other inputs</h2>", *_check(trained.fresh, trained)]
    if trained.true is not None:
        parts += ["<h2>Check with the ground truth of these</h2>", *_check(trained.true, trained)]
    return page(f"Churn risk within {trained.asked.horizon} days", parts)


def about(trained: TrainedChurn) -> Iterator[str]:
    """What the model was fitted to, in sentences."""
    labelled, asked = trained.labelled, trained.asked
    snapshots = labelled.snapshots
    what = (
        "a churned event"
        if labelled.definition == "events"
        else f"no touch for {asked.horizon} days, of customers with a touch in the {asked.horizon} days before"
    )
    yield (
        f"{len(labelled):,} snapshots of {labelled.customers:,} customers, one every {asked.every} days; {labelled.departures:,} "
        f"of them left within {asked.horizon} days after one. Leaving is {what}."
    )
    yield (
        f"Left out: {snapshots.suspended:,} snapshots of customers who had left, {snapshots.inactive:,} without a touch in the "
        f"window" + (f", {labelled.quiet:,} who were quiet already" if labelled.quiet else "") + "."
    )
    if labelled.treated or labelled.held_out:
        how = (
            "those treated are left out, and those held out stand for them"
            if labelled.weighted
            else "all of them count as they are"
        )
        yield (
            f"Within the horizon {labelled.treated:,} snapshots were treated and {labelled.held_out:,} held out: {how}."
        )


def of_calibration(model: Linear) -> str:
    """What calibration did."""
    return (
        f"Regularisation C = {model.strength:g}. Calibration multiplied the log-odds by {model.slope:.3f} and added "
        f"{model.shift:+.3f}; both are in the coefficients."
    )


def model_rows(trained: TrainedChurn) -> Rows:
    """Coefficients as a table, the head first."""
    rows: Rows = [("feature", "coefficient", "one standard deviation adds", "")]
    model = trained.model
    if model is None:
        return rows
    why = dict.fromkeys(_named(model.constant.tolist()), "the same for everybody")
    why |= dict.fromkeys(_named(model.against.tolist()), "left out: it would lower the risk")
    rows.append(("intercept", f"{model.intercept:.3f}", "", ""))
    for name, b, adds in importance(model.coefficients, trained.labelled.snapshots.x):
        rows.append((name, f"{b:.3f}", f"{adds:.3f}", why.get(name, "")))
    return rows


def level_rows(levels: Levels) -> Rows:
    """Levels before and now as a table, the head first."""
    rows: Rows = [
        ("level", "began at", "begins at", "customers before", "customers now", "left before", "left now")
    ]
    for each in levels.rows:
        counts = [f"{value:,.0f}" for value in each.customers]
        shares = [share(value) for value in each.observed]
        rows.append((each.name, f"{each.begins[0]:.3g}", f"{each.begins[1]:.3g}", *counts, *shares))
    return rows


def score_rows(check: Check) -> Rows:
    """Models as a table, the head first."""
    rows: Rows = [("model", "AUC", "PR-AUC", "Brier", "log loss", "calibration error", "mean probability")]
    for each in check.scores:
        values = (each.average_precision, each.brier, each.log_loss, each.calibration_error, each.mean)
        rows.append((_NAMES[each.model], number(each.auc), *map(number, values)))
    return rows


def tried_rows(trained: TrainedChurn) -> Rows:
    """What each feature earns as a table, the head first."""
    rows: Rows = [("without", "log loss", "the feature saves", "AUC")]
    for each in trained.tried:
        rows.append((each.feature, f"{each.log_loss:.5f}", f"{each.saves:+.5f}", number(each.auc)))
    return rows


def number(value: float) -> str:
    """Four digits, or that nothing can be said."""
    return f"{value:.4f}" if math.isfinite(value) else "not enough data"


def share(value: float) -> str:
    """A share in percent, or nothing."""
    return f"{value:.1%}" if math.isfinite(value) else ""


def _check(check: Check, trained: TrainedChurn) -> Iterator[str]:
    lost, asked = linear_costs(check), trained.asked
    yield (
        f"<p>{check.snapshots:,} snapshots of {check.customers:,} customers, {check.departures:,} of whom left. AUC "
        f"{number(check.scores[0].auc)} ({check.auc[0]:.3f} to {check.auc[1]:.3f}), expected calibration error "
        f"{number(check.scores[0].calibration_error)} ({check.calibration_error[0]:.4f} to {check.calibration_error[1]:.4f}). "
        + (f"Linear costs {lost:.4f} AUC. " if lost is not None else "")
        + f"Drift (PSI) {number(check.drift)}: below 0.1 is little, above 0.25 much.</p>"
    )
    yield table(score_rows(check))
    bins = [(each.expected, each.observed) for each in check.bins]
    most = max(each.expected for each in check.bins)
    spread = [(each.expected, each.least, each.most) for each in check.bins]
    yield line_plot(
        "Share who left, with 95% intervals",
        "probability",
        [
            Series("observed", bins, spread=spread),
            Series("calibrated", [(0.0, 0.0), (most, most)], dashed=True),
        ],
    )
    yield table(_bin_rows(check))
    yield "<h3>Lift</h3>"
    captured = [(0.0, 0.0), *((each.number / 10, each.captured) for each in check.deciles)]
    yield line_plot(
        "Share of those who leave",
        "share of customers, the largest risk first",
        [Series("captured", captured), Series("by chance", [(0.0, 0.0), (1.0, 1.0)], dashed=True)],
    )
    yield table(_decile_rows(check))
    yield "<h3>Over time</h3>"
    begin = check.moments[0].time
    days = [(each.time - begin) / DAY_MS for each in check.moments]
    yield line_plot(
        "Share who left within the horizon",
        f"days since {date(begin // DAY_MS)}",
        [
            Series("observed", list(zip(days, (each.observed for each in check.moments), strict=True))),
            Series(
                "expected",
                list(zip(days, (each.expected for each in check.moments), strict=True)),
                dashed=True,
            ),
        ],
    )
    if check.groups:
        yield from ("<h3>Segments and channels, with 95% intervals</h3>", table(_group_rows(check)))
    yield f"<h3>{SHIFTS}</h3>"
    yield table(shift_rows(check))
    yield from acting_parts(check, asked)


def _bin_rows(check: Check) -> Rows:
    rows: Rows = [("probability", "snapshots", "customers", "expected", "left", "95% interval")]
    for each in check.bins:
        rows.append(
            (
                f"{each.low:.3g} to {each.high:.3g}", f"{each.snapshots:,}", f"{each.customers:,}",
                f"{each.expected:.2%}", f"{each.observed:.2%}", f"{each.least:.2%} to {each.most:.2%}",
            )
        )  # fmt: skip
    return rows


def _decile_rows(check: Check) -> Rows:
    rows: Rows = [("tenth", "from", "left", "lift", "captured")]
    for each in check.deciles:
        rows.append(
            (
                f"{each.number}",
                f"{each.least:.3g}",
                f"{each.observed:.2%}",
                f"{each.lift:.2f}",
                f"{each.captured:.1%}",
            )
        )
    return rows


def _group_rows(check: Check) -> Rows:
    rows: Rows = [
        ("group", "", "snapshots", "left", "expected", "observed", "95% interval", "AUC", "95% interval")
    ]
    for each in check.groups:
        name = each.name or ("not known" if each.by == "segment" else "no contact")
        rows.append(
            (
                name, each.by, f"{each.snapshots:,}", f"{each.departures:,}", f"{each.expected:.2%}",
                f"{each.observed:.2%}", f"{each.range[0]:.2%} to {each.range[1]:.2%}", number(each.auc),
                "" if math.isnan(each.auc) else f"{each.auc_range[0]:.3f} to {each.auc_range[1]:.3f}",
            )
        )  # fmt: skip
    return rows


def shift_rows(check: Check) -> Rows:
    """How far each feature has moved as a table, the head first."""
    rows: Rows = [("feature", "PSI", "")]
    for each in check.shifts:
        said = "little" if each.psi < _LITTLE else "some" if each.psi <= _MUCH else "much: fit again"
        rows.append((each.feature, f"{each.psi:.3f}", said))
    return rows

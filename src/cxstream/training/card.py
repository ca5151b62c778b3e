"""What a model card says of a churn risk: how it ranks, whether it is a probability, and what acting on it brings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.features import FEATURES
from cxstream.training.acting import Costs, Lead, costs_of, lead_of
from cxstream.training.measures import (
    Bin,
    Decile,
    auc,
    average_precision,
    brier,
    calibration,
    calibration_error,
    deciles,
    drift,
    interval,
    log_loss,
    wilson,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cxstream.training.outcomes import Definition, Labelled

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

LEVELS = ("none", "elevated", "high", "critical")
# A group with fewer departures says nothing about a model.
_FEW = 20
_GROUPS = 12
_SIGNIFICANT = 3


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the churn risk.

    Attributes:
        horizon: days within which customers leave.
        every: days between cutoffs.
        warmup: days before the first one.
        until: ms UTC, end of the time of observation; None: the last event.
        definition: what leaving is; None: `churned` events if there are any.
        cost: of contacting a customer.
        success: share of those who would have left whom a contact keeps.
        value: of a customer who stays.
    """

    horizon: int = 30
    every: int = 7
    warmup: int = 28
    until: int | None = None
    definition: Definition | None = None
    cost: float = 5.0
    success: float = 0.2
    value: float = 200.0


@dataclass(frozen=True, slots=True)
class Level:
    """A level of the risk.

    Attributes:
        name: of the level.
        begins: smallest probability by the rules before, and by the new ones.
        customers: mean number of customers at a cutoff, by the rules before and by the new ones.
        observed: share of them who left, likewise; NaN where there are none.
    """

    name: str
    begins: tuple[float, float]
    customers: tuple[float, float]
    observed: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Levels:
    """Thresholds that keep the meaning of the levels: each holds as many customers as before.

    Attributes:
        thresholds: where elevated, high and critical begin.
        rows: the levels.
    """

    thresholds: tuple[float, float, float]
    rows: list[Level]


@dataclass(frozen=True, slots=True)
class Score:
    """A model on the checked snapshots; NaN where nothing can be said."""

    model: str
    auc: float
    average_precision: float
    brier: float
    log_loss: float
    calibration_error: float
    mean: float


@dataclass(frozen=True, slots=True)
class Group:
    """The model within a segment or channel.

    Attributes:
        by: segment or channel.
        name: of the group; "" where none is known.
        snapshots: how many.
        departures: customers who left.
        expected: mean probability.
        observed: share who left.
        range: 95% interval of that share (Wilson), as of independent customers.
        auc: NaN where too few have left.
        auc_range: 95% interval of it, customers drawn again.
    """

    by: str
    name: str
    snapshots: int
    departures: int
    expected: float
    observed: float
    range: tuple[float, float]
    auc: float
    auc_range: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Moment:
    """All customers at a cutoff: mean probability and share who left within the horizon."""

    time: int
    expected: float
    observed: float


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the values of a feature have moved: their population stability index."""

    feature: str
    psi: float


@dataclass(frozen=True, slots=True)
class Tried:
    """What a feature earns: the checked model, fitted again without it.

    Attributes:
        feature: its name.
        log_loss: of the snapshots that the model has not seen, without the feature.
        saves: how much less log loss the model has with it.
        auc: without the feature.
    """

    feature: str
    log_loss: float
    saves: float
    auc: float


@dataclass(frozen=True, slots=True)
class Check:
    """A model against snapshots that it has not seen.

    Attributes:
        snapshots: how many.
        customers: of how many.
        departures: customers who left.
        share: of the snapshots, with a departure.
        scores: the model, first, and others.
        auc: 95% interval of its AUC, customers drawn again.
        calibration_error: ... of its expected calibration error.
        bins: calibration of it.
        deciles: lift of it.
        groups: it within segments and channels.
        moments: it over time.
        lead: how early it sees departures.
        costs: whom to contact.
        drift: PSI of its probabilities against those of the snapshots that it was fitted to.
        shifts: PSI of each feature, likewise; the largest first.
    """

    snapshots: int
    customers: int
    departures: int
    share: float
    scores: list[Score]
    auc: tuple[float, float]
    calibration_error: tuple[float, float]
    bins: list[Bin]
    deciles: list[Decile]
    groups: list[Group]
    moments: list[Moment]
    lead: Lead
    costs: Costs
    drift: float
    shifts: list[Shift]


def check(
    rest: Labelled, models: Mapping[str, Floats], levels: Levels, asked: Asked, fitted: Floats, x: Floats
) -> Check:
    """Compare a model with what came.

    Args:
        rest: snapshots that it has not seen.
        models: probabilities of them by name; the model itself is the first.
        levels: thresholds of the rules.
        asked: what is asked.
        fitted: probabilities of the snapshots that it was fitted to.
        x: their features.
    """
    y, w, who = rest.y, rest.weights, rest.snapshots.customer
    p = next(iter(models.values()))
    return Check(
        len(rest),
        rest.customers,
        rest.departures,
        float(np.average(y, weights=w)) if len(rest) else math.nan,
        [_score(name, y, each, w) for name, each in models.items()],
        interval(auc, y, p, w, who),
        interval(calibration_error, y, p, w, who),
        calibration(y, p, w, who),
        deciles(y, p, w),
        _groups(rest, p),
        _moments(rest, p),
        lead_of(rest, p, levels.thresholds[0], asked.every),
        costs_of(y, p, w, asked.cost, asked.success * asked.value),
        drift(fitted, p),
        sorted(
            (Shift(name, drift(x[:, i], rest.snapshots.x[:, i])) for i, name in enumerate(FEATURES)),
            key=lambda each: -each.psi,
        ),
    )


def _score(name: str, y: Bools, p: Floats, w: Floats) -> Score:
    return Score(
        name,
        auc(y, p, w),
        average_precision(y, p, w),
        brier(y, p, w),
        log_loss(y, p, w),
        calibration_error(y, p, w),
        float(np.average(p, weights=w)) if len(p) else math.nan,
    )


def _groups(rest: Labelled, p: Floats) -> list[Group]:
    found = []
    for by, names in (("segment", rest.snapshots.segment), ("channel", rest.snapshots.channel)):
        known, counts = np.unique(names, return_counts=True)
        if len(known) < 2:  # noqa: PLR2004 - nothing to compare
            continue
        for i in np.argsort(-counts, kind="stable")[:_GROUPS].tolist():
            here = names == known[i]
            y, w, part = rest.y[here], rest.weights[here], p[here]
            who = rest.snapshots.customer[here]
            left = len(np.unique(who[y]))
            expected, observed = (float(np.average(each, weights=w)) for each in (part, y))
            share = wilson(observed, len(np.unique(who)))
            area, ends = math.nan, (math.nan, math.nan)
            if left >= _FEW:
                area, ends = auc(y, part, w), interval(auc, y, part, w, who)
            found.append(
                Group(by, str(known[i]), int(counts[i]), left, expected, observed, share, area, ends)
            )
    return found


def _moments(rest: Labelled, p: Floats) -> list[Moment]:
    found = []
    for time in np.unique(rest.snapshots.time).tolist():
        here = rest.snapshots.time == time
        w = rest.weights[here]
        found.append(
            Moment(time, float(np.average(p[here], weights=w)), float(np.average(rest.y[here], weights=w)))
        )
    return found


def levels_of(labelled: Labelled, p: Floats, before: tuple[float, float, float]) -> Levels:
    """Thresholds above which as many customers are as were above those before.

    Args:
        labelled: snapshots.
        p: their new probabilities.
        before: the thresholds before.
    """
    old, ordered, found = labelled.snapshots.before, np.sort(p), []
    last = 0.0
    for threshold in before:
        count = int(np.count_nonzero(old >= threshold))
        # Nobody was there before: out of reach of all but the largest.
        value = float(ordered[-count]) if count else float(ordered[-1]) * 1.25
        rounded = float(f"{min(max(value, last * 1.05, 1e-4), 0.99):.{_SIGNIFICANT}g}")
        last = rounded if rounded > last else last + 1e-3
        found.append(last)
    thresholds = (found[0], found[1], found[2])
    return Levels(thresholds, _level_rows(labelled, p, before, thresholds))


def _level_rows(
    labelled: Labelled, p: Floats, before: tuple[float, ...], now: tuple[float, ...]
) -> list[Level]:
    cutoffs = max(len(np.unique(labelled.snapshots.time)), 1)
    places = [np.searchsorted(before, labelled.snapshots.before, "right"), np.searchsorted(now, p, "right")]
    begins = ((0.0, *before), (0.0, *now))
    rows = []
    for i, name in enumerate(LEVELS):
        here = [where == i for where in places]
        shares = [
            float(np.average(labelled.y[some], weights=labelled.weights[some])) if some.any() else math.nan
            for some in here
        ]
        counts = [float(np.count_nonzero(some)) / cutoffs for some in here]
        rows.append(Level(name, (begins[0][i], begins[1][i]), (counts[0], counts[1]), (shares[0], shares[1])))
    return rows


def importance(coefficients: Floats, x: Floats) -> list[tuple[str, float, float]]:
    """Each feature with its coefficient, and what one standard deviation of it adds to the log-odds."""
    spread = x.std(axis=0)
    return [
        (name, float(b), float(b * sd)) for name, b, sd in zip(FEATURES, coefficients, spread, strict=True)
    ]

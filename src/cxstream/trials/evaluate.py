"""Evaluates experiments and actions: which figures are compared, what they are worth, and when nothing can be said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from cxstream.trials import statistics as s
from cxstream.trials.gather import OUTCOMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.trials.gather import Subjects
    from cxstream.trials.statistics import Floats

# Customers that an arm must have before its mean is worth reading.
LEAST = 30
# Smaller p-values than this say that the arms have not the sizes that they should have.
RATIO_ALPHA = 0.001
# Points of a sequence.
_LOOKS = 40


class Wanted(Struct, frozen=True):
    """What is asked for.

    Attributes:
        days: how long each customer is followed.
        cost: of acting on one customer, in the base currency; None: not known.
        value: of a customer who stays, in the base currency; None: spend is counted instead.
        margin: what is left of spend, as a share of it.
        power: with which effects should be found.
        seed: of the bootstrap.
    """

    days: int = 30
    cost: float | None = None
    value: float | None = None
    margin: float = 1.0
    power: float = s.POWER
    seed: int = 0


class Metric(Struct, frozen=True):
    """One outcome.

    Attributes:
        name: effort, satisfaction, nps, churn or spend.
        treated: customers with it.
        holdout: customers with it.
        mean_treated: its mean.
        mean_holdout: its mean.
        plain: difference of the means.
        estimate: the same with CUPED: what to read.
        bootstrap: interval of `estimate` by resampling, for skewed figures; None where there is none.
        anytime: interval of `estimate` that holds however often somebody looks.
        detectable: the least difference that is found with the power wanted, at this many customers.
        variance_kept: part of the variance that CUPED leaves, 0..1.
    """

    name: str
    treated: int
    holdout: int
    mean_treated: float
    mean_holdout: float
    plain: s.Estimate
    estimate: s.Estimate
    bootstrap: tuple[float, float] | None
    anytime: tuple[float, float]
    detectable: float
    variance_kept: float


class Look(Struct, frozen=True):
    """The difference in churn after so many customers, as somebody who peeks sees it.

    Attributes:
        customers: of both arms.
        difference: with CUPED.
        low: end of the anytime-valid interval.
        high: the other end.
    """

    customers: int
    difference: float
    low: float
    high: float


class Money(Struct, frozen=True):
    """What acting on the treated brought.

    Attributes:
        by: churn (customers kept, by their value) or spend.
        cost: of acting on them; None where it is not known.
        gain: before the cost, with the ends of its interval of 95%.
        saving: gain less cost; None where the cost is not known.
        roi: saving / cost; None where the cost is not known or nothing.
    """

    by: str
    cost: float | None
    gain: tuple[float, float, float]
    saving: tuple[float, float, float] | None
    roi: tuple[float, float, float] | None


class Result(Struct, frozen=True):
    """What is known of one experiment or action.

    Attributes:
        what: experiment or action.
        name: its name.
        treated: customers.
        holdout: customers.
        waiting: customers whose time is not over; not counted.
        share: that should be held out; None where the rules do not say.
        ratio_p: p-value of the sizes of the arms; None without `share`.
        acted_on_holdout: customers held out on whom somebody acted all the same.
        metrics: the outcomes that can be compared.
        deciles: difference in churn by tenths of the risk at the start.
        qini: of customers kept, by the risk at the start; None where nothing is compared.
        looks: the difference in churn as customers came in.
        money: what it brought; None where nothing is compared.
        warnings: what to beware of; with any, think before believing the figures.
        left_out: outcomes that cannot be compared, and why.
    """

    what: str
    name: str
    treated: int
    holdout: int
    waiting: int
    share: float | None
    ratio_p: float | None
    acted_on_holdout: int
    metrics: list[Metric]
    deciles: list[s.Decile]
    qini: s.Qini | None
    looks: list[Look]
    money: Money | None
    warnings: list[str]
    left_out: list[str]


def evaluate(found: Subjects, wanted: Wanted, share: float | None = None) -> Result:
    """Compare the arms of an experiment or action.

    Args:
        found: its customers.
        wanted: what is asked for.
        share: that should be held out, 0..1; None where it is not known.
    """
    treated, holdout = int(found.treated.sum()), int((~found.treated).sum())
    p = None if share is None else s.ratio_p(treated, holdout, share)
    acted = int((found.acted_on & ~found.treated).sum())
    metrics: list[Metric] = []
    enough = min(treated, holdout) >= LEAST
    if enough:
        metrics = [each for name in OUTCOMES if (each := _metric(found, name, wanted)) is not None]
    churn = found.outcomes["churn"]
    return Result(
        found.what,
        found.name,
        treated,
        holdout,
        found.waiting,
        share,
        p,
        acted,
        metrics,
        s.deciles(churn, found.treated, _risk(found)) if enough else [],
        s.qini(1 - churn, found.treated, _risk(found)) if enough else None,
        _looks(found) if enough else [],
        _money(metrics, treated, wanted),
        list(_warnings(found, treated, holdout, share, p, acted, wanted)),
        list(_left_out(found, metrics)) if enough else [],
    )


def _left_out(found: Subjects, metrics: list[Metric]) -> Iterator[str]:
    """The outcomes that nothing is said about, and why."""
    for name in OUTCOMES:
        if all(each.name != name for each in metrics):
            there = ~np.isnan(found.outcomes[name])
            treated, holdout = int(there[found.treated].sum()), int(there[~found.treated].sum())
            yield (
                f"{name} is not compared: {treated:,} treated and {holdout:,} held out have one, and each arm needs {LEAST}"
                if min(treated, holdout) < LEAST
                else f"{name} is not compared: it is the same for everybody"
            )


def _risk(found: Subjects) -> Floats:
    return np.nan_to_num(found.risk)


def _warnings(
    found: Subjects,
    treated: int,
    holdout: int,
    share: float | None,
    p: float | None,
    acted: int,
    wanted: Wanted,
) -> list[str]:
    said = []
    if holdout == 0:
        said.append(
            "no holdout: nobody was held out, so nothing says what would have happened without acting; hold out a share by "
            "[scoring.experiments] in the rules"
        )
    elif treated == 0:
        said.append("nobody was treated, so there is nothing to compare the holdout with")
    elif min(treated, holdout) < LEAST:
        said.append(
            f"not enough data: {treated:,} treated and {holdout:,} held out, and each arm needs {LEAST} customers who have "
            f"been followed for {wanted.days} days ({found.waiting:,} have not yet)"
        )
    if p is not None and share is not None and p < RATIO_ALPHA:
        said.append(
            f"the ratio is broken: {holdout:,} of {treated + holdout:,} are held out where {share:.4g} should be (p = {p:.2g}): "
            "customers are missing from an arm, or the rules changed; do not use the figures before the cause is known"
        )
    if share is None and found.what == "action":
        said.append(
            "the arms are those that the CRM wrote into action_taken, and nothing proves that chance drew them: give the share "
            "with --share to test the ratio, or let the rules draw them"
        )
    if acted and found.what == "experiment":
        said.append(
            f"{acted:,} customers held out were acted on all the same: the true effect is larger than what is shown"
        )
    if found.crossed:
        said.append(
            f"{found.crossed:,} customers were in both arms, one after the other; they count in the first"
        )
    return said


def _metric(found: Subjects, name: str, wanted: Wanted) -> Metric | None:
    """An outcome; None where an arm has too few customers with it."""
    there = ~np.isnan(found.outcomes[name])
    y, treated = found.outcomes[name][there], found.treated[there]
    if min(treated.sum(), (~treated).sum()) < LEAST:
        return None
    better = s.adjusted(y, found.before[name][there])
    plain, estimate = s.difference(y, treated), s.difference(better, treated)
    if plain is None or estimate is None:
        return None
    deviation = float(np.sqrt((better[treated].var(ddof=1) + better[~treated].var(ddof=1)) / 2))
    spread = y.var()
    return Metric(
        name,
        int(treated.sum()),
        int((~treated).sum()),
        float(y[treated].mean()),
        float(y[~treated].mean()),
        plain,
        estimate,
        s.bootstrap(better, treated, wanted.seed) if name == "spend" else None,
        s.anytime(estimate, len(y)),
        s.detectable(deviation, int(treated.sum()), int((~treated).sum()), wanted.power),
        float(better.var() / spread) if spread > 0 else 1.0,
    )


def _looks(found: Subjects) -> list[Look]:
    """The sequence, by what was known after each customer: CUPED's slope is that of the customers so far."""
    n, looks = len(found.treated), []
    for at in np.unique(np.linspace(2 * LEAST, n, _LOOKS).astype(int)):
        y = s.adjusted(found.outcomes["churn"][:at], found.before["churn"][:at])
        estimate = s.difference(y, found.treated[:at])
        if estimate is not None:
            looks.append(Look(int(at), estimate.difference, *s.anytime(estimate, int(at))))
    return looks


def _money(metrics: list[Metric], treated: int, wanted: Wanted) -> Money | None:
    by = "spend" if wanted.value is None else "churn"
    metric = next((each for each in metrics if each.name == by), None)
    if metric is None:
        return None
    if wanted.value is None:
        ends = metric.bootstrap or (metric.estimate.low, metric.estimate.high)
        middle, low, high, each = metric.estimate.difference, *ends, wanted.margin
    else:
        # Less churn is a gain.
        estimate = metric.estimate
        middle, low, high, each = -estimate.difference, -estimate.high, -estimate.low, wanted.value
    gain = (middle * treated * each, low * treated * each, high * treated * each)
    if wanted.cost is None:
        return Money(by, None, gain, None, None)
    cost = wanted.cost * treated
    saving = (gain[0] - cost, gain[1] - cost, gain[2] - cost)
    roi = (saving[0] / cost, saving[1] / cost, saving[2] / cost) if cost > 0 else None
    return Money(by, cost, gain, saving, roi)


class Plan(Struct, frozen=True):
    """What an experiment on such customers could find.

    Attributes:
        name: of the outcome.
        mean: of it, of all customers.
        deviation: standard deviation after CUPED.
        detectable: the least difference that so many customers show.
        needed: customers of both arms for effects of 10%, 20% and 50% of the mean; None where the mean is 0.
    """

    name: str
    mean: float
    deviation: float
    detectable: float
    needed: tuple[float, float, float] | None


def plan(found: Subjects, share: float, wanted: Wanted) -> list[Plan]:
    """What an experiment could find if it had the customers that were signalled in this time.

    Args:
        found: customers at risk, whatever their arm.
        share: to be held out, 0..1.
        wanted: the days to follow them, and the power.
    """
    plans = []
    for name in OUTCOMES:
        there = ~np.isnan(found.outcomes[name])
        y = found.outcomes[name][there]
        if len(y) < LEAST:
            continue
        better, mean = s.adjusted(y, found.before[name][there]), float(y.mean())
        deviation = float(better.std(ddof=1))
        least = s.detectable(deviation, len(y) * (1 - share), len(y) * share, wanted.power)
        effects = (0.1 * mean, 0.2 * mean, 0.5 * mean)
        counts = (
            None if mean == 0 or deviation == 0
            else tuple(s.needed(deviation, each, share, wanted.power) for each in effects)
        )  # fmt: skip
        plans.append(Plan(name, mean, deviation, least, counts))  # type: ignore[arg-type]
    return plans

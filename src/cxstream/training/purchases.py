"""Fits all models of purchases and the model of amounts to customers, and says what speaks against them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxstream.training.customers import coarse, group
from cxstream.training.fit import Fit, fit
from cxstream.training.models import MBG_NBD, MODELS
from cxstream.training.spend import PARAMETERS, Spend

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.training.customers import Customers, Groups
    from cxstream.training.models import PurchaseLikelihood

# Customers with a repeat, and with a known mean amount, below which a fit says little.
_FEW = 100
# Share of customers with a repeat below which little is known of rhythms.
_RARE = 0.05
# Correlation of the mean amount with the number of purchases from which the Gamma-Gamma model is doubtful.
_CORRELATED = 0.3
# Repeats from which a customer's rhythm is looked at, customers with so many, and the share of them with the same one.
_RHYTHM, _ENOUGH, _SAME_RHYTHM = 4, 20, 0.5
_SAME = 0.05
# Above this many groups, the first search goes over fewer.
_ROUGH = 4000


@dataclass(slots=True)
class Fitted:
    """The models of a set of customers.

    Attributes:
        customers: how many.
        repeaters: customers with more than one day with a purchase.
        purchases: fits by the name of the model.
        spend: fit of the model of amounts; None where there are no amounts.
        correlation: of the mean amount with the number of purchases; None where there are no amounts.
        warnings: what speaks against the models.
    """

    customers: int
    repeaters: int
    purchases: dict[str, Fit]
    spend: Fit | None = None
    correlation: float | None = None
    warnings: list[str] = field(default_factory=list)


def fit_purchases(
    customers: Customers,
    models: tuple[PurchaseLikelihood, ...] = MODELS,
    on_fit: Callable[[str], None] = lambda _: None,
) -> Fitted:
    """Fit models to customers.

    Args:
        customers: at least one.
        models: which models.
        on_fit: called before each fit with the title of the model.
    """
    groups = group(customers)
    fits = {}
    for model in models:
        on_fit(model.title)
        fits[model.name] = fit_model(model, groups)
    found = Fitted(len(customers), int(np.count_nonzero(customers.repeats)), fits)
    on_fit("Gamma-Gamma")
    _fit_spend(customers, found)
    found.warnings = [*_doubts(customers, found), *found.warnings]
    return found


def fit_model(model: PurchaseLikelihood, groups: Groups) -> Fit:
    """Fit one model to groups of customers."""
    some = coarse(groups, model.most_groups)
    rough = coarse(some, _ROUGH)
    n = round(groups.customers)
    return fit(
        model.parameters,
        lambda values: model.log_likelihood(some, values),
        n,
        _starts(groups),
        None if rough is some else lambda values: model.log_likelihood(rough, values),
    )


def _starts(groups: Groups) -> list[tuple[float, float, float, float]]:
    """Starting points from the mean rate: even and uneven rates, early and late departures."""
    x, _, age, n = groups.table.T
    total = n.sum()
    time, mean = max((n @ age) / total, 1e-3), max((n @ x) / total, 1e-3)
    return [(r, r * time / mean, a, b) for r, a, b in ((1.0, 1.0, 2.0), (0.25, 0.5, 1.0), (2.0, 2.0, 8.0))]


def _fit_spend(customers: Customers, found: Fitted) -> None:
    known = (customers.spends > 0) & (customers.mean > 0)
    if not known.any():
        found.warnings.append("no amounts are known: no model of amounts, and no value of customers")
        return
    spend = Spend(customers.spends[known], customers.mean[known])
    if len(spend) > 2 and np.ptp(customers.spends[known]) > 0 and np.ptp(customers.mean[known]) > 0:  # noqa: PLR2004
        found.correlation = float(np.corrcoef(customers.spends[known], customers.mean[known])[0, 1])
    starts = [(p, q, spend.typical * (q - 1) / p) for p, q in ((1.0, 3.0), (6.0, 4.0), (20.0, 2.0))]
    found.spend = fit(PARAMETERS, spend.log_likelihood, len(spend), starts)
    if len(spend) < _FEW:
        found.warnings.append(
            f"the amounts of only {len(spend):,} customers are known: the model of amounts says little"
        )
    if found.correlation is not None and abs(found.correlation) > _CORRELATED:
        found.warnings.append(
            f"mean amount and number of purchases are correlated ({found.correlation:+.2f}): the Gamma-Gamma model takes "
            "them as independent, and values customers who buy often wrongly"
        )
    found.warnings += [f"Gamma-Gamma: {problem}" for problem in found.spend.problems]
    if found.spend.values[1] <= 1:
        found.warnings.append(
            f"Gamma-Gamma: q is {found.spend.values[1]:.3g}, and up to 1 the mean amount is infinite: the model is left out"
        )


def _doubts(customers: Customers, found: Fitted) -> list[str]:
    """What speaks against all models of purchases."""
    said = []
    share = found.repeaters / found.customers
    if found.repeaters < _FEW or share < _RARE:
        said.append(
            f"only {found.repeaters:,} of {found.customers:,} customers ({share:.1%}) have bought again: too few to tell "
            "who has stopped"
        )
    if (rhythm := contractual(customers)) is not None:
        every, part = rhythm
        said.append(
            f"{part:.0%} of the customers with {_RHYTHM} repeats or more buy at the same interval (every {every:.3g}): this "
            "looks like a contract or a subscription, whose end is known; these models are for customers who come and go "
            "without notice"
        )
    for model in MODELS:
        if model.name in found.purchases:
            said += [f"{model.title}: {problem}" for problem in found.purchases[model.name].problems]
    return said


def contractual(customers: Customers) -> tuple[float, float] | None:
    """The interval at which most customers buy, and the share of those who do; None where there is none.

    Customers who buy at random have means of their intervals that are far apart: with 4 repeats, their standard deviation
    is half of the mean even if all have the same rate.
    """
    regular = customers.repeats >= _RHYTHM
    if np.count_nonzero(regular) < _ENOUGH:
        return None
    mean = np.sort(customers.span[regular] / customers.repeats[regular])
    reach = np.searchsorted(mean, mean * (1 + 2 * _SAME), side="right") - np.arange(len(mean))
    at = int(np.argmax(reach))
    share = reach[at] / len(mean)
    return (float(np.median(mean[at : at + reach[at]])), float(share)) if share > _SAME_RHYTHM else None


def for_rules(found: Fitted) -> Fit:
    """The fit that goes into the rules."""
    return found.purchases[MBG_NBD.name]

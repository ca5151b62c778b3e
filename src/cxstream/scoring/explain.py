"""How a customer's churn risk comes about: from a typical customer, feature by feature, to the probability.

log-odds = log-odds of a typical customer + sum of the contributions
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.model.features import FEATURES
from cxstream.scoring.view import contributions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.model.parameters import ScoringParams

# A number that is this close comes from the same parameters; floats of two programs differ by less.
_SAME = 1e-6
# The log-odds of 0 and 1 are infinite.
_LEAST = 1e-15
# A contribution this small is rounding.
_NOTHING = 1e-12


class Step(msgspec.Struct, frozen=True):
    """One feature on the way to the probability.

    Attributes:
        feature: its name.
        value: x, as a score card has it.
        typical: x of a typical customer.
        contribution: b * (x - typical x), in log-odds.
        probability: churn risk with this and all steps before, 0..1.
    """

    feature: str
    value: float
    typical: float
    contribution: float
    probability: float


class Account(msgspec.Struct, frozen=True):
    """How a probability comes about.

    Attributes:
        typical_log_odds: of a customer whose features are all typical.
        typical: their churn risk, 0..1.
        steps: every feature, the strongest first.
        log_odds: the sum of all.
        probability: the churn risk that it is, 0..1.
        agrees: whether that is the number of the score card; if not, it was computed under other parameters.
    """

    typical_log_odds: float
    typical: float
    steps: list[Step]
    log_odds: float
    probability: float
    agrees: bool


def logistic(log_odds: float) -> float:
    """1 / (1 + e^-z)."""
    return 1 / (1 + math.exp(-log_odds)) if log_odds > 0 else math.exp(log_odds) / (1 + math.exp(log_odds))


def typical_log_odds(params: ScoringParams) -> float:
    """Log-odds of a customer whose features are all typical: intercept + sum of b * typical x."""
    return params.intercept + sum(params.coefficients[name] * params.typical[name] for name in FEATURES)


def account(params: ScoringParams, card: Mapping[str, Any]) -> Account:
    """Explain the probability of a score card.

    Args:
        params: the parameters that scored it.
        card: `data` of the card.
    """
    base = log_odds = typical_log_odds(params)
    steps = []
    for name, value, amount in contributions(params, card["features"]):
        log_odds += amount
        steps.append(Step(name, value, params.typical[name], amount, logistic(log_odds)))
    probability = logistic(log_odds)
    agrees = abs(probability - card["probability"]) < _SAME
    return Account(base, logistic(base), steps, log_odds, probability, agrees)


def reasons_in_words(probability: float, reasons: Sequence[tuple[str, float]]) -> str:
    """The reasons of a signal, each with the churn risk that it leads to, from a typical customer on.

    Args:
        probability: of the signal.
        reasons: evidence and contribution of all its reasons, the strongest first.
    """
    known = min(max(probability, _LEAST), 1 - _LEAST)
    log_odds = math.log(known / (1 - known)) - sum(amount for _, amount in reasons)
    found = [f"from {logistic(log_odds):.0%} for a typical customer"]
    for evidence, amount in reasons:
        log_odds += amount
        found.append(f"{evidence} ({'up' if amount > 0 else 'down'} to {logistic(log_odds):.0%})")
    return "; ".join(found)


def matters(step: Step) -> bool:
    """Whether the feature moves the risk at all."""
    return abs(step.contribution) > _NOTHING

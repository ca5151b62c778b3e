"""What leads to a customer's churn risk: from a typical customer, feature by feature, to the probability.

log-odds = log-odds of a typical customer + sum of the contributions
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.model.features import FEATURES
from cxstream.scoring.view import contributions
from cxstream.scoring.words import count

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


def in_words(step: Step, card: Mapping[str, Any], params: ScoringParams) -> str:
    """The value of a feature as a person reads it.

    Args:
        step: the feature.
        card: `data` of the score card.
        params: the parameters that scored it.
    """
    x = step.value
    return {
        "effort": f"effort {card['effort']:.0f} of 100, typical is {100 * step.typical:.0f}",
        "surge": f"effort of the last {params.surge_days} days is {100 * x:.0f} above that of the window",
        "dissatisfaction": (
            f"satisfaction {card['satisfaction']:.0f} of 100, typical is {100 * (1 - step.typical):.0f}"
        ),
        "detractor": f"the latest NPS answer is {params.detractor_max} or less" if x else "no detractor",
        "complaint": f"{count(round(x * params.complaints_scale), 'open complaint')}, "
        f"at most {params.complaints_scale:g} count",
        "silence": f"{x * params.silence_max:.1f} visits missed in the customer's rhythm, at most "
        f"{params.silence_max:g} count",
        "lapse": f"purchases have stopped, {x:.0%} sure",
        "unsubscribed": "unsubscribed" if x else "not unsubscribed",
    }[step.feature]


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

"""What customers are worth: CLV = margin * E[spend a purchase] * discounted E[purchases within the horizon].

    now |--- part ---|--- part ---| ... |--- part ---| horizon
                     discounted   discounted         discounted

The horizon is cut into equal parts of at most a month, and the purchases to expect of each are discounted to its end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.worth import F_BOUGHT, FACTS, SCRATCH, expect, spend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.model.parameters import PurchaseModel, ScoringParams, ValueModel

YEAR_DAYS = 365.25
MONTH_DAYS = YEAR_DAYS / 12
# Sets of rules whose models are kept.
_KEPT = 32


@dataclass(frozen=True, slots=True)
class Worth:
    """The models of a set of rules as the kernels want them.

    Attributes:
        model: float64[WORTH].
        ends: float64[k], ends of the parts of the horizon, in days from now.
        weights: float64[k], of the purchases to expect until each end, discounted.
    """

    model: NDArray[np.float64]
    ends: NDArray[np.float64]
    weights: NDArray[np.float64]

    def clv(self, facts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The value of customers, float64[n]; NaN where there is no purchase.

        Args:
            facts: float64[n, FACTS], see `cxstream.kernels.worth`.
        """
        found = np.full(len(facts), np.nan)
        who = np.flatnonzero(facts[:, F_BOUGHT])
        if not len(who):
            return found
        some = np.ascontiguousarray(facts[who])
        purchases, each = np.empty(len(who)), np.empty(len(who))
        expect(self.model, some, self.ends, self.weights, np.empty((SCRATCH, len(self.ends))), purchases)
        spend(self.model, some, each)
        found[who] = purchases * each
        return found


def clv(params: ScoringParams, facts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value of customers in the base currency, float64[n]; NaN without a model or a purchase.

    Args:
        params: the rules that judged them.
        facts: float64[n, FACTS].
    """
    if params.purchase_model is None or params.value_model is None:
        return np.full(len(facts), np.nan)
    return worth(params.purchase_model, params.value_model).clv(facts)


@lru_cache(_KEPT)
def worth(buys: PurchaseModel, values: ValueModel) -> Worth:
    """Translate two models."""
    parts = math.ceil(values.horizon_days / MONTH_DAYS)
    ends = values.horizon_days * np.arange(1, parts + 1) / parts
    factors = [(1 + values.discount) ** (-end / YEAR_DAYS) for end in ends.tolist()]
    # sum of factor * (E(end) - E(end before)), as a sum over E(end)
    weights = np.array([one - other for one, other in zip(factors, [*factors[1:], 0.0], strict=True)])
    model = [buys.r, buys.alpha * buys.unit_days, buys.a, buys.b, values.p, values.q, values.v, values.margin]
    return Worth(np.array(model), ends, weights)


def compile_worth() -> None:
    """Compile what this needs, or load it from the cache."""
    one = Worth(np.ones(8), np.ones(1), np.ones(1))
    one.clv(np.ones((1, FACTS)))

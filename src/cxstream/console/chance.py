"""Whether a difference of two shares is more than chance, also where it is the largest of many."""

from __future__ import annotations

from math import exp, lgamma
from typing import TYPE_CHECKING

from cxstream.warehouse.views.statistics import chi_square_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

ALPHA = 0.05
"""The chance that at least one difference is taken for more than chance while none is."""

_LEAST_EXPECTED = 5
# Tables as likely as the one at hand, to the last digits.
_TIE = 1e-7


def p_value(hits: int, n: int, other_hits: int, others: int) -> float:
    """The p-value of no difference between `hits` of `n` and `other_hits` of `others`.

    Fisher's exact test where fewer than 5 are expected in a cell, else the chi-square test without correction, as the views have it.
    """
    total, both = n + others, hits + other_hits
    if not n or not others or both in (0, total):
        return 1.0
    if min(both, total - both) * min(n, others) >= _LEAST_EXPECTED * total:
        share = both / total
        spread = share * (1 - share) * (1 / n + 1 / others)
        return chi_square_tail((hits / n - other_hits / others) ** 2 / spread, 1) or 0.0
    first, last = max(0, both - others), min(both, n)
    logs = [_log_choose(n, k) + _log_choose(others, both - k) for k in range(first, last + 1)]
    top = max(logs)
    weights = [exp(each - top) for each in logs]
    limit = weights[hits - first] * (1 + _TIE)
    return min(1.0, sum(each for each in weights if each <= limit) / sum(weights))


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def holm(found: Sequence[float]) -> list[float]:
    """The p-values for all comparisons at once, in their order: the chance that any of those below 0.05 is chance is at most 5%.

    It holds however the comparisons depend on each other (Holm 1979, Scandinavian Journal of Statistics 6, 65-70).
    """
    adjusted, largest = [0.0] * len(found), 0.0
    for rank, place in enumerate(sorted(range(len(found)), key=found.__getitem__)):
        largest = max(largest, min(1.0, (len(found) - rank) * found[place]))
        adjusted[place] = largest
    return adjusted

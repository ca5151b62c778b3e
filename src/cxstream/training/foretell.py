"""What models of purchases foretell of customers, from given parameters: for comparison with other software and by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.errors import InputError
from cxstream.training.models import MBG_NBD, MODELS, PurchaseLikelihood
from cxstream.training.spend import expected_spend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cxstream.model.rules import Rules
    from cxstream.training.customers import Customers

    Floats = NDArray[np.float64]

_SPEND = 3


@dataclass(frozen=True, slots=True)
class Given:
    """A model with its parameters.

    Attributes:
        model: of purchases.
        values: its parameters, in the order of the model.
        spend: float64[3], p, q and v of Gamma-Gamma; None: amounts are not foretold.
    """

    model: PurchaseLikelihood
    values: Floats
    spend: Floats | None = None


def numbers(text: str, count: int, what: str) -> Floats:
    """Numbers above 0, with commas between them.

    Raises:
        InputError: they are others, or not as many.
    """
    try:
        found = np.array([float(part) for part in text.split(",")])
    except ValueError:
        found = np.empty(0)
    if len(found) != count or not (np.isfinite(found) & (found > 0)).all():
        raise InputError(f"{what}: {text!r} is not {count} numbers above 0 with commas between them")
    return found


def given(text: str, spend: str | None) -> Given:
    """A model from text, as `bg_nbd=0.243,4.414,0.793,2.426`.

    Raises:
        InputError: there is no such model, or its parameters are others.
    """
    name, _, values = text.partition("=")
    known = {model.name: model for model in MODELS}
    if name not in known:
        raise InputError(f"--values: {name!r} is no model of purchases; there is {', '.join(known)}")
    model = known[name]
    parameters = numbers(values, len(model.parameters), f"--values {name}={','.join(model.parameters)}")
    return Given(model, parameters, None if spend is None else numbers(spend, _SPEND, "--spend p,q,v"))


def of_rules(rules: Rules) -> Given:
    """The models of a set of rules.

    Raises:
        InputError: it has no model of purchases.
    """
    buys, value = rules.params.purchase_model, rules.params.value_model
    if buys is None:
        raise InputError(
            f"{rules.label}: the rules have no purchase_model; 'cxstream train purchases' writes one"
        )
    values = np.array([getattr(buys, name) for name in MBG_NBD.parameters])
    return Given(MBG_NBD, values, None if value is None else np.array([value.p, value.q, value.v]))


def foretell(customers: Customers, by: Given, ahead: Sequence[float]) -> dict[str, Floats]:
    """What a model foretells.

    Args:
        customers: n of them, in the unit of time of the model.
        by: the model.
        ahead: how far to look ahead, in that unit.

    Returns:
        float64[n] by name: `p_alive`, `purchases_<ahead>` for each, and `spend` of a purchase where it is known.
    """
    of = customers.repeats, customers.span, customers.age
    found = {"p_alive": by.model.alive(by.values, *of)}
    for each in ahead:
        found[f"purchases_{each:g}"] = by.model.expected(by.values, *of, each)
    if by.spend is not None:
        found["spend"] = expected_spend(by.spend, customers.spends, customers.mean)
    return found

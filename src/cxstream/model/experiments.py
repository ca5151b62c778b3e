"""Experiments: which customers are treated and which are held out.

The arm is a function of the customer's id and nothing else, so nobody keeps a list, and a CRM can recompute it:

    digest = HMAC-SHA256(key = salt, message = customer id), both in UTF-8
    u      = the first 13 hexadecimal digits of the digest, as an integer, / 2^52
    arm    = holdout if u < share of the holdout, else treated

52 bits fit into a double of any language without rounding.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from collections.abc import Mapping

Arm = Literal["treated", "holdout"]
RiskLevel = Literal["elevated", "high", "critical"]
MAX_EXPERIMENTS = 100
ExperimentName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$", max_length=64)]
# Hexadecimal digits of the digest that count, and how many numbers they can be.
_DIGITS, _NUMBERS = 13, float(1 << 52)


class Experiment(BaseModel):
    """An experiment on customers at risk: a part of them is held out, so that the effect of actions can be measured.

    Attributes:
        holdout: share of the customers that is held out, above 0 and at most 0.9.
        levels: levels of the churn-risk signals that it applies to; a level belongs to one experiment at most.
        salt: key of the hash that chooses the arm; by default the name of the experiment. Another salt draws the arms again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    holdout: Annotated[float, Field(ge=1e-6, le=0.9)]
    levels: tuple[RiskLevel, ...] = Field(
        ("elevated", "high", "critical"), min_length=1, max_length=3, json_schema_extra={"uniqueItems": True}
    )
    salt: Annotated[str, Field(max_length=256)] = ""

    @model_validator(mode="after")
    def _once(self) -> Experiment:
        twice = next((each for each in self.levels if self.levels.count(each) > 1), None)
        if twice is not None:
            raise ValueError(f"levels: {twice} is named twice")
        return self


def position(key: str, customer: str) -> float:
    """Where a customer stands among all, 0 or more and below 1.

    Args:
        key: salt of the experiment.
        customer: id of the customer.
    """
    digest = hmac.digest(key.encode(), customer.encode(), "sha256")
    return int(digest.hex()[:_DIGITS], 16) / _NUMBERS


def arm_of(name: str, experiment: Experiment, customer: str) -> Arm:
    """The arm of a customer.

    Args:
        name: of the experiment.
        experiment: its parameters.
        customer: id of the customer.
    """
    return "holdout" if position(experiment.salt or name, customer) < experiment.holdout else "treated"


def by_level(experiments: Mapping[str, Experiment] | None) -> dict[str, tuple[str, Experiment]]:
    """The experiment, with its name, that applies to each level; none for a level that no experiment names.

    Raises:
        ValueError: a level belongs to two experiments.
    """
    found: dict[str, tuple[str, Experiment]] = {}
    for name, each in (experiments or {}).items():
        for level in each.levels:
            if level in found:
                raise ValueError(
                    f"experiments.{name}: applies to level {level}, and so does {found[level][0]}; a signal has one arm: "
                    "give each experiment levels of its own"
                )
            found[level] = name, each
    return found

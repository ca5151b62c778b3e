"""The features of the churn risk: one record describes a feature, and the tables of parameters and actions follow.

The order is that of the features in saved state, signals and score cards: add new ones at the end. The value is worked
out in `kernels.evaluate`; what it says to people is in `scoring.words`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Feature = Literal[
    "effort", "surge", "dissatisfaction", "detractor", "complaint", "silence", "lapse", "unsubscribed",
    "slowdown", "just_unsubscribed", "unresolved",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What there is to know of a feature.

    Attributes:
        coefficient: default weight b in the log-odds of the churn risk.
        action: default suggested action where this is the leading reason.
        typical: default value x of a typical customer.
    """

    coefficient: float
    action: str
    typical: float = 0.0


SPECS: dict[str, FeatureSpec] = {
    "effort": FeatureSpec(1.73, "call_back_with_owner", typical=0.18),
    "surge": FeatureSpec(5.73, "call_back_with_owner"),
    "dissatisfaction": FeatureSpec(2.69, "ask_what_went_wrong", typical=0.26),
    "detractor": FeatureSpec(0.46, "close_the_loop_call"),
    "complaint": FeatureSpec(0.0, "escalate_complaint"),
    "silence": FeatureSpec(0.3, "win_back_contact"),
    "lapse": FeatureSpec(0.0, "win_back_offer"),
    "unsubscribed": FeatureSpec(0.17, "preference_review"),
    "slowdown": FeatureSpec(0.7, "win_back_contact"),
    "just_unsubscribed": FeatureSpec(1.5, "preference_review"),
    "unresolved": FeatureSpec(1.82, "call_back_with_owner"),
}
FEATURES: tuple[Feature, ...] = get_args(Feature)
# A set of rules that names all of these is complete, of a version that knew no others: those weigh nothing in it.
FIRST_FEATURES = FEATURES[:8]
if tuple(SPECS) != FEATURES:
    raise TypeError(f"SPECS and Feature name different features: {tuple(SPECS)}, {FEATURES}")

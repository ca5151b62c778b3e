"""A shop with an experiment whose effect is known."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from cxstream.model.experiments import Experiment, arm_of
from view_rows import START, touchpoint

Row = dict[str, Any]
EXPERIMENT = Experiment(holdout=0.3)


def shop(customers: int = 1200, effect: float = 0.15, *, broken: bool = False) -> tuple[list[Row], list[Row]]:
    """Customers at risk of whom 30% leave, treated ones less; `broken`: most of the holdout is missing."""
    chance, rows, signals = random.Random(7), [], []
    for number in range(1, customers + 1):
        arm = arm_of("retention", EXPERIMENT, f"c-{number}")
        if broken and arm == "holdout" and chance.random() < 0.5:
            continue
        at = START + timedelta(minutes=10 * number)
        mean = chance.expovariate(1 / 50)

        def add(kind: str, time: Any, customer: int = number, **values: Any) -> None:
            rows.append(touchpoint(customer_id=customer, kind=kind, time=time, offset=len(rows), **values))

        add("purchase", at - timedelta(days=2), amount_base=mean)
        add("page_view", at, effort_after=60.0)
        signals.append(
            {
                "partition": 0, "offset": number, "n": 0, "id": f"s-{number}", "time": at, "customer_id": number,
                "change": "raised", "level": "high", "previous": "none", "probability": chance.random(), "effort": 60.0,
                "effort_halfwidth": 1.0, "satisfaction": 40.0, "satisfaction_halfwidth": 1.0, "reasons": "[]", "model": "m",
                "suggested_action": "call", "experiment": "retention", "arm": arm,
            }
        )  # fmt: skip
        better = effect if arm == "treated" else 0
        if chance.random() < 0.3 - better:
            add("churned", at + timedelta(days=3))
        else:
            add("purchase", at + timedelta(days=4), amount_base=mean * chance.uniform(0.8, 1.2) + 60 * better)
        add("page_view", at + timedelta(days=5), effort_after=50.0 - 100 * better + chance.gauss(0, 10))
    rows.append(touchpoint(customer_id=1, time=START + timedelta(days=60), offset=len(rows)))
    return rows, signals

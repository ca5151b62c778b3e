"""Signals as events of their types, one at a time and encoded by msgspec: the oracle of `cxstream.scoring.signals`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

import evidence
from cxstream.kernels import layout as k
from cxstream.model import outputs as o
from cxstream.model.enumerations import LEVELS
from cxstream.model.experiments import arm_of, by_level
from cxstream.model.kinds import Kind
from cxstream.model.rfc3339 import rfc3339
from cxstream.scoring.signals import Emitted
from cxstream.scoring.words import Own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.model.rules import Rules
    from cxstream.scoring.codec.events import Felt

_CHANGES: dict[float, Any] = {
    k.RAISED: "raised",
    k.WORSENED: "worsened",
    k.EASED: "eased",
    k.CLEARED: "cleared",
}


def own_of(rules: Rules, row: Sequence[float]) -> list[Own]:
    """The kinds of the company's own in a row."""
    kinds = rules.params.kinds
    names = list(kinds)
    return [
        Own(name, int(row[at + 1]), kinds[name].effort > 0)
        for at in range(k.S_OWN, k.SIGNAL_WIDTH, 2)
        if row[at + 1]
        for name in [names[int(row[at]) - k.FIRST_OWN]]
    ]


def _friction(row: Sequence[float], topic: str, own: Sequence[Own], felt: Felt) -> str:
    said, name = evidence.troubles(row, topic, own), felt.type.split(".")[2]
    if name not in {kind.label for kind in Kind} and name not in {each.name for each in own}:
        said.append(name)
    return ", ".join(said) or evidence.complaints(row) or "effort in a short time"


def signal(
    rules: Rules,
    place: tuple[str, int],
    row: Sequence[float],
    subject: str,
    topic: str,
    cause: tuple[int, int],
    felt: Felt,
    clv: float,
) -> Emitted:
    """One signal.

    Args:
        rules: the rules in force.
        place: source topic and partition.
        row: SIGNAL_WIDTH numbers.
        subject: the customer.
        topic: text of the contact topic in the row, "" for none.
        cause: offset of the record that caused it, and how many signals it caused before.
        felt: what there is to say of that record.
        clv: what the customer is worth; NaN where it is not known.
    """
    name, own, params = f"{place[0]}-{place[1]}-{cause[0]}-{cause[1]}", own_of(rules, row), rules.params
    by, time, index = o.Cause(*place, cause[0]), rfc3339(int(row[k.S_CLOCK])), int(row[k.S_INDEX])
    level, previous = LEVELS[int(row[k.S_LEVEL])], LEVELS[int(row[k.S_PREVIOUS])]
    event: Any
    if row[k.S_WHAT] == k.FRICTION:
        assert felt.data is not None
        said = _friction(row, topic, own, felt)
        here = felt.data.channel, felt.data.touchpoint
        event = o.FrictionSignal(
            id=name, subject=subject, time=time, data=o.Friction(row[k.S_ACUTE], *here, said, by, rules.label)
        )
        return Emitted(index, "cx.friction", subject.encode(), msgspec.json.encode(event), "friction", "none")
    if row[k.S_WHAT] == k.ERASURE:
        event = o.ErasedSignal(
            id=name, subject=subject, time=time, data=o.ErasedCustomer("erased", "none", previous, by)
        )
        return Emitted(index, "cx.churn-risk", subject.encode(), msgspec.json.encode(event), "erased", "none")
    reasons = [o.Reason(*each) for each in evidence.reasons(params, row, topic, own)]
    leading = reasons[0] if reasons else None
    acts = level != "none" and leading is not None and leading.contribution > 0
    experiment, arm = UNSET, UNSET
    trials = by_level(params.experiments)
    if trials:
        experiment = arm = None
        if level in trials:
            experiment, arm = trials[level][0], arm_of(*trials[level], subject)
    worth, alive = None if math.isnan(clv) else clv, row[k.S_ALIVE]
    foretells = params.purchase_model is not None
    risk = o.ChurnRisk(
        change=_CHANGES[row[k.S_WHAT]],
        level=level,
        previous=previous,
        probability=row[k.S_P],
        effort=row[k.S_EFFORT],
        effort_halfwidth=row[k.S_EFFORT_HW],
        satisfaction=row[k.S_SAT],
        satisfaction_halfwidth=row[k.S_SAT_HW],
        reasons=reasons,
        value_at_risk=None if worth is None else worth * row[k.S_P],
        suggested_action=rules.actions.get(leading.feature) if acts and leading else None,
        model=rules.label,
        cause=by,
        experiment=experiment,
        arm=arm,
        p_alive=(None if math.isnan(alive) else alive) if foretells else UNSET,
        clv=worth if foretells else UNSET,
    )
    event = o.ChurnRiskSignal(id=name, subject=subject, time=time, data=risk)
    value = msgspec.json.encode(event)
    return Emitted(
        index,
        "cx.churn-risk",
        subject.encode(),
        value,
        risk.change,
        level,
        leading.feature if leading else None,
    )

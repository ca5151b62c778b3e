"""Signal rows and score cards of the kernels as CloudEvents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, UnsetType

from cxstream.kernels import layout as k
from cxstream.model import outputs as o
from cxstream.model.enumerations import LEVELS, Change
from cxstream.model.experiments import arm_of, by_level
from cxstream.model.features import FEATURES
from cxstream.model.rfc3339 import rfc3339
from cxstream.scoring import words
from cxstream.scoring.state.erasures import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.model.experiments import Arm
    from cxstream.model.rules import Rules

# A contribution this small is rounding, not a reason.
NOTHING = 1e-12
_CHANGES: dict[int, Change] = {
    k.RAISED: "raised",
    k.WORSENED: "worsened",
    k.EASED: "eased",
    k.CLEARED: "cleared",
}

_encode = msgspec.json.Encoder().encode


class Emitted(msgspec.Struct, frozen=True, gc=False):
    """A row of an output topic: a signal, or the receipt of an erasure.

    Attributes:
        index: position in the batch of the record that caused it.
        topic: its topic, by the contract's name.
        key: the customer.
        value: the CloudEvent.
        change: friction, raised, worsened, eased, cleared or erased; empty for a receipt.
        level: the customer's level from now on; none for friction; empty for a receipt.
        reason: the leading reason, the feature that differs most from a typical customer; None without any.
    """

    index: int
    topic: str
    key: bytes
    value: bytes
    change: str = ""
    level: str = ""
    reason: str | None = None


def _cause(event: Any, own: Sequence[words.Own]) -> list[str]:
    """The kind of the company's own that an event has, unless it is named among those of the day."""
    if event.KIND < k.FIRST_OWN:
        return []
    name = type(event).__struct_config__.tag.split(".")[2]
    return [] if any(each.name == name for each in own) else [name]


def _at_risk(clv: float | None, probability: float) -> float | None:
    """What is expected to be lost, in the base currency."""
    return None if clv is None else clv * probability


class Writer:
    """Writes the signals and cards of one partition.

    Args:
        rules: the rules in force.
        topic: source topic.
        partition: its partition.

    Attributes:
        origin: the beginning of the ids of its signals: topic and partition.
    """

    def __init__(self, rules: Rules, topic: str, partition: int) -> None:
        self.follow(rules)
        self._topic = topic
        self._partition = partition
        self.origin = f"{topic}-{partition}"

    def follow(self, rules: Rules) -> None:
        """Write the signals of other rules from now on."""
        self._b = [rules.params.coefficients[name] for name in FEATURES]
        self._typical = [rules.params.typical[name] for name in FEATURES]
        self._actions, self._label = rules.actions, rules.label
        self._experiments = by_level(rules.params.experiments)
        self._own = [(name, kind.effort > 0) for name, kind in rules.params.kinds.items()]

    def _own_of(self, row: Sequence[float]) -> list[words.Own]:
        """The kinds of the company's own in a row."""
        found = []
        for at in range(k.S_OWN, k.SIGNAL_WIDTH, 2):
            if row[at + 1]:
                name, effort = self._own[int(row[at]) - k.FIRST_OWN]
                found.append(words.Own(name, int(row[at + 1]), effort))
        return found

    def signal(
        self,
        row: Sequence[float],
        subject: str,
        topic: str,
        offset: int,
        n: int,
        event: Any,
        clv: float | None = None,
    ) -> Emitted:
        """One signal.

        Args:
            row: SIGNAL_WIDTH numbers.
            subject: the customer.
            topic: text of the contact topic in the row, "" for none.
            offset: of the record that caused it.
            n: how many signals that record caused before.
            event: that record; None if only the clock moved.
            clv: what the customer is worth; None where it is not known.
        """
        name = f"{self.origin}-{offset}-{n}"
        cause = o.Cause(self._topic, self._partition, offset)
        clock = rfc3339(int(row[k.S_CLOCK]))
        index, key = int(row[k.S_INDEX]), subject.encode()
        if row[k.S_WHAT] == k.FRICTION:
            own = self._own_of(row)
            data = o.Friction(
                effort_points=row[k.S_ACUTE],
                channel=event.data.channel,
                touchpoint=event.data.touchpoint,
                evidence=", ".join([*words.troubles(row, topic, own), *_cause(event, own)])
                or words.complaints(row)
                or "effort in a short time",
                cause=cause,
                model=self._label,
            )
            value = _encode(o.FrictionSignal(id=name, subject=subject, time=clock, data=data))
            return Emitted(index, o.FRICTION.topic, key, value, "friction", "none")
        if row[k.S_WHAT] == k.ERASURE:
            previous = LEVELS[int(row[k.S_PREVIOUS])]
            erased = o.ErasedCustomer("erased", "none", previous, cause)
            value = _encode(o.ErasedSignal(id=name, subject=subject, time=clock, data=erased))
            return Emitted(index, o.CHURN_RISK.topic, key, value, "erased", "none")
        risk = self._churn_risk(row, subject, topic, cause, clv)
        value = _encode(o.ChurnRiskSignal(id=name, subject=subject, time=clock, data=risk))
        reason = risk.reasons[0].feature if risk.reasons else None
        return Emitted(index, o.CHURN_RISK.topic, key, value, risk.change, risk.level, reason)

    def _trial(self, level: str, subject: str) -> tuple[str | UnsetType | None, Arm | UnsetType | None]:
        """The experiment that applies to a level, and the arm of the customer; unset where the rules have none."""
        if not self._experiments:
            return UNSET, UNSET
        if level not in self._experiments:
            return None, None
        name, experiment = self._experiments[level]
        return name, arm_of(name, experiment, subject)

    def _churn_risk(
        self, row: Sequence[float], subject: str, topic: str, cause: o.Cause, clv: float | None
    ) -> o.ChurnRisk:
        reasons = self._reasons(row, topic)
        level = LEVELS[int(row[k.S_LEVEL])]
        action = None
        if level != "none" and reasons and reasons[0].contribution > 0:
            action = self._actions.get(reasons[0].feature)
        experiment, arm = self._trial(level, subject)
        return o.ChurnRisk(
            change=_CHANGES[int(row[k.S_WHAT])],
            level=level,
            previous=LEVELS[int(row[k.S_PREVIOUS])],
            probability=row[k.S_P],
            effort=row[k.S_EFFORT],
            effort_halfwidth=row[k.S_EFFORT_HW],
            satisfaction=row[k.S_SAT],
            satisfaction_halfwidth=row[k.S_SAT_HW],
            reasons=reasons,
            value_at_risk=_at_risk(clv, row[k.S_P]),
            suggested_action=action,
            model=self._label,
            cause=cause,
            experiment=experiment,
            arm=arm,
        )

    def _reasons(self, row: Sequence[float], topic: str) -> list[o.Reason]:
        """The differences from a typical customer, the strongest first; ties as in FEATURES."""
        found, own = [], self._own_of(row)
        for i, name in enumerate(FEATURES):
            x = row[k.S_X + i]
            contribution = self._b[i] * (x - self._typical[i])
            if abs(contribution) > NOTHING:
                said = words.evidence(name, row, topic, contribution, own)
                found.append(o.Reason(name, x, contribution, said))
        found.sort(key=lambda reason: -reason.contribution)
        return found

    def receipt(self, row: Sequence[float], subject: str, offset: int, event: Any) -> Emitted:
        """The receipt of an erasure.

        Args:
            row: SIGNAL_WIDTH numbers.
            subject: the customer.
            offset: of the request.
            event: the request.
        """
        data = o.Forgotten(
            request=event.id,
            requested_by=event.source,
            requested_at=event.time,
            known=bool(row[k.S_LEVEL]),
            erased=o.Erased(
                int(row[k.S_ERASED_PANES]),
                int(row[k.S_ERASED_COMPLAINTS]),
                int(row[k.S_ERASED_CONTACTS]),
                int(row[k.S_ERASED_PURCHASES]),
                int(row[k.S_ERASED_OWN]),
            ),
            cause=o.Cause(self._topic, self._partition, offset),
        )
        whom = digest(subject).hex()
        receipt = o.Receipt(
            id=f"{self.origin}-{offset}-forgotten",
            subject=whom,
            time=rfc3339(int(row[k.S_CLOCK])),
            data=data,
        )
        return Emitted(int(row[k.S_INDEX]), o.FORGOTTEN.topic, whom.encode(), _encode(receipt))

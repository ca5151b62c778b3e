"""Signal rows and score cards of the kernels as CloudEvents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET

from cxstream.kernels import layout as k
from cxstream.kernels.evidence import weigh
from cxstream.model import outputs as o
from cxstream.model.enumerations import LEVELS, Change
from cxstream.model.experiments import arm_of, by_level
from cxstream.model.features import FEATURES
from cxstream.model.rfc3339 import rfc3339, rfc3339_all
from cxstream.scoring import words
from cxstream.scoring.state.erasures import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cxstream.model.experiments import Arm
    from cxstream.model.rules import Rules

_CHANGES: dict[float, Change] = {
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


class Draft(msgspec.Struct, frozen=True, gc=False):
    """What a signal says for which its row suffices.

    Attributes:
        time: RFC 3339.
        reasons: of a churn-risk signal, the strongest first.
        own: of a friction signal: kinds of the company's own in the row.
        troubles: likewise: what cost effort.
        complaints: likewise: open complaints, "" for none.
    """

    time: str
    reasons: list[o.Reason]
    own: Sequence[words.Own] = ()
    troubles: Sequence[str] = ()
    complaints: str = ""


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
        self._b = np.array([rules.params.coefficients[name] for name in FEATURES])
        self._typical = np.array([rules.params.typical[name] for name in FEATURES])
        self._actions, self._label = rules.actions, rules.label
        self._experiments = by_level(rules.params.experiments)
        self._foretells = rules.params.purchase_model is not None
        self._own = [(name, kind.effort > 0) for name, kind in rules.params.kinds.items()]

    def _own_of(self, rows: NDArray[np.float64]) -> list[list[words.Own]]:
        """The kinds of the company's own in each row."""
        named = rows[:, k.S_OWN : k.SIGNAL_WIDTH]
        if not named[:, 1::2].any():
            return [[]] * len(rows)
        return [
            [
                words.Own(name, int(n), effort)
                for at, n in zip(row[::2], row[1::2], strict=True)
                if n
                for name, effort in [self._own[int(at) - k.FIRST_OWN]]
            ]
            for row in named.tolist()
        ]

    def drafts(self, rows: NDArray[np.float64], topics: Sequence[str]) -> list[Draft]:
        """What signals say for which their rows suffice.

        Args:
            rows: float64[n, SIGNAL_WIDTH].
            topics: texts of the contact topics in the rows, "" for none.
        """
        facts, own = words.facts(rows).tolist(), self._own_of(rows)
        times = rfc3339_all(rows[:, k.S_CLOCK].astype(np.int64))
        drafts = [
            Draft(time, reasons)
            for time, reasons in zip(times, self._reasons(rows, facts, topics, own), strict=True)
        ]
        for i in np.flatnonzero(rows[:, k.S_WHAT] == k.FRICTION).tolist():
            said = words.troubles(topics[i], own[i], *words.facts_of_troubles(facts[i]))
            open_ = words.complaints(*words.facts_of_complaints(facts[i]))
            drafts[i] = Draft(times[i], [], own[i], said, open_)
        return drafts

    def signal(
        self,
        row: Sequence[float],
        subject: str,
        topic: str,
        offset: int,
        n: int,
        event: Callable[[], Any] | None,
        alive: float = math.nan,
        clv: float | None = None,
        draft: Draft | None = None,
    ) -> Emitted:
        """One signal.

        Args:
            row: SIGNAL_WIDTH numbers; those before S_X suffice with a draft.
            subject: the customer.
            topic: text of the contact topic in the row, "" for none.
            offset: of the record that caused it.
            n: how many signals that record caused before.
            event: gives that record; only a friction signal needs it.
            alive: probability that the customer still buys; NaN where it is not known.
            clv: what the customer is worth; None where it is not known.
            draft: of `drafts`; None to make one.
        """
        if draft is None:
            [draft] = self.drafts(np.array([row]), [topic])
        name = f"{self.origin}-{offset}-{n}"
        cause = o.Cause(self._topic, self._partition, offset)
        clock, index, key = draft.time, int(row[k.S_INDEX]), subject.encode()
        if row[k.S_WHAT] == k.FRICTION:
            assert event is not None  # noqa: S101  # friction is felt in an event
            felt = event()
            data = o.Friction(
                effort_points=row[k.S_ACUTE],
                channel=felt.data.channel,
                touchpoint=felt.data.touchpoint,
                evidence=", ".join([*draft.troubles, *_cause(felt, draft.own)])
                or draft.complaints
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
        risk = self._churn_risk(row, subject, draft.reasons, cause, alive, clv)
        value = _encode(o.ChurnRiskSignal(id=name, subject=subject, time=clock, data=risk))
        reason = risk.reasons[0].feature if risk.reasons else None
        return Emitted(index, o.CHURN_RISK.topic, key, value, risk.change, risk.level, reason)

    def _trial(self, level: str, subject: str) -> tuple[str | None, Arm | None]:
        """The experiment that applies to a level, and the arm of the customer; None where none does."""
        if level not in self._experiments:
            return None, None
        name, experiment = self._experiments[level]
        return name, arm_of(name, experiment, subject)

    def _churn_risk(
        self, row: Sequence[float], subject: str, reasons: list[o.Reason], cause: o.Cause, alive: float, clv: float | None
    ) -> o.ChurnRisk:  # fmt: skip
        (_, _, what, now, before, _, p, effort, effort_halfwidth, satisfaction, satisfaction_halfwidth) = row[
            : k.S_EFFORT_SHORT
        ]
        level = LEVELS[int(now)]
        action = None
        if level != "none" and reasons and reasons[0].contribution > 0:
            action = self._actions.get(reasons[0].feature)
        experiment, arm = self._trial(level, subject) if self._experiments else (UNSET, UNSET)
        # In the order of the contract: names of arguments take a tenth of the time of a signal.
        return o.ChurnRisk(
            _CHANGES[what],
            level,
            LEVELS[int(before)],
            p,
            effort,
            effort_halfwidth,
            satisfaction,
            satisfaction_halfwidth,
            reasons,
            None if clv is None else clv * p,
            action,
            self._label,
            cause,
            experiment,
            arm,
            (None if math.isnan(alive) else alive) if self._foretells else UNSET,
            clv if self._foretells else UNSET,
        )

    def _reasons(
        self,
        rows: NDArray[np.float64],
        facts: Sequence[words.Row],
        topics: Sequence[str],
        own: Sequence[Sequence[words.Own]],
    ) -> list[list[o.Reason]]:
        """The differences of each signal from a typical customer, the strongest first; ties as in FEATURES."""
        n, evidence_of, reason = len(rows), words.evidence_of, o.Reason
        contributions = np.empty((n, len(FEATURES)))
        order, counts = np.empty(contributions.shape, np.int64), np.empty(n, np.int64)
        weigh(rows, self._b, self._typical, contributions, order, counts)
        xs = rows[:, k.S_X : k.S_X + len(FEATURES)].tolist()
        each = zip(
            xs, contributions.tolist(), order.tolist(), counts.tolist(), facts, topics, own, strict=True
        )
        return [
            [
                reason(FEATURES[j], x[j], mine[j], evidence_of(j, fact, mine[j], topic, kinds))
                for j in places[:count]
            ]
            for x, mine, places, count, fact, topic, kinds in each
        ]

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

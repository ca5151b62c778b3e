"""Signal rows and score cards of the kernels as CloudEvents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET

from cxstream.kernels import layout as k
from cxstream.model import outputs as o
from cxstream.model.enumerations import LEVELS, Change
from cxstream.model.experiments import arm_of, by_level
from cxstream.model.features import FEATURES
from cxstream.model.kinds import Kind
from cxstream.model.rfc3339 import rfc3339, rfc3339_all
from cxstream.scoring import words
from cxstream.scoring.state.erasures import digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from cxstream.model.experiments import Arm
    from cxstream.model.rules import Rules
    from cxstream.scoring.codec.events import Felt

_CHANGES: dict[float, Change] = {
    k.RAISED: "raised",
    k.WORSENED: "worsened",
    k.EASED: "eased",
    k.CLEARED: "cleared",
}

_BUILT_IN = frozenset(kind.label for kind in Kind)
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


class Draft(msgspec.Struct, frozen=True, gc=False):
    """What a signal says for which its row suffices.

    Attributes:
        time: RFC 3339.
        reasons: of a churn-risk signal, the strongest first, as a list in JSON.
        leading: the leading reason; None without any.
        raises: whether that raises the risk.
        own: of a friction signal: kinds of the company's own in the row.
        troubles: likewise: what cost effort, as JSON has it within quotes.
        complaints: likewise: open complaints.
    """

    time: str
    reasons: bytes = b"[]"
    leading: str | None = None
    raises: bool = False
    own: Sequence[str] = ()
    troubles: bytes = b""
    complaints: bytes = b""


def _evidence(draft: Draft, felt: Felt) -> Any:
    """What is behind a friction signal, in JSON: also the kind of its event, if it is one of the company's own."""
    said, name = draft.troubles, felt.type.split(".")[2]
    if name not in _BUILT_IN and name not in draft.own:
        own = _encode(name)[1:-1]
        said = b"%b, %b" % (said, own) if said else own
    return msgspec.Raw(b'"%b"' % (said or draft.complaints or b"effort in a short time"))


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
        self._named = list(rules.params.kinds)
        self._own = words.OwnKinds.of([(name, kind.effort > 0) for name, kind in rules.params.kinds.items()])

    def _own_of(self, row: NDArray[np.float64]) -> list[str]:
        """The kinds of the company's own in a row."""
        named = row[k.S_OWN : k.SIGNAL_WIDTH].tolist()
        return [
            self._named[int(at) - k.FIRST_OWN] for at, n in zip(named[::2], named[1::2], strict=True) if n
        ]

    def drafts(self, rows: NDArray[np.float64], topics: Sequence[str]) -> list[Draft]:
        """What signals say for which their rows suffice.

        Args:
            rows: float64[n, SIGNAL_WIDTH].
            topics: texts of the contact topics in the rows, "" for none.
        """
        times = rfc3339_all(rows[:, k.S_CLOCK].astype(np.int64))
        said = words.said(rows, self._b, self._typical, topics, self._own)
        leading = [None if j < 0 else FEATURES[j] for j in said.leading]
        drafts = list(map(Draft, times, said.reasons, leading, said.raises))
        for i in np.flatnonzero(rows[:, k.S_WHAT] == k.FRICTION).tolist():
            own = self._own_of(rows[i]) if self._named else ()
            drafts[i] = Draft(times[i], own=own, troubles=said.reasons[i], complaints=said.complaints[i])
        return drafts

    def signal(
        self,
        row: Sequence[float],
        subject: str,
        topic: str,
        offset: int,
        n: int,
        event: Callable[[], Felt] | None,
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
            event: gives what there is to say of that record; only a friction signal needs it.
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
            assert felt.data is not None  # noqa: S101  # ... of a customer
            data = o.Friction(
                effort_points=row[k.S_ACUTE],
                channel=felt.data.channel,
                touchpoint=felt.data.touchpoint,
                evidence=_evidence(draft, felt),
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
        risk = self._churn_risk(row, subject, draft, cause, alive, clv)
        value = _encode(o.ChurnRiskSignal(id=name, subject=subject, time=clock, data=risk))
        reason = draft.leading
        return Emitted(index, o.CHURN_RISK.topic, key, value, risk.change, risk.level, reason)

    def _trial(self, level: str, subject: str) -> tuple[str | None, Arm | None]:
        """The experiment that applies to a level, and the arm of the customer; None where none does."""
        if level not in self._experiments:
            return None, None
        name, experiment = self._experiments[level]
        return name, arm_of(name, experiment, subject)

    def _churn_risk(
        self, row: Sequence[float], subject: str, draft: Draft, cause: o.Cause, alive: float, clv: float | None
    ) -> o.ChurnRisk:  # fmt: skip
        (_, _, what, now, before, _, p, effort, effort_halfwidth, satisfaction, satisfaction_halfwidth) = row[
            : k.S_EFFORT_SHORT
        ]
        level = LEVELS[int(now)]
        action = None
        if level != "none" and draft.leading is not None and draft.raises:
            action = self._actions.get(draft.leading)
        experiment, arm = self._trial(level, subject) if self._experiments else (UNSET, UNSET)
        reasons: Any = msgspec.Raw(draft.reasons)
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

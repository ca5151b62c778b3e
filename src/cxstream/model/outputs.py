"""What scoring writes: signals, score cards and receipts, as CloudEvents in structured JSON, and their topics.

One record describes an output topic; Kafka's topic, its ACLs, the schemas, the AsyncAPI document and the files of
`replay` follow from it.

Times are RFC 3339 in UTC with milliseconds; floats are in shortest round-trip form.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, field

from cxstream.model.enumerations import Change, Level  # noqa: TC001  # msgspec evaluates the annotations
from cxstream.model.experiments import Arm  # noqa: TC001  # msgspec evaluates the annotations
from cxstream.model.features import Feature  # noqa: TC001  # msgspec evaluates the annotations

SOURCE = "/cxstream"
CHURN_RISK_TYPE = "cx.signal.churn_risk.v1"
FRICTION_TYPE = "cx.signal.friction.v1"
SCORE_TYPE = "cx.score.v1"
FORGOTTEN_TYPE = "cx.forgotten.v1"


class Cause(Struct, frozen=True, gc=False):
    """The record a signal follows from."""

    topic: str
    partition: int
    offset: int


class Reason(Struct, frozen=True, gc=False):
    """One feature of the churn risk.

    Attributes:
        feature: its name.
        value: x, as it entered the risk.
        contribution: b * (x - typical x), in log-odds.
        evidence: the facts behind it, in words and counts.
    """

    feature: Feature
    value: float
    contribution: float
    evidence: str


class ChurnRisk(Struct, frozen=True, gc=False):
    """`data` of a churn-risk signal.

    Attributes:
        change: what happened to the level that the CRM knows; worsened: the level stays, and the probability has
            risen since the last signal.
        level: the level from now on.
        previous: the level until now.
        probability: churn risk, 0..1.
        effort: 0..100, with the half-width of the interval that 95 % of next answers are in.
        satisfaction: 0..100, with the half-width of the interval that 95 % of next answers are in.
        reasons: the features that set this customer apart from a typical one, the strongest first.
        value_at_risk: what the customer is expected to bring within the horizon of the value model, times the
            probability, in the base currency; null without a value model or a purchase.
        suggested_action: from the table of actions, by the leading reason.
        model: the rules that judged: their name and a digest.
        cause: the record it follows from.
        experiment: the experiment that applies to the level, null without one; absent unless the rules have experiments.
        arm: whether to act on the customer, treated, or to hold them out; null and absent likewise.
        p_alive: probability that the customer still buys; null without a purchase; absent unless the rules have a purchase
            model.
        clv: what the customer is expected to bring within the horizon of the value model, in the base currency; null
            without a value model or a purchase; absent unless the rules have a purchase model.
    """

    change: Change
    level: Level
    previous: Level
    probability: float
    effort: float
    effort_halfwidth: float
    satisfaction: float
    satisfaction_halfwidth: float
    reasons: list[Reason]
    value_at_risk: float | None
    suggested_action: str | None
    model: str
    cause: Cause
    experiment: str | UnsetType | None = UNSET
    arm: Arm | UnsetType | None = UNSET
    p_alive: float | UnsetType | None = UNSET
    clv: float | UnsetType | None = UNSET


class ErasedCustomer(Struct, frozen=True, gc=False):
    """`data` of a churn-risk signal about a customer who asked to be erased: no scores, no reasons.

    Attributes:
        change: always `erased`; whoever keeps something about the customer deletes it.
        level: always `none`.
        previous: the level until now.
        cause: the record of the request.
    """

    change: Literal["erased"]
    level: Literal["none"]
    previous: Level
    cause: Cause


class Friction(Struct, frozen=True, gc=False):
    """`data` of a friction signal.

    Attributes:
        effort_points: acute friction, in effort points.
        channel: where the event that went too far happened.
        touchpoint: its free name, if it has one.
        evidence: the facts behind it, in words and counts.
        cause: the record it follows from.
        model: the rules that judged: their name and a digest.
    """

    effort_points: float
    channel: str
    touchpoint: str | None
    evidence: str
    cause: Cause
    model: str = ""


class Touches(Struct, frozen=True, gc=False):
    """Touches in that many panes (days), today's included."""

    day: int = field(name="1")
    week: int = field(name="7")
    month: int = field(name="30")
    quarter: int = field(name="90")


class ScoreCard(Struct, frozen=True, gc=False):
    """`data` of a score card: the customer as of his last evaluation, the event's `time`.

    Attributes:
        effort: 0..100, with the half-width of the interval that 95 % of next answers are in.
        satisfaction: 0..100, with the half-width of the interval that 95 % of next answers are in.
        probability: churn risk, 0..1.
        level: risk level now.
        announced: the level that the CRM was last told.
        acute: acute friction, in effort points.
        features: x of each feature of the risk.
        last_touch: event time of the last touch.
        touches: touches in the last 1, 7, 30 and 90 panes.
        purchases: days with a purchase, for ever.
        last_purchase: the last of them, a day in UTC; null without one.
        spent: sum of the purchases less returns, in `base_currency`; 0 or more.
        model: the rules of the last evaluation: their name and a digest.
        p_alive: probability that the customer still buys, 0..1; null without a purchase model or a purchase.
        clv: what the customer is expected to bring within the horizon of the value model, in `base_currency`,
            discounted; null without one or without a purchase.
        value_at_risk: clv times the probability; null where clv is.
    """

    effort: float
    effort_halfwidth: float
    satisfaction: float
    satisfaction_halfwidth: float
    probability: float
    level: Level
    announced: Level
    acute: float
    features: dict[Feature, float]
    last_touch: str
    touches: Touches
    purchases: int = 0
    last_purchase: str | None = None
    spent: float = 0.0
    model: str = ""
    p_alive: float | None = None
    clv: float | None = None
    value_at_risk: float | None = None


class Erased(Struct, frozen=True, gc=False):
    """How much was known of the customer.

    Attributes:
        panes: days with something on them.
        complaints: open complaints.
        contacts: contacts kept for finding repeated ones.
        purchases: days with a purchase.
        own_kinds: touchpoints of kinds of the company's own that were counted by their names.
    """

    panes: int
    complaints: int
    contacts: int
    purchases: int = 0
    own_kinds: int = 0


class Forgotten(Struct, frozen=True, gc=False):
    """`data` of a receipt.

    Attributes:
        request: id of the request.
        requested_by: its source.
        requested_at: its time; what is older and comes later is dropped.
        known: whether there was anything to erase.
        erased: how much.
        cause: the record of the request.
    """

    request: str
    requested_by: str
    requested_at: str
    known: bool
    erased: Erased
    cause: Cause


class _Envelope(Struct, frozen=True, kw_only=True, gc=False, tag_field="type"):
    """The CloudEvents envelope of an output; `subject` is the customer."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = SOURCE
    subject: str
    time: str
    datacontenttype: Literal["application/json"] = "application/json"


class ChurnRiskSignal(_Envelope, frozen=True, kw_only=True, gc=False, tag=CHURN_RISK_TYPE):
    """A churn-risk signal: for the CRM."""

    data: ChurnRisk


class ErasedSignal(_Envelope, frozen=True, kw_only=True, gc=False, tag=CHURN_RISK_TYPE):
    """A churn-risk signal that says no more than that the customer was erased."""

    data: ErasedCustomer


class FrictionSignal(_Envelope, frozen=True, kw_only=True, gc=False, tag=FRICTION_TYPE):
    """A friction signal: for agents and chat, now."""

    data: Friction


class Score(_Envelope, frozen=True, kw_only=True, gc=False, tag=SCORE_TYPE):
    """A score card."""

    data: ScoreCard


class Receipt(_Envelope, frozen=True, kw_only=True, gc=False, tag=FORGOTTEN_TYPE):
    """The receipt of an erasure; its subject is a digest, which tells nobody who does not know him whom it is about."""

    data: Forgotten


class _Change(Struct, gc=False):
    change: str = ""


class _Changed(Struct, gc=False):
    data: _Change


_change_of = msgspec.json.Decoder(_Changed).decode
_erased = msgspec.json.Decoder(ErasedSignal).decode
_signal: msgspec.json.Decoder[ChurnRiskSignal | FrictionSignal] = msgspec.json.Decoder(
    ChurnRiskSignal | FrictionSignal
)


def read_signal(value: bytes) -> ChurnRiskSignal | ErasedSignal | FrictionSignal:
    """A signal as it stands in its topic.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    if _change_of(value).data.change == "erased":
        return _erased(value)
    return _signal.decode(value)


@dataclass(frozen=True, slots=True)
class Output:
    """A topic with CloudEvents as records: those that scoring writes are about one customer each.

    Attributes:
        topic: its name in the contract.
        holds: what is in it, in a few words.
        payload: name of its records in the AsyncAPI document.
        title: ... and in words.
        schema: path of their JSON Schema below `schemas/`.
        types: the events that the schema accepts, each with a title; a schema of one event needs none.
        key: what the records are keyed by, in a few words.
        key_note: the same, for the AsyncAPI document, and what a record without a value says.
        keep_days: how long Kafka keeps a record; None to keep the latest record of each key.
        readers: the roles of `cxstream.kafka.acls` that read it.
        writers: ... and that write it.
        file: where `replay` writes its records; "" where it does so by itself.
    """

    topic: str
    holds: str
    payload: str
    title: str
    schema: str
    types: tuple[tuple[str, type[Struct]], ...]
    file: str
    key: str = "customer"
    key_note: str = "The customer, as in `subject`."
    keep_days: int | None = None
    readers: frozenset[str] = dataclass_field(default_factory=frozenset)
    writers: frozenset[str] = frozenset({"worker"})


CHURN_RISK = Output(
    "cx.churn-risk",
    "churn-risk signals, for the CRM",
    "churn_risk",
    "Churn-risk signal",
    "signals/churn_risk.v1.json",
    (("The level of a customer", ChurnRiskSignal), ("A customer was erased", ErasedSignal)),
    "signals.ndjson",
    keep_days=30,
    readers=frozenset({"crm", "oncall", "warehouse"}),
)
FRICTION = Output(
    "cx.friction",
    "friction signals, for agents and chat",
    "friction",
    "Friction signal",
    "signals/friction.v1.json",
    (("", FrictionSignal),),
    "signals.ndjson",
    keep_days=7,
    readers=frozenset({"crm", "oncall", "warehouse"}),
)
SCORES = Output(
    "cx.scores",
    "the latest score card",
    "score",
    "Score card",
    "score.v1.json",
    (("", Score),),
    "scores.ndjson",
    key_note="The customer, as in `subject`. Without a value: forgotten.",
    readers=frozenset({"crm", "oncall", "admin", "warehouse"}),
)
FORGOTTEN = Output(
    "cx.forgotten",
    "receipts of erasures",
    "forgotten",
    "Receipt of an erasure",
    "forgotten.v1.json",
    (("", Receipt),),
    "forgotten.ndjson",
    key="digest of the customer",
    key_note="A digest of the customer.",
    keep_days=365,
    readers=frozenset({"admin", "warehouse"}),
)
OUTPUTS = (CHURN_RISK, FRICTION, SCORES, FORGOTTEN)
# Those about a customer that Kafka deletes by age; of the others it keeps the latest, or they do not name the customer.
SIGNAL_TOPICS = tuple(
    output.topic for output in OUTPUTS if output.key == "customer" and output.keep_days is not None
)

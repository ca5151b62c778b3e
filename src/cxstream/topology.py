"""The flow in one place: topics, their keys and how Kafka keeps them.

web app call store social surveys CRM
        |  CloudEvents, keyed by customer
        v
  cx.touchpoints
        |  one fetch = one batch
  decode -> validate -> dedupe -> panes -> scores -> risk
    |          |                    |         |
    |      cx.rejected          cx.scores   cx.churn-risk, cx.friction
    |                           cx.scored: each touchpoint with what it counted for
    v
  cx.snapshots (compacted: a cache of the state; the log is authoritative)

cx.insights: alerts on places, from `cxstream warehouse follow`, which reads cx.scored.
cx.work: what people do in the console, which `cxstream warehouse follow` reads; cx.audit: who looked at whom.

Erasure requests: cx.forget, from where the worker takes them into cx.touchpoints; receipts are in cx.forgotten.

The names here are those of the contract. An installation may have a prefix before each of them (`topics.prefix`), so
that several share one Kafka: all clients take the names from `Settings.topology`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

from cxstream.model import outputs, place_signals, work
from cxstream.model.kinds import Kind
from cxstream.model.parameters import DAY_MS


@dataclass(frozen=True, slots=True)
class Topic:
    """One Kafka topic as the contract has it.

    Attributes:
        name: the topic.
        key: what its records are keyed by.
        holds: what is in it, in a few words.
        config: topic-level Kafka configuration, as strings.
        flow: whether cxstream receives its records or sends them, as the AsyncAPI document has it.
        payloads: names of its records in that document.
        readers: the roles of `cxstream.kafka.acls` that read it.
        writers: ... and that write it.
        prefix: what the name begins with in this installation, before the name of the contract.
    """

    name: str
    key: str
    holds: str
    config: dict[str, str]
    flow: Literal["receive", "send"]
    payloads: tuple[str, ...]
    readers: frozenset[str]
    writers: frozenset[str]
    prefix: str = ""

    @property
    def contract(self) -> str:
        """The name of the contract."""
        return self.name.removeprefix(self.prefix)


def _delete(days: int, **more: str) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(days * DAY_MS), **more}


def _compact() -> dict[str, str]:
    # Kafka removes erased data from old segments within a day.
    return {"cleanup.policy": "compact", "max.compaction.lag.ms": str(DAY_MS), "segment.ms": str(DAY_MS)}


# Whose clock a record's timestamp is: the broker's (LogAppendTime), or the producer's (CreateTime).
TIMESTAMP_TYPE = "message.timestamp.type"
TOUCHPOINTS = Topic(
    "cx.touchpoints",
    "customer",
    "touchpoints in",
    # Event time lives in the payload. With CreateTime the broker would delete the records of a backfill at once.
    _delete(90, **{TIMESTAMP_TYPE: "LogAppendTime"}),
    "receive",
    (*(kind.label for kind in Kind), "tick", "forget", "rules"),
    readers=frozenset({"worker", "oncall", "admin"}),
    writers=frozenset({"worker", "producer", "crm", "oncall", "admin", "console"}),
)
# A rejected record is as large as the broker takes, with headers on top.
REJECTED = Topic(
    "cx.rejected",
    "as it came",
    "rejected records, byte for byte",
    _delete(30, **{"max.message.bytes": "12582912"}),
    "send",
    ("rejected", "resent"),
    readers=frozenset({"oncall", "admin", "warehouse"}),
    writers=frozenset({"worker", "oncall"}),
)
# The reason of a record of cx.rejected that is no rejection: the record from that place has been sent again.
RESENT = "resent"
FORGET = Topic(
    "cx.forget",
    "customer",
    "customers to erase",
    _delete(30),
    "receive",
    ("forget",),
    readers=frozenset({"worker", "admin"}),
    writers=frozenset({"admin"}),
)
SCORED = Topic(
    "cx.scored",
    "none; same partition as the touchpoint",
    "accepted touchpoints with what they counted for",
    _delete(90),
    "send",
    ("scored",),
    readers=frozenset({"admin", "warehouse"}),
    writers=frozenset({"worker"}),
)
CHANGES = Topic(
    "cx.changes",
    "source",
    "changes of the experience: markers on charts, before and after",
    _delete(730),
    "receive",
    ("change",),
    readers=frozenset({"oncall", "admin", "warehouse"}),
    writers=frozenset({"producer", "oncall", "admin"}),
)
SNAPSHOTS = Topic(
    "cx.snapshots",
    "customer",
    "saved state of the worker",
    _compact(),
    "send",
    ("snapshot",),
    readers=frozenset({"worker", "oncall", "admin"}),
    writers=frozenset({"worker"}),
)


def _output(output: outputs.Output) -> Topic:
    return Topic(
        output.topic,
        output.key,
        output.holds,
        _compact() if output.keep_days is None else _delete(output.keep_days),
        "send",
        (output.payload,),
        readers=output.readers,
        writers=output.writers,
    )


CHURN_RISK = _output(outputs.CHURN_RISK)
FRICTION = _output(outputs.FRICTION)
SCORES = _output(outputs.SCORES)
FORGOTTEN = _output(outputs.FORGOTTEN)
INSIGHTS = _output(place_signals.INSIGHTS)
WORK = _output(work.WORK)
AUDIT = _output(work.AUDIT)
_FIRST = (
    TOUCHPOINTS,
    CHURN_RISK,
    FRICTION,
    SCORES,
    SCORED,
    INSIGHTS,
    REJECTED,
    FORGET,
    FORGOTTEN,
    CHANGES,
    WORK,
    AUDIT,
)
_OTHERS = (_output(each) for each in outputs.OUTPUTS if each.topic not in {topic.name for topic in _FIRST})
TOPICS = (*_FIRST, *_OTHERS, SNAPSHOTS)


class Topology:
    """The topics of one installation, with the names that they have in Kafka.

    Attributes:
        prefix: what every name begins with; "" for the names of the contract.
        all: the topics, in the order of TOPICS.

    Args:
        prefix: as above.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.all = tuple(
            replace(topic, name=prefix + topic.name, prefix=prefix) if prefix else topic for topic in TOPICS
        )
        self._by_contract = {topic.contract: topic for topic in self.all}
        self.touchpoints = self.named(TOUCHPOINTS)
        self.churn_risk = self.named(CHURN_RISK)
        self.friction = self.named(FRICTION)
        self.scores = self.named(SCORES)
        self.scored = self.named(SCORED)
        self.insights = self.named(INSIGHTS)
        self.rejected = self.named(REJECTED)
        self.forget = self.named(FORGET)
        self.forgotten = self.named(FORGOTTEN)
        self.changes = self.named(CHANGES)
        self.work = self.named(WORK)
        self.audit = self.named(AUDIT)
        self.snapshots = self.named(SNAPSHOTS)

    def named(self, topic: Topic) -> Topic:
        """A topic of the contract, or of any installation, by its name in this one."""
        return self._by_contract[topic.contract]

    def name(self, contract: str) -> str:
        """The name in this installation of a topic of the contract."""
        return self.prefix + contract


@cache
def topology(prefix: str = "") -> Topology:
    """The topics of the installation with this prefix."""
    return Topology(prefix)

"""Rights on Kafka: the roles around cxstream as data, and the ACLs that they need.

    producer --> cx.touchpoints --> worker --> signals, score cards --> crm
                      ^                |
                      +---- ticks -----+----> cx.snapshots (its own memory)

Only the least rights of a role. In Kafka, the right to read or write a topic implies describing it, and the right to
write with a transactional id implies describing that; so neither is listed here.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from cxstream.topology import TOPICS, Topic

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.topology import Topology


class Acl(NamedTuple):
    """One right.

    Attributes:
        resource: topic, group or transactional-id.
        name: of the resource, or what its name begins with.
        prefixed: the name is a beginning.
        operation: as kafka-acls.sh has it: Read, Write, Create, ...
    """

    resource: str
    name: str
    prefixed: bool
    operation: str


@dataclass(frozen=True, slots=True)
class Role:
    """A client of Kafka, and its least rights. The topics say which roles read and write them.

    Attributes:
        name: as topics and commands have it.
        what: what it does, in a few words.
        checks: whether it looks at the configuration of its topics before it works.
        group: whether it is a member of a consumer group.
        transactional: whether it claims partitions with the transactional ids of the worker's group.
        oncall: whether it looks at the worker's group and transactions, and sends rejected records again.
        keeps: whether it creates and configures topics.
        rules: whether it writes rules, to all partitions in one transaction.
    """

    name: str
    what: str
    checks: bool = False
    group: bool = False
    transactional: bool = False
    oncall: bool = False
    keeps: bool = False
    rules: bool = False

    @property
    def reads(self) -> tuple[Topic, ...]:
        """The topics that it reads, in the order of the topology."""
        return tuple(topic for topic in TOPICS if self.name in topic.readers)

    @property
    def writes(self) -> tuple[Topic, ...]:
        """The topics that it writes, in the order of the topology."""
        return tuple(topic for topic in TOPICS if self.name in topic.writers)

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The topics that it reads or writes, in the order of the topology."""
        return tuple(topic for topic in TOPICS if self.name in topic.readers | topic.writers)


WORKER = Role("worker", "scores: `cxstream worker`", checks=True, group=True, transactional=True)
PRODUCER = Role("producer", "sends events: sources, `cxstream produce`, `cxstream simulate`", checks=True)
# Outcomes are touchpoints; a tool for agents that only shows signals does without the right to write them.
CRM = Role("crm", "acts on signals and writes back what was done: the CRM", group=True)
ONCALL = Role(
    "oncall",
    "looks, and sends rejected records again: `cxstream rejected`, `customer`, `doctor`",
    checks=True,
    oncall=True,
)
WAREHOUSE = Role(
    "warehouse",
    "keeps a read model and writes alerts on places: `cxstream warehouse`, `sink`",
    checks=True,
)
CONSOLE = Role(
    "console",
    "writes what people do, and who looked at whom: `cxstream serve`",
    checks=True,
)
ADMIN = Role(
    "admin",
    "makes topics, looks after rejected records, has customers erased, changes the rules: `cxstream topics`, `rules`",
    keeps=True,
    rules=True,
)

ROLES = {role.name: role for role in (WORKER, PRODUCER, CRM, ONCALL, WAREHOUSE, CONSOLE, ADMIN)}


def worker_ids(group: str, topology: Topology, partition: int) -> tuple[str, str]:
    """The transactional ids of a partition: for results and offsets, and for snapshots."""
    results = f"{group}-{topology.touchpoints.name}-{partition}"
    return results, f"{results}-snapshots"


def resend_id(group: str, topology: Topology) -> str:
    """The transactional id for sending rejected records again."""
    return f"{group}-{topology.prefix}resend"


def rules_id(group: str, topology: Topology) -> str:
    """The transactional id for writing rules."""
    return f"{group}-{topology.prefix}rules"


# Altering the configuration implies describing it; creating a topic implies nothing.
_KEEPS = ("Create", "Describe", "AlterConfigs")


def acls(role: Role, group: str, topology: Topology) -> list[Acl]:
    """All rights that a role needs.

    Args:
        role: one of ROLES.
        group: consumer group, of the workers or of the consumer whose role it is.
        topology: the topics of the installation.
    """
    granted = [
        Acl("topic", topology.named(topic).name, prefixed=False, operation=operation)
        for topic in TOPICS
        for operation in _operations(role, topic)
    ]
    if role.group:
        granted.append(Acl("group", group, prefixed=False, operation="Read"))
    if role.transactional:
        granted.append(
            Acl("transactional-id", f"{group}-{topology.touchpoints.name}-", prefixed=True, operation="Write")
        )
    if role.oncall:
        granted += [
            Acl("group", group, prefixed=False, operation="Describe"),
            Acl(
                "transactional-id",
                f"{group}-{topology.touchpoints.name}-",
                prefixed=True,
                operation="Describe",
            ),
            Acl("transactional-id", resend_id(group, topology), prefixed=False, operation="Write"),
        ]
    if role.rules:
        granted += [
            Acl("group", group, prefixed=False, operation="Describe"),
            Acl("transactional-id", rules_id(group, topology), prefixed=False, operation="Write"),
        ]
    return granted


def _operations(role: Role, topic: Topic) -> list[str]:
    operations = ["Read"] if role.name in topic.readers else []
    operations += ["Write"] if role.name in topic.writers else []
    operations += ["DescribeConfigs"] if operations and role.checks else []
    keeps = _KEEPS if role.keeps else ()
    return operations + [each for each in keeps if each != "Describe" or not operations]


def commands(granted: Sequence[Acl], principal: str, bootstrap: str) -> list[str]:
    """The `kafka-acls.sh` commands that allow it, one for all resources with the same operations.

    Args:
        granted: what to allow.
        principal: whom, as Kafka has it: User:NAME.
        bootstrap: where Kafka is.
    """
    by_resource = {
        resource: tuple(acl.operation for acl in same)
        for resource, same in groupby(granted, key=lambda acl: acl[:3])
    }
    together: dict[tuple[str, bool, tuple[str, ...]], list[str]] = {}
    for (resource, name, prefixed), operations in by_resource.items():
        together.setdefault((resource, prefixed, operations), []).append(name)
    start = [
        "kafka-acls.sh",
        "--bootstrap-server",
        bootstrap,
        "--command-config",
        "admin.properties",
        "--add",
    ]
    lines = []
    for (resource, prefixed, operations), names in together.items():
        words = [*start, "--allow-principal", principal]
        words += [word for operation in operations for word in ("--operation", operation)]
        words += ["--resource-pattern-type", "prefixed"] if prefixed else []
        words += [word for name in names for word in (f"--{resource}", name)]
        lines.append(shlex.join(words))
    return lines

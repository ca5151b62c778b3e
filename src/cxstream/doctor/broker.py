"""Checks of Kafka itself: brokers and versions, topics and partitions, what we may do, clocks."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aiokafka.errors import (
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from cxstream.doctor.finding import Finding, Patient, error, ok, skipped, warning
from cxstream.doctor.protocol import DESCRIBE, DESCRIBE_CONFIGS, READ, UNKNOWN_OPERATIONS, WRITE
from cxstream.kafka.acls import ONCALL, WORKER, Role
from cxstream.kafka.admin import USUAL_REPLICATION, look, partitions_added
from cxstream.kafka.groups import NOT_YET, patiently
from cxstream.kafka.reader import reading
from cxstream.model.kinds import TICK_TYPE
from cxstream.scoring import words
from cxstream.topology import TIMESTAMP_TYPE, TOUCHPOINTS, Topic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cxstream.kafka.admin import Found
    from cxstream.kafka.reader import TopicReader
    from cxstream.topology import Topology

# Kafka 4.0 gave up fetch requests before version 4.
_FETCH, _OLDEST_FETCH = 1, 4
_INIT_PRODUCER_ID = 22
_TAIL = 200
_CLOCK_WARNING_MS = 5_000
_NAMES = {READ: "Read", WRITE: "Write", DESCRIBE: "Describe", DESCRIBE_CONFIGS: "DescribeConfigs"}
_CLOCK_ADVICE = (
    "synchronise the clocks (NTP) of brokers, workers and sources: docs/oncall.md says what follows"
)


async def broker(patient: Patient) -> AsyncIterator[Finding]:
    """Brokers, controller, and whether they speak what a worker needs."""
    cluster = patient.kafka
    found = await cluster.metadata()
    controller = found["controller_id"]
    yield ok(
        f"{words.count(len(found['brokers']), 'broker')} at {patient.settings.kafka}, cluster {found['cluster_id']}"
    )
    if controller < 0:
        yield error(
            "the cluster has no controller", "see the logs of the controllers: nothing can be changed now"
        )
    for number in cluster.brokers:
        versions = await cluster.versions(number)
        if _INIT_PRODUCER_ID not in versions:
            yield error(f"broker {number} has no transactions", "use Apache Kafka 4.1 or newer")
        elif versions[_FETCH][0] < _OLDEST_FETCH:
            yield warning(
                f"broker {number} is older than Kafka 4.0", "cxstream is tested with Apache Kafka 4.1"
            )
        else:
            yield ok(f"broker {number} is Kafka 4.0 or newer")


async def topics(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the contract's topics are there, as they should be, and all their replicas too."""
    cluster = patient.kafka
    described = (await cluster.metadata())["topics"]
    hidden = {each["name"] for each in described if not _may_look(each)}
    topology = patient.settings.topology
    visible = [topic for topic in topology.all if topic.name not in hidden]
    found = await look(cluster.admin, topology, topics=visible)
    brokers = len(cluster.brokers)
    added = partitions_added(found)
    if added:
        yield error(added, "delete no topic: they hold what is known of the customers")
    for each in found:
        name = each.topic.name
        if not each.partitions:
            yield error(f"{name} is missing", "cxstream topics --create")
        elif each.differences:
            yield _different(each, added=bool(added))
        if each.partitions:
            for finding in _durable(name, each.replication, int(each.config["min.insync.replicas"]), brokers):
                yield finding
    counted = [each for each in found if each.partitions]
    if counted and len(counted) == len(found) and not any(each.differences for each in found):
        yield ok(f"{len(found)} topics with {found[0].partitions} partitions are as the contract says")
    if hidden:
        yield skipped(f"not looked at, as this user may not describe them: {', '.join(sorted(hidden))}")
    for finding in _replicas(described):
        yield finding


def _different(found: Found, *, added: bool) -> Finding:
    """What is wrong with a topic that is not as the contract says.

    Args:
        found: the topic.
        added: it has the right number of partitions, and cx.touchpoints was given more.
    """
    said = f"{found.topic.name}: {'; '.join(found.differences)}"
    if found.partitions != found.wanted and added:
        return error(
            said,
            f"this follows from the partitions that were added to {found.topic.prefix}{TOUCHPOINTS.contract}",
        )
    if found.partitions != found.wanted:
        return error(
            said, "delete and create it: results go beside what they follow from, in as many partitions"
        )
    if found.topic.contract == TOUCHPOINTS.contract and TIMESTAMP_TYPE in found.wrong_config:
        return error(
            f"{said}: no worker starts, as who sends an event would say when it arrived",
            "cxstream topics --alter-config",
        )
    return warning(said, "cxstream topics --alter-config")


def _may_look(described: dict[str, Any]) -> bool:
    """Whether we may look at a topic and its configuration; `access` says where a worker should."""
    operations = described["authorized_operations"]
    return described["error_code"] != TopicAuthorizationFailedError.errno and (
        operations == UNKNOWN_OPERATIONS or bool(operations & DESCRIBE_CONFIGS)
    )


def _durable(name: str, replicas: int, insync: int, brokers: int) -> list[Finding]:
    if replicas < insync:
        return [
            error(
                f"{name}: {replicas} replicas cannot be {insync} in sync: nothing can be written",
                "lower min.insync.replicas, or add replicas with kafka-reassign-partitions",
            )
        ]
    if brokers >= USUAL_REPLICATION and replicas < USUAL_REPLICATION:
        return [
            warning(
                f"{name} has {replicas} replicas on {brokers} brokers",
                f"give it {USUAL_REPLICATION} (kafka-reassign-partitions), or the loss of a broker loses data",
            )
        ]
    if replicas > 1 and insync < 2:  # noqa: PLR2004 - the leader and one more
        return [
            warning(
                f"{name}: min.insync.replicas is {insync}: what only the leader has counts as written",
                "set min.insync.replicas to 2",
            )
        ]
    return []


def _replicas(described: list[dict[str, Any]]) -> list[Finding]:
    """Partitions without a leader, or with replicas that lag or are away."""
    partitions = [(topic["name"], each) for topic in described for each in topic["partitions"]]
    offline = [f"{name}-{each['partition']}" for name, each in partitions if each["leader"] < 0]
    behind = [
        f"{name}-{each['partition']}" for name, each in partitions if len(each["isr"]) < len(each["replicas"])
    ]
    found = []
    if offline:
        found.append(
            error(f"without a leader: {_some(offline)}", "start the brokers that hold them: see their logs")
        )
    if behind:
        found.append(
            warning(f"under-replicated: {_some(behind)}", "see whether a broker is down, slow or full")
        )
    if found or not partitions:
        return found
    return [ok(f"{len(partitions)} partitions have leaders and all their replicas")]


def _some(names: list[str]) -> str:
    shown = 5
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")


async def access(patient: Patient) -> AsyncIterator[Finding]:
    """Whether the user of the settings may do what a worker does."""
    worker = patient.settings.worker
    found = (await patient.kafka.metadata())["topics"]
    missing = sorted(
        each["name"] for each in found if each["error_code"] == UnknownTopicOrPartitionError.errno
    )
    described = {each["name"]: each for each in found if each["name"] not in missing}
    denied = _denied(WORKER, described, patient.settings.topology)
    group = await _group(patient)
    operations = group.get("authorized_operations", UNKNOWN_OPERATIONS)
    code = group["error_code"]
    if code == GroupAuthorizationFailedError.errno or (
        operations != UNKNOWN_OPERATIONS and not operations & READ
    ):
        denied.append(
            error(
                f"group {worker.group}: Read is not allowed",
                f"kafka-acls --add --allow-principal User:... --operation Read --group {worker.group}",
            )
        )
    elif code:
        yield skipped(f"group {worker.group}: not determined ({for_code(code).__name__})")
    if missing:
        yield skipped(f"what is allowed of {', '.join(missing)} is not known: see 'topics'")
    if not denied:
        there = sum(patient.settings.topology.named(topic).name in described for topic in WORKER.topics)
        yield ok(f"allowed on {words.count(there, 'topic')} and group {worker.group}: what a worker needs")
    elif not _denied(ONCALL, described, patient.settings.topology):
        yield skipped(
            f"allowed what the role oncall needs, not what a worker needs: {'; '.join(each.what for each in denied)}",
            "to check the worker's rights, run it with the worker's user, too",
        )
    else:
        for finding in denied:
            yield finding


def _denied(role: Role, described: dict[str, dict[str, Any]], topology: Topology) -> list[Finding]:
    """What is denied of the topics of a role that are there."""
    there = [topic for topic in role.topics if topology.named(topic).name in described]
    found = (_allowed(described[topology.named(topic).name], _needed(role, topic)) for topic in there)
    return [finding for finding in found if finding is not None]


def _needed(role: Role, topic: Topic) -> int:
    """The operations on a topic that a role needs."""
    needed = DESCRIBE | DESCRIBE_CONFIGS
    return needed | (READ if topic in role.reads else 0) | (WRITE if topic in role.writes else 0)


async def _group(patient: Patient) -> dict[str, Any]:
    """The group as Kafka describes it, with what is allowed."""
    admin, name = patient.kafka.admin, patient.settings.worker.group

    async def ask() -> dict[str, Any]:
        [answer] = await admin.describe_consumer_groups([name], include_authorized_operations=True)
        [found] = answer.to_object()["groups"]
        if found["error_code"] in NOT_YET:
            raise for_code(found["error_code"])(name)
        described: dict[str, Any] = found
        return described

    return await patiently(ask)


def _allowed(topic: dict[str, Any], needed: int) -> Finding | None:
    """What is denied of a topic; None where nothing is."""
    name = topic["name"]
    code = topic["error_code"]
    if code:
        kind = for_code(code).__name__
        if kind == "TopicAuthorizationFailedError":
            # Who may read or write a topic may describe it, too.
            first = next(word for bit, word in _NAMES.items() if needed & bit)
            return error(f"{name}: Describe is not allowed", _acl(name, first))
        return skipped(f"{name}: not determined ({kind})")
    operations = topic["authorized_operations"]
    if operations == UNKNOWN_OPERATIONS:
        return skipped(f"{name}: Kafka does not say what is allowed")
    missing = [word for bit, word in _NAMES.items() if needed & bit and not operations & bit]
    return error(f"{name}: {', '.join(missing)} not allowed", _acl(name, missing[0])) if missing else None


def _acl(topic: str, operation: str) -> str:
    return f"kafka-acls --add --allow-principal User:... --operation {operation} --topic {topic}"


async def clock(patient: Patient) -> AsyncIterator[Finding]:
    """Clocks, by what is written already: no record is written to find out.

    A record's Kafka timestamp is the broker's clock, so one from the future shows that this clock is behind. A tick
    has the time of the worker that wrote it, too, so that the two can be compared.
    """
    touchpoints = patient.settings.topology.touchpoints.name
    async with reading(patient.settings, [TOUCHPOINTS]) as reader:
        records = [record for p in range(reader.partitions[touchpoints]) for record in await _tail(reader, p)]
    now = round(time.time() * 1000)
    if not records:
        yield skipped(f"{touchpoints} has no records to tell the time by", "start a worker: it writes ticks")
        return
    if any(record.timestamp_type != 1 for record in records):
        yield skipped("timestamps are not the broker's (LogAppendTime)", "cxstream topics --alter-config")
        return
    ahead = max(record.timestamp for record in records) - now
    if ahead > _CLOCK_WARNING_MS:
        yield warning(f"the broker's clock is at least {ahead / 1000:.0f} s ahead of this one", _CLOCK_ADVICE)
    else:
        yield ok("no record comes from this computer's future")
    yield _ticks(patient, [skew for record in records if (skew := _skew(record)) is not None])


def _ticks(patient: Patient, skews: list[int]) -> Finding:
    """What ticks say: ms that the worker's clock was ahead of the broker's."""
    if not skews:
        return skipped(
            "no recent ticks to compare the workers' clocks with", "run a worker without --no-ticker"
        )
    worst = max(skews, key=abs)
    said = f"workers' clocks were up to {abs(worst) / 1000:.1f} s {'ahead of' if worst > 0 else 'behind'} the broker's"
    if abs(worst) > patient.settings.scoring.future_minutes * 60_000:
        return error(f"{said}: ticks are rejected, or time stands still", _CLOCK_ADVICE)
    return warning(said, _CLOCK_ADVICE) if abs(worst) > _CLOCK_WARNING_MS else ok(said)


def _skew(record: Any) -> int | None:
    if record.value is None or TICK_TYPE.encode() not in record.value:
        return None
    try:
        event = json.loads(record.value)
        ticker = event["type"] == TICK_TYPE and event["source"] == "/cxstream/ticker"
        return (
            round(datetime.fromisoformat(event["time"]).timestamp() * 1000) - record.timestamp
            if ticker
            else None
        )
    except (ValueError, KeyError, TypeError):
        return None


async def _tail(reader: TopicReader, partition: int) -> list[Any]:
    topic = reader.topology.touchpoints.name
    first, end = await reader.bounds(topic, partition)
    start = max(first, end - _TAIL)
    return [each async for records in reader.read(topic, partition, start, end) for each in records]

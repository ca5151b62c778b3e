"""Checks and creates the topics of the contract.

Looking, creating and altering are three separate steps: the first two change nothing that exists.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cxstream.kafka.connection import check, connection
from cxstream.model.errors import MissingTopicError, TopicError
from cxstream.topology import TOPICS, TOUCHPOINTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka.admin import AIOKafkaAdminClient

    from cxstream.settings import Settings
    from cxstream.topology import Topic, Topology

DEFAULT_PARTITIONS = 4
USUAL_REPLICATION = 3

_SETTLE_SECONDS = 30.0
_POLL_SECONDS = 0.05
_CLEANUP = "cleanup.policy"
# The source of a topic's configuration value in DescribeConfigs: 1 is the topic itself.
_SET_ON_TOPIC = 1


@dataclass(frozen=True, slots=True)
class Found:
    """One topic of the contract, as Kafka has it.

    Attributes:
        topic: the topic as it should be.
        wanted: how many partitions it should have.
        partitions: how many it has; 0: there is no such topic.
        replication: the fewest replicas that a partition of it has; 0: no such topic.
        config: its configuration: {name: value}, defaults included.
        own: the part of the configuration that was set on the topic itself.
    """

    topic: Topic
    wanted: int
    partitions: int
    replication: int
    config: dict[str, str]
    own: dict[str, str]

    @property
    def wrong_config(self) -> dict[str, str]:
        """Configuration that differs from the contract: {name: value it should have}."""
        return {
            name: value
            for name, value in self.topic.config.items()
            if self.partitions and _normal(name, self.config.get(name, "")) != _normal(name, value)
        }

    @property
    def differences(self) -> list[str]:
        """Differences from the contract, in words; empty if there are none, or the topic is missing."""
        if not self.partitions:
            return []
        counts = (
            [f"partition count is {self.partitions}, not {self.wanted}"]
            if self.partitions != self.wanted
            else []
        )
        values = [
            f"{name} is {self.config.get(name)}, not {value}" for name, value in self.wrong_config.items()
        ]
        return counts + values

    @property
    def state(self) -> str:
        """`ok`, `missing` or `differs`."""
        if not self.partitions:
            return "missing"
        return "differs" if self.differences else "ok"


def _normal(name: str, value: str) -> str:
    return ",".join(sorted(value.split(","))) if name == _CLEANUP else value


@asynccontextmanager
async def administration(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A connected admin client.

    Raises:
        BrokerError: Kafka does not answer.
        SettingsError: the security settings do not fit together.
    """
    from aiokafka.admin import AIOKafkaAdminClient

    await check(settings)
    admin = AIOKafkaAdminClient(**connection(settings))
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def look(
    admin: AIOKafkaAdminClient,
    topology: Topology,
    partitions: int | None = None,
    topics: Sequence[Topic] = TOPICS,
) -> list[Found]:
    """Topics of an installation as Kafka has them, in the order asked for.

    A topic that this client may not describe looks missing: Kafka does not tell the two apart.

    Args:
        admin: a connected client.
        topology: the topics of the installation.
        partitions: how many the topics should have; None: as many as cx.touchpoints has,
            4 where there is none. Signals and state go to the partition number of their cause.
        topics: which of them; only these are requested, because the client may lack the right to see others.

    Raises:
        TopicError: Kafka does not permit describing the topics.
    """
    there = await _existing(admin)
    wanted = partitions or len(there.get(topology.touchpoints.name, ())) or DEFAULT_PARTITIONS
    topics = [topology.named(topic) for topic in topics]
    configs = await _configs(admin, [topic.name for topic in topics if topic.name in there])
    found = []
    for topic in topics:
        config, own = configs.get(topic.name, ({}, {}))
        replicas = [len(each["replicas"]) for each in there[topic.name]] if config else []
        found.append(Found(topic, wanted, len(replicas), min(replicas, default=0), config, own))
    return found


async def partition_counts(admin: AIOKafkaAdminClient) -> dict[str, int]:
    """How many partitions each topic has.

    The request is for all topics: a broker may create a topic that is requested by name.
    """
    return {name: len(found) for name, found in (await _existing(admin)).items()}


async def _existing(admin: AIOKafkaAdminClient) -> dict[str, list[dict[str, Any]]]:
    described = await admin.describe_topics()
    return {each["topic"]: each["partitions"] for each in described if each["partitions"]}


async def _configs(
    admin: AIOKafkaAdminClient, names: Sequence[str]
) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
    from aiokafka.errors import UnknownTopicOrPartitionError

    if not names:
        return {}
    answers = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    result = {}
    for answer in answers:
        for resource in answer.to_object()["resources"]:
            if resource["error_code"] == UnknownTopicOrPartitionError.errno:
                continue  # deleted since it was listed
            _refuse(resource["resource_name"], resource["error_code"], resource["error_message"])
            entries = resource["config_entries"]
            config = {entry["config_names"]: entry["config_value"] or "" for entry in entries}
            own = {
                entry["config_names"]: entry["config_value"] or ""
                for entry in entries
                if entry["config_source"] == _SET_ON_TOPIC
            }
            result[resource["resource_name"]] = (config, own)
    return result


async def create(
    admin: AIOKafkaAdminClient, found: Sequence[Found], replication: int | None = None
) -> list[str]:
    """Create the missing topics, and wait until they can be used; returns their names.

    Args:
        admin: a connected client.
        found: what `look` saw.
        replication: replicas of each partition; None: three, or as many as there are brokers.

    Raises:
        TopicError: Kafka does not create one; the message says why.
    """
    from aiokafka.admin import NewTopic

    missing = [each for each in found if not each.partitions]
    if not missing:
        return []
    if replication is None:
        brokers = len((await admin.describe_cluster())["brokers"])
        replication = min(USUAL_REPLICATION, brokers)
    new = [
        NewTopic(each.topic.name, each.wanted, replication, topic_configs=each.topic.config)
        for each in missing
    ]
    answer = await admin.create_topics(new)
    for name, code, *more in answer.topic_errors:
        _refuse(name, code, more[0] if more else None)
    await _led(admin, {each.topic.name: each.wanted for each in missing})
    return [each.topic.name for each in missing]


async def _led(admin: AIOKafkaAdminClient, wanted: dict[str, int]) -> None:
    """Wait until each partition has a leader: Kafka answers before all brokers know a new topic."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        there = await _existing(admin)
        led = {name: sum(each["leader"] >= 0 for each in there.get(name, ())) for name in wanted}
        if led == wanted:
            return
        await asyncio.sleep(_POLL_SECONDS)
    raise TopicError(
        f"{', '.join(wanted)}: created, but without leaders after {_SETTLE_SECONDS:.0f} s: see Kafka's log"
    )


async def alter(admin: AIOKafkaAdminClient, found: Sequence[Found]) -> list[str]:
    """Set configuration that differs to the contract's values, and wait until it is effective; a line for each change.

    Partition counts stay: more of them would send customers to other partitions than their history.

    Raises:
        TopicError: Kafka refuses.
    """
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    wrong = [each for each in found if each.wrong_config]
    # The request replaces a topic's whole own configuration, so it must include the settings of others.
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, each.topic.name, {**each.own, **each.wrong_config})
        for each in wrong
    ]
    if not resources:
        return []
    for answer in await admin.alter_configs(resources):
        for resource in answer.to_object()["resources"]:
            _refuse(resource["resource_name"], resource["error_code"], resource["error_message"])
    await _holds(admin, wrong)
    return [
        f"{each.topic.name}: {name} was {each.config.get(name)}, is {value}"
        for each in wrong
        for name, value in each.wrong_config.items()
    ]


async def _holds(admin: AIOKafkaAdminClient, altered: Sequence[Found]) -> None:
    """Wait until the brokers know the altered configuration: Kafka answers before they do."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        configs = await _configs(admin, [each.topic.name for each in altered])
        if not any(
            replace(each, config=configs.get(each.topic.name, ({}, {}))[0]).wrong_config for each in altered
        ):
            return
        await asyncio.sleep(_POLL_SECONDS)
    names = sorted(each.topic.name for each in altered)
    raise TopicError(
        f"{', '.join(names)}: altered, but unchanged after {_SETTLE_SECONDS:.0f} s: see Kafka's log"
    )


async def ensure_topics(
    settings: Settings, partitions: int | None = None, replication: int | None = None
) -> list[str]:
    """Create the missing topics; returns their names.

    Args:
        settings: where Kafka is.
        partitions: as for `look`.
        replication: as for `create`.

    Raises:
        BrokerError: Kafka does not answer.
        TopicError: a topic that exists is not what the contract says.
    """
    async with administration(settings) as admin:
        found = await look(admin, settings.topology, partitions)
        refuse_differences(found)
        return await create(admin, found, replication)


async def require_topics(settings: Settings, needed: Sequence[Topic] = TOPICS) -> list[Found]:
    """Raise unless the topics exist and match the contract; returns each as Kafka has it.

    Args:
        settings: where Kafka is.
        needed: the topics that are needed, in the order of the result.

    Raises:
        BrokerError: Kafka does not answer.
        TopicError: a topic is missing or differs; the message says which, how, and what to do.
    """
    async with administration(settings) as admin:
        found = await look(admin, settings.topology, topics=needed)
    missing = [each.topic.name for each in found if not each.partitions]
    if missing:
        raise MissingTopicError(
            missing,
            f"{', '.join(missing)}: no such topic at {settings.kafka}{or_hidden(settings)}: "
            "run 'cxstream topics --create'",
        )
    refuse_differences(found)
    return found


def or_hidden(settings: Settings) -> str:
    """A hint for a missing topic that missing rights may hide, with authentication; "" without."""
    unknown = settings.security.protocol == "PLAINTEXT"
    return (
        ""
        if unknown
        else ", or this client may not see it (cxstream topics --acls lists the rights that it needs)"
    )


def partitions_added(found: Sequence[Found]) -> str:
    """A message if partitions seem to have been added to cx.touchpoints; "" otherwise."""
    touchpoints = [each for each in found if each.topic.contract == TOUCHPOINTS.contract]
    counts = {each.partitions for each in found if each not in touchpoints}
    wanted = {each.wanted for each in found} | {each.partitions for each in touchpoints}
    if len(counts) != 1 or len(wanted) != 1 or not 0 < min(counts) < min(wanted):
        return ""
    any_topic = found[0].topic
    prefix = any_topic.name.removesuffix(any_topic.contract)
    return (
        f"partitions were added to {prefix}{TOUCHPOINTS.contract}, so producers send the events of many customers to other "
        "partitions than those that hold their state: docs/operations.md, 'More partitions', says how to go on"
    )


def refuse_differences(found: Sequence[Found]) -> None:
    """Raise if a topic that exists is not what the contract says.

    Raises:
        TopicError: names each and how it differs.
    """
    wrong = [f"{each.topic.name}: {', '.join(each.differences)}" for each in found if each.differences]
    if added := partitions_added(found):
        raise TopicError(f"{'; '.join(wrong)}: {added}")
    if wrong:
        raise TopicError(
            f"{'; '.join(wrong)}. 'cxstream topics --alter-config' sets configuration; "
            "a partition count cannot be changed: delete and create the topic, or give it its own Kafka"
        )


def _refuse(name: str, code: int, message: str | None) -> None:
    from aiokafka.errors import for_code

    if code:
        kind = for_code(code)
        raise TopicError(
            f"{name}: Kafka refuses: {message or kind.description or kind.__name__} ({kind.__name__})"
        )

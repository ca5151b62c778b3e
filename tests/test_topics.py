"""The contract's topics on a real Kafka: looked at, created, altered only when asked."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.text import Text

from cxstream.cli import group
from cxstream.cli.topics import _show
from cxstream.kafka.admin import Found, administration, alter, create, ensure_topics, look, require_topics
from cxstream.model.errors import BrokerError, TopicError
from cxstream.settings import Settings
from cxstream.topology import REJECTED, TOPICS, TOUCHPOINTS, topology

Topics = Callable[..., None]


async def seen(admin: Any, condition: Callable[[list[Found]], bool]) -> list[Found]:
    """The topics, as soon as they are as asked: Kafka's brokers hear of a change a moment after it is made."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        found = await look(admin, topology())
        if condition(found):
            return found
        await asyncio.sleep(0.02)
    raise TimeoutError(str(found))


async def test_created_topics_are_what_the_contract_says(settings: Settings, topics: Topics) -> None:
    topics(3)
    async with administration(settings) as admin:
        found = await look(admin, topology())
    assert [each.state for each in found] == ["ok"] * len(TOPICS)
    assert {each.partitions for each in found} == {3}
    for each in found:
        assert {name: each.own[name] for name in each.topic.config} == each.topic.config
    assert [each.partitions for each in await require_topics(settings, [TOUCHPOINTS])] == [3]


async def test_looking_and_creating_change_nothing_that_exists(settings: Settings, topics: Topics) -> None:
    topics(2)
    assert await ensure_topics(settings) == []
    with pytest.raises(TopicError, match=r"cx\.touchpoints: partition count is 2, not 5"):
        await ensure_topics(settings, 5)
    async with administration(settings) as admin:
        found = await look(admin, topology(), 5)
        assert await create(admin, found) == []
        assert {each.partitions for each in await look(admin, topology())} == {2}


async def test_missing_topics_get_the_partition_count_of_touchpoints(
    settings: Settings, topics: Topics
) -> None:
    topics(2)
    async with administration(settings) as admin:
        await admin.delete_topics([REJECTED.name])
        await seen(admin, lambda found: any(each.state == "missing" for each in found))
        assert [each.topic for each in await look(admin, topology()) if each.state == "missing"] == [REJECTED]
        with pytest.raises(TopicError, match=r"^cx\.rejected: no such topic .*cxstream topics --create"):
            await require_topics(settings)
        assert await create(admin, await look(admin, topology())) == [REJECTED.name]
    assert {each.partitions for each in await require_topics(settings)} == {2}


async def test_alter_sets_what_differs_and_keeps_what_others_set(settings: Settings, topics: Topics) -> None:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    topics(1)
    spoilt = {"retention.ms": "60000", "segment.ms": "1234567", "cleanup.policy": "delete"}
    async with administration(settings) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, TOUCHPOINTS.name, spoilt)])
        found = await seen(admin, lambda found: any(each.state == "differs" for each in found))
        differs = next(each for each in found if each.topic is TOUCHPOINTS)
        assert differs.state == "differs"
        assert differs.differences == [
            "retention.ms is 60000, not 7776000000",
            "message.timestamp.type is CreateTime, not LogAppendTime",
        ]
        with pytest.raises(TopicError, match=r"cx\.touchpoints: retention\.ms is 60000"):
            await require_topics(settings)
        changed = await alter(admin, found)
        assert changed == [
            "cx.touchpoints: retention.ms was 60000, is 7776000000",
            "cx.touchpoints: message.timestamp.type was CreateTime, is LogAppendTime",
        ]
        after = next(each for each in await look(admin, topology()) if each.topic is TOUCHPOINTS)
        assert after.state == "ok"
        assert after.own["segment.ms"] == "1234567"
        assert await alter(admin, await look(admin, topology())) == []


async def test_kafka_says_why_it_does_not_create(settings: Settings, topics: Topics) -> None:
    topics(1)
    async with administration(settings) as admin:
        await admin.delete_topics([REJECTED.name])
        await seen(admin, lambda found: any(each.state == "missing" for each in found))
        with pytest.raises(TopicError, match=r"cx\.rejected: Kafka refuses: .*InvalidReplicationFactor"):
            await create(admin, await look(admin, topology()), replication=7)


async def test_no_kafka_is_a_clear_error() -> None:
    with pytest.raises(BrokerError, match=r"no Kafka at localhost:1 .*cxstream broker"):
        await require_topics(Settings(kafka="localhost:1"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(group, ["topics", *arguments])


def test_command_reports_and_creates(kafka: str, topics: Topics) -> None:
    topics(1)
    assert run("--kafka", kafka).exit_code == 0

    differs = run("--kafka", kafka, "--partitions", "2", "--create")
    assert differs.exit_code == 1
    assert "partition count is 1, not 2" in differs.stdout


def test_command_creates_once(kafka: str, topics: Topics) -> None:
    topics(0)
    missing = run("--kafka", kafka)
    assert missing.exit_code == 1
    assert missing.stdout.count("missing") >= len(TOPICS)

    created = run("--kafka", kafka, "--create", "--partitions", "3")
    assert created.exit_code == 0, created.output
    assert created.stdout.count("created") >= len(TOPICS)
    again = run("--kafka", kafka, "--create")
    assert again.exit_code == 0
    assert "created" not in again.stdout


FOUND = [Found(topic, 12, 12, 3, topic.config, {}) for topic in TOPICS]


def test_the_table_of_topics_is_plain_in_a_pipe_with_a_line_a_topic(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _show(Settings(), FOUND, [])
    title, heads, *lines = capsys.readouterr().out.splitlines()
    assert title.strip() == f"Topics at {Settings().kafka}"
    assert heads.split()[:2] == ["topic", "state"]
    assert [line.split()[0] for line in lines] == [topic.name for topic in TOPICS]
    assert all(line.isascii() for line in lines)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_of_topics_fits_a_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    _show(Settings(), FOUND, [])
    lines = Text.from_ansi(capsys.readouterr().out).plain.splitlines()
    assert len(lines) > 2 + len(TOPICS)
    assert max(map(len, lines)) <= width

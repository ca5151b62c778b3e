"""What is announced exists: no topic, message or right that no program uses."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from cxstream import topology
from cxstream.kafka.acls import ROLES, WORKER, acls
from cxstream.wire.asyncapi import document

SOURCES = Path(topology.__file__).parent
# They describe topics; they neither read nor write one.
DESCRIBING = {SOURCES / "topology.py", SOURCES / "kafka" / "acls.py", SOURCES / "wire" / "asyncapi.py"}
NAMES = {name: value.name for name, value in vars(topology).items() if isinstance(value, topology.Topic)}


@pytest.fixture(scope="module")
def used() -> set[str]:
    """Names that modules take from the topology, or from the topics of an installation."""
    nodes = [
        node
        for path in SOURCES.rglob("*.py")
        if path not in DESCRIBING
        for node in ast.walk(ast.parse(path.read_text()))
    ]
    imported = {
        alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module == "cxstream.topology"
        for alias in node.names
    }
    return imported | {node.attr.upper() for node in nodes if isinstance(node, ast.Attribute)}


def test_every_topic_is_read_or_written_by_a_program(used: set[str]) -> None:
    assert sorted(NAMES.values()) == sorted(topic.name for topic in topology.TOPICS)
    assert set(NAMES) - used == set()


def test_every_topic_is_the_workers_the_warehouses_or_the_consoles() -> None:
    # `topics --create` makes all of them: one that no program has a right to is there for nothing.
    others = {topic.name for topic in topology.TOPICS} - {topic.name for topic in WORKER.topics}
    assert others == {
        topology.INSIGHTS.name,
        topology.CHANGES.name,
        topology.WORK.name,
        topology.AUDIT.name,
    }


def test_rights_are_for_topics_that_exist() -> None:
    names = {topic.name for topic in topology.TOPICS}
    for name, role in ROLES.items():
        assert {
            acl.name for acl in acls(role, "g", topology.topology()) if acl.resource == "topic"
        } <= names, name


def _messages(channel: dict[str, Any]) -> set[str]:
    return {reference["$ref"].rpartition("/")[2] for reference in channel["messages"].values()}


def test_the_asyncapi_document_has_these_topics_and_no_message_beside_them() -> None:
    described = document()
    channels = described["channels"].values()
    assert {channel["address"] for channel in channels} == {topic.name for topic in topology.TOPICS}
    assert set().union(*map(_messages, channels)) == set(described["components"]["messages"])
    operations = {each["channel"]["$ref"].rpartition("/")[2] for each in described["operations"].values()}
    assert operations == set(described["channels"])

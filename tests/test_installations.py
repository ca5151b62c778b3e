"""Several installations on one Kafka: each has a prefix, and nothing of one is seen by another."""

from __future__ import annotations

import ast
import asyncio
import json
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

import cxstream
from cxstream.cli import group
from cxstream.kafka.acls import ROLES, acls
from cxstream.kafka.admin import administration
from cxstream.kafka.connection import connection
from cxstream.settings import Settings
from cxstream.topology import TOPICS, topology
from workers import Watcher, WorkerProcess, touchpoint, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCES = Path(cxstream.__file__).parent
# They say what the contract says: its topics, the labels of metrics, an example.
OF_THE_CONTRACT = {
    "topology.py",
    "model/events.py",
    "model/outputs.py",
    "model/place_signals.py",
    "model/work.py",
    "worker/metrics/definitions.py",
    "wire/asyncapi.py",
    "wire/examples.py",
}
_NAME = re.compile("|".join(rf"\b{re.escape(topic.name)}\b(?!\.)" for topic in TOPICS))
PARTITIONS = 2


# --- names


@pytest.mark.parametrize("prefix", ["", "eu.", "Shop_2-"])
def test_every_name_begins_with_the_prefix(prefix: str) -> None:
    found = topology(prefix)
    assert [topic.name for topic in found.all] == [prefix + topic.name for topic in TOPICS]
    assert [topic.contract for topic in found.all] == [topic.name for topic in TOPICS]
    assert [found.named(topic) for topic in TOPICS] == list(found.all)
    assert [found.named(topic) for topic in found.all] == list(found.all)
    assert [topic.config for topic in found.all] == [topic.config for topic in TOPICS]


def test_a_prefix_keeps_groups_and_clients_apart_too() -> None:
    settings = Settings(topics={"prefix": "eu."})
    assert settings.worker.group == "eu.cxstream"
    assert connection(settings)["client_id"] == "eu.cxstream"
    assert settings.topology.touchpoints.name == "eu.cx.touchpoints"


def test_a_group_that_was_chosen_is_left_alone() -> None:
    assert Settings(topics={"prefix": "eu."}, worker={"group": "mine"}).worker.group == "mine"


def test_without_a_prefix_nothing_changes() -> None:
    settings = Settings()
    assert settings.worker.group == "cxstream"
    assert connection(settings)["client_id"] == "cxstream"
    assert settings.topology.all == TOPICS


@pytest.mark.parametrize("prefix", [".", "-x", "a b", "a/", "ä", "x" * 101, "a\n"])
def test_a_prefix_that_kafka_would_not_take_is_refused(prefix: str) -> None:
    with pytest.raises(ValidationError, match=r"topics\.prefix"):
        Settings(topics={"prefix": prefix})


@pytest.mark.parametrize("role", ROLES.values(), ids=ROLES)
def test_acls_are_for_the_topics_and_transactions_of_the_installation(role: Any) -> None:
    granted = acls(role, "g", topology("eu."))
    assert [acl._replace(name="") for acl in granted] == [
        acl._replace(name="") for acl in acls(role, "g", topology())
    ]
    for acl in granted:
        if acl.resource == "topic":
            assert acl.name.startswith("eu.cx.")
        if acl.resource == "transactional-id":
            assert acl.name.startswith("g-eu.")


def test_no_module_uses_a_topic_by_its_name_in_the_contract() -> None:
    constants = {name for name, value in vars(cxstream.topology).items() if value in TOPICS}
    found = []
    for path in SOURCES.rglob("*.py"):
        where = path.relative_to(SOURCES).as_posix()
        if where in OF_THE_CONTRACT:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "name" and isinstance(node.value, ast.Name):
                found += [f"{where}:{node.lineno}: {node.value.id}.name"] * (node.value.id in constants)
            if isinstance(node, ast.JoinedStr):
                # A name that is put together with a number is that of a partition.
                found += [
                    f"{where}:{node.lineno}: {text.value}"
                    for text, value in zip(node.values, node.values[1:], strict=False)
                    if isinstance(text, ast.Constant) and re.search(rf"({_NAME.pattern})-$", str(text.value))
                ]
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value):
                found.append(f"{where}:{node.lineno}: {node.value!r}")
    assert found == []


# --- two of them on one broker


class Installation:
    """One of several: its settings, and its commands as somebody runs them."""

    def __init__(self, kafka: str, name: str) -> None:
        self.name = name
        self.settings = Settings(kafka=kafka, topics={"prefix": f"{name}-{uuid.uuid4().hex[:8]}."})
        self.prefix = self.settings.topics.prefix
        self.environment = {"CXSTREAM_KAFKA": kafka, "CXSTREAM_TOPICS__PREFIX": self.prefix}

    def run(self, *arguments: object, status: int = 0) -> str:
        """What a command writes."""
        done = CliRunner().invoke(
            group, [str(each) for each in arguments], env=self.environment, catch_exceptions=False
        )
        assert done.exit_code == status, done.output
        return done.stdout

    async def read(self, name: str) -> list[Any]:
        """The committed records of one of its topics."""
        async with Watcher(self.settings, PARTITIONS) as watcher:
            found = await watcher.read(self.prefix + name)
        return [record for partition in sorted(found) for record in found[partition]]


@pytest.fixture
def installations(kafka: str, topics: Callable[[int], None]) -> Iterator[list[Installation]]:
    topics(0)
    made = [Installation(kafka, name) for name in ("one", "two")]
    yield made
    asyncio.run(
        _remove([topic.name for each in made for topic in each.settings.topology.all], made[0].settings)
    )


async def _remove(names: list[str], settings: Settings) -> None:
    async with administration(settings) as admin:
        await admin.delete_topics([name for name in names if name in await admin.list_topics()])


def traffic(name: str) -> list[bytes]:
    """A day of troubles of two customers, one of whom the other installation has too, and a record that is none."""
    troubles = [touchpoint(who, n) for n in range(40) for who in ("shared", f"only-{name}")]
    return [*troubles, b'{"of": "%s"}' % name.encode()]


def test_two_installations_on_one_kafka_share_nothing(
    installations: list[Installation], tmp_path: Path
) -> None:
    logs = {each.name: tmp_path / f"{each.name}.log" for each in installations}
    for each in installations:
        (tmp_path / each.name).write_bytes(b"\n".join(traffic(each.name)) + b"\n")
        each.run("topics", "--create", "--partitions", PARTITIONS)
        each.run("produce", tmp_path / each.name)
    with (
        WorkerProcess(installations[0].settings, logs["one"], **installations[0].environment) as one,
        WorkerProcess(installations[1].settings, logs["two"], **installations[1].environment) as two,
    ):
        for worker, each in zip((one, two), installations, strict=True):
            said = worker.ready()
            assert f"of {each.prefix}cx.touchpoints, group {each.prefix}cxstream" in said
        for each in installations:
            asyncio.run(_has_scored(each))
            _is_alone(each, tmp_path)
        _forgets_in_one_only(*installations)
        assert one.stop() == two.stop() == 0
    asyncio.run(_has_these_topics_only(installations))


async def _has_scored(installation: Installation) -> None:
    everybody = {b"shared", f"only-{installation.name}".encode()}

    async def scored() -> bool:
        return {record.key for record in await installation.read("cx.scores")} == everybody

    # Partitions commit in turn: that of the rejected record may come after those of the cards.
    async with Watcher(installation.settings, PARTITIONS) as watcher:
        await until(watcher.all_committed, 60, lambda: "everything scored and rejected")
    await until(scored, 60, lambda: f"score cards of {everybody}")


def _is_alone(installation: Installation, folder: Path) -> None:
    """What it wrote follows from what it was sent, and its commands show that alone."""
    name, out = installation.name, folder / f"out-{installation.name}"
    installation.run("replay", folder / name, "--out", out, "--partitions", PARTITIONS)
    expected = [json.loads(line) for line in (out / "signals.ndjson").read_text().splitlines()]
    signals = [json.loads(record.value) for record in asyncio.run(installation.read("cx.churn-risk"))]
    signals += [json.loads(record.value) for record in asyncio.run(installation.read("cx.friction"))]
    assert expected
    assert sorted(signals, key=lambda s: s["id"]) == sorted(expected, key=lambda s: s["id"])
    assert all(each["id"].startswith(f"{installation.prefix}cx.touchpoints-") for each in signals)
    assert {each["data"]["cause"]["topic"] for each in signals} == {f"{installation.prefix}cx.touchpoints"}
    (rejected,) = installation.run("rejected", "list", "--json").splitlines()
    assert json.loads(rejected)["place"].startswith(f"{installation.prefix}cx.touchpoints-")
    place = json.loads(rejected)["place"].removeprefix(f"{installation.prefix}cx.touchpoints-")
    assert f'of\\": \\"{name}' in installation.run("rejected", "show", place, "--json")
    found = json.loads(
        installation.run("customer", f"only-{name}", "--no-worker", "--json", "--days", 36_500)
    )
    assert found["card"]["subject"] == f"only-{name}"
    assert json.loads(installation.run("topics", "--acls", "--format", "json"))[0]["name"].startswith(
        installation.prefix
    )
    said = installation.run("doctor", "--json")
    for found in map(json.loads, said.splitlines()):
        if found["check"] in {"topics", "group", "transactions", "state"}:
            assert found["level"] == "ok", found


def _forgets_in_one_only(one: Installation, two: Installation) -> None:
    assert "erased" in one.run("forget", "shared", "--wait", 60)
    latest = {record.key: record.value for record in asyncio.run(one.read("cx.scores"))}
    assert latest[b"shared"] is None
    latest = {record.key: record.value for record in asyncio.run(two.read("cx.scores"))}
    assert latest[b"shared"] is not None
    assert asyncio.run(two.read("cx.forgotten")) == []


async def _has_these_topics_only(installations: list[Installation]) -> None:
    async with administration(installations[0].settings) as admin:
        there = {name for name in await admin.list_topics() if not name.startswith("__")}
    assert {each for each in there if "cx." in each} == {
        topic.name for each in installations for topic in each.settings.topology.all
    }

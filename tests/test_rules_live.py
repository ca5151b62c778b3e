"""Rules that change under load, with workers that die: the output is that of a replay of the same log.

A replay knows no transactions, whose ends take an offset in each partition. In the file that is replayed, a record that
no worker saw stands for each, so that signals have the same ids.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import signal
import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from cxstream.model.kinds import RULES_TYPE
from cxstream.model.parameters import ScoringParams
from cxstream.topology import CHURN_RISK, FRICTION, SCORES, TOUCHPOINTS
from workers import Watcher, WorkerProcess, customers_of, cxstream, key_of, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

PARTITIONS = 3
ALL_SECONDS = 150.0
BUSY = {
    "CXSTREAM_WORKER__FLUSH_SECONDS": "0.2",
    "CXSTREAM_WORKER__SNAPSHOT_SECONDS": "1",
    "CXSTREAM_WORKER__SESSION_SECONDS": "6",
    "CXSTREAM_WORKER__FETCH_BYTES": "100000",
}
FIRST = """
[scoring]
name = "strict-1"
intercept = -2.5
churn_horizon_days = 30
[scoring.coefficients]
lapse = 2.5
silence = 0.5
[scoring.purchase_model]
r = 0.5
alpha = 3.0
a = 0.8
b = 2.4
[scoring.value_model]
p = 6.25
q = 3.74
v = 15.44
[scoring.kinds.parcel_lost]
effort = 4
mood = -3
requires = ["order_id"]
[scoring.kinds.gift_sent]
mood = 1
company = true
[scoring.text_model]
name = "en-pl-1"
digest = "d45cdb42"
"""
SECOND = """
[scoring]
name = "strict-2"
intercept = -2.2
thresholds = [0.3, 0.5, 0.7]
churn_horizon_days = 14
[scoring.coefficients]
lapse = 1.5
[scoring.purchase_model]
r = 0.3
alpha = 5.0
a = 0.6
b = 2.0
[scoring.value_model]
p = 6.25
q = 3.74
v = 15.44
margin = 0.5
[scoring.kinds.parcel_lost]
effort = 9
mood = -3
[actions]
effort = "call today"
"""

pytestmark = [pytest.mark.broker, pytest.mark.timeout(280)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Simulated touchpoints in three parts, in order."""
    folder = tmp_path_factory.mktemp("touchpoints")
    whole = folder / "whole.ndjson"
    options = ["--customers", 400, "--events", 12_000, "--seed", 5, "--trouble", 20, "--quiet"]
    cxstream("simulate", *options, "--duplicates", 0.01, "--late", 0.02, "--out", whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    parts = []
    for number in range(3):
        part = folder / f"{number}.ndjson"
        part.write_bytes(b"".join(lines[number * 4000 : (number + 1) * 4000]))
        parts.append(part)
    return parts


def own_events(kind: str, first: int, **data: Any) -> dict[int, list[bytes]]:
    """Touchpoints of a kind of the company's own, of one customer of each partition."""
    found = {}
    for p in range(PARTITIONS):
        [customer] = customers_of(p, PARTITIONS, prefix="own")
        events = [
            json.loads(touchpoint(customer, 30 * number, kind, **data)) for number in range(first, first + 4)
        ]
        # After the simulated time, so that none is too late.
        found[p] = [
            json.dumps({**each, "time": each["time"].replace("2025-03", "2026-03")}).encode()
            for each in events
        ]
    return found


@pytest.fixture
def apply(settings: Settings, tmp_path: Path) -> Callable[[str], None]:
    def apply(text: str) -> None:
        file = tmp_path / "rules.toml"
        file.write_text(text)
        cxstream("rules", "apply", file, "--yes", "--sample", 500, "--kafka", settings.kafka)

    return apply


async def test_rules_that_change_under_load_give_what_a_replay_gives(
    settings: Settings,
    topics: Callable[[int], None],
    files: list[Path],
    apply: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topics(PARTITIONS)
    monkeypatch.setenv("CXSTREAM_WORKER__GROUP", settings.worker.group)
    topic = settings.topology.touchpoints.name
    with (
        WorkerProcess(settings, tmp_path / "one.log", **BUSY) as one,
        WorkerProcess(settings, tmp_path / "two.log", **BUSY) as two,
    ):
        first = one.ready()
        two.ready()
        async with Watcher(settings, PARTITIONS) as watcher:
            # A kind that no rules name yet.
            await write(settings, topic, own_events("parcel_lost", 0, order_id="o"))
            await asyncio.to_thread(_under_load, settings, files[0], lambda: apply(FIRST))
            await write(settings, topic, own_events("parcel_lost", 10, order_id="o"))
            await write(settings, topic, own_events("gift_sent", 20))
            await write(settings, topic, own_events("social_post", 24, text="Fatalnie, nie polecam!"))
            await until(_more_than(watcher, 2000), ALL_SECONDS, lambda: one.log + two.log)
            assert two.stop(signal.SIGKILL) == -signal.SIGKILL
            await asyncio.to_thread(_under_load, settings, files[1], lambda: apply(SECOND))
            cxstream("produce", files[2], "--kafka", settings.kafka)
            await write(settings, topic, own_events("parcel_lost", 30))
            await write(settings, topic, own_events("gift_sent", 40))
            await write(settings, topic, own_events("social_post", 44, text="I love it"))
            with WorkerProcess(settings, tmp_path / "again.log", **BUSY) as again:
                ready = [first, again.ready()]
                await until(watcher.all_committed, ALL_SECONDS, lambda: one.log + again.log)
                counted = await asyncio.to_thread(_touchpoints, ready)
                assert again.stop() == 0, again.log
            assert one.stop() == 0, one.log
            await _compare(watcher, settings, tmp_path)
    # Counted by the workers that live; how many before the other died is not known.
    assert counted["parcel_lost"] > 0
    [customer] = customers_of(0, PARTITIONS, prefix="own")
    shown = _json("customer", customer, "--json", "--days", "1", "--kafka", settings.kafka)
    kinds = [(each["kind"], each["outcome"], each["effort"]) for each in shown["touchpoints"]]
    assert ("parcel_lost", "counted", 9.0) in kinds
    assert ("cx.touchpoint.gift_sent.v1", "invalid", 0.0) in kinds
    assert shown["card"]["data"]["model"].startswith("strict-2@")


def _more_than(watcher: Watcher, offsets: int) -> Callable[[], Any]:
    async def condition() -> bool:
        return await watcher.committed() > offsets

    return condition


def _under_load(settings: Settings, file: Path, act: Callable[[], None]) -> None:
    """Do something while a file is being sent."""
    command = [
        sys.executable,
        "-m",
        "cxstream",
        "produce",
        str(file),
        "--kafka",
        settings.kafka,
        "--rate",
        "2000",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as producing:
        act()
        said, _ = producing.communicate(timeout=ALL_SECONDS)
    assert producing.returncode == 0, said


def _json(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "cxstream", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _touchpoints(ready: list[str]) -> dict[str, float]:
    """Accepted touchpoints by kind, over the workers that said so."""
    found: dict[str, float] = defaultdict(float)
    for line in ready:
        address = re.search(r"metrics (http://[^\s,]+)", line)
        assert address, line
        with urlopen(address[1], timeout=60) as response:
            text = response.read().decode()
        for kind, value in re.findall(
            r'^cxstream_touchpoints_total\{kind="(\w+)"\} (\S+)$', text, re.MULTILINE
        ):
            found[kind] += float(value)
        labels = set(
            re.findall(r'^cxstream_rules_in_force\{.*rules="([^"@]+)@\w+"\} 1\.0$', text, re.MULTILINE)
        )
        assert labels <= {"strict-2"}
    return found


async def _compare(watcher: Watcher, settings: Settings, folder: Path) -> None:
    file = folder / "log.ndjson"
    file.write_bytes(b"".join(line + b"\n" for line in _lines(await watcher.read(TOUCHPOINTS.name))))
    cxstream("replay", file, "--partitions", PARTITIONS, "--out", folder / "result", "--quiet")
    expected: dict[tuple[str, int], list[bytes]] = defaultdict(list)
    for line in (folder / "result" / "signals.ndjson").read_bytes().splitlines():
        said = json.loads(line)
        name = CHURN_RISK.name if said["type"] == "cx.signal.churn_risk.v1" else FRICTION.name
        expected[name, said["data"]["cause"]["partition"]].append(line)
    found = {
        (name, p): [record.value for record in records]
        for name in (CHURN_RISK.name, FRICTION.name)
        for p, records in (await watcher.read(name)).items()
    }
    models = {
        json.loads(line)["data"]["model"].partition("@")[0] for lines in expected.values() for line in lines
    }
    assert models == {ScoringParams().name, "strict-1", "strict-2"}
    # The models of purchases and of value count, too.
    said = [json.loads(line)["data"] for lines in expected.values() for line in lines]
    for name in ("value_at_risk", "p_alive", "clv"):
        assert any(data.get(name) for data in said), name
    assert found == dict(expected)
    cards: dict[bytes, bytes] = {}
    for records in (await watcher.read(SCORES.name)).values():
        cards.update({record.key: record.value for record in records})
    latest = sorted(value for value in cards.values() if value is not None)
    assert latest == sorted((folder / "result" / "scores.ndjson").read_bytes().splitlines())


def _lines(log: dict[int, list[Any]]) -> list[bytes]:
    """The log as a file: each set of rules, which is in every partition, once, and the rest in order between them."""
    pieces = {p: _pieces(p, records) for p, records in log.items()}
    found: list[bytes] = []
    for several in itertools.zip_longest(*pieces.values(), fillvalue=()):
        found += [line for piece in several for line in piece if not _is_rules(line)]
        found += list(dict.fromkeys(line for piece in several for line in piece if _is_rules(line)))
    return found


def _is_rules(line: bytes) -> bool:
    return RULES_TYPE.encode() in line


def _pieces(partition: int, records: list[Any]) -> list[list[bytes]]:
    """The records of a partition up to each set of rules, with something for offsets that have no record."""
    [nobody] = customers_of(partition, PARTITIONS, prefix="nobody")
    filler = json.dumps({"subject": nobody}).encode()
    pieces: list[list[bytes]] = [[]]
    at = 0
    for record in records:
        pieces[-1] += [filler] * (record.offset - at)
        at = record.offset + 1
        pieces[-1].append(record.value)
        if _is_rules(record.value):
            pieces.append([])
    assert all(key_of(record.value) == record.key for record in records if not _is_rules(record.value))
    return pieces

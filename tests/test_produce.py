"""Touchpoint files to a real Kafka: every record, to the partition Kafka's clients would choose, in order."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cxstream.cli import group
from cxstream.kafka.admin import require_topics
from cxstream.kafka.producer import Sender, route, sending
from cxstream.model.kinds import FORGET_TYPE, TICK_TYPE
from cxstream.scoring.codec.signatures import Authority
from cxstream.settings import Settings
from cxstream.topology import TOUCHPOINTS
from cxstream.wire.examples import example_rules
from in_process import cxstream_text

VECTORS = Path(__file__).parents[2] / "shared/data/suites/kafka-java-vectors/murmur2.json"
Topics = Callable[..., None]


def event(subject: str, number: int) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"e{number}",
            "source": "/test",
            "type": "cx.touchpoint.page_view.v1",
            "subject": subject,
            "time": "2026-01-01T00:00:00Z",
            "data": {"channel": "web"},
        }
    ).encode()


def produce(*arguments: str | Path) -> Result:
    return CliRunner().invoke(group, ["produce", *map(str, arguments)])


async def read_all(kafka: str) -> dict[int, list[Any]]:
    """All records of cx.touchpoints, by partition."""
    [topic] = await require_topics(Settings(kafka=kafka), [TOUCHPOINTS])
    tps = [TopicPartition(TOUCHPOINTS.name, p) for p in range(topic.partitions)]
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, auto_offset_reset="earliest", max_partition_fetch_bytes=1 << 24
    )
    await consumer.start()
    found: dict[int, list[Any]] = defaultdict(list)
    try:
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                found[tp.partition] += records
    finally:
        await consumer.stop()
    return found


async def longest_record(settings: Settings) -> int:
    async with sending(settings) as sender:
        return sender.max_bytes


@pytest.mark.skipif(not VECTORS.exists(), reason=f"needs {VECTORS}")
def test_partitions_are_those_of_kafkas_own_clients() -> None:
    expected = json.loads(VECTORS.read_text())["partition_of_1000"]
    keys = [key.encode("latin-1") for key in expected]
    assert route(keys, 1000) == list(expected.values())


@hypothesis_settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.binary(max_size=40))), st.integers(1, 50))
def test_partitions_are_those_of_the_python_client(keys: list[bytes | None], count: int) -> None:
    from aiokafka.partitioner import DefaultPartitioner

    theirs = DefaultPartitioner()
    everything = list(range(count))
    expected = [0 if key is None else theirs(key, everything, everything) for key in keys]
    assert route(keys, count) == expected


def test_every_record_arrives_in_order_in_its_customers_partition(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    topics(4)
    lines = [event(f"customer-{i % 97}", i) for i in range(20_000)]
    (tmp_path / "a.ndjson").write_bytes(b"\n".join(lines[:9_000]) + b"\n")
    with gzip.open(tmp_path / "b.ndjson.gz", "wb") as file:
        file.write(b"\n".join(lines[9_000:]))

    done = produce(tmp_path / "a.ndjson", tmp_path / "b.ndjson.gz", "--kafka", kafka)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("sent 20,000 records (")

    expected: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
    keys = [f"customer-{i % 97}".encode() for i in range(20_000)]
    for partition, key, line in zip(route(keys, 4), keys, lines, strict=True):
        expected[partition].append((key, line))
    found = asyncio.run(read_all(kafka))
    assert {p: [(r.key, r.value) for r in records] for p, records in found.items()} == expected
    assert len(found) == 4


def test_items_of_an_indented_array_are_records(kafka: str, topics: Topics, tmp_path: Path) -> None:
    topics(1)
    lines = [event("anna", i) for i in range(3)]
    (tmp_path / "in.json").write_text(json.dumps([json.loads(line) for line in lines], indent=1), "utf-16")
    done = produce(tmp_path / "in.json", "--kafka", kafka)
    assert done.exit_code == 0, done.output
    found = asyncio.run(read_all(kafka))[0]
    assert [record.key for record in found] == [b"anna"] * 3
    assert [json.loads(record.value) for record in found] == [json.loads(line) for line in lines]
    assert not any(b"\n" in record.value for record in found)


def test_broken_records_and_ticks_go_to_partition_0_as_they_are(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    topics(4)
    tick = b'{"specversion":"1.0","id":"t","source":"/t","type":"cx.tick.v1","time":"2026-01-01T00:00:00Z"}'
    broken = [b"{", b"\xff\xfe", b"[]", tick, b'{"subject": 7}', b'{"subject": ""}', event("x" * 129, 1)]
    named = [b'{"subject": "anna", "nothing": "else"}', event("anna", 2)]
    (tmp_path / "in.ndjson").write_bytes(b"\n".join([*broken, *named]))

    assert produce(tmp_path / "in.ndjson", "--kafka", kafka).exit_code == 0
    found = asyncio.run(read_all(kafka))
    [anna] = route([b"anna"], 4)
    sent = [(p, r.key, r.value) for p, records in found.items() for r in records]
    expected = [(0, None, line) for line in broken] + [(anna, b"anna", line) for line in named]
    assert sorted(sent, key=str) == sorted(expected, key=str)
    assert [r.value for r in found[0] if r.key is None] == broken


def test_a_record_too_long_for_the_topic_is_named_and_the_others_are_sent(
    kafka: str, topics: Topics, settings: Settings, tmp_path: Path
) -> None:
    topics(1)
    longest = asyncio.run(longest_record(settings))
    small = [event("anna", 1), event("anna", 2)]
    fits, too_long, far_too_long = (b"x" * n for n in (longest, longest + 1, longest + 5_000_000))
    (tmp_path / "in.ndjson").write_bytes(b"\n".join([small[0], too_long, fits, far_too_long, small[1]]))

    done = produce(tmp_path / "in.ndjson", "--kafka", kafka)
    assert done.exit_code == 1
    assert f"2 records: {tmp_path}/in.ndjson:2, {tmp_path}/in.ndjson:4" in done.stderr
    assert done.stdout.startswith("sent 3 records")
    assert [r.value for r in asyncio.run(read_all(kafka))[0]] == [small[0], fits, small[1]]


def test_missing_topic_and_missing_file_are_said(kafka: str, topics: Topics, tmp_path: Path) -> None:
    topics(0)
    (tmp_path / "in.ndjson").write_bytes(event("anna", 1))
    no_topic = cxstream_text("produce", "--kafka", kafka, tmp_path / "in.ndjson")
    assert no_topic.returncode == 1
    assert "cx.touchpoints: no such topic" in no_topic.stderr
    assert "Traceback" not in no_topic.stderr

    no_file = cxstream_text("produce", "--kafka", kafka, tmp_path / "no.ndjson")
    assert no_file.returncode == 1
    assert str(tmp_path / "no.ndjson") in no_file.stderr
    assert "Traceback" not in no_file.stderr


def test_rate_is_kept_and_an_interrupt_ends_it_clean(kafka: str, topics: Topics, tmp_path: Path) -> None:
    topics(2)
    (tmp_path / "in.ndjson").write_bytes(b"\n".join(event("anna", i) for i in range(100_000)))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "cxstream",
            "produce",
            tmp_path / "in.ndjson",
            "--rate",
            "200",
            "--kafka",
            kafka,
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (arrived := sum(map(len, asyncio.run(read_all(kafka)).values()))):
        assert time.monotonic() < deadline, "nothing arrived"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.startswith("interrupted: ")
    assert "Traceback" not in said
    sent = int(said.split()[1].replace(",", ""))
    assert arrived <= sent < 100_000
    assert sum(map(len, asyncio.run(read_all(kafka)).values())) == sent


def test_standard_input_is_sent_as_it_comes(kafka: str, topics: Topics) -> None:
    topics(1)
    done = subprocess.run(
        [sys.executable, "-m", "cxstream", "produce", "-", "--kafka", kafka],
        input=event("anna", 1) + b"\n" + event("bert", 2) + b"\n",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"sent 2 records")


def test_records_from_the_future_are_sent_and_named(kafka: str, topics: Topics, tmp_path: Path) -> None:
    topics(1)
    lines = [event("anna", i) for i in range(9)]
    lines[3] = lines[3].replace(b"2026-01-01", b"2136-01-01")
    (tmp_path / "in.ndjson").write_bytes(b"\n".join(lines))
    done = produce(tmp_path / "in.ndjson", "--kafka", kafka)
    assert done.exit_code == 0
    assert "1 record was sent more than 5 minutes before its own time" in done.stderr
    assert done.stderr.rstrip().endswith(f"{tmp_path}/in.ndjson:4")
    assert [r.value for r in asyncio.run(read_all(kafka))[0]] == lines


def test_control_records_that_nobody_signed_are_sent_and_named(
    kafka: str, topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics(1)
    key = "k" * 40
    tick = {
        "specversion": "1.0",
        "id": "t",
        "source": "/s",
        "type": TICK_TYPE,
        "time": "2026-01-01T00:00:00Z",
    }
    request = tick | {"type": FORGET_TYPE, "subject": "anna"}
    controls = [tick, Authority([key.encode()]).sign(tick), request, request | {"signature": "0" * 64}]
    lines = [event("anna", 1), *(json.dumps(each).encode() for each in controls)]
    (tmp_path / "in.ndjson").write_bytes(b"\n".join(lines))
    done = produce(tmp_path / "in.ndjson", "--kafka", kafka)
    assert (done.exit_code, done.stderr) == (0, "")
    monkeypatch.setenv("CXSTREAM_CONTROL__KEY", key)
    done = produce(tmp_path / "in.ndjson", "--kafka", kafka)
    assert done.exit_code == 0
    assert "3 control records" in done.stderr
    places = ", ".join(f"{tmp_path}/in.ndjson:{line}" for line in (2, 4, 5))
    assert done.stderr.rstrip().endswith(places)


def test_sorted_inputs_arrive_in_the_order_of_time(kafka: str, topics: Topics, tmp_path: Path) -> None:
    topics(2)
    days = [event("anna", i).replace(b"01-01", f"01-{1 + i:02}".encode()) for i in range(20)]
    (tmp_path / "late.ndjson").write_bytes(b"\n".join(reversed(days[1::2])))
    (tmp_path / "early.ndjson").write_bytes(b"broken\n" + b"\n".join(days[::2]))
    done = produce(tmp_path / "late.ndjson", tmp_path / "early.ndjson", "--sort", "--kafka", kafka)
    assert done.exit_code == 0, done.output
    [anna] = route([b"anna"], 2)
    found = asyncio.run(read_all(kafka))
    assert [r.value for r in found[anna] if r.key] == days
    assert [r.value for r in found[0] if not r.key] == [b"broken"]


async def test_what_is_in_flight_at_an_interruption_counts_once_it_is_confirmed() -> None:
    confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    batch = Mock(**{"record_count.return_value": 7})
    producer = Mock(**{"create_batch.return_value": batch})
    sent = asyncio.Event()

    async def send_batch(*_: Any, **__: Any) -> asyncio.Future[None]:
        sent.set()
        return confirmed

    producer.send_batch = send_batch
    sender = Sender(producer, "t", 1, 100)
    flushing = asyncio.create_task(sender.flush())
    await sent.wait()
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    confirmed.set_result(None)
    await sender.abandon()
    assert sender.acknowledged == 7


def rules_record(name: str) -> dict[str, Any]:
    return example_rules() | {"id": name, "data": {"scoring": {"name": name}}}


def test_a_set_of_rules_goes_to_every_partition_and_is_signed(
    kafka: str, topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics(3)
    who = ["anna", "ben", "cleo", "dora", "emil"]
    good, bad = rules_record("one"), rules_record("two") | {"data": {"scoring": {"window_days": 0}}}
    lines = [event(name, i) for i, name in enumerate(who)]
    told = [json.dumps(each).encode() for each in (good, bad)]
    file = tmp_path / "in.ndjson"
    file.write_bytes(b"\n".join([*lines[:3], *told, *lines[3:]]))
    done = produce(file, "--kafka", kafka)
    assert done.exit_code == 0, done.output
    assert "1 set of rules was sent to every partition" in done.output
    found = asyncio.run(read_all(kafka))
    homes = route([name.encode() for name in who], 3)
    for p in range(3):
        mine = [line for line, home in zip(lines, homes, strict=True) if home == p]
        before = sum(home == p for home in homes[:3])
        # What is not a valid set is one partition's to reject, as in a replay.
        expected = [*mine[:before], told[0], *([told[1]] if p == 0 else []), *mine[before:]]
        assert [r.value for r in found[p]] == expected
    topics(2)
    key = "k" * 40
    monkeypatch.setenv("CXSTREAM_CONTROL__KEY", key)
    done = produce(file, "--kafka", kafka)
    assert done.exit_code == 0
    authority = Authority([key.encode()])
    for records in asyncio.run(read_all(kafka)).values():
        [sent] = [r.value for r in records if b'"one"' in r.value]
        assert authority.doubt(sent) == ""
        assert json.loads(sent)["data"] == good["data"]
    assert done.stderr.rstrip().endswith(f"{file}:5")

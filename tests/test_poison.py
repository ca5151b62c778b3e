"""Records made to do harm by their size or their form: each costs itself alone.

The broker tests send what a producer may send: a few kilobytes on the wire that are many megabytes inflated.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING, Any

import aiokafka
import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.record.util import calc_crc32c

from cxstream.kafka.connection import connection
from cxstream.kafka.record_batches import HELD, Unpacker
from cxstream.kafka.transactions import TransactionProducer
from cxstream.model.fields import MAX_HASHTAG, MAX_HASHTAGS, MAX_LANG, MAX_STRING, MAX_SUBJECT, MAX_TEXT
from cxstream.model.kinds import FORGET_TYPE, Kind
from cxstream.model.parameters import MAX_RECORD_BYTES, ScoringParams
from cxstream.rejected.record import Rejection, read
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.engine import Engine, Records
from cxstream.topology import FORGET, FORGOTTEN, REJECTED, SCORES, TOUCHPOINTS, topology
from cxstream.worker.clients import BATCH_BYTES
from cxstream.worker.ownership.outbox import Outbox, write
from test_batches import batch_of, record, text, varint, wide
from workers import Watcher, WorkerProcess, touchpoint, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.settings import Settings

SECONDS = 90.0
MEGABYTE = 1 << 20
# Four bytes of UTF-8 each; JSON may write one as twelve.
WIDE = "\U0001f600"


# --- what comes out fits, whatever comes in


def largest(kind: Kind, number: int, **more: Any) -> bytes:
    """A valid event with every string as long as it may be."""
    event = json.loads(touchpoint(WIDE * MAX_SUBJECT, number, kind.label))
    texts = (
        "touchpoint",
        "session",
        "campaign",
        "topic",
        "agent",
        "product",
        "location",
        "target",
        "order_id",
    )
    texts += ("reason", "action", "action_id", "segment", "case_id")
    event["data"] |= dict.fromkeys(texts, WIDE * MAX_STRING)
    event["data"] |= {"channel": "call", "text": WIDE * MAX_TEXT, "lang": WIDE * MAX_LANG}
    event["data"] |= {"hashtags": [WIDE * MAX_HASHTAG] * MAX_HASHTAGS, **more}
    name = f"{number:06}"
    event |= {"id": WIDE * (MAX_STRING - len(name)) + name, "source": WIDE * MAX_STRING}
    return json.dumps(event).encode()


def test_what_the_largest_values_lead_to_is_small() -> None:
    troubles = [
        largest(Kind.contact, n, resolved=False, abandoned=False, wait_s=1e9, transfers=1e9)
        for n in range(40)
    ]
    complaints = [largest(Kind.complaint_opened, 40 + n) for n in range(8)]
    request = json.loads(troubles[0]) | {
        "type": FORGET_TYPE,
        "time": "2027-01-01T00:00:00." + "0" * 235 + "Z",
    }
    del request["data"]
    assert len(request["time"]) == MAX_STRING
    values = [*troubles, *complaints]
    assert max(map(len, values)) < MAX_RECORD_BYTES
    engine = Engine(ScoringParams(), {}, partition=10**9)
    outcome = engine.process(Records(values, range(2**62, 2**62 + len(values))))
    assert not outcome.rejected
    assert {signal.topic for signal in outcome.signals} == {"cx.churn-risk", "cx.friction"}
    erased = Engine(ScoringParams(), {}).process(Records([values[0], json.dumps(request).encode()], range(2)))
    assert len(erased.receipts) == 1
    pairs = [(each.key, each.value) for each in [*outcome.signals, *erased.receipts]]
    pairs += [*engine.take_cards(), *engine.snapshot()]
    # Kafka's own limit of a batch is 1 MiB, and ours is less.
    assert max(len(key) + len(value or b"") for key, value in pairs) < BATCH_BYTES // 50


# --- headers


def test_a_header_whose_name_is_not_utf_8_makes_its_record_malformed() -> None:
    good = touchpoint("anna", 1)
    decoded = decode([good] * 3, [[], [("caf\udce9", b"1")], [("café", b"1")]])
    assert [(each.index, each.reason, each.field) for each in decoded.rejected] == [(1, "malformed", "")]
    assert "name of a header is not UTF-8" in decoded.rejected[0].message


# --- values that are repeated in what is said of them


@pytest.mark.parametrize("end", ["", "\n", "`"])
def test_a_value_cannot_pass_for_the_path_of_a_field_nor_take_long_to_be_looked_at(end: str) -> None:
    """A kilobyte of gzip kept a worker busy for a quarter of an hour."""
    event = json.loads(touchpoint("anna", 1))
    for value in (
        " - at `$.subject" * 50_000,
        "Object missing required field `x`",
        "`",
        " - at `$.a` - at `$.b",
    ):
        for name in ("type", "specversion", "channel"):
            (event["data"] if name == "channel" else event)[name] = value + end
            [rejected] = decode([json.dumps(event).encode()]).rejected
            event |= json.loads(touchpoint("anna", 1))
            path = "data.channel" if name == "channel" else name
            assert (rejected.reason, rejected.field) == ("invalid", path)
            assert len(rejected.message) < 400


# --- the size of a record


@pytest.mark.parametrize("part", ["key", "value", "header name", "header value"])
def test_a_record_may_be_as_large_as_the_limit_and_no_larger(part: str) -> None:
    value, key, headers = touchpoint("anna", 1), b"anna", [("żółć", b"12")]
    room = MAX_RECORD_BYTES - len(value) - len(key) - len("żółć".encode()) - 2
    for more, reason in ((room, "invalid" if part == "key" else None), (room + 1, "too_large")):
        given = {
            "key": (value, key + b"x" * more, headers),
            "value": (value + b" " * more, key, headers),
            "header name": (value, key, [*headers, ("x" * more, None)]),
            "header value": (value, key, [*headers, ("", b"x" * more)]),
        }[part]
        engine = Engine(ScoringParams(), {})
        small = touchpoint("anna", 2)
        batch = Records([given[0], small], [0, 1], keys=[given[1], key], headers=[given[2], []])
        outcome = engine.process(batch)
        assert [(each.index, each.reason) for each in outcome.rejected] == ([(0, reason)] if reason else [])
        assert outcome.accepted == (1 if reason else 2)


def test_the_limit_is_a_setting_of_the_worker_and_no_rule() -> None:
    """It bounds what is held in memory before a record is read; rules of the log cannot change it."""
    params = ScoringParams(max_record_bytes=2048)
    engine = Engine(params, {})
    outcome = engine.process(Records([touchpoint("anna", 1, more="x" * 2048), b"{" * 4096], [0, 1]))
    assert [each.reason for each in outcome.rejected] == ["too_large", "too_large"]
    assert engine.rules.latest.rules.label == Engine(ScoringParams(), {}).rules.latest.rules.label


@pytest.mark.parametrize("reason", ["too_large", "invalid"])
def test_a_record_that_is_too_large_is_rejected_by_reference(reason: str) -> None:
    size = MAX_RECORD_BYTES + 1 if reason == "too_large" else 1000

    class Record:
        key, value, headers, offset, timestamp = b"anna", b"x" * size, (), 7, 0

    outbox = Outbox(topology())
    outbox.add_rejected(Record(), (TOUCHPOINTS.name, 0), reason, "")
    [(key, value)] = outbox.rows[REJECTED.name]
    assert (key, value) == (b"anna", None if reason == "too_large" else Record.value)


@pytest.mark.parametrize("older", [True, False])
async def test_what_repeats_records_is_as_small_as_it_was_sent(older: bool) -> None:
    """A kilobyte of gzip left a megabyte in cx.rejected, or in the partition that it was forwarded to."""
    sent: dict[str, bytes] = {}

    def kept(data: bytes, topic: str) -> Any:
        sent[topic] = data
        answer = asyncio.get_running_loop().create_future()
        answer.set_result(None)
        return answer

    class Older(aiokafka.AIOKafkaProducer):  # type: ignore[misc]  # aiokafka has no types
        async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
            batch.close()
            return kept(bytes(batch._build()), topic)

    class Newer(TransactionProducer):
        async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
            return kept(batch.sealed((1, 1), 0), topic)

    producer: Any
    if older:
        producer = Older(transactional_id="t", max_batch_size=BATCH_BYTES)
    else:
        producer = Newer(AIOKafkaClient(), "t", transaction_ms=1, request_ms=1, batch_bytes=BATCH_BYTES)
    rows = [(b"anna" if n else None, b"x" * 100_000 if n % 2 else None) for n in range(8)]
    headers: list[list[tuple[str, bytes | None]]] = [[("reason", b"invalid")] for _ in rows]
    try:
        for topic in (REJECTED.name, TOUCHPOINTS.name, SCORES.name):
            compress = Outbox(topology()).repeats(topic)
            await write(producer, topic, (topic, 0), rows, headers, (), compress=compress)
    finally:
        await producer.stop()
    assert {topic: len(batch) < 1000 for topic, batch in sent.items()} == {
        REJECTED.name: True,
        TOUCHPOINTS.name: True,
        SCORES.name: False,
    }
    for batch in sent.values():
        found = [each for piece in Unpacker(HELD).pieces(batch) for each in piece]
        assert [(each.key, each.value) for each in found] == rows
        assert all([*each.headers] == [("reason", b"invalid")] for each in found)


# --- on a broker


def with_odd_header(batch: Any) -> None:
    """Let the batch's header `caf?` have a name in Latin-1, which no client for Python sends."""
    data = bytearray(batch._build().replace(b"caf?", b"caf\xe9"))
    # The checksum is that of everything from the attributes on.
    data[17:21] = calc_crc32c(bytes(data[21:])).to_bytes(4)
    batch._buffer = bytes(data)


def shifted() -> bytes:
    """A record at offset 0 that has the offset 1000 for who takes its attributes for a longer number."""
    value = text(b"v") + varint(0)
    size = varint(1000 - 3 + len(value) - 1)
    key = varint(-1) + size + b"q" * (1000 - 1 - len(size))
    body = b"\x80" + varint(0) + varint(0) + text(key) + value
    return varint(len(body)) + body


async def poison(settings: Settings) -> list[tuple[bytes, str, str, bool]]:
    """Send each kind of poison among good records; value, reason, field and whether a reference, in order."""
    broken = b'{"id": "' + b"x" * (14 * MEGABYTE)
    contact = touchpoint("anna", 3, "contact", channel="call", touchpoint="x" * (13 * MEGABYTE))
    near = touchpoint("anna", 4, "contact", channel="call", touchpoint="x" * (MEGABYTE - 1000))
    request = json.dumps(
        {**json.loads(touchpoint("anna", 5)), "type": FORGET_TYPE, "id": "x" * (13 * MEGABYTE)}
    ).encode()
    sent = [
        (broken, "too_large", "", True),
        (contact, "too_large", "", True),
        (near, "invalid", "data.touchpoint", False),
        (request, "too_large", "", True),
    ]
    options = {"compression_type": "gzip", "max_request_size": 32 * MEGABYTE}
    async with aiokafka.AIOKafkaProducer(**connection(settings), **options) as producer:
        for n, (value, *_) in enumerate(sent):
            await producer.send_and_wait(TOUCHPOINTS.name, touchpoint("bert", n), key=b"bert", partition=0)
            await producer.send_and_wait(TOUCHPOINTS.name, value, key=b"anna", partition=0)
        # Kafka would take none of these without compression: they are what each costs on the wire.
        value = request.replace(b"anna", b"carl")
        await producer.send_and_wait(FORGET.name, value, key=b"carl", partition=0)
        await producer.send_and_wait(FORGET.name, None, key=b"dora", partition=0)
    odd = touchpoint("anna", 8)
    async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
        batch = producer.create_batch()
        batch.append(timestamp=0, key=b"bert", value=touchpoint("bert", 8))
        batch.append(timestamp=0, key=b"anna", value=odd, headers=[("caf?", b"")])
        with_odd_header(batch)
        await (await producer.send_batch(batch, TOUCHPOINTS.name, partition=0))
        sent.append((odd, "malformed", "", True))
        # Brokers look at how many records there are, and not at what offsets they say; and they drop bits of numbers.
        forged = [record(2**31 - 1 - n, touchpoint("bert", 20 + n), b"bert") for n in range(2)]
        forged.append(wide(len(forged[0]) - 2) + forged[0][2:])
        batch = producer.create_batch()
        batch.append(timestamp=0, key=b"", value=b"")
        batch.close()
        batch._buffer = batch_of(forged)
        await (await producer.send_batch(batch, TOUCHPOINTS.name, partition=0))
        batch = producer.create_batch()
        batch.append(timestamp=0, key=b"", value=b"")
        batch.close()
        batch._buffer = batch_of([shifted()])
        await (await producer.send_batch(batch, TOUCHPOINTS.name, partition=0))
        await producer.send_and_wait(TOUCHPOINTS.name, touchpoint("bert", 9), key=b"bert", partition=0)
    return sent


@pytest.mark.broker
@pytest.mark.timeout(280)
async def test_what_is_large_inflated_costs_itself_alone(
    settings: Settings, topics: Callable[[int], None], tmp_path: Path
) -> None:
    topics(1)
    sent = await poison(settings)
    seen: list[str] = []
    with WorkerProcess(settings, tmp_path / "log", CXSTREAM_WORKER__FLUSH_SECONDS="0.1") as worker:
        worker.ready()
        async with Watcher(settings, 1) as watcher:

            async def done() -> bool:
                cards = (await watcher.read(SCORES.name)).get(0, [])
                touches = [json.loads(card.value)["data"]["touches"]["90"] for card in cards if card.value]
                receipts = (await watcher.read(FORGOTTEN.name)).get(0, [])
                seen[:] = [f"touches {touches[-1:]}, receipts {len(receipts)}"]
                return touches[-1:] == [8] and len(receipts) == 1

            await until(done, SECONDS, lambda: f"{seen} {worker.log}")
            assert "partition failed" not in worker.log
            rejected = [read(record) for record in (await watcher.read(REJECTED.name))[0]]
        assert worker.stop() == 0, worker.log
    found = {each.place: each for each in rejected if isinstance(each, Rejection)}
    assert len(found) == len(sent) + 2
    for n, (value, reason, field, by_reference) in enumerate(sent):
        [each] = [
            each
            for place, each in found.items()
            if (place.topic, place.offset) == (TOUCHPOINTS.name, 2 * n + 1)
        ]
        assert (each.reason, each.field, each.key) == (reason, field, b"anna")
        assert each.value == (None if by_reference else value)
        digest = hashlib.sha256(value).hexdigest()
        names = len(b"caf\xe9") if reason == "malformed" else 0
        assert each.reference == ((len(value) + 4 + names, digest) if by_reference else None)
    [request] = [each for place, each in found.items() if place.topic == FORGET.name]
    assert (request.reason, request.value) == ("too_large", None)

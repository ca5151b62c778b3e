"""Compressed records of every codec, as real clients write them, are read everywhere."""

from __future__ import annotations

import asyncio
import gzip
import os
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import aiokafka
import cramjam
import pytest
from aiokafka import codec
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from confluent_kafka import Producer

from cxstream.doctor.computer import packages
from cxstream.kafka import inflate
from cxstream.kafka.admin import administration
from cxstream.kafka.codecs import CODECS, require_codecs, undecodable
from cxstream.kafka.connection import connection
from cxstream.kafka.reader import reading
from cxstream.model.errors import InstallationError
from cxstream.topology import SCORES, TOPICS, TOUCHPOINTS
from cxstream.worker.faust.app import create_app
from damage import ATTRIBUTES, batches, segment
from workers import Watcher, customers_of, in_process, touchpoint, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cxstream.local.broker import LocalKafka
    from cxstream.settings import Settings

SECONDS = 90.0
TEXT = b"".join(b'{"id":"%d","channel":"web","reason":"late"}' % n for n in range(5000))
HALF = len(TEXT) // 2
SKIPPED = struct.pack("<II", 0x184D2A50, 5) + b"extra"


# --- what the clients' libraries write


def lz4(*, linked: bool = False, checksum: bool = False, level: int = 1, text: bytes = TEXT) -> bytes:
    """A frame without the size of its content, written piece by piece."""
    compressor = cramjam.lz4.Compressor(level=level, content_checksum=checksum, block_linked=linked)
    for at in range(0, len(text), 7000):
        compressor.compress(text[at : at + 7000])
    return bytes(compressor.finish())


def zstd_streamed(text: bytes = TEXT) -> bytes:
    compressor = cramjam.zstd.Compressor(level=3)
    for at in range(0, len(text), 7000):
        compressor.compress(text[at : at + 7000])
    return bytes(compressor.finish())


def gzip_flushed() -> bytes:
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    parts = [
        compressor.compress(TEXT[:HALF]),
        compressor.flush(zlib.Z_SYNC_FLUSH),
        compressor.compress(TEXT[HALF:]),
    ]
    return b"".join([*parts, compressor.flush()])


def stored_lz4() -> bytes:
    """A frame whose blocks are not compressed, as of records that do not get shorter."""
    blocks = [TEXT[at : at + 65536] for at in range(0, len(TEXT), 65536)]
    frame = bytes.fromhex(
        "04224d18604082"
    )  # independent blocks of at most 64 KiB, no checksums, as Kafka's own client
    return frame + b"".join(struct.pack("<I", len(b) | 1 << 31) + b for b in blocks) + bytes(4)


VARIANTS = {
    "gzip": [gzip.compress(TEXT), gzip_flushed(), gzip.compress(TEXT[:HALF]) + gzip.compress(TEXT[HALF:])],
    "snappy": [
        bytes(cramjam.snappy.compress_raw(TEXT)),
        codec.snappy_encode(TEXT),
        codec.snappy_encode(TEXT, xerial_blocksize=1024),
        codec.snappy_encode(TEXT, xerial_blocksize=1 << 20),
    ],
    "lz4": [
        codec.lz4_encode(TEXT),
        bytes(cramjam.lz4.compress(TEXT)),
        *(lz4(linked=a, checksum=b, level=c) for a in (False, True) for b in (False, True) for c in (1, 9)),
        lz4(text=TEXT[:HALF]) + lz4(text=TEXT[HALF:]),
        SKIPPED + lz4(),
        stored_lz4(),
    ],
    "zstd": [
        codec.zstd_encode(TEXT),
        bytes(cramjam.zstd.compress(TEXT, level=19)),
        zstd_streamed(),
        zstd_streamed(TEXT[:HALF]) + bytes(cramjam.zstd.compress(TEXT[HALF:])),
        SKIPPED + zstd_streamed() + SKIPPED,
    ],
}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        pytest.param(name, each, id=f"{name}-{n}")
        for name, some in VARIANTS.items()
        for n, each in enumerate(some)
    ],
)
def test_every_framing_of_a_codec_is_decoded(name: str, written: bytes) -> None:
    assert getattr(codec, f"{name}_decode")(written) == TEXT


# --- an installation that cannot decode


def test_this_installation_decodes_every_codec() -> None:
    assert set(CODECS) == {"gzip", "snappy", "lz4", "zstd"}
    assert undecodable() == {}


async def test_without_its_library_a_codec_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "cramjam", None)
    with pytest.raises(InstallationError, match=r"snappy .*lz4 .*zstd .*requirements\.lock"):
        require_codecs()
    found = [each async for each in packages(None)]  # type: ignore[arg-type]
    [error] = [each for each in found if "cannot be decoded" in each.what]
    assert (error.level, "snappy, lz4, zstd" in error.what) == ("error", True)
    assert "requirements.lock" in error.advice


def test_a_codec_that_decodes_to_something_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = inflate.inflated
    monkeypatch.setattr(
        "cxstream.kafka.codecs.inflated",
        lambda number, data: [b"other"] if number == 3 else blocks(number, data),
    )
    assert undecodable() == {"lz4": "it decodes to other bytes"}


def test_a_worker_refuses_to_start_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "cramjam.py").write_text("raise ImportError('no library')\n")
    done = subprocess.run(
        [sys.executable, "-m", "cxstream", "worker", "--kafka", "localhost:1"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert "snappy" in line
    assert "requirements.lock" in line


# --- from the producer to the score card


def codecs_of(broker: LocalKafka, partition: int) -> set[int]:
    """The codecs of the batches that a partition of cx.touchpoints has."""
    log = segment(broker, TOUCHPOINTS.name, partition).read_bytes()
    return {batch[ATTRIBUTES + 1] & 7 for _, _, batch in batches(log)}


NUMBERS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def customer(client: str, name: str) -> str:
    """Somebody who belongs to the partition of this codec: nothing is forwarded."""
    home = [*NUMBERS].index(name)
    return customers_of(home, len(NUMBERS), prefix=f"{client}-{name}-")[0]


async def send(settings: Settings, name: str, partition: int) -> None:
    """The same touchpoints by two clients: aiokafka's and librdkafka's."""
    values = [touchpoint(customer("aiokafka", name), n, text="x" * 300) for n in range(3)]
    kind = None if name == "none" else name
    async with aiokafka.AIOKafkaProducer(**connection(settings), compression_type=kind) as producer:
        batch = producer.create_batch()
        for value in values:
            batch.append(timestamp=None, key=customer("aiokafka", name).encode(), value=value)
        await (await producer.send_batch(batch, TOUCHPOINTS.name, partition=partition))
    await asyncio.to_thread(send_with_librdkafka, settings, name, partition)


def send_with_librdkafka(settings: Settings, name: str, partition: int) -> None:
    who = customer("librdkafka", name)
    producer = Producer({"bootstrap.servers": settings.kafka, "compression.type": name, "linger.ms": 100})
    for n in range(3):
        producer.produce(
            TOUCHPOINTS.name, touchpoint(who, n, text="x" * 300), who.encode(), partition=partition
        )
    assert producer.flush(60) == 0


@pytest.mark.broker
async def test_batches_of_every_codec_are_scored(
    broker: LocalKafka, settings: Settings, topics: Callable[[int], None]
) -> None:
    expected = {customer(client, name) for client in ("aiokafka", "librdkafka") for name in NUMBERS}
    topics(len(NUMBERS))
    for partition, name in enumerate(NUMBERS):
        await send(settings, name, partition)
        assert codecs_of(broker, partition) == {NUMBERS[name]}
    app = create_app(
        settings.model_copy(update={"worker": settings.worker.model_copy(update={"web": False})})
    )
    async with in_process(app), Watcher(settings, len(NUMBERS)) as watcher:
        await until(watcher.all_committed, SECONDS, lambda: "not all committed")
        cards: set[str] = set()

        async def carded() -> bool:
            read = (await watcher.read(SCORES.name)).values()
            cards.update(record.key.decode() for records in read for record in records)
            return cards >= expected

        await until(carded, SECONDS, lambda: f"cards of {expected - cards}")
    assert cards == expected


@pytest.mark.broker
@pytest.mark.parametrize("name", ["zstd", "lz4", "snappy"])
async def test_topics_that_compress_are_read_by_the_worker_and_by_commands(
    broker: LocalKafka, settings: Settings, topics: Callable[[int], None], name: str
) -> None:
    topics(1)
    async with administration(settings) as admin:
        await admin.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, topic.name, {"compression.type": name})
                for topic in TOPICS
            ]
        )
    for _ in range(2):  # the second reads what the first has saved
        await send(settings, "none", 0)
        async with aiokafka.AIOKafkaProducer(**connection(settings)) as producer:
            await producer.send_and_wait(TOUCHPOINTS.name, b"no json", partition=0)
        worker = settings.worker.model_copy(update={"web": False})
        async with (
            in_process(create_app(settings.model_copy(update={"worker": worker}))),
            Watcher(settings, 1) as watcher,
        ):
            await until(watcher.all_committed, SECONDS, lambda: "not all committed")
            rejected = (await watcher.read("cx.rejected"))[0]
    # The broker may have taken the first batches before it knew of the setting.
    assert NUMBERS[name] in codecs_of(broker, 0)
    assert [record.value for record in rejected] == [b"no json"] * 2
    async with reading(settings, [TOUCHPOINTS, SCORES]) as reader:
        found = [r async for records in reader.read(TOUCHPOINTS.name, 0, 0, 14) for r in records]
        assert len(found) == 14
        assert await reader.latest(SCORES.name, 0, customer("aiokafka", "none").encode()) is not None

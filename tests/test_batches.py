"""Record batches that inflate to more than they should cost no more than their bounds, and their neighbours are read."""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
import random
import struct
import tracemalloc
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import cramjam
import numpy as np
import pytest
from aiokafka import TopicPartition, codec
from aiokafka.consumer.fetcher import READ_COMMITTED, FetchResult, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kafka.batch_fetch import WholeBatches
from cxstream.kafka.inflate import BLOCK_BYTES, GZIP, LZ4, NAMES, SNAPPY, ZSTD, inflate_into, inflated
from cxstream.kafka.record_batches import Limits, Unpacker
from cxstream.kafka.records import PackedRecords, Record, between, together
from cxstream.kernels.wide import WIDE
from cxstream.model.kinds import BY_TYPE
from cxstream.scoring.codec.rejection import content_bytes
from cxstream.topology import TOUCHPOINTS
from damage import ATTRIBUTES, RECORDS, sealed
from test_codecs import TEXT, VARIANTS, lz4

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
LIMITS = Limits(record=MIB, batch=64 * MIB)
COUNT_AT, LAST_AT, LENGTH_AT = 57, 23, 8
TP = TopicPartition(TOUCHPOINTS.name, 0)

FRAMED = bytes(cramjam.snappy.compress(TEXT))
XERIAL = codec.snappy_encode(TEXT[: len(TEXT) // 2]), codec.snappy_encode(TEXT[len(TEXT) // 2 :])
MORE_SNAPPY = [b"".join(XERIAL), FRAMED, XERIAL[0] + codec.snappy_encode(b"")[:16] + XERIAL[1]]
NUMBERS = {name: number for number, name in NAMES.items()}
WRITTEN = [
    pytest.param(NUMBERS[name], each, id=f"{name}-{n}")
    for name, some in (VARIANTS | {"snappy": VARIANTS["snappy"] + MORE_SNAPPY}).items()
    for n, each in enumerate(some)
]


# --- codecs


@pytest.mark.parametrize(("number", "written"), WRITTEN)
def test_every_framing_is_inflated_at_once_and_in_blocks(number: int, written: bytes) -> None:
    out = bytearray(len(TEXT) + 100)
    assert inflate_into(number, written, memoryview(out)) == len(TEXT)
    assert out[: len(TEXT)] == TEXT
    assert b"".join(inflated(number, written)) == TEXT


@pytest.mark.parametrize(("number", "written"), WRITTEN)
def test_what_does_not_fit_is_not_inflated(number: int, written: bytes) -> None:
    out = bytearray(len(TEXT) - 1)
    assert inflate_into(number, written, memoryview(out)) is None


ZEROS = bytes(8 * MIB)
BOMBS = {
    GZIP: gzip.compress(ZEROS) * 16,
    SNAPPY: codec.snappy_encode(ZEROS) * 16,
    LZ4: lz4(text=ZEROS, linked=True) * 16,
    ZSTD: bytes(cramjam.zstd.compress(ZEROS)) * 16,
}


@pytest.mark.parametrize("number", BOMBS)
def test_a_bomb_comes_in_blocks(number: int) -> None:
    sizes = [len(block) for block in inflated(number, BOMBS[number])]
    assert sum(sizes) == 16 * len(ZEROS)
    assert max(sizes) <= 4 * BLOCK_BYTES


@given(number=st.sampled_from(sorted(NAMES)), seed=st.integers(0, 1 << 32), changes=st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_damaged_data_costs_an_error_at_most(number: int, seed: int, changes: int) -> None:
    chance = random.Random(seed)
    written = bytearray(chance.choice([param.values[1] for param in WRITTEN if param.values[0] == number]))
    for _ in range(changes):
        written[chance.randrange(min(len(written), 200))] = chance.randrange(256)
    end = chance.choice([len(written), chance.randrange(len(written))])
    size = 0
    try:
        for block in inflated(number, bytes(written[:end])):
            size += len(block)
            if size > 64 * MIB:
                break
    except CorruptRecordException:
        pass
    inflate_into(number, bytes(written[:end]), memoryview(bytearray(len(TEXT))))


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(("number", "written"), WRITTEN)
def test_a_stream_may_end_anywhere_in_its_first_bytes(number: int, written: bytes, after: bool) -> None:
    for end in range(1, min(len(written), 64)):
        data = written * after + written[:end]
        found = b""
        with suppress(CorruptRecordException):
            for block in inflated(number, data):
                found += block
        assert found.startswith(TEXT) or not after or number == SNAPPY
        inflate_into(number, data, memoryview(bytearray(2 * len(TEXT))))


def test_a_block_of_snappy_that_claims_gigabytes_is_refused() -> None:
    claim = b"\xff\xff\xff\xff\x0f" + b"\x00a"
    with pytest.raises(CorruptRecordException, match="cannot hold"):
        list(inflated(SNAPPY, claim))
    with pytest.raises(CorruptRecordException, match="cannot hold"):
        list(inflated(SNAPPY, codec.snappy_encode(b"")[:16] + struct.pack(">i", len(claim)) + claim))


# --- batches


def varint(value: int) -> bytes:
    out, value = bytearray(), value << 1 ^ value >> 63
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def text(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def record(
    offset: int,
    value: bytes | None,
    key: bytes | None = b"k",
    headers: list[tuple[bytes, bytes]] | None = None,
) -> bytes:
    said = b"".join(text(name) + text(each) for name, each in headers or [])
    body = b"\0" + varint(5) + varint(offset) + text(key) + text(value) + varint(len(headers or [])) + said
    return varint(len(body)) + body


def compressed(number: int, data: bytes) -> bytes:
    return {
        0: lambda: data,
        GZIP: lambda: gzip.compress(data, 1),
        SNAPPY: lambda: codec.snappy_encode(data),
        LZ4: lambda: lz4(text=data),
        ZSTD: lambda: bytes(cramjam.zstd.compress(data)),
    }[number]()


def batch_of(records: list[bytes], number: int = 0, first: int = 0, packed: bytes | None = None) -> bytes:
    """A batch of records as they are, compressed."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, MIB)
    builder.append(0, 1_700_000_000_000, None, None, [])
    header = bytearray(builder.build()[:RECORDS])
    packed = compressed(number, b"".join(records)) if packed is None else packed
    struct.pack_into(">qi", header, 0, first, RECORDS - 12 + len(packed))
    struct.pack_into(">h", header, ATTRIBUTES, number)
    struct.pack_into(">i", header, LAST_AT, len(records) - 1)
    struct.pack_into(">i", header, COUNT_AT, len(records))
    return sealed(bytes(header) + packed)


def unpacked(batch: bytes, limits: Limits = LIMITS) -> list[Any]:
    return [each for piece in Unpacker(limits).pieces(batch) for each in piece]


def told(records: list[Any]) -> list[tuple[Any, ...]]:
    return [(r.offset, r.timestamp, r.key, r.value, list(r.headers)) for r in records]


CODECS = [0, GZIP, SNAPPY, LZ4, ZSTD]


@pytest.mark.parametrize("number", CODECS)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_records_are_those_that_aiokafka_finds(number: int, data: Any) -> None:
    """Against aiokafka's parser, at every size at which another way is taken."""
    sizes = st.sampled_from([0, 1, 100, 3000, 70_000, 500_000])
    some = data.draw(st.lists(st.tuples(sizes, st.integers(0, 3)), min_size=1, max_size=30))
    records = [
        record(n, b"%d" % n * (size // 2) if size else None, headers=[(b"h", b"%d" % n)] * headers)
        for n, (size, headers) in enumerate(some)
    ]
    batch = batch_of(records, number, 1000)
    assert told(unpacked(batch)) == told(list(DefaultRecordBatch(batch)))


@pytest.mark.parametrize("number", CODECS)
def test_ordinary_records_come_as_columns(number: int) -> None:
    records = [record(n, b"%d" % n * n, key=b"key-%d" % n) for n in range(300)]
    [piece] = Unpacker(LIMITS).pieces(batch_of(records, number, 1000))
    assert isinstance(piece, PackedRecords)
    assert told(list(piece)) == told(list(DefaultRecordBatch(batch_of(records, number, 1000))))
    assert told([piece[7], piece[-1], *piece[10:12]]) == told([*piece][7:8] + [*piece][-1:] + [*piece][10:12])
    assert [each.offset for each in between(piece, 1100, 1103)] == [1100, 1101, 1102]
    # Few of them do not hold the text of all.
    assert len(piece[10:12].values.text) < 500 < len(piece.values.text)
    assert [told(list(piece[i:][:2])) for i in (0, 10, 198, 500)] == [
        told([*piece][i : i + 2]) for i in (0, 10, 198, 500)
    ]
    both = together([piece[:100], piece[100:]])
    assert isinstance(both, PackedRecords)
    assert told(list(both)) == told(list(piece))
    odd = unpacked(batch_of([record(0, None), record(1, b"x", headers=[(b"h", b"")])]))
    assert told(list(together([piece, odd]))) == told([*piece, *odd])
    for other in (record(0, None), record(0, b"x", key=None), record(0, b"x", headers=[(b"h", b"")])):
        [piece] = Unpacker(LIMITS).pieces(batch_of([other], number))
        assert not isinstance(piece, PackedRecords)


@given(
    changes=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=3),
    cut=st.none() | st.integers(0, 300),
    values=st.lists(st.binary(max_size=70), min_size=1, max_size=5),
)
@settings(max_examples=400, deadline=None)
def test_what_is_read_as_columns_is_what_aiokafka_reads(
    changes: list[tuple[int, int]], cut: int | None, values: list[bytes]
) -> None:
    batch = bytearray(batch_of([record(n, value) for n, value in enumerate(values)]))
    for at, byte in changes:
        batch[RECORDS + at % (len(batch) - RECORDS)] = byte
    if cut is not None:
        del batch[RECORDS + cut :]
        struct.pack_into(">i", batch, LENGTH_AT, len(batch) - 12)
    batch = bytearray(sealed(bytes(batch)))
    found = Unpacker(LIMITS)._ordinary(np.frombuffer(batch, np.uint8), len(values), None)
    # Also where it lies in what was fetched, with the next batch behind it.
    fetched = b"before" + batch + b"\xff" * WIDE
    plain = np.frombuffer(fetched, np.uint8)[6:-WIDE]
    in_place = Unpacker(LIMITS)._ordinary(plain, len(values), (fetched, 6))
    if found is None:
        assert in_place is None
        return
    assert in_place is not None
    assert in_place.values.text is fetched
    assert told(list(found)) == told(list(in_place)) == told(list(DefaultRecordBatch(bytes(batch))))


def test_records_of_one_fetch_are_copied_only_to_join_them_with_others() -> None:
    batches = [batch_of([record(n, bytes([n]) * 50) for n in range(5)]) for _ in range(3)]
    fetched, ends = b"".join(batches), np.cumsum([len(each) for each in batches]).tolist()
    pieces = [
        piece
        for begin, end in zip([0, *ends], ends, strict=False)
        for piece in Unpacker(LIMITS).pieces(fetched, begin, end)
    ]
    first, second, last = (each for each in pieces if isinstance(each, PackedRecords))
    assert first.values.text is second.values.text is fetched
    # Behind the last batch there is nothing that kernels might read.
    assert last.values.text is not fetched
    both, all_of_them = together([first, second]), together([first[1:], second, last])
    assert isinstance(both, PackedRecords)
    assert both.values.text is fetched
    assert first.cost + second.cost < both.cost < first.cost + second.cost + 200
    assert told(list(both)) == told([*first, *second])
    assert told(list(all_of_them)) == told([*first, *second, *last][1:])
    part = both.part(slice(6, 8))
    assert part.values.text is fetched
    assert told(list(part.alone())) == told(list(both)[6:8])
    assert len(part.alone().values.text) < len(batches[0])


def test_a_batch_of_many_small_records_comes_in_pieces() -> None:
    count = 200_000
    batch = batch_of([record(n, None, None) for n in range(count)], ZSTD)
    pieces = list(Unpacker(LIMITS).pieces(batch))
    assert [each.offset for piece in pieces for each in piece] == list(range(count))
    assert max(map(len, pieces)) < 40_000


@pytest.mark.parametrize("number", CODECS)
@pytest.mark.parametrize("size", [3 * MIB, 30 * MIB])
def test_a_giant_among_small_records_is_known_by_reference(number: int, size: int) -> None:
    giant = random.Random(1).randbytes(1000) * (size // 1000)
    records = [record(0, b"before"), record(1, giant, b"key", [(b"h", b"x")] * 3), record(2, b"after" * 1000)]
    before, found, after = unpacked(batch_of(records, number, 70))
    assert (before.value, after.value) == (b"before", b"after" * 1000)
    assert isinstance(found, Record)
    assert (found.offset, found.timestamp, found.key, found.value) == (71, before.timestamp, b"key", None)
    assert found.reference is not None
    assert found.reference.sha256 == hashlib.sha256(giant).hexdigest()
    assert found.reference.size == content_bytes(b"key", giant, [("h", b"x")] * 3)


@pytest.mark.parametrize(
    "giant",
    [
        pytest.param(record(1, None, bytes(5 * MIB)), id="key"),
        pytest.param(record(1, b"v", headers=[(b"h", bytes(5 * MIB))]), id="header"),
        pytest.param(record(1, b"v", headers=[(b"h" * (5 * MIB), b"")]), id="name of a header"),
        pytest.param(record(1, b"v", headers=[(b"", b"")] * 100_000), id="headers"),
    ],
)
def test_a_giant_may_be_one_in_any_part(giant: bytes) -> None:
    for number in CODECS:
        found = unpacked(batch_of([record(0, b"a"), giant, record(2, b"c")], number))
        assert [each.offset for each in found] == [0, 1, 2]
        assert [each.value for each in found] == [b"a", None, b"c"]
        assert found[1].reference is not None


@pytest.mark.parametrize("number", CODECS)
def test_beyond_its_bound_one_reference_stands_for_the_rest_of_a_batch(number: int) -> None:
    records = [record(n, b"%d" % n * 50_000) for n in range(100)]
    limits = Limits(MIB, 6 * MIB)
    *held, rest = unpacked(batch_of(records, number, 500), limits)
    assert 55 < len(held) < 70
    assert [each.offset for each in held] == list(range(500, 500 + len(held)))
    assert (rest.offset, rest.value) == (599, None)
    assert rest.reference is not None
    assert rest.first == held[-1].offset + 1
    # Whatever the codec, and however often.
    assert unpacked(batch_of(records, 0, 500), limits)[-1] == rest


@pytest.mark.parametrize("number", [GZIP, SNAPPY, LZ4, ZSTD])
def test_a_bomb_takes_no_more_than_its_bounds(number: int) -> None:
    """408 kB of zstd took 600 MB."""
    size = 400 * MIB if number in {GZIP, ZSTD} else 40 * MIB
    batch = batch_of([record(0, b"a"), record(1, bytes(size)), record(2, b"c")], number)
    assert len(batch) < 3 * MIB
    tracemalloc.start()
    try:
        found = [each.offset for piece in Unpacker(LIMITS).pieces(batch) for each in piece]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == ([0, 2] if size > LIMITS.batch else [0, 1, 2])
    assert peak < 24 * MIB


@pytest.mark.parametrize("size", [0, 40_000])
@pytest.mark.parametrize("number", [0, *sorted(NAMES)])
def test_of_very_many_records_one_reference_stands_for_the_last(number: int, size: int) -> None:
    """Millions of records without a value are a kilobyte on the wire, and each is a record of cx.rejected."""
    limits = Limits(MIB, 60 * 128)
    records = [record(n, bytes(size) if size and n == 3 else None, b"") for n in range(100)]
    found = unpacked(batch_of(records[:60], number), limits)
    if not size:
        assert [each.offset for each in found] == list(range(60))
        assert not any(isinstance(each, Record) for each in found)
    *held, last = unpacked(batch_of(records, number), limits)
    beyond = len(held)
    assert beyond == 60 or size
    assert [each.offset for each in held] == list(range(beyond))
    assert (last.first, last.offset, last.reference) == (beyond, 99, (limits.batch, ""))


def test_no_valid_event_is_so_short_that_it_counts_as_more_than_it_is() -> None:
    shortest = {
        "specversion": "1.0",
        "id": "1",
        "source": "/",
        "subject": "1",
        "time": "2000-01-01T00:00:00Z",
    }
    least = [
        len(json.dumps({**shortest, "type": kind, "data": {"channel": "web"}}, separators=(",", ":")))
        for kind in BY_TYPE
    ]
    assert min(least) >= 128


@pytest.mark.parametrize("number", [GZIP, SNAPPY, LZ4, ZSTD])
def test_what_follows_the_records_of_a_compressed_batch_is_not_looked_at(number: int) -> None:
    """Kafka takes such batches, and other consumers read them."""
    records = [record(n, b"v" * 100) for n in range(3)]
    whole = compressed(number, b"".join(records))
    expected = told(unpacked(batch_of(records)))
    for packed in (
        whole + b"garbage",
        whole + compressed(number, b"more"),
        compressed(number, b"".join(records) + b"more"),
    ):
        if number == SNAPPY and packed.endswith(b"garbage"):
            continue  # the length of a block that is not there
        assert told(unpacked(batch_of(records, number, packed=packed))) == expected


def test_a_header_whose_name_is_no_text_stops_nobody() -> None:
    records = [record(0, b"a"), record(1, b"b", headers=[(b"\xff\xfe", b"x"), (b"h", b"y")]), record(2, b"c")]
    for number in CODECS:
        found = unpacked(batch_of(records, number))
        assert [each.value for each in found] == [b"a", b"b", b"c"]
        assert found[1].headers == [("\udcff\udcfe", b"x"), ("h", b"y")]


@pytest.mark.parametrize("number", CODECS)
@pytest.mark.parametrize(
    ("end", "said"),
    [
        (varint(1), "a record ends early"),
        (varint(1) + varint(-1), "a header has no name"),
        (varint(0) + b"more", "a record has another length than it says"),
    ],
)
def test_why_a_record_cannot_be_read_depends_on_its_bytes_alone(number: int, end: bytes, said: str) -> None:
    """aiokafka's parser looks beyond them, and says what it finds in memory there."""
    body = record(1, b"b")[1:-1] + end
    found = unpacked(batch_of([record(0, b"a"), varint(len(body)) + body, record(2, b"c")], number))
    assert [(each.offset, each.value) for each in found] == [(0, b"a"), (1, None), (2, b"c")]
    assert found[1].broken == said


@pytest.mark.parametrize("number", CODECS)
@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda records: records[:-1], id="too few"),
        pytest.param(lambda records: [*records[:-1], records[-1][:-2]], id="cut off"),
        pytest.param(lambda records: [*records[:-1], varint(-5)], id="negative length"),
        pytest.param(lambda records: [*records[:-1], b"\xff" * 11], id="endless length"),
        pytest.param(lambda records: [*records[:-1], varint(2**40) + bytes(1000)], id="absurd length"),
        pytest.param(lambda records: [*records[:-1], varint(9) + bytes(9)], id="no record"),
    ],
)
@pytest.mark.parametrize("value", [b"v", b"v" * 30_000])
def test_one_reference_stands_for_what_cannot_be_read(
    number: int, change: Callable[[list[bytes]], list[bytes]], value: bytes
) -> None:
    records = [record(n, value) for n in range(5)]
    packed = compressed(number, b"".join(change(records)))
    *found, rest = unpacked(batch_of(records, number, 70, packed=packed))
    assert [(each.offset, each.value) for each in found] == [(70 + n, value) for n in range(4)]
    assert (rest.offset, rest.first or rest.offset, rest.key, rest.value) == (74, 74, None, None)
    assert rest.broken
    assert rest.reference is not None


@pytest.mark.parametrize("number", [GZIP, SNAPPY, LZ4, ZSTD])
def test_one_reference_stands_for_what_cannot_be_inflated(number: int) -> None:
    records = [record(n, b"%d" % n * 50_000) for n in range(200)]
    whole = compressed(number, b"".join(records))
    for packed in (b"garbage", b"", whole[: len(whole) // 2]):
        *found, rest = unpacked(batch_of(records, number, packed=packed))
        assert [each.offset for each in found] == list(range(len(found)))
        assert (rest.first, rest.offset, bool(rest.broken)) == (len(found), 199, True)


def wide(value: int) -> bytes:
    """A varint whose fifth byte has bits that are too many: brokers drop them."""
    zigzag = value << 1 & 0xFFFFFFFF
    return bytes(zigzag >> 7 * n & 0x7F | 0x80 for n in range(4)) + bytes([0x70 | zigzag >> 28])


def forged(**parts: bytes) -> bytes:
    """The second of three records, with other parts."""
    given = {
        "offset": varint(1),
        "key length": varint(1),
        "value length": varint(4),
        "headers": varint(1) + varint(1) + b"h" + varint(1) + b"x",
    } | {name.replace("_", " "): part for name, part in parts.items() if name != "length"}
    body = b"\0" + varint(5) + given["offset"] + given["key length"] + b"k"
    body += given["value length"] + b"evil" + given["headers"]
    return (wide if "length" in parts else varint)(len(body)) + body


ODD_NUMBERS = {
    "the length of a record": {"length": b""},
    "an offset": {"offset": wide(1)},
    "the length of a key": {"key_length": wide(1)},
    "the length of a value": {"value_length": wide(4)},
    "how many headers": {"headers": wide(1) + varint(1) + b"h" + varint(1) + b"x"},
    "the length of a header's name": {"headers": varint(1) + wide(1) + b"h" + varint(1) + b"x"},
    "the length of a header's value": {"headers": varint(1) + varint(1) + b"h" + wide(1) + b"x"},
}


@pytest.mark.parametrize("number", CODECS)
@pytest.mark.parametrize("attributes", [b"\x01", b"\x80", b"\xff"])
@pytest.mark.parametrize("size", [1, 70_000])
def test_the_attributes_of_a_record_are_one_byte_whatever_is_in_it(
    number: int, attributes: bytes, size: int
) -> None:
    """Another parser takes them for a longer number, and what follows for another offset, key and value."""
    # So read, this one ends where it should, too: at offset 1, with neither key nor value.
    odd = attributes + varint(5) + varint(3) + text(b"a") + text(None) + varint(3)
    odd += (text(b"h") + text(b"x")) * 3
    records = [record(n, b"v" * size) for n in range(3)]
    found = unpacked(batch_of([*records, varint(len(odd)) + odd, record(4, b"e")], number, 100))
    assert [each.offset for each in found] == [100, 101, 102, 103, 104]
    assert (found[3].key, found[3].value) == (b"a", None)
    assert [*found[3].headers] == [("h", b"x")] * 3


@pytest.mark.parametrize("number", CODECS)
@pytest.mark.parametrize("name", ODD_NUMBERS)
@pytest.mark.parametrize("size", [1, 70_000])
def test_numbers_are_read_as_brokers_read_them(number: int, name: str, size: int) -> None:
    """A producer can send numbers that other parsers take for absurd: such a batch stopped its partition for ever."""
    records = [record(0, b"a" * size), forged(**ODD_NUMBERS[name]), record(2, b"c" * size)]
    found = unpacked(batch_of(records, number, 100))
    assert [each.offset for each in found] == [100, 101, 102]
    assert [each.value for each in found] == [b"a" * size, b"evil", b"c" * size]
    assert [*found[1].headers] == [("h", b"x")]


@pytest.mark.parametrize("number", CODECS)
@pytest.mark.parametrize("size", [1, 70_000])
@given(deltas=st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=3, max_size=3))
@settings(max_examples=15, deadline=None)
def test_offsets_are_those_of_the_batch_whatever_its_records_say(
    number: int, size: int, deltas: list[int]
) -> None:
    """Brokers do not look at offsets of records; one of 2^31 hid the next two billion records from a worker."""
    records = [record(delta, b"%d" % n * size) for n, delta in enumerate(deltas)]
    found = unpacked(batch_of(records, number, 100))
    assert [(each.offset, each.value[:1]) for each in found] == [(100, b"0"), (101, b"1"), (102, b"2")]


@pytest.mark.parametrize("size", [1, 70_000])
def test_offsets_of_compacted_batches_may_have_gaps_and_nothing_else(size: int) -> None:
    def compacted(*deltas: int) -> list[Any]:
        batch = bytearray(batch_of([record(delta, b"v" * size) for delta in deltas], 0, 100))
        struct.pack_into(">i", batch, LAST_AT, 9)
        return unpacked(sealed(bytes(batch)))

    assert [(each.offset, each.value is None) for each in compacted(1, 4, 9)] == [
        (101, False),
        (104, False),
        (109, False),
    ]
    for deltas in ((4, 1, 9), (1, 4, 10), (-1, 4, 9), (1, 1, 9)):
        *_, rest = compacted(*deltas)
        assert (rest.offset, rest.value, bool(rest.broken)) == (109, None, True)


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(gzip.compress(b"", 1) * 60_000 + gzip.compress(record(0, b"v")), id="gzip members"),
        pytest.param(
            bytes(cramjam.zstd.compress(b"")) * 100_000 + bytes(cramjam.zstd.compress(record(0, b"v"))),
            id="zstd frames",
        ),
        pytest.param(
            bytes.fromhex("04224d18604082")
            + b"".join(b"\2\0\0\0\x10" + record(0, b"v")[n : n + 1] for n in range(len(record(0, b"v"))))
            + b"\2\0\0\0\x10x" * 150_000
            + bytes(4),
            id="lz4 blocks",
        ),
    ],
)
def test_very_many_very_small_parts_cost_what_their_bytes_cost(packed: bytes) -> None:
    """Each part cost a copy of all that followed, or 64 KiB."""
    number = {0x1F: GZIP, 0x28: ZSTD, 0x04: LZ4}[packed[0]]
    found = unpacked(batch_of([record(0, b"v")], number, packed=packed + b"garbage"))
    assert [each.value for each in found] == [b"v"]


def test_a_batch_that_claims_two_billion_records_costs_nothing() -> None:
    batch = bytearray(batch_of([record(0, b"v")], ZSTD))
    struct.pack_into(">i", batch, COUNT_AT, 2**31 - 1)
    struct.pack_into(">i", batch, LAST_AT, 2**31 - 2)
    first, rest = unpacked(sealed(bytes(batch)))
    assert (first.value, rest.first, rest.offset, bool(rest.broken)) == (b"v", 1, 2**31 - 2, True)


# --- fetches


def test_a_call_takes_a_bounded_part_of_a_fetch_and_the_next_goes_on() -> None:
    log = b"".join(
        batch_of([record(n, b"%d" % n * 40_000) for n in range(100)], ZSTD, 100 * b) for b in range(5)
    )
    kept = WholeBatches({TP.topic}, lambda *_: pytest.fail("all can be read"), {TP: log}, LIMITS, 3 * MIB)
    fetched = PartitionRecords(TP, MemoryRecords(log), [], 30, None, None, True, READ_COMMITTED)
    place = Place(30)
    kept[TP] = result = FetchResult(TP, assignment=place, partition_records=fetched, backoff=0)
    offsets, calls = [], 0
    while result.has_more():
        pieces = result.getall()
        found = [each for piece in pieces for each in piece]
        assert sum(len(each.value) for each in found) < 3 * MIB + 8 * MIB
        offsets += [each.offset for each in found]
        assert place.position == (offsets[-1] + 1)
        calls += 1
    assert offsets == list(range(30, 500))
    assert calls > 3


def test_a_fetch_that_was_read_is_gone_without_the_garbage_collector() -> None:
    """There are hundreds a second; the collector would stop the worker for as long as it takes to find all of them."""
    log = batch_of([record(n, b"v") for n in range(10)], ZSTD)
    kept = WholeBatches({TP.topic}, lambda *_: pytest.fail("all can be read"), {TP: log}, LIMITS, 3 * MIB)
    fetched = PartitionRecords(TP, MemoryRecords(log), [], 0, None, None, True, READ_COMMITTED)
    kept[TP] = FetchResult(TP, assignment=Place(0), partition_records=fetched, backoff=0)
    there = weakref.ref(kept[TP]), weakref.ref(fetched)
    del fetched
    gc.disable()
    try:
        assert sum(map(len, kept[TP].getall())) == 10
        del kept[TP]
        assert [each() for each in there] == [None, None]
    finally:
        gc.enable()


class Place:
    """The position in an assignment of one partition."""

    active, paused = True, False

    def __init__(self, position: int) -> None:
        self.position = position

    def state_value(self, _: Any) -> Place:
        return self

    def consumed_to(self, position: int) -> None:
        self.position = position

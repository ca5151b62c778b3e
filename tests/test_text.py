"""Text kernels against the libraries that are slow and sure."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from aiokafka.partitioner import murmur2 as their_murmur2
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels.text import BAD_TIME, depth, hash64, murmur2, parse_times
from cxstream.scoring.codec.decode import text_column
from cxstream.scoring.codec.routing import partition_of

VECTORS = Path(__file__).parents[2] / "shared/data/suites/kafka-java-vectors/murmur2.json"


def parse(text: str) -> int:
    found = np.empty(1, np.int64)
    parse_times(*text_column([text]), found)
    return int(found[0])


@given(
    moment=st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),  # noqa: DTZ001
    minutes=st.integers(-23 * 60 - 59, 23 * 60 + 59),
    digits=st.integers(0, 9),
)
def test_times_are_read_as_datetime_reads_them(moment: datetime, minutes: int, digits: int) -> None:
    zone = timezone(timedelta(minutes=minutes))
    aware = moment.replace(tzinfo=zone, microsecond=moment.microsecond if digits else 0)
    sign, minutes = ("-" if minutes < 0 else "+"), abs(minutes)
    fraction = f".{moment.microsecond:06d}000"[: digits + 1] if digits else ""
    text = f"{aware:%H:%M:%S}{fraction}{sign}{minutes // 60:02}:{minutes % 60:02}"
    text = f"{moment.year:04}-{moment.month:02}-{moment.day:02}T{text}"
    whole = aware.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)
    milliseconds = int(fraction[1:4].ljust(3, "0")) if fraction else 0
    assert parse(text) == whole // timedelta(milliseconds=1) + milliseconds


@given(
    moment=st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31)),  # noqa: DTZ001
    milli=st.booleans(),
    wrong=st.none() | st.tuples(st.integers(0, 23), st.sampled_from("0123456789:-/.;TZtz+ \u017b")),
)
@settings(max_examples=500)
def test_usual_times_are_read_as_datetime_reads_them(
    moment: datetime, milli: bool, wrong: tuple[int, str] | None
) -> None:
    text = f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}" + (
        f".{moment.microsecond // 1000:03}Z" if milli else "Z"
    )
    if wrong:
        at, character = wrong
        text = text[:at] + character + text[at + 1 :]
    grammar = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
    try:
        read = datetime.fromisoformat(text.upper()) if grammar.fullmatch(text) else None
    except ValueError:
        read = None
    since = None if read is None else (read - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse(text) == (BAD_TIME if since is None else since)


@pytest.mark.parametrize(
    "text",
    [
        "", "2026", "2026-03-01", "2026-03-01T00:00:00", "2026-03-01 00:00:00Z", "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-04-31T00:00:00Z",
        "2026-01-00T00:00:00Z", "2026-03-01T24:00:00Z", "2026-03-01T00:60:00Z", "2026-03-01T23:59:60Z",
        "2026-03-01T00:00:00.Z", "2026-03-01T00:00:00,5Z", "2026-03-01T00:00:00+1:00", "2026-03-01T00:00:00+24:00",
        "2026-03-01T00:00:00+01:60", "2026-03-01T00:00:00+0100", "2026-03-01T00:00:00Z ", "2026-03-01T00:00:00ZZ",
        "0000-03-01T00:00:00Z", "-026-03-01T00:00:00Z", "2026-03-01T00:00:00.123", "\uff12026-03-01T00:00:00Z",
        "2026/03/01T00:00:00Z", "2026-03-01T00-00-00Z", "2026-03-01T00:00:00.1.2Z",
    ],
)  # fmt: skip
def test_what_is_not_a_time_is_refused(text: str) -> None:
    assert parse(text) == BAD_TIME


def test_either_case_and_leap_days() -> None:
    assert parse("2024-02-29t12:00:00z") == parse("2024-02-29T12:00:00Z") == 1_709_208_000_000
    assert parse("2000-02-29T00:00:00Z") != BAD_TIME


@given(st.binary(max_size=64))
def test_murmur2_is_kafkas(key: bytes) -> None:
    data = np.frombuffer(key, np.uint8)
    assert int(murmur2(data, 0, len(data))) == their_murmur2(bytearray(key)) & 0xFFFFFFFF


@pytest.mark.skipif(not VECTORS.exists(), reason="Kafka's own vectors are not beside this checkout")
def test_murmur2_on_kafkas_own_vectors() -> None:
    vectors = json.loads(VECTORS.read_text())
    for key, expected in vectors["murmur2_int32"].items():
        data = np.frombuffer(key.encode(), np.uint8)
        assert np.uint32(murmur2(data, 0, len(data))).astype(np.int32) == expected
    for key, expected in vectors["partition_of_1000"].items():
        assert partition_of([key], 1000)[0] == expected


@given(st.lists(st.text(max_size=20), max_size=20))
def test_a_column_of_text_is_utf8_end_to_end(strings: list[str]) -> None:
    data, ends = text_column(strings)
    begins = [0, *ends[:-1].tolist()]
    assert [data[b:e].tobytes().decode() for b, e in zip(begins, ends.tolist(), strict=False)] == strings


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 2**64 - 1))
def test_hashes_tell_apart_and_depend_on_nothing_around(a: bytes, b: bytes, seed: int) -> None:
    def hashed(text: bytes, before: bytes = b"") -> int:
        data = np.frombuffer(before + text + b"rest", np.uint8)
        return int(hash64(data, len(before), len(before) + len(text), np.uint64(seed)))

    assert hashed(a) == hashed(a, b)
    assert (hashed(a) == hashed(b)) == (a == b)


def reference64(key: bytes, seed: int) -> int:
    """MurmurHash64A in plain integers."""
    m, mask = 0xC6A4A7935BD1E995, 2**64 - 1
    h = seed ^ (len(key) * m & mask)
    while len(key) >= 8:
        k = int.from_bytes(key[:8], "little") * m & mask
        k ^= k >> 47
        h = (h ^ (k * m & mask)) * m & mask
        key = key[8:]
    if key:
        h = (h ^ int.from_bytes(key, "little")) * m & mask
    h ^= h >> 47
    h = h * m & mask
    return h ^ (h >> 47)


@given(st.binary(max_size=80), st.integers(0, 2**64 - 1))
def test_hash64_is_murmurhash64a(key: bytes, seed: int) -> None:
    data = np.frombuffer(key, np.uint8)
    assert int(hash64(data, 0, len(data), np.uint64(seed))) == reference64(key, seed)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"{}", 1), (b'{"a":[[{}]]}', 4), (b'{"a":"[[[["}', 1), (b'{"a":"\\"[["}', 1), (b"]]]][[", 0), (b"", 0)],
)
def test_depth_counts_brackets_outside_of_strings(text: bytes, expected: int) -> None:
    assert depth(np.frombuffer(text, np.uint8)) == expected

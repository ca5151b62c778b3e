"""Columns of Parquet that are read without Arrow, beside what Arrow reads of them."""

from __future__ import annotations

import functools
import json
import random
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace as replaced
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

import fuzz_plain
from cxstream.files import parquet
from cxstream.files.parquet_leaves import Chunk, Damaged, Marks, leaf_of
from cxstream.files.parquet_pages import examined
from cxstream.kernels.parquet_values import (
    AS_THEY_ARE,
    CODES,
    DAMAGED,
    RUNS,
    STREAM,
    STREAMS,
    open_page,
    take_codes,
)
from cxstream.kernels.wide import WIDE
from cxstream.model.errors import InputError
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.codec.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PACKINGS = "none", "snappy", "gzip", "zstd", "lz4", "brotli"
TEXTS = "", "a", "ż", "😀" * 40, 'q"\\\n\0', "x" * 300, "web", "call", "EUR"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NUMBERS: dict[Any, tuple[Any, ...]] = {
    pa.int8(): (-128, 127, 0, 5),
    pa.int16(): (-(2**15), 2**15 - 1, 3),
    pa.int32(): (-(2**31), 2**31 - 1, 7),
    pa.int64(): (-(2**63), 2**63 - 1, 2**53 + 1, 1),
    pa.float32(): (0.5, -0.0, float("nan"), float("inf"), 3.0),
    pa.float64(): (0.1, -0.0, float("nan"), float("-inf"), 2.0**60, 4.0),
    pa.bool_(): (True, False),
}


vocabularies = functools.cache(fuzz_plain.vocabularies)


def _nulls(pick: random.Random, n: int) -> list[bool]:
    """Which of n rows have no value: in runs, here and there, all or none."""
    how = pick.randrange(5)
    if how < 2:
        return [how == 0] * n
    share, length = pick.choice((0.01, 0.5, 0.99)), pick.choice((1, 3, 40)) if how == 2 else 1
    return [each for _ in range(0, n, length) for each in [pick.random() < share] * length][:n]


def _column(pick: random.Random, n: int, kind: Any, values: Any, nullable: bool) -> pa.Array:
    nulls = _nulls(pick, n) if nullable else [False] * n
    length = pick.choice((1, 20))
    repeated = [value for _ in range(0, n, length) for value in [values()] * length]
    return pa.array([None if null else value for null, value in zip(nulls, repeated, strict=False)], kind)


def events(pick: random.Random, n: int, *, simple: bool = False) -> pa.Table:
    """Rows of random values, of which some are events; without columns that Arrow must read where they are to be simple."""
    words = [*TEXTS, *(f"w{i}" for i in range(pick.choice((0, 0, 3000))))]
    columns: dict[str, pa.Array] = {}
    fields: list[pa.Field] = []
    for name in ("specversion", "id", "source", "type", "subject", "time"):
        nullable = pick.random() < 0.3
        values = {
            "specversion": lambda: "1.0",
            "type": lambda: pick.choice(("cx.touchpoint.click.v1", "cx.touchpoint.purchase.v1", "other")),
            "id": lambda: f"e-{pick.randrange(10**6)}",
        }.get(name, lambda: pick.choice(words))
        kind = pa.string()
        if name == "time" and pick.random() < 0.8:
            kind = pa.timestamp(pick.choice(("ms", "us", "ns")), pick.choice((None, "UTC")))
            columns[name] = _column(
                pick, n, pa.timestamp("us", "UTC"), lambda: BEGIN + timedelta(seconds=pick.randrange(10**6)), nullable
            ).cast(kind)  # fmt: skip
        else:
            columns[name] = _column(pick, n, kind, values, nullable)
        fields.append(pa.field(name, kind, nullable=nullable))
    parts, own = [], []
    for name in (
        "channel",
        "touchpoint",
        "amount",
        "x",
        "y",
        "resolved",
        "hashtags",
        "unknown",
        "within",
        "score",
    ):
        if pick.random() < 0.2 or (simple and name in {"hashtags", "within"}):
            continue
        nullable = simple or pick.random() < 0.8
        kind = pick.choice((pa.string(), *NUMBERS))
        among = NUMBERS.get(kind, words)
        values: Callable[[], Any] = lambda among=among: pick.choice(among)  # noqa: E731
        if name == "hashtags":
            kind, values = pa.list_(pa.string()), lambda: [pick.choice(words)] * pick.randrange(3)
        elif name == "within":
            kind, values = pa.struct({"a": pa.int64()}), lambda: {"a": pick.randrange(9)}
        elif kind == pa.string() and not simple and pick.random() < 0.2:
            kind = pa.large_string()
        parts.append(_column(pick, n, kind, values, nullable))
        own.append(pa.field(name, kind, nullable=nullable))
    without = pa.array(_nulls(pick, n)) if pick.random() < 0.5 and parts else None
    data = (
        pa.StructArray.from_arrays(parts, fields=own, mask=without)
        if parts
        else pa.array([{}] * n, pa.struct([]))
    )
    columns["data"] = data
    fields.append(pa.field("data", data.type, nullable=without is not None or pick.random() < 0.5))
    return pa.Table.from_arrays(list(columns.values()), schema=pa.schema(fields))


def write(pick: random.Random, some: pa.Table, path: Path) -> None:
    pq.write_table(
        some, path, row_group_size=pick.choice((17, 100, 1 << 20)), data_page_size=pick.choice((1, 200, 1 << 20)),
        dictionary_pagesize_limit=pick.choice((100, 1 << 20)), use_dictionary=pick.random() < 0.7,
        compression=pick.choice(PACKINGS), data_page_version=pick.choice(("1.0", "1.0", "2.0")),
        write_batch_size=pick.choice((1, 7, 1024)),
    )  # fmt: skip


@contextmanager
def reading(monkeypatch: pytest.MonkeyPatch, *, arrow: bool) -> Iterator[None]:
    with monkeypatch.context() as patched:
        patched.setattr(parquet, "_LEAST_ROWS", 1)
        if arrow:
            patched.setattr(parquet, "shape_of", lambda *_: None)
        yield


def told(path: Path, batch_bytes: int = 1 << 20) -> tuple[list[bytes], list[Any], list[int]] | str:
    """All events, what decoding says of them, and their numbers; or what is wrong."""
    lines: list[bytes] = []
    numbers: list[int] = []
    said: list[Any] = []
    fast, general = vocabularies()
    try:
        for _, part in parquet.read(path, batch_bytes, 1 << 20):
            found = fuzz_plain.told(decode(part.lines, vocabulary=fast))
            made = list(part.lines)
            assert found == fuzz_plain.told(decode(made, vocabulary=general))
            if isinstance(part.lines, Rows):
                assert part.lines.longest >= max(map(len, made))
                # One by one they are the same.
                assert part.lines._write(range(len(made))[::-1]) == made[::-1]
            said.append(found)
            lines += made
            numbers += part.numbers
    except InputError as error:
        return str(error)
    return lines, said if batch_bytes == 1 << 20 else [], numbers


@settings(max_examples=25)
@given(seed=st.integers(0, 1 << 32), n=st.sampled_from((1, 9, 120)))
def test_the_same_is_read_as_by_arrow(tmp_path_factory: pytest.TempPathFactory, seed: int, n: int) -> None:
    pick, path = random.Random(seed), tmp_path_factory.mktemp("leaves") / "t.parquet"
    some = events(pick, n)
    write(pick, some, path)
    with pytest.MonkeyPatch.context() as monkeypatch:
        with reading(monkeypatch, arrow=True):
            by_arrow = told(path)
            in_pieces = told(path, 3000)
        with reading(monkeypatch, arrow=False):
            assert told(path) == by_arrow
            assert told(path, 3000) == in_pieces


@settings(max_examples=40)
@given(seed=st.integers(0, 1 << 32))
def test_damaged_pages_are_read_as_by_arrow(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    pick, path = random.Random(seed), tmp_path_factory.mktemp("damaged") / "t.parquet"
    some = events(pick, pick.choice((20, 90)), simple=True)
    pq.write_table(
        some, path, row_group_size=50, data_page_size=100, use_dictionary=pick.random() < 0.5,
        compression=pick.choice(("none", "none", "snappy")),
    )  # fmt: skip
    raw = bytearray(path.read_bytes())
    pages = range(4, len(raw) - int.from_bytes(raw[-8:-4], "little") - 8)
    for _ in range(pick.choice((1, 1, 3))):
        raw[pick.choice(pages)] = pick.choice((0, 1, 2, 3, 127, 128, 255, pick.randrange(256)))
    path.write_bytes(raw)
    with pytest.MonkeyPatch.context() as monkeypatch:
        with reading(monkeypatch, arrow=True):
            by_arrow = told(path)
        with reading(monkeypatch, arrow=False):
            found = told(path)
    # Of columns that Arrow refuses some can be read here, since not all that a header of a page says matters.
    if not isinstance(by_arrow, str):
        assert found == by_arrow


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_page_that_promises_more_than_it_has_is_left_to_arrow(tmp_path: Path, packing: str) -> None:
    """Some decoders give back what was in memory before in place of what is missing."""
    path = tmp_path / "t.parquet"
    some = pa.table({"text": ["a", "b" * 300] * 50, "n": list(range(100)), "on": [True, False] * 50})
    pq.write_table(some, path, compression=packing, use_dictionary=False)
    with pq.ParquetFile(path) as file, path.open("rb") as raw:
        found = examined(file, path, some.column_names, 1 << 20)
        group = file.metadata.row_group(0)
        for field in some.schema:
            leaf = leaf_of(file, field.name, field, outer=False)
            assert leaf is not None
            chunk = group.column(leaf.number)
            pages = found.pages[0, leaf.number]
            if packing not in {"none", "snappy", "zstd"}:
                with pytest.raises(Damaged):
                    Chunk(raw.fileno(), leaf, chunk, pages)
                continue
            Chunk(raw.fileno(), leaf, chunk, pages)._turn()
            for changed in ({"unpacked": pages[0].unpacked + 8}, {"unpacked": 5 << 20}, {"values": 101}):
                with pytest.raises(Damaged):
                    Chunk(raw.fileno(), leaf, chunk, [replaced(pages[0], **changed)])._turn()
            few = Chunk(raw.fileno(), leaf, chunk, [replaced(pages[0], values=3)])
            few._turn()
            assert len(few._table) == (0 if leaf.is_text else 3)


@pytest.mark.parametrize("said", [True, False])
def test_a_frame_of_zstd_makes_no_room_for_more_than_its_page(tmp_path: Path, said: bool) -> None:
    path, frame = tmp_path / "t.parquet", tmp_path / "frame"
    pq.write_table(pa.table({"n": list(range(100))}), path, compression="zstd", use_dictionary=False)
    frame.write_bytes(zstandard.ZstdCompressor(write_content_size=said).compress(bytes(256 << 20)))
    with pq.ParquetFile(path) as file, frame.open("rb") as raw:
        [[page]] = examined(file, path, ["n"], 1 << 20).pages.values()
        leaf = leaf_of(file, "n", file.schema_arrow.field("n"), outer=False)
        assert leaf is not None
        bomb = replaced(page, start=0, packed=frame.stat().st_size)
        chunk = Chunk(raw.fileno(), leaf, file.metadata.row_group(0).column(0), [bomb])
        tracemalloc.start()
        with pytest.raises(Damaged):
            chunk._turn()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
        tracemalloc.stop()


def test_what_lies_behind_the_frame_of_a_page_is_damage_as_it_is_for_arrow(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": list(range(100))}), path, compression="zstd", use_dictionary=False)
    with pq.ParquetFile(path) as file:
        [[page]] = examined(file, path, ["n"], 1 << 20).pages.values()
        leaf, about = leaf_of(file, "n", file.schema_arrow.field("n"), outer=False), file.metadata
        assert leaf is not None
        column = about.row_group(0).column(0)
        data = path.read_bytes()[page.start : page.start + page.packed]
        with pytest.raises(OSError, match="ZSTD"):
            pa.Codec("zstd").decompress(data + b"rubbish", page.unpacked)
        path.write_bytes(data + b"rubbish")
        with path.open("rb") as raw:
            Chunk(raw.fileno(), leaf, column, [replaced(page, start=0)])._turn()
            with pytest.raises(Damaged):
                Chunk(raw.fileno(), leaf, column, [replaced(page, start=0, packed=page.packed + 7)])._turn()


@pytest.mark.parametrize("kind", [pa.int32(), pa.int64(), pa.float32(), pa.float64()])
def test_a_dictionary_of_numbers_has_as_many_as_it_says(tmp_path: Path, kind: Any) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"n": pa.array([1, 2, 3, 4] * 5, kind)}), path, compression="none")
    with pq.ParquetFile(path) as file, path.open("rb") as raw:
        leaf = leaf_of(file, "n", file.schema_arrow.field("n"), outer=False)
        assert leaf is not None
        pages = examined(file, path, ["n"], 1 << 20).pages[0, leaf.number]
        chunk = file.metadata.row_group(0).column(leaf.number)
        words = replaced(pages[0], values=2)
        few = Chunk(raw.fileno(), leaf, chunk, [words, *pages[1:]])
        assert few._listed.tolist() == [1, 2]
        assert len(few._listed_wholes) in (0, 2)
        with pytest.raises(Damaged):
            Chunk(raw.fileno(), leaf, chunk, [replaced(pages[0], values=5), *pages[1:]])
        # Codes beyond the dictionary are damage.
        marks = Marks(*(np.zeros(20, np.uint64), np.uint64(1)) * 2)
        with pytest.raises(Damaged):
            few.take_numbers(20, marks, np.empty((2, 20), np.int32), np.empty(20))


def opened(page: bytes, most: int, form: int) -> tuple[int, Any, Any]:
    data, state = np.frombuffer(page + bytes(WIDE), np.uint8), np.zeros((STREAMS, STREAM), np.int64)
    return open_page(data, len(page), most, form, state), data, state


@pytest.mark.parametrize(("most", "form"), [(1, AS_THEY_ARE), (2, CODES), (0, RUNS)])
def test_runs_lie_within_their_page(most: int, form: int) -> None:
    """What lies behind the page must not be read."""
    for length, at in (
        (4, 8 if form != RUNS else 0),
        (5, DAMAGED),
        (2**31 - 1, DAMAGED),
        (2**32 - 1, DAMAGED),
    ):
        assert opened(length.to_bytes(4, "little") + bytes(4), most, form)[0] == at
    assert opened(bytes(3), most, form)[0] == DAMAGED


@pytest.mark.parametrize("place", range(8))
def test_a_level_above_the_highest_is_damage(place: int) -> None:
    for level, wanted in ((2, 1), (3, DAMAGED), (1, 0), (0, 0)):
        # A run of eight levels of two bits each, and codes of no bits.
        levels = bytes([3]) + (level << 2 * place).to_bytes(2, "little")
        _, data, state = opened(len(levels).to_bytes(4, "little") + levels + bytes([0, 2]), 2, CODES)
        valid, outer, rows = np.zeros(8, np.uint64), np.zeros(8, np.uint64), np.empty(8, np.int32)
        one = np.uint64(1)
        found = take_codes(data, state, 0, 8, 2, 1, valid, one, outer, one, rows, np.empty(8, np.int32))
        assert found == wanted
        if wanted != DAMAGED:
            assert valid.tolist() == [int(i == place and level == 2) for i in range(8)]
            assert outer.tolist() == [int(i != place or level == 0) for i in range(8)]


@pytest.mark.parametrize("halves", [(b"\xc3", b"\xa9"), (b"\xc3\xa9", b"a" * 200), (b"a" * 0xC3, b"\xa9")])
@pytest.mark.parametrize("coded", [False, True])
def test_each_text_of_a_page_must_be_utf8_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, halves: tuple[bytes, bytes], coded: bool
) -> None:
    """Neither the text before nor the length between the two counts."""
    path, ends = tmp_path / "t.parquet", np.cumsum([0, *map(len, halves)]).astype(np.int32)
    text = pa.StringArray.from_buffers(2, pa.py_buffer(ends), pa.py_buffer(b"".join(halves)))
    names = {
        "specversion": "1.0",
        "source": "s",
        "subject": "c",
        "type": "cx.touchpoint.click.v1",
        "time": "2026-01-01T00:00:00Z",
    }
    columns = {name: [value] * 2 for name, value in names.items()}
    data = pa.StructArray.from_arrays([text, pa.array(["web", "web"])], ["touchpoint", "channel"])
    pq.write_table(pa.table({"id": ["a", "b"], **columns, "data": data}), path, use_dictionary=coded)
    sound = all(half.decode("utf-8", "replace").encode() == half for half in halves)
    with monkeypatch.context() as patched:
        # Arrow is not needed for what is sound.
        patched.setattr(parquet, "records", lambda *_: pytest.fail("Arrow is asked") if sound else iter(()))
        found = [some for _, some in parquet.read(path, 1 << 20, 1 << 20)]
    assert len(found) == sound
    assert [len(json.loads(line)["data"]["touchpoint"]) for some in found for line in some.lines] == [1, 200][
        : 2 * sound
    ]


@pytest.mark.parametrize("size", [1, 7, 60, 300])
def test_texts_come_from_the_dictionary_and_then_as_they_are(tmp_path: Path, size: int) -> None:
    """Writers give up a dictionary that grows too large: pages of one column differ."""
    path, texts = (
        tmp_path / "t.parquet",
        [None if i % 3 == 1 else f"{'ż' * (i % 5)}{i // 2}" for i in range(300)],
    )
    pq.write_table(
        pa.table({"text": texts}), path, dictionary_pagesize_limit=200, data_page_size=100, write_batch_size=10
    )  # fmt: skip
    with pq.ParquetFile(path) as file, path.open("rb") as raw:
        [pages] = examined(file, path, ["text"], 1 << 20).pages.values()
        assert {page.encoding for page in pages[1:]} == {0, 8}
        leaf = leaf_of(file, "text", file.schema_arrow.field("text"), outer=False)
        assert leaf is not None
        chunk, found = Chunk(raw.fileno(), leaf, file.metadata.row_group(0).column(0), pages), []
        for begin in range(0, 300, size):
            n = min(size, 300 - begin)
            marks = Marks(np.zeros(n, np.uint64), np.uint64(1), np.zeros(n, np.uint64), np.uint64(0))
            customers, offsets = chunk.customers(n), np.empty(n + 1, np.int32)
            assert customers is not None
            count, parts, gap = chunk.take_texts(n, marks, np.empty((2, n), np.int32), offsets)
            text, there = b"".join(parts), np.flatnonzero(marks.valid).tolist()
            assert count == len(there)
            some = {i: text[offsets[i] + gap : offsets[i + 1]].decode() for i in there}
            found += [some.get(i) for i in range(n)]
            # What comes from the dictionary has its place there.
            if begin + n <= pages[1].values:
                assert [chunk.word(int(customers[0][i])) for i in there] == [some[i] for i in there]
        assert found == texts

"""Parquet files of some kilobytes that stand for gigabytes: read in bounded memory, or refused in one line."""

from __future__ import annotations

import io
import random
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq

from cxstream.files import parquet
from cxstream.files.parquet_leaves import Chunk, Damaged, leaf_of
from cxstream.files.parquet_pages import Page, _page, _pages, examined
from cxstream.files.parquet_spans import Spans
from cxstream.files.readers import read_batches
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/s",
    "type": "cx.touchpoint.error.v1",
    "subject": "anna",
    "time": "2025-01-01T00:00:00Z",
}


def write(path: Path, rows: int, data: list[Any], **options: Any) -> Path:
    columns = {name: [value] * rows for name, value in EVENT.items()}
    pq.write_table(pa.table({**columns, "data": data}), path, compression="zstd", **options)
    return path


def said(text: str) -> str:
    return '{"channel":"web","text":"' + text + '"}'


def largest(path: Path, max_record_bytes: int = 16 * MIB) -> tuple[int, int]:
    """How many records a file has, and the most bytes of a batch of them as they come."""
    records = most = 0
    for _, found in parquet.read(path, 512 * 1024, max_record_bytes):
        records += len(found.lines)
        most = max(most, sum(map(len, found.lines)))
    return records, most


REPEATED: dict[str, tuple[int, Any, dict[str, Any]]] = {
    "a long text in a dictionary": (60, said("x" * 1_000_000), {}),
    "a text in a dictionary, often": (3000, said("x" * 20_000), {}),
    "texts that repeat the one before": (
        1000,
        said("x" * 100_000),
        {"use_dictionary": False, "column_encoding": {"data": "DELTA_BYTE_ARRAY"}},
    ),
    "a text in a struct": (500, {"channel": "web", "text": "x" * 300_000}, {}),
}


@pytest.mark.parametrize("kind", REPEATED)
def test_what_is_there_once_and_meant_often_comes_a_few_rows_at_a_time(tmp_path: Path, kind: str) -> None:
    """An 11 kB file became a batch of 293 MB."""
    rows, value, options = REPEATED[kind]
    path = write(tmp_path / "bomb.parquet", rows, [value] * rows, **options)
    assert path.stat().st_size < 20_000
    records, most = largest(path)
    assert records == rows
    assert most < 20 * MIB


SHORT, LONG = 20_000, 60
LATE: dict[str, dict[str, Any]] = {
    "small pages": {"write_batch_size": 1},
    "a page for Arrow": {},
    "JSON for Arrow": {},
}


@pytest.mark.parametrize("kind", LATE)
def test_long_rows_behind_many_short_ones_come_a_few_at_a_time(tmp_path: Path, kind: str) -> None:
    """A few kilobytes became a batch of gigabytes, since the average row was short."""
    texts = ["a"] * SHORT + ["x" * MIB] * LONG
    data = [said(text) if kind.startswith("JSON") else {"channel": "web", "text": text} for text in texts]
    path = write(tmp_path / "late.parquet", len(data), data, use_dictionary=list(EVENT), **LATE[kind])
    assert path.stat().st_size < 300_000
    records, most = largest(path)
    assert records == len(data)
    assert most < 20 * MIB
    if kind == "small pages":
        # Those before are read as if there were no others.
        found = [len(found.lines) for _, found in parquet.read(path, 4 * MIB, 16 * MIB)]
        assert len(found) < 20 + LONG
    most = 0
    for _, rows in parquet.read_rows(path, 4 * MIB, ["data"]):
        most = max(most, sum(len(str(row)) for row in rows))
    assert most < 20 * MIB


ARROW: dict[str, Callable[[str], Any]] = {
    "a struct": lambda text: {"channel": "web", "text": text},
    "JSON": said,
    "lists": lambda text: {"channel": "web", "hashtags": [text[: len(text) // 2]] * 2},
    "maps": lambda text: [("channel", "web"), ("text", text)],
}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("kind", ARROW)
def test_long_rows_of_arrow_come_a_few_at_a_time(tmp_path: Path, kind: str, large: bool) -> None:
    data = [ARROW[kind](text) for text in ["ab"] * SHORT + ["x" * MIB] * LONG]
    text = pa.large_string() if large else pa.string()
    shape = {
        "a struct": pa.struct({"channel": text, "text": text}),
        "JSON": text,
        "lists": pa.struct({"channel": text, "hashtags": (pa.large_list if large else pa.list_)(text)}),
        "maps": pa.map_(text, text),
    }[kind]
    columns = {name: pa.array([value] * len(data)) for name, value in EVENT.items()}
    table = pa.table({**columns, "data": pa.array(data, shape)})
    path = tmp_path / "late.arrow"
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    found = [list(chunk.lines) for chunk in read_batches([path])]
    assert sum(map(len, found)) == SHORT + LONG
    assert max(sum(map(len, lines)) for lines in found) < 20 * MIB
    assert len(found) < 20 + LONG


@pytest.mark.parametrize("seed", range(20))
def test_pages_of_a_batch_are_not_too_large_together(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxstream.files.parquet_spans.MOST_BYTES", 100)
    chance, n = random.Random(seed), 60
    leaves: list[tuple[int, list[Page]]] = []
    for _ in range(3):
        pages, left = [], n
        while left:
            count = min(left, chance.choice((0, 1, 5, 40)))
            pages.append(Page(0, chance.choice((0, 1, 90, 700)), count, 0, 0, 0, 3))
            left -= count
        leaves.append((0, pages))

    def sound(first: int, rows: int) -> bool:
        begun, share = 0, 0.0
        for _, pages in leaves:
            begin = 0
            for page in pages:
                end = begin + page.values
                begun += page.unpacked if first < begin < first + rows and page.values else 0
                within = max(0, min(end, first + rows) - max(begin, first))
                share += page.unpacked * within / max(page.values, 1)
                begin = end
        return rows == 1 or (begun <= 100 and share <= 100.01)

    spans, first = Spans(leaves, n, 30), 0
    for rows in spans:
        assert sound(first, rows)
        # And not fewer than there can be.
        assert first + rows == n or rows == 30 or not sound(first, rows + 1)
        first += rows
    assert first == n
    alike = spans.alike()
    assert all(sound(begin, min(alike, n - begin)) for begin in range(0, n, alike))


def test_a_page_that_is_too_large_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxstream.files.parquet_pages._PAGE_BYTES", 8 * MIB)
    path = write(tmp_path / "page.parquet", 1, [said("x" * 10 * MIB)], use_dictionary=False)
    assert largest(path, 20 * MIB)[0] == 1
    with pytest.raises(
        InputError, match=r"page\.parquet: column 'data', row group 1: a page of .*max_record_bytes"
    ):
        largest(path, 1000)


def test_a_list_of_millions_in_one_row_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "list.parquet", 1, [{"channel": "web", "hashtags": ["x"] * 10_000_000}])
    assert path.stat().st_size < 20_000
    with pytest.raises(InputError, match=r"list\.parquet: column 'data\.hashtags.*fewer rows"):
        largest(path)


def test_lists_of_some_tags_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "ok.parquet", 20_000, [{"channel": "web", "hashtags": ["late", "again"]}] * 20_000
    )
    assert largest(path)[0] == 20_000


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_the_longest_value_is_found_whatever_the_codec(
    tmp_path: Path, compression: str, version: str
) -> None:
    path = tmp_path / "a.parquet"
    values = ["a", "b" * 2 * MIB, "c"] * 50
    pq.write_table(
        pa.table({"text": values, "n": list(range(150))}),
        path,
        compression=compression,
        data_page_version=version,
        row_group_size=60,
    )
    with pq.ParquetFile(path) as file:
        assert examined(file, path, ["text"], 1000).rows == 8
        assert examined(file, path, ["n"], 1000).rows == 1000
        for group in range(3):
            chunk = file.metadata.row_group(group).column(0)
            with path.open("rb") as raw:
                pages = list(_pages(raw, chunk, "", 1 << 30))
            assert sum(page.values for page in pages if page.kind != 2) == chunk.num_values


@pytest.mark.parametrize("values", [[True, None] * 50, list(range(100))], ids=["flags", "numbers"])
def test_a_page_of_zeros_takes_what_its_values_take(tmp_path: Path, values: list[Any]) -> None:
    """Some 150 bytes of zstd became 256 MiB of flags."""
    path = tmp_path / "zeros.parquet"
    pq.write_table(pa.table({"a": values}), path, compression="zstd", use_dictionary=False)
    with pq.ParquetFile(path) as file:
        field = file.schema_arrow.field("a")
        leaf = leaf_of(file, "a", field, outer=False)
        page = examined(file, path, ["a"], 1000).pages[0, 0][0]
        chunk = file.metadata.row_group(0).column(0)
    assert leaf is not None
    levels = bytes([2, 0, 0, 0, 200, 1, 1])
    data = (len(levels) - 4).to_bytes(4, "little") + levels[4:]
    packed = pa.compress(data + bytes(4 * MIB - len(data)), "zstd", asbytes=True)
    assert len(packed) < 300
    path.write_bytes(packed)
    bomb = replace(page, start=0, packed=len(packed), unpacked=4 * MIB, values=100, encoding=0)
    tracemalloc.start()
    try:
        with path.open("rb") as raw:
            read = Chunk(raw.fileno(), leaf, chunk, [bomb])
            read._turn()
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(read._table) == 100
    assert most < 14 * MIB
    # A footer can lie as a page's header can: what one page may take has a limit whatever both say.
    footer = SimpleNamespace(num_values=1 << 30, compression="ZSTD")
    with pytest.raises(Damaged):
        Chunk(-1, leaf, footer, [replace(bomb, unpacked=4 * MIB + 1)])
    if leaf.is_flag:
        with path.open("rb") as raw, pytest.raises(Damaged):
            Chunk(raw.fileno(), leaf, footer, [replace(bomb, values=MIB + 1)])._turn()


HEADER = bytes.fromhex("1500151415182c15021500150615060000")


@given(seed=st.integers(0, 1 << 32))
@example(seed=182415).via("a size that is a list")
@settings(max_examples=200, deadline=None)
def test_damaged_page_headers_cost_an_error_at_most(seed: int) -> None:
    chance = random.Random(seed)
    head = bytearray(HEADER)
    for _ in range(chance.randrange(4)):
        head[chance.randrange(len(head))] = chance.randrange(256)
    with suppress(IndexError, KeyError):
        _page(io.BytesIO(bytes(head[: chance.randrange(1, len(head) + 1)])), 0)

"""Files become the same records whatever their format, and however they are cut into blocks and batches."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import io
import json
import os
import sys
import threading
import tracemalloc
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as pq

from cxstream.files.lines import MOST_LINES, split
from cxstream.files.readers import read_batches, total_bytes
from cxstream.model.errors import InputError
from cxstream.scoring.codec.packed import AFTER
from cxstream.scoring.codec.rejection import Reference

EVENT = {
    "specversion": "1.0",
    "id": "1",
    "source": "/web",
    "type": "cx.touchpoint.page_view.v1",
    "subject": "ann",
    "time": "2025-01-01T10:00:00.250Z",
    "data": {"channel": "web"},
}


def records(*paths, **options):
    return [
        (number, line)
        for chunk in read_batches([Path(p) for p in paths], **options)
        for number, line in zip(chunk.numbers, chunk.lines, strict=True)
    ]


def reference(data: bytes, limit: int):
    """The rules of splitting, one line at a time."""
    found = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        text = line.removesuffix(b"\r")
        if text.strip(b" \t\r"):
            found.append(
                (number, text, None)
                if len(text) <= limit
                else (number, b"", Reference(len(text), hashlib.sha256(text).hexdigest()))
            )
    return found


@given(
    pieces=st.lists(
        st.sampled_from([b"a", b"bc", b"{}", b"\n", b"\r\n", b"\r", b"\n\n", b" ", b"\t", b"x" * 9]),
        max_size=60,
    ),
    cuts=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    batch=st.integers(1, 50),
    limit=st.integers(1, 40),
)
def test_splitting_does_not_depend_on_blocks_or_batches(pieces, cuts, batch, limit):
    data = b"".join(pieces)
    blocks, at = [], 0
    while at < len(data):
        size = cuts[len(blocks) % len(cuts)]
        blocks.append(data[at : at + size])
        at += size
    got = [
        (number, line, part.cut.get(i))
        for part in split(blocks, batch, limit)
        for i, (number, line) in enumerate(zip(part.numbers, part.lines, strict=True))
    ]
    assert got == reference(data, limit)


@given(
    pieces=st.lists(
        st.sampled_from(
            [
                b"a",
                b"{}\n",
                b"{\n" * 200,
                b"\r\n",
                b"\r",
                b" ",
                b"\n" + b" " * 60,
                "\ufeffż".encode(),
                b"x" * 9,
                b"y" * 50 + b"\n",
            ]
        )
        | st.binary(max_size=40).map(lambda text: text + b"\n"),
        max_size=60,
    ),
    cuts=st.lists(st.integers(1, 300), min_size=1, max_size=8),
    batch=st.integers(1, 400),
    limit=st.integers(30, 400),
)
def test_splitting_does_not_depend_on_what_is_given_back(pieces, cuts, batch, limit):
    file, given = io.BytesIO(b"".join(pieces)), []

    def blocks():
        while block := file.read(cuts[len(given) % len(cuts)]):
            yield block

    def give_back(size):
        file.seek(-size, 1)
        given.append(size)
        return True

    def told(parts):
        return [
            (number, bytes(line), part.cut.get(i))
            for part in parts
            for i, (number, line) in enumerate(zip(part.numbers, part.lines, strict=True))
        ]

    expected = told(split([file.getvalue()] if file.getvalue() else [], batch, limit))
    assert told(split(blocks(), batch, limit, give_back)) == expected


def test_the_lines_of_a_file_are_used_where_they_lie(tmp_path):
    (tmp_path / "in").write_bytes(NDJSON)
    joined = b"".join(chunk.lines.text for chunk in read_batches([tmp_path / "in"], batch_bytes=9000))
    (tmp_path / "in").write_bytes(NDJSON.replace(b'"web"', '"ï"'.encode(), 1))
    assert len(NDJSON) < len(joined) < 1.2 * len(NDJSON)
    mixed = list(read_batches([tmp_path / "in"], batch_bytes=9000))
    assert sum(chunk.lines.text.endswith(AFTER) for chunk in mixed) < 5


LINES = [json.dumps({**EVENT, "id": str(i)}).encode() for i in range(3000)]
NDJSON = b"\n".join(LINES) + b"\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    here = tmp_path_factory.mktemp("inputs")
    half = len(NDJSON) // 2
    (here / "plain.ndjson").write_bytes(NDJSON)
    (here / "windows.ndjson").write_bytes(b"\xef\xbb\xbf" + NDJSON.replace(b"\n", b"\r\n"))
    (here / "no-end.ndjson").write_bytes(NDJSON[:-1])
    (here / "all.gz").write_bytes(gzip.compress(NDJSON))
    (here / "members.ndjson.gz").write_bytes(gzip.compress(NDJSON[:half]) + gzip.compress(NDJSON[half:]))
    (here / "all.zst").write_bytes(zstandard.compress(NDJSON))
    (here / "frames.zst").write_bytes(zstandard.compress(NDJSON[:half]) + zstandard.compress(NDJSON[half:]))
    (here / "gzip-by-another-name.ndjson").write_bytes(gzip.compress(NDJSON))
    return here


NAMES = [
    "plain.ndjson",
    "windows.ndjson",
    "no-end.ndjson",
    "all.gz",
    "members.ndjson.gz",
    "all.zst",
    "frames.zst",
]


@pytest.mark.parametrize("name", [*NAMES, "gzip-by-another-name.ndjson"])
@pytest.mark.parametrize("batch_bytes", [1024, 1 << 22])
def test_every_format_gives_the_same_records(folder, name, batch_bytes):
    assert records(folder / name, batch_bytes=batch_bytes) == list(enumerate(LINES, start=1))


@pytest.mark.parametrize("name", NAMES)
def test_progress_ends_at_the_total(folder, name):
    seen = [chunk.consumed_bytes for chunk in read_batches([folder / name, folder / "plain.ndjson"], 4096)]
    assert seen == sorted(seen)
    assert seen[-1] == total_bytes([folder / name, folder / "plain.ndjson"])


def test_inputs_follow_each_other_and_lines_count_anew(tmp_path):
    (tmp_path / "a").write_bytes(b"1\n\n2\n")
    (tmp_path / "b").write_bytes(b"\n3")
    chunks = list(read_batches([tmp_path / "a", tmp_path / "b"]))
    assert [(c.path.name, c.lines, list(c.numbers)) for c in chunks] == [
        ("a", [b"1", b"2"], [1, 3]),
        ("b", [b"3"], [2]),
    ]


def test_the_only_line_is_read_behind_empty_ones(tmp_path):
    """To see how a text is laid out, all of it is read."""
    (tmp_path / "in").write_bytes(b"\n\n" + LINES[0])
    assert records(tmp_path / "in") == [(3, LINES[0])]


def test_lines_of_white_space_are_no_records(tmp_path):
    blanks = [b"", b" ", b"\t \t", b" \r", b" " * 100_000]
    (tmp_path / "in").write_bytes(b"\n".join([*blanks, LINES[0], *blanks, LINES[1], *blanks]))
    for size in (100, 1 << 16, 1 << 22):
        found = records(tmp_path / "in", batch_bytes=size, max_record_bytes=2000)
        assert found == [(6, LINES[0]), (12, LINES[1])]


def test_an_empty_file_has_no_records(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    assert records(tmp_path / "empty") == []


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(gzip.compress(NDJSON)))))
    assert records("-") == list(enumerate(LINES, start=1))
    assert total_bytes([Path("-")]) is None


def test_a_named_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(NDJSON,))
    writer.start()
    assert total_bytes([pipe]) is None
    assert records(pipe) == list(enumerate(LINES, start=1))
    writer.join(60)
    assert not writer.is_alive()


@pytest.mark.parametrize("name", ["lines", "lines.gz"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
def test_so_many_records_come_at_a_time(tmp_path, name, end):
    n = 2 * MOST_LINES + 9
    lines = [b"%d" % i for i in range(n)]
    lines[5] = lines[-2] = b"x" * 99
    path = tmp_path / name
    path.write_bytes(gzip.compress(end.join(lines)) if name.endswith("gz") else end.join(lines))
    chunks = list(read_batches([path], 64 << 20, 50))
    assert max(len(chunk.lines) for chunk in chunks) == MOST_LINES
    step = end.count(b"\n")
    assert [number for chunk in chunks for number in chunk.numbers] == list(range(1, step * n + 1, step))
    assert [line for chunk in chunks for line in chunk.lines] == [
        b"" if len(line) == 99 else line for line in lines
    ]
    assert [chunk.numbers[i] for chunk in chunks for i in chunk.cut] == [5 * step + 1, (n - 2) * step + 1]


def test_a_line_that_is_too_long_is_one_marked_record(tmp_path):
    (tmp_path / "in").write_bytes(b"{}\n" + b"x" * 5000 + b"\n{}\n")
    chunks = list(read_batches([tmp_path / "in"], max_record_bytes=4096))
    found = [
        (number, line) for chunk in chunks for number, line in zip(chunk.numbers, chunk.lines, strict=True)
    ]
    assert found == [(1, b"{}"), (2, b""), (3, b"{}")]
    cut = {chunk.numbers[place]: reference for chunk in chunks for place, reference in chunk.cut.items()}
    assert cut == {2: Reference(5000, hashlib.sha256(b"x" * 5000).hexdigest())}


def peak(path: Path) -> int:
    tracemalloc.start()
    for _ in read_batches([path], batch_bytes=1 << 16, max_record_bytes=1 << 18):
        pass
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


@pytest.mark.parametrize("name", ["long-line", "long-line.gz", "many-lines.gz"])
def test_memory_is_bounded_however_long_the_input_or_a_line_is(tmp_path, name):
    data = b"{}\n" + b"x" * 40_000_000 + b"\n{}\n" if name.startswith("long") else NDJSON * 60
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    del data
    assert peak(tmp_path / name) < 5_000_000


def test_memory_is_bounded_under_a_zstd_bomb(tmp_path):
    # 6 KiB that stand for 200 MB.
    with zstandard.open(tmp_path / "bomb.zst", "wb") as file:
        for _ in range(20):
            file.write(b"x" * 10_000_000)
    assert peak(tmp_path / "bomb.zst") < 100_000_000


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_memory_is_bounded_under_a_bomb_in_an_archive(tmp_path, method):
    with (
        zipfile.ZipFile(tmp_path / "bomb.zip", "w", method) as archive,
        archive.open("a.ndjson", "w") as file,
    ):
        for _ in range(10):
            file.write(b"x" * 10_000_000)
    assert peak(tmp_path / "bomb.zip") < 30_000_000


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_an_archive_is_read_whatever_its_compression(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.ndjson", NDJSON)
    (tmp_path / "a.ndjson").write_bytes(NDJSON)
    assert records(tmp_path / "a.zip") == records(tmp_path / "a.ndjson")


def test_what_is_cut_off_is_an_error_and_not_the_end(folder, tmp_path):
    for name, word in (("all.gz", "gzip"), ("all.zst", "zstd"), ("frames.zst", "zstd")):
        whole = (folder / name).read_bytes()
        for keep in (len(whole) - 1, len(whole) // 4 * 3):
            (tmp_path / name).write_bytes(whole[:keep])
            with pytest.raises(InputError, match=f"{name}.*{word} data ends early.*copy it again"):
                records(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["x.gz", "x.zst", "x.parquet", "x.PARQUET", "x.arrow", "x.arrows", "x.feather"]
)
@pytest.mark.parametrize("content", [b"", b"no such format, but longer than any header"])
def test_a_file_that_is_not_what_it_is_called(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        records(tmp_path / name)


def test_broken_in_the_middle(folder, tmp_path):
    for name in ("all.gz", "all.zst"):
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            records(tmp_path / name)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match="nowhere: No such file"):
        records(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a folder"):
        records(tmp_path)
    with pytest.raises(InputError, match="nowhere"):
        total_bytes([tmp_path / "nowhere"])


# --- Parquet


def table(path, **columns):
    rows = {name: [value] * 3 for name, value in EVENT.items()}
    rows["id"] = ["1", "2", "3"]
    pq.write_table(pa.table({**rows, **columns}), path)
    return [json.loads(line) for _, line in records(path)]


EVENTS = [{**EVENT, "id": i} for i in ("1", "2", "3")]
MOMENT = dt.datetime(2025, 1, 1, 10, 0, 0, 250_000, tzinfo=dt.UTC)


def test_parquet_rows_are_events(tmp_path):
    assert table(tmp_path / "x.parquet") == EVENTS
    assert [number for number, _ in records(tmp_path / "x.parquet", batch_bytes=1)] == [1, 2, 3]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Warsaw", None])
def test_parquet_timestamps(tmp_path, unit, zone):
    times = pa.array([MOMENT] * 3, pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, "UTC"))
    times = times.cast(pa.timestamp(unit, zone))
    assert table(tmp_path / "x.parquet", time=times) == EVENTS


def test_parquet_nulls_are_absent(tmp_path):
    data = [
        {"channel": "call", "wait_s": 3.5, "topic": None},
        {"channel": "web", "wait_s": None, "topic": "bill"},
        None,
    ]
    got = table(tmp_path / "x.parquet", data=data, subject=["ann", None, "bob"])
    assert [event.get("data") for event in got] == [
        {"channel": "call", "wait_s": 3.5},
        {"channel": "web", "topic": "bill"},
        None,
    ]
    assert [event.get("subject") for event in got] == ["ann", None, "bob"]
    assert "subject" not in got[1]


def test_parquet_data_as_json_text_stays_as_it_is(tmp_path):
    text = ['{"channel": "web", "x": 1.50}', '{},"subject":"eve"', None]
    path = tmp_path / "x.parquet"
    got = table(path, data=text)
    assert [event.get("data") for event in got] == [{"channel": "web", "x": 1.5}, '{},"subject":"eve"', None]
    assert b"1.50" in records(path)[0][1]
    assert got[1]["subject"] == "ann"


def test_parquet_dictionaries_and_decimals(tmp_path):
    data = [{"channel": "web", "amount": Decimal("12.50")}] * 3
    sources = pa.array(["/web"] * 3).dictionary_encode()
    got = table(tmp_path / "x.parquet", source=sources, data=data)
    assert [event["data"]["amount"] for event in got] == [12.5] * 3


def test_parquet_of_other_columns_is_refused(tmp_path):
    pq.write_table(pa.table({"user": ["ann"]}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"x\.parquet: no column 'specversion'"):
        records(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="column 'time' is int64; it must be a string or a timestamp"):
        table(tmp_path / "y.parquet", time=[1, 2, 3])


def test_parquet_from_a_pipe_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(b"PAR1...."))))
    with pytest.raises(InputError, match=r"standard input: .* pipe"):
        records("-")


def test_parquet_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "x.parquet"
    broken = pa.Array.from_buffers(pa.string(), 3, pa.array([b"/web", b"\xff\xfe", b"/web"]).buffers())
    with pytest.raises(InputError, match="not UTF-8"):
        table(path, source=broken)


def test_a_parquet_row_that_is_too_long_is_marked(tmp_path):
    path = tmp_path / "x.parquet"
    table(path, data=['{"channel":"web"}', json.dumps({"text": "x" * 9000}), '{"channel":"app"}'])
    (chunk,) = read_batches([path], max_record_bytes=4096)
    assert [bool(line) for line in chunk.lines] == [True, False, True]
    assert chunk.cut[1].size > 9000

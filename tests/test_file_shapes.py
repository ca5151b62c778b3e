"""What files look like: packed in many ways, arrays, indented, in other encodings; and what is refused, with advice."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import struct
import sys
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cxstream.cli import group
from cxstream.files.readers import read_batches
from cxstream.files.shapes import json_records
from cxstream.model.errors import InputError
from cxstream.scoring.codec.rejection import Reference

CASES = Path(__file__).parent / "cases" / "archives"
STORY = [json.loads(line) for line in (CASES / "crlf.ndjson").read_text("utf-8").splitlines()]
READ = [
    "array.json",
    "bom2.ndjson.gz",
    "cr.ndjson",
    "crlf.ndjson",
    "emptyframe.ndjson.zst",
    "indent.ndjson",
    "multi.ndjson.gz",
    "multi.ndjson.zst",
    "nofinalnl.ndjson",
    "pad.ndjson.gz",
    "pretty.json",
    "rs.ndjson",
    "skipfirst.ndjson.zst",
    "skiplast.ndjson.zst",
    "skipmid.ndjson.zst",
    "story.ndjson.bz2",
    "story.ndjson.xz",
    "story.zip",
    "trail.ndjson.zst",
    "utf16.ndjson",
]
REFUSED = {
    "garbage.ndjson.gz": "other bytes follow the end of the gzip data",
    "trunc.ndjson.gz": "gzip data ends early",
    "trunc.ndjson.zst": "zstd data ends early",
}


def lines(*paths: Path, **options: int) -> list[bytes]:
    return [line for chunk in read_batches(paths, **options) for line in chunk.lines]


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("batch_bytes", [64, 1 << 20])
def test_a_story_is_the_same_however_it_is_packed(name: str, batch_bytes: int) -> None:
    found = lines(CASES / name, batch_bytes=batch_bytes)
    assert [json.loads(line) for line in found] == STORY
    assert not any(b"\n" in line for line in found)


def test_every_case_is_looked_at() -> None:
    assert {path.name for path in CASES.iterdir()} == {*READ, *REFUSED, "empty.ndjson"}
    assert lines(CASES / "empty.ndjson") == []


@pytest.mark.parametrize("name", REFUSED)
def test_a_broken_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(group, ["replay", str(CASES / name), "--out", str(tmp_path / "o")])
    assert isinstance(result.exception, InputError)
    assert REFUSED[name] in str(result.exception)
    assert "\n" not in str(result.exception)


def _zip(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def _encrypted() -> bytes:
    data = bytearray(_zip(a=b"{}"))
    for sign, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(sign) + offset
        data[at : at + 2] = struct.pack("<H", 1)
    return bytes(data)


def _tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("a.ndjson")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"{}"))
    return file.getvalue()


FOREIGN = {
    "tar": (_tar(), "a tar archive"),
    "tar.gz": (gzip.compress(_tar()), "a tar archive"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00\x04", "a 7z archive"),
    "rar": (b"Rar!\x1a\x07\x01\x00", "a RAR archive"),
    "lz4": (b"\x04\x22\x4d\x18\x64\x40\xa7", "lz4 -d"),
    "Z": (b"\x1f\x9d\x90abc", "compress"),
    "zlib": (b"\x78\x9cabc", "zlib"),
    "avro": (b"Obj\x01\x04\x16avro.schema", "is Avro"),
    "orc": (b"ORC\x0a\x05\x00", "is ORC"),
    "arrow": (b"ARROW1\x00\x00", "not an Arrow file or stream that can be read"),
    "arrow.gz": (gzip.compress(b"ARROW1\x00\x00"), "an Arrow file (Feather); unpack it"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Office file"),
    "xlsx": (_zip(**{"xl/workbook.xml": b"<x/>", "b": b""}), "an Excel workbook"),
    "html": (b"\n<!DOCTYPE html>\n<html><body>403 Forbidden", "an HTML page"),
    "html.gz": (gzip.compress(b"<html><body>502"), "an HTML page"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    "pdf": (b"%PDF-1.7\n%\xe2\xe3", "a PDF document"),
    "sqlite": (b"SQLite format 3\x00\x10\x00", "an SQLite database"),
    "duckdb": (b"\x00" * 8 + b"DUCK" + b"\x00" * 8, "a DuckDB database"),
    "pcap": (b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00", "network packets"),
    "pcapng": (b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00", "network packets"),
    "png": (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    "pickle": (b"\x80\x04\x95\x10\x00", "a Python pickle"),
    "bson": (b"\x16\x00\x00\x00\x07_id\x00abc", "BSON"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "pgp": (b"-----BEGIN PGP MESSAGE-----\n", "PGP"),
    "unknown": (bytes(range(256)).replace(b"{", b""), "binary data of an unknown format"),
    "parquet.gz": (gzip.compress(b"PAR1\x15\x00"), "is Parquet"),
    "pare": (b"PARE\x00", "encrypted Parquet"),
    "empty.zip": (_zip(), "ZIP archive without a file"),
    "two.zip": (_zip(a=b"{}", b=b"{}"), "ZIP archive of 2 files (a, b)"),
    "encrypted.zip": (_encrypted(), "encrypted ZIP archive"),
    "cut.zip": (_zip(a=b"{}" * 99)[:60], "broken or cut off"),
    "second-cut.gz": (gzip.compress(b"{}\n") + gzip.compress(b"{}\n")[:-4], "gzip data ends early"),
    "cut.bz2": (bz2.compress(b"{}")[:-4], "bzip2 data ends early"),
    "cut.xz": (lzma.compress(b"{}")[:-4], "xz data ends early"),
    "tail.bz2": (bz2.compress(b"{}") + b"tail", "other bytes follow the end of the bzip2 data"),
    "tail.xz": (lzma.compress(b"{}") + b"tail", "other bytes follow the end of the xz data"),
    "plain.gz": (b'{"a":1}\n', "is not gzip, though its name says so"),
    "plain.bz2": (b'{"a":1}\n', "is not bzip2, though its name says so"),
    "empty.xz": (b"", "empty, which no xz file is"),
    "deep.gz": (gzip.compress(gzip.compress(gzip.compress(gzip.compress(b"{}")))), "within compressed data"),
    "zip.gz": (gzip.compress(_zip(a=b"{}")), "holds zip within compressed data"),
    "cut-array.json": (b'[{"a":1},\n{"a":2}', "JSON ends early, within value 3"),
    "cut-pretty.json": (b'{\n "a": 1,\n', "JSON ends early, within value 1"),
    "stray.json": (b'[\n{"a":1}\n]\n]\n', "a bracket after 1 values closes nothing"),
    "cut-utf16": ("\ufeff{}\n".encode("utf-16-le") + b"{", "UTF-16 text that is broken or cut off"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_cannot_be_read_is_refused_in_one_line_that_says_what_it_is(tmp_path: Path, name: str) -> None:
    data, what = FOREIGN[name]
    path = tmp_path / f"in.{name}"
    path.write_bytes(data)
    with pytest.raises(InputError) as refused:
        lines(path)
    message = str(refused.value)
    assert what in message
    assert message.startswith(str(path))
    assert "\n" not in message


NDJSON = b'{"a":1}\n{"a":"]"}\n'
PACKED = {
    "several.bz2": bz2.compress(NDJSON[:9]) + bz2.compress(NDJSON[9:]),
    "padded.xz": lzma.compress(NDJSON) + b"\0" * 4,
    "old.lzma": lzma.compress(NDJSON, lzma.FORMAT_ALONE),
    "by-another-name.ndjson": bz2.compress(NDJSON),
    "twice.gz": gzip.compress(gzip.compress(NDJSON)),
    "gz.zip": _zip(a=gzip.compress(NDJSON)),
    "mac.zip": _zip(**{"a.ndjson": NDJSON, "__MACOSX/._a.ndjson": b"\0", ".DS_Store": b"\0"}),
    "utf16.zip": _zip(a=NDJSON.decode().encode("utf-16")),
    "utf32": NDJSON.decode().encode("utf-32"),
    "utf16-without-mark": NDJSON.decode().encode("utf-16-le"),
    "utf16-be-array": b"\xfe\xff" + '[{"a":1},{"a":"]"}]'.encode("utf-16-be"),
    "array-of-lines": b'[{"a":1},\n{"a":"]"}]\n',
    "comma-first": b'[\n  {"a":1}\n, {"a":"]"}\n]\n',
    "concatenated": b'{\n"a":1}{"a":\n"]"}',
    "two-arrays": b'[\n{"a":1}]\n[{"a":"]"}]',
    "sequence": b'\x1e{"a":1}\n\x1e{"a":\n"]"}\n',
    "cr-array": b'[\r{"a":1},\r{"a":"]"}\r]',
    "with-mark": b'\xef\xbb\xbf[{"a":1},{"a":"]"}]',
    "blank-lines-first": b'\n\r\n  [\n{"a":1},{"a":"]"}]',
}


@pytest.mark.parametrize("name", PACKED)
def test_neighbours_that_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(PACKED[name])
    assert [json.loads(line) for line in lines(tmp_path / name)] == [{"a": 1}, {"a": "]"}]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"a":1,\n{"a":2}\n{"a":3}\n', [b'{"a":1,', b'{"a":2}', b'{"a":3}']),
        (b'{"a":"x\n{"a":2}\n', [b'{"a":"x', b'{"a":2}']),
        (b'{"a":[\n{"a":2}\n{"a":3}\n', [b'{"a":[', b'{"a":2}', b'{"a":3}']),
        (b'[1]\n{"a":2}\n', [b"[1]", b'{"a":2}']),
        (b'nonsense\n{"a":2}\n', [b"nonsense", b'{"a":2}']),
        (b'\0\0\0\n{"a":2}\n', [b"\0\0\0", b'{"a":2}']),
        (b'{"a":1}\n{\n"a":2}\n', [b'{"a":1}', b"{", b'"a":2}']),
    ],
)
def test_a_file_of_lines_stays_one_where_a_line_is_broken(
    tmp_path: Path, text: bytes, found: list[bytes]
) -> None:
    (tmp_path / "in").write_bytes(text)
    assert lines(tmp_path / "in") == found


@pytest.mark.parametrize("text", [b'{"tickets": [\n{"a":1},\n{"a":2}\n]}\n', b'{"tickets": [\n{"a":1}\n]}\n'])
def test_an_envelope_over_several_lines_is_one_value(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "in").write_bytes(text)
    assert [json.loads(line) for line in lines(tmp_path / "in")] == [json.loads(text)]


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.sampled_from('a"\\{}[],:\n\u0142\x1e '), max_size=6),
    lambda items: (
        st.lists(items, max_size=3) | st.dictionaries(st.sampled_from(["a", 'k"}', "["]), items, max_size=3)
    ),
    max_leaves=8,
)
RECORDS = st.dictionaries(st.sampled_from(["a", "b"]), VALUES, max_size=2)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    blocks, at = [], 0
    while at < len(data):
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(data[at : at + size])
        at += size
    return blocks


@given(
    records=st.lists(RECORDS, max_size=6),
    indent=st.sampled_from([None, 0, 2]),
    layout=st.sampled_from(["array", "lines", "sequence"]),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_values_do_not_depend_on_layout_encoding_and_blocks(
    records: list[dict[str, object]], indent: int | None, layout: str, sizes: list[int], encoding: str
) -> None:
    text = {
        "array": lambda: json.dumps(records, indent=indent),
        "lines": lambda: "\n".join(json.dumps(record) for record in records),
        "sequence": lambda: "".join(f"\x1e{json.dumps(record, indent=indent)}\n" for record in records),
    }[layout]()
    found = [
        json.loads(line)
        for part in json_records(cut(text.encode(encoding), sizes), "x", 30, 10_000)
        for line in part.lines
    ]
    assert found == records


def reference(values: list[str], limit: int) -> list[tuple[int, bytes, Reference | None]]:
    """What becomes of the items of an array, one at a time."""
    raw = [value.encode() for value in values]
    return [
        (number, value, None)
        if len(value) <= limit
        else (number, b"", Reference(len(value), hashlib.sha256(value).hexdigest()))
        for number, value in enumerate(raw, start=1)
    ]


@given(
    values=st.lists(
        st.sampled_from(
            ['{"a":"xxxxxxxxx"}', "{}", "[[1],2]", "12345678", "null", '"a\\"b"', '{"a":{"b":[]}}']
        ),
        max_size=9,
    ),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    limit=st.integers(1, 20),
)
def test_items_that_are_too_long_are_marked_and_the_others_are_whole(
    values: list[str], sizes: list[int], limit: int
) -> None:
    text = f"[\n{', '.join(values)}]".encode()
    found = [
        (number, line, part.cut.get(i))
        for part in json_records(cut(text, sizes), "x", 30, limit)
        for i, (number, line) in enumerate(zip(part.numbers, part.lines, strict=True))
    ]
    assert found == reference(values, limit)


@given(
    pieces=st.lists(
        st.sampled_from(
            ["{", "}", "[", "]", '"', ",", ":", "1", "\n", "\r", " ", "\x1e", '{"a":1}', "\\", "{}\n"]
        ),
        max_size=30,
    ),
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5),
)
def test_any_text_comes_out_the_same_however_it_is_cut(pieces: list[str], sizes: list[int]) -> None:
    def outcome(blocks: list[bytes]) -> object:
        try:
            return [
                (n, line)
                for part in json_records(blocks, "x", 30, 100)
                for n, line in zip(part.numbers, part.lines, strict=True)
            ]
        except InputError as error:
            return str(error)

    text = "".join(pieces).encode()
    assert outcome(cut(text, sizes)) == outcome([text])


def peak(path: Path) -> int:
    tracemalloc.start()
    for _ in read_batches([path], batch_bytes=1 << 16, max_record_bytes=1 << 18):
        pass
    size = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return size


@pytest.mark.parametrize("name", ["long-item", "many-items", "bomb.bz2", "bomb.xz", "bomb.zip"])
def test_memory_is_bounded(tmp_path: Path, name: str) -> None:
    if name == "long-item":
        data = b'[{"a":"' + b"x" * 40_000_000 + b'"},{}]'
    elif name == "many-items":
        data = b"[" + b'{"a":1}, ' * 200_000 + b"{}]"
    else:
        pack = {"bomb.bz2": bz2.compress, "bomb.xz": lzma.compress, "bomb.zip": lambda text: _zip(a=text)}[
            name
        ]
        data = pack(b"x" * 40_000_000)
    (tmp_path / name).write_bytes(data)
    del data
    # The dictionary of xz takes 8 MiB.
    assert peak(tmp_path / name) < 12_000_000


def test_a_zip_archive_from_a_pipe_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    stdin = io.TextIOWrapper(io.BufferedReader(Pipe(_zip(a=b"{}"))))  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "stdin", stdin)
    with pytest.raises(InputError, match="standard input: a ZIP archive cannot be read from a pipe"):
        lines(Path("-"))


def test_a_zip_archive_from_redirected_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(_zip(a=NDJSON)))))
    assert lines(Path("-")) == NDJSON.splitlines()


def test_zstd_by_its_skippable_frame_alone(tmp_path: Path) -> None:
    path = tmp_path / "named-otherwise"
    path.write_bytes(b"\x53\x2a\x4d\x18\x02\x00\x00\x00ab" + zstandard.compress(NDJSON))
    assert lines(path) == NDJSON.splitlines()


@pytest.mark.parametrize("name", ["array.json", "pretty.json", "rs.ndjson", "story.zip", "utf16.ndjson"])
def test_replay_gives_the_scores_of_the_story(tmp_path: Path, name: str) -> None:
    result = CliRunner().invoke(group, ["replay", str(CASES / name), "--out", str(tmp_path)])
    assert result.exit_code == 0
    assert "8 signals, 1 score card, 0 rejected of 8 records" in result.output

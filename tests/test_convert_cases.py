"""`cxstream convert mapping` on exports as they come from spreadsheets, survey tools and call centres."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from in_process import cxstream

CASES = Path(__file__).parent / "cases"
PROGRAM = [sys.executable, "-m", "cxstream", "convert", "mapping"]


def convert(*words: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command in this process."""
    return cxstream("convert", "mapping", *words, **options)


def piped(*words: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the program, as a user would, with a standard input and descriptors of its own."""
    return subprocess.run(
        [*PROGRAM, *map(str, words)], capture_output=True, check=False, timeout=120, **options
    )


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


class TestPipes:
    """An input that gives its bytes once gives all its rows."""

    ROWS = (CASES / "csv-from-pipe" / "in.csv").read_bytes()
    MAPPING = CASES / "csv-from-pipe" / "m.toml"
    SUBJECTS = tuple(f"c{i}" for i in range(200))

    def subjects(self, path: Path) -> tuple[str, ...]:
        return tuple(event["subject"] for event in events(path))

    def test_standard_input(self, tmp_path: Path) -> None:
        out = tmp_path / "t.ndjson"
        done = piped("-", "--mapping", self.MAPPING, "--out", out, input=self.ROWS)
        assert done.returncode == 0, done.stderr
        assert self.subjects(out) == self.SUBJECTS
        assert b"standard input" in done.stderr

    def test_a_named_pipe(self, tmp_path: Path) -> None:
        pipe, out = tmp_path / "f.csv", tmp_path / "t.ndjson"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(self.ROWS,), daemon=True)
        writer.start()
        done = piped(pipe, "--mapping", self.MAPPING, "--out", out)
        assert done.returncode == 0, done.stderr
        writer.join(60)
        assert self.subjects(out) == self.SUBJECTS

    def test_a_process_substitution(self, tmp_path: Path) -> None:
        out = tmp_path / "t.ndjson"
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(self.ROWS)
        try:
            done = piped(f"/dev/fd/{reading}", "--mapping", self.MAPPING, "--out", out, pass_fds=[reading])
        finally:
            os.close(reading)
        assert done.returncode == 0, done.stderr
        assert self.subjects(out) == self.SUBJECTS

    def test_records_of_json(self, tmp_path: Path) -> None:
        mapping, out = tmp_path / "m.toml", tmp_path / "t.ndjson"
        mapping.write_text(self.MAPPING.read_text().replace('"csv"', '"ndjson"'))
        lines = [f'{{"customer":"{subject}","at":"2025-01-05T10:00:00Z"}}' for subject in self.SUBJECTS]
        done = piped("-", "--mapping", mapping, "--out", out, input="\n".join(lines).encode())
        assert done.returncode == 0, done.stderr
        assert self.subjects(out) == self.SUBJECTS


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("in", {"anna": 3}),
        ("dup", {"anna": 3}),
        ("emptycols", {"anna": 3}),
        ("blankfirst", {"anna": 3}),
        ("sep", {"anna": 3}),
        ("preamble", {"anna": 3}),
        ("short", {"anna": 3, "bert": 9}),
        ("trailing", {"anna": 3, "bert": 9}),
    ],
)
def test_headers_of_spreadsheets_and_surveys(name: str, answers: dict[str, int], tmp_path: Path) -> None:
    case, out = CASES / "header-newline", tmp_path / "t.ndjson"
    mapping = case / ("m.toml" if name == "in" else "m2.toml")
    done = convert(case / f"{name}.csv", "--mapping", mapping, "--out", out)
    assert done.returncode == 0, done.stderr
    assert {event["subject"]: event["data"]["score"] for event in events(out)} == answers


def test_a_header_of_three_rows(tmp_path: Path) -> None:
    case, out = CASES / "header-newline", tmp_path / "t.ndjson"
    mapping = tmp_path / "m.toml"
    mapping.write_text("[input]\nheader_rows = 3\n" + (case / "m2.toml").read_text())
    done = convert(case / "three.csv", "--mapping", mapping, "--out", out)
    assert done.returncode == 0, done.stderr
    assert [(event["subject"], event["data"]["score"]) for event in events(out)] == [("anna", 3)]


@pytest.mark.parametrize(
    ("rows", "style", "amounts", "refused"),
    [
        ("mixed", "dot", {"bert": 1234.5}, [2, 4]),
        ("german", "comma", {"carl": 12.5}, [2, 3]),
        ("nbsp", "space", {"anna": 1234.5, "bert": 1234.5, "carl": 1234.5}, [5, 6]),
    ],
)
def test_numbers_with_separators(
    rows: str, style: str, amounts: dict[str, float], refused: list[int], tmp_path: Path
) -> None:
    case, out, bad = CASES / "numbers", tmp_path / "t.ndjson", tmp_path / "bad.ndjson"
    done = convert(case / f"{rows}.csv", "--mapping", case / f"m-{style}.toml", "--out", out, "--errors", bad)
    assert done.returncode == 3, done.stderr
    assert {event["subject"]: event["data"]["amount"] for event in events(out)} == amounts
    assert [(each["line"], each["field"], each["reason"]) for each in events(bad)] == [
        (line, "amount", "unreadable_number") for line in refused
    ]


def test_ids_that_may_be_none_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case, out = CASES / "doubtful-ids", tmp_path / "t.ndjson"
    monkeypatch.setenv("COLUMNS", "200")
    done = convert("ids.csv", "--mapping", "ids.toml", "--out", out, cwd=case)
    assert done.returncode == 0, done.stderr
    assert len(events(out)) == 10
    said = done.stderr.decode()
    for text, line in (("12345.0", 3), ("1.23E+12", 5), ("nan", 6), ("NULL", 7), ("#N/A", 8)):
        assert f"subject '{text}'" in said
        assert f"(first: ids.csv:{line})" in said


def test_a_map_of_words_leaves_numbers_as_they_are(tmp_path: Path) -> None:
    case, out = CASES / "doubtful-ids", tmp_path / "t.ndjson"
    done = convert(case / "sent.csv", "--mapping", case / "sent.toml", "--out", out)
    assert done.returncode == 0, done.stderr
    assert [event["data"]["wait_s"] for event in events(out)] == [0, 205]


def test_two_files_of_one_name_give_different_ids(tmp_path: Path) -> None:
    rows = (CASES / "out-not-a-file" / "in.csv").read_bytes()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "export.csv").write_bytes(rows)
    mapping = CASES / "out-not-a-file" / "m.toml"
    done = convert("a/export.csv", "b/export.csv", "--mapping", mapping, "--out", "t.ndjson", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [event["id"] for event in events(tmp_path / "t.ndjson")] == [
        "a/export.csv:2", "a/export.csv:3", "b/export.csv:2", "b/export.csv:3",
    ]  # fmt: skip
    assert b"a/export.csv" in done.stderr
    assert b"b/export.csv" in done.stderr
    done = convert("-", "--mapping", mapping, "--out", "p.ndjson", cwd=tmp_path, stdin=rows)
    assert b"say `id`" in done.stderr.replace(b"\n", b" ")

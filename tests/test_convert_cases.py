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

CASES = Path(__file__).parent / "cases"
PROGRAM = [sys.executable, "-m", "cxstream", "convert", "mapping"]


def convert(*words: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the program, as a user would."""
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
        done = convert("-", "--mapping", self.MAPPING, "--out", out, input=self.ROWS)
        assert done.returncode == 0, done.stderr
        assert self.subjects(out) == self.SUBJECTS
        assert b"standard input" in done.stderr

    def test_a_named_pipe(self, tmp_path: Path) -> None:
        pipe, out = tmp_path / "f.csv", tmp_path / "t.ndjson"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_bytes, args=(self.ROWS,), daemon=True)
        writer.start()
        done = convert(pipe, "--mapping", self.MAPPING, "--out", out)
        assert done.returncode == 0, done.stderr
        writer.join(60)
        assert self.subjects(out) == self.SUBJECTS

    def test_a_process_substitution(self, tmp_path: Path) -> None:
        out = tmp_path / "t.ndjson"
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(self.ROWS)
        try:
            done = convert(f"/dev/fd/{reading}", "--mapping", self.MAPPING, "--out", out, pass_fds=[reading])
        finally:
            os.close(reading)
        assert done.returncode == 0, done.stderr
        assert self.subjects(out) == self.SUBJECTS

    def test_records_of_json(self, tmp_path: Path) -> None:
        mapping, out = tmp_path / "m.toml", tmp_path / "t.ndjson"
        mapping.write_text(self.MAPPING.read_text().replace('"csv"', '"ndjson"'))
        lines = [f'{{"customer":"{subject}","at":"2025-01-05T10:00:00Z"}}' for subject in self.SUBJECTS]
        done = convert("-", "--mapping", mapping, "--out", out, input="\n".join(lines).encode())
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

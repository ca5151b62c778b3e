"""Rows and their lines, out of files as they are found in the wild."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.convert import rows
from cxstream.convert.report import Problem, Report
from cxstream.convert.rows import Table, records
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


class Heard:
    """A report that keeps what it hears."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.taken = 0
        self.report = Report(self.problems.append, self._take)

    def _take(self, count: int) -> None:
        self.taken += count

    @property
    def told(self) -> list[tuple[int, str]]:
        return [(problem.line, problem.reason) for problem in self.problems]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def table(tmp_path: Path, data: bytes, heard: Heard, name: str = "t.csv", **options: Any) -> list[Any]:
    path = tmp_path / name
    path.write_bytes(data)
    return list(Table(path, heard.report, **options))


def test_lines_are_those_on_which_rows_begin(tmp_path: Path, heard: Heard) -> None:
    data = b'a,b\r\n1,"two\r\nlines"\r\n\r\n3,4\r\n'
    assert table(tmp_path, data, heard) == [(2, ["1", "two\r\nlines"]), (5, ["3", "4"])]
    assert heard.report.rows == {str(tmp_path / "t.csv"): 2}
    assert heard.taken == len(data)
    assert not heard.problems


def test_a_row_of_another_length_is_told(tmp_path: Path, heard: Heard) -> None:
    assert table(tmp_path, b"a,b\n1\n2,3\n4,5,6\n", heard) == [(3, ["2", "3"])]
    assert heard.told == [(2, "columns"), (4, "columns")]
    assert sum(heard.report.rows.values()) == 3


def test_a_quote_that_goes_wrong_costs_its_own_row(tmp_path: Path, heard: Heard) -> None:
    assert table(tmp_path, b'a,b\n1,"x"y\n2,3\n', heard) == [(3, ["2", "3"])]
    assert heard.told == [(2, "not_csv")]


def test_a_quote_that_is_never_closed_says_how_far_it_reaches(tmp_path: Path, heard: Heard) -> None:
    assert table(tmp_path, b'a,b\n1,2\n3,"x\n5,6\n7,8\n', heard) == [(2, ["1", "2"])]
    assert heard.told == [(3, "not_csv")]
    assert "lines 3 to 5" in heard.problems[0].message


def test_a_field_without_end_is_not_kept(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_FIELD", 100)
    data = b'a,b\n1,"' + b"x\n" * 200 + b"5,6\n"
    assert table(tmp_path, data, heard) == [(202, ["5", "6"])]
    assert heard.told[0] == (2, "not_csv")
    assert {reason for _, reason in heard.told[1:]} == {"columns"}


def test_a_line_without_end_is_told_and_passed(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_LINE", 100)
    assert table(tmp_path, b"a,b\n1," + b"x" * 1000 + b"\n2,3\n", heard) == [(3, ["2", "3"])]
    assert heard.told == [(2, "too_long")]


def test_a_file_without_a_header_is_told_its_columns(tmp_path: Path, heard: Heard) -> None:
    assert table(tmp_path, b"1;2\n", heard, delimiter=";", columns=["a", "b"]) == [(1, ["1", "2"])]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [("a,ł\n1,ż\n".encode("utf-8-sig"), "utf-8"), ("a,ł\n1,ż\n".encode("cp1250"), "cp1250"), ("a,ł\n1,ż\n".encode("utf-16"), "utf-16")],
)  # fmt: skip
def test_encodings(tmp_path: Path, heard: Heard, data: bytes, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    found = Table(path, heard.report, encoding=encoding)
    assert found.columns == ["a", "ł"]
    assert list(found) == [(2, ["1", "ż"])]


def test_compressed_files_are_read(tmp_path: Path, heard: Heard) -> None:
    assert table(tmp_path, gzip.compress(b"a,b\n1,2\n"), heard, "t.csv.gz") == [(2, ["1", "2"])]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (b"", {}, "names no columns"),
        (b",,\n1,2,3\n", {}, "names no columns"),
        (b"a,a\n1,2\n", {}, "'a' is there twice"),
        (b"a,b\n", {"encoding": "klingon"}, "unknown encoding: klingon"),
        (b"a,b\n\x00", {"encoding": "utf-16"}, "is not utf-16"),
    ],
)
def test_what_is_no_table_is_refused(
    tmp_path: Path, heard: Heard, data: bytes, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        table(tmp_path, data, heard, **options)


def test_a_column_that_is_not_there_is_named_with_the_one_that_was_meant(
    tmp_path: Path, heard: Heard
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"customer,when\n")
    with pytest.raises(InputError, match="no column 'custommer'; did you mean 'customer'"):
        Table(path, heard.report).index("custommer")


def test_records_and_what_is_none(tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_LINE", 200_000)
    path = tmp_path / "r.ndjson"
    deep = b"[" * 100_000
    lines = [
        b'{"a":1}',
        b"",
        b"{",
        b"[1]",
        deep,
        b'{"a":"\xff"}',
        b'{"a":"' + b"x" * 300_000 + b'"}',
        b'{"a":2}',
    ]
    path.write_bytes(b"\n".join(lines))
    assert list(records(path, heard.report)) == [(1, {"a": 1}), (8, {"a": 2})]
    assert heard.told == [(3, "not_json"), (4, "not_json"), (5, "not_json"), (6, "not_json"), (7, "too_long")]
    assert heard.report.rows == {str(path): 7}

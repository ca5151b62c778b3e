"""Rows and their lines, out of files as they are found in the wild."""

from __future__ import annotations

import csv
import gzip
import io
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.convert import records as convert_records
from cxstream.convert import rows, text
from cxstream.convert.records import records
from cxstream.convert.report import Problem, Report
from cxstream.convert.rows import Table
from cxstream.model.errors import InputError


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


def test_missing_cells_are_empty_and_empty_ones_too_many_are_no_harm(tmp_path: Path, heard: Heard) -> None:
    data = b"a,b\n1\n2,3\n4,5,6\n7,8,, \n,\n , \n9,\n"
    assert table(tmp_path, data, heard) == [
        (2, ["1", ""]), (3, ["2", "3"]), (5, ["7", "8"]), (8, ["9", ""]),
    ]  # fmt: skip
    assert heard.told == [(4, "columns")]
    assert sum(heard.report.rows.values()) == 5
    assert heard.report.notes == {rows.SHORT: 1, rows.BLANK: 2}


def test_a_quote_that_goes_wrong_costs_its_own_row(tmp_path: Path, heard: Heard) -> None:
    assert table(tmp_path, b'a,b\n1,"x"y\n2,3\n', heard) == [(3, ["2", "3"])]
    assert heard.told == [(2, "not_csv")]


def test_a_quote_that_is_never_closed_costs_its_own_row(tmp_path: Path, heard: Heard) -> None:
    data = b'a,b\n1,2\n3,"x\n5,6\n7,"8\n9"\n'
    assert table(tmp_path, data, heard) == [(2, ["1", "2"]), (4, ["5", "6"]), (5, ["7", "8\n9"])]
    assert heard.told == [(3, "not_csv")]
    assert "as far as line 5" in heard.problems[0].message


def test_what_may_be_read_again_has_a_bound(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "MAX_REREAD", 7)
    assert table(tmp_path, b'a,b\n1,2\n3,"x\n5,6\n7,8\n', heard) == [(2, ["1", "2"])]
    assert heard.told == [(3, "not_csv")]
    assert "lines 3 to 5" in heard.problems[0].message


def test_a_field_without_end_is_not_kept(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_FIELD", 100)
    data = b'a,b\n1,"' + b"x\n" * 200 + b"5,6\n"
    found = table(tmp_path, data, heard)
    assert found == [*((line, ["x", ""]) for line in range(3, 202)), (202, ["5", "6"])]
    assert heard.told == [(2, "not_csv")]


def test_a_line_without_end_is_told_and_passed(
    tmp_path: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "MAX_LINE", 100)
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
        (b"", {}, "is empty: it has no header"),
        (b",,\n \n", {}, "names no columns"),
        (b'"a"b,c\n', {}, "names no columns.*line 1: ',' expected"),
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
    monkeypatch.setattr(convert_records, "MAX_LINE", 200_000)
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


def test_only_a_column_that_is_used_must_be_there_once(tmp_path: Path, heard: Heard) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b,,b,\n1,2,3,4,5\n")
    found = Table(path, heard.report)
    assert found.index("a") == 0
    with pytest.raises(InputError, match=r"'b' is there 2 times \(columns 2 and 4\)"):
        found.index("b")
    assert list(found) == [(2, ["1", "2", "3", "4", "5"])]


@pytest.mark.parametrize(
    "ask", ["a question\nof two lines", "a question of two lines", "a  question\r\nof two lines"]
)
def test_a_header_can_have_line_breaks(tmp_path: Path, heard: Heard, ask: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'who,"a question\r\nof two lines"\r\nanna,3\r\n')
    found = Table(path, heard.report, wanted=["who", ask])
    assert found.index(ask) == 1
    assert list(found) == [(3, ["anna", "3"])]


@pytest.mark.parametrize(
    ("before", "options"),
    [
        (b"", {}),
        (b"\n\r\n \n", {}),
        (b",,,\n", {}),
        (b"sep=;\n", {}),
        (b"\xef\xbb\xbfsep=;\r\n", {}),
        (b'\n"sep=;"\n', {}),
        (b"Results\nof,March\n\n", {}),
        (b'Results of the "new" survey\nwho asked;\n', {}),
        (b'"a quote that is never closed\nwho', {"skip_lines": 2}),
    ],
)
def test_what_comes_before_the_header(
    tmp_path: Path, heard: Heard, before: bytes, options: dict[str, Any]
) -> None:
    if before.startswith(b'"a quote'):
        before += b"\n"
    data = before + b"who;at\nanna;3\n"
    delimiter = None if b"sep=" in before else ";"
    found = table(tmp_path, data, heard, wanted=["at", "who"], delimiter=delimiter, **options)
    assert found == [(data.count(b"\n"), ["anna", "3"])]
    assert not heard.problems


def test_rows_before_the_header_are_counted(tmp_path: Path, heard: Heard) -> None:
    table(tmp_path, b"Results,2026\n\nExported\na,b\n1,2\n", heard, wanted=["b"])
    assert heard.report.notes == {rows.BEFORE_HEADER: 2}
    assert sum(heard.report.rows.values()) == 1


def test_a_header_of_several_rows(tmp_path: Path, heard: Heard) -> None:
    data = b'a,b\nA question,"Another\none"\n{x},{y}\n1,2\n'
    assert table(tmp_path, data, heard, header_rows=3) == [(5, ["1", "2"])]


@pytest.mark.parametrize(
    ("header", "hint"), [(b"who;at", '";"'), (b"who\tat", r'"\\t"'), (b"who|at", r'"\|"')]
)
@pytest.mark.parametrize("before", [b"", b"Results, as of today\n\n"])
def test_another_delimiter_is_hinted_at(
    tmp_path: Path, heard: Heard, before: bytes, header: bytes, hint: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(before + header + b"\nanna;3\n")
    with pytest.raises(InputError, match=f"give the mapping input.delimiter = {hint}"):
        Table(path, heard.report, wanted=["who"]).index("who")


QUIRKS = {
    "backslash": (rb'1,"say \"hi\" \\"', {"escape": "\\"}, ["1", 'say "hi" \\']),
    "NULL of a database": (rb"\N,\N", {"escape": "\\"}, None),
    "N after a backslash": (rb'"\N",a\N', {"escape": "\\"}, ["N", "aN"]),
    "blank before a quote": (b'1, "b, c"', {}, ["1", "b, c"]),
    "blank after a quote": (b'"1" , "b, ""c""" ', {}, ["1", 'b, "c"']),
    "quotes within": (b'5" disc,it is "new"', {}, ['5" disc', 'it is "new"']),
    "doubled quotes": (b'1,"say ""hi"""', {}, ["1", 'say "hi"']),
    "padding of NULs": (b"1\0\0,b\0", {}, ["1", "b"]),
    "NUL within": (b"1,b\0c", {}, ["1", "b\udc00c"]),
    "no quotes at all": (b'"1,2"', {"quote": None}, ['"1', '2"']),
}


@pytest.mark.parametrize("name", QUIRKS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_quirks_of_cells(tmp_path: Path, heard: Heard, name: str, end: bytes) -> None:
    row, options, expected = QUIRKS[name]
    found = table(tmp_path, end.join([b"a,b", row, b"7,8"]), heard, **options)
    assert found == [*([(2, expected)] if expected else []), (3, ["7", "8"])]
    assert not heard.problems


def test_line_ends_can_be_mixed(tmp_path: Path, heard: Heard) -> None:
    assert table(tmp_path, b"a,b\r1,2\n3,4\r\n5,6", heard) == [
        (n, [str(2 * n - 3), str(2 * n - 2)]) for n in (2, 3, 4)
    ]


def test_a_quote_after_a_backslash_says_what_to_set(tmp_path: Path, heard: Heard) -> None:
    assert table(tmp_path, rb"a,b" + b"\n" + rb'1,"say \"hi\""' + b"\n3,4\n", heard) == [(3, ["3", "4"])]
    assert "input.escape" in heard.problems[0].message


@pytest.mark.parametrize("mark", [True, False])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_the_encoding_is_told_by_the_first_bytes(
    tmp_path: Path, heard: Heard, encoding: str, mark: bool
) -> None:
    if encoding == "utf-32-le" and not mark:
        pytest.skip("without a mark UTF-32 is not told")
    data = (("\ufeff" if mark else "") + '"who","zażółć"\r\nłódź,1\r\n').encode(encoding)
    assert table(tmp_path, data, heard, wanted=["who", "zażółć"]) == [(2, ["łódź", "1"])]


def test_a_unit_that_is_no_text_costs_its_own_row(tmp_path: Path, heard: Heard) -> None:
    data = "\ufeffa,b\n1,".encode("utf-16-le") + b"\x00\xd8" + "\n2,3\n".encode("utf-16-le")
    found = table(tmp_path, data, heard)
    assert [line for line, _ in found] == [2, 3]
    assert not found[0][1][1].isprintable()
    assert found[1][1] == ["2", "3"]


@given(
    cells=st.lists(
        st.lists(st.text('ab,;"\n\r \\', max_size=6), min_size=3, max_size=3), min_size=1, max_size=6
    ),
    broken=st.integers(0, 6),
)
def test_a_row_that_goes_wrong_costs_no_other(cells: list[list[str]], broken: int) -> None:
    """What the standard library writes is read back, also around a row with a quote that is never closed."""
    quoted = io.StringIO()
    writer = csv.writer(quoted, quoting=csv.QUOTE_ALL)
    for i, row in enumerate(cells):
        if i == broken:
            quoted.write('"never closed,x\r\n')
        writer.writerow([f"{i}", *row])
    heard = Heard()
    with tempfile.NamedTemporaryFile(suffix=".csv") as file:
        file.write(quoted.getvalue().encode())
        file.flush()
        found = list(Table(Path(file.name), heard.report, columns=["n", "a", "b", "c"]))
    assert [row for _, row in found] == [[f"{i}", *row] for i, row in enumerate(cells)]
    assert [reason for _, reason in heard.told] == ["not_csv"] * (broken < len(cells))

"""One place that opens an input of a mapping and says what its rows are: CSV, JSON or Parquet, each read once.

A row is whatever its `Columns` can find a value in: the cells of a CSV, the object of a JSON record, a row of Parquet.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, NamedTuple

from cxstream.convert.paths import first_names
from cxstream.convert.records import parquet_names, parquet_rows, records
from cxstream.convert.rows import Table
from cxstream.convert.stream import Stream
from cxstream.convert.values import Columns, csv_columns
from cxstream.files.formats import PARQUET, SUFFIXES
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path
    from typing import Literal

    from cxstream.convert.mapping import Input
    from cxstream.convert.report import Report

_JSON_SUFFIXES = {".ndjson", ".jsonl", ".json"}
_CSV_SUFFIXES = {".csv", ".tsv", ".txt"}
_SNIFFED_BYTES = 64
_BEFORE_JSON = b"\xef\xbb\xbf\x1e \t\r\n"


class Rows(NamedTuple):
    """The rows of an input.

    Attributes:
        name: of the input, in problems and ids.
        rows: each with the 1-based line on which it begins; to be taken once.
        columns: the way to the values of a row.
    """

    name: str
    rows: Iterable[tuple[int, Any]]
    columns: Columns


def open_rows(path: Path, source: Input, report: Report, wanted: Collection[str] = ()) -> Rows:
    """Open an input, once, and find out what its rows are.

    Args:
        path: the input; `-` is standard input.
        source: what the mapping says of it.
        report: counts rows and hears of problems.
        wanted: columns that will be asked for.

    Raises:
        InputError: it cannot be read, or nobody says what it is.
    """
    firsts = {name for path_ in wanted for name in first_names(path_)}
    if is_parquet(path):
        _check_columns(path, wanted)
        return Rows(str(path), parquet_rows(path, report, firsts), report.paths.columns)
    suffix = _suffix(path)
    stream = Stream(path, report)
    if (source.format or _format(stream, suffix)) == "ndjson":
        return Rows(stream.name, _sampled(records(stream, report, firsts), report), report.paths.columns)
    table = Table(
        stream,
        report,
        delimiter=source.delimiter or ("\t" if suffix == ".tsv" else None),
        quote=source.quote or None,
        escape=source.escape,
        encoding=source.encoding,
        columns=source.columns,
        skip_lines=source.skip_lines,
        header_rows=source.header_rows,
        wanted=wanted,
    )
    return Rows(stream.name, table, csv_columns(table))


def _suffix(path: Path) -> str:
    """The ending of the name that says what is in it, in small letters; "" where there is none."""
    suffixes = [suffix for suffix in path.suffixes if suffix.lower() not in SUFFIXES]
    return suffixes[-1].lower() if suffixes else ""


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet; opening a pipe would take its data."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(PARQUET)) == PARQUET or path.suffix == ".parquet"
    except OSError:
        return False  # told with its reason where it is opened


def _check_columns(path: Path, wanted: Collection[str]) -> None:
    """Refuse a Parquet file that lacks a column which the mapping names."""
    names = parquet_names(path)
    for column in sorted(wanted):
        if first_names(column).isdisjoint(names):
            close = difflib.get_close_matches(column, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)[:400]}"
            raise InputError(f"{path}: no column {column!r}; {hint}")


def _sampled(rows: Iterable[tuple[int, Any]], report: Report) -> Iterator[tuple[int, Any]]:
    """The same rows; the report sees what paths they have."""
    for line, row in rows:
        report.paths.sample(row)
        yield line, row


def _format(stream: Stream, suffix: str) -> Literal["csv", "ndjson"]:
    if suffix in _JSON_SUFFIXES:
        return "ndjson"
    if suffix not in {".csv", ".tsv"} and stream.peek(_SNIFFED_BYTES).lstrip(_BEFORE_JSON)[:1] in {
        b"{",
        b"[",
    }:
        return "ndjson"
    if suffix in _CSV_SUFFIXES:
        return "csv"
    raise InputError(
        f'{stream.path}: its name does not say what it is; give the mapping input.format = "csv" or "ndjson"'
    )

"""One place that opens an input of a mapping and says what its rows are: CSV or NDJSON, each read once.

A row is whatever its `Columns` can find a value in: the cells of a CSV, the object of a JSON record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cxstream.convert.rows import Table, records
from cxstream.convert.stream import Stream
from cxstream.convert.values import Columns, csv_columns, json_columns
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path
    from typing import Literal

    from cxstream.convert.mapping import Input
    from cxstream.convert.report import Report

_JSON_SUFFIXES = {".ndjson", ".jsonl", ".json"}
_CSV_SUFFIXES = {".csv", ".tsv", ".txt"}
_PACKED = {".gz", ".zst", ".zstd"}


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
    suffix = _suffix(path)
    stream = Stream(path, report)
    if (source.format or _format(path, suffix)) == "ndjson":
        return Rows(stream.name, records(stream, report), json_columns)
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
    suffixes = [suffix for suffix in path.suffixes if suffix not in _PACKED]
    return suffixes[-1].lower() if suffixes else ""


def _format(path: Path, suffix: str) -> Literal["csv", "ndjson"]:
    if suffix in _JSON_SUFFIXES:
        return "ndjson"
    if suffix in _CSV_SUFFIXES:
        return "csv"
    raise InputError(
        f'{path}: its name does not say what it is; give the mapping input.format = "csv" or "ndjson"'
    )

"""Rows out of CSV inputs, with the line each begins on. Nothing here is held longer than a batch."""

from __future__ import annotations

import csv
import difflib
import re
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxstream.convert.stream import Stream
from cxstream.convert.text import Lines
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from cxstream.convert.report import Report

MAX_FIELD = 1 << 20
"""Characters of one CSV field. A quote that is never closed stops here at the latest."""

HEADER_WITHIN = 100
"""Rows among which the header is looked for, where the columns to look for are known."""

SHORT = "rows with fewer cells than the header: the missing cells are empty"
BEFORE_HEADER = "rows before the header, left out"
BLANK = "rows of empty cells only, left out"

_DELIMITERS = (";", "\t", ",", "|")
_SEP = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


class Table:
    """A CSV file: its columns, and its rows with their lines. It is opened once, and its rows can be taken once.

    Iterating gives (line, cells): the 1-based line on which the row begins, and as many cells as there are
    columns. Missing cells at the end are empty, and empty cells too many are no harm. Longer rows, lines and
    fields beyond the limits, and quotes that go wrong are problems of the report, each of its own row; empty
    lines and rows of nothing but empty cells are no rows.

    Args:
        source: the input, or the path of one.
        report: counts rows and hears of problems.
        delimiter: one character between the cells; None for what a line `sep=;` says, else a comma.
        quote: the character that a cell is quoted with; None where quotes mean nothing.
        escape: the character that takes away the meaning of the one after it, if there is one.
        encoding: of the text, where its first bytes do not tell.
        columns: names, for a file without a header line.
        skip_lines: how many lines at the beginning are not part of the table.
        header_rows: how many rows the header has; the first of them names the columns.
        wanted: columns that will be asked for. The header is the first row that has all of them.

    Raises:
        InputError: the file cannot be read, its first line names no columns, or the encoding is another.
    """

    def __init__(
        self,
        source: Path | Stream,
        report: Report,
        *,
        delimiter: str | None = None,
        quote: str | None = '"',
        escape: str | None = None,
        encoding: str = "utf-8",
        columns: Sequence[str] | None = None,
        skip_lines: int = 0,
        header_rows: int = 1,
        wanted: Collection[str] = (),
    ) -> None:
        stream = Stream(source, report) if isinstance(source, Path) else source
        self.name = stream.name
        self.report = report
        self._lines = Lines(stream, report, encoding)
        said = self._begin(skip_lines)
        self.delimiter = delimiter or said or ","
        self._dialect: dict[str, Any] = {
            "delimiter": self.delimiter,
            "quotechar": quote,
            "quoting": csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            "escapechar": escape,
            "skipinitialspace": self.delimiter != " ",
            "strict": True,
        }
        self._in_header = columns is None
        self._header_error = self._other_delimiter = ""
        self._rows = self._read()
        self.columns = list(columns) if columns is not None else self._header(wanted, header_rows)
        self._in_header = False

    def index(self, column: str) -> int:
        """The position of a column.

        Raises:
            InputError: there is none of that name, or more than one.
        """
        found = [i for i, name in enumerate(self.columns) if name == column]
        found = found or [i for i, name in enumerate(self.columns) if _even(name) == _even(column)]
        if not found:
            raise InputError(f"{self.name}: no column {column!r}; {self._hint(column)}{self._header_error}")
        if len(found) > 1:
            places = " and ".join(str(i + 1) for i in found)
            raise InputError(
                f"{self.name}: the column {column!r} is there {len(found)} times (columns {places});"
                " rename all but one of them"
            )
        return found[0]

    def select(self, *columns: str) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The rows with only these columns (two or more), in this order."""
        pick = itemgetter(*map(self.index, columns))
        return ((line, pick(cells)) for line, cells in self)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        width, report, name = len(self.columns), self.report, self.name
        rows = report.rows
        for line, cells in self._rows:
            if not any(map(str.strip, cells)):
                report.notes[BLANK] += 1
                continue
            rows[name] += 1
            more = len(cells) - width
            if more > 0:
                if any(map(str.strip, cells[width:])):
                    report.problem(name, line, "", "columns", f"{len(cells)} cells for {width} columns")
                    continue
                del cells[width:]
            elif more < 0:
                report.notes[SHORT] += 1
                cells.extend([""] * -more)
            yield line, cells

    def _begin(self, skip_lines: int) -> str:
        """Pass over what is before the table; returns the delimiter that a line `sep=;` names."""
        for _ in range(skip_lines):
            self._lines.skip()
        while (line := self._lines.peek()) and not line.strip():
            self._lines.skip()
        found = _SEP.fullmatch(line)
        if found:
            self._lines.skip()
        return found[1] if found else ""

    def _header(self, wanted: Collection[str], rows: int) -> list[str]:
        needed = set(map(_even, wanted))
        first: list[str] | None = None
        for before, (_, cells) in enumerate(self._rows):
            names = [cell.strip("\ufeff\u200b \t\r\n\0") for cell in cells]
            if any(names):
                first = first or names
                self._other_delimiter = self._other_delimiter or self._delimiter_with(needed, names)
                if needed <= set(map(_even, names)):
                    if before:
                        self.report.notes[BEFORE_HEADER] += before
                    for _ in range(rows - 1):
                        next(self._rows, None)
                    return names
            if before >= HEADER_WITHIN:
                break
        if first is None:
            if not (self._header_error or self._lines.number):
                raise InputError(f"{self.name}: is empty: it has no header and no rows")
            raise InputError(
                f"{self.name}:1: the first line names no columns; give the mapping `columns`{self._header_error}"
            )
        return first

    def _delimiter_with(self, needed: set[str], names: list[str]) -> str:
        """Another delimiter under which a row has the columns that are needed; "" where there is none."""
        whole = self.delimiter.join(names)
        for delimiter in _DELIMITERS:
            if delimiter != self.delimiter and needed and needed <= set(map(_even, whole.split(delimiter))):
                return delimiter
        return ""

    def _hint(self, column: str) -> str:
        if self._other_delimiter:
            return (
                f"it is there where cells end with {self._other_delimiter!r}:"
                f" give the mapping input.delimiter = {_toml(self._other_delimiter)}"
            )
        close = difflib.get_close_matches(column, self.columns, 1)
        if close:
            return f"did you mean {close[0]!r}?"
        named = ", ".join(name for name in self.columns if name)
        return f"there are {named[:400]}; where lines come before the header, set input.skip_lines"

    def _read(self) -> Iterator[tuple[int, list[str]]]:
        """The rows, header included, each with the line on which it begins."""
        csv.field_size_limit(MAX_FIELD)
        lines = self._lines
        while True:
            try:
                for cells in csv.reader(self._without_null(), **self._dialect):
                    if cells:
                        yield lines.begins, _without_nul(cells) if lines.nul else cells
                    lines.begin()
            except csv.Error as error:
                if cells := self._without_blanks_after_quotes():
                    yield lines.begins, _without_nul(cells) if lines.nul else cells
                    lines.begin()
                else:
                    self._broken(error)
                continue
            return

    def _without_null(self) -> Iterator[str]:
        r"""The lines; where a backslash escapes, a cell `\N` is no N but the NULL of a database, and empty."""
        if self._dialect["escapechar"] != "\\":
            return iter(self._lines)
        delimiter = re.escape(self.delimiter)
        null = re.compile(rf"(^|{delimiter})\\N(?={delimiter}|[\r\n]|$)")
        return (null.sub(r"\1", line) if "\\N" in line else line for line in self._lines)

    def _without_blanks_after_quotes(self) -> list[str]:
        """The cells of a line that goes wrong only by blanks between a quote and a delimiter; none otherwise."""
        quote, held = self._dialect["quotechar"], self._lines.held
        if len(held) != 1 or not quote or self.delimiter == " ":
            return []
        gap = rf"(?<={re.escape(quote)}) +(?={re.escape(self.delimiter)}|[\r\n]|$)"
        try:
            return next(csv.reader([re.sub(gap, "", held[0])], **self._dialect), [])
        except csv.Error:
            return []

    def _broken(self, error: csv.Error) -> None:
        """Tell a row whose quotes go wrong, and read on with the line after its first."""
        begins, until, first = self._lines.begins, self._lines.number, self._lines.held[0]
        message = str(error)
        if not self._lines.again() and until > begins:
            message = f"{error} (lines {begins} to {until})"
        elif until > begins:
            message = f"{error} (read as far as line {until}; line {begins} alone is left out)"
        elif not self._dialect["escapechar"] and '\\"' in first:
            message = f"{error}; a quote after a backslash needs input.escape = '\\'"
        if self._in_header:
            self._header_error = self._header_error or f" (line {begins}: {message})"
            return
        self.report.rows[self.name] += 1
        self.report.problem(self.name, begins, "", "not_csv", message)


def _without_nul(cells: list[str]) -> list[str]:
    """NULs around a value are padding; one within it is no text, and spoils what uses it."""
    return [cell.strip("\0 ").replace("\0", "\udc00") for cell in cells]


def _even(name: str) -> str:
    """A column's name with one blank in the place of line breaks and runs of blanks."""
    return " ".join(name.split())


def _toml(text: str) -> str:
    return '"\\t"' if text == "\t" else f'"{text}"'

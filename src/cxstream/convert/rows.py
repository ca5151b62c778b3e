"""Rows out of CSV and NDJSON files, with the line each begins on. Nothing here is held longer than a batch."""

from __future__ import annotations

import csv
import difflib
import io
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from msgspec import DecodeError
from msgspec.json import Decoder

from cxstream.files.lines import split
from cxstream.files.streams import Source, blocks, opened
from cxstream.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cxstream.convert.report import Report

BLOCK_BYTES = 1 << 20
MAX_LINE = 16 << 20
"""Characters of a CSV line, and bytes of a JSON record; what is longer is told as a problem and not kept."""

MAX_FIELD = 1 << 20
"""Characters of one CSV field. A quote that is never closed stops here at the latest."""


def counted_blocks(source: Source, path: Path, report: Report) -> Iterator[bytes]:
    """The decompressed bytes of an input; the report hears how many stored bytes they took."""
    told = 0
    for block in blocks(source, path, BLOCK_BYTES):
        report.on_bytes(source.taken - told)
        told = source.taken
        yield block
    report.on_bytes(source.taken - told)


class _Reader(io.RawIOBase):
    """Blocks as a file, for the text decoder of the standard library."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self._block = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._block:
            block = next(self._source, None)
            if block is None:
                return 0
            self._block = memoryview(block)
        taken = min(len(buffer), len(self._block))
        buffer[:taken] = self._block[:taken]
        self._block = self._block[taken:]
        return taken


class Table:
    """A CSV file: its columns, and its rows with their lines.

    Iterating gives (line, cells): the 1-based line on which the row begins, and as many cells as there are
    columns. Rows of another length, lines and fields beyond the limits, and quotes that go wrong are problems
    of the report; empty lines are no rows.

    Args:
        path: the file, plain or compressed.
        report: counts rows and hears of problems.
        delimiter: one character between the cells.
        quote: the character that a cell is quoted with; None where quotes mean nothing.
        encoding: of the text.
        columns: names, for a file without a header line.

    Raises:
        InputError: the file cannot be read, its first line names no columns, or the encoding is another.
    """

    def __init__(
        self,
        path: Path,
        report: Report,
        *,
        delimiter: str = ",",
        quote: str | None = '"',
        encoding: str = "utf-8",
        columns: Sequence[str] | None = None,
    ) -> None:
        self.path = path
        self.name = str(path)
        self.report = report
        self.encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in {"utf-8", "utf8"} else encoding
        self._dialect: dict[str, Any] = {
            "delimiter": delimiter,
            "quotechar": quote,
            "quoting": csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            "strict": True,
        }
        self._headless = columns is not None
        self.columns = list(columns) if columns is not None else self._header()
        twice = [name for name in self.columns if self.columns.count(name) > 1]
        if twice:
            raise InputError(f"{path}:1: the column {twice[0]!r} is there twice; rename one of them")

    def index(self, column: str) -> int:
        """The position of a column.

        Raises:
            InputError: there is none of that name.
        """
        if column not in self.columns:
            close = difflib.get_close_matches(column, self.columns, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(self.columns)}"
            raise InputError(f"{self.name}: no column {column!r}; {hint}")
        return self.columns.index(column)

    def select(self, *columns: str) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The rows with only these columns (two or more), in this order."""
        pick = itemgetter(*map(self.index, columns))
        return ((line, pick(cells)) for line, cells in self)

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        width, rows, name = len(self.columns), self.report.rows, self.name
        skip = not self._headless
        for line, cells in self._rows():
            if skip:
                skip = False
                continue
            rows[name] += 1
            if len(cells) == width:
                yield line, cells
            else:
                self.report.problem(name, line, "", "columns", f"{len(cells)} cells for {width} columns")

    def _header(self) -> list[str]:
        with opened(self.path) as source, self._text(blocks(source, self.path, BLOCK_BYTES)) as text:
            try:
                row: list[str] = next(csv.reader([text.readline(MAX_LINE)], **self._dialect), [])
            except csv.Error as error:
                raise InputError(f"{self.name}:1: the first line names no columns ({error})") from error
            except UnicodeError as error:
                raise self._other_encoding(error) from error
        names = [cell.strip() for cell in row]
        if not any(names):
            raise InputError(f"{self.name}:1: the first line names no columns; give the mapping `columns`")
        return names

    def _text(self, source: Iterator[bytes]) -> io.TextIOWrapper:
        # A byte that is no text must spoil its own row only: it passes as a surrogate, which no event can hold.
        file = io.BufferedReader(_Reader(source), BLOCK_BYTES)
        try:
            return io.TextIOWrapper(file, self.encoding, errors="surrogateescape", newline="")
        except LookupError as error:
            raise InputError(f"{self.name}: {error}; name an encoding like utf-8 or cp1250") from error

    def _other_encoding(self, error: UnicodeError) -> InputError:
        return InputError(f"{self.name}: is not {self.encoding} ({error}); name its encoding in the mapping")

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(MAX_FIELD)
        with opened(self.path) as source:
            lines = self._lines(self._text(counted_blocks(source, self.path, self.report)))
            reader = csv.reader(lines, **self._dialect)
            begins = 1
            while True:
                try:
                    for cells in reader:
                        if cells:
                            yield begins, cells
                        begins = reader.line_num + 1
                except csv.Error as error:
                    until = f" (lines {begins} to {reader.line_num})" if reader.line_num > begins else ""
                    self.report.rows[self.name] += 1
                    self.report.problem(self.name, begins, "", "not_csv", f"{error}{until}")
                    begins = reader.line_num + 1
                    continue
                except UnicodeError as error:
                    raise self._other_encoding(error) from error
                return

    def _lines(self, text: io.TextIOWrapper) -> Iterator[str]:
        number = 0
        while line := text.readline(MAX_LINE):
            number += 1
            if len(line) >= MAX_LINE and line[-1] not in "\r\n":
                while (rest := text.readline(MAX_LINE)) and rest[-1] not in "\r\n":
                    pass
                self.report.rows[self.name] += 1
                self.report.problem(self.name, number, "", "too_long", f"more than {MAX_LINE} characters")
                line = "\n"
            yield line


def records(path: Path, report: Report) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of an NDJSON file, each with its 1-based line.

    Lines that hold no JSON object are problems of the report; empty lines are no records.

    Raises:
        InputError: the file cannot be read at all.
    """
    decode = Decoder().decode
    name = str(path)
    with opened(path) as source:
        for batch in split(counted_blocks(source, path, report), BLOCK_BYTES, MAX_LINE):
            report.rows[name] += len(batch.lines)
            for i, (number, line) in enumerate(zip(batch.numbers, batch.lines, strict=True)):
                if i in batch.cut:
                    report.problem(name, number, "", "too_long", f"more than {MAX_LINE} bytes")
                    continue
                try:
                    record = decode(line)
                except (DecodeError, UnicodeDecodeError, RecursionError) as error:
                    report.problem(name, number, "", "not_json", str(error))
                    continue
                if isinstance(record, dict):
                    yield number, record
                else:
                    report.problem(name, number, "", "not_json", f"is not an object but {str(record)[:40]!r}")

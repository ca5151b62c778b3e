"""Records out of JSON and Parquet, with the line or the row of each. Nothing here is held longer than a batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import DecodeError
from msgspec.json import Decoder

from cxstream.convert.stream import BLOCK_BYTES, Stream
from cxstream.convert.text import MAX_LINE
from cxstream.files.shapes import json_records

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from cxstream.convert.report import Report
    from cxstream.files.lines import Records

OPENED = "objects around a list of records, opened"

_LOOKED_AT = 20
_DEEPEST = 3


def records(
    source: Path | Stream, report: Report, wanted: Collection[str] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON input, each with its 1-based line, or its position where records are no lines.

    Values that are no object are problems of the report; empty lines are no records. A list of objects stands for its
    items. So does an object that has none of the wanted columns, and one list of objects, or one, up to three objects
    deep, whose items have more of the wanted columns than those of any other; from there on the number counts the
    records.

    Args:
        source: the input, or the path of one.
        report: counts records and hears of problems.
        wanted: the columns that will be asked for; None where objects are not to be opened.

    Raises:
        InputError: the input cannot be read at all.
    """
    stream = Stream(source, report) if isinstance(source, Path) else source
    names = frozenset(wanted) if wanted else None
    more = 0
    for number, value in _values(
        json_records(stream, stream.name, BLOCK_BYTES, MAX_LINE), stream.name, report
    ):
        if value.__class__ is dict and (names is None or not names.isdisjoint(value)):
            yield number + more, value
            continue
        items = _items(value, names or frozenset(), report)
        report.rows[stream.name] += len(items) - 1
        for item in items:
            if isinstance(item, dict):
                yield number + more, item
            else:
                message = f"is not an object but {str(item)[:40]!r}"
                report.problem(stream.name, number + more, "", "not_json", message)
            more += 1
        more -= 1


def _values(batches: Iterator[Records], name: str, report: Report) -> Iterator[tuple[int, Any]]:
    decode = Decoder().decode
    for batch in batches:
        report.rows[name] += len(batch.lines)
        for i, (number, line) in enumerate(zip(batch.numbers, batch.lines, strict=True)):
            if i in batch.cut:
                message = f"more than {MAX_LINE} bytes; where it holds a list of records, use jq -c '.name[]'"
                report.problem(name, number, "", "too_long", message)
                continue
            try:
                value = decode(line)
            except UnicodeDecodeError as error:
                message = (
                    f"is not UTF-8 (byte {error.object[error.start]:#04x}); convert the file with iconv first"
                )
                report.problem(name, number, "", "not_json", message)
                continue
            except (DecodeError, RecursionError) as error:
                report.problem(name, number, "", "not_json", str(error))
                continue
            yield number, value


def _items(value: Any, wanted: frozenset[str], report: Report) -> list[Any]:
    """The records that a value stands for."""
    if isinstance(value, dict):
        found = _list_of_records(value, wanted)
        if found is not None:
            name, items = found
            report.notes[f"{OPENED} ({name})"] += 1
            return items
    return value if _is_list_of_objects(value) else [value]


def _list_of_records(value: dict[str, Any], wanted: frozenset[str]) -> tuple[str, list[Any]] | None:
    """The one list within an object that holds the records, with its path; None where that is not clear."""
    beside = [(name, items) for name, items in value.items() if _is_list_of_objects(items)]
    if len(beside) == 1:
        return beside[0]
    shares = sorted(
        (
            (max(len(wanted & item.keys()) for item in items[:_LOOKED_AT]), path, items)
            for path, items in _lists(value)
        ),
        key=lambda share: -share[0],
    )
    if not shares or shares[0][0] == 0 or (len(shares) > 1 and shares[1][0] == shares[0][0]):
        return None
    return shares[0][1:]


def _lists(value: dict[str, Any], before: str = "", depth: int = 1) -> Iterator[tuple[str, list[Any]]]:
    for name, part in value.items():
        if _is_list_of_objects(part):
            yield before + name, part
        elif isinstance(part, dict) and depth < _DEEPEST:
            yield from _lists(part, f"{before}{name}.", depth + 1)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


def parquet_rows(path: Path, report: Report, wanted: Collection[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a Parquet file, each with its 1-based number.

    Args:
        path: the file.
        report: counts rows.
        wanted: the columns to read.

    Raises:
        InputError: it cannot be read.
    """
    size, told, number = path.stat().st_size, 0, 0
    for share, rows in _parquet().read_rows(path, BLOCK_BYTES, wanted):
        report.rows[str(path)] += len(rows)
        for row in rows:
            number += 1
            yield number, row
        report.on_bytes(int(share * size) - told)
        told = int(share * size)


def parquet_names(path: Path) -> list[str]:
    """The columns of a Parquet file.

    Raises:
        InputError: it cannot be read.
    """
    names: list[str] = _parquet().names_of(path)
    return names


def _parquet() -> Any:
    from cxstream.files import parquet

    return parquet

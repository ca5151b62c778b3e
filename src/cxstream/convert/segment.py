"""Track, page, screen and identify records, as Segment defined them and RudderStack, Jitsu and many sites emit.

`segment.toml`, beside this file, is the table of what each record means. A user's own mapping goes before it,
for the events that only their site has. Records of visitors without a customer id go before both: they can be
nobody's touchpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.convert.inputs import Rows, is_parquet
from cxstream.convert.mapping import When, load
from cxstream.convert.records import parquet_names, parquet_rows, records
from cxstream.convert.rows import Table
from cxstream.convert.rules import events_from
from cxstream.convert.segment_columns import TIME, columns_of
from cxstream.convert.segment_records import ANONYMOUS, of_customers
from cxstream.convert.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from cxstream.convert.drafts import Draft
    from cxstream.convert.mapping import Event, Mapping, Skip
    from cxstream.convert.report import Report

__all__ = ["ANONYMOUS", "BUILT_IN", "drafts"]

BUILT_IN = Path(__file__).with_name("segment.toml")
_DELIMITERS = {".csv": None, ".tsv": "\t"}


def drafts(
    paths: Sequence[Path],
    report: Report,
    *,
    mapping: Path | None = None,
    source: str | None = None,
    own: Collection[str] = (),
) -> Iterator[Draft]:
    """The touchpoints of Segment-style records, in the order of the input.

    Args:
        paths: JSON of any layout, or rows of a warehouse as JSON, Parquet or CSV.
        report: counts records, and hears of problems and of track events that nothing takes.
        mapping: a mapping file whose events and skips come before the built-in ones; it may leave id, source,
            subject, time and channel to them.
        source: CloudEvents source of the built-in events; `segment` by default.
        own: the kinds of the company's own.

    Raises:
        InputError: a file or the mapping cannot be read.
    """
    table = load(BUILT_IN)
    # The two columns of the table, with the skew of the device's clock taken out of the second.
    defaults = msgspec.structs.replace(
        table.defaults, source=source or table.defaults.source, time=When(column=TIME)
    )
    table = msgspec.structs.replace(table, defaults=defaults)
    layers = [(table, columns_of(report, _events(table)))]
    if mapping is not None:
        layers.insert(0, (load(mapping, defaults=defaults, own=own), columns_of(report)))
    for path in paths:
        name, rows = _open(path, report)
        opened = Rows(name, of_customers(rows, name, report), layers[-1][1])
        yield from events_from(opened, layers, report)


def _events(table: Mapping) -> Iterator[str]:
    """The names of events in a table."""
    entries: list[Skip | Event] = [*table.skip, *table.event]
    for entry in entries:
        names = entry.when.get("event")
        yield from (name for name in (names if isinstance(names, list) else [names]) if isinstance(name, str))


def _open(path: Path, report: Report) -> tuple[str, Iterable[tuple[int, dict[str, Any]]]]:
    if is_parquet(path):
        return str(path), parquet_rows(path, report, parquet_names(path))
    stream = Stream(path, report)
    if path.suffix in _DELIMITERS:
        cells = Table(stream, report, delimiter=_DELIMITERS[path.suffix])
        return stream.name, ((line, dict(zip(cells.columns, row, strict=True))) for line, row in cells)
    return stream.name, records(stream, report)

"""Drafts become a file of touchpoints, each one checked by the decoder that will read it."""

from __future__ import annotations

from itertools import islice
from operator import itemgetter
from typing import IO, TYPE_CHECKING

from cxstream.convert.drafts import encode
from cxstream.scoring.decode import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cxstream.convert.drafts import Draft
    from cxstream.convert.report import Report

_BATCH = 4096


def write(drafts: Iterable[Draft], out: IO[bytes], report: Report, *, in_order: bool) -> int:
    """Write the good events as NDJSON and report the others.

    Args:
        drafts: in the order of the input.
        out: takes the lines.
        report: counts the events, and hears of those that the decoder refuses.
        in_order: sort by event time; events of one time keep the order of the input. Holds all of them in
            memory; without it, memory does not grow with the input.

    Returns:
        How many events were written.
    """
    events = _good(drafts, report)
    written = 0
    for _, raw in sorted(events, key=itemgetter(0)) if in_order else events:
        out.write(raw)
        out.write(b"\n")
        written += 1
    return written


def _good(drafts: Iterable[Draft], report: Report) -> Iterator[tuple[int, bytes]]:
    """Time (ms UTC) and line of each event that the decoder accepts."""
    stream = iter(drafts)
    while batch := list(islice(stream, _BATCH)):
        encoded = list(_encoded(batch, report))
        refused = {index: rest for index, *rest in decode([raw for _, raw in encoded]).rejected}
        for index, (draft, raw) in enumerate(encoded):
            if index in refused:
                reason, field, message = refused[index]
                report.problem(draft.file, draft.line, field, reason, message)
            else:
                report.events[draft.kind] += 1
                yield draft.time_ms, raw


def _encoded(batch: list[Draft], report: Report) -> Iterator[tuple[Draft, bytes]]:
    for draft in batch:
        try:
            yield draft, encode(draft)
        except UnicodeEncodeError as error:
            message = f"holds bytes that are no text in the encoding of the file ({error.reason})"
            report.problem(draft.file, draft.line, "", "encoding", message)

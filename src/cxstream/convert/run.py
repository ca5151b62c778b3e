"""Drafts become a file of touchpoints, each one checked by the decoder that will read it."""

from __future__ import annotations

import re
from itertools import islice
from operator import itemgetter
from typing import IO, TYPE_CHECKING

import numpy as np

from cxstream.convert.drafts import encode
from cxstream.files.spill import Sorter
from cxstream.scoring.codec.decode import decode
from cxstream.scoring.codec.vocabulary import BUILT_IN, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cxstream.convert.drafts import Draft
    from cxstream.convert.report import Report

_BATCH = 4096
_KIND = itemgetter(0)
_WORDS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"Expected `(?:float|int)` >= ([-0-9.]+)", r"must be at least \1"),
        (r"Expected `(?:float|int)` <= ([-0-9.]+)", r"must be at most \1"),
        (r"Expected `str` of length <= ([0-9]+)", r"must have at most \1 characters"),
        (r"Expected `str` of length >= ([0-9]+)", r"must have at least \1 characters"),
        (
            r"Expected `str` matching regex '\^\[A-Z\]\{3\}\$'",
            "must be a currency in three capital letters, such as EUR",
        ),
        (r"Object missing required field `.+`", "is missing; this kind of touchpoint needs it"),
    )
)


def write(
    drafts: Iterable[Draft],
    out: IO[bytes],
    report: Report,
    *,
    in_order: bool,
    vocabulary: Vocabulary = BUILT_IN,
) -> int:
    """Write the good events as NDJSON and report the others.

    Args:
        drafts: in the order of the input.
        out: takes the lines.
        report: counts the events, and hears of those that the decoder refuses.
        in_order: sort by event time; events of one time keep the order of the input.
        vocabulary: the kinds that there are.

    Memory does not grow with the input; what is sorted goes through a temporary file where it is large.

    Returns:
        How many events were written.

    Raises:
        OutputError: the temporary file cannot be written.
    """
    batches = _good(drafts, report, vocabulary)
    if in_order:
        return _write_sorted(batches, out, report)
    written = 0
    for batch, lines in batches:
        _compare([draft.time_ms for draft in batch], report)
        out.write(b"\n".join([*lines, b""]))
        written += len(lines)
    return written


def _write_sorted(batches: Iterator[tuple[list[Draft], list[bytes]]], out: IO[bytes], report: Report) -> int:
    with Sorter() as sorter:
        for batch, lines in batches:
            times = np.array([draft.time_ms for draft in batch], np.int64)
            sorter.add(times, np.zeros_like(times), lines)
        for part in sorter.merged():
            _compare(part.keys.tolist(), report)
            out.write(b"\n".join([*part.values, b""]))
        return sorter.records


def _compare(times: list[int], report: Report) -> None:
    """Take note of the span of the times, and of their order."""
    order = report.order
    for time in times:
        if report.span is None:
            report.span = time, time
            order.before = time
        first, last = report.span
        if time < last:
            order.behind += 1
            order.worst = max(order.worst, last - time)
            order.ahead += time > order.before
            report.span = min(first, time), last
        elif time > last:
            order.ahead += 1
            report.span = first, time
        order.before = time


def _good(
    drafts: Iterable[Draft], report: Report, vocabulary: Vocabulary
) -> Iterator[tuple[list[Draft], list[bytes]]]:
    """The drafts that the decoder accepts, and the line of each."""
    stream = iter(drafts)
    while batch := list(islice(stream, _BATCH)):
        try:
            lines = [encode(draft) for draft in batch]
        except UnicodeEncodeError:
            batch, lines = _encodable(batch, report)
        rejected = decode(lines, vocabulary=vocabulary).rejected
        for bad in rejected:
            draft = batch[bad.index]
            report.problem(draft.file, draft.line, bad.field, bad.reason, _in_words(bad.message))
        if rejected:
            refused = {bad.index for bad in rejected}
            kept = [index for index in range(len(batch)) if index not in refused]
            batch, lines = [batch[index] for index in kept], [lines[index] for index in kept]
        report.events.update(map(_KIND, batch))
        yield batch, lines


def _in_words(message: str) -> str:
    """What the decoder says of a value, as people say it.

    >>> _in_words("Expected `float` >= 0.0"), _in_words("Expected `str` of length <= 128")
    ('must be at least 0.0', 'must have at most 128 characters')
    """
    for pattern, words in _WORDS:
        if found := pattern.fullmatch(message):
            return found.expand(words)
    return message


def _encodable(batch: list[Draft], report: Report) -> tuple[list[Draft], list[bytes]]:
    """What is left of a batch without the drafts that hold bytes which are no text."""
    kept: list[Draft] = []
    lines: list[bytes] = []
    for draft in batch:
        try:
            lines.append(encode(draft))
        except UnicodeEncodeError as error:
            message = f"holds bytes that are no text in the encoding of the file ({error.reason})"
            report.problem(draft.file, draft.line, "", "encoding", message)
        else:
            kept.append(draft)
    return kept, lines

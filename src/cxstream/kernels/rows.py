"""Touchpoints in columns, as Parquet and Arrow have them, to the columns of events: for the *plain* rows, as of `events`.

A row means what the JSON object of its values means, without nulls and without numbers that are NaN. Any row about
which there is a doubt is for the general decoder, which gets that object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.events import (
    BEGIN,
    CHOICE,
    DATA,
    END,
    ENVELOPE,
    LETTERS,
    MOST_STRING,
    MOST_SUBJECT,
    NUMBER,
    SUBJECT,
    TEXT,
    TEXTS,
    TIME,
    TYPE,
    TYPES,
    UNSURE,
    VALUES,
    Contract,
    data_of,
    finished,
    number_of,
)
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.json import after_space
from cxstream.kernels.text import parse_time

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXACT = 2.0**53
_LETTERS = 3


class Cells(NamedTuple):
    """The columns of n rows; of `data` k members, in k columns or in one text of JSON.

    Attributes:
        text: uint8[...], all texts in UTF-8, and WIDE bytes more.
        offsets: int32[texts, n + 1], where the texts of a column begin and end in its part of `text`: i is from i to i + 1.
            The first len(ENVELOPE) columns are those of the envelope.
        bases: int64[texts], where the part of each column begins.
        whole: bool[n], the rows that have all of the envelope.
        times: int64[n], event times, ms UTC; or int64[0], where they are texts.
        members: int64[k], numbers of the members of `data`; -1 for one that the contract does not know.
        forms: uint8[k], what a column holds: TEXT, NUMBER, BOOLEAN, TEXTS, or UNSURE for what JSON alone can say.
        places: int64[k], the row of `offsets` or `numbers` that a column has.
        there: uint8[k, bytes], bits of the rows in which a column has a value, the lowest first.
        bits: int64[k], the bit of the first row.
        numbers: float64[others, n], numbers, NaN for none; 1 for true and 0 for false; of texts how many.
        widest: float64[k], the most bytes of one of the texts of a column of TEXTS.
        in_json: whether `data` is a text of JSON.
    """

    text: NDArray[np.uint8]
    offsets: NDArray[np.int32]
    bases: NDArray[np.int64]
    whole: NDArray[np.bool_]
    times: NDArray[np.int64]
    members: NDArray[np.int64]
    forms: NDArray[np.uint8]
    places: NDArray[np.int64]
    there: NDArray[np.uint8]
    bits: NDArray[np.int64]
    numbers: NDArray[np.float64]
    widest: NDArray[np.float64]
    in_json: bool


@kernel
def _is_long(text: NDArray[np.uint8], begin: int, end: int, most: int) -> bool:
    """Whether a text in UTF-8 has more than so many characters."""
    if end - begin <= most:
        return False
    characters = 0
    for at in range(begin, end):
        characters += text[at] & 0xC0 != 0x80
    return characters > most


@kernel
def _may_be_short(size: int, least: int) -> bool:
    """Whether a text of so many bytes may have fewer than so many characters, each of which has at most 4."""
    return size < (4 * least if least > 1 else least)


@kernel
def _text_fits(
    known: Contract, text: NDArray[np.uint8], begin: int, end: int, kind: int, m: int, numbers: NDArray[np.float64]
) -> bool:  # fmt: skip
    """Whether a text is what a member of a kind may be; its number in `numbers`, where it is one of some words."""
    rule = known.rules[kind, m]
    if _may_be_short(end - begin, rule.least) or _is_long(text, begin, end, rule.most):
        return False
    if rule.form == CHOICE:
        chosen = number_of(known, VALUES + m, text, begin, end)
        if chosen < 0 or not (rule.allowed >> np.uint64(chosen)) & np.uint64(1):
            return False
        numbers[m] = chosen
        return True
    if rule.form == LETTERS:
        if end - begin != _LETTERS:
            return False
        capitals = True
        for at in range(begin, end):
            capitals &= 65 <= text[at] <= 90
        return capitals
    return rule.form == TEXT


@entry
def _members(
    known: Contract, cells: Cells, i: int, kind: int, numbers: NDArray[np.float64], spans: NDArray[np.int64]
) -> tuple[bool, np.uint64]:
    """Check the members of `data` of row i; whether all are valid, and bits of those that are there."""
    present = np.uint64(0)
    for j in range(len(cells.members)):
        at = cells.bits[j] + i
        if not (cells.there[j, at >> 3] >> np.uint8(at & 7)) & np.uint8(1):
            continue
        form, m, place = cells.forms[j], cells.members[j], cells.places[j]
        if form == UNSURE:
            return False, present
        if m < 0:
            continue
        rule = known.rules[kind, m]
        if form == TEXT:
            begin = cells.bases[place] + cells.offsets[place, i]
            end = cells.bases[place] + cells.offsets[place, i + 1]
            if not _text_fits(known, cells.text, begin, end, kind, m, numbers):
                return False, present
            spans[m, BEGIN], spans[m, END] = begin, end
        elif form == TEXTS:
            if rule.form != TEXTS or cells.numbers[place, i] > rule.items or cells.widest[j] > rule.most:
                return False, present
        else:
            value = cells.numbers[place, i]
            if np.isnan(value):
                continue
            if rule.form != form:
                return False, present
            if form == NUMBER and (
                not rule.low <= value <= rule.high
                or abs(value) >= _EXACT
                or (value == 0.0 and np.signbit(value))
                or (rule.whole and value != np.floor(value))
            ):
                return False, present
            numbers[m] = value
        present |= np.uint64(1) << np.uint64(m)
    required = known.required[kind]
    return present & required == required, present


@kernel
def _row(
    known: Contract, cells: Cells, i: int, row: int, columns: NDArray[np.void], sources: NDArray[np.uint64],
    found: NDArray[np.int64], own: NDArray[np.int64], numbers: NDArray[np.float64], spans: NDArray[np.int64],
    members: NDArray[np.uint64], nexts: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Read row i; False where it is not plain, and then what is in its columns means nothing."""
    if not cells.whole[i]:
        return False
    text = cells.text
    for name in range(len(ENVELOPE)):
        begin = cells.bases[name] + cells.offsets[name, i]
        end = cells.bases[name] + cells.offsets[name, i + 1]
        own[name, BEGIN], own[name, END] = begin, end
        if name == DATA or (name == TIME and len(cells.times) > 0):
            continue
        if begin == end or _is_long(text, begin, end, MOST_SUBJECT if name == SUBJECT else MOST_STRING):
            return False
    kind = number_of(known, TYPES, text, own[TYPE, BEGIN], own[TYPE, END])
    if kind < 0:
        return False
    if cells.in_json:
        end = own[DATA, END]
        # What is not complete may go on in the next text: then it ends behind its end.
        at, present = data_of(known, text, after_space(text, own[DATA, BEGIN]), kind, numbers, spans, nexts)
        if at < 0 or at > end or (at < end and after_space(text, at) < end):
            return False
    else:
        fits, present = _members(known, cells, i, kind, numbers, spans)
        if not fits:
            return False
    time = cells.times[i] if len(cells.times) > 0 else parse_time(text, own[TIME, BEGIN], own[TIME, END])
    return finished(
        known, text, i, row, kind, time, present, columns, sources, found, own, numbers, spans, members
    )


@entry
def read_rows(
    known: Contract, cells: Cells, columns: NDArray[np.void], sources: NDArray[np.uint64],
    found: NDArray[np.int64], plain: NDArray[np.bool_], own: NDArray[np.int64], numbers: NDArray[np.float64],
    spans: NDArray[np.int64], members: NDArray[np.uint64], nexts: NDArray[np.int64],
) -> None:  # fmt: skip
    """Read the plain rows of a batch.

    Args:
        known: the contract.
        cells: the rows; a time of BAD_TIME is not plain.
        columns: as of `cxstream.kernels.events.read_events`, and so are the others.
        sources: likewise.
        found: likewise.
        plain: likewise.
        own: likewise.
        numbers: likewise.
        spans: likewise.
        members: likewise.
        nexts: likewise.
    """
    all_of_them = len(numbers) == len(plain)
    for i in range(len(plain)):
        row = i if all_of_them else 0
        plain[i] = _row(
            known, cells, i, i, columns, sources, found, own[row], numbers[row], spans[row], members, nexts
        )

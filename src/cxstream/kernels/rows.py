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
    ROLES,
    SUBJECT,
    TEXT,
    TEXTS,
    TIME,
    TYPE,
    TYPES,
    VALUES,
    Contract,
    data_of,
    finished,
    number_of,
)
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.json import after_space
from cxstream.kernels.text import parse_time
from cxstream.kernels.wide import lowest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXACT = 2.0**53
_ONE = np.uint64(1)
_LETTERS = 3


class Cells(NamedTuple):
    """The columns of n rows; of `data` its members, in columns or in one text of JSON.

    Attributes:
        text: uint8[...], all texts in UTF-8, and WIDE bytes more.
        offsets: int32[texts, n + 1], where the texts of a column begin and end in its part of `text`: i is from i to i + 1.
            The first len(ENVELOPE) columns are those of the envelope. Of a column with codes these are its words.
        coded: int64[texts], the row of `codes` of each column; -1 for one without.
        codes: int32[coded, n], which of the words of a column each row has; without meaning where it has none.
        bases: int64[texts], where the part of each column begins.
        gaps: int64[texts], bytes before each text of a column that do not belong to it; 0 for one with codes.
        whole: bool[n], the rows that have all of the envelope, and in `data` nothing that JSON alone can say.
        times: int64[n], event times, ms UTC; or int64[0], where they are texts.
        present: uint64[n], bits of the members of `data` that each row has a value of.
        forms: uint8[members], what the column of a member holds: TEXT, NUMBER, BOOLEAN or TEXTS.
        places: int64[members], the row of `offsets` or `numbers` that it has.
        numbers: float64[others, n], numbers, NaN for none; 1 for true and 0 for false; of texts how many.
        widest: float64[members], the most bytes of one of the texts of a column of TEXTS.
        in_json: whether `data` is a text of JSON.
    """

    text: NDArray[np.uint8]
    offsets: NDArray[np.int32]
    bases: NDArray[np.int64]
    gaps: NDArray[np.int64]
    coded: NDArray[np.int64]
    codes: NDArray[np.int32]
    whole: NDArray[np.bool_]
    times: NDArray[np.int64]
    present: NDArray[np.uint64]
    forms: NDArray[np.uint8]
    places: NDArray[np.int64]
    numbers: NDArray[np.float64]
    widest: NDArray[np.float64]
    in_json: bool


class Learned(NamedTuple):
    """What a contract says of the words of columns with codes.

    Attributes:
        numbers: int16[coded, words], the number of each word in the space of its column; -1 for an unknown one.
        characters: int32[coded, words], how long it is.
        sure: uint64[kinds], bits of the members that need not be looked at in events of a kind: all words of their columns are
            valid, and nothing is made of their values.
    """

    numbers: NDArray[np.int16]
    characters: NDArray[np.int32]
    sure: NDArray[np.uint64]


@kernel
def _characters(text: NDArray[np.uint8], begin: int, end: int) -> int:
    """How many characters a text in UTF-8 has."""
    characters = 0
    for at in range(begin, end):
        characters += text[at] & 0xC0 != 0x80
    return characters


@kernel
def _note_sure(known: Contract, m: int, words: int, learned: Learned, j: int) -> None:
    """Note the kinds in whose events a member with codes is sure; j is its column among those with codes."""
    characters, numbers = learned.characters[j, :words], learned.numbers[j, :words]
    shortest, longest, all_known, chosen = characters[0], characters[0], True, np.uint64(0)
    for k in range(words):
        shortest, longest = min(shortest, characters[k]), max(longest, characters[k])
        all_known &= numbers[k] >= 0
        chosen |= _ONE << np.uint64(max(numbers[k], 0))
    for kind in range(len(known.rules)):
        rule = known.rules[kind, m]
        fits = shortest >= rule.least and longest <= rule.most
        if rule.form == CHOICE:
            fits &= all_known and chosen & ~rule.allowed == np.uint64(0)
        else:
            fits &= rule.form == TEXT
        if fits and (m >= len(ROLES) or known.fills[kind] == 0):
            learned.sure[kind] |= _ONE << np.uint64(m)


@entry
def learn(
    known: Contract, cells: Cells, columns: NDArray[np.int64], spaces: NDArray[np.int64],
    words: NDArray[np.int64], learned: Learned,
) -> None:  # fmt: skip
    """Look the words of columns with codes up.

    Args:
        known: the contract.
        cells: the columns.
        columns: int64[coded], the row of `offsets` of each column with codes.
        spaces: int64[coded], the space of its words; -1 for none.
        words: int64[coded], how many it has.
        learned: filled in.
    """
    learned.sure[:] = 0
    for j in range(len(columns)):
        base = cells.bases[columns[j]]
        for k in range(words[j]):
            begin, end = base + cells.offsets[columns[j], k], base + cells.offsets[columns[j], k + 1]
            learned.characters[j, k] = _characters(cells.text, begin, end)
            learned.numbers[j, k] = -1
            if spaces[j] >= 0:
                learned.numbers[j, k] = number_of(known, spaces[j], cells.text, begin, end)
        if spaces[j] >= VALUES:
            _note_sure(known, spaces[j] - VALUES, words[j], learned, j)


@kernel
def _is_long(text: NDArray[np.uint8], begin: int, end: int, most: int) -> bool:
    """Whether a text in UTF-8 has more than so many characters."""
    return end - begin > most and _characters(text, begin, end) > most


@kernel
def _may_be_short(size: int, least: int) -> bool:
    """Whether a text of so many bytes may have fewer than so many characters, each of which has at most 4."""
    return size < (4 * least if least > 1 else least)


@kernel
def _text_fits(
    known: Contract, cells: Cells, learned: Learned, place: int, i: int, kind: int, m: int,
    numbers: NDArray[np.float64], spans: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Whether a text is what a member of a kind may be; its number in `numbers`, where it is one of some words."""
    rule, text, j = known.rules[kind, m], cells.text, cells.coded[place]
    word = i if j < 0 else int(cells.codes[j, i])
    begin = cells.bases[place] + cells.gaps[place] + cells.offsets[place, word]
    end = cells.bases[place] + cells.offsets[place, word + 1]
    spans[m, BEGIN], spans[m, END] = begin, end
    if j >= 0:
        if learned.characters[j, word] < rule.least or learned.characters[j, word] > rule.most:
            return False
    elif _may_be_short(end - begin, rule.least) or _is_long(text, begin, end, rule.most):
        return False
    if rule.form == CHOICE:
        chosen = int(learned.numbers[j, word]) if j >= 0 else number_of(known, VALUES + m, text, begin, end)
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
    known: Contract,
    cells: Cells,
    learned: Learned,
    i: int,
    kind: int,
    sure: np.uint64,
    numbers: NDArray[np.float64],
    spans: NDArray[np.int64],
) -> tuple[bool, np.uint64]:
    """Check the members of `data` of row i but the sure ones; whether all are valid, and bits of those that are there."""
    present = cells.present[i]
    left = present & ~sure
    while left != np.uint64(0):
        m = lowest(left)
        left &= left - _ONE
        form, place = cells.forms[m], cells.places[m]
        rule = known.rules[kind, m]
        if form == TEXT:
            if not _text_fits(known, cells, learned, place, i, kind, m, numbers, spans):
                return False, present
        elif form == TEXTS:
            if rule.form != TEXTS or cells.numbers[place, i] > rule.items or cells.widest[m] > rule.most:
                return False, present
        else:
            value = cells.numbers[place, i]
            if np.isnan(value):
                present &= ~(np.uint64(1) << np.uint64(m))
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
    required = known.required[kind]
    return present & required == required, present


@kernel
def _row(
    known: Contract, cells: Cells, learned: Learned, i: int, all_of_it: bool, columns: NDArray[np.void],
    sources: NDArray[np.uint64], found: NDArray[np.int64], own: NDArray[np.int64], numbers: NDArray[np.float64],
    spans: NDArray[np.int64], members: NDArray[np.uint64], nexts: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Read row i, all texts and numbers of it or those that count; False where it is not plain: then its columns mean nothing."""
    if not cells.whole[i]:
        return False
    text = cells.text
    for name in range(len(ENVELOPE)):
        j = cells.coded[name]
        which = i if j < 0 else int(cells.codes[j, i])
        begin = cells.bases[name] + cells.gaps[name] + cells.offsets[name, which]
        end = cells.bases[name] + cells.offsets[name, which + 1]
        own[name, BEGIN], own[name, END] = begin, end
        if name == DATA or (name == TIME and len(cells.times) > 0):
            continue
        if begin == end or _is_long(text, begin, end, MOST_SUBJECT if name == SUBJECT else MOST_STRING):
            return False
    j = cells.coded[TYPE]
    if j >= 0:
        kind = int(learned.numbers[j, cells.codes[j, i]])
    else:
        kind = number_of(known, TYPES, text, own[TYPE, BEGIN], own[TYPE, END])
    if kind < 0:
        return False
    if cells.in_json:
        end = own[DATA, END]
        # What is not complete may go on in the next text: then it ends behind its end.
        last, present = data_of(known, text, after_space(text, own[DATA, BEGIN]), kind, numbers, spans, nexts)
        if last < 0 or last > end or (last < end and after_space(text, last) < end):
            return False
    else:
        sure = np.uint64(0) if all_of_it else learned.sure[kind]
        fits, present = _members(known, cells, learned, i, kind, sure, numbers, spans)
        if not fits:
            return False
    time = cells.times[i] if len(cells.times) > 0 else parse_time(text, own[TIME, BEGIN], own[TIME, END])
    return finished(
        known, text, i, i, kind, time, present, columns, sources, found, own, numbers, spans, members
    )


@entry
def read_rows(
    known: Contract, cells: Cells, learned: Learned, columns: NDArray[np.void],
    sources: NDArray[np.uint64], found: NDArray[np.int64], plain: NDArray[np.bool_], own: NDArray[np.int64], numbers: NDArray[np.float64],
    spans: NDArray[np.int64], members: NDArray[np.uint64], nexts: NDArray[np.int64],
) -> None:  # fmt: skip
    """Read the plain ones of n rows.

    Args:
        known: the contract.
        cells: the rows; a time of BAD_TIME is not plain.
        learned: what `learn` said of their words.
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
            known,
            cells,
            learned,
            i,
            all_of_them,
            columns,
            sources,
            found,
            own[row],
            numbers[row],
            spans[row],
            members,
            nexts,
        )


@entry
def mark(validity: NDArray[np.uint8], first: int, bit: np.uint64, present: NDArray[np.uint64]) -> None:
    """Set a bit for each of n rows in which a column has a value.

    Args:
        validity: uint8[...], a bit a row, the lowest first.
        first: the bit of the first row.
        bit: to set.
        present: uint64[n], changed.
    """
    i, n = 0, len(present)
    while i < n:
        at = first + i
        byte = validity[at >> 3]
        if at & 7 == 0 and byte == 0:  # most columns are empty in most rows
            i += 8
            continue
        if (byte >> np.uint8(at & 7)) & np.uint8(1):
            present[i] |= bit
        i += 1


@entry
def take_offsets(found: NDArray[np.int32], size: int, offsets: NDArray[np.int32]) -> int:
    """Copy where n texts begin and end, from the first one on.

    Args:
        found: int32[n + 1], from any place on.
        size: bytes of the texts.
        offsets: int32[n + 1], filled in.

    Returns:
        The most bytes of one of them; -1 where they do not lie within the texts, one behind the other.
    """
    longest, before = np.int64(0), np.int64(found[0])
    sound, first = found[0] >= 0 and found[len(found) - 1] <= size, found[0]
    for i in range(len(found)):
        at = np.int64(found[i])
        # As 64 bits: the difference of damaged ones may leave 32 bits, and look sound.
        sound &= at >= before
        longest = max(longest, at - before)
        before = at
        offsets[i] = found[i] - first
    return longest if sound else -1


@entry
def take_codes(found: NDArray[np.int32], words: int, codes: NDArray[np.int32]) -> None:
    """Copy which of some words n rows have; 0 where there is none: those of nulls may be anything.

    Args:
        found: int32[n].
        words: how many there are.
        codes: int32[n], filled in.
    """
    for i in range(len(found)):
        codes[i] = found[i] if 0 <= found[i] < words else 0

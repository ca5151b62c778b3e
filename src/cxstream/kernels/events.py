"""Touchpoints in JSON to columns, for the records that this can read without a doubt: the *plain* ones.

What is plain: one JSON object of at most the nesting, the digits and the escapes that `cxstream.kernels.json` reads, no
known name twice, all that is required, each value within its bounds, and a type of the table. So a plain
record is valid. Any other record, valid or not, is for the general decoder, which says what is wrong with it.

What there is to know of types, names and bounds comes in tables, which `cxstream.scoring.codec.plain` makes of the types
of the contract.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.json import after_space, any_string, literal, number, skip
from cxstream.kernels.layout import ABANDONED, HAS_VALUE, NONE, RESOLVED, SWITCHES, UNRESOLVED
from cxstream.kernels.text import BAD_TIME, hash64, parse_time
from cxstream.kernels.wide import WIDE, same, word

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENVELOPE = ("specversion", "id", "source", "type", "subject", "time", "data")
"""Members of the object; each is required."""
_VERSION, _ID, _SOURCE, TYPE, SUBJECT, TIME, DATA = range(7)
_ALL = (1 << 7) - 1

ROLES = (
    "channel", "topic", "case_id", "wait_s", "transfers", "resolved", "abandoned", "x", "y", "amount", "currency",
    "late_days", "score", "rating", "sentiment", "text",
)  # fmt: skip
"""Members of `data` that count: they have the first numbers; the others follow in any order."""
(
    _CHANNEL, _TOPIC, _CASE, _WAIT, _TRANSFERS, _RESOLVED, _ABANDONED, _X, _Y, _AMOUNT, _CURRENCY,
    _LATE, _SCORE, _RATING, _SENTIMENT, _TEXT,
) = range(16)  # fmt: skip

FILLS = ("", "case", "click", "contact", "delivery", "money", "queue", "rating", "score", "sentiment")
"""What a kind fills its columns with."""
_FILL_CASE, _FILL_CLICK, _FILL_CONTACT, _FILL_DELIVERY, _FILL_MONEY = 1, 2, 3, 4, 5
_FILL_QUEUE, _FILL_RATING, _FILL_SCORE, _FILL_SENTIMENT = 6, 7, 8, 9

NAMES, MEMBERS, TYPES, VALUES = 0, 1, 2, 3
"""Spaces of known words: names of the envelope, of `data`, types; from VALUES on the values of each member of `data`."""

UNSURE, TEXT, NUMBER, BOOLEAN, CHOICE, TEXTS, LETTERS = 0, 1, 2, 3, 4, 5, 6
"""Forms of a member: for the general decoder; text; number; true or false; one of some words; texts; a currency."""

RULE = np.dtype(
    [
        ("low", "f8"),  # of a number
        ("high", "f8"),
        ("allowed", "u8"),  # bits of the words of a choice
        ("least", "i4"),  # characters of a text
        ("most", "i4"),
        ("items", "i4"),  # texts, at most
        ("form", "u1"),
        ("required", "u1"),
        ("whole", "u1"),  # a number without a fraction
    ],
    align=True,
)
"""What a member of `data` must be in an event of a kind."""

ABSENT, THERE, CHANGED = 0, 1, 2
"""What a member of `data` is; in a text that is CHANGED there are escapes."""

BEGIN, END = 0, 1
SUBJECT_BEGIN, SUBJECT_END, TOPIC_BEGIN, TOPIC_END, SPANS = 0, 1, 2, 3, 4
"""Places of texts of a plain record; a topic that is not there begins at NONE."""

ESCAPED = np.uint64(1 << 63)
"""Bit beside those of the members: the text of one has an escape, so it is not what lies in the record."""

_MIX = np.uint64(0x9E3779B97F4A7C15)
MOST_STRING, MOST_SUBJECT = 256, 128


NEXT_BEGIN, NEXT_LENGTH, NEXT_MEMBER, NEXT = 0, 1, 2, 3
"""What came behind a member when it came last: where in the text this began, its bytes up to the value, and whose value.

Records of a source have their members in one order and with the same white space. So the bytes between two values are
compared with those that were read there last; where they are equal, they mean the same. What is remembered decides how long
reading takes, and never what is read.
"""

FIRST, UNKNOWN = 0, 1
"""Behind what: the beginning, or a member that nobody knows; from 2 on the others."""


def places_of(kinds: int, members: int) -> int:
    """How much is remembered: of the envelope, and of `data` of each kind."""
    return len(ENVELOPE) + 2 + kinds * (members + 2)


class Contract(NamedTuple):
    """What is known of events.

    Attributes:
        words: uint8[...], the known words one after the other, and WIDE bytes more.
        entries: int64[n, 4], of each word: space, where it begins and ends, number.
        table: int16[2**k], a word by its hash; -1 for none. At most half of it is used.
        rules: RULE[kinds, members].
        required: uint64[kinds], bits of the members that a kind requires.
        fills: uint8[kinds], place in FILLS.
        switches: uint64, bits of the channels that a switch of channels leads to.
    """

    words: NDArray[np.uint8]
    entries: NDArray[np.int64]
    table: NDArray[np.int16]
    rules: NDArray[np.void]
    required: NDArray[np.uint64]
    fills: NDArray[np.uint8]
    switches: NDArray[np.uint64]


@kernel
def _mixed(text: NDArray[np.uint8], at: int, end: int, space: int) -> np.uint64:
    """A hash of length, first, middle and last bytes of a word."""
    n = end - at
    first = word(text, at)
    if n < 8:
        mixed = first & ((np.uint64(1) << np.uint64(8 * n)) - np.uint64(1))
    else:
        middle, last = word(text, at + (n - 8) // 2), word(text, end - 8)
        mixed = first ^ (middle * _MIX) ^ ((last << np.uint64(21)) | (last >> np.uint64(43)))
    mixed = (mixed ^ (np.uint64(n * 64 + space) * _MIX)) * _MIX
    return mixed ^ (mixed >> np.uint64(32))


@kernel
def _equal(words: NDArray[np.uint8], begin: int, text: NDArray[np.uint8], at: int, end: int) -> bool:
    """Whether a word of a text is a known one of the same length."""
    while end - at > WIDE:
        if not same(text, at, words, begin, WIDE):
            return False
        at, begin = at + WIDE, begin + WIDE
    return at == end or same(text, at, words, begin, end - at)


@entry
def place_of(text: NDArray[np.uint8], at: int, end: int, space: int, size: int) -> int:
    """Where to look first for a word in a table of `size`, a power of two; WIDE bytes may be read."""
    return np.int64(_mixed(text, at, end, space) & np.uint64(size - 1))


@entry
def number_of(known: Contract, space: int, text: NDArray[np.uint8], at: int, end: int) -> int:
    """The number of a word in its space; -1 for an unknown one."""
    size = len(known.table)
    i = np.int64(_mixed(text, at, end, space) & np.uint64(size - 1))
    while known.table[i] >= 0:
        entry_ = known.entries[known.table[i]]
        if (
            entry_[0] == space
            and entry_[2] - entry_[1] == end - at
            and _equal(known.words, entry_[1], text, at, end)
        ):
            return entry_[3]
        i = (i + 1) & (size - 1)
    return -1


@kernel
def _texts(text: NDArray[np.uint8], at: int, items: int, most: int) -> int:
    """Where an array of at most `items` texts of at most `most` characters ends; -1 where it is none."""
    if text[at] != 91:
        return -1
    at = after_space(text, at + 1)
    if text[at] == 93:
        return at + 1
    for _ in range(items):
        if text[at] != 34:
            return -1
        at, characters, _ = any_string(text, at + 1)
        if at < 0 or characters > most:
            return -1
        at = after_space(text, at + 1)
        if text[at] == 93:
            return at + 1
        if text[at] != 44:
            return -1
        at = after_space(text, at + 1)
    return -1


@kernel
def _member(
    known: Contract, text: NDArray[np.uint8], at: int, kind: int, m: int,
    numbers: NDArray[np.float64], spans: NDArray[np.int64],
) -> tuple[int, int]:  # fmt: skip
    """Read a member of `data`; returns where it ends, or -1, and whether it is ABSENT (as null is), THERE or CHANGED."""
    rule = known.rules[kind, m]
    form = rule.form
    if text[at] == 110:
        value, at = literal(text, at)
        return (-1 if form == UNSURE or rule.required else at), ABSENT
    if form == TEXT or form == CHOICE or form == LETTERS:
        if text[at] != 34:
            return -1, ABSENT
        begin = at + 1
        at, characters, verbatim = any_string(text, begin)
        if at < 0 or characters < rule.least or characters > rule.most:
            return -1, ABSENT
        spans[m, BEGIN], spans[m, END] = (begin if verbatim else 0), at
        if not verbatim and (form != TEXT or m <= _CASE):
            return -1, ABSENT
        if form == CHOICE:
            chosen = number_of(known, VALUES + m, text, begin, at)
            if chosen < 0 or not (rule.allowed >> np.uint64(chosen)) & np.uint64(1):
                return -1, ABSENT
            numbers[m] = chosen
        elif form == LETTERS:
            if at - begin != 3:
                return -1, ABSENT
            for i in range(begin, at):
                if text[i] < 65 or text[i] > 90:
                    return -1, ABSENT
        return at + 1, (THERE if verbatim else CHANGED)
    if form == NUMBER:
        value, at = number(text, at)
        if at < 0 or not rule.low <= value <= rule.high or (rule.whole and value != np.floor(value)):
            return -1, ABSENT
        numbers[m] = value
        return at, THERE
    if form == BOOLEAN:
        value, at = literal(text, at)
        numbers[m] = value
        return at, THERE
    if form == TEXTS:
        return _texts(text, at, rule.items, rule.most), THERE
    return -1, ABSENT


@kernel
def _named(
    known: Contract, space: int, text: NDArray[np.uint8], at: int, begun: bool, nexts: NDArray[np.int64]
) -> tuple[int, int]:  # fmt: skip
    """The next member of an object.

    Args:
        known: the contract.
        space: of the names.
        text: uint8[...].
        at: where the object begins, or where its last value ends.
        begun: whether there was a value.
        nexts: int64[NEXT], what came here last.

    Returns:
        Where its value begins, or -1, and its number, or -1 for an unknown one; where the object ends, and -2.
    """
    if at > len(text) - WIDE:
        return -1, -1
    if nexts[NEXT_LENGTH] > 0 and same(text, at, text, nexts[NEXT_BEGIN], nexts[NEXT_LENGTH]):
        return after_space(text, at + nexts[NEXT_LENGTH]), nexts[NEXT_MEMBER]
    start = at
    if begun:
        at = after_space(text, at)
        if text[at] == 125:
            return at + 1, -2
        if text[at] != 44:
            return -1, -1
    elif text[at] != 123:
        return -1, -1
    at = after_space(text, at + 1)
    if text[at] != 34:
        return -1, -1
    begin = at + 1
    end, _, verbatim = any_string(text, begin)
    if end < 0 or not verbatim:
        return -1, -1
    name = number_of(known, space, text, begin, end)
    at = after_space(text, end + 1)
    if text[at] != 58:
        return -1, -1
    if at + 1 - start <= WIDE:
        nexts[NEXT_BEGIN], nexts[NEXT_LENGTH], nexts[NEXT_MEMBER] = start, at + 1 - start, name
    return after_space(text, at + 1), name


@entry
def data_of(
    known: Contract, text: NDArray[np.uint8], at: int, kind: int,
    numbers: NDArray[np.float64], spans: NDArray[np.int64], nexts: NDArray[np.int64],
) -> tuple[int, np.uint64]:  # fmt: skip
    """Read `data`; returns where it ends, or -1, and bits of the members that are there."""
    named, present = np.uint64(0), np.uint64(0)
    first = len(ENVELOPE) + 2 + kind * (len(numbers) + 2)
    behind = FIRST
    while True:
        if text[at] == 125 and behind != FIRST:
            at += 1
            break
        at, m = _named(known, MEMBERS, text, at, behind != FIRST, nexts[first + behind])
        if at < 0:
            return -1, present
        if m == -2:
            break
        if m < 0:
            behind = UNKNOWN
            at = skip(text, at)
        else:
            behind = m + 2
            bit = np.uint64(1) << np.uint64(m)
            if named & bit:
                return -1, present
            named |= bit
            at, there = _member(known, text, at, kind, m, numbers, spans)
            if there != ABSENT:
                present |= bit
                if there == CHANGED:
                    present |= ESCAPED
        if at < 0:
            return -1, present
    required = known.required[kind]
    return (at if present & required == required else -1), present


@kernel
def _has(present: np.uint64, m: int) -> bool:
    return (present >> np.uint64(m)) & np.uint64(1) == np.uint64(1)


@kernel
def _contact_flags(known: Contract, present: np.uint64, numbers: NDArray[np.float64]) -> int:
    switched = (known.switches[0] >> np.uint64(numbers[_CHANNEL])) & np.uint64(1)
    flags = SWITCHES if switched else 0
    if _has(present, _ABANDONED) and numbers[_ABANDONED] == 1.0:
        return flags | ABANDONED
    if _has(present, _RESOLVED):
        return flags | (RESOLVED if numbers[_RESOLVED] == 1.0 else UNRESOLVED)
    return flags


@kernel
def _fill(
    known: Contract, text: NDArray[np.uint8], kind: int, present: np.uint64,
    numbers: NDArray[np.float64], spans: NDArray[np.int64], columns: NDArray[np.void], i: int,
) -> None:  # fmt: skip
    """Fill in what `data` of a kind says beyond its points; the columns are 0."""
    fills = known.fills[kind]
    if fills == _FILL_CLICK:
        if _has(present, _X) and _has(present, _Y):
            columns[i].a, columns[i].b, columns[i].flags = numbers[_X], numbers[_Y], HAS_VALUE
    elif fills == _FILL_CONTACT:
        if _has(present, _WAIT):
            columns[i].a = numbers[_WAIT]
        if _has(present, _TRANSFERS):
            columns[i].b = numbers[_TRANSFERS]
        columns[i].flags = _contact_flags(known, present, numbers)
    elif fills == _FILL_MONEY:
        at = spans[_CURRENCY, BEGIN]
        columns[i].a = numbers[_AMOUNT]
        columns[i].case = (
            (np.uint64(text[at]) << np.uint64(16))
            | (np.uint64(text[at + 1]) << np.uint64(8))
            | np.uint64(text[at + 2])
        )
    elif fills == _FILL_DELIVERY:
        if _has(present, _LATE):
            columns[i].a = numbers[_LATE]
    elif fills == _FILL_QUEUE:
        if _has(present, _WAIT):
            columns[i].a = numbers[_WAIT]
    elif fills == _FILL_RATING:
        columns[i].a = numbers[_RATING]
    elif fills == _FILL_SCORE:
        columns[i].a = numbers[_SCORE]
    elif fills == _FILL_SENTIMENT:
        if _has(present, _SENTIMENT):
            columns[i].a, columns[i].flags = numbers[_SENTIMENT], HAS_VALUE
    elif fills == _FILL_CASE:
        begin = spans[_CASE, BEGIN] if _has(present, _CASE) else 0
        end = spans[_CASE, END] if _has(present, _CASE) else 0
        columns[i].case = hash64(text, begin, end, np.uint64(0))


@kernel
def finished(
    known: Contract, text: NDArray[np.uint8], i: int, row: int, kind: int, time: int, present: np.uint64,
    columns: NDArray[np.void], sources: NDArray[np.uint64], found: NDArray[np.int64], own: NDArray[np.int64],
    numbers: NDArray[np.float64], spans: NDArray[np.int64], members: NDArray[np.uint64],
) -> bool:  # fmt: skip
    """Fill in the columns of record i, all of whose members are valid; False where it is not plain."""
    begin = own[_VERSION, BEGIN]
    if own[_VERSION, END] != begin + 3 or text[begin] != 49 or text[begin + 1] != 46 or text[begin + 2] != 48:
        return False
    if time == BAD_TIME:
        return False
    source = hash64(text, own[_SOURCE, BEGIN], own[_SOURCE, END], np.uint64(0))
    sources[i] = source
    columns[i].time, columns[i].kind, columns[i].topic = time, kind, NONE
    columns[i].id = hash64(text, own[_ID, BEGIN], own[_ID, END], source)
    members[row] = present
    _fill(known, text, kind, present, numbers, spans, columns, i)
    found[i, SUBJECT_BEGIN], found[i, SUBJECT_END] = own[SUBJECT, BEGIN], own[SUBJECT, END]
    found[i, TOPIC_BEGIN] = NONE
    if known.fills[kind] == _FILL_CONTACT and _has(present, _TOPIC):
        found[i, TOPIC_BEGIN], found[i, TOPIC_END] = spans[_TOPIC, BEGIN], spans[_TOPIC, END]
    return True


@kernel
def _event(
    known: Contract, text: NDArray[np.uint8], at: int, end: int, i: int, columns: NDArray[np.void],
    sources: NDArray[np.uint64], found: NDArray[np.int64], own: NDArray[np.int64],
    numbers: NDArray[np.float64], spans: NDArray[np.int64], members: NDArray[np.uint64], row: int,
    nexts: NDArray[np.int64],
) -> bool:  # fmt: skip
    """Read record i; False where it is not plain, and then what is in its columns means nothing."""
    if at == end:
        return False
    at = after_space(text, at)
    seen, kind, later, present = 0, -1, -1, np.uint64(0)
    behind = FIRST
    while True:
        at, name = _named(known, NAMES, text, at, behind != FIRST, nexts[behind])
        if at < 0:
            return False
        if name == -2:
            break
        if name < 0:
            behind = UNKNOWN
            at = skip(text, at)
        else:
            behind = name + 2
            if seen & (1 << name):
                return False
            seen |= 1 << name
            if name == DATA:
                if kind >= 0:
                    at, present = data_of(known, text, at, kind, numbers, spans, nexts)
                else:
                    later = at
                    at = skip(text, at)
            else:
                if text[at] != 34:
                    return False
                begin = at + 1
                close, characters, verbatim = any_string(text, begin)
                if close < 0 or not verbatim or characters < 1 or characters > MOST_STRING:
                    return False
                own[name, BEGIN], own[name, END] = begin, close
                if name == TYPE:
                    kind = number_of(known, TYPES, text, begin, close)
                    if kind < 0:
                        return False
                elif name == SUBJECT and characters > MOST_SUBJECT:
                    return False
                at = close + 1
        if at < 0:
            return False
    # A record that is not complete may go on in the next one: then it ends behind its end.
    while at < end and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
        at += 1
    if seen != _ALL or at != end:
        return False
    if later >= 0:
        at, present = data_of(known, text, later, kind, numbers, spans, nexts)
        if at < 0:
            return False
    time = parse_time(text, own[TIME, BEGIN], own[TIME, END])
    return finished(
        known, text, i, row, kind, time, present, columns, sources, found, own, numbers, spans, members
    )


@entry
def read_events(
    known: Contract, text: NDArray[np.uint8], begins: NDArray[np.int64], ends: NDArray[np.int64],
    columns: NDArray[np.void], sources: NDArray[np.uint64], found: NDArray[np.int64], plain: NDArray[np.bool_],
    own: NDArray[np.int64], numbers: NDArray[np.float64], spans: NDArray[np.int64], members: NDArray[np.uint64],
    nexts: NDArray[np.int64],
) -> None:  # fmt: skip
    """Read the plain records of a batch.

    Args:
        known: the contract.
        text: uint8[...], with the records. Behind each lies a byte that no string contains and that ends every token, such as
            NUL or a line feed; and WIDE bytes or more behind the last.
        begins: int64[n], where each begins.
        ends: int64[n], where each ends; one that ends where it begins is not plain.
        columns: EVENT[n], zeros; filled in for plain records, without `slot` and `topic`. The others' mean nothing.
        sources: uint64[n], hash of each source; likewise.
        found: int64[n, SPANS], where texts of it lie; likewise.
        plain: bool[n], filled in.
        own: int64[k, len(ENVELOPE), 2], where the texts of the envelope lie; k is n, or 1 where nobody needs them.
        numbers: float64[k, members], the numbers in `data`, and 1 and 0 for true and false.
        spans: int64[k, members, 2], where the texts in `data` lie.
        members: uint64[n], bits of the members of `data` that are there, and ESCAPED; the others' entries of `numbers` and
            `spans` mean nothing.
        nexts: int64[places_of(kinds, members), NEXT], zeros; what is remembered.
    """
    all_of_them = len(numbers) == len(ends)
    for i in range(len(ends)):
        row = i if all_of_them else 0
        plain[i] = _event(
            known,
            text,
            begins[i],
            ends[i],
            i,
            columns,
            sources,
            found,
            own[row],
            numbers[row],
            spans[row],
            members,
            i,
            nexts,
        )

"""JSON documents that all have the same form: constant text, and between it values from columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.kernels.decimals import (
    DAY_BYTES,
    NUMBER_BYTES,
    TIME_BYTES,
    WHOLE_BYTES,
    put_day,
    put_number,
    put_time,
    put_whole,
)
from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.layout import NO_DAY
from cxstream.kernels.wide import WIDE, copy, special

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What stands at a place of a form. The column is one of `numbers` for NUMBER, else of `wholes`.
NUMBER = 0  # a float; null where it is NaN
WHOLE = 1  # a whole number
TIME = 2  # ms UTC
DAY = 3  # a day in quotes; null for NO_DAY
WORD = 4  # number of a text that is JSON already
STRING = 5  # number of a text, to be escaped

_QUOTE, _BACKSLASH, _SPACE, _ZERO, _U = 34, 92, 32, 48, 117
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8).copy()
# What follows a backslash in place of a control character; 0: u00 and its number.
_SHORT = np.zeros(_SPACE, np.uint8)
_SHORT[[8, 9, 10, 12, 13]] = np.frombuffer(b"btnfr", np.uint8)
ESCAPED_BYTES = 6
"""The most bytes for one of a text that is escaped."""
# The most bytes of what is no text, by what it is.
_ROOM = np.array([NUMBER_BYTES, WHOLE_BYTES, TIME_BYTES, DAY_BYTES, 0, 0])


class Form(NamedTuple):
    """Constant text, and what stands between it.

    Attributes:
        text: uint8[...], the constant texts one after the other, and WIDE more bytes.
        ends: int64[m + 1], where each ends.
        kinds: int64[m], what stands behind each but the last.
        columns: int64[m], where it comes from.
    """

    text: NDArray[np.uint8]
    ends: NDArray[np.int64]
    kinds: NDArray[np.int64]
    columns: NDArray[np.int64]


class Texts(NamedTuple):
    """Texts that lie in one.

    Attributes:
        text: uint8[...], with WIDE bytes behind the last.
        begins: int64[n].
        ends: int64[n].
    """

    text: NDArray[np.uint8]
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]


@kernel
def put_text(out: NDArray[np.uint8], at: int, text: NDArray[np.uint8], begin: int, end: int) -> int:
    """Copy a text; up to WIDE bytes behind it are overwritten. Returns where it ends."""
    stop = at + end - begin
    while begin < end:
        copy(text, begin, out, at)
        begin += WIDE
        at += WIDE
    return stop


@kernel
def put_escaped(out: NDArray[np.uint8], at: int, text: NDArray[np.uint8], begin: int, end: int) -> int:
    """Write a text within a string of JSON; up to WIDE bytes behind it are overwritten. Returns where it ends."""
    n = end - begin
    if n <= WIDE and (special(text, begin) & ((np.uint64(1) << np.uint64(n)) - np.uint64(1))) == np.uint64(0):
        copy(text, begin, out, at)
        return at + n
    for i in range(begin, end):
        byte = text[i]
        if byte >= _SPACE and byte != _QUOTE and byte != _BACKSLASH:
            out[at] = byte
            at += 1
            continue
        out[at] = _BACKSLASH
        if byte >= _SPACE:
            out[at + 1] = byte
            at += 2
        elif _SHORT[byte] != 0:
            out[at + 1] = _SHORT[byte]
            at += 2
        else:
            out[at + 1], out[at + 2], out[at + 3] = _U, _ZERO, _ZERO
            out[at + 4], out[at + 5] = _HEX[byte >> 4], _HEX[byte & 15]
            at += ESCAPED_BYTES
    return at


@kernel
def _put_day_or_null(out: NDArray[np.uint8], at: int, day: int) -> int:
    if day == NO_DAY:
        out[at], out[at + 1], out[at + 2], out[at + 3] = 110, 117, 108, 108
        return at + 4
    out[at] = _QUOTE
    at = put_day(out, at + 1, day)
    out[at] = _QUOTE
    return at + 1


@entry
def room(form: Form, wholes: NDArray[np.int64], words: Texts, names: Texts) -> int:
    """The most bytes that documents take; arguments as of `fill_in`."""
    each = form.ends[len(form.kinds)]
    for place in range(len(form.kinds)):
        each += _ROOM[form.kinds[place]]
    size = len(wholes) * each
    for place in range(len(form.kinds)):
        kind, column = form.kinds[place], form.columns[place]
        for i in range(len(wholes) if kind == WORD or kind == STRING else 0):
            whole = wholes[i, column]
            if kind == WORD:
                size += words.ends[whole] - words.begins[whole]
            else:
                size += ESCAPED_BYTES * (names.ends[whole] - names.begins[whole])
    return size


@entry
def fill_in(
    form: Form, bits: NDArray[np.uint64], wholes: NDArray[np.int64], words: Texts, names: Texts,
    out: NDArray[np.uint8], ends: NDArray[np.int64],
) -> int:  # fmt: skip
    """Write documents one after the other.

    Args:
        form: of all of them.
        bits: uint64[n, ...], floats as they lie in memory.
        wholes: int64[n, ...].
        words: what is JSON already.
        names: what is to be escaped.
        out: uint8[...], filled in; WIDE bytes behind the last document must be there.
        ends: int64[n], filled in: where each document ends.

    Returns:
        Where the last one ends.
    """
    at = 0
    for i in range(len(ends)):
        begin = 0
        for place in range(len(form.kinds)):
            at = put_text(out, at, form.text, begin, form.ends[place])
            begin = form.ends[place]
            kind, column = form.kinds[place], form.columns[place]
            if kind == NUMBER:
                at = put_number(out, at, bits[i, column])
                continue
            whole = wholes[i, column]
            if kind == WHOLE:
                at = put_whole(out, at, whole)
            elif kind == TIME:
                at = put_time(out, at, whole)
            elif kind == DAY:
                at = _put_day_or_null(out, at, whole)
            elif kind == WORD:
                at = put_text(out, at, words.text, words.begins[whole], words.ends[whole])
            else:
                at = put_escaped(out, at, names.text, names.begins[whole], names.ends[whole])
        at = put_text(out, at, form.text, begin, form.ends[len(form.kinds)])
        ends[i] = at
    return at

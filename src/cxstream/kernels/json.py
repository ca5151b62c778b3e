"""The grammar of JSON (RFC 8259) over bytes: places of values, without objects.

Each function answers only where it is certain. -1 means "not certain": not JSON, or JSON that is rare enough for a
general parser to read (escapes of code points, numbers that one rounding does not give exactly, deep nesting). So whatever
is certain here is valid for every parser of JSON, and has one meaning.

A text must be followed by a byte that no JSON contains outside of strings and no string contains, such as NUL, and by
WIDE bytes that may be read: then no function has to look for the end. What would go on into the last WIDE bytes of an array
is not certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.wide import WIDE, lowest, special

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_NESTED = 60
"""Arrays and objects in each other that `skip` follows: a bit each in 64."""

MAX_DIGITS = 15
"""Digits of a number: with these, mantissa and power of ten are exact, and their product or quotient is rounded once."""
MAX_POWER = 22
_POWERS = np.array([10.0**i for i in range(MAX_POWER + 1)])

_ONE = np.uint64(1)


@kernel
def _after_character(text: NDArray[np.uint8], at: int) -> int:
    """Where a character of several bytes ends (Unicode 15, table 3-7); -1 where it is none."""
    first = text[at]
    low, high, more = 0x80, 0xBF, 1
    if first < 0xC2 or first > 0xF4:
        return -1
    if first >= 0xE0:
        more = 2
        if first == 0xE0:
            low = 0xA0
        elif first == 0xED:
            high = 0x9F
        elif first >= 0xF0:
            more = 3
            if first == 0xF0:
                low = 0x90
            elif first == 0xF4:
                high = 0x8F
    if text[at + 1] < low or text[at + 1] > high:
        return -1
    for i in range(2, more + 1):
        if text[at + i] < 0x80 or text[at + i] > 0xBF:
            return -1
    return at + more + 1


@entry
def string(text: NDArray[np.uint8], at: int) -> tuple[int, int, bool]:
    r"""A string from behind its first quote.

    Returns:
        Where its last quote is, or -1, also for an escape `\u`; its characters; whether there is no escape.
    """
    less, verbatim = at, True  # `less`: where a string would begin that has one byte a character
    limit = len(text) - WIDE
    while at <= limit:
        marks = special(text, at)
        if marks == np.uint64(0):
            at += WIDE
            continue
        at += lowest(marks)
        if at > limit:
            break
        byte = text[at]
        if byte == 34:
            return at, at - less, verbatim
        if byte == 92:
            escaped = text[at + 1]
            if not (
                escaped == 34
                or escaped == 92
                or escaped == 47
                or escaped == 98
                or escaped == 102
                or escaped == 110
                or escaped == 114
                or escaped == 116
            ):
                return -1, 0, False
            verbatim = False
            at += 2
            less += 1
            continue
        if byte < 0x80:
            return -1, 0, False
        end = _after_character(text, at)
        if end < 0:
            return -1, 0, False
        less += end - at - 1
        at = end
    return -1, 0, False


@kernel
def short_string(text: NDArray[np.uint8], at: int) -> int:
    """Where the last quote of a string is that is shorter than WIDE and plain ASCII, from behind its first; or -1."""
    limit = len(text) - WIDE
    if at > limit:
        return -1
    marks = special(text, at)
    if marks == np.uint64(0):
        return -1
    at += lowest(marks)
    return at if text[at] == 34 and at <= limit else -1


@kernel
def any_string(text: NDArray[np.uint8], at: int) -> tuple[int, int, bool]:
    """As `string`; a short one takes less time."""
    close = short_string(text, at)
    if close >= 0:
        return close, close - at, True
    return string(text, at)


@kernel
def after_space(text: NDArray[np.uint8], at: int) -> int:
    """The place of the first byte that is no white space."""
    while text[at] <= 32 and (text[at] == 32 or text[at] == 10 or text[at] == 13 or text[at] == 9):
        at += 1
        if at >= len(text) - WIDE:
            break
    return at


@entry
def number(text: NDArray[np.uint8], at: int) -> tuple[float, int]:
    """A number as a correctly rounded parser reads it, and where it ends; -1 where one rounding does not give it.

    That is so for more than MAX_DIGITS digits, for a large exponent, and for a zero with a sign.
    """
    negative = text[at] == 45
    if negative:
        at += 1
    first = at
    mantissa = np.int64(0)
    while np.uint8(text[at] - np.uint8(48)) < 10:
        if at - first >= MAX_DIGITS:
            return 0.0, -1
        mantissa = mantissa * 10 + (np.int64(text[at]) - 48)
        at += 1
    digits = at - first
    if digits == 0 or (digits > 1 and text[first] == 48):
        return 0.0, -1
    power = 0
    if text[at] == 46:
        first = at + 1
        at = first
        while np.uint8(text[at] - np.uint8(48)) < 10:
            if digits + at - first >= MAX_DIGITS:
                return 0.0, -1
            mantissa = mantissa * 10 + (np.int64(text[at]) - 48)
            at += 1
        if at == first:
            return 0.0, -1
        power = first - at
    if text[at] == 101 or text[at] == 69:
        at += 1
        sign = 1
        if text[at] == 43 or text[at] == 45:
            sign = -1 if text[at] == 45 else 1
            at += 1
        first = at
        exponent = 0
        while np.uint8(text[at] - np.uint8(48)) < 10:
            if at - first >= 3:
                return 0.0, -1
            exponent = exponent * 10 + (np.int64(text[at]) - 48)
            at += 1
        if at == first:
            return 0.0, -1
        power += sign * exponent
    if power < -MAX_POWER or power > MAX_POWER or (negative and mantissa == 0):
        return 0.0, -1
    value = np.float64(mantissa)
    if power < 0:
        value /= _POWERS[-power]
    elif power > 0:
        value *= _POWERS[power]
    return (-value if negative else value), at


@kernel
def literal(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """`true` (1), `false` (0) or `null` (2), and where it ends, or -1."""
    if text[at] == 116 and text[at + 1] == 114 and text[at + 2] == 117 and text[at + 3] == 101:
        return 1, at + 4
    if text[at] == 110 and text[at + 1] == 117 and text[at + 2] == 108 and text[at + 3] == 108:
        return 2, at + 4
    if (
        text[at] == 102
        and text[at + 1] == 97
        and text[at + 2] == 108
        and text[at + 3] == 115
        and text[at + 4] == 101
    ):
        return 0, at + 5
    return 0, -1


@kernel
def _after_name(text: NDArray[np.uint8], at: int) -> int:
    """Where the value of a member begins whose name begins at a place; -1 where there is none."""
    if text[at] != 34:
        return -1
    at, _, _ = string(text, at + 1)
    if at < 0:
        return -1
    at = after_space(text, at + 1)
    return after_space(text, at + 1) if text[at] == 58 else -1


@kernel
def _after_scalar(text: NDArray[np.uint8], at: int) -> int:
    """Where a string, number or literal ends; -1 where there is none."""
    byte = text[at]
    if byte == 34:
        at, _, _ = string(text, at + 1)
        return at + 1 if at >= 0 else -1
    if byte == 116 or byte == 102 or byte == 110:
        _, at = literal(text, at)
        return at
    _, at = number(text, at)
    return at


@entry
def skip(text: NDArray[np.uint8], at: int) -> int:
    """Where the value that begins at a place ends; -1 where it is not certain."""
    objects = np.uint64(0)  # a bit a level, the innermost lowest: whether it is an object
    level, limit = 0, len(text) - WIDE
    while at <= limit:
        byte = text[at]
        if byte == 123 or byte == 91:
            if level == MAX_NESTED:
                return -1
            level += 1
            inside = byte == 123
            objects = (objects << _ONE) | np.uint64(inside)
            at = after_space(text, at + 1)
            if text[at] != (125 if inside else 93):
                if inside:
                    at = _after_name(text, at)
                    if at < 0:
                        return -1
                continue
            # It is empty: its end is found below.
        else:
            at = _after_scalar(text, at)
            if at < 0 or level == 0:
                return at
            at = after_space(text, at)
        while True:
            if at > limit:
                return -1
            inside = (objects & _ONE) == _ONE
            if text[at] == 44:
                at = after_space(text, at + 1)
                if inside:
                    at = _after_name(text, at)
                    if at < 0:
                        return -1
                break
            if text[at] != (125 if inside else 93):
                return -1
            at += 1
            level -= 1
            objects >>= _ONE
            if level == 0:
                return at
            at = after_space(text, at)
    return -1

"""Text columns: RFC 3339 times, 64-bit hashes and Kafka's partitioner over many strings at once.

Strings come as one uint8 buffer and the int64 end of each: `ends[i - 1] .. ends[i]` is string i.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import entry, kernel
from cxstream.kernels.wide import word

if TYPE_CHECKING:
    from numpy.typing import NDArray

BAD_TIME = np.iinfo(np.int64).min
_MURMUR64 = np.uint64(0xC6A4A7935BD1E995)
_MURMUR32 = np.uint32(0x5BD1E995)


@kernel
def _digits(text: NDArray[np.uint8], at: int, n: int) -> int:
    value = 0
    for i in range(at, at + n):
        digit = np.int64(text[i]) - 48
        if digit < 0 or digit > 9:
            return -1
        value = value * 10 + digit
    return value


@kernel
def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the proleptic Gregorian calendar (Howard Hinnant's days_from_civil)."""
    y = year - (1 if month <= 2 else 0)
    era = y // 400
    yoe = y - era * 400
    doy = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    doe = yoe * 365 + yoe // 4 - yoe // 100 + doy
    return era * 146097 + doe - 719468


@kernel
def _month_days(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


_ZEROS, _SIXES = np.uint64(0x3030303030303030), np.uint64(0x0606060606060606)
_HIGH_HALVES, _TEN, _BYTE = np.uint64(0xF0F0F0F0F0F0F0F0), np.uint64(10), np.uint64(0xFF)
# Eight bytes of a time, the first one lowest: which are digits, and what the others are.
_YEAR, _OF_YEAR = np.uint64(0x0000000000FFFFFFFF), np.uint64(0x2D00002D00000000)  # YYYY-..-
_DATE, _OF_DATE = np.uint64(0x00FFFF00FFFF00FF), np.uint64(0x5400002D00002D00)  # Y-MM-DDT
_CLOCK, _OF_CLOCK = np.uint64(0xFFFF00FFFF00FFFF), np.uint64(0x00003A00003A0000)  # hh:mm:ss
_MILLI, _OF_MILLI = np.uint64(0x00FFFFFF00FFFF00), np.uint64(0x5A0000002E00003A)  # :ss.fffZ
_NO_DIGITS = ~np.uint64(0)


@kernel
def _digits_of(found: np.uint64, digits: np.uint64, others: np.uint64) -> np.uint64:
    """The digits among 8 bytes as numbers, 0 elsewhere; _NO_DIGITS where one is none, or something else is elsewhere."""
    numbers = (found ^ _ZEROS) & digits
    bad = (((numbers + _SIXES) | numbers) & _HIGH_HALVES) | ((found & ~digits) ^ others)
    return numbers if bad == np.uint64(0) else _NO_DIGITS


@kernel
def _byte(of: np.uint64, place: int) -> int:
    return np.int64((of >> np.uint64(8 * place)) & _BYTE)


@kernel
def _pairs(digits: np.uint64) -> np.uint64:
    """The numbers of two digits that begin at each of 8 bytes but the last."""
    return digits * _TEN + (digits >> np.uint64(8))


@kernel
def _usual_time(text: NDArray[np.uint8], at: int, end: int) -> int:
    """A time such as 2026-03-01T12:34:56.789Z or 2026-03-01T12:34:56Z, read 8 bytes at a time; BAD_TIME for any other."""
    milli = 0
    if end - at == 24:
        digits = _digits_of(word(text, at + 16), _MILLI, _OF_MILLI)
        if digits == _NO_DIGITS:
            return BAD_TIME
        milli = 100 * _byte(digits, 4) + 10 * _byte(digits, 5) + _byte(digits, 6)
    elif end - at != 20 or text[at + 19] != 90:
        return BAD_TIME
    first = word(text, at)
    year = _digits_of(first & ~np.uint64(0x00FFFF0000000000), _YEAR, _OF_YEAR)
    date = _digits_of(word(text, at + 3), _DATE, _OF_DATE)
    clock = _digits_of(word(text, at + 11), _CLOCK, _OF_CLOCK)
    if year == _NO_DIGITS or date == _NO_DIGITS or clock == _NO_DIGITS:
        return BAD_TIME
    year, date, clock = _pairs(year), _pairs(date), _pairs(clock)
    y, m, d = 100 * _byte(year, 0) + _byte(year, 2), _byte(date, 2), _byte(date, 5)
    hour, minute, second = _byte(clock, 0), _byte(clock, 3), _byte(clock, 6)
    if y < 1 or m < 1 or m > 12 or d < 1 or d > _month_days(y, m) or hour > 23 or minute > 59 or second > 59:
        return BAD_TIME
    return (_days(y, m, d) * 86400 + hour * 3600 + minute * 60 + second) * 1000 + milli


@kernel
def parse_time(text: NDArray[np.uint8], at: int, end: int) -> int:
    """One RFC 3339 time with an offset.

    Years 0001 to 9999, `T` and `Z` in either case, any number of fraction digits (cut to milliseconds),
    no leap second.

    Returns:
        ms UTC, or BAD_TIME.
    """
    if end - at < 20:
        return BAD_TIME
    usual = _usual_time(text, at, end)
    if usual != BAD_TIME:
        return usual
    year, month, day = _digits(text, at, 4), _digits(text, at + 5, 2), _digits(text, at + 8, 2)
    hour, minute, second = _digits(text, at + 11, 2), _digits(text, at + 14, 2), _digits(text, at + 17, 2)
    if text[at + 4] != 45 or text[at + 7] != 45 or text[at + 13] != 58 or text[at + 16] != 58:
        return BAD_TIME
    if text[at + 10] != 84 and text[at + 10] != 116:
        return BAD_TIME
    if year < 1 or month < 1 or month > 12 or day < 1 or day > _month_days(year, month):
        return BAD_TIME
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return BAD_TIME
    i = at + 19
    milli = 0
    if text[i] == 46:
        i += 1
        scale = 100
        first = i
        while i < end and 48 <= text[i] <= 57:
            milli += (np.int64(text[i]) - 48) * scale
            scale //= 10
            i += 1
        if i == first or i == end:
            return BAD_TIME
    offset = 0
    if text[i] == 90 or text[i] == 122:
        if i + 1 != end:
            return BAD_TIME
    else:
        if i + 6 != end or text[i + 3] != 58 or (text[i] != 43 and text[i] != 45):
            return BAD_TIME
        hours, minutes = _digits(text, i + 1, 2), _digits(text, i + 4, 2)
        if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
            return BAD_TIME
        offset = (hours * 60 + minutes) * (1 if text[i] == 43 else -1)
    seconds = _days(year, month, day) * 86400 + hour * 3600 + (minute - offset) * 60 + second
    return seconds * 1000 + milli


@entry
def parse_times(text: NDArray[np.uint8], ends: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Fill `out`, int64[n], with ms UTC or BAD_TIME; see `parse_time`."""
    at = 0
    for i in range(len(ends)):
        out[i] = parse_time(text, at, ends[i])
        at = ends[i]


@kernel
def _word(text: NDArray[np.uint8], at: int, n: int) -> np.uint64:
    word = np.uint64(0)
    for i in range(n):
        word |= np.uint64(text[at + i]) << np.uint64(8 * i)
    return word


@entry
def hash64(text: NDArray[np.uint8], at: int, end: int, seed: np.uint64) -> np.uint64:
    """MurmurHash64A (Austin Appleby, public domain) of text[at:end]."""
    n = end - at
    h = seed ^ (np.uint64(n) * _MURMUR64)
    while end - at >= 8:
        mixed = word(text, at) * _MURMUR64
        mixed ^= mixed >> np.uint64(47)
        h = (h ^ (mixed * _MURMUR64)) * _MURMUR64
        at += 8
    if at < end:
        # The last bytes are at the top of the last 8.
        rest = word(text, end - 8) >> np.uint64(8 * (8 - (end - at))) if n >= 8 else _word(text, at, end - at)
        h = (h ^ rest) * _MURMUR64
    h = (h ^ (h >> np.uint64(47))) * _MURMUR64
    return h ^ (h >> np.uint64(47))


@entry
def hash_all(
    text: NDArray[np.uint8], ends: NDArray[np.int64], seeds: NDArray[np.uint64], out: NDArray[np.uint64]
) -> None:
    """Fill `out`, uint64[n], with the hash of each string under its own seed."""
    at = 0
    for i in range(len(ends)):
        out[i] = hash64(text, at, ends[i], seeds[i])
        at = ends[i]


@entry
def murmur2(text: NDArray[np.uint8], at: int, end: int) -> np.uint32:
    """Kafka's default partitioner hash of text[at:end], as unsigned 32 bits."""
    n = end - at
    h = np.uint32(0x9747B28C) ^ np.uint32(n)
    while end - at >= 4:
        # Numba widens a product of two uint32.
        word = np.uint32(np.uint32(_word(text, at, 4)) * _MURMUR32)
        word = np.uint32(word ^ (word >> np.uint32(24)))
        h = np.uint32(np.uint32(h * _MURMUR32) ^ np.uint32(word * _MURMUR32))
        at += 4
    if at < end:
        h = np.uint32(np.uint32(h ^ np.uint32(_word(text, at, end - at))) * _MURMUR32)
    h = np.uint32(np.uint32(h ^ (h >> np.uint32(13))) * _MURMUR32)
    return np.uint32(h ^ (h >> np.uint32(15)))


@entry
def partitions(
    text: NDArray[np.uint8],
    begins: NDArray[np.int64],
    ends: NDArray[np.int64],
    count: int,
    out: NDArray[np.int32],
) -> None:
    """Fill `out`, int32[n], with the Kafka partition of each key among `count`; key i is text[begins[i]:ends[i]]."""
    for i in range(len(ends)):
        out[i] = np.int64(murmur2(text, begins[i], ends[i]) & np.uint32(0x7FFFFFFF)) % count


@entry
def depth(text: NDArray[np.uint8]) -> int:
    """How deeply brackets outside of strings are nested in a JSON text, well-formed or not."""
    level = deepest = 0
    inside = escaped = False
    for byte in text:
        if inside:
            if escaped:
                escaped = False
            elif byte == 92:
                escaped = True
            elif byte == 34:
                inside = False
        elif byte == 34:
            inside = True
        elif byte in (91, 123):
            level += 1
            deepest = max(deepest, level)
        elif byte in (93, 125):
            level -= 1
    return deepest

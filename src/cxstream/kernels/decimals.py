"""Numbers in JSON: whole ones, times, and floats in shortest round-trip form, byte for byte as msgspec writes them.

The digits of a float are those of Schubfach (Raffaello Giulietti, The Schubfach way to render doubles, 2022): of the numbers
that read back as the float, one with the fewest digits, and of these the nearest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxstream.kernels.jit import kernel
from cxstream.kernels.wide import high

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.kernels.purchases import Int

# The most bytes of a float, of a whole number, of a day and of a time.
NUMBER_BYTES, WHOLE_BYTES, DAY_BYTES, TIME_BYTES = 25, 20, 16, 32

_LEAST, _MOST = -292, 324
_DAY_MS = 86_400_000
_ZERO, _ONE, _TWO, _FOUR, _TEN, _FORTY, _HUNDRED = (np.uint64(n) for n in (0, 1, 2, 4, 10, 40, 100))
_HIDDEN, _FRACTION_BITS, _ALL = np.uint64(1 << 52), np.uint64(52), np.uint64((1 << 63) - 1)
_NOT_FINITE = np.uint64(0x7FF << 52)
_MINUS, _PLAIN_ZERO, _POINT, _RAISED = 45, 48, 46, 101
# Numbers with that many digits before the point, and zeros behind it, are written without an exponent.
_MOST_BEFORE, _MOST_ZEROS = 16, 4
_EIGHT_DIGITS = np.uint64(10**8)
_WITH_DIGITS = np.array([10**n for n in range(20)], np.uint64)
_PAIRS = np.frombuffer(b"".join(b"%02d" % n for n in range(100)), np.uint8).copy()


def _tens() -> NDArray[np.uint64]:
    """10^k for _LEAST <= k <= _MOST: the 128 bits that come first, rounded up; the upper half, and the lower half."""
    table = np.empty((_MOST - _LEAST + 1, 2), np.uint64)
    for row, k in zip(table, range(_LEAST, _MOST + 1), strict=True):
        moved = 127 - (k * 1741647 >> 19)
        above, below = 10 ** max(k, 0) << max(moved, 0), 10 ** max(-k, 0) << max(-moved, 0)
        whole = -(-above // below)
        row[0], row[1] = whole >> 64, whole & ((1 << 64) - 1)
    return table


_TENS = _tens()


@kernel
def _scaled(upper: np.uint64, lower: np.uint64, n: np.uint64) -> np.uint64:
    """The upper 64 of the 192 bits of a product, the last bit set where there is anything below that matters."""
    middle = upper * n
    below = middle + high(lower, n)
    carried = high(upper, n) + (_ONE if below < middle else _ZERO)
    return carried | (_ONE if below > _ONE else _ZERO)


@kernel
def _shortest(bits: np.uint64) -> tuple[np.uint64, int]:
    """Digits and power of ten of a positive float; the digits may end in zeros."""
    fraction = bits & (_HIDDEN - _ONE)
    raised = np.int64(bits >> _FRACTION_BITS)
    if raised != 0:
        c, q = fraction | _HIDDEN, raised - 1075
        if q <= 0 and q > -53 and (c & ((_ONE << np.uint64(-q)) - _ONE)) == _ZERO:
            return c >> np.uint64(-q), 0
    else:
        c, q = fraction, np.int64(-1074)
    odd = c & _ONE
    # Below a power of two floats lie half as far apart.
    closer = fraction == _ZERO and raised > 1
    k = (q * 1262611 - (524031 if closer else 0)) >> 22
    by = np.uint64(q + ((-k * 1741647) >> 19) + 1)
    upper, lower = _TENS[-k - _LEAST, 0], _TENS[-k - _LEAST, 1]
    four = _FOUR * c
    first = _scaled(upper, lower, (four - (_ONE if closer else _TWO)) << by) + odd
    value = _scaled(upper, lower, four << by)
    last = _scaled(upper, lower, (four + _TWO) << by) - odd
    digits = value // _FOUR
    if digits >= _TEN:
        fewer = digits // _TEN
        down, up = first <= _FORTY * fewer, _FORTY * fewer + _FORTY <= last
        if down != up:
            return fewer + (_ONE if up else _ZERO), k + 1
    down, up = first <= _FOUR * digits, _FOUR * digits + _FOUR <= last
    if down != up:
        return digits + (_ONE if up else _ZERO), k
    middle = _FOUR * digits + _TWO
    up = value > middle or (value == middle and (digits & _ONE) != _ZERO)
    return digits + (_ONE if up else _ZERO), k


@kernel
def _put_digits(out: NDArray[np.uint8], at: int, n: np.uint64, count: int) -> int:
    """Write a number as so many digits; returns where they end."""
    place = at + count
    while place >= at + 2:
        rest = n // _HUNDRED
        pair = 2 * np.int64(n - rest * _HUNDRED)
        out[place - 1], out[place - 2] = _PAIRS[pair + 1], _PAIRS[pair]
        n = rest
        place -= 2
    if place > at:
        out[at] = _PLAIN_ZERO + np.int64(n)
    return at + count


@kernel
def _count_digits(n: np.uint64) -> int:
    count = 1
    if n >= _WITH_DIGITS[8]:
        # Most floats have 16 or 17 digits.
        count = 17 if n >= _WITH_DIGITS[16] else 9
    while count < 20 and n >= _WITH_DIGITS[count]:
        count += 1
    return count


@kernel
def put_whole(out: NDArray[np.uint8], at: int, n: Int) -> int:
    """Write a whole number of at most 63 bits; returns where it ends."""
    if n < 0:
        out[at] = _MINUS
        at += 1
        n = -n
    whole = np.uint64(n)
    return _put_digits(out, at, whole, _count_digits(whole))


@kernel
def _put_zeros(out: NDArray[np.uint8], at: int, count: int) -> int:
    for i in range(at, at + count):
        out[i] = _PLAIN_ZERO
    return at + count


@kernel
def put_number(out: NDArray[np.uint8], at: int, bits: np.uint64) -> int:
    """Write a float, null where it is not finite; returns where it ends."""
    if bits & _NOT_FINITE == _NOT_FINITE:
        out[at], out[at + 1], out[at + 2], out[at + 3] = 110, 117, 108, 108
        return at + 4
    if bits > _ALL:
        out[at] = _MINUS
        at += 1
        bits &= _ALL
    if bits == _ZERO:
        out[at], out[at + 1], out[at + 2] = _PLAIN_ZERO, _POINT, _PLAIN_ZERO
        return at + 3
    digits, power = _shortest(bits)
    rest = digits // _EIGHT_DIGITS
    if rest * _EIGHT_DIGITS == digits:
        digits = rest
        power += 8
    rest = digits // _TEN
    while rest * _TEN == digits:
        digits = rest
        power += 1
        rest = digits // _TEN
    count = _count_digits(digits)
    point = count + power
    if power >= 0 and point <= _MOST_BEFORE:
        at = _put_zeros(out, _put_digits(out, at, digits, count), power)
        out[at], out[at + 1] = _POINT, _PLAIN_ZERO
        return at + 2
    if point > 0 and point <= _MOST_BEFORE:
        _put_digits(out, at + 1, digits, count)
        for i in range(at, at + point):
            out[i] = out[i + 1]
        out[at + point] = _POINT
        return at + count + 1
    if point > -_MOST_ZEROS - 1 and point <= 0:
        out[at], out[at + 1] = _PLAIN_ZERO, _POINT
        return _put_digits(out, _put_zeros(out, at + 2, -point), digits, count)
    _put_digits(out, at + 1, digits, count)
    out[at] = out[at + 1]
    at += 1
    if count > 1:
        out[at] = _POINT
        at += count
    out[at] = _RAISED
    return put_whole(out, at + 1, point - 1)


@kernel
def put_day(out: NDArray[np.uint8], at: int, day: int) -> int:
    """Write a day, counted from 1970-01-01, as RFC 3339 has it (Howard Hinnant's civil_from_days); returns where it ends."""
    z = day + 719468
    era = z // 146097
    doe = z - era * 146097
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    shifted = (5 * doy + 2) // 153
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = yoe + era * 400 + (1 if month <= 2 else 0)
    width = 4
    # As numpy writes what RFC 3339 cannot.
    if year < 0:
        out[at] = _MINUS
        at += 1
        year, width = -year, 3
    width = max(width, _count_digits(np.uint64(year)))
    at = _put_digits(out, at, np.uint64(year), width)
    out[at], out[at + 3] = _MINUS, _MINUS
    _put_digits(out, at + 1, np.uint64(month), 2)
    return _put_digits(out, at + 4, np.uint64(doy - (153 * shifted + 2) // 5 + 1), 2)


@kernel
def put_time(out: NDArray[np.uint8], at: int, ms: int) -> int:
    """Write a time, ms UTC, as RFC 3339 with milliseconds and Z; returns where it ends."""
    day = ms // _DAY_MS
    rest = ms - day * _DAY_MS
    at = put_day(out, at, day)
    out[at], out[at + 3], out[at + 6], out[at + 9], out[at + 13] = 84, 58, 58, _POINT, 90
    _put_digits(out, at + 1, np.uint64(rest // 3_600_000), 2)
    _put_digits(out, at + 4, np.uint64(rest // 60_000 % 60), 2)
    _put_digits(out, at + 7, np.uint64(rest // 1000 % 60), 2)
    _put_digits(out, at + 10, np.uint64(rest % 1000), 3)
    return at + 14

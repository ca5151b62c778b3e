"""Personal data in texts, replaced by what it is: `call 600 700 800` becomes `call [phone]`.

Numbers with a check are masked where the check holds: cards (Luhn), account numbers (ISO 13616, mod 97; Polish ones also
without PL) and PESEL (weighted sum and a date that there is). Digits in the groups of a telephone number are masked without one,
so an order number of nine digits goes, too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
_RUN = re.compile(r"(?P<plus>\+|(?<!\d)00)?\(?\d+(?:[ ./()-]{1,2}\d+)*")
_DIGITS = re.compile(r"\d+")
# Groups of digits in which telephone numbers are written.
_PHONES = frozenset(
    {
        (9,),
        (10,),
        (3, 3, 3),
        (2, 3, 2, 2),
        (2, 7),
        (3, 3, 4),
        (3, 4),
        (4, 6),
        (5, 6),
        (3, 6),
        (3, 4, 4),
        (4, 3, 4),
    }
)
_INTERNATIONAL = range(8, 16)
_MOST_GROUPS = 8
_CARD = range(13, 20)
_PESEL, _NRB = 11, 26
_PESEL_WEIGHTS = (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)
_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def mask(text: str) -> str:
    """The text with [email], [iban], [card], [pesel] and [phone] instead of such data."""
    if "@" in text:
        text = _EMAIL.sub("[email]", text)
    if not any(map(str.isdigit, text)):
        return text
    return _RUN.sub(_masked_run, _IBAN.sub(_masked_iban, text))


def is_card(digits: str) -> bool:
    """Whether the check digit of a card number holds (Luhn, ISO/IEC 7812-1)."""
    if len(digits) not in _CARD:
        return False
    doubled = [int(digit) * 2 for digit in digits[-2::-2]]
    total = sum(map(int, digits[::-2])) + sum(d - 9 if d > 9 else d for d in doubled)  # noqa: PLR2004
    return total % 10 == 0


def is_iban(text: str) -> bool:
    """Whether the check digits of an account number hold (ISO 13616: mod 97)."""
    moved = text[4:] + text[:4]
    return int("".join(str(int(each, 36)) for each in moved)) % 97 == 1


def is_pesel(digits: str) -> bool:
    """Whether a Polish personal number has a date and its check digit holds."""
    if len(digits) != _PESEL:
        return False
    month, day = int(digits[2:4]) % 20, int(digits[4:6])
    if not 1 <= month <= len(_MONTH_DAYS) or not 1 <= day <= _MONTH_DAYS[month - 1]:
        return False
    return sum(int(d) * w for d, w in zip(digits, _PESEL_WEIGHTS, strict=True)) % 10 == 0


def _masked_iban(found: re.Match[str]) -> str:
    """The longest prefix that is an account number is masked: words may follow it."""
    said = found[0]
    for end in range(len(said), 14, -1):
        part = said[:end]
        whole = part[-1].isalnum() and not said[end : end + 1].isalnum()
        if whole and is_iban(re.sub("[ -]", "", part)):
            return "[iban]" + said[end:]
    return said


def _masked_run(found: re.Match[str]) -> str:
    """A run of groups of digits, in which each longest part that is something is masked."""
    said, plus = found[0], found["plus"] or ""
    groups = [(each.start(), each.end(), each[0]) for each in _DIGITS.finditer(said)]
    parts, at, i = [], 0, 0
    while i < len(groups):
        for j, what in _kinds(groups, i, plus=plus if i == 0 else ""):
            # What stands before the digits of a telephone number belongs to it.
            begin = 0 if what == "phone" and i == 0 else groups[i][0]
            parts += [said[at:begin], f"[{what}]"]
            at, i = groups[j - 1][1], j
            break
        else:
            i += 1
    return "".join([*parts, said[at:]])


def _kinds(groups: list[tuple[int, int, str]], begin: int, *, plus: str) -> Iterator[tuple[int, str]]:
    """What the groups from `begin` on are: the group after it, and its name; what has a check comes first."""
    ends = range(min(begin + _MOST_GROUPS, len(groups)), begin, -1)
    joined = [(j, "".join(digits for _, _, digits in groups[begin:j])) for j in ends]
    phones = [(j, "phone") for j, digits in joined if plus and len(digits) in _INTERNATIONAL]
    if plus == "+":
        yield from phones
    for j, digits in joined:
        if digits.isascii() and (what := _checked(digits)):
            yield j, what
    yield from phones
    for j in ends:
        if tuple(len(digits) for _, _, digits in groups[begin:j]) in _PHONES:
            yield j, "phone"


def _checked(digits: str) -> str:
    """What a number with a check is; "" if it is none."""
    if len(digits) == _NRB and is_iban("PL" + digits):
        return "iban"
    if is_card(digits):
        return "card"
    return "pesel" if is_pesel(digits) else ""

"""Personal data is masked, and only that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.text.masking import is_card, is_iban, is_pesel, mask


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Call +48 600 700 800 please", "Call [phone] please"),
        ("tel. 600-700-800, jutro", "tel. [phone], jutro"),
        ("zadzwoń 22 123 45 67", "zadzwoń [phone]"),
        ("call (555) 123-4567 now", "call [phone] now"),
        ("0048600700801", "[phone]"),
        ("07911 123456", "[phone]"),
        ("write to jan.kowalski+x@poczta.example.pl!", "write to [email]!"),
        ("karta 4111 1111 1111 1111 12/26", "karta [card] 12/26"),
        ("karta 4111 1111 1111 1112", "karta 4111 1111 1111 1112"),
        ("4111-1111-1111-1111", "[card]"),
        ("IBAN DE89 3704 0044 0532 0130 00 thanks", "IBAN [iban] thanks"),
        ("PL61 1090 1014 0000 0712 1981 2874", "[iban]"),
        ("konto 61 1090 1014 0000 0712 1981 2874.", "konto [iban]."),
        ("PESEL 44051401359", "PESEL [pesel]"),
        ("PESEL 44051401358", "PESEL 44051401358"),
        ("on 2026-11-29 at 12:30 I paid 1 299.00 for 2", "on 2026-11-29 at 12:30 I paid 1 299.00 for 2"),
        ("order 12345 is late", "order 12345 is late"),
        ("@shop #late 24/7", "@shop #late 24/7"),
        ("", ""),
    ],
)
def test_what_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@given(st.integers(10**12, 10**18 - 1))
def test_a_card_number_is_masked_in_any_groups(number: int) -> None:
    digits = next(text for check in range(10) if is_card(text := f"{number}{check}"))
    grouped = " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))
    for written in (digits, grouped, grouped.replace(" ", "-")):
        assert not any(digits[i : i + 8] in mask(f"to {written}, ok").replace(" ", "") for i in range(6))


@given(st.integers(0, 10**24 - 1), st.booleans())
def test_a_polish_account_is_masked_with_and_without_its_country(number: int, named: bool) -> None:
    rest = f"{number:024d}"
    check = 98 - int(f"{rest}252100") % 97
    assert is_iban(f"PL{check:02d}{rest}")
    said = f"{'PL' if named else ''}{check:02d}{rest}"
    assert rest not in mask(f"konto {said} dzięki")


@given(st.dates(), st.integers(0, 9999))
def test_pesel_follows_from_a_date_and_a_check_digit(day, number: int) -> None:
    century = {18: 80, 19: 0, 20: 20, 21: 40, 22: 60}.get(day.year // 100)
    if century is None:
        return
    some = f"{day.year % 100:02d}{day.month + century:02d}{day.day:02d}{number:04d}"
    check = -sum(int(d) * w for d, w in zip(some, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3), strict=True)) % 10
    assert is_pesel(f"{some}{check}")
    assert not is_pesel(f"{some}{(check + 1) % 10}")
    assert mask(f"nr {some}{check}.") == "nr [pesel]."


@given(st.text(max_size=300))
def test_any_text_can_be_masked_again(text: str) -> None:
    once = mask(text)
    assert mask(once) == once


@given(st.text(alphabet="0123456789 -.+()@aPL", max_size=200))
def test_masks_hold_for_digits_in_any_shape(text: str) -> None:
    assert mask(mask(text)) == mask(text)

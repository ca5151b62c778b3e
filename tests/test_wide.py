"""What machine code reads of many bytes at once is what plain Python reads one byte after the other."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels import wide

MACHINE = wide._word, wide._same, wide._special, wide._lowest, wide._like, wide._bits
PYTHON = (
    wide.word_in_python,
    wide.same_in_python,
    wide.special_in_python,
    wide.lowest_in_python,
    wide.like_in_python,
    wide.bits_in_python,
)


def all_of(word: Any, same: Any, special: Any, lowest: Any, like: Any, bits: Any) -> Any:
    def read(text: Any, at: int, other: Any, there: int, n: int) -> Any:
        marks, some = special(text, at), like(text, at, text[at + n])
        return word(text, at), same(text, at, other, there, n), marks, lowest(marks), some, bits(marks)

    return read


MACHINES = numba.njit(all_of(*MACHINE))
PYTHONS = all_of(*PYTHON)


@numba.njit  # type: ignore[untyped-decorator]  # Numba has no types
def copied(text: Any, at: int, out: Any, there: int) -> None:
    wide._copy(text, at, out, there)


@numba.njit  # type: ignore[untyped-decorator]  # Numba has no types
def high(one: Any, other: Any) -> Any:
    return wide._high(one, other)


words = st.integers(0, (1 << 64) - 1) | st.integers(0, 1 << 33) | st.integers((1 << 64) - 9, (1 << 64) - 1)


@given(words, words)
@settings(deadline=None)
def test_the_upper_half_of_a_product_is_exact(one: int, other: int) -> None:
    a, b = np.uint64(one), np.uint64(other)
    assert int(high(a, b)) == int(wide.high_in_python(a, b)) == one * other >> 64


# Plain bytes, those at the edges of what is plain, and the special ones.
# Drawn as a whole: a list of bytes takes many times as long.
SOME = b'aaaaa !"#[\\]\x00\x1f\x20\x7e\x7f\x80\xc3\xff'
texts = st.binary(min_size=40, max_size=80).map(lambda drawn: bytes(SOME[each % len(SOME)] for each in drawn))


@given(
    one=texts,
    two=texts,
    at=st.integers(0, 8),
    there=st.integers(0, 8),
    n=st.integers(1, wide.WIDE),
    like=st.integers(0, wide.WIDE),
)
@settings(deadline=None, max_examples=1500)
def test_machine_code_reads_what_plain_python_reads(
    one: bytes, two: bytes, at: int, there: int, n: int, like: int
) -> None:
    two = two[:there] + one[at : at + like] + two[there + like :]
    text, other = np.frombuffer(one, np.uint8), np.frombuffer(two, np.uint8).copy()
    expected = PYTHONS(text, at, other, there, n)
    assert MACHINES(text, at, other, there, n) == expected
    assert expected[0] == int.from_bytes(one[at : at + 8], "little")
    assert expected[1] == (one[at : at + n] == two[there : there + n])
    special = [
        i for i, byte in enumerate(one[at : at + wide.WIDE]) if byte < 32 or byte in b'"\\' or byte > 127
    ]
    assert expected[2] == sum(1 << i for i in special)
    assert expected[3] == min(special, default=64)
    assert expected[4] == sum(1 << i for i in range(wide.WIDE) if one[at + i] == one[at + n])
    assert expected[5] == len(special)
    copies = [np.zeros(80, np.uint8), np.zeros(80, np.uint8)]
    copied(text, at, copies[0], there)
    wide.copy_in_python(text, at, copies[1], there)
    assert copies[0].tobytes() == copies[1].tobytes() == bytes(there) + one[at : at + 32] + bytes(48 - there)

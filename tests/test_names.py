"""Customers and their slots, against a dictionary."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels.names import UNKNOWN, same, siphash
from cxstream.scoring.codec.packed import Packed
from cxstream.scoring.state.names import Slots

NAMES = [f"c-{i}" for i in range(40)] + ["żółć", "😀" * 128, "a", "c-1 ", "x" * 8, "x" * 16, "x" * 17]


def packed(names: list[str]) -> Packed:
    return Packed.of([name.encode() for name in names])


@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from([*NAMES, ""]), max_size=60)), max_size=30
    )
)
@settings(deadline=None, max_examples=150)
def test_slots_are_those_of_a_dictionary(steps: list[tuple[bool, list[str]]]) -> None:
    slots, of = Slots(), dict[str, int]()
    for adding, names in steps:
        found, unknown = slots.find(packed(names))
        assert found.tolist() == [of.get(name, UNKNOWN) if name else 0 for name in names]
        if adding:
            fresh = slots.add(packed(names), found, unknown)
            new = list(dict.fromkeys(name for name in names if name and name not in of))
            assert slots.names(fresh) == new
            of |= dict(zip(new, fresh.tolist(), strict=True))
            assert found.tolist() == [of.get(name, 0) for name in names]
        else:
            gone = [name for name in dict.fromkeys(names) if name in of]
            assert slots.release(np.array([of.pop(name) for name in gone], np.int32)) == gone
            assert not any(name.encode() in slots._names.text.tobytes() for name in gone if name[0] > "z")
        assert len(set(of.values())) == len(of) == len(slots)
        assert (sorted(slots), [slots.name(slot) for slot in of.values()]) == (sorted(of), list(of))
    assert all(slots.get(name) == of.get(name) and (name in slots) == (name in of) for name in [*NAMES, ""])


@given(
    st.sets(
        st.text(min_size=1, max_size=20) | st.text("ab\0é", min_size=1, max_size=9) | st.sampled_from(NAMES)
    )
)
@settings(deadline=None)
def test_names_are_sorted_as_python_sorts(names: set[str]) -> None:
    slots, some = Slots(), list(names)
    found, unknown = slots.find(packed(some))
    fresh = slots.add(packed(some), found, unknown)
    assert slots.names(slots.in_order(fresh)) == sorted(some)


def test_places_are_used_again() -> None:
    slots = Slots()
    for begin in range(0, 400_000, 1000):
        names = packed([f"{begin + i}-{'x' * (i % 50)}" for i in range(1000)])
        found, unknown = slots.find(names)
        slots.release(slots.add(names, found, unknown))
    assert (slots.top, len(slots)) == (1000, 0)
    assert slots.nbytes < 200_000


def test_customers_with_one_hash_are_told_apart() -> None:
    slots = Slots()
    slots.fill(Packed.of([b"c-%d" % i for i in range(300)]))
    held = slots._names
    hashed = siphash(np.frombuffer(b"c-299", np.uint8), 0, 5, held.key)
    # As if all of them had the hash of the last one: they fill the places from there on.
    places = (int(hashed & np.uint64(len(held.table) - 1)) + np.arange(300)) % len(held.table)
    held.table[:] = -1
    held.table[places] = np.arange(300) | (int(hashed >> np.uint64(33)) << 32)
    assert slots.get("c-299") == 299


@pytest.mark.skipif(sys.hash_info.algorithm != "siphash13", reason="Python hashes bytes otherwise")
def test_the_hash_is_siphash() -> None:
    texts = ["", *("abcdefghijklmnopqrstuvwxyz"[:n] for n in range(1, 27)), "żółć" * 30]
    program = f"print([hash(each.encode()) for each in {texts!r}])"
    env = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONIOENCODING": "utf-8"}
    out = subprocess.run([sys.executable, "-c", program], env=env, check=True, capture_output=True, text=True)
    key = np.zeros(2, np.uint64)
    found = [
        int(
            np.uint64(
                siphash(np.frombuffer(each.encode() + b"\0", np.uint8), 0, len(each.encode()), key)
            ).view(np.int64)
        )
        for each in texts
    ]
    # Python's hash of nothing is 0.
    assert found[1:] == [int(each) for each in out.stdout.strip()[1:-1].split(",")][1:]


@given(
    st.lists(st.tuples(st.text("ab", max_size=20), st.integers(-1, 20), st.sampled_from("ab")), max_size=20)
)
@settings(deadline=None, max_examples=300)
def test_names_are_the_same_if_all_of_their_bytes_are(drawn: list[tuple[str, int, str]]) -> None:
    names = [name for name, _, _ in drawn]
    others = [
        name[:place] + letter + name[place + 1 :] if place >= 0 else name for name, place, letter in drawn
    ]
    one, two, equal = packed(names), packed(others), np.empty(len(names), np.bool_)
    same(one.data, one.begins, one.ends, two.data, two.begins, two.ends, equal)
    assert equal.tolist() == [a == b for a, b in zip(names, others, strict=True)]


@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.lists(st.sampled_from([*NAMES, ""]), max_size=60)), max_size=30
    ),
    wrong=st.integers(0, 5),
)
@settings(deadline=None, max_examples=150)
def test_slots_that_words_had_are_only_taken_where_they_are_still_theirs(
    steps: list[tuple[bool, list[str]]], wrong: int
) -> None:
    """Customers leave and others get their slots; and codes may mean another word."""
    slots, last = Slots(), np.full(len(NAMES) + 1, UNKNOWN, np.int32)
    for i, (adding, names) in enumerate(steps):
        codes = np.array([[*NAMES, ""].index(name) for name in names], np.int32)
        if i % 6 == wrong:
            codes[:] = codes[::-1].copy()
        found, unknown = slots.find(packed(names), (codes, last))
        wanted, missing = slots.find(packed(names))
        assert (found.tolist(), unknown) == (wanted.tolist(), missing)
        if adding:
            slots.add(packed(names), found, unknown)
        else:
            slots.release(
                np.array([slots.get(name) for name in {*names} if slots.get(name) is not None], np.int32)
            )
    # Of a partition that has begun again.
    assert Slots().find(packed(["a"]), (np.zeros(1, np.int32), np.array([1 << 30], np.int32)))[
        0
    ].tolist() == [UNKNOWN]

"""What kernels write of documents is what msgspec and numpy write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels.layout import NO_DAY
from cxstream.scoring.documents import (
    DAY,
    NUMBER,
    STRING,
    TIME,
    WHOLE,
    WORD,
    documents,
    form_of,
    mark,
    quoted,
)
from cxstream.scoring.documents import texts as packed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class One(msgspec.Struct):
    """A document with one value."""

    value: Any


def written(kind: int, values: Sequence[Any] | NDArray[Any], *, within: str = "") -> list[bytes]:
    """The value of each document of one value."""
    n = len(values)
    place = mark(kind, 0)
    form = form_of(One(quoted(within, place) if within or kind in {STRING, TIME} else place))
    numbers, wholes, texts = np.zeros((n, 1)), np.arange(n).reshape(n, 1), packed([])
    if kind == NUMBER:
        numbers[:, 0] = values
    elif kind in {STRING, WORD}:
        texts = packed([value.encode() for value in values])
    else:
        wholes[:, 0] = values
    found = documents(form, numbers, wholes, texts, texts)
    assert found.text[: found.ends[-1] + 1 if n else 0] == b"".join(each + b"\n" for each in found)
    begin = len(b'{"value":') + (1 + len(within) if within else 0)
    return [each[begin:-1] for each in found]


def check_numbers(values: Sequence[float] | NDArray[np.float64]) -> None:
    given_ = np.asarray(values, np.float64)
    assert written(NUMBER, given_) == msgspec.json.encode(given_.tolist())[1:-1].split(b",")


@settings(deadline=None)
@given(st.lists(st.floats(), min_size=1, max_size=50))
def test_floats_are_those_of_msgspec(values: list[float]) -> None:
    check_numbers(values)


def test_floats_of_all_sizes_are_those_of_msgspec() -> None:
    rng = np.random.default_rng(7)
    n = 20_000
    check_numbers(rng.integers(0, 1 << 64, n, dtype=np.uint64).view(np.float64))
    check_numbers(rng.integers(0, 1 << 52, n, dtype=np.uint64).view(np.float64))  # subnormal
    for digits in range(18):
        check_numbers(np.round(rng.random(1000) * 10.0 ** rng.integers(0, 19, 1000), digits))
        check_numbers(rng.integers(1, 10 ** (digits + 1), 1000) / 10.0**digits)
    powers = np.concatenate([2.0 ** np.arange(-1074, 1024), 10.0 ** np.arange(-323, 309)])
    for near in (powers, np.nextafter(powers, 0), np.nextafter(powers, np.inf)):
        check_numbers(near)
        check_numbers(-near)


@settings(deadline=None)
@given(st.lists(st.integers(-(1 << 63) + 1, (1 << 63) - 1), min_size=1, max_size=50))
def test_whole_numbers_are_those_of_python(values: list[int]) -> None:
    assert written(WHOLE, values) == [b"%d" % value for value in values]


@settings(deadline=None)
@given(st.lists(st.integers(-(10**14), 10**15) | st.integers(0, 4 * 10**12), min_size=1, max_size=50))
def test_times_are_those_of_numpy(values: list[int]) -> None:
    times = np.array(values, "M8[ms]")
    texts = np.datetime_as_string(times, timezone="UTC").tolist()
    assert written(TIME, values) == [b'"%b"' % text.encode() for text in texts]
    days = times.astype("M8[D]")
    assert written(DAY, days.astype(np.int64)) == [b'"%b"' % str(day).encode() for day in days]


def test_a_day_there_is_not_is_null() -> None:
    assert written(DAY, [NO_DAY, 0]) == [b"null", b'"1970-01-01"']


@settings(deadline=None)
@given(st.lists(st.text(max_size=80) | st.text('ab\x00\x1f\n"\\\x7fé', max_size=40), min_size=1, max_size=20))
def test_texts_are_escaped_as_by_msgspec(values: list[str]) -> None:
    encoded = [msgspec.json.encode(value) for value in values]
    assert written(STRING, values) == encoded
    assert written(STRING, values, within="@%") == [each[1:] for each in encoded]
    assert written(WORD, [each.decode() for each in encoded]) == encoded

"""Times as the project writes them, against the standard library and numpy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.model.rfc3339 import rfc3339, rfc3339_all

_EPOCH = datetime.fromtimestamp(0, UTC)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_LAST = (datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


@given(st.lists(st.integers(_FIRST, _LAST), max_size=5))
def test_times_are_those_of_the_standard_library(times: list[int]) -> None:
    moments = [_EPOCH + timedelta(milliseconds=ms) for ms in times]
    expected = [moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") for moment in moments]
    assert [rfc3339(ms) for ms in times] == expected
    assert rfc3339_all(np.array(times, np.int64)) == expected


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_582_934_400_000 - 1, "2020-02-28T23:59:59.999Z"),
        (1_582_934_400_000, "2020-02-29T00:00:00.000Z"),
        (_FIRST, "0001-01-01T00:00:00.000Z"),
        (_LAST, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_edges_of_days_and_years(ms: int, expected: str) -> None:
    assert rfc3339(ms) == expected

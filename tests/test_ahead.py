"""To ask for memory ahead changes nothing and does no harm, wherever it lies."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cxstream.kernels import ahead
from cxstream.kernels.layout import DAY_PANE


@numba.njit  # type: ignore[untyped-decorator]  # Numba has no types
def asked(panes: Any, ids: Any, at: int, byte: int) -> None:
    ahead._fetch(panes, at, byte)
    ahead._fetch(ids, np.int32(at), byte)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, ahead.LINE))
@settings(deadline=None, max_examples=200)
def test_any_place_may_be_asked_for(at: int, byte: int) -> None:
    panes, ids = np.ones(3, DAY_PANE), np.ones((2, 8), np.uint64)
    asked(panes, ids, at, byte)
    assert (panes == np.ones(3, DAY_PANE)).all()
    assert (ids == 1).all()


def test_machine_code_asks_for_it() -> None:
    asked(np.ones(1, DAY_PANE), np.ones((1, 8), np.uint64), 0, 0)
    [code] = asked.inspect_llvm().values()
    assert code.count("call void @llvm.prefetch") == 2

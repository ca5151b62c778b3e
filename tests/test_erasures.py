"""Who was erased is known by digest for as long as an event from before the request could come, and no longer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxstream.model.parameters import DAY_MS, ScoringParams
from cxstream.scoring.engine import Engine
from cxstream.scoring.state.erasures import Erasures, digest
from test_erased_memory import T0, Log, event, forget

WINDOW = ScoringParams().window_days
requests = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 5 * DAY_MS), st.integers(0, 3 * DAY_MS)), max_size=20
)


@given(requests=requests, window=st.integers(1, 4))
def test_a_request_counts_for_as_many_days_as_the_window_has(
    requests: list[tuple[str, int, int]], window: int
) -> None:
    erasures = Erasures()
    expected: dict[str, int] = {}
    clock = T0
    for subject, back, step in requests:
        clock += step
        erasures.add(subject, clock - back)
        expected[subject] = clock - back
        gone = {name for name, time in expected.items() if clock // DAY_MS - time // DAY_MS >= window}
        assert sorted(erasures.expire(clock, window)) == sorted(map(digest, gone))
        expected = {name: time for name, time in expected.items() if name not in gone}
        assert {name: erasures.time_of(name) for name in "abcd"} == {
            name: expected.get(name) for name in "abcd"
        }
        assert set(erasures.changed) <= set(erasures.times), "what is given up is not saved again"
        assert erasures.expire(clock, window) == []


def later(log: Log, days: int) -> None:
    """Let another customer's event move the clock."""
    log.apply(event("other", "page_view", days, T0 + days * DAY_MS))


@pytest.mark.parametrize(("days", "kept"), [(WINDOW - 1, True), (WINDOW, False), (WINDOW + 30, False)])
@pytest.mark.parametrize("saved_before", [True, False])
def test_a_digest_leaves_memory_and_snapshot_with_the_window(
    days: int, kept: bool, saved_before: bool
) -> None:
    log = Log()
    log.apply(event("somebody", "page_view", 1, T0), forget("somebody", T0 + 1))
    rows = dict(log.engine.snapshot()) if saved_before else {}
    key = b"e" + digest("somebody")
    assert (key in rows) == saved_before
    later(log, days)
    for name, row in log.engine.snapshot():
        rows[name] = row
    left = {name: row for name, row in rows.items() if row is not None}
    assert ((log.engine.partition.erasures.time_of("somebody") is not None), key in left) == (kept, kept)
    again = Engine.restore(ScoringParams(), {}, left)
    assert (digest("somebody") in again.partition.erasures.times) == kept

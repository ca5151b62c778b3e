"""How long a partition waits between two transactions, and when score cards go with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from cxstream.scoring.engine import Engine
from cxstream.settings import Settings
from cxstream.worker.metrics.counters import Counters
from cxstream.worker.ownership.pace import Pace
from cxstream.worker.ownership.restore import Restored
from cxstream.worker.ownership.session import OwnershipSession
from cxstream.worker.ownership.suspects import Suspects

if TYPE_CHECKING:
    import pytest


def test_transactions_that_all_take_long_are_fewer_and_a_single_one_delays_none() -> None:
    pace, waits = Pace(0.05, 0, 1, 100.0), []
    for seconds in (0.01, 0.2, 0.04, 0.4, 0.4, 0.4, 0.4, 0.1):
        began = 110.0 + len(waits)
        pace.begin(began, cards=False)
        pace.end(began + seconds)
        waits.append(round(pace.flushes_at - began, 6))
    # The fastest of the last four counts 1.5 times, and half a second at most.
    assert waits == [0.05, 0.05, 0.05, 0.05, 0.06, 0.06, 0.5, 0.15]


@given(st.floats(0.02, 60), st.integers(1, 64), st.data())
def test_partitions_flush_one_after_the_other_however_late_each_has_begun(
    seconds: float, partitions: int, data: st.DataObject
) -> None:
    for partition in range(partitions):
        began = data.draw(st.floats(0, 1e6))
        due = Pace(seconds, partition, partitions, began).flushes_at
        assert 0.499 * seconds < due - began < 1.501 * seconds
        turns = due / seconds - partition / partitions
        assert abs(turns - round(turns)) < 1e-3


async def test_cards_go_with_a_transaction_each_half_second_and_with_the_last_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, nobody = [100.0], None
    settings: Any = Settings(worker={"flush_seconds": 0.05})  # type: ignore[arg-type]
    for module in ("session", "pace"):
        monkeypatch.setattr(f"cxstream.worker.ownership.{module}.now", lambda: clock[0], raising=False)
    engine = Engine(settings.scoring, settings.actions)
    owner: Any = OwnershipSession(
        settings, nobody, 0, nobody, nobody, nobody, Restored(engine, 0, saved=False, problem=""), Counters(),  # type: ignore[arg-type]
        Suspects(0), lambda: None,
    )  # fmt: skip
    dirty, written = [1], []

    def take(limit: int) -> list[tuple[bytes, bytes | None]]:
        if not limit:
            return [(b"gone", None)]
        taken, dirty[0] = dirty[0], 0
        return [(b"c", b"card")] * taken

    class AnyKafka:
        group = "g"

    async def commit(_: Any, outbox: Any, **__: Any) -> None:
        written.append((round(clock[0] - 100.0, 6), [key for key, _ in outbox.rows["cx.scores"]]))

    monkeypatch.setattr(owner, "_kafka", AnyKafka())
    monkeypatch.setattr(engine, "take_cards", take)
    monkeypatch.setattr(engine, "dirty_cards", lambda: dirty[0])
    monkeypatch.setattr("cxstream.worker.ownership.session.commit", commit)
    for n in range(1, 16):
        clock[0] = 100.001 + n * 0.05
        dirty[0] += 1
        owner._outbox.records = 1
        await owner.keep_up(behind=False)
        await owner._settle()
    # Cards of customers who are gone do not wait.
    cards = {0.051: [b"c"] * 2, 0.551: [b"c"] * 10}
    assert dict(written) == {at: cards.get(at, [b"gone"]) for at, _ in written}
    assert len(written) == 15
    # Cards alone are no reason to flush before their time, and then they are.
    owner._outbox.records = 0
    assert round(owner.next_flush - 100.0, 6) == 1.026
    assert await owner.finish(asyncio.get_running_loop().time() + 60)
    assert written[15:] == [(0.751, [b"c"] * 4)]

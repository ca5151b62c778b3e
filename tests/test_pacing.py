"""How long a partition waits between two transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.scoring.engine import Engine
from cxstream.settings import Settings
from cxstream.worker.metrics.counters import Counters
from cxstream.worker.ownership.restore import Restored
from cxstream.worker.ownership.session import OwnershipSession
from cxstream.worker.ownership.suspects import Suspects

if TYPE_CHECKING:
    import pytest


async def test_transactions_that_all_take_long_are_fewer_and_a_single_one_delays_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, nobody = [100.0], None
    settings: Any = Settings(worker={"flush_seconds": 0.05})  # type: ignore[arg-type]
    monkeypatch.setattr("cxstream.worker.ownership.session.now", lambda: clock[0])
    engine = Engine(settings.scoring, settings.actions)
    owner: Any = OwnershipSession(
        settings, nobody, 0, nobody, nobody, Restored(engine, 0, saved=False, problem=""), Counters(),  # type: ignore[arg-type]
        Suspects(0), lambda: None,
    )  # fmt: skip
    takes = 0.0

    class AnyKafka:
        group = "g"

    async def commit(*_: Any, **__: Any) -> None:
        clock[0] += takes

    monkeypatch.setattr(owner, "_kafka", AnyKafka())
    monkeypatch.setattr("cxstream.worker.ownership.session.commit", commit)
    waits = []
    for seconds in (0.01, 0.2, 0.04, 0.4, 0.4, 0.4, 0.4, 0.1):
        takes = seconds
        clock[0] += 10
        owner._outbox.records = 1
        began = clock[0]
        await owner.keep_up(behind=False)
        await owner._settle()
        waits.append(round(owner.gathers_until - began, 6))
    # The fastest of the last four counts 1.5 times, and half a second at most.
    assert waits == [0.05, 0.05, 0.05, 0.05, 0.06, 0.06, 0.5, 0.15]

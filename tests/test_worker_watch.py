"""What gets nowhere is said, whatever else cannot be asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cxstream.worker.ownership.stall_detector import Watch

if TYPE_CHECKING:
    import pytest


class Owned:
    """A partition as the watch sees it."""

    def __init__(self, number: int, stalled: str = "") -> None:
        self.number, self.stalled, self.full = number, stalled, False


def watch(*partitions: Any, progress: Any) -> Watch:
    return Watch(list(partitions), 10.0, progress)  # type: ignore[arg-type]


async def test_what_is_known_is_said_before_the_log_is_asked() -> None:
    answer = asyncio.Event()
    asked: list[int] = []

    async def progress(number: int) -> tuple[int | None, int]:
        asked.append(number)
        await answer.wait()
        return 5, 5

    looking = watch(Owned(0), Owned(1, "nothing was committed"), Owned(2), progress=progress)
    task = asyncio.create_task(looking.look())
    await asyncio.sleep(0)
    assert asked == [0]
    assert looking.stalls == {1: "nothing was committed"}
    answer.set()
    await asyncio.wait_for(task, 60)
    assert asked == [0, 1, 2]
    assert looking.stalls == {1: "nothing was committed"}


async def test_a_rebalance_that_does_not_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def progress(_: int) -> tuple[int | None, int]:
        return 5, 5

    time = 100.0
    monkeypatch.setattr("cxstream.worker.ownership.stall_detector.now", lambda: time)
    looking = watch(Owned(0), Owned(1), progress=progress)
    for time, rebalancing, stalled in (
        (100.0, True, False),
        (109.0, True, False),
        (111.0, True, True),
        (112.0, False, False),
        (121.0, True, False),
        (123.0, True, True),
    ):
        await looking.look(rebalancing=rebalancing)
        assert set(looking.stalls) == ({0, 1} if stalled else set()), time
    assert looking.stalls[0] == "a rebalance does not end, for 11 s"

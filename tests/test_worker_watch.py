"""What gets nowhere is said, whatever else cannot be asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cxstream.worker.watch import Watch

if TYPE_CHECKING:
    import pytest


class Owned:
    """A partition as the watch sees it."""

    def __init__(self, number: int, stalled: str = "") -> None:
        self.number, self.stalled, self.full = number, stalled, False


def watch(*partitions: Any, progress: Any) -> Watch:
    return Watch(list(partitions), 10.0, progress)  # type: ignore[arg-type]


async def test_partitions_are_asked_about_all_at_once() -> None:
    asked = set()
    everybody = asyncio.Event()

    async def progress(number: int) -> tuple[int | None, int]:
        asked.add(number)
        if len(asked) == 3:
            everybody.set()
        await everybody.wait()
        return 5, 5

    looking = watch(Owned(0), Owned(1, "nothing was committed"), Owned(2), progress=progress)
    await asyncio.wait_for(looking.look(), 60)
    assert looking.stalls == {1: "nothing was committed"}


async def test_a_rebalance_that_does_not_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def progress(_: int) -> tuple[int | None, int]:
        return 5, 5

    time = 100.0
    monkeypatch.setattr("cxstream.worker.watch.now", lambda: time)
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

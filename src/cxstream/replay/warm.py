"""Machine code is loaded before the first record is read, so that the time of a replay is that of its records."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cxstream.files.lines import split
from cxstream.model.parameters import ScoringParams
from cxstream.replay.order import Order
from cxstream.scoring.cards import merged
from cxstream.scoring.failing import SOUND
from cxstream.scoring.outcomes import together
from cxstream.scoring.router import Router
from cxstream.scoring.shares import Share

if TYPE_CHECKING:
    from cxstream.files.lines import Records


def warm_up(router: Router, *, jobs: int = 1) -> None:
    """Score records that are known to be sound, in a separate state; nothing is written.

    Args:
        router: as it will score.
        jobs: how many processes are to do so, if there are several.
    """
    # If it fails, the records of the replay do, too, and what is wrong is said of them.
    with suppress(Exception):
        other = router.empty_copy()
        for records in split([b"\n".join(SOUND)], 1 << 20, router.max_record_bytes):
            outcome = other.process(records.lines)
            if outcome.fates is not None:
                Order(router.params.window_days).add(outcome.fates, lambda _: (Path(), 0))
            if jobs > 1:
                _share(router, jobs, records)
        for _ in other.card_blocks():
            pass


def compile_replay() -> None:
    """Compile what a replay needs, so that an installation that nobody can write to has it."""
    # Where there are as many partitions as processes, these share none.
    for partitions in (1, 3):
        warm_up(Router(ScoringParams(), {}, partitions=partitions), jobs=2)


def _share(router: Router, jobs: int, records: Records) -> None:
    """Score records as several processes do, so that none of these loads what another one has."""
    shares = [Share(router.empty_copy(), number, jobs) for number in range(jobs)]
    reading = shares[0].read(records.lines)
    together([share.score_all(reading, None, 0)[0] for share in shares])
    for _ in merged([share.router.named_card_blocks() for share in shares]):
        pass

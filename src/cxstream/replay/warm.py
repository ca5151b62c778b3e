"""Machine code is loaded before the first record is read, so that the time of a replay is that of its records."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cxstream.files.lines import split
from cxstream.replay.order import Order
from cxstream.scoring.failing import SOUND

if TYPE_CHECKING:
    from cxstream.scoring.router import Router


def warm_up(router: Router) -> None:
    """Score records that are known to be sound, in a separate state; nothing is written."""
    # If it fails, the records of the replay do, too, and what is wrong is said of them.
    with suppress(Exception):
        other = router.empty_copy()
        for records in split([b"\n".join(SOUND)], 1 << 20, router.max_record_bytes):
            outcome = other.process(records.lines)
            if outcome.fates is not None:
                Order(router.params.window_days).add(outcome.fates, lambda _: (Path(), 0))
        for _ in other.card_blocks():
            pass

"""What the customers of the simulation do: histories made beforehand and shared by many seeds."""

from __future__ import annotations

import json
import random
from functools import lru_cache
from typing import TYPE_CHECKING

from cxstream.model.params import MINUTE_MS
from simulation.broker import Row
from strategies import PARAMS, random_history

if TYPE_CHECKING:
    from cxstream.model.params import ScoringParams

POOL = 48
LENGTH = 160
_NO_LIMIT = 4_102_444_800_000


def params() -> list[ScoringParams]:
    """Parameters that make few records say much."""
    return list(PARAMS.values())


@lru_cache(maxsize=POOL)
def history(number: int) -> list[Row]:
    """The records of a history: mostly touchpoints, some that must be rejected, each for its own reason."""
    chance = random.Random(number)
    rows = []
    for event, limit in random_history(number, LENGTH):
        value = json.dumps(event).encode()
        key = event.get("subject", "").encode() or None
        timestamp = _NO_LIMIT if limit is None else limit - 5 * MINUTE_MS
        rows.append(_spoilt(chance, Row(key, value, (), timestamp)))
    return rows


def _spoilt(chance: random.Random, row: Row) -> Row:
    if chance.random() > 0.04:
        return row
    assert row.value is not None
    return chance.choice(
        (
            row._replace(value=row.value[:-7], headers=(("trace", b"\x00"),)),
            row._replace(value=None),
            row._replace(value=b"{}"),
            row._replace(key=b"somebody else"),
        )
    )

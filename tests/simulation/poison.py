"""Records whose processing fails: valid ones that the engine, and nobody before it, stumbles over.

The state has been changed by then, as it would be if a signal could not be written.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from cxstream.scoring.codec.decode import decode
from cxstream.scoring.engine import check_keys
from cxstream.scoring.state.partition import PartitionState
from simulation.histories import POISON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from simulation.broker import Record


@contextlib.contextmanager
def poison() -> Iterator[None]:
    """Have every engine fail at these records."""
    apply = PartitionState.apply

    def fails(self: PartitionState, events: list[Any], *rest: Any) -> Any:
        applied = apply(self, events, *rest)
        if any(getattr(getattr(event, "data", None), "touchpoint", None) == POISON for event in events):
            raise ZeroDivisionError(POISON)
        return applied

    with patch.object(PartitionState, "apply", fails):
        yield


def is_poison(record: Record) -> bool:
    """Whether a record reaches the engine and makes it fail."""
    if POISON.encode() not in (record.value or b""):
        return False
    decoded = decode([record.value], [record.headers])
    check_keys(decoded, [record.key])
    return not decoded.rejected

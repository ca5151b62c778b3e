"""The state of one customer in this worker, read from the engines in memory between two batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cxstream.scoring.view import View, describe

if TYPE_CHECKING:
    from cxstream.worker.ownership.partitions import Partitions

FOUND, UNKNOWN = 200, 404


class Held(msgspec.Struct, frozen=True):
    """The response of `GET /customers/ID`.

    Attributes:
        owned: partitions of this worker whose state follows the log.
        partition: the partition of the customer; null if none of them knows the customer.
        customer: their state; null if none of the partitions knows them.
    """

    owned: list[int]
    partition: int | None = None
    customer: View | None = None


def inspect(partitions: Partitions, subject: str) -> tuple[int, Held]:
    """The HTTP status and the response; with UNKNOWN, the response lists the partitions that were searched."""
    engines = {each.number: each.engine for each in partitions if each.engine is not None}
    for number, engine in engines.items():
        view = describe(engine, subject)
        if view is not None:
            return FOUND, Held(list(engines), number, view)
    return UNKNOWN, Held(list(engines))

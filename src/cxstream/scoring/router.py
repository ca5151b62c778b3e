"""Several partitions in one process: records go where Kafka would have put them."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np

from cxstream.kernels.layout import TICK
from cxstream.scoring.decode import Decoded, Rejected, decode, read_subject
from cxstream.scoring.engine import Engine, Fates, Outcome
from cxstream.scoring.partition import NO_LIMIT
from cxstream.scoring.routing import partition_of
from cxstream.topology import TOUCHPOINTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from cxstream.model.params import ScoringParams
    from cxstream.scoring.pseudonym import Pseudonyms


class Router:
    """Engines for partitions 0..n-1, fed from one sequence of structured records.

    A record's offset is its ordinal within its partition; one whose subject cannot be read, and a tick, belong
    to partition 0.

    Args:
        params: constants of the scores.
        actions: suggested action by leading feature.
        partitions: how many.
        topic: source topic, for the ids of signals.
        pseudonyms: names under which customers are known; None: their own.

    Attributes:
        params: constants of the scores.
        engines: one a partition.
    """

    def __init__(
        self,
        params: ScoringParams,
        actions: Mapping[str, str],
        *,
        partitions: int = 1,
        topic: str = TOUCHPOINTS.contract,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        self.params = params
        self.engines = [
            Engine(params, actions, topic=topic, partition=p, pseudonyms=pseudonyms)
            for p in range(partitions)
        ]

    def process(
        self, values: Sequence[bytes | None], limit: int | None = None, unheld: Collection[int] = ()
    ) -> Outcome:
        """Apply a batch.

        Args:
            values: n structured records.
            limit: ms UTC, the latest event time that is not from the future; None for no limit.
            unheld: positions of records that were too large to be held.

        Returns:
            Signals and rejections of all partitions in the order of the records that caused them, with `fates`.
        """
        n = len(values)
        decoded = decode(values, limit=self.params.max_record_bytes, unheld=unheld)
        limits = np.full(n, NO_LIMIT if limit is None else limit)
        good, times = decoded.good, decoded.columns["time"].copy()
        if len(self.engines) == 1:
            outcome = self._feed(0, decoded, n, np.arange(n), limits)
            outcome.fates = Fates(good, times, outcome.status, np.zeros(len(good), np.int32))
            return outcome
        homes = self._homes(values, decoded)
        status = np.zeros(len(good), np.uint8)
        outcomes = []
        for p in range(len(self.engines)):
            members = np.flatnonzero(homes == p)
            if len(members):
                outcome = self._feed(p, _subset(decoded, homes, p), len(members), members, limits)
                status[homes[good] == p] = outcome.status
                outcomes.append(outcome)
        merged = _merged(outcomes)
        merged.status, merged.fates = status, Fates(good, times, status, homes[good])
        return merged

    def _feed(
        self, p: int, decoded: Decoded, n: int, members: NDArray[np.int64], limits: NDArray[np.int64]
    ) -> Outcome:
        engine = self.engines[p]
        offsets = np.zeros(len(limits), np.int64)
        offsets[members] = np.arange(engine.next_offset, engine.next_offset + n)
        outcome = engine.apply(decoded, offsets, limits)
        engine.next_offset += n
        return outcome

    def _homes(self, values: Sequence[bytes | None], decoded: Decoded) -> NDArray[np.int32]:
        count = len(self.engines)
        homes = np.zeros(len(values), np.int32)
        people = decoded.columns["kind"] != TICK
        events = (
            decoded.events
            if people.all()
            else [e for e, is_one in zip(decoded.events, people, strict=True) if is_one]
        )
        homes[decoded.good[people]] = partition_of([e.subject for e in events], count)
        for rejected in decoded.rejected:
            subject = read_subject(values[rejected.index])
            if subject is not None:
                homes[rejected.index] = partition_of([subject], count)[0]
        return homes

    def advance(self, time: int) -> Outcome:
        """Let time pass until `time` (ms UTC) in every partition."""
        outcome = Outcome()
        for engine in self.engines:
            one = engine.advance(time)
            outcome.signals += one.signals
            outcome.held_back += one.held_back
        return outcome

    def cards(self) -> Iterator[tuple[str, bytes]]:
        """Every customer's card, sorted by subject over all partitions."""
        return heapq.merge(*(engine.cards() for engine in self.engines))


def _subset(decoded: Decoded, homes: NDArray[np.int32], p: int) -> Decoded:
    mine = np.flatnonzero(homes[decoded.good] == p)
    events: list[Any] = [decoded.events[i] for i in mine.tolist()]
    rejected: list[Rejected] = [r for r in decoded.rejected if homes[r.index] == p]
    return Decoded(decoded.good[mine], events, decoded.columns[mine], decoded.sources[mine], rejected)


def _merged(outcomes: list[Outcome]) -> Outcome:
    return Outcome(
        signals=sorted((s for o in outcomes for s in o.signals), key=lambda s: s.index),
        rejected=sorted(r for o in outcomes for r in o.rejected),
        accepted=sum(o.accepted for o in outcomes),
        duplicates=sum(o.duplicates for o in outcomes),
        ticks=sum(o.ticks for o in outcomes),
        erased=sum(o.erased for o in outcomes),
        receipts=sorted((r for o in outcomes for r in o.receipts), key=lambda r: r.index),
        erasures=sum(o.erasures for o in outcomes),
        held_back=sum(o.held_back for o in outcomes),
    )

"""Customers from touchpoint files: the purchases as the engine keeps them, so that training and live scores agree.

    files -> Router, all -> purchases at the end -> the model that goes into the rules
          -> Router, until the cut -> purchases at the cut -> a model that is checked with what came after it

Nobody is deleted after a year without a touch, as live customers are: who has stopped buying is what a model learns from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cxstream.files.merged import merged_batches
from cxstream.files.readers import read_batches
from cxstream.kernels.layout import NONE
from cxstream.logs.counted import counted
from cxstream.model.errors import InputError
from cxstream.model.kinds import RULES_TYPE
from cxstream.model.parameters import DAY_MS, MAX_PARAMETER
from cxstream.scoring.router import RoutedError, Router
from cxstream.training.customers import Customers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from cxstream.files.readers import Chunk
    from cxstream.model.parameters import ScoringParams
    from cxstream.scoring.codec.rejection import Reference
    from cxstream.scoring.codec.signatures import Authority
    from cxstream.scoring.engine import Outcome

_RULES = RULES_TYPE.encode()
_KEEP_MS = int(MAX_PARAMETER) * DAY_MS
_BOUGHT = "purchase"


@dataclass(frozen=True, slots=True)
class Source:
    """Touchpoints and how they are read.

    Attributes:
        paths: the inputs, in order; of a feed its name alone.
        params: the rules until the records say others.
        actions: suggested actions, likewise.
        in_order: sort the records by event time first.
        batch_bytes: about how much is read at a time, in bytes.
        limit: the latest event time that is believed, ms UTC.
        authority: verifies the signatures of control records; None: signatures are not required.
        feed: gives the records instead of the files, each time it is asked; takes the most bytes of a record.
    """

    paths: tuple[Path, ...]
    params: ScoringParams
    actions: Mapping[str, str]
    in_order: bool
    batch_bytes: int
    limit: int
    authority: Authority | None = None
    feed: Callable[[int], Iterator[Chunk]] | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        more = len(self.paths) - 1
        return f"{self.paths[0]} and {more} more" if more else str(self.paths[0])

    @property
    def twice(self) -> bool:
        """Whether it can be read a second time."""
        return self.feed is not None or all(path.is_file() for path in self.paths)

    def chunks(self, max_record_bytes: int) -> Iterator[Chunk]:
        """All records; a longer one than `max_record_bytes` is marked as too long."""
        if self.feed is not None:
            return self.feed(max_record_bytes)
        read = merged_batches if self.in_order else read_batches
        return read(self.paths, self.batch_bytes, max_record_bytes)


@dataclass(slots=True)
class Bought:
    """The purchases of customers at a time.

    Attributes:
        end: the last day that was observed.
        days: int64[n], days with a purchase of each customer, at least 1.
        first: int64[n], the first of them.
        last: int64[n], the last of them.
        spent: float64[n], in the base currency.
        names: the customers.
        records: how many records were read.
        accepted: how many of them counted.
        unconverted: amounts without a rate, by currency.
        bought: (customer, day) of each accepted purchase, where they were asked for.
    """

    end: int
    days: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    spent: NDArray[np.float64]
    names: list[str]
    records: int = 0
    accepted: int = 0
    unconverted: dict[str, int] = field(default_factory=dict)
    bought: set[tuple[str, int]] = field(default_factory=set)

    def customers(self) -> Customers:
        """What a model is fitted to, in days."""
        days = self.days.astype(np.float64)
        mean = np.divide(self.spent, days)
        return Customers(
            days - 1,
            (self.last - self.first).astype(np.float64),
            (np.maximum(self.end, self.last) - self.first).astype(np.float64),
            np.where(mean > 0, days, 0.0),
            mean,
        )


def read_log(
    source: Source,
    until: int | None = None,
    *,
    each: bool = False,
    on_chunk: Callable[[Chunk], None] = lambda _: None,
) -> Bought:
    """Read all inputs.

    Args:
        source: the inputs.
        until: ms UTC; later events are left out, and the time of observation ends there. None: it ends with the last
            event.
        each: also collect every purchase.
        on_chunk: called when a chunk has been read.

    Raises:
        InputError: an input cannot be read, or has no purchases.
    """
    # A year without a touch must not delete anybody.
    params = source.params.model_copy(update={"forget_days": int(MAX_PARAMETER)})
    router = Router(params, source.actions, authority=source.authority, scored=each)
    while True:
        found = Bought(0, *(np.empty(0, np.int64),) * 3, np.empty(0), [])
        try:
            for chunk in source.chunks(router.max_record_bytes):
                for lines, cut in _pieces(chunk):
                    outcome = router.process(lines, source.limit if until is None else until, cut)
                    for engine in router.engines:
                        # Rules of the log may say otherwise.
                        engine.partition.constants = engine.partition.constants._replace(forget_ms=_KEEP_MS)
                    _note(found, outcome, len(lines))
                on_chunk(chunk)
            break
        except RoutedError as failed:
            again = router.fresh_copy(failed)
            if again is None or not source.twice:
                raise
            router = again
    _collect(found, router, until)
    if not len(found.days):
        raise InputError(
            f"{source.name}: no customer has a purchase ({found.accepted:,} of {counted(found.records, 'record')} could be "
            "used): a model of purchases needs the kinds purchase or "
            "purchase_history"
        )
    return found


def _pieces(chunk: Chunk) -> Iterator[tuple[Sequence[bytes], dict[int, Reference]]]:
    """A chunk in pieces that end with a set of rules."""
    begin = 0
    ends = [i + 1 for i, line in enumerate(chunk.lines) if _RULES in line]
    for end in [*ends, len(chunk.lines)]:
        if end > begin:
            cut = {at - begin: what for at, what in chunk.cut.items() if begin <= at < end}
            yield chunk.lines[begin:end], cut
            begin = end


def _note(found: Bought, outcome: Outcome, records: int) -> None:
    found.records += records
    found.accepted += outcome.accepted
    for code in outcome.unconverted:
        found.unconverted[code] = found.unconverted.get(code, 0) + 1
    if (rows := outcome.scored) is None:
        return
    for kind, event, time in zip(rows.kinds.strings(), rows.events, rows.times.tolist(), strict=True):
        if kind == _BOUGHT:
            found.bought.add((event.subject, time // DAY_MS))


def _collect(found: Bought, router: Router, until: int | None) -> None:
    """Take the purchases out of the engines."""
    clocks = [engine.clock for engine in router.engines if engine.clock is not None]
    found.end = (max(clocks, default=0) if until is None else until) // DAY_MS
    for engine in router.engines:
        st, slots = engine.partition.state, engine.partition.live()
        slots = slots[st.purchases[slots] != NONE]
        buyers = st.buyers[st.purchases[slots]]
        some = buyers["days"] > 0
        slots, buyers = slots[some], buyers[some]
        found.days = np.r_[found.days, buyers["days"].astype(np.int64)]
        found.first = np.r_[found.first, buyers["first"].astype(np.int64)]
        found.last = np.r_[found.last, buyers["last"].astype(np.int64)]
        found.spent = np.r_[found.spent, buyers["spent"]]
        found.names += engine.partition.slots.names(slots)

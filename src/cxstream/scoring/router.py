"""Several partitions in one process: each record goes to the partition that Kafka would choose."""

from __future__ import annotations

import heapq
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cxstream.model.events import LOG
from cxstream.scoring import failing
from cxstream.scoring.cards import merged
from cxstream.scoring.codec.decode import Decoded, decode, read_subject, rules_among
from cxstream.scoring.codec.routing import partition_of
from cxstream.scoring.codec.texts import text_model
from cxstream.scoring.codec.vocabulary import vocabulary
from cxstream.scoring.engine import Engine, Fates, Outcome, Read, joined, spans
from cxstream.scoring.failing import BatchError
from cxstream.scoring.scored import in_order, together
from cxstream.scoring.state.partition import NO_LIMIT
from cxstream.scoring.state.passed_over import FAILED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import ThreadPoolExecutor

    from numpy.typing import NDArray

    from cxstream.model.parameters import ScoringParams
    from cxstream.scoring.codec.packed import Packed
    from cxstream.scoring.codec.pseudonym import Pseudonyms
    from cxstream.scoring.codec.signatures import Authority
    from cxstream.scoring.state.in_force import InForce


class Router:
    """Engines for partitions 0..n-1, fed from one sequence of structured records.

    A record's offset is its ordinal within its partition; one whose subject cannot be read, and a tick, belong
    to partition 0. A set of rules belongs to every partition, and has an ordinal in each.

    Args:
        params: constants of the scores, until the records say others.
        actions: suggested action by leading feature, likewise.
        partitions: how many.
        topic: source topic, for the ids of signals.
        pseudonyms: names under which customers are known; None: their own.
        authority: verifies the signatures of control records; None: signatures are not required.
        scored: outcomes tell what each accepted touchpoint counted for.

    Attributes:
        engines: one a partition.
        suspects: ordinals of records that are to be applied one by one, by partition.
        threads: score partitions side by side; None: one after the other. They must not share pseudonyms.
    """

    def __init__(
        self,
        params: ScoringParams,
        actions: Mapping[str, str],
        *,
        partitions: int = 1,
        topic: str = LOG,
        pseudonyms: Pseudonyms | None = None,
        authority: Authority | None = None,
        scored: bool = False,
    ) -> None:
        self._max_record_bytes = params.max_record_bytes
        self.suspects: dict[int, range] = {}
        self.threads: ThreadPoolExecutor | None = None
        self._authority = authority
        self._again = partial(
            Router,
            params,
            actions,
            partitions=partitions,
            topic=topic,
            pseudonyms=pseudonyms,
            authority=authority,
            scored=scored,
        )
        self.engines = [
            Engine(params, actions, topic=topic, partition=p, pseudonyms=pseudonyms, authority=authority)
            for p in range(partitions)
        ]
        for engine in self.engines:
            engine.scored = scored

    @property
    def params(self) -> ScoringParams:
        """The parameters in force, in every partition."""
        return self.engines[0].params

    @property
    def max_record_bytes(self) -> int:
        """The most bytes of a record."""
        return self._max_record_bytes

    def empty_copy(self) -> Router:
        """A new router without state that is otherwise like this one."""
        return self._again()

    def fresh_copy(self, failed: RoutedError) -> Router | None:
        """A new router without state that avoids the failure of this one.

        It applies records that could not be applied together one by one, and passes over a record that could not be
        applied alone.

        Returns:
            None if no record is the cause.
        """
        router, number = self._again(), failed.partition
        router.suspects, router.threads = dict(self.suspects), self.threads
        for engine, before in zip(router.engines, self.engines, strict=True):
            engine.partition.passed = before.partition.passed
        error = failed.error
        if error.first == error.last and error.first in self.suspects.get(number, ()):
            router.engines[number].partition.passed.add(error.first, FAILED)
            try:
                router.engines[number].require_sound()
            except Exception:  # noqa: BLE001 - sound records fail, too
                return None
        else:
            router.suspects[number] = range(error.first, error.last + 1)
        return router

    def process(
        self,
        values: Sequence[bytes | None],
        limit: int | None = None,
        unheld: Collection[int] = (),
        *,
        grace: int = 0,
        read: Read | None = None,
    ) -> Outcome:
        """Apply a batch.

        Args:
            values: n structured records.
            limit: ms UTC, the latest event time that is not from the future; None for no limit.
            unheld: positions of records that were too large to be kept in memory.
            grace: the part of it that allows for wrong clocks, ms; it does not apply to control records.
            read: what `read` made of it before; it is read again if other rules are in force by now.

        Returns:
            Signals and rejections of all partitions in the order of the records that caused them, with `fates`.

        Raises:
            RoutedError: records cannot be applied because of an unforeseen error; see `fresh_copy`.
        """
        n = len(values)
        decoded = (
            read.decoded if read is not None and read.rules is self._rules else self._read(values, unheld)
        )
        rules = decoded.valid[rules_among(decoded)].tolist()
        if rules and n > 1:
            return self._process_each(spans(n, rules), values, limit, unheld, grace)
        limits = np.full(n, NO_LIMIT if limit is None else limit)
        if len(self.engines) == 1:
            outcome, valid, times = self._feed(0, decoded, np.arange(n), limits, grace)
            outcome.fates = Fates(valid, times, outcome.status, np.zeros(len(valid), np.int32))
            return outcome
        if rules:
            return self._follow(decoded, limits, grace)
        partitions = self.places_of(values, decoded, len(self.engines))
        outcomes = []
        valid_of_all, all_times = [decoded.valid[:0]], [decoded.columns["time"][:0]]
        members = [np.flatnonzero(partitions == p) for p in range(len(self.engines))]
        busy = [p for p, some in enumerate(members) if len(some)]

        def feed(p: int) -> tuple[Outcome, NDArray[np.int64], NDArray[np.int64]]:
            return self._feed(p, _subset(decoded, partitions, p), members[p], limits, grace)

        for outcome, valid, times in (
            map(feed, busy) if self.threads is None else self.threads.map(feed, busy)
        ):
            outcomes.append(outcome)
            valid_of_all.append(valid)
            all_times.append(times)
        merged = _merged(outcomes)
        valid = np.concatenate(valid_of_all)
        order = np.argsort(valid)
        merged.status = np.concatenate([np.empty(0, np.uint8), *(each.status for each in outcomes)])[order]
        valid = valid[order]
        merged.fates = Fates(valid, np.concatenate(all_times)[order], merged.status, partitions[valid])
        return merged

    def read(self, values: Sequence[bytes | None], unheld: Collection[int] = ()) -> Read:
        """Read a batch that is to be processed later; another thread may do so while batches before it are processed.

        Args:
            values: n structured records.
            unheld: positions of records that were too large to be kept in memory.
        """
        rules = self._rules
        return Read(self._read(values, unheld), rules)

    @property
    def _rules(self) -> InForce:
        return self.engines[0].rules.latest

    def _read(self, values: Sequence[bytes | None], unheld: Collection[int]) -> Decoded:
        n = len(values)
        read = partial(
            decode,
            limit=self._max_record_bytes,
            authority=self._authority,
            vocabulary=vocabulary(self.params.kinds),
            texts=text_model(self.params.text_model),
            fields=self.engines[0].scored,
        )

        def read_some(some: Sequence[int]) -> Decoded:
            if len(some) == n:
                return read(values, unheld=unheld)
            large = [i for i, position in enumerate(some) if position in unheld]
            return read([values[i] for i in some], unheld=large)

        return failing.read(range(n), n, read_some, self.engines[0].require_sound)

    def _process_each(
        self,
        pieces: Iterable[range],
        values: Sequence[bytes | None],
        limit: int | None,
        unheld: Collection[int],
        grace: int,
    ) -> Outcome:
        """Apply a batch in pieces that one set of rules decodes."""
        parts = []
        for piece in pieces:
            large = [position - piece.start for position in unheld if position in piece]
            some = values[piece.start : piece.stop]
            try:
                parts.append((piece.start, self.process(some, limit, large, grace=grace)))
            except RoutedError as failed:
                raise RoutedError(failed.partition, failed.position + piece.start, failed.error) from failed
        outcome = joined(parts)
        found = [(begin, part.fates) for begin, part in parts if part.fates is not None]
        outcome.fates = Fates(
            np.concatenate([fates.positions + begin for begin, fates in found]),
            np.concatenate([fates.times for _, fates in found]),
            outcome.status,
            np.concatenate([fates.partitions for _, fates in found]),
        )
        return outcome

    def _follow(self, decoded: Decoded, limits: NDArray[np.int64], grace: int) -> Outcome:
        """Put a set of rules, which is alone, in force in every partition; all come to the same decision."""
        outcomes = [
            self._feed(p, decoded, np.zeros(1, np.int64), limits, grace) for p in range(len(self.engines))
        ]
        outcome, valid, times = outcomes[0]
        outcome.fates = Fates(valid, times, outcome.status, np.zeros(len(valid), np.int32))
        return outcome

    def _feed(
        self, p: int, decoded: Decoded, members: NDArray[np.int64], limits: NDArray[np.int64], grace: int
    ) -> tuple[Outcome, NDArray[np.int64], NDArray[np.int64]]:
        """Apply the records of a partition; returns the outcome, and positions and times of the valid ones."""
        engine, n = self.engines[p], len(members)
        mine = np.arange(engine.next_offset, engine.next_offset + n)
        offsets = mine
        if n < len(limits):
            offsets = np.zeros(len(limits), np.int64)
            offsets[members] = mine
        if over := engine.partition.passed.among(mine):
            decoded = failing.without(decoded, {int(members[i]): reason for i, reason in over.items()})
        valid, times = decoded.valid, decoded.columns["time"].copy()
        suspect = self.suspects.get(p, range(0))
        parts = [(decoded, members)]
        if engine.next_offset < suspect.stop and engine.next_offset + n > suspect.start:
            parts = [(_only(decoded, int(member)), members[i : i + 1]) for i, member in enumerate(members)]
        outcomes = []
        for part, piece in parts:
            try:
                outcomes.append(engine.apply(part, offsets, limits, grace))
            except Exception as error:
                if not failing.may_be_of_record(error):
                    raise
                found = BatchError(int(offsets[piece[0]]), int(offsets[piece[-1]]), error)
                raise RoutedError(p, int(piece[0]), found) from error
        engine.next_offset += n
        if len(outcomes) == 1:
            return outcomes[0], valid, times
        outcome = _merged(outcomes)
        outcome.status = np.concatenate([each.status for each in outcomes])
        return outcome, valid, times

    def places_of(self, values: Sequence[bytes | None], decoded: Decoded, count: int) -> NDArray[np.int32]:
        """Which of `count` partitions each record of a batch belongs to, int32[n]; those without a customer to the first."""
        if count == 1:
            return np.zeros(len(values), np.int32)
        homes = decoded.events.homes(count)
        if len(homes) == len(values):
            return homes
        partitions = np.zeros(len(values), np.int32)
        partitions[decoded.valid] = homes
        refused = [each.index for each in decoded.rejected]
        subjects = [_subject(values[i]) or "" for i in refused]
        partitions[refused] = np.where([s != "" for s in subjects], partition_of(subjects, count), 0)
        return partitions

    def advance(self, time: int) -> Outcome:
        """Let time pass until `time` (ms UTC) in every partition."""
        outcome = Outcome()
        for engine in self.engines:
            one = engine.advance(time)
            outcome.rows += one.rows
            outcome.held_back += one.held_back
        return outcome

    def cards(self) -> Iterator[tuple[str, bytes]]:
        """Every customer's card, sorted by subject over all partitions."""
        return heapq.merge(*(engine.cards() for engine in self.engines))

    def card_blocks(self) -> Iterator[Packed]:
        """The same without the subjects, some at a time; behind each card is a line feed."""
        return (some for _, some in self.named_card_blocks())

    def named_card_blocks(self) -> Iterator[tuple[Packed, Packed]]:
        """The same with the subjects."""
        return merged([engine.named_card_blocks() for engine in self.engines])


class RoutedError(Exception):
    """Records of a partition cannot be applied, and the states of the router cannot be used any more.

    Attributes:
        partition: which.
        position: of the first of them, in the batch.
        error: which records, and why.
    """

    def __init__(self, partition: int, position: int, error: BatchError) -> None:
        super().__init__(str(error))
        self.partition, self.position, self.error = partition, position, error


def _subject(value: bytes | None) -> str | None:
    try:
        return read_subject(value)
    except Exception as error:
        if not failing.may_be_of_record(error):
            raise
        return None  # the subject may be what fails to decode


def _only(decoded: Decoded, position: int) -> Decoded:
    """The part of a decoded batch that belongs to one record."""
    here = np.flatnonzero(decoded.valid == position)
    return decoded.taken(here, [each for each in decoded.rejected if each.index == position])


def _subset(decoded: Decoded, partitions: NDArray[np.int32], p: int) -> Decoded:
    mine = np.flatnonzero(partitions[decoded.valid] == p)
    return decoded.taken(mine, [r for r in decoded.rejected if partitions[r.index] == p])


def _merged(outcomes: list[Outcome]) -> Outcome:
    return Outcome(
        rows=sorted((row for o in outcomes for row in o.rows), key=lambda row: row.index),
        rejected=sorted(r for o in outcomes for r in o.rejected),
        accepted=sum(o.accepted for o in outcomes),
        duplicates=sum(o.duplicates for o in outcomes),
        ticks=sum(o.ticks for o in outcomes),
        rules=sum(o.rules for o in outcomes),
        erased=sum(o.erased for o in outcomes),
        erasures=sum(o.erasures for o in outcomes),
        held_back=sum(o.held_back for o in outcomes),
        unconverted=[each for o in outcomes for each in o.unconverted],
        scored=in_order(together([(0, o.scored) for o in outcomes])),
    )

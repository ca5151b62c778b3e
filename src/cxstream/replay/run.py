"""Files through the scores into a folder of results.

    read_batches   -> Router.process -> signals.ndjson, rejected.ndjson, scored touchpoints, changes
    merged_batches    (at the end) --> Router.advance(until), cards -> scores.ndjson

Only a batch is in memory at a time, beside the state of the customers and the bounded memory of a sort.
"""

from __future__ import annotations

from contextlib import nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from cxstream.files.merged import merged_batches
from cxstream.files.readers import read_batches
from cxstream.model.errors import InputError
from cxstream.replay.ahead import read_ahead
from cxstream.replay.order import Order
from cxstream.replay.results import FILES, REJECTED, SCORES, RejectedLine, Results
from cxstream.replay.summary import Tally
from cxstream.replay.team import Team, can_share
from cxstream.replay.warm import warm_up
from cxstream.scoring.codec.changes import changes_among
from cxstream.scoring.codec.rows import Rows
from cxstream.scoring.distribution import levels
from cxstream.scoring.router import RoutedError
from cxstream.scoring.shares import NotSharedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cxstream.files.readers import Chunk
    from cxstream.model.enumerations import Level
    from cxstream.scoring.codec.changes import Marker
    from cxstream.scoring.codec.packed import Packed
    from cxstream.scoring.engine import Outcome, Read
    from cxstream.scoring.router import Router


class Sink(Protocol):
    """What is written from the outcomes of a replay beside the folder of results."""

    def take(self, outcome: Outcome, lines: Sequence[Any]) -> None:
        """Take the outcome of a chunk, and its records."""

    def take_changes(self, changes: Sequence[Marker]) -> None:
        """Take the changes of the experience in a chunk."""

    def take_cards(self, cards: Iterable[bytes]) -> None:
        """Take score cards, at the end."""

    def begin_again(self) -> None:
        """Forget what has been taken."""

    def write_out(self) -> None:
        """All is taken: write it to the disk."""

    def complete(self) -> None:
        """Give what is written its name."""


def replay(
    router: Router,
    paths: Sequence[Path],
    results: Results,
    *,
    until: int | None = None,
    limit: int | None = None,
    grace: int = 0,
    in_order: bool = False,
    jobs: int = 1,
    processes: bool = False,
    batch_bytes: int,
    keep_raw: bool = True,
    sinks: Sequence[Sink] = (),
    on_chunk: Callable[[Chunk], None] = lambda _: None,
    on_read: Callable[[Chunk], None] = lambda _: None,
    on_sorted: Callable[[int], None] = lambda _: None,
    on_written: Callable[[], None] = lambda: None,
) -> Tally:
    """Score inputs one after the other, or merged by event time.

    Args:
        router: engines that have seen nothing yet.
        paths: the inputs, in order.
        results: an open folder; it is completed.
        until: ms UTC; later events are from the future, and every clock ends there.
        limit: ms UTC; without `until`, later events are from the future; None for no limit.
        grace: how much of `limit` is for clocks that are wrong, ms; control records have none of it.
        in_order: sort the records of all inputs by event time first.
        jobs: threads or processes; of several threads one scores, and the others read records ahead.
        processes: score by several processes where that is possible: JSON lines of files, as given, without sinks. The router must
            not have pseudonyms.
        batch_bytes: about how much is read at a time, in bytes.
        keep_raw: copy rejected records into the results, beside the line they are in.
        sinks: open files of scored touchpoints and the like; they are completed. The router must tell what is scored.
        on_chunk: called when a chunk is scored.
        on_read: called when a chunk is read for sorting.
        on_sorted: called when all is read for sorting, with the bytes of all records.
        on_written: called when everything is on the disk, before files get their names. Nothing should interrupt it from here on.

    Raises:
        InputError: an input cannot be read.
        OutputError: results cannot be written.
    """
    shared = processes and not in_order and not sinks and can_share(paths, jobs, batch_bytes)
    warm_up(router, paths, jobs=jobs if shared else 1)
    started = monotonic()
    limit, grace = (limit, grace) if until is None else (until, 0)
    max_record_bytes = router.max_record_bytes

    def chunks() -> Iterator[Chunk]:
        if in_order:
            return merged_batches(paths, batch_bytes, max_record_bytes, on_read=on_read, on_sorted=on_sorted)
        return read_batches(paths, batch_bytes, max_record_bytes)

    def scorer(router: Router, *, shared: bool) -> AbstractContextManager[_Scorer]:
        if not shared:
            return nullcontext(_Alone(router, chunks(), paths, limit, grace, jobs))
        return Team(router, paths, jobs, batch_bytes=batch_bytes, limit=limit, grace=grace, until=until)

    while True:
        try:
            with scorer(router, shared=shared) as whole:
                tally = Tally(order=Order(router.params.window_days), limit=limit)
                for chunk, outcome in whole.outcomes():
                    _take(outcome, chunk, tally, results, sinks, named=len(paths) > 1, raw=keep_raw)
                    on_chunk(chunk)
                _end(whole, results, tally, until, sinks)
            break
        except (RoutedError, NotSharedError) as failed:
            router, shared = _again(router, failed), False
        results.begin_again()
        for sink in sinks:
            sink.begin_again()
    _complete((*sinks, results), on_written)
    tally.seconds = monotonic() - started
    return tally


def _complete(outputs: Sequence[Sink | Results], on_written: Callable[[], None]) -> None:
    """Let all results appear; what can fail comes before the first file has its name."""
    for output in outputs:
        output.write_out()
    on_written()
    for output in outputs:
        output.complete()


def _take(
    outcome: Outcome,
    chunk: Chunk,
    tally: Tally,
    results: Results,
    sinks: Sequence[Sink],
    *,
    named: bool,
    raw: bool,
) -> None:
    """Count and write what became of the records of a chunk."""
    changes, outcome.rejected = changes_among(chunk.lines, outcome.rejected)
    tally.add(outcome, len(chunk.lines))
    tally.changes += len(changes)
    tally.add_places(outcome, chunk)
    _write(results, outcome, chunk, named=named, raw=raw)
    for sink in sinks:
        sink.take(outcome, chunk.lines)
        sink.take_changes(changes)


def _again(router: Router, failed: RoutedError | NotSharedError) -> Router:
    """A router to begin again with."""
    if isinstance(failed, NotSharedError):
        whole = router.empty_copy()
        whole.threads = router.threads
        return whole
    again = router.fresh_copy(failed)
    if again is None:
        raise failed
    return again


class _Scorer(Protocol):
    """What scores the inputs of a replay."""

    def outcomes(self) -> Iterator[tuple[Chunk, Outcome]]:
        """Chunks of the inputs, and what became of their records."""

    def advance(self, until: int) -> Outcome:
        """Let time pass until `until` (ms UTC)."""

    def card_blocks(self) -> Iterator[Packed]:
        """Every customer's card, sorted by subject, some at a time; behind each card is a line feed."""

    def levels(self) -> Iterator[Mapping[Level, int]]:
        """Numbers of customers by risk level, which add up."""


class _Alone:
    """A router that scores all of it in this process."""

    def __init__(
        self,
        router: Router,
        chunks: Iterator[Chunk],
        paths: Sequence[Path],
        limit: int | None,
        grace: int,
        jobs: int,
    ) -> None:
        self._router, self._chunks, self._paths = router, chunks, paths
        self._limit, self._grace, self._jobs = limit, grace, jobs
        self.advance, self.card_blocks = router.advance, router.card_blocks

    def outcomes(self) -> Iterator[tuple[Chunk, Outcome]]:
        for chunk, read in _read(self._router, self._chunks, self._jobs):
            yield chunk, _process(self._router, chunk, self._limit, self._grace, self._paths, read)

    def levels(self) -> Iterator[Mapping[Level, int]]:
        return map(levels, self._router.engines)


def _read(router: Router, chunks: Iterator[Chunk], jobs: int) -> Iterator[tuple[Chunk, Read | None]]:
    """Chunks, and what other threads have read of them."""
    if jobs == 1:
        return ((chunk, None) for chunk in chunks)
    return read_ahead(chunks, lambda chunk: router.read(chunk.lines, chunk.cut), jobs - 1)


def _process(
    router: Router, chunk: Chunk, limit: int | None, grace: int, paths: Sequence[Path], read: Read | None
) -> Outcome:
    try:
        return router.process(chunk.lines, limit, chunk.cut, grace=grace, read=read)
    except RoutedError as failed:
        # What has failed is found by reading all inputs once more.
        if all(path.is_file() for path in paths):
            raise
        path, line = chunk.place(failed.position)
        raise InputError(
            f"{path}:{line}: {failed}; an input that is a pipe cannot be read again to pass over the record: write it to "
            "a file first"
        ) from failed


def _end(scorer: _Scorer, results: Results, tally: Tally, until: int | None, sinks: Sequence[Sink]) -> None:
    """Let time pass until the end, and write the score cards."""
    if until is not None:
        outcome = scorer.advance(until)
        tally.add(outcome, 0)
        _write_rows(results, outcome)
        for sink in sinks:
            sink.take(outcome, ())
    tally.add_levels(scorer.levels())
    for cards in scorer.card_blocks():
        results.write_all(SCORES, cards)
        for sink in sinks:
            sink.take_cards(cards)


def _write(results: Results, outcome: Outcome, chunk: Chunk, *, named: bool, raw: bool) -> None:
    _write_rows(results, outcome)
    if outcome.rejected:
        results.write(REJECTED, _rejected(outcome, chunk, named=named, raw=raw))


def _write_rows(results: Results, outcome: Outcome) -> None:
    lines: dict[str, list[bytes]] = {}
    for row in outcome.rows:
        lines.setdefault(FILES[row.topic], []).append(row.value)
    for name, values in lines.items():
        results.write(name, values)


def _rejected(outcome: Outcome, chunk: Chunk, *, named: bool, raw: bool) -> Iterator[bytes]:
    if isinstance(chunk.lines, Rows):
        chunk.lines.at([refused.index for refused in outcome.rejected])
    for refused in outcome.rejected:
        cut = chunk.cut.get(refused.index)
        copied = chunk.lines[refused.index] if raw and cut is None else None
        path, line = chunk.place(refused.index)
        yield RejectedLine(
            reason=refused.reason,
            field=refused.field,
            message=refused.message,
            line=line,
            raw=copied,
            reference=cut if raw or cut is None else cut._replace(sha256=""),
            file=str(path) if named else None,
        ).encode()

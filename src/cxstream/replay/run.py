"""Files through the scores into a folder of results.

    read_batches -> Router.process -> signals.ndjson, rejected.ndjson
                    (at the end) --> Router.advance(until), cards -> scores.ndjson

Only a batch is in memory at a time, beside the state of the customers.
"""

from __future__ import annotations

from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING

from cxstream.files.readers import read_batches
from cxstream.replay.results import FORGOTTEN, REJECTED, SCORES, SIGNALS, RejectedLine, Results
from cxstream.replay.summary import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cxstream.files.readers import Chunk
    from cxstream.scoring.engine import Outcome
    from cxstream.scoring.router import Router

_CARDS_AT_A_TIME = 4096


def replay(
    router: Router,
    paths: Sequence[Path],
    results: Results,
    *,
    until: int | None = None,
    batch_bytes: int,
    max_record_bytes: int,
    keep_raw: bool = True,
    on_chunk: Callable[[Chunk], None] = lambda _: None,
) -> Tally:
    """Score inputs one after the other.

    Args:
        router: engines that have seen nothing yet.
        paths: the inputs, in order.
        results: an open folder; it is completed.
        until: ms UTC; later events are from the future, and every clock ends there.
        batch_bytes: about how much is read at a time, in bytes.
        max_record_bytes: a longer record is rejected as malformed, in bytes.
        keep_raw: copy rejected records into the results, beside the line they are in.
        on_chunk: called when a chunk is done.

    Raises:
        InputError: an input cannot be read.
        OutputError: results cannot be written.
    """
    started = monotonic()
    tally = Tally()
    for chunk in read_batches(paths, batch_bytes, max_record_bytes):
        outcome = router.process(chunk.lines, until)
        tally.add(outcome, len(chunk.lines))
        _write(results, outcome, chunk, named=len(paths) > 1, raw=keep_raw)
        on_chunk(chunk)
    if until is not None:
        outcome = router.advance(until)
        tally.add(outcome, 0)
        results.write(SIGNALS, [signal.value for signal in outcome.signals])
    cards = (card for _, card in router.cards())
    while some := list(islice(cards, _CARDS_AT_A_TIME)):
        tally.add_cards(some)
        results.write(SCORES, some)
    results.complete()
    tally.seconds = monotonic() - started
    return tally


def _write(results: Results, outcome: Outcome, chunk: Chunk, *, named: bool, raw: bool) -> None:
    if outcome.signals:
        results.write(SIGNALS, [signal.value for signal in outcome.signals])
    if outcome.receipts:
        results.write(FORGOTTEN, [receipt.value for receipt in outcome.receipts])
    if outcome.rejected:
        results.write(REJECTED, _rejected(outcome, chunk, named=named, raw=raw))


def _rejected(outcome: Outcome, chunk: Chunk, *, named: bool, raw: bool) -> Iterator[bytes]:
    for refused in outcome.rejected:
        cut = chunk.cut.get(refused.index)
        yield RejectedLine(
            reason=refused.reason,
            field=refused.field,
            message=refused.message if cut is None else "longer than a record may be; raw is its beginning",
            line=chunk.numbers[refused.index],
            raw=(chunk.lines[refused.index] if cut is None else cut) if raw else None,
            file=str(chunk.path) if named else None,
        ).encode()

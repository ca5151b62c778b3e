r"""Files held against the contract: read as `replay` and `produce` read them, and judged by the engine that scores them.

read_batches -> Engine.read -> rejected: every problem    (errors)
                            \-> valid: names and repeats (warnings)
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cxstream.files.readers import BATCH_BYTES, read_batches
from cxstream.model.events import CONTROL
from cxstream.model.kinds import RULES_TYPE
from cxstream.model.rules import read_rules
from cxstream.scoring.codec.changes import CHANGES_ONLY, changes_among, is_change
from cxstream.scoring.codec.decode import FROM_THE_FUTURE, rules_among
from cxstream.scoring.codec.vocabulary import vocabulary
from cxstream.scoring.engine import Records, spans
from cxstream.validate import sentences
from cxstream.validate.locate import at_path
from cxstream.validate.problems import Problem, problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cxstream.files.readers import Chunk
    from cxstream.model.rules import Rules
    from cxstream.scoring.codec.decode import Decoded
    from cxstream.scoring.engine import Engine

REMEMBERED = 300_000
"""Events whose ids are remembered, to find those that come again: some 50 MB."""

_NAMES = 1000
_RULES = RULES_TYPE.encode()
_OTHERS = "other fields"


class Finding(NamedTuple):
    """A problem, and where it is.

    Attributes:
        path: the input; `-` is standard input.
        line: its line there, as `Chunk.numbers` has it.
        problem: what is wrong.
    """

    path: Path
    line: int
    problem: Problem


@dataclass(slots=True)
class ProblemCounts:
    """What was found.

    Attributes:
        records: records read.
        bad: records that would be rejected.
        errors: problems of those, by reason and field.
        warnings: other problems, by field.
    """

    records: int = 0
    bad: int = 0
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)
    warnings: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, problem: Problem) -> None:
        """Count a problem; of fields that have no end only the first are told apart."""
        counts = self.errors if problem.reason else self.warnings
        key = (problem.reason, problem.field)
        counts[key if key in counts or len(counts) < _NAMES else (problem.reason, _OTHERS)] += 1


class Repeats:
    """Events whose source, id and customer have been there before."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Path, int]] = {}

    def first(self, key: tuple[int, str], place: tuple[Path, int]) -> tuple[Path, int] | None:
        """Where an event was first; None where it is new, or there are too many to remember."""
        digest = hash(key)
        found = self._seen.get(digest)
        if found is None and len(self._seen) < REMEMBERED:
            self._seen[digest] = place
        return found


def check(
    paths: Sequence[Path],
    engine: Engine,
    now: Callable[[], int],
    on_finding: Callable[[Finding], None],
    *,
    grace: int = 0,
    on_chunk: Callable[[Chunk], None] = lambda _: None,
    following: Callable[[Rules], Engine] | None = None,
) -> ProblemCounts:
    """Find every problem in files.

    Args:
        paths: the inputs, in order; `-` is standard input.
        engine: its decoder is the judge; its state is not touched.
        now: the time, ms UTC.
        on_finding: is told each problem.
        grace: how much later than now an event may be, ms; a control record may not.
        on_chunk: called when a chunk is done.
        following: makes the engine that judges what follows a set of rules; None: the same judges everything.

    Raises:
        InputError: an input cannot be read.
    """
    tally, repeats = ProblemCounts(), Repeats()

    def tell(chunk: Chunk, position: int, found: list[Problem]) -> None:
        for problem in found:
            tally.add(problem)
            on_finding(Finding(*chunk.place(position), problem))

    for chunk in read_batches(paths, BATCH_BYTES, engine.params.max_record_bytes):
        for begin, part in _pieces(chunk, engine):
            decoded = engine.read(part)
            _, rejected = changes_among(part.values, decoded.rejected)
            wrong = {each.index: each for each in rejected}
            late = _from_the_future(decoded, now(), grace)
            again = _repeats(decoded, chunk, begin, repeats)
            kinds = vocabulary(engine.params.kinds)
            for position, raw in enumerate(chunk.lines[begin : begin + len(part.values)]):
                found = problems(raw, wrong.get(position), CHANGES_ONLY if is_change(raw) else kinds)
                if position in late:
                    found.insert(0, _future(raw, is_control=late[position]))
                if position in again:
                    found.append(again[position])
                if found:
                    tell(chunk, begin + position, found)
            tally.bad += len(wrong) + len(late)
            if rules_among(decoded) and not late and following is not None:
                engine = following(read_rules(bytes(decoded.events[0].data)))
        tally.records += len(chunk.lines)
        on_chunk(chunk)
    return tally


def _pieces(chunk: Chunk, engine: Engine) -> Iterator[tuple[int, Records]]:
    """The records of a chunk in pieces that one set of rules decodes, and where each begins."""
    n = len(chunk.lines)
    whole = Records(chunk.lines, range(n), unheld=frozenset(chunk.cut))
    if not any(_RULES in line for line in chunk.lines):
        yield 0, whole
        return
    decoded = engine.read(whole)
    for span in spans(n, decoded.valid[rules_among(decoded)].tolist()):
        yield span.start, whole.only(span)


def _from_the_future(decoded: Decoded, now: int, grace: int) -> dict[int, bool]:
    """Valid records that are later than they may be, and whether each is a control record."""
    control = decoded.columns["kind"] >= CONTROL
    limits = np.where(control, now, now + grace)
    late = np.flatnonzero(decoded.columns["time"] > limits).tolist()
    return {int(decoded.valid[i]): bool(control[i]) for i in late}


def _future(raw: bytes, *, is_control: bool) -> Problem:
    said = sentences.FUTURE_CONTROL if is_control else sentences.FUTURE
    span = at_path(raw, "time")
    value = span.text[span.start : span.end] if span is not None else None
    return Problem(FROM_THE_FUTURE, "time", said, value=value, where=span)


def _repeats(decoded: Decoded, chunk: Chunk, begin: int, repeats: Repeats) -> dict[int, Problem]:
    """Warnings of events that would count as duplicates of earlier ones."""
    found = {}
    ids = decoded.columns["id"].tolist()
    for event, key, position in zip(decoded.events, ids, decoded.valid.tolist(), strict=True):
        place = chunk.place(begin + position)
        before = repeats.first((key, getattr(event, "subject", "")), place)
        if before is not None:
            path, line = before
            where = f"line {line:,}" if path == place[0] else f"{path}:{line}"
            said = f"the same source and id as {where}: an event that comes again counts once"
            found[position] = Problem("", "id", said, value=None)
    return found

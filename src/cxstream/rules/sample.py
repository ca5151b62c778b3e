"""What a change of rules would do first: some recent touchpoints, scored under both sets from an empty state.

The scores are not those of the workers, whose state goes further back. What counts is the difference.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from cxstream.model.enumerations import LEVELS
from cxstream.model.parameters import MINUTE_MS
from cxstream.scoring.codec.decode import rules_among
from cxstream.scoring.engine import Engine, Records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from cxstream.kafka.reader import TopicReader
    from cxstream.model.rules import Rules
    from cxstream.settings import Settings

_NONE = LEVELS[0]


@dataclass(slots=True)
class Effect:
    """What a sample shows.

    Attributes:
        records: records of the sample.
        moves: customers by level under the rules before, and after.
        called: customers whom the CRM is told of after, and not before.
        not_called: the other way round.
        rejected: records that are rejected before, and after: of kinds that only one of the sets names.
    """

    records: int = 0
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    called: int = 0
    not_called: int = 0
    rejected: tuple[int, int] = (0, 0)

    @property
    def customers(self) -> int:
        """How many customers there are."""
        return self.moves.total()


async def effect(
    settings: Settings,
    reader: TopicReader,
    before: Sequence[Rules],
    after: Rules,
    *,
    records: int,
    since: int | None = None,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Effect:
    """Score recent touchpoints under two sets of rules.

    Args:
        settings: of the installation.
        reader: of cx.touchpoints.
        before: the rules in force, by partition.
        after: the rules that they are compared with.
        records: the most records.
        since: only records that came into the log at that time or later, ms UTC.
        on_progress: called with the records that have been scored, and their largest number.
    """
    topic = settings.topology.touchpoints.name
    spans = []
    for p in range(reader.partitions[topic]):
        first, end = await reader.bounds(topic, p)
        if since is not None:
            first = max(first, await reader.offset_at(topic, p, since))
        spans.append((max(first, end - max(1, records // len(before))), end))
    total, found, counts = sum(end - start for start, end in spans), Effect(), [0, 0]
    for partition, (start, end) in enumerate(spans):
        engines = [_engine(settings, rules, partition) for rules in (before[partition], after)]
        async for some in reader.read(topic, partition, start, end):
            batch = _records(some, round(settings.scoring.future_minutes * MINUTE_MS))
            for i, engine in enumerate(engines):
                counts[i] += _apply(engine, batch)
            found.records += len(some)
            on_progress(found.records, total)
        _compare(found, *(dict(_cards(engine.cards())) for engine in engines))
    found.rejected = counts[0], counts[1]
    return found


def _engine(settings: Settings, rules: Rules, partition: int) -> Engine:
    return Engine(
        rules.params,
        rules.actions,
        topic=settings.topology.touchpoints.name,
        partition=partition,
        pseudonyms=settings.privacy.pseudonyms(),
        authority=settings.control.authority(),
    )


def _records(some: Sequence[Any], future_ms: int) -> Records:
    return Records(
        [record.value for record in some],
        [record.offset for record in some],
        np.array([record.timestamp + future_ms for record in some], np.int64),
        [record.key for record in some],
        [record.headers for record in some],
        grace=future_ms,
    )


def _apply(engine: Engine, records: Records) -> int:
    """Apply a batch, except for sets of rules; returns the number of rejected records."""
    decoded = engine.read(records)
    if rules := rules_among(decoded):
        left_out = set(decoded.valid[rules].tolist())
        records = records.only([i for i in range(len(records.values)) if i not in left_out])
        decoded = engine.read(records)
    return len(engine.score(decoded, records).rejected)


class _Said(msgspec.Struct):
    level: str
    announced: str


class _Card(msgspec.Struct):
    data: _Said


_card = msgspec.json.Decoder(_Card).decode


def _cards(cards: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, _Said]]:
    for subject, card in cards:
        yield subject, _card(card).data


def _compare(found: Effect, before: dict[str, _Said], after: dict[str, _Said]) -> None:
    nothing = _Said(_NONE, _NONE)
    for subject in before.keys() | after.keys():
        old, new = before.get(subject, nothing), after.get(subject, nothing)
        found.moves[old.level, new.level] += 1
        found.called += old.announced == _NONE != new.announced
        found.not_called += old.announced != _NONE == new.announced

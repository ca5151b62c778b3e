"""What should have come of a log, and how what was found differs from it.

The expectation is the scoring engine's, driven over the log record by record's own Kafka timestamp, in batches
that have nothing to do with those of the workers. (The engine itself is held against a slow and plain oracle by
tests/test_scores.py.) Nothing of the worker is used.

    lost      expected, and not there
    repeated  there more than once
    wrong     there with other bytes or another key, in another place, or never expected
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

from cxstream.scoring.engine import Engine, Records
from cxstream.topology import CHURN_RISK, FORGOTTEN, FRICTION, TOUCHPOINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from cxstream.settings import Settings
    from faults.reader import Record

T = TypeVar("T")
Headers = tuple[tuple[str, bytes], ...]
Signal = tuple[bytes | None, bytes | None]
Reject = tuple[bytes | None, bytes | None, Headers]

SIGNAL_TOPICS = (CHURN_RISK.name, FRICTION.name)
RECEIPTS = FORGOTTEN.name
_MINUTE_MS = 60_000
_EXAMPLES = 10


class Expectation:
    """What the records of one partition should lead to.

    Args:
        settings: parameters and actions of the scores.
        partition: which.
        partitions: how many there are.

    Attributes:
        signals: key and value of each, by topic, in order; receipts of erasures are among them.
        rejected: key, value and headers of each, in order.
        events: records taken.
        reasons: rejections by reason.
        ticks: records that only let time pass.
        ahead_ms: how far the clock has been ahead of the broker's at most.
    """

    def __init__(self, settings: Settings, partition: int, partitions: int) -> None:
        self.signals: dict[str, list[Signal]] = {topic: [] for topic in (*SIGNAL_TOPICS, RECEIPTS)}
        self.rejected: list[Reject] = []
        self.events = 0
        self.reasons: Counter[str] = Counter()
        self.ticks = 0
        self.ahead_ms = 0
        self._partition = partition
        self._future_ms = round(settings.scoring.future_minutes * _MINUTE_MS)
        self._engine = Engine(
            settings.scoring,
            settings.actions,
            topic=TOUCHPOINTS.name,
            partition=partition,
            partitions=partitions,
            authority=settings.control.authority(),
        )

    def take(self, records: Sequence[Record]) -> None:
        """Go on with the log."""
        self.events += len(records)
        outcome = self._engine.process(
            Records(
                values=[record.value for record in records],
                offsets=[record.offset for record in records],
                limits=[record.timestamp + self._future_ms for record in records],
                keys=[record.key for record in records],
                headers=[list(record.headers) for record in records],
                grace=self._future_ms,
            )
        )
        for signal in chain(outcome.signals, outcome.receipts):
            self.signals[signal.topic].append((signal.key, signal.value))
        for rejection in outcome.rejected:
            record = records[rejection.index]
            headers = explained(record, rejection.reason, rejection.field, self._partition)
            self.rejected.append((record.key, record.value, headers))
            self.reasons[rejection.reason] += 1
        self.ticks += outcome.ticks
        if records and self._engine.clock is not None:
            self.ahead_ms = max(self.ahead_ms, self._engine.clock - records[-1].timestamp)

    def cards(self) -> dict[bytes, bytes]:
        """The score cards now, by customer."""
        return {subject.encode(): card for subject, card in self._engine.cards()}


def explained(record: Record, reason: str, where: str, partition: int) -> Headers:
    """The headers of a rejected record, as the contract says."""
    return (
        *record.headers,
        ("reason", reason.encode()),
        ("field", where.encode()),
        ("topic", TOUCHPOINTS.name.encode()),
        ("partition", str(partition).encode()),
        ("offset", str(record.offset).encode()),
    )


@dataclass(slots=True)
class Difference:
    """How much of what was found is not as expected.

    Attributes:
        lost: expected, and not there.
        repeated: there once more than expected.
        wrong: other than expected.
        examples: the first few of them, in words.
    """

    lost: int = 0
    repeated: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def none(self) -> bool:
        """Everything is as expected."""
        return not (self.lost or self.repeated or self.wrong)

    def note(self, where: str, what: str, name: object) -> None:
        """Keep an example, if there are few."""
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{where}: {what} {name!r}")

    def add(self, other: Difference) -> None:
        """Count those of another place too."""
        self.lost += other.lost
        self.repeated += other.repeated
        self.wrong += other.wrong
        self.examples = (self.examples + other.examples)[:_EXAMPLES]


def compare(
    expected: Sequence[T], found: Sequence[T], name_of: Callable[[T], Hashable], where: str
) -> Difference:
    """Compare two sequences whose members have names.

    Args:
        expected: what should be there, each under a name of its own.
        found: what is there.
        name_of: the name; members of one name are the same thing, be it in different bytes.
        where: named in the examples.
    """
    if list(expected) == list(found):
        return Difference()
    right = {name_of(each): each for each in expected}
    places: dict[Hashable, T] = {}
    difference = Difference()
    for each in found:
        name = name_of(each)
        if name in places:
            difference.repeated += 1
            difference.note(where, "repeated", name)
            continue
        places[name] = each
        if name not in right or right[name] != each:
            difference.wrong += 1
            difference.note(where, "wrong" if name in right else "never expected", name)
    _count_lost(difference, list(right), list(places), where)
    return difference


def _count_lost(difference: Difference, right: list[Hashable], seen: list[Hashable], where: str) -> None:
    """Count names that are missing, and those that are in the place of others."""
    expected, there = set(right), set(seen)
    for name in right:
        if name not in there:
            difference.lost += 1
            difference.note(where, "lost", name)
    in_order = [name for name in right if name in there]
    for name, other in zip(in_order, [name for name in seen if name in expected], strict=True):
        if name != other:
            difference.wrong += 1
            difference.note(where, f"in the place of {name!r}:", other)


def signal_name(signal: Signal) -> Hashable:
    """A signal's id; what has none is named by its bytes."""
    try:
        return str(json.loads(signal[1] or b"")["id"])
    except (ValueError, KeyError, TypeError):
        return signal


def reject_name(reject: Reject) -> Hashable:
    """The source offset of a rejected record."""
    return dict(reject[2]).get("offset", reject)


def compare_cards(
    expected: Mapping[bytes, bytes], found: Mapping[bytes | None, bytes], where: str
) -> Difference:
    """Compare the latest card of every customer: one that is missing is lost."""
    difference = Difference()
    for key in {*expected, *found}:
        if expected.get(key) == found.get(key):
            continue
        if key in expected and key not in found:
            difference.lost += 1
        else:
            difference.wrong += 1
        difference.note(where, "the card of", key)
    return difference

"""What should have come of a log, and how what was found differs from it.

The expectation is the scoring engine's, driven over the log record by record's own Kafka timestamp, in batches
that have nothing to do with those of the workers. (The engine itself is held against a slow and plain oracle by
tests/test_scores.py.) Nothing of the worker is used.

    lost      expected, and not there
    repeated  there more than once
    wrong     there with other bytes or another key, in another place, or never expected
"""

from __future__ import annotations

import hashlib
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
Headers = tuple[tuple[str, bytes | None], ...]
Signal = tuple[bytes | None, bytes | None]
Reject = tuple[bytes | None, bytes | None, Headers]

SIGNAL_TOPICS = (CHURN_RISK.name, FRICTION.name)
RECEIPTS = FORGOTTEN.name
FORWARDED = "forwarded-from"
TOO_LARGE = "too_large"
_MINUTE_MS = 60_000
_EXAMPLES = 10
_EXPLANATION, _REFERENCE = ("reason", "field", "topic", "partition", "offset"), ("size", "sha256")
_FIELD_CHARACTERS = 256
# A longer key is no customer's, and is left out of a reference.
_KEY_BYTES = 512
# What Kafka's format adds at most to a record in a batch of its own, beside its headers; and to each of these.
_FRAMING_BYTES, _HEADER_BYTES = 61 + 42, 10
# What a record may take in memory, and what each of its headers counts for in that; so few are never too many.
_MEMORY_BYTES, _HEADER_COST, _FEW_HEADERS = 8 << 20, 128, 10_000


class Expectation:
    """What the records of one partition should lead to.

    Args:
        settings: parameters and actions of the scores.
        partition: which.
        partitions: how many there are.
        largest: the largest batch that cx.touchpoints takes, in bytes; None where nothing here is larger.
        beyond: ranges of records (first and last offset) that lie beyond what their batch may inflate to.

    Attributes:
        signals: key and value of each, by topic, in order; receipts of erasures are among them.
        rejected: key, value and headers of each, in order.
        refused: the same of misrouted records that are too large to be forwarded, which come when the others are sent.
        forwarded: what is to be written into other partitions, by partition, in order.
        events: records taken.
        reasons: rejections by reason.
        ticks: records that only let time pass.
        ahead_ms: how far the clock has been ahead of the broker's at most.
    """

    def __init__(
        self,
        settings: Settings,
        partition: int,
        partitions: int,
        *,
        largest: int | None = None,
        beyond: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.signals: dict[str, list[Signal]] = {topic: [] for topic in (*SIGNAL_TOPICS, RECEIPTS)}
        self.rejected: list[Reject] = []
        self.refused: list[Reject] = []
        self.forwarded: dict[int, list[Reject]] = {}
        self.events = 0
        self.reasons: Counter[str] = Counter()
        self.ticks = 0
        self.ahead_ms = 0
        self._partition = partition
        self._largest = largest
        self._beyond = dict(beyond)
        self._most_inflated = settings.worker.max_batch_bytes
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
        records = [each for each in map(self._inflated, records) if each is not None]
        last = set(self._beyond.values())
        unheld = {i for i, record in enumerate(records) if record.offset in last or too_many_headers(record)}
        outcome = self._engine.process(
            Records(
                values=[record.value for record in records],
                offsets=[record.offset for record in records],
                limits=[record.timestamp + self._future_ms for record in records],
                keys=[record.key for record in records],
                headers=[list(record.headers) for record in records],
                unheld=frozenset(unheld),
                grace=self._future_ms,
            )
        )
        for signal in chain(outcome.signals, outcome.receipts):
            self.signals[signal.topic].append((signal.key, signal.value))
        for rejection in outcome.rejected:
            record, why = records[rejection.index], (rejection.reason, rejection.field)
            if record.offset in last:
                headers = _explanation(record, *why, TOUCHPOINTS.name, self._partition)
                size, digest = str(self._most_inflated).encode(), b""
                self.rejected.append((None, None, (*headers, ("size", size), ("sha256", digest))))
            else:
                self.rejected.append(reject(record, *why, TOUCHPOINTS.name, self._partition))
            self.reasons[rejection.reason] += 1
        for stray in outcome.misrouted:
            self._forward(records[stray.index], stray.partition)
        self.ticks += outcome.ticks
        if records and self._engine.clock is not None:
            self.ahead_ms = max(self.ahead_ms, self._engine.clock - records[-1].timestamp)

    def _inflated(self, record: Record) -> Record | None:
        """A record as a worker gets it, which reads the last of those beyond the limit in place of all of them."""
        for first, last in self._beyond.items():
            if first <= record.offset <= last:
                return record._replace(key=None, value=None, headers=()) if record.offset == last else None
        return record

    def _forward(self, record: Record, partition: int) -> None:
        place = f"{TOUCHPOINTS.name}-{self._partition}-{record.offset}".encode()
        forwarded = (record.key, record.value, (*record.headers, (FORWARDED, place)))
        if self._largest is not None and batch_bytes(forwarded) > self._largest:
            self.refused.append(reject(record, TOO_LARGE, "", TOUCHPOINTS.name, self._partition))
            self.reasons[TOO_LARGE] += 1
        else:
            self.forwarded.setdefault(partition, []).append(forwarded)

    def cards(self) -> dict[bytes, bytes]:
        """The score cards now, by customer."""
        return {subject.encode(): card for subject, card in self._engine.cards()}


def _explanation(record: Record, reason: str, where: str, topic: str, partition: int) -> Headers:
    """The headers that say why a record is rejected, as the contract has them."""
    texts = (reason, where[:_FIELD_CHARACTERS], topic, str(partition), str(record.offset))
    return tuple((name, text.encode()) for name, text in zip(_EXPLANATION, texts, strict=True))


def reject(record: Record, reason: str, where: str, topic: str, partition: int) -> Reject:
    """What stands for a rejected record: a copy; of one that is too large, a reference."""
    headers = _explanation(record, reason, where, topic, partition)
    copied = (record.key, record.value, (*record.headers, *headers))
    return referred(copied) if reason == TOO_LARGE else copied


def too_many_headers(record: Record) -> bool:
    """Whether it has so many that it would take too much memory, however short they are."""
    return _too_many(record.headers)


def _too_many(headers: Headers) -> bool:
    if len(headers) <= _FEW_HEADERS:
        return False
    return _HEADER_COST * len(headers) + _wire_bytes(headers) > _MEMORY_BYTES


def _wire_bytes(headers: Headers) -> int:
    """What headers take as they travel."""
    texts = [each or b"" for name, text in headers for each in (name.encode(), text)]
    # Before each text stands its length, twice as large for its sign, in bytes of seven bits each.
    return sum(len(text) + max(1, -(-(2 * len(text)).bit_length() // 7)) for text in texts)


def referred(copied: Reject) -> Reject:
    """The reference in place of a copy."""
    key, value, headers = copied
    own, said = headers[: -len(_EXPLANATION)], headers[-len(_EXPLANATION) :]
    size = sum(len(each or b"") for each in (key, value))
    size += (
        _wire_bytes(own)
        if _too_many(own)
        else sum(len(name.encode()) + len(text or b"") for name, text in own)
    )
    digest = hashlib.sha256(value or b"").hexdigest()
    kept = key if key is None or len(key) <= _KEY_BYTES else None
    return kept, None, (*said, ("size", str(size).encode()), ("sha256", digest.encode()))


def settled(expected: Sequence[Reject], found: Sequence[Reject], limit: int | None) -> list[Reject]:
    """What is expected where a topic takes at times less than a copy: the reference, if it is what is found.

    Args:
        expected: copies and references.
        found: what is there.
        limit: the largest batch that the topic has taken at every moment, in bytes; None: it takes every copy.
    """
    if limit is None:
        return list(expected)
    there = set(found)
    shorter = [
        referred(each) if not is_reference(each) and batch_bytes(each) > limit else each for each in expected
    ]
    return [short if short in there else each for each, short in zip(expected, shorter, strict=True)]


def is_reference(rejected: Reject) -> bool:
    """Whether it is no copy."""
    return tuple(name for name, _ in rejected[2]) == _EXPLANATION + _REFERENCE


def batch_bytes(record: Reject) -> int:
    """The most bytes that a record takes in a batch of its own that is not compressed."""
    key, value, headers = record
    texts = sum(len(name.encode()) + len(text or b"") + _HEADER_BYTES for name, text in headers)
    return len(key or b"") + len(value or b"") + texts + _FRAMING_BYTES


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


def reject_name(rejected: Reject) -> Hashable:
    """The source of a rejected record: topic and offset."""
    said = dict(rejected[2])
    return (said["topic"], said["offset"]) if {"topic", "offset"} <= set(said) else rejected


def forward_name(forwarded: Reject) -> Hashable:
    """Where a forwarded record lay before; one that was forwarded more often has several such headers."""
    return [text for name, text in forwarded[2] if name == FORWARDED][-1]


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

"""Reads everything back and compares it: the check at the end of each run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cxstream.model.kinds import FORGET_TYPE
from cxstream.scoring.codec.signatures import SIGNATURE
from cxstream.topology import FORGET, REJECTED, SCORES, TOUCHPOINTS
from faults import checker, reader, replayed
from faults.parcels import Places
from faults.reader import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cxstream.settings import Settings

_ENGINE_RECORDS = 3571  # no divisor of what any worker's batch holds


@dataclass(slots=True)
class Verdict:
    """What one run came to.

    Attributes:
        events: records of the log that the results follow from.
        signals: expected ones.
        ticks: records of those that the workers' tickers wrote.
        erased: receipts of erasures, expected ones.
        rejected: expected ones, by reason.
        difference: of signals and rejected records.
        cards: of the final score cards.
        faults: anything else that is not as it must be, in words.
    """

    events: int = 0
    signals: int = 0
    ticks: int = 0
    erased: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    difference: checker.Difference = field(default_factory=checker.Difference)
    cards: checker.Difference = field(default_factory=checker.Difference)
    faults: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Nothing lost, nothing twice, nothing wrong."""
        return self.difference.none and self.cards.none and not self.faults


class Digest:
    """A running fingerprint of keys and values, in order."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.blake2b()

    def add(self, key: bytes | None, value: bytes | None) -> None:
        """Take one record."""
        self.count += 1
        for part in (key, value):
            self._hash.update(b"-" if part is None else b"%d:" % len(part) + part)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and self._hash.digest() == other._hash.digest()

    def __hash__(self) -> int:
        return hash(self._hash.digest())


@dataclass(slots=True)
class Question:
    """What the check needs to know.

    Attributes:
        settings: where Kafka is, and the parameters of the scores.
        partitions: how many.
        committed: the group's committed offset of each; results follow from the records before.
        sent: fingerprint of what was sent to each; None: it is not all there is in the log.
        asked: requests to be erased, by partition of cx.forget, in order: each must be in every log once.
        kept: records that the log held once and that were deleted after they were read, by partition.
        folder: scratch for the second opinion; None: there is none, as times of the log play a part.
        places: where the records of parcels lie.
        beyond: records beyond what their batch may inflate to, by partition: first and last offset.
        limits: the largest batches that topics take, in bytes, where that is another than the usual one.
        rejected_limit: the largest batch that cx.rejected has taken at every moment; None for the usual one.
    """

    settings: Settings
    partitions: int
    committed: Mapping[int, int]
    sent: Mapping[int, Digest] | None
    asked: Mapping[int, Sequence[checker.Signal]]
    kept: Mapping[int, Sequence[Record]]
    folder: Path | None
    places: Places = field(default_factory=Places)
    beyond: Mapping[int, Sequence[tuple[int, int]]] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    rejected_limit: int | None = None


async def judge(question: Question) -> Verdict:
    """Compare what is in the topics with what should be."""
    log = _Log(question)
    await log.read()
    verdict = log.verdict()
    await _signals(question, log.expected, verdict)
    await _rejected(question, log.expected, verdict)
    await _cards(question, log.expected, verdict)
    if log.opinion:
        verdict.faults += await log.opinion.differs(log.expected)
    return verdict


def is_tick(record: Record) -> bool:
    """Whether a worker's ticker wrote it: it is not part of what was sent."""
    return record.key is None and b'"cx.tick.v1"' in (record.value or b"")


def is_request(record: Record) -> bool:
    """Whether a worker took it over from cx.forget: that is not part of what was sent either."""
    return record.key is not None and FORGET_TYPE.encode() in (record.value or b"")


def is_forwarded(record: Record) -> bool:
    """Whether a worker took it over from the partition that it did not belong to."""
    return any(name == checker.FORWARDED for name, _ in record.headers)


def unsigned(request: checker.Signal) -> checker.Signal:
    """A request to be erased without what makes it a worker's own: its signature, and how its JSON is written."""
    key, value = request
    event = json.loads(value or b"{}")
    event.pop(SIGNATURE, None)
    return key, json.dumps(event, sort_keys=True).encode()


class _Log:
    """What is read of cx.touchpoints, and what should come of it."""

    def __init__(self, question: Question) -> None:
        self.expected = {
            partition: checker.Expectation(
                question.settings,
                partition,
                question.partitions,
                largest=question.limits.get(TOUCHPOINTS.name),
                beyond=question.beyond.get(partition, ()),
            )
            for partition in range(question.partitions)
        }
        self.opinion = replayed.Opinion(question.folder, question.partitions) if question.folder else None
        self._question = question
        self._digests = {partition: Digest() for partition in self.expected}
        self._requests: dict[int, list[checker.Signal]] = {partition: [] for partition in self.expected}
        self._forwarded: dict[int, list[checker.Reject]] = {partition: [] for partition in self.expected}

    async def read(self) -> None:
        question = self._question
        for partition, records in question.kept.items():
            self._take(partition, records)
        async for partition, records in reader.read(
            question.settings, TOUCHPOINTS.name, question.partitions, until=question.committed
        ):
            self._take(partition, records)

    def _take(self, partition: int, records: Sequence[Record]) -> None:
        for start in range(0, len(records), _ENGINE_RECORDS):
            self.expected[partition].take(records[start : start + _ENGINE_RECORDS])
        posted = self._question.places.touchpoints.get(partition, set())
        for record in records:
            if record.offset in posted:
                self._digests[partition].add(record.key, record.value)
            elif is_forwarded(record):
                self._forwarded[partition].append((record.key, record.value, record.headers))
            elif is_request(record):
                self._requests[partition].append((record.key, record.value))
            elif not is_tick(record):
                self._digests[partition].add(record.key, record.value)
        if self.opinion:
            self.opinion.add(record.value for record in records)

    def verdict(self) -> Verdict:
        """What is known before anything is compared."""
        verdict = Verdict()
        for partition, expected in self.expected.items():
            verdict.events += expected.events
            verdict.ticks += expected.ticks
            for reason, count in expected.reasons.items():
                verdict.rejected[reason] = verdict.rejected.get(reason, 0) + count
            verdict.faults += self._input_faults(partition)
            verdict.difference.add(self._requests_difference(partition))
            verdict.difference.add(self._forwarded_difference(partition))
            verdict.erased += len(expected.signals[checker.RECEIPTS])
            if expected.ahead_ms > self._question.settings.scoring.future_minutes * 60_000:
                verdict.faults.append(
                    f"partition {partition}: its clock was {expected.ahead_ms} ms ahead of Kafka's"
                )
        return verdict

    def _forwarded_difference(self, partition: int) -> checker.Difference:
        expected = [each for other in self.expected.values() for each in other.forwarded.get(partition, [])]
        # Those from one partition come in their order, those from several mixed.
        expected.sort(key=lambda each: repr(checker.forward_name(each)))
        found = sorted(self._forwarded[partition], key=lambda each: repr(checker.forward_name(each)))
        return checker.compare(
            expected, found, checker.forward_name, f"forwarded to {TOUCHPOINTS.name}-{partition}"
        )

    def _requests_difference(self, partition: int) -> checker.Difference:
        if self._question.sent is None:
            return checker.Difference()
        # Every partition gets every request; those of one origin come in their order, those of several mixed.
        asked = sorted((unsigned(each) for some in self._question.asked.values() for each in some), key=repr)
        found = sorted(map(unsigned, self._requests[partition]), key=repr)
        return checker.compare(
            asked, found, checker.signal_name, f"requests in {TOUCHPOINTS.name}-{partition}"
        )

    def _input_faults(self, partition: int) -> list[str]:
        sent, there = self._question.sent, self._digests[partition]
        if sent is None or sent[partition] == there:
            return []
        scored = (
            f"{there.count} records were scored, and they are not the {sent[partition].count} that were sent"
        )
        return [f"{TOUCHPOINTS.name}-{partition}: {scored}"]


async def _signals(question: Question, expected: Mapping[int, checker.Expectation], verdict: Verdict) -> None:
    for topic in (*checker.SIGNAL_TOPICS, checker.RECEIPTS):
        found = await reader.read_all(question.settings, topic, question.partitions)
        for partition, records in found.items():
            right = expected[partition].signals[topic]
            verdict.signals += len(right) if topic in checker.SIGNAL_TOPICS else 0
            seen = [(record.key, record.value) for record in records]
            verdict.difference.add(checker.compare(right, seen, checker.signal_name, f"{topic}-{partition}"))


async def _rejected(
    question: Question, expected: Mapping[int, checker.Expectation], verdict: Verdict
) -> None:
    found = await reader.read_all(question.settings, REJECTED.name, question.partitions)
    for partition, records in found.items():
        seen = [(record.key, record.value, record.headers) for record in records]
        # Records of cx.forget, and those that could not be forwarded, come when they do.
        apart = expected[partition].refused + [
            checker.reject(Record(offset, 0, *sent), reason, field, FORGET.name, partition)
            for offset, sent, reason, field in question.places.refused.get(partition, [])
        ]
        names = set(map(checker.reject_name, apart))
        in_order = [each for each in seen if checker.reject_name(each) not in names]
        others = [each for each in seen if checker.reject_name(each) in names]
        where = f"{REJECTED.name}-{partition}"
        for right, there in (
            (expected[partition].rejected, in_order),
            (sorted(apart, key=_place), sorted(others, key=_place)),
        ):
            settled = checker.settled(right, there, question.rejected_limit)
            verdict.difference.add(checker.compare(settled, there, checker.reject_name, where))


def _place(rejected: checker.Reject) -> str:
    return repr(checker.reject_name(rejected))


async def _cards(question: Question, expected: Mapping[int, checker.Expectation], verdict: Verdict) -> None:
    last: dict[int, dict[bytes | None, bytes | None]] = {partition: {} for partition in expected}
    async for partition, records in reader.read(question.settings, SCORES.name, question.partitions):
        last[partition] |= {record.key: record.value for record in records}
    for partition, cards in last.items():
        found = {key: value for key, value in cards.items() if value is not None}
        verdict.cards.add(
            checker.compare_cards(expected[partition].cards(), found, f"{SCORES.name}-{partition}")
        )

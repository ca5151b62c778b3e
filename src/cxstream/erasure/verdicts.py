"""Which records of an erased customer may still exist, and until when.

Only records that the topics' retention still keeps may be left: no score card, no saved state, no signal that was made
after the request. A customer with touchpoints since the request is a new customer, whose results may
exist.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from cxstream.model.outputs import SIGNAL_TOPICS
from cxstream.topology import (
    AUDIT,
    FORGET,
    REJECTED,
    SCORED,
    SCORES,
    SNAPSHOTS,
    TOUCHPOINTS,
    WORK,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cxstream.erasure.retention import Keeping
    from cxstream.erasure.scan import Receipt, Seen, Traces

_NOUNS = {
    TOUCHPOINTS.contract: "record",
    **dict.fromkeys(SIGNAL_TOPICS, "signal"),
    SCORED.contract: "scored touchpoint",
    SCORES.contract: "score card",
    SNAPSHOTS.contract: "row of saved state",
    REJECTED.contract: "rejected record",
    FORGET.contract: "request",
    WORK.contract: "item of work",
    AUDIT.contract: "audit record",
}
_PLURALS = {noun: f"{noun}s" for noun in _NOUNS.values()} | {
    "earlier score card": "earlier score cards",
    "earlier row of saved state": "earlier rows of saved state",
    "item of work": "items of work",
    "earlier item of work": "earlier items of work",
    "tombstone of an item of work": "tombstones of an item of work",
}
# What follows from touchpoints and stays until the topic's retention.
_RESULTS = (*SIGNAL_TOPICS, SCORED.contract)
_STATES = (SCORES.contract, SNAPSHOTS.contract)
# Kafka deletes and compacts every few minutes, and a busy broker later.
_GRACE_MS = 86_400_000
# A page that was open at the request may still have sent work: the warehouse ends it, too (`warehouse.work.CONCERNS`).
_WORK_MS = 3_600_000


class Remain(NamedTuple):
    """Records of a customer in a partition, of one kind.

    Attributes:
        topic: the contract's name.
        partition: where.
        what: how many of what, and where.
        until_ms: when Kafka has removed them at the latest, ms UTC; None if it does not by itself.
        wrong: why they should not exist; "" if they may.
    """

    topic: str
    partition: int
    what: str
    until_ms: int | None
    wrong: str = ""


def judge(traces: Traces, keeps: Mapping[str, Keeping], now_ms: int) -> list[Remain]:
    """What is left of a customer, in the order of the topics.

    Args:
        traces: the records that were found.
        keeps: the retention of each topic, by the contract's names.
        now_ms: the time, ms UTC.
    """
    receipt = traces.erased
    found: list[Remain] = []
    for topic, records in traces.seen.items():
        by_partition: dict[int, list[Seen]] = defaultdict(list)
        for each in records:
            by_partition[each.place.partition].append(each)
        for partition, here in sorted(by_partition.items()):
            if topic == WORK.contract:
                found += _work(topic, partition, here, traces, keeps[topic], now_ms)
            elif topic in _STATES:
                found += _state(topic, partition, here, traces, keeps[topic], now_ms)
            else:
                found += _log(topic, partition, here, traces, keeps[topic], now_ms)
    if receipt is None:
        return [each._replace(wrong=each.wrong or "there is no receipt of an erasure") for each in found]
    return found


def back(traces: Traces) -> bool:
    """Whether the customer has done something since the request: they are a new customer."""
    receipt = traces.erased
    return receipt is not None and any(
        _later(each, receipt) for each in traces.seen.get(TOUCHPOINTS.contract, ())
    )


def _later(record: Seen, receipt: Receipt, by_ms: int = 0) -> bool:
    return record.said_ms is not None and record.said_ms > receipt.requested_ms + by_ms


def _state(
    topic: str, partition: int, records: Sequence[Seen], traces: Traces, keeping: Keeping, now_ms: int
) -> Iterator[Remain]:
    """The records of a compacted topic: the latest record counts, earlier ones are history until Kafka compacts."""
    latest, receipt, noun = records[-1], traces.erased, _NOUNS[topic]
    if not latest.empty:
        what = f"a {noun} at offset {latest.place.offset}"
        if receipt is not None and _of_the_new_life(latest, traces, receipt):
            yield Remain(topic, partition, f"{what}, of what they did after the request", None)
        else:
            why = "a worker that owns this partition removes it: run 'cxstream forget' again"
            yield Remain(topic, partition, what, None, f"it is left; {why}")
    old = [each for each in records[:-1] if not each.empty]
    if old and latest.empty:
        yield _held(topic, partition, f"earlier {noun}", old, _after(latest, keeping.compaction_ms), now_ms)
    if latest.empty:
        gone = _after(latest, keeping.tombstone_ms)
        yield _held(topic, partition, f"tombstone of a {noun}", [latest], gone, now_ms)


def _work(
    topic: str, partition: int, records: Sequence[Seen], traces: Traces, keeping: Keeping, now_ms: int
) -> Iterator[Remain]:
    """The records of cx.work: the latest of each item counts, and a warehouse ends those of erased customers."""
    receipt, noun = traces.erased, _NOUNS[topic]
    latest = {each.key: each for each in records}
    for each in latest.values():
        what = f"an {noun} at offset {each.place.offset}"
        if each.empty:
            gone = _after(each, keeping.tombstone_ms)
            yield _held(topic, partition, f"tombstone of an {noun}", [each], gone, now_ms)
        elif receipt is not None and _later(each, receipt, _WORK_MS):
            yield Remain(topic, partition, f"{what}, of what was done after the request", None)
        else:
            yield Remain(
                topic,
                partition,
                what,
                None,
                "it is left; 'cxstream warehouse follow' ends it: see that one runs",
            )
    old = [each for each in records if not each.empty and each is not latest[each.key]]
    if old:
        newest = max(latest[each.key].arrived_ms for each in old)
        gone = None if keeping.compaction_ms is None else newest + keeping.compaction_ms
        yield _held(topic, partition, f"earlier {noun}", old, gone, now_ms)


def _of_the_new_life(latest: Seen, traces: Traces, receipt: Receipt) -> bool:
    own = latest.place.partition == traces.who.partition
    after = latest.arrived_ms >= receipt.arrived_ms
    return own and (after if latest.cause is None else _follows(latest, receipt)) and back(traces)


def _follows(record: Seen, receipt: Receipt) -> bool:
    """Whether a result was caused by a touchpoint after the request."""
    cause = record.cause
    return (
        cause is not None
        and cause.partition == receipt.cause.partition
        and cause.offset > receipt.cause.offset
    )


def _after(record: Seen, bound_ms: int | None) -> int | None:
    return None if bound_ms is None else record.arrived_ms + bound_ms


def _log(
    topic: str, partition: int, records: Sequence[Seen], traces: Traces, keeping: Keeping, now_ms: int
) -> Iterator[Remain]:
    """The records of a topic that Kafka deletes by age."""
    receipt, noun, came_back = traces.erased, _NOUNS[topic], back(traces)
    rest: list[Seen] = []
    answered = {each.request for each in traces.receipts}
    for each in records:
        what = f"a {noun} at offset {each.place.offset}"
        until = _after(each, keeping.retention_ms)
        if topic == FORGET.contract and each.request not in answered:
            yield Remain(topic, partition, what, until, "no worker has followed it yet: see that one runs")
        elif (
            topic in _RESULTS
            and receipt is not None
            and not (each.erased or came_back)
            and _follows(each, receipt)
        ):
            yield Remain(topic, partition, what, until, "it was made after the request")
        else:
            rest.append(each)
    if rest:
        newest = max(rest, key=lambda each: each.arrived_ms)
        yield _held(topic, partition, noun, rest, _after(newest, keeping.retention_ms), now_ms)


def _held(
    topic: str, partition: int, noun: str, records: Sequence[Seen], until_ms: int | None, now_ms: int
) -> Remain:
    """Records that Kafka still holds, and will remove."""
    first, last = records[0].place.offset, records[-1].place.offset
    at = f"at offset {first}" if first == last else f"at offsets {first} to {last}"
    what = f"{len(records):,} {noun if len(records) == 1 else _PLURALS[noun]} {at}"
    if until_ms is None:
        return Remain(
            topic, partition, what, None, "Kafka keeps them for ever: 'cxstream topics --alter-config'"
        )
    if now_ms > until_ms + _GRACE_MS:
        return Remain(
            topic, partition, what, until_ms, "Kafka should have removed them: see the brokers' log cleaner"
        )
    return Remain(topic, partition, what, until_ms)

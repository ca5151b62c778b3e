"""What must become of the requests in cx.forget: each good one once in every log, the others rejected.

Who asked for what, and whether it makes sense, is known from the source that wrote it, not from the worker's code.
"""

from __future__ import annotations

import hmac
import json
from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from cxstream.model.kinds import FORGET_TYPE
from cxstream.scoring.codec.routing import FORWARDED_FROM
from cxstream.topology import FORGET, REJECTED, TOUCHPOINTS
from oracle import to_ms
from simulation.histories import KEY
from simulation.scenario import GROUP
from strategies import rfc3339

if TYPE_CHECKING:
    from cxstream.settings import Control
    from simulation.broker import Record
    from simulation.cluster import Cluster, Request


class ViolationError(AssertionError):
    """A promise is broken."""


class Step(NamedTuple):
    """How far the requests of a partition are committed.

    Attributes:
        partition: whose.
        offset: of cx.forget.
        forwarded: requests that were written into a log up to now.
        refused: records that were rejected up to now.
    """

    partition: int
    offset: int
    forwarded: int
    refused: int


class Requests:
    """Watches them.

    Args:
        cluster: which has them.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._broker = cluster.broker
        self._steps: list[Step] = []
        self._totals: dict[int, tuple[int, int]] = {}

    def take_down(self, partition: int, offset: int, forwarded: int, refused: int) -> None:
        """A transaction of a partition's owner had so many requests and refusals in it."""
        before = self._totals.get(partition, (0, 0))
        self._totals[partition] = total = before[0] + forwarded, before[1] + refused
        self._steps.append(Step(partition, offset, *total))

    def lag(self) -> str:
        """What is not read yet."""
        for partition in range(self._cluster.scenario.partitions):
            end = max((r.offset + 1 for r in self._of(partition)), default=0)
            offset = self._broker.committed.get((GROUP, (FORGET.name, partition)), 0)
            if offset < end:
                return f"{FORGET.name}-{partition} is committed to {offset} of {end}"
        return ""

    def check(self) -> None:
        """Compare everything.

        Raises:
            ViolationError: a request is lost, or there twice, or elsewhere, or not what was asked.
        """
        if lag := self.lag():
            raise ViolationError(lag)
        for partition in range(self._cluster.scenario.partitions):
            self._check_refused(partition)
            self._check_forwarded(partition)
        for step in self._steps:
            self._check_step(step)

    def _of(self, partition: int) -> list[Request]:
        return [request for request in self._cluster.requests if request.partition == partition]

    def _check_refused(self, partition: int) -> None:
        wanted = [
            (r.offset, r.asked.row.key, r.asked.row.value, r.asked.refused)
            for r in self._of(partition)
            if r.asked.refused
        ]
        found = []
        for record in self._broker.fetch((REJECTED.name, partition), 0):
            said = dict(record.headers)
            if said["topic"] == FORGET.name.encode():
                reason = said["reason"].decode(), said["field"].decode()
                found.append((int(said["offset"]), record.key, record.value, reason))
        if found != wanted:
            raise ViolationError(f"{REJECTED.name}-{partition}: from {FORGET.name} {found}, not {wanted}")

    def _check_forwarded(self, partition: int) -> None:
        """Those of one origin in their order; those of several as they come."""
        wanted = [r for r in self._cluster.requests if not r.asked.refused]
        found = [_read(record) for record in self._forwarded(partition)]
        wanted_ids, found_ids = [_id(request) for request in wanted], [event["id"] for event, _ in found]
        if sorted(found_ids) != sorted(wanted_ids):
            raise ViolationError(
                f"{TOUCHPOINTS.name}-{partition}: the requests {found_ids} were forwarded, not {wanted_ids}"
            )
        by_id = dict(zip(wanted_ids, wanted, strict=True))
        origins: dict[int, int] = {}
        for event, record in found:
            request = by_id[event["id"]]
            if request.offset < origins.get(request.partition, 0):
                raise ViolationError(f"{TOUCHPOINTS.name}-{partition}: {found_ids} are not in order")
            origins[request.partition] = request.offset
            _compare(request, event, record, self._cluster.scenario.settings.control)

    def _forwarded(self, partition: int) -> list[Record]:
        return [
            record
            for record in self._broker.log((TOUCHPOINTS.name, partition)).records
            if record.visible
            and record.transaction is not None
            and record.transaction.id.startswith(GROUP)
            and not is_forwarded(record)
        ]

    def _check_step(self, step: Step) -> None:
        """Requests and the offset of cx.forget go together, in every transaction."""
        requests = self._of(step.partition)
        good = bisect_left([r.offset for r in requests if not r.asked.refused], step.offset)
        bad = bisect_left([r.offset for r in requests if r.asked.refused], step.offset)
        good *= self._cluster.scenario.partitions
        if (step.forwarded, step.refused) != (good, bad):
            raise ViolationError(
                f"partition {step.partition}: with offset {step.offset} of {FORGET.name}, {step.forwarded} requests "
                f"and {step.refused} refusals were committed, not {good} and {bad}"
            )


def is_forwarded(record: Record) -> bool:
    """A worker has found it in another partition."""
    return FORWARDED_FROM in dict(record.headers)


def _read(record: Record) -> tuple[dict[str, str], Record]:
    return msgspec.json.decode(record.value or b"", type=dict[str, str]), record


def _id(request: Request) -> str:
    if request.asked.row.value:
        return str(msgspec.json.decode(request.asked.row.value)["id"])
    return f"{FORGET.name}-{request.partition}-{request.offset}"


def _compare(request: Request, event: dict[str, str], record: Record, control: Control) -> None:
    """It is what was asked, as of the time that was asked or, at the latest, that of its record; signed if it must be."""
    row = request.asked.row
    assert row.key is not None
    signature = event.pop("signature", None)
    if control.key is not None:
        signed = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        proper = signature == hmac.new(KEY, signed, "sha256").hexdigest()
    else:
        proper = signature is None
    if row.value:
        asked = msgspec.json.decode(row.value, type=dict[str, str])
        if to_ms(asked["time"]) > row.timestamp:
            asked["time"] = rfc3339(row.timestamp)
        same = event == asked
    else:
        said = event["type"], event["subject"].encode(), event["time"]
        same = said == (FORGET_TYPE, row.key, rfc3339(row.timestamp))
    if record.key != row.key or not same or not proper:
        raise ViolationError(f"{request} was forwarded as {record.key!r} {record.value!r}")

"""Checks of the work: the group and its lag, transactions, saved state."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError, TransactionalIdAuthorizationFailed

from cxstream.doctor.finding import Finding, Patient, error, ok, skipped, warning
from cxstream.doctor.progress import committed_offsets
from cxstream.kafka.acls import resend_id, worker_ids
from cxstream.kafka.groups import group_of
from cxstream.kafka.reader import reading
from cxstream.model.errors import SnapshotError
from cxstream.scoring import words
from cxstream.scoring.state.marker import MARKER_KEY, read_marker
from cxstream.topology import SNAPSHOTS, TOUCHPOINTS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from cxstream.doctor.progress import Progress
    from cxstream.kafka.reader import TopicReader

_LATE_SECONDS, _VERY_LATE_SECONDS = 60.0, 900.0
# A worker's transactions take milliseconds, and the broker ends one that is open for a minute.
_OPEN_SECONDS, _HANGING_SECONDS = 10.0, 90.0
_OLD_SNAPSHOTS = 20
_OPEN = {"Ongoing", "PrepareCommit", "PrepareAbort"}
# Kafka's errors TRANSACTIONAL_ID_AUTHORIZATION_FAILED and TRANSACTIONAL_ID_NOT_FOUND: nobody has claimed it yet.
_DENIED, _UNCLAIMED = 53, 105


async def group(patient: Patient) -> AsyncIterator[Finding]:
    """Who works, who owns what, and how far behind they are."""
    name = patient.settings.worker.group
    found = await group_of(patient.kafka.admin, name, patient.settings.topology.touchpoints.name)
    progress = await patient.watch.progress(patient.settings, patient.kafka)
    count = len(progress.lags)
    owned = {p for member in found.members for p in member.partitions}
    if not found.members:
        yield warning(f"group {name} has no members: no worker runs", "cxstream worker")
    elif found.state != "Stable":
        yield warning(
            f"group {name} is {found.state}",
            "wait for the rebalance; if it does not end, see the workers' logs",
        )
    elif len(owned) < count:
        yield error(
            f"group {name}: partitions {_numbers(set(range(count)) - owned)} are owned by nobody",
            "restart the workers one after the other",
        )
    else:
        yield ok(
            f"group {name}: {words.count(len(found.members), 'worker')} for {words.count(count, 'partition')}"
        )
    yield _behind(progress.lags)
    for finding in _standstills(patient.settings.topology.touchpoints.name, progress):
        yield finding


def _standstills(touchpoints: str, progress: Progress) -> list[Finding]:
    """Partitions whose committed offset has stood still before records that have waited for long."""
    return [
        error(
            f"{touchpoints}-{p} makes no progress: it stands at offset {progress.committed.get(p, 0)}, for {seconds:,.0f} s",
            "/readyz of its worker and its log say why; docs/runbooks/CxstreamStalled.md says what to do",
        )
        for p, seconds in progress.stuck.items()
        if seconds > _LATE_SECONDS
    ]


def _numbers(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


def _behind(lags: Sequence[tuple[int, float]]) -> Finding:
    """What the lag of all partitions means: records unread, and the age in seconds of the oldest."""
    records, age = sum(count for count, _ in lags), max((age for _, age in lags), default=0.0)
    said = f"{records:,} offsets unread, the oldest record for {age:,.0f} s"
    if age > _VERY_LATE_SECONDS:
        return error(
            said, "start more workers, up to one a partition, or see why they stand still: 'state', 'web'"
        )
    if age > _LATE_SECONDS:
        return warning(said, "look again: if it grows, start more workers, up to one a partition")
    return ok("everything is read" if not age else said)


async def transactions(patient: Patient) -> AsyncIterator[Finding]:
    """Whether a transaction hangs: readers of committed records wait behind it."""
    name = patient.settings.worker.group
    async with reading(patient.settings, [TOUCHPOINTS]) as reader:
        count = reader.partitions[reader.topology.touchpoints.name]
        async with reading(patient.settings, [TOUCHPOINTS], "read_uncommitted") as everything:
            held = [
                each for p in range(count) if (each := await _held_back(reader, everything, p)) is not None
            ]
    for finding in held:
        yield finding
    topology = patient.settings.topology
    touchpoints = topology.touchpoints.name
    ids = [*(each for p in range(count) for each in worker_ids(name, topology, p)), resend_id(name, topology)]
    found = [each for each in [await _transaction(patient, each) for each in ids] if each is not None]
    for finding in found:
        yield finding
    unseen = sum(each.level == "skipped" for each in found)
    if not held and unseen == len(found) < len(ids):
        yield ok(f"no transaction of {len(ids) - unseen} hangs, and none holds back {touchpoints}")


async def _transaction(patient: Patient, name: str) -> Finding | None:
    """What is wrong with the transaction of an id; None where nothing is."""
    try:
        state = await patient.kafka.transaction(name)
    except TransactionalIdAuthorizationFailed:
        return _denied(patient, name)
    except (KafkaError, NotImplementedError) as problem:
        return skipped(f"transactional id {name}: not determined ({type(problem).__name__})")
    code = state["error_code"]
    if code == _DENIED:
        return _denied(patient, name)
    if code not in {0, _UNCLAIMED}:
        return skipped(f"transactional id {name}: not determined (Kafka's error {code})")
    if code == _UNCLAIMED or state["state"] not in _OPEN:
        return None
    return _aged(f"transaction {name} is {state['state']}", time.time() - state["start_ms"] / 1000)


def _denied(patient: Patient, name: str) -> Finding:
    said = f"transactional id {name}: not allowed"
    prefix = f"{patient.settings.worker.group}-{patient.settings.topology.touchpoints.name}-"
    if not name.startswith(prefix):
        return skipped(f"{said}, and a worker does not need it", "the role oncall may: docs/security.md")
    return error(
        said,
        "kafka-acls --add --allow-principal User:... --operation Write "
        f"--transactional-id {prefix} --resource-pattern-type prefixed",
    )


def _aged(said: str, seconds: float) -> Finding | None:
    if seconds > _HANGING_SECONDS:
        return error(
            f"{said} for {seconds:,.0f} s",
            "kafka-transactions.sh find-hanging, then abort; restarting who owns the id ends it, too",
        )
    if seconds > _OPEN_SECONDS:
        return warning(
            f"{said} for {seconds:,.0f} s", "look again in a minute: the broker ends it, or it hangs"
        )
    return None


async def _held_back(reader: TopicReader, everything: TopicReader, partition: int) -> Finding | None:
    """A transaction of anybody that keeps readers of committed records from what follows."""
    _, stable = await reader.bounds(reader.topology.touchpoints.name, partition)
    _, end = await everything.bounds(everything.topology.touchpoints.name, partition)
    oldest = await everything.first(everything.topology.touchpoints.name, partition, stable, end)
    if oldest is None:
        return None
    return _aged(
        f"{reader.topology.touchpoints.name}-{partition}: an open transaction holds back {end - stable:,} offsets",
        time.time() - oldest.timestamp / 1000,
    )


async def state(patient: Patient) -> AsyncIterator[Finding]:
    """Whether saved state fits the settings and the log, so that a worker that starts now goes on from it."""
    problems = 0
    ages = []
    async with reading(patient.settings, [TOUCHPOINTS, SNAPSHOTS]) as reader:
        count = reader.partitions[reader.topology.touchpoints.name]
        committed = await committed_offsets(patient.settings, patient.kafka, count)
        for p in range(min(count, reader.partitions[reader.topology.snapshots.name])):
            record = await reader.latest(reader.topology.snapshots.name, p, MARKER_KEY)
            bounds = await reader.bounds(reader.topology.touchpoints.name, p)
            finding = judge_marker(patient, p, record and record.value, bounds, committed.get(p))
            if finding is not None:
                problems += 1
                yield finding
            elif record is not None:
                unsaved = (committed.get(p) or 0) > read_marker(
                    record.value, patient.settings.snapshot_secrets()
                ).offset
                ages.append((time.time() - record.timestamp / 1000) if unsaved else 0.0)
    if problems:
        return
    if not ages:
        yield ok("there is no saved state, and none is needed yet")
        return
    yield _freshness(patient, max(ages), len(ages))


def _freshness(patient: Patient, seconds: float, count: int) -> Finding:
    said = f"saved state of {words.count(count, 'partition')} fits the settings and the log"
    if seconds > patient.settings.worker.snapshot_seconds * _OLD_SNAPSHOTS:
        return warning(
            f"{said}, but the oldest is {seconds:,.0f} s old while more has been committed",
            "see whether the workers run: a restart applies everything since then again",
        )
    return ok(said)


def judge_marker(
    patient: Patient, partition: int, raw: bytes | None, bounds: tuple[int, int], committed: int | None
) -> Finding | None:
    """What a worker would do with the saved state of a partition; None where it would go on from it.

    Args:
        patient: whose parameters count.
        partition: which.
        raw: the marker; None where there is none.
        bounds: first offset and end of the partition of cx.touchpoints.
        committed: what the group has committed.
    """
    first, end = bounds
    topology = patient.settings.topology
    name = f"{topology.touchpoints.name}-{partition}"
    problem, offset = _unfit(patient, raw)
    position = max(offset, committed or 0)
    if position > end:
        return error(
            f"{name} ends at offset {end}, but the state follows from {position} records: the worker will refuse",
            f"the topic was recreated or truncated: recreate {topology.snapshots.name}, too, and use another --group",
        )
    if position > 0 and first > offset:
        return _lost(patient, name, f"{problem or 'the saved state'} reaches to offset {offset}", first)
    if problem and (raw is not None or committed):
        return warning(
            f"{name}: {problem}: the worker will apply the whole log again",
            "if that is not meant, go back to the settings and the version that made the snapshots",
        )
    return None


def _lost(patient: Patient, name: str, said: str, first: int) -> Finding:
    """Records that are needed are no longer in the log."""
    what = f"{name}: {said}, but the log begins at {first}"
    if patient.settings.worker.lost_records == "accept":
        return warning(
            f"{what}: the worker will go on without them", "leave out --accept-loss again afterwards"
        )
    return error(
        f"{what}: the worker will refuse",
        f"bring {patient.settings.topology.snapshots.name} back, or the settings it was made under; where that cannot be: docs/worker.md, "
        "records that are gone",
    )


def _unfit(patient: Patient, raw: bytes | None) -> tuple[str, int]:
    """Why a marker cannot be used, "" where it can, and the offset at which its state goes on."""
    if raw is None:
        return "there is no saved state", 0
    try:
        marker = read_marker(raw, patient.settings.snapshot_secrets())
    except SnapshotError as damage:
        return str(damage).removesuffix(": rebuild the partition from its log").removesuffix(
            ": rebuild the partition"
        ), 0
    pseudonyms = patient.settings.privacy.pseudonyms()
    key_id = pseudonyms.key_id if pseudonyms else ""
    if unfit := marker.unfit(patient.settings.scoring, key_id):
        return f"the saved state {unfit}", 0
    return "", marker.offset

"""Which consumer group the topics of an installation belong to: one at a time, on one Kafka cluster.

    cx.snapshots-0   ... claim(A, epoch 1) ... claim(B, epoch 1) ... claim(B, epoch 2, former A) ...
                         A is the owner        too late             B is the owner, taken over from A

A group claims the topics with a record in partition 0 of cx.snapshots, under a key of its own, so that compaction
keeps every claim. The order of the log decides: a claim counts if its epoch is higher than that of the claim that
counted before. So of two groups that start at the same moment exactly one is the owner, and both see which.

A claim alone does not stop running workers. A worker that becomes the owner of a partition in place of another group
therefore takes the other's transactional id first (`cxstream.worker.ownership.takeover`): after that the other cannot
commit, and when it tries to continue it reads the claim. One of the two always notices:

    former owner    takes its id ......... reads the claims
    new owner       writes the claim ..... takes the former owner's id
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import TYPE_CHECKING, Any

import aiokafka
import msgspec
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from cxstream.kafka.admin import administration, partition_counts
from cxstream.kafka.connection import connection
from cxstream.kafka.reader import reading
from cxstream.model.errors import BrokerError, OwnershipError
from cxstream.scoring.state.marker import MARKER_KEY, Owner
from cxstream.topology import SNAPSHOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.kafka.reader import TopicReader
    from cxstream.settings import Settings

CLAIM_PREFIX = b"\0claim:"
# Claims lie in this partition of cx.snapshots.
_PARTITION = 0
_FIRST_EPOCH = 1

log = structlog.get_logger(__name__)


class Claim(msgspec.Struct, frozen=True):
    """The claim of a group to own the topics.

    Attributes:
        cluster: id of the Kafka cluster.
        group: consumer group.
        epoch: number of successful claims of the topics, from 1.
        former: other groups that owned them before, the oldest first.
    """

    cluster: str
    group: str
    epoch: int
    former: tuple[str, ...] = ()

    @property
    def owner(self) -> Owner:
        """The owner as a snapshot's marker names it."""
        return Owner(self.cluster, self.group, self.epoch)


def is_claim(key: bytes | None) -> bool:
    """Whether a record of cx.snapshots is a claim instead of saved state."""
    return key is not None and key.startswith(CLAIM_PREFIX)


class Claims:
    """The claims of an installation, as far as they have been read.

    Attributes:
        standing: the claim that counts; None if there is none.
        position: the offset after the last record read.
        unreadable: whether a later claim record cannot be read.
    """

    def __init__(self) -> None:
        self.standing: Claim | None = None
        self.position = 0
        self.unreadable = False

    def take(self, records: Sequence[Any]) -> None:
        """Take records of the partition, in the order of the log."""
        for record in records:
            if is_claim(record.key) and record.value is not None:
                self._take(record.value)
        self.position = records[-1].offset + 1

    def _take(self, value: bytes) -> None:
        try:
            claim = msgspec.json.decode(value, type=Claim)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            self.unreadable = True
            return
        if self.standing is None or claim.epoch > self.standing.epoch:
            self.standing, self.unreadable = claim, False


class Ownership:
    """The ownership of the topics, as a group sees it.

    Args:
        settings: how to reach Kafka, the topics, and the group.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._claims = Claims()
        self._cluster: str | None = None
        self._lock = asyncio.Lock()
        self._turns = itertools.count()
        self._looked_at = -1

    async def confirm(self) -> Claim:
        """The claim of this group, read after the call; written first if the topics have no owner.

        Raises:
            OwnershipError: the topics belong to another group, or to this one on another cluster.
            BrokerError: Kafka does not answer.
            TopicError: cx.snapshots is missing.
        """
        asked = next(self._turns)
        async with self._lock:
            # Many partitions ask at the same time: one read that started after they asked is enough for all.
            if self._looked_at < asked:
                looked_at = next(self._turns)
                await self._look()
                if self._claims.standing is None:
                    await self._claim_first()
                self._looked_at = looked_at
            return self._refuse_others()

    async def standing(self) -> Claim | None:
        """The claim that counts now; None if there is none.

        Raises:
            BrokerError: Kafka does not answer.
            TopicError: cx.snapshots is missing.
        """
        async with self._lock:
            await self._look()
            return self._claims.standing

    async def require_own(self) -> None:
        """Raise if the topics belong to another group; do not claim topics without an owner.

        Raises:
            OwnershipError: they do.
            BrokerError: Kafka does not answer.
            TopicError: cx.snapshots is missing.
        """
        if await self.standing() is not None:
            self._refuse_others()

    async def require_owner(self, former: str) -> None:
        """Raise if the topics belong to a group other than the one to take them over from.

        Raises:
            OwnershipError: they belong to another one.
            BrokerError: Kafka does not answer.
            TopicError: cx.snapshots is missing.
        """
        async with self._lock:
            await self._look()
            self._require(self._claims.standing or await self._left_by_markers(former), former)

    async def take_over(self, former: str) -> Claim:
        """Claim the topics in place of another group; returns the claim that counts afterwards.

        Args:
            former: the group that owns them; the operator must name it.

        Raises:
            OwnershipError: they belong to another group, or another claim was faster.
            BrokerError: Kafka does not answer.
            TopicError: cx.snapshots is missing.
        """
        async with self._lock:
            await self._look()
            standing = self._claims.standing or await self._left_by_markers(former)
            cluster, group = await self._here(), self._settings.worker.group
            if standing is self._claims.standing and (standing.cluster, standing.group) == (cluster, group):
                return standing
            self._require(standing, former)
            others = [name for name in (*standing.former, standing.group) if name != group]
            claim = Claim(cluster, group, standing.epoch + 1, tuple(dict.fromkeys(others)))
            await self._append(claim)
            return self._refuse_others()

    def _require(self, standing: Claim, former: str) -> None:
        if standing.group not in {former, self._settings.worker.group}:
            raise OwnershipError(
                f"{self._topics} belong to group {standing.group}, not to {former}: name the group to take them over from"
            )

    @property
    def _topics(self) -> str:
        return f"the topics {self._settings.topics.prefix}cx.* at {self._settings.kafka}"

    def _refuse_others(self) -> Claim:
        settings, claim = self._settings, self._claims.standing
        group, cluster = settings.worker.group, self._cluster
        if claim is None or self._claims.unreadable:
            raise OwnershipError(
                f"{self._topics}: the latest claim in {settings.topology.snapshots.name}-{_PARTITION} cannot be read, so "
                "it is not known which group they belong to; it may be that of a newer version. 'cxstream topics "
                f"--take-over GROUP --group {group}', with the group that scored until now, writes another"
            )
        command = f"'cxstream topics --take-over {claim.group} --group {group}'"
        if claim.group != group:
            raise OwnershipError(
                f"{self._topics} belong to group {claim.group}; this is group {group}, and two groups would write "
                f"each signal twice: use --group {claim.group}, or topics.prefix for another installation; stop its "
                f"workers and run {command} to take over"
            )
        if claim.cluster != cluster:
            raise OwnershipError(
                f"{self._topics} were scored by group {group} on another Kafka cluster ({claim.cluster}; this is "
                f"{cluster}): saved state fits only the log that it came from, so delete "
                f"{settings.topology.snapshots.name} and create it again; where the topics were copied with their "
                f"offsets, run {command}"
            )
        return claim

    async def _here(self) -> str:
        if self._cluster is None:
            async with administration(self._settings) as admin:
                self._cluster = str((await admin.describe_cluster())["cluster_id"])
        return self._cluster

    async def _look(self) -> None:
        """Read the new records of the log."""
        await self._here()
        # An open transaction must not hide a claim behind it; claims are not part of transactions.
        async with reading(self._settings, [SNAPSHOTS], "read_uncommitted") as reader:
            topic = reader.topology.snapshots.name
            first, end = await reader.bounds(topic, _PARTITION)
            if end < self._claims.position:
                self._claims = Claims()  # the topic was recreated
            async for records in reader.read(topic, _PARTITION, max(first, self._claims.position), end):
                self._claims.take(records)
            self._claims.position = max(self._claims.position, end)

    async def _claim_first(self) -> None:
        """Claim topics without a claim, if this group may.

        Raises:
            OwnershipError: they have saved state that may belong to another group.
        """
        if self._claims.unreadable:
            return
        cluster, group = await self._here(), self._settings.worker.group
        async with reading(self._settings, [SNAPSHOTS]) as reader:
            left = await _marked(reader)
        if left is None or (left.group == "" and await self._has_committed()):
            await self._append(Claim(cluster, group, _FIRST_EPOCH))
        elif left.group == "":
            raise OwnershipError(
                f"{self._topics} have saved state, and group {group} has committed nothing: another group scored them. "
                f"Start with its --group, or stop its workers and run 'cxstream topics --take-over GROUP --group "
                f"{group}' with its name"
            )
        elif (left.cluster, left.group) == (cluster, group):
            await self._append(Claim(cluster, group, left.epoch + 1))
        else:
            self._claims.standing = Claim(left.cluster, left.group, left.epoch)

    async def _left_by_markers(self, former: str) -> Claim:
        """The ownership without any claim: by the snapshots' markers, or else `former`."""
        async with reading(self._settings, [SNAPSHOTS]) as reader:
            left = await _marked(reader)
        if left is not None and left.group:
            return Claim(left.cluster, left.group, left.epoch)
        return Claim("", former, 0)

    async def _has_committed(self) -> bool:
        """Whether this group has committed offsets of cx.touchpoints."""
        topic = self._settings.topology.touchpoints.name
        async with administration(self._settings) as admin:
            count = (await partition_counts(admin)).get(topic, 0)
            if not count:
                return False
            tps = [TopicPartition(topic, number) for number in range(count)]
            found = await admin.list_consumer_group_offsets(self._settings.worker.group, partitions=tps)
        return any(each.offset >= 0 for each in found.values())

    async def _append(self, claim: Claim) -> Claim:
        """Write a claim, and read which one counts; a late claim is deleted again."""
        key = CLAIM_PREFIX + uuid.uuid4().hex.encode()
        topic = self._settings.topology.snapshots.name
        try:
            async with aiokafka.AIOKafkaProducer(
                **connection(self._settings), acks="all", enable_idempotence=True
            ) as producer:
                value = msgspec.json.encode(claim)
                await producer.send_and_wait(topic, value, key=key, partition=_PARTITION)
                await self._look()
                # A claim exists now: this one, or a faster one.
                standing = self._claims.standing or claim
                if standing != claim:
                    await producer.send_and_wait(topic, None, key=key, partition=_PARTITION)
        except KafkaError as error:
            raise BrokerError(f"{self._settings.kafka}: {topic}: no claim written: {error!r}") from error
        log.info("topics claimed", group=standing.group, epoch=standing.epoch, former=standing.former)
        return standing


class _Marked(msgspec.Struct):
    cluster: str = ""
    group: str = ""
    epoch: int = 0


async def _marked(reader: TopicReader) -> Owner | None:
    """The owner named by the snapshots' markers, the newest epoch first; None without a snapshot."""
    topic, found = reader.topology.snapshots.name, None
    for partition in range(reader.partitions[topic]):
        record = await reader.latest(topic, partition, MARKER_KEY)
        if record is None or record.value is None:
            continue
        try:
            marked = msgspec.json.decode(record.value, type=_Marked)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            marked = _Marked()
        owner = Owner(marked.cluster, marked.group, marked.epoch)
        if found is None or (owner.epoch, owner.group) > (found.epoch, found.group):
            found = owner
    return found

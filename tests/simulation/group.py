"""The consumer group: who is in it, and who has which partition.

    stable  --somebody joins, leaves or falls silent-->  joining  --all have joined, or time is up-->  stable

Eager, as the worker's group is: whoever learns of a rebalance gives everything up and joins again, and only
when all have does anybody get something. Who does not hear of it (paused, or cut off) is left out after his
session, and goes on as if nothing had happened until he asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import asyncio
    import random

    from simulation.loop import Loop
    from simulation.trace import Trace

Answer = Literal["stable", "rebalance", "unknown"]


@dataclass(slots=True)
class Member:
    """One member as the coordinator sees it."""

    seen: float
    joined: asyncio.Future[list[int]] | None = None


class Group:
    """The coordinator.

    Args:
        session: silence after which a member is left out, in seconds.
        rebalance: how long members who have joined wait for the others, in seconds.
    """

    def __init__(
        self,
        loop: Loop,
        chance: random.Random,
        trace: Trace,
        *,
        partitions: int,
        session: float,
        rebalance: float,
    ) -> None:
        self._loop = loop
        self._chance = chance
        self._trace = trace
        self._partitions = partitions
        self._session = session
        self._rebalance = rebalance
        self._members: dict[str, Member] = {}
        self._joining_since: float | None = None
        self._last: dict[int, str] = {}

    def join(self, name: str) -> asyncio.Future[list[int]]:
        """Ask for a share; the future has the partitions once everybody has joined."""
        now = self._loop.time()
        member = self._members.setdefault(name, Member(now))
        member.seen = now
        if member.joined is None or member.joined.done():
            member.joined = self._loop.create_future()
        joined = member.joined
        self._unsettle()
        self._maybe_assign()
        return joined

    def heartbeat(self, name: str) -> Answer:
        """A member is alive; what he must know."""
        member = self._members.get(name)
        if member is None:
            return "unknown"
        member.seen = self._loop.time()
        return "stable" if self._joining_since is None else "rebalance"

    def leave(self, name: str) -> None:
        """A member goes."""
        if self._members.pop(name, None) is not None:
            self._unsettle()
            self._maybe_assign()

    def unsettle(self) -> None:
        """Begin a rebalance for no reason."""
        if self._members:
            self._unsettle()

    def look(self) -> None:
        """Leave out who has been silent for too long; to be called now and then."""
        now = self._loop.time()
        late = self._joining_since is not None and now - self._joining_since > self._rebalance
        gone = [
            name
            for name, member in self._members.items()
            if not _waits(member) and (late or now - member.seen > self._session)
        ]
        for name in gone:
            self._trace.add("left out", name)
            del self._members[name]
        if gone:
            self._unsettle()
            self._maybe_assign()

    def _unsettle(self) -> None:
        if self._joining_since is None:
            self._trace.add("rebalance")
            self._joining_since = self._loop.time()

    def _maybe_assign(self) -> None:
        if not self._members or not all(map(_waits, self._members.values())):
            return
        names = sorted(self._members)
        self._chance.shuffle(names)
        shares: dict[str, list[int]] = {name: [] for name in names}
        sticky = self._chance.random() < 0.5
        for partition in range(self._partitions):
            last = self._last.get(partition)
            owner = last if sticky and last in shares else names[partition % len(names)]
            assert owner is not None
            shares[owner].append(partition)
            self._last[partition] = owner
        self._trace.add("assigned", *(f"{name}:{share}" for name, share in sorted(shares.items())))
        self._joining_since = None
        for name, member in self._members.items():
            assert member.joined is not None
            member.seen = self._loop.time()
            member.joined.set_result(shares[name])


def _waits(member: Member) -> bool:
    return member.joined is not None and not member.joined.done()

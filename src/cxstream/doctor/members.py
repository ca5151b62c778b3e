"""Check of the members: is one of them dead, or cut off, and Kafka has not expelled it yet.

Kafka takes a member for alive until its session ends, and does not tell when it last heard of it. Two things tell before
that: the web server of the member, whose address it gives to the group, where it can be reached from here; and committed
offsets that stand still while records wait. A record that waits also bounds what is left of the session: the member
was alive when everything before that record had been committed.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import urlsplit

from cxstream.doctor.finding import Finding, Patient, error, ok, skipped, warning
from cxstream.kafka.connection import hosts
from cxstream.kafka.credentials import is_loopback
from cxstream.kafka.groups import group_of
from cxstream.scoring import words
from cxstream.worker_client.http import get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cxstream.doctor.progress import Progress
    from cxstream.kafka.groups import Member

_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - where a server listens, not where one is asked


class Sign(NamedTuple):
    """What asking the web server of a member came to.

    Attributes:
        life: answers, silent, or unknown: it could not be asked, or somebody else answers.
        said: in words, where it is silent.
    """

    life: Literal["answers", "silent", "unknown"]
    said: str = ""


async def members(patient: Patient) -> AsyncIterator[Finding]:
    """Whether each member of the group is alive, and when Kafka expels one that is not."""
    name = patient.settings.worker.group
    group = await group_of(patient.kafka.admin, name, patient.settings.topology.touchpoints.name)
    working = [member for member in group.members if member.partitions]
    if not working:
        yield skipped(f"group {name} has no members that own partitions")
        return
    progress = await patient.watch.progress(patient.settings, patient.kafka)
    signs = await asyncio.gather(*(_ask(patient, member) for member in working))
    found = [
        judge(member, sign, progress, patient.settings.worker.session_seconds)
        for member, sign in zip(working, signs, strict=True)
    ]
    for finding in found:
        if finding is not None:
            yield finding
    if not any(found):
        answer = sum(sign.life == "answers" for sign in signs)
        yield ok(
            f"none of {words.count(len(working), 'member')} seems dead: {answer} answer, and no partition stands still"
        )


async def _ask(patient: Patient, member: Member) -> Sign:
    """Ask the web server of a member for its partitions."""
    address = await asyncio.to_thread(_address, patient, member)
    if address is None:
        return Sign("unknown")
    try:
        _, body = await asyncio.to_thread(get, f"{address}/readyz")
    except TimeoutError:
        return Sign("silent", f"its web server at {address} takes connections and does not answer")
    except OSError as problem:
        reason = getattr(problem, "reason", problem)
        if isinstance(reason, TimeoutError):
            return Sign("silent", f"its web server at {address} does not answer")
        return Sign("silent", f"nothing answers at its web server's address {address} ({reason})")
    except ValueError:
        return Sign("unknown")
    partitions = body.get("partitions")
    known = isinstance(partitions, dict) and {str(p) for p in member.partitions} <= set(partitions)
    return Sign("answers") if known else Sign("unknown")


def _address(patient: Patient, member: Member) -> str | None:
    """Where the web server of a member can be asked from here; None where it cannot."""
    try:
        parts = urlsplit(member.url)
        asked = patient.settings.worker.web and parts.scheme == "http" and parts.hostname and parts.port
    except ValueError:
        return None
    if not asked:
        return None
    host = parts.hostname or ""
    if not (is_loopback(host) or host in _EVERYWHERE):
        return f"http://{parts.netloc}"
    if not _is_here(patient, member):
        return None
    return f"http://localhost:{parts.port}" if host in _EVERYWHERE else f"http://{parts.netloc}"


def _is_here(patient: Patient, member: Member) -> bool:
    """Whether a member runs on this computer, by the addresses that Kafka and we see."""
    brokers = hosts(patient.settings.kafka)
    if is_loopback(member.host):
        return all(map(is_loopback, brokers))
    try:
        found = socket.getaddrinfo(brokers[0], 9092, type=socket.SOCK_DGRAM)[0]
        with socket.socket(found[0], socket.SOCK_DGRAM) as ours:
            ours.connect(found[4])
            return bool(ours.getsockname()[0] == member.host)
    except OSError:
        return False


def judge(member: Member, sign: Sign, progress: Progress, session: float) -> Finding | None:
    """What is wrong with a member; None where nothing is seen to be.

    Args:
        member: which.
        sign: what its web server said.
        progress: of the partitions.
        session: seconds after the last heartbeat until Kafka expels a member.
    """
    stuck = {p: seconds for p, seconds in progress.stuck.items() if p in member.partitions}
    if sign.life == "answers" or progress.moved & member.partitions or not (stuck or sign.said):
        return None
    waited = max(stuck.values(), default=0.0)
    left = session - waited if waited < session else session
    where = f"partition{'s' * (len(member.partitions) > 1)} {', '.join(map(str, sorted(member.partitions)))}"
    owner = f"member {member}, which owns {where},"
    still = f"it has committed nothing for {waited:,.0f} s while records wait" if stuck else ""
    expelled = (
        f"Kafka expels a dead member {session:g} s after its last heartbeat, this one in at most {left:,.0f} s, and "
        "gives its partitions to the others"
    )
    advice = (
        "start a worker now: it gets these partitions when the member is expelled. If the member is still there "
        f"after {left:,.0f} s, it lives and hangs: kill it; docs/runbooks/CxstreamWorkerDown.md"
    )
    if sign.said and stuck:
        return error(f"{owner} is dead or cut off: {sign.said}, and {still}. {expelled}", advice)
    if sign.said:
        return warning(
            f"{owner} seems dead: {sign.said}; no records wait to tell for sure. {expelled}", advice
        )
    return warning(f"{owner} is dead, hangs, or restores: {still}. {expelled}", advice)

"""The checks in order, each within its time, and none in the way of the next."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec
from aiokafka.errors import KafkaError

from cxstream.doctor import broker, computer, work
from cxstream.doctor.cluster import connected
from cxstream.doctor.finding import Finding, Patient, error, skipped
from cxstream.doctor.members import members
from cxstream.doctor.owner import owner
from cxstream.doctor.routing import routing
from cxstream.doctor.rules import rules
from cxstream.model.errors import BrokerError, CxstreamError, MissingTopicError, SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cxstream.doctor.finding import Check


@dataclass(frozen=True, slots=True)
class Entry:
    """A check.

    Attributes:
        name: what it is called.
        check: what it does; its docstring says what it looks at.
        needs_kafka: it is skipped where Kafka does not answer.
    """

    name: str
    check: Check
    needs_kafka: bool = True


CHECKS = (
    Entry("settings", computer.settings, needs_kafka=False),
    Entry("control", computer.control, needs_kafka=False),
    Entry("packages", computer.packages, needs_kafka=False),
    Entry("kernels", computer.kernels, needs_kafka=False),
    Entry("schemas", computer.schemas, needs_kafka=False),
    Entry("broker", broker.broker),
    Entry("topics", broker.topics),
    Entry("access", broker.access),
    Entry("clock", broker.clock),
    Entry("group", work.group),
    Entry("members", members),
    Entry("owner", owner),
    Entry("routing", routing),
    Entry("rules", rules),
    Entry("transactions", work.transactions),
    Entry("state", work.state),
    Entry("disk", computer.disk, needs_kafka=False),
    Entry("web", computer.web, needs_kafka=False),
)

SECONDS = 20.0
# What giving a connection up may take, once a check has run out of time.
_GOODBYE_SECONDS = 3.0
_SEE = "see what it names, and Kafka's log"


async def examine(patient: Patient, on_finding: Callable[[Finding], None], seconds: float = SECONDS) -> None:
    """Run every check.

    Args:
        patient: what to look at, without a connection.
        on_finding: is told each finding as it is made.
        seconds: how long connecting, and each check, may take.
    """
    connecting = connected(patient.settings)
    try:
        cluster = await asyncio.wait_for(connecting.__aenter__(), seconds)
    except (TimeoutError, BrokerError, SettingsError, KafkaError) as problem:
        said = str(problem) or f"Kafka at {patient.settings.kafka} does not answer within {seconds:g} s"
        await _run_all(patient, on_finding, seconds, said)
        return
    try:
        await _run_all(replace(patient, cluster=cluster), on_finding, seconds, "")
    finally:
        with_deadline = asyncio.wait_for(connecting.__aexit__(None, None, None), _GOODBYE_SECONDS)
        await asyncio.gather(with_deadline, return_exceptions=True)


async def _run_all(
    patient: Patient, on_finding: Callable[[Finding], None], seconds: float, no_kafka: str
) -> None:
    for entry in CHECKS:
        if entry.needs_kafka and patient.cluster is None:
            unreachable = entry.check is broker.broker
            finding = (
                error(no_kafka, "start Kafka, or correct kafka and security.* of the settings")
                if unreachable
                else skipped("Kafka does not answer")
            )
            on_finding(msgspec.structs.replace(finding, check=entry.name))
            continue
        async for finding in _run(entry, patient, seconds):
            on_finding(msgspec.structs.replace(finding, check=entry.name))


async def _run(entry: Entry, patient: Patient, seconds: float) -> AsyncIterator[Finding]:
    """The findings of one check; what goes wrong with it is one, too."""
    findings: list[Finding] = []

    async def collect() -> None:
        async for finding in entry.check(patient):
            findings.append(finding)  # noqa: PERF401 - those before a failure count

    try:
        await asyncio.wait_for(collect(), seconds)
    except TimeoutError:
        findings.append(
            error(
                f"not done within {seconds:g} s",
                "Kafka is slow or hangs: see its log; --timeout gives more time",
            )
        )
    except MissingTopicError as problem:
        findings.append(skipped(f"needs {', '.join(problem.topics)}: see 'topics'"))
    except CxstreamError as problem:
        findings.append(error(str(problem), _SEE))
    except Exception as problem:  # noqa: BLE001 - one check's failure is a finding, and the others go on
        findings.append(error(f"{type(problem).__name__}: {problem}", _SEE))
    for finding in findings:
        yield finding

"""Checks of this computer: settings, Python and its packages, kernels, disk, schemas, the worker's web server."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import tempfile
from http import HTTPStatus
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError
from packaging.requirements import Requirement

from cxstream.doctor.finding import Finding, Patient, error, ok, skipped, warning
from cxstream.kafka.codecs import CODECS, advice, undecodable
from cxstream.kafka.connection import connection, hosts
from cxstream.kafka.credentials import is_loopback
from cxstream.kernels import jit
from cxstream.model.errors import SettingsError
from cxstream.settings import file as settings_file
from cxstream.wire import asyncapi, schema
from cxstream.worker.faust.upstream_pins import DIGESTS, drifted
from cxstream.worker_client.http import get

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cxstream.settings import Settings

_GIB = 1 << 30
_LOW_SHARE, _FULL_SHARE = 0.10, 0.03


async def settings(patient: Patient) -> AsyncIterator[Finding]:
    """The settings file, and whether the security settings fit together."""
    where = settings_file.find(patient.config) or "no settings file: defaults and CXSTREAM_* variables"
    given = patient.settings
    said = f"{where}; Kafka at {given.kafka} ({given.security.protocol}), group {given.worker.group}"
    risk = _risk_on_the_way(given)
    yield warning(f"{said}: {risk}", "use SSL or SASL_SSL: docs/security.md") if risk else ok(said)
    try:
        connection(given)
    except SettingsError as problem:
        yield error(str(problem), "correct the settings: docs/settings.md")


async def control(patient: Patient) -> AsyncIterator[Finding]:
    """Whether control records (ticks, erasure requests) are signed."""
    try:
        keys = patient.settings.control.keys()
    except SettingsError as problem:
        yield error(str(problem), "correct the settings: docs/settings.md")
        return
    if not keys:
        yield warning(
            "control.key is not set: every program that may write cx.touchpoints can erase any customer, and move the clock up to "
            "the present",
            "make a key with 'cxstream keys init' and give it to all workers: docs/security.md, 'Control records'",
        )
        return
    file = patient.settings.control.key_file
    if file is not None and _is_open(file):
        yield warning(f"control.key_file: others than its owner can read {file}", f"run 'chmod go= {file}'")
        return
    also = f", and {len(keys) - 1} more are valid" if len(keys) > 1 else ""
    until = patient.settings.control.unsigned_until
    also += f"; what came before {until.isoformat()} needs no signature" if until else ""
    yield ok(f"control records must be signed{also}")


def _is_open(file: Path) -> bool:
    """Whether everybody can read a file. A group may be meant: Kubernetes gives secrets to one."""
    return bool(file.stat().st_mode & 0o004)


def _risk_on_the_way(settings: Settings) -> str:
    """What somebody on the way to Kafka can do; "" where the way is encrypted, or does not leave this computer."""
    protocol, mechanism = settings.security.protocol, settings.security.sasl_mechanism
    if protocol == "SASL_PLAINTEXT":
        proof = "work out the password" if mechanism.startswith("SCRAM") else "read the password or token"
        return f"nothing is encrypted: others on the network can {proof}, and read and change records"
    if protocol == "PLAINTEXT" and not all(map(is_loopback, hosts(settings.kafka))):
        return "nothing is encrypted: others on the network can read and change records"
    return ""


async def packages(_: Patient) -> AsyncIterator[Finding]:
    """Python and packages against what cxstream is pinned to, and the parts of Faust that are not public."""
    yield ok(f"cxstream {metadata.version('cxstream')}, Python {platform.python_version()}")
    wrong = list(filter(None, map(_differs, metadata.requires("cxstream") or [])))
    if wrong:
        yield error(
            f"not what cxstream is tested with: {'; '.join(wrong)}",
            "install what requirements.lock says: pip install --require-hashes -r requirements.lock",
        )
    broken = undecodable()
    if broken:
        yield error(f"the worker will refuse to start: {', '.join(broken)} cannot be decoded", advice(broken))
    else:
        yield ok(f"record batches can be decoded: {', '.join(CODECS)}, and without compression")
    changed = await asyncio.to_thread(drifted)
    if changed:
        yield error(
            f"the transport was written against another {', '.join(changed)}",
            "install the pinned versions of faust-streaming and aiokafka: requirements.lock",
        )
    else:
        yield ok(
            f"the {len(DIGESTS)} parts of Faust and aiokafka that the transport relies on are as they should be"
        )


def _differs(line: str) -> str:
    """A requirement that is not met, in words; "" where it is, or is not asked for here."""
    requirement = Requirement(line)
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return ""
    try:
        found = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement.name} is {found}, not {requirement.specifier}"


async def kernels(_: Patient) -> AsyncIterator[Finding]:
    """Whether machine code is kept on disk: without it each start of a worker compiles for a minute."""
    folder, compiled, writable = _machine_code()
    if compiled:
        yield ok(f"{compiled} pieces of machine code are kept in {folder}")
    elif writable:
        yield warning(
            f"no machine code is kept in {folder}: a start takes a minute longer",
            "run 'cxstream replay' on any file once, or wait at the first start",
        )
    else:
        yield warning(
            f"{folder} cannot be written: machine code is kept in Numba's folder of the user, if anywhere",
            "let the worker's user write there, or run 'cxstream replay' once as a user who can",
        )


def _machine_code() -> tuple[Path, int, bool]:
    """The folder of the kernels' machine code, how many files it has, and whether it can be written."""
    folder = Path(jit._CACHE)  # noqa: SLF001 - a change of its sources would compile all kernels again
    there = next(each for each in (folder, *folder.parents) if each.is_dir())
    return folder, len(list(folder.rglob("*.nbc"))), os.access(there, os.W_OK)


async def disk(patient: Patient) -> AsyncIterator[Finding]:
    """Free space here, and where the brokers keep their logs, as far as they tell."""
    yield _local_space(patient.settings.local.data or Path(tempfile.gettempdir()))
    if patient.cluster is None:
        return
    for broker in patient.cluster.brokers:
        try:
            folders = await patient.cluster.log_dirs(broker)
        except (KafkaError, NotImplementedError) as problem:
            yield skipped(
                f"broker {broker} does not tell how full its disks are ({type(problem).__name__})",
                "allow Describe on the cluster, or watch the brokers' disks with their own monitoring",
            )
            continue
        for each in folders:
            if each["error_code"]:
                yield error(f"{each['log_dir']} of broker {broker} is offline", "see the broker's log")
            elif each["total_bytes"] > 0:
                yield _space(
                    f"{each['log_dir']} of broker {broker}", each["usable_bytes"], each["total_bytes"]
                )


def _local_space(folder: Path) -> Finding:
    whole = folder.absolute()
    there = next(each for each in (whole, *whole.parents) if each.is_dir())
    usage = shutil.disk_usage(there)
    return _space(f"{there} on this computer", usage.free, usage.total)


def _space(where: str, free: int, total: int) -> Finding:
    said = f"{where}: {free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    advice = (
        "make room: Kafka stops when its disk is full; shorter retention helps only with the next segment"
    )
    if free < total * _FULL_SHARE:
        return error(said, advice)
    return warning(said, advice) if free < total * _LOW_SHARE else ok(said)


async def schemas(patient: Patient) -> AsyncIterator[Finding]:
    """Whether installed schemas are those that the decoder runs on."""
    if patient.schemas is None:
        yield skipped("no folder of schemas to compare with", "say which: --schemas DIR")
        return
    expected: dict[str, Any] = {**schema.documents(), "asyncapi.json": asyncapi.document()}
    wrong = sorted(
        name for name, document in expected.items() if _json_in(patient.schemas / name) != _as_read(document)
    )
    if wrong:
        yield error(
            f"{len(wrong)} of {len(expected)} schemas in {patient.schemas} are missing or of another version: "
            f"{', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}",  # noqa: PLR2004 - as many as are named
            f"cxstream schemas --out {patient.schemas}, and tell who validates with them",
        )
    else:
        yield ok(f"{len(expected)} schemas in {patient.schemas} are those of this version")


def _as_read(document: Any) -> Any:
    return json.loads(json.dumps(document))


def _json_in(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


async def web(patient: Patient) -> AsyncIterator[Finding]:
    """Whether a worker answers on its web server, and says that it is ready."""
    worker = patient.settings.worker
    address = (patient.worker or f"http://{worker.web_host}:{worker.web_port}").rstrip("/")
    if not address.startswith(("http://", "https://")):
        yield error(f"--worker {address} is no address", "write http://HOST:PORT")
        return
    try:
        await asyncio.to_thread(get, f"{address}/livez")
        status, body = await asyncio.to_thread(get, f"{address}/readyz")
    except (OSError, ValueError) as problem:
        said = f"no worker answers at {address} ({getattr(problem, 'reason', None) or problem})"
        if patient.worker:
            yield error(said, "start it, or see its log: docs/worker.md")
        else:
            yield skipped(said, "say where a worker is: --worker http://HOST:PORT")
        return
    partitions = body.get("partitions")
    if "ready" not in body or not isinstance(partitions, dict):
        yield error(
            f"what answers at {address} is no cxstream worker", "say where one is: --worker http://HOST:PORT"
        )
    elif status == HTTPStatus.OK:
        yield ok(f"the worker at {address} is ready, with {len(partitions)} partitions")
    elif body.get("halted"):
        yield error(
            f"the worker at {address} scores no further: {body['halted']}",
            "docs/operations.md, 'More partitions'",
        )
    else:
        waiting = [f"{number} {state}" for number, state in partitions.items() if state != "running"]
        waiting += [f"{number} stalled, {reason}" for number, reason in body.get("stalled", {}).items()]
        waiting += [
            f"{number} makes no progress at offset {at['offset']}, {at['reason']}"
            for number, at in body.get("no_progress", {}).items()
        ]
        yield error(
            f"the worker at {address} is not ready: {', '.join(waiting) or 'it has been assigned nothing yet'}",
            "wait if it restores; if not, its log says why: docs/worker.md",
        )

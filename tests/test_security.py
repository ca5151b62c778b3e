"""On a Kafka that asks who you are and allows no more than it must: everything works, and refusals are clear."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import time
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from conftest import _remove_all, in_own_loop
from crm_programs import CrmProcess, run
from cxstream.kafka.acls import CRM, ROLES, WAREHOUSE, WORKER, acls
from cxstream.kafka.admin import ensure_topics
from cxstream.kafka.connection import check
from cxstream.topology import (
    CHURN_RISK,
    FORGET,
    FRICTION,
    REJECTED,
    SCORES,
    SNAPSHOTS,
    TOPICS,
    TOUCHPOINTS,
    topology,
)
from cxstream.worker.faust.app import create_app
from in_process import cxstream_text
from secure_broker import USERS, Authority, SecureKafka, Tokens, allow, environment, forbid, password, printed
from test_crm_consumer import signal_of
from workers import Watcher, WorkerProcess, in_process, members, touchpoint, until, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from cxstream.settings import Settings

pytestmark = pytest.mark.broker

STORY = Path(__file__).parent.parent / "examples" / "story.ndjson"
SIGNALS = 8
SECONDS = 90.0
CLIENT, CLIENT_SECRET = "the-client", "s3cr3t/of+the client"
GROUP = "cxstream"


@pytest.fixture(scope="module")
def secure() -> Iterator[SecureKafka]:
    """A Kafka on which each role may do exactly what `cxstream topics --acls` prints."""
    with SecureKafka() as kafka:
        for role in USERS:
            group = ["--group", GROUP] if role == "crm" else []
            done = command("topics", "--acls", "--role", role, "--principal", f"User:{role}", *group)
            assert done.returncode == 0, done.stderr
            in_own_loop(allow(kafka.open, printed(done.stdout)))
        yield kafka


@pytest.fixture(autouse=True)
def _short_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers are in one group, which waits for one that was killed until its session ends."""
    monkeypatch.setenv("CXSTREAM_WORKER__SESSION_SECONDS", "6")


@pytest.fixture
def fresh(secure: SecureKafka) -> Iterator[SecureKafka]:
    """Without topics, and with a consumer group that has committed nothing: it goes with its topic."""
    in_own_loop(_remove_all(secure.open))
    yield secure
    in_own_loop(_remove_all(secure.open))


def command(*arguments: str, settings: Settings | None = None) -> subprocess.CompletedProcess[str]:
    """Run a cxstream command to its end, as the settings say, in this process."""
    return cxstream_text(*arguments, environ=_where(settings))


def process(*arguments: str, settings: Settings, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a cxstream command to its end, as the settings say, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "cxstream", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env={**os.environ, **_where(settings), **more},
    )


def _where(settings: Settings | None) -> dict[str, str]:
    return {"CXSTREAM_KAFKA": settings.kafka, **environment(settings)} if settings else {}


@asynccontextmanager
async def token_endpoint(tokens: Tokens) -> AsyncIterator[tuple[str, list[str]]]:
    """A token endpoint: its URL, and the subjects that it gave tokens for."""
    asked: list[str] = []

    async def give(request: web.Request) -> web.Response:
        form = await request.post()
        good = base64.b64encode(f"{CLIENT}:s3cr3t%2Fof%2Bthe+client".encode()).decode()
        if (
            request.headers.get("Authorization") != f"Basic {good}"
            or form["grant_type"] != "client_credentials"
        ):
            return web.json_response({"error": "invalid_client", "error_description": "who?"}, status=401)
        asked.append(str(form["scope"]))
        answer = {"access_token": tokens.token(asked[-1]), "token_type": "Bearer", "expires_in": 600}
        return web.json_response(answer)

    app = web.Application()
    app.router.add_post("/token", give)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/token", asked
    finally:
        await runner.cleanup()


# --- everything works


@pytest.mark.parametrize("way", ["SCRAM", "MTLS", "OAUTH", "endpoint"])
async def test_from_topics_to_signals_with_the_least_rights(
    way: str, fresh: SecureKafka, tmp_path: Path
) -> None:
    async with token_endpoint(fresh.tokens) as (url, asked):

        def settings(user: str) -> Settings:
            if way != "endpoint":
                return fresh.settings(way, user)
            secret_file = tmp_path / "client-secret"
            secret_file.write_text(CLIENT_SECRET + "\n")
            return fresh.settings(
                "OAUTH", user, token_url=url, client_id=CLIENT, client_secret_file=secret_file, scope=user
            )

        for user, arguments in (
            ("admin", ("topics", "--create", "--partitions", "1")),
            ("producer", ("produce", str(STORY))),
        ):
            done = await asyncio.to_thread(command, *arguments, settings=settings(user))
            assert done.returncode == 0, done.stdout + done.stderr
        await scored(settings("worker"), fresh, tmp_path)
    assert set(asked) == ({"admin", "producer", "worker"} if way == "endpoint" else set())


async def scored(settings: Settings, kafka: SecureKafka, folder: Path) -> None:
    """Run a worker until it has committed everything; it must have said everything."""
    log = folder / "log"
    environ = {**environment(settings), "CXSTREAM_LOG_LEVEL": "debug"}
    with WorkerProcess(settings, log, **environ) as worker:
        await asyncio.to_thread(worker.ready)
        async with Watcher(kafka.open, 1) as watcher:
            await until(watcher.all_committed, SECONDS, lambda: worker.log)
            assert await asyncio.to_thread(worker.stop) == 0, worker.log
            found = [await watcher.read(topic.name) for topic in (CHURN_RISK, FRICTION)]
    assert sum(len(records) for topic in found for records in topic.values()) == SIGNALS
    no_secrets(settings, log.read_text(errors="replace"))


def no_secrets(settings: Settings, said: str) -> None:
    """Nothing that was said has a secret in it."""
    secrets = [CLIENT_SECRET, "s3cr3t", *map(password, USERS)]
    for name in ("password", "key_password"):
        given = getattr(settings.security, name)
        secrets += [given.get_secret_value()] if given else []
    for file in (settings.security.token_file, settings.security.key_file, settings.security.cert_file):
        if file and file.is_file():
            secrets += file.read_text().split("-----")[2:3] + file.read_text().split(".")[2:3]
    for secret in filter(None, (each.strip() for each in secrets)):
        assert secret not in said
    # Any token begins so, the ones of an endpoint, too.
    assert "Bearer ey" not in said
    assert "eyJhbGciOi" not in said


async def test_a_key_that_needs_a_passphrase(secure: SecureKafka, tmp_path: Path) -> None:
    certificate = secure.certificates["worker"]
    key = secure.authority.encrypted_key(certificate, "correct horse")
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse\n")
    only_certificate = tmp_path / "cert.pem"
    only_certificate.write_text(
        re.sub(r"(?s)-----BEGIN PRIVATE.*?END PRIVATE KEY-----\n", "", certificate.read_text())
    )
    files = {"cert_file": only_certificate, "key_file": key}
    assert await check(secure.settings("MTLS", "worker", **files, key_password="correct horse")) == 1
    assert await check(secure.settings("MTLS", "worker", **files, key_password_file=passphrase)) == 1


async def test_a_worker_outlives_its_token(fresh: SecureKafka, tmp_path: Path) -> None:
    await ensure_topics(fresh.open, 1)
    file = tmp_path / "token"

    def renew(seconds: float) -> float:
        """A new token in one step; when it ends."""
        ends = time.time() + seconds
        (tmp_path / "next").write_text(fresh.tokens.token("worker", seconds))
        (tmp_path / "next").replace(file)
        return ends

    ends = renew(12)
    settings = fresh.settings("OAUTH", "worker", token_file=file)
    with WorkerProcess(settings, tmp_path / "log", **environment(settings)) as worker:
        # It may take longer than a token lasts: a worker that was killed is waited for before this one joins.
        ready = asyncio.create_task(asyncio.to_thread(worker.ready))
        while not (await asyncio.wait([ready], timeout=4))[0]:
            ends = renew(12)
        await ready
        renew(600)
        # Kafka closes a connection whose token has ended when it is used the next time.
        await until(lambda: time.time() > ends + 1, 30, lambda: "")
        await write(fresh.open, TOUCHPOINTS.name, {0: [touchpoint("anna", n) for n in range(50)]})
        async with Watcher(fresh.open, 1) as watcher:
            await until(watcher.all_committed, SECONDS, lambda: worker.log)
            assert await watcher.committed() >= 50
        assert await asyncio.to_thread(worker.stop) == 0, worker.log
    # Its connection to the group's coordinator may be one of an ended token, too: it must leave all the same.
    assert await members(fresh.open) == []


# --- refusals


def refusals(kafka: SecureKafka, folder: Path) -> dict[str, tuple[Settings, str]]:
    """Settings that do not let us in, and what is said of them."""
    strangers = Authority(folder, "strangers")
    forger = Tokens(folder)
    forged = folder / "forged.token"
    forged.write_text(forger.token("worker"))
    scram = kafka.settings("SCRAM", "worker")

    def at(listener: str, settings: Settings = scram) -> Settings:
        return settings.model_copy(update={"kafka": kafka.bootstrap(listener)})

    return {
        "wrong password": (
            kafka.settings("SCRAM", "worker", password="pw-Wr0ng"),
            r"Kafka refuses worker \(SCRAM-SHA-512\): check security\.username, and security\.password",
        ),
        "unknown user": (kafka.settings("SCRAM", "worker", username="eve"), r"Kafka refuses eve \("),
        "unknown authority": (
            kafka.settings("SCRAM", "worker", ca_file=strangers.file),
            r"certificate is not trusted: .*; it must be signed by one of security\.ca_file",
        ),
        "another host": (
            scram.model_copy(update={"kafka": scram.kafka.replace("localhost", "127.0.0.1")}),
            r"certificate is not trusted: .*127\.0\.0\.1.* and name the host that is connected to",
        ),
        "token that has ended": (
            kafka.settings("OAUTH", "worker", token_file=kafka.token_file("worker", seconds=-3600)),
            r"security\.token_file: the token in .* ended at 20.* UTC; have it renewed",
        ),
        "token for others": (
            kafka.settings("OAUTH", "worker", token_file=kafka.token_file("worker", audience="others")),
            r"Kafka refuses our token: .*check what security\.token_file or token_url gives",
        ),
        "forged token": (
            kafka.settings("OAUTH", "worker", token_file=forged),
            r"Kafka refuses our token: .*check what security\.token_file or token_url gives",
        ),
        "no token": (
            kafka.settings("OAUTH", "worker", token_file=folder / "nowhere"),
            r"security\.token_file: .*nowhere cannot be read: No such file",
        ),
        "no certificate": (
            kafka.settings("MTLS", "worker", cert_file=None),
            r"does not accept our certificate: none is set; .*security\.cert_file and security\.key_file",
        ),
        "certificate of a stranger": (
            kafka.settings("MTLS", "worker", cert_file=strangers.certificate("worker")),
            r"does not accept our certificate: security\.cert_file \(",
        ),
        "wrong passphrase": (
            kafka.settings(
                "MTLS",
                "worker",
                key_file=kafka.authority.encrypted_key(kafka.certificates["worker"], "right"),
                key_password="wr0ng-passphrase",
            ),
            r"security\.key_password: not the passphrase of security\.key_file",
        ),
        "mechanism unknown there": (at("OAUTH"), r"does not know SCRAM-SHA-512 there"),
        "no TLS there": (at("PLAINTEXT"), r"check the port, and security\.protocol \(SASL_SSL\)"),
        "TLS there": (
            kafka.settings("SCRAM", "worker", protocol="SASL_PLAINTEXT"),
            r"check the port, and security\.protocol \(SASL_PLAINTEXT\)",
        ),
        "no secret": (
            kafka.settings("OAUTH", "worker", token_url="https://localhost/token", client_id="x"),
            r"security\.client_id, security\.client_secret: security\.token_url needs both",
        ),
        "no endpoint": (
            kafka.settings(
                "OAUTH",
                "worker",
                token_url="https://localhost:1/token",
                client_id="x",
                client_secret="pw-Gone",
            ),
            r"no token from https://localhost:1/token: .*check security\.token_url",
        ),
    }


async def test_refusals_are_one_line_that_says_what_to_do(secure: SecureKafka, tmp_path: Path) -> None:
    worker, produce = ("worker", "--web-port", "0"), ("produce", str(STORY))
    for name, (settings, expected) in refusals(secure, tmp_path).items():
        by_all = name in {"wrong password", "token for others"}
        for arguments in (("topics",), worker, produce) if by_all else (("topics",),):
            if by_all:
                environ = {"CXSTREAM_LOG_LEVEL": "debug"} if arguments[0] == "worker" else {}
                done = await asyncio.to_thread(process, *arguments, settings=settings, **environ)
            else:
                done = await asyncio.to_thread(command, *arguments, settings=settings)
            assert done.returncode == 1, name
            said = done.stderr.strip().splitlines()
            assert re.match(r"cxstream: .*" + expected, said[-1]), f"{name}: {done.stderr}"
            assert "Traceback" not in done.stderr, name
            assert arguments[0] == "worker" or len(said) == 1, f"{name}: {done.stderr}"
            no_secrets(settings, done.stdout + done.stderr)


async def test_a_token_endpoint_that_refuses(secure: SecureKafka) -> None:
    async with token_endpoint(secure.tokens) as (url, asked):
        wrong = secure.settings("OAUTH", "worker", token_url=url, client_id=CLIENT, client_secret="pw-Wr0ng")
        done = await asyncio.to_thread(command, "topics", settings=wrong)
    assert not asked
    assert done.returncode == 1
    assert re.fullmatch(
        r"cxstream: no token from http://127\.0\.0\.1:\d+/token: status 401: invalid_client who\?; "
        r"check security\.token_url, client_id, client_secret and scope\n",
        done.stderr.replace(f"{wrong.kafka}: ", ""),
    ), done.stderr
    no_secrets(wrong, done.stderr)


# --- least rights


def granted(resource: str, name: str, operation: str) -> Any:
    """One of the worker's ACLs."""
    return next(
        acl for acl in acls(WORKER, GROUP, topology()) if (acl[:2], acl[3]) == ((resource, name), operation)
    )


@asynccontextmanager
async def without(kafka: SecureKafka, acl: Any) -> AsyncIterator[None]:
    """The worker may do this no more."""
    await forbid(kafka.open, "User:worker", acl)
    try:
        yield
    finally:
        await allow(kafka.open, {("User:worker", acl)})


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (granted("topic", TOUCHPOINTS.name, "Read"), r"TopicAuthorizationFailed"),
        (granted("topic", TOUCHPOINTS.name, "DescribeConfigs"), r"cx\.touchpoints: Kafka refuses: "),
        # Kafka refuses the whole transaction; which of its refusals comes first is chance.
        (
            granted("topic", SNAPSHOTS.name, "Write"),
            r"cx\.snapshots: no claim written: TopicAuthorizationFailed",
        ),
        *(
            (
                granted("topic", topic.name, "Write"),
                rf"{topic.name} is missing at .*, or this client may not see it",
            )
            for topic in (CHURN_RISK, FRICTION, SCORES, REJECTED)
        ),
        (
            granted("group", GROUP, "Read"),
            r"cxstream: cxstream: Kafka does not permit this client to join the consumer group",
        ),
        (
            granted("transactional-id", f"{GROUP}-{TOUCHPOINTS.name}-", "Write"),
            r"TransactionalIdAuthorizationFailed.*partition failed",
        ),
    ],
    ids=lambda value: f"{value.name}-{value.operation}" if isinstance(value, tuple) else "",
)
async def test_the_worker_needs_each_of_its_rights(
    missing: Any, said: str, fresh: SecureKafka, tmp_path: Path
) -> None:
    await ensure_topics(fresh.open, 1)
    await write(fresh.open, TOUCHPOINTS.name, {0: STORY.read_bytes().splitlines()})
    settings = fresh.settings("SCRAM", "worker")
    async with without(fresh, missing):
        with WorkerProcess(settings, tmp_path / "log", **environment(settings)) as worker:
            await until(lambda: re.search(said, worker.log), SECONDS, lambda: worker.log)
            async with Watcher(fresh.open, 1) as watcher:
                assert await watcher.committed() == 0


async def test_saved_state_is_of_no_use_to_who_may_not_read_it(fresh: SecureKafka, tmp_path: Path) -> None:
    await ensure_topics(fresh.open, 1)
    await write(fresh.open, TOUCHPOINTS.name, {0: STORY.read_bytes().splitlines()})
    settings = fresh.settings("SCRAM", "worker")
    await scored(settings, fresh, tmp_path)
    async with without(fresh, granted("topic", SNAPSHOTS.name, "Read")):
        with WorkerProcess(settings, tmp_path / "log2", **environment(settings)) as worker:
            said = r"TopicAuthorizationFailed.*cx\.snapshots"
            await until(lambda: re.search(said, worker.log), SECONDS, lambda: worker.log)


async def test_ticks_need_the_right_to_write_touchpoints(
    fresh: SecureKafka, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    await ensure_topics(fresh.open, 1)
    settings = fresh.settings("SCRAM", "worker")
    worker = settings.worker.model_copy(update={"tick_seconds": 0.2, "web": False})
    settings = settings.model_copy(update={"worker": worker})
    said = ""

    def refused() -> bool:
        nonlocal said
        said += capsys.readouterr().out + caplog.text
        return "no tick written" in said

    async with without(fresh, granted("topic", TOUCHPOINTS.name, "Write")), in_process(create_app(settings)):
        await until(refused, SECONDS, lambda: said)
    async with in_process(create_app(settings)), Watcher(fresh.open, 1) as watcher:

        async def ticked() -> bool:
            return await watcher.produced() > 0

        await until(ticked, SECONDS, lambda: said)


async def test_a_worker_of_another_name_gets_nowhere(fresh: SecureKafka, tmp_path: Path) -> None:
    await ensure_topics(fresh.open, 1)
    settings = fresh.settings("SCRAM", "producer")
    with WorkerProcess(settings, tmp_path / "log", **environment(settings)) as worker:
        await asyncio.to_thread(worker.process.wait, SECONDS)
        assert worker.process.returncode == 1
        assert "does not permit this client to join the consumer group" in worker.log
        assert "cxstream topics --acls" in worker.log


async def test_rules_are_changed_with_the_rights_of_the_role(fresh: SecureKafka, tmp_path: Path) -> None:
    admin = fresh.settings("SCRAM", "admin")
    file = tmp_path / "rules.toml"
    file.write_text('[scoring]\nname = "mine-1"\n')
    apply = ("rules", "apply", str(file), "--yes", "--sample", "10")
    for arguments in (("topics", "--create", "--partitions", "2"), apply, ("rules", "show")):
        done = await asyncio.to_thread(command, *arguments, settings=admin)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "mine-1@" in done.stdout
    refused = await asyncio.to_thread(command, *apply, settings=fresh.settings("SCRAM", "producer"))
    assert refused.returncode == 1
    assert "Authorization" in refused.stderr or "no such topic" in refused.stderr


async def test_a_warehouse_follows_with_the_rights_of_the_role(fresh: SecureKafka, tmp_path: Path) -> None:
    await ensure_topics(fresh.open, 1)
    for topic in (each for each in WAREHOUSE.reads if each.config["cleanup.policy"] != "compact"):
        # What cannot be read is left out; it has to be fetched all the same. Compacted topics take no record without a key.
        await write(fresh.open, topic.name, {0: [b"nothing"]})
    follow = ("warehouse", "follow", "--until-end", "--warehouse", str(tmp_path / "cx.duckdb"))
    done = await asyncio.to_thread(process, *follow, settings=fresh.settings("SCRAM", "warehouse"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ready: " in done.stdout
    refused = await asyncio.to_thread(process, *follow, settings=fresh.settings("SCRAM", "crm"))
    assert refused.returncode == 1
    assert "cx.scored" in refused.stderr


async def test_who_is_on_call_needs_no_more_than_the_role(fresh: SecureKafka, tmp_path: Path) -> None:
    await ensure_topics(fresh.open, 1)
    bad = touchpoint("anna", 1, "contact", channel="phone")
    await write(fresh.open, TOUCHPOINTS.name, {0: [*STORY.read_bytes().splitlines(), bad]})
    await scored(fresh.settings("SCRAM", "worker"), fresh, tmp_path)
    settings = fresh.settings("SCRAM", "oncall")
    fix = tmp_path / "fix.toml"
    fix.write_text("[[fix]]\nset = { 'data.channel' = 'call' }\n")
    for arguments, said in (
        (("rejected", "list"), "data.channel"),
        (("rejected", "resend", "--everything", "--fix", str(fix), "--send"), "1 sent"),
        (("customer", "anna", "--no-worker"), "counted"),
    ):
        done = await asyncio.to_thread(command, *arguments, settings=settings)
        assert done.returncode == 0, done.stdout + done.stderr
        assert said in done.stdout
    assert "invalid" in done.stdout
    refused = await asyncio.to_thread(command, "rejected", "list", settings=fresh.settings("SCRAM", "worker"))
    assert "--role oncall" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_a_crm_needs_no_more_than_the_role(
    program: list[str], fresh: SecureKafka, tmp_path: Path
) -> None:
    await ensure_topics(fresh.open, 1)
    settings, store = fresh.settings("SCRAM", "crm"), tmp_path / "crm.sqlite"
    ca, secret = str(fresh.authority.file), {"CRM_KAFKA_PASSWORD": password("crm")}
    options = ["--group", GROUP, "--sasl", "SCRAM-SHA-512", "--user", "crm", "--ca-file", ca]
    await write(fresh.open, CHURN_RISK.name, {0: [signal_of("anna", 1, "raised")[1]]})
    with CrmProcess(program, settings, store, *options, **secret) as crm:
        await asyncio.to_thread(crm.until, lambda it: it.actions())
        await asyncio.to_thread(crm.waits)
        assert await asyncio.to_thread(crm.stop) == 0
    async with Watcher(fresh.open, 1) as watcher:
        (record,) = (await watcher.read(TOUCHPOINTS.name))[0]
    assert json.loads(record.value)["data"]["action_id"] == "cx.touchpoints-0-1-0"

    where = ["--kafka", settings.kafka, "--store", str(store), *options]
    done = await asyncio.to_thread(run, program, *where, CRM_KAFKA_PASSWORD="wrong")
    assert (done.returncode, "Kafka refuses this user" in done.stderr) == (1, True), done.stderr
    outcomes = next(acl for acl in acls(CRM, GROUP, topology()) if acl[1:4:2] == (TOUCHPOINTS.name, "Write"))
    await forbid(fresh.open, "User:crm", outcomes)
    try:
        done = await asyncio.to_thread(run, program, *where, **secret)
    finally:
        await allow(fresh.open, {("User:crm", outcomes)})
    assert done.returncode == 1, done.stdout
    assert "cx.touchpoints: no such topic, or this user may not see it" in done.stderr
    assert f"'cxstream topics --acls --role crm --group {GROUP}'" in done.stderr


async def test_a_crm_is_let_in_by_its_certificate_or_says_the_likely_reason(
    program: list[str], fresh: SecureKafka, tmp_path: Path
) -> None:
    await ensure_topics(fresh.open, 1)
    ca, stranger = str(fresh.authority.file), str(Authority(tmp_path).file)
    scram, secret = ["--sasl", "SCRAM-SHA-512", "--user", "crm"], {"CRM_KAFKA_PASSWORD": password("crm")}
    mine = ["--group", GROUP, "--ca-file", ca, "--cert-file", str(fresh.certificates["crm"])]
    with CrmProcess(program, fresh.settings("MTLS", "crm"), tmp_path / "crm.sqlite", *mine) as crm:
        await asyncio.to_thread(crm.waits)
        assert await asyncio.to_thread(crm.stop) == 0

    async def said(number: int, listener: str, *options: str) -> str:
        where = ["--kafka", fresh.bootstrap(listener), "--store", str(tmp_path / f"{number}.sqlite")]
        done = await asyncio.to_thread(run, program, *where, *options, **secret)
        assert done.returncode == 1, done.stdout
        assert len(done.stderr.splitlines()) == 1, done.stderr
        return str(done.stderr)

    reasons = await asyncio.gather(
        said(1, "MTLS", "--ca-file", ca),
        said(2, "SCRAM", *scram, "--ca-file", stranger),
        said(3, "PLAINTEXT", "--tls"),
        said(4, "SCRAM", *scram),
        said(5, "SCRAM", "--sasl", "SCRAM-SHA-256", "--user", "crm", "--ca-file", ca),
    )
    expected = ("wants a client certificate", "--ca-file must be of", "speaks no TLS", "speaks TLS", "--sasl")
    for reason, likely in zip(reasons, expected, strict=True):
        assert likely in reason


def test_a_crm_reads_signals_and_writes_touchpoints_alone() -> None:
    assert {(acl.resource, acl.name, acl.operation) for acl in acls(CRM, "crm", topology())} == {
        ("topic", "cx.touchpoints", "Write"),
        ("topic", "cx.churn-risk", "Read"),
        ("topic", "cx.friction", "Read"),
        ("topic", "cx.scores", "Read"),
        ("group", "crm", "Read"),
    }


async def examined(settings: Settings, **levels: set[str]) -> str:
    """What the doctor says, whose checks must end so."""
    done = await asyncio.to_thread(command, "doctor", "--json", settings=settings)
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    for name, expected in levels.items():
        said = [each for each in findings if each["check"] == name]
        assert {each["level"] for each in said} == expected, said
    return str(done.stdout)


async def test_the_doctor_knows_the_roles(fresh: SecureKafka) -> None:
    await ensure_topics(fresh.open, 1)

    async def deserted() -> bool:
        return not await members(fresh.open)

    await until(deserted, SECONDS, lambda: "an earlier worker is taken for a member")
    well = {"broker": {"ok"}, "clock": {"skipped"}, "group": {"warning", "ok"}, "state": {"ok"}}
    oncall, worker = (fresh.settings("SCRAM", user) for user in ("oncall", "worker"))
    hidden = {"ok", "skipped"}
    said = await examined(oncall, **well, topics=hidden, access={"skipped"}, transactions={"ok"})
    assert "may not describe them: cx.audit, cx.forget, cx.forgotten" in said
    assert "what the role oncall needs, not what a worker needs" in said
    await examined(worker, **well, topics=hidden, access={"ok"}, transactions={"ok", "skipped"})
    async with without(fresh, granted("topic", FORGET.name, "Read")):
        said = await examined(worker, **well, topics=hidden, access={"error"}, transactions={"ok", "skipped"})
        assert "--operation Read --topic cx.forget" in said
    async with without(fresh, granted("transactional-id", f"{GROUP}-{TOUCHPOINTS.name}-", "Write")):
        said = await examined(worker, **well, access={"ok"}, transactions={"error", "skipped"})
        assert f"--operation Write --transactional-id {GROUP}-{TOUCHPOINTS.name}- " in said


def test_every_role_can_be_printed() -> None:
    for role in ROLES:
        done = command("topics", "--acls", "--role", role, "--group", f"g-{uuid.uuid4().hex[:6]}")
        assert done.returncode == 0
        assert printed(done.stdout)
    assert {
        topic for topic in TOPICS if not any(topic in (*r.reads, *r.writes) for r in ROLES.values())
    } == set()

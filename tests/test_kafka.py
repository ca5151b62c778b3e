"""Where Kafka is and how to be let in: settings to client arguments, and errors that say what to do."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka.protocol.admin import SaslAuthenticateRequest
from aiokafka.structs import BrokerMetadata
from pydantic import SecretStr

from answers import hanging_up
from cxstream.doctor import computer
from cxstream.doctor.finding import Patient
from cxstream.kafka.connection import check, connection
from cxstream.kafka.oauth import ended
from cxstream.model.errors import BrokerError, SettingsError
from cxstream.settings import Security, Settings

if TYPE_CHECKING:
    from pathlib import Path


def secured(**security: Any) -> Settings:
    return Settings(kafka="localhost:9092", security=security)


def test_plain_connection_has_no_secrets() -> None:
    arguments = connection(secured())
    assert arguments["bootstrap_servers"] == "localhost:9092"
    assert arguments["security_protocol"] == "PLAINTEXT"
    assert arguments["ssl_context"] is None
    assert not any(name.startswith("sasl") for name in arguments)


def test_sasl_over_tls_verifies_the_server() -> None:
    arguments = connection(secured(protocol="SASL_SSL", username="ada", password="secret"))
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (arguments["sasl_plain_username"], arguments["sasl_plain_password"]) == ("ada", "secret")
    context = arguments["ssl_context"]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize(
    ("security", "message"),
    [
        (
            {"protocol": "SASL_PLAINTEXT"},
            r"security\.username, security\.password: SASL_PLAINTEXT needs both",
        ),
        ({"protocol": "SASL_SSL", "username": "ada"}, r"CXSTREAM_SECURITY__PASSWORD"),
        ({"protocol": "SSL", "ca_file": "/no/ca.pem"}, r"security\.ca_file: /no/ca\.pem .*No such file"),
        (
            {"protocol": "SSL", "cert_file": "/no/cert.pem"},
            r"security\.cert_file: /no/cert\.pem .*No such file",
        ),
        ({"protocol": "SSL", "key_file": "/no/key.pem"}, r"security\.cert_file: missing"),
    ],
)
def test_settings_that_do_not_fit_are_named(security: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        connection(secured(**security))


OAUTH = {"protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
ENDPOINT = {**OAUTH, "token_url": "https://tokens.example/token", "client_id": "cx"}


@pytest.mark.parametrize(
    ("security", "message"),
    [
        ({"password": "a", "password_file": "/no/file"}, r"security\.password_file: both are given"),
        ({"password_file": "/no/file"}, r"security\.password_file: /no/file cannot be read: No such file"),
        (OAUTH, r"security\.token_file, security\.token_url: OAUTHBEARER needs one of them"),
        ({**ENDPOINT, "token_file": "/t"}, r"security\.token_file, security\.token_url: "),
        (ENDPOINT, r"security\.client_id, security\.client_secret: security\.token_url needs both"),
        ({**ENDPOINT, "client_secret_file": "/no/file"}, r"security\.client_secret_file: /no/file cannot"),
    ],
)
def test_secrets_that_are_not_there_are_named(security: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        connection(secured(**{"protocol": "SASL_SSL", "username": "ada", **security}))


@pytest.mark.parametrize(
    "wrong", ["http://tokens.example/", "ftp://x/", "https://me:pw@tokens.example/", "x"]
)
def test_a_secret_goes_to_no_endpoint_in_the_clear(wrong: str) -> None:
    with pytest.raises(ValueError, match="token_url"):
        secured(**{**ENDPOINT, "token_url": wrong})


READABLE = [
    {"sasl_mechanism": "PLAIN", "username": "ada", "password": "hunter2"},
    {"sasl_mechanism": "OAUTHBEARER", "token_file": "/no/token"},
]


@pytest.mark.parametrize("security", READABLE)
@pytest.mark.parametrize(
    "far",
    [
        "kafka:9092",
        "localhost:9092,kafka:9092",
        "localhost.evil.example:1",
        "127.0.0.1.nip.io:1",
        "10.0.0.1:1",
    ],
)
def test_no_password_and_no_token_goes_over_the_network_in_plain_text(
    far: str, security: dict[str, Any]
) -> None:
    plain = {"protocol": "SASL_PLAINTEXT", **security}
    with pytest.raises(SettingsError, match=r"in plain text.*security\.plaintext_credentials") as refused:
        connection(Settings(kafka=far, security=plain))
    assert "hunter2" not in str(refused.value)
    assert connection(Settings(kafka=far, security={**plain, "plaintext_credentials": True}))


@pytest.mark.parametrize("security", READABLE)
@pytest.mark.parametrize("near", ["localhost:1", "127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "LOCALHOST:1"])
def test_plain_text_within_this_computer_is_allowed(near: str, security: dict[str, Any]) -> None:
    assert connection(Settings(kafka=near, security={"protocol": "SASL_PLAINTEXT", **security}))


def test_scram_sends_no_password_and_tls_hides_it() -> None:
    user = {"username": "ada", "password": "hunter2"}
    assert connection(Settings(kafka="kafka:1", security={"protocol": "SASL_PLAINTEXT", **user}))
    assert connection(
        Settings(kafka="kafka:1", security={"protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", **user})
    )


async def test_a_broker_here_that_sends_us_elsewhere_gets_no_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cxstream.kafka.connection._reachable", lambda _: asyncio.sleep(0))
    monkeypatch.setattr("cxstream.kafka.preflight.introduce", lambda *_: asyncio.sleep(0))
    monkeypatch.setattr("aiokafka.client.AIOKafkaClient.bootstrap", lambda _: asyncio.sleep(0))
    monkeypatch.setattr(
        "aiokafka.cluster.ClusterMetadata.brokers",
        lambda _: [BrokerMetadata(1, "stranger.example", 9092, None)],
    )
    plain = {"protocol": "SASL_PLAINTEXT", **READABLE[0]}
    with pytest.raises(SettingsError, match=r"to stranger\.example in plain text"):
        await check(Settings(kafka="localhost:1", security=plain))
    assert await check(Settings(kafka="localhost:1")) == 1


@pytest.mark.parametrize(
    ("kafka", "security", "level"),
    [
        ("localhost:1", {}, "ok"),
        ("kafka:1", {}, "warning"),
        ("kafka:1", {"protocol": "SSL"}, "ok"),
        ("localhost:1", {"protocol": "SASL_PLAINTEXT", "username": "a", "password": "b"}, "warning"),
        ("kafka:1", {"protocol": "SASL_PLAINTEXT", "username": "a", "password": "b"}, "warning"),
        ("kafka:1", {"protocol": "SASL_SSL", "username": "a", "password": "b"}, "ok"),
    ],
)
async def test_the_doctor_says_where_nothing_is_encrypted(
    kafka: str, security: dict[str, Any], level: str
) -> None:
    patient = Patient(Settings(kafka=kafka, security=security), None, None, None)
    assert [each.level async for each in computer.settings(patient)] == [level]


def test_secrets_come_from_files_that_may_change(tmp_path: Path) -> None:
    file = tmp_path / "password"
    settings = secured(protocol="SASL_SSL", username="ada", password_file=file)
    for password in ("first", "second with spaces "):
        file.write_text(password + "\n")
        assert connection(settings)["sasl_plain_password"] == password
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match=r"password_file: .* is not text"):
        connection(settings)
    file.write_text("\n")
    with pytest.raises(SettingsError, match=r"password_file: .* is empty"):
        connection(settings)


async def test_a_token_is_read_anew_for_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    provider = connection(secured(**OAUTH, token_file=file))["sasl_oauth_token_provider"]
    assert await provider.token() == "one"
    file.write_text("two\n")
    assert await provider.token() == "two"


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "a.bnVsbA.c", "a.eyJleHAiOiJ4In0.c", "a.eyJleHAiOjFlOTl9.c"]
)
def test_a_token_that_says_no_end_is_left_to_kafka(token: str) -> None:
    assert ended(token) == ""


def test_secrets_are_in_no_representation(tmp_path: Path) -> None:
    names = ("password", "key_password", "client_secret")
    settings = secured(**dict.fromkeys(names, "hunter2"))
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    secrets = [name for name, field in Security.model_fields.items() if field.annotation == SecretStr | None]
    assert secrets == list(names)
    assert {f"{name}_file" for name in names} <= set(Security.model_fields)


async def test_the_client_logs_no_request_that_proves_who_asks(caplog: pytest.LogCaptureFixture) -> None:
    connection(secured(protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN", username="ada", password="hunter2"))
    # Whatever a command that ran in this process before has said of the client's log.
    caplog.set_level(logging.DEBUG, logger="aiokafka.conn")
    log = logging.getLogger("aiokafka.conn")
    request = SaslAuthenticateRequest(b"\0ada\0hunter2").prepare({36: (0, 1)})
    log.debug("Request to %s:%d %d: %s", "localhost", 9092, 1, request)
    log.debug("Request to %s:%d %d: %s", "localhost", 9092, 2, "Metadata")
    assert [record.args[2] for record in caplog.records if record.name == "aiokafka.conn"] == [2]
    assert "hunter2" not in caplog.text


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("hello")
    with pytest.raises(SettingsError, match=r"security\.ca_file: .*ca\.pem cannot be used"):
        connection(secured(protocol="SSL", ca_file=tmp_path / "ca.pem"))


def test_a_kafka_that_is_there_answers(kafka: str) -> None:
    assert asyncio.run(check(Settings(kafka=kafka))) == 1
    assert asyncio.run(check(Settings(kafka=f"localhost:1,{kafka}"))) == 1


@pytest.mark.parametrize(
    ("bootstrap", "message"),
    [
        (
            "localhost:1",
            r"no Kafka at localhost:1 \(.*(refused|Connect call failed).*\): start one with 'cxstream broker'",
        ),
        ("no-such-host.invalid:9092", r"no Kafka at no-such-host\.invalid:9092 \("),
        ("localhost:port", r"'localhost:port' is not a list of Kafka addresses"),
        ("localhost:70000", r"no Kafka at localhost:70000 \("),
    ],
)
def test_no_kafka_is_said_with_what_to_do(bootstrap: str, message: str) -> None:
    with pytest.raises(BrokerError, match=message):
        asyncio.run(check(Settings(kafka=bootstrap)))


USER = {"username": "ada", "password": "hunter2"}


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("security", "said"),
    [
        ({}, "as a port that speaks TLS does"),
        ({"protocol": "SSL"}, "as a port that speaks no TLS does"),
        ({**USER, "protocol": "SASL_SSL"}, "as a port that speaks no TLS does"),
        ({**USER, "protocol": "SASL_PLAINTEXT"}, "as a port that speaks TLS does"),
    ],
)
async def test_what_is_no_kafka_is_said(security: dict[str, Any], said: str, reset: bool) -> None:
    async with hanging_up(reset=reset) as port:
        settings = Settings(kafka=f"localhost:{port}", security=security)
        with pytest.raises(BrokerError) as raised:
            await check(settings)
    assert f"localhost:{port}: takes connections but does not answer as Kafka: " in str(raised.value)
    assert said in str(raised.value)
    assert f"security.protocol ({settings.security.protocol})" in str(raised.value)

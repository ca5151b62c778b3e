"""Where Kafka is and how to be let in: settings to client arguments, and errors that say what to do."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from cxstream.kafka import check, connection
from cxstream.model.errors import BrokerError, SettingsError
from cxstream.settings import Settings

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
        ("localhost:port", r"'localhost:port' is no list of Kafka addresses"),
        ("localhost:70000", r"no Kafka at localhost:70000 \("),
    ],
)
def test_no_kafka_is_said_with_what_to_do(bootstrap: str, message: str) -> None:
    with pytest.raises(BrokerError, match=message):
        asyncio.run(check(Settings(kafka=bootstrap)))


async def test_what_is_no_kafka_is_said() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        with pytest.raises(
            BrokerError, match=rf"localhost:{port}: takes connections but does not answer as Kafka"
        ):
            await check(Settings(kafka=f"localhost:{port}"))

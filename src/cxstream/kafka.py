"""How to reach Kafka: what every part that talks to it shares."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from cxstream.model.errors import BrokerError, SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from cxstream.settings import Security, Settings

CLIENT_ID = "cxstream"

# Long enough for a Kafka on another continent, short enough for a person who mistyped its address.
_CONNECT_SECONDS = 5.0


def connection(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes: where Kafka is and how to prove who asks.

    Raises:
        SettingsError: the security settings do not fit together, or a PEM file cannot be read.
    """
    security = settings.security
    arguments: dict[str, Any] = {
        "bootstrap_servers": settings.kafka,
        "client_id": CLIENT_ID,
        "request_timeout_ms": round(settings.worker.request_seconds * 1000),
        "security_protocol": security.protocol,
        "ssl_context": tls(security),
    }
    if security.protocol.startswith("SASL_"):
        if not security.username or not security.password:
            raise SettingsError(
                f"security.username, security.password: {security.protocol} needs both; "
                "set CXSTREAM_SECURITY__USERNAME and CXSTREAM_SECURITY__PASSWORD"
            )
        arguments |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password.get_secret_value(),
        }
    return arguments


def tls(security: Security) -> ssl.SSLContext | None:
    """The TLS context that the settings ask for; None where the protocol has no TLS.

    Raises:
        SettingsError: a PEM file is missing or is none.
    """
    if not security.protocol.endswith("SSL"):
        return None
    if security.key_file and not security.cert_file:
        raise SettingsError("security.cert_file: missing; security.key_file is of no use without it")
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise _unreadable("ca_file", security.ca_file, error) from error
    if security.cert_file:
        try:
            # An encrypted key would ask for its passphrase on the terminal, where nobody may be.
            context.load_cert_chain(security.cert_file, security.key_file, password=_no_passphrase)
        except OSError as error:
            raise _unreadable("cert_file", security.cert_file, error) from error
    return context


def _no_passphrase() -> str:
    raise SettingsError("security.key_file: encrypted; cxstream takes no passphrase, decrypt the file")


def _unreadable(field: str, path: Path | None, error: OSError) -> SettingsError:
    return SettingsError(f"security.{field}: {path} cannot be used: {error.strerror or error}")


async def check(settings: Settings) -> int:
    """Ask Kafka whether it is there; the number of its brokers.

    Raises:
        BrokerError: nothing answers at `settings.kafka`, or what answers does not let us in.
        SettingsError: the security settings do not fit together.
    """
    from aiokafka.client import AIOKafkaClient
    from aiokafka.errors import KafkaError

    arguments = connection(settings)
    await _reachable(settings.kafka)
    client = AIOKafkaClient(**arguments)
    try:
        await client.bootstrap()
        return len(client.cluster.brokers())
    except KafkaError as error:
        raise BrokerError(
            f"{settings.kafka} takes connections but does not answer as Kafka "
            f"({settings.security.protocol}): {error}; check security.* of the settings"
        ) from error
    finally:
        await client.close()


async def _reachable(bootstrap: str) -> None:
    """Try the bare connections first: the client's own attempt says less, and says it in the log."""
    from aiokafka.conn import collect_hosts

    try:
        addresses = [(host, int(port)) for host, port, _ in collect_hosts(bootstrap, randomize=False)]
    except ValueError as error:
        raise BrokerError(
            f"{bootstrap!r} is no list of Kafka addresses: write HOST:PORT[,HOST:PORT...]"
        ) from error
    reasons = await asyncio.gather(*(_refusal(host, port) for host, port in addresses))
    if all(reasons):
        raise BrokerError(
            f"no Kafka at {bootstrap} ({reasons[0]}): start one with 'cxstream broker', "
            "or say where it is with --kafka or CXSTREAM_KAFKA"
        )


async def _refusal(host: str, port: int) -> str | None:
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"no connection within {_CONNECT_SECONDS:.0f} s"
    except ConnectionRefusedError:
        return "connection refused"
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    writer.close()
    return None

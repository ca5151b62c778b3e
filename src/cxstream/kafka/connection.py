"""The connection settings that all Kafka clients share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cxstream.kafka.credentials import guard_logs, refuse_plaintext, sasl, tls
from cxstream.model.errors import BrokerError

if TYPE_CHECKING:
    from cxstream.settings import Settings

CLIENT_ID = "cxstream"

# Long enough for a Kafka on another continent, short enough after a mistyped address.
_CONNECT_SECONDS = 5.0


def connection(settings: Settings) -> dict[str, Any]:
    """Keyword arguments that every aiokafka client takes: addresses and authentication.

    Raises:
        SettingsError: the security settings do not fit together, or a file that they name cannot be read.
    """
    security = settings.security
    guard_logs()
    refuse_plaintext(security, hosts(settings.kafka))
    return {
        "bootstrap_servers": settings.kafka,
        "client_id": f"{settings.topics.prefix}{CLIENT_ID}",
        "request_timeout_ms": round(settings.worker.request_seconds * 1000),
        "security_protocol": security.protocol,
        "ssl_context": tls(security),
        **sasl(security),
    }


def hosts(bootstrap: str) -> list[str]:
    """The hosts of a list of Kafka addresses; none if the list is invalid, which `check` reports."""
    from aiokafka.conn import collect_hosts

    try:
        return [host for host, *_ in collect_hosts(bootstrap, randomize=False)]
    except ValueError:
        return []


async def check(settings: Settings) -> int:
    """Check that Kafka answers and accepts the authentication; returns the number of its brokers.

    Raises:
        BrokerError: nothing answers at `settings.kafka`, or authentication fails; the message says why.
        SettingsError: the security settings do not fit together.
    """
    from aiokafka.client import AIOKafkaClient
    from aiokafka.errors import KafkaError

    from cxstream.kafka.preflight import introduce

    arguments = connection(settings)
    await _reachable(settings.kafka)
    await introduce(settings, arguments)
    client = AIOKafkaClient(**arguments)
    try:
        await client.bootstrap()
        # A tunnel or proxy at this address may redirect the clients to other computers.
        refuse_plaintext(settings.security, [broker.host for broker in client.cluster.brokers()])
        return len(client.cluster.brokers())
    except KafkaError as error:
        raise BrokerError(
            f"{settings.kafka} takes connections but does not answer as Kafka "
            f"({settings.security.protocol}): {error}; check security.* of the settings"
        ) from error
    finally:
        await client.close()


async def _reachable(bootstrap: str) -> None:
    """Try plain connections first: the client's own error is less clear, and only in the log."""
    from aiokafka.conn import collect_hosts

    try:
        addresses = [(host, int(port)) for host, port, _ in collect_hosts(bootstrap, randomize=False)]
    except ValueError as error:
        raise BrokerError(
            f"{bootstrap!r} is not a list of Kafka addresses: write HOST:PORT[,HOST:PORT...]"
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

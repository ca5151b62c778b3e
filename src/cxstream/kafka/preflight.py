"""The first connection to Kafka: checks authentication, and explains errors and what to do about them.

The Kafka client logs why a connection failed, but its exception only says that it failed. So before the
clients are made, one connection is opened, and its errors are put into words.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from cxstream.model.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cxstream.settings import Security, Settings

_UNACCEPTED = (
    "Kafka refuses our token: it is for others, its signer is unknown there, or it has ended; "
    "check what security.token_file or token_url gives"
)


async def introduce(settings: Settings, arguments: dict[str, Any]) -> None:
    """Connect to one of the bootstrap servers, authenticate, and send a request.

    Args:
        settings: named in error messages.
        arguments: the result of `connection` for the settings.

    Raises:
        BrokerError: no server accepts the client; the message says why the last one does not, and what to do.
    """
    refusal = ""
    for host, port, _ in collect_hosts(settings.kafka):
        refusal = await _refusal(host, port, settings, arguments)
        if not refusal:
            return
    raise BrokerError(f"{settings.kafka}: {refusal}")


async def _refusal(host: str, port: int, settings: Settings, arguments: dict[str, Any]) -> str:
    options = {name: value for name, value in arguments.items() if name != "bootstrap_servers"}
    try:
        connection = await create_conn(host, port, **options)
        try:
            # A refused token or a missing client certificate shows only with the first response.
            answer = await connection.send(MetadataRequest([]))
        finally:
            await connection.close()
    except (KafkaError, OSError, TimeoutError) as error:
        return why(error, settings.security, arguments)
    # The client does not read Kafka's answer about a token; to a refused client, Kafka lists no brokers.
    provider = arguments.get("sasl_oauth_token_provider")
    return _UNACCEPTED if provider and not answer.brokers else ""


def why(error: BaseException, security: Security, arguments: dict[str, Any]) -> str:
    """A failed connection in words: what is wrong, and what to do.

    Args:
        error: what the client raised.
        security: the settings of the attempt.
        arguments: with the token provider, if there is one.
    """
    if isinstance(error, BrokerError):
        return str(error)
    of_tls = next((each for each in _causes(error) if isinstance(each, ssl.SSLError)), None)
    if of_tls:
        return _of_tls(of_tls, security)
    return _of_sasl(error, security, arguments) or (
        f"takes connections but does not answer as Kafka: {_likely(error, security)}; "
        f"check the port, and security.protocol ({security.protocol})"
    )


def _likely(error: BaseException, security: Security) -> str:
    """The client's error, and what a broker that closes the connection most likely expects.

    A listener without TLS reads the first bytes of TLS as a huge length, and one with TLS accepts only TLS.
    """
    if security.protocol.endswith("SSL"):
        # The client wraps errors after the handshake.
        hung_up, kind = isinstance(error, ConnectionError), "no TLS"
    else:
        hung_up, kind = isinstance(error, KafkaConnectionError | ConnectionError), "TLS"
    said = str(error) or type(error).__name__
    return (
        f"{said}; it closes the connection at the first bytes, as a port that speaks {kind} does"
        if hung_up
        else said
    )


def _of_sasl(error: BaseException, security: Security, arguments: dict[str, Any]) -> str:
    """The authentication error in words; "" if the error is another one."""
    mechanism = security.sasl_mechanism
    if isinstance(error, UnsupportedSaslMechanismError):
        return f"the broker does not know {mechanism} there: check the port, and security.sasl_mechanism"
    refused = isinstance(error, SaslAuthenticationFailed)
    if "sasl_oauth_token_provider" in arguments:
        return _UNACCEPTED if refused or isinstance(error, KafkaConnectionError) else ""
    return (
        f"Kafka refuses {security.username} ({mechanism}): check security.username, and security.password "
        "or password_file"
        if refused
        else ""
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _of_tls(error: ssl.SSLError, security: Security) -> str:
    reason = error.reason or str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        known = f"security.ca_file ({security.ca_file})" if security.ca_file else "the system's authorities"
        return (
            f"the broker's certificate is not trusted: {error.verify_message.rstrip('.')}; it must be signed by "
            f"one of {known} and name the host that is connected to"
        )
    if "CERTIFICATE" in reason or "UNKNOWN_CA" in reason:
        ours = f"security.cert_file ({security.cert_file})" if security.cert_file else "none is set"
        return (
            f"the broker does not accept our certificate: {ours}; it wants one that its authority signed, as "
            f"security.cert_file and security.key_file ({reason})"
        )
    return f"no TLS there ({reason}): check the port, and security.protocol ({security.protocol})"

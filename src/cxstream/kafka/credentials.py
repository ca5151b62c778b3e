"""Credentials of a Kafka client: TLS and SASL arguments from the security settings.

Secrets are read when a client is made, never kept: new clients use a rotated file without a restart.
"""

from __future__ import annotations

import ipaddress
import logging
import ssl
from typing import TYPE_CHECKING, Any

from cxstream.kafka.oauth import provider
from cxstream.model.errors import SettingsError
from cxstream.settings.secrets import secret

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from cxstream.settings import Security

# The credentials that these send can be read on the network and used by others. SCRAM proves
# knowledge of the password without sending it.
_READABLE = ("PLAIN", "OAUTHBEARER")
# A log at `debug` contains whole requests and responses with tokens, passwords and records: these are removed.
_CLIENT_LOGS = ("aiokafka.conn", "aiokafka.producer.producer")
_SECRET_TYPES = ("SaslAuthenticate", "Fetch", "Produce")
_SECRET_TEXT = "Sending (key="  # noqa: S105 - the log text of a record that is sent


def tls(security: Security) -> ssl.SSLContext | None:
    """The TLS context of the settings; None if the protocol has no TLS.

    The broker's certificate and its host name are always checked.

    Raises:
        SettingsError: a PEM file is missing or invalid, or its passphrase is wrong.
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
        _present(context, security, security.cert_file)
    return context


def _present(context: ssl.SSLContext, security: Security, cert_file: Path) -> None:
    """Load the client's own certificate."""
    passphrase = secret(security, "key_password")
    asked = False

    def give() -> str:
        # Without one, OpenSSL would ask for it on the terminal.
        nonlocal asked
        asked = True
        if not passphrase:
            raise SettingsError(
                "security.key_file: encrypted; give its passphrase as security.key_password_file "
                "or CXSTREAM_SECURITY__KEY_PASSWORD"
            )
        return passphrase

    try:
        context.load_cert_chain(cert_file, security.key_file, password=give)
    except ssl.SSLError as error:
        # OpenSSL's error for a wrong passphrase depends on the cipher of the key.
        if asked:
            raise SettingsError("security.key_password: not the passphrase of security.key_file") from error
        raise _unreadable("cert_file", cert_file, error) from error
    except OSError as error:
        # The error does not say which of the two files is wrong.
        field = "key_file" if cert_file.is_file() else "cert_file"
        raise _unreadable(field, getattr(security, field), error) from error


def _unreadable(field: str, path: Path | None, error: OSError) -> SettingsError:
    return SettingsError(f"security.{field}: {path} cannot be used: {error.strerror or error}")


def is_loopback(host: str) -> bool:
    """Whether a name or address is this computer, without asking name servers."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def refuse_plaintext(security: Security, hosts: Iterable[str]) -> None:
    """Raise if a password or a token would go over the network in plain text.

    Args:
        security: the settings.
        hosts: where it would be sent.

    Raises:
        SettingsError: names the host, and what to do.
    """
    if security.protocol != "SASL_PLAINTEXT" or security.sasl_mechanism not in _READABLE:
        return
    far = next((host for host in hosts if not is_loopback(host)), None)
    if far is not None and not security.plaintext_credentials:
        raise SettingsError(
            f"security.protocol: SASL_PLAINTEXT would send the "
            f"{'password' if security.sasl_mechanism == 'PLAIN' else 'token'} of {security.sasl_mechanism} to {far} "
            "in plain text over the network: use SASL_SSL, or set security.plaintext_credentials "
            "where the network itself is encrypted"
        )


def sasl(security: Security) -> dict[str, Any]:
    """The SASL arguments of a Kafka client; none if the protocol has no SASL.

    Raises:
        SettingsError: a setting that the mechanism needs is missing, or a secret cannot be read.
    """
    if not security.protocol.startswith("SASL_"):
        return {}
    if security.sasl_mechanism == "OAUTHBEARER":
        return {"sasl_mechanism": "OAUTHBEARER", "sasl_oauth_token_provider": provider(security)}
    password = secret(security, "password")
    if not security.username or not password:
        raise SettingsError(
            f"security.username, security.password: {security.protocol} needs both; "
            "set CXSTREAM_SECURITY__USERNAME, and CXSTREAM_SECURITY__PASSWORD or security.password_file"
        )
    return {
        "sasl_mechanism": security.sasl_mechanism,
        "sasl_plain_username": security.username,
        "sasl_plain_password": password,
    }


def guard_logs() -> None:
    """Keep the Kafka client from logging secrets and records, at any level."""
    for name in _CLIENT_LOGS:
        logging.getLogger(name).addFilter(_tells_nothing)


def _tells_nothing(record: logging.LogRecord) -> bool:
    """A log filter: False for messages with credentials or records."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not (
        str(record.msg).startswith(_SECRET_TEXT)
        or any(type(argument).__name__.startswith(_SECRET_TYPES) for argument in arguments)
    )

"""Tokens for SASL/OAUTHBEARER: from a file that another program renews, or from a token endpoint.

A new connection asks for a token each time. The Kafka client does not authenticate again on an open
connection; a broker that requires it (connections.max.reauth.ms) closes it, and the next one sends a new token.
"""

from __future__ import annotations

import base64
import binascii
import json
import ssl
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import aiohttp
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError

from cxstream.model.errors import BrokerError, SettingsError
from cxstream.settings.secrets import read_secret, secret

if TYPE_CHECKING:
    from pathlib import Path

    from cxstream.settings import Security

_ANSWER_SECONDS = 15.0
# A token is renewed this long before it expires, or after this share of its lifetime if that is short.
_SPARE_SECONDS = 30.0
_LIFE_USED = 0.8
# RFC 6749 lets the endpoint leave the lifetime out.
_UNSTATED_SECONDS = 60.0
_SAID = 200


class TokenError(BrokerError, KafkaConnectionError):  # type: ignore[misc]
    """There is no token; the Kafka client treats it as a failed connection, and tries again."""

    __str__ = Exception.__str__


class TokenFile(AbstractTokenProvider):  # type: ignore[misc]
    """The token in a file, read again for each connection: Kubernetes and others replace it before it expires."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def token(self) -> str:
        """The token.

        Raises:
            TokenError: there is none in the file, or it has expired.
        """
        try:
            token = read_secret(self._path, "security.token_file")
        except SettingsError as error:
            raise TokenError(str(error)) from error
        if end := ended(token):
            raise TokenError(f"security.token_file: the token in {self._path} {end}; have it renewed")
        return token


class ClientCredentials(AbstractTokenProvider):  # type: ignore[misc]
    """Tokens of a token endpoint, kept while they are valid (RFC 6749, section 4.4).

    Raises:
        SettingsError: `client_id` or `client_secret` is missing, or a file cannot be read.
    """

    def __init__(self, security: Security) -> None:
        if not security.client_id or not secret(security, "client_secret"):
            raise SettingsError(
                "security.client_id, security.client_secret: security.token_url needs both; the secret may be "
                "CXSTREAM_SECURITY__CLIENT_SECRET or a file, security.client_secret_file"
            )
        self._security = security
        self._url = str(security.token_url)
        self._kept = ""
        self._renew_at = 0.0

    async def token(self) -> str:
        """The token, from the endpoint if the last one expires soon.

        Raises:
            TokenError: the endpoint does not give one.
        """
        if time.monotonic() >= self._renew_at:
            asked = time.monotonic()
            answer = await self._ask()
            life = _seconds(answer.get("expires_in"))
            self._kept = answer["access_token"]
            self._renew_at = asked + max(life - _SPARE_SECONDS, life * _LIFE_USED)
        return self._kept

    async def _ask(self) -> dict[str, Any]:
        form = {"grant_type": "client_credentials"} | (
            {"scope": self._security.scope} if self._security.scope else {}
        )
        # Only to this computer may the secret be sent in plain text, and then never through a proxy.
        proxied = self._url.startswith("https://")
        try:
            # Encoded as a form before it is encoded for HTTP: RFC 6749, section 2.3.1.
            names = (self._security.client_id, secret(self._security, "client_secret"))
            who = base64.b64encode(":".join(quote_plus(name or "") for name in names).encode()).decode()
            timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=proxied) as session,
                session.post(
                    self._url,
                    data=form,
                    headers={"Authorization": f"Basic {who}"},
                    ssl=self._trust(),
                    allow_redirects=False,
                ) as response,
            ):
                return self._read(response.status, await response.read())
        except TimeoutError as error:
            raise self._refused(f"no answer within {_ANSWER_SECONDS:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._refused(str(error)) from error
        except SettingsError as error:
            raise TokenError(str(error)) from error

    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._security.ca_file)

    def _read(self, status: int, body: bytes) -> dict[str, Any]:
        """The endpoint's response; its error text may be shown, a token never."""
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._refused(f"status {status}, and a response that is not a JSON object")
        granted = answer.get("access_token")
        if status != 200 or not isinstance(granted, str) or not granted:  # noqa: PLR2004
            said = " ".join(str(answer[name]) for name in ("error", "error_description") if answer.get(name))
            raise self._refused(f"status {status}: {said[:_SAID] or 'no access_token'}")
        return answer

    def _refused(self, why: str) -> TokenError:
        return TokenError(
            f"no token from {self._url}: {why}; check security.token_url, client_id, client_secret and scope"
        )


def _seconds(expires_in: object) -> float:
    try:
        return max(0.0, float(str(expires_in)))
    except ValueError:
        return _UNSTATED_SECONDS


@lru_cache(maxsize=8)
def _of_endpoint(security: Security) -> ClientCredentials:
    """One for all clients of the process, so that they share its token."""
    return ClientCredentials(security)


def provider(security: Security) -> AbstractTokenProvider:
    """The source of the tokens.

    Raises:
        SettingsError: neither a file nor an endpoint is set, or both are.
    """
    if bool(security.token_file) == bool(security.token_url):
        raise SettingsError(
            "security.token_file, security.token_url: OAUTHBEARER needs one of them, a file with the token or "
            "the endpoint to get it from"
        )
    if security.token_file:
        return TokenFile(security.token_file)
    return _of_endpoint(security)


def ended(token: str) -> str:
    """When a token expired, in words; "" if it has not, or is not a JWT with a time. Nothing else is checked."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        end = datetime.fromtimestamp(float(claims["exp"]), UTC)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, OSError, binascii.Error):
        return ""
    return f"ended at {end:%Y-%m-%d %H:%M:%S} UTC" if end.timestamp() < time.time() else ""

"""Asks a worker's web server."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cxstream.kafka.credentials import is_loopback
from cxstream.model.errors import SettingsError
from cxstream.settings.secrets import secret
from cxstream.worker_client import local_socket

if TYPE_CHECKING:
    from pathlib import Path

    from cxstream.settings import Worker

_SECONDS = 5.0
_MOST_BYTES = 64 * 1024 * 1024


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A worker sends nobody elsewhere: neither a token nor a customer's id follows."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none."""


# A worker is asked directly: a proxy of the environment has no business with a customer's id.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, *, own_folder: bool) -> None:
        super().__init__("localhost", timeout=_SECONDS)
        self._path = path
        self._own_folder = own_folder

    def connect(self) -> None:
        self.sock = local_socket.connect(self._path, _SECONDS, own_folder=self._own_folder)


def get(url: str, token: str | None = None) -> tuple[int, dict[str, Any]]:
    """Status of an answer, and the JSON object in it.

    Args:
        url: an http address.
        token: sent along, where there is one.

    Raises:
        OSError: nothing answers.
        ValueError: it is no address, or what answers says something else than a JSON object.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with _answer(urllib.request.Request(url, headers=headers)) as answer:  # noqa: S310 - callers allow http alone
            return answer.status, _object(answer.status, answer.read(_MOST_BYTES))
    except http.client.HTTPException as problem:
        raise ValueError(str(problem) or type(problem).__name__) from problem


def get_private(worker: Worker, address: str, page: str) -> tuple[int, dict[str, Any]]:
    """As `get`, for a page that shows customers: over the Unix socket of a worker of ours here, else with the token.

    Args:
        worker: has the token, and where the socket is.
        address: http or https, of the worker's web server.
        page: path, quoted.

    Raises:
        OSError: nothing answers.
        ValueError: as for `get`.
        SettingsError: the token cannot be read, or would go over the network in plain text.
    """
    parts = urlsplit(address)
    here = parts.scheme == "http" and is_loopback(parts.hostname or "")
    if here:
        path = worker.web_socket or local_socket.place(parts.port or 80)
        try:
            return _over_socket(path, page, own_folder=worker.web_socket is None)
        except OSError:
            pass  # no worker of this user: the token is what is left
    token = secret(worker, "web_token", "worker")
    if token and not here and parts.scheme != "https":
        raise SettingsError(
            f"the token of worker.web_token is not sent to {parts.hostname} in plain text: run this on the worker's "
            "computer, or ask through https"
        )
    return get(f"{address}{page}", token)


def _over_socket(path: Path, page: str, *, own_folder: bool) -> tuple[int, dict[str, Any]]:
    connection = _UnixConnection(path, own_folder=own_folder)
    try:
        connection.request("GET", page)
        answer = connection.getresponse()
        return answer.status, _object(answer.status, answer.read(_MOST_BYTES))
    except http.client.HTTPException as problem:
        raise ValueError(str(problem) or type(problem).__name__) from problem
    finally:
        connection.close()


def _object(status: int, body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"status {status}, and what answers is no cxstream worker")  # noqa: TRY004 - an answer's value
    return found


def _answer(request: urllib.request.Request) -> Any:
    try:
        return _opener.open(request, timeout=_SECONDS)
    except urllib.error.HTTPError as problem:
        return problem

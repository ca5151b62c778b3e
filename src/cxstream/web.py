"""Asks a worker's web server."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

_SECONDS = 5.0
# A worker is asked directly: a proxy of the environment has no business with a customer's id.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str) -> tuple[int, dict[str, Any]]:
    """Status of an answer, and the JSON object in it.

    Args:
        url: an http address.

    Raises:
        OSError: nothing answers.
        ValueError: it is no address, or what answers says something else than a JSON object.
    """
    try:
        with _answer(url) as answer:
            status, body = answer.status, answer.read()
    except http.client.HTTPException as problem:
        raise ValueError(str(problem) or type(problem).__name__) from problem
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"status {status}, and what answers is no cxstream worker")  # noqa: TRY004 - an answer's value
    return status, found


def _answer(url: str) -> Any:
    try:
        return _opener.open(url, timeout=_SECONDS)
    except urllib.error.HTTPError as problem:
        return problem

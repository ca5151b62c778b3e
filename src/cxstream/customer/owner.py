"""What the worker that owns a customer holds now: asked of the worker, or the group is asked who that is."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.groups import group_of
from cxstream.model.errors import InputError
from cxstream.topics import administration

if TYPE_CHECKING:
    from cxstream.customer.identity import Identity
    from cxstream.settings import Settings

_SECONDS = 5.0
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking.

    Attributes:
        held: what the worker holds, as its web page says it; None where it was not had.
        said: in words, why not.
    """

    held: dict[str, Any] | None
    said: str = ""


async def ask(settings: Settings, who: Identity, worker: str | None) -> Answer:
    """Ask a worker for a customer.

    Args:
        settings: where a worker is by default, and the group.
        who: the customer.
        worker: address of its web server; None: that of the settings.
    """
    address = (worker or f"http://{settings.worker.web_host}:{settings.worker.web_port}").rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise InputError(f"--worker {address}: write http://HOST:PORT")
    try:
        status, found = await asyncio.to_thread(
            _get, f"{address}/customers/{urllib.parse.quote(who.subject, safe='')}"
        )
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        reason = getattr(error, "reason", None) or error
        return Answer(None, f"no worker answers at {address} ({reason}); {await _owner(settings, who)}")
    if status != _NOT_FOUND:
        return Answer(found)
    if who.partition in found["owned"]:
        return Answer(None, f"the worker at {address} owns partition {who.partition}, and does not know him")
    return Answer(
        None, f"the worker at {address} does not own partition {who.partition}; {await _owner(settings, who)}"
    )


def _get(url: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:  # noqa: S310 - http is what was checked
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        if error.code != _NOT_FOUND:
            raise
        status, body = error.code, error.read()
    found = msgspec.json.decode(body)
    if not isinstance(found, dict) or "owned" not in found:
        raise ValueError("what answers is no cxstream worker")
    return status, found


async def _owner(settings: Settings, who: Identity) -> str:
    async with administration(settings) as admin:
        group = await group_of(admin, settings.worker.group)
    owner = group.owner(who.partition)
    if owner is None:
        return f"partition {who.partition} is owned by nobody: group {settings.worker.group} is {group.state or 'gone'}"
    return f"partition {who.partition} is owned by {owner}: ask it with --worker http://{owner.host}:PORT"

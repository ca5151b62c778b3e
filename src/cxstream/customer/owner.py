"""The state of a customer in the worker that owns the partition, or else the name of that worker."""

from __future__ import annotations

import asyncio
import urllib.parse
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError

from cxstream.kafka.admin import administration
from cxstream.kafka.groups import group_of
from cxstream.model.errors import BrokerError, InputError
from cxstream.worker_client.http import get_private

if TYPE_CHECKING:
    from cxstream.customer.identity import Identity
    from cxstream.settings import Settings

_THERE = "run this there, with --worker http://127.0.0.1:PORT"
_RIGHT = f"as the worker's user {_THERE}, or set worker.web_token_file here as it is set there"


@dataclass(frozen=True, slots=True)
class Answer:
    """The response of a worker.

    Attributes:
        held: the state, as on the worker's web page; None if there was no response.
        said: why there was none, in words.
    """

    held: dict[str, Any] | None
    said: str = ""


async def ask(settings: Settings, who: Identity, worker: str | None) -> Answer:
    """Ask a worker for a customer.

    Args:
        settings: where a worker is by default, and the group.
        who: the customer.
        worker: address of its web server; None: that of the settings.

    Raises:
        InputError: the address is invalid.
        SettingsError: the token cannot be read, or would go over the network in plain text.
    """
    address = (worker or f"http://{settings.worker.web_host}:{settings.worker.web_port}").rstrip("/")
    if not address.startswith(("http://", "https://")):
        raise InputError(f"--worker {address}: write http://HOST:PORT")
    try:
        status, found = await asyncio.to_thread(
            get_private, settings.worker, address, f"/customers/{urllib.parse.quote(who.subject, safe='')}"
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return Answer(None, f"no worker answers at {address} ({reason}); {await _owner(settings, who)}")
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST}:
        return Answer(None, f"the worker at {address} does not tell us of customers: {_RIGHT}")
    if "owned" not in found:
        return Answer(None, f"what answers at {address} is no cxstream worker; {await _owner(settings, who)}")
    if status == HTTPStatus.OK:
        return Answer(found)
    if who.partition in found["owned"]:
        return Answer(
            None, f"the worker at {address} owns partition {who.partition}, and does not know the customer"
        )
    return Answer(
        None, f"the worker at {address} does not own partition {who.partition}; {await _owner(settings, who)}"
    )


async def _owner(settings: Settings, who: Identity) -> str:
    partition, name = who.partition, settings.worker.group
    try:
        async with administration(settings) as admin:
            group = await group_of(admin, name, settings.topology.touchpoints.name)
    except (BrokerError, KafkaError) as error:
        return f"who owns partition {partition} is not known: group {name}: {error}"
    owner = group.owner(partition)
    if owner is None:
        return f"partition {partition} is owned by nobody: group {name} is {group.state or 'gone'}"
    return f"partition {partition} is owned by {owner}: {_THERE}"

"""Who looked at whom in the console, and who did what: in the log, and in cx.audit where Kafka is named.

The log has each entry first. cx.audit has it as `cx.audit.v1`, keyed by the person.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final, Literal

import msgspec
import structlog

from cxstream.console.outlet import Outlet
from cxstream.console.page import customer_of
from cxstream.console.people import NOBODY, known_as
from cxstream.model.rfc3339 import rfc3339
from cxstream.model.work import Audit, AuditData

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

    from cxstream.console.delivery import Delivery
    from cxstream.console.desk import Wish
    from cxstream.console.people import Person
    from cxstream.settings import Settings

Action = Literal[
    "looked", "assigned", "snoozed", "noted", "acted", "erased", "resent", "made_client", "revoked_client"
]
ACTIONS: Final[Mapping[str, Action]] = {
    "assign": "assigned",
    "snooze": "snoozed",
    "note": "noted",
    "act": "acted",
    "outcome": "acted",
    "erase": "erased",
}
"""The action of the record, of what can be done."""

_audit = structlog.get_logger("cxstream.console.audit")


class AuditLog:
    """Keeps the entries.

    Args:
        delivery: to cx.audit; None: the entries are only logged.
    """

    def __init__(self, delivery: Delivery | None) -> None:
        self._delivery = delivery

    def start(self) -> None:
        """Begin to deliver; needs a running event loop."""
        if self._delivery is not None:
            self._delivery.start()

    async def close(self) -> None:
        """Deliver what waits, within the limit of the delivery."""
        if self._delivery is not None:
            await self._delivery.close()

    def looked(self, person: Person, request: Request) -> None:
        """Somebody asked for a page that may name customers."""
        path, query = request.url.path, request.url.query
        # The queue shows the customer of a parameter beside the others.
        customer = customer_of(request) or request.query_params.get("customer", "")
        _audit.info("looked", person=known_as(person), role=person.role, path=path, query=query)
        self._send(person, AuditData("looked", person.role, customer or None, path, query))

    def did(self, person: Person, request: Request, wish: Wish, number: str) -> None:
        """Somebody did something about a customer.

        Args:
            person: who.
            request: by which.
            wish: what, which has been done.
            number: id of the record that says it.
        """
        _audit.info(
            "did",
            person=known_as(person),
            role=person.role,
            customer=wish.customer,
            what=wish.do,
            id=number,
        )
        action = ACTIONS[wish.do]
        self._send(person, AuditData(action, person.role, wish.customer, request.url.path, ""))

    def resent(self, person: Person, request: Request, of: str) -> None:
        """Somebody had rejected records sent again: a place, or a reason and field."""
        _audit.info("resent", person=known_as(person), role=person.role, of=of)
        self._send(person, AuditData("resent", person.role, None, request.url.path, of))

    def _send(self, person: Person, data: AuditData) -> None:
        if self._delivery is None:
            return
        self._delivery.add(known_as(person), _event(person, data))


async def tell_of_client(settings: Settings, action: Action, client: str, role: str) -> None:
    """Audit what the user of this computer does about the token of a program; returns once Kafka has it, where one is named.

    Raises:
        BrokerError: Kafka did not confirm it.
        TopicError: cx.audit is missing.
    """
    _audit.info(action, person=known_as(NOBODY), client=client, role=role)
    if "kafka" not in settings.model_fields_set:
        return
    outlet = Outlet(settings, settings.topology.audit)
    value = _event(NOBODY, AuditData(action, role, None, client, ""))
    try:
        await outlet.send(known_as(NOBODY), known_as(NOBODY).encode(), value)
    finally:
        await outlet.close()


def _event(person: Person, data: AuditData) -> bytes:
    now = rfc3339(round(time.time() * 1000))
    return msgspec.json.encode(Audit(id=secrets.token_hex(16), subject=known_as(person), time=now, data=data))

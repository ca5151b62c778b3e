"""How far the erasure of a customer has come, as the read model and the desk know it.

asked for, and the read model still has the customer  -> requested
the read model has a receipt, and the customer no more      -> done
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.console.people import Role
from cxstream.scoring.state.erasures import digest

if TYPE_CHECKING:
    from datetime import datetime

    from cxstream.console.page import Ask

_ERASED = "SELECT max(time) AS time FROM erasures WHERE digest = $digest"


async def erased_at(ask: Ask) -> datetime | None:
    """When the last erasure of the customer was asked for that has been done, UTC; None if there is none.

    Only an administrator is told: others see that nobody of this id is there.
    """
    if ask.person.rank < Role.admin:
        return None
    return await _settled(ask, ask.customer)


async def is_asked(ask: Ask, customer: str) -> bool:
    """Whether the erasure of a customer was asked for and is not done yet: nothing is done about them any more."""
    if ask.desk is None or ask.desk.erasure_of(customer) is None:
        return False
    await _settled(ask, customer)
    return ask.desk.erasure_of(customer) is not None


async def _settled(ask: Ask, customer: str) -> datetime | None:
    """When the last erasure that has been done was asked for; what was asked for here by then is settled."""
    (found,) = await ask.reader.sql(_ERASED, {"digest": digest(customer)})
    time: datetime | None = found["time"]
    asked = ask.desk.erasure_of(customer) if ask.desk is not None else None
    if ask.desk is not None and asked is not None and time is not None and asked.time <= time:
        ask.desk.settle_erasure(customer)
    return time


async def offered(ask: Ask) -> dict[str, Any] | None:
    """What the page of a customer shows of their erasure; None where it can neither be asked for nor was."""
    desk = ask.desk
    if ask.person.rank < Role.admin or desk is None or not desk.is_open:
        return None
    if not desk.takes_touchpoints(ask.customer):
        return None
    await erased_at(ask)
    return {"asked": desk.erasure_of(ask.customer)}

"""How far the erasure of a customer has come, as the read model and the desk know it.

asked for here, and the read model still has the customer  -> requested
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
    (found,) = await ask.reader.sql(_ERASED, {"digest": digest(ask.customer)})
    if found["time"] is not None and ask.desk is not None:
        asked = ask.desk.erasure_of(ask.customer)
        if asked is not None and asked.time <= found["time"]:
            ask.desk.settle_erasure(ask.customer)
    time: datetime | None = found["time"]
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

"""What is known of the work on customers: of the read model, and what was sent and is not back yet."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cxstream.console import arms, desk, erasing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row

_ITEMS = "SELECT * FROM work_items WHERE customer IN (SELECT unnest($customers::VARCHAR[])) ORDER BY time DESC, item"
_SENT = """
SELECT t.id, c.customer, t.time, t.kind, t.action FROM touchpoints t JOIN customers c USING (customer_id)
WHERE c.customer IN (SELECT unnest($customers::VARCHAR[])) AND kind IN ('action_taken', 'won_back', 'churned')"""
_HELD = f"""
WITH those AS (
    SELECT customer_id, c.customer, announced AS level FROM customers c LEFT JOIN cards USING (customer_id)
    WHERE c.customer IN (SELECT unnest($customers::VARCHAR[]))
), {arms.HELD}
SELECT customer FROM held"""
_ASSIGNEES = """
SELECT assignee FROM work_items WHERE item = 'assignment' AND assignee IS NOT NULL
GROUP BY assignee ORDER BY max(time) DESC, assignee LIMIT $limit"""
_NOTES = 10
_PEOPLE = 50


@dataclass(slots=True)
class Worked:
    """The work on a customer.

    Attributes:
        assignee: who looks after them; None for nobody.
        until: when they wait again, UTC; None if they wait now.
        notes: rows of `work_items`, the newest first.
        pending: actions and outcomes that were sent and are not in the read model yet.
        is_holdout: they are held out: nothing is done, so that the effect of actions can be measured.
    """

    assignee: str | None = None
    until: datetime | None = None
    notes: list[Row] = field(default_factory=list)
    pending: list[Row] = field(default_factory=list)
    is_holdout: bool = False

    @property
    def note(self) -> str:
        """The last note; "" for none."""
        return str(self.notes[0]["text"]) if self.notes else ""


def now() -> datetime:
    """The time by the clock, UTC without a zone: snoozes end by it."""
    return datetime.now(UTC).replace(tzinfo=None, second=0, microsecond=0)


async def of(ask: Ask, customers: Sequence[str]) -> dict[str, Worked]:
    """The work on some customers.

    Args:
        ask: of the page.
        customers: their names.
    """
    values = {"customers": list(customers)}
    items, sent = await ask.reader.sql(_ITEMS, values), await ask.reader.sql(_SENT, values)
    held = {row["customer"] for row in await ask.reader.sql(_HELD, {**values, **await arms.values(ask)})}
    found = {}
    for customer in customers:
        mine = {row["item"]: row for row in items if row["customer"] == customer}
        touched = [row for row in sent if row["customer"] == customer]
        found[customer] = one = Worked(is_holdout=customer in held)
        for each in ask.desk.of(customer) if ask.desk else ():
            _overlay(mine, {row["id"] for row in touched}, each, one)
        _fill(one, mine)
    return found


def _overlay(mine: dict[str, Row], there: set[str], done: desk.Done, one: Worked) -> None:
    if not done.item:
        if done.id not in there:
            one.pending.append(done.row)
        return
    known = mine.get(done.item)
    if known is None or known["time"] < done.time:
        mine[done.item] = done.row


def _fill(one: Worked, mine: dict[str, Row]) -> None:
    one.assignee = mine.get("assignment", {}).get("assignee")
    until = mine.get("snooze", {}).get("until")
    one.until = until if until is not None and until > now() else None
    notes = [row for item, row in mine.items() if item.startswith("note-")]
    one.notes = sorted(notes, key=lambda row: row["time"], reverse=True)[:_NOTES]


async def _people(ask: Ask) -> list[str]:
    """Who can be assigned: agents who may sign in, and those who were assigned lately; by name, without who looks."""
    if not ask.desk or not ask.desk.is_open:
        return []
    lately = await ask.reader.sql(_ASSIGNEES, {"limit": _PEOPLE})
    found = {row["assignee"] for row in (*lately, *ask.sent) if row["assignee"]}
    return sorted((found | ask.desk.agents()) - {ask.worker}, key=str.casefold)


async def choices(ask: Ask, customer: str, worked: Worked) -> dict[str, Any]:
    """What the forms of a customer offer."""
    bench = ask.desk
    return {
        "customer": customer,
        "is_open": bool(bench and bench.is_open),
        "is_erasing": await erasing.is_asked(ask, customer),
        "takes_actions": bool(bench and bench.takes_touchpoints(customer)) and not worked.is_holdout,
        "me": ask.worker,
        "people": [name for name in await _people(ask) if name != worked.assignee],
        "actions": [(code, ask.label("action", code)) for code in (bench.actions if bench else ())],
        "outcomes": [(code, ask.label("kind", code)) for code in desk.OUTCOMES],
        "snoozes": [
            (code, ask.language.ngettext("{n} day", "{n} days", days)) for code, days in desk.SNOOZES.items()
        ],
        "key": secrets.token_hex(16),
        "next": ask.request.url.path + (f"?{ask.request.url.query}" if ask.request.url.query else ""),
    }

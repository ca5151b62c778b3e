"""What people do about a customer: it goes to Kafka, and the read model brings it back.

    assign, snooze, note -> cx.work          cx.work.v1, key CUSTOMER/ITEM
    act, outcome         -> cx.touchpoints   action_taken, won_back, churned
    erase                -> cx.forget        cx.forget.v1

The id of each follows from the request and from what it asks: a double click or a retry is the same record, and counts once. Until
the read model has it, it is shown from memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, get_args
from weakref import WeakValueDictionary

import msgspec
from starlette.exceptions import HTTPException

from cxstream.console.outlet import Outlet
from cxstream.model.errors import InputError
from cxstream.model.forget import erasure_request
from cxstream.model.rfc3339 import rfc3339
from cxstream.model.work import CONSOLE, MAX_NOTE, NOTE, Work, WorkData, work_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from cxstream.settings import Settings

Do = Literal["assign", "snooze", "note", "act", "outcome"]
OUTCOMES = ("won_back", "churned")
SNOOZES = {"1": 1, "3": 3, "7": 7}
"""Days that a customer may wait."""

_REMEMBERED = 2000
OF_ANOTHER_TIME = timedelta(days=7)
"""Behind by more than this, the data are of another time: simulated, or replayed."""
_MAX_NAME, _PSEUDONYM = 128, 64


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody wants to be done.

    Attributes:
        customer: by their name in the read model.
        do: what; "erase" to have them erased.
        value: whom to assign, days of a snooze, the action or the outcome; "" for nobody, or for no longer.
        text: of a note.
        key: of the request: with the same key the same wish counts once.
        signal: id of the last churn-risk signal of the customer; None without one.
        by: who wants it.
        last: time of the last touchpoint of the read model, UTC without a zone; None if that does not matter.
    """

    customer: str
    do: str
    value: str
    text: str
    key: str
    signal: str | None
    by: str
    last: datetime | None = None

    @property
    def id(self) -> str:
        """The id of the record that follows."""
        parts = (self.by, self.key, self.customer, self.do, self.value, self.text)
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Done:
    """Something that was sent, as the read model will have it.

    Attributes:
        customer: whom it is about.
        item: of cx.work; "" for a touchpoint.
        id: of the record.
        time: when, UTC without a zone.
        row: columns of `work_items`, or kind and action.
    """

    customer: str
    item: str
    id: str
    time: datetime
    row: dict[str, Any]


class Desk:
    """Where work on customers is done.

    Attributes:
        version: changes with what was done here and may not be in the read model yet.
        erasures: how many erasures it was told of.

    Args:
        settings: of the installation.
        agents: names of those who may work on customers and are known.
    """

    def __init__(self, settings: Settings, agents: Callable[[], set[str]] = set) -> None:
        self._settings = settings
        self.agents = agents
        self._work = Outlet(settings, settings.topology.work)
        self._touchpoints = Outlet(settings, settings.topology.touchpoints)
        self._forget = Outlet(settings, settings.topology.forget)
        self._done: OrderedDict[str, Done] = OrderedDict()
        self._erasures: OrderedDict[str, Done] = OrderedDict()
        self.version = self.erasures = 0
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # Somebody must have said where Kafka is: a file of another company is shown on a computer with a broker, too.
        self.is_open = "kafka" in settings.model_fields_set
        # Only who has the key of the pseudonyms knows whose touchpoint it would be.
        self.has_names = settings.privacy.key is None
        self.actions = tuple(dict.fromkeys((*settings.actions.values(), "call_back", "send_voucher")))

    async def close(self) -> None:
        """Close the producers."""
        await self._work.close()
        await self._touchpoints.close()
        await self._forget.close()

    def takes_touchpoints(self, customer: str) -> bool:
        """Whether actions on a customer can be recorded, and their erasure be asked for."""
        return self.has_names and not is_pseudonym(customer)

    def items(self) -> list[dict[str, Any]]:
        """Assignments, snoozes and actions that were sent from here; the read model may have them already."""
        return [
            {
                "customer": each.customer,
                "item": each.item or "action",
                **{name: each.row.get(name) for name in ("assignee", "until", "action")},
                "time": each.time,
            }
            for each in self._done.values()
            if each.item in {"assignment", "snooze"} or each.row.get("action")
        ]

    def of(self, customer: str) -> list[Done]:
        """What was done here about a customer, in order."""
        return [each for each in self._done.values() if each.customer == customer]

    def erasure_of(self, customer: str) -> Done | None:
        """The erasure that was asked for, here or elsewhere; None if none is known, or it was settled."""
        return self._erasures.get(customer)

    def settle_erasure(self, customer: str) -> None:
        """Forget that an erasure was asked for: the customer has been erased."""
        self._erasures.pop(customer, None)

    async def erase(self, wish: Wish) -> str:
        """Ask for the erasure of a customer, and wait until Kafka has confirmed it; returns the id of the request.

        What was done about them here is forgotten at once, and nothing more is done: a touchpoint behind the request would
        begin a new customer.

        Raises:
            InputError: it cannot be asked for.
            BrokerError: Kafka did not confirm it.
            TopicError: cx.forget is missing.
        """
        self._check(wish)
        if not self.takes_touchpoints(wish.customer):
            raise InputError("the read model has pseudonyms: erase where the customer ids are known")
        async with self._alone(wish.customer):
            return await self._ask_for_erasure(wish)

    async def _ask_for_erasure(self, wish: Wish) -> str:
        asked = self._erasures.get(wish.customer)
        if asked is not None:
            return asked.id
        now_ms = round(time.time() * 1000)
        value = erasure_request(wish.id, CONSOLE, wish.customer, rfc3339(now_ms))
        await self._forget.send(wish.customer, wish.customer.encode(), value)
        now = datetime.fromtimestamp(now_ms / 1000, UTC).replace(tzinfo=None)
        self._remember_erasure(Done(wish.customer, "", wish.id, now, {"by": wish.by}))
        return wish.id

    def told_of_erasure(self, customer: str, number: str, time: datetime) -> None:
        """Somebody asked elsewhere for the erasure of a customer.

        Args:
            customer: by their id.
            number: id of the request.
            time: when, UTC without a zone.
        """
        known = self._erasures.get(customer)
        if self.has_names and (known is None or known.time < time):
            self._remember_erasure(Done(customer, "", number, time, {"by": ""}))

    def _remember_erasure(self, asked: Done) -> None:
        self._erasures[asked.customer] = asked
        while len(self._erasures) > _REMEMBERED:
            self._erasures.popitem(last=False)
        for number in [each.id for each in self.of(asked.customer)]:
            del self._done[number]
        self.version += 1
        self.erasures += 1

    def _check(self, wish: Wish) -> None:
        if not self.is_open:
            raise InputError("no Kafka is named: start 'cxstream serve' with --kafka HOST:PORT")
        if not wish.key:
            raise InputError("name the request by an Idempotency-Key, or send the form again")

    async def do(self, wish: Wish) -> str:
        """Do it, and wait until Kafka has confirmed it; returns the id of the record.

        Raises:
            InputError: it cannot be wished for.
            HTTPException: 409 where the erasure of the customer was asked for.
            BrokerError: Kafka did not confirm it.
            TopicError: a topic is missing.
        """
        self._check(wish)
        if wish.do not in get_args(Do):
            raise InputError(f"do={wish.do}: is none of {', '.join(get_args(Do))}")
        async with self._alone(wish.customer):
            return await self._do(wish)

    def _alone(self, customer: str) -> asyncio.Lock:
        """One thing at a time for each customer: nothing is on its way while an erasure is asked for."""
        return self._locks.setdefault(customer, asyncio.Lock())

    async def _do(self, wish: Wish) -> str:
        if wish.customer in self._erasures:
            raise HTTPException(
                409, "the erasure of this customer has been asked for: nothing is done about them any more"
            )
        if wish.id in self._done:
            return wish.id
        now = datetime.fromtimestamp(round(time.time(), 3), UTC).replace(tzinfo=None)
        if wish.do in {"act", "outcome"}:
            # A touchpoint of today would move the clock beyond everything else, which would be too late from then on.
            if wish.last is not None and now - wish.last > OF_ANOTHER_TIME:
                now = wish.last
            row = await self._record(wish, _ms(now))
            item = ""
        else:
            item, data = _work(wish, now)
            event = Work(id=wish.id, subject=wish.customer, time=rfc3339(_ms(now)), data=data)
            await self._work.send(wish.customer, work_key(wish.customer, item), msgspec.json.encode(event))
            until = None if data.until is None else datetime.fromisoformat(data.until).replace(tzinfo=None)
            row = {**msgspec.structs.asdict(data), "until": until, "item": item}
        self._done[wish.id] = Done(wish.customer, item, wish.id, now, {**row, "id": wish.id, "time": now})
        while len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)
        self.version += 1
        return wish.id

    async def _record(self, wish: Wish, now_ms: int) -> dict[str, Any]:
        if not self.takes_touchpoints(wish.customer):
            raise InputError(
                "the read model has pseudonyms: actions are recorded where the customer ids are known"
            )
        known = self.actions if wish.do == "act" else OUTCOMES
        if wish.value not in known:
            raise InputError(f"value={wish.value}: is none of {', '.join(known)}")
        kind = "action_taken" if wish.do == "act" else wish.value
        said = {"action": wish.value, "arm": "treated"} if wish.do == "act" else {}
        about = {"action_id": wish.signal} if wish.signal else {}
        event = {
            "specversion": "1.0",
            "id": wish.id,
            "source": CONSOLE,
            "type": f"cx.touchpoint.{kind}.v1",
            "subject": wish.customer,
            "time": rfc3339(now_ms),
            "data": {"channel": "crm", **said, **about},
        }
        await self._touchpoints.send(wish.customer, wish.customer.encode(), msgspec.json.encode(event))
        return {"kind": kind, "action": said.get("action"), "by": wish.by}


def _ms(time: datetime) -> int:
    return round(time.replace(tzinfo=UTC).timestamp() * 1000)


def is_pseudonym(customer: str) -> bool:
    """Whether a name looks like those that `privacy.key` makes."""
    return len(customer) == _PSEUDONYM and not customer.strip("0123456789abcdef")


def _work(wish: Wish, now: datetime) -> tuple[str, WorkData]:
    """The item and what is said of it."""
    if wish.do == "assign":
        if len(wish.value) > _MAX_NAME or not wish.value.isprintable():
            raise InputError("value: is no name of a person")
        return "assignment", WorkData("assignment", wish.by, assignee=wish.value or None)
    if wish.do == "snooze":
        if wish.value and wish.value not in SNOOZES:
            raise InputError(f"value={wish.value}: is none of {', '.join(SNOOZES)}; nothing ends the snooze")
        until = now + timedelta(days=SNOOZES[wish.value]) if wish.value else None
        said = None if until is None else f"{until.isoformat(timespec='milliseconds')}Z"
        return "snooze", WorkData("snooze", wish.by, until=said)
    text = wish.text.replace("\r\n", "\n").strip()
    if not text or len(text) > MAX_NOTE or not text.replace("\n", "").isprintable():
        raise InputError(f"text: a note has 1 to {MAX_NOTE:,} printable characters")
    return f"{NOTE}-{wish.id}", WorkData("note", wish.by, text=text)

"""The rules of scoring, read out slowly.

One partition, one event at a time, on dicts and lists, each rule as close to its sentence in the scoring document as
Python allows. Nothing here is fast or clever: it is what the kernels are held against. Sums may differ from theirs
in the last bits; everything else is equal.

    feed: misrouted? -> future? -> erased? -> duplicate? -> too late? -> sweeps of the days crossed -> apply -> friction -> churn risk
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import Counter, deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cxstream.model.enumerations import LEVELS, SWITCH_CHANNELS
from cxstream.model.kinds import (
    BY_TYPE,
    FORGET_TYPE,
    RULES_TYPE,
    TICK_TYPE,
    Kind,
)
from cxstream.model.parameters import DAY_MS, HOUR_MS, MINUTE_MS, OwnKind, ScoringParams
from cxstream.text.model import TextModel

Event = dict[str, Any]
Signal = dict[str, Any]

CONTROL_TYPES = {TICK_TYPE, FORGET_TYPE, RULES_TYPE}
# Rules that are remembered for the cards of customers who have not met the new ones.
RULES_KEPT = 16
REMEMBERED_IDS = 32
REMEMBERED_CONTACTS = 4
OPEN_COMPLAINTS = 8
TOUCH_SPANS = (1, 7, 30, 90)
YEAR_DAYS = 365.25
MOST_MONEY = 1e18
OWN_NAMED = 3

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_ms(text: str) -> int:
    """Milliseconds UTC of an RFC 3339 time; finer digits are cut off."""
    return (datetime.fromisoformat(text.upper()) - _EPOCH) // timedelta(milliseconds=1)


def pane_of(time: int) -> int:
    """The day that a time (ms UTC) lies in."""
    return time // DAY_MS


def home_of(subject: str, partitions: int) -> int:
    """The partition of a customer, as Java's default partitioner has it: murmur2 of the key, without its sign."""
    key, mask = subject.encode(), 0xFFFFFFFF
    h = 0x9747B28C ^ len(key)
    for at in range(0, len(key) - 3, 4):
        word = int.from_bytes(key[at : at + 4], "little") * 0x5BD1E995 & mask
        h = (h * 0x5BD1E995 & mask) ^ ((word ^ word >> 24) * 0x5BD1E995 & mask)
    if rest := key[len(key) // 4 * 4 :]:
        h = (h ^ int.from_bytes(rest, "little")) * 0x5BD1E995 & mask
    h = (h ^ h >> 13) * 0x5BD1E995 & mask
    return ((h ^ h >> 15) & 0x7FFFFFFF) % partitions


def logistic(z: float) -> float:
    """1 / (1 + e^-z), and 0 where e^-z is beyond a float."""
    try:
        return 1 / (1 + math.exp(-z))
    except OverflowError:
        return 0.0


@cache
def _text_model(name: str, languages: tuple[str, ...]) -> TextModel:
    return TextModel(name, languages)


@dataclass(slots=True)
class Pane:
    """What one customer's events of one day add up to."""

    effort: float = 0.0
    mood: float = 0.0
    ease_weight: float = 0.0
    ease_value: float = 0.0
    satisfaction_weight: float = 0.0
    satisfaction_value: float = 0.0
    touches: float = 0
    unsubscribed: bool = False
    unhelped: float = 0
    troubles: int = 0
    waited: int = 0


@dataclass(slots=True)
class Contact:
    """A contact that had a topic."""

    time: int
    topic: str


@dataclass(slots=True)
class Click:
    """The latest accepted click that had coordinates, and the run it ends."""

    time: int
    x: float
    y: float
    run: int
    counted: bool


@dataclass(slots=True)
class Raise:
    """A raise that the CRM heard: its time (ms) and its level."""

    time: int
    level: int


@dataclass(slots=True)
class Purchases:
    """What a customer bought: every day with a purchase or a return, and what the company told.

    Attributes:
        told: the latest purchase history: its time, days, first, last and amount.
        days: days with a purchase that the history does not cover.
        nets: purchases less returns of each day that it does not cover.
        spent: in the base currency.
    """

    told: tuple[int, int, int, int, float] | None = None
    days: set[int] = field(default_factory=set)
    nets: dict[int, float] = field(default_factory=dict)
    spent: float = 0.0

    def covers(self, time: int) -> bool:
        """Whether a history has told what happened until then."""
        return self.told is not None and time <= self.told[0]

    def count(self) -> int:
        """Days with a purchase."""
        return len(self.days) + (self.told[1] if self.told else 0)

    def first(self) -> int | None:
        """The first of them."""
        return min([*self.days, *([self.told[2]] if self.told else [])], default=None)

    def last(self) -> int | None:
        """The last of them."""
        return max([*self.days, *([self.told[3]] if self.told else [])], default=None)


@dataclass(slots=True)
class Customer:
    """Everything that is known of one customer."""

    subject: str
    last_touch: int
    evaluated: int
    touched: bool = False
    panes: dict[int, Pane] = field(default_factory=dict)
    seen: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=REMEMBERED_IDS))
    counted: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    visits: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    contacts: deque[Contact] = field(default_factory=lambda: deque(maxlen=REMEMBERED_CONTACTS))
    failed_step: int | None = None
    click: Click | None = None
    complaints: dict[str, int] = field(default_factory=dict)
    nps: tuple[int, float] | None = None
    acute: float = 0.0
    acute_time: int | None = None
    armed: bool = True
    level: int = 0
    announced: int = 0
    last_raise: Raise | None = None
    told: tuple[int, float] | None = None
    judged_by: ScoringParams | None = None
    waiting: bool = False
    set_aside: bool = False
    purchases: Purchases = field(default_factory=Purchases)
    own: Counter[tuple[int, str]] = field(default_factory=Counter)


@dataclass(slots=True)
class Scores:
    """One evaluation of one customer at one clock."""

    sums: Pane
    effort: float
    satisfaction: float
    probability: float
    features: dict[str, float]


class Oracle:
    """Scores one partition.

    Attributes:
        signals: every signal so far, in order.
        named: beside them, kinds of the company's own that their evidence may name: name, how often, whether it costs effort.
        customers: by subject, in order of first appearance.
        clock: the partition's clock, ms UTC; None before the first accepted record.
        held_back: raises that had to wait for their cooldown.
        forgotten: customers that were forgotten.
        requests: when who asked to be erased, ms UTC.
        receipts: what was erased, in order.
        evicted: complaints that left because of too many open ones.
        recalled: duplicates that were not among the last ones of their customers.
        params: the rules in force.
        scored: what each accepted touchpoint counted for, in order: the rows of cx.scored, without what they repeat
            of the event.
        floor: the first day that counts, whatever the window; None before the window changed.
    """

    def __init__(
        self,
        params: ScoringParams | None = None,
        topic: str = "cx.touchpoints",
        partition: int = 0,
        partitions: int | None = None,
    ) -> None:
        self.params = self._settings = params or ScoringParams()
        self.floor: int | None = None
        self._visit_floor: int | None = None
        self._rules_time: int | None = None
        self._sets = 1
        self.signals: list[Signal] = []
        self.named: list[list[tuple[str, int, bool]]] = []
        self.customers: dict[str, Customer] = {}
        self.clock: int | None = None
        self.held_back = 0
        self.forgotten = 0
        self.evicted = 0
        self.recalled = 0
        self.requests: dict[str, int] = {}
        self.receipts: list[dict[str, Any]] = []
        self.scored: list[dict[str, Any]] = []
        self._partition = partition
        self._partitions = partitions
        self._origin = f"{topic}-{partition}"
        self._cause = ""
        self._caused = 0
        self._scores_judged: Scores | None = None

    # --- records

    def feed(self, event: Event, offset: int, limit: int | None = None, grace: int = 0) -> str:  # noqa: PLR0911
        """Take one valid record.

        Args:
            event: a touchpoint or a tick, as decoded JSON.
            offset: its place in the partition.
            limit: the latest event time that is believed, ms UTC; None believes every time.
            grace: how much of the limit is for wrong clocks, which control records have none of, in ms.

        Returns:
            accepted, tick, rules (they are in force now), duplicate, too_late, from_the_future, erases (a request was
            followed), erased (the record was dropped because of one), misrouted (it belongs to another partition) or
            invalid (no rules name its kind, or it lacks what they require).
        """
        time = to_ms(event["time"])
        is_tick = event["type"] == TICK_TYPE
        if limit is not None and event["type"] in CONTROL_TYPES:
            limit -= grace
        elif limit is not None and grace:
            limit += round(self.params.future_minutes * MINUTE_MS)
            limit -= round(self._settings.future_minutes * MINUTE_MS)
        if refused := self._refused(event, time, limit):
            return refused
        if event["type"] == RULES_TYPE:
            return self._follow(event, time)
        if event["type"] == FORGET_TYPE:
            return self._erase(event, time, offset)
        if not is_tick and (known := self._erased_or_known(event, time)):
            return known
        if self.clock is not None and not self._counts(pane_of(time)):
            return "too_late"
        self.advance(time, offset)
        if is_tick:
            return "tick"
        self._accept(event, time)
        return "accepted"

    def _refused(self, event: Event, time: int, limit: int | None) -> str:
        """What is wrong with a record whatever is known of its customer; "" where nothing is."""
        if event["type"] not in CONTROL_TYPES and not self._is_valid(event):
            return "invalid"
        if self._partitions is not None and event["type"] not in CONTROL_TYPES:
            home = home_of(event["subject"], self._partitions)
            if home != self._partition:
                return "misrouted"
        return "from_the_future" if limit is not None and time > limit else ""

    def _is_valid(self, event: Event) -> bool:
        """Whether there is such a kind; the fields of a built-in one are right."""
        if event["type"] in BY_TYPE:
            return True
        own = self.params.kinds.get(event["type"].split(".")[2])
        return own is not None and all(event["data"].get(name) is not None for name in own.requires)

    def _kind(self, event: Event) -> Kind | OwnKind:
        kind = BY_TYPE.get(event["type"])
        return kind if kind is not None else self.params.kinds[event["type"].split(".")[2]]

    def _counts(self, day: int) -> bool:
        """Whether a day is in the window, and has been since before the window changed."""
        assert self.clock is not None
        inside = day > pane_of(self.clock) - self.params.window_days
        return inside and (self.floor is None or day >= self.floor)

    def _follow(self, event: Event, time: int) -> str:
        """Put rules in force, unless they are no newer than those in force."""
        if self._rules_time is not None and time <= self._rules_time:
            return "duplicate"
        before, self.params = self.params, ScoringParams.model_validate(event["data"]["scoring"])
        self._rules_time = time
        self._sets += 1
        old, new = ((p.window_days, min(p.visit_dedupe_days, p.window_days)) for p in (before, self.params))
        if self.clock is not None and old != new:
            today = pane_of(self.clock)
            floors = [today - min(pair) + 1 for pair in zip(old, new, strict=True)]
            self.floor = max(floors[0], floors[0] if self.floor is None else self.floor)
            self._visit_floor = max(floors[1], floors[1] if self._visit_floor is None else self._visit_floor)
        if (self.clock is not None and old[0] != new[0]) or self._sets > RULES_KEPT:
            # What the cards said before cannot be known any more.
            self._sets = 1
            for customer in self.customers.values():
                customer.judged_by = self.params
        return "rules"

    def advance(self, time_ms: int, offset: int) -> None:
        """Move the clock to a time, if that is later, with the sweeps of the days crossed."""
        self._cause = f"{self._origin}-{offset}"
        self._caused = 0
        if self.clock is None:
            self.clock = time_ms
            return
        for day in range(pane_of(self.clock) + 1, pane_of(time_ms) + 1):
            if not self.customers:
                break
            self.clock = day * DAY_MS
            self._sweep(self.clock)
        self.clock = max(self.clock, time_ms)

    def _asked(self, subject: str) -> int | None:
        """When the customer asked to be erased; None if he did not, or if events of then are too late anyway."""
        asked = self.requests.get(subject)
        if asked is None or self.clock is None:
            return asked
        return asked if self._counts(pane_of(asked)) else None

    def _erased_or_known(self, event: Event, time: int) -> str:
        if self._is_erased(event, time):
            return "erased"
        return "duplicate" if self._is_duplicate(event) else ""

    def _is_erased(self, event: Event, time: int) -> bool:
        asked = self._asked(event["subject"])
        if asked is None:
            return False
        unknown = event["subject"] not in self.customers
        return time <= asked or (unknown and _is_company(self._kind(event)))

    def _erase(self, event: Event, time: int, offset: int) -> str:
        subject = event["subject"]
        asked = self._asked(subject)
        if asked is not None and time <= asked:
            return "duplicate"
        self._cause, self._caused = f"{self._origin}-{offset}", 0
        customer = self.customers.pop(subject, None)
        if customer is not None and customer.announced > 0:
            assert self.clock is not None
            self._emit(
                customer,
                self.clock,
                kind="churn_risk",
                change="erased",
                level="none",
                previous=LEVELS[customer.announced],
            )
        self.receipts.append(
            {
                "request": event["id"],
                "known": customer is not None,
                "panes": sum(map(self._counts, customer.panes)) if customer else 0,
                "complaints": len(customer.complaints) if customer else 0,
                "contacts": len(customer.contacts) if customer else 0,
                "purchases": customer.purchases.count() if customer else 0,
                "own_kinds": self._kept(customer) if customer else 0,
            }
        )
        self.requests[subject] = time
        return "erases"

    def _kept(self, customer: Customer) -> int:
        """Events of the company's own kinds that days which still count have by their names."""
        return sum(n for (day, _), n in customer.own.items() if self._counts(day))

    def _is_duplicate(self, event: Event) -> bool:
        customer = self.customers.get(event["subject"])
        if customer is None:
            return False
        name = event["source"], event["id"]
        if name in customer.seen:
            return True
        if self.params.dedupe == "recent":
            return False
        day = pane_of(to_ms(event["time"]))
        counted = self.clock is not None and self._counts(day) and name in customer.counted.get(day, ())
        visited = (
            self._is_visit_day(day)
            and self._counts(day)
            and (self._visit_floor is None or day >= self._visit_floor)
            and name in customer.visits.get(day, ())
        )
        self.recalled += counted or visited
        return counted or visited

    def _is_within(self, day: int, days: int) -> bool:
        return self.clock is not None and day > pane_of(self.clock) - days

    def _is_visit_day(self, day: int) -> bool:
        """Whether plain visits of that day are still remembered; clicks of other days are in no run."""
        return self._is_within(day, min(self.params.visit_dedupe_days, self.params.window_days))

    def _is_plain_visit(self, kind: Kind | OwnKind) -> bool:
        """Whether an event of that kind can move no score."""
        visit = isinstance(kind, OwnKind) or kind.spec.visit
        return visit and self._of_kind(kind) == (0, 0)

    def _sweep(self, clock: int) -> None:
        self._sets = 1
        for customer in list(self.customers.values()):
            if clock - customer.last_touch >= self.params.forget_days * DAY_MS:
                self._forget(customer, clock)
            else:
                _drop_old_panes(customer, pane_of(clock) - self.params.window_days)
                self._judge(customer, clock)

    def _forget(self, customer: Customer, clock: int) -> None:
        if customer.announced > 0 and not customer.set_aside:
            customer.level = 0
            self._emit_change(customer, clock, "cleared", self.evaluate(customer, clock))
        del self.customers[customer.subject]
        self.forgotten += 1

    def _accept(self, event: Event, time: int) -> None:
        assert self.clock is not None
        kind = self._kind(event)
        data = event["data"]
        customer = self.customers.get(event["subject"])
        if customer is None:
            customer = Customer(event["subject"], last_touch=time, evaluated=self.clock)
            self.customers[customer.subject] = customer
        customer.seen.append((event["source"], event["id"]))
        ids = customer.visits if self._is_plain_visit(kind) else customer.counted
        if self.params.dedupe == "window":
            ids.setdefault(pane_of(time), set()).add((event["source"], event["id"]))
        pane = customer.panes.setdefault(pane_of(time), Pane())
        if not _is_company(kind):
            _touch(customer, pane, time)
        effort = self._points(customer, pane, kind, data, time)
        if isinstance(kind, OwnKind) and (kind.effort > 0 or kind.mood < 0):
            customer.own[pane_of(time), event["type"].split(".")[2]] += 1
        else:
            _trouble(pane, kind, data)
        self._remember(customer, pane, kind, data, time)
        self._friction(customer, effort, time, data)
        self._judge(customer, self.clock)
        after = self._scores_judged or self.evaluate(customer, self.clock)
        self.scored[-1] |= {
            "id": event["id"],
            "time": time,
            "kind": event["type"].split(".")[2],
            "late": pane_of(time) < pane_of(self.clock),
            "behind_ms": self.clock - time,
            "effort_after": after.effort,
            "satisfaction_after": after.satisfaction,
            "probability_after": after.probability,
            "level_after": LEVELS[customer.level],
            "amount_base": self._in_base_currency(data),
        }

    # --- points

    def _points(self, customer: Customer, pane: Pane, kind: Kind | OwnKind, data: Event, time: int) -> float:
        """Add the event's points to its pane; what it takes from memory is what was there before it.

        Returns:
            The effort points.
        """
        self.scored.append(dict.fromkeys(("repeat_contact", "channel_switch", "rage_click", "failed"), False))
        added = self._base_points(kind, data) + self._derived_points(customer, kind, data, time)
        p = self.params
        effort = min(sum(points[0] for points in added), p.max_effort)
        mood = max(-p.max_mood, min(sum(points[1] for points in added), p.max_mood))
        pane.effort += effort
        pane.mood += mood
        self.scored[-1] |= {"effort": effort, "mood": mood}
        return effort

    def _base_points(self, kind: Kind | OwnKind, data: Event) -> list[tuple[float, float]]:
        p = self.params
        added = [self._of_kind(kind)]
        if kind in {Kind.contact, Kind.queue} and data.get("wait_s") is not None:
            minutes = max(0.0, data["wait_s"] / 60 - p.wait_free_minutes)
            added.append((min(p.wait_effort_max, p.wait_effort_per_minute * minutes), 0.0))
        if kind == Kind.contact:
            transfers = min(float(data.get("transfers") or 0), p.transfers_max)
            added.append((transfers * p.transfer.effort, transfers * p.transfer.mood))
            if data.get("abandoned"):
                added.append((p.abandoned.effort, p.abandoned.mood))
            elif data.get("resolved") is True:
                added.append((p.resolved.effort, p.resolved.mood))
            elif data.get("resolved") is False:
                added.append((p.unresolved.effort, p.unresolved.mood))
        if kind == Kind.delivery:
            late = min(float(data.get("late_days") or 0), p.late_days_max)
            if late > 0:
                added.append((late * p.late_day.effort, late * p.late_day.mood))
            else:
                added.append((p.on_time.effort, p.on_time.mood))
        return added

    def _derived_points(
        self, customer: Customer, kind: Kind | OwnKind, data: Event, time: int
    ) -> list[tuple[float, float]]:
        p = self.params
        added = []
        if kind == Kind.contact and self._is_repeat(customer, data.get("topic"), time):
            self.scored[-1]["repeat_contact"] = True
            added.append((p.repeat_contact.effort, p.repeat_contact.mood))
        if kind == Kind.contact and data["channel"] in SWITCH_CHANNELS and self._is_switch(customer, time):
            self.scored[-1]["channel_switch"] = True
            added.append((p.channel_switch.effort, p.channel_switch.mood))
        if kind == Kind.click and self._completes_rage(customer, data, time):
            self.scored[-1] |= {"rage_click": True, "failed": True}
            added.append(self._of_kind(Kind.rage_click))
            _fail(customer, time)
            customer.panes[pane_of(time)].troubles += 1
        return added

    def _of_kind(self, kind: Kind | OwnKind) -> tuple[float, float]:
        points = kind if isinstance(kind, OwnKind) else self.params.points[kind.label]
        return points.effort, points.mood

    def _is_repeat(self, customer: Customer, topic: str | None, time: int) -> bool:
        earliest = time - self.params.repeat_days * DAY_MS
        return topic is not None and any(
            contact.topic == topic and earliest < contact.time <= time for contact in customer.contacts
        )

    def _is_switch(self, customer: Customer, time: int) -> bool:
        if customer.failed_step is None:
            return False
        return 0 <= time - customer.failed_step <= self.params.switch_hours * HOUR_MS

    def _completes_rage(self, customer: Customer, data: Event, time: int) -> bool:
        if data.get("x") is None or data.get("y") is None or not self._is_visit_day(pane_of(time)):
            return False
        x, y = float(data["x"]), float(data["y"])
        before = customer.click
        follows = (
            before is not None
            and 0 <= time - before.time < self.params.rage_ms
            and abs(x - before.x) + abs(y - before.y) < self.params.rage_px
        )
        if before is None or not follows:
            customer.click = Click(time, x, y, run=1, counted=False)
            return False
        run = before.run + 1
        completes = run >= self.params.rage_clicks and not before.counted
        customer.click = Click(time, x, y, run, counted=before.counted or completes)
        return completes

    # --- memory

    def _remember(self, customer: Customer, pane: Pane, kind: Kind | OwnKind, data: Event, time: int) -> None:
        if kind.failed_step if isinstance(kind, OwnKind) else kind.spec.failed_step:
            self.scored[-1]["failed"] = True
            _fail(customer, time)
        if kind == Kind.contact and data.get("topic") is not None:
            customer.contacts.append(Contact(time, data["topic"]))
        if kind == Kind.complaint_opened:
            self._open_complaint(customer, data["case_id"], time)
        if kind == Kind.complaint_resolved:
            customer.complaints.pop(data["case_id"], None)
        if kind == Kind.unsubscribed:
            pane.unsubscribed = True
        if kind == Kind.survey_nps and (customer.nps is None or time >= customer.nps[0]):
            customer.nps = (time, data["score"])
        if kind == Kind.churned:
            customer.set_aside = True
        if kind in {Kind.won_back, Kind.purchase}:
            customer.set_aside = False
        self._answer(pane, kind, data)
        self._buy(customer.purchases, kind, data, time)

    # --- purchases

    def _amount(self, data: Event) -> float:
        rates = {**self.params.rates, self.params.base_currency: 1.0}
        return min(float(data["amount"]) * rates.get(data["currency"], 0.0), MOST_MONEY)

    def _in_base_currency(self, data: Event) -> float | None:
        known = {*self.params.rates, self.params.base_currency}
        if data.get("amount") is None or data.get("currency") not in known:
            return None
        return self._amount(data)

    def _buy(self, bought: Purchases, kind: Kind, data: Event, time: int) -> None:
        day = pane_of(time)
        if kind == Kind.purchase and not bought.covers(time):
            # The last day of a history may be its own: another purchase of that day adds none.
            if bought.told is None or day != bought.told[3]:
                bought.days.add(day)
            self._spend(bought, day, self._amount(data))
        elif kind == Kind.return_ and not bought.covers(time):
            self._spend(bought, day, -self._amount(data))
        elif kind == Kind.purchase_history and (bought.told is None or time >= bought.told[0]):
            first, last = (pane_of(to_ms(f"{data[name][:10]}T00:00:00Z")) for name in ("first", "last"))
            bought.told = time, int(data["purchases"]), first, last, self._amount(data)
            bought.days = {each for each in bought.days if each > day}
            bought.spent = bought.told[4]
            later = sorted((each, net) for each, net in bought.nets.items() if each > day)
            bought.nets = {}
            for each, net in later:
                self._spend(bought, each, net)

    def _spend(self, bought: Purchases, day: int, amount: float) -> None:
        net = bought.nets.get(day, 0.0) + amount
        bought.nets[day] = max(-MOST_MONEY, min(net, MOST_MONEY))
        bought.spent = min(max(0.0, bought.spent + amount), MOST_MONEY)

    def _open_complaint(self, customer: Customer, case_id: str, time: int) -> None:
        customer.complaints.setdefault(case_id, time)
        if len(customer.complaints) > OPEN_COMPLAINTS:
            # min takes the first of equals, and a dict keeps the order of acceptance
            oldest = min(customer.complaints, key=customer.complaints.__getitem__)
            del customer.complaints[oldest]
            self.evicted += 1

    def _answer(self, pane: Pane, kind: Kind | OwnKind, data: Event) -> None:
        p = self.params
        if kind == Kind.survey_ces:
            pane.ease_weight += p.ces_weight
            pane.ease_value += p.ces_weight * 100 * (7 - data["score"]) / 6
        elif kind == Kind.survey_csat:
            _satisfy(pane, p.csat_weight, 25 * (data["score"] - 1))
        elif kind == Kind.review:
            _satisfy(pane, p.review_weight, 25 * (data["rating"] - 1))
        elif kind == Kind.survey_nps:
            _satisfy(pane, p.nps_weight, 10 * data["score"])
        elif kind == Kind.social_post and (sentiment := self.sentiment(data)) is not None:
            _satisfy(pane, p.social_weight, 50 * (sentiment + 1))

    def sentiment(self, data: Event) -> float | None:
        """What the source says, or else what the text model of the rules makes of the text."""
        named, said = self.params.text_model, data.get("sentiment")
        if said is not None or named is None or not data.get("text"):
            return said
        model = _text_model(named.name, named.languages)
        return model.sentiments([data["text"]], [data.get("lang")])[0]

    # --- acute friction

    def _friction(self, customer: Customer, effort: float, time: int, data: Event) -> None:
        p = self.params
        if customer.acute_time is None:
            customer.acute_time = time
        if time >= customer.acute_time:
            customer.acute *= self._fade(time - customer.acute_time)
            customer.acute_time = time
        if customer.acute < p.acute_rearm:
            customer.armed = True
        customer.acute += effort * self._fade(customer.acute_time - time)
        if customer.armed and customer.acute >= p.acute_threshold:
            customer.armed = False
            assert self.clock is not None
            self._emit(
                customer,
                self.clock,
                kind="friction",
                effort_points=customer.acute,
                channel=data["channel"],
                touchpoint=data.get("touchpoint"),
            )

    def _fade(self, elapsed_ms: int) -> float:
        return float(2.0 ** (-elapsed_ms / (self.params.acute_half_life_minutes * MINUTE_MS)))

    # --- scores

    def evaluate(self, customer: Customer, clock: int) -> Scores:
        """The scores, the features and the churn probability at a clock (ms UTC)."""
        p = self.params
        panes = self._inside(customer, clock, p.window_days)
        sums = self._sums(panes, clock)
        effort = self._effort(sums)
        recent_effort = self._effort(self._sums(self._inside(customer, clock, p.surge_days), clock))
        satisfaction = self._satisfaction(sums)
        alive = self.alive(customer, clock)
        features = {
            "effort": effort / 100,
            "surge": max(0.0, recent_effort - effort) / 100,
            "dissatisfaction": 1 - satisfaction / 100,
            "detractor": self._detractor(customer, clock),
            "complaint": min(len(customer.complaints), p.complaints_scale) / p.complaints_scale,
            "silence": self._silence(panes, clock),
            "lapse": 0.0 if alive is None else 1 - alive,
            "unsubscribed": self._unsubscribed(panes),
            "slowdown": self._slowdown(panes, clock),
            "just_unsubscribed": self._just_unsubscribed(panes, clock),
            "unresolved": min(sums.unhelped, p.unresolved_scale) / p.unresolved_scale,
        }
        z = p.intercept + sum(p.coefficients[name] * x for name, x in features.items())
        return Scores(sums, effort, satisfaction, logistic(z), features)

    def _contributions(self, scores: Scores) -> dict[str, float]:
        """How much each feature moves the risk from that of a typical customer."""
        p = self.params
        return {name: p.coefficients[name] * (x - p.typical[name]) for name, x in scores.features.items()}

    def _inside(self, customer: Customer, clock: int, days: int) -> dict[int, Pane]:
        """The panes in (pane(C) - days, pane(C)]."""
        today = pane_of(clock)
        return {
            number: pane
            for number, pane in customer.panes.items()
            if today - days < number <= today and (self.floor is None or number >= self.floor)
        }

    def _sums(self, panes: dict[int, Pane], clock: int) -> Pane:
        """The columns of the panes, each pane weighted by 2^(-age / half-life)."""
        today = pane_of(clock)
        total = Pane()
        for number, pane in panes.items():
            weight = 2.0 ** (-(today - number) / self.params.half_life_days)
            total.effort += weight * pane.effort
            total.mood += weight * pane.mood
            total.ease_weight += weight * pane.ease_weight
            total.ease_value += weight * pane.ease_value
            total.satisfaction_weight += weight * pane.satisfaction_weight
            total.satisfaction_value += weight * pane.satisfaction_value
            total.touches += weight * pane.touches
            total.unhelped += weight * pane.unhelped
        return total

    def _effort(self, sums: Pane) -> float:
        p = self.params
        implicit = 100 * (1 - 2.0 ** (-sums.effort / p.effort_scale))
        weight = p.prior_strength + sums.ease_weight
        return (p.prior_strength * implicit + sums.ease_value) / weight

    def _satisfaction(self, sums: Pane) -> float:
        p = self.params
        start = math.log(p.satisfaction_prior / (1 - p.satisfaction_prior))
        implicit = 100 * logistic(start + sums.mood / p.mood_scale)
        weight = p.prior_strength + sums.satisfaction_weight
        return (p.prior_strength * implicit + sums.satisfaction_value) / weight

    def _halfwidths(self, sums: Pane) -> dict[str, float]:
        p = self.params
        return {
            "effort_halfwidth": self._halfwidth(p.effort_spread, sums.ease_weight, sums),
            "satisfaction_halfwidth": self._halfwidth(p.satisfaction_spread, sums.satisfaction_weight, sums),
        }

    def _halfwidth(self, spread: float, answers: float, sums: Pane) -> float:
        """Half of the interval that 95% of next answers lie in: those vary, and so does what the score is made of."""
        p = self.params
        total = p.prior_strength + answers
        next_answer = p.answer_sd**2
        known_answers = p.answer_sd**2 * min(answers, answers**2) / total**2
        implicit = (spread * p.prior_strength / total) ** 2 / (1 + p.touch_weight * sums.touches)
        return p.z * math.sqrt(next_answer + known_answers + implicit)

    def _detractor(self, customer: Customer, clock: int) -> float:
        if customer.nps is None:
            return 0.0
        time, score = customer.nps
        inside = pane_of(time) > pane_of(clock) - self.params.window_days
        inside = inside and (self.floor is None or pane_of(time) >= self.floor)
        return 1.0 if inside and score <= self.params.detractor_max else 0.0

    def _silence(self, panes: dict[int, Pane], clock: int) -> float:
        p = self.params
        active = sorted(number for number, pane in panes.items() if pane.touches > 0)
        if len(active) < p.silence_min_panes:
            return 0.0
        rhythm = (active[-1] - active[0]) / (len(active) - 1)
        missed = (pane_of(clock) - active[-1]) / rhythm - 1
        return min(max(missed, 0.0), p.silence_max) / p.silence_max

    def _slowdown(self, panes: dict[int, Pane], clock: int) -> float:
        p, today = self.params, pane_of(clock)
        active = [number for number, pane in panes.items() if pane.touches > 0]
        recent = [number for number in active if number > today - p.slowdown_days]
        before = sorted(set(active) - set(recent))
        if len(before) < p.silence_min_panes:
            return 0.0
        # The first active day only begins the count.
        share = (len(before) - 1) / (today - p.slowdown_days - before[0])
        missed = p.slowdown_days * share - len(recent)
        return min(max(missed, 0.0), p.slowdown_max) / p.slowdown_max

    def _repeats(self, customer: Customer, clock: int) -> tuple[int, int, int] | None:
        """x, t_x and T of the customer's purchases, in days."""
        bought = customer.purchases
        first, last = bought.first(), bought.last()
        if first is None or last is None:
            return None
        return bought.count() - 1, last - first, max(pane_of(clock), last) - first

    def alive(self, customer: Customer, clock: int) -> float | None:
        """P(alive); None without a model or a purchase."""
        m, repeats = self.params.purchase_model, self._repeats(customer, clock)
        if m is None or repeats is None:
            return None
        x, t_x, age = (each for each in repeats)
        alpha = m.alpha * m.unit_days
        return 1 / (1 + (m.a / (m.b + x)) * ((alpha + age) / (alpha + t_x)) ** (m.r + x))

    def clv(self, customer: Customer, clock: int) -> float | None:
        """What the customer is worth; None without the models or a purchase."""
        m, v, repeats = self.params.purchase_model, self.params.value_model, self._repeats(customer, clock)
        alive = self.alive(customer, clock)
        if m is None or v is None or repeats is None or alive is None:
            return None
        x, _, age = repeats
        n = x + 1
        spend = v.p * (v.v + n * (customer.purchases.spent / n)) / (v.p * n + v.q - 1)
        parts = math.ceil(v.horizon_days / (YEAR_DAYS / 12))
        found = before = 0.0
        for i in range(1, parts + 1):
            end = v.horizon_days * i / parts
            until = expected_purchases(m.r + x, m.alpha * m.unit_days + age, m.a, m.b + x, end)
            found += (until - before) / (1 + v.discount) ** (end / YEAR_DAYS)
            before = until
        return v.margin * spend * alive * found

    def _unsubscribed(self, panes: dict[int, Pane]) -> float:
        return 1.0 if any(pane.unsubscribed for pane in panes.values()) else 0.0

    def _just_unsubscribed(self, panes: dict[int, Pane], clock: int) -> float:
        first = pane_of(clock) - self.params.just_unsubscribed_days + 1
        return 1.0 if any(pane.unsubscribed and number >= first for number, pane in panes.items()) else 0.0

    # --- churn risk

    def _judge(self, customer: Customer, clock: int) -> None:
        customer.evaluated = clock
        customer.judged_by = self.params
        self._scores_judged = None
        if customer.set_aside:
            return
        self._scores_judged = scores = self.evaluate(customer, clock)
        self._move_level(customer, scores.probability)
        if customer.level > customer.announced:
            self._raise(customer, clock, scores)
            return
        customer.waiting = False
        if customer.level < customer.announced:
            self._emit_change(customer, clock, "eased" if customer.level > 0 else "cleared", scores)
        elif customer.level > 0 and self._is_worse(customer, clock, scores.probability):
            self._emit_change(customer, clock, "worsened", scores)

    def _is_worse(self, customer: Customer, clock: int, probability: float) -> bool:
        assert customer.told is not None
        time, then = customer.told
        p = self.params
        return probability >= then + p.worsened and clock - time >= p.worsened_hours * HOUR_MS

    def _move_level(self, customer: Customer, probability: float) -> None:
        thresholds = self.params.thresholds
        while customer.level < len(thresholds) and probability >= thresholds[customer.level]:
            customer.level += 1
        while customer.level > 0 and probability < thresholds[customer.level - 1] - self.params.hysteresis:
            customer.level -= 1

    def _raise(self, customer: Customer, clock: int, scores: Scores) -> None:
        last = customer.last_raise
        if (
            last is None
            or clock - last.time >= self.params.cooldown_days * DAY_MS
            or customer.level > last.level
        ):
            customer.waiting = False
            customer.last_raise = Raise(clock, customer.level)
            self._emit_change(customer, clock, "raised", scores)
        elif not customer.waiting:
            customer.waiting = True
            self.held_back += 1

    # --- evidence

    def _own(self, customer: Customer, clock: int, span: int) -> list[tuple[str, int, bool]]:
        """The kinds of the company's own of the last days, and whether they cost effort: the most frequent first."""
        window = self.params.window_days
        span, named = min(span, window), Counter[str]()
        for (day, name), n in customer.own.items():
            kind = self.params.kinds.get(name)
            inside = pane_of(clock) - span < day and (self.floor is None or day >= self.floor)
            if inside and kind is not None and (kind.effort > 0 or kind.mood < 0):
                named[name] += n
        panes = self._inside(customer, clock, span).values()
        if not named and not any(pane.troubles or pane.waited for pane in panes):
            return self._own(customer, clock, window) if span < window else []
        most = sorted(named.items(), key=lambda each: (-each[1], each[0]))[:OWN_NAMED]
        return [(name, n, self.params.kinds[name].effort > 0) for name, n in most]

    # --- output

    def _emit_change(self, customer: Customer, clock: int, change: str, scores: Scores) -> None:
        previous, customer.announced = customer.announced, customer.level
        customer.told = clock, scores.probability
        self._emit(
            customer,
            clock,
            kind="churn_risk",
            change=change,
            level=LEVELS[customer.level],
            previous=LEVELS[previous],
            probability=scores.probability,
            effort=scores.effort,
            satisfaction=scores.satisfaction,
            **self._halfwidths(scores.sums),
            features=scores.features,
            contributions=self._contributions(scores),
            value_at_risk=_times(self.clv(customer, clock), scores.probability),
            **self._arm(customer.subject, LEVELS[customer.level]),
            **self._purchases(customer, clock),
        )

    def _purchases(self, customer: Customer, clock: int) -> dict[str, float | None]:
        """What a model of purchases says of a customer; nothing where the rules have none."""
        if self.params.purchase_model is None:
            return {}
        return {"p_alive": self.alive(customer, clock), "clv": self.clv(customer, clock)}

    def _arm(self, subject: str, level: str) -> dict[str, str | None]:
        """The experiment of a level, and whether its hash puts the customer below the share of the holdout."""
        if not self.params.experiments:
            return {}
        for name, experiment in self.params.experiments.items():
            if level in experiment.levels:
                code = hmac.new((experiment.salt or name).encode(), subject.encode(), hashlib.sha256).digest()
                below = (int.from_bytes(code[:7], "big") >> 4) / 2**52 < experiment.holdout
                return {"experiment": name, "arm": "holdout" if below else "treated"}
        return {"experiment": None, "arm": None}

    def _emit(self, customer: Customer, clock: int, **rest: Any) -> None:
        self.signals.append(
            {"id": f"{self._cause}-{self._caused}", "subject": customer.subject, "time": clock, **rest}
        )
        self.named.append(self._own(customer, clock, 1 if rest["kind"] == "friction" else 7))
        self._caused += 1

    def card(self, subject: str) -> dict[str, Any]:
        """The score card at the customer's last evaluation.

        Raises:
            KeyError: no such customer, or he was forgotten.
        """
        customer = self.customers[subject]
        clock, now = customer.evaluated, self.params
        assert customer.judged_by is not None
        self.params = customer.judged_by
        card = self._card(customer, clock)
        self.params = now
        return card

    def _card(self, customer: Customer, clock: int) -> dict[str, Any]:
        scores, clv = self.evaluate(customer, clock), self.clv(customer, clock)
        assert customer.acute_time is not None
        return {
            "time": clock,
            "effort": scores.effort,
            **self._halfwidths(scores.sums),
            "satisfaction": scores.satisfaction,
            "probability": scores.probability,
            "level": LEVELS[customer.level],
            "announced": LEVELS[customer.announced],
            "acute": customer.acute * self._fade(clock - customer.acute_time),
            "features": scores.features,
            "last_touch": customer.last_touch,
            "purchases": customer.purchases.count(),
            "last_purchase": customer.purchases.last(),
            "spent": customer.purchases.spent,
            "p_alive": self.alive(customer, clock),
            "clv": clv,
            "value_at_risk": _times(clv, scores.probability),
            "touches": {str(days): self._touches(customer, clock, days) for days in TOUCH_SPANS},
        }

    def _touches(self, customer: Customer, clock: int, days: int) -> int:
        inside = self._inside(customer, clock, min(days, self.params.window_days))
        return sum(pane.touches for pane in inside.values())


def _times(value: float | None, probability: float) -> float | None:
    return None if value is None else value * probability


def expected_purchases(r: float, alpha: float, a: float, b: float, t: float) -> float:
    """Purchases within t of a customer who is alive, with the published series of the MBG/NBD; a must not be 1.

    Args:
        r: shape of the customer's rate of purchase.
        alpha: its scale.
        a: first parameter of the probability to leave.
        b: the second, before the last purchase after which the customer stayed.
        t: how far to look ahead.
    """
    z, term, total, k = t / (alpha + t), 1.0, 0.0, 0
    while abs(term) > 1e-17 * abs(total):
        total += term
        term *= (r + k) * (b + 1 + k) / (a + b + k) / (k + 1) * z
        k += 1
    return (a + b) / (a - 1) * (1 - (alpha / (alpha + t)) ** r * total)


def _is_company(kind: Kind | OwnKind) -> bool:
    return kind.company if isinstance(kind, OwnKind) else kind.spec.company


def _trouble(pane: Pane, kind: Kind | OwnKind, data: Event) -> None:
    """Note what evidence counts beside kinds of the company's own."""
    failed = kind.failed_step if isinstance(kind, OwnKind) else kind.spec.failed_step
    late = kind == Kind.delivery and (data.get("late_days") or 0) > 0
    pane.troubles += failed or late or kind == Kind.contact
    if kind == Kind.contact:
        pane.unhelped = min(pane.unhelped + _went_unhelped(data), 255)
    if kind in {Kind.contact, Kind.queue}:
        pane.waited = int(min(pane.waited + (data.get("wait_s") or 0), 2**32 - 1))


def _went_unhelped(data: Event) -> bool:
    """Whether a contact was given up or solved nothing."""
    return bool(data.get("abandoned")) or data.get("resolved") is False


def _touch(customer: Customer, pane: Pane, time: int) -> None:
    pane.touches += 1
    customer.last_touch = max(customer.last_touch, time) if customer.touched else time
    customer.touched = True


def _fail(customer: Customer, time: int) -> None:
    customer.failed_step = time if customer.failed_step is None else max(customer.failed_step, time)


def _satisfy(pane: Pane, weight: float, value: float) -> None:
    pane.satisfaction_weight += weight
    pane.satisfaction_value += weight * value


def _drop_old_panes(customer: Customer, last_gone: int) -> None:
    """The clock never goes back, so these can never count again."""
    for number in [number for number in customer.panes if number <= last_gone]:
        del customer.panes[number]

"""Random lives of a few customers, made to meet every rule of the scores and its edges.

A history is a list of (event, limit): a valid decoded event and the latest event time that is believed (ms UTC, or
None). It is put together from scenes: a click burst, a flood of complaints, a resent record, a bad day. A scene says
its times relative to the clock or to the event before, so that one can be left out and the rest stays a history.

    Choices (a seed, or hypothesis) -> scenes of drafts -> histories of events
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hypothesis import strategies as st

from cxstream.model.enumerations import CHANNELS, CONTACT_CHANNELS, STAGES
from cxstream.model.kinds import FORGET_TYPE, RULES_TYPE, TICK_TYPE, Kind, type_of
from cxstream.model.parameters import DAY_MS, HOUR_MS, MINUTE_MS, ScoringParams
from cxstream.model.rules import rules_of
from default_1 import default_1

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Event = dict[str, Any]
Entry = tuple[Event, int | None]
T = TypeVar("T")

# An ordinary day; the last days before 1970, where times turn from negative to positive; a leap day near midnight.
STARTS = (1_709_300_000_000, -3 * DAY_MS + 5, 1_709_251_199_999)

# Under the defaults nobody who is silent for a year still holds a level, and waits are rare: these bend the rules.
PARAMS = {
    "default": ScoringParams(),
    "unforgiving": default_1(
        coefficients={"complaint": 6.0, "slowdown": 1.5, "just_unsubscribed": 0.8, "unresolved": 2.0},
        forget_days=120,
        worsened=0.02,
        worsened_hours=0.5,
    ),
    "short": default_1(
        window_days=20,
        surge_days=3,
        forget_days=30,
        half_life_days=3,
        cooldown_days=1.5,
        slowdown_days=3,
        slowdown_max=1.5,
        just_unsubscribed_days=25,
        unresolved_scale=0.5,
    ),
    "touchy": default_1(
        points={
            "page_view": {"effort": 0.5, "mood": -0.1},
            "email_sent": {"effort": 0.25, "mood": 0.5},
        },
        effort_scale=40,
        mood_scale=12,
        thresholds=(0.2, 0.3, 0.4),
        max_effort=9,
        max_mood=1.75,
        transfers_max=1.5,
        rage_clicks=4,
        complaints_scale=8,
        cooldown_days=30,
        rates={"USD": 0.93, "JPY": 0.0061},
        experiments={
            "calls": {"holdout": 0.5, "levels": ("critical", "high"), "salt": "spring"},
            "mails": {"holdout": 0.25, "levels": ("elevated",)},
        },
    ),
    "forgetful": default_1(
        dedupe="recent", visit_dedupe_days=1, base_currency="JPY", rates={"EUR": 163.7, "USD": 1e9}
    ),
    "shop": default_1(
        name="shop-1",
        purchase_model={"r": 0.6, "alpha": 3, "a": 0.7, "b": 1.9, "unit_days": 7},
        value_model={
            "p": 4.2,
            "q": 3.1,
            "v": 20,
            "margin": 0.3,
            "horizon_days": 200,
            "discount": 0.15,
        },
        rates={"USD": 0.93, "JPY": 0.0061},
    ),
    "mindful": default_1(visit_dedupe_days=366),
    "own": default_1(
        name="own-1",
        kinds={
            "parcel_lost": {"effort": 4, "mood": -3.5, "requires": ("order_id",)},
            "chat_failed": {"effort": 2, "failed_step": True},
            "gift": {"mood": 5, "company": True},
            "rude_reply": {"mood": -2, "company": True},
            "walk_by": {},
        },
        future_minutes=30,
    ),
}
OWN = ("parcel_lost", "chat_failed", "gift", "walk_by", "rude_reply")


class Choices(Protocol):
    """Where the arbitrary comes from."""

    def pick(self, options: Sequence[T]) -> T:
        """One of them; the first is the simplest."""
        ...

    def integer(self, low: int, high: int) -> int:
        """One of low..high, both included."""
        ...


class Seeded:
    """Choices of a seeded generator."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self._random.random() * len(options))]

    def integer(self, low: int, high: int) -> int:
        return low + int(self._random.random() * (high - low + 1))


class Drawn:
    """Choices of hypothesis, which makes a failure smaller by choosing simpler ones."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw

    def pick(self, options: Sequence[T]) -> T:
        return options[self._draw(st.integers(0, len(options) - 1))]

    def integer(self, low: int, high: int) -> int:
        return self._draw(st.integers(low, high))


@dataclass(frozen=True, slots=True)
class Move:
    """An event time: `from_` is clock, last (the event before) or day (the start of the clock's day)."""

    from_: str
    delta: int


@dataclass(frozen=True, slots=True)
class Draft:
    """An event whose time is not known yet.

    Attributes:
        limit: none, roomy (as the broker's stamp would give), exact (the event's own time), short (1 ms less).
        resend: the event is that many places back in the history once more; 0 is an event of its own.
        keep_time: a resent event keeps its time.
        own: a kind of the company's own, which the rules may name, instead of `kind`.
        rules: a set of rules, one of PARAMS, instead of an event.
    """

    move: Move
    subject: str
    kind: Kind | None
    data: Event = field(default_factory=dict)
    id: str = "e0"
    source: str = "//shop"
    limit: str = "none"
    style: str = "utc"
    resend: int = 0
    keep_time: bool = True
    own: str = ""
    rules: str = ""


def _weighted(*options: tuple[T, int]) -> tuple[T, ...]:
    return tuple(option for option, weight in options for _ in range(weight))


# --- times

_SPANS = (DAY_MS, 7 * DAY_MS, -DAY_MS, -7 * DAY_MS)
EXACT = (
    *(1, -1, 999, 1000, 1001, -999, 30 * MINUTE_MS, -30 * MINUTE_MS),
    *(span + off for span in _SPANS for off in (-1, 0, 1)),
)
DAYS = (0, 1, -1, 1, -7, -6, -30, -88, -89, -90, -91, 2, 7)
EDGES = (0, -1, 1)


def _exact(c: Choices) -> Move:
    return Move("last", c.pick(EXACT))


def _edge_of_day(c: Choices) -> Move:
    return Move("day", c.pick(DAYS) * DAY_MS + c.pick(EDGES))


def _within(low: int, high: int) -> Callable[[Choices], Move]:
    return lambda c: Move("clock", c.integer(low, high))


MOVES: tuple[Callable[[Choices], Move], ...] = _weighted(
    (_within(0, 5 * MINUTE_MS), 60),
    (lambda _: Move("last", 0), 8),
    (_exact, 10),
    (_within(HOUR_MS, 30 * HOUR_MS), 20),
    (_within(-2 * HOUR_MS, 0), 12),
    (_within(-89 * DAY_MS, -DAY_MS), 7),
    (_edge_of_day, 6),
    (_within(-400 * DAY_MS, -90 * DAY_MS), 2),
    (_within(3 * DAY_MS, 60 * DAY_MS), 3),
    (_within(130 * DAY_MS, 500 * DAY_MS), 1),
)

# --- who, and in which form

SUBJECTS = _weighted(("c1", 6), ("c2", 4), ("c3", 3), ("c4", 2), ("Zoë 7", 1), ("x" * 128, 1))
SOURCES = ("//shop", "//shop", "//calls")
LIMITS = _weighted(("none", 40), ("roomy", 6), ("exact", 2), ("short", 1))
STYLES = ("utc", "utc", "utc", "east", "west", "fine", "whole")
IDS = 500

# --- what

CASES = tuple(f"case-{n}" for n in range(11))
TOPICS = ("invoice", "invoice", "delivery", "broken", "", "tariff", "password")
WAITS = (0, 59, 60, 61, 90.5, 180, 659, 660, 661, 7200, 1e308)
PLACES = (0, 10, 29, 29.5, 30, 31, -5, 700, 1e308, -1e308)

# Any kind may carry any field, most of which it does not read; an explicit null is the same as absence.
EXTRAS: dict[str, Sequence[Any]] = {
    "touchpoint": ("checkout", "returns desk", ""),
    "stage": STAGES,
    "session": ("s1", "s2"),
    "campaign": ("spring",),
    "topic": TOPICS,
    "case_id": CASES,
    "agent": ("a7",),
    "product": ("p1",),
    "location": ("Basel",),
    "wait_s": WAITS,
    "handle_s": (0, 61.5),
    "transfers": (0, 1, 2),
    "resolved": (True, False),
    "abandoned": (False, True),
    "x": PLACES,
    "y": PLACES,
    "target": ("#pay",),
    "amount": (0, 19.9),
    "currency": ("CHF", "EUR"),
    "order_id": ("o1",),
    "late_days": (0, 1, 4),
    "text": ("", "why so slow?\u0000\U0001f620"),
    "lang": ("de", "en"),
    "sentiment": (-1, 0.25, 1),
    "hashtags": ([], ["fail"]),
    "likes": (0, 12),
    "shares": (0, 3),
    "comments": (1,),
    "reason": ("price",),
    "action": ("call",),
    "arm": ("treated", "holdout"),
    "action_id": ("act-1",),
    "segment": ("vip",),
    "weather": ("rain", {"deep": [1, None]}),
}
EXTRA_NAMES = tuple(EXTRAS)

# What a kind reads or must have; None is absent.
FIELDS: dict[Kind, dict[str, Sequence[Any]]] = {
    Kind.contact: {
        "channel": CONTACT_CHANNELS,
        "topic": (None, *TOPICS),
        "wait_s": (None, None, *WAITS),
        "transfers": _weighted((None, 60), (0, 8), (1, 15), (3, 6), (0.5, 2), (600_000, 1), (1e308, 1)),
        "resolved": (None, True, False),
        "abandoned": (None, None, False, True),
    },
    Kind.queue: {"channel": ("store",), "wait_s": (None, *WAITS)},
    Kind.click: {"x": PLACES, "y": (None, *PLACES)},
    Kind.purchase: {"amount": (0, 12.5, 0.1, 400, 1e308), "currency": ("EUR", "EUR", "JPY", "USD")},
    Kind.return_: {"amount": (3, 12.5, 0, 1e17), "currency": ("EUR", "EUR", "USD", "JPY")},
    Kind.delivery: {"late_days": (None, 0, 0.25, 1, 2.5, 5, 6, 1e308)},
    Kind.complaint_opened: {"case_id": CASES},
    Kind.complaint_resolved: {"case_id": CASES},
    Kind.survey_ces: {"score": (1, 2, 3, 4, 5, 6, 7, 7.0)},
    Kind.survey_csat: {"score": range(1, 6)},
    Kind.survey_nps: {"score": range(11)},
    Kind.review: {"rating": (1, 2, 3, 4, 5, 4.5)},
    Kind.social_post: {"sentiment": (None, 0, -1, -0.3, 1, 0.55)},
    # `back`, `length` and `share` become `last`, `first` and `purchases`.
    Kind.purchase_history: {
        "amount": (0, 99.5, 1e308),
        "currency": ("EUR", "USD", "JPY"),
        "back": (0, 0, 1, 400),
        "length": (0, 1, 3, 900),
        "share": (1, 0.5, 0),
    },
    Kind.action_taken: {"action": ("call",), "arm": ("treated", "holdout"), "action_id": ("act-2",)},
}

ALL_KINDS = tuple(Kind)
PAINFUL = (
    Kind.contact,
    Kind.error,
    Kind.app_crash,
    Kind.login_failed,
    Kind.form_abandoned,
    Kind.complaint_opened,
    Kind.survey_nps,
    Kind.unsubscribed,
    Kind.return_,
)
PLEASANT = (
    Kind.purchase,
    Kind.referral,
    Kind.loyalty_redeemed,
    Kind.complaint_resolved,
    Kind.delivery,
    Kind.survey_csat,
    Kind.page_view,
    Kind.won_back,
)
TRADE = _weighted((Kind.purchase, 5), (Kind.return_, 3), (Kind.purchase_history, 2), (Kind.page_view, 1))
COMPANY = (Kind.email_sent, Kind.campaign_sent, Kind.action_taken, Kind.churned, Kind.won_back)


def _data(c: Choices, kind: Kind) -> Event:
    fields = FIELDS.get(kind, {})
    data = {name: value for name, options in fields.items() if (value := c.pick(options)) is not None}
    data.setdefault("channel", c.pick(CHANNELS))
    if c.integer(0, 3) == 3:
        name = c.pick(EXTRA_NAMES)
        data.setdefault(name, c.pick((*EXTRAS[name], None)))
    return data


def _event(c: Choices, kind: Kind, *, subject: str | None = None, move: Move | None = None) -> Draft:
    return Draft(
        move=move or c.pick(MOVES)(c),
        subject=subject or c.pick(SUBJECTS),
        kind=kind,
        data=_data(c, kind),
        id=f"e{c.integer(0, IDS)}",
        source=c.pick(SOURCES),
        limit=c.pick(LIMITS),
        style=c.pick(STYLES),
    )


# --- scenes


def _anything(c: Choices) -> list[Draft]:
    return [_event(c, c.pick(ALL_KINDS))]


def _tick(c: Choices) -> list[Draft]:
    return [
        Draft(c.pick(MOVES)(c), "", None, id=f"t{c.integer(0, 9)}", source="//ticker", limit=c.pick(LIMITS))
    ]


def _company(c: Choices) -> list[Draft]:
    return [_event(c, c.pick(COMPANY))]


def _clicks(c: Choices) -> list[Draft]:
    """A burst on one spot, now and then too slow, too far, out of order or without a place."""
    subject = c.pick(SUBJECTS)
    x = c.pick((0, 400, -0.5))
    burst = [_event(c, Kind.click, subject=subject)]
    for _ in range(c.integer(2, 6)):
        gap = c.pick((400, 0, 999, 1000, -1))
        click = _event(c, c.pick(CLICKING), subject=subject, move=Move("last", gap))
        spot = {"x": x, "y": c.pick((7, 7, 36, 36.5, 37))}
        burst.append(replace(click, data={**click.data, **spot}, limit="none"))
    return burst


def _clicks_then_call(c: Choices) -> list[Draft]:
    burst = _clicks(c)
    gap = c.pick((HOUR_MS, DAY_MS, DAY_MS + 1, 0, -1))
    return [*burst, _event(c, Kind.contact, subject=burst[0].subject, move=Move("last", gap))]


CLICKING = _weighted((Kind.click, 9), (Kind.page_view, 1))


def _bad_day(c: Choices) -> list[Draft]:
    subject = c.pick(SUBJECTS)
    first = _event(c, c.pick(PAINFUL), subject=subject)
    return [first] + [
        _event(c, c.pick(PAINFUL), subject=subject, move=Move("clock", c.integer(0, 40 * MINUTE_MS)))
        for _ in range(c.integer(1, 4))
    ]


def _good_week(c: Choices) -> list[Draft]:
    subject = c.pick(SUBJECTS)
    return [
        _event(c, c.pick(PLEASANT), subject=subject, move=Move("clock", c.integer(0, 36 * HOUR_MS)))
        for _ in range(c.integer(1, 7))
    ]


def _complaints(c: Choices) -> list[Draft]:
    """More cases than are kept, not in order, some at one time."""
    subject = c.pick(SUBJECTS)
    first = c.integer(0, len(CASES) - 1)
    return [
        replace(
            _event(c, Kind.complaint_opened, subject=subject, move=Move("clock", -HOUR_MS * c.integer(0, 5))),
            data={"channel": "crm", "case_id": CASES[(first + n) % len(CASES)]},
        )
        for n in range(c.integer(6, 11))
    ]


def _resolutions(c: Choices) -> list[Draft]:
    subject = c.pick(SUBJECTS)
    first = c.integer(0, len(CASES) - 1)
    return [
        replace(
            _event(c, Kind.complaint_resolved, subject=subject, move=Move("clock", c.integer(0, HOUR_MS))),
            data={"channel": "crm", "case_id": CASES[(first + n) % len(CASES)]},
        )
        for n in range(c.integer(3, 9))
    ]


def _polls(c: Choices) -> list[Draft]:
    """The same question again, at the same time or around it."""
    subject = c.pick(SUBJECTS)
    first = _event(c, Kind.survey_nps, subject=subject)
    return [first] + [
        _event(c, Kind.survey_nps, subject=subject, move=Move("last", c.pick((0, 0, -1, 1))))
        for _ in range(c.integer(1, 3))
    ]


def _visitor(c: Choices) -> list[Draft]:
    """One of many who are seen once or twice, and often at midnight: they are forgotten and come back."""
    who = f"visitor {c.integer(1, 12)}"
    first = _event(c, c.pick(COMPANY + PLEASANT), subject=who, move=_edge_of_day(c))
    back = Move("last", c.pick((0, -HOUR_MS, -DAY_MS, HOUR_MS)))
    return [first, _event(c, c.pick(PLEASANT), subject=who, move=back)][: c.integer(1, 2)]


def _contacts(c: Choices) -> list[Draft]:
    """One customer tries again and again, after something failed."""
    subject = c.pick(SUBJECTS)
    gaps = (HOUR_MS, 0, -HOUR_MS, DAY_MS, 7 * DAY_MS - 1, 7 * DAY_MS, -7 * DAY_MS)
    tries = [
        _event(c, Kind.contact, subject=subject, move=Move("last", c.pick(gaps)))
        for _ in range(c.integer(1, 8))
    ]
    return [_event(c, Kind.error, subject=subject), *tries]


def _resend(c: Choices) -> list[Draft]:
    """A record once more: the last ones, and those at the edge of what is remembered."""
    back = c.pick((1, 2, 3, 8, 30, 31, 32, 33, 34, 40))
    moved = c.pick((False, False, True))
    draft = Draft(c.pick(MOVES)(c), "", None, limit=c.pick(LIMITS), resend=back, keep_time=not moved)
    return [draft]


def _resend_file(c: Choices) -> list[Draft]:
    """A stretch of records once more, as they were, after visits that fill the memory of the last ones."""
    subject = c.pick(SUBJECTS)
    visits = [_event(c, c.pick(CLICKING), subject=subject) for _ in range(c.pick((0, 0, 33)))]
    again = Draft(Move("clock", 0), "", None, resend=c.integer(len(visits) + 1, len(visits) + 300))
    return [*visits, *[again] * c.integer(1, 20)]


def _shopper(c: Choices) -> list[Draft]:
    """One customer buys, brings back, and is told of, on a few days, in no order."""
    subject = c.pick(SUBJECTS)
    moves = (
        lambda: Move("clock", c.integer(0, 2 * DAY_MS)),
        lambda: Move("clock", -c.integer(0, 20 * DAY_MS)),
        lambda: Move("last", c.pick((0, 1, -1, HOUR_MS, -HOUR_MS))),
        lambda: Move("day", c.pick(DAYS) * DAY_MS + c.pick(EDGES)),
    )
    return [_event(c, c.pick(TRADE), subject=subject, move=c.pick(moves)()) for _ in range(c.integer(2, 9))]


def _erasure(c: Choices) -> list[Draft]:
    """A request, often once more, and what comes after it: stragglers, new events, the company's mail."""
    subject = c.pick(SUBJECTS)
    request = _event(
        c, Kind.error, subject=subject, move=c.pick((Move("last", 0), Move("clock", 0), Move("day", -1)))
    )
    drafts = [replace(request, kind=None, data={})]
    for _ in range(c.integer(0, 4)):
        drafts += c.pick((_anything(c), [_event(c, c.pick((*Kind,)), subject=subject)], [drafts[0]]))
    return drafts


def _rules(c: Choices) -> list[Draft]:
    """Other rules, now and then not newer than those in force, and what comes after them."""
    which = c.pick(tuple(PARAMS))
    move = c.pick(
        (Move("clock", 0), Move("clock", 1), Move("last", 0), Move("day", -1), Move("clock", HOUR_MS))
    )
    drafts = [
        Draft(move, "", None, id=f"r{c.integer(0, 9)}", source="//rules", limit=c.pick(LIMITS), rules=which)
    ]
    return drafts + [each for _ in range(c.integer(0, 2)) for each in c.pick((_anything, _own, _resend))(c)]


def _own(c: Choices) -> list[Draft]:
    """An event of a kind that some rules name."""
    return [replace(_event(c, c.pick((Kind.page_view, Kind.error))), own=c.pick(OWN))]


SCENES: tuple[Callable[[Choices], list[Draft]], ...] = _weighted(
    (_anything, 24), (_tick, 2), (_company, 2), (_clicks, 2), (_clicks_then_call, 2), (_bad_day, 2), (_good_week, 4),
    (_complaints, 1), (_resolutions, 2), (_contacts, 2), (_polls, 1), (_visitor, 3), (_resend, 3),
    (_erasure, 2), (_resend_file, 2), (_shopper, 4),
)  # fmt: skip
UNDER_CHANGING_RULES = (*SCENES, *_weighted((_rules, 1), (_own, 2)))


def _scene(c: Choices, *, rules: bool) -> list[Draft]:
    return c.pick(UNDER_CHANGING_RULES if rules else SCENES)(c)


# --- from drafts to events

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EAST = timezone(timedelta(hours=5, minutes=45))
_WEST = timezone(-timedelta(hours=8))


def rfc3339(time_ms: int, style: str = "utc") -> str:
    """A time as sources write it: utc, east or west of it, fine (microseconds), whole (no fraction if it is 0)."""
    time = _EPOCH + timedelta(milliseconds=time_ms)
    if style == "east":
        return time.astimezone(_EAST).isoformat(timespec="milliseconds")
    if style == "west":
        return time.astimezone(_WEST).isoformat(timespec="milliseconds")
    if style == "fine":
        text = (time + timedelta(microseconds=999)).isoformat(timespec="microseconds")
    else:
        whole = style == "whole" and time_ms % 1000 == 0
        text = time.isoformat(timespec="seconds" if whole else "milliseconds")
    return text.replace("+00:00", "Z")


@dataclass(slots=True)
class _Telling:
    """Gives drafts their times, one after the other."""

    clock: int
    last: int
    told: list[Entry] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    def tell(self, draft: Draft) -> None:
        start = {"clock": self.clock, "last": self.last, "day": self.clock // DAY_MS * DAY_MS}[
            draft.move.from_
        ]
        time = start + draft.move.delta
        if 0 < draft.resend <= len(self.told):
            event, _ = self.told[-draft.resend]
            if draft.keep_time:
                time = self.times[-draft.resend]
            else:
                event = {**event, "time": rfc3339(time, draft.style)}
        else:
            event = _wrap(draft, time)
        limit = {"none": None, "roomy": time + 5 * MINUTE_MS, "exact": time, "short": time - 1}[draft.limit]
        self.told.append((event, limit))
        self.times.append(time)
        self.last = time
        if draft.limit != "short":
            self.clock = max(self.clock, time)


def _wrap(draft: Draft, time: int) -> Event:
    """The event; one without a kind is a tick, or asks to erase its subject."""
    event: Event = {"specversion": "1.0", "id": draft.id, "source": draft.source}
    if draft.rules:
        data = json.loads(rules_of(PARAMS[draft.rules], {}).data)
        return {**event, "type": RULES_TYPE, "time": rfc3339(time, draft.style), "data": data}
    if draft.kind is None and draft.subject:
        return {**event, "type": FORGET_TYPE, "subject": draft.subject, "time": rfc3339(time, draft.style)}
    if draft.kind is None:
        return {**event, "type": TICK_TYPE, "time": rfc3339(time, draft.style)}
    if draft.kind == Kind.purchase_history:
        return {**event, **_told_of(draft, time)}
    return {
        **event,
        "type": type_of(draft.own) if draft.own else draft.kind.type,
        "subject": draft.subject,
        "time": rfc3339(time, draft.style),
        "data": draft.data,
    }


def _told_of(draft: Draft, time: int) -> Event:
    """A purchase history: its days are relative to its own."""
    back, length, share = (draft.data[name] for name in ("back", "length", "share"))
    last = time // DAY_MS - back
    first = last - length
    rest = {name: value for name, value in draft.data.items() if name not in {"back", "length", "share"}}
    days = {"first": rfc3339(first * DAY_MS)[:10], "last": rfc3339(last * DAY_MS + 5)}
    purchases = max(1, round((length + 1) * share))
    return {
        "type": Kind.purchase_history.type,
        "subject": draft.subject,
        "time": rfc3339(time, draft.style),
        "data": {**rest, **days, "purchases": purchases},
    }


def random_history(seed: int, n: int, *, rules: bool = False) -> list[Entry]:
    """A history of n records; the same seed gives the same history.

    Args:
        seed: of the generator.
        n: how many records.
        rules: with sets of rules, and events of kinds that only some of them name.
    """
    choices = Seeded(seed)
    start = choices.pick(STARTS)
    telling = _Telling(start, start)
    while len(telling.told) < n:
        for draft in _scene(choices, rules=rules):
            telling.tell(draft)
    return telling.told[:n]


@st.composite
def _scenes(draw: st.DrawFn, *, rules: bool) -> list[Draft]:
    return _scene(Drawn(draw), rules=rules)


def histories(
    min_size: int = 1, max_size: int = 60, *, rules: bool = False
) -> st.SearchStrategy[list[Entry]]:
    """Histories of min_size..max_size records that shrink to few and simple ones; `rules` as in `random_history`."""

    def tell(start: int, scenes: list[list[Draft]]) -> list[Entry]:
        telling = _Telling(start, start)
        for scene in scenes:
            for draft in scene:
                telling.tell(draft)
        return telling.told[:max_size]

    # Each scene has at least one record.
    return st.builds(
        tell, st.sampled_from(STARTS), st.lists(_scenes(rules=rules), min_size=min_size, max_size=max_size)
    )


def long_histories(min_size: int, max_size: int) -> st.SearchStrategy[list[Entry]]:
    """Histories as long as one likes; they do not shrink but in length."""
    return st.builds(random_history, st.integers(0, 2**32), st.integers(min_size, max_size))

"""The state of one customer in an engine: score card, days, open complaints. Reading it changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cxstream.kernels.layout import CONTACTS, NEVER, NO_DAY, NONE
from cxstream.model.features import FEATURES
from cxstream.model.parameters import DAY_MS
from cxstream.model.rfc3339 import rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cxstream.model.parameters import ScoringParams
    from cxstream.scoring.engine import Engine


class Contact(msgspec.Struct, frozen=True):
    """A contact that is remembered, to recognise a repeat.

    Attributes:
        time: when it was.
        topic: what about.
    """

    time: str
    topic: str


class Day(msgspec.Struct, frozen=True):
    """A pane: the aggregates of one day.

    Attributes:
        day: its date, UTC.
        effort: effort points.
        mood: mood points.
        ease_answers: weight of the answers about effort, and the sum of weight times value.
        satisfaction_answers: the same of those about satisfaction.
        touches: touches.
        waited_s: seconds waited.
        contacts: contacts.
        failed: failed digital steps.
        transfers: transfers.
        unresolved: contacts unresolved.
        abandoned: contacts given up.
        late: late deliveries.
    """

    day: str
    effort: float
    mood: float
    ease_answers: tuple[float, float]
    satisfaction_answers: tuple[float, float]
    touches: int
    waited_s: int
    contacts: int
    failed: int
    transfers: int
    unresolved: int
    abandoned: int
    late: int


class View(msgspec.Struct, frozen=True):
    """The state of one customer.

    Attributes:
        subject: the customer id, or the pseudonym.
        offset: the source offset after the last record applied.
        clock: event time reached by the partition.
        card: the score card as of the last evaluation, a CloudEvent.
        days: the customer's panes, the newest first.
        complaints: when each open complaint was opened.
        contacts: contacts with a topic that are remembered, the newest first.
        acute: acute friction in effort points, as of `acute_time`.
        acute_time: when.
        armed: a friction signal may go out.
        held: a raise waits for its cooldown to end.
        churned: suspended; no risk is judged.
        nps: the last NPS answer; null if there is none.
        unsubscribed: the day the customer unsubscribed; null if they did not.
        last_raise: when a raise was last sent; null if none was.
    """

    subject: str
    offset: int
    clock: str
    card: msgspec.Raw
    days: list[Day]
    complaints: list[str]
    contacts: list[Contact]
    acute: float
    acute_time: str
    armed: bool
    held: bool
    churned: bool
    nps: int | None
    unsubscribed: str | None
    last_raise: str | None


def describe(engine: Engine, subject: str) -> View | None:
    """The state of a customer; None if the engine does not know them.

    Args:
        engine: between two batches.
        subject: the customer.
    """
    card = engine.card(subject)
    if card is None or engine.clock is None:
        return None
    state = engine.partition.state
    row = state.rows[engine.partition.slots.get(subject)]
    return View(
        subject=subject,
        offset=engine.next_offset,
        clock=rfc3339(engine.clock),
        card=msgspec.Raw(card),
        days=_days(engine, int(row["head"])),
        complaints=_complaints(engine, int(row["complaints"])),
        contacts=_contacts(engine, subject),
        acute=float(row["acute"]),
        acute_time=rfc3339(int(row["acute_time"])),
        armed=bool(row["armed"]),
        held=bool(row["suppressed"]),
        churned=bool(row["suspended"]),
        nps=int(row["nps"]) if row["nps_time"] != NEVER else None,
        unsubscribed=_date(int(row["unsubscribed_day"])) if row["unsubscribed_day"] != NO_DAY else None,
        last_raise=rfc3339(int(row["last_raise"])) if row["last_raise"] else None,
    )


def _date(day: int) -> str:
    return rfc3339(day * DAY_MS)[:10]


def _days(engine: Engine, index: int) -> list[Day]:
    panes = engine.partition.state.panes
    found = []
    while index != NONE:
        pane = panes[index]
        answers = engine.partition.state.answers[pane["answers"]]
        found.append(
            Day(
                day=_date(int(pane["day"])),
                effort=float(pane["effort"]),
                mood=float(pane["mood"]),
                ease_answers=(float(answers["effort_weight"]), float(answers["effort_sum"])),
                satisfaction_answers=(float(answers["sat_n"]), float(answers["sat_sum"])),
                touches=int(pane["touches"]),
                waited_s=int(pane["waited"]),
                contacts=int(pane["contacts"]),
                failed=int(pane["failed"]),
                transfers=int(pane["transfers"]),
                unresolved=int(pane["unresolved"]),
                abandoned=int(pane["abandoned"]),
                late=int(pane["late"]),
            )
        )
        index = int(pane["next"])
    return found


def _complaints(engine: Engine, index: int) -> list[str]:
    complaints = engine.partition.state.complaints
    found = []
    while index != NONE:
        found.append(rfc3339(int(complaints[index]["time"])))
        index = int(complaints[index]["next"])
    return found


def _contacts(engine: Engine, subject: str) -> list[Contact]:
    state, texts = engine.partition.state, engine.partition.topics.texts
    slot = engine.partition.slots.get(subject)
    if slot is None:
        return []
    row, ring = state.rows[slot], state.seldom[slot]
    places = [(int(row["contacts_at"]) - back) % CONTACTS for back in range(1, int(row["contacts_n"]) + 1)]
    return [
        Contact(rfc3339(int(state.contact_times[ring, i])), texts[int(state.contact_topics[ring, i])])
        for i in places
    ]


def contributions(params: ScoringParams, features: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Feature, value, and what it adds to the log-odds against a typical customer; the strongest first.

    Args:
        params: the parameters that scored the customer.
        features: x of each feature, as a score card has them.
    """
    found = [
        (name, float(features[name]), params.coefficients[name] * (features[name] - params.typical[name]))
        for name in FEATURES
        if name in features
    ]
    return sorted(found, key=lambda each: -each[2])

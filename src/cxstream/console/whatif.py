"""What if: the engine scores a customer's touchpoints again, and what might follow.

    touchpoints of the read model -> events -> engine -> score card, which must be that of the read model
                                                  |
                           what might follow -> score card after it

The engine and the rules are those of the worker: there is no second formula. What is shown is what the rules say of such
a course, no forecast of what the customer does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.console.language import N_
from cxstream.console.reader import TooSlowError
from cxstream.model.kinds import TICK_TYPE, type_of
from cxstream.model.parameters import DAY_MS
from cxstream.model.rfc3339 import rfc3339
from cxstream.model.scored import COLUMNS
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.view import contributions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from cxstream.console.page import Ask
    from cxstream.console.reader import Row
    from cxstream.model.parameters import ScoringParams
    from cxstream.settings import Settings

QUIET_DAYS = 14
"""Days without a touchpoint that are asked about."""

IFS = {
    "quiet": N_("Nothing happens for 14 days"),
    "resolved": N_("The complaint is resolved"),
    "content": N_("They answer CES 6 and CSAT 4"),
    "promoter": N_("They answer NPS 9"),
    "then_content": N_("… and they answer CES 6 and CSAT 4"),
    "then_quiet": N_("… and 14 quiet days follow"),
    "first_time": N_("The contacts about the same thing again had not been needed"),
}
"""What is asked, in words."""

_DATA = [column.name for column in COLUMNS if column.data]
# Those of the partition that has the latest card; its offsets are the order in which the engine had them. Where on the page a
# click was is not kept; that it made a rage click is.
_TOUCHPOINTS = f"""
SELECT time, behind_ms, CASE WHEN rage_click THEN 'rage_click' ELSE kind END AS kind, source, id, repeat_contact, "offset", {", ".join(_DATA)}
FROM touchpoints WHERE customer_id = $customer_id AND "partition" = $partition ORDER BY "offset" LIMIT $limit"""
_MOST = 20_000
# Scores of two builds differ by less; a card of other rules, or with touchpoints that are no longer kept, by more.
_SAME = 1e-6
_CRM = "/cxstream/what-if"


@dataclass(frozen=True, slots=True)
class Result:
    """A score card of a course of things.

    Attributes:
        name: of IFS.
        probability: churn risk, 0..1.
        level: by the rules.
        change: of the risk against the card that there is.
        weights: what changed most: feature and the change of its contribution in log-odds, the strongest first.
    """

    name: str
    probability: float
    level: str
    change: float
    weights: list[tuple[str, float]]


async def results(ask: Ask, customer_id: int, card: Row) -> list[Result] | None:
    """What the rules say of several courses; None where they do not give the card that the read model has.

    Args:
        ask: of the page.
        customer_id: of the read model.
        card: the latest score card.
    """
    values = {"customer_id": customer_id, "partition": card["partition"], "limit": _MOST}

    def work(connection: duckdb.DuckDBPyConnection) -> list[Result] | None:
        cursor = connection.cursor().execute(_TOUCHPOINTS, values)
        names = [column[0] for column in cursor.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        return courses(ask.settings, ask.customer, rows, card)

    return await ask.reader.job(work, ("what-if", customer_id, card["model"]))


def courses(
    settings: Settings, customer: str, rows: Sequence[Row], card: Mapping[str, Any]
) -> list[Result] | None:
    """The courses that make sense for a customer.

    Args:
        settings: rules, and suggested actions.
        customer: their name.
        rows: their touchpoints, columns of `touchpoints` in offset order.
        card: the latest score card: time, probability, level.

    Returns:
        None where the engine does not give this card.
    """
    until = _ms(card["time"])
    now = _Course(settings, customer, rows, until)
    if not now.is_like(card):
        return None
    cases = _open_cases(rows)
    found = [_Course(settings, customer, rows, until).quiet("quiet")]
    course = _Course(settings, customer, rows, until)
    if cases:
        found.append(course.then("resolved", [("complaint_resolved", {"case_id": case}) for case in cases]))
    answers = [("survey_ces", {"score": 6}), ("survey_csat", {"score": 4})]
    found.append(course.then("then_content" if cases else "content", answers))
    found.append(course.quiet("then_quiet"))
    if now.features["detractor"] > 0:
        found.append(
            _Course(settings, customer, rows, until).then("promoter", [("survey_nps", {"score": 9})])
        )
    again = [row for row in rows if not row["repeat_contact"]]
    if len(again) < len(rows):
        found.append(_Course(settings, customer, again, until).result("first_time"))
    return [_compared(each, now, settings.scoring) for each in found]


@dataclass(frozen=True, slots=True)
class _State:
    """A card of a course."""

    name: str
    probability: float
    level: str
    features: dict[str, float]


class _Course:
    """An engine that has had a customer's touchpoints, up to a time."""

    def __init__(self, settings: Settings, customer: str, rows: Sequence[Row], until: int) -> None:
        # What people wrote is not kept; the sentiment that it was given is.
        params = settings.scoring.model_copy(update={"text_model": None})
        self._engine = Engine(params, settings.actions)
        self._customer, self._clock, self._sent = customer, until, 0
        self._take(_log(customer, rows, until))

    def is_like(self, card: Mapping[str, Any]) -> bool:
        """Whether the read model has this card."""
        here = self.result("")
        return bool(here.level == card["level"] and abs(here.probability - card["probability"]) < _SAME)

    @property
    def features(self) -> dict[str, float]:
        return self.result("").features

    def result(self, name: str) -> _State:
        """The card as it is now."""
        found = self._engine.card(self._customer)
        if found is None:
            return _State(name, -1.0, "", {})
        data = msgspec.json.decode(found)["data"]
        return _State(name, data["probability"], data["level"], data["features"])

    def then(self, name: str, said: Sequence[tuple[str, dict[str, Any]]]) -> _State:
        """The card after some touchpoints, a second after each other."""
        events = []
        for kind, data in said:
            self._clock += 1000
            self._sent += 1
            number = str(self._sent)
            events.append(_event(self._customer, kind, _CRM, number, self._clock, {"channel": "web", **data}))
        self._take(events)
        return self.result(name)

    def quiet(self, name: str) -> _State:
        """The card after days without a touchpoint."""
        self._clock += QUIET_DAYS * DAY_MS
        self._take([_tick(self._clock)])
        return self.result(name)

    def _take(self, events: Sequence[bytes]) -> None:
        first = self._engine.next_offset
        self._engine.process(Records(events, range(first, first + len(events))))


def _log(customer: str, rows: Sequence[Row], until: int) -> list[bytes]:
    """The touchpoints as they were in the log: one that came late finds the clock where it was."""
    events: list[bytes] = []
    for row in rows:
        time = _ms(row["time"])
        if row["behind_ms"]:
            events.append(_tick(time + row["behind_ms"]))
        events.append(_event(customer, row["kind"], row["source"], row["id"], time, _data_of(row)))
    return [*events, _tick(until)]


def _tick(time: int) -> bytes:
    return msgspec.json.encode(
        {"specversion": "1.0", "id": "tick", "source": _CRM, "type": TICK_TYPE, "time": rfc3339(time)}
    )


def _compared(state: _State, now: _Course, params: ScoringParams) -> Result:
    before = now.result("")
    old, new = (
        {name: amount for name, _, amount in contributions(params, each.features)} for each in (before, state)
    )
    moved = [(name, new[name] - old[name]) for name in new if abs(new[name] - old[name]) >= 0.005]  # noqa: PLR2004 - shown to 0.01
    weights = sorted(moved, key=lambda each: -abs(each[1]))
    return Result(state.name, state.probability, state.level, state.probability - before.probability, weights)


def _open_cases(rows: Sequence[Row]) -> list[str]:
    """Cases of complaints that are open."""
    found: dict[str, None] = {}
    for row in rows:
        if row["kind"] == "complaint_opened":
            found[row["case_id"]] = None
        elif row["kind"] == "complaint_resolved":
            found.pop(row["case_id"], None)
    return list(found)


def _data_of(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in _DATA if row[name] is not None}


def _event(customer: str, kind: str, source: str, number: str, time: int, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": number,
            "source": source,
            "type": type_of(kind),
            "subject": customer,
            "time": rfc3339(time),
            "data": data,
        }
    )


def _ms(time: datetime) -> int:
    return (time - datetime(1970, 1, 1)) // timedelta(milliseconds=1)  # noqa: DTZ001 - UTC without a zone


async def shown(ask: Ask, customer_id: int, card: Row) -> list[Row] | None:
    """The results in words, for the page of a customer; None where there are none, and no rows where they take too long."""
    try:
        found = await results(ask, customer_id, card)
    except TooSlowError:
        # The first time after an installation the engine may have to be compiled. The thread goes on with it.
        return []
    if found is None:
        return None
    words = ask.language
    return [
        {
            "if": words.gettext(IFS[each.name]),
            "probability": each.probability,
            "change": each.change,
            "level": each.level,
            "weights": [
                f"{ask.label('reason', name)} {words.number(amount, 2, sign=True)}"
                for name, amount in each.weights[:3]
            ],
        }
        for each in found
    ]

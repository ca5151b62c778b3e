"""Actions taken for a customer, the signals that they answer, and their outcomes."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.model.kinds import Kind
from cxstream.scoring.codec.peek import about

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cxstream.customer.history import Touch

# Kinds that show whether an action helped; other touchpoints have a table of their own.
_OUTCOMES = frozenset(kind.label for kind in Kind if kind.spec.outcome)
# Fields that say more about an outcome.
_SAYING = ("score", "rating", "amount", "currency", "reason")


class After(msgspec.Struct, frozen=True):
    """An outcome or signal after an action.

    Attributes:
        time: event time of the outcome, or the time of the signal.
        what: in words.
        action_id: the action that the outcome itself names; "" if it names none.
    """

    time: str
    what: str
    action_id: str = ""


class Action(msgspec.Struct, frozen=True):
    """One `action_taken` that counted.

    Attributes:
        offset: in the customer's partition of cx.touchpoints.
        time: event time, as the source wrote it.
        source: the system that sent it.
        action: what was done.
        arm: treated or holdout; "" if it is not given.
        action_id: the signal that was acted on; "" if it is not given.
        answers: that signal, in words; "" if it is not among the signals that were read.
        after: outcomes and changes of the churn risk until the next action, in the order of the log.
    """

    offset: int
    time: str
    source: str
    action: str
    arm: str
    action_id: str
    answers: str
    after: list[After]


def change_in_words(data: dict[str, Any]) -> str:
    """A churn-risk signal's `data` in words."""
    if data["change"] == "erased":
        return "erased on request"
    where = f"from {data['previous']} to {data['level']}"
    if data["change"] == "worsened":
        where = f"at {data['level']}"
    return f"{data['change']} {where}, {data['probability']:.0%}"


def actions(
    records: Sequence[Any],
    touches: Sequence[Touch],
    signals: Iterable[dict[str, Any]],
    touchpoints: str,
) -> list[Action]:
    """The actions taken for one customer, in order.

    Args:
        records: the customer's records of cx.touchpoints, in offset order.
        touches: the outcome of each of them.
        signals: the customer's signals.
        touchpoints: the name of cx.touchpoints.
    """
    changes = [each for each in signals if "change" in each["data"]]
    known = {each["id"]: change_in_words(each["data"]) for each in changes}
    found: list[Action] = []
    later: list[tuple[int, After]] = [
        (_caused_at(each, touchpoints), After(each["time"], change_in_words(each["data"])))
        for each in changes
    ]
    for record, touch in zip(records, touches, strict=True):
        if touch.outcome != "counted":
            continue
        data = about(record.value, record.headers).data
        if touch.kind == Kind.action_taken.label:
            found.append(_action(touch, data, known))
        elif touch.kind in _OUTCOMES:
            what = " ".join(
                [touch.kind, *(f"{data[name]}" for name in _SAYING if data.get(name) is not None)]
            )
            later.append((touch.offset, After(touch.time, what, data.get("action_id") or "")))
    later.sort(key=lambda each: each[0])
    for action, following in zip_longest(found, found[1:]):
        action.after.extend(
            after
            for offset, after in later
            if offset > action.offset and (following is None or offset < following.offset)
        )
    return found


def _action(touch: Touch, data: dict[str, Any], known: dict[str, str]) -> Action:
    action_id = data.get("action_id") or ""
    return Action(
        offset=touch.offset,
        time=touch.time,
        source=touch.source,
        action=data.get("action") or "",
        arm=data.get("arm") or "",
        action_id=action_id,
        answers=known.get(action_id, ""),
        after=[],
    )


def _caused_at(signal: dict[str, Any], touchpoints: str) -> int:
    """The offset of the record that caused a signal; before all records if that is in another topic."""
    cause = signal["data"]["cause"]
    return int(cause["offset"]) if cause["topic"] == touchpoints else -1

"""Evidence in words: what a CRM agent reads before the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cxstream.kernels import layout as k
from cxstream.model.parameters import DAY_MS, ScoringParams

Row = Sequence[float]
Card = Mapping[str, Any]


class Own(NamedTuple):
    """How often the customer met a kind of the company's own in the signal's span of days.

    Attributes:
        name: of the kind.
        n: how often.
        effort: whether it costs effort; else it only annoys.
    """

    name: str
    n: int
    effort: bool


def count(n: float, one: str, many: str | None = None) -> str:
    """`1 error`, `3 errors`."""
    whole = int(n)
    return f"{whole} {one if whole == 1 else many or one + 's'}"


def waited(seconds: float) -> str:
    """Time waited, in minutes from one minute on."""
    return f"{seconds / 60:.0f} min waited" if seconds >= 60 else f"{seconds:.0f} s waited"  # noqa: PLR2004


def ago(days: float) -> str:
    """How many days ago."""
    return "today" if days < 1 else "yesterday" if days < 2 else f"{int(days)} days ago"  # noqa: PLR2004


def _span(row: Row) -> str:
    days = int(row[k.S_SPAN])
    return "today" if days == 1 else f"in {days} days"


def _contacts(row: Row, topic: str) -> str:
    n, same = int(row[k.S_CONTACTS]), int(row[k.S_TOPIC_N])
    if not topic or same == 0:
        return f"{count(n, 'contact')} {_span(row)}"
    if same == n:
        return f"{count(n, 'contact')} about '{topic}' {_span(row)}"
    return f"{count(n, 'contact')} {_span(row)}, {same} about '{topic}'"


def _named(own: Sequence[Own], *, effort: bool) -> list[str]:
    return [f"{each.n} {each.name}" for each in own if each.effort == effort]


def troubles(row: Row, topic: str, own: Sequence[Own] = ()) -> list[str]:
    """What cost the customer effort in the signal's span of days, the contacts first, kinds of the company's own last."""
    said = [_contacts(row, topic)] if row[k.S_CONTACTS] else []
    if row[k.S_WAITED]:
        said.append(waited(row[k.S_WAITED]))
    for column, one, many in (
        (k.S_TRANSFERS, "transfer", None),
        (k.S_ABANDONED, "contact given up", "contacts given up"),
        (k.S_UNRESOLVED, "contact unresolved", "contacts unresolved"),
        (k.S_FAILED, "failed digital step", None),
        (k.S_LATE, "late delivery", "late deliveries"),
    ):
        if row[column]:
            said.append(count(row[column], one, many))
    said += _named(own, effort=True)
    if said and not row[k.S_CONTACTS]:
        said[-1] = f"{said[-1]} {_span(row)}"
    return said


def complaints(row: Row) -> str:
    """Open complaints and their age."""
    n = int(row[k.S_COMPLAINTS])
    if n == 0:
        return ""
    days = int((row[k.S_CLOCK] - row[k.S_COMPLAINT_TIME]) // DAY_MS)
    since = "since today" if days < 1 else f"for {count(days, 'day')}"
    return f"complaint open {since}" if n == 1 else f"{n} complaints open, the oldest {since}"


def _effort(row: Row, topic: str, own: Sequence[Own]) -> str:
    parts = troubles(row, topic, own)
    if row[k.S_COMPLAINTS]:
        parts.append(complaints(row))
    return ", ".join(parts) or f"effort {row[k.S_EFFORT]:.0f} of 100 over the window"


def _surge(row: Row, _topic: str, _own: Sequence[Own]) -> str:
    return (
        f"effort {row[k.S_EFFORT_SHORT]:.0f} of 100 this week against {row[k.S_EFFORT]:.0f} over the window"
    )


def _dissatisfaction(row: Row, _topic: str, own: Sequence[Own]) -> str:
    basis = "with recent answers" if row[k.S_ANSWERS] else "inferred, no answer given"
    said = f"satisfaction {row[k.S_SAT]:.0f} of 100, {basis}"
    annoyed = _named(own, effort=False)
    return f"{said}, {', '.join(annoyed)} {_span(row)}" if annoyed else said


def _detractor(row: Row, _topic: str, _own: Sequence[Own]) -> str:
    days = row[k.S_CLOCK] // DAY_MS - row[k.S_NPS_TIME] // DAY_MS
    return f"NPS answer {int(row[k.S_NPS])}, {ago(days)}"


def _complaint(row: Row, _topic: str, _own: Sequence[Own]) -> str:
    return complaints(row) or "no open complaint"


def _silence(row: Row, _topic: str, _own: Sequence[Own]) -> str:
    days, rhythm = int(row[k.S_QUIET]), row[k.S_RHYTHM]
    return f"no touch for {count(days, 'day')}, usually one every {rhythm:.1f} days"


def _lapse(row: Row, _topic: str, _own: Sequence[Own]) -> str:
    quiet, bought = int(row[k.S_BOUGHT_AGE] - row[k.S_BOUGHT_SPAN]), int(row[k.S_BOUGHT])
    last = f"last purchase {ago(quiet)}"
    if bought <= 1:
        return f"{last}, the only one"
    rhythm = row[k.S_BOUGHT_SPAN] / (bought - 1)
    return f"{last}, usually one every {rhythm:.0f} days"


def _unsubscribed(row: Row, _topic: str, _own: Sequence[Own]) -> str:
    return f"unsubscribed {ago(row[k.S_UNSUBSCRIBED])}"


def _slowdown(row: Row, _topic: str, _own: Sequence[Own]) -> str:
    return f"{count(row[k.S_ACTIVE], 'active day')} of late, usually {row[k.S_USUAL]:.1f} in that time"


def _unresolved(row: Row, _topic: str, _own: Sequence[Own]) -> str:
    parts = [
        count(row[column], one, many)
        for column, one, many in (
            (k.S_UNRESOLVED, "contact unresolved", "contacts unresolved"),
            (k.S_ABANDONED, "contact given up", "contacts given up"),
        )
        if row[column]
    ]
    return f"{', '.join(parts)} {_span(row)}" if parts else "earlier contacts did not help"


def _slowdown_value(x: float, _card: Card, params: ScoringParams) -> str:
    most = params.slowdown_max
    return f"{x * most:.1f} active days missed in {params.slowdown_days}, at most {most:g} count"


def _just_unsubscribed_value(x: float, _card: Card, params: ScoringParams) -> str:
    days = params.just_unsubscribed_days
    return f"unsubscribed within {days} days" if x else f"not unsubscribed within {days} days"


def _unresolved_value(x: float, _card: Card, params: ScoringParams) -> str:
    scale = params.unresolved_scale
    return f"{x * scale:.1f} contacts without help, weighted by age, at most {scale:g} count"


def _lapse_value(x: float, _card: Card, _params: ScoringParams) -> str:
    return f"purchases have stopped, {x:.0%} sure"


def _effort_value(_x: float, card: Card, params: ScoringParams) -> str:
    return f"effort {card['effort']:.0f} of 100, typical is {100 * params.typical['effort']:.0f}"


def _surge_value(x: float, _card: Card, params: ScoringParams) -> str:
    return f"effort of the last {params.surge_days} days is {100 * x:.0f} above that of the window"


def _dissatisfaction_value(_x: float, card: Card, params: ScoringParams) -> str:
    typical = 100 * (1 - params.typical["dissatisfaction"])
    return f"satisfaction {card['satisfaction']:.0f} of 100, typical is {typical:.0f}"


def _detractor_value(x: float, _card: Card, params: ScoringParams) -> str:
    return f"the latest NPS answer is {params.detractor_max} or less" if x else "no detractor"


def _complaint_value(x: float, _card: Card, params: ScoringParams) -> str:
    scale = params.complaints_scale
    return f"{count(round(x * scale), 'open complaint')}, at most {scale:g} count"


def _silence_value(x: float, _card: Card, params: ScoringParams) -> str:
    most = params.silence_max
    return f"{x * most:.1f} visits missed in the customer's rhythm, at most {most:g} count"


def _unsubscribed_value(x: float, _card: Card, _params: ScoringParams) -> str:
    return "unsubscribed" if x else "not unsubscribed"


class _Words(NamedTuple):
    """How a feature is put into words.

    Attributes:
        evidence: the facts behind it, out of the row of a signal, the text of its contact topic, and its kinds of the
            company's own.
        value: its value x, with the `data` of the score card it stands on.
    """

    evidence: Callable[[Row, str, Sequence[Own]], str]
    value: Callable[[float, Card, ScoringParams], str]


_WORDS: dict[str, _Words] = {
    "effort": _Words(_effort, _effort_value),
    "surge": _Words(_surge, _surge_value),
    "dissatisfaction": _Words(_dissatisfaction, _dissatisfaction_value),
    "detractor": _Words(_detractor, _detractor_value),
    "complaint": _Words(_complaint, _complaint_value),
    "silence": _Words(_silence, _silence_value),
    "lapse": _Words(_lapse, _lapse_value),
    "unsubscribed": _Words(_unsubscribed, _unsubscribed_value),
    "slowdown": _Words(_slowdown, _slowdown_value),
    "just_unsubscribed": _Words(_unsubscribed, _just_unsubscribed_value),
    "unresolved": _Words(_unresolved, _unresolved_value),
}


def value(feature: str, x: float, card: Card, params: ScoringParams) -> str:
    """The value of a feature in words.

    Args:
        feature: its name.
        x: the value.
        card: `data` of the score card.
        params: the parameters that scored it.
    """
    return _WORDS[feature].value(x, card, params)


def evidence(feature: str, row: Row, topic: str, contribution: float, own: Sequence[Own] = ()) -> str:
    """The evidence behind a feature of a signal.

    Args:
        feature: its name.
        row: SIGNAL_WIDTH numbers of the signal.
        topic: text of the contact topic in the row, "" for none.
        contribution: of the feature to the risk; where it lowers the risk, trouble is not its evidence.
        own: kinds of the company's own, the most frequent first.
    """
    if feature == "effort" and contribution < 0:
        return f"effort {row[k.S_EFFORT]:.0f} of 100, less than usual"
    return _WORDS[feature].evidence(row, topic, own if contribution > 0 else ())

"""Evidence in words: what a CRM agent reads before the call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from cxstream.kernels import layout as k
from cxstream.kernels.evidence import facts_of
from cxstream.model.features import FEATURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cxstream.model.parameters import ScoringParams

Row = Sequence[float]
Card = Mapping[str, Any]
_Text = TypeVar("_Text", bound=Callable[..., Any])

# Texts of each sort; none has a word of a record in it.
_KEPT = 4096
_MINUTE = 60


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


def _kept(text: _Text) -> _Text:
    """Keep the texts of the numbers that came last: in a storm of signals, few are new."""
    return lru_cache(_KEPT)(text)  # type: ignore[return-value]  # the same arguments


@_kept
def count(n: float, one: str, many: str | None = None) -> str:
    """`1 error`, `3 errors`."""
    whole = int(n)
    return f"{whole} {one if whole == 1 else many or one + 's'}"


def waited(seconds: float) -> str:
    """Time waited, in minutes from one minute on."""
    return f"{seconds / 60:.0f} min waited" if seconds >= _MINUTE else f"{seconds:.0f} s waited"


def ago(days: float) -> str:
    """How many days ago."""
    return "today" if days < 1 else "yesterday" if days < 2 else f"{int(days)} days ago"  # noqa: PLR2004


def facts(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of signals as evidence reads them: ages in days for times, and numbers as they are rounded in the texts.

    Args:
        rows: float64[n, SIGNAL_WIDTH].

    Returns:
        float64[n, SIGNAL_WIDTH].
    """
    found = np.empty_like(rows)
    facts_of(rows, found)
    return found


def _span(days: float) -> str:
    return "today" if days == 1 else f"in {int(days)} days"


def _contacts(topic: str, span: float, contacts: float, same: float) -> str:
    said = count(contacts, "contact")
    if not topic or same == 0:
        return f"{said} {_span(span)}"
    if same == contacts:
        return f"{said} about '{topic}' {_span(span)}"
    return f"{said} {_span(span)}, {int(same)} about '{topic}'"


def _named(own: Sequence[Own], *, effort: bool) -> list[str]:
    return [f"{each.n} {each.name}" for each in own if each.effort == effort]


@_kept
def _beside_contacts(
    seconds: float, transfers: float, abandoned: float, unresolved: float, failed: float, late: float
) -> tuple[str, ...]:
    said = [waited(seconds)] if seconds else []
    for n, one, many in (
        (transfers, "transfer", None),
        (abandoned, "contact given up", "contacts given up"),
        (unresolved, "contact unresolved", "contacts unresolved"),
        (failed, "failed digital step", None),
        (late, "late delivery", "late deliveries"),
    ):
        if n:
            said.append(count(n, one, many))
    return tuple(said)


TROUBLES = [
    *(k.S_SPAN, k.S_CONTACTS, k.S_TOPIC_N),
    *(k.S_WAITED, k.S_TRANSFERS, k.S_ABANDONED, k.S_UNRESOLVED, k.S_FAILED, k.S_LATE),
]
"""The facts of `troubles`, in the order of its arguments."""


def troubles(
    topic: str, own: Sequence[Own], span: float, contacts: float, same: float, *others: float
) -> list[str]:
    """What cost the customer effort in the signal's span of days, the contacts first, kinds of the company's own last.

    Args:
        topic: text of the contact topic that came most often, "" for none.
        own: kinds of the company's own.
        span: days.
        contacts: how many.
        same: how many of them were about that topic.
        others: the other TROUBLES.
    """
    said = [*_beside_contacts(*others), *_named(own, effort=True)]
    if contacts:
        return [_contacts(topic, span, contacts, same), *said]
    if said:
        said[-1] = f"{said[-1]} {_span(span)}"
    return said


COMPLAINTS = [k.S_COMPLAINTS, k.S_COMPLAINT_TIME]
"""The facts of `complaints`, in the order of its arguments."""
facts_of_troubles, facts_of_complaints = itemgetter(*TROUBLES), itemgetter(*COMPLAINTS)


@_kept
def complaints(n: float, days: float) -> str:
    """Open complaints and the age of the oldest."""
    if n == 0:
        return ""
    since = "since today" if days < 1 else f"for {count(days, 'day')}"
    return f"complaint open {since}" if n == 1 else f"{int(n)} complaints open, the oldest {since}"


def _effort(
    contribution: float, topic: str, own: Sequence[Own], effort: float, n: float, days: float, *trouble: float
) -> str:
    if contribution < 0:
        # Where it lowers the risk, trouble is not its evidence.
        return f"effort {effort:.0f} of 100, less than usual"
    parts = troubles(topic, own, *trouble)
    if n:
        parts.append(complaints(n, days))
    return ", ".join(parts) or f"effort {effort:.0f} of 100 over the window"


@_kept
def _surge(short: float, effort: float) -> str:
    return f"effort {short:.0f} of 100 this week against {effort:.0f} over the window"


@_kept
def _satisfaction(satisfaction: float, answered: float) -> str:
    basis = "with recent answers" if answered else "inferred, no answer given"
    return f"satisfaction {satisfaction:.0f} of 100, {basis}"


def _dissatisfaction(
    contribution: float, _topic: str, own: Sequence[Own], satisfaction: float, answered: float, span: float
) -> str:
    said = _satisfaction(satisfaction, answered)
    annoyed = _named(own, effort=False) if own and contribution > 0 else []
    return f"{said}, {', '.join(annoyed)} {_span(span)}" if annoyed else said


@_kept
def _detractor(answer: float, days: float) -> str:
    return f"NPS answer {int(answer)}, {ago(days)}"


@_kept
def _complaint(n: float, days: float) -> str:
    return complaints(n, days) or "no open complaint"


@_kept
def _silence(days: float, rhythm: float) -> str:
    return f"no touch for {count(days, 'day')}, usually one every {rhythm:.1f} days"


@_kept
def _lapse(age: float, span: float, days: float) -> str:
    last, bought = f"last purchase {ago(int(age - span))}", int(days)
    if bought <= 1:
        return f"{last}, the only one"
    return f"{last}, usually one every {span / (bought - 1):.0f} days"


@_kept
def _unsubscribed(days: float) -> str:
    return f"unsubscribed {ago(days)}"


@_kept
def _slowdown(active: float, usual: float) -> str:
    return f"{count(active, 'active day')} of late, usually {usual:.1f} in that time"


@_kept
def _unresolved(span: float, unresolved: float, abandoned: float) -> str:
    parts = [
        count(n, one, many)
        for n, one, many in (
            (unresolved, "contact unresolved", "contacts unresolved"),
            (abandoned, "contact given up", "contacts given up"),
        )
        if n
    ]
    return f"{', '.join(parts)} {_span(span)}" if parts else "earlier contacts did not help"


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
        reads: the columns of `facts` that are the evidence's arguments.
        evidence: the facts behind it.
        value: its value x, with the `data` of the score card it stands on.
        named: before these facts, the evidence takes the contribution, the text of the contact topic and the kinds of the
            company's own.
    """

    reads: list[int]
    evidence: Callable[..., str]
    value: Callable[[float, Card, ScoringParams], str]
    named: bool = False


_WORDS: dict[str, _Words] = {
    "effort": _Words([k.S_EFFORT, *COMPLAINTS, *TROUBLES], _effort, _effort_value, named=True),
    "surge": _Words([k.S_EFFORT_SHORT, k.S_EFFORT], _surge, _surge_value),
    "dissatisfaction": _Words(
        [k.S_SAT, k.S_ANSWERS, k.S_SPAN], _dissatisfaction, _dissatisfaction_value, named=True
    ),
    "detractor": _Words([k.S_NPS, k.S_NPS_TIME], _detractor, _detractor_value),
    "complaint": _Words(COMPLAINTS, _complaint, _complaint_value),
    "silence": _Words([k.S_QUIET, k.S_RHYTHM], _silence, _silence_value),
    "lapse": _Words([k.S_BOUGHT_AGE, k.S_BOUGHT_SPAN, k.S_BOUGHT], _lapse, _lapse_value),
    "unsubscribed": _Words([k.S_UNSUBSCRIBED], _unsubscribed, _unsubscribed_value),
    "slowdown": _Words([k.S_ACTIVE, k.S_USUAL], _slowdown, _slowdown_value),
    "just_unsubscribed": _Words([k.S_UNSUBSCRIBED], _unsubscribed, _just_unsubscribed_value),
    "unresolved": _Words([k.S_SPAN, k.S_UNRESOLVED, k.S_ABANDONED], _unresolved, _unresolved_value),
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


def _reading(reads: list[int]) -> Callable[[Row], tuple[float, ...]]:
    """Takes some columns out of a row."""
    if len(reads) > 1:
        return itemgetter(*reads)
    [read] = reads
    return lambda row: (row[read],)


_SAID = [(_reading(_WORDS[name].reads), _WORDS[name].evidence, _WORDS[name].named) for name in FEATURES]


def evidence_of(j: int, facts: Row, contribution: float, topic: str, own: Sequence[Own]) -> str:
    """The evidence behind a feature of a signal.

    Args:
        j: its number in FEATURES.
        facts: SIGNAL_WIDTH numbers, of `facts`.
        contribution: of the feature to the risk; where it lowers the risk, trouble is not its evidence.
        topic: text of the contact topic, "" for none.
        own: kinds of the company's own, the most frequent first.
    """
    read, say, named = _SAID[j]
    return say(contribution, topic, own, *read(facts)) if named else say(*read(facts))


def evidence(feature: str, row: Row, topic: str, contribution: float, own: Sequence[Own] = ()) -> str:
    """The evidence behind a feature of a signal; see `evidence_of`.

    Args:
        feature: its name.
        row: SIGNAL_WIDTH numbers of the signal.
        topic: text of the contact topic in the row.
        contribution: of the feature to the risk.
        own: kinds of the company's own.
    """
    [found] = facts(np.array([row])).tolist()
    return evidence_of(FEATURES.index(feature), found, contribution, topic, own)

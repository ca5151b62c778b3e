"""The evidence of signals in plain Python, from one row at a time: the oracle of `cxstream.scoring.words`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.kernels import layout as k
from cxstream.kernels.evidence import NOTHING
from cxstream.model.features import FEATURES
from cxstream.model.parameters import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.model.parameters import ScoringParams
    from cxstream.scoring.words import Own

    Row = Sequence[float]


def count(n: float, one: str, many: str | None = None) -> str:
    """`1 error`, `3 errors`."""
    whole = int(n)
    return f"{whole} {one if whole == 1 else many or one + 's'}"


def waited(seconds: float) -> str:
    """Time waited, in minutes from one minute on."""
    return f"{seconds / 60:.0f} min waited" if seconds >= 60 else f"{seconds:.0f} s waited"


def ago(days: float) -> str:
    """How many days ago."""
    return "today" if days < 1 else "yesterday" if days < 2 else f"{int(days)} days ago"


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


_WORDS = {
    "effort": _effort,
    "surge": _surge,
    "dissatisfaction": _dissatisfaction,
    "detractor": _detractor,
    "complaint": _complaint,
    "silence": _silence,
    "lapse": _lapse,
    "unsubscribed": _unsubscribed,
    "slowdown": _slowdown,
    "just_unsubscribed": _unsubscribed,
    "unresolved": _unresolved,
}


def evidence(feature: str, row: Row, topic: str, contribution: float, own: Sequence[Own]) -> str:
    """The evidence behind a feature."""
    if feature == "effort" and contribution < 0:
        return f"effort {row[k.S_EFFORT]:.0f} of 100, less than usual"
    return _WORDS[feature](row, topic, own if contribution > 0 else ())


def reasons(
    params: ScoringParams, row: Row, topic: str, own: Sequence[Own]
) -> list[tuple[str, float, float, str]]:
    """Feature, value, contribution and evidence, the strongest first; ties as in FEATURES."""
    found = []
    for i, name in enumerate(FEATURES):
        x = row[k.S_X + i]
        contribution = params.coefficients[name] * (x - params.typical[name])
        if abs(contribution) > NOTHING:
            found.append((name, x, contribution, evidence(name, row, topic, contribution, own)))
    return sorted(found, key=lambda reason: -reason[2])

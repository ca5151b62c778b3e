"""Evidence in words: what a CRM agent reads before the call."""

from __future__ import annotations

from collections.abc import Sequence

from cxstream.kernels import layout as k
from cxstream.model.parameters import DAY_MS

Row = Sequence[float]


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


def troubles(row: Row, topic: str) -> list[str]:
    """What cost the customer effort in the signal's span of days, the contacts first."""
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


def _effort(row: Row, topic: str) -> str:
    parts = troubles(row, topic)
    if row[k.S_COMPLAINTS]:
        parts.append(complaints(row))
    return ", ".join(parts) or f"effort {row[k.S_EFFORT]:.0f} of 100, no trouble in the window"


def _surge(row: Row, _topic: str) -> str:
    return (
        f"effort {row[k.S_EFFORT_SHORT]:.0f} of 100 this week against {row[k.S_EFFORT]:.0f} over the window"
    )


def _dissatisfaction(row: Row, _topic: str) -> str:
    basis = "with recent answers" if row[k.S_ANSWERS] else "inferred, no answer given"
    return f"satisfaction {row[k.S_SAT]:.0f} of 100, {basis}"


def _detractor(row: Row, _topic: str) -> str:
    days = row[k.S_CLOCK] // DAY_MS - row[k.S_NPS_TIME] // DAY_MS
    return f"NPS answer {int(row[k.S_NPS])}, {ago(days)}"


def _complaint(row: Row, _topic: str) -> str:
    return complaints(row) or "no open complaint"


def _silence(row: Row, _topic: str) -> str:
    days, rhythm = int(row[k.S_QUIET]), row[k.S_RHYTHM]
    return f"no touch for {count(days, 'day')}, usually one every {rhythm:.1f} days"


def _lapse(_row: Row, _topic: str) -> str:
    return "purchases have stopped"


def _unsubscribed(row: Row, _topic: str) -> str:
    return f"unsubscribed {ago(row[k.S_UNSUBSCRIBED])}"


# In the order of model.kinds.FEATURES.
_EVIDENCE = (_effort, _surge, _dissatisfaction, _detractor, _complaint, _silence, _lapse, _unsubscribed)


def evidence(feature: int, row: Row, topic: str, contribution: float) -> str:
    """What stands behind a feature of a signal.

    Args:
        feature: index in FEATURES.
        row: SIGNAL_WIDTH numbers of the signal.
        topic: text of the contact topic in the row, "" for none.
        contribution: of the feature to the risk; where it lowers the risk, trouble is not its evidence.
    """
    if feature == 0 and contribution < 0:
        return f"effort {row[k.S_EFFORT]:.0f} of 100, less than usual"
    return _EVIDENCE[feature](row, topic)

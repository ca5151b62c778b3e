"""The last lines of a replay: what went wrong with the order, the times and the records, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.logs.counted import are, counted, none_usable, were
from cxstream.logs.printable import printable
from cxstream.model.parameters import DAY_MS
from cxstream.model.rfc3339 import rfc3339
from cxstream.scoring.codec.decode import FORGED, FROM_THE_FUTURE, INVALID, TOO_LARGE, TOO_LATE
from cxstream.scoring.state.passed_over import FAILED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cxstream.replay.order import Jump
    from cxstream.replay.summary import InputTally, Tally

_MUCH = 0.01
"""The share of an input's records that may be rejected before the last line says so."""

_SHOWN = 3
_CONVERT = "`cxstream convert` turns other data into touchpoints"


def name_of(path: Path) -> str:
    """What messages call an input."""
    return "standard input" if str(path) == "-" else printable(str(path))


def order_notes(tally: Tally, *, in_order: bool) -> Iterator[str]:
    """What the order of the records did, a line each; nothing where it did no harm.

    Args:
        tally: of the replay.
        in_order: whether they were sorted.
    """
    order = tally.order
    much = _MUCH * tally.records
    # A few records far older than the first one are old themselves; many mean that the first one is out of place.
    jumps = [jump for jump in order.jumps() if jump.before is not None or jump.late > much]
    for jump in jumps[:_SHOWN]:
        yield _jumped(jump)
    if more := jumps[_SHOWN:]:
        late = sum(jump.late for jump in more)
        yield f"{counted(late, 'more record')} {are(late)} too late because of {counted(len(more), 'more such jump')}"
    if order.drifted and order.drift_begins:
        path, line = order.drift_begins
        yield (
            f"{counted(order.drifted, 'record')} {are(order.drifted)} too late, behind records that are newer by more than"
            f" the window: the first is {name_of(path)}:{line}"
        )
    # A few late events are what a stream is like; files of several systems, or newest first, are not.
    if order.begins and not in_order and (order.newest_first or order.far > much):
        path, line = order.begins
        found = (
            "the records are newest first"
            if order.newest_first
            else "the records are not in the order of time"
        )
        yield (
            f"{found}: {order.behind:,} {are(order.behind)} older than one before, by up to {_days(order.worst)}"
            f" (from {name_of(path)}:{line} on); score them in order with --sort"
        )


def _jumped(jump: Jump) -> str:
    where = f"{name_of(jump.path)}:{jump.line}"
    moved = (
        f"set the clock at {rfc3339(jump.after)}"
        if jump.before is None
        else f"moved the clock by {_days(jump.after - jump.before)},"
        f" from {rfc3339(jump.before)} to {rfc3339(jump.after)}"
    )
    return f"{where} {moved}: {counted(jump.late, 'later record')} {are(jump.late)} too late because of it"


def _days(ms: int) -> str:
    days = ms / DAY_MS
    if days >= 730:  # noqa: PLR2004 - two years
        return f"{days / 365.25:,.0f} years"
    return f"{days:,.0f} days" if days >= 2 else f"{days * 24:,.0f} hours"  # noqa: PLR2004


def forged_note(tally: Tally) -> str | None:
    """What was not signed as the settings want it, in a line; None where nothing was."""
    count = tally.rejected[FORGED]
    if not count:
        return None
    records = f"{counted(count, 'control record')} {were(count)}"
    return (
        f"{records} rejected as {FORGED}: not signed with the control.key of the settings, so they erased nobody and moved "
        "no clock; without control.key in the settings, all of them count"
    )


def unusable(tally: Tally) -> Iterator[str]:
    """The inputs that held records of which none could be used, a line each."""
    for path, counts in tally.inputs.items():
        if counts.records and counts.rejected.total() == counts.records:
            yield f"{name_of(path)}: {none_usable(counts.records)}: {_remedy(counts, in_order=False)}"


def warning(tally: Tally, rejected_file: Path, *, in_order: bool) -> str | None:
    """The last line, where much of an input was rejected; None where not.

    Args:
        tally: of the replay.
        rejected_file: where the rejected records are.
        in_order: whether the records were sorted.
    """
    bad = [
        (path, counts)
        for path, counts in tally.inputs.items()
        if counts.rejected.total() > _MUCH * counts.records
    ]
    if not bad:
        return None
    bad.sort(key=lambda item: -item[1].rejected.total())
    path, worst = bad[0]
    others = f" (and {counted(len(bad) - 1, 'more input')} with more than 1%)" if len(bad) > 1 else ""
    share = f"{worst.rejected.total() / worst.records:.1%}"
    return (
        f"{name_of(path)}: {worst.rejected.total():,} of {counted(worst.records, 'record')} ({share}) rejected{others}:"
        f" {_remedy(worst, in_order=in_order)}; see {rejected_file}"
    )


def _remedy(counts: InputTally, *, in_order: bool) -> str:
    """The reasons, each with what to do about it."""
    said = []
    useless = counts.rejected.total() == counts.records
    for reason, count in counts.rejected.most_common():
        if reason == TOO_LATE and not in_order:
            advice = "score the records in the order of time with --sort"
        elif reason == TOO_LATE:
            advice = "older than the window"
        elif reason == FROM_THE_FUTURE:
            advice = "later than the limit; correct the times, or set another limit with --until"
        elif reason == FORGED:
            advice = "not signed with control.key"
        elif reason == TOO_LARGE:
            advice = "larger than scoring.max_record_bytes; raise it, or make smaller records"
        elif reason == FAILED:
            advice = "an error of cxstream; report it, with the version"
        else:
            advice = _wrong(counts) if reason == INVALID else "no JSON, or cut off"
            # Where other records are events, these are no other data.
            advice += f"; {_CONVERT}" if useless else ""
        said.append(f"{count:,} {reason} ({advice})")
    return ", ".join(said)


def _wrong(counts: InputTally) -> str:
    """What is wrong with most of the invalid records."""
    field, count = counts.invalid.most_common(1)[0]
    most = "" if count == counts.invalid.total() else f"{count:,} of them: "
    return printable(
        f"{most}{field}: {counts.messages[field]}" if field else f"{most}{counts.messages[field]}"
    )

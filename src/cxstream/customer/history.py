"""A customer's touchpoints and the points of each, computed by the rules of the worker.

The records are read from the log and applied to a separate engine, one at a time: the increase of a pane is
the points of the record. Points do not depend on other customers, but some depend on earlier records (a repeated
contact, a switch of channel, a run of clicks), so reading starts before the first record that is shown.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from cxstream.model.kinds import type_of
from cxstream.model.parameters import DAY_MS, HOUR_MS
from cxstream.model.rfc3339 import rfc3339
from cxstream.scoring.codec.peek import about
from cxstream.scoring.codec.rejection import unfold
from cxstream.scoring.engine import Engine, Records
from cxstream.scoring.view import describe
from cxstream.topology import RESENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cxstream.scoring.engine import Outcome
    from cxstream.settings import Settings

# Differences of sums of points lose some of the last digits.
_DIGITS = 9
_NONE_REFUSED: Mapping[int, str] = MappingProxyType({})


class Touch(msgspec.Struct, frozen=True):
    """One record of the customer.

    Attributes:
        offset: in the customer's partition of cx.touchpoints.
        arrived: Kafka's timestamp.
        time: event time, as the source wrote it.
        kind: of touchpoint.
        channel: "" if it cannot be read.
        source: the system that sent it.
        id: its id there.
        outcome: counted, duplicate, erases (an erasure request), erased (dropped because of such a request), or the
            reason it was rejected for.
        effort: its effort points.
        mood: its mood points.
    """

    offset: int
    arrived: str
    time: str
    kind: str
    channel: str
    source: str
    id: str
    outcome: str
    effort: float
    mood: float


def context_ms(settings: Settings) -> int:
    """How long before the first record that is shown reading must start, in ms."""
    scoring = settings.scoring
    return round(max(scoring.repeat_days * DAY_MS, scoring.switch_hours * HOUR_MS))


def refused(records: Iterable[Any], touchpoints: str) -> dict[int, str]:
    """Offsets of cx.touchpoints that the worker has rejected, and why, by the headers of records of cx.rejected.

    Args:
        records: of cx.rejected.
        touchpoints: the name of cx.touchpoints.
    """
    found = {}
    for record in records:
        if (parts := unfold(list(record.headers))) is None:
            continue  # not written by the worker
        try:
            reason, topic, offset = (parts[1][name].decode() for name in ("reason", "topic", "offset"))
            if topic == touchpoints and reason != RESENT:
                found[int(offset)] = reason
        except ValueError:
            continue
    return found


def touches(
    settings: Settings, subject: str, records: Sequence[Any], refused: Mapping[int, str] = _NONE_REFUSED
) -> list[Touch]:
    """The records of one customer with the points of each, in order.

    Args:
        settings: with the scoring parameters.
        subject: the customer.
        records: the customer's records of cx.touchpoints, in offset order.
        refused: offsets that the worker has rejected, and why: it knows the clock of the whole partition.
    """
    engine = Engine(settings.scoring, settings.actions, authority=settings.control.authority())
    future_ms = round(settings.scoring.future_minutes * 60_000)
    own = {type_of(name): name for name in settings.scoring.kinds}
    found, before = [], _points(engine, subject)
    for record in records:
        if record.offset in refused:
            found.append(_touch(record, own, refused[record.offset], 0.0, 0.0))
            continue
        outcome = engine.process(
            Records(
                values=[record.value],
                offsets=[record.offset],
                limits=[record.timestamp + future_ms],
                keys=[record.key],
                headers=[record.headers],
                grace=future_ms,
            )
        )
        after = _points(engine, subject)
        found.append(_touch(record, own, _became(outcome), *_gained(before, after)))
        before = after
    return found


def _became(outcome: Outcome) -> str:
    if outcome.rejected:
        return outcome.rejected[0].reason
    if outcome.duplicates:
        return "duplicate"
    if outcome.erased:
        return "erased"
    return "counted" if outcome.accepted else "erases"


_Days = dict[str, tuple[float, float]]


def _points(engine: Engine, subject: str) -> _Days:
    view = describe(engine, subject)
    return {day.day: (day.effort, day.mood) for day in view.days} if view else {}


def _gained(before: _Days, after: _Days) -> tuple[float, float]:
    """The increase of the days; days that have left the window are ignored."""
    gains = [
        (effort - before.get(day, (0.0, 0.0))[0], mood - before.get(day, (0.0, 0.0))[1])
        for day, (effort, mood) in after.items()
    ]
    return sum(effort for effort, _ in gains), sum(mood for _, mood in gains)


def _touch(record: Any, own: Mapping[str, str], outcome: str, effort: float, mood: float) -> Touch:
    said = about(record.value, record.headers)
    return Touch(
        offset=record.offset,
        arrived=rfc3339(record.timestamp),
        time=str(said.time or ""),
        kind=own.get(said.kind, said.kind),
        channel=said.channel,
        source=str(said.source or ""),
        id=str(said.id or ""),
        outcome=outcome,
        effort=round(effort, _DIGITS) + 0.0,
        mood=round(mood, _DIGITS) + 0.0,
    )

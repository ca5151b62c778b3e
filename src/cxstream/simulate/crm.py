"""A CRM that acts on churn-risk signals by their arm, so that what acting does can be known and measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from cxstream.model import outputs
from cxstream.model.kinds import Kind
from cxstream.scoring.router import Router
from cxstream.simulate.people import GONE, LEAVING, NEVER, STAYING
from cxstream.simulate.rows import RESOLVED, UNRESOLVED, Rows, rows
from cxstream.simulate.world import OTHER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cxstream.model.rules import Rules
    from cxstream.simulate.day import Day
    from cxstream.simulate.departures import Departures

_NEWS = frozenset({"raised", "worsened"})


@dataclass(frozen=True, slots=True)
class Acting:
    """How the CRM acts.

    Attributes:
        rules: with experiments; signals follow from them.
        effect: chance, 0..1, that an action keeps its customer: their pain goes, and who had decided to leave stays.
    """

    rules: Rules
    effect: float


@dataclass(frozen=True, slots=True)
class Act:
    """What was done, and what came of it.

    Attributes:
        at: ms UTC.
        arm: treated or holdout; nothing is done to the holdout.
        kept: the action worked.
    """

    at: int
    arm: str
    kept: bool


class _Data(msgspec.Struct):
    change: str
    arm: str | None = None


class _Signal(msgspec.Struct):
    subject: str
    data: _Data


class Crm:
    """Scores the records as they arrive, as a worker with one partition does, and acts the day after a signal.

    Attributes:
        acts: by customer's index.
    """

    def __init__(self, acting: Acting, subjects: Sequence[bytes]) -> None:
        self._effect = acting.effect
        self._router = Router(acting.rules.params, acting.rules.actions)
        self._decode = msgspec.json.Decoder(_Signal).decode
        self._index = {subject.decode(): index for index, subject in enumerate(subjects)}
        self._told: dict[int, str] = {}
        self.acts: dict[int, list[Act]] = {}

    def read(self, values: Sequence[bytes], until: int) -> None:
        """Take records that arrived until a time, ms UTC."""
        for row in self._router.process(values, until).rows:
            if row.topic != outputs.CHURN_RISK.topic:
                continue
            signal = self._decode(row.value)
            if signal.data.arm is not None and signal.data.change in _NEWS:
                self._told[self._index[signal.subject]] = signal.data.arm

    def act(self, day: Day, departures: Departures) -> Rows:
        """What is done on a day about the signals until its beginning; the holdout's action is noted, and not done."""
        people = day.people
        told, self._told = self._told, {}
        cust = np.array(sorted(told), np.int64)
        cust = cust[people.state[cust] != GONE]
        treated = np.array([told[index] == "treated" for index in cust.tolist()], np.bool_)
        times = day.hours(len(cust))
        kept = treated & (day.chance(len(cust)) < self._effect)
        stays = cust[kept]
        people.pain[stays] = 0.0
        people.by_cause[stays] = 0.0
        for index in stays[people.state[stays] == LEAVING].tolist():
            departures.of[index].pop()
        people.state[stays], people.left_at[stays] = STAYING, NEVER
        for index, at, is_treated, is_kept in zip(
            cust.tolist(), times.tolist(), treated.tolist(), kept.tolist(), strict=True
        ):
            self.acts.setdefault(index, []).append(Act(at, "treated" if is_treated else "holdout", is_kept))
        return rows(
            Kind.action_taken,
            cust,
            times,
            channel="crm",
            ref=day.numbers.take(len(cust)),
            outcome=np.where(treated, RESOLVED, UNRESOLVED),
            cause=OTHER,
        )

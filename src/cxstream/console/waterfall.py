"""From a typical customer's risk to this one's, reason by reason: equal lengths are equal contributions in log-odds."""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from cxstream.console.drawing import Axis
    from cxstream.console.language import Language

_RISKS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.55, 0.75, 0.9, 0.95, 0.99)
_ROW = 34
_LEAST_GAP = 30


def ticks(axis: Axis) -> list[tuple[float, float]]:
    """Risks that stand on the axis, with their places."""
    found: list[tuple[float, float]] = []
    for risk in _RISKS:
        odds = log(risk / (1 - risk))
        if axis.low <= odds <= axis.high and (not found or axis.at(odds) - found[-1][1] >= _LEAST_GAP):
            found.append((risk, axis.at(odds)))
    return found


def fall(axis: Axis, before: float, after: float, tone: str = "") -> Markup:
    """A contribution from one place of the axis to another; a tick where they are the same place.

    Args:
        axis: in log-odds.
        before: where it begins.
        after: where it ends.
        tone: k for ink; else strain where the risk rises, and ease where it falls.
    """
    start, end = sorted((axis.at(before), axis.at(after)))
    kind = tone or ("e" if after >= before else "s")
    lines = Markup("").join(
        Markup('<path class="gr" d="M{0:.1f} 0V{1}"/>').format(x, _ROW) for _, x in ticks(axis)
    )
    bar = Markup('<rect class="f{}" x="{:.1f}" y="10" width="{:.1f}" height="14" rx="1"/>').format(
        kind, start - (1 if tone else 0), max(2.0, end - start)
    )
    return Markup(
        '<svg viewBox="0 0 {0:g} {1}" width="{0:g}" height="{1}" aria-hidden="true">{2}{3}</svg>'
    ).format(axis.width, _ROW, lines, bar)


def head(axis: Axis, words: Language) -> Markup:
    """The risks of the axis, for the head of the column."""
    texts = Markup("").join(
        Markup('<text x="{:.1f}" y="11" text-anchor="middle" class="t11">{}</text>').format(
            x, words.number(risk, 2)
        )
        for risk, x in ticks(axis)
    )
    return Markup(
        '<svg class="dax" viewBox="0 0 {0:g} 14" width="{0:g}" height="14" aria-hidden="true">{1}</svg>'
    ).format(axis.width, texts)

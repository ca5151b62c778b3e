"""Differences with their intervals as SVG."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP = 720, 30, 190, 20, 40
_INK = "#1f6fb2"

Interval = tuple[str, float, float, float]


def intervals(title: str, rows: Sequence[Interval]) -> str:
    """A row for each difference, with a line at nothing.

    Args:
        title: what is shown, with its unit.
        rows: name, difference, and the ends of its interval.
    """
    low, high = min(0.0, *(row[2] for row in rows)), max(0.0, *(row[3] for row in rows))
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - low) / span

    height = _TOP + _ROW * len(rows) + 30
    parts = [
        (
            f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}" '
            'font-family="system-ui, sans-serif" font-size="13" fill="currentColor">'
        ),
        f'<text x="0" y="20" font-weight="600">{escape(title)}</text>',
        (
            f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{_TOP - 8}" y2="{height - 22}" stroke="currentColor" '
            'stroke-opacity=".4"/>'
        ),
    ]
    for i, (name, middle, start, end) in enumerate(rows):
        y = _TOP + _ROW * i + 10
        parts += [
            f'<text x="0" y="{y + 4}">{escape(name)}</text>',
            f'<line x1="{x(start):.1f}" x2="{x(end):.1f}" y1="{y}" y2="{y}" stroke="{_INK}" stroke-width="2.5"/>',
            f'<circle cx="{x(middle):.1f}" cy="{y}" r="4.5" fill="{_INK}"/>',
        ]
    parts += [
        f'<text x="{x(value):.1f}" y="{height - 6}" text-anchor="middle">{value:,.3g}</text>'
        for value in sorted({low, 0.0, high})
    ]
    return "\n".join([*parts, "</svg>"])

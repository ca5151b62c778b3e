"""Draws the main panels of each dashboard, asking a Prometheus the panels' own queries.

Not what Grafana draws: the numbers are the same, the look is matplotlib's.

python deploy/dashboards/pictures.py http://localhost:9090 --minutes 60
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import dates
from matplotlib import pyplot as plt
from matplotlib.ticker import EngFormatter, FuncFormatter, PercentFormatter
from PIL import Image

import experience
import pipeline
import state
from asking import Series, Span, asked
from board import MARGIN
from promql import PER_SECOND

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from board import Board, Panel

OUT = Path(__file__).parent.parent.parent / "docs" / "images"
MAIN: tuple[tuple[Board, tuple[str, ...]], ...] = (
    (
        pipeline.BOARD,
        (
            "Records a second, by outcome",
            "Delay from append to commit, live",
            "Lag over time",
            "Signals a minute",
            "Rejected a second, by reason",
            "Time of a flush, 95 %",
        ),
    ),
    (
        experience.BOARD,
        (
            "NPS with its margin",
            "CSAT with its margin",
            "CES with its margin",
            "Customers with a raised risk",
            "Leading reasons of raises",
            "Effort of all customers",
            "Signals an hour, by kind",
            "Contacts not resolved, by channel",
            "Waiting, median and 90 %",
        ),
    ),
    (
        state.BOARD,
        (
            "Lag, by partition",
            "Transactions a second, by end",
            "Time of a transaction",
            "Customers, by partition",
            "Memory of the state, by partition",
            "Age of the last snapshot, by partition",
        ),
    ),
)
COLUMNS = 3
Corner = Literal["upper left", "lower left"]
# From so many names on, a legend has two columns.
_LONG = 4
_COLOURS = 128
# From so many seconds on, a duration is in minutes.
_MINUTES = 120
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "axes.prop_cycle": cycler(
        color=[
            "#2563a8",
            "#e08a1e",
            "#3f9b59",
            "#c43c39",
            "#7a5ea8",
            "#8a6552",
            "#4aa5b5",
            "#b5579a",
            "#6b7280",
            "#a3a327",
        ]
    ),
}
_SHORT = EngFormatter("s", sep="\u2009")
_UNITS: dict[str, Any] = {
    "percentunit": PercentFormatter(1, decimals=0),
    "percent": PercentFormatter(100, decimals=0),
    "s": FuncFormatter(lambda value, _: _duration(value)),
    "bytes": EngFormatter("B", sep="\u2009"),
    "short": FuncFormatter(lambda value, _: f"{value:,.10g}"),
    PER_SECOND: FuncFormatter(lambda value, _: f"{value:,.10g}/s"),
}


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.2g} min" if seconds >= _MINUTES else _SHORT(seconds)


def draw(board: Board, titles: tuple[str, ...], address: str, span: Span, note: str) -> Path:
    """Draw panels of a board into a PNG; its path.

    Raises:
        ValueError: a panel has no data.
    """
    rows = -(-len(titles) // COLUMNS)
    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, COLUMNS, figsize=(13, 2.75 * rows + 0.5), layout="constrained")
        for place, title in zip(axes.flat, titles, strict=True):
            panel = board.panel(title)
            _DRAWN[panel.kind](place, panel, [asked(address, query, span) for query in panel.queries])
            place.set_title(title)
        figure.suptitle(f"{board.title}   ({note})" if note else board.title, fontsize=10, x=0.01, ha="left")
        path = OUT / f"{Path(board.file).stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=84)
        plt.close(figure)
    # A drawing has few colours; with a palette the file is a third.
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)
    return path


def _flat(panel: Panel, found: list[list[Series]]) -> list[Series]:
    series = [one for several in found for one in several]
    if not series:
        raise ValueError(
            f"{panel.title}: no data in this time range; ask about another, or let more traffic come"
        )
    return series


def _time_axis(axes: Axes, panel: Panel, names: int, legend: Corner = "upper left") -> None:
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=8))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.yaxis.set_major_formatter(_UNITS[panel.unit])
    axes.margins(x=0)
    if names:
        axes.legend(loc=legend, ncols=1 + names // _LONG)


def _moments(times: list[float]) -> Any:
    return np.array(times).astype("M8[s]")


def _lines(axes: Axes, panel: Panel, found: list[list[Series]]) -> None:
    series = _flat(panel, found)
    if panel.stacked:
        times = sorted({time for one in series for time in one.times})
        heights = [np.interp(times, one.times, one.values, 0, 0) for one in series]
        axes.stackplot(_moments(times), *heights, labels=[one.name for one in series], alpha=0.75)
    else:
        for one in series:
            axes.plot(_moments(one.times), one.values, label=one.name)
    top = axes.get_ylim()[1] * 1.25
    axes.set_ylim(panel.low if panel.low is not None else axes.get_ylim()[0], min(top, panel.high or top))
    for value, color in panel.steps[1:]:
        if value < axes.get_ylim()[1]:
            axes.axhline(value, color=color, linestyle="--", linewidth=0.8)
    _time_axis(axes, panel, len(series))


def _band(axes: Axes, panel: Panel, found: list[list[Series]]) -> None:
    _flat(panel, found)
    (lower,), (upper,), (middle,) = found
    axes.fill_between(_moments(lower.times), lower.values, upper.values, alpha=0.22, label=f"{MARGIN} 95 %")
    axes.plot(_moments(middle.times), middle.values, label=panel.queries[2].legend)
    axes.set_ylim(panel.low, panel.high)
    _time_axis(axes, panel, 2, "lower left")


def _bars(axes: Axes, panel: Panel, found: list[list[Series]]) -> None:
    last = sorted((one.values[-1], one.name) for one in _flat(panel, found) if one.values[-1])
    bars = axes.barh([name for _, name in last], [value for value, _ in last], height=0.65)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.xaxis.set_major_formatter(_UNITS[panel.unit])
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")


def _heat(axes: Axes, panel: Panel, found: list[list[Series]]) -> None:
    by_bound = sorted(
        (float(one.labels["le"]), one) for one in _flat(panel, found) if one.labels["le"] != "+Inf"
    )
    times = by_bound[0][1].times
    cumulated = np.array([one.values for _, one in by_bound])
    counts = np.diff(cumulated, axis=0, prepend=0.0)
    edges = [0.0, *(bound for bound, _ in by_bound)]
    until = times[-1] + (times[-1] - times[-2])
    mesh = axes.pcolormesh(_moments([*times, until]), edges, np.sqrt(counts), cmap="Oranges", rasterized=True)
    bar = axes.figure.colorbar(
        mesh, ax=axes, pad=0.01, format=FuncFormatter(lambda root, _: f"{root**2:,.0f}")
    )
    bar.set_label("customers", fontsize=7)
    axes.grid(visible=False)
    _time_axis(axes, panel, 0)


_DRAWN: dict[str, Callable[[Axes, Panel, list[list[Series]]], None]] = {
    "lines": _lines,
    "band": _band,
    "bars": _bars,
    "heat": _heat,
}


def main() -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("prometheus", help="its address, as http://localhost:9090")
    parser.add_argument("--minutes", type=float, default=60, help="how far to look back")
    parser.add_argument("--until", type=float, default=time.time(), help="end of the time range, Unix time")
    parser.add_argument("--lately", default="1m", help="in place of $__rate_interval; four scrapes at least")
    parser.add_argument("--window", default="7d", help="in place of $window")
    parser.add_argument("--note", default="", help="what to say about the traffic")
    parser.add_argument(
        "--only", choices=[board.file for board, _ in MAIN], help="one dashboard, by its file"
    )
    chosen = parser.parse_args()
    mpl.use("agg")
    seconds = chosen.minutes * 60
    step = max(1.0, round(seconds / 240))
    span = Span(chosen.until - seconds, chosen.until, step, chosen.lately, chosen.window)
    for board, titles in MAIN:
        if chosen.only in {None, board.file}:
            print(draw(board, titles, chosen.prometheus, span, chosen.note))


if __name__ == "__main__":
    main()

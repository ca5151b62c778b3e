"""What a dashboard is, as data: rows of panels, each with what it shows, its queries and its limits.

`grafana.py` makes Grafana's JSON of it, `generate.py` the tables of docs/dashboards.md, `pictures.py` the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["lines", "band", "number", "bars", "table", "heat"]
Step = tuple[float, str]

GREEN, YELLOW, RED = "green", "yellow", "red"
# Legend of what is plus or minus.
MARGIN = "±"


@dataclass(frozen=True, slots=True)
class Query:
    """One query, in PromQL or SQL.

    Attributes:
        expr: PromQL or SQL, with Grafana's variables and macros in it. SQL of lines has the columns time, metric, value.
        legend: name of its series; {{label}} stands for a label's value. In a table the heading of its column.
        unit: of this column of a table, where it differs from the panel's.
    """

    expr: str
    legend: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: what is measured, with its window if that is fixed.
        shows: a sentence or two for who reads it.
        queries: what is asked.
        unit: Grafana's name of the unit.
        kind: how it is drawn. A band has three queries: its lower edge, its upper edge, and the line in it.
        width: of 24 columns.
        height: in Grafana's rows of 30 pixels.
        steps: colours from a value on; the first one holds below the second.
        alerts: names of the alerts on the same numbers, whose runbooks are linked.
        stacked: whether lines are put on top of each other.
        low: where the axis begins.
        high: where the axis ends.
        decimals: shown digits after the point.
    """

    title: str
    shows: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: Kind = "lines"
    width: int = 8
    height: int = 8
    steps: tuple[Step, ...] = ()
    alerts: tuple[str, ...] = ()
    stacked: bool = False
    low: float | None = None
    high: float | None = None
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading; their widths fill lines of 24."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard.

    Attributes:
        uid: stays what it is, so that links and bookmarks do.
        file: its JSON in deploy/grafana.
        title: its name.
        about: for whom, and what for.
        rows: its panels.
        since: begin of the time range that it opens with.
        refresh: how often it asks anew.
        channels: whether the channels can be chosen ($channel).
        windows: what can be chosen for $window, the first one if nothing is.
        source: what is asked.
    """

    uid: str
    file: str
    title: str
    about: str
    rows: tuple[Row, ...]
    since: str = "now-1h"
    refresh: str = "30s"
    channels: bool = False
    windows: tuple[str, ...] = field(default=())
    source: Literal["prometheus", "postgresql"] = "prometheus"

    def panels(self) -> Iterator[Panel]:
        """All panels, in order."""
        for row in self.rows:
            yield from row.panels

    def panel(self, title: str) -> Panel:
        """The panel of this title.

        Raises:
            KeyError: there is none.
        """
        for panel in self.panels():
            if panel.title == title:
                return panel
        raise KeyError(f"{self.title} has no panel {title!r}")

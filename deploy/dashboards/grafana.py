"""Makes Grafana's JSON of a board, with the types of grafana-foundation-sdk.

Panels are numbered in order. Each asks the data source of the variable $datasource, so that a board fits any Grafana
that has a Prometheus, or a PostgreSQL that `cxstream sink` writes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models import common as c
from grafana_foundation_sdk.models import dashboard as d
from grafana_foundation_sdk.models import heatmap as h
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from board import MARGIN

if TYPE_CHECKING:
    from board import Board, Panel, Query

SOURCE = c.DataSourceRef(type_val="prometheus", uid="${datasource}")
DATABASE = c.DataSourceRef(type_val="grafana-postgresql-datasource", uid="${datasource}")
RUNBOOKS = "docs/runbooks"
TAG = "cxstream"
_HALF = 20

register_default_plugins()


def text_of(board: Board, runbooks: str = RUNBOOKS) -> str:
    """The JSON of a board.

    Args:
        board: the board.
        runbooks: where the runbooks can be read: the default of the variable $runbooks.
    """
    # Builders leave some defaults out that the types have; read back, the text is what the types say.
    made = d.Dashboard.from_json(json.loads(json.dumps(made_of(board, runbooks), cls=JSONEncoder)))
    return json.dumps(made, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def made_of(board: Board, runbooks: str = RUNBOOKS) -> d.Dashboard:
    """A board in the SDK's types."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time(board.since, "now")
        .refresh(board.refresh)
        .tooltip(d.DashboardCursorSync.CROSSHAIR)
        .link(_others())
        .variables(_variables(board, runbooks))
    )
    number = 0
    for row in board.rows:
        number += 1
        made.with_row(dashboard.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            made.with_panel(_panel(panel, board).id(number))
    return made.build()


def _others() -> Any:
    """Links to the other boards, with the time range and the data source."""
    return (
        dashboard.DashboardLink("cxstream")
        .type(d.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .keep_time(keep_time=True)
        .include_vars(include_vars=True)
    )


def _variables(board: Board, runbooks: str) -> list[Any]:
    source = DATABASE if board.source == "postgresql" else SOURCE
    made: list[Any] = [
        dashboard.DatasourceVariable("datasource").label("Data source").type(str(source.type_val))
    ]
    if board.source == "postgresql":
        made.append(
            dashboard.TextBoxVariable("schema")
            .label("Schema")
            .description("Schema of the tables: the setting sink.schema_name")
            .default_value("cxstream")
        )
    if board.channels:
        made.append(_channels())
    if board.windows:
        made.append(_windows(board.windows))
    if any(panel.alerts for panel in board.panels()):
        made.append(
            dashboard.TextBoxVariable("runbooks")
            .label("Runbooks at")
            .description("Address of docs/runbooks, for the links of panels with alerts")
            .default_value(runbooks)
        )
    return made


def _channels() -> Any:
    return (
        dashboard.QueryVariable("channel")
        .label("Channel")
        .datasource(SOURCE)
        .query({"query": "label_values(cxstream_nps_answers_total, channel)", "refId": "channel"})
        .refresh(d.VariableRefresh.ON_DASHBOARD_LOAD)
        .sort(d.VariableSort.ALPHABETICAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(d.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _windows(windows: tuple[str, ...]) -> Any:
    return (
        dashboard.CustomVariable("window")
        .label("Window")
        .description("What scores, shares and rankings look back over")
        .values(",".join(windows))
        .options([d.VariableOption(selected=w == windows[0], text=w, value=w) for w in windows])
        .current(d.VariableOption(selected=True, text=windows[0], value=windows[0]))
    )


# --- panels


def _panel(panel: Panel, board: Board) -> Any:
    made: Any = {
        "lines": _lines,
        "band": _band,
        "number": _number,
        "bars": _bars,
        "table": _table,
        "heat": _heat,
    }[panel.kind](panel)
    if board.source == "postgresql":
        made.targets(_sql(panel))
    made.title(panel.title).description(described(panel))
    made.datasource(DATABASE if board.source == "postgresql" else SOURCE)
    made.span(panel.width).height(panel.height).unit(panel.unit).no_value("no data")
    made.links([_runbook(alert) for alert in panel.alerts])
    for bound, limit in (("min", panel.low), ("max", panel.high), ("decimals", panel.decimals)):
        if limit is not None:
            getattr(made, bound)(limit)
    if panel.steps:
        made.thresholds(_thresholds(panel))
    return made


def described(panel: Panel) -> str:
    """What a panel shows, and where to read on when its alert fires."""
    runbooks = "".join(f"\n\nRunbook: {RUNBOOKS}/{alert}.md" for alert in panel.alerts)
    return panel.shows + runbooks


def _runbook(alert: str) -> Any:
    return (
        dashboard.DashboardLink(alert)
        .type(d.DashboardLinkType.LINK)
        .url(f"${{runbooks:raw}}/{alert}.md")
        .target_blank(target_blank=True)
    )


def _thresholds(panel: Panel) -> Any:
    # What is below the first step has its colour too: Grafana calls that null.
    steps = [d.Threshold(value if n else None, color) for n, (value, color) in enumerate(panel.steps)]
    return dashboard.ThresholdsConfig().mode(d.ThresholdsMode.ABSOLUTE).steps(steps)


def _queries(panel: Panel, kind: str = "range") -> list[Any]:
    return [_query(query, chr(ord("A") + n), kind) for n, query in enumerate(panel.queries)]


def _query(query: Query, name: str, kind: str) -> Any:
    made = prometheus.Dataquery().expr(query.expr).ref_id(name).datasource(SOURCE)
    made.legend_format(query.legend or "__auto")
    if kind == "range":
        return made.range()
    if kind == "heat":
        return made.range().format(PromQueryFormat.HEATMAP)
    made.instant()
    return made.format(PromQueryFormat.TABLE) if kind == "table" else made


class _Sql:
    """A query to PostgreSQL; the SDK has no type for it."""

    def __init__(self, query: Query, name: str, *, series: bool) -> None:
        self._made = {
            "datasource": {"type": DATABASE.type_val, "uid": DATABASE.uid},
            "editorMode": "code",
            "format": "time_series" if series else "table",
            "rawQuery": True,
            "rawSql": query.expr,
            "refId": name,
        }

    def build(self) -> UnknownDataquery:
        return UnknownDataquery(self._made)


def _sql(panel: Panel) -> list[Any]:
    return [
        _Sql(query, chr(ord("A") + n), series=panel.kind == "lines") for n, query in enumerate(panel.queries)
    ]


def _lines(panel: Panel) -> Any:
    made = (
        timeseries.Panel()
        .targets(_queries(panel))
        .line_width(1)
        .fill_opacity(_HALF if panel.stacked else 0)
        .show_points(c.VisibilityMode.NEVER)
        .span_nulls(span_nulls=False)
        .legend(common.VizLegendOptions().show_legend(show_legend=True).placement(c.LegendPlacement.BOTTOM))
        .tooltip(common.VizTooltipOptions().mode(c.TooltipDisplayMode.MULTI).sort(c.SortOrder.DESCENDING))
    )
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(c.StackingMode.NORMAL).group("A"))
    if panel.steps:
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(c.GraphThresholdsStyleMode.DASHED))
    return made


def _band(panel: Panel) -> Any:
    """A line within a band: the upper edge is filled down to the lower one."""
    made = _lines(panel)
    lower, upper, _ = (query.legend for query in panel.queries)
    edge = [
        d.DynamicConfigValue("custom.lineWidth", 0),
        d.DynamicConfigValue("custom.hideFrom", _only_plot()),
    ]
    made.override_by_name(lower, edge)
    made.override_by_name(
        upper,
        [
            *edge,
            d.DynamicConfigValue("custom.fillBelowTo", lower),
            d.DynamicConfigValue("custom.fillOpacity", _HALF),
        ],
    )
    return made


def _only_plot() -> dict[str, bool]:
    return {"legend": True, "tooltip": False, "viz": False}


def _last() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False)


def _number(panel: Panel) -> Any:
    several = len(panel.queries) > 1
    made = (
        stat.Panel()
        .targets(_queries(panel))
        .reduce_options(_last())
        .graph_mode(c.BigValueGraphMode.NONE if several else c.BigValueGraphMode.AREA)
        .color_mode(c.BigValueColorMode.VALUE)
        .text_mode(c.BigValueTextMode.VALUE_AND_NAME if several else c.BigValueTextMode.VALUE)
    )
    # A margin is neither good nor bad.
    made.override_by_name(MARGIN, [d.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": "text"})])
    return made


def _bars(panel: Panel) -> Any:
    return (
        bargauge.Panel()
        .targets(_queries(panel, "instant"))
        .reduce_options(_last())
        .orientation(c.VizOrientation.HORIZONTAL)
        .display_mode(c.BarGaugeDisplayMode.BASIC)
        .show_unfilled(show_unfilled=False)
    )


def _table(panel: Panel) -> Any:
    made = table.Panel().targets(_queries(panel, "table"))
    if not any(query.legend for query in panel.queries):
        # Its columns are those of the query.
        return made
    columns = {f"Value #{chr(ord('A') + n)}": query for n, query in enumerate(panel.queries)}
    if len(columns) == 1:
        columns = {"Value": panel.queries[0]}
    made.transformations(
        [
            d.DataTransformerConfig("merge", options={}),
            d.DataTransformerConfig(
                "organize",
                options={
                    "excludeByName": {"Time": True},
                    "indexByName": {},
                    "renameByName": {name: query.legend for name, query in columns.items()},
                },
            ),
        ]
    )
    for query in panel.queries:
        if query.unit:
            digits = 0 if query.unit == "short" and query.legend.endswith("answers") else panel.decimals
            made.override_by_name(
                query.legend,
                [d.DynamicConfigValue("unit", query.unit), d.DynamicConfigValue("decimals", digits)],
            )
    return made


def _heat(panel: Panel) -> Any:
    """How many customers are in each bucket; Grafana takes the cumulated buckets apart."""
    return (
        heatmap.Panel()
        .targets(_queries(panel, "heat"))
        .calculate(calculate=False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(h.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(h.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .cell_gap(1)
        .y_axis(heatmap.YAxisConfig().unit(panel.unit))
    )

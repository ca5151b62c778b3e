"""Quality: what each source delivers: accepted, late and rejected records, delays and gaps."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cxstream.console import charts, figures, refused, weeks
from cxstream.console.figures import Estimate, Grid, Measure
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.queries import own
from cxstream.console.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.reader import Row

_LATE = Measure("late", N_("Late"), scale=100, decimals=2, up="worse", tone="e")
_REJECTED = Measure("rejected", N_("Rejected"), scale=100, decimals=2, up="worse", tone="e")
_REASON = re.compile(r"[a-z_]+")
_UNKNOWN = {"rejected": None, "rejected_share": None}
_MEASURES = (_REJECTED, _LATE)


async def _show(ask: Ask) -> Mapping[str, Any]:
    now, before, weekly, sources, outside = await asyncio.gather(
        ask.view("quality"),
        ask.view("quality", scope=ask.scope.before),
        _weekly(ask),
        _sources(ask),
        refused.outside(ask),
    )
    total = now[0] if now else None
    earlier = before[0] if before and ask.scope.has_before else None
    is_unknown = refused.are_unknown(outside, total["rejected"] or 0 if total else 0)
    if is_unknown:
        total, earlier = (each and {**each, **_UNKNOWN} for each in (total, earlier))
        weekly, sources = ([{**row, **_UNKNOWN} for row in rows] for rows in (weekly, sources))
    return {
        "lede": _lede(ask, total, sources),
        "outside": refused.said(ask, outside),
        "uncounted": _uncounted_grid(ask, outside),
        "figures": [_figure(ask, each, total, earlier, weekly) for each in _MEASURES],
        "part": weeks.part(ask),
        "weeks": _week_grid(ask, weekly),
        "sources": _source_grid(ask, sources),
        "reasons": _reason_grid(ask, sources),
    }


async def _weekly(ask: Ask) -> list[Row]:
    """Counts of each week; of whole days they are kept."""
    scope = weeks.scope_of(ask.scope)
    has_whole_days = scope.until == datetime.combine(scope.until.date(), datetime.min.time())
    return await ask.view(own("deliveries") if has_whole_days else "quality", scope=scope, grain="week")


async def _sources(ask: Ask) -> list[Row]:
    rows = await ask.view("quality", by=("source",))
    return sorted(rows, key=lambda row: (-(row["rejected_share"] or 0.0), -row["touchpoints"]))


def _share(measure: Measure, row: Row | None) -> Estimate | None:
    """Counted records, not a sample: the share has no margin."""
    if row is None or row[f"{measure.column}_share"] is None:
        return None
    return Estimate(100 * row[f"{measure.column}_share"])


def _figure(
    ask: Ask, measure: Measure, now: Row | None, before: Row | None, weekly: Sequence[Row]
) -> dict[str, Any]:
    words = ask.language
    share, earlier = _share(measure, now), _share(measure, before)
    number = now[measure.column] if now else 0
    link = ask.customers("quality", "late") if measure is _LATE and number else ""
    title = words.gettext(measure.title)
    note = (
        words.gettext("%(share)s before") % {"share": measure.text(words, earlier.value)} if earlier else ""
    )
    return {
        "title": title,
        "now": figures.estimate(words, measure, share, link) if share else figures.none(),
        "change": figures.Cell(
            words.gettext("not known")
            if number is None
            else words.ngettext("{n} record", "{n} records", number)
        ),
        "note": note,
        "chart": weeks.chart(ask, measure, {row["period"]: _share(measure, row) for row in weekly}, title),
    }


def _lede(ask: Ask, now: Row | None, sources: Sequence[Row]) -> dict[str, Any] | None:
    if now is None or not (now["touchpoints"] or now["rejected"]):
        return None
    words = ask.language
    worst = next((row for row in sources if row["rejected"] and row["source"] is not None), None)
    return {
        "touchpoints": words.number(now["touchpoints"]),
        "rejected": words.number(now["rejected"] or 0),
        "is_unknown": now["rejected"] is None,
        "late": words.number(now["late"]),
        "worst": worst["source"] if worst else "",
        "worst_number": words.number(worst["rejected"]) if worst else "",
        "worst_share": words.percent(worst["rejected_share"], 2) if worst else "",
    }


def _week_grid(ask: Ask, weekly: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [figures.name(words.gettext("Week from"))]
    heads += [figures.head(words.gettext(text)) for text in (N_("Accepted"), N_("Rejected"), N_("Late"))]
    return Grid(
        heads,
        [
            [
                weeks.name(ask, row["period"])
                if row["period"]
                else figures.since(words.gettext("no day"), None),
                *(figures.count(words, row[name]) for name in ("touchpoints", "rejected", "late")),
            ]
            for row in weekly
        ],
    )


def _source_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    shares = [_share(_REJECTED, row) for row in rows]
    axis = charts.axis_of(shares, (0,), 120)
    heads = [
        figures.name(ask.label("dimension", "source")),
        figures.head(words.gettext("Accepted")),
        figures.head(words.gettext("Rejected")),
        figures.head(words.gettext("Share")),
        figures.drawn(charts.axis_head(axis, words), words.gettext("Drawn")),
        figures.head(words.gettext("Late")),
        figures.head(words.gettext("Median delay")),
        figures.head(words.gettext("19 of 20 within")),
        figures.head(words.gettext("Longest gap")),
        figures.head(words.gettext("Last")),
    ]
    grid = []
    for row, share in zip(rows, shares, strict=True):
        late = ask.customers("quality", "late", source=row["source"])
        people = ask.customers("quality", "touchpoints", source=row["source"])
        grid.append(
            [
                figures.name(_source(ask, row)),
                figures.count(words, row["touchpoints"], people),
                figures.count(words, row["rejected"]),
                figures.estimate(words, _REJECTED, share) if share else figures.none(),
                figures.drawn(charts.interval(axis, share, tone="e")),
                figures.count(words, row["late"], late),
                figures.Cell(words.duration(row["delay_median_s"])),
                figures.Cell(words.duration(row["delay_p95_s"])),
                figures.Cell(words.duration(row["longest_gap_s"])),
                figures.moment(words, row["last_time"]),
            ]
        )
    return Grid(heads, grid)


def _reason_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [
        figures.name(ask.label("dimension", "source")),
        figures.head(words.gettext("Rejected")),
        figures.name(words.gettext("Reasons and records")),
    ]
    found = [
        [
            figures.name(_source(ask, row)),
            figures.count(words, row["rejected"]),
            figures.name(_REASON.sub(lambda reason: ask.label("refusal", reason[0]), row["reasons"])),
        ]
        for row in rows
        if row["reasons"]
    ]
    return Grid(heads, found)


def _source(ask: Ask, row: Row) -> str:
    return row["source"] or ask.language.gettext("no source named")


def _uncounted_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    """What no period counts."""
    words = ask.language
    heads = [
        figures.name(ask.label("dimension", "source")),
        figures.name(words.gettext("Reason")),
        figures.head(words.gettext("No day")),
        figures.head(words.gettext("Of a day before the period")),
        figures.head(words.gettext("Arrived after the data")),
    ]
    return Grid(
        heads,
        [
            [
                figures.name(_source(ask, row)),
                figures.name(ask.label("refusal", row["reason"])),
                *(figures.count(words, row[name]) for name in ("dayless", "too_late", "long_after")),
            ]
            for row in rows
        ],
    )


async def _sources_table(ask: Ask) -> Table:
    return Table("quality-by-source", await _sources(ask))


async def _weeks_table(ask: Ask) -> Table:
    return Table(
        "quality-by-week",
        await ask.view("quality", scope=weeks.scope_of(ask.scope), grain="week", by=("source",)),
    )


PAGE = Page(
    name="quality",
    path="/quality",
    title=N_("Quality"),
    subtitle=N_("What the sources deliver"),
    show=_show,
    tables={"sources": _sources_table, "weeks": _weeks_table},
)

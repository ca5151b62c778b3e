"""Campaigns: what messages bring, what they cost customers, and what many of them do."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cxstream.console import charts, drawing, figures
from cxstream.console import weeks as weekly
from cxstream.console.figures import Grid, Measure
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cxstream.console.reader import Row

_MOST = 500
_SHOWN = 12
_WITHIN = 7
_OPENED = Measure("open", N_("Opened"), scale=100, decimals=0)
_CLICKED = Measure("click", N_("Clicked"), scale=100, decimals=1)
_BOUGHT = Measure("buy", N_("Bought"), scale=100, decimals=0)
_LEFT_LIST = Measure("unsubscribe", N_("Unsubscribed"), scale=100, decimals=1, up="worse", tone="e")
_COMPLAINED = Measure("complaint", N_("Complained"), scale=100, decimals=1, up="worse", tone="e")
_CHURNED = Measure("churn", N_("Left"), scale=100, decimals=1, up="worse", tone="e")
_MEASURES = (_OPENED, _CLICKED, _LEFT_LIST, _COMPLAINED)
_OF_PRESSURE = (_OPENED, _LEFT_LIST, _COMPLAINED, _CHURNED)
_SHARES = ("open", "click", "buy", "unsubscribe", "complaint", "churn")
# What is compared over time: without credit for purchases, which takes a fifth of the time.
_COMPARED = (
    "sent",
    "followed",
    "customers",
    *(f"{name}_{of}" for name in _SHARES for of in ("share", "low", "high")),
)
_COUNTS = {
    "open": "followed_opened",
    "click": "followed_clicked",
    "buy": "followed_bought",
    "unsubscribe": "followed_unsubscribed",
    "complaint": "followed_complained",
    "churn": "followed_churned",
}
_BY = ("campaign", "channel", "segment", "product")
_CREDIT = {"last": N_("Last touch"), "first": N_("First touch"), "decay": N_("All touches")}
_PRESSURE = ("1", "2", "3-4", "5+")


async def _show(ask: Ask) -> Mapping[str, Any]:
    by, credit = ask.choice("by", *_BY), ask.choice("credit", *_CREDIT)
    now, before, weeks, rows, pressure = await asyncio.gather(
        _rows(ask),
        _rows(ask, scope=ask.scope.before, columns=_COMPARED),
        _rows(ask, scope=weekly.scope_of(ask.scope), grain="week", columns=_COMPARED),
        _groups(ask, by, credit),
        _rows(ask, options={"band": "pressure"}),
    )
    total = now[0] if now and now[0]["customers"] else None
    earlier = before[0] if before and ask.scope.has_before else None
    shown = rows if ask.param("all") else rows[:_SHOWN]
    return {
        "total": total,
        "lede": _lede(ask, total, earlier) if total else None,
        "figures": [_figure(ask, each, total, earlier, weeks) for each in _MEASURES] if total else [],
        "part": weekly.part(ask, _known_until(ask)),
        "weeks": weekly.grid(ask, weeks, (ask.language.gettext("Sent"), "sent"), _MEASURES, Measure.of),
        "by": by,
        "choices": _choices(ask, "by", {name: ask.label("dimension", name) for name in _BY}),
        "credit": credit,
        "credits": _choices(
            ask, "credit", {name: ask.language.gettext(text) for name, text in _CREDIT.items()}
        ),
        "by_place": _group_grid(ask, by, credit, shown),
        "shown": len(shown),
        "all_groups": len(rows),
        "pressure": _pressure_grid(ask, pressure),
        "is_recent": any(row["followed"] < ask.scope.few <= row["sent"] for row in pressure),
        "is_young": total is not None and total["sent"] > 0 and total["followed"] < ask.scope.few,
        "older": ask.here(period="28d"),
        "within": _WITHIN,
    }


def _choices(ask: Ask, name: str, texts: Mapping[str, str]) -> list[tuple[str, str, str]]:
    first = next(iter(texts))
    return [(code, text, ask.here(**{name: None if code == first else code})) for code, text in texts.items()]


async def _rows(ask: Ask, **more: Any) -> list[Row]:
    """Rows of the view, with its shares named as estimates are."""
    rows = await ask.view("campaigns", limit=_MOST, **more)
    return [{**row, **{name: row[f"{name}_share"] for name in _SHARES}} for row in rows]


async def _groups(ask: Ask, by: str, credit: str) -> list[Row]:
    rows = await _rows(ask, by=(by,), options={"attribution": credit})
    return sorted(rows, key=lambda row: (-row["sent"], row[by] is None, row[by] or ""))


def _lede(ask: Ask, now: Row, before: Row | None) -> dict[str, Any]:
    words = ask.language
    left = _LEFT_LIST.of(now)
    change = figures.difference(left, _LEFT_LIST.of(before))
    return {
        "sent": words.ngettext("{n} message", "{n} messages", now["sent"]),
        "sent_link": ask.customers("campaigns", "sent"),
        "customers": now["customers"],
        "opened": _OPENED.text(words, _OPENED.of(now).value) if _OPENED.of(now) else "",  # type: ignore[union-attr]
        "left": _LEFT_LIST.text(words, left.value) if left else "",
        "sign": figures.direction(_LEFT_LIST, change),
        "is_compared": change is not None,
    }


def _figure(ask: Ask, measure: Measure, now: Row, before: Row | None, weeks: Sequence[Row]) -> dict[str, Any]:
    words = ask.language
    count = now[_COUNTS[measure.column]]
    title = words.gettext(measure.title)
    return {
        "title": title,
        "now": figures.estimate(words, measure, measure.of(now), _link(ask, measure) if count else "")
        if now["followed"]
        else figures.none(),
        "change": figures.change(words, measure, figures.difference(measure.of(now), measure.of(before)))
        if before and now["followed"]
        else figures.Cell(),
        "note": words.ngettext("of {n} message", "of {n} messages", now["followed"]),
        "chart": weekly.chart(
            ask, measure, {row["period"]: measure.of(row) for row in weeks}, title, _known_until(ask)
        ),
    }


def _known_until(ask: Ask) -> datetime:
    """Until when what followed a message is known."""
    return min(ask.scope.until, (ask.last or ask.scope.until) - timedelta(days=_WITHIN))


def _link(ask: Ask, measure: Measure, **cell: str | None) -> str:
    return ask.customers("campaigns", _COUNTS[measure.column], **cell)


def _group_grid(ask: Ask, by: str, credit: str, rows: Sequence[Row]) -> Grid:
    words = ask.language
    currency = ask.settings.scoring.base_currency
    axis = charts.axis_of([_OPENED.of(row) for row in rows], (0,), 120)
    heads = [
        figures.name(ask.label("dimension", by)),
        figures.head(words.gettext("Sent")),
        figures.head(words.gettext("Customers")),
        figures.head(words.gettext("Purchases")),
        figures.head(words.gettext("Revenue, %(currency)s") % {"currency": currency}),
        figures.head(words.gettext("Cost")),
        figures.head(words.gettext("Return on it")),
        figures.head(words.gettext("Opened")),
        figures.drawn(charts.axis_head(axis, words)),
        *(figures.head(words.gettext(each.title)) for each in (_CLICKED, _LEFT_LIST, _COMPLAINED)),
    ]
    return Grid(heads, [_group(ask, by, credit, row, axis) for row in rows])


def _group(ask: Ask, by: str, credit: str, row: Row, axis: drawing.Axis) -> list[figures.Cell]:
    words = ask.language
    here = {by: row[by]}
    opened = _OPENED.of(row)
    revenue, converted = row[f"revenue_{credit}"], row[f"converted_{credit}"]
    known = {"first": "converted_first", "last": "converted_last"}.get(credit)
    return [
        figures.name(ask.label(by, row[by])),
        figures.count(words, row["sent"], ask.customers("campaigns", "sent", **here)),
        figures.count(words, row["customers"], ask.customers("campaigns", **here)),
        figures.count(
            words,
            converted,
            ask.customers("campaigns", known, **here) if known else "",
            decimals=0 if known else 1,
        ),
        figures.count(words, revenue),
        figures.none() if row["cost"] is None else figures.count(words, row["cost"]),
        _gain(ask, row["roi"]),
        _estimate(ask, _OPENED, row, by),
        figures.drawn(charts.interval(axis, opened) if opened else charts.interval(axis, None)),
        *(_estimate(ask, each, row, by) for each in (_CLICKED, _LEFT_LIST, _COMPLAINED)),
    ]


def _gain(ask: Ask, roi: float | None) -> figures.Cell:
    if roi is None:
        return figures.none()
    return figures.Cell(f"{ask.language.number(100 * roi, sign=True)}%")


def _estimate(ask: Ask, measure: Measure, row: Row, by: str) -> figures.Cell:
    link = _link(ask, measure, **{by: row[by]}) if row[_COUNTS[measure.column]] else ""
    return _share(ask, measure, row, link)


def _share(ask: Ask, measure: Measure, row: Row, link: str) -> figures.Cell:
    """A share of the messages that are 7 days old; where only time is missing, that is said."""
    found = measure.of(row)
    if not row["sent"]:
        return figures.none()
    if found is None and row["followed"] < ask.scope.few <= row["sent"]:
        return figures.Cell(ask.language.gettext("too recent"), tone="q")
    return figures.estimate(ask.language, measure, found, link)


def _pressure_grid(ask: Ask, rows: Sequence[Row]) -> Grid | None:
    """What follows a message, by how many the customer got in the week up to it."""
    words = ask.language
    found = {row["pressure"]: row for row in rows if row["sent"]}
    if not found:
        return None
    chosen = [found[band] for band in _PRESSURE if band in found]
    axes = {each: charts.axis_of([each.of(row) for row in chosen], each.bounds, 96) for each in _OF_PRESSURE}
    heads = [figures.name(words.gettext("Messages in 7 days")), figures.head(words.gettext("Sent"))]
    for measure in _OF_PRESSURE:
        heads += [
            figures.head(words.gettext(measure.title)),
            figures.drawn(charts.axis_head(axes[measure], words)),
        ]
    return Grid(heads, [_band(ask, row, axes) for row in chosen])


def _band(ask: Ask, row: Row, axes: Mapping[Measure, drawing.Axis]) -> list[figures.Cell]:
    words = ask.language
    band = row["pressure"]

    def of_band(measure: str) -> str:
        return figures.options(ask.customers("campaigns", measure, pressure=band), band="pressure")

    cells = [
        figures.name(band.replace("-", "\N{EN DASH}")),
        figures.count(words, row["sent"], of_band("sent")),
    ]
    for measure, axis in axes.items():
        count = _COUNTS[measure.column]
        found = measure.of(row)
        cells += [
            _share(ask, measure, row, of_band(count) if row[count] else ""),
            figures.drawn(charts.interval(axis, found, tone=measure.tone)),
        ]
    return cells


async def _groups_table(ask: Ask) -> Table:
    by, credit = ask.choice("by", *_BY), ask.choice("credit", *_CREDIT)
    rows = await ask.view("campaigns", by=(by,), limit=_MOST, options={"attribution": credit})
    return Table(f"campaigns-by-{by}", rows)


async def _weeks_table(ask: Ask) -> Table:
    rows = await ask.view("campaigns", scope=weekly.scope_of(ask.scope), grain="week")
    return Table("campaigns-by-week", rows)


async def _pressure_table(ask: Ask) -> Table:
    return Table("contact-pressure", await ask.view("campaigns", options={"band": "pressure"}))


PAGE = Page(
    name="campaigns",
    path="/campaigns",
    title=N_("Campaigns"),
    subtitle=N_("What messages bring, and what they cost customers"),
    show=_show,
    tables={"groups": _groups_table, "weeks": _weeks_table, "pressure": _pressure_table},
)

"""Value: what customers bring, what they are expected to bring, and how much of that is at risk."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from starlette.exceptions import HTTPException

from cxstream.console import drawing, figures, leaving
from cxstream.console import weeks as weekly
from cxstream.console.figures import Cell, Estimate, Grid, Measure
from cxstream.console.labels import LEVELS
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page, customer_address
from cxstream.console.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cxstream.console.reader import Row

_MOST = 500
_SHOWN = 12
_FIRST = 10
_ALL = 100_000
_NET = Measure("net", N_("Revenue less returns"), decimals=0, tone="k")
_EACH = Measure("per_purchase", N_("Per purchase"), decimals=0, tone="k")
_BUYERS = Measure("buyers", N_("Buyers"), decimals=0, tone="k")
_RETURNED = Measure(
    "return_share", N_("Returns of 100 purchases"), scale=100, decimals=1, up="worse", tone="e"
)
_MEASURES = (_NET, _BUYERS, _EACH, _RETURNED)
_SUMS = (_NET, _BUYERS)
_WEEK = timedelta(weeks=1)
_COUNTS = {"net": "purchases", "buyers": "purchases", "per_purchase": "purchases", "return_share": "returns"}
_BANDS = {"satisfaction": N_("Satisfaction"), "effort": N_("Effort")}
_BY = ("channel", "product", "segment", "location")
_LOYALTY = {
    "discounts_used": N_("Discounts used"),
    "loyalty_joined": N_("Joined the loyalty programme"),
    "loyalty_redeemed": N_("Loyalty points redeemed"),
    "referrals": N_("Referred somebody"),
}
_MOST_AT_RISK = f"""
SELECT customer, announced AS level, probability, p_alive, clv, value_at_risk, spent, last_purchase
FROM cards WHERE value_at_risk IS NOT NULL AND {leaving.STAYS}
ORDER BY value_at_risk DESC, customer LIMIT $limit"""


async def _show(ask: Ask) -> Mapping[str, Any]:
    by, band = ask.choice("by", *_BY), ask.choice("band", *_BANDS)
    now, before, weeks, bands, groups, levels, alive = await asyncio.gather(
        ask.view("value"),
        ask.view("value", scope=ask.scope.before),
        ask.view("value", scope=weekly.scope_of(ask.scope), grain="week"),
        ask.view("value", options={"band": band}),
        ask.view("value", by=(by,), limit=_MOST),
        ask.view("worth"),
        ask.view("worth", options={"each": "alive"}),
    )
    first = await ask.reader.sql(_MOST_AT_RISK, {"limit": _FIRST}) if ask.sees_customers else []
    words = ask.language
    total = now[0] if now and now[0]["customers"] else None
    earlier = before[0] if before and ask.scope.has_before else None
    ranked = sorted(groups, key=lambda row: -row["net"])
    shown = ranked if ask.param("all") else ranked[:_SHOWN]
    return {
        "currency": ask.settings.scoring.base_currency,
        "total": total,
        "unconverted": total["unconverted"] if total else 0,
        "figures": [_figure(ask, each, total, earlier, weeks) for each in _MEASURES] if total else [],
        "part": weekly.part(ask),
        "weeks": _week_grid(ask, weeks),
        "risk": _risk(ask, levels),
        "levels": _level_grid(ask, levels),
        "alive": _alive_grid(ask, alive),
        "first": _first_grid(ask, first) if first else None,
        "band": band,
        "band_choices": _choices(ask, "band", {code: words.gettext(text) for code, text in _BANDS.items()}),
        "bands": _value_grid(ask, band, [row for row in bands if row["band"]], of_band=True),
        "by": by,
        "choices": _choices(ask, "by", {code: ask.label("dimension", code) for code in _BY}),
        "by_place": _value_grid(ask, by, shown, of_band=False),
        "shown": len(shown),
        "all_groups": len(ranked),
        "loyalty": _loyalty(ask, total) if total else [],
    }


def _choices(ask: Ask, name: str, texts: Mapping[str, str]) -> list[tuple[str, str, str]]:
    first = next(iter(texts))
    return [(code, text, ask.here(**{name: None if code == first else code})) for code, text in texts.items()]


def _of(measure: Measure, row: Row | None, few: int) -> Estimate | None:
    """The figure of a row: sums and means of all purchases have no margin, the share of returns has one."""
    if row is None:
        return None
    if measure is _RETURNED:
        enough = row["purchases"] >= few and row["returns"] <= row["purchases"]
        return figures.share_of(row["returns"], row["purchases"]) if enough else None
    return measure.of(row)


def _figure(ask: Ask, measure: Measure, now: Row, before: Row | None, weeks: Sequence[Row]) -> dict[str, Any]:
    words, few = ask.language, ask.scope.few
    found = _of(measure, now, few)
    title = words.gettext(measure.title)
    behind = ask.customers("value", _COUNTS[measure.column]) if now[_COUNTS[measure.column]] else ""
    is_share = measure is _RETURNED
    change = (
        figures.change(words, measure, figures.difference(found, _of(measure, before, few)))
        if is_share
        else _compared(ask, measure, now, before)
    )
    return {
        "title": title,
        "now": figures.estimate(words, measure, found, behind) if found else figures.none(),
        "change": change if before else Cell(),
        "note": words.ngettext("{n} purchase", "{n} purchases", now["purchases"]) if measure is _NET else "",
        "chart": weekly.chart(ask, measure, _by_week(ask, measure, weeks), title),
    }


def _by_week(ask: Ask, measure: Measure, weeks: Sequence[Row]) -> dict[datetime, Estimate | None]:
    """A measure by the start of the week. Part of a week has a smaller sum, and would look like a fall."""
    first, until = ask.scope.first, ask.scope.until
    return {
        row["period"]: _of(measure, row, ask.scope.few)
        for row in weeks
        if measure not in _SUMS
        or (row["period"] + _WEEK <= until and (first is None or first <= row["period"]))
    }


def _compared(ask: Ask, measure: Measure, now: Row, before: Row | None) -> Cell:
    """A count or sum against that of the period before, in per cent: it has no margin."""
    if before is None or not before[measure.column] or now[measure.column] is None:
        return Cell()
    share = now[measure.column] / before[measure.column] - 1
    words = ask.language
    return Cell(
        words.gettext("%(change)s against the period before")
        % {"change": f"{words.number(100 * share, sign=True)}%"},
        tone="q",
    )


def _week_grid(ask: Ask, weeks: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [figures.name(words.gettext("Week from"))]
    heads += [figures.head(words.gettext(measure.title)) for measure in _MEASURES]
    rows = [
        [
            weekly.name(ask, row["period"]),
            *(_cell(ask, measure, _of(measure, row, ask.scope.few)) for measure in _MEASURES),
        ]
        for row in weeks
    ]
    return Grid(heads, rows)


def _cell(ask: Ask, measure: Measure, found: Estimate | None) -> Cell:
    if found is None:
        return figures.missing(ask.language) if measure is _RETURNED else figures.none()
    return figures.estimate(ask.language, measure, found)


def _risk(ask: Ask, levels: Sequence[Row]) -> dict[str, Any] | None:
    """What is expected, what is at risk, and how much of that is at customers of the highest levels."""
    valued = sum(row["valued"] for row in levels)
    if not valued:
        return None
    words = ask.language
    high = [row for row in levels if row["part"] in {"high", "critical"}]

    def money(rows: Sequence[Row], column: str) -> str:
        return words.short(sum(row[column] or 0 for row in rows))

    return {
        "clv": money(levels, "clv"),
        "at_risk": money(levels, "value_at_risk"),
        "high": money(high, "value_at_risk"),
        "valued": valued,
        "customers": sum(row["customers"] for row in levels),
        "link": ask.customers("worth", "valued"),
    }


def _level_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    """Money by level: the highest first."""
    words = ask.language
    order = [*LEVELS]
    ranked = sorted(rows, key=lambda row: -order.index(row["part"]) if row["part"] in order else 1)
    most = max((row["value_at_risk"] or 0 for row in rows), default=0) or 1
    heads = [
        figures.name(words.gettext("Level")),
        figures.head(words.gettext("Customers")),
        figures.head(words.gettext("Spent so far")),
        figures.head(words.gettext("Expected")),
        figures.head(words.gettext("At risk")),
        figures.drawn(Markup(""), words.gettext("Drawn")),
    ]
    cells = [
        [
            figures.drawn(drawing.level(row["part"], ask.label("level", row["part"]))),
            figures.count(words, row["customers"], ask.customers("worth", part=row["part"])),
            figures.count(words, row["spent"]),
            figures.count(words, row["clv"]),
            figures.count(words, row["value_at_risk"], ask.customers("worth", "valued", part=row["part"])),
            figures.drawn(drawing.bar((row["value_at_risk"] or 0) / most)),
        ]
        for row in ranked
    ]
    return Grid(heads, cells)


def _alive_grid(ask: Ask, rows: Sequence[Row]) -> Grid | None:
    """How likely customers are to buy again, and what they are expected to bring."""
    words = ask.language
    known = sorted((row for row in rows if row["part"]), key=lambda row: -int(row["part"].split("-")[0]))
    if not known:
        return None
    most = max(row["customers"] for row in known)
    heads = [
        figures.name(words.gettext("Will buy again, %")),
        figures.head(words.gettext("Customers")),
        figures.drawn(Markup(""), words.gettext("Drawn")),
        figures.head(words.gettext("Expected")),
    ]

    def behind(row: Row) -> str:
        return figures.options(ask.customers("worth", part=row["part"]), each="alive")

    cells = [
        [
            figures.name(row["part"].replace("-", "\N{EN DASH}")),
            figures.count(words, row["customers"], behind(row)),
            figures.drawn(drawing.bar(row["customers"] / most, "k")),
            figures.count(words, row["clv"]),
        ]
        for row in known
    ]
    return Grid(heads, cells)


def _first_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [
        figures.name(words.gettext("Customer")),
        figures.name(words.gettext("Level")),
        *(figures.head(words.gettext(text)) for text in (N_("At risk"), N_("Risk"), N_("Expected"))),
        *(figures.head(words.gettext(text)) for text in (N_("Will buy again, %"), N_("Last purchase"))),
    ]
    cells = [
        [
            Cell(row["customer"], link=customer_address(row["customer"]), right=False, wide=True),
            figures.drawn(drawing.level(row["level"], ask.label("level", row["level"]))),
            Cell(words.number(row["value_at_risk"]), strong=True),
            Cell(words.number(row["probability"], 2)),
            figures.count(words, row["clv"]),
            Cell(words.number(100 * row["p_alive"])) if row["p_alive"] is not None else figures.none(),
            Cell(words.full_day(row["last_purchase"]), sort=str(row["last_purchase"] or "")),
        ]
        for row in rows
    ]
    return Grid(heads, cells)


def _value_grid(ask: Ask, by: str, rows: Sequence[Row], *, of_band: bool) -> Grid:
    words = ask.language
    most = max((row["net"] for row in rows), default=0) or 1
    heads = [
        figures.name(words.gettext(_BANDS[by]) if of_band else ask.label("dimension", by)),
        figures.head(words.gettext("Buyers")),
        figures.head(words.gettext("Purchases")),
        figures.head(words.gettext("Revenue less returns")),
        figures.drawn(Markup(""), words.gettext("Drawn")),
        *(figures.head(words.gettext(each.title)) for each in (_EACH, _RETURNED)),
    ]
    return Grid(heads, [_group(ask, by, row, most, of_band=of_band) for row in rows])


def _group(ask: Ask, by: str, row: Row, most: float, *, of_band: bool) -> list[Cell]:
    words = ask.language

    def behind(measure: str) -> str:
        if of_band:
            return figures.options(ask.customers("value", measure, band=row["band"]), band=by)
        return ask.customers("value", measure, **{by: row[by]})

    name = row["band"].replace("-", "\N{EN DASH}") if of_band else ask.label(by, row[by])
    returned = _of(_RETURNED, row, ask.scope.few)
    return [
        figures.name(name),
        figures.count(words, row["buyers"], behind("purchases")),
        figures.count(words, row["purchases"], behind("purchases")),
        figures.count(words, row["net"]),
        figures.drawn(drawing.bar(max(0.0, row["net"]) / most, "k")),
        figures.count(words, row["per_purchase"]) if row["per_purchase"] is not None else figures.none(),
        figures.estimate(words, _RETURNED, returned, behind("returns") if row["returns"] else ""),
    ]


def _loyalty(ask: Ask, row: Row) -> list[tuple[str, Cell]]:
    words = ask.language
    return [
        (words.gettext(text), figures.count(words, row[name], ask.customers("value", name)))
        for name, text in _LOYALTY.items()
    ]


async def _groups_table(ask: Ask) -> Table:
    by = ask.choice("by", *_BY)
    return Table(f"value-by-{by}", await ask.view("value", by=(by,), limit=_MOST))


async def _bands_table(ask: Ask) -> Table:
    band = ask.choice("band", *_BANDS)
    return Table(f"value-by-{band}", await ask.view("value", options={"band": band}))


async def _weeks_table(ask: Ask) -> Table:
    rows = await ask.view("value", scope=weekly.scope_of(ask.scope), grain="week")
    return Table("value-by-week", rows)


async def _levels_table(ask: Ask) -> Table:
    return Table("money-at-risk", await ask.view("worth"))


async def _customers_table(ask: Ask) -> Table:
    if not ask.sees_customers:
        raise HTTPException(403, "agent")
    columns = (
        "customer",
        "level",
        "probability",
        "p_alive",
        "clv",
        "value_at_risk",
        "spent",
        "last_purchase",
    )
    return Table("most-at-risk", await ask.reader.sql(_MOST_AT_RISK, {"limit": _ALL}), columns)


PAGE = Page(
    name="value",
    path="/value",
    title=N_("Value"),
    subtitle=N_("What customers bring, and how much of it is at risk"),
    show=_show,
    tables={
        "groups": _groups_table,
        "bands": _bands_table,
        "weeks": _weeks_table,
        "risk": _levels_table,
        "customers": _customers_table,
    },
)

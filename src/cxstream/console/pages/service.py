"""Service: waits, handling, resolution, repeats and complaints, by channel and topic; agents in a fair order."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.exceptions import HTTPException

from cxstream.console import charts, coaching, contacts, drawing, figures, weeks
from cxstream.console.figures import Estimate, Grid, Measure
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.scope import quoted
from cxstream.console.tables import Table
from cxstream.warehouse.views.selection import Filter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cxstream.console.contacts import Able
    from cxstream.console.figures import Cell
    from cxstream.console.reader import Row

_SHOWN = 12
_BY = ("channel", "topic", "touchpoint", "location")
_IN_TIME = Measure("in_time", N_("Answered within 20 s"), scale=100, decimals=0, bounds=(0, 100))
_ABANDONMENT = Measure(
    "abandonment", N_("Given up while waiting"), scale=100, decimals=1, up="worse", tone="e", bounds=(0,)
)
_FCR = Measure("fcr", N_("Resolved at first contact"), scale=100, decimals=0, bounds=(0, 100))
_SHARE = Measure("share", "", scale=100, decimals=0, up="worse", tone="e")
_REPEAT = Measure("repeat", N_("Contact again about the same"), scale=100, decimals=0, up="worse", tone="e")
_OF_FCR = ("fcr", "fcr_low", "fcr_high", "first_contacts", "first_resolved")
# A contact is resolved if none about the topic follows so long.
_AFTER = timedelta(days=7)
_OF_LOST = ("abandonment", "abandonment_low", "abandonment_high", "abandoned")
_MEASURES = (_IN_TIME, _ABANDONMENT, _FCR, _REPEAT)
# What a share of a measure is of: its count, whose customers are behind the figure, and of how many.
_COUNTS = {
    "in_time": ("answered_in_time", "waited"),
    "abandonment": ("abandoned", contacts.QUEUED),
    "fcr": ("first_resolved", "first_contacts"),
    "repeat": ("repeat_contacts", "contacts"),
}


async def _show(ask: Ask) -> Mapping[str, Any]:
    by = ask.choice("by", *_BY)
    of_channels = await contacts.by_week(ask)
    able = contacts.able_of(of_channels)
    weekly = contacts.added(of_channels, able, ask.scope.few)
    # Groups by channel are the same query, which is asked once then.
    before = contacts.added(await contacts.by_channel(ask, ask.scope.before), able, ask.scope.few)
    parts = contacts.added(await contacts.by_channel(ask, ask.scope), able, ask.scope.few)
    rows, groups, agents, training = await asyncio.gather(
        ask.view("service"),
        _groups(ask, able, by),
        _agents(ask),
        coaching.rows_of(ask),
    )
    words = ask.language
    now = [row | contacts.of_able(parts) for row in rows]
    total = now[0] if now and now[0]["contacts"] else None
    earlier = before[0] if before and ask.scope.has_before else None
    few_left_out = [row for row in agents if row["contacts"] >= ask.scope.few]
    shown = agents if ask.param("all") else agents[:_SHOWN]
    return {
        "lede": _lede(ask, total, earlier),
        "figures": [_figure(ask, each, total, earlier, weekly, able) for each in _MEASURES],
        "part": weeks.part(ask),
        "fcr_until": _known_until(ask),
        "fcr_channels": [ask.label("channel", name) for name in able.to_resolve],
        "queued_channels": [ask.label("channel", name) for name in able.to_wait],
        "weeks": weeks.grid(
            ask,
            weekly,
            (ask.language.gettext("Contacts"), "contacts"),
            _MEASURES,
            lambda each, row: _of(each, row, ask.scope.few),
        ),
        "times": _time_grid(ask, total) if total else None,
        "complaints": _complaints(ask, now[0]) if now else [],
        "by": by,
        "choices": [
            (name, ask.label("dimension", name), ask.here(by=None if name == _BY[0] else name))
            for name in _BY
        ],
        "by_place": _group_grid(ask, able, by, groups),
        "agents": _agent_grid(ask, shown),
        "shown": len(shown),
        "all_agents": len(agents),
        "enough": len(few_left_out),
        "training": coaching.panel(ask, training) if ask.sees_customers else None,
        "mean": words.percent(total["fcr"]) if total and total["fcr"] is not None else "",
    }


async def _all(ask: Ask, able: Able, **more: Any) -> list[Row]:
    """All contacts, with the resolution at first contact and the giving up of those channels that can have them."""
    rows, resolved = await asyncio.gather(
        ask.view("service", **more), _of_channels(ask, able.to_resolve, _OF_FCR, **more)
    )
    unknown: Row = dict.fromkeys(_OF_FCR)
    unknown |= {"first_contacts": 0, "first_resolved": 0}
    return await _with_lost(ask, able, _joined(rows, resolved, "period", unknown), "period", **more)


async def _with_lost(ask: Ask, able: Able, rows: list[Row], key: str, **more: Any) -> list[Row]:
    """The rows, with the giving up of those channels where somebody waits."""
    if key == "channel":
        found = [row for row in rows if row["channel"] in able.to_wait]
    else:
        found = await _of_channels(ask, able.to_wait, ("contacts", *_OF_LOST), **more)
    lost = [{**row, contacts.QUEUED: row["contacts"]} for row in found]
    unknown: Row = dict.fromkeys(_OF_LOST)
    unknown |= {"abandoned": 0, contacts.QUEUED: 0}
    return _joined(rows, lost, key, unknown)


async def _of_channels(ask: Ask, channels: Sequence[str], columns: tuple[str, ...], **more: Any) -> list[Row]:
    if not channels:
        return []
    return await ask.view("service", where=(Filter("channel", tuple(channels)),), columns=columns, **more)


def _joined(rows: Sequence[Row], parts: Sequence[Row], key: str, unknown: Row) -> list[Row]:
    """The rows, with the columns of `unknown` from the part that has the same key."""
    known = {part.get(key): part for part in parts}
    return [{**row, **{name: known.get(row.get(key), unknown)[name] for name in unknown}} for row in rows]


def _only(link: str, channels: Sequence[str]) -> str:
    """A link to customers, of these channels alone."""
    named = ",".join(quoted(name) for name in channels)
    return f"{link}&{urlencode({'where': f'channel={named}'})}"


def _known_until(ask: Ask) -> datetime | None:
    """Until when contacts of the period can have been resolved at first contact; None if none of them can."""
    until = min(ask.scope.until, ask.last - _AFTER) if ask.last else ask.scope.until
    return until if until > ask.scope.since else None


def _of(measure: Measure, row: Row | None, few: int) -> Estimate | None:
    if row is None:
        return None
    if measure is _REPEAT:
        return figures.share_of(row["repeat_contacts"], row["contacts"]) if row["contacts"] >= few else None
    return measure.of(row)


def _figure(
    ask: Ask,
    measure: Measure,
    now: Row | None,
    before: Row | None,
    weekly: Sequence[Row],
    able: Able,
) -> dict[str, Any]:
    words, few = ask.language, ask.scope.few
    count, whole = _COUNTS[measure.column]
    title = words.gettext(measure.title)
    found = {row["period"]: _of(measure, row, few) for row in weekly}
    link = ask.customers("service", count) if now and now[count] else ""
    note = words.ngettext("{n} contact", "{n} contacts", now[whole] if now else 0)
    if measure is _FCR:
        until = _known_until(ask)
        until_text = words.gettext("until %(time)s") % {"time": words.day(until)}
        note += f", {until_text}" if until else ""
        link = _only(link, able.to_resolve) if link else ""
    elif measure is _ABANDONMENT and link:
        link = _only(link, able.to_wait)
    return {
        "title": title,
        "now": figures.estimate(words, measure, _of(measure, now, few), link),
        "change": figures.change(
            words, measure, figures.difference(_of(measure, now, few), _of(measure, before, few))
        )
        if before
        else figures.Cell(),
        "note": note,
        "chart": weeks.chart(ask, measure, found, title, _known_until(ask) if measure is _FCR else None),
    }


def _lede(ask: Ask, now: Row | None, before: Row | None) -> dict[str, Any] | None:
    if now is None:
        return None
    words = ask.language
    lost = _of(_ABANDONMENT, now, ask.scope.few)
    change = figures.difference(lost, _of(_ABANDONMENT, before, ask.scope.few))
    return {
        "contacts": now["contacts"],
        "link": ask.customers("service", "contacts"),
        "wait": words.duration(now["wait_median_s"]) if now["wait_median_s"] is not None else "",
        "long": words.duration(now["wait_p90_s"]) if now["wait_p90_s"] is not None else "",
        "lost": _ABANDONMENT.text(words, lost.value) if lost else "",
        "margin": figures.margin_of(words, _ABANDONMENT, lost) if lost else "",
        "sign": figures.direction(_ABANDONMENT, change),
        "is_compared": change is not None,
    }


def _time_grid(ask: Ask, now: Row) -> Grid:
    """Waits and handling: mean, median and the long ones."""
    words = ask.language
    heads = [
        figures.name(words.gettext("Time")),
        *(figures.head(words.gettext(text)) for text in (N_("Median"), N_("Mean"), N_("9 of 10 within"))),
        figures.head(words.gettext("19 of 20 within")),
        figures.drawn(Markup(""), words.gettext("Drawn")),
    ]
    longest = max((now[f"{name}_p95_s"] or 0 for name in ("wait", "handle")), default=0) or 1
    rows = [
        [
            figures.name(words.gettext(text)),
            *(figures.Cell(words.duration(now[f"{name}_{at}_s"])) for at in ("median", "mean", "p90", "p95")),
            figures.drawn(
                drawing.bar((now[f"{name}_median_s"] or 0) / longest, "e" if name == "wait" else "k")
            ),
        ]
        for name, text in (("wait", N_("Waiting time")), ("handle", N_("Handling time")))
    ]
    return Grid(heads, rows)


def _complaints(ask: Ask, now: Row) -> list[tuple[str, Cell]]:
    words = ask.language
    counts = (
        ("complaints_opened", N_("Complaints opened")),
        ("complaints_open", N_("Still open")),
        ("complaints_reopened", N_("Opened again")),
        ("transferred", N_("Contacts with a transfer")),
    )
    found = [
        (words.gettext(text), figures.count(words, now[name], ask.customers("service", name)))
        for name, text in counts
    ]
    found.append(
        (words.gettext("Median time to resolve"), figures.Cell(words.duration(now["resolve_median_s"])))
    )
    return found


async def _groups(ask: Ask, able: Able, by: str) -> list[Row]:
    more: Any = {"by": (by,), "limit": contacts.MOST}
    rows = await _with_lost(ask, able, await ask.view("service", **more), by, **more)
    return sorted(
        (row for row in rows if row["contacts"] or row["complaints_opened"]), key=lambda row: -row["contacts"]
    )


async def _agents(ask: Ask) -> list[Row]:
    """Agents in a fair order: the lowest share of first contacts resolved, drawn to the mean of all, comes first.

    Those with too few first contacts come last: their share says more of the mean than of them.
    """
    if not ask.sees_customers:
        return []
    rows = [
        row
        for row in await ask.view("service", by=("agent",), limit=contacts.MOST)
        if row["agent"] and row["contacts"]
    ]
    few = ask.scope.few
    return sorted(
        rows,
        key=lambda row: (
            row["fcr_shrunk"] is None,
            row["first_contacts"] < few,
            row["fcr_shrunk"] or 0.0,
            -row["contacts"],
            row["agent"],
        ),
    )


def _group_grid(ask: Ask, able: Able, by: str, rows: Sequence[Row]) -> Grid:
    words, few = ask.language, ask.scope.few
    lost = [_of(_ABANDONMENT, row, few) for row in rows]
    axis = charts.axis_of(lost, (0,), 120)
    heads = [
        figures.name(ask.label("dimension", by)),
        figures.head(words.gettext("Contacts")),
        figures.head(words.gettext("Complaints")),
        figures.head(words.gettext("Median wait")),
        figures.head(words.gettext("9 of 10 within")),
        figures.head(words.gettext(_IN_TIME.title)),
        figures.head(words.gettext(_ABANDONMENT.title)),
        figures.drawn(charts.axis_head(axis, words), words.gettext("Drawn")),
        figures.head(words.gettext("At first contact")),
        figures.head(words.gettext("Again")),
    ]
    grid = []
    for row, found in zip(rows, lost, strict=True):
        cell = {by: row[by]}

        def link(of: str, cell: Mapping[str, str | None] = cell) -> str:
            return ask.customers("service", of, **cell)

        grid.append(
            [
                figures.name(ask.label(by, row[by])),
                figures.count(words, row["contacts"], link("contacts")),
                figures.count(words, row["complaints_opened"], link("complaints_opened")),
                figures.Cell(words.duration(row["wait_median_s"])),
                figures.Cell(words.duration(row["wait_p90_s"])),
                figures.estimate(words, _IN_TIME, _IN_TIME.of(row), link("answered_in_time")),
                figures.estimate(words, _ABANDONMENT, found, _only(link("abandoned"), able.to_wait))
                if row[contacts.QUEUED]
                else figures.none(),
                figures.drawn(charts.interval(axis, found, tone="e")),
                figures.estimate(words, _FCR, _FCR.of(row), link("first_resolved")),
                figures.estimate(words, _REPEAT, _of(_REPEAT, row, few), link("repeat_contacts")),
            ]
        )
    return Grid(heads, grid)


def _agent_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    axis = charts.axis_of([], (0, 100), 120)
    heads = [
        figures.name(ask.label("dimension", "agent")),
        figures.head(words.gettext("Contacts")),
        figures.head(words.gettext("Drawn to the mean")),
        figures.head(words.gettext("At first contact")),
        figures.drawn(charts.axis_head(axis, words), words.gettext("Drawn")),
        figures.head(words.gettext("Resolved of first contacts")),
        figures.head(words.gettext("Median handling")),
        figures.head(words.gettext("With a transfer")),
    ]
    grid = []
    for row in rows:
        cell = {"agent": row["agent"]}
        found = _FCR.of(row)
        grid.append(
            [
                figures.name(row["agent"]),
                figures.count(words, row["contacts"], ask.customers("service", "contacts", **cell)),
                figures.Cell(words.percent(row["fcr_shrunk"]), strong=row["fcr_shrunk"] is not None),
                figures.estimate(words, _FCR, found),
                figures.drawn(charts.interval(axis, found)),
                figures.Cell(
                    f"{words.number(row['first_resolved'])} / {words.number(row['first_contacts'])}"
                ),
                figures.Cell(words.duration(row["handle_median_s"])),
                figures.count(words, row["transferred"], ask.customers("service", "transferred", **cell)),
            ]
        )
    return Grid(heads, grid)


async def _groups_table(ask: Ask) -> Table:
    by = ask.choice("by", *_BY)
    return Table(f"service-by-{by}", await _groups(ask, contacts.able_of(await contacts.by_week(ask)), by))


async def _agents_table(ask: Ask) -> Table:
    if not ask.sees_customers:
        raise HTTPException(403, "agent")
    return Table("agents", await _agents(ask))


async def _training_table(ask: Ask) -> Table:
    if not ask.sees_customers:
        raise HTTPException(403, "agent")
    return Table("training", await coaching.rows_of(ask))


async def _weeks_table(ask: Ask) -> Table:
    able = contacts.able_of(await contacts.by_week(ask))
    return Table("service-by-week", await _all(ask, able, scope=weeks.scope_of(ask.scope), grain="week"))


PAGE = Page(
    name="service",
    path="/service",
    title=N_("Service"),
    subtitle=N_("Waiting, being helped, and having to ask again"),
    show=_show,
    tables={
        "groups": _groups_table,
        "agents": _agents_table,
        "weeks": _weeks_table,
        "training": _training_table,
    },
)

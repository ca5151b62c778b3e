"""Experiments: whether acting helped, by experiment and by action."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from cxstream.console import charts, effects, figures, in_force, readings, trial
from cxstream.console.figures import Cell, Estimate, Grid
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.tables import Table
from cxstream.warehouse.views import definition, query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.drawing import Axis
    from cxstream.console.reader import Row

_BY = ("level", "segment", "channel", "product")
_MOST_GROUPS = 12
_MOST_MONEY = 1e12


async def _show(ask: Ask) -> Mapping[str, Any]:
    ask = _whole(ask)
    rows, shares = await asyncio.gather(_rows(ask), _shares(ask))
    waiting = [name for name in shares or {} if not any(_is(row, "experiment", name) for row in rows)]
    chosen = ask.param("what"), ask.param("name")
    base: dict[str, Any] = {
        "days": ask.choice("days", *readings.DAYS),
        "choices": [
            (days, ask.language.ngettext("{n} day", "{n} days", int(days)), ask.here(days=days))
            for days in sorted(readings.DAYS, key=int)
        ],
        "is_unsure": shares is None,
        "not_entered": waiting,
        "one": None,
    }
    if any(chosen):
        mine = {row["outcome"]: row for row in rows if _is(row, *chosen)}
        if not mine:
            raise HTTPException(404)
        return {**base, "one": await _one(ask, mine), "all": ask.link("/experiments", days=ask.param("days"))}
    return {**base, "listed": _list(ask, rows) if rows else None}


def _whole(ask: Ask) -> Ask:
    """The same question without a period: an experiment has its own beginning."""
    first = ask.scope.first or ask.scope.since
    since = datetime.combine(first.date(), datetime.min.time())
    return replace(ask, scope=replace(ask.scope, period="", since=since))


def _is(row: Row, what: str, name: str) -> bool:
    return bool(row["what"] == what and row["name"] == name)


async def _shares(ask: Ask) -> dict[str, float] | None:
    """What the rules hold out, by experiment; None where the data were judged by other rules than those of the settings."""
    found = await in_force.experiments(ask)
    return None if found is None else {name: each.holdout for name, each in found.items()}


def _options(ask: Ask) -> dict[str, str]:
    experiments = ask.settings.scoring.experiments or {}
    shares = ",".join(f"{name}={each.holdout}" for name, each in experiments.items())
    return {"days": ask.choice("days", *readings.DAYS), "shares": shares or "none"}


async def _rows(ask: Ask, **more: Any) -> list[Row]:
    rows = await ask.view("experiments", options=_options(ask), **more)
    if await _shares(ask) is None:
        rows = [{**row, "share": None, "ratio_p": None} for row in rows]
    return rows


def _list(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    measure = readings.OUTCOMES[readings.CHURN]
    mine = [row for row in rows if row["outcome"] == readings.CHURN]
    axis = charts.axis_of([readings.always(measure, row) for row in mine], (0,), 200)
    heads = [
        figures.name(words.gettext("Experiment")),
        figures.name(words.gettext("Reading")),
        figures.name(words.gettext("Arms by")),
        figures.head(words.gettext("Day")),
        *(
            figures.head(words.gettext(text))
            for text in (N_("Entered"), N_("Treated"), N_("Held out"), N_("Not followed yet"))
        ),
        figures.head(words.gettext("Difference in leaving, points")),
        figures.head(words.gettext("95%, at every look")),
        figures.drawn(charts.axis_head(axis, words)),
    ]
    return Grid(heads, [_listed(ask, row, axis) for row in mine])


def _listed(ask: Ask, row: Row, axis: Axis) -> list[Cell]:
    words, measure = ask.language, readings.OUTCOMES[readings.CHURN]
    found = readings.always(measure, row)
    broken = row["ratio_p"] is not None and row["ratio_p"] < readings.BROKEN
    return [
        figures.name(_title(ask, row), ask.here(what=row["what"], name=row["name"])),
        Cell(words.gettext("arms are broken"), tone="worse", right=False)
        if broken
        else readings.reading(ask, measure, found),
        figures.name(words.gettext("the rules") if row["what"] == "experiment" else words.gettext("the CRM")),
        Cell(words.number(_running(ask, row))),
        figures.count(words, row["customers"], readings.behind(ask, row, "customers")),
        figures.count(words, row["treated"], readings.behind(ask, row, "treated")),
        figures.count(words, row["holdout"], readings.behind(ask, row, "holdout")),
        figures.count(words, row["waiting"], readings.behind(ask, row, "waiting")),
        *readings.difference(ask, measure, found),
        figures.drawn(charts.interval(axis, found, tone=readings.tone(measure, found))),
    ]


def _title(ask: Ask, row: Row) -> str:
    return ask.label("action", row["name"]) if row["what"] == "action" else str(row["name"])


def _running(ask: Ask, row: Row) -> int:
    """Days since the first customer entered; the first is 1."""
    return int((ask.last or row["started"]).toordinal() - row["started"].toordinal()) + 1


async def _one(ask: Ask, mine: Mapping[str, Row]) -> dict[str, Any]:
    row = mine[readings.CHURN]
    days = int(ask.choice("days", *readings.DAYS))
    view = definition.view("experiments")
    cell = {"what": row["what"], "name": row["name"], "outcome": readings.CHURN}
    selection = ask.selection(view, options=_options(ask), cell=cell)
    by = ask.choice("by", *_BY)
    sums, left, groups = await asyncio.gather(
        ask.reader.rows(query.over(view, selection, effects.SUMS)),
        ask.reader.rows(query.over(view, selection, effects.LEFT)),
        ask.view("experiments", by=(by,), options=_options(ask), cell=cell, limit=_MOST_GROUPS),
    )
    found, arms = effects.looks(sums), effects.leaving(left, days)
    words = ask.language
    return {
        "row": row,
        "title": _title(ask, row),
        "lede": _lede(ask, row, days),
        "facts": _facts(ask, row),
        "money": _money(ask, row),
        "cost": ask.param("cost"),
        "value": ask.param("value"),
        "curve": trial.curve(ask, arms) if len(arms) > 1 else None,
        "curve_grid": trial.curve_grid(ask, arms, days) if arms else None,
        "looks": trial.looks(ask, found) if len(found) > 1 else None,
        "looks_grid": trial.looks_grid(ask, found),
        "outcomes": trial.outcome_grid(ask, mine),
        "by": by,
        "by_choices": [(code, ask.label("dimension", code), ask.here(by=code)) for code in _BY],
        "groups": trial.group_grid(ask, by, groups),
        "checks": trial.checks(ask, row, mine),
        "currency": ask.settings.scoring.base_currency,
        "words": words,
    }


def _lede(ask: Ask, row: Row, days: int) -> dict[str, Any]:
    words, measure = ask.language, readings.OUTCOMES[readings.CHURN]
    found = readings.always(measure, row)
    few = min(row["entered_treated"], row["entered_holdout"])
    lede: dict[str, Any] = {
        "is_broken": row["ratio_p"] is not None and row["ratio_p"] < readings.BROKEN,
        "verdict": readings.verdict(measure, found),
        "is_early": found is None,
        "has_holdout": row["entered_holdout"] > 0 or row["waiting"] > 0,
        "days": words.ngettext("{n} day", "{n} days", days),
        "followed": row["entered_treated"] + row["entered_holdout"],
        "missing": max(0, effects.LEAST - few),
        "waiting": row["waiting"],
        "first": words.full_day((row["started"] + timedelta(days=days)).date()),
    }
    if found is None:
        return lede
    points = abs(found.value)
    ends = sorted(abs(each or 0.0) for each in (found.low, found.high))
    return {
        **lede,
        "treated": words.number(100 * row["mean_treated"], 1),
        "holdout": words.number(100 * row["mean_holdout"], 1),
        "points": words.number(points, 1),
        "value": words.number(found.value, 1, sign=True),
        "is_fewer": found.value < 0,
        "low": words.number(ends[0], 1),
        "high": words.number(ends[1], 1),
        "interval": words.interval(found.low, found.high, sign=True),
        "detectable": words.number(100 * row["detectable"], 1),
    }


def _facts(ask: Ask, row: Row) -> list[tuple[str, Cell]]:
    words = ask.language
    found = [
        (words.gettext("State"), Cell(words.gettext("Day %(n)s") % {"n": words.number(_running(ask, row))})),
        (
            words.gettext("Entered"),
            figures.count(words, row["customers"], readings.behind(ask, row, "customers")),
        ),
        (
            words.gettext("Treated"),
            figures.count(words, row["treated"], readings.behind(ask, row, "treated")),
        ),
        (
            words.gettext("Held out"),
            figures.count(words, row["holdout"], readings.behind(ask, row, "holdout")),
        ),
        (
            words.gettext("Not followed long enough"),
            figures.count(words, row["waiting"], readings.behind(ask, row, "waiting")),
        ),
    ]
    if (gain := _kept(row)) is not None:
        found.append((words.gettext("Stayed because of it"), _sum(ask, gain)))
    return found


def _kept(row: Row) -> Estimate | None:
    """Of the treated, customers who would have left."""
    if row["difference"] is None:
        return None
    return Estimate(*(-row["treated"] * row[name] for name in ("difference", "always_high", "always_low")))


def _sum(ask: Ask, found: Estimate, unit: str = "") -> Cell:
    words = ask.language
    return Cell(f"{unit}{words.number(found.value)}", words.interval(found.low, found.high, 0))


def _amount(ask: Ask, name: str) -> float | None:
    """An amount of money of the address; None where it is none."""
    try:
        value = float(ask.param(name).replace(",", ".").replace("\N{NO-BREAK SPACE}", "").replace(" ", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) and 0 <= value <= _MOST_MONEY else None


def _money(ask: Ask, row: Row) -> list[tuple[str, Cell]]:
    """What it brought, where the address says what acting costs and what a customer who stays is worth."""
    cost, value, kept = _amount(ask, "cost"), _amount(ask, "value"), _kept(row)
    words = ask.language
    if kept is None:
        return []
    found = []
    unit = f"{ask.settings.scoring.base_currency} "

    def times(each: Estimate, factor: float, less: float = 0.0) -> Estimate:
        return Estimate(*(factor * (end or 0.0) - less for end in each))

    if value is not None:
        found.append((words.gettext("Kept"), _sum(ask, times(kept, value), unit)))
    spent = None if cost is None else cost * row["treated"]
    if spent is not None:
        found.append((words.gettext("Cost"), Cell(f"{unit}{words.number(spent)}")))
    if spent is not None and value is not None:
        saving = times(kept, value, spent)
        found.append((words.gettext("Saving"), _sum(ask, saving, unit)))
        if spent > 0:
            share = times(saving, 100 / spent)
            found.append(
                (
                    words.gettext("Return on it"),
                    Cell(
                        f"{words.number(share.value, sign=True)}%", words.interval(share.low, share.high, 0)
                    ),
                )
            )
    return found


async def _table(ask: Ask) -> Table:
    ask = _whole(ask)
    rows = await _rows(ask)
    chosen = ask.param("what"), ask.param("name")
    return Table("experiments", [row for row in rows if not any(chosen) or _is(row, *chosen)])


async def _groups_table(ask: Ask) -> Table:
    ask = _whole(ask)
    by, cell = ask.choice("by", *_BY), {name: ask.param(name) for name in ("what", "name")}
    return Table(f"experiment-by-{by}", await _rows(ask, by=(by,), cell=cell if any(cell.values()) else {}))


PAGE = Page(
    name="experiments",
    path="/experiments",
    title=N_("Experiments"),
    subtitle=N_("Whether acting helped"),
    show=_show,
    tables={"outcomes": _table, "groups": _groups_table},
    scoped=False,
)

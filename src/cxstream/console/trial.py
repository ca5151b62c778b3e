"""One experiment in drawings and tables: who left, the difference as it came in, outcomes, groups, and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from cxstream.console import charts, curves, effects, figures, readings
from cxstream.console.figures import Cell, Grid
from cxstream.console.language import N_

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.figures import Measure
    from cxstream.console.page import Ask
    from cxstream.console.reader import Row


def _arm_names(ask: Ask) -> dict[str, str]:
    words = ask.language
    return {
        "treated": words.gettext("Treated"),
        "holdout": words.gettext("Held out"),
        "days": words.gettext("days since the start"),
        "here": words.gettext("still here"),
        "none": words.gettext("no effect"),
        "customers": words.gettext("customers"),
    }


def curve(ask: Ask, arms: Sequence[effects.Leaving]) -> Markup:
    """Who left of each arm, day by day."""
    words = ask.language
    text = words.gettext(
        "Share who left by days since the start, treated and held out, with 95% bands; the table follows"
    )
    wide, narrow = (
        curves.leaving(arms, words, _arm_names(ask), text, is_narrow=each) for each in (False, True)
    )
    # A phone has a drawing of its own; the style sheet shows one of them.
    return Markup('<div class="only-w">{}</div><div class="only-n">{}</div>').format(wide, narrow)


def curve_grid(ask: Ask, arms: Sequence[effects.Leaving], days: int) -> Grid:
    """The same as a table."""
    words, names = ask.language, _arm_names(ask)
    heads = [figures.name(words.gettext("Day"))]
    for arm in arms:
        heads += [figures.head(f"{names[arm.arm]}, %"), figures.head("95%"), figures.head(names["here"])]
    rows = []
    for day in range(days + 1):
        row = [figures.name(words.number(day))]
        for arm in arms:
            share = arm.shares[day]
            row += [
                Cell(words.number(share.value, 1)),
                Cell(words.interval(share.low, share.high), tone="q"),
                Cell(words.number(arm.here[day])),
            ]
        rows.append(row)
    return Grid(heads, rows)


def looks(ask: Ask, found: Sequence[effects.Look]) -> Markup:
    """The difference as customers came in."""
    words, clear = ask.language, effects.clear_since(found)
    names = _arm_names(ask)
    if clear:
        customers = words.ngettext("{n} customer", "{n} customers", found[clear].customers)
        names["clear"] = words.gettext("clear since %(customers)s") % {"customers": customers}
    text = words.gettext(
        "Difference in leaving as customers came in, with margins that hold at every look; the table follows"
    )
    return curves.looks(found, words, names, text, clear)


def looks_grid(ask: Ask, found: Sequence[effects.Look]) -> Grid:
    """The same as a table."""
    words = ask.language
    texts = (N_("Customers"), N_("Difference, points"), N_("95%, at every look"))
    heads = [
        figures.name(words.gettext("Entered until")),
        *(figures.head(words.gettext(each)) for each in texts),
    ]
    rows = [
        [
            figures.since(words.full_day(look.day), look.day),
            Cell(words.number(look.customers)),
            Cell(words.number(look.found.value, 1, sign=True), strong=True),
            Cell(words.interval(look.found.low, look.found.high, sign=True), tone="q"),
        ]
        for look in found
    ]
    return Grid(heads, rows)


def outcome_grid(ask: Ask, mine: Mapping[str, Row]) -> Grid:
    """Each outcome with its difference."""
    words = ask.language
    measured = {name: readings.always(each, mine[name]) for name, each in readings.OUTCOMES.items()}
    # Money has a unit of its own.
    axis = charts.axis_of([each for name, each in measured.items() if name != "spend"], (0,), 260)
    texts = (N_("Treated"), N_("Held out"), N_("Adjusted difference"), N_("95%, at every look"))
    heads = [
        figures.name(words.gettext("Outcome")),
        *(figures.head(words.gettext(text)) for text in texts),
        figures.name(words.gettext("Reading")),
        figures.head(words.gettext("Would be found")),
        figures.drawn(charts.axis_head(axis, words)),
    ]
    rows = []
    for name, measure in readings.OUTCOMES.items():
        row, found = mine[name], measured[name]
        drawn = None if name == "spend" else found
        rows.append(
            [
                figures.name(words.gettext(measure.title)),
                _mean(ask, measure, row, "treated"),
                _mean(ask, measure, row, "holdout"),
                *readings.difference(ask, measure, found),
                readings.reading(ask, measure, found),
                Cell(words.number(measure.scale * row["detectable"], measure.decimals))
                if row["detectable"] is not None
                else figures.none(),
                figures.drawn(charts.interval(axis, drawn, tone=readings.tone(measure, found))),
            ]
        )
    return Grid(heads, rows)


def _mean(ask: Ask, measure: Measure, row: Row, arm: str) -> Cell:
    """The mean of an arm; it leads to those who left, or to those who have the outcome."""
    mean = row[f"mean_{arm}"]
    if mean is None:
        return figures.missing(ask.language)
    of = f"left_{arm}" if measure.column == readings.CHURN else arm
    link = readings.behind(ask, row, of) if row[of] else ""
    return Cell(ask.language.number(measure.scale * mean, measure.decimals), link=link)


def group_grid(ask: Ask, by: str, rows: Sequence[Row]) -> Grid:
    """The difference in leaving by group."""
    words, measure = ask.language, readings.OUTCOMES[readings.CHURN]
    axis = charts.axis_of([readings.always(measure, row) for row in rows], (0,), 88)
    heads = [
        figures.name(ask.label("dimension", by)),
        figures.head(words.gettext("Customers")),
        figures.head(words.gettext("Difference")),
        figures.head("95%"),
        figures.name(words.gettext("Reading")),
        figures.drawn(charts.axis_head(axis, words)),
    ]
    cells = []
    for row in sorted(rows, key=lambda row: -row["customers"]):
        found = readings.always(measure, row)
        cells.append(
            [
                figures.name(ask.label(by, row[by])),
                figures.count(
                    words, row["customers"], readings.behind(ask, row, "customers", **{by: row[by]})
                ),
                *readings.difference(ask, measure, found),
                readings.reading(ask, measure, found),
                figures.drawn(charts.interval(axis, found, tone=readings.tone(measure, found))),
            ]
        )
    return Grid(heads, cells)


def checks(ask: Ask, row: Row, mine: Mapping[str, Row]) -> Grid:
    """What has to hold for the figures to be believed."""
    words = ask.language
    treated, holdout = words.number(row["entered_treated"]), words.number(row["entered_holdout"])
    good = Cell(words.gettext("as planned"), right=False)
    ratio = words.gettext("%(treated)s to %(holdout)s") % {"treated": treated, "holdout": holdout}
    if row["ratio_p"] is not None:
        ratio = words.gettext("%(treated)s to %(holdout)s, %(share)s to be held out, p %(p)s") % {
            "treated": treated,
            "holdout": holdout,
            "share": words.percent(row["share"]),
            "p": words.number(row["ratio_p"], 3),
        }
    sample = _sizes(ask, row)
    acted, crossed = row["acted_on_holdout"], row["crossed"]
    answers = mine["nps"]
    texts = [
        (N_("Sizes of the arms"), Cell(ratio, right=False, wide=True), sample),
        (
            N_("Arms drawn by"),
            Cell(
                words.gettext("a keyed hash of the customer")
                if row["what"] == "experiment"
                else words.gettext("the CRM"),
                right=False,
                wide=True,
            ),
            good
            if row["what"] == "experiment"
            else Cell(words.gettext("nothing proves that it was chance"), tone="q", right=False, wide=True),
        ),
        (
            N_("Held out, yet acted on"),
            _of(ask, row, "acted_on_holdout", row["entered_holdout"]),
            good
            if not acted
            else Cell(words.gettext("kept in: the true effect is larger"), right=False, wide=True),
        ),
        (
            N_("In both arms"),
            _of(ask, row, "crossed", row["entered_treated"] + row["entered_holdout"]),
            good if not crossed else Cell(words.gettext("kept in the first"), right=False),
        ),
        (
            N_("Answered NPS"),
            Cell(
                words.gettext("%(n)s of %(all)s")
                % {
                    "n": words.number(answers["treated"] + answers["holdout"]),
                    "all": words.number(row["entered_treated"] + row["entered_holdout"]),
                },
                right=False,
            ),
            Cell(words.gettext("others are left out of it"), tone="q", right=False, wide=True),
        ),
        (
            N_("Looking before the end"),
            Cell(words.gettext("margins hold at every look"), right=False, wide=True),
            Cell(words.gettext("allowed"), right=False),
        ),
    ]
    heads = [figures.name(words.gettext(text)) for text in (N_("Check"), N_("Found"), N_("Reading"))]
    return Grid(heads, [[figures.name(words.gettext(text)), *cells] for text, *cells in texts])


def _sizes(ask: Ask, row: Row) -> Cell:
    """Whether the sizes of the arms are those that chance gives, with the limit."""
    words, p = ask.language, row["ratio_p"]
    if p is None:
        return Cell(words.gettext("not known"), tone="q", right=False)
    text = (
        N_("broken: p is below %(limit)s")
        if p < readings.BROKEN
        else N_("uneven: watch it; broken only below p %(limit)s")
        if p < readings.UNEVEN
        else N_("as planned; broken below p %(limit)s")
    )
    tone = "worse" if p < readings.BROKEN else ""
    return Cell(
        words.gettext(text) % {"limit": words.number(readings.BROKEN, 3)}, tone=tone, right=False, wide=True
    )


def _of(ask: Ask, row: Row, of: str, whole: int) -> Cell:
    words = ask.language
    text = words.gettext("%(n)s of %(all)s") % {"n": words.number(row[of]), "all": words.number(whole)}
    return Cell(text, link=readings.behind(ask, row, of) if row[of] else "", right=False)

"""How the difference that an experiment made is read and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxstream.console import figures
from cxstream.console.figures import Cell, Estimate, Measure
from cxstream.console.language import N_

if TYPE_CHECKING:
    from cxstream.console.page import Ask
    from cxstream.console.reader import Row

DAYS = ("30", "7", "14", "60", "90")
"""How long customers are followed; the first is the default."""

CHURN = "churn"
BROKEN = 0.001
"""Smaller p-values of the sizes of the arms say that something is broken."""
UNEVEN = 0.05
"""Smaller ones are rare by chance: of 20 sound experiments one has them."""

OUTCOMES = {
    "churn": Measure("churn", N_("Left, %"), scale=100, up="worse"),
    "effort": Measure("effort", N_("Effort"), up="worse"),
    "satisfaction": Measure("satisfaction", N_("Satisfaction")),
    "nps": Measure("nps", N_("NPS")),
    "spend": Measure("spend", N_("Spend")),
}
"""In the order of the page: leaving is what signals are about, and decides."""
_READING = {
    "churn": (N_("fewer leave"), N_("more leave")),
    "effort": (N_("easier"), N_("harder")),
    "satisfaction": (N_("more satisfied"), N_("less satisfied")),
    "nps": (N_("recommend more"), N_("recommend less")),
    "spend": (N_("spend more"), N_("spend less")),
}


def behind(ask: Ask, row: Row, of: str, **cell: str | None) -> str:
    """The address of the customers behind a number of a row."""
    link = ask.customers(
        "experiments", of, what=row["what"], name=row["name"], outcome=row["outcome"], **cell
    )
    return figures.options(link, days=ask.choice("days", *DAYS))


def always(measure: Measure, row: Row) -> Estimate | None:
    """The difference, with the interval that holds at every look."""
    if row["difference"] is None:
        return None
    ends = (row["difference"], row["always_low"], row["always_high"])
    return Estimate(*(measure.scale * each for each in ends))


def verdict(measure: Measure, found: Estimate | None) -> int:
    """1: better; -1: worse; 0: not clear, or too few."""
    if found is None or found.low is None or found.high is None or found.low <= 0 <= found.high:
        return 0
    return 1 if (found.value > 0) == (measure.up == "better") else -1


def reading(ask: Ask, measure: Measure, found: Estimate | None) -> Cell:
    """A difference in words."""
    words = ask.language
    if found is None:
        return Cell(words.gettext("too early"), tone="q", right=False)
    sign = verdict(measure, found)
    if not sign:
        return Cell(words.gettext("not clear"), tone="q", right=False)
    better, worse = _READING[measure.column]
    return Cell(
        words.gettext(better if sign > 0 else worse),
        tone="better" if sign > 0 else "worse",
        right=False,
    )


def tone(measure: Measure, found: Estimate | None) -> str:
    """The colour of a difference, as of `charts.interval`."""
    return {1: "s", -1: "e", 0: "g"}[verdict(measure, found)]


def difference(ask: Ask, measure: Measure, found: Estimate | None) -> list[Cell]:
    """The difference and its interval."""
    words = ask.language
    if found is None:
        return [figures.none(), figures.none()]
    text = words.interval(found.low, found.high, measure.decimals, sign=True)
    return [Cell(words.number(found.value, measure.decimals, sign=True), strong=True), Cell(text, tone="q")]

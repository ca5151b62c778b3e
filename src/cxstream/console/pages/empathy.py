"""Empathy map: what customers say, think, do and feel, what pains them and what they gain, counted."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cxstream.console import figures, labels
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.tables import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cxstream.console.reader import Row

_MOST, _FEW = 200, 6
_ANYBODY = "any"
# Part of the map: title, where it comes from, colour of its bars.
_PARTS = {
    "says": (N_("Says"), N_("answers, reviews, complaints, posts"), "k"),
    "thinks": (N_("Thinks"), N_("inferred from topics, reasons and searches"), "k"),
    "does": (N_("Does"), N_("touchpoints of their own"), "k"),
    "feels": (N_("Feels"), N_("satisfaction after a touchpoint, tone of words"), "s"),
    "pains": (N_("Pains"), N_("what added effort or took mood"), "e"),
    "gains": (N_("Gains"), N_("what added mood"), "s"),
}
_SAID = {
    "NPS promoter": N_("NPS 9 or 10, promoters"),
    "NPS passive": N_("NPS 7 or 8, passives"),
    "NPS detractor": N_("NPS 0 to 6, detractors"),
    "complaint": N_("Complaint"),
    "post": N_("Post"),
    "positive post": N_("Positive post"),
    "neutral post": N_("Neutral post"),
    "negative post": N_("Negative post"),
    "positive words": N_("Positive words"),
    "neutral words": N_("Neutral words"),
    "negative words": N_("Negative words"),
    "looks for something": N_("Searches"),
}


async def _show(ask: Ask) -> Mapping[str, Any]:
    rows = await _rows(ask, _MOST if ask.param("all") else _FEW)
    words = ask.language
    through = _through(ask)
    return {
        "parts": [_part(ask, name, [row for row in rows if row["quadrant"] == name]) for name in _PARTS],
        "through": "" if through == _ANYBODY else through,
        "places": await _places(ask),
        "is_all": bool(ask.param("all")),
        "worst": _heaviest(ask, rows, "pains"),
        "best": _heaviest(ask, rows, "gains"),
        "people": words.gettext("of customers who came by %(place)s") % {"place": through.replace("_", " ")}
        if through != _ANYBODY
        else "",
    }


def _through(ask: Ask) -> str:
    return labels.code(ask.language, "kind", ask.param("through").strip()) or _ANYBODY


async def _rows(ask: Ask, most: int) -> list[Row]:
    return await ask.view("empathy", options={"through": _through(ask), "most": str(most)})


async def _places(ask: Ask) -> list[str]:
    """Touchpoints that can be asked for."""
    rows = await ask.reader.sql(
        """SELECT touchpoint FROM daily WHERE touchpoint IS NOT NULL
        GROUP BY touchpoint HAVING sum(touchpoints) > 0 ORDER BY sum(touchpoints) DESC, touchpoint LIMIT 50"""
    )
    return [row["touchpoint"] for row in rows]


def _heaviest(ask: Ask, rows: Sequence[Row], part: str) -> str:
    """The most frequent item of a part, in words."""
    return next((item_of(ask, row["item"]) for row in rows if row["quadrant"] == part), "")


def _part(ask: Ask, name: str, rows: Sequence[Row]) -> dict[str, Any]:
    words = ask.language
    title, source, tone = (words.gettext(text) for text in _PARTS[name])
    return {
        "name": name,
        "title": title,
        "source": source,
        "tone": tone,
        "rows": [
            {
                "text": item_of(ask, row["item"]),
                "share": row["share"],
                "count": row["count"],
                "customers": row["customers"],
                "link": _link(ask, row),
                "weight": _weight(ask, name, row),
            }
            for row in rows
        ],
    }


def _link(ask: Ask, row: Row) -> str:
    link = ask.customers("empathy", quadrant=row["quadrant"], item=row["item"])
    through = _through(ask)
    return link if through == _ANYBODY else figures.options(link, through=through)


def _weight(ask: Ask, part: str, row: Row) -> str:
    """What the touchpoints of a pain or gain added."""
    words = ask.language
    if part == "pains":
        return words.gettext("effort %(effort)s, mood %(mood)s") % {
            "effort": words.number(row["effort"], sign=True),
            "mood": words.number(row["mood"], sign=True),
        }
    return (
        words.gettext("mood %(mood)s") % {"mood": words.number(row["mood"], sign=True)}
        if part == "gains"
        else ""
    )


def item_of(ask: Ask, item: str) -> str:
    """An item of the view in the reader's words.

    Args:
        ask: with the language.
        item: `CSAT 2`, `about TOPIC`, `because REASON`, `KIND on CHANNEL`, `KIND at TOUCHPOINT`, ...
    """
    words = ask.language
    if item in _SAID:
        return words.gettext(_SAID[item])
    for pattern, text in _PATTERNS:
        if found := re.fullmatch(pattern, item, re.DOTALL):
            return text(ask, *found.groups())
    return item


def _kind_and(ask: Ask, kind: str, place: str) -> str:
    return f"{ask.label('kind', kind)}: {place.replace('_', ' ')}"


# In this order: a topic or reason may be any text.
_PATTERNS: tuple[tuple[str, Callable[..., str]], ...] = (
    (r"(CSAT|CES) (\d)", lambda _, name, score: f"{name} {score}"),
    (
        r"([\d.]+) stars",
        lambda ask, stars: (
            ask.language.gettext("%(n)s stars")
            % {"n": ask.language.number(float(stars), 0 if float(stars).is_integer() else 1)}
        ),
    ),
    (
        r"satisfaction (\d+)-(\d+)",
        lambda ask, low, high: (
            ask.language.gettext("Satisfaction %(low)s to %(high)s") % {"low": low, "high": high}
        ),
    ),
    (
        r"complaint about (.+)",
        lambda ask, topic: ask.language.gettext("Complaint about %(topic)s") % {"topic": topic},
    ),
    (r"about (.+)", lambda ask, topic: ask.language.gettext("About %(topic)s") % {"topic": topic}),
    (r"because (.+)", lambda ask, reason: ask.language.gettext("Because: %(reason)s") % {"reason": reason}),
    (
        r"looks for something at (.+)",
        lambda ask, place: (
            ask.language.gettext("Searches at: %(place)s") % {"place": place.replace("_", " ")}
        ),
    ),
    (r"([a-z][a-z0-9_]*) at (.+)", _kind_and),
    (
        r"([a-z][a-z0-9_]*) on (.+)",
        lambda ask, kind, channel: _kind_and(ask, kind, ask.label("channel", channel)),
    ),
)


async def _table(ask: Ask) -> Table:
    return Table("empathy-map", await _rows(ask, _MOST))


PAGE = Page(
    name="empathy",
    path="/empathy",
    title=N_("Empathy map"),
    subtitle=N_("What customers say, think, do and feel, counted"),
    show=_show,
    tables={"map": _table},
)

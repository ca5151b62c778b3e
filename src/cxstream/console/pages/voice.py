"""Voice: what customers answer, rate and post, with margins, over time and by place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from cxstream.console import charts, drawing, figures, written
from cxstream.console import weeks as weekly
from cxstream.console.figures import Grid, Measure
from cxstream.console.language import N_
from cxstream.console.page import STAFF, Ask, Page
from cxstream.console.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.reader import Row

_MOST = 500
_SHOWN = 12
_NPS = Measure("nps", N_("NPS"), decimals=0, bounds=(-100, 0, 100))
_CSAT = Measure("csat", N_("CSAT, satisfied"), scale=100, decimals=0, bounds=(0, 100))
_CES = Measure("ces", N_("CES, 7 is easy"), decimals=1, bounds=(1, 7))
_STARS = Measure("stars", N_("Stars of reviews"), decimals=1, bounds=(1, 5))
_MEASURES = (_NPS, _CSAT, _CES, _STARS)
_ANSWERS = {"nps": "nps_answers", "csat": "csat_answers", "ces": "ces_answers", "stars": "reviews"}
_BY = ("channel", "touchpoint", "topic", "segment", "agent")
_SENTIMENT = Measure("sentiment", N_("Sentiment"), decimals=2, bounds=(-1, 0, 1))


def _choices(ask: Ask) -> tuple[str, ...]:
    return _BY if ask.sees_customers else tuple(name for name in _BY if name != STAFF)


async def _show(ask: Ask) -> Mapping[str, Any]:
    by = ask.choice("by", *_choices(ask))
    now, before, weeks, rows, posts, tags = await asyncio.gather(
        ask.view("voice"),
        ask.view("voice", scope=ask.scope.before),
        ask.view("voice", scope=weekly.scope_of(ask.scope), grain="week"),
        _places(ask, by),
        ask.view("social"),
        ask.view("social", options={"each": "hashtag"}, limit=_SHOWN),
    )
    words = ask.language
    total = now[0] if now else None
    earlier = before[0] if before and ask.scope.has_before else None
    asked = [row for row in rows if any(row[count] for count in _ANSWERS.values())]
    return {
        "figures": [_figure(ask, each, total, earlier, weeks) for each in _MEASURES],
        "part": weekly.part(ask),
        "lede": _lede(ask, total, earlier),
        "weeks": _week_grid(ask, weeks),
        "by": by,
        "choices": [
            (name, ask.label("dimension", name), ask.here(by=None if name == _BY[0] else name))
            for name in _choices(ask)
        ],
        "places": _place_grid(ask, by, asked[:_SHOWN] if not ask.param("all") else asked),
        "shown": min(len(asked), _SHOWN) if not ask.param("all") else len(asked),
        "all_places": len(asked),
        "answers": _answer_grid(ask, total) if total else None,
        "posts": _facts(ask, posts[0]) if posts and posts[0]["posts"] else [],
        "tags": _tag_grid(ask, [row for row in tags if row["hashtag"]]),
        "texts": await written.shown(ask),
        "answered": words.number(total["customers"] if total else 0),
    }


async def _places(ask: Ask, by: str) -> list[Row]:
    rows = await ask.view("voice", by=(by,), limit=_MOST)
    return sorted(rows, key=lambda row: -sum(row[count] for count in _ANSWERS.values()))


def _figure(
    ask: Ask, measure: Measure, now: Row | None, before: Row | None, weeks: Sequence[Row]
) -> dict[str, Any]:
    words = ask.language
    found = {row["period"]: measure.of(row) for row in weeks}
    title = words.gettext(measure.title)
    number = now[_ANSWERS[measure.column]] if now else 0
    behind = ask.customers("voice", _ANSWERS[measure.column]) if number else ""
    counted = (
        words.ngettext("{n} review", "{n} reviews", number)
        if measure is _STARS
        else words.ngettext("{n} answer", "{n} answers", number)
    )
    return {
        "title": title,
        "now": figures.estimate(words, measure, measure.of(now), behind),
        "change": figures.change(words, measure, figures.difference(measure.of(now), measure.of(before)))
        if before
        else figures.Cell(),
        "note": counted,
        "chart": weekly.chart(ask, measure, found, title),
    }


def _lede(ask: Ask, now: Row | None, before: Row | None) -> dict[str, Any]:
    """The question with the most answers, and whether it changed."""
    words = ask.language
    known = [each for each in (_NPS, _CSAT, _CES, _STARS) if each.of(now) is not None]
    if now is None or not known:
        return {"kind": "none"}
    chosen = _NPS if _NPS in known else max(known, key=lambda each: now[_ANSWERS[each.column]])
    change = figures.difference(chosen.of(now), chosen.of(before))
    return {
        "kind": "known",
        "name": words.gettext(chosen.title),
        "now": figures.estimate(words, chosen, chosen.of(now)),
        "sign": figures.direction(chosen, change),
        "change": words.number(abs(change.value), chosen.decimals) if change else "",
        "is_compared": change is not None,
        "customers": now["customers"],
        "link": ask.customers("voice"),
    }


def _week_grid(ask: Ask, weeks: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [figures.name(words.gettext("Week from"))]
    for measure in _MEASURES:
        heads += [figures.head(words.gettext(measure.title)), figures.head(words.gettext("Answers"))]
    rows = [
        [
            weekly.name(ask, row["period"]),
            *(
                cell
                for measure in _MEASURES
                for cell in (
                    figures.estimate(words, measure, measure.of(row)),
                    figures.count(words, row[_ANSWERS[measure.column]]),
                )
            ),
        ]
        for row in weeks
    ]
    return Grid(heads, rows)


def _place_grid(ask: Ask, by: str, rows: Sequence[Row]) -> Grid:
    """The four measures by place, each column with an axis of its own."""
    words = ask.language
    axes = {each: charts.axis_of([], each.bounds, 120) for each in _MEASURES}
    heads = [figures.name(ask.label("dimension", by))]
    for measure in _MEASURES:
        heads += [
            figures.head(words.gettext(measure.title)),
            figures.drawn(charts.axis_head(axes[measure], words)),
        ]
    heads += [figures.head(words.gettext("Customers"))]
    return Grid(heads, [_place(ask, by, row, axes) for row in rows])


def _place(ask: Ask, by: str, row: Row, axes: Mapping[Measure, drawing.Axis]) -> list[figures.Cell]:
    words = ask.language
    cells = [figures.name(ask.label(by, row[by]))]
    for measure in _MEASURES:
        count = row[_ANSWERS[measure.column]]
        found = measure.of(row)
        if not count:
            cells += [figures.none(), figures.Cell()]
            continue
        if found is None:
            few = words.ngettext("{n} answer", "{n} answers", count)
            cells += [figures.Cell(few, tone="q"), figures.Cell()]
            continue
        link = ask.customers("voice", _ANSWERS[measure.column], **{by: row[by]})
        cells += [
            figures.estimate(words, measure, found, link),
            figures.drawn(charts.interval(axes[measure], found, tone=measure.tone)),
        ]
    return [*cells, figures.count(words, row["customers"], ask.customers("voice", **{by: row[by]}))]


# What an answer is worth: measure that counts it, all of its survey, text, tone.
_KINDS = (
    ("promoters", "nps_answers", N_("NPS 9 or 10, promoters"), "s"),
    ("passives", "nps_answers", N_("NPS 7 or 8, passives"), "k"),
    ("detractors", "nps_answers", N_("NPS 0 to 6, detractors"), "e"),
    ("csat_top", "csat_answers", N_("CSAT 4 or 5, satisfied"), "s"),
)


def _answer_grid(ask: Ask, total: Row) -> Grid:
    words = ask.language
    share = Measure("share", "", scale=100, decimals=0)
    rows = []
    for measure, of, text, tone in _KINDS:
        if not total[of]:
            continue
        part = figures.share_of(total[measure], total[of])
        rows.append(
            [
                figures.name(words.gettext(text)),
                figures.count(words, total[measure], ask.customers("voice", measure)),
                figures.estimate(words, share, part),
                figures.drawn(drawing.bar(part.value / 100, tone)),
            ]
        )
    heads = [
        figures.name(words.gettext("Answer")),
        figures.head(words.gettext("Answers")),
        figures.head(words.gettext("Share")),
        figures.drawn(Markup(""), words.gettext("Drawn")),
    ]
    return Grid(heads, rows)


def _facts(ask: Ask, row: Row) -> list[tuple[str, figures.Cell]]:
    words = ask.language
    return [
        (words.gettext("Posts"), figures.count(words, row["posts"], ask.customers("social", "posts"))),
        (words.gettext("Sentiment"), figures.estimate(words, _SENTIMENT, _SENTIMENT.of(row))),
        (
            words.gettext("Positive"),
            figures.count(words, row["positive"], ask.customers("social", "positive")),
        ),
        (words.gettext("Neutral"), figures.count(words, row["neutral"], ask.customers("social", "neutral"))),
        (
            words.gettext("Negative"),
            figures.count(words, row["negative"], ask.customers("social", "negative")),
        ),
        (words.gettext("Likes, shares, comments"), figures.count(words, row["engagement"])),
    ]


def _tag_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    axis = charts.axis_of([], _SENTIMENT.bounds, 120)
    heads = [
        figures.name(words.gettext("Hashtag")),
        figures.head(words.gettext("Posts")),
        figures.head(words.gettext("Sentiment")),
        figures.drawn(charts.axis_head(axis, words)),
    ]
    return Grid(
        heads,
        [
            [
                figures.name(f"#{row['hashtag']}"),
                figures.count(
                    words,
                    row["posts"],
                    figures.options(ask.customers("social", "posts", hashtag=row["hashtag"]), each="hashtag"),
                ),
                figures.estimate(words, _SENTIMENT, _SENTIMENT.of(row)),
                figures.drawn(charts.interval(axis, _SENTIMENT.of(row))),
            ]
            for row in rows
        ],
    )


async def _places_table(ask: Ask) -> Table:
    by = ask.choice("by", *_choices(ask))
    return Table(f"voice-by-{by}", await _places(ask, by))


async def _weeks_table(ask: Ask) -> Table:
    return Table("voice-by-week", await ask.view("voice", scope=weekly.scope_of(ask.scope), grain="week"))


async def _tags_table(ask: Ask) -> Table:
    return Table("hashtags", await ask.view("social", options={"each": "hashtag"}, limit=_MOST))


PAGE = Page(
    name="voice",
    path="/voice",
    title=N_("Voice"),
    subtitle=N_("What customers answer, rate and post"),
    show=_show,
    tables={
        "places": _places_table,
        "weeks": _weeks_table,
        "hashtags": _tags_table,
        "texts": written.by_topic_and_day,
    },
)

"""Journeys: from place to place, step by step, with times and effort on the way; how far they come, and how they end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from markupsafe import Markup

from cxstream.console import beside, charts, drawing, figures, labels
from cxstream.console.charts import Flow
from cxstream.console.figures import Estimate, Grid, Measure
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.queries import own
from cxstream.console.tables import Table
from cxstream.warehouse.views.selection import Filter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from cxstream.console.figures import Cell
    from cxstream.console.reader import Row

_STEPS = 4
_SHOWN = 12
_PATHS = 10
_MOST = 500
# A touchpoint later than this begins another journey of the customer.
_WITHIN = "7"
_PER = {"customer": N_("Customers, a week apart"), "session": N_("Sessions"), "case": N_("Cases")}
_PLACES = {
    "channel": N_("Channel"),
    "touchpoint": N_("Touchpoint"),
    "stage": N_("Stage"),
    "kind": N_("Kind"),
}
_BESIDE = "beside"
_WHO = {
    "all": N_("Everybody"),
    "left": N_("Who left"),
    "stayed": N_("Who stayed"),
    _BESIDE: N_("Both, side by side"),
}
_ENDS = {
    "later": N_("goes on"),
    "left": N_("left"),
    "complained": N_("complained"),
    "silent": N_("silent"),
    "bought": N_("bought"),
}
_COLOURS = {"later": "off", "left": "p3", "complained": "fe", "silent": "fg", "bought": "fs"}
_RESULTS = ("bought", "complained", "left", "silent")
# Not to need help is no loss: this stage is no step of a funnel that nobody has chosen.
_HELP = "service"
# What is done to the customer is no step of theirs.
_OURS = ("email_sent", "campaign_sent", "action_taken", "purchase_history")
_STEPS_OF = {"customers": N_("left out"), "all": N_("are steps, too")}
_EFFORT = Measure("effort", N_("Effort on the way"), up="worse", tone="e")
_SHARE = Measure("share", "", scale=100, up="")
# Places that are shown under a name in the tables of both sides: all of them, so that shares can be compared.
_EVERY = "1000000"


async def _show(ask: Ask) -> Mapping[str, Any]:
    if _chosen(ask)["who"] == _BESIDE:
        return {**_frame(ask), **await _beside(ask)}
    links, paths = await asyncio.gather(_links(ask), _paths(ask))
    funnel, steps = await _funnel(ask)
    shown = _edges(ask, links)
    return {
        **_frame(ask),
        "total": _total(links),
        "lede": _lede(ask, links, shown),
        "facts": _facts(ask, links),
        "flow": _sankey(ask, links),
        "classes": _legend(ask, links),
        "edges": _edge_grid(ask, shown if ask.param("all") else shown[:_SHOWN]),
        "shown": len(shown) if ask.param("all") else min(_SHOWN, len(shown)),
        "all_edges": len(shown),
        "funnel": _funnel_grid(ask, funnel),
        "funnel_steps": steps,
        "paths": _path_grid(ask, paths),
    }


def _frame(ask: Ask) -> dict[str, Any]:
    """The choices at the head of the page and of its funnel."""
    words = ask.language
    return {
        "chosen": _chosen(ask),
        "choices": [
            (words.gettext(title), name, _choices(ask, name, texts))
            for title, name, texts in (
                (N_("Journeys of"), "per", _PER),
                (N_("Steps are"), "place", _PLACES),
                (N_("Whose"), "who", _WHO),
                (N_("Our messages and actions"), "ours", _STEPS_OF),
            )
        ],
        "ours": [ask.label("kind", kind) for kind in _OURS] if _left_out(ask) else [],
        "is_funnel_chosen": bool(ask.param("steps")),
        "funnel_place": ask.param("fplace") or "stage",
        "funnel_places": [(name, words.gettext(text)) for name, text in _PLACES.items()],
        "hidden": _hidden(ask),
    }


async def _beside(ask: Ask) -> dict[str, Any]:
    """Who left beside who stayed."""
    words = ask.language
    rows = await asyncio.gather(
        *(_links(ask, side) for side in beside.SIDES),
        *(_links(ask, side, most=_EVERY) for side in beside.SIDES),
        *(_paths(ask, side, _MOST) for side in beside.SIDES),
    )
    links, every, paths = (dict(zip(beside.SIDES, rows[n : n + 2], strict=True)) for n in (0, 2, 4))
    totals = {side: _total(found) for side, found in links.items()}
    found = beside.edges({side: _merged(each) for side, each in every.items()}, totals, ask.scope.few)
    shown = found if ask.param("all") else found[:_SHOWN]
    funnels = {side: await _funnel(ask, side) for side in beside.SIDES}
    results = {side: _results(each) for side, each in links.items()}
    ends = beside.ends(
        words,
        results,
        lambda name: words.gettext(_ENDS[name]).capitalize(),
        lambda side, name: _behind(ask, who=side, result=name),
        ask.scope.few,
    )
    return {
        "total": sum(totals.values()),
        "lede": _lede_beside(ask, totals, found),
        "also": _also(ask, results, {side: each for side, (each, _) in funnels.items()}),
        "sides": [
            (
                words.gettext(beside.TITLES[side]),
                totals[side],
                _sankey(ask, each, _top([*every["left"], *every["stayed"]])),
            )
            for side, each in links.items()
        ],
        "classes": _legend(ask, [*every["left"], *every["stayed"]]),
        "ends": ends,
        "edges": beside.edge_grid(
            words, shown, lambda row: _named(ask, row), partial(_step_link, ask), ask.scope.few
        ),
        "shown": len(shown),
        "all_edges": len(found),
        "funnel": beside.funnel(
            words,
            {side: each for side, (each, _) in funnels.items()},
            lambda step: ask.label(_funnel_place(ask), step),
            lambda side, row: _funnel_link(ask, row, funnels[side][0], side),
            ask.scope.few,
        ),
        "funnel_steps": funnels["stayed"][1],
        "paths": beside.paths(
            words,
            paths,
            partial(_path, ask),
            partial(_path_link, ask),
            shown=_PATHS,
            read=_MOST,
            few=ask.scope.few,
        ),
    }


def _lede_beside(
    ask: Ask, totals: Mapping[str, int], found: Sequence[tuple[Any, beside.Pair, dict[str, Row]]]
) -> dict[str, Any]:
    """The step that differs most beyond what chance gives among all compared, unless it is to leave."""
    words = ask.language
    compared = sum(pair.p_adjusted is not None for _, pair, _ in found)
    clear = next(((pair, rows) for edge, pair, rows in found if pair.is_clear and edge[3] != "left"), None)
    if clear is None:
        return {"total": sum(totals.values()), **totals, "edge": "", "compared": compared}
    pair, rows = clear
    row = next(iter(rows.values()))
    return {
        "total": sum(totals.values()),
        **totals,
        "compared": compared,
        "edge": _named(ask, row),
        "step": words.number(row["step"]),
        "of_left": words.percent(pair.left / totals["left"]),
        "of_stayed": words.percent(pair.stayed / totals["stayed"]),
    }


def _also(
    ask: Ask, results: Mapping[str, Mapping[str, int]], funnels: Mapping[str, Sequence[Row]]
) -> list[dict[str, str]]:
    """The end and the step of the funnel whose shares differ most, where that is more than chance gives in their tables."""
    words = ask.language
    end = beside.clearest(beside.end_pairs(results, ask.scope.few), ("left",))
    steps = beside.funnel_pairs(funnels, ask.scope.few)
    step = beside.clearest((row["step"], pair) for row, pair in steps)
    found = []
    for kind, name, each in (
        ("end", end and words.gettext(_ENDS[end[0]]), end),
        ("step", step and ask.label(_funnel_place(ask), step[0]), step),
    ):
        if each is not None:
            pair = each[1]
            shares = {
                side: words.percent(number / pair.totals[side])
                for side, number in zip(beside.SIDES, (pair.left, pair.stayed), strict=True)
            }
            first = ask.label(_funnel_place(ask), steps[0][0]["step"]) if kind == "step" else ""
            found.append({"kind": kind, "name": str(name), "first": first, **shares})
    return found


def _chosen(ask: Ask) -> dict[str, str]:
    return {
        "per": ask.choice("per", *_PER),
        "place": ask.choice("place", *_PLACES),
        "who": ask.choice("who", *_WHO),
        "ours": ask.choice("ours", *_STEPS_OF),
    }


def _choices(ask: Ask, name: str, texts: Mapping[str, str]) -> list[tuple[str, str, str]]:
    first = next(iter(texts))
    return [
        (value, ask.language.gettext(text), ask.here(**{name: None if value == first else value}))
        for value, text in texts.items()
    ]


def _options(ask: Ask) -> dict[str, str]:
    chosen = _chosen(ask)
    within = _WITHIN if chosen["per"] == "customer" else "0"
    return {"per": chosen["per"], "place": chosen["place"], "within": within}


def _left_out(ask: Ask) -> tuple[Filter, ...]:
    """The filter that leaves out what is done to the customer, unless the page is about kinds."""
    if _chosen(ask)["ours"] == "all" or any(each.dimension == "kind" for each in ask.scope.filters):
        return ()
    return (Filter("kind", _OURS, negated=True),)


def _without_ours(ask: Ask, link: str) -> str:
    """A link to customers under the same filter."""
    return "&".join([link, *(urlencode({"where": f"kind!={','.join(_OURS)}"}) for _ in _left_out(ask))])


def _who(ask: Ask, side: str = "") -> str:
    """Whose journeys a view shows: of one side, or as the page says."""
    chosen = side or _chosen(ask)["who"]
    return "all" if chosen == _BESIDE else chosen


async def _links(ask: Ask, side: str = "", **more: str) -> list[Row]:
    options = {**_options(ask), "who": _who(ask, side), **more}
    return await ask.view(own("steps"), where=_left_out(ask), options=options)


async def _paths(ask: Ask, side: str = "", limit: int = _PATHS) -> list[Row]:
    options = {**_options(ask), "who": _who(ask, side)}
    return await ask.view("paths", where=_left_out(ask), options=options, limit=limit)


def _total(links: Iterable[Row]) -> int:
    return sum(row["journeys"] for row in links if row["result"] is not None)


def _results(links: Iterable[Row]) -> dict[str, int]:
    found: dict[str, int] = dict.fromkeys(_RESULTS, 0)
    for row in links:
        if row["result"] is not None:
            found[row["result"]] += row["journeys"]
    return found


def _facts(ask: Ask, links: Sequence[Row]) -> list[tuple[str, Cell]]:
    words = ask.language
    total = _total(links)
    facts = [(words.gettext("Journeys"), figures.Cell(words.number(total)))]
    if total:
        for name, number in sorted(_results(links).items(), key=lambda item: -item[1]):
            cell = figures.estimate(words, _SHARE, figures.share_of(number, total), _behind(ask, result=name))
            facts.append((words.gettext(_ENDS[name]).capitalize(), cell))
    return facts


def _behind(ask: Ask, of: str = "customers", who: str = "", most: str = "", **cell: str | None) -> str:
    more = {"most": most} if most else {}
    link = figures.options(ask.customers("steps", of, **cell), **_options(ask), who=_who(ask, who), **more)
    return _without_ours(ask, link)


def _place(ask: Ask, place: str | None) -> str:
    if place == "…":
        return ask.language.gettext("others")
    return ask.label(_chosen(ask)["place"], place)


def _merged(links: Iterable[Row]) -> list[Row]:
    """Links with `later` as one end, whatever comes then."""
    found: dict[tuple[Any, ...], Row] = {}
    for row in links:
        key = row["step"], row["from_place"], row["to_place"], row["outcome"]
        if key in found:
            found[key] = {
                **found[key],
                **{name: found[key][name] + row[name] for name in ("journeys", "customers")},
            }
        else:
            found[key] = row
    return list(found.values())


def _top(links: Iterable[Row]) -> float:
    """The round end of the scale of effort."""
    known = [row["effort"] for row in links if row["effort"] is not None and row["journeys"] > 1]
    return drawing.axis_for(known).high if known and max(known) > 0 else 1.0


def _class(effort: float | None, top: float) -> int:
    return 0 if effort is None else max(0, min(3, int(4 * effort / top)))


def _legend(ask: Ask, links: Sequence[Row]) -> list[str]:
    words, top = ask.language, _top(links)
    ends = [top * n / 4 for n in (1, 2, 3)]
    decimals = 0 if all(end.is_integer() for end in ends) else _decimals(top)
    at = [words.number(end, decimals) for end in ends]
    return [
        words.gettext("under %(high)s") % {"high": at[0]},
        words.gettext("%(low)s to %(high)s") % {"low": at[0], "high": at[1]},
        words.gettext("%(low)s to %(high)s") % {"low": at[1], "high": at[2]},
        words.gettext("%(low)s and more") % {"low": at[2]},
    ]


def _decimals(top: float) -> int:
    """Decimals that tell apart efforts up to this."""
    return 1 if top >= 2 else 2  # noqa: PLR2004


def _sankey(ask: Ask, links: Sequence[Row], top: float = 0) -> Any:
    words = ask.language
    top = top or _top(links)
    effort = words.gettext("effort")
    flows = []
    for row in _merged(links):
        target = row["to_place"] or f"end:{row['outcome']}"
        title = f"{_place(ask, row['from_place'])} → {_target(ask, row)}: {words.number(row['journeys'])}"
        if row["effort"] is not None:
            title += f", {effort} {words.number(row['effort'], 2, sign=True)}"
        kind = f"lk{_class(row['effort'], top)}"
        flows.append(Flow(row["step"], row["from_place"], target, row["journeys"], kind, title))
    gaps = _gaps(links)
    heads = [
        (
            words.gettext("Step %(n)s") % {"n": words.number(n + 1)},
            words.gettext("start") if n == 0 else f"+ {words.duration(gaps[n])}" if n in gaps else "",
        )
        for n in range(_STEPS + 1)
    ]
    ends = {f"end:{name}": colour for name, colour in _COLOURS.items()}

    def label(place: str) -> str:
        return words.gettext(_ENDS[place[4:]]) if place in ends else _place(ask, place)

    title = words.gettext("Journeys step by step, from left to right; the table of steps follows")
    return charts.sankey(flows, heads, label, words.number, title, ends)


def _gaps(links: Iterable[Row]) -> dict[int, float]:
    """For each step the time to the next that most journeys are nearest to: the median of its largest link."""
    found: dict[int, Row] = {}
    for row in links:
        if (
            row["median_s"] is not None
            and row["journeys"] > found.get(row["step"], {"journeys": 0})["journeys"]
        ):
            found[row["step"]] = row
    return {step: row["median_s"] for step, row in found.items()}


def _target(ask: Ask, row: Row) -> str:
    if row["to_place"] is not None:
        return _place(ask, row["to_place"])
    return ask.language.gettext(_ENDS[row["outcome"]])


def _edges(ask: Ask, links: Sequence[Row]) -> list[Row]:
    """Links by effort: those of enough journeys first, then ends and small ones by size."""

    def order(row: Row) -> tuple[bool, float, int]:
        is_known = row["effort"] is not None and row["journeys"] >= ask.scope.few
        return not is_known, -row["effort"] if is_known else 0.0, -row["journeys"]

    return sorted(_merged(links), key=order)


def _effort(row: Row) -> Estimate | None:
    if row["effort"] is None:
        return None
    margin = row["effort_margin"]
    if margin is None:
        return Estimate(row["effort"])
    return Estimate(row["effort"], row["effort"] - margin, row["effort"] + margin)


def _edge_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    known = [_effort(row) if row["journeys"] >= ask.scope.few else None for row in rows]
    axis = charts.axis_of(known)
    measure = replace(_EFFORT, decimals=_decimals(axis.high))
    heads = [
        figures.name(words.gettext("From, to")),
        figures.head(words.gettext("Step")),
        figures.head(words.gettext("Journeys")),
        figures.head(words.gettext("Median time")),
        figures.head(words.gettext("Middle half")),
        figures.head(words.gettext("Effort on the way")),
        figures.drawn(charts.axis_head(axis, words), words.gettext("Drawn")),
    ]
    grid = []
    for row, effort in zip(rows, known, strict=True):
        behind = _taken(ask, row)
        is_end = row["to_place"] is None
        between = (
            f"{words.duration(row['low_s'])} \N{EN DASH} {words.duration(row['high_s'])}"
            if row["low_s"] is not None
            else ""
        )
        grid.append(
            [
                figures.name(_named(ask, row)),
                figures.Cell(words.number(row["step"])),
                figures.count(words, row["journeys"], behind),
                figures.Cell("" if is_end else words.duration(row["median_s"])),
                figures.Cell(between, tone="q", sort=f"{row['low_s']:.3f}" if between else ""),
                figures.Cell() if is_end else figures.estimate(words, measure, effort),
                figures.drawn(charts.interval(axis, effort, tone="e")),
            ]
        )
    return Grid(heads, grid)


def _named(ask: Ask, row: Row) -> str:
    return f"{_place(ask, row['from_place'])} → {_target(ask, row)}"


def _taken(ask: Ask, row: Row, who: str = "", most: str = "") -> str:
    """The journeys that go this way."""
    cell = {name: row[name] for name in ("from_place", "to_place", "outcome")}
    return _behind(ask, "journeys", who, most, step=str(row["step"]), **cell)


def _step_link(ask: Ask, side: str, row: Row) -> str:
    return _taken(ask, row, side, _EVERY)


async def _funnel(ask: Ask, side: str = "") -> tuple[list[Row], str]:
    """The rows of the funnel and its steps: those of the address, else the stages that there are, without help."""
    place, named = ask.param("fplace") or "stage", ask.param("steps")
    if named:
        steps = [labels.code(ask.language, place, step.strip()) for step in named.split(">")]
    else:
        rows = await ask.view(own("places"), by=("stage",))
        found = {row["stage"] for row in rows}
        steps = [stage for stage in labels.STAGES if stage in found and stage != _HELP]
        place = "stage"
    if not steps:
        return [], ""
    options = {"steps": ">".join(steps), "place": place, "per": _chosen(ask)["per"], "who": _who(ask, side)}
    rows = await ask.view("funnel", options=options)
    shown = named or " > ".join(ask.label("stage", stage) for stage in steps)
    return _with_unreached(rows, steps), shown


def _with_unreached(rows: Sequence[Row], steps: Sequence[str]) -> list[Row]:
    """The rows of a funnel, with one for each step that no journey reaches."""
    if not rows:
        return []
    found = list(rows)
    for number, step in enumerate(steps[len(rows) :], len(rows) + 1):
        before = found[-1]["journeys"]
        found.append(
            {
                "number": number,
                "step": step,
                "journeys": 0,
                "customers": 0,
                "conversion": 0.0,
                "from_previous": 0.0 if before else None,
                "drop_off": before,
                "median_s": None,
            }
        )
    return found


def _funnel_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [
        figures.name(words.gettext("Step")),
        figures.head(words.gettext("Journeys")),
        figures.head(words.gettext("Of the first step")),
        figures.drawn(Markup(""), words.gettext("Drawn")),
        figures.head(words.gettext("Of the step before")),
        figures.head(words.gettext("Lost")),
        figures.head(words.gettext("Median time from the first")),
    ]
    grid = []
    before = first = 0
    for row in rows:
        reached = row["journeys"]
        first = first or reached
        link = _funnel_link(ask, row, rows)
        grid.append(
            [
                figures.name(ask.label(_funnel_place(ask), row["step"])),
                figures.count(words, reached, link),
                figures.estimate(words, _SHARE, figures.share_of(reached, first)),
                figures.drawn(drawing.bar(reached / first, "s")),
                figures.estimate(words, _SHARE, figures.share_of(reached, before))
                if before
                else figures.Cell(),
                figures.count(words, row["drop_off"]) if before else figures.Cell(),
                figures.Cell(words.duration(row["median_s"]) if before else ""),
            ]
        )
        before = reached
    return Grid(heads, grid)


def _funnel_place(ask: Ask) -> str:
    return (ask.param("fplace") if ask.param("steps") else "") or "stage"


def _funnel_link(ask: Ask, row: Row, rows: Sequence[Row], side: str = "") -> str:
    """The journeys that reach a step."""
    return figures.options(
        ask.customers("funnel", "journeys", number=str(row["number"]), step=row["step"]),
        steps=">".join(each["step"] for each in rows),
        place=_funnel_place(ask),
        per=_chosen(ask)["per"],
        who=_who(ask, side),
    )


def _hidden(ask: Ask) -> list[tuple[str, str]]:
    """What the address says beside the funnel, for its form."""
    kept = {"steps", "fplace"}
    return [(name, value) for name, value in ask.request.query_params.multi_items() if name not in kept]


def _path_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [
        figures.name(words.gettext("Path")),
        figures.head(words.gettext("Journeys")),
        figures.head(words.gettext("Share")),
        figures.head(words.gettext("Median length")),
        figures.head(words.gettext("Effort")),
        figures.name(words.gettext("Ends mostly")),
    ]
    grid = []
    for row in rows:
        link = _path_link(ask, "", row["path"])
        ends = {
            "bought": row["end_purchase"],
            "complained": row["end_complaint"],
            "left": row["end_churn"],
            "silent": row["end_silence"],
        }
        end = max(ends, key=lambda name: ends[name])
        share = words.percent(ends[end] / row["journeys"])
        total = round(row["journeys"] / row["share"]) if row["share"] else row["journeys"]
        grid.append(
            [
                figures.Cell(_path(ask, row["path"]), right=False, wide=True),
                figures.count(words, row["journeys"], link),
                figures.estimate(words, _SHARE, figures.share_of(row["journeys"], total)),
                figures.Cell(words.duration(row["median_s"])),
                figures.Cell(words.number(row["effort"], 1, sign=True)),
                figures.name(f"{words.gettext(_ENDS[end])}, {share}"),
            ]
        )
    return Grid(heads, grid)


def _path_link(ask: Ask, side: str, path: str) -> str:
    options = {**_options(ask), "who": _who(ask, side)}
    return _without_ours(ask, figures.options(ask.customers("paths", "journeys", path=path), **options))


def _path(ask: Ask, path: str) -> str:
    """Steps with arrows; the same one several times is written once."""
    parts = []
    for step, same in groupby(path.split(" > ")):
        times = len(list(same))
        parts.append(_place(ask, step) + (f" \N{MULTIPLICATION SIGN}{times}" if times > 1 else ""))
    return " → ".join(parts)


def _lede(ask: Ask, links: Sequence[Row], edges: Sequence[Row]) -> dict[str, Any]:
    words = ask.language
    total = _total(links)
    if not total:
        return {"total": 0}
    results = _results(links)
    hardest = (
        edges[0]
        if edges and edges[0]["effort"] is not None and edges[0]["journeys"] >= ask.scope.few
        else None
    )
    has_effort = hardest is not None and hardest["effort"] > (hardest["effort_margin"] or 0)
    return {
        "total": total,
        "bought": words.percent(results["bought"] / total),
        "silent": words.percent(results["silent"] / total),
        "hardest": f"{_place(ask, hardest['from_place'])} → {_target(ask, hardest)}"
        if hardest and has_effort
        else "",
        "effort": words.number(hardest["effort"], 1) if hardest else "",
        "margin": words.number(hardest["effort_margin"], 1) if hardest else "",
        "journeys": hardest["journeys"] if hardest else 0,
    }


async def _of_sides(ask: Ask, rows: Callable[[str], Awaitable[Sequence[Row]]]) -> list[Row]:
    """The rows of a table; those of each side, where the page shows both."""
    if _chosen(ask)["who"] != _BESIDE:
        return list(await rows(""))
    return [{"who": side, **row} for side in beside.SIDES for row in await rows(side)]


async def _edges_table(ask: Ask) -> Table:
    return Table(
        "journey-steps",
        await _of_sides(ask, lambda side: _links(ask, side, **({"most": _EVERY} if side else {}))),
    )


async def _follows_table(ask: Ask) -> Table:
    # To leave is no step, here as elsewhere on the page.
    where = [*_left_out(ask), Filter("kind", ("churned",), negated=True)]
    if any(each.dimension == "kind" for each in ask.scope.filters):
        where = []
    return Table("journey-edges", await ask.view("journeys", where=tuple(where), options=_options(ask)))


async def _funnel_table(ask: Ask) -> Table:
    async def of(side: str) -> list[Row]:
        rows, _ = await _funnel(ask, side)
        return rows

    named = ("who",) if _chosen(ask)["who"] == _BESIDE else ()
    return Table(
        "funnel",
        await _of_sides(ask, of),
        (
            *named,
            "number",
            "step",
            "journeys",
            "customers",
            "conversion",
            "from_previous",
            "drop_off",
            "median_s",
        ),
    )


async def _paths_table(ask: Ask) -> Table:
    return Table("paths", await _of_sides(ask, lambda side: _paths(ask, side, _MOST)))


PAGE = Page(
    name="journeys",
    path="/journeys",
    title=N_("Journeys"),
    subtitle=N_("From place to place, and how it ends"),
    show=_show,
    tables={"steps": _edges_table, "edges": _follows_table, "funnel": _funnel_table, "paths": _paths_table},
)

"""Consistency: whether the same topic, product or stage is the same experience in every channel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cxstream.console import figures
from cxstream.console.figures import Grid, Measure
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.tables import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.reader import Row

_MOST = 200
_SHOWN = 12
_SURE = 0.05
_OF = ("topic", "product", "stage", "touchpoint")
# Measure, title, points or per cent, effect size, its bounds of small, medium and large (Cohen).
_PARTS = (
    ("satisfaction", N_("Satisfaction"), 1, "satisfaction_eta2", (0.01, 0.06, 0.14)),
    ("effort", N_("Effort"), 1, "effort_eta2", (0.01, 0.06, 0.14)),
    ("resolved", N_("Resolved"), 100, "resolved_v", (0.1, 0.3, 0.5)),
)
_SIZES = (N_("hardly any"), N_("small"), N_("medium"), N_("large"))
_ELSEWHERE = Measure("elsewhere", "", scale=100, decimals=0, up="worse", tone="e")


async def _show(ask: Ask) -> Mapping[str, Any]:
    of = ask.choice("of", *_OF)
    rows = await _items(ask)
    shown = rows if ask.param("all") else rows[:_SHOWN]
    return {
        "of": of,
        "choices": [
            (name, ask.label("dimension", name), ask.here(of=None if name == _OF[0] else name))
            for name in _OF
        ],
        "lede": _lede(ask, of, rows),
        "items": _grid(ask, of, shown),
        "repeats": _repeat_grid(ask, of, [row for row in shown if row["repeats"]]),
        "shown": len(shown),
        "all_items": len(rows),
    }


async def _items(ask: Ask) -> list[Row]:
    """Items that channels can be compared for, those whose satisfaction depends on the channel most first."""
    rows = await ask.view("consistency", options={"of": ask.choice("of", *_OF)}, limit=_MOST)
    return sorted(rows, key=lambda row: (row["channels"] < 2, -(row["satisfaction_spread"] or 0.0)))  # noqa: PLR2004


def _size(ask: Ask, value: float, bounds: Sequence[float]) -> str:
    """The effect size in words."""
    return ask.language.gettext(_SIZES[sum(value >= bound for bound in bounds)])


def _is_sure(row: Row, part: str) -> bool:
    found = row[f"{part}_p"]
    return found is not None and found < _SURE


def _lede(ask: Ask, of: str, rows: Sequence[Row]) -> dict[str, Any] | None:
    worst = next((row for row in rows if _is_sure(row, "satisfaction")), None)
    if worst is None:
        return None
    words = ask.language
    return {
        "item": ask.label(of, worst["item"]),
        "best": ask.label("channel", worst["satisfaction_best"]),
        "worst": ask.label("channel", worst["satisfaction_worst"]),
        "spread": words.number(worst["satisfaction_spread"], 1),
        "size": _size(ask, worst["satisfaction_eta2"], _PARTS[0][4]),
    }


def _grid(ask: Ask, of: str, rows: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [
        figures.name(ask.label("dimension", of)),
        figures.head(words.gettext("Touchpoints")),
        figures.head(words.gettext("Customers")),
        figures.head(words.gettext("Channels")),
    ]
    for _, title, *_ in _PARTS:
        heads += [figures.head(words.gettext(title)), figures.name(words.gettext("Best, worst"))]
    return Grid(heads, [_item(ask, of, row) for row in rows])


def _item(ask: Ask, of: str, row: Row) -> list[figures.Cell]:
    words = ask.language

    def link(measure: str) -> str:
        return figures.options(ask.customers("consistency", measure, item=row["item"]), of=of)

    cells = [
        figures.name(ask.label(of, row["item"])),
        figures.count(words, row["touchpoints"], link("touchpoints")),
        figures.count(words, row["customers"], link("customers")),
        figures.count(words, row["channels"]),
    ]
    for part, _, scale, effect, bounds in _PARTS:
        spread = row[f"{part}_spread"]
        if spread is None:
            cells += [figures.missing(words), figures.Cell()]
            continue
        if row[effect] is None or not _is_sure(row, part):
            cells += [figures.Cell(words.gettext("no clear difference"), tone="q"), figures.Cell()]
            continue
        unit = "%" if scale == 100 else ""  # noqa: PLR2004
        channels = (ask.label("channel", row[f"{part}_{end}"]) for end in ("best", "worst"))
        cells += [
            figures.Cell(
                words.number(scale * spread, 0 if unit else 1) + unit,
                _size(ask, row[effect], bounds),
                strong=True,
            ),
            figures.name(", ".join(channels)),
        ]
    return cells


def _repeat_grid(ask: Ask, of: str, rows: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [
        figures.name(ask.label("dimension", of)),
        figures.head(words.gettext("Asked again in 7 days")),
        figures.head(words.gettext("In another channel")),
        figures.head(words.gettext("Share")),
    ]

    def link(row: Row, measure: str) -> str:
        return figures.options(ask.customers("consistency", measure, item=row["item"]), of=of)

    return Grid(
        heads,
        [
            [
                figures.name(ask.label(of, row["item"])),
                figures.count(words, row["repeats"], link(row, "repeats")),
                figures.count(words, row["repeats_elsewhere"], link(row, "repeats_elsewhere")),
                figures.estimate(
                    words, _ELSEWHERE, figures.share_of(row["repeats_elsewhere"], row["repeats"])
                ),
            ]
            for row in rows
        ],
    )


async def _items_table(ask: Ask) -> Table:
    return Table(f"consistency-by-{ask.choice('of', *_OF)}", await _items(ask))


PAGE = Page(
    name="consistency",
    path="/consistency",
    title=N_("Consistency"),
    subtitle=N_("The same thing, the same experience in every channel"),
    show=_show,
    tables={"items": _items_table},
)

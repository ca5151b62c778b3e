"""Models: which ones judge, and whether the churn risk said who would leave."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from cxstream.console import charts, figures, leaving, model_card
from cxstream.console.figures import Cell, Estimate, Grid
from cxstream.console.labels import LEVELS
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.queries import own
from cxstream.console.tables import Table
from cxstream.warehouse.views import query
from cxstream.warehouse.views.statistics import Z

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cxstream.console.language import Language
    from cxstream.console.reader import Row
    from cxstream.model.parameters import ScoringParams

_DAYS = 30
# Customers who left, and who stayed, that a figure needs.
_LEAST = 30
# Ranks of those who left; and where the tenths of then are, and how many of those who are here are there now; a small part stands
# for none. As in `warehouse follow`, drift is of customers with a touchpoint in the 90 days before, as models are fitted to them.
_JUDGED = f"""
, active AS (SELECT probability FROM found, ending WHERE time > cut - INTERVAL 90 DAY),
edges AS (SELECT quantile_cont(probability, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]) AS edge FROM active),
both_times AS (
    SELECT true AS is_now, probability FROM cards WHERE touches_90 > 0 AND {leaving.STAYS}
    UNION ALL SELECT false, probability FROM active
),
counts AS (
    SELECT is_now, len(list_filter(edge, lambda e: e < probability)) AS band, count(*) AS n
    FROM both_times, edges GROUP BY ALL
),
shares AS (
    SELECT band,
        greatest(1e-4, coalesce(sum(n) FILTER (is_now), 0) / (SELECT sum(n) FROM counts WHERE is_now)) AS now,
        greatest(1e-4, coalesce(sum(n) FILTER (NOT is_now), 0) / (SELECT sum(n) FROM counts WHERE NOT is_now)) AS before
    FROM counts GROUP BY band
),
ranked AS (
    SELECT *, rank() OVER (ORDER BY probability) + (count(*) OVER (PARTITION BY probability) - 1) / 2 AS rank FROM found
)
SELECT count(*) AS n, count(*) FILTER (has_left) AS k, avg(probability::DOUBLE) AS expected,
    sum(rank) FILTER (has_left) AS ranks, (SELECT sum((now - before) * ln(now / before)) FROM shares) AS psi
FROM ranked"""


async def _show(ask: Ask) -> Mapping[str, Any]:
    view, days = own("forecast"), _days(ask)
    selection = ask.selection(view, options={"days": str(days)})
    rows, (ranked,) = await asyncio.gather(
        _tenths(ask), ask.reader.figures(query.over(view, selection, _JUDGED))
    )
    enough = min(ranked["k"], ranked["n"] - ranked["k"]) >= _LEAST
    return {
        "days": ask.language.ngettext("{n} day", "{n} days", days),
        "n": ranked["n"],
        "k": ranked["k"],
        "left_link": figures.options(ask.customers("forecast", "left"), days=str(days))
        if ranked["k"]
        else "",
        "least": _LEAST,
        "is_enough": enough,
        "facts": _facts(ask, rows, ranked) if enough else [],
        "tenths": _grid(ask, rows, days) if enough else None,
        "card": await _card(ask),
        "models": _models(ask, ask.settings.scoring),
        "levels": [
            (ask.label("level", code), ask.language.number(begin, 3))
            for code, begin in zip([*LEVELS][1:], ask.settings.scoring.thresholds, strict=True)
        ],
    }


async def _card(ask: Ask) -> dict[str, Any]:
    """What the model card of the settings says; `state` is why there is none."""
    path, words = ask.settings.warehouse.model_card, ask.language
    if path is None:
        return {"state": "none"}
    card = await asyncio.to_thread(model_card.read, path)
    if card is None:
        return {"state": "unreadable", "path": str(path)}
    days = words.ngettext("{n} day", "{n} days", card.horizon_days)
    if card.check is None or not card.check.scores:
        return {"state": "few", "days": days, "k": card.departures}
    check = card.check
    return {
        "state": "",
        "days": days,
        "customers": check.customers,
        "departures": check.departures,
        "is_in_force": model_card.is_of(card, ask.settings.scoring),
        "facts": model_card.facts(words, check),
        "tenths": model_card.tenths(words, check),
        "costs": model_card.costs(words, card),
        "groups": model_card.groups(words, check),
        "others": model_card.others(words, check),
        "lead": model_card.lead(words, check),
        "earned": model_card.earned(words, card),
    }


def _days(ask: Ask) -> int:
    """The horizon of the churn risk of the settings."""
    return ask.settings.scoring.churn_horizon_days or _DAYS


async def _tenths(ask: Ask) -> list[Row]:
    return await ask.view(own("forecast"), options={"days": str(_days(ask))})


def area(n: int, k: int, ranks: float) -> Estimate:
    """The area under the ROC curve, from the ranks of those who left, with Hanley and McNeil's interval (1982)."""
    found = (ranks - k * (k + 1) / 2) / (k * (n - k))
    one, two = found / (2 - found), 2 * found**2 / (1 + found)
    spread = found * (1 - found) + (k - 1) * (one - found**2) + (n - k - 1) * (two - found**2)
    margin = Z * math.sqrt(max(0.0, spread) / (k * (n - k)))
    return Estimate(found, max(0.0, found - margin), min(1.0, found + margin))


def calibration_error(rows: Sequence[Row]) -> float:
    """The mean distance of the risk from the share who left, over tenths of the customers."""
    total = sum(row["customers"] for row in rows)
    return float(sum(row["customers"] * abs(row["expected"] - row["left_share"]) for row in rows) / total)


def _facts(ask: Ask, rows: Sequence[Row], ranked: Row) -> list[tuple[str, Cell]]:
    words = ask.language
    auc = area(ranked["n"], ranked["k"], float(ranked["ranks"]))
    share, psi = ranked["k"] / ranked["n"], ranked["psi"]
    return [
        (words.gettext("AUC"), Cell(words.number(auc.value, 2), words.interval(auc.low, auc.high, 2))),
        (words.gettext("Calibration error"), Cell(words.number(calibration_error(rows), 3))),
        (words.gettext("Expected to leave"), Cell(words.percent(ranked["expected"], 1))),
        (words.gettext("Left since"), Cell(words.percent(share, 1))),
        (
            words.gettext("In the highest tenth"),
            Cell(words.percent(rows[0]["left"] / ranked["k"]), words.gettext("of those who left")),
        ),
        (words.gettext("Drift of the risk (PSI)"), model_card.drift(words, psi)),
    ]


def _grid(ask: Ask, rows: Sequence[Row], days: int) -> Grid:
    """The risk of tenths against who left of them: both are one mark where the risk is a probability."""
    words = ask.language
    found = [Estimate(*(100 * row[name] for name in ("left_share", "left_low", "left_high"))) for row in rows]
    expected = [Estimate(100 * row["expected"]) for row in rows]
    axis = charts.axis_of([*found, *expected], (0,), 300)
    mean = sum(row["left"] for row in rows) / sum(row["customers"] for row in rows)
    heads = [
        figures.name(words.gettext("Tenth by risk")),
        *(figures.head(words.gettext(text)) for text in (N_("Customers"), N_("Expected, %"), N_("Left, %"))),
        figures.drawn(charts.axis_head(axis, words)),
        *(figures.head(words.gettext(text)) for text in (N_("Who left"), N_("Lift"))),
    ]

    def behind(row: Row, of: str) -> str:
        return figures.options(ask.customers("forecast", of, part=row["part"]), days=str(days))

    cells = [
        [
            figures.name(str(int(row["part"]))),
            figures.count(words, row["customers"], behind(row, "customers")),
            Cell(words.number(risk.value, 1)),
            Cell(words.number(share.value, 1), words.interval(share.low, share.high), strong=True),
            figures.drawn(charts.interval(axis, share, before=risk, tone="k")),
            figures.count(words, row["left"], behind(row, "left")),
            Cell(f"\N{MULTIPLICATION SIGN}{words.number(row['left_share'] / mean, 1)}"),
        ]
        for row, share, risk in zip(rows, found, expected, strict=True)
    ]
    return Grid(heads, cells)


def _risk_means(words: Language, params: ScoringParams) -> str:
    days = params.churn_horizon_days
    if not params.has_own_risk or not days:
        return words.gettext(
            "It was not fitted to your customers: fit it before you take it for a probability."
        )
    return words.ngettext(
        "It is the probability to leave within {n} day.",
        "It is the probability to leave within {n} days.",
        days,
    )


def _models(ask: Ask, params: ScoringParams) -> list[dict[str, str]]:
    words, own_churn = ask.language, params.has_own_risk
    yes, no = words.gettext("in force"), words.gettext("none")
    return [
        {
            "name": words.gettext("Churn risk"),
            "state": words.gettext("fitted to these customers")
            if own_churn
            else words.gettext("the default"),
            "text": _risk_means(words, params),
            "run": "" if own_churn else "cxstream train churn",
        },
        {
            "name": words.gettext("Purchases"),
            "state": yes if params.purchase_model else no,
            "text": words.gettext("It says how likely a customer is to buy again."),
            "run": "" if params.purchase_model else "cxstream train purchases",
        },
        {
            "name": words.gettext("Value"),
            "state": yes if params.value_model else no,
            "text": words.gettext("It says what a customer is expected to bring, and so what is at risk."),
            "run": "" if params.value_model else "cxstream train purchases --margin 0.3",
        },
        {
            "name": words.gettext("Texts"),
            "state": yes if params.text_model else no,
            "text": words.gettext("It gives texts without a sentiment one."),
            "run": "" if params.text_model else "[scoring.text_model]",
        },
    ]


async def _table(ask: Ask) -> Table:
    return Table("forecast", await _tenths(ask), own("forecast").columns)


PAGE = Page(
    name="models",
    path="/models",
    title=N_("Models"),
    subtitle=N_("Which ones judge, and whether they were right"),
    show=_show,
    tables={"tenths": _table},
    scoped=False,
)

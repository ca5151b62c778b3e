"""Rules: which are in force, and what they say, in words."""

from __future__ import annotations

from decimal import Decimal
from math import exp
from typing import TYPE_CHECKING, Any

import orjson

from cxstream.console import drawing, figures, rule_changes
from cxstream.console.figures import Cell, Grid
from cxstream.console.labels import LEVELS
from cxstream.console.language import N_
from cxstream.console.page import Ask, Page
from cxstream.console.tables import Table
from cxstream.model.features import FEATURES
from cxstream.model.parameters import ScoringParams
from cxstream.model.rules import Rules, rules_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cxstream.console.language import Language
    from cxstream.console.reader import Row

_LABELS = """
SELECT model, count(*) AS touchpoints, min(time) AS first_time, max(time) AS last_time
FROM touchpoints GROUP BY model ORDER BY last_time DESC, model LIMIT 50"""
# What makes a reason strong.
_MEANINGS = {
    "effort": N_("the effort score, of 100"),
    "surge": N_("effort of the last days far above that of the whole window"),
    "dissatisfaction": N_("100 less the satisfaction score"),
    "detractor": N_("a bad NPS answer that nothing has mended since"),
    "complaint": N_("complaints that are open"),
    "silence": N_("longer away than is usual for this customer"),
    "lapse": N_("the purchase model says that they have stopped buying"),
    "unsubscribed": N_("they unsubscribed and did not come back"),
    "slowdown": N_("active on fewer of the last days than is usual for this customer"),
    "just_unsubscribed": N_("they unsubscribed in the last weeks"),
    "unresolved": N_("contacts that did not help, or that the customer gave up"),
}


async def _show(ask: Ask) -> Mapping[str, Any]:
    rows = await ask.reader.sql(_LABELS)
    rules = _own(ask)
    latest = rows[0]["model"] if rows else ""
    params = rules.params
    changed = rule_changes.changed(rules)
    return {
        "latest": latest,
        "since": rows[0]["first_time"] if rows else None,
        "label": rules.label,
        "are_known": latest in {"", rules.label},
        "changed": len(changed),
        "changes": rule_changes.grid(ask, changed),
        "shown_changes": min(len(changed), rule_changes.SHOWN),
        "experiments": rule_changes.experiments(ask, rules),
        "levels": _level_grid(ask, params),
        "reasons": _reason_grid(ask, rules),
        "points": _point_grid(ask, params),
        "more": list(_more(ask, params)),
        "scores": list(_scores(ask, params)),
        "has_purchases": params.purchase_model is not None,
        "has_value": params.value_model is not None,
        "history": _history_grid(ask, rows),
        "params": params,
    }


async def found(ask: Ask) -> dict[str, Any]:
    """The rules that judged the data, latest first, and the set of the settings as a record of rules has it."""
    rules = _own(ask)
    return {
        "judged": await ask.reader.sql(_LABELS),
        "settings": rules.label,
        "data": orjson.loads(rules.data),
    }


def _own(ask: Ask) -> Rules:
    """The rules that the settings say; the log may have others."""
    return rules_of(ask.settings.scoring, ask.settings.actions)


def _history_grid(ask: Ask, rows: Sequence[Row]) -> Grid:
    words = ask.language
    heads = [
        figures.name(words.gettext("Rules")),
        figures.head(words.gettext("From")),
        figures.head(words.gettext("To")),
        figures.head(words.gettext("Touchpoints")),
    ]
    cells = [
        [
            figures.name(row["model"]),
            figures.moment(words, row["first_time"]),
            figures.moment(words, row["last_time"]),
            figures.count(words, row["touchpoints"]),
        ]
        for row in rows
    ]
    return Grid(heads, cells)


def _level_grid(ask: Ask, params: ScoringParams) -> Grid:
    words = ask.language
    heads = [
        figures.name(words.gettext("Level")),
        figures.head(words.gettext("Begins at a risk of")),
        figures.head(words.gettext("Ends below")),
        Cell(spoken=words.gettext("Drawn"), right=False),
    ]
    cells = [
        [
            figures.drawn(drawing.level(code, ask.label("level", code))),
            Cell(words.number(begin, 3), strong=True),
            Cell(words.number(max(0.0, begin - params.hysteresis), 3)),
            figures.drawn(drawing.bar(begin, "k")),
        ]
        for code, begin in zip([*LEVELS][1:], params.thresholds, strict=True)
    ]
    return Grid(heads, cells[::-1])


def _reason_grid(ask: Ask, rules: Rules) -> Grid:
    """The reasons with what they weigh, the heaviest first."""
    words = ask.language
    weights = {name: rules.params.coefficients[name] for name in FEATURES}
    most = max((abs(weight) for weight in weights.values()), default=1) or 1
    heads = [
        figures.name(words.gettext("Reason")),
        figures.name(words.gettext("What counts")),
        figures.head(words.gettext("Weight")),
        Cell(spoken=words.gettext("Drawn"), right=False),
        figures.head(words.gettext("Odds of leaving, at its strongest")),
        figures.name(words.gettext("Suggested action")),
    ]
    cells = [
        [
            figures.name(ask.label("reason", name)),
            Cell(words.gettext(_MEANINGS[name]), right=False, wide=True, tone="s"),
            Cell(words.number(weight, 2)),
            figures.drawn(drawing.bar(abs(weight) / most, "e" if weight > 0 else "s", 96)),
            Cell(f"\N{MULTIPLICATION SIGN}{words.number(exp(min(weight, 50)), 1)}", strong=True),
            Cell(ask.label("action", rules.actions.get(name)), right=False, wide=True)
            if rules.actions.get(name)
            else figures.none(),
        ]
        for name, weight in sorted(weights.items(), key=lambda item: -item[1])
    ]
    return Grid(heads, cells)


def _point_grid(ask: Ask, params: ScoringParams) -> Grid:
    """What a touchpoint of each kind adds; kinds that add nothing are left out."""
    words = ask.language
    default = ScoringParams().points
    kinds: list[tuple[str, Any, Any]] = [(name, each, default[name]) for name, each in params.points.items()]
    kinds += [(name, each, None) for name, each in params.kinds.items()]
    shown = [item for item in kinds if item[1].effort or item[1].mood or (item[2] and item[1] != item[2])]
    most = max((each.effort for _, each, _ in shown), default=1) or 1
    heads = [
        figures.name(words.gettext("Kind")),
        figures.head(words.gettext("Effort")),
        Cell(spoken=words.gettext("Drawn"), right=False),
        figures.head(words.gettext("Mood")),
    ]
    cells = [
        [
            Cell(ask.label("kind", name), _difference(ask, each, before), right=False),
            _points(_exact(words, each.effort), is_zero=not each.effort),
            figures.drawn(drawing.bar(each.effort / most, "e", 96)),
            Cell(
                _exact(words, each.mood, sign=True),
                tone="better" if each.mood > 0 else "worse" if each.mood < 0 else "q",
            ),
        ]
        for name, each, before in sorted(shown, key=lambda item: (-item[1].effort, item[1].mood, item[0]))
    ]
    return Grid(heads, cells)


def _exact(words: Language, value: float, *, least: int = 1, sign: bool = False) -> str:
    """A parameter with as many decimals as it has: rounded, it would be another rule."""
    # Those of its shortest text, of which none is a trailing zero: 1e-07 has seven.
    exact = Decimal(repr(float(value)))
    decimals = -int(exact.normalize().as_tuple().exponent)
    return words.number(exact, max(least, decimals), sign=sign)


def _points(text: str, *, is_zero: bool) -> Cell:
    return Cell(text, tone="q") if is_zero else Cell(text, strong=True)


def _difference(ask: Ask, now: Any, before: Any) -> str:
    """What the default is, where it is another."""
    words = ask.language
    if before is None:
        return words.gettext("a kind of your own")
    if now == before:
        return ""
    return words.gettext("was %(effort)s and %(mood)s") % {
        "effort": _exact(words, before.effort),
        "mood": _exact(words, before.mood, sign=True),
    }


def _more(ask: Ask, p: ScoringParams) -> Iterator[tuple[str, str]]:
    """What else in a touchpoint costs or gives points: what, and how much in words."""
    words = ask.language

    def number(value: float) -> str:
        return _exact(words, value, least=0)

    def points(each: Any) -> str:
        parts = []
        if each.effort:
            parts.append(words.gettext("effort %(n)s") % {"n": _exact(words, each.effort, sign=True)})
        if each.mood:
            parts.append(words.gettext("mood %(mood)s") % {"mood": _exact(words, each.mood, sign=True)})
        return ", ".join(parts) or words.gettext("nothing")

    model = p.text_model
    yield (
        words.gettext("Sentiment of texts"),
        words.gettext("as the source sent it; no text model reads the others")
        if model is None
        else words.gettext(
            "text model %(name)s, weights %(digest)s, for %(languages)s, where the source sent none"
        )
        % {"name": model.name, "digest": model.digest, "languages": ", ".join(model.languages)},
    )
    yield (
        words.gettext("Waiting"),
        words.gettext("the first %(free)s min are free, then effort %(each)s a minute, at most %(most)s")
        % {
            "free": number(p.wait_free_minutes),
            "each": _exact(words, p.wait_effort_per_minute, sign=True),
            "most": number(p.wait_effort_max),
        },
    )
    yield (
        words.gettext("Each transfer"),
        f"{points(p.transfer)}; "
        + words.gettext("at most %(n)s of them count") % {"n": number(p.transfers_max)},
    )
    yield words.gettext("Given up while waiting"), points(p.abandoned)
    yield words.gettext("Not resolved"), points(p.unresolved)
    yield words.gettext("Resolved"), points(p.resolved)
    yield (
        words.gettext("Contact again about the same"),
        f"{points(p.repeat_contact)}; "
        + words.gettext("within %(n)s days of the one before") % {"n": number(p.repeat_days)},
    )
    yield (
        words.gettext("Had to change the channel"),
        f"{points(p.channel_switch)}; "
        + words.gettext("contact within %(n)s hours of a failed step") % {"n": number(p.switch_hours)},
    )
    yield (
        words.gettext("Each day that a delivery is late"),
        f"{points(p.late_day)}; "
        + words.gettext("at most %(n)s of them count") % {"n": number(p.late_days_max)},
    )
    yield words.gettext("Delivery on time"), points(p.on_time)
    yield (
        words.gettext("Rage click"),
        words.gettext("%(n)s clicks at one place, each within %(ms)s ms of the one before")
        % {"n": number(p.rage_clicks), "ms": number(p.rage_ms)},
    )


def _scores(ask: Ask, p: ScoringParams) -> Iterator[tuple[str, str]]:
    words = ask.language

    def number(value: float) -> str:
        return _exact(words, value, least=0)

    yield (
        words.gettext("Memory"),
        words.gettext("%(days)s days; a touchpoint counts half after %(half)s days")
        % {"days": number(p.window_days), "half": number(p.half_life_days)},
    )
    yield (
        words.gettext("Effort score"),
        words.gettext("%(n)s points halve the distance to 100") % {"n": number(p.effort_scale)},
    )
    yield (
        words.gettext("Satisfaction score"),
        words.gettext(
            "starts at %(prior)s; answers count as CSAT %(csat)s, CES %(ces)s, review %(review)s, NPS %(nps)s, post %(post)s"
        )
        % {
            "prior": number(100 * p.satisfaction_prior),
            "csat": number(p.csat_weight),
            "ces": number(p.ces_weight),
            "review": number(p.review_weight),
            "nps": number(p.nps_weight),
            "post": number(p.social_weight),
        },
    )
    yield (
        words.gettext("Friction signal"),
        words.gettext("at %(n)s points, of which half are forgotten after %(half)s min")
        % {"n": number(p.acute_threshold), "half": number(p.acute_half_life_minutes)},
    )
    yield (
        words.gettext("Signals again"),
        words.gettext(
            "after %(days)s days at the earliest, unless the level is higher; or when the risk rose by %(rise)s"
        )
        % {"days": number(p.cooldown_days), "rise": words.number(p.worsened, 3)},
    )
    yield (
        words.gettext("Currency"),
        words.gettext("%(currency)s, with %(rates)s")
        % {
            "currency": p.base_currency,
            "rates": words.ngettext("{n} rate", "{n} rates", len(p.rates)),
        },
    )


def _parameters(rules: Rules) -> list[Row]:
    """Every parameter with its value and its default."""
    now, default = (dict(_flat(orjson.loads(each.data))) for each in (rules, rule_changes.defaults()))
    return [
        {
            "parameter": name,
            "value": now.get(name),
            "default": default.get(name),
            "changed": now.get(name) != default.get(name),
        }
        for name in sorted({*now, *default})
    ]


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _flat(each, f"{path}.{name}" if path else name)
    else:
        yield path, orjson.dumps(value).decode() if isinstance(value, list | dict) else value


async def _table(ask: Ask) -> Table:
    return Table("rules", _parameters(_own(ask)))


async def _history_table(ask: Ask) -> Table:
    rows = await ask.reader.sql(_LABELS)
    return Table("rules-in-the-data", rows, ("model", "touchpoints", "first_time", "last_time"))


PAGE = Page(
    name="rules",
    path="/rules",
    title=N_("Rules"),
    subtitle=N_("What customers are judged by"),
    show=_show,
    tables={"parameters": _table, "history": _history_table},
    scoped=False,
)
